//! Where frames from the TAP go that are for everybody, for a group, or ask for what a client has.

use std::hash::Hash;
use std::ops::Range;
use std::time::Duration;

use acton_bridge::{Asked, BumKind, FloodClass, Owner};
use acton_frame::Headers;

use super::{Route, Router};
use crate::capture::packet::{Outcome, Who};
use crate::capture::recorder::Recorder;
use crate::floods::gate::Admission;
use crate::floods::news::FloodNews;
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::observe::counters::Counter;
use crate::sessions::audience::{Audience, For};
use crate::sessions::directory::Directory;
use crate::sessions::elsewhere::is_from_client;
use crate::sessions::group_audience::GroupAudience;
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
        let mut is_unresolved = false;
        if class.may_ask() {
            // What is over its budget anyway takes no lock.
            let receivers = (directory.len(), false);
            if !self.has_left(class, frames, index, directory.len(), now)
                && !self.passes(class, frames, index, receivers, now)
            {
                return Route::Nowhere;
            }
            floods.neighbours.hear(at, headers, frame, now);
            let asked = floods.neighbours.ask(headers, frame, now);
            if let Asked::Owner(Owner::Leaf(leaf)) = asked
                // Where there is a loop, nothing that the LAN may send back goes to its client.
                && directory.read(leaf, |session| !session.gate.is_blocked()) == Some(true)
            {
                // It is no flood, so it neither takes from what those in many VLANs have of floods nor waits
                // for it: a storm in one VLAN must not have a host of theirs be lost in another.
                let passes = self.passes(class, frames, index, (directory.len(), true), now);
                return if passes { Route::One(leaf) } else { Route::Nowhere };
            }
            // The smaller budget first, so that what it refuses takes nothing from the other.
            is_unresolved = asked == Asked::Everybody;
            let unresolved = FloodClass::Unresolved;
            if is_unresolved && !self.passes(unresolved, frames, index, receivers, now) {
                return Route::Nowhere;
            }
        }
        if !self.passes(class, frames, index, (directory.len(), false), now) {
            return Route::Nowhere;
        }
        let listens = kind == BumKind::Multicast && floods.snooper.is_on();
        let group = if listens { self.find_group(headers, frame, now) } else { None };
        if !self.floods.are_by_vlan() {
            return group.map_or(Route::All, Route::Some);
        }
        // In the same order, for those in many VLANs.
        let classes = [FloodClass::Unresolved, class];
        let classes = &classes[usize::from(!is_unresolved)..];
        self.route_in_vlan(frames, index, group, classes, directory.len(), now)
    }

    /// Those who get a multicast group that a frame is for, by their place among the batch's audiences; `None`
    /// where it is for everybody.
    #[inline(never)]
    fn find_group(&mut self, headers: &Headers, frame: &[u8], now: Duration) -> Option<u32> {
        let floods = &*self.floods;
        let route = floods.snooper.route(headers, frame, now);
        let known = self.known_audience(For::Group(route), false);
        if known.is_some() {
            return known;
        }
        let receivers = floods.snooper.receivers(route)?;
        let wide = floods.are_by_vlan().then(|| &**floods.vlan_members.wide());
        let receivers = GroupAudience::new(receivers, wide);
        Some(self.add_audience(Audience::Group(route, receivers)))
    }

    /// The place of an audience that the batch has already, or nearly last: two of a flow may take turns.
    pub(super) fn known_audience(&self, what: For, is_of_few: bool) -> Option<u32> {
        let mut last = self.audiences.iter().enumerate().rev().take(2);
        let is_it = |some: &Audience| some.gets() == what && some.is_of_few() == is_of_few;
        last.find(|(_, some)| is_it(some)).map(|(place, _)| place as u32)
    }

    pub(super) fn add_audience(&mut self, some: Audience) -> u32 {
        self.audiences.push(some);
        self.audiences.len() as u32 - 1
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

    /// Whether the budget of a class lets frame `index`, from the TAP, pass, where there are so many sessions,
    /// and it is for one of them alone or not.
    fn passes(
        &self,
        class: FloodClass,
        frames: &FrameBatch,
        index: usize,
        receivers: (usize, bool),
        now: Duration,
    ) -> bool {
        match self.admit_from_root(class, frames, index, receivers, now) {
            Admission::Passes => true,
            Admission::Over { begins } => {
                self.drop_from_root(class, frames, index, begins, now);
                false
            }
        }
    }

    /// Counts frame `index`, from the TAP, that is over the budget of a class, for some or for all.
    pub(super) fn drop_from_root(
        &self,
        class: FloodClass,
        frames: &FrameBatch,
        index: usize,
        begins: bool,
        now: Duration,
    ) {
        self.drop_over_budget(class, Owner::Root, frames.count(index), begins);
        self.keep_from_root(frames, index, Counter::over_budget(class), now);
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
