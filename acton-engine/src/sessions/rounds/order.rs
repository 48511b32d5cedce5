//! A client gets what is of one flow in the order in which it came, whether it is for all of a VLAN, for some
//! of it or for everybody: what goes at once overtakes nothing that waits.

use std::collections::BTreeMap;

use acton_bridge::{FrameVlan, GroupRoute, Multicast, VlanId, Vlans};
use proptest::prelude::*;

use super::*;
use crate::frames::batch::FrameBatch;
use crate::sessions::group_audience::GroupAudience;
use crate::sessions::port::LeafId;
use crate::sessions::vlan_members::VlanMembers;

/// Clients in each of [`VLANS`], behind which those in another and the trunks come.
const IN_VLAN: LeafId = 10;
const VLANS: [u8; 2] = [7, 8];
const ELSEWHERE: u8 = 9;
/// Where a frame has its number.
const NUMBER: usize = 30;

#[derive(Debug)]
struct Client(LeafId, Option<u8>);

impl Ported for Client {
    fn port(&self) -> LeafId {
        self.0
    }
}

/// What comes, and what the worker does.
#[derive(Debug, Clone, Copy)]
enum Step {
    Frame { flow: (u8, bool), for_few: bool },
    Turn,
    Slice,
}

fn any_step() -> impl Strategy<Value = Step> {
    let frame = (prop::sample::select(&VLANS), any::<bool>(), any::<bool>())
        .prop_map(|(vlan, to_group, for_few)| Step::Frame { flow: (vlan, to_group), for_few });
    prop_oneof![6 => frame, 1 => Just(Step::Turn), 2 => Just(Step::Slice)]
}

/// A batch of one frame of a VLAN.
fn batch(vlan: u8) -> FrameBatch {
    let frame = [&[0xff; 6][..], &[2; 6], &[0x81, 0, 0, vlan, 0x88, 0xb5], &[0; 46]].concat();
    FrameBatch::of_one(&frame)
}

/// The frames that each client gets of each flow: a VLAN, and whether they are for the group.
type Got = BTreeMap<(LeafId, (u8, bool)), Vec<u8>>;

struct World {
    directory: Directory<u32, Client>,
    members: VlanMembers,
    of_group: GroupAudience,
    rounds: Rounds<Client>,
    counters: Counters,
    batches: BTreeMap<u8, FrameBatch>,
    /// Of which flow each frame is, by its number.
    flows: Vec<(u8, bool)>,
    got: Got,
    expected: Got,
}

impl World {
    fn new(elsewhere: LeafId, trunks: LeafId) -> Self {
        let (directory, members, groups) =
            (Directory::new(), VlanMembers::default(), Multicast::<LeafId>::new());
        let in_vlans = VLANS.into_iter().flat_map(|vlan| (0..IN_VLAN).map(move |_| Some(vlan)));
        let others = (0..elsewhere).map(|_| Some(ELSEWHERE));
        let all = in_vlans.chain(others).chain((0..trunks).map(|_| None));
        for (port, vlan) in (0..).zip(all) {
            let vlans = vlan.map(|vlan| Vlans::Access(VlanId::new(vlan.into()).unwrap()));
            members.add(vlans.as_ref(), port);
            directory.put(Arc::new(Client(port, vlan)));
            if port.is_multiple_of(2) {
                groups.leaf_up(port, Duration::ZERO);
            }
        }
        let asked = groups.receivers(&group());
        Self {
            directory,
            of_group: GroupAudience::new(asked, Some(&**members.wide())),
            members,
            rounds: Rounds::new(SharedRounds::new(1, 0).unwrap(), 0),
            counters: Counters::new(),
            batches: VLANS.into_iter().map(|vlan| (vlan, batch(vlan))).collect(),
            flows: Vec::new(),
            got: Got::new(),
            expected: Got::new(),
        }
    }

    /// A frame comes, as the router finds whom it is for.
    fn frame(&mut self, flow @ (vlan, to_group): (u8, bool), for_few: bool) {
        let number = self.flows.len() as u8;
        self.flows.push(flow);
        let frame = self.batches.get_mut(&vlan).unwrap();
        frame.get_mut(0).0[NUMBER] = number;
        let sessions = self.directory.len();
        let of = FrameVlan::of(frame.headers(0), frame.get(0));
        let some = match (to_group, for_few) {
            (true, false) => {
                Some(Audience::Group(GroupRoute::Group(group()), self.of_group.clone()))
            }
            (true, true) => {
                let few = self.of_group.few(self.members.wide());
                Some(Audience::Group(GroupRoute::Group(group()), few))
            }
            (false, true) => Some(Audience::Vlan(of, self.members.few(of))),
            (false, false) => {
                self.members.audience(of, sessions).map(|some| Audience::Vlan(of, some))
            }
        };
        let (got, expected) = (&mut self.got, &mut self.expected);
        let is_for = |client: &Client| {
            is_in(client, vlan)
                && !(for_few && client.1.is_none())
                && (!to_group || client.0.is_multiple_of(2))
        };
        self.directory.for_each(|client| {
            if is_for(client) {
                expected.entry((client.0, flow)).or_default().push(number);
            }
        });
        let mut give = |client: &Arc<Client>| {
            if is_in(client, vlan) {
                got.entry((client.0, flow)).or_default().push(number);
            }
        };
        let (now, counters) = (Duration::ZERO, &self.counters);
        match some {
            Some(some) => {
                if !self.rounds.takes_some(frame, 0..1, &some, now, counters) {
                    some.for_each(&self.directory, give);
                }
            }
            None => {
                if !self.rounds.takes(frame, 0..1, (sessions, true), now, counters) {
                    self.directory.for_each(&mut give);
                }
            }
        }
    }

    fn slice(&mut self) {
        let Self { directory, rounds, counters, got, flows, .. } = self;
        rounds.send_slice(directory, Duration::ZERO, counters, |slice| {
            for client in slice.receivers {
                slice.wanted.find(slice.frames, client.0);
                let mut rest = slice.run.clone();
                while let Some(run) = slice.frames.next_run(&mut rest, slice.wanted) {
                    for number in run.map(|index| slice.frames.get(index)[NUMBER]) {
                        let flow = flows[usize::from(number)];
                        if is_in(client, flow.0) {
                            got.entry((client.0, flow)).or_default().push(number);
                        }
                    }
                }
            }
        });
    }
}

/// Whether a client's policy lets it have what is in a VLAN.
fn is_in(client: &Client, vlan: u8) -> bool {
    client.1.is_none_or(|own| own == vlan)
}

fn group() -> acton_bridge::Group {
    acton_bridge::Group::new(7, [239, 1, 2, 3].into()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn each_client_gets_each_flow_in_order(
        elsewhere in prop_oneof![Just(0_u32), 30..60_u32],
        trunks in 1..30_u32,
        steps in prop::collection::vec(any_step(), 1..80),
    ) {
        let mut world = World::new(elsewhere, trunks);
        for step in steps {
            match step {
                Step::Frame { flow, for_few } => world.frame(flow, for_few),
                Step::Turn => world.rounds.begin_turn(),
                Step::Slice => world.slice(),
            }
        }
        while world.rounds.has_slice() {
            world.slice();
        }
        prop_assert_eq!(world.counters.get(Counter::FloodLate), 0);
        prop_assert_eq!(world.got, world.expected);
    }
}
