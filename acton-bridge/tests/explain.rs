//! `explain` says what `from_root` and `from_leaf` would, for the facts that it names, and leaves
//! no trace.

use std::time::Duration;

use acton_bridge::{
    Bridge, BumKind, Config, DropReason, Explanation, FromLeaf, FromRoot, Learned, MovePolicy,
    Owner, Share, Step, Verdict,
};
use pnet_base::MacAddr;
use proptest::prelude::*;

use operations::{AGEING, Frame, HOLD, Op, config, op};

mod operations;

type Said = (Verdict<u32>, Learned<u32>);

fn told(bridge: &Bridge<u32>, side: Owner<u32>, frame: &[u8], now: Duration) -> Said {
    match side {
        Owner::Root => {
            let (verdict, learned) = bridge.from_root(frame, now);
            (Verdict::FromRoot(verdict), learned)
        }
        Owner::Leaf(leaf) => {
            let (verdict, learned) = bridge.from_leaf(leaf, frame, now);
            (Verdict::FromLeaf(verdict), learned)
        }
    }
}

/// Two bridges that meet the same, of which one is asked to explain at every turn.
struct Twins {
    asked: Bridge<u32>,
    other: Bridge<u32>,
    now: Duration,
}

impl Twins {
    fn new(config: Config) -> Self {
        let (asked, other) = (Bridge::new(config.clone()), Bridge::new(config));
        Self { asked, other, now: Duration::ZERO }
    }

    fn frame(&self, side: Owner<u32>, frame: &[u8]) -> Result<(), TestCaseError> {
        // Also what nobody sends.
        for side in [Owner::Root, Owner::Leaf(0), Owner::Leaf(3)] {
            let _ = self.asked.explain(side, frame, self.now);
        }
        let explanation = self.asked.explain(side, frame, self.now);
        let said = told(&self.asked, side, frame, self.now);
        prop_assert_eq!((explanation.verdict, explanation.learned), said, "\n{}", explanation);
        prop_assert_eq!(told(&self.other, side, frame, self.now), said);
        facts_lead_to_the_verdict(&explanation, side)
    }

    fn both<T>(&self, command: impl Fn(&Bridge<u32>) -> T) {
        command(&self.asked);
        command(&self.other);
    }

    /// The order tells of the slots, and the lengths of what expired and was not swept.
    fn same(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.asked.entries(self.now).eq(self.other.entries(self.now)));
        prop_assert_eq!(self.asked.len(), self.other.len());
        for leaf in 0..4 {
            prop_assert_eq!(self.asked.leaf_len(leaf), self.other.leaf_len(leaf));
        }
        Ok(())
    }
}

