//! The bridge against a slow, obvious reference: the same frames, times and commands must give
//! the same verdicts, to the nanosecond.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use acton_bridge::{
    Bridge, BumKind, Config, DropReason, FromLeaf, FromRoot, Learned, MovePolicy, Owner,
    StaticError,
};
use pnet_base::MacAddr;
use proptest::prelude::*;

use operations::{AGEING, Frame, HOLD, Op, WITHIN, config, op};

mod operations;

/// What the model knows of one address.
#[derive(Clone, Copy)]
struct Known {
    owner: Owner<u32>,
    seen: Duration,
    fixed: bool,
    first_move: Duration,
    moves: u32,
    frozen_until: Duration,
}

/// The rules in the plainest words: one map, scanned whenever something is to be counted.
struct Model {
    known: BTreeMap<(u16, MacAddr), Known>,
    /// Who alone may send from these.
    listed: BTreeMap<MacAddr, Owner<u32>>,
    own: Option<MacAddr>,
    /// Of leaves that have one of their own.
    leaf_limits: BTreeMap<u32, usize>,
    first_frame: bool,
    freeze_after: u32,
    forward_reserved: bool,
    max_macs: usize,
    max_macs_per_leaf: usize,
    max_macs_root: usize,
    max_static: usize,
}

type Key = (u16, MacAddr);

impl Model {
    /// Takes away what expired; then all that is left is live.
    fn age(&mut self, now: Duration) {
        self.known.retain(|_, known| known.fixed || now - known.seen < AGEING);
    }

    fn owner(&self, key: Key) -> Option<Owner<u32>> {
        self.known.get(&key).map(|known| known.owner)
    }

    fn protection(&self, mac: MacAddr) -> Option<Owner<u32>> {
        if self.own == Some(mac) { Some(Owner::Root) } else { self.listed.get(&mac).copied() }
    }

    fn learned(&self, which: impl Fn(Owner<u32>) -> bool) -> usize {
        self.known.values().filter(|known| !known.fixed && which(known.owner)).count()
    }

    fn statics(&self) -> usize {
        let mut protected: BTreeSet<_> = self.listed.keys().copied().collect();
        protected.extend(self.own);
        protected.len() + self.known.values().filter(|known| known.fixed).count()
    }

    fn header(&self, frame: &[u8]) -> Result<(Key, MacAddr), DropReason> {
        if frame.len() < 14 {
            return Err(DropReason::Runt);
        }
        let mac = |at: usize| {
            MacAddr::new(
                frame[at],
                frame[at + 1],
                frame[at + 2],
                frame[at + 3],
                frame[at + 4],
                frame[at + 5],
            )
        };
        let (to, from) = (mac(0), mac(6));
        let mut vlan = 0;
        if frame[12..14] == [0x81, 0x00] || frame[12..14] == [0x88, 0xa8] {
            if frame.len() < 18 {
                return Err(DropReason::Runt);
            }
            vlan = u16::from(frame[14] % 16) * 256 + u16::from(frame[15]);
        }
        if vlan == 4095 {
            return Err(DropReason::BadVlan);
        }
        if to == MacAddr::new(1, 0x80, 0xc2, 0, 0, 1) {
            return Err(DropReason::Pause);
        }
        if frame[..5] == [1, 0x80, 0xc2, 0, 0] && frame[5] < 16 && !self.forward_reserved {
            return Err(DropReason::Reserved);
        }
        if from.octets()[0] % 2 == 1 {
            return Err(DropReason::SourceGroup);
        }
        if from == MacAddr::zero() {
            return Err(DropReason::SourceZero);
        }
        Ok(((vlan, from), to))
    }

    fn learn(&mut self, key: Key, owner: Owner<u32>, now: Duration) -> Learned<u32> {
        let zero = Duration::ZERO;
        let fresh = Known {
            owner,
            seen: now,
            fixed: false,
            first_move: zero,
            moves: 0,
            frozen_until: zero,
        };
        let Some(&old) = self.known.get(&key) else {
            self.known.insert(key, fresh);
            return Learned::New;
        };
        let mut moved = Known { owner, seen: now, ..old };
        if moved.moves == 0 || now - moved.first_move >= WITHIN {
            moved.first_move = now;
            moved.moves = 0;
        }
        moved.moves += 1;
        let frozen = moved.moves == self.freeze_after;
        if frozen {
            moved.moves = 0;
            moved.frozen_until = now + WITHIN;
        }
        self.known.insert(key, moved);
        Learned::Moved { from: old.owner, frozen }
    }

