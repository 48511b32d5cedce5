//! What clients' policies have against frames, in both directions.

use std::ops::Range;
use std::time::Duration;

use acton_bridge::{LeafFacts, Objection};
use acton_frame::Headers;

use super::Router;
use super::loops::is_from_root;
use crate::capture::packet::{Direction, Who};
use crate::floods::news::FloodNews;
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::observe::tally::Tally;
use crate::sessions::circuits;
use crate::sessions::policing::PolicyReason;
use crate::sessions::session::Session;

impl Router {
    /// Whether a frame of a client's obeys its policy.
    #[inline(never)]
    pub(super) fn obeys<M>(
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
    pub(super) fn is_within_rate<M>(
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
    pub(super) fn drop_by_policy<M>(
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
    pub(super) fn split_by_policy<M>(
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

    /// Why a frame from the TAP does not go to a client that it was sent to.
    fn objection_to<M>(
        &self,
        session: &Session<M>,
        frames: &FrameBatch,
        index: usize,
        now: Duration,
    ) -> Option<PolicyReason> {
        if let Some(vlans) = session.policy.vlans()
            && vlans.for_leaf(frames.headers(index), frames.get(index)).is_none()
        {
            return Some(PolicyReason::Objection(Objection::Vlan));
        }
        let rate = session.policy.policy().rate_out.as_ref()?;
        let (count, bytes) = (frames.count(index), frames.get(index).len());
        let is_within = session.policing.outbound.admits(rate, count, bytes, now);
        (!is_within).then_some(PolicyReason::RateOut)
    }

    /// Drops frame `index` on its way to a client.
    #[cold]
    fn drop_to<M>(
        &self,
        session: &Session<M>,
        frames: &FrameBatch,
        index: usize,
        reason: PolicyReason,
        now: Duration,
    ) {
        let count = frames.count(index).into();
        self.counters.add(reason.counter(), count);
        session.tallies.of(self.thread).add_drops(reason.counter(), count);
        let (dropped, who) = (self.counters.dropped(), Who::Client(&session.name));
        dropped.add_frame(now, Direction::Out, who, reason.counter(), frames.get(index));
        self.note_policy(session, reason, now);
    }
}
