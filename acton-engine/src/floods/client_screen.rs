//! What a client's worker does with frames to groups: it knows probes, and holds others back where
//! there is a loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use acton_bridge::Owner;
use acton_frame::Headers;

use crate::capture::packet::{Direction, Who};
use crate::floods::gate::FloodGate;
use crate::floods::news::{FloodNews, FloodReporter};
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::loops::probe::{Prober, ProberId, Reading, Way};
use crate::loops::surge::Surge;
use crate::observe::counters::{Counter, Counters};
use crate::observe::tally::Tally;
use crate::throttle::Bucket;

/// The server's probes that pass while there is a loop: so many at once, one more in so much time.
/// They alone pass, for the server finds by them whether the loop is there still; at this rate
/// whoever imitates them raises no storm.
const SERVER_PROBES: u32 = 5;
const SERVER_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// What the control thread and the workers of a client know of loops.
#[derive(Debug)]
pub(crate) struct ClientFloods {
    pub(crate) prober: Prober,
    /// Flooding is held back.
    pub(crate) blocked: AtomicBool,
    /// The number in the server's probes, in two halves.
    server: [AtomicU64; 2],
    /// When the control thread hears of the client's own probes, and of the server's word.
    own: FloodGate,
    word: FloodGate,
}

impl ClientFloods {
    /// `None` where nobody looks for loops.
    pub(crate) fn new(looks_for_loops: bool) -> Option<Arc<Self>> {
        looks_for_loops.then(|| {
            Arc::new(Self {
                prober: Prober::new(),
                blocked: AtomicBool::new(false),
                server: [const { AtomicU64::new(0) }; 2],
                own: FloodGate::new(),
                word: FloodGate::new(),
            })
        })
    }

    fn set_server(&self, id: ProberId) {
        self.server[0].store((id >> 64) as u64, Ordering::Relaxed);
        self.server[1].store(id as u64, Ordering::Relaxed);
    }

    fn is_server(&self, id: ProberId) -> bool {
        let [high, low] = self.server.each_ref().map(|half| half.load(Ordering::Relaxed));
        u128::from(high) << 64 | u128::from(low) == id
    }
}

/// One worker's part of it.
pub(crate) struct ClientScreen {
    floods: Option<Arc<ClientFloods>>,
    reporter: FloodReporter,
    counters: Arc<Counters>,
    surge: Surge,
    server_probes: Bucket,
}

impl ClientScreen {
    pub(crate) fn new(
        floods: Option<Arc<ClientFloods>>,
        reporter: FloodReporter,
        counters: Arc<Counters>,
    ) -> Self {
        let server_probes = Bucket::new(SERVER_PROBE_INTERVAL, SERVER_PROBES);
        Self { floods, reporter, counters, surge: Surge::default(), server_probes }
    }

    /// Takes out of a batch from the TAP what must not go on.
    #[inline]
    pub(crate) fn screen_batch(&mut self, frames: &mut FrameBatch, now: Duration, tally: &Tally) {
        if (0..frames.len()).any(|index| is_to_group(frames.headers(index))) {
            frames.retain(|frame, headers| {
                !is_to_group(headers) || self.passes_from_tap(frame, headers, now, tally)
            });
        }
    }

