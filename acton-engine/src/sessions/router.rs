//! Where the frames of a batch from the TAP go.

mod learning;
mod vlans;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{
    Asked, Bridge, BumKind, CircuitEcho, DropReason, FloodClass, FrameVlan, FromLeaf, FromRoot,
    GroupRoute, LeafFacts, Learned, Objection, Owner,
};
use acton_frame::{Ethernet, Headers, Tags};

use crate::capture::packet::{Cause, Direction, Outcome, Who};
use crate::capture::recorder::Recorder;
use crate::floods::gate::{Admission, FloodGate};
use crate::floods::news::{FloodNews, FloodReporter};
use crate::floods::shared::Floods;
use crate::floods::snooper::ClientSays;
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::frames::tags::tagged;
use crate::isolation::fates::{Fate, Fates};
use crate::loops::probe::{Reading, Way};
use crate::loops::server_guard::FRESH;
use crate::loops::surge::Surge;
use crate::observe::counters::{Counter, Counters};
use crate::observe::tally::Tally;
use crate::sessions::audience::Audience;
use crate::sessions::circuits::{self, Circuits};
use crate::sessions::directory::Directory;
use crate::sessions::elsewhere::is_from_client;
use crate::sessions::policing::PolicyReason;
use crate::sessions::port::LeafId;
use crate::sessions::rate_out::RateOut;
use crate::sessions::session::Session;
use crate::sessions::sighting::{Sighted, Sightings};

pub(crate) use vlans::{VlanParts, take_off_tags};

/// A worker's way to the bridge: asks it, counts what it says, and tells of MACs.
pub(crate) struct Router {
    bridge: Arc<Bridge<LeafId>>,
    counters: Arc<Counters>,
    sightings: Sightings,
    floods: Arc<Floods>,
    reporter: FloodReporter,
    surge: Surge,
    routes: Vec<Route>,
    /// Who gets what is for some, by [`Route::Some`].
    audiences: Vec<(For, Audience)>,
    admitted: Admitted,
    circuits: Circuits,
    /// The number of the thread, for tallies.
    thread: usize,
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
    /// To the client that has the frame's pair of tags.
    Pair(LeafId),
    /// To those at this place of the batch's audiences.
    Some(u32),
    Nowhere,
}

/// What some get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Group(GroupRoute),
    Vlan(FrameVlan),
}

/// Who gets a run of frames.
pub(crate) enum Target<M> {
    One(Arc<Session<M>>),
    All(Everybody),
    /// Some of them.
    Some(Audience, Everybody),
}

/// All clients, but for those whose flooding is held back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Everybody {
    some_blocked: bool,
}

impl Everybody {
    /// Those of now.
    pub(crate) fn of(floods: &Floods) -> Self {
        Self { some_blocked: floods.are_any_blocked() }
    }

    /// The parts of a run of frames that a client gets; the others are counted.
    #[inline]
    pub(crate) fn parts<'r, M>(
        self,
        session: &Session<M>,
        frames: &impl FrameStore,
        run: Range<usize>,
        rate_out: &'r mut RateOut,
        now: Duration,
    ) -> &'r [Range<usize>] {
        if self.some_blocked && session.gate.is_blocked() {
            return rate_out.none(session, Counter::LoopBlocked, frames, run, now);
        }
        match &session.policy.policy().rate_out {
            Some(rate) => rate_out.within(session, rate, frames, run, now),
            None => rate_out.all(run),
        }
    }
}

impl Router {
    pub(crate) fn new(
        bridge: Arc<Bridge<LeafId>>,
        counters: Arc<Counters>,
        sightings: Sightings,
        floods: Arc<Floods>,
        reporter: FloodReporter,
        thread: usize,
    ) -> Self {
        let (routes, audiences, admitted) = (Vec::new(), Vec::new(), Admitted::default());
        let (surge, circuits) = (Surge::default(), Circuits::default());
        Self {
            bridge,
            counters,
            sightings,
            floods,
            reporter,
            surge,
            routes,
            audiences,
            admitted,
            circuits,
            thread,
        }
    }

