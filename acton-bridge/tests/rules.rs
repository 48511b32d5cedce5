//! The forwarding rules, one test each.

use std::time::Duration;

use acton_bridge::{
    Bridge, BumKind, Config, DropReason, FromLeaf, FromRoot, Learned, MovePolicy, Owner, Share,
    StaticError,
};
use pnet_base::MacAddr;

const A: u32 = 1;
const B: u32 = 2;
const C: u32 = 3;
const TO_ROOT: FromLeaf = FromLeaf::Root { bum: Some(BumKind::Unknown) };
const BROADCAST: MacAddr = MacAddr(0xff, 0xff, 0xff, 0xff, 0xff, 0xff);

fn mac(n: u32) -> MacAddr {
    let [a, b, c, d] = n.to_be_bytes();
    MacAddr::new(2, 0, a, b, c, d)
}

fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &[0x08, 0x00], &[0; 46]].concat()
}

fn tagged(vlan: u16, to: MacAddr, from: MacAddr) -> Vec<u8> {
    let mut frame = frame(to, from);
    frame.splice(12..12, [0x81, 0x00].into_iter().chain(vlan.to_be_bytes()));
    frame
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A bridge and a clock.
struct Test {
    bridge: Bridge<u32>,
    now: Duration,
}

impl Test {
    fn new(config: Config) -> Self {
        Self { bridge: Bridge::new(config), now: secs(1_000) }
    }

    fn root(&self, to: MacAddr, from: MacAddr) -> (FromRoot<u32>, Learned<u32>) {
        self.bridge.from_root(&frame(to, from), self.now)
    }

    fn leaf(&self, leaf: u32, to: MacAddr, from: MacAddr) -> (FromLeaf, Learned<u32>) {
        self.bridge.from_leaf(leaf, &frame(to, from), self.now)
    }

    /// A leaf says its first word, or another.
    fn hear(&self, leaf: u32, from: MacAddr) -> Learned<u32> {
        match self.leaf(leaf, BROADCAST, from) {
            (FromLeaf::Root { .. }, learned) => learned,
            (FromLeaf::Drop(reason), _) => panic!("{from} from leaf {leaf}: {reason}"),
        }
    }

    fn refuse(&self, leaf: u32, from: MacAddr) -> DropReason {
        match self.leaf(leaf, BROADCAST, from) {
            (FromLeaf::Drop(reason), Learned::Nothing) => reason,
            other => panic!("{from} from leaf {leaf}: {other:?}"),
        }
    }

    fn owner(&self, mac: MacAddr) -> Option<Owner<u32>> {
        self.bridge.lookup(0, mac, self.now)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn the_root_reaches_one_leaf_or_all() {
    let test = Test::new(Config::default());
    assert_eq!(test.root(mac(1), mac(9)).0, FromRoot::Flood(BumKind::Unknown));
    assert_eq!(test.root(BROADCAST, mac(9)).0, FromRoot::Flood(BumKind::Broadcast));
    let multicast = MacAddr::new(1, 0, 0x5e, 0, 0, 1);
    assert_eq!(test.root(multicast, mac(9)).0, FromRoot::Flood(BumKind::Multicast));
    // Groups need not be those of IP.
    let other_group = MacAddr::new(3, 0, 0, 0, 0, 1);
    assert_eq!(test.root(other_group, mac(9)).0, FromRoot::Flood(BumKind::Multicast));
    assert_eq!(test.hear(A, mac(1)), Learned::New);
    assert_eq!(test.root(mac(1), mac(9)).0, FromRoot::Leaf(A));
}

#[test]
fn a_leaf_reaches_the_root_only() {
    let test = Test::new(Config::default());
    test.hear(B, mac(2));
    assert_eq!(test.leaf(A, mac(5), mac(1)).0, TO_ROOT);
    let drop = |reason| FromLeaf::Drop(reason);
    assert_eq!(test.leaf(A, mac(2), mac(1)).0, drop(DropReason::LeafToLeaf));
    assert_eq!(test.leaf(A, mac(1), mac(1)).0, drop(DropReason::Local));
    let bum = |kind| FromLeaf::Root { bum: Some(kind) };
    assert_eq!(test.leaf(A, BROADCAST, mac(1)).0, bum(BumKind::Broadcast));
    let multicast = MacAddr::new(0x33, 0x33, 0, 0, 0, 1);
    assert_eq!(test.leaf(A, multicast, mac(1)).0, bum(BumKind::Multicast));
    let _ = test.root(BROADCAST, mac(9));
    assert_eq!(test.leaf(A, mac(9), mac(1)).0, FromLeaf::Root { bum: None });
}

#[test]
fn a_frame_between_leaves_still_teaches_its_source() {
    let test = Test::new(Config::default());
    test.hear(B, mac(2));
    let (verdict, learned) = test.leaf(A, mac(2), mac(1));
    assert_eq!(verdict, FromLeaf::Drop(DropReason::LeafToLeaf));
    assert_eq!(learned, Learned::New);
    assert_eq!(test.owner(mac(1)), Some(Owner::Leaf(A)));
}

#[test]
fn what_is_known_at_the_root_is_not_flooded() {
    let test = Test::new(Config::default());
    let _ = test.root(BROADCAST, mac(8));
    assert_eq!(test.root(mac(8), mac(9)).0, FromRoot::Drop(DropReason::Local));
}

#[test]
fn group_and_zero_sources_teach_nothing() {
    let test = Test::new(Config::default());
    let group = MacAddr::new(1, 2, 3, 4, 5, 6);
    for (source, reason) in [
        (group, DropReason::SourceGroup),
        (BROADCAST, DropReason::SourceGroup),
        (MacAddr::zero(), DropReason::SourceZero),
    ] {
        assert_eq!(test.refuse(A, source), reason);
        assert_eq!(test.root(mac(1), source), (FromRoot::Drop(reason), Learned::Nothing));
    }
    assert!(test.bridge.is_empty());
}

#[test]
fn runts_and_bad_tags_are_dropped_on_both_sides() {
    let test = Test::new(Config::default());
    let check = |bytes: &[u8], reason| {
        assert_eq!(test.bridge.from_root(bytes, test.now).0, FromRoot::Drop(reason));
        assert_eq!(test.bridge.from_leaf(A, bytes, test.now).0, FromLeaf::Drop(reason));
    };
    let whole = frame(mac(1), mac(2));
    (0..14).for_each(|length| check(&whole[..length], DropReason::Runt));
    let whole = tagged(5, mac(1), mac(2));
    (14..18).for_each(|length| check(&whole[..length], DropReason::Runt));
    check(&tagged(4095, mac(1), mac(2)), DropReason::BadVlan);
    assert!(test.bridge.is_empty());
}

#[test]
fn reserved_addresses_stay_on_their_link() {
    let reserved = |last| MacAddr::new(1, 0x80, 0xc2, 0, 0, last);
    for forward in [false, true] {
        let test = Test::new(Config::default().forward_reserved(forward));
        for last in 0..=0x10 {
            let expected = match last {
                1 => Some(DropReason::Pause),
                0x10 => None,
                _ => (!forward).then_some(DropReason::Reserved),
            };
            let (root, leaf) = match expected {
                Some(reason) => (FromRoot::Drop(reason), FromLeaf::Drop(reason)),
                None => (
                    FromRoot::Flood(BumKind::Multicast),
                    FromLeaf::Root { bum: Some(BumKind::Multicast) },
                ),
            };
            assert_eq!(test.root(reserved(last), mac(1)).0, root);
            assert_eq!(test.leaf(A, reserved(last), mac(2)).0, leaf);
        }
    }
}

#[test]
fn ageing_is_exact() {
    let mut test = Test::new(Config::default());
    test.hear(A, mac(1));
    test.wait(secs(300) - Duration::from_nanos(1));
    assert_eq!(test.owner(mac(1)), Some(Owner::Leaf(A)));
    test.wait(Duration::from_nanos(1));
    assert_eq!(test.owner(mac(1)), None);
    assert_eq!(test.root(mac(1), mac(9)).0, FromRoot::Flood(BumKind::Unknown));
    assert_eq!(test.bridge.entries(test.now).count(), 1, "only the root's own");
    assert_eq!(test.hear(A, mac(1)), Learned::New);
}

#[test]
fn every_frame_renews_its_source() {
    let mut test = Test::new(Config::default());
    for _ in 0..5 {
        test.hear(A, mac(1));
        test.wait(secs(299));
        assert_eq!(test.owner(mac(1)), Some(Owner::Leaf(A)));
    }
    test.wait(secs(1));
    assert_eq!(test.owner(mac(1)), None);
}

#[test]
fn a_late_worker_does_not_turn_time_back() {
    let mut test = Test::new(Config::default());
    test.wait(secs(100));
    test.hear(A, mac(1));
    let _ = test.bridge.from_leaf(A, &frame(BROADCAST, mac(1)), test.now - secs(100));
    test.wait(secs(299));
    assert_eq!(test.owner(mac(1)), Some(Owner::Leaf(A)));
}

#[test]
fn vlans_are_worlds_of_their_own() {
    let test = Test::new(Config::default());
    let learn = |leaf, vlan| {
        let bytes = tagged(vlan, BROADCAST, mac(1));
        assert_eq!(test.bridge.from_leaf(leaf, &bytes, test.now).1, Learned::New);
    };
    learn(A, 5);
    learn(B, 6);
    test.hear(7, mac(1));
    let to = |bytes: &[u8]| test.bridge.from_root(bytes, test.now).0;
    assert_eq!(to(&tagged(5, mac(1), mac(9))), FromRoot::Leaf(A));
    assert_eq!(to(&tagged(6, mac(1), mac(9))), FromRoot::Leaf(B));
    assert_eq!(to(&tagged(4, mac(1), mac(9))), FromRoot::Flood(BumKind::Unknown));
    assert_eq!(to(&frame(mac(1), mac(9))), FromRoot::Leaf(7));
    assert_eq!(to(&tagged(0xe000, mac(1), mac(9))), FromRoot::Leaf(7), "a priority tag");
    assert_eq!(test.bridge.lookup(4095, mac(1), test.now), None);
}

/// Addresses that move between leaves after 5 s of silence, five times.
fn roaming() -> Config {
    let within = secs(180);
    Config::default().moves(MovePolicy::Guarded { hold: secs(5), freeze_after: 5, within })
}

#[test]
fn a_silent_leaf_keeps_its_address_until_it_ages_out() {
    let mut test = Test::new(Config::default());
    test.hear(A, mac(1));
    for _ in 0..74 {
        test.wait(secs(4));
        assert_eq!(test.refuse(B, mac(1)), DropReason::SourceHeld);
        assert_eq!(test.root(mac(1), mac(9)).0, FromRoot::Leaf(A));
    }
    test.wait(secs(4) - Duration::from_nanos(1));
    assert_eq!(test.refuse(B, mac(1)), DropReason::SourceHeld);
    test.wait(Duration::from_nanos(1));
    assert_eq!(test.hear(B, mac(1)), Learned::New);
}

#[test]
fn with_a_hold_an_address_moves_after_that_silence() {
    let mut test = Test::new(roaming());
    test.hear(A, mac(1));
    test.wait(secs(5) - Duration::from_nanos(1));
    assert_eq!(test.refuse(B, mac(1)), DropReason::SourceHeld);
    test.wait(Duration::from_nanos(1));
    let moved = Learned::Moved { from: Owner::Leaf(A), frozen: false };
    assert_eq!(test.hear(B, mac(1)), moved);
    assert_eq!(test.owner(mac(1)), Some(Owner::Leaf(B)));
    assert_eq!((test.bridge.leaf_len(A), test.bridge.leaf_len(B)), (0, 1));
}

#[test]
fn a_shared_address_moves_with_its_first_frame_and_never_freezes() {
    let vrrp = |id| MacAddr::new(0, 0, 0x5e, 0, 1, id);
    let mut test =
        Test::new(Config::default().shared(vec!["00:00:5e:00:01:00/40".parse().unwrap()]));
    test.hear(A, vrrp(7));
    for n in 0..20 {
        let (to, from) = if n % 2 == 0 { (B, A) } else { (A, B) };
        let moved = Learned::Moved { from: Owner::Leaf(from), frozen: false };
        assert_eq!(test.hear(to, vrrp(7)), moved);
        assert_eq!(test.root(vrrp(7), mac(9)).0, FromRoot::Leaf(to));
        assert!(test.bridge.entry(0, vrrp(7), test.now).unwrap().held_for.is_none());
    }
    // Never away from the root, and others are held as ever.
    let _ = test.root(BROADCAST, vrrp(8));
    test.wait(secs(299));
    assert_eq!(test.refuse(A, vrrp(8)), DropReason::SourceAtRoot);
    test.hear(A, MacAddr::new(0, 0, 0x5e, 0, 2, 7));
    assert_eq!(test.refuse(B, MacAddr::new(0, 0, 0x5e, 0, 2, 7)), DropReason::SourceHeld);
}

#[test]
fn a_leaf_takes_what_it_shares_from_any_other_and_keeps_it_as_ever() {
    let range = |text: &str| text.parse().unwrap();
    let mut test = Test::new(roaming());
    test.bridge.set_leaf_shared(A, &[range("02:00:00:00:00:00/46")]);
    // Also one that moved so often that it is frozen.
    test.hear(B, mac(1));
    for n in 1..=5 {
        test.wait(secs(6));
        test.hear(if n % 2 == 1 { C } else { B }, mac(1));
    }
    assert_eq!(test.refuse(B, mac(1)), DropReason::SourceFrozen);
    let moved = Learned::Moved { from: Owner::Leaf(C), frozen: false };
    assert_eq!(test.hear(A, mac(1)), moved);
    // The others do not share it: they wait for its silence, but for no freeze.
    assert_eq!(test.refuse(C, mac(1)), DropReason::SourceHeld);
    test.wait(secs(5));
    test.hear(C, mac(1));
    // Among those who share it, it moves for ever.
    test.bridge.set_leaf_shared(B, &[range("02:00:00:00:00:01"), range("02:00:00:00:00:02")]);
    for n in 0..20 {
        let moved = test.hear(if n % 2 == 0 { A } else { B }, mac(1));
        assert!(matches!(moved, Learned::Moved { frozen: false, .. }), "{moved:?}");
    }
    // What is not in the range, what is said to be another's and what the root has it does not get.
    test.hear(C, mac(4));
    assert_eq!(test.refuse(A, mac(4)), DropReason::SourceHeld);
    test.bridge.reserve(mac(2), C).unwrap();
    assert_eq!(test.refuse(A, mac(2)), DropReason::SourceProtected);
    let _ = test.root(BROADCAST, mac(3));
    assert_eq!(test.refuse(A, mac(3)), DropReason::SourceAtRoot);
    // It lasts until other ranges are given, or the leaf goes.
    test.hear(C, mac(0x10));
    test.bridge.set_leaf_shared(A, &[range("02:00:00:00:00:10")]);
    test.hear(A, mac(0x10));
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceHeld);
    test.bridge.purge(B);
    test.hear(C, mac(1));
    assert_eq!(test.refuse(B, mac(1)), DropReason::SourceHeld);
}

#[test]
fn a_strict_leaf_has_what_it_shares() {
    let test = Test::new(Config::default());
    test.bridge.set_leaf_strict(A, true);
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceNotListed);
    test.bridge.set_leaf_shared(A, &["02:00:00:00:00:01".parse().unwrap()]);
    test.hear(B, mac(1));
    test.hear(A, mac(1));
    assert_eq!(test.refuse(A, mac(2)), DropReason::SourceNotListed);
    test.bridge.set_leaf_shared(A, &[]);
    assert_eq!(test.bridge.leaf_len(A), 0, "what it had so it has no more");
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceNotListed);
}

