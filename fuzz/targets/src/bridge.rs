//! The bridge: frames of any bytes from the root and from leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use acton_bridge::{
    Bridge, BumKind, Config, DropReason, FromLeaf, FromRoot, Learned, MacRange, MovePolicy, Owner,
    Verdict,
};
use pnet_base::MacAddr;

use crate::input::Input;

const LEAVES: usize = 4;
const AGEING: Duration = Duration::from_secs(300);

/// A VLAN and an address in it.
type Key = (u16, [u8; 6]);

struct World {
    now: Duration,
    bridge: Bridge<u32>,
    /// When each leaf last sent a frame from an address, or had it by decree.
    said: BTreeMap<(u32, Key), Duration>,
    per_leaf: usize,
    statics: usize,
    forwarded: bool,
}

/// The VLAN, destination and source that a frame of at least 18 bytes has.
fn header(frame: &[u8; 18]) -> (u16, [u8; 6], [u8; 6]) {
    let &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1, v0, v1, ..] = frame;
    let tagged = matches!([t0, t1], [0x81, 0x00] | [0x88, 0xa8]);
    let vlan = if tagged { u16::from_be_bytes([v0, v1]) & 0xfff } else { 0 };
    (vlan, [d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5])
}

/// An address: one of a few, so that they meet, or any.
fn address(input: &mut Input<'_>) -> [u8; 6] {
    match input.u8() {
        low @ 0..=0xef => [2, 0, 0, 0, 0, low & 15],
        0xf0 => [0xff; 6],
        0xf1 => [1, 0x80, 0xc2, 0, 0, input.u8()],
        _ => input.array(),
    }
}