fn facts_lead_to_the_verdict(
    explanation: &Explanation<u32>,
    side: Owner<u32>,
) -> Result<(), TestCaseError> {
    let Explanation { steps, learned, verdict, .. } = explanation;
    let reason = match *verdict {
        Verdict::FromRoot(FromRoot::Drop(reason)) | Verdict::FromLeaf(FromLeaf::Drop(reason)) => {
            Some(reason)
        }
        _ => None,
    };
    let Some(last) = steps.last() else {
        prop_assert!(matches!(reason, Some(DropReason::Runt | DropReason::BadVlan)));
        return Ok(());
    };
    let source = steps.iter().find_map(|step| match step {
        Step::Source(entry) => *entry,
        _ => None,
    });
    let agrees = match (reason, last) {
        (
            Some(
                DropReason::Reserved
                | DropReason::Pause
                | DropReason::SourceGroup
                | DropReason::SourceZero,
            ),
            Step::Header { .. },
        ) => true,
        (Some(DropReason::SourceProtected), Step::SourceProtection(Some(only))) => *only != side,
        (Some(DropReason::SourceAtRoot), Step::SourceProtection(None)) => {
            source.is_some_and(|entry| entry.owner == Owner::Root)
        }
        (Some(DropReason::SourceNotListed), Step::Strict(leaf)) => Owner::Leaf(*leaf) == side,
        (Some(DropReason::SourceStatic), Step::SourceProtection(_)) => {
            source.is_some_and(|entry| entry.owner != side && entry.age.is_none())
        }
        (Some(DropReason::SourceHeld), Step::SourceProtection(_)) => {
            source.is_some_and(|entry| entry.owner != side && entry.held_for.is_some())
        }
        (Some(DropReason::SourceFrozen), Step::SourceProtection(_)) => {
            source.is_some_and(|entry| entry.owner != side && entry.frozen_for.is_some())
        }
        (Some(DropReason::LeafLimit), Step::Room(room)) => {
            let Owner::Leaf(leaf) = side else { panic!("the root has no such limit") };
            room.share == Share::Leaf(leaf) && !room.is_left()
        }
        (Some(DropReason::TableFull), Step::Room(room)) => {
            room.share == Share::Leaves && !room.is_left()
        }
        (Some(DropReason::LeafToLeaf), Step::Destination(Some(entry))) => {
            entry.owner != side && entry.owner != Owner::Root
        }
        (Some(DropReason::Local), Step::Destination(Some(entry))) => entry.owner == side,
        (None, Step::Destination(Some(entry))) => match *verdict {
            Verdict::FromRoot(FromRoot::Leaf(leaf)) => entry.owner == Owner::Leaf(leaf),
            Verdict::FromLeaf(FromLeaf::Root { bum: None }) => entry.owner == Owner::Root,
            _ => false,
        },
        (None, Step::Destination(None)) => {
            let bum = Some(BumKind::Unknown);
            *verdict == Verdict::FromRoot(FromRoot::Flood(BumKind::Unknown))
                || *verdict == Verdict::FromLeaf(FromLeaf::Root { bum })
        }
        (None, Step::Group(kind)) => {
            *verdict == Verdict::FromRoot(FromRoot::Flood(*kind))
                || *verdict == Verdict::FromLeaf(FromLeaf::Root { bum: Some(*kind) })
        }
        _ => false,
    };
    prop_assert!(agrees, "\n{}", explanation);
    match learned {
        Learned::Nothing => {}
        Learned::New => prop_assert_eq!(source, None),
        // The root may take it from a leaf that has it on another VLAN.
        Learned::Moved { from, .. } => {
            prop_assert!(source.map_or(side == Owner::Root, |entry| entry.owner == *from));
        }
    }
    Ok(())
}

fn same_as_the_verdict(config: Config, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut twins = Twins::new(config);
    for op in ops {
        match op {
            Op::Root(Frame(frame)) => twins.frame(Owner::Root, &frame)?,
            Op::Leaf(leaf, Frame(frame)) => twins.frame(Owner::Leaf(leaf), &frame)?,
            Op::Wait(time) => twins.now += time,
            Op::Purge(leaf) => twins.both(|bridge| bridge.purge(leaf)),
            Op::Limit(leaf, limit) => twins.both(|bridge| bridge.set_leaf_limit(leaf, limit)),
            Op::LimitAll(limit) => twins.both(|bridge| bridge.set_max_macs_per_leaf(limit)),
            Op::Age(ageing) => twins.both(|bridge| bridge.set_ageing(ageing)),
            Op::Sweep(budget) => twins.both(|bridge| bridge.sweep(twins.now, budget)),
            Op::AddStatic(vlan, mac, leaf) => {
                twins.both(|bridge| bridge.add_static(vlan, mac, leaf));
            }
            Op::RemoveStatic(vlan, mac) => twins.both(|bridge| bridge.remove_static(vlan, mac)),
            Op::Protect(mac) => twins.both(|bridge| bridge.protect(mac)),
            Op::Reserve(mac, leaf) => twins.both(|bridge| bridge.reserve(mac, leaf)),
            Op::Unprotect(mac) => twins.both(|bridge| bridge.unprotect(mac)),
            Op::SetRootMacs(macs) => {
                twins.both(|bridge| bridge.set_root_macs(macs.iter().copied()));
            }
            Op::Pin(mac) => twins.both(|bridge| bridge.pin(mac)),
            Op::Unpin(mac) => twins.both(|bridge| bridge.unpin(mac)),
            Op::Strict(leaf, strict) => {
                twins.both(|bridge| bridge.set_leaf_strict(leaf, strict));
            }
            Op::Share(leaf, ranges) => {
                twins.both(|bridge| bridge.set_leaf_shared(leaf, &ranges));
            }
            Op::ShareAll(ranges) => twins.both(|bridge| bridge.set_shared(ranges.clone())),
            Op::Hold(hold) => twins.both(|bridge| bridge.set_move_hold(hold)),
        }
        twins.same()?;
    }
    Ok(())
}

