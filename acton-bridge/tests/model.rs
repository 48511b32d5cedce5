//! The bridge against a slow, obvious reference: the same frames, times and commands must give
//! the same verdicts, to the nanosecond.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use acton_bridge::{
    Bridge, BumKind, Config, DropReason, FromLeaf, FromRoot, Learned, MacRange, MovePolicy, Owner,
    StaticError,
};
use pnet_base::MacAddr;
use proptest::prelude::*;

use operations::{Frame, Op, WITHIN, config, op};

mod operations;

/// What the model knows of one address on one VLAN at a leaf.
#[derive(Clone, Copy)]
struct Known {
    leaf: u32,
    seen: Duration,
    fixed: bool,
    first_move: Duration,
    moves: u32,
    frozen_until: Duration,
}

/// The rules in the plainest words: maps, scanned whenever something is to be counted.
struct Model {
    /// What leaves have.
    known: BTreeMap<Key, Known>,
    /// When the root was last heard, and the VLAN of its first frame. Its addresses are its own on
    /// every VLAN.
    heard: BTreeMap<MacAddr, (Duration, u16)>,
    /// What the root is known to have.
    pinned: BTreeSet<MacAddr>,
    /// Who alone may send from these.
    listed: BTreeMap<MacAddr, Owner<u32>>,
    /// The root's, whatever the list says.
    of_root: BTreeSet<MacAddr>,
    strict: BTreeSet<u32>,
    /// What single leaves share.
    shared: BTreeMap<u32, Vec<MacRange>>,
    /// Of leaves that have one of their own.
    leaf_limits: BTreeMap<u32, usize>,
    /// `None` for moves with the first frame.
    hold: Option<Duration>,
    freeze_after: u32,
    config: Config,
}

type Key = (u16, MacAddr);

/// What is known of an address, as an entry tells it: owner, age, held for, frozen for.
type Told = (Owner<u32>, Option<Duration>, Option<Duration>, Option<Duration>);

impl Model {
    /// Takes away what expired; then all that is left is live.
    fn age(&mut self, now: Duration) {
        self.known.retain(|_, known| known.fixed || now - known.seen < self.config.ageing);
        self.heard.retain(|_, (seen, _)| now - *seen < self.config.ageing);
    }

    /// Whose an address is by decree.
    fn said(&self, mac: MacAddr) -> Option<Owner<u32>> {
        let of_root = self.of_root.contains(&mac).then_some(Owner::Root);
        of_root.or_else(|| self.listed.get(&mac).copied())
    }

    /// Whether an address lives at the root by what is known of it.
    fn is_at_root(&self, mac: MacAddr) -> bool {
        self.heard.contains_key(&mac) || self.pinned.contains(&mac) && !self.is_static(mac)
    }

    fn is_static(&self, mac: MacAddr) -> bool {
        self.known.iter().any(|(key, known)| key.1 == mac && known.fixed)
    }

    /// Who has an address on every VLAN.
    fn whole(&self, mac: MacAddr) -> Option<Owner<u32>> {
        self.said(mac).or_else(|| self.is_at_root(mac).then_some(Owner::Root))
    }

    fn at_leaf(&self, key: Key) -> Option<Owner<u32>> {
        self.known.get(&key).map(|known| Owner::Leaf(known.leaf))
    }

    fn is_shared(&self, mac: MacAddr) -> bool {
        self.config.shared.iter().any(|range| range.contains(mac))
    }

    /// Whether a leaf takes an address from another one at once.
    fn shares(&self, leaf: u32, mac: MacAddr) -> bool {
        let mut ranges = self.shared.get(&leaf).into_iter().flatten();
        ranges.any(|range| range.contains(mac))
    }

    /// Whether a leaf may have an address of which nothing is said.
    fn may_have(&self, leaf: u32, mac: MacAddr) -> bool {
        !self.strict.contains(&leaf) || self.shares(leaf, mac)
    }

    fn learned(&self, leaf: Option<u32>) -> usize {
        let counts = |known: &&Known| !known.fixed && leaf.is_none_or(|leaf| known.leaf == leaf);
        self.known.values().filter(counts).count()
    }

    fn statics(&self) -> usize {
        let mut said: BTreeSet<_> = self.listed.keys().copied().collect();
        said.extend(&self.of_root);
        said.len() + self.known.values().filter(|known| known.fixed).count()
    }

    /// Takes an address from leaves on every VLAN, where `goes` says so.
    fn take(&mut self, mac: MacAddr, goes: impl Fn(&Known) -> bool) {
        self.known.retain(|key, known| key.1 != mac || !goes(known));
    }

