//! What may happen to a bridge: frames, time and commands, on few addresses so that they meet.

use std::fmt;
use std::time::Duration;

use acton_bridge::{Config, MacRange, MovePolicy};
use pnet_base::MacAddr;
use proptest::prelude::*;

pub(crate) const AGEING: Duration = Duration::from_secs(300);
pub(crate) const HOLD: Duration = Duration::from_secs(5);
/// Short, so that moves often meet its end.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);

/// Shown in hex, on one line, in what a failure prints.
#[derive(Clone)]
pub(crate) struct Frame(pub(crate) Vec<u8>);

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Root(Frame),
    Leaf(u32, Frame),
    Wait(Duration),
    Purge(u32),
    Limit(u32, Option<usize>),
    LimitAll(usize),
    Age(Duration),
    Sweep(usize),
    AddStatic(u16, MacAddr, u32),
    RemoveStatic(u16, MacAddr),
    Protect(MacAddr),
    Reserve(MacAddr, u32),
    Unprotect(MacAddr),
    SetRootMacs(Vec<MacAddr>),
    Pin(MacAddr),
    Unpin(MacAddr),
    Strict(u32, bool),
    Share(u32, Vec<MacRange>),
    ShareAll(Vec<MacRange>),
    Hold(Duration),
}

fn station() -> impl Strategy<Value = MacAddr> {
    prop_oneof![2 => 1..=2u8, 1 => 1..=7u8].prop_map(|n| MacAddr::new(2, 0, 0, 0, 0, n))
}

/// The first station, which is met most, or its neighbours 2 and 3.
fn range() -> impl Strategy<Value = MacRange> {
    let range = |text: &str| text.parse().expect("a range");
    prop_oneof![Just(range("02:00:00:00:00:01")), Just(range("02:00:00:00:00:02/47")),]
}

fn any_address() -> impl Strategy<Value = MacAddr> {
    prop_oneof![
        30 => station(),
        1 => Just(MacAddr::broadcast()),
        1 => Just(MacAddr::zero()),
        1 => (0..=16u8).prop_map(|n| MacAddr::new(1, 0x80, 0xc2, 0, 0, n)),
        1 => Just(MacAddr::new(0x33, 0x33, 0, 0, 0, 1)),
    ]
}

fn vlan() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(0), 1 => Just(7)]
}

fn frame() -> impl Strategy<Value = Frame> {
    let tag = prop_oneof![
        6 => Just(vec![0x08, 0x00]),
        1 => Just(vec![0x81, 0x00, 0x20, 0x07, 0x08, 0x00]),
        1 => Just(vec![0x88, 0xa8, 0x00, 0x07, 0x81, 0x00]),
        1 => Just(vec![0x81, 0x00, 0x60, 0x00, 0x08, 0x00]),
        1 => Just(vec![0x81, 0x00, 0xef, 0xff, 0x08, 0x00]),
        1 => Just(vec![0x81, 0x00, 0x00]),
        1 => Just(vec![0x08]),
    ];
    (any_address(), any_address(), tag).prop_map(|(to, from, tag)| {
        let mut frame = Vec::from(to.octets());
        frame.extend(from.octets());
        frame.extend(tag);
        Frame(frame)
    })
}

/// The steps that matter: nothing, a moment, and either side of each limit.
fn wait() -> impl Strategy<Value = Duration> {
    let nanosecond = Duration::from_nanos(1);
    prop_oneof![
        Just(nanosecond),
        Just(Duration::from_millis(300)),
        Just(Duration::from_secs(1)),
        Just(HOLD - nanosecond),
        Just(HOLD),
        Just(Duration::from_secs(100)),
        Just(WITHIN - nanosecond),
        Just(WITHIN),
        Just(AGEING - nanosecond),
        Just(AGEING),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let leaf = || 0..4u32;
    prop_oneof![
        12 => frame().prop_map(Op::Root),
        30 => (leaf(), frame()).prop_map(|(leaf, frame)| Op::Leaf(leaf, frame)),
        10 => wait().prop_map(Op::Wait),
        1 => leaf().prop_map(Op::Purge),
        1 => (leaf(), prop::option::of(0..4usize)).prop_map(|(leaf, max)| Op::Limit(leaf, max)),
        1 => (0..4usize).prop_map(Op::LimitAll),
        1 => prop_oneof![Just(AGEING), Just(AGEING / 3), Just(HOLD / 2)].prop_map(Op::Age),
        1 => (0..40usize).prop_map(Op::Sweep),
        1 => (vlan(), station(), leaf())
            .prop_map(|(vlan, mac, leaf)| Op::AddStatic(vlan, mac, leaf)),
        1 => (vlan(), station()).prop_map(|(vlan, mac)| Op::RemoveStatic(vlan, mac)),
        1 => station().prop_map(Op::Protect),
        1 => (station(), leaf()).prop_map(|(mac, leaf)| Op::Reserve(mac, leaf)),
        1 => station().prop_map(Op::Unprotect),
        1 => prop::collection::vec(station(), 0..3).prop_map(Op::SetRootMacs),
        2 => station().prop_map(Op::Pin),
        2 => station().prop_map(Op::Unpin),
        1 => (leaf(), any::<bool>()).prop_map(|(leaf, strict)| Op::Strict(leaf, strict)),
        2 => (leaf(), prop::collection::vec(range(), 0..3))
            .prop_map(|(leaf, ranges)| Op::Share(leaf, ranges)),
        1 => prop::collection::vec(range(), 0..2).prop_map(Op::ShareAll),
        1 => prop_oneof![Just(HOLD), Just(HOLD / 5), Just(Duration::MAX)].prop_map(Op::Hold),
    ]
}

pub(crate) fn config() -> impl Strategy<Value = Config> {
    let guarded = |hold, freeze_after| MovePolicy::Guarded { hold, freeze_after, within: WITHIN };
    let moves = prop_oneof![
        1 => Just(MovePolicy::FirstFrame),
        1 => Just(guarded(Duration::MAX, 3)),
        3 => (0..4u32).prop_map(move |freeze_after| guarded(HOLD, freeze_after)),
    ];
    let shared = prop_oneof![
        1 => Just(vec![]),
        1 => range().prop_map(|range| vec![range]),
    ];
    let limits = (1..7usize, 0..4usize, 0..5usize, 0..4usize, 0..4usize);
    (moves, shared, any::<bool>(), limits).prop_map(
        |(moves, shared, reserved, (macs, per_leaf, root, pinned, statics))| {
            Config::default()
                .ageing(AGEING)
                .moves(moves)
                .shared(shared)
                .max_pinned(pinned)
                .forward_reserved(reserved)
                .max_macs(macs)
                .max_macs_per_leaf(per_leaf)
                .max_macs_root(root)
                .max_static(statics)
        },
    )
}