    /// Takes the names of circuits out of what servers answer, before it is routed.
    #[inline]
    pub(crate) fn take_out_circuits<K: Copy + Eq + std::hash::Hash, M>(
        &mut self,
        frames: &mut FrameBatch,
        now: Duration,
        directory: &Directory<K, Session<M>>,
    ) {
        self.circuits.begin();
        if !self.floods.are_naming_circuits() {
            return;
        }
        for index in 0..frames.len() {
            if CircuitEcho::may_be_in(frames.headers(index), frames.get(index))
                && self.circuits.take_out(frames, index, &self.bridge, &self.floods, directory, now)
            {
                self.counters.add(Counter::CircuitsRemoved, 1);
            }
        }
    }

    /// A frame of a client's that was admitted, with the name of its circuit in it; `None` where it goes on
    /// as it is. Its checksum is whole, also where that of the frame is partial.
    #[inline]
    pub(crate) fn name_circuit<M>(
        &mut self,
        session: &Session<M>,
        headers: &Headers,
        frame: &[u8],
        is_partial: bool,
    ) -> Option<&mut [u8]> {
        if !session.policy.may_name(headers, frame) {
            return None;
        }
        let marked = self.circuits.mark(session, headers, frame, is_partial)?;
        self.counters.add(Counter::CircuitsNamed, 1);
        Some(marked)
    }

    /// A frame of a client's that was admitted as it goes to the TAP: with the name of its circuit, and with
    /// these tags. Whether its checksum is still partial, where it was.
    pub(crate) fn finished<M>(
        &mut self,
        session: &Session<M>,
        headers: &Headers,
        frame: &[u8],
        is_partial: bool,
        tags: Tags,
    ) -> (Vec<u8>, bool) {
        match self.name_circuit(session, headers, frame, is_partial) {
            // A name changes none of the tags.
            Some(named) => (tagged(named, headers, tags), false),
            None => (tagged(frame, headers, tags), is_partial),
        }
    }

    /// Calls `each` with every run of frames that go the same way, in the frames' order.
    pub(crate) fn route<K: Copy + Eq + std::hash::Hash, M>(
        &mut self,
        frames: &FrameBatch,
        now: Duration,
        directory: &Directory<K, Session<M>>,
        recorder: &mut Recorder,
        mut each: impl FnMut(Target<M>, Range<usize>),
    ) {
        self.routes.clear();
        let (learning, by_vlan) = (self.floods.are_learning(), self.floods.are_by_vlan());
        self.audiences.clear();
        for index in 0..frames.len() {
            let of_pair = || self.floods.pairs.find(frames.headers(index), frames.get(index));
            let pair = if by_vlan { of_pair() } else { None };
            if learning {
                self.learn_lease(frames, index, pair, now, directory);
            }
            let ethernet = frames.headers(index).ethernet();
            let (verdict, learned) = self.bridge.from_root_parsed(ethernet, now);
            self.note_learned(ethernet, Owner::Root, learned, now);
            // Behind a pair of tags is a network of its own.
            if learning && pair.is_none() && !matches!(verdict, FromRoot::Drop(_)) {
                self.learn_neighbour(frames.headers(index), frames.get(index), now);
            }
            if let Some(holder) = pair {
                let route = self.route_to_pair(frames, index, holder, verdict, now, directory);
                self.routes.push(route);
                continue;
            }
            let route = match (verdict, self.circuits.named(index)) {
                (FromRoot::Leaf(_) | FromRoot::Flood(_), Some(id)) => Route::One(id),
                (FromRoot::Leaf(id), None) => Route::One(id),
                (FromRoot::Flood(kind), None) => {
                    self.flood_from_root(frames, index, kind, now, directory)
                }
                (FromRoot::Drop(reason), _) => {
                    self.counters.add_bridge_drop(reason);
                    self.keep_from_root(frames, index, reason, now);
                    Route::Nowhere
                }
            };
            self.routes.push(route);
        }
        let mut start = 0;
        while let Some(&route) = self.routes.get(start) {
            let alike = self.routes[start..].iter().take_while(|&&next| next == route).count();
            let run = start..start + alike;
            start = run.end;
            let one = match route {
                Route::Nowhere => continue,
                Route::Some(index) => {
                    let receivers = self.audiences[index as usize].1.clone();
                    if self.goes_to_some(&receivers, frames, run.clone(), recorder) {
                        each(Target::Some(receivers, self.everybody()), run);
                    }
                    continue;
                }
                Route::Pair(id) => match directory.get(id) {
                    None => {
                        self.drop_of_pair(frames, run, now);
                        continue;
                    }
                    session => session,
                },
                // A client that has just gone: its MAC is an unknown one now.
                Route::One(id) => directory.get(id),
                Route::All => None,
            };
            if let Some(session) = one {
                if session.policy.limits_what_it_gets() {
                    self.split_by_policy(frames, run, &session, now, |part| {
                        show_to(&session, frames, part.clone(), recorder);
                        each(Target::One(Arc::clone(&session)), part);
                    });
                } else {
                    show_to(&session, frames, run.clone(), recorder);
                    each(Target::One(session), run);
                }
                continue;
            }
            self.counters.add(Counter::Flooded, alike as u64);
            if directory.len() == 0 {
                self.counters.add(Counter::NoClient, alike as u64);
                run.clone().for_each(|index| {
                    self.keep_from_root(frames, index, Counter::NoClient, now);
                });
            } else if recorder.wants_frames() {
                let outcome = Outcome::ToAll(directory.len() as u32);
                frames.show(run.clone(), Who::Tap, outcome, recorder);
            }
            each(Target::All(self.everybody()), run);
        }
    }