#[test]
fn an_address_is_free_at_once_when_its_owner_is_gone() {
    let test = Test::new(Config::default());
    test.hear(A, mac(1));
    assert_eq!(test.bridge.purge(A), 1);
    assert_eq!(test.hear(B, mac(1)), Learned::New);
}

#[test]
fn what_lives_at_the_root_is_its_own_on_every_vlan() {
    for moves in [MovePolicy::guarded(), MovePolicy::FirstFrame] {
        let mut test = Test::new(Config::default().moves(moves));
        let from = |test: &Test, leaf, vlan| {
            test.bridge.from_leaf(leaf, &tagged(vlan, BROADCAST, mac(9)), test.now).0
        };
        let at_root = FromLeaf::Drop(DropReason::SourceAtRoot);
        let heard = test.bridge.from_root(&tagged(6, BROADCAST, mac(9)), test.now);
        assert_eq!(heard.1, Learned::New);
        for _ in 0..74 {
            test.wait(secs(4));
            assert_eq!(test.refuse(A, mac(9)), DropReason::SourceAtRoot);
            assert_eq!([5, 6].map(|vlan| from(&test, A, vlan)), [at_root; 2]);
        }
        // A frame on another VLAN renews it as well.
        let _ = test.root(BROADCAST, mac(9));
        test.wait(secs(299));
        assert_eq!(from(&test, A, 5), at_root);
        test.wait(secs(1));
        assert_eq!(test.hear(A, mac(9)), Learned::New);
        assert!(matches!(from(&test, B, 5), FromLeaf::Root { .. }));
        // The root takes it back with its first frame, from all of them.
        let moved = Learned::Moved { from: Owner::Leaf(A), frozen: false };
        let back = test.bridge.from_root(&tagged(6, BROADCAST, mac(9)), test.now);
        assert_eq!(back.1, moved);
        assert_eq!(test.refuse(A, mac(9)), DropReason::SourceAtRoot);
        assert_eq!(from(&test, B, 5), at_root);
        assert_eq!((test.bridge.leaf_len(A), test.bridge.leaf_len(B)), (0, 0));
    }
}