    /// Whether a frame from the tunnel may go to the TAP.
    #[inline]
    pub(crate) fn passes(
        &mut self,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> bool {
        !is_to_group(headers) || self.passes_from_tunnel(frame, headers, now, tally)
    }

    #[inline(never)]
    fn passes_from_tap(
        &mut self,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> bool {
        let Some(floods) = &self.floods else { return true };
        let reading = floods.prober.read(headers, frame);
        let goes_nowhere = match reading {
            // The client's own LAN sends frames back: that is no loop through the tunnel.
            Some(Reading::Own(_)) => Some(Counter::ProbesBack),
            Some(Reading::Forged) => Some(Counter::ProbeForged),
            _ => None,
        };
        if let Some(counter) = goes_nowhere {
            self.counters.add(counter, 1);
            if counter == Counter::ProbeForged {
                self.keep(Direction::Out, frame, counter, now);
            }
            return false;
        }
        if !floods.blocked.load(Ordering::Relaxed) {
            return true;
        }
        let of_server =
            matches!(reading, Some(Reading::Foreign { from, .. }) if floods.is_server(from));
        of_server && self.server_probes.admits(now)
            || self.hold_back(Direction::Out, frame, now, tally)
    }

    #[inline(never)]
    fn passes_from_tunnel(
        &mut self,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> bool {
        let Some(floods) = &self.floods else { return true };
        let blocked = floods.blocked.load(Ordering::Relaxed);
        match floods.prober.read(headers, frame) {
            Some(Reading::Own(probe)) => {
                self.counters.add(Counter::ProbesBack, 1);
                if floods.own.tells_probe(now) {
                    self.reporter.tell(FloodNews::ProbeBack { from: Owner::Root, probe });
                }
                false
            }
            Some(Reading::Forged) => {
                self.counters.add(Counter::ProbeForged, 1);
                self.keep(Direction::In, frame, Counter::ProbeForged, now);
                false
            }
            Some(Reading::Foreign { from, way: Way::Client { blocked: told, .. } }) => {
                floods.set_server(from);
                if floods.word.tells_probe(now) {
                    self.reporter.tell(FloodNews::ServerSays { blocked: told });
                }
                !blocked
                    || self.server_probes.admits(now)
                    || self.hold_back(Direction::In, frame, now, tally)
            }
            Some(Reading::Foreign { way: Way::Tap, .. }) | None => {
                if self.surge.add(1, now) {
                    self.reporter.tell(FloodNews::Surge);
                }
                !blocked || self.hold_back(Direction::In, frame, now, tally)
            }
        }
    }

    /// Counts a frame that goes nowhere, for there is a loop.
    fn hold_back(&self, direction: Direction, frame: &[u8], now: Duration, tally: &Tally) -> bool {
        self.counters.add(Counter::LoopBlocked, 1);
        tally.add_drops(Counter::LoopBlocked, 1);
        self.keep(direction, frame, Counter::LoopBlocked, now);
        false
    }

    /// Keeps the beginning of a frame that goes nowhere.
    fn keep(&self, direction: Direction, frame: &[u8], reason: Counter, now: Duration) {
        self.counters.dropped().add_frame(now, direction, Who::Server, reason, frame);
    }
}

/// Whether a frame is for a group, the broadcast's among them.
#[inline]
fn is_to_group(headers: &Headers) -> bool {
    headers.ethernet().is_some_and(|ethernet| ethernet.destination().is_multicast())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use pnet_base::MacAddr;

    use super::*;
    use crate::loops::probe::{Probe, Way};
    use crate::observe::tally::Tallies;
    use crate::run::control::Message;

    #[test]
    fn a_forged_probe_from_the_clients_own_lan_is_counted_as_one() {
        let floods = ClientFloods::new(true).unwrap();
        let counters = Arc::new(Counters::new());
        let (control, _heard) = sync_channel::<Message<()>>(1);
        let reporter = FloodReporter::new(control);
        let mut screen =
            ClientScreen::new(Some(Arc::clone(&floods)), reporter, Arc::clone(&counters));
        let (now, tallies) = (Duration::from_secs(1), Tallies::new(1));
        let own =
            floods.prober.frame(MacAddr(2, 0, 0, 0, 0, 1), Probe { way: Way::Tap, sent: now });
        let mut forged = own;
        *forged.last_mut().unwrap() ^= 1;
        for (frame, back, wrong) in [(own, 1, 0), (forged, 1, 1)] {
            let headers = Headers::parse(&frame);
            assert!(!screen.passes_from_tap(&frame, &headers, now, tallies.of(0)));
            let counted = [Counter::ProbesBack, Counter::ProbeForged].map(|it| counters.get(it));
            assert_eq!(counted, [back, wrong]);
        }
    }
}
