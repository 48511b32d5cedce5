//! What a router does where policies name VLANs: frames of clients get the tags that they have at the root,
//! a pair of tags leads to its client, and a flood goes to those who are in its VLAN.

use std::hash::Hash;
use std::ops::Range;
use std::time::Duration;

use acton_bridge::{DropReason, FloodClass, ForLeaf, FrameVlan, FromRoot, Objection, Vlans};
use acton_frame::{Headers, Tags};

use super::{Route, Router};
use crate::floods::gate::Admission;
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::observe::counters::Counter;
use crate::observe::tally::Tally;
use crate::sessions::audience::{Audience, For};
use crate::sessions::directory::Directory;
use crate::sessions::pairs::Holder;
use crate::sessions::policing::PolicyReason;
use crate::sessions::port::LeafId;
use crate::sessions::session::Session;
use crate::sessions::vlan_members::Reach;

/// Of a frame with the pair of tags that is another client's alone.
const ANOTHERS: PolicyReason = PolicyReason::Objection(Objection::Vlan);

impl Router {
    /// Whether a frame of a client's in some VLANs may go to the TAP, and the tags that it gets there.
    #[inline(never)]
    pub(super) fn admit_to_vlan<M>(
        &mut self,
        session: &Session<M>,
        vlans: &Vlans,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
        tally: &Tally,
    ) -> Option<Tags> {
        let Some(at_root) = vlans.at_root(headers, frame) else {
            // Of a runt nobody knows: it is the bridge's to drop, and to count.
            return self.admit_as_it_is(session, frame, headers, now, tally).then_some(Tags::NONE);
        };
        if !vlans.is_untagged() && self.floods.pairs.find(headers, frame).is_some() {
            self.drop_by_policy(session, frame, ANOTHERS, now, tally);
            return None;
        }
        if vlans.is_untagged() && self.is_probe_of_no_vlan(headers, frame) {
            self.counters.add(Counter::ProbesBack, 1);
            return None;
        }
        // From here on the frame is where the root sees it.
        let headers = headers.in_vlan(at_root.vlan);
        self.admit_as_it_is(session, frame, &headers, now, tally).then_some(at_root.tags)
    }

    /// Where frame `index` goes, which has the pair of tags of one client. What the bridge says of its
    /// destination does not matter.
    #[inline(never)]
    pub(super) fn route_to_pair<K: Copy + Eq + Hash, M>(
        &self,
        frames: &FrameBatch,
        index: usize,
        holder: Holder,
        verdict: FromRoot<LeafId>,
        now: Duration,
        directory: &Directory<K, Session<M>>,
    ) -> Route {
        if let FromRoot::Drop(reason) = verdict
            && reason != DropReason::Local
        {
            self.counters.add_bridge_drop(reason);
            self.keep_from_root(frames, index, reason, now);
            return Route::Nowhere;
        }
        let Holder::Here(port) = holder else {
            self.drop_of_vlan(frames, index..index + 1, now);
            return Route::Nowhere;
        };
        let (frame, headers) = (frames.get(index), frames.headers(index));
        if frame.first().is_none_or(|first| first & 1 == 0) {
            return Route::Pair(port);
        }
        if let Some(reading) = self.floods.prober.as_ref().and_then(|it| it.read(headers, frame))
            && !self.passes_probe_from_root(reading, headers, frame, now, directory)
        {
            return Route::Nowhere;
        }
        if directory.read(port, |session| session.gate.is_blocked()) == Some(true) {
            self.counters.add(Counter::LoopBlocked, frames.count(index).into());
            self.keep_from_root(frames, index, Counter::LoopBlocked, now);
            return Route::Nowhere;
        }
        Route::Pair(port)
    }

    /// Drops frames of a VLAN that nobody is in, or with a pair of tags whose client is not here: they are
    /// nobody else's.
    #[cold]
    pub(super) fn drop_of_vlan(&self, frames: &FrameBatch, run: Range<usize>, now: Duration) {
        for index in run {
            self.counters.add(Counter::Vlan, frames.count(index).into());
            self.keep_from_root(frames, index, Counter::Vlan, now);
        }
    }

