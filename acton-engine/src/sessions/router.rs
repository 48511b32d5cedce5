//! Where the frames of a batch from the TAP go.

mod admission;
mod flooding;
mod learning;
mod loops;
mod policies;
mod vlans;
#[cfg(test)]
mod wide;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{Bridge, CircuitEcho, FromRoot, Learned, Owner};
use acton_frame::{Ethernet, Headers, Tags};

use crate::capture::packet::{Cause, Direction, Outcome, Who};
use crate::capture::recorder::Recorder;
use crate::floods::news::FloodReporter;
use crate::floods::shared::Floods;
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::frames::tags::tagged;
use crate::isolation::fates::{Fate, Fates};
use crate::loops::surge::Surge;
use crate::observe::counters::{Counter, Counters};
use crate::sessions::audience::Audience;
use crate::sessions::circuits::Circuits;
use crate::sessions::directory::Directory;
use crate::sessions::port::LeafId;
use crate::sessions::rate_out::RateOut;
use crate::sessions::session::Session;
use crate::sessions::sighting::{Sighted, Sightings};

pub(crate) use loops::is_from_root;
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
    audiences: Vec<Audience>,
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
                    let receivers = self.audiences[index as usize].clone();
                    if self.goes_to_some(&receivers, frames, run.clone(), now, recorder) {
                        each(Target::Some(receivers, self.everybody()), run);
                    }
                    continue;
                }
                Route::Pair(id) => match directory.get(id) {
                    None => {
                        self.drop_of_vlan(frames, run, now);
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