    /// After what is said of an address has changed: nobody has what is another's.
    fn follow(&mut self, mac: MacAddr) {
        match self.said(mac) {
            Some(owner) => {
                self.heard.remove(&mac);
                self.take(mac, |known| Owner::Leaf(known.leaf) != owner);
            }
            None if self.pinned.contains(&mac) && !self.is_static(mac) => {
                self.heard.remove(&mac);
                self.take(mac, |_| true);
            }
            None => {
                let strict: Vec<_> = (0..4).filter(|&leaf| !self.may_have(leaf, mac)).collect();
                self.take(mac, |known| !known.fixed && strict.contains(&known.leaf));
            }
        }
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
        if frame[..5] == [1, 0x80, 0xc2, 0, 0] && frame[5] < 16 && !self.config.forward_reserved {
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

    fn learn(&mut self, key: Key, leaf: u32, now: Duration) -> Learned<u32> {
        let zero = Duration::ZERO;
        let fresh =
            Known { leaf, seen: now, fixed: false, first_move: zero, moves: 0, frozen_until: zero };
        let Some(&old) = self.known.get(&key) else {
            self.known.insert(key, fresh);
            return Learned::New;
        };
        let mut moved = Known { leaf, seen: now, ..old };
        let mut frozen = false;
        if self.is_shared(key.1) || self.shares(leaf, key.1) {
            moved = fresh;
        } else {
            if moved.moves == 0 || now - moved.first_move >= WITHIN {
                moved.first_move = now;
                moved.moves = 0;
            }
            moved.moves += 1;
            frozen = moved.moves == self.freeze_after;
            if frozen {
                moved.moves = 0;
                moved.frozen_until = now + WITHIN;
            }
        }
        self.known.insert(key, moved);
        Learned::Moved { from: Owner::Leaf(old.leaf), frozen }
    }

    fn hear_root(&mut self, key: Key, now: Duration) -> Learned<u32> {
        let (vlan, mac) = key;
        if self.said(mac).is_some() || self.pinned.contains(&mac) {
            return Learned::Nothing;
        }
        if let Some((seen, _)) = self.heard.get_mut(&mac) {
            *seen = now;
            return Learned::Nothing;
        }
        if self.is_static(mac) {
            return Learned::Nothing;
        }
        let here = self.known.get(&key).copied();
        let moved = |known: Known| Learned::Moved { from: Owner::Leaf(known.leaf), frozen: false };
        if self.heard.len() >= self.config.max_macs_root {
            // Nobody has it on this VLAN any more.
            self.known.remove(&key);
            return here.map_or(Learned::Nothing, moved);
        }
        let mut losers = self.known.iter().filter(|(key, _)| key.1 == mac);
        let loser = here.or_else(|| losers.next().map(|(_, &known)| known));
        self.take(mac, |_| true);
        self.heard.insert(mac, (now, vlan));
        loser.map_or(Learned::New, moved)
    }

    fn root(&mut self, frame: &[u8], now: Duration) -> (FromRoot<u32>, Learned<u32>) {
        self.age(now);
        let (source, to) = match self.header(frame) {
            Ok(header) => header,
            Err(reason) => return (FromRoot::Drop(reason), Learned::Nothing),
        };
        let learned = self.hear_root(source, now);
        let verdict = match bum(to) {
            Some(kind) => FromRoot::Flood(kind),
            None => match self.at_leaf((source.0, to)).or_else(|| self.whole(to)) {
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
            None => match self.whole(to.1).or_else(|| self.at_leaf(to)) {
                Some(Owner::Leaf(other)) if other == leaf => FromLeaf::Drop(DropReason::Local),
                Some(Owner::Leaf(_)) => FromLeaf::Drop(DropReason::LeafToLeaf),
                Some(Owner::Root) => FromLeaf::Root { bum: None },
                None => FromLeaf::Root { bum: Some(BumKind::Unknown) },
            },
        };
        (verdict, learned)
    }

    fn hear(&mut self, leaf: u32, key: Key, now: Duration) -> Result<Learned<u32>, DropReason> {
        let mac = key.1;
        if let Some(known) = self.known.get_mut(&key)
            && known.leaf == leaf
        {
            known.seen = now;
            return Ok(Learned::Nothing);
        }
        let said = self.said(mac);
        if said.is_some_and(|only| only != Owner::Leaf(leaf)) {
            return Err(DropReason::SourceProtected);
        }
        if said.is_none() && self.is_at_root(mac) {
            return Err(DropReason::SourceAtRoot);
        }
        if said.is_none() && !self.may_have(leaf, mac) {
            return Err(DropReason::SourceNotListed);
        }
        let known = self.known.get(&key);
        if let Some(known) = known {
            if known.fixed {
                return Err(DropReason::SourceStatic);
            }
            if let Some(hold) = self.hold
                && !self.is_shared(mac)
                && !self.shares(leaf, mac)
            {
                if now < known.frozen_until {
                    return Err(DropReason::SourceFrozen);
                }
                if now - known.seen < hold {
                    return Err(DropReason::SourceHeld);
                }
            }
        }
        let common = self.config.max_macs_per_leaf;
        let limit = self.leaf_limits.get(&leaf).copied().unwrap_or(common);
        if limit != 0 && self.learned(Some(leaf)) >= limit {
            return Err(DropReason::LeafLimit);
        }
        if known.is_none() && self.learned(None) >= self.config.max_macs {
            return Err(DropReason::TableFull);
        }
        Ok(self.learn(key, leaf, now))
    }

    fn add_static(&mut self, key: Key, leaf: u32) -> Result<(), StaticError> {
        if self.said(key.1).is_some_and(|only| only != Owner::Leaf(leaf)) {
            return Err(StaticError::Protected(key.1));
        }
        let replaced = self.known.get(&key).is_some_and(|known| known.fixed);
        if !replaced {
            self.static_room()?;
        }
        let zero = Duration::ZERO;
        let known =
            Known { leaf, seen: zero, fixed: true, first_move: zero, moves: 0, frozen_until: zero };
        self.known.insert(key, known);
        self.heard.remove(&key.1);
        Ok(())
    }

    fn remove_static(&mut self, key: Key) -> bool {
        let fixed = self.known.get(&key).is_some_and(|known| known.fixed);
        if fixed {
            self.known.remove(&key);
            self.follow(key.1);
        }
        fixed
    }

    fn static_room(&self) -> Result<(), StaticError> {
        let limit = self.config.max_static;
        if self.statics() < limit { Ok(()) } else { Err(StaticError::Full { limit }) }
    }

    fn list(&mut self, mac: MacAddr, owner: Owner<u32>) -> Result<(), StaticError> {
        if owner != Owner::Root && self.of_root.contains(&mac) {
            return Err(StaticError::Protected(mac));
        }
        if self.said(mac).is_none() {
            self.static_room()?;
        }
        self.listed.insert(mac, owner);
        self.follow(mac);
        Ok(())
    }

    fn unprotect(&mut self, mac: MacAddr) -> bool {
        let removed = self.listed.remove(&mac).is_some();
        self.follow(mac);
        removed
    }

    fn set_root_macs(&mut self, macs: &[MacAddr]) -> Result<(), StaticError> {
        let gone: Vec<_> = self.of_root.iter().copied().filter(|mac| !macs.contains(mac)).collect();
        for mac in gone {
            self.of_root.remove(&mac);
            self.follow(mac);
        }
        let mut result = Ok(());
        for &mac in macs {
            if self.of_root.contains(&mac) {
                continue;
            }
            match self.said(mac).map_or_else(|| self.static_room(), |_| Ok(())) {
                Ok(()) => {
                    self.of_root.insert(mac);
                    self.follow(mac);
                }
                Err(full) => result = Err(full),
            }
        }
        result
    }

    fn pin(&mut self, mac: MacAddr) -> bool {
        let has_room = self.pinned.len() < self.config.max_pinned;
        if has_room && self.pinned.insert(mac) {
            self.follow(mac);
        }
        self.pinned.contains(&mac)
    }

    fn set_strict(&mut self, leaf: u32, strict: bool) {
        if !strict {
            self.strict.remove(&leaf);
        } else if self.strict.insert(leaf) {
            self.keep_listed(leaf);
        }
    }

    fn share(&mut self, leaf: u32, ranges: Vec<MacRange>) {
        self.shared.insert(leaf, ranges);
        self.keep_listed(leaf);
    }

    /// A strict leaf has no more than it may.
    fn keep_listed(&mut self, leaf: u32) {
        let keys: Vec<_> = self.known.keys().copied().collect();
        for key in keys {
            let is_listed = self.listed.get(&key.1) == Some(&Owner::Leaf(leaf));
            let may_have = is_listed || self.may_have(leaf, key.1);
            self.known.retain(|other, known| {
                *other != key || known.leaf != leaf || known.fixed || may_have
            });
        }
    }

    /// What is known of addresses that were heard of, or pinned, as entries tell it.
    fn entries(&self, now: Duration) -> Vec<(Key, Told)> {
        let left = |until: Duration| until.checked_sub(now).filter(|left| !left.is_zero());
        let leaves = self.known.iter().map(|(&key, known)| {
            let hold = self.hold.filter(|_| !known.fixed && !self.is_shared(key.1));
            let held = hold.and_then(|hold| left(known.seen + hold.min(self.config.ageing)));
            let age = (!known.fixed).then(|| now - known.seen);
            (key, (Owner::Leaf(known.leaf), age, held, left(known.frozen_until)))
        });
        let heard = self.heard.iter().map(|(&mac, &(seen, vlan))| {
            ((vlan, mac), (Owner::Root, Some(now - seen), left(seen + self.config.ageing), None))
        });
        let pinned = self.pinned.iter();
        let pinned = pinned.filter(|&&mac| self.said(mac).is_none() && !self.is_static(mac));
        let pinned = pinned.map(|&mac| ((0, mac), (Owner::Root, None, None, None)));
        leaves.chain(heard).chain(pinned).collect()
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
    let (hold, freeze_after) = match config.moves {
        MovePolicy::Guarded { hold, freeze_after, .. } => (Some(hold), freeze_after),
        _ => (None, 0),
    };
    Model {
        known: BTreeMap::new(),
        heard: BTreeMap::new(),
        pinned: BTreeSet::new(),
        listed: BTreeMap::new(),
        of_root: BTreeSet::new(),
        strict: BTreeSet::new(),
        shared: BTreeMap::new(),
        leaf_limits: BTreeMap::new(),
        hold,
        freeze_after,
        config: config.clone(),
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
                let gone: Vec<_> = model.known.extract_if(.., |_, it| it.leaf == leaf).collect();
                gone.iter().filter(|(_, it)| it.fixed).for_each(|(key, _)| model.follow(key.1));
                model.leaf_limits.remove(&leaf);
                model.strict.remove(&leaf);
                model.shared.remove(&leaf);
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
            Op::LimitAll(limit) => {
                bridge.set_max_macs_per_leaf(limit);
                model.config.max_macs_per_leaf = limit;
            }
            Op::Age(ageing) => {
                // What expired and was not swept would be known again.
                bridge.sweep(now, usize::MAX);
                bridge.set_ageing(ageing);
                model.age(now);
                model.config.ageing = ageing;
            }
            Op::Sweep(budget) => {
                prop_assert!(bridge.sweep(now, budget) <= budget);
            }
            Op::AddStatic(vlan, mac, leaf) => {
                model.age(now);
                let expected = model.add_static((vlan, mac), leaf);
                prop_assert_eq!(bridge.add_static(vlan, mac, leaf), expected);
            }
            Op::RemoveStatic(vlan, mac) => {
                let expected = model.remove_static((vlan, mac));
                prop_assert_eq!(bridge.remove_static(vlan, mac), expected);
            }
            Op::Protect(mac) => {
                model.age(now);
                prop_assert_eq!(bridge.protect(mac), model.list(mac, Owner::Root));
            }
            Op::Reserve(mac, leaf) => {
                model.age(now);
                prop_assert_eq!(bridge.reserve(mac, leaf), model.list(mac, Owner::Leaf(leaf)));
            }
            Op::Unprotect(mac) => {
                prop_assert_eq!(bridge.unprotect(mac), model.unprotect(mac));
            }
            Op::SetRootMacs(macs) => {
                let result = bridge.set_root_macs(macs.iter().copied());
                prop_assert_eq!(result, model.set_root_macs(&macs));
            }
            Op::Pin(mac) => prop_assert_eq!(bridge.pin(mac), model.pin(mac)),
            Op::Unpin(mac) => {
                bridge.unpin(mac);
                if model.pinned.remove(&mac) {
                    model.follow(mac);
                }
            }
            Op::Strict(leaf, strict) => {
                bridge.set_leaf_strict(leaf, strict);
                model.set_strict(leaf, strict);
            }
            Op::Share(leaf, ranges) => {
                bridge.set_leaf_shared(leaf, &ranges);
                model.share(leaf, ranges);
            }
            Op::ShareAll(ranges) => {
                bridge.set_shared(ranges.clone());
                model.config.shared = ranges;
            }
            Op::Hold(hold) => {
                bridge.set_move_hold(hold);
                model.hold = model.hold.map(|_| hold);
            }
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
    let mut expected = model.entries(now);
    entries.sort_by_key(|entry| entry.0);
    expected.sort_by_key(|entry| entry.0);
    prop_assert_eq!(&entries, &expected);
    for ((vlan, mac), _) in expected {
        for vlan in [vlan, 0, 7] {
            let owner = model.at_leaf((vlan, mac)).or_else(|| model.whole(mac));
            prop_assert_eq!(bridge.lookup(vlan, mac, now), owner);
        }
        // Nobody has what is the root's, on whatever VLAN.
        if model.whole(mac) == Some(Owner::Root) {
            prop_assert!(!model.known.keys().any(|key| key.1 == mac));
        }
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