    /// Where frame `index` goes, which is for everybody who is in its VLAN or for the group at that place, and
    /// of classes whose budgets let it pass, where there are so many sessions. Those in many VLANs get it if
    /// the budgets have something left for them in all.
    pub(super) fn route_in_vlan(
        &mut self,
        frames: &FrameBatch,
        index: usize,
        group: Option<u32>,
        classes: &[FloodClass],
        sessions: usize,
        now: Duration,
    ) -> Route {
        let vlan = FrameVlan::of(frames.headers(index), frames.get(index));
        let floods = &*self.floods;
        let reach = floods.vlan_members.reach(vlan);
        let has_wide = |group| match &self.audiences[group as usize] {
            Audience::Group(_, receivers) => receivers.has_wide(),
            Audience::Vlan(..) => true,
        };
        let over = if reach.wide > 0 && group.is_none_or(has_wide) {
            let classes = classes.iter().map(|class| (*class, floods.root.of(*class)));
            floods.vlan_gates.over_for_wide(classes, frames.count(index), now)
        } else {
            None
        };
        let Some(class) = over else {
            return group.map_or_else(|| self.route_to_all_in(vlan, sessions), Route::Some);
        };
        // That is told of the root.
        let begins = floods.root_gate.over(class, now) == Admission::Over { begins: true };
        self.drop_from_root(class, frames, index, begins, now);
        match group {
            Some(group) => self.route_to_few_of(group),
            None if reach.few > 0 => self.route_to_few_in(vlan),
            None => Route::Nowhere,
        }
    }

    /// The way to everybody who is in a VLAN.
    fn route_to_all_in(&mut self, vlan: FrameVlan, sessions: usize) -> Route {
        let place = self.known_audience(For::Vlan(vlan), false).or_else(|| {
            let some = self.floods.vlan_members.audience(vlan, sessions)?;
            Some(self.add_audience(Audience::Vlan(vlan, some)))
        });
        place.map_or(Route::All, Route::Some)
    }

    /// The way to those who are in a VLAN and in few others.
    fn route_to_few_in(&mut self, vlan: FrameVlan) -> Route {
        let place = self.known_audience(For::Vlan(vlan), true).unwrap_or_else(|| {
            let some = self.floods.vlan_members.few(vlan);
            self.add_audience(Audience::Vlan(vlan, some))
        });
        Route::Some(place)
    }

    /// The way to those of the group at that place who are in few VLANs.
    fn route_to_few_of(&mut self, group: u32) -> Route {
        let Audience::Group(route, receivers) = &self.audiences[group as usize] else {
            return Route::Nowhere;
        };
        let place = match self.known_audience(For::Group(*route), true) {
            Some(place) => place,
            None => {
                let few = receivers.few(self.floods.vlan_members.wide());
                self.add_audience(Audience::Group(*route, few))
            }
        };
        if self.audiences[place as usize].count() > 0 { Route::Some(place) } else { Route::Nowhere }
    }

    /// What the root's budget of a class says of frame `index`. What goes to the members of a VLAN has a
    /// budget of its own, and counts for all as much as they are of all.
    pub(super) fn admit_from_root(
        &self,
        class: FloodClass,
        frames: &FrameBatch,
        index: usize,
        (sessions, is_for_one): (usize, bool),
        now: Duration,
    ) -> Admission {
        let (floods, count) = (&self.floods, frames.count(index));
        let budget = floods.root.of(class);
        if !floods.are_by_vlan() {
            return floods.root_gate.admit(class, count, budget, now);
        }
        let vlan = FrameVlan::of(frames.headers(index), frames.get(index));
        let reach = if is_for_one { Reach::ONE } else { floods.vlan_members.reach(vlan) };
        floods.vlan_gates.admit(
            (vlan, (reach, sessions)),
            class,
            count,
            budget,
            &floods.root_gate,
            now,
        )
    }

    /// Whether the budget of a class has anything left for frame `index`, where there are so many sessions.
    /// Nothing is spent.
    pub(super) fn has_left(
        &self,
        class: FloodClass,
        frames: &FrameBatch,
        index: usize,
        sessions: usize,
        now: Duration,
    ) -> bool {
        let (floods, root) = (&self.floods, &self.floods.root_gate);
        let Some(budget) = floods.root.of(class) else { return true };
        if !floods.are_by_vlan() {
            return root.left(class, budget, now) > 0;
        }
        let vlan = FrameVlan::of(frames.headers(index), frames.get(index));
        let has_own = floods.vlan_members.reach(vlan).has_budget(sessions);
        root.has_part(class, budget, (1, sessions.max(1) as u32), now)
            && (!has_own || floods.vlan_gates.of(vlan).left(class, budget, now) > 0)
    }

    /// Whether any of the sessions, of which there are so many, may be in the VLAN of frame `index`, which is for everybody and else
    /// is dropped.
    #[inline(never)]
    pub(super) fn may_reach(
        &self,
        frames: &FrameBatch,
        index: usize,
        sessions: usize,
        now: Duration,
    ) -> bool {
        let vlan = FrameVlan::of(frames.headers(index), frames.get(index));
        // Where there is no session at all, that is the reason.
        let may_reach = sessions == 0 || self.floods.vlan_members.may_reach(vlan);
        if !may_reach {
            self.drop_of_vlan(frames, index..index + 1, now);
        }
        may_reach
    }
}

