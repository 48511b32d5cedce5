//! What a server's control thread does once a second.

use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{Bridge, DropReason};

use crate::observe::counters::Counters;
use crate::sessions::leaves::LeafId;

/// How often the bridge's table is swept of aged entries, some at a time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Entries looked at in one sweep.
const SWEEP_BUDGET: usize = 4_096;
/// Least time between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// Limits worth a warning, and what may be done.
const LIMITS: [(DropReason, &str); 2] = [
    (
        DropReason::LeafLimit,
        "a client has more MACs than it may (--macs-per-client, or max-macs= in the list)",
    ),
    (DropReason::TableFull, "the table of MACs is full"),
];

/// Sweeps the bridge, and tells of frames lost to its limits.
pub(crate) struct Housekeeping {
    bridge: Arc<Bridge<LeafId>>,
    workers: Vec<Arc<Counters>>,
    /// Drops warned of so far, by [`LIMITS`].
    told: [u64; LIMITS.len()],
    warn_at: Duration,
    due: Duration,
    /// Clients that have gone since the last time, and those that had gone before.
    gone: [Vec<LeafId>; 2],
}

impl Housekeeping {
    pub(crate) fn new(
        bridge: Arc<Bridge<LeafId>>,
        workers: Vec<Arc<Counters>>,
        now: Duration,
    ) -> Self {
        Self {
            bridge,
            workers,
            told: [0; _],
            warn_at: now,
            due: now + SWEEP_INTERVAL,
            gone: Default::default(),
        }
    }

    /// Forgets the MACs of a client that has gone, and says how many those were. Workers no longer
    /// see it; what one of them was still at may bring a MAC back, which goes a moment later.
    pub(crate) fn purge(&mut self, leaf: LeafId) -> usize {
        self.gone[0].push(leaf);
        self.bridge.purge(leaf)
    }

    /// When [`run`](Self::run) has something to do.
    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    pub(crate) fn run(&mut self, now: Duration) {
        if now < self.due {
            return;
        }
        self.due = now + SWEEP_INTERVAL;
        for leaf in self.gone[1].drain(..) {
            self.bridge.purge(leaf);
        }
        self.gone.swap(0, 1);
        self.bridge.sweep(now, SWEEP_BUDGET);
        if now < self.warn_at {
            return;
        }
        for ((reason, why), told) in LIMITS.iter().zip(&mut self.told) {
            let total = self.workers.iter().map(|counters| counters.bridge_drops(*reason)).sum();
            if total > *told {
                log::warn!("{} frames dropped: {why}", total - *told);
                *told = total;
                self.warn_at = now + WARN_INTERVAL;
            }
        }
    }
}