const GATEWAY: u16 = 0;

fn mac(n: u16) -> MacAddr {
    let [high, low] = n.to_be_bytes();
    MacAddr::new(2, 0, 0, 0, high, low)
}

fn frame(to: u16, from: u16) -> Vec<u8> {
    [&mac(to).octets()[..], &mac(from).octets(), &[8, 0]].concat()
}

/// Many frames from addresses that follow one another, and then a while.
#[derive(Debug, Clone)]
struct Burst {
    side: Owner<u32>,
    first: u16,
    frames: u16,
    wait: Duration,
}

fn burst() -> impl Strategy<Value = Burst> {
    let side = prop_oneof![1 => Just(Owner::Root), 3 => (0..3u32).prop_map(Owner::Leaf)];
    let wait = prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_micros(999)),
        Just(Duration::from_millis(1)),
        Just(HOLD),
        Just(AGEING / 2),
        Just(AGEING),
    ];
    let first = prop_oneof![2 => Just(1), 1 => Just(65), 2 => 1..200u16];
    let frames = prop_oneof![1 => 1..4u16, 3 => 50..130u16];
    (side, first, frames, wait).prop_map(|(side, first, frames, wait)| Burst {
        side,
        first,
        frames,
        wait,
    })
}

proptest! {
    // More of them: PROPTEST_CASES=20000.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_explanation_ends_as_the_verdict_does_and_changes_nothing(
        config in config(),
        ops in prop::collection::vec(op(), 1..200),
    ) {
        same_as_the_verdict(config, ops)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: ProptestConfig::default().cases / 8,
        ..ProptestConfig::default()
    })]

    /// Where there is more than a claim looks through for what has expired.
    #[test]
    fn limits_of_many_addresses_are_explained_to_the_slot(
        (macs, per_leaf, root) in (60..300usize, 0..150usize, 60..150usize),
        bursts in prop::collection::vec(burst(), 1..30),
    ) {
        let config = Config::default()
            .ageing(AGEING)
            .max_macs(macs)
            .max_macs_per_leaf(per_leaf)
            .max_macs_root(root);
        let mut twins = Twins::new(config);
        for Burst { side, first, frames, wait } in bursts {
            for n in 0..frames {
                twins.frame(side, &frame(GATEWAY, first + n))?;
            }
            twins.same()?;
            twins.now += wait;
        }
    }
}

/// A claim looks at no more than 64 of a leaf's addresses for expired ones.
#[test]
fn what_a_claim_does_not_find_is_not_explained_away() {
    let mut twins = Twins::new(Config::default().ageing(AGEING).max_macs_per_leaf(100));
    let said = |twins: &Twins, from| {
        let frame = frame(GATEWAY, from);
        let explanation = twins.asked.explain(Owner::Leaf(1), &frame, twins.now);
        twins.frame(Owner::Leaf(1), &frame).unwrap();
        explanation.learned
    };
    (1..=100).for_each(|n| assert_eq!(said(&twins, n), Learned::New));
    twins.now += AGEING / 2;
    (1..=64).for_each(|n| assert_eq!(said(&twins, n), Learned::Nothing));
    twins.now += AGEING / 2;
    assert_eq!(said(&twins, 200), Learned::Nothing, "the first 64 have not expired");
    // Once the leaf is looked at again, its own expired address comes first.
    twins.now += Duration::from_millis(1);
    assert_eq!(said(&twins, 100), Learned::New);
    assert_eq!(said(&twins, 200), Learned::New, "the others have expired");
}