/// Takes off the tags of frames that go to one client and may go there.
pub(crate) fn take_off_tags<M>(
    session: &Session<M>,
    frames: &mut impl FrameStore,
    run: Range<usize>,
) {
    let Some(vlans) = session.policy.vlans() else { return };
    for index in run {
        let verdict = vlans.for_leaf(frames.headers(index), frames.get(index));
        if let Some(ForLeaf::Untagged(tags)) = verdict {
            frames.take_off_tags(index, tags);
        }
    }
}

/// The parts of a run of frames for everybody that are of one VLAN each; none where no policy names VLANs.
/// Its memory is allocated once.
#[derive(Debug, Default)]
pub(crate) struct VlanParts {
    parts: Vec<(FrameVlan, Range<usize>)>,
}

impl VlanParts {
    /// Takes those of `run` in place of others, where some client goes `by_vlan`. The frames are as they
    /// came.
    pub(crate) fn find(&mut self, by_vlan: bool, frames: &impl FrameStore, run: Range<usize>) {
        self.parts.clear();
        if !by_vlan {
            return;
        }
        for index in run {
            let vlan = FrameVlan::of(frames.headers(index), frames.get(index));
            match self.parts.last_mut() {
                Some((last, part)) if *last == vlan => part.end = index + 1,
                _ => self.parts.push((vlan, index..index + 1)),
            }
        }
    }

    /// Calls `send` with the parts of `run` that a client gets, as it gets them: all that was found, or some
    /// of it.
    #[inline]
    pub(crate) fn for_each<M, F: FrameStore>(
        &self,
        session: &Session<M>,
        frames: &mut F,
        run: Range<usize>,
        mut send: impl FnMut(&mut F, Range<usize>),
    ) {
        let vlans = session.policy.vlans();
        if self.parts.is_empty() && vlans.is_none() {
            return send(frames, run);
        }
        let Some(vlans) = vlans else {
            // Others may have had them without their tags.
            run.clone().for_each(|index| frames.take_off_tags(index, 0));
            return send(frames, run);
        };
        for (vlan, part) in self.within(&run) {
            let Some(how) = vlans.of_flood(*vlan) else { continue };
            let part = part.start.max(run.start)..part.end.min(run.end);
            let tags = match how {
                ForLeaf::AsItIs => 0,
                ForLeaf::Untagged(tags) => tags,
            };
            part.clone().for_each(|index| frames.take_off_tags(index, tags));
            send(frames, part);
        }
    }

