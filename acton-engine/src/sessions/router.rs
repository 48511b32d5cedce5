//! Where the frames of a batch from the TAP go.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{Bridge, FromLeaf, FromRoot, Learned};
use acton_frame::{Ethernet, Headers};

use crate::frames::batch::FrameBatch;
use crate::observe::counters::{Counter, Counters};
use crate::sessions::leaves::{Leaf, LeafId, Leaves};

/// A worker's way to the bridge: asks it, and counts what it says.
pub(crate) struct Router {
    bridge: Arc<Bridge<LeafId>>,
    counters: Arc<Counters>,
    routes: Vec<Route>,
    admitted: Admitted,
}

/// The frame that last went to a known address at the root. Those that follow it in a batch, from
/// the same client and with the same addresses, go there too: one look-up serves a super-frame.
#[derive(Debug, Default)]
struct Admitted {
    leaf: LeafId,
    at: Duration,
    /// What the bridge goes by.
    ethernet: Ethernet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    One(LeafId),
    All,
    Nowhere,
}

/// Who gets a run of frames.
pub(crate) enum Target {
    One(LeafId),
    All,
}

impl Router {
    pub(crate) fn new(bridge: Arc<Bridge<LeafId>>, counters: Arc<Counters>) -> Self {
        Self { bridge, counters, routes: Vec::new(), admitted: Admitted::default() }
    }

    /// Calls `each` with every run of frames that go the same way, in the frames' order.
    pub(crate) fn route<L: Leaf>(
        &mut self,
        frames: &FrameBatch,
        now: Duration,
        leaves: &Leaves<L>,
        mut each: impl FnMut(Target, Range<usize>),
    ) {
        self.routes.clear();
        for index in 0..frames.len() {
            let ethernet = frames.headers(index).ethernet();
            let (verdict, learned) = self.bridge.from_root_parsed(ethernet, now);
            self.count_move(learned);
            self.routes.push(match verdict {
                // A client that has just gone: its MAC is an unknown one now.
                FromRoot::Leaf(id) if leaves.get(id).is_none() => Route::All,
                FromRoot::Leaf(id) => Route::One(id),
                FromRoot::Flood(_) => Route::All,
                FromRoot::Drop(reason) => {
                    self.counters.add_bridge_drop(reason);
                    Route::Nowhere
                }
            });
        }
        let mut start = 0;
        while let Some(&route) = self.routes.get(start) {
            let alike = self.routes[start..].iter().take_while(|&&next| next == route).count();
            let run = start..start + alike;
            start = run.end;
            match route {
                Route::Nowhere => {}
                Route::One(id) => each(Target::One(id), run),
                Route::All => {
                    self.counters.add(Counter::Flooded, alike as u64);
                    if leaves.len() == 0 {
                        self.counters.add(Counter::NoClient, alike as u64);
                    }
                    each(Target::All, run);
                }
            }
        }
    }

    /// Whether a frame from a client may go to the TAP.
    #[inline]
    pub(crate) fn admit(&mut self, leaf: LeafId, headers: &Headers, now: Duration) -> bool {
        let ethernet = headers.ethernet();
        let last = &self.admitted;
        if ethernet == Some(&last.ethernet) && (leaf, now) == (last.leaf, last.at) {
            return true;
        }
        self.ask(leaf, ethernet, now)
    }

    /// Whether the bridge lets a frame from a client go to the TAP.
    fn ask(&mut self, leaf: LeafId, ethernet: Option<&Ethernet>, now: Duration) -> bool {
        let (verdict, learned) = self.bridge.from_leaf_parsed(leaf, ethernet, now);
        self.count_move(learned);
        match verdict {
            FromLeaf::Root { bum } => {
                if let (None, Some(&ethernet)) = (bum, ethernet) {
                    self.admitted = Admitted { leaf, at: now, ethernet };
                }
                true
            }
            FromLeaf::Drop(reason) => {
                self.counters.add_bridge_drop(reason);
                false
            }
        }
    }

    fn count_move(&self, learned: Learned<LeafId>) {
        if let Learned::Moved { .. } = learned {
            self.counters.add(Counter::Moved, 1);
        }
    }
}
