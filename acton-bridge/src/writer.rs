//! Everything that changes the structure of the table, under one lock.

mod rehearsal;
mod said;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use foldhash::quality::RandomState;
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use parking_lot::MutexGuard;

use crate::address::Address;
use crate::claim::Claim;
use crate::fdb::{BATCH, Fdb, Moves, NO_LIMIT};
use crate::key;
use crate::limit::{Room, Share};
use crate::list::{Linked, Links, List};
use crate::port::Owner;
use crate::range::MacRange;
use crate::table::Found;
use crate::verdict::Learned;

pub(crate) use rehearsal::Rehearsal;

/// How long a share of the table that is full, and too large to examine at once, is left alone
/// before the next batch of it is examined: 1 ms. It bounds the work that frames from new sources
/// can cause at some 64 slots a millisecond.
const RETRY: u64 = 1_000_000;

/// What only writers know of a slot.
#[derive(Debug, Clone, Copy, Default)]
struct Cold {
    /// Among the entries of the same owner.
    links: Links,
    /// Among the entries of the same address on other VLANs.
    tagged: Links,
    history: History,
    linked: bool,
}

/// The moves of an address that count towards its freeze.
#[derive(Debug, Clone, Copy, Default)]
struct History {
    since: u64,
    moves: u32,
}

/// What a move leaves of an address's past.
#[derive(Debug, Default)]
struct Moved {
    history: History,
    frozen_until: u64,
    /// Whether this move froze it.
    frozen: bool,
}

#[derive(Debug, Default)]
struct Slots {
    /// Grows with the highest slot ever used.
    cold: Vec<Cold>,
    free: Vec<u32>,
}

impl Linked for Slots {
    fn links(&self, index: u32) -> &Links {
        &self.cold[index as usize].links
    }

    fn links_mut(&mut self, index: u32) -> &mut Links {
        &mut self.cold[index as usize].links
    }
}

/// The lists of the entries that leaves have of one address on tagged VLANs.
struct Tagged<'a>(&'a mut Slots);

impl Linked for Tagged<'_> {
    fn links(&self, index: u32) -> &Links {
        &self.0.cold[index as usize].tagged
    }

    fn links_mut(&mut self, index: u32) -> &mut Links {
        &mut self.0.cold[index as usize].tagged
    }
}

/// A leaf exists here while it has an entry.
#[derive(Debug, Default)]
struct Leaf {
    entries: List,
    learned: usize,
    /// The slot of the mark that says the leaf is at its limit.
    mark: Option<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    slots: Slots,
    leaves: HashMap<u32, Leaf, RandomState>,
    /// Of the leaves that have a limit of their own.
    limits: HashMap<u32, usize, RandomState>,
    /// The leaves that are strict, and the slots of the marks that say so.
    strict: HashMap<u32, Option<u32>, RandomState>,
    /// Leaves that are marked as at their limit.
    marks: usize,
    /// What is learned at the root.
    root: List,
    /// What leaves have on tagged VLANs, by address, so that nobody has to look at all VLANs.
    tagged: HashMap<u64, List, RandomState>,
    /// Learned from leaves, pinned in the table, static or protected.
    macs: usize,
    pins: usize,
    statics: usize,
    /// The slot the next sweep starts at.
    hand: u32,
    /// Addresses that are the root's alone, whatever else is said of them.
    of_root: BTreeSet<u64>,
    /// Addresses that the root alone may send from, or one leaf.
    protected: HashMap<u64, Owner<u32>, RandomState>,
    /// Addresses that the root is known to have.
    pinned: HashSet<u64, RandomState>,
}

/// The one writer: the state, locked.
pub(crate) struct Writer<'a> {
    pub(crate) fdb: &'a Fdb,
    state: MutexGuard<'a, State>,
}