    fn root(&mut self, frame: &[u8], now: Duration) -> (FromRoot<u32>, Learned<u32>) {
        self.age(now);
        let (source, to) = match self.header(frame) {
            Ok(header) => header,
            Err(reason) => return (FromRoot::Drop(reason), Learned::Nothing),
        };
        let full = self.learned(|owner| owner == Owner::Root) >= self.max_macs_root;
        let learned = match self.known.get_mut(&source) {
            Some(known) if known.fixed => Learned::Nothing,
            Some(known) if known.owner == Owner::Root => {
                known.seen = now;
                Learned::Nothing
            }
            Some(known) if full => {
                let from = known.owner;
                self.known.remove(&source);
                Learned::Moved { from, frozen: false }
            }
            None if full => Learned::Nothing,
            _ => self.learn(source, Owner::Root, now),
        };
        let verdict = match bum(to) {
            Some(kind) => FromRoot::Flood(kind),
            None => match self.owner((source.0, to)) {
                Some(Owner::Leaf(leaf)) => FromRoot::Leaf(leaf),
                Some(Owner::Root) => FromRoot::Drop(DropReason::Local),
                None => FromRoot::Flood(BumKind::Unknown),
            },
        };
        (verdict, learned)
    }

    fn leaf(&mut self, leaf: u32, frame: &[u8], now: Duration) -> (FromLeaf, Learned<u32>) {
        self.age(now);
        let heard = self.header(frame).and_then(|(source, to)| {
            self.hear(leaf, source, now).map(|learned| ((source.0, to), learned))
        });
        let (to, learned) = match heard {
            Ok(heard) => heard,
            Err(reason) => return (FromLeaf::Drop(reason), Learned::Nothing),
        };
        let verdict = match bum(to.1) {
            Some(kind) => FromLeaf::Root { bum: Some(kind) },
            None => match self.owner(to) {
                Some(Owner::Leaf(other)) if other == leaf => FromLeaf::Drop(DropReason::Local),
                Some(Owner::Leaf(_)) => FromLeaf::Drop(DropReason::LeafToLeaf),
                Some(Owner::Root) => FromLeaf::Root { bum: None },
                None if self.protection(to.1) == Some(Owner::Root) => FromLeaf::Root { bum: None },
                None => FromLeaf::Root { bum: Some(BumKind::Unknown) },
            },
        };
        (verdict, learned)
    }

    fn hear(&mut self, leaf: u32, key: Key, now: Duration) -> Result<Learned<u32>, DropReason> {
        let me = Owner::Leaf(leaf);
        if let Some(known) = self.known.get_mut(&key)
            && known.owner == me
        {
            known.seen = now;
            return Ok(Learned::Nothing);
        }
        if self.protection(key.1).is_some_and(|only| only != me) {
            return Err(DropReason::SourceProtected);
        }
        let known = self.known.get(&key);
        if let Some(known) = known {
            if known.fixed {
                return Err(DropReason::SourceStatic);
            }
            if !self.first_frame {
                if now < known.frozen_until {
                    return Err(DropReason::SourceFrozen);
                }
                if now - known.seen < HOLD {
                    return Err(DropReason::SourceHeld);
                }
            }
        }
        let limit = self.leaf_limits.get(&leaf).copied().unwrap_or(self.max_macs_per_leaf);
        if limit != 0 && self.learned(|owner| owner == me) >= limit {
            return Err(DropReason::LeafLimit);
        }
        let from_leaf = known.is_some_and(|known| known.owner != Owner::Root);
        if !from_leaf && self.learned(|owner| owner != Owner::Root) >= self.max_macs {
            return Err(DropReason::TableFull);
        }
        Ok(self.learn(key, me, now))
    }

    fn add_static(&mut self, key: Key, owner: Owner<u32>) -> Result<(), StaticError> {
        if owner != Owner::Root && self.protection(key.1).is_some_and(|only| only != owner) {
            return Err(StaticError::Protected(key.1));
        }
        let replaced = self.known.get(&key).is_some_and(|known| known.fixed);
        if !replaced && self.statics() >= self.max_static {
            return Err(StaticError::Full { limit: self.max_static });
        }
        let zero = Duration::ZERO;
        let known = Known {
            owner,
            seen: zero,
            fixed: true,
            first_move: zero,
            moves: 0,
            frozen_until: zero,
        };
        self.known.insert(key, known);
        Ok(())
    }

    fn remove_static(&mut self, key: Key) -> bool {
        let fixed = self.known.get(&key).is_some_and(|known| known.fixed);
        if fixed {
            self.known.remove(&key);
        }
        fixed
    }

    fn bar(&mut self, mac: MacAddr, owner: Owner<u32>) -> Result<(), StaticError> {
        if self.protection(mac).is_none() && self.statics() >= self.max_static {
            return Err(StaticError::Full { limit: self.max_static });
        }
        let stays = [Owner::Root, owner];
        self.known.retain(|key, known| key.1 != mac || stays.contains(&known.owner));
        Ok(())
    }

    fn protect(&mut self, mac: MacAddr) -> Result<(), StaticError> {
        self.bar(mac, Owner::Root)?;
        self.listed.insert(mac, Owner::Root);
        Ok(())
    }

    fn reserve(&mut self, mac: MacAddr, leaf: u32) -> Result<(), StaticError> {
        if self.own == Some(mac) {
            return Err(StaticError::Protected(mac));
        }
        self.bar(mac, Owner::Leaf(leaf))?;
        self.listed.insert(mac, Owner::Leaf(leaf));
        Ok(())
    }