    /// Those that have frames of `run`. In a round where VLANs take turns a client has a run for each of its
    /// frames, so what one run takes must not grow with the parts that there are.
    #[inline]
    fn within(&self, run: &Range<usize>) -> &[(FrameVlan, Range<usize>)] {
        let from = self.parts.partition_point(|(_, part)| part.end <= run.start);
        let parts = &self.parts[from..];
        let count = parts.iter().take_while(|(_, part)| part.start < run.end).count();
        &parts[..count]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    use acton_bridge::{
        Bridge, Circuit, CompiledPolicy, Config, Policy, VlanId, VlanRange, VlanSet,
    };
    use acton_frame::Tag;
    use acton_udp::UdpSocket;

    use super::*;
    use crate::floods::budgets::FloodBudgets;
    use crate::floods::gate::FloodGate;
    use crate::floods::news::FloodReporter;
    use crate::floods::shared::Floods;
    use crate::frames::copies::FrameCopies;
    use crate::observe::counters::Counters;
    use crate::observe::tally::Tallies;
    use crate::run::control::Message;
    use crate::sessions::lease_holders::tests::dhcp;
    use crate::sessions::policing::Policing;
    use crate::sessions::sighting::Sightings;

    const NOW: Duration = Duration::from_secs(100);

    fn session(vlans: Vlans, circuit: Option<Circuit>) -> Session<()> {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut policy = Policy::default();
        (policy.vlans, policy.circuit) = (Some(vlans), circuit);
        Session {
            port: 7,
            name: "berlin".into(),
            to: Arc::new(socket.destination("127.0.0.1:9".parse().unwrap(), None)),
            since: Duration::ZERO,
            tallies: Arc::new(Tallies::new(1)),
            gate: Arc::new(FloodGate::new()),
            policy: Arc::new(CompiledPolicy::new(policy)),
            policing: Arc::new(Policing::new(Arc::default())),
            mode: (),
        }
    }

    fn router(counters: &Arc<Counters>) -> Router {
        let (control, _) = sync_channel::<Message<()>>(1);
        Router::new(
            Arc::new(Bridge::new(Config::default())),
            Arc::clone(counters),
            Sightings::new(control.clone()),
            Arc::new(Floods::new(&FloodBudgets::default(), false)),
            FloodReporter::new(control),
            0,
        )
    }

    fn access() -> Vlans {
        Vlans::Access(VlanId::new(7).unwrap())
    }

    #[test]
    fn of_some_frames_of_a_round_a_client_gets_those_alone() {
        let mut copies = FrameCopies::default();
        for vlan in [7, 7, 8, 7] {
            let frame = [&[2; 12][..], &[0x81, 0, 0, vlan, 8, 0], &[0; 46]].concat();
            let batch = FrameBatch::of_one(&frame);
            copies.push(&batch, 0, None, true, NOW);
        }
        let (mut parts, session) = (VlanParts::default(), session(access(), None));
        parts.find(true, &copies, 0..4);
        let mut sent = |run| {
            let mut sent = Vec::new();
            parts.for_each(&session, &mut copies, run, |_, run| sent.push((run.start, run.end)));
            sent
        };
        assert_eq!(sent(0..1), [(0, 1)]);
        assert_eq!(sent(1..4), [(1, 2), (3, 4)]);
        assert_eq!(sent(2..3), []);
        assert_eq!(sent(0..4), [(0, 2), (3, 4)]);
        // And no others are looked at.
        assert_eq!(parts.within(&(3..4)).len(), 1);
        assert_eq!(parts.within(&(1..3)).len(), 2);
        assert!(parts.within(&(4..4)).is_empty());
    }

    #[test]
    fn the_pair_of_another_passes_from_no_trunk() {
        let set = VlanSet::new(vec![VlanRange::new(100, 100).unwrap()]).unwrap();
        let (session, counters) = (session(Vlans::Tagged(set), None), Arc::new(Counters::new()));
        let mut router = router(&counters);
        let tags = |inner| {
            let [outer, inner] = [100, inner].map(|tci| Tag { tpid: 0x8100, tci });
            Tags::two(outer, inner)
                .in_front_of(&[&[0xff; 6][..], &[2; 6], &[0x88, 0xb5], &[0; 46]].concat())
        };
        let pair = acton_bridge::TagPair {
            outer: VlanId::new(100).unwrap(),
            inner: VlanId::new(17).unwrap(),
            tpid: acton_bridge::OuterTag::Customer,
        };
        let passes = |router: &mut Router, frame: &[u8]| {
            let (headers, tally) = (Headers::parse(frame), session.tallies.of(0));
            router.admit(&session, frame, &headers, NOW, tally).is_some()
        };
        assert!(passes(&mut router, &tags(17)), "it is nobody's");
        // While its client is away, and while it is here.
        router.floods.pairs.keep([pair]);
        assert!(!passes(&mut router, &tags(17)) && passes(&mut router, &tags(18)));
        router.floods.pairs.give(pair, 3);
        assert!(!passes(&mut router, &tags(0xe011)) && passes(&mut router, &tags(18)));
        assert_eq!(counters.get(Counter::Vlan), 2);
    }

    #[test]
    fn a_runt_is_counted() {
        let set = VlanSet::new(vec![VlanRange::new(5, 9).unwrap()]).unwrap();
        let (session, counters) = (session(Vlans::Tagged(set), None), Arc::new(Counters::new()));
        let (runt, tally) = ([2; 13], session.tallies.of(0));
        let headers = Headers::parse(&runt);
        let admitted = router(&counters).admit(&session, &runt, &headers, NOW, tally);
        assert!(admitted.is_none());
        assert_eq!(counters.bridge_drops(DropReason::Runt), 1);
    }

    #[test]
    fn a_frame_that_goes_alone_has_the_name_of_its_circuit_and_its_tag() {
        let circuit = Circuit::new("port-{client}".parse().unwrap(), None);
        let (session, counters) = (session(access(), Some(circuit)), Arc::new(Counters::new()));
        let frame = dhcp(1, 5, 0);
        let headers = Headers::parse(&frame);
        let tags = access().at_root(&headers, &frame).unwrap().tags;
        let (finished, is_partial) =
            router(&counters).finished(&session, &headers, &frame, true, tags);
        assert_eq!(finished[12..16], [0x81, 0, 0, 7]);
        assert!(finished.windows(11).any(|part| part == b"port-berlin"), "{finished:02x?}");
        assert!(!is_partial && counters.get(Counter::CircuitsNamed) == 1);
        // What no server is told of stays as it is.
        let other = [&[2; 12][..], &[8, 6], &[0; 46]].concat();
        let headers = Headers::parse(&other);
        let (finished, is_partial) =
            router(&counters).finished(&session, &headers, &other, true, tags);
        assert_eq!((finished, is_partial), (tags.in_front_of(&other), true));
    }
}