/// What a search for expired entries came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Swept {
    pub(crate) removed: usize,
    /// No entry of those searched expires before.
    quiet_until: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(fdb: &'a Fdb, state: MutexGuard<'a, State>) -> Self {
        Self { fdb, state }
    }

    /// What becomes of the history and the freeze of `old` as it moves to a leaf.
    fn moved(&self, key: u64, leaf: u32, old: &Found, now: u64) -> Moved {
        let Moves::Guarded { freeze_after, within } = self.fdb.limits.moves else {
            return Moved::default();
        };
        if self.fdb.is_shared(key) || self.fdb.shares(leaf, key) {
            return Moved::default();
        }
        let mut history = self.state.slots.cold[old.index as usize].history;
        if history.moves == 0 || now.saturating_sub(history.since) >= within {
            history = History { since: now, moves: 0 };
        }
        history.moves = history.moves.saturating_add(1);
        let frozen = history.moves == freeze_after;
        if frozen {
            history.moves = 0;
        }
        let frozen_until = if frozen { now.saturating_add(within) } else { old.frozen_until };
        Moved { history, frozen_until, frozen }
    }

    /// The leaf, where it may not learn one more address.
    fn at_limit(&self, leaf: u32) -> Option<&Leaf> {
        let limit = self.leaf_limit(leaf);
        self.state.leaves.get(&leaf).filter(|entry| entry.learned >= limit)
    }

    fn leaf_limit(&self, leaf: u32) -> usize {
        self.state
            .limits
            .get(&leaf)
            .copied()
            .unwrap_or_else(|| self.fdb.limits.macs_per_leaf.load(Ordering::Relaxed))
    }

    pub(crate) fn room(&self, share: Share<u32>) -> Room<u32> {
        let (state, limits) = (&*self.state, &self.fdb.limits);
        let (learned, limit) = match share {
            Share::Leaf(leaf) => {
                let learned = state.leaves.get(&leaf).map_or(0, |entry| entry.learned);
                (learned, self.leaf_limit(leaf))
            }
            Share::Leaves => (state.macs, limits.macs),
            Share::Root => (state.root.len(), limits.macs_root),
        };
        Room { share, learned, limit: (limit != NO_LIMIT).then_some(limit) }
    }

    /// Gives a leaf a limit of its own, or the common one again.
    pub(crate) fn set_leaf_limit(&mut self, leaf: u32, limit: Option<usize>) {
        match limit {
            Some(limit) => self.state.limits.insert(leaf, limit),
            None => self.state.limits.remove(&leaf),
        };
        self.update_mark(leaf);
    }

    pub(crate) fn is_strict(&self, leaf: u32) -> bool {
        self.state.strict.contains_key(&leaf)
    }

    /// Whether a leaf may learn an address that nobody has whole.
    pub(crate) fn may_learn(&self, leaf: u32, key: u64) -> bool {
        !self.is_strict(leaf) || self.fdb.shares(leaf, key)
    }

    /// Sets what a leaf shares; a strict one loses what it shares no more.
    pub(crate) fn set_shared(&mut self, leaf: u32, ranges: &[MacRange]) {
        self.fdb.sharing.set(leaf, ranges);
        if self.is_strict(leaf) {
            self.keep_listed(leaf);
        }
    }

    /// Keeps a leaf to what is reserved for it and what it shares, and takes what else it learned.
    pub(crate) fn set_strict(&mut self, leaf: u32, strict: bool) {
        if strict == self.is_strict(leaf) {
            return;
        }
        if !strict {
            if let Some(Some(mark)) = self.state.strict.remove(&leaf) {
                self.free_slot(mark);
            }
            return;
        }
        let has_room = self.state.strict.len() < self.fdb.limits.strict_marks;
        let mark = has_room.then(|| self.add_word(key::strict(leaf))).flatten();
        self.state.strict.insert(leaf, mark);
        self.keep_listed(leaf);
    }

    /// Takes from a strict leaf what it learned and may not have.
    fn keep_listed(&mut self, leaf: u32) {
        let Some(list) = self.list(Owner::Leaf(leaf)).copied() else { return };
        let entries: Vec<_> = list.iter(&self.state.slots).collect();
        for index in entries {
            let key = self.fdb.table.key(index);
            let reserved_for = self.state.protected.get(&key::address(key).0);
            if reserved_for != Some(&Owner::Leaf(leaf)) && !self.fdb.shares(leaf, key) {
                self.remove_learned(index);
            }
        }
    }

    /// Removes an entry unless it is static.
    fn remove_learned(&mut self, index: u32) {
        if self.fdb.table.read(index).owner & key::STATIC == 0 {
            self.remove(index);
        }
    }

    /// The slots of the entries that leaves have of an address, expired or not.
    fn of_address(&self, address: Address) -> Vec<u32> {
        let untagged = self.fdb.table.find_quiet(key::mac(0, address)).map(|found| found.index);
        let tagged = self.state.tagged.get(&address.0).copied().unwrap_or_default();
        let cold = &self.state.slots.cold;
        let tagged = tagged.iter_by(|index| &cold[index as usize].tagged);
        untagged.into_iter().chain(tagged).collect()
    }

    /// Whom the root takes an address from: the leaf that has learned it on the VLAN of `key`, or
    /// else on the lowest.
    fn loser(&self, key: u64, now: u64) -> Option<Owner<u32>> {
        let table = &self.fdb.table;
        let slots = self.of_address(key::address(key)).into_iter();
        let learned = slots.filter_map(|index| {
            let found = table.read(index);
            let counts = self.fdb.ages(&found) && self.fdb.is_live(&found, now);
            counts.then(|| (table.key(index), key::owner(found.owner)))
        });
        learned.min_by_key(|&(other, _)| (other != key, other)).map(|(_, owner)| owner)
    }

    /// Removes the expired among the first [`BATCH`] of an owner's entries, and puts the others
    /// last, so that the next search finds others first.
    fn sweep_list(&mut self, list: List, owner: Owner<u32>, now: u64) -> Swept {
        let mut search = Search::new(self.fdb, now, list.len());
        for _ in 0..list.len().min(BATCH) {
            let Some(index) = self.list(owner).and_then(|list| list.first()) else { break };
            if search.has_expired(index) {
                self.remove(index);
            } else {
                let state = &mut *self.state;
                match owner {
                    Owner::Root => state.root.rotate(&mut state.slots),
                    Owner::Leaf(leaf) => {
                        if let Some(leaf) = state.leaves.get_mut(&leaf) {
                            leaf.entries.rotate(&mut state.slots);
                        }
                    }
                }
            }
        }
        search.swept
    }

    /// Removes the expired among the next `budget` slots.
    pub(crate) fn sweep(&mut self, now: u64, budget: usize) -> Swept {
        let used = self.state.slots.cold.len() as u32;
        let mut search = Search::new(self.fdb, now, used as usize);
        for _ in 0..budget.min(used as usize) {
            let index = if self.state.hand < used { self.state.hand } else { 0 };
            self.state.hand = index + 1;
            if self.is_entry(index) && search.has_expired(index) {
                self.remove(index);
            }
        }
        search.swept
    }

    /// Whether a slot holds an address, not a mark or nothing.
    fn is_entry(&self, index: u32) -> bool {
        self.state.slots.cold[index as usize].linked && key::is_address(self.fdb.table.key(index))
    }

    pub(crate) fn leaf_entries(&self, leaf: u32) -> usize {
        self.state.leaves.get(&leaf).map_or(0, |leaf| leaf.entries.len())
    }

    pub(crate) fn len(&self) -> usize {
        self.state.root.len()
            + self.state.pins
            + self.state.leaves.values().map(|leaf| leaf.entries.len()).sum::<usize>()
    }

    /// Removes up to `budget` entries of a leaf, static ones too, and gives their keys and whether they
    /// are static.
    pub(crate) fn purge(&mut self, leaf: u32, budget: usize) -> Vec<(u64, bool)> {
        let mut purged = Vec::new();
        while purged.len() < budget
            && let Some(index) = self.list(Owner::Leaf(leaf)).and_then(|list| list.first())
        {
            let is_static = self.fdb.table.read(index).owner & key::STATIC != 0;
            purged.push((self.fdb.table.key(index), is_static));
            self.remove(index);
        }
        purged
    }

    /// Removes up to `budget` learned entries of a leaf.
    pub(crate) fn forget_learned(&mut self, leaf: u32, budget: usize) -> usize {
        let Some(list) = self.list(Owner::Leaf(leaf)).copied() else { return 0 };
        let table = &self.fdb.table;
        let is_learned = |&index: &u32| table.read(index).owner & key::STATIC == 0;
        let learned: Vec<_> =
            list.iter(&self.state.slots).filter(is_learned).take(budget).collect();
        learned.iter().for_each(|&index| self.remove(index));
        learned.len()
    }

    fn list(&mut self, owner: Owner<u32>) -> Option<&mut List> {
        match owner {
            Owner::Root => Some(&mut self.state.root),
            Owner::Leaf(leaf) => self.state.leaves.get_mut(&leaf).map(|leaf| &mut leaf.entries),
        }
    }

    /// Puts a key into a slot, in front of an older slot of the same key. `None` cannot happen as
    /// the slots suffice for all limits together; if it did, the key would not be learned.
    fn add(
        &mut self,
        key: u64,
        word: u64,
        seen: u64,
        frozen_until: u64,
        history: History,
    ) -> Option<u32> {
        let index = self.take_slot()?;
        let table = &self.fdb.table;
        table.bind(index, key, word, seen);
        if frozen_until > seen {
            table.freeze(index, frozen_until);
        }
        table.link(index);
        let state = &mut *self.state;
        state.slots.cold[index as usize] = Cold { history, linked: true, ..Cold::default() };
        if word & key::STATIC != 0 {
            state.statics += 1;
        }
        let learned = word & key::STATIC == 0;
        let Some((vlan, address)) = key::parts(key) else {
            if word & key::PINNED != 0 {
                state.pins += 1;
            } else if learned {
                state.root.push(&mut state.slots, index);
            }
            return Some(index);
        };
        if vlan != 0 {
            let list = state.tagged.entry(address.0).or_default();
            list.push(&mut Tagged(&mut state.slots), index);
        }
        // A leaf's, as all that is of one VLAN.
        if let Owner::Leaf(port) = key::owner(word) {
            let leaf = state.leaves.entry(port).or_default();
            leaf.entries.push(&mut state.slots, index);
            leaf.learned += usize::from(learned);
            state.macs += usize::from(learned);
            self.update_mark(port);
        }
        Some(index)
    }

    /// Says to readers whether a leaf is at its limit.
    fn update_mark(&mut self, port: u32) {
        let Some(mark) = self.state.leaves.get(&port).map(|leaf| leaf.mark) else { return };
        let mark = match (mark, self.at_limit(port).is_some()) {
            (None, true) => self.add_mark(port),
            (Some(mark), false) => {
                self.state.marks -= 1;
                self.free_slot(mark);
                None
            }
            _ => return,
        };
        if let Some(leaf) = self.state.leaves.get_mut(&port) {
            leaf.mark = mark;
        }
    }

    /// Limits or ageing are others now: has readers ask anew which leaves are at their limit.
    pub(crate) fn look_again(&mut self) {
        let mut leaves: Vec<u32> = self.state.leaves.keys().copied().collect();
        // In an order of their own, so that the same commands always lead to the same table.
        leaves.sort_unstable();
        for leaf in leaves {
            if let Some(mark) = self.state.leaves.get(&leaf).and_then(|entry| entry.mark) {
                self.fdb.table.set_seen(mark, 0);
            }
            self.update_mark(leaf);
        }
    }

    /// A mark's time is 0 until a frame is refused. `None` where there are as many as can be.
    fn add_mark(&mut self, port: u32) -> Option<u32> {
        if self.state.marks >= self.fdb.limits.marks {
            return None;
        }
        let index = self.add_word(key::at_limit(port))?;
        self.state.marks += 1;
        Some(index)
    }

    /// Puts a mark's key into a slot.
    fn add_word(&mut self, key: u64) -> Option<u32> {
        let index = self.take_slot()?;
        self.fdb.table.bind(index, key, 0, 0);
        self.fdb.table.link(index);
        self.state.slots.cold[index as usize] = Cold { linked: true, ..Cold::default() };
        Some(index)
    }

    fn take_slot(&mut self) -> Option<u32> {
        let slots = &mut self.state.slots;
        if let Some(index) = slots.free.pop() {
            return Some(index);
        }
        let index = slots.cold.len() as u32;
        debug_assert!(index < self.fdb.table.capacity(), "the slots suffice for all limits");
        (index < self.fdb.table.capacity()).then(|| {
            slots.cold.push(Cold::default());
            index
        })
    }

    fn free_slot(&mut self, index: u32) {
        self.fdb.table.unlink(index);
        self.state.slots.cold[index as usize].linked = false;
        self.state.slots.free.push(index);
    }

    /// Takes an entry or a protection out of the table, and all that counted it.
    fn remove(&mut self, index: u32) {
        let (key, word) = (self.fdb.table.key(index), self.fdb.table.read(index).owner);
        self.free_slot(index);
        let state = &mut *self.state;
        if word & key::STATIC != 0 {
            state.statics -= 1;
        }
        let learned = word & key::STATIC == 0;
        let Some((vlan, address)) = key::parts(key) else {
            if word & key::PINNED != 0 {
                state.pins -= 1;
            } else if learned {
                state.root.remove(&mut state.slots, index);
                self.fdb.root_full_until.store(0, Ordering::Relaxed);
            }
            return;
        };
        if vlan != 0
            && let Entry::Occupied(mut list) = state.tagged.entry(address.0)
        {
            list.get_mut().remove(&mut Tagged(&mut state.slots), index);
            if list.get().len() == 0 {
                list.remove();
            }
        }
        if let Owner::Leaf(port) = key::owner(word) {
            self.fdb.leaves_full_until.store(0, Ordering::Relaxed);
            state.macs -= usize::from(learned);
            let Some(leaf) = state.leaves.get_mut(&port) else { return };
            leaf.entries.remove(&mut state.slots, index);
            leaf.learned -= usize::from(learned);
            let is_empty = leaf.entries.len() == 0;
            self.update_mark(port);
            if is_empty {
                self.state.leaves.remove(&port);
            }
        }
    }
}

