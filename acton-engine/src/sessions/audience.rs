//! Those of all clients that a frame for several is for.

use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use acton_bridge::{FrameVlan, GroupRoute};

use crate::sessions::directory::{Directory, Ported, SLOTS};
use crate::sessions::group_audience::GroupAudience;
use crate::sessions::port::{LeafId, slot};
use crate::sessions::slot_set::{SlotSet, SlotUnion};
use crate::sessions::vlan_members::VlanAudience;

/// Some of all clients. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) enum Audience {
    /// Those that asked for a multicast group.
    Group(GroupRoute, GroupAudience),
    /// Those that may be in a VLAN.
    Vlan(FrameVlan, VlanAudience),
}

/// What an audience gets: what goes to all of one and what goes to those in few VLANs alone is one flow, which
/// keeps its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum For {
    Group(GroupRoute),
    Vlan(FrameVlan),
}

impl Audience {
    /// What they get.
    pub(crate) fn gets(&self) -> For {
        match self {
            Self::Group(route, _) => For::Group(*route),
            Self::Vlan(vlan, _) => For::Vlan(*vlan),
        }
    }

    /// Whether those in many VLANs are not among them, so that others get what all get, too.
    pub(crate) fn is_of_few(&self) -> bool {
        match self {
            Self::Group(_, receivers) => receivers.is_of_few(),
            Self::Vlan(_, members) => members.is_of_few(),
        }
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Group(_, receivers) => receivers.count(),
            Self::Vlan(_, members) => members.count(),
        }
    }

    /// How many have to be looked at to find them.
    pub(crate) fn looked_at(&self) -> usize {
        match self {
            Self::Group(_, receivers) => receivers.count(),
            Self::Vlan(_, members) => members.looked_at(),
        }
    }

    /// Whether a client is among them.
    #[inline]
    pub(crate) fn contains(&self, client: LeafId) -> bool {
        match self {
            Self::Group(_, receivers) => receivers.contains(client),
            Self::Vlan(_, members) => members.contains(slot(client)),
        }
    }

    /// Whether they are those of another for sure.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Group(_, one), Self::Group(_, other)) => one.is_same(other),
            (Self::Vlan(_, one), Self::Vlan(_, other)) => one.is_same(other),
            _ => false,
        }
    }

    /// How many of those there are that no other audience has for sure.
    pub(crate) fn own_count(&self) -> usize {
        match self {
            Self::Group(_, receivers) => receivers.count(),
            Self::Vlan(_, members) => members.own().map_or(0, SlotSet::len),
        }
    }

    /// Calls `each` with their slots. A client that goes leaves its own.
    pub(crate) fn for_each_own(&self, mut each: impl FnMut(usize)) {
        match self {
            Self::Group(_, receivers) => receivers.iter().for_each(|port| each(slot(port))),
            Self::Vlan(_, members) => {
                members.own().into_iter().for_each(|own| own.for_each(&mut each));
            }
        }
    }

    /// Adds these slots to others.
    pub(crate) fn add_own_to(&self, slots: &mut SlotUnion) {
        match self {
            Self::Group(..) => self.for_each_own(|slot| slots.insert(slot)),
            Self::Vlan(_, members) => members.own().into_iter().for_each(|own| slots.add(own)),
        }
    }

    /// The others, who are looked at for every VLAN.
    pub(crate) fn wide(&self) -> Option<&Arc<SlotSet>> {
        match self {
            Self::Group(..) => None,
            Self::Vlan(_, members) => members.wide(),
        }
    }

    /// How many of them are in some slots.
    pub(crate) fn count_in(&self, slots: &Range<usize>) -> usize {
        match self {
            Self::Group(_, receivers) => {
                receivers.iter().filter(|&port| slots.contains(&slot(port))).count()
            }
            Self::Vlan(_, members) => members.count_in(slots),
        }
    }

    /// Calls `each` with them. One that has just gone is nobody.
    pub(crate) fn for_each<K: Copy + Eq + Hash, S: Ported>(
        &self,
        directory: &Directory<K, S>,
        mut each: impl FnMut(&Arc<S>),
    ) {
        match self {
            Self::Group(_, receivers) => receivers.iter().for_each(|port| {
                directory.read_shared(port, &mut each);
            }),
            Self::Vlan(_, members) => {
                let mut next = members.next(0);
                while next < SLOTS {
                    directory.read_slot(next, &mut each);
                    next = members.next(next + 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use acton_bridge::{FrameVlan, VlanId, Vlans};

    use super::*;
    use crate::frames::batch::FrameBatch;
    use crate::frames::copies::{FrameCopies, Wanted};
    use crate::frames::store::FrameStore;
    use crate::observe::counters::{Counter, Counters};
    use crate::sessions::rounds::{Rounds, SharedRounds};
    use crate::sessions::vlan_members::VlanMembers;

    struct Client(LeafId);

    impl Ported for Client {
        fn port(&self) -> LeafId {
            self.0
        }
    }

    const SESSIONS: LeafId = 10_000;

    /// A batch of one frame in a VLAN.
    fn batch(vlan: u8) -> FrameBatch {
        let frame = [&[0xff; 6][..], &[2; 6], &[0x81, 0, 0, vlan, 8, 6], &[0; 46]].concat();
        FrameBatch::of_one(&frame)
    }

    /// So many sessions, of which the first in each hundred or so are in VLAN 7, and the others in 8.
    fn world(of_seven: impl Fn(LeafId) -> bool) -> (Directory<u32, Client>, VlanMembers) {
        let (directory, members) = (Directory::new(), VlanMembers::default());
        for port in 0..SESSIONS {
            let vlan = if of_seven(port) { 7 } else { 8 };
            members.add(Some(&Vlans::Access(VlanId::new(vlan).unwrap())), port);
            directory.put(Arc::new(Client(port)));
        }
        (directory, members)
    }

    fn audience(members: &VlanMembers, batch: &FrameBatch) -> Option<Audience> {
        let vlan = FrameVlan::of(batch.headers(0), batch.get(0));
        let some = members.audience(vlan, SESSIONS as usize);
        some.map(|members| Audience::Vlan(vlan, members))
    }

    #[test]
    fn few_members_of_a_vlan_get_a_flood_at_once_and_nobody_else_is_looked_at() {
        let (directory, members) = world(|port| port % 1_000 == 999);
        let batch = batch(7);
        let some = audience(&members, &batch).unwrap();
        let mut rounds = Rounds::<Client>::new(SharedRounds::new(1, 0).unwrap(), 0);
        let (now, counters) = (Duration::ZERO, Counters::new());
        assert!(!rounds.takes_some(&batch, 0..1, &some, now, &counters));
        let mut got = Vec::new();
        some.for_each(&directory, |client| got.push(client.0));
        assert_eq!(got, (0..10).map(|number| number * 1_000 + 999).collect::<Vec<_>>());
    }

    #[test]
    fn so_many_get_something_at_once_in_a_turn_and_nothing_overtakes_what_waits() {
        let (directory, members) = world(|port| port % 1_000 == 999);
        let frame = batch(7);
        let some = audience(&members, &frame).unwrap();
        let mut rounds = Rounds::<Client>::new(SharedRounds::new(1, 0).unwrap(), 0);
        let (now, counters) = (Duration::ZERO, Counters::new());
        let takes =
            |rounds: &mut Rounds<Client>| rounds.takes_some(&frame, 0..1, &some, now, &counters);
        let before: Vec<_> = (0..7).map(|_| takes(&mut rounds)).collect();
        assert_eq!(before, [false, false, false, false, false, false, true], "60 of 64");
        rounds.begin_turn();
        assert!(takes(&mut rounds), "the one before has to go first");
        while rounds.has_slice() {
            rounds.send_slice(&directory, now, &counters, |_| {});
        }
        assert!(!takes(&mut rounds));
    }

    #[test]
    fn more_get_it_in_a_round_of_their_own() {
        let (directory, members) = world(|port| port % 100 == 3);
        let [seven, eight] = [7, 8].map(batch);
        let some = audience(&members, &seven).unwrap();
        let mut rounds = Rounds::new(SharedRounds::new(1, 0).unwrap(), 0);
        let (now, counters) = (Duration::ZERO, Counters::new());
        assert!(rounds.takes_some(&seven, 0..1, &some, now, &counters));
        let (mut got, mut slices) = (Vec::new(), 0);
        while rounds.has_slice() {
            rounds.send_slice(&directory, now, &counters, |slice| {
                slices += 1;
                got.extend(slice.receivers.iter().map(|client: &Arc<Client>| client.0));
            });
        }
        assert_eq!(got, (0..100).map(|number| number * 100 + 3).collect::<Vec<_>>());
        assert!(slices < 10, "{slices}: one for each 16, and not for each 16 sessions");
        assert!(audience(&members, &eight).is_none(), "nearly all");
    }

    #[test]
    fn who_comes_into_a_vlan_gets_what_waits_then() {
        let (directory, members) = world(|port| port % 100 == 3);
        let seven = batch(7);
        let some = audience(&members, &seven).unwrap();
        let mut rounds = Rounds::new(SharedRounds::new(1, 0).unwrap(), 0);
        let (now, counters) = (Duration::ZERO, Counters::new());
        assert!(rounds.takes_some(&seven, 0..1, &some, now, &counters));
        let new = SESSIONS + 5_000;
        members.add(Some(&Vlans::Access(VlanId::new(7).unwrap())), new);
        directory.put(Arc::new(Client(new)));
        let some = audience(&members, &seven).unwrap();
        assert!(rounds.takes_some(&seven, 0..1, &some, now, &counters));
        let mut got = Vec::new();
        while rounds.has_slice() {
            rounds.send_slice(&directory, now, &counters, |slice| {
                got.extend(slice.receivers.iter().map(|client: &Arc<Client>| client.0));
            });
        }
        assert!(got.contains(&new), "{} clients, without it", got.len());
    }

    #[test]
    fn in_a_round_each_gets_what_is_for_all_for_its_vlan_and_for_its_group() {
        let (directory, members) = world(|port| port % 100 == 3);
        let groups = acton_bridge::Multicast::<LeafId>::new();
        // Whoever has just come gets all groups.
        (0..200).for_each(|port| groups.leaf_up(port, Duration::ZERO));
        let of = |receivers| GroupAudience::new(receivers, Some(&**members.wide()));
        let of_group = Audience::Group(GroupRoute::Routers, of(groups.routers()));
        assert_eq!(of_group.count(), 0, "nobody is a router");
        let asked = groups.receivers(&some_group());
        let of_group = Audience::Group(GroupRoute::Group(some_group()), of(asked));
        assert_eq!(of_group.count(), 200);
        let seven = batch(7);
        let of_seven = audience(&members, &seven).unwrap();
        let mut rounds = Rounds::new(SharedRounds::new(1, 0).unwrap(), 0);
        let (now, counters) = (Duration::ZERO, Counters::new());
        let all = SESSIONS as usize;
        let mut expected = vec![Vec::new(); all];
        for (number, kind) in [1, 2, 0, 2, 1, 1, 2].into_iter().enumerate() {
            let mut frame = batch(7);
            frame.get_mut(0).0[20] = number as u8;
            let is_taken = match kind {
                0 => rounds.takes(&frame, 0..1, (all, true), now, &counters),
                1 => rounds.takes_some(&frame, 0..1, &of_seven, now, &counters),
                _ => rounds.takes_some(&frame, 0..1, &of_group, now, &counters),
            };
            assert!(is_taken);
            for port in 0..SESSIONS {
                if kind == 0 || kind == 1 && port % 100 == 3 || kind == 2 && port < 200 {
                    expected[port as usize].push(number as u8);
                }
            }
        }
        let mut got = vec![Vec::new(); all];
        while rounds.has_slice() {
            rounds.send_slice(&directory, now, &counters, |slice| {
                for client in slice.receivers {
                    let client: &Arc<Client> = client;
                    slice.wanted.find(slice.frames, client.0);
                    let mut rest = slice.run.clone();
                    while let Some(run) = slice.frames.next_run(&mut rest, slice.wanted) {
                        let numbers = run.map(|index| slice.frames.get(index)[20]);
                        got[client.0 as usize].extend(numbers);
                    }
                }
            });
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn those_in_few_vlans_and_all_take_turns_and_are_noted_once_each() {
        let (_, members) = world(|port| port % 100 == 3);
        members.add(None, SESSIONS);
        let frame = batch(7);
        let all = audience(&members, &frame).unwrap();
        let vlan = FrameVlan::of(frame.headers(0), frame.get(0));
        let few = Audience::Vlan(vlan, members.few(vlan));
        assert_eq!((all.count(), few.count()), (101, 100));
        let (mut copies, mut wanted) = (FrameCopies::default(), Wanted::default());
        for some in [&all, &few, &all, &few, &few, &all] {
            copies.push(&frame, 0, Some((some, some.count())), true, Duration::ZERO);
        }
        assert_eq!(copies.audiences(), 2);
        wanted.begin(&copies);
        for (client, expected) in [(103, &[(0, 6)][..]), (SESSIONS, &[(0, 1), (2, 3), (5, 6)])] {
            wanted.find(&copies, client);
            let (mut rest, mut runs) = (0..6, Vec::new());
            while let Some(run) = copies.next_run(&mut rest, &wanted) {
                runs.push((run.start, run.end));
            }
            assert_eq!(runs, expected);
        }
    }

    #[test]
    fn who_gets_nothing_is_not_looked_at_and_slices_go_by_what_each_gets() {
        // Of 100 VLANs each has 100 clients, and half of them are not flooded in.
        let (directory, members) = (Directory::<u32, Client>::new(), VlanMembers::default());
        let vlan_of = |port: LeafId| (port % 100) as u16 + 1;
        for port in 0..SESSIONS {
            members.add(Some(&Vlans::Access(VlanId::new(vlan_of(port)).unwrap())), port);
            directory.put(Arc::new(Client(port)));
        }
        let (now, counters) = (Duration::ZERO, Counters::new());
        let mut rounds = Rounds::new(SharedRounds::new(1, 1_400).unwrap(), 0);
        for vlan in (0..3).flat_map(|_| 1..=50) {
            let batch = batch(vlan);
            let some = audience(&members, &batch).unwrap();
            assert!(rounds.takes_some(&batch, 0..1, &some, now, &counters));
        }
        let (mut slices, mut got) = (0, vec![0; SESSIONS as usize]);
        while rounds.has_slice() {
            rounds.send_slice(&directory, now, &counters, |slice| {
                slices += 1;
                for client in slice.receivers {
                    let client: &Arc<Client> = client;
                    slice.wanted.find(slice.frames, client.0);
                    let mut rest = slice.run.clone();
                    while let Some(run) = slice.frames.next_run(&mut rest, slice.wanted) {
                        got[client.0 as usize] += run.len();
                    }
                }
            });
        }
        let is_right = |port| got[port as usize] == if vlan_of(port) <= 50 { 3 } else { 0 };
        assert!((0..SESSIONS).all(is_right));
        assert_eq!(slices, 5_000_usize.div_ceil(16), "of 16, since each gets three frames alone");
    }

    #[test]
    fn of_many_vlans_each_gets_its_own_a_trunk_all_and_who_left_none() {
        // Of 200 VLANs each has three clients, but the last, which has 100; and two are in all.
        let (directory, members) = (Directory::<u32, Client>::new(), VlanMembers::default());
        let vlan_of = |port: LeafId| 1 + (port / 3).min(199) as u16;
        let access = |port| Some(Vlans::Access(VlanId::new(vlan_of(port)).unwrap()));
        for port in 0..=699 {
            let vlans = if port < 697 { access(port) } else { None };
            members.add(vlans.as_ref(), port);
            directory.put(Arc::new(Client(port)));
        }
        let mut rounds = Rounds::new(SharedRounds::new(1, 0).unwrap(), 0);
        let (now, counters) = (Duration::ZERO, Counters::new());
        for vlan in 1..=200 {
            let batch = batch(vlan);
            let some = audience(&members, &batch).unwrap();
            let taken = rounds.takes_some(&batch, 0..1, &some, now, &counters);
            assert_eq!(
                taken,
                vlan > 10,
                "six at once have sixty receivers, ten the room that there is"
            );
        }
        members.remove(access(590).as_ref(), 590);
        let mut got = vec![0; 700];
        while rounds.has_slice() {
            rounds.send_slice(&directory, now, &counters, |slice| {
                for client in slice.receivers {
                    let client: &Arc<Client> = client;
                    slice.wanted.find(slice.frames, client.0);
                    let mut rest = slice.run.clone();
                    while let Some(run) = slice.frames.next_run(&mut rest, slice.wanted) {
                        let is_own = |index| slice.frames.get(index)[15] == vlan_of(client.0) as u8;
                        assert!(client.0 >= 697 || run.clone().all(is_own));
                        got[client.0 as usize] += run.len();
                    }
                }
            });
        }
        let frames = |port: usize| match port {
            697.. => 190,
            590 => 0,
            _ => usize::from(vlan_of(port as LeafId) > 10),
        };
        assert_eq!(got, (0..700).map(frames).collect::<Vec<_>>());
    }

    #[test]
    fn of_a_round_that_ends_too_soon_each_frame_counts_those_of_its_own_that_it_missed() {
        // The first 500 are in VLAN 7, and 500 of the others in 8.
        let (directory, members) = (Directory::<u32, Client>::new(), VlanMembers::default());
        for port in 0..SESSIONS {
            let vlan = [7, 8, 9][(port as usize / 500).min(2)];
            members.add(Some(&Vlans::Access(VlanId::new(vlan).unwrap())), port);
            directory.put(Arc::new(Client(port)));
        }
        let mut rounds = Rounds::new(SharedRounds::new(1, 0).unwrap(), 0);
        let (start, counters) = (Duration::ZERO, Counters::new());
        for vlan in [7, 8, 7] {
            let batch = batch(vlan);
            let some = audience(&members, &batch).unwrap();
            assert!(rounds.takes_some(&batch, 0..1, &some, start, &counters));
        }
        let mut served = 0;
        while served < 608 {
            rounds
                .send_slice(&directory, start, &counters, |slice| served += slice.receivers.len());
        }
        let late = || counters.get(Counter::FloodLate);
        assert_eq!((served, late()), (608, 0));
        rounds.send_slice(&directory, Duration::from_secs(2), &counters, |_| panic!("too late"));
        assert_eq!(late(), 392, "all of 7 got both of theirs");
    }

    fn some_group() -> acton_bridge::Group {
        acton_bridge::Group::new(7, [239, 1, 2, 3].into()).unwrap()
    }
}