#[test]
fn an_expired_address_is_taken_off_a_limit_once() {
    let mut twins = Twins::new(Config::default().ageing(AGEING));
    for n in [11, 12] {
        twins.frame(Owner::Leaf(1), &frame(GATEWAY, n)).unwrap();
        twins.now += HOLD;
    }
    twins.both(|bridge| bridge.set_leaf_limit(1, Some(1)));
    twins.now = AGEING;
    let frame = frame(GATEWAY, 11);
    let explanation = twins.asked.explain(Owner::Leaf(1), &frame, twins.now);
    let refused = Verdict::FromLeaf(FromLeaf::Drop(DropReason::LeafLimit));
    assert_eq!(explanation.verdict, refused);
    twins.frame(Owner::Leaf(1), &frame).unwrap();
}

/// A bridge with a limit of two addresses a leaf, and a clock.
struct Test {
    bridge: Bridge<u32>,
    now: Duration,
}

impl Test {
    fn new() -> Self {
        let moves = MovePolicy::Guarded { hold: HOLD, freeze_after: 1, within: 4 * HOLD };
        let config = Config::default().max_macs_per_leaf(2).moves(moves);
        Self { bridge: Bridge::new(config), now: Duration::from_secs(1_000) }
    }

    fn hear(&self, leaf: u32, from: u16) {
        let (verdict, _) = self.bridge.from_leaf(leaf, &frame(GATEWAY, from), self.now);
        assert!(matches!(verdict, FromLeaf::Root { .. }), "{verdict:?}");
    }

