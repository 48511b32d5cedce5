//! What the two ends know of the path between them, whatever keys they use.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Ledger;
use super::fragment::Reassembler;
use super::path_mtu::BASE_PMTU;

/// The state of a session that outlives a rekey, shared between the threads that seal and open and
/// the state machine.
///
/// Its fields are independent of one another and each is a hint or a time, so relaxed atomics do.
pub struct Link {
    last_sent: AtomicU64,
    last_received: AtomicU64,
    /// Time of the first send since something was received, 0 for none.
    waiting_since: AtomicU64,
    path_mtu: AtomicU16,
    large_sent: AtomicBool,
    /// The peer seems to be at another address, which is not proven.
    looking: AtomicBool,
    reassembler: Mutex<Reassembler>,
    ledger: Mutex<Ledger>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("last_sent", &self.last_sent())
            .field("last_received", &self.last_received())
            .field("path_mtu", &self.path_mtu())
            .finish_non_exhaustive()
    }
}

fn nanos(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

impl Link {
    /// A link whose peer was heard just now.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            last_sent: AtomicU64::new(nanos(now)),
            last_received: AtomicU64::new(nanos(now)),
            waiting_since: AtomicU64::new(0),
            path_mtu: AtomicU16::new(BASE_PMTU),
            large_sent: AtomicBool::new(false),
            looking: AtomicBool::new(false),
            reassembler: Mutex::new(Reassembler::new()),
            ledger: Mutex::default(),
        }
    }

    /// When something was last sealed for the peer.
    #[must_use]
    pub fn last_sent(&self) -> Duration {
        Duration::from_nanos(self.last_sent.load(Relaxed))
    }

    /// When an authentic datagram last came from the peer.
    #[must_use]
    pub fn last_received(&self) -> Duration {
        Duration::from_nanos(self.last_received.load(Relaxed))
    }

    /// Since when what was sent has found no answer.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Duration> {
        match self.waiting_since.load(Relaxed) {
            0 => None,
            since => Some(Duration::from_nanos(since)),
        }
    }

    /// Largest datagram (UDP payload) that the path to the peer carries, as far as is known, bytes.
    #[must_use]
    pub fn path_mtu(&self) -> u16 {
        self.path_mtu.load(Relaxed)
    }

    /// Largest datagram that the path carries both ways, as far as is known: to the peer, and from it
    /// by its own word. One that says no more than what every path carries has only begun to look.
    #[must_use]
    pub fn path_mtu_both_ways(&self) -> u16 {
        let heard = self.ledger().heard().and_then(|heard| heard.path_mtu());
        let from_peer = heard.filter(|&size| size > BASE_PMTU);
        from_peer.map_or(self.path_mtu(), |size| size.min(self.path_mtu()))
    }

    pub(crate) fn set_path_mtu(&self, size: u16) {
        self.path_mtu.store(size, Relaxed);
    }

    /// Whether a datagram of frames larger than every path carries was sealed since this was last
    /// asked.
    pub(crate) fn take_large_sent(&self) -> bool {
        self.large_sent.load(Relaxed) && self.large_sent.swap(false, Relaxed)
    }

    /// Something was sealed that the peer will show a sign of life upon, sooner or later.
    pub(super) fn note_sent(&self, now: Duration) {
        self.note_answer_sent(now);
        if self.waiting_since.load(Relaxed) == 0 {
            self.waiting_since.store(nanos(now).max(1), Relaxed);
        }
    }

    /// Something was sealed that asks for nothing.
    pub(super) fn note_answer_sent(&self, now: Duration) {
        self.last_sent.store(nanos(now), Relaxed);
    }

    /// A datagram of frames was sealed, of so many bytes. Probes do not count, or they would go on for
    /// ever.
    pub(super) fn note_size(&self, bytes: usize) {
        if bytes > usize::from(BASE_PMTU) && !self.large_sent.load(Relaxed) {
            self.large_sent.store(true, Relaxed);
        }
    }

    /// The peer showed a sign of life.
    pub(crate) fn note_received(&self, now: Duration) {
        self.last_received.store(nanos(now), Relaxed);
        if self.waiting_since.load(Relaxed) != 0 {
            self.waiting_since.store(0, Relaxed);
        }
    }

    /// Whether the peer seems to be at another address: then the state machine must hear of what
    /// comes from where the session is, too.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.looking.load(Relaxed)
    }

    pub(crate) fn set_looking(&self, looking: bool) {
        self.looking.store(looking, Relaxed);
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees the pieces of frames that have waited too long; how many frames were given up since this
    /// was last asked.
    pub(crate) fn sweep_pieces(&self, now: Duration) -> u64 {
        self.reassembler().sweep(now)
    }

    pub(super) fn reassembler(&self) -> MutexGuard<'_, Reassembler> {
        self.reassembler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Delivery, Report};

    #[test]
    fn the_smaller_way_counts_once_the_peer_has_looked() {
        let link = Link::new(Duration::ZERO);
        let hear = |counter, path_mtu| {
            let delivery = Delivery { expected: counter, received: counter };
            let report = Report { delivery, rtt: None, version: None, path_mtu };
            link.ledger().hear(Duration::ZERO, (0, counter), report);
            link.path_mtu_both_ways()
        };
        link.set_path_mtu(1_472);
        assert_eq!(link.path_mtu_both_ways(), 1_472);
        assert_eq!(hear(1, None), 1_472);
        assert_eq!(hear(2, Some(BASE_PMTU)), 1_472);
        assert_eq!(hear(3, Some(1_372)), 1_372);
        assert_eq!(hear(4, Some(8_972)), 1_472);
    }
}
