//! What a server's control thread does once a second.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{Bridge, DropReason, QuerierNews};

use crate::floods::shared::Floods;
use crate::observe::counters::Counters;
use crate::observe::event::{EventKind, Limit};
use crate::observe::event_log::EventLog;
use crate::root::PortTable;
use crate::sessions::port::LeafId;

/// How often the bridge's table is swept of aged entries, some at a time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Entries looked at in one sweep.
const SWEEP_BUDGET: usize = 4_096;
/// Least time between two tellings of limits.
const LIMITS_INTERVAL: Duration = Duration::from_secs(60);
/// The limits, by the reason that frames over them are dropped for.
const LIMITS: [(DropReason, Limit); 1] = [(DropReason::TableFull, Limit::MacTable)];

/// Sweeps the bridge, and tells of frames lost to its limits.
pub(crate) struct Housekeeping {
    bridge: Arc<Bridge<LeafId>>,
    floods: Arc<Floods>,
    events: Arc<EventLog>,
    workers: Vec<Arc<Counters>>,
    /// Drops told of so far, by [`LIMITS`].
    told: [u64; LIMITS.len()],
    tell_at: Duration,
    due: Duration,
    /// Clients that have gone since the last time, and those that had gone before.
    gone: [Vec<LeafId>; 2],
}

impl Housekeeping {
    pub(crate) fn new(
        bridge: Arc<Bridge<LeafId>>,
        floods: Arc<Floods>,
        events: Arc<EventLog>,
        workers: Vec<Arc<Counters>>,
        now: Duration,
    ) -> Self {
        let due = now + SWEEP_INTERVAL;
        let gone = Default::default();
        Self { bridge, floods, events, workers, told: [0; _], tell_at: now, due, gone }
    }

    /// Forgets the MACs and IP addresses of a client that has gone, and says how many MACs those were; the
    /// Linux bridge of the TAP forgets them too.
    /// Workers no longer see it; what one of them was still at may bring one back, which goes a moment
    /// later.
    pub(crate) fn purge(&mut self, leaf: LeafId, port: &PortTable) -> usize {
        self.gone[0].push(leaf);
        self.forget(leaf, port)
    }

    /// Does as [`purge`](Self::purge) for a client that is still there. Its rules go too.
    pub(crate) fn forget(&self, leaf: LeafId, port: &PortTable) -> usize {
        self.floods.neighbours.purge(leaf);
        if self.floods.snooper.is_on() {
            self.floods.snooper.table.purge(leaf);
        }
        let mut gone = Vec::new();
        self.bridge.purge_each(leaf, |vlan, mac| gone.push((mac, vlan)));
        port.note_gone(&gone);
        gone.len()
    }

    /// When [`run`](Self::run) has something to do.
    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    /// Forgets which groups nobody asked for again, and tells whether the LAN asks.
    fn sweep_groups(&self, now: Duration) {
        if !self.floods.snooper.is_on() {
            return;
        }
        for news in self.floods.snooper.table.sweep(now) {
            let event = match news {
                QuerierNews::Heard { vlan, address } => EventKind::QuerierHeard { vlan, address },
                QuerierNews::Lost { vlan, address } => EventKind::QuerierLost { vlan, address },
                _ => continue,
            };
            self.events.tell(now, event);
        }
    }

    pub(crate) fn run(&mut self, now: Duration, port: &PortTable) {
        if now < self.due {
            return;
        }
        self.due = now + SWEEP_INTERVAL;
        for leaf in mem::take(&mut self.gone[1]) {
            self.forget(leaf, port);
        }
        self.gone.swap(0, 1);
        self.bridge.sweep(now, SWEEP_BUDGET);
        self.sweep_groups(now);
        self.events.tell_suppressed(now);
        if now < self.tell_at {
            return;
        }
        for ((reason, limit), told) in LIMITS.into_iter().zip(&mut self.told) {
            let total = self.workers.iter().map(|counters| counters.bridge_drops(reason)).sum();
            if total > *told {
                let frames = total - *told;
                self.events.tell(now, EventKind::LimitReached { limit, frames });
                *told = total;
                self.tell_at = now + LIMITS_INTERVAL;
            }
        }
    }
}