    /// Whether some client gets what its VLANs say.
    pub(crate) fn is_by_vlan(&self) -> bool {
        self.floods.are_by_vlan()
    }

    /// The bridge that it asks.
    pub(crate) fn bridge(&self) -> &Bridge<LeafId> {
        &self.bridge
    }

    /// Begins a test of isolation, or ends the one that is on: for the routers of all workers.
    pub(crate) fn set_test(&self, test: Option<Arc<Fates>>) {
        self.floods.set_test(test);
    }

    /// Who gets what is for everybody now.
    pub(crate) fn everybody(&self) -> Everybody {
        Everybody::of(&self.floods)
    }

    /// Whether a frame from a client may go to the TAP, and with which tags in place of one that names no
    /// VLAN. Always in its caller's code, as [`TapSink::write`](crate::run::tap_writer::TapSink::write) is.
    #[inline(always)]
    pub(crate) fn admit<M>(
        &mut self,
        session: &Session<M>,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> Option<Tags> {
        let is_guarded = self.floods.are_guarding(&session.policy);
        let root_addresses = &self.floods.root_addresses;
        if session.policy.may_object(is_guarded, root_addresses, headers, frame) {
            if !self.obeys(session, frame, headers, now, tally) {
                return None;
            }
            if let Some(vlans) = session.policy.vlans() {
                return self.admit_to_vlan(session, vlans, frame, headers, now, tally);
            }
        }
        self.admit_as_it_is(session, frame, headers, now, tally).then_some(Tags::NONE)
    }

    /// Whether a frame from a client that its policy has nothing against may go to the TAP; its headers
    /// are as the root sees them.
    #[inline(always)]
    fn admit_as_it_is<M>(
        &mut self,
        session: &Session<M>,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> bool {
        let last = &self.admitted;
        let passes = (headers.ethernet() == Some(&last.ethernet)
            && (session.port, now) == (last.leaf, last.at)
            && !headers.may_resolve())
            || self.ask(session, frame, headers, now, tally);
        let goes = passes
            && (session.policy.policy().rate_in.is_none()
                || self.is_within_rate(session, frame, now, tally));
        if goes && self.floods.are_attending() {
            self.attend(session, frame, headers, now);
        }
        goes
    }

    /// Looks at a frame of a client's that goes to the TAP.
    #[inline(never)]
    fn attend<M>(&self, session: &Session<M>, frame: &[u8], headers: &Headers, now: Duration) {
        if self.floods.are_learning() {
            self.learn_from_client(session, frame, headers, now);
        }
        self.floods.test_frame(session.port, headers, frame, |test, number| {
            self.counters.add(Counter::IsolationPassed, 1);
            test.note(number, session.port, Fate::Root);
        });
    }

    /// Whether a frame of a client's that goes nowhere is one of a test of isolation, and so counts as
    /// none that was dropped.
    #[cold]
    fn notes_test<M>(&self, session: &Session<M>, frame: &[u8], cause: impl Into<Cause>) -> bool {
        if !self.floods.are_testing() {
            return false;
        }
        let headers = Headers::parse(frame);
        let noted = self.floods.test_frame(session.port, &headers, frame, |test, number| {
            self.counters.add(Counter::IsolationDropped, 1);
            let reason = cause.into().name().unwrap_or("unknown");
            test.note(number, session.port, Fate::Dropped(reason));
        });
        noted.is_some()
    }

    /// Whether a frame of a client's obeys its policy.
    #[inline(never)]
    fn obeys<M>(
        &self,
        session: &Session<M>,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> bool {
        let floods = &self.floods;
        let own = (session.port, &session.policing.leases);
        let is_elsewhere =
            |vlan, address| floods.is_others(&self.bridge, own, (vlan, address), now);
        let leaf = LeafFacts {
            is_guarded: floods.are_guarding(&session.policy),
            leases: &session.policing.leases,
            advertised: &floods.advertised,
            is_elsewhere: &is_elsewhere,
            root_addresses: &floods.root_addresses,
        };
        let objection = session.policy.check(&leaf, headers, frame, now);
        let objection = objection.or_else(|| circuits::objection(session, headers, frame));
        let Some(objection) = objection else { return true };
        // Loops are found whatever kinds of frames are allowed.
        let is_probe = || {
            let prober = floods.prober.as_ref();
            prober.is_some_and(|prober| prober.may_pass(headers, frame))
        };
        if objection == Objection::EtherType && is_probe() {
            return true;
        }
        // What comes back through a loop: the bridge drops it for its MAC, and has loops looked for.
        if objection == Objection::Gateway && is_from_root(&self.bridge, headers, now) {
            return true;
        }
        self.drop_by_policy(session, frame, PolicyReason::Objection(objection), now, tally);
        false
    }

    /// Whether a client may send one more frame now.
    #[inline(never)]
    fn is_within_rate<M>(
        &self,
        session: &Session<M>,
        frame: &[u8],
        now: Duration,
        tally: &Tally,
    ) -> bool {
        let Some(rate) = &session.policy.policy().rate_in else { return true };
        let is_within = session.policing.inbound.admits(rate, 1, frame.len(), now);
        if !is_within {
            self.drop_by_policy(session, frame, PolicyReason::RateIn, now, tally);
        }
        is_within
    }

    #[cold]
    fn drop_by_policy<M>(
        &self,
        session: &Session<M>,
        frame: &[u8],
        reason: PolicyReason,
        now: Duration,
        tally: &Tally,
    ) {
        if self.notes_test(session, frame, reason.counter()) {
            return;
        }
        self.counters.add(reason.counter(), 1);
        tally.add_drops(reason.counter(), 1);
        self.keep_from_leaf(session, frame, reason.counter(), now);
        self.note_policy(session, reason, now);
    }

    /// Notes that a client's policy acts, and tells of it where it begins to; what is not heard is told
    /// again with the next frame.
    fn note_policy<M>(&self, session: &Session<M>, reason: PolicyReason, now: Duration) {
        let news = FloodNews::PolicyActs { port: session.port, reason };
        if session.policing.note(reason, now) && !self.reporter.tell(news) {
            session.policing.forget(reason);
        }
    }

    /// Calls `each` with the parts of a run of frames for a client that may go to it now.
    #[inline(never)]
    fn split_by_policy<M>(
        &self,
        frames: &FrameBatch,
        run: Range<usize>,
        session: &Session<M>,
        now: Duration,
        mut each: impl FnMut(Range<usize>),
    ) {
        let mut part = run.start..run.start;
        for index in run {
            let Some(reason) = self.objection_to(session, frames, index, now) else {
                part.end = index + 1;
                continue;
            };
            if !part.is_empty() {
                each(part);
            }
            part = index + 1..index + 1;
            self.drop_to(session, frames, index, reason, now);
        }
        if !part.is_empty() {
            each(part);
        }
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
        let is_pair = session.policy.vlans().is_some_and(|vlans| vlans.pair().is_some());
        let (verdict, learned) = if is_pair {
            (self.bridge.from_leaf_unlearned(leaf, ethernet, now), Learned::Nothing)
        } else {
            self.bridge.from_leaf_parsed(leaf, ethernet, now)
        };
        self.note_learned(ethernet, Owner::Leaf(leaf), learned, now);
        match verdict {
            FromLeaf::Root { bum } => {
                let passes = bum.is_none_or(|kind| {
                    self.flood_from_leaf(session, frame, headers, kind, now, tally)
                });
                if passes && headers.may_resolve() {
                    // Nobody has to be asked for behind a pair of tags, and addresses there may be others'.
                    if !is_pair {
                        self.floods.neighbours.hear(Owner::Leaf(leaf), headers, frame, now);
                    }
                } else if let (None, Some(&ethernet)) = (bum, ethernet) {
                    self.admitted = Admitted { leaf, at: now, ethernet };
                }
                passes
            }
            FromLeaf::Drop(reason) => {
                // A probe comes back from an address that is the server's own.
                if is_of_the_source(reason) && self.takes_probe(session, frame, headers, now) {
                    return false;
                }
                if self.notes_test(session, frame, reason) {
                    return false;
                }
                self.counters.add_bridge_drop(reason);
                tally.add_bridge_drop(reason);
                self.keep_from_leaf(session, frame, reason, now);
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

    /// Where frame `index` goes, which is for all clients, or asks for what one of them has.
    #[inline(never)]
    fn flood_from_root<K: Copy + Eq + std::hash::Hash, M>(
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
        if self.is_over(class, frames, index, directory.len(), now) {
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
            if asked == Asked::Everybody
                && self.is_over(FloodClass::Unresolved, frames, index, directory.len(), now)
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
        self.route_in_vlan(frames, index, directory.len())
    }

    /// Where a frame for a multicast group goes.
    #[inline(never)]
    fn route_group(&mut self, headers: &Headers, frame: &[u8], now: Duration) -> Route {
        let snooper = &self.floods.snooper;
        let route = snooper.route(headers, frame, now);
        let whose = For::Group(route);
        if self.audiences.last().is_none_or(|(last, _)| *last != whose) {
            let Some(receivers) = snooper.receivers(route) else { return Route::All };
            self.audiences.push((whose, Audience::Group(receivers)));
        }
        Route::Some(self.audiences.len() as u32 - 1)
    }

    /// Counts frames for some, and shows them to those who capture; whether anybody gets them.
    fn goes_to_some(
        &self,
        receivers: &Audience,
        frames: &FrameBatch,
        run: Range<usize>,
        recorder: &mut Recorder,
    ) -> bool {
        let count = receivers.count() as u32;
        let (counter, outcome) = match receivers {
            Audience::Group(_) if count == 0 => (Counter::GroupUnwanted, Outcome::ToGroup(0)),
            Audience::Group(_) => (Counter::GroupFrames, Outcome::ToGroup(count)),
            Audience::Vlan(_) => (Counter::Flooded, Outcome::ToAll(count)),
        };
        self.counters.add(counter, run.len() as u64);
        if recorder.wants_frames() {
            frames.show(run, Who::Tap, outcome, recorder);
        }
        count > 0
    }

    /// Whether frame `index`, from the TAP, which so many sessions may get, is over the budget of a class,
    /// and dropped.
    fn is_over(
        &self,
        class: FloodClass,
        frames: &FrameBatch,
        index: usize,
        sessions: usize,
        now: Duration,
    ) -> bool {
        let count = frames.count(index);
        match self.admit_from_root(class, frames, index, sessions, now) {
            Admission::Passes => false,
            Admission::Over { begins } => {
                self.drop_over_budget(class, Owner::Root, count, begins);
                self.keep_from_root(frames, index, Counter::over_budget(class), now);
                true
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
        if self.takes_probe(session, frame, headers, now) {
            return false;
        }
        if session.gate.is_blocked() {
            if self.notes_test(session, frame, Counter::LoopBlocked) {
                return false;
            }
            self.counters.add(Counter::LoopBlocked, 1);
            tally.add_drops(Counter::LoopBlocked, 1);
            self.keep_from_leaf(session, frame, Counter::LoopBlocked, now);
            return false;
        }
        // They use up nobody's budget, and are too few to need one.
        if self.floods.test_frame(session.port, headers, frame, |_, _| ()).is_some() {
            return true;
        }
        let class = FloodClass::of(kind, headers, frame);
        let (floods, unresolved) = (&self.floods, FloodClass::Unresolved);
        let admits = |class| match session.gate.admit(class, 1, floods.client.of(class), now) {
            Admission::Passes => true,
            Admission::Over { begins } => {
                self.drop_over_budget(class, Owner::Leaf(session.port), 1, begins);
                tally.add_drops(Counter::over_budget(class), 1);
                self.keep_from_leaf(session, frame, Counter::over_budget(class), now);
                false
            }
        };
        let is_pair = session.policy.vlans().is_some_and(|vlans| vlans.pair().is_some());
        let is_unresolved = class.may_ask()
            && !is_pair
            && floods.client.of(unresolved).is_some()
            && floods.neighbours.would_ask(headers, frame, now) == Asked::Everybody;
        (!is_unresolved || admits(unresolved))
            && admits(class)
            && (kind != BumKind::Multicast
                || !floods.snooper.is_on()
                || self.hears_groups(session, frame, headers, now, tally))
    }

    /// Hears which groups a client asks for; whether its frame passes.
    #[inline(never)]
    fn hears_groups<M>(
        &self,
        session: &Session<M>,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> bool {
        let has_pair = session.policy.vlans().is_some_and(|vlans| vlans.pair().is_some());
        let client = (session.port, self.floods.are_guarding(&session.policy), has_pair);
        let snooper = &self.floods.snooper;
        match snooper.hear_client(client, headers, frame, now, &self.counters) {
            ClientSays::Passes => true,
            ClientSays::IsQuerier => {
                self.drop_by_policy(session, frame, PolicyReason::Query, now, tally);
                false
            }
        }
    }

    /// Whether a frame from a client is a probe that goes no further.
    fn takes_probe<M>(
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

    /// Keeps the beginning of a frame from the TAP that goes nowhere.
    #[cold]
    fn keep_from_root(
        &self,
        frames: &FrameBatch,
        index: usize,
        cause: impl Into<Cause>,
        now: Duration,
    ) {
        let dropped = self.counters.dropped();
        dropped.add_frame(now, Direction::Out, Who::Tap, cause, frames.get(index));
    }

    /// Keeps the beginning of a frame of a client's that goes nowhere.
    #[cold]
    fn keep_from_leaf<M>(
        &self,
        session: &Session<M>,
        frame: &[u8],
        cause: impl Into<Cause>,
        now: Duration,
    ) {
        let (dropped, who) = (self.counters.dropped(), Who::Client(&session.name));
        dropped.add_frame(now, Direction::In, who, cause, frame);
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

/// Shows frames that go to a client to those who capture.
fn show_to<M>(
    session: &Session<M>,
    frames: &FrameBatch,
    run: Range<usize>,
    recorder: &mut Recorder,
) {
    if recorder.wants_frames() {
        frames.show(run, Who::Client(&session.name), Outcome::ToSession, recorder);
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

/// Whether the MAC of a client's frame is the root's, on whichever VLAN: it came back through a loop.
pub(crate) fn is_from_root(bridge: &Bridge<LeafId>, headers: &Headers, now: Duration) -> bool {
    let Some(ethernet) = headers.ethernet() else { return false };
    bridge.lookup(ethernet.vlan(), ethernet.source(), now) == Some(Owner::Root)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use acton_bridge::Config;
    use pnet_base::MacAddr;

    use super::*;
    use crate::floods::budgets::FloodBudgets;
    use crate::loops::probe::Probe;
    use crate::run::control::Message;

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