#[test]
fn a_pinned_address_is_the_roots_without_a_frame() {
    let mut test = Test::new(Config::default().max_pinned(2));
    test.hear(A, mac(1));
    let _ = test.bridge.from_leaf(B, &tagged(5, BROADCAST, mac(1)), test.now);
    test.bridge.add_static(0, mac(2), A).unwrap();
    assert!(test.bridge.pin(mac(1)) && test.bridge.pin(mac(2)) && test.bridge.pin(mac(1)));
    assert!(!test.bridge.pin(mac(3)), "no room");
    assert_eq!((test.bridge.leaf_len(A), test.bridge.leaf_len(B)), (1, 0), "the static one stays");
    test.wait(secs(100_000));
    test.bridge.sweep(test.now, usize::MAX);
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceAtRoot);
    assert_eq!(test.refuse(B, mac(2)), DropReason::SourceStatic);
    test.hear(A, mac(2));
    // A frame for it is no flood, from either side.
    assert_eq!(test.leaf(A, mac(1), mac(2)).0, FromLeaf::Root { bum: None });
    assert_eq!(test.root(mac(1), mac(9)).0, FromRoot::Drop(DropReason::Local));
    // What is said goes before, and afterwards it is as it was.
    test.bridge.reserve(mac(1), A).unwrap();
    test.hear(A, mac(1));
    test.bridge.unprotect(mac(1));
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceAtRoot);
    test.bridge.unpin(mac(1));
    assert_eq!(test.hear(A, mac(1)), Learned::New);
    assert!(test.bridge.pin(mac(3)));
    test.bridge.purge(A);
    assert_eq!(test.refuse(A, mac(2)), DropReason::SourceAtRoot);
}

