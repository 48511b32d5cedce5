//! Which frames from clients may go to the TAP.

use std::time::Duration;

use acton_bridge::{Asked, BumKind, DropReason, FloodClass, FromLeaf, Learned, Owner};
use acton_frame::{Headers, Tags};

use super::{Admitted, Router};
use crate::floods::gate::Admission;
use crate::floods::snooper::ClientSays;
use crate::isolation::fates::Fate;
use crate::observe::counters::Counter;
use crate::observe::tally::Tally;
use crate::sessions::policing::PolicyReason;
use crate::sessions::session::Session;
use crate::sessions::sighting::Sighted;

impl Router {
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
    pub(super) fn admit_as_it_is<M>(
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
