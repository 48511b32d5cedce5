//! What clients in many VLANs get of the root's floods: no more in all of these than a budget, whoever else
//! gets more, and none of it for what they do not get.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use acton_bridge::{
    Bridge, Budget, BumKind, CompiledPolicy, Config, FloodClass, Owner, Policy, VlanId, Vlans,
};
use acton_frame::{Headers, Tag, Tags};
use acton_udp::UdpSocket;

use super::{Route, Router};
use crate::floods::budgets::FloodBudgets;
use crate::floods::gate::FloodGate;
use crate::floods::news::FloodReporter;
use crate::floods::shared::Floods;
use crate::floods::snooper::tests::query;
use crate::frames::batch::FrameBatch;
use crate::observe::counters::{Counter, Counters};
use crate::observe::tally::Tallies;
use crate::run::control::Message;
use crate::sessions::directory::Directory;
use crate::sessions::policing::Policing;
use crate::sessions::port::LeafId;
use crate::sessions::session::Session;
use crate::sessions::sighting::Sightings;

const NOW: Duration = Duration::from_secs(100);
/// Each is in the VLAN that is its number; the other one, in all.
const MEMBERS: std::ops::Range<LeafId> = 100..140;
const TRUNK: LeafId = 99;
/// Where the trunk is alone.
const ALONE: LeafId = 300;
/// What may pass at once; hardly anything comes after it.
const BURST: u32 = 50;

struct World {
    router: Router,
    directory: Directory<u32, Session<()>>,
}

impl World {
    fn new() -> Self {
        Self::with_unresolved(BURST)
    }

    /// One in which so many questions for addresses that nobody is known to have pass at once.
    fn with_unresolved(burst: u32) -> Self {
        let mut budgets = FloodBudgets::default();
        for class in FloodClass::ALL {
            *budgets.root.of_mut(class) = Some(Budget::new(1, BURST));
        }
        *budgets.root.of_mut(FloodClass::Unresolved) = Some(Budget::new(1, burst));
        let floods = Floods::new(&budgets, false);
        floods.set_by_vlan();
        floods.snooper.set_on(true);
        let (control, _) = sync_channel::<Message<()>>(1);
        let directory = Directory::new();
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        for port in MEMBERS.chain([TRUNK]) {
            let mut policy = Policy::default();
            policy.vlans =
                (port != TRUNK).then(|| Vlans::Access(VlanId::new(port as u16).unwrap()));
            floods.vlan_members.add(policy.vlans.as_ref(), port);
            directory.put(Arc::new(Session {
                port,
                name: "berlin".into(),
                to: Arc::new(socket.destination("127.0.0.1:9".parse().unwrap(), None)),
                since: Duration::ZERO,
                tallies: Arc::new(Tallies::new(1)),
                gate: Arc::new(FloodGate::new()),
                policy: Arc::new(CompiledPolicy::new(policy)),
                policing: Arc::new(Policing::new(Arc::default())),
                mode: (),
            }));
        }
        for vlan in MEMBERS.chain([ALONE]) {
            let asks = query(vlan as u16);
            let _ = floods.snooper.route(&Headers::parse(&asks), &asks, NOW / 2);
        }
        let router = Router::new(
            Arc::new(Bridge::new(Config::default())),
            Arc::new(Counters::new()),
            Sightings::new(control.clone()),
            Arc::new(floods),
            FloodReporter::new(control),
            0,
        );
        Self { router, directory }
    }

    /// Has a client get the group.
    fn ask_for_groups(&self, port: LeafId) {
        // Who has just come gets all.
        self.router.floods.snooper.table.leaf_up(port, NOW);
    }

    /// Who of the trunk and a VLAN's own client gets a frame that is flooded there.
    fn flood(&mut self, kind: BumKind, vlan: LeafId, frame: &[u8]) -> [bool; 2] {
        let frame = Tags::one(Tag { tpid: 0x8100, tci: vlan as u16 }).in_front_of(frame);
        let batch = FrameBatch::of_one(&frame);
        let Self { router, directory } = self;
        let route = router.flood_from_root(&batch, 0, kind, NOW, directory);
        [TRUNK, vlan].map(|port| match route {
            Route::One(leaf) => leaf == port,
            Route::All => true,
            Route::Some(place) => router.audiences[place as usize].contains(port),
            Route::Nowhere | Route::Pair(_) => false,
        })
    }

    /// How many of so many frames in each of some VLANs the trunk gets, and how many their own clients.
    fn flood_all(
        &mut self,
        kind: BumKind,
        (vlans, each): (std::ops::Range<LeafId>, u32),
        frame: impl Fn(LeafId, u32) -> Vec<u8>,
    ) -> [usize; 2] {
        let frames = vlans.flat_map(|vlan| (0..each).map(move |number| (vlan, number)));
        let got = frames.map(|(vlan, number)| self.flood(kind, vlan, &frame(vlan, number)));
        got.fold([0; 2], |[trunk, own], [to_trunk, to_own]| {
            [trunk + usize::from(to_trunk), own + usize::from(to_own)]
        })
    }

    fn over(&self, class: FloodClass) -> u64 {
        self.router.counters.get(Counter::over_budget(class))
    }
}