#[test]
fn a_strict_leaf_has_what_is_reserved_for_it_alone() {
    let test = Test::new(Config::default());
    test.bridge.reserve(mac(1), A).unwrap();
    test.bridge.add_static(0, mac(2), A).unwrap();
    for n in 1..5 {
        test.hear(A, mac(n));
    }
    test.bridge.set_leaf_strict(A, true);
    assert_eq!(test.bridge.leaf_len(A), 2, "what else it had it has no more");
    for n in [3, 4, 5] {
        assert_eq!(test.refuse(A, mac(n)), DropReason::SourceNotListed);
    }
    (1..3).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::Nothing));
    let on_a_vlan = test.bridge.from_leaf(A, &tagged(7, BROADCAST, mac(1)), test.now);
    assert_eq!(on_a_vlan.1, Learned::New, "on every VLAN");
    test.hear(B, mac(3));
    // What is not reserved for it any more it loses at once.
    test.bridge.unprotect(mac(1));
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceNotListed);
    assert_eq!(test.bridge.leaf_len(A), 1);
    test.bridge.set_leaf_strict(A, false);
    test.hear(A, mac(1));
    // It goes with the leaf.
    test.bridge.set_leaf_strict(A, true);
    test.bridge.purge(A);
    test.hear(A, mac(4));
}

#[test]
fn any_number_of_leaves_may_be_strict() {
    const LEAVES: u32 = 5_000;
    let test = Test::new(Config::default());
    (0..LEAVES).for_each(|leaf| test.bridge.set_leaf_strict(leaf, true));
    for leaf in 0..LEAVES {
        assert_eq!(test.refuse(leaf, mac(leaf)), DropReason::SourceNotListed);
        test.bridge.purge(leaf);
        test.hear(leaf, mac(leaf));
    }
}

#[test]
fn five_moves_freeze_an_address() {
    let mut test = Test::new(roaming());
    test.hear(A, mac(1));
    for n in 1..=5 {
        test.wait(secs(6));
        let (to, from) = if n % 2 == 1 { (B, A) } else { (A, B) };
        let moved = Learned::Moved { from: Owner::Leaf(from), frozen: n == 5 };
        assert_eq!(test.hear(to, mac(1)), moved);
    }
    let frozen =
        |test: &Test| test.bridge.entries(test.now).all(|entry| entry.frozen_for.is_some());
    assert!(frozen(&test));
    test.wait(secs(180) - Duration::from_nanos(1));
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceFrozen);
    assert_eq!(test.owner(mac(1)), Some(Owner::Leaf(B)));
    test.wait(Duration::from_nanos(1));
    assert!(!frozen(&test));
    assert_eq!(test.hear(A, mac(1)), Learned::Moved { from: Owner::Leaf(B), frozen: false });
}

#[test]
fn slow_moves_do_not_freeze() {
    let mut test = Test::new(roaming());
    test.hear(A, mac(1));
    for n in 0..20 {
        test.wait(secs(46));
        let to = if n % 2 == 0 { B } else { A };
        assert!(matches!(test.hear(to, mac(1)), Learned::Moved { frozen: false, .. }));
    }
}

#[test]
fn a_freeze_does_not_keep_the_root_out() {
    let mut test = Test::new(roaming());
    test.hear(A, mac(1));
    for n in 1..=5 {
        test.wait(secs(6));
        test.hear(if n % 2 == 1 { B } else { A }, mac(1));
    }
    let moved = Learned::Moved { from: Owner::Leaf(B), frozen: false };
    assert_eq!(test.root(BROADCAST, mac(1)).1, moved);
    test.wait(secs(6));
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceAtRoot);
}

#[test]
fn a_frozen_address_that_aged_out_is_free() {
    let moves = MovePolicy::Guarded { hold: Duration::ZERO, freeze_after: 1, within: secs(10_000) };
    let mut test = Test::new(Config::default().moves(moves));
    test.hear(A, mac(1));
    assert_eq!(test.hear(B, mac(1)), Learned::Moved { from: Owner::Leaf(A), frozen: true });
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceFrozen);
    test.wait(secs(300));
    assert_eq!(test.hear(A, mac(1)), Learned::New);
    assert_eq!(test.hear(B, mac(1)), Learned::Moved { from: Owner::Leaf(A), frozen: true });
}

#[test]
fn without_identities_an_address_moves_with_its_first_frame() {
    let test = Test::new(Config::default().moves(MovePolicy::FirstFrame));
    test.hear(A, mac(1));
    for n in 0..20 {
        let (to, from) = if n % 2 == 0 { (B, A) } else { (A, B) };
        let moved = Learned::Moved { from: Owner::Leaf(from), frozen: false };
        assert_eq!(test.hear(to, mac(1)), moved);
        assert_eq!(test.root(mac(1), mac(9)).0, FromRoot::Leaf(to));
    }
}

