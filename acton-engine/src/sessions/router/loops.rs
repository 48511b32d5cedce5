//! What comes back through a loop: probes, and frames of hosts at the root.

use std::hash::Hash;
use std::time::Duration;

use acton_bridge::{Bridge, Owner};
use acton_frame::{Headers, Tag};

use super::Router;
use crate::capture::packet::{Direction, Who};
use crate::floods::gate::FloodGate;
use crate::floods::news::FloodNews;
use crate::loops::probe::{Probe, Reading, Way};
use crate::loops::server_guard::FRESH;
use crate::observe::counters::Counter;
use crate::sessions::directory::Directory;
use crate::sessions::port::LeafId;
use crate::sessions::session::Session;

impl Router {
    /// Whether a frame from a client is a probe that goes no further.
    pub(super) fn takes_probe<M>(
        &self,
        session: &Session<M>,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
    ) -> bool {
        let reading = self.floods.prober.as_ref().and_then(|prober| prober.read(headers, frame));
        let from = (Owner::Leaf(session.port), Who::Client(&session.name));
        reading.is_some_and(|reading| !self.passes_probe(reading, frame, from, &session.gate, now))
    }

    /// Whether a probe goes on as any frame does: one of another process, so that it finds loops
    /// through several tunnels.
    fn passes_probe(
        &self,
        reading: Reading,
        frame: &[u8],
        (from, who): (Owner<LeafId>, Who<'_>),
        gate: &FloodGate,
        now: Duration,
    ) -> bool {
        match reading {
            Reading::Own(probe) => {
                self.counters.add(Counter::ProbesBack, 1);
                if !gate.tells_probe(now) || now.saturating_sub(probe.sent) > FRESH {
                    return false;
                }
                // Each moment counts, and what this proves the control thread can but confirm: it
                // hears of it afterwards, so that it has the last word.
                let begins = matches!((probe.way, from), (Way::Tap, Owner::Leaf(_)))
                    && !gate.set_blocked(true);
                if !self.reporter.tell(FloodNews::ProbeBack { from, probe }) && begins {
                    gate.set_blocked(false);
                }
                false
            }
            // A client takes the word of its own server alone, and that does not come by this way.
            Reading::Forged | Reading::Foreign { way: Way::Client { .. }, .. } => {
                self.counters.add(Counter::ProbeForged, 1);
                let direction = match from {
                    Owner::Leaf(_) => Direction::In,
                    Owner::Root => Direction::Out,
                };
                let dropped = self.counters.dropped();
                dropped.add_frame(now, direction, who, Counter::ProbeForged, frame);
                false
            }
            Reading::Foreign { way: Way::Tap, .. } => true,
        }
    }

    /// Whether a probe that came from the TAP goes on. One that was sent to a client proves a loop where
    /// it comes back in the VLAN that the client's frames without a tag are in.
    pub(super) fn passes_probe_from_root<K: Copy + Eq + Hash, M>(
        &self,
        reading: Reading,
        headers: &Headers,
        frame: &[u8],
        now: Duration,
        directory: &Directory<K, Session<M>>,
    ) -> bool {
        if let Reading::Own(Probe { way: Way::Client { port, .. }, .. }) = reading {
            let vlan = |index| Tag::of(headers, frame, index).map_or(0, Tag::vlan);
            let place = Some((vlan(0), vlan(1)));
            let is_there = |session: &Session<M>| {
                session.policy.vlans().is_none_or(|vlans| vlans.place_of_untagged() == place)
            };
            if directory.read(port, is_there) == Some(false) {
                self.counters.add(Counter::ProbesBack, 1);
                return false;
            }
        }
        let from = (Owner::Root, Who::Tap);
        self.passes_probe(reading, frame, from, &self.floods.root_gate, now)
    }

    /// Whether a frame is a probe that this server sent into its TAP, without a tag. Where it comes from a
    /// client whose frames get tags, what is without them does not go round.
    pub(super) fn is_probe_of_no_vlan(&self, headers: &Headers, frame: &[u8]) -> bool {
        let reading = self.floods.prober.as_ref().and_then(|prober| prober.read(headers, frame));
        matches!(reading, Some(Reading::Own(Probe { way: Way::Tap, .. })))
    }
}

/// Whether the MAC of a client's frame is the root's, on whichever VLAN: it came back through a loop.
pub(crate) fn is_from_root(bridge: &Bridge<LeafId>, headers: &Headers, now: Duration) -> bool {
    let Some(ethernet) = headers.ethernet() else { return false };
    bridge.lookup(ethernet.vlan(), ethernet.source(), now) == Some(Owner::Root)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    use acton_bridge::Config;
    use pnet_base::MacAddr;

    use super::*;
    use crate::floods::budgets::FloodBudgets;
    use crate::floods::news::FloodReporter;
    use crate::floods::shared::Floods;
    use crate::observe::counters::Counters;
    use crate::run::control::Message;
    use crate::sessions::sighting::Sightings;

    #[test]
    fn what_comes_back_through_a_loop_is_known_on_whichever_vlan() {
        let (bridge, at) = (Bridge::new(Config::default()), Duration::from_secs(1));
        let frame = |tag: &[u8], last| {
            [&[0xff; 6][..], &[2, 0, 0, 0, 0, last], tag, &[8, 6], &[0; 46]].concat()
        };
        let sent = frame(&[0x81, 0, 0, 7], 5);
        let _ = bridge.from_root_parsed(Headers::parse(&sent).ethernet(), at);
        let is_back = |frame: Vec<u8>| is_from_root(&bridge, &Headers::parse(&frame), at);
        // From a client whose frames get a tag of VLAN 7 it comes without.
        assert!(is_back(sent) && is_back(frame(&[], 5)) && !is_back(frame(&[], 6)));
    }

    #[test]
    fn a_probe_holds_back_at_once_only_what_the_control_thread_hears_of() {
        let floods = Arc::new(Floods::new(&FloodBudgets::default(), true));
        let (control, heard) = sync_channel::<Message<()>>(1);
        let router = Router::new(
            Arc::new(Bridge::new(Config::default())),
            Arc::new(Counters::new()),
            Sightings::new(control.clone()),
            Arc::clone(&floods),
            FloodReporter::new(control),
            0,
        );
        let sent = Duration::from_secs(100);
        let brought = |way, now: Duration| {
            let probe = Probe { way, sent };
            let frame = floods.prober.as_ref().unwrap().frame(MacAddr(2, 0, 0, 0, 0, 1), probe);
            let headers = Headers::parse(&frame);
            let reading = floods.prober.as_ref().unwrap().read(&headers, &frame).unwrap();
            let gate = FloodGate::new();
            let from = (Owner::Leaf(1), Who::Client("berlin"));
            assert!(!router.passes_probe(reading, &frame, from, &gate, now));
            gate.is_blocked()
        };
        assert!(!brought(Way::Tap, sent + FRESH * 2), "it proves nothing any more");
        assert!(heard.try_recv().is_err());
        assert!(brought(Way::Tap, sent + FRESH / 2));
        assert!(!floods.are_any_blocked(), "that is the control thread's to say");
        assert!(!brought(Way::Tap, sent), "nobody hears of it, so nobody would open it");
        assert!(heard.try_recv().is_ok());
        assert!(!brought(Way::Client { port: 1, blocked: false }, sent));
    }
}
