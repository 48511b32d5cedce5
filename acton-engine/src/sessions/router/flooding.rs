//! Where frames from the TAP go that are for everybody, for a group, or ask for what a client has.

use std::hash::Hash;
use std::ops::Range;
use std::time::Duration;

use acton_bridge::{Asked, BumKind, FloodClass, Owner};
use acton_frame::Headers;

use super::{Route, Router};
use crate::capture::packet::{Outcome, Who};
use crate::capture::recorder::Recorder;
use crate::floods::news::FloodNews;
use crate::floods::vlan_gates::Passage;
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::observe::counters::Counter;
use crate::sessions::audience::{Audience, For};
use crate::sessions::directory::Directory;
use crate::sessions::elsewhere::is_from_client;
use crate::sessions::port::LeafId;
use crate::sessions::session::Session;

impl Router {
    /// Where frame `index` goes, which is for all clients, or asks for what one of them has.
    #[inline(never)]
    pub(super) fn flood_from_root<K: Copy + Eq + Hash, M>(
        &mut self,
        frames: &FrameBatch,
        index: usize,
        kind: BumKind,
        now: Duration,
        directory: &Directory<K, Session<M>>,
    ) -> Route {
        let (frame, headers) = (frames.get(index), frames.headers(index));
        let (floods, at, count) = (&*self.floods, Owner::Root, frames.count(index));
        if let Some(prober) = &floods.prober {
            if let Some(reading) = prober.read(headers, frame)
                && !self.passes_probe_from_root(reading, headers, frame, now, directory)
            {
                return Route::Nowhere;
            }
            if self.surge.add(count, now) {
                self.reporter.tell(FloodNews::Surge);
            }
        }
        let class = FloodClass::of(kind, headers, frame);
        if is_from_client(&self.bridge, headers.ethernet(), now) {
            if class.may_ask() {
                floods.neighbours.hear(at, headers, frame, now);
            }
            self.counters.add(Counter::ClientElsewhere, count.into());
            self.keep_from_root(frames, index, Counter::ClientElsewhere, now);
            return Route::Nowhere;
        }
        // What nobody gets leaves the budget to what somebody does.
        if floods.are_by_vlan() && !self.may_reach(frames, index, directory.len(), now) {
            if class.may_ask() {
                floods.neighbours.hear(at, headers, frame, now);
            }
            if kind == BumKind::Multicast && floods.snooper.is_on() {
                let _ = floods.snooper.route(headers, frame, now);
            }
            return Route::Nowhere;
        }
        let mut for_few = None;
        if !self.passes(class, frames, index, directory.len(), now, &mut for_few) {
            return Route::Nowhere;
        }
        if class.may_ask() {
            floods.neighbours.hear(at, headers, frame, now);
            let asked = floods.neighbours.ask(headers, frame, now);
            if let Asked::Owner(Owner::Leaf(leaf)) = asked
                // Where there is a loop, nothing that the LAN may send back goes to its client.
                && directory.read(leaf, |session| !session.gate.is_blocked()) == Some(true)
            {
                return Route::One(leaf);
            }
            let unresolved = FloodClass::Unresolved;
            if asked == Asked::Everybody
                && !self.passes(unresolved, frames, index, directory.len(), now, &mut for_few)
            {
                return Route::Nowhere;
            }
        }
        if kind == BumKind::Multicast && floods.snooper.is_on() {
            match self.route_group(headers, frame, now) {
                Route::All => {}
                route => return route,
            }
        }
        if let Some(class) = for_few {
            self.drop_over_budget(class, Owner::Root, frames.count(index), false);
            self.keep_from_root(frames, index, Counter::over_budget(class), now);
        }
        self.route_in_vlan(frames, index, directory.len(), for_few.is_some())
    }

    /// Where a frame for a multicast group goes.
    #[inline(never)]
    fn route_group(&mut self, headers: &Headers, frame: &[u8], now: Duration) -> Route {
        let snooper = &self.floods.snooper;
        let route = snooper.route(headers, frame, now);
        let whose = For::Group(route);
        if self.audiences.last().is_none_or(|last| last.gets() != whose) {
            let Some(receivers) = snooper.receivers(route) else { return Route::All };
            self.audiences.push(Audience::Group(route, receivers));
        }
        Route::Some(self.audiences.len() as u32 - 1)
    }

    /// Counts frames for some, and shows them to those who capture; whether anybody gets them.
    pub(super) fn goes_to_some(
        &self,
        receivers: &Audience,
        frames: &FrameBatch,
        run: Range<usize>,
        now: Duration,
        recorder: &mut Recorder,
    ) -> bool {
        let count = receivers.count() as u32;
        if count == 0 && matches!(receivers, Audience::Vlan(..)) {
            // The last of them has just gone.
            self.drop_of_vlan(frames, run, now);
            return false;
        }
        let (counter, outcome) = match receivers {
            Audience::Group(..) if count == 0 => (Counter::GroupUnwanted, Outcome::ToGroup(0)),
            Audience::Group(..) => (Counter::GroupFrames, Outcome::ToGroup(count)),
            Audience::Vlan(..) => (Counter::Flooded, Outcome::ToAll(count)),
        };
        self.counters.add(counter, run.len() as u64);
        if recorder.wants_frames() {
            frames.show(run, Who::Tap, outcome, recorder);
        }
        count > 0
    }

    /// Whether the budget of a class lets frame `index`, from the TAP, pass, where there are so many sessions;
    /// if only to those in few VLANs, `for_few` has the class.
    fn passes(
        &self,
        class: FloodClass,
        frames: &FrameBatch,
        index: usize,
        sessions: usize,
        now: Duration,
        for_few: &mut Option<FloodClass>,
    ) -> bool {
        match self.admit_from_root(class, frames, index, sessions, now) {
            Passage::All => true,
            Passage::Few { begins } => {
                if begins {
                    self.reporter.tell(FloodNews::BudgetActs { at: Owner::Root, class });
                }
                for_few.get_or_insert(class);
                true
            }
            Passage::Nobody { begins } => {
                self.drop_over_budget(class, Owner::Root, frames.count(index), begins);
                self.keep_from_root(frames, index, Counter::over_budget(class), now);
                false
            }
        }
    }

    pub(super) fn drop_over_budget(
        &self,
        class: FloodClass,
        at: Owner<LeafId>,
        frames: u32,
        begins: bool,
    ) {
        self.counters.add(Counter::over_budget(class), frames.into());
        if begins {
            self.reporter.tell(FloodNews::BudgetActs { at, class });
        }
    }
}