#[test]
fn protected_addresses_are_the_roots_alone() {
    let test = Test::new(Config::default().protected(vec![mac(9)]));
    test.hear(A, mac(8));
    assert_eq!(test.bridge.protect(mac(8)), Ok(()));
    test.bridge.set_root_macs([mac(7)]).unwrap();
    for address in [mac(7), mac(8), mac(9)] {
        assert_eq!(test.refuse(A, address), DropReason::SourceProtected);
        assert_eq!(test.owner(address), Some(Owner::Root), "heard of or not");
        let bytes = tagged(5, BROADCAST, address);
        let verdict = test.bridge.from_leaf(A, &bytes, test.now).0;
        assert_eq!(verdict, FromLeaf::Drop(DropReason::SourceProtected), "on every VLAN");
        // A frame for one of them is no flood.
        assert_eq!(test.leaf(A, address, mac(1)).0, FromLeaf::Root { bum: None });
        let refused = test.bridge.add_static(0, address, A);
        assert_eq!(refused, Err(StaticError::Protected(address)));
        // Nor is one from the root.
        assert_eq!(test.root(address, mac(100)).0, FromRoot::Drop(DropReason::Local));
        // The root sends from them, of course.
        assert_eq!(test.root(BROADCAST, address).1, Learned::Nothing);
        assert_eq!(test.refuse(A, address), DropReason::SourceProtected);
    }
}

#[test]
fn protection_can_be_undone() {
    let test = Test::new(Config::default());
    test.bridge.set_root_macs([mac(7)]).unwrap();
    test.bridge.protect(mac(7)).unwrap();
    assert!(test.bridge.unprotect(mac(7)));
    assert!(!test.bridge.unprotect(mac(7)));
    assert_eq!(test.refuse(A, mac(7)), DropReason::SourceProtected, "still the server's own");
    test.bridge.set_root_macs([mac(8)]).unwrap();
    test.hear(A, mac(7));
    assert_eq!(test.refuse(A, mac(8)), DropReason::SourceProtected);
    test.bridge.set_root_macs([]).unwrap();
    test.hear(A, mac(8));
}

#[test]
fn protection_takes_every_vlan_and_static_entry_from_leaves() {
    let test = Test::new(Config::default());
    test.bridge.add_static(5, mac(1), A).unwrap();
    test.hear(B, mac(1));
    test.bridge.protect(mac(1)).unwrap();
    let owner = |vlan| test.bridge.lookup(vlan, mac(1), test.now);
    assert_eq!([0, 5, 6].map(owner), [Some(Owner::Root); 3]);
    assert!(test.bridge.is_empty());
}

#[test]
fn static_entries_neither_age_nor_move() {
    let mut test = Test::new(Config::default());
    test.hear(A, mac(1));
    test.bridge.add_static(0, mac(1), B).unwrap();
    for _ in 0..2 {
        assert_eq!(test.owner(mac(1)), Some(Owner::Leaf(B)));
        assert_eq!(test.refuse(A, mac(1)), DropReason::SourceStatic);
        assert_eq!(test.hear(B, mac(1)), Learned::Nothing);
        assert_eq!(
            test.root(mac(9), mac(1)),
            (FromRoot::Flood(BumKind::Unknown), Learned::Nothing)
        );
        test.wait(secs(100_000));
        test.bridge.sweep(test.now, usize::MAX);
    }
    let ages: Vec<_> = test.bridge.entries(test.now).map(|entry| entry.age).collect();
    assert_eq!(ages, [None]);
    assert!(test.bridge.remove_static(0, mac(1)));
    assert!(!test.bridge.remove_static(0, mac(1)));
    assert_eq!(test.hear(A, mac(1)), Learned::New);
    assert!(!test.bridge.remove_static(0, mac(1)), "a learned entry is not static");
}

#[test]
fn static_entries_that_make_no_sense_are_refused() {
    let test = Test::new(Config::default().max_static(1));
    let add = |vlan, mac| test.bridge.add_static(vlan, mac, A);
    assert_eq!(add(0, BROADCAST), Err(StaticError::NotUnicast(BROADCAST)));
    assert_eq!(add(0, MacAddr::zero()), Err(StaticError::NotUnicast(MacAddr::zero())));
    assert_eq!(add(4095, mac(1)), Err(StaticError::BadVlan(4095)));
    assert!(!test.bridge.remove_static(4095, mac(1)));
    assert_eq!(add(4094, mac(1)), Ok(()));
    assert_eq!(add(4094, mac(1)), Ok(()), "again is no second one");
    assert_eq!(add(0, mac(2)), Err(StaticError::Full { limit: 1 }));
    assert_eq!(test.bridge.protect(mac(3)), Err(StaticError::Full { limit: 1 }));
    assert_eq!(test.bridge.set_root_macs([mac(3)]), Err(StaticError::Full { limit: 1 }));
}

#[test]
fn a_reserved_address_is_one_leafs_on_every_vlan() {
    let test = Test::new(Config::default());
    let tagged_from =
        |leaf, vlan| test.bridge.from_leaf(leaf, &tagged(vlan, BROADCAST, mac(1)), test.now).0;
    test.hear(B, mac(1));
    test.bridge.reserve(mac(1), A).unwrap();
    assert_eq!(test.owner(mac(1)), Some(Owner::Leaf(A)), "taken from whom it does not belong to");
    assert_eq!((test.bridge.leaf_len(A), test.bridge.leaf_len(B)), (0, 0));
    // It is there though it was not heard of, and stays if the root sends from it.
    for _ in 0..2 {
        let to = tagged(7, mac(1), mac(100));
        assert_eq!(test.bridge.from_root(&to, test.now).0, FromRoot::Leaf(A));
        let learned = test.root(BROADCAST, mac(1)).1;
        assert_eq!(learned, Learned::Nothing);
    }
    assert_eq!(test.refuse(B, mac(1)), DropReason::SourceProtected);
    assert_eq!(tagged_from(B, 7), FromLeaf::Drop(DropReason::SourceProtected));
    assert_eq!(test.bridge.add_static(0, mac(1), B), Err(StaticError::Protected(mac(1))));
    assert_eq!(test.bridge.add_static(0, mac(1), A), Ok(()));
    assert!(matches!(tagged_from(A, 7), FromLeaf::Root { .. }));
    // It is another's, or nobody's, and then anybody's.
    test.bridge.reserve(mac(1), B).unwrap();
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceProtected);
    test.hear(B, mac(1));
    test.bridge.protect(mac(1)).unwrap();
    assert_eq!(test.refuse(B, mac(1)), DropReason::SourceProtected);
    assert!(test.bridge.unprotect(mac(1)));
    test.hear(A, mac(1));
    // The server's own cannot be had, but what was reserved before is so again.
    test.bridge.reserve(mac(2), A).unwrap();
    test.bridge.set_root_macs([mac(2)]).unwrap();
    assert_eq!(test.refuse(A, mac(2)), DropReason::SourceProtected);
    assert_eq!(test.bridge.reserve(mac(2), A), Err(StaticError::Protected(mac(2))));
    test.bridge.set_root_macs([mac(3)]).unwrap();
    test.hear(A, mac(2));
    assert_eq!(test.refuse(B, mac(2)), DropReason::SourceProtected);
}

