//! What is done about loops: when they are looked for, and whose flooding is held back.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{DropReason, Owner, Vlans};

use super::Roster;
use crate::floods::server_watch::{OutgoingProbe, ServerWatch, WatchOrder};
use crate::loops::probe::{Probe, Way};
use crate::loops::server_guard::JoinedWith;
use crate::observe::event::{EventKind, LoopWitness, Place};
use crate::sessions::port::LeafId;
use crate::sessions::session::SessionMode;
use crate::sessions::sighting::{Sighted, Sighting};

impl<K, M> Roster<K, M>
where
    K: Copy + Eq + Hash + Send + Sync,
    M: SessionMode + Send + Sync,
{
    /// Whether what comes from a client is in the VLAN of what the probe that it brought was sent to,
    /// another client: else nothing goes round, though the two have a LAN in common.
    pub(super) fn can_go_round(&self, from: Owner<LeafId>, probe: Probe) -> bool {
        let (Owner::Leaf(from), Way::Client { port: to, .. }) = (from, probe.way) else {
            return true;
        };
        let policy = |port| self.directory.read(port, |session| Arc::clone(&session.policy));
        let (Some(from), Some(to)) = (policy(from), policy(to)) else { return true };
        match (from.vlans(), to.vlans()) {
            (None, None) => true,
            (from, to) => {
                let place =
                    |vlans: Option<&Vlans>| vlans.map_or(Some((0, 0)), Vlans::place_of_untagged);
                place(from).is_some() && place(from) == place(to)
            }
        }
    }

    /// An address that is seen both at the root and behind a client may come through a loop.
    pub(super) fn suspect(&mut self, now: Duration, sighting: &Sighting) {
        let Some(watch) = &mut self.watch else { return };
        let Sighting { mac, vlan, at, what, .. } = *sighting;
        let other = match what {
            Sighted::New | Sighted::NoRoom => return,
            Sighted::Moved { from, .. } => Some(from),
            Sighted::Held(DropReason::SourceProtected | DropReason::SourceAtRoot) => {
                Some(Owner::Root)
            }
            Sighted::Held(_) => self.bridge.entry(vlan, mac, now).map(|entry| entry.owner),
        };
        // What was learned again from a client that is held back is in its fellow's way.
        if let (Sighted::Held(_), Some(Owner::Leaf(port))) = (what, other)
            && watch.held(now, port).is_some()
        {
            self.bridge.forget_learned(port);
        }
        match (at, other) {
            (Owner::Leaf(port), Some(other)) if other != at => watch.suspect(now, Some(port)),
            (Owner::Root, Some(Owner::Leaf(port))) => watch.suspect(now, Some(port)),
            _ => {}
        }
    }

    /// The next probe that is to be sent now; carries out what the watch for loops found on the way.
    pub(crate) fn next_probe(&mut self, now: Duration) -> Option<OutgoingProbe> {
        loop {
            match self.watch.as_mut()?.poll(now)? {
                WatchOrder::Probe(probe) => return Some(probe),
                WatchOrder::Block { port, with, hold } => {
                    self.set_blocked(port, true);
                    // What lives in a LAN that two clients share is behind the other one now.
                    if let JoinedWith::Client(_) = with {
                        self.bridge.forget_learned(port);
                    }
                    let (at, with) = (self.place(Owner::Leaf(port)), self.joined_with(with));
                    let (by, with, hold) = (LoopWitness::Probe, Some(with), Some(hold));
                    self.tell(now, EventKind::LoopFound { at, with, by, hold });
                }
                WatchOrder::Open { port, after } => {
                    self.set_blocked(port, false);
                    let at = self.place(Owner::Leaf(port));
                    self.tell(now, EventKind::LoopOver { at, after });
                }
                WatchOrder::TellReflects { port } => {
                    let at = self.place(Owner::Leaf(port));
                    self.tell(now, EventKind::LanReflects { at });
                }
            }
        }
    }

    pub(super) fn set_blocked(&self, port: LeafId, blocked: bool) {
        self.directory.read(port, |session| session.gate.set_blocked(blocked));
        self.floods.set_blocked(self.watch.as_ref().map_or(0, ServerWatch::held_count));
    }

    pub(super) fn joined_with(&self, with: JoinedWith<LeafId>) -> Place {
        self.place(match with {
            JoinedWith::Root => Owner::Root,
            JoinedWith::Client(port) => Owner::Leaf(port),
        })
    }
}