/// UDP to 239.1.2.3.
fn data() -> Vec<u8> {
    let mut frame = vec![1, 0, 0x5e, 1, 2, 3, 2, 0, 0, 0, 0, 9, 8, 0];
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17, 0, 0, 10, 0, 0, 9, 239, 1, 2, 3]);
    frame.extend([0x13, 0x89, 0x13, 0x89, 0, 8, 0, 0]);
    frame
}

/// To another group, for which nobody can ask.
fn of_all() -> Vec<u8> {
    [&[1, 0, 0x5e, 0, 0, 9, 2, 0, 0, 0, 0, 9, 0x88, 0xb5][..], &[0; 46]].concat()
}

/// A question of ARP for an address, whose asker is another one each time; or none, with which somebody tells
/// that he has it.
fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mac = [2, 0, sender[0], sender[1], sender[2], sender[3]];
    let mut frame = [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac].concat();
    frame.extend([&sender[..], &[0; 6], &target, &[0; 18]].concat());
    frame
}

#[test]
fn groups_in_many_vlans_do_not_add_up_for_who_is_in_all() {
    let mut world = World::new();
    MEMBERS.chain([TRUNK]).for_each(|port| world.ask_for_groups(port));
    let got = world.flood_all(BumKind::Multicast, (MEMBERS, 5), |_, _| data());
    assert_eq!(got, [BURST as usize, 200], "the others get theirs");
    assert_eq!(world.over(FloodClass::Multicast), 150);
    // It is of the budget that floods have.
    assert_eq!(world.flood(BumKind::Multicast, 100, &of_all()), [false, true]);
    assert_eq!(world.flood(BumKind::Multicast, ALONE, &data()), [false; 2]);
    assert_eq!(world.over(FloodClass::Multicast), 152);
    assert_eq!(world.router.floods.root_gate.acting(NOW), ["multicast"], "it is told");
}

#[test]
fn who_is_in_all_vlans_pays_for_no_group_that_others_alone_want() {
    let mut world = World::new();
    MEMBERS.for_each(|port| world.ask_for_groups(port));
    let got = world.flood_all(BumKind::Multicast, (MEMBERS, 5), |_, _| data());
    assert_eq!(got, [0, 200]);
    let got = world.flood_all(BumKind::Multicast, (ALONE..ALONE + 1, BURST), |_, _| of_all());
    assert_eq!((got[0], world.over(FloodClass::Multicast)), (BURST as usize, 0));
}

#[test]
fn a_question_for_one_is_no_flood_for_those_in_many_vlans() {
    let mut world = World::new();
    let of_trunk = [10, 0, 0, 1];
    let tells = |world: &World, port: LeafId, vlan: LeafId, address: [u8; 4]| {
        let tag = Tags::one(Tag { tpid: 0x8100, tci: vlan as u16 });
        let frame = tag.in_front_of(&arp(address, address));
        let neighbours = &world.router.floods.neighbours;
        neighbours.hear(Owner::Leaf(port), &Headers::parse(&frame), &frame, NOW);
    };
    MEMBERS.for_each(|port| tells(&world, port, port, [10, 0, 0, 2]));
    [100, ALONE].into_iter().for_each(|vlan| tells(&world, TRUNK, vlan, of_trunk));
    let asks =
        |target| move |vlan: LeafId, number: u32| arp([10, 1, vlan as u8, number as u8], target);
    // Each is asked alone, and the trunk has what there is for it still.
    let got = world.flood_all(BumKind::Broadcast, (MEMBERS, 5), asks([10, 0, 0, 2]));
    assert_eq!(got, [0, 200]);
    let tells_all = |_, number: u32| arp([10, 2, 0, number as u8], [10, 2, 0, number as u8]);
    let got = world.flood_all(BumKind::Broadcast, (110..120, 5), tells_all);
    assert_eq!((got, world.over(FloodClass::Arp)), ([50, 50], 0));
    let got = world.flood_all(BumKind::Broadcast, (120..121, 5), tells_all);
    assert_eq!(got, [0, 5], "now it has had it");
    // What is asked of it, it is asked, also where there is nobody else.
    for vlan in [100, ALONE] {
        let frame = asks(of_trunk)(vlan, 77);
        assert_eq!(world.flood(BumKind::Broadcast, vlan, &frame), [true, false], "{vlan}");
    }
    assert_eq!(world.over(FloodClass::Arp), 5);
    // And what the budget of those whom nobody knows refuses takes nothing of ARP's.
    let mut world = World::new();
    let got = world.flood_all(BumKind::Broadcast, (MEMBERS, 5), asks([10, 3, 0, 1]));
    assert_eq!((got, world.over(FloodClass::Unresolved)), ([50, 200], 150));
    assert_eq!(world.over(FloodClass::Arp), 0);
}

#[test]
fn a_scan_for_addresses_that_nobody_has_leaves_arp_its_budget() {
    let mut world = World::with_unresolved(5);
    let asks = |vlan: LeafId, number: u32| arp([10, 1, vlan as u8, number as u8], [10, 9, 9, 9]);
    world.flood_all(BumKind::Broadcast, (100..139, 45), asks);
    assert!(world.over(FloodClass::Unresolved) > 39 * 40);
    let tells = |_, number: u32| arp([10, 2, 0, number as u8], [10, 2, 0, number as u8]);
    let got = world.flood_all(BumKind::Broadcast, (139..140, 20), tells);
    assert_eq!(got[1], 20, "what is no question passes");
}