#[test]
fn a_purge_takes_all_of_one_leaf_and_nothing_else() {
    let test = Test::new(Config::default().max_macs_per_leaf(0));
    for n in 0..200 {
        test.hear(A, mac(n));
        test.hear(B, mac(1_000 + n));
    }
    test.bridge.add_static(7, mac(500), A).unwrap();
    let mut gone = Vec::new();
    assert_eq!(test.bridge.purge_each(A, |vlan, mac| gone.push((vlan, mac))), 201);
    gone.sort_unstable();
    let expected: Vec<_> = (0..200).map(|n| (0, mac(n))).chain([(7, mac(500))]).collect();
    assert_eq!(gone, expected);
    assert_eq!(test.bridge.purge(A), 0);
    assert_eq!((test.bridge.leaf_len(A), test.bridge.leaf_len(B)), (0, 200));
    assert_eq!(test.bridge.len(), 200);
    assert!((0..200).all(|n| test.owner(mac(n)).is_none()));
    assert!((0..200).all(|n| test.owner(mac(1_000 + n)) == Some(Owner::Leaf(B))));
}

#[test]
fn a_leaf_at_its_limit_keeps_what_it_has() {
    let mut test = Test::new(roaming().max_macs_per_leaf(3));
    (0..3).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::New));
    for n in 3..100 {
        assert_eq!(test.refuse(A, mac(n)), DropReason::LeafLimit);
    }
    (0..3).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::Nothing));
    assert_eq!(test.hear(B, mac(50)), Learned::New);
    // A place is free the moment one of its own expires.
    test.wait(secs(299));
    test.hear(A, mac(0));
    test.hear(A, mac(1));
    assert_eq!(test.refuse(A, mac(3)), DropReason::LeafLimit);
    test.wait(secs(1));
    assert_eq!(test.hear(A, mac(3)), Learned::New);
    assert_eq!(test.refuse(A, mac(4)), DropReason::LeafLimit);
    // A move is one more, too.
    test.wait(secs(10));
    test.hear(B, mac(60));
    test.wait(secs(10));
    assert_eq!(test.refuse(A, mac(60)), DropReason::LeafLimit);
    // An address that leaves makes room.
    assert!(matches!(test.hear(B, mac(3)), Learned::Moved { .. }));
    assert!(matches!(test.hear(A, mac(60)), Learned::Moved { .. }));
}

#[test]
fn a_leaf_may_have_a_limit_of_its_own() {
    let mut test = Test::new(Config::default().max_macs_per_leaf(3));
    test.bridge.set_leaf_limit(A, Some(1));
    test.hear(A, mac(1));
    assert_eq!(test.refuse(A, mac(2)), DropReason::LeafLimit);
    (1_001..1_004).for_each(|n| assert_eq!(test.hear(B, mac(n)), Learned::New));
    assert_eq!(test.refuse(B, mac(1_004)), DropReason::LeafLimit);
    // More is allowed at once, and 0 is no limit.
    test.bridge.set_leaf_limit(A, Some(2));
    test.hear(A, mac(2));
    assert_eq!(test.refuse(A, mac(3)), DropReason::LeafLimit);
    test.bridge.set_leaf_limit(A, Some(0));
    test.wait(secs(100));
    (3..103).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::New));
    // Less counts for new ones alone, until as many have expired as are too many.
    test.bridge.set_leaf_limit(A, Some(2));
    assert_eq!(test.refuse(A, mac(200)), DropReason::LeafLimit);
    (1..103).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::Nothing));
    test.wait(secs(299));
    (1..3).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::Nothing));
    test.wait(secs(1));
    assert_eq!(test.refuse(A, mac(200)), DropReason::LeafLimit);
    test.wait(secs(299));
    assert_eq!(test.hear(A, mac(200)), Learned::New);
    // It goes with the leaf, or for the common one.
    test.bridge.purge(A);
    (0..3).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::New));
    assert_eq!(test.refuse(A, mac(3)), DropReason::LeafLimit);
    test.bridge.set_leaf_limit(A, Some(4));
    test.hear(A, mac(3));
    test.bridge.set_leaf_limit(A, None);
    assert_eq!(test.refuse(A, mac(4)), DropReason::LeafLimit);
}

#[test]
fn the_limit_of_all_leaves_may_become_another() {
    let test = Test::new(Config::default().max_macs_per_leaf(1));
    test.hear(A, mac(1));
    test.bridge.set_leaf_limit(B, Some(1));
    test.hear(B, mac(1_001));
    assert_eq!(test.refuse(A, mac(2)), DropReason::LeafLimit);
    test.bridge.set_max_macs_per_leaf(3);
    (2..4).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::New));
    assert_eq!(test.refuse(A, mac(4)), DropReason::LeafLimit);
    assert_eq!(test.refuse(B, mac(1_002)), DropReason::LeafLimit, "it has one of its own");
    test.bridge.set_max_macs_per_leaf(2);
    (1..4).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::Nothing));
    assert_eq!(test.refuse(A, mac(4)), DropReason::LeafLimit);
    test.bridge.set_max_macs_per_leaf(0);
    (4..104).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::New));
}