    fn explain(&self, side: Owner<u32>, to: u16, from: u16) -> Vec<String> {
        let explanation = self.bridge.explain(side, &frame(to, from), self.now);
        explanation.to_string().lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_new_address_is_explained() {
    let mut test = Test::new();
    test.hear(1, 11);
    test.now += Duration::from_millis(1_500);
    let expected = [
        "header: from 02:00:00:00:00:0c to 02:00:00:00:00:0b, untagged",
        "source: unknown",
        "source: not protected",
        "room: leaf 1, 1 of 2 addresses",
        "room: all leaves, 1 of 65536 addresses",
        "destination: at leaf 1, last heard of 1.5s ago, held for 3.5s",
        "learned: a new address",
        "verdict: dropped (local)",
    ];
    assert_eq!(test.explain(Owner::Leaf(1), 11, 12), expected);
    assert_eq!(test.bridge.lookup(0, mac(12), test.now), None);
}

#[test]
fn who_holds_an_address_is_explained() {
    let mut test = Test::new();
    test.hear(1, 11);
    test.now += Duration::from_secs(2);
    let lines = test.explain(Owner::Leaf(2), GATEWAY, 11);
    assert_eq!(lines[1], "source: at leaf 1, last heard of 2.0s ago, held for 3.0s");
    assert_eq!(lines.last().unwrap(), "verdict: dropped (source_held)");
    test.now += Duration::from_secs(3);
    let lines = test.explain(Owner::Leaf(2), GATEWAY, 11);
    assert_eq!(lines[1], "source: at leaf 1, last heard of 5.0s ago");
    assert!(lines.contains(&"learned: the address moves from leaf 1, and is frozen".to_owned()));
    // A frame to its own source meets it where it would be by then.
    let lines = test.explain(Owner::Leaf(2), 11, 11);
    let there = "destination: at leaf 2, last heard of 0.0ns ago, held for 5.0s, frozen for 20.0s";
    assert!(lines.contains(&there.to_owned()), "{lines:?}");
    test.hear(2, 11);
    test.now += Duration::from_secs(5);
    let lines = test.explain(Owner::Leaf(1), GATEWAY, 11);
    assert_eq!(lines[1], "source: at leaf 2, last heard of 5.0s ago, frozen for 15.0s");
    assert_eq!(lines.last().unwrap(), "verdict: dropped (source_frozen)");
}

#[test]
fn who_may_take_a_held_address_is_explained() {
    let test = Test::new();
    test.hear(1, 11);
    test.bridge.set_leaf_shared(2, &["02:00:00:00:00:00/40".parse().unwrap()]);
    let lines = test.explain(Owner::Leaf(2), GATEWAY, 11);
    assert_eq!(
        lines[1..4],
        [
            "source: at leaf 1, last heard of 0.0ns ago, held for 5.0s",
            "source: not protected",
            "source: leaf 2 shares it"
        ]
    );
    assert!(lines.contains(&"learned: the address moves from leaf 1".to_owned()), "{lines:?}");
    let lines = test.explain(Owner::Leaf(3), GATEWAY, 11);
    assert_eq!(lines.last().unwrap(), "verdict: dropped (source_held)");
    // Of one that nobody has it is not worth a word.
    let lines = test.explain(Owner::Leaf(2), GATEWAY, 12);
    assert!(!lines.iter().any(|line| line.contains("shares")), "{lines:?}");
}

#[test]
fn a_limit_is_explained_with_or_without_the_lock() {
    let test = Test::new();
    test.hear(1, 11);
    test.hear(1, 12);
    let room = test.bridge.room(Share::Leaf(1));
    assert_eq!((room.learned, room.limit), (2, Some(2)));
    for _ in 0..2 {
        let frame = frame(GATEWAY, 13);
        let explanation = test.bridge.explain(Owner::Leaf(1), &frame, test.now);
        assert_eq!(explanation.steps.last(), Some(&Step::Room(room)));
        // The first one marks the leaf, so that the second is refused without the lock.
        let (verdict, _) = test.bridge.from_leaf(1, &frame, test.now);
        assert_eq!(verdict, FromLeaf::Drop(DropReason::LeafLimit));
    }
}

#[test]
fn protection_is_explained_at_both_ends() {
    let test = Test::new();
    test.bridge.protect(mac(8)).unwrap();
    test.bridge.reserve(mac(9), 1).unwrap();
    let lines = test.explain(Owner::Leaf(2), GATEWAY, 9);
    assert_eq!(lines[2], "source: reserved for leaf 1");
    assert_eq!(lines.last().unwrap(), "verdict: dropped (source_protected)");
    let lines = test.explain(Owner::Leaf(1), 8, 9);
    assert_eq!(lines[2], "source: reserved for leaf 1");
    assert!(lines.contains(&"destination: at the root, static".to_owned()));
    assert_eq!(lines.last().unwrap(), "verdict: to the root");
}

#[test]
fn a_frame_from_the_root_is_explained() {
    let test = Test::new();
    test.bridge.add_static(0, mac(5), 7).unwrap();
    let expected = [
        "header: from 02:00:00:00:00:00 to 02:00:00:00:00:05, untagged",
        "source: unknown",
        "room: the root, 0 of 16384 addresses",
        "destination: at leaf 7, static",
        "learned: a new address",
        "verdict: to leaf 7",
    ];
    assert_eq!(test.explain(Owner::Root, 5, GATEWAY), expected);
    let lines = test.explain(Owner::Root, 6, GATEWAY);
    assert_eq!(
        lines[3..],
        ["destination: unknown", "learned: a new address", "verdict: to all leaves (unknown)"]
    );
}

#[test]
fn a_frame_without_a_header_has_no_steps() {
    let test = Test::new();
    let explanation = test.bridge.explain(Owner::Root, &[0; 13], test.now);
    assert_eq!(explanation.steps, []);
    assert_eq!(explanation.verdict, Verdict::FromRoot(FromRoot::Drop(DropReason::Runt)));
}