    fn set_own(&mut self, mac: MacAddr) -> Result<(), StaticError> {
        self.own = None;
        self.bar(mac, Owner::Root)?;
        self.own = Some(mac);
        Ok(())
    }
}

fn bum(to: MacAddr) -> Option<BumKind> {
    match to.octets() {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => Some(BumKind::Broadcast),
        [first, ..] if first % 2 == 1 => Some(BumKind::Multicast),
        _ => None,
    }
}

fn model(config: &Config) -> Model {
    Model {
        known: BTreeMap::new(),
        listed: BTreeMap::new(),
        own: None,
        leaf_limits: BTreeMap::new(),
        first_frame: config.moves == MovePolicy::FirstFrame,
        freeze_after: match config.moves {
            MovePolicy::Guarded { freeze_after, .. } => freeze_after,
            _ => 0,
        },
        forward_reserved: config.forward_reserved,
        max_macs: config.max_macs,
        max_macs_per_leaf: config.max_macs_per_leaf,
        max_macs_root: config.max_macs_root,
        max_static: config.max_static,
    }
}

fn same_verdicts(config: Config, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut model = model(&config);
    let bridge = Bridge::<u32>::new(config);
    let mut now = Duration::ZERO;
    for op in ops {
        match op {
            Op::Root(Frame(frame)) => {
                prop_assert_eq!(bridge.from_root(&frame, now), model.root(&frame, now));
            }
            Op::Leaf(leaf, Frame(frame)) => {
                let expected = model.leaf(leaf, &frame, now);
                prop_assert_eq!(bridge.from_leaf(leaf, &frame, now), expected);
            }
            Op::Wait(time) => now += time,
            Op::Purge(leaf) => {
                model.known.retain(|_, known| known.owner != Owner::Leaf(leaf));
                model.leaf_limits.remove(&leaf);
                let before = bridge.leaf_len(leaf);
                prop_assert_eq!(bridge.purge(leaf), before);
                prop_assert_eq!(bridge.leaf_len(leaf), 0);
            }
            Op::Limit(leaf, limit) => {
                bridge.set_leaf_limit(leaf, limit);
                match limit {
                    Some(limit) => model.leaf_limits.insert(leaf, limit),
                    None => model.leaf_limits.remove(&leaf),
                };
            }
            Op::Sweep(budget) => {
                prop_assert!(bridge.sweep(now, budget) <= budget);
            }
            Op::AddStatic(vlan, mac, leaf) => {
                model.age(now);
                let owner = leaf.map_or(Owner::Root, Owner::Leaf);
                let expected = model.add_static((vlan, mac), owner);
                prop_assert_eq!(bridge.add_static(vlan, mac, owner), expected);
            }
            Op::RemoveStatic(vlan, mac) => {
                let expected = model.remove_static((vlan, mac));
                prop_assert_eq!(bridge.remove_static(vlan, mac), expected);
            }
            Op::Protect(mac) => prop_assert_eq!(bridge.protect(mac), model.protect(mac)),
            Op::Reserve(mac, leaf) => {
                prop_assert_eq!(bridge.reserve(mac, leaf), model.reserve(mac, leaf));
            }
            Op::Unprotect(mac) => {
                prop_assert_eq!(bridge.unprotect(mac), model.listed.remove(&mac).is_some());
            }
            Op::SetOwn(mac) => prop_assert_eq!(bridge.set_own_mac(mac), model.set_own(mac)),
        }
        same_entries(&bridge, &mut model, now)?;
    }
    Ok(())
}

fn same_entries(
    bridge: &Bridge<u32>,
    model: &mut Model,
    now: Duration,
) -> Result<(), TestCaseError> {
    model.age(now);
    let mut entries: Vec<_> = bridge
        .entries(now)
        .map(|entry| {
            ((entry.vlan, entry.mac), (entry.owner, entry.age, entry.held_for, entry.frozen_for))
        })
        .collect();
    entries.sort_by_key(|entry| entry.0);
    let expected: Vec<_> = model
        .known
        .iter()
        .map(|(&key, known)| {
            let age = (!known.fixed).then(|| now - known.seen);
            let left = |until: Duration| until.checked_sub(now).filter(|left| !left.is_zero());
            let held = left(known.seen + HOLD).filter(|_| !known.fixed && !model.first_frame);
            (key, (known.owner, age, held, left(known.frozen_until)))
        })
        .collect();
    prop_assert_eq!(&entries, &expected);
    for (key, (owner, ..)) in expected {
        prop_assert_eq!(bridge.lookup(key.0, key.1, now), Some(owner));
    }
    prop_assert!(bridge.len() >= entries.len());
    Ok(())
}

proptest! {
    // More of them: PROPTEST_CASES=20000.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_bridge_agrees_with_the_model(
        config in config(),
        ops in prop::collection::vec(op(), 1..300),
    ) {
        same_verdicts(config, ops)?;
    }
}