#[test]
fn another_ageing_counts_at_once() {
    let mut test = Test::new(Config::default().max_macs_per_leaf(1).ageing(secs(300)));
    test.hear(A, mac(1));
    assert_eq!(test.refuse(A, mac(2)), DropReason::LeafLimit);
    test.wait(secs(10));
    // It was known to be full for longer.
    test.bridge.set_ageing(secs(10));
    assert_eq!(test.hear(A, mac(2)), Learned::New);
    test.wait(secs(9));
    test.bridge.set_ageing(secs(60));
    test.wait(secs(50));
    assert_eq!(test.refuse(A, mac(3)), DropReason::LeafLimit);
    test.wait(secs(1));
    assert_eq!(test.hear(A, mac(3)), Learned::New);
}

#[test]
fn any_number_of_leaves_may_have_limits_of_their_own() {
    const LEAVES: u32 = 10_000;
    let test = Test::new(Config::default().max_macs_per_leaf(0));
    for leaf in 0..LEAVES {
        test.bridge.set_leaf_limit(leaf, Some(1));
        test.hear(leaf, mac(leaf));
    }
    for leaf in 0..LEAVES {
        assert_eq!(test.refuse(leaf, mac(LEAVES + leaf)), DropReason::LeafLimit);
        test.bridge.purge(leaf);
    }
    // None of them holds on to a place in the table.
    for n in 0..65_536 {
        test.hear(A, mac(n));
    }
    assert_eq!(test.refuse(A, mac(65_536)), DropReason::TableFull);
}

#[test]
fn static_entries_do_not_use_up_a_leaf() {
    let test = Test::new(Config::default().max_macs_per_leaf(1));
    (10..20).for_each(|n| test.bridge.add_static(0, mac(n), A).unwrap());
    test.hear(A, mac(1));
    assert_eq!(test.refuse(A, mac(2)), DropReason::LeafLimit);
    // One that becomes static makes room.
    test.bridge.add_static(0, mac(1), A).unwrap();
    test.hear(A, mac(2));
}

#[test]
fn what_was_learned_can_be_forgotten_and_what_was_said_stays() {
    let test = Test::new(Config::default());
    let (host, router, printer) = (mac(1), mac(2), mac(3));
    let _ = test.leaf(A, BROADCAST, host);
    let _ = test.root(BROADCAST, router);
    test.bridge.add_static(0, printer, A).unwrap();
    assert!(!test.bridge.forget(7, host), "untagged only");
    assert!(test.bridge.forget(0, host) && !test.bridge.forget(0, host));
    assert!(test.bridge.forget(7, router), "the root has it on every VLAN");
    assert!(!test.bridge.forget(0, printer));
    let left: Vec<_> = test.bridge.entries(test.now).map(|entry| entry.mac).collect();
    assert_eq!(left, [printer]);
    // Anybody may have it now.
    assert_eq!(test.leaf(B, BROADCAST, host).1, Learned::New);
}

#[test]
fn a_full_table_refuses_new_addresses_only() {
    let mut test = Test::new(roaming().max_macs(4).max_macs_per_leaf(2));
    test.hear(A, mac(1));
    test.hear(A, mac(2));
    test.hear(B, mac(3));
    test.hear(3, mac(4));
    assert_eq!(test.refuse(4, mac(5)), DropReason::TableFull);
    assert_eq!(test.refuse(A, mac(5)), DropReason::LeafLimit);
    (0..10).for_each(|n| assert_eq!(test.root(BROADCAST, mac(100 + n)).1, Learned::New));
    test.wait(secs(6));
    // From leaf to leaf needs no more room.
    assert!(matches!(test.hear(B, mac(4)), Learned::Moved { .. }));
    assert_eq!(test.refuse(3, mac(5)), DropReason::TableFull);
    test.bridge.purge(A);
    assert_eq!(test.hear(3, mac(5)), Learned::New);
}

#[test]
fn the_root_cannot_crowd_out_leaves() {
    let mut test = Test::new(Config::default().max_macs(4).max_macs_root(2));
    assert_eq!(test.root(BROADCAST, mac(100)).1, Learned::New);
    test.wait(secs(1));
    assert_eq!(test.root(BROADCAST, mac(101)).1, Learned::New);
    let unlearned = (FromRoot::Flood(BumKind::Broadcast), Learned::Nothing);
    assert_eq!(test.root(BROADCAST, mac(102)), unlearned, "forwarded all the same");
    (0..4).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::New));
    // The root takes an address even if it has no place for it.
    let moved = Learned::Moved { from: Owner::Leaf(A), frozen: false };
    assert_eq!(test.root(BROADCAST, mac(0)).1, moved);
    assert_eq!(test.owner(mac(0)), None);
    test.wait(secs(299));
    assert_eq!(test.root(BROADCAST, mac(102)).1, Learned::New, "the first one expired");
}

#[test]
fn a_sweep_frees_what_expired() {
    let mut test = Test::new(Config::default().max_macs_per_leaf(0));
    (0..500).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::New));
    test.wait(secs(200));
    (500..800).for_each(|n| assert_eq!(test.hear(A, mac(n)), Learned::New));
    test.wait(secs(100));
    assert_eq!(test.bridge.len(), 800);
    let first = test.bridge.sweep(test.now, 100);
    assert_eq!(first, 100, "no more than its budget");
    assert_eq!(test.bridge.sweep(test.now, 10_000), 400);
    assert_eq!((test.bridge.len(), test.bridge.leaf_len(A)), (300, 300));
    assert_eq!(test.bridge.sweep(test.now, 10_000), 0);
    assert_eq!(test.bridge.entries(test.now).count(), 300);
}

#[test]
fn entries_tell_what_is_known() {
    let mut test = Test::new(Config::default().protected(vec![mac(66)]).max_macs_per_leaf(1));
    let _ = test.bridge.from_leaf(A, &tagged(7, BROADCAST, mac(1)), test.now);
    test.wait(secs(3));
    let _ = test.root(BROADCAST, mac(2));
    let mut entries: Vec<_> = test.bridge.entries(test.now).collect();
    entries.sort_by_key(|entry| entry.mac);
    let [one, two] = entries[..] else { panic!("{entries:?}") };
    assert_eq!((one.vlan, one.mac, one.owner), (7, mac(1), Owner::Leaf(A)));
    assert_eq!((one.age, one.held_for, one.frozen_for), (Some(secs(3)), Some(secs(297)), None));
    assert_eq!((two.vlan, two.mac, two.owner), (0, mac(2), Owner::Root));
    assert_eq!(two.age, Some(Duration::ZERO));
    assert_eq!(test.bridge.entry(7, mac(1), test.now), Some(one));
    assert_eq!(test.bridge.entry(0, mac(1), test.now), None);
    assert_eq!(test.bridge.entry(0xfff, mac(1), test.now), None);
}

