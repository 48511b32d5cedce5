//! What workers saw of MACs and floods, told as events.

use std::hash::Hash;
use std::time::Duration;

use acton_bridge::{Owner, Share};

use super::Roster;
use crate::floods::news::FloodNews;
use crate::observe::event::EventKind;
use crate::sessions::session::SessionMode;
use crate::sessions::sighting::{Sighted, Sighting};

impl<K, M> Roster<K, M>
where
    K: Copy + Eq + Hash + Send + Sync,
    M: SessionMode + Send + Sync,
{
    /// Tells what a worker saw of a MAC.
    pub(crate) fn sight(&mut self, now: Duration, sighting: Sighting) {
        let Sighting { mac, vlan, at, what, left_out } = sighting;
        self.suspect(now, &sighting);
        let here = self.place(at);
        let event = match what {
            Sighted::New => EventKind::MacLearnt { mac, vlan, at: here },
            Sighted::Moved { from, frozen } => {
                if frozen {
                    let at = here.clone();
                    self.tell(now, EventKind::MacFrozen { mac, vlan, at });
                }
                EventKind::MacMoved { mac, vlan, from: self.place(from), to: here }
            }
            Sighted::Held(reason) => {
                let owner = self.bridge.entry(vlan, mac, now).map(|entry| self.place(entry.owner));
                let (held_by, reason) = (owner, reason.as_str());
                EventKind::MacHeld { mac, vlan, by: here, held_by, reason }
            }
            Sighted::NoRoom => {
                let limit = match at {
                    Owner::Leaf(port) => self.bridge.room(Share::Leaf(port)).limit,
                    Owner::Root => None,
                };
                EventKind::MacNoRoom { mac, vlan, by: here, limit }
            }
        };
        self.events.add_suppressed(event.name(), left_out);
        self.tell(now, event);
    }

    /// Tells what a worker saw of floods.
    pub(crate) fn take_flood(&mut self, now: Duration, news: FloodNews) {
        match news {
            FloodNews::BudgetActs { at, class } => {
                let (at, class) = (self.place(at), class.as_str());
                self.tell(now, EventKind::BudgetActs { at, class });
            }
            FloodNews::PolicyActs { port, reason } => {
                let (at, reason) = (self.place(Owner::Leaf(port)), reason.counter().drop_name());
                self.tell(now, EventKind::PolicyActs { at, reason });
            }
            FloodNews::Surge => {
                if let Some(watch) = &mut self.watch {
                    watch.suspect(now, None);
                }
            }
            FloodNews::ProbeBack { from, probe } => {
                if !self.can_go_round(from, probe) {
                    return;
                }
                if let Some(watch) = &mut self.watch {
                    watch.came_back(now, from, probe);
                    // A worker may have been ahead.
                    if let Owner::Leaf(port) = from {
                        let blocked = watch.held(now, port).is_some();
                        self.set_blocked(port, blocked);
                    }
                }
            }
            FloodNews::ServerSays { .. } => {}
        }
    }
}