fn frame(input: &mut Input<'_>) -> Vec<u8> {
    if input.below(8) == 0 {
        return input.chunk().to_vec();
    }
    let mut frame = [address(input), address(input)].concat();
    match input.below(4) {
        0 => frame.extend([0x81, 0x00, 0, input.u8() & 3, 8, 0]),
        1 => frame.extend(input.array::<6>()),
        _ => frame.extend([8, 0, 0x45, 0, 0, 0]),
    }
    frame
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let bits = input.u8();
        let per_leaf = usize::from(bits & 3);
        let moves = if bits & 4 == 0 { MovePolicy::guarded() } else { MovePolicy::FirstFrame };
        let config = Config::default()
            .ageing(AGEING)
            .max_macs(1 + usize::from(bits >> 5))
            .max_macs_per_leaf(per_leaf)
            .max_macs_root(4)
            .max_static(4)
            .max_pinned(4)
            .shared(vec!["02:00:00:00:00:00/45".parse().expect("a range")])
            .moves(moves)
            .forward_reserved(bits & 8 != 0)
            .protected(vec![MacAddr::new(2, 0, 0, 0, 0, 15)]);
        Self {
            now: Duration::from_secs(1),
            bridge: Bridge::new(config),
            said: BTreeMap::new(),
            per_leaf,
            statics: 4,
            forwarded: false,
        }
    }

    /// What the bridge says it would do with a frame, without doing any of it.
    fn explain(&self, side: Owner<u32>, frame: &[u8]) -> (Verdict<u32>, Learned<u32>) {
        let known = || self.bridge.entries(self.now);
        let (before, len) = (known().collect::<Vec<_>>(), self.bridge.len());
        let explanation = self.bridge.explain(side, frame, self.now);
        assert!(known().eq(before), "an explanation changed what is known");
        assert_eq!(self.bridge.len(), len);
        assert!(!explanation.to_string().is_empty());
        (explanation.verdict, explanation.learned)
    }

    fn root(&mut self, frame: &[u8]) {
        let explained = self.explain(Owner::Root, frame);
        let (verdict, learned) = self.bridge.from_root(frame, self.now);
        assert_eq!(explained, (Verdict::FromRoot(verdict), learned));
        match verdict {
            FromRoot::Drop(reason) => {
                assert_eq!(DropReason::ALL[reason.index()], reason);
                return;
            }
            FromRoot::Leaf(leaf) => {
                let (vlan, to, _) = header(&pad(frame));
                let said = self.said.get(&(leaf, (vlan, to)));
                let fresh = said.is_some_and(|&at| self.now.saturating_sub(at) < AGEING);
                assert!(fresh, "a frame for {leaf}, which has not said it is {to:?}");
                self.forwarded = true;
            }
            FromRoot::Flood(kind) => {
                let group = frame[0] & 1 != 0;
                assert_eq!(group, kind != BumKind::Unknown);
                assert_eq!(kind == BumKind::Broadcast, frame[..6] == [0xff; 6]);
            }
        }
        assert_passes(frame);
    }

    fn leaf(&mut self, leaf: u32, frame: &[u8]) {
        let (vlan, to, from) = header(&pad(frame));
        let explained = self.explain(Owner::Leaf(leaf), frame);
        let (verdict, learned) = self.bridge.from_leaf(leaf, frame, self.now);
        assert_eq!(explained, (Verdict::FromLeaf(verdict), learned));
        let heard = match verdict {
            FromLeaf::Root { .. } => {
                assert_passes(frame);
                true
            }
            FromLeaf::Drop(reason) => {
                matches!(reason, DropReason::LeafToLeaf | DropReason::Local)
            }
        };
        if heard {
            let said = self.said.entry((leaf, (vlan, from))).or_default();
            *said = self.now.max(*said);
            let owner = self.bridge.lookup(vlan, from.into(), self.now);
            assert_eq!(owner, Some(Owner::Leaf(leaf)), "who may send is who gets the answer");
        }
        // A frame to another leaf's address never passes.
        if let Some(Owner::Leaf(_)) = self.bridge.lookup(vlan, to.into(), self.now) {
            assert!(matches!(verdict, FromLeaf::Drop(_)), "from leaf to leaf");
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..=4 => {
                let frame = frame(input);
                self.root(&frame);
            }
            5..=9 => {
                let leaf = input.below(LEAVES) as u32;
                let frame = frame(input);
                self.leaf(leaf, &frame);
            }
            10 => self.now += Duration::from_millis(u64::from(input.u16()) * 10),
            11 => {
                let leaf = input.below(LEAVES) as u32;
                self.bridge.purge(leaf);
                self.said.retain(|&(other, _), _| other != leaf);
                assert_eq!(self.bridge.leaf_len(leaf), 0);
            }
            12 => {
                self.bridge.sweep(self.now, input.u8().into());
            }
            13 => {
                let mac = address(input);
                if input.bool() {
                    let _ = self.bridge.protect(mac.into());
                } else {
                    self.bridge.unprotect(mac.into());
                }
            }
            14 => match input.below(5) {
                0 => {
                    let _ = self.bridge.set_root_macs([address(input).into()]);
                }
                1 => {
                    let _ = self.bridge.pin(address(input).into());
                }
                2 => self.bridge.unpin(address(input).into()),
                3 => {
                    let leaf = input.below(LEAVES) as u32;
                    let range = MacRange::new(address(input).into(), 1 + input.u8() % 48);
                    self.bridge.set_leaf_shared(leaf, range.as_slice());
                }
                _ => {
                    let leaf = input.below(LEAVES) as u32;
                    self.bridge.set_leaf_strict(leaf, input.bool());
                }
            },
            _ => {
                let (vlan, mac) = (input.u16(), address(input));
                if input.bool() {
                    // It does not age, so that it was said at the end of all times.
                    let leaf = input.below(LEAVES) as u32;
                    if self.bridge.add_static(vlan, mac.into(), leaf).is_ok() {
                        self.said.insert((leaf, (vlan, mac)), Duration::from_secs(1 << 40));
                    }
                } else {
                    self.bridge.remove_static(vlan, mac.into());
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        for leaf in 0..LEAVES as u32 {
            if self.per_leaf > 0 {
                assert!(self.bridge.leaf_len(leaf) <= self.per_leaf + self.statics);
            }
        }
        for entry in self.bridge.entries(self.now) {
            assert!(entry.vlan < 4095);
            assert_eq!(self.bridge.lookup(entry.vlan, entry.mac, self.now), Some(entry.owner));
            assert!(entry.age.is_none_or(|age| age < AGEING));
        }
    }
}

/// What passes has a header, a source that can be answered, and is no PAUSE.
fn assert_passes(frame: &[u8]) {
    assert!(frame.len() >= 14);
    assert!(frame[6] & 1 == 0 && frame[6..12] != [0; 6]);
    assert_ne!(frame[..6], [1, 0x80, 0xc2, 0, 0, 1]);
}

fn pad(frame: &[u8]) -> [u8; 18] {
    let mut padded = [0; 18];
    let n = frame.len().min(18);
    padded[..n].copy_from_slice(&frame[..n]);
    padded
}

/// Frames, time and commands in any order: no frame goes to a leaf that did not say it is the
/// destination, none from leaf to leaf, no table is larger than its limits, and each verdict is the
/// one that was explained before.
pub fn bridge(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    let mut steps = 0;
    while !input.is_empty() && steps < 500 {
        world.step(&mut input);
        steps += 1;
    }
    world.forwarded
}