impl Claim for Writer<'_> {
    fn writer(&self) -> &Writer<'_> {
        self
    }

    fn live_or_remove(&mut self, key: u64, now: u64) -> Option<Found> {
        let found = self.fdb.table.find_quiet(key)?;
        if self.fdb.is_live(&found, now) {
            return Some(found);
        }
        self.remove(found.index);
        None
    }

    fn refresh(&mut self, found: &Found, now: u64) {
        self.fdb.table.refresh(found, now);
    }

    fn leaf_has_room(&mut self, leaf: u32, now: u64) -> bool {
        let Some(entries) = self.at_limit(leaf).map(|entry| entry.entries) else { return true };
        let swept = self.sweep_list(entries, Owner::Leaf(leaf), now);
        let Some(entry) = self.at_limit(leaf) else { return true };
        if let Some(mark) = entry.mark {
            self.fdb.table.set_seen(mark, swept.quiet_until);
        }
        false
    }

    fn leaves_have_room(&mut self, now: u64) -> bool {
        if self.state.macs < self.fdb.limits.macs {
            return true;
        }
        let swept = self.sweep(now, BATCH);
        if self.state.macs < self.fdb.limits.macs {
            return true;
        }
        self.fdb.leaves_full_until.store(swept.quiet_until, Ordering::Relaxed);
        false
    }

    fn root_has_room(&mut self, now: u64) -> bool {
        if self.state.root.len() < self.fdb.limits.macs_root {
            return true;
        }
        let swept = self.sweep_list(self.state.root, Owner::Root, now);
        if self.state.root.len() < self.fdb.limits.macs_root {
            return true;
        }
        self.fdb.root_full_until.store(swept.quiet_until, Ordering::Relaxed);
        false
    }

    fn put(&mut self, key: u64, leaf: u32, old: Option<Found>, now: u64) -> Learned<u32> {
        let word = key::owner_word(Owner::Leaf(leaf));
        let Some(old) = old else {
            let index = self.add(key, word, now, 0, History::default());
            return if index.is_some() { Learned::New } else { Learned::Nothing };
        };
        let Moved { history, frozen_until, frozen } = self.moved(key, leaf, &old, now);
        // In this order a reader that looks for the key always finds it.
        self.add(key, word, now, frozen_until, history);
        self.remove(old.index);
        Learned::Moved { from: key::owner(old.owner), frozen }
    }

    fn put_at_root(&mut self, key: u64, now: u64) -> Learned<u32> {
        let from = self.loser(key, now);
        let word = key::root_word(key::vlan(key, 0));
        // In this order a reader that looks for the address always finds it.
        if self.add(key::whole_of(key), word, now, 0, History::default()).is_none() {
            return Learned::Nothing;
        }
        self.take_from_leaves(key::address(key), Some(word));
        from.map_or(Learned::New, |from| Learned::Moved { from, frozen: false })
    }

    fn forget(&mut self, _: u64, entry: &Found) {
        self.remove(entry.index);
    }
}

/// Looks at entries for expired ones.
struct Search<'a> {
    fdb: &'a Fdb,
    now: u64,
    swept: Swept,
}

impl<'a> Search<'a> {
    /// A search of up to [`BATCH`] of `among` entries. One that cannot see all of them says
    /// nothing about the others, so their time is soon.
    fn new(fdb: &'a Fdb, now: u64, among: usize) -> Self {
        let quiet_until = if among <= BATCH { u64::MAX } else { now.saturating_add(RETRY) };
        Self { fdb, now, swept: Swept { removed: 0, quiet_until } }
    }

    fn has_expired(&mut self, index: u32) -> bool {
        let found = self.fdb.table.read(index);
        if !self.fdb.is_live(&found, self.now) {
            self.swept.removed += 1;
            return true;
        }
        if self.fdb.ages(&found) {
            // A refresh since makes this too early at worst.
            let expiry = found.seen.saturating_add(self.fdb.limits.ageing());
            self.swept.quiet_until = self.swept.quiet_until.min(expiry);
        }
        false
    }
}
