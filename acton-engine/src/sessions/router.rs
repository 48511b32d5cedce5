//! Where the frames of a batch from the TAP go.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{Bridge, BumKind, DropReason, FloodClass, FromLeaf, FromRoot, Learned, Owner};
use acton_frame::{Ethernet, Headers};

use crate::floods::gate::Admission;
use crate::floods::news::{FloodNews, FloodReporter};
use crate::floods::shared::Floods;
use crate::frames::batch::FrameBatch;
use crate::observe::counters::{Counter, Counters};
use crate::observe::tally::Tally;
use crate::sessions::directory::Directory;
use crate::sessions::port::LeafId;
use crate::sessions::session::Session;
use crate::sessions::sighting::{Sighted, Sightings};

/// A worker's way to the bridge: asks it, counts what it says, and tells of MACs.
pub(crate) struct Router {
    bridge: Arc<Bridge<LeafId>>,
    counters: Arc<Counters>,
    sightings: Sightings,
    floods: Arc<Floods>,
    reporter: FloodReporter,
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
pub(crate) enum Target<M> {
    One(Arc<Session<M>>),
    All,
}

impl Router {
    pub(crate) fn new(
        bridge: Arc<Bridge<LeafId>>,
        counters: Arc<Counters>,
        sightings: Sightings,
        floods: Arc<Floods>,
        reporter: FloodReporter,
    ) -> Self {
        let (routes, admitted) = (Vec::new(), Admitted::default());
        Self { bridge, counters, sightings, floods, reporter, routes, admitted }
    }

    /// Calls `each` with every run of frames that go the same way, in the frames' order.
    pub(crate) fn route<K: Copy + Eq + std::hash::Hash, M>(
        &mut self,
        frames: &FrameBatch,
        now: Duration,
        directory: &Directory<K, Session<M>>,
        mut each: impl FnMut(Target<M>, Range<usize>),
    ) {
        self.routes.clear();
        for index in 0..frames.len() {
            let ethernet = frames.headers(index).ethernet();
            let (verdict, learned) = self.bridge.from_root_parsed(ethernet, now);
            self.note_learned(ethernet, Owner::Root, learned, now);
            self.routes.push(match verdict {
                FromRoot::Leaf(id) => Route::One(id),
                FromRoot::Flood(kind) => self.flood_from_root(frames, index, kind, now),
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
            let one = match route {
                Route::Nowhere => continue,
                // A client that has just gone: its MAC is an unknown one now.
                Route::One(id) => directory.get(id),
                Route::All => None,
            };
            if let Some(session) = one {
                each(Target::One(session), run);
                continue;
            }
            self.counters.add(Counter::Flooded, alike as u64);
            if directory.len() == 0 {
                self.counters.add(Counter::NoClient, alike as u64);
            }
            each(Target::All, run);
        }
    }

    /// Whether a frame from a client may go to the TAP.
    #[inline]
    pub(crate) fn admit<M>(
        &mut self,
        session: &Session<M>,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> bool {
        let last = &self.admitted;
        if headers.ethernet() == Some(&last.ethernet) && (session.port, now) == (last.leaf, last.at)
        {
            return true;
        }
        self.ask(session, frame, headers, now, tally)
    }

    /// Whether the bridge lets a frame from a client go to the TAP.
    fn ask<M>(
        &mut self,
        session: &Session<M>,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> bool {
        let (leaf, ethernet) = (session.port, headers.ethernet());
        let (verdict, learned) = self.bridge.from_leaf_parsed(leaf, ethernet, now);
        self.note_learned(ethernet, Owner::Leaf(leaf), learned, now);
        match verdict {
            FromLeaf::Root { bum } => {
                if let Some(kind) = bum {
                    return self.flood_from_leaf(session, frame, headers, kind, now, tally);
                }
                if let Some(&ethernet) = ethernet {
                    self.admitted = Admitted { leaf, at: now, ethernet };
                }
                true
            }
            FromLeaf::Drop(reason) => {
                self.counters.add_bridge_drop(reason);
                tally.add_bridge_drop(reason);
                let sighted = match reason {
                    DropReason::LeafLimit => Some(Sighted::NoRoom),
                    _ => is_of_the_source(reason).then_some(Sighted::Held(reason)),
                };
                if let Some(sighted) = sighted {
                    self.sightings.tell(ethernet, Owner::Leaf(leaf), sighted, now);
                }
                false
            }
        }
    }

    /// Where frame `index` goes, which is for all clients.
    #[inline(never)]
    fn flood_from_root(
        &self,
        frames: &FrameBatch,
        index: usize,
        kind: BumKind,
        now: Duration,
    ) -> Route {
        let (headers, count) = (frames.headers(index), frames.count(index));
        let class = FloodClass::of(kind, headers, frames.get(index));
        let (floods, at) = (&*self.floods, Owner::Root);
        match floods.root_gate.admit(class, count, floods.root.of(class), now) {
            Admission::Passes => Route::All,
            Admission::Over { begins } => {
                self.drop_over_budget(class, at, count, begins);
                Route::Nowhere
            }
        }
    }

    /// Whether a frame from a client may go to the TAP, whose destination is not known to be there.
    #[inline(never)]
    fn flood_from_leaf<M>(
        &self,
        session: &Session<M>,
        frame: &[u8],
        headers: &Headers,
        kind: BumKind,
        now: Duration,
        tally: &Tally,
    ) -> bool {
        let class = FloodClass::of(kind, headers, frame);
        match session.gate.admit(class, 1, self.floods.client.of(class), now) {
            Admission::Passes => true,
            Admission::Over { begins } => {
                self.drop_over_budget(class, Owner::Leaf(session.port), 1, begins);
                tally.add_drops(Counter::over_budget(class), 1);
                false
            }
        }
    }

    fn drop_over_budget(&self, class: FloodClass, at: Owner<LeafId>, frames: u32, begins: bool) {
        self.counters.add(Counter::over_budget(class), frames.into());
        if begins {
            self.reporter.tell(FloodNews::BudgetActs { at, class });
        }
    }

    fn note_learned(
        &mut self,
        ethernet: Option<&Ethernet>,
        at: Owner<LeafId>,
        learned: Learned<LeafId>,
        now: Duration,
    ) {
        let what = match learned {
            Learned::Nothing => return,
            Learned::New => Sighted::New,
            Learned::Moved { from, frozen } => {
                self.counters.add(Counter::Moved, 1);
                Sighted::Moved { from, frozen }
            }
        };
        self.sightings.tell(ethernet, at, what, now);
    }
}

/// Whether a frame was dropped for what its source is to somebody else.
fn is_of_the_source(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::SourceProtected
            | DropReason::SourceAtRoot
            | DropReason::SourceNotListed
            | DropReason::SourceStatic
            | DropReason::SourceHeld
            | DropReason::SourceFrozen
    )
}
