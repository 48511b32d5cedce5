//! What an end knows of a session: data alone, for whoever shows it.

use std::time::Duration;

use super::{Live, Suite};
use crate::wire::{Caps, Delivery, Report, Rtt, Version};

/// How a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkState {
    /// The other end was heard of in time.
    Up,
    /// A sign of life is overdue.
    Quiet,
    /// The time for a sign of life is over, or the keys' is: the session ends with the next call of
    /// `handle_timeout`.
    Lost,
}

/// A session, as one of its ends knows it. Times are those of the caller's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStatistics {
    /// How it is.
    pub state: LinkState,
    /// Since when it is so; of one that is up, since it began, whatever was quiet meanwhile.
    pub state_since: Duration,
    /// When the session began.
    pub since: Duration,
    /// When an authentic datagram last came.
    pub last_received: Duration,
    /// When something was last sealed for the other end.
    pub last_sent: Duration,
    /// Round-trip times, as the client measured them.
    pub rtt: Option<Rtt>,
    /// Datagrams from the other end: what this end saw of them.
    pub from_peer: Delivery,
    /// Datagrams to the other end, as it reported them; the counts never go back, also where the
    /// other end began anew. It, and all else that was reported, is forgotten where an older version
    /// takes the other end over, which reports nothing.
    pub to_peer: Option<Delivery>,
    /// The largest datagram in use towards the other end, bytes of UDP payload.
    pub path_mtu: u16,
    /// The same of the other end's datagrams, as it reported it.
    pub peer_path_mtu: Option<u16>,
    /// The version of the other end's software, as it reported it.
    pub peer_version: Option<Version>,
    /// When the other end last reported.
    pub reported: Option<Duration>,
    /// The cipher suite.
    pub suite: Suite,
    /// What both ends are able to do.
    pub caps: Caps,
    /// How often new keys took the place of others.
    pub rekeys: u64,
    /// How often the client's address changed, as far as this end noticed.
    pub roams: u64,
    /// The random number that the other end's process drew when it began.
    pub peer_instance: u64,
    /// The largest frame that the other end takes, bytes without FCS.
    pub peer_max_frame: u16,
}

/// How a session ended; `R` is the end's own `DownReason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionEnd<R> {
    /// Why.
    pub reason: R,
    /// When it began.
    pub since: Duration,
    /// When it ended.
    pub until: Duration,
}

impl<R> SessionEnd<R> {
    pub(crate) const fn new(reason: R, since: Duration, until: Duration) -> Self {
        Self { reason, since, until }
    }
}

/// The longest time for which a client that says something every `keepalive` is silent, if nothing
/// is lost: the client's jitter of 10 %, and a second for the network and late timers.
pub(crate) fn overdue_after(keepalive: Duration) -> Duration {
    keepalive + keepalive / 10 + Duration::from_secs(1)
}

/// The reports that came from the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    report: Report,
    at: Duration,
    /// The id of the keys that it came under, and its counter.
    place: (u32, u64),
    /// What arrived before the other end began to count anew.
    before: Delivery,
}

impl Heard {
    /// What is known once `report` came, which was sealed after the one before.
    pub(crate) fn after(
        known: Option<Self>,
        now: Duration,
        place: (u32, u64),
        report: Report,
    ) -> Self {
        let before = known.map_or_else(Delivery::default, |known| {
            let (old, new) = (known.report.delivery, report.delivery);
            let anew = new.expected < old.expected || new.received < old.received;
            if anew { known.before.plus(old) } else { known.before }
        });
        Self { report, at: now, place, before }
    }

    /// Whether what comes under the current keys at this place was sealed later.
    pub(crate) const fn is_before(&self, (id, counter): (u32, u64)) -> bool {
        self.place.0 != id || self.place.1 < counter
    }

    const fn delivery(&self) -> Delivery {
        self.before.plus(self.report.delivery)
    }

    pub(crate) const fn path_mtu(&self) -> Option<u16> {
        self.report.path_mtu
    }

    pub(crate) const fn rtt(&self) -> Option<Rtt> {
        self.report.rtt
    }
}

/// What the state machine knows of a session beyond [`Live`].
pub(crate) struct Beyond {
    /// When a sign of life is overdue, and when its time is over.
    pub(crate) quiet_at: Duration,
    pub(crate) lost_at: Duration,
    pub(crate) rtt: Option<Rtt>,
    pub(crate) roams: u64,
    pub(crate) peer_instance: u64,
    pub(crate) peer_max_frame: u16,
}

impl LinkStatistics {
    pub(crate) fn new(now: Duration, live: &Live, beyond: &Beyond) -> Self {
        let (link, setup, heard) = (live.link(), live.current.setup(), live.heard());
        let (state, state_since) = if now >= beyond.lost_at {
            (LinkState::Lost, beyond.lost_at)
        } else if now >= beyond.quiet_at {
            (LinkState::Quiet, beyond.quiet_at)
        } else {
            (LinkState::Up, live.since())
        };
        Self {
            state,
            state_since,
            since: live.since(),
            last_received: link.last_received(),
            last_sent: link.last_sent(),
            rtt: beyond.rtt,
            from_peer: live.delivery(),
            to_peer: heard.map(|heard| heard.delivery()),
            path_mtu: link.path_mtu(),
            peer_path_mtu: heard.and_then(|heard| heard.path_mtu()),
            peer_version: heard.and_then(|heard| heard.report.version),
            reported: heard.map(|heard| heard.at),
            suite: setup.suite,
            caps: setup.caps,
            rekeys: live.rekeys(),
            roams: beyond.roams,
            peer_instance: beyond.peer_instance,
            peer_max_frame: beyond.peer_max_frame,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_counts_anew_takes_nothing_back() {
        let report = |expected, received| Report {
            delivery: Delivery { expected, received },
            rtt: None,
            version: None,
            path_mtu: None,
        };
        let mut heard = None;
        let mut hear = |expected, received| {
            let known = Heard::after(heard, Duration::ZERO, (1, 1), report(expected, received));
            heard = Some(known);
            (known.delivery().expected, known.delivery().received)
        };
        assert_eq!(hear(100, 90), (100, 90));
        assert_eq!(hear(150, 130), (150, 130));
        assert_eq!(hear(10, 9), (160, 139), "fewer were expected");
        assert_eq!(hear(20, 5), (180, 144), "fewer were received");
        assert_eq!(hear(u64::MAX, u64::MAX), (u64::MAX, u64::MAX));
    }
}