#[test]
fn entries_of_one_owner_come_together() {
    let test = Test::new(Config::default());
    for (leaf, n) in [(B, 5), (A, 9), (B, 3), (A, 1)] {
        test.hear(leaf, mac(n));
    }
    let _ = test.root(BROADCAST, mac(7));
    let entries = test.bridge.entries_by_owner(test.now);
    let each: Vec<_> = entries.iter().map(|entry| (entry.owner, entry.mac)).collect();
    let (a, b) = (Owner::Leaf(A), Owner::Leaf(B));
    let order = [(Owner::Root, 7), (a, 1), (a, 9), (b, 3), (b, 5)];
    assert_eq!(each, order.map(|(owner, n)| (owner, mac(n))));
}

#[test]
fn room_tells_how_much_of_a_limit_is_used() {
    let test = Test::new(Config::default().max_macs(10).max_macs_per_leaf(0).max_macs_root(4));
    test.hear(A, mac(1));
    test.hear(B, mac(2));
    test.bridge.add_static(0, mac(3), A).unwrap();
    let _ = test.root(BROADCAST, mac(9));
    test.bridge.set_leaf_limit(B, Some(1));
    let used = |share| {
        let room = test.bridge.room(share);
        (room.learned, room.limit, room.is_left())
    };
    assert_eq!(used(Share::Leaf(A)), (1, None, true));
    assert_eq!(used(Share::Leaf(B)), (1, Some(1), false));
    assert_eq!(used(Share::Leaf(77)), (0, None, true));
    assert_eq!(used(Share::Leaves), (2, Some(10), true));
    assert_eq!(used(Share::Root), (1, Some(4), true));
}

#[test]
fn ports_of_16_bits_come_back_whole() {
    let bridge = Bridge::<u16>::new(Config::default());
    let _ = bridge.from_leaf(u16::MAX, &frame(BROADCAST, mac(1)), secs(1));
    let _ = bridge.from_leaf(0, &frame(BROADCAST, mac(2)), secs(1));
    assert_eq!(bridge.from_root(&frame(mac(1), mac(9)), secs(1)).0, FromRoot::Leaf(u16::MAX));
    assert_eq!(bridge.from_root(&frame(mac(2), mac(9)), secs(1)).0, FromRoot::Leaf(0));
}

#[test]
fn a_clock_at_zero_works() {
    let bridge = Bridge::<u32>::new(Config::default().max_macs(1));
    let at = Duration::ZERO;
    assert_eq!(bridge.from_leaf(A, &frame(BROADCAST, mac(1)), at).1, Learned::New);
    let full = FromLeaf::Drop(DropReason::TableFull);
    assert_eq!(bridge.from_leaf(B, &frame(BROADCAST, mac(2)), at).0, full);
    assert_eq!(bridge.lookup(0, mac(1), at), Some(Owner::Leaf(A)));
    assert_eq!(bridge.lookup(0, mac(1), Duration::MAX), None);
}

#[test]
fn what_a_leaf_taught_can_be_forgotten() {
    let test = Test::new(Config::default().max_macs_per_leaf(2_000));
    test.bridge.add_static(0, mac(9_999), A).unwrap();
    test.bridge.set_leaf_limit(A, Some(1_000));
    for n in 0..1_000 {
        assert_eq!(test.hear(A, mac(n)), Learned::New);
    }
    assert_eq!(test.hear(B, mac(5_000)), Learned::New);
    assert_eq!((test.bridge.forget_learned(A), test.bridge.forget_learned(A)), (1_000, 0));
    assert_eq!((test.bridge.leaf_len(A), test.bridge.leaf_len(B)), (1, 1));
    // Whoever has them now may say so at once, and the rules of the leaf stay.
    assert_eq!(test.hear(B, mac(7)), Learned::New);
    assert_eq!(test.bridge.lookup(0, mac(9_999), test.now), Some(Owner::Leaf(A)));
    for n in 1_000..2_000 {
        assert_eq!(test.hear(A, mac(n)), Learned::New);
    }
    let (verdict, _) = test.leaf(A, BROADCAST, mac(2_000));
    assert_eq!(verdict, FromLeaf::Drop(DropReason::LeafLimit));
}

#[test]
fn who_may_take_an_address_may_become_another() {
    let range = |text: &str| vec![text.parse().unwrap()];
    let mut test = Test::new(Config::default());
    test.hear(A, mac(1));
    test.wait(secs(10));
    assert_eq!(test.refuse(B, mac(1)), DropReason::SourceHeld);
    // It counts for what is known already, and shows in the entry.
    test.bridge.set_move_hold(secs(10));
    assert_eq!(test.hear(B, mac(1)), Learned::Moved { from: Owner::Leaf(A), frozen: false });
    let held = |test: &Test| test.bridge.entry(0, mac(1), test.now).unwrap().held_for;
    assert_eq!(held(&test), Some(secs(10)));
    assert_eq!(test.refuse(A, mac(1)), DropReason::SourceHeld);
    test.bridge.set_shared(range("02:00:00:00:00:01/48"));
    assert_eq!(held(&test), None);
    assert_eq!(test.hear(A, mac(1)), Learned::Moved { from: Owner::Leaf(B), frozen: false });
    test.bridge.set_shared(Vec::new());
    assert_eq!(test.refuse(B, mac(1)), DropReason::SourceHeld);
    // Where all move with their first frame there is nothing to hold.
    let test = Test::new(Config::default().moves(MovePolicy::FirstFrame));
    test.hear(A, mac(1));
    test.bridge.set_move_hold(secs(10));
    assert_eq!(test.hear(B, mac(1)), Learned::Moved { from: Owner::Leaf(A), frozen: false });
}
