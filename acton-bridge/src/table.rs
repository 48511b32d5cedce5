//! A hash table whose readers take no lock.
//!
//! Slots live in an arena that never grows or moves. A bucket is one word, `version | index of
//! its first slot`, and slots chain by index. Readers run beside at most one writer, whom the
//! caller chooses by a lock of its own.
//!
//! # Why a reader never sees the owner of another key
//!
//! While a slot is linked its key, owner and freeze never change; only its time does. A change of
//! owner is a new slot linked in front and the old one unlinked. So a wrong pair could only come
//! from a slot that was unlinked and bound again under a reader's feet, and [`Table::find`]
//! believes a walk only if the bucket's version is the same before and after it:
//!
//! * Linking and unlinking each store a new version into the bucket's word.
//! * [`Table::bind`] puts a release fence before its first store. The unlinking that freed the
//!   slot happened before that fence (same thread, or through the writers' lock).
//! * A walk ends with an acquire fence, then reads the bucket's word again.
//!
//! If the walk read anything that `bind` stored, the two fences synchronise, the reader's second
//! look finds the unlinking's version or a later one, and the walk is thrown away. If it read
//! nothing of the kind, each slot it met is as it was linked in this bucket. A version wraps after
//! 2^40 changes to one bucket; a walk would have to last for hours of nothing else to be fooled.

use std::hash::BuildHasher;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use Ordering::{Acquire, Relaxed, Release};

/// Low bits of a bucket's word: the index of its first slot. The rest is the version.
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// The end of a chain: an index that no slot has.
const NIL: u32 = INDEX_MASK as u32;
/// Slots a reader walks before it suspects that it strayed into chains of reused slots. With at
/// least as many buckets as slots and a keyed hash, no real chain comes near.
const MAX_STEPS: usize = if cfg!(loom) { 3 } else { 64 };
/// Walks a reader throws away before it asks the writers to pause.
const MAX_WALKS: usize = if cfg!(loom) { 2 } else { 8 };

/// The flag of an owner word that says [`Table::freeze`] is in force for the slot.
pub(crate) const FROZEN: u64 = 1 << 63;

/// What a slot says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) index: u32,
    /// Opaque to the table but for [`FROZEN`].
    pub(crate) owner: u64,
    pub(crate) seen: u64,
    /// 0 unless the owner word has [`FROZEN`].
    pub(crate) frozen_until: u64,
}

/// Half a cache line.
#[derive(Debug)]
#[repr(align(32))]
struct Slot {
    key: AtomicU64,
    owner: AtomicU64,
    seen: AtomicU64,
    next: AtomicU32,
}

#[derive(Debug)]
pub(crate) struct Table {
    buckets: Box<[AtomicU64]>,
    slots: Box<[Slot]>,
    /// Apart from the slots, which it would push over half a cache line for the rarest of states.
    frozen_until: Box<[AtomicU64]>,
    hash: SeedableRandomState,
}

impl Table {
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity < NIL as usize, "an index has {INDEX_BITS} bits");
        Self::with_buckets(capacity, capacity.next_power_of_two())
    }

    fn with_buckets(capacity: usize, buckets: usize) -> Self {
        let slot = || Slot {
            key: AtomicU64::new(0),
            owner: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            next: AtomicU32::new(NIL),
        };
        // Keys are chosen by attackers: the standard library's seed comes from the operating
        // system, foldhash's own from weaker sources.
        let seed = std::hash::RandomState::new().hash_one(0);
        Self {
            buckets: (0..buckets).map(|_| AtomicU64::new(NIL.into())).collect(),
            slots: (0..capacity).map(|_| slot()).collect(),
            frozen_until: (0..capacity).map(|_| AtomicU64::new(0)).collect(),
            hash: SeedableRandomState::with_seed(seed, SharedSeed::global_random()),
        }
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    fn bucket(&self, key: u64) -> &AtomicU64 {
        // The model checker needs to know which keys share a bucket.
        let hash = if cfg!(loom) { key } else { self.hash.hash_one(key) };
        // The number of buckets is a power of two.
        &self.buckets[hash as usize & (self.buckets.len() - 1)]
    }

    /// Finds a key beside a writer. `None` if writers changed its bucket so often that no walk
    /// could be believed; then the caller keeps them out and uses [`Table::find_quiet`].
    pub(crate) fn find(&self, key: u64) -> Option<Option<Found>> {
        let bucket = self.bucket(key);
        for _ in 0..MAX_WALKS {
            let head = bucket.load(Acquire);
            let walk = self.walk(head, key, MAX_STEPS);
            // Pairs with the release fence in `bind`: see the module's documentation.
            fence(Acquire);
            if bucket.load(Relaxed) == head
                && let Some(result) = walk
            {
                return Some(result);
            }
        }
        None
    }

    /// Finds a key while no writer runs.
    pub(crate) fn find_quiet(&self, key: u64) -> Option<Found> {
        self.walk(self.bucket(key).load(Acquire), key, self.slots.len()).flatten()
    }

    /// Follows a chain; `None` if it is longer than `steps`.
    fn walk(&self, head: u64, key: u64, steps: usize) -> Option<Option<Found>> {
        let mut index = first(head);
        for _ in 0..=steps {
            let Some(slot) = self.slots.get(index as usize) else {
                return Some(None);
            };
            if slot.key.load(Relaxed) == key {
                return Some(Some(self.read(index)));
            }
            index = slot.next.load(Acquire);
        }
        None
    }

    /// What a slot holds, linked or not; sound only within a walk or for the writer.
    pub(crate) fn read(&self, index: u32) -> Found {
        let slot = self.slot(index);
        let owner = slot.owner.load(Relaxed);
        let frozen = owner & FROZEN != 0;
        let frozen_until = if frozen { self.frozen_until[index as usize].load(Relaxed) } else { 0 };
        Found { index, owner, seen: slot.seen.load(Relaxed), frozen_until }
    }

    /// The key a slot has or had last.
    pub(crate) fn key(&self, index: u32) -> u64 {
        self.slot(index).key.load(Relaxed)
    }

    /// Says that the key was heard of at `now`. Never turns a time back, and leaves a slot alone
    /// that meanwhile got another time, so that a thread that sleeps between its walk and this
    /// store does not touch what the slot is by then.
    pub(crate) fn refresh(&self, found: &Found, now: u64) {
        if now > found.seen {
            let seen = &self.slot(found.index).seen;
            // Whoever was faster also just heard of it.
            let _ = seen.compare_exchange(found.seen, now, Relaxed, Relaxed);
        }
    }

    /// For the writer: sets the time of a slot that [`Table::refresh`] is not used on.
    pub(crate) fn set_seen(&self, index: u32, seen: u64) {
        self.slot(index).seen.store(seen, Relaxed);
    }

    /// For the writer: fills an unlinked slot.
    pub(crate) fn bind(&self, index: u32, key: u64, owner: u64, seen: u64) {
        let slot = self.slot(index);
        // Pairs with the acquire fence in `find`: see the module's documentation.
        fence(Release);
        slot.key.store(key, Relaxed);
        slot.owner.store(owner & !FROZEN, Relaxed);
        slot.seen.store(seen, Relaxed);
    }

    /// For the writer, between [`Table::bind`] and [`Table::link`]: freezes the slot's owner.
    pub(crate) fn freeze(&self, index: u32, until: u64) {
        let owner = &self.slot(index).owner;
        self.frozen_until[index as usize].store(until, Relaxed);
        owner.store(owner.load(Relaxed) | FROZEN, Relaxed);
    }

    /// For the writer: makes a bound slot the first of its chain, so it hides an older slot of
    /// the same key.
    pub(crate) fn link(&self, index: u32) {
        let slot = self.slot(index);
        let bucket = self.bucket(slot.key.load(Relaxed));
        let head = bucket.load(Relaxed);
        slot.next.store(first(head), Release);
        bucket.store(next_version(head, index), Release);
    }

    /// For the writer: takes a linked slot out of its chain. What it holds can still be read.
    pub(crate) fn unlink(&self, index: u32) {
        let slot = self.slot(index);
        let bucket = self.bucket(slot.key.load(Relaxed));
        let after = slot.next.load(Relaxed);
        let head = bucket.load(Relaxed);
        let mut at = first(head);
        if at == index {
            bucket.store(next_version(head, after), Release);
            return;
        }
        while let Some(slot) = self.slots.get(at as usize) {
            at = slot.next.load(Relaxed);
            if at == index {
                slot.next.store(after, Release);
                bucket.store(next_version(head, first(head)), Release);
                return;
            }
        }
        debug_assert!(false, "slot {index} is not linked");
    }

    fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }
}

fn first(head: u64) -> u32 {
    (head & INDEX_MASK) as u32
}

fn next_version(head: u64, index: u32) -> u64 {
    (head & !INDEX_MASK).wrapping_add(1 << INDEX_BITS) | u64::from(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(table: &Table, index: u32, key: u64, owner: u64) {
        table.bind(index, key, owner, 0);
        table.link(index);
    }

    fn owner(table: &Table, key: u64) -> Option<u64> {
        let found = table.find(key).unwrap();
        assert_eq!(found, table.find_quiet(key));
        found.map(|found| found.owner)
    }

    #[test]
    fn slots_of_one_chain_come_and_go_in_any_order() {
        for removed in 0..4 {
            let table = Table::with_buckets(5, 1);
            (0..4).for_each(|index| insert(&table, index, 100 + u64::from(index), index.into()));
            table.unlink(removed);
            for index in 0..4 {
                let expected = (index != removed).then_some(u64::from(index));
                assert_eq!(owner(&table, 100 + u64::from(index)), expected);
            }
            insert(&table, removed, 200, 9);
            assert_eq!(owner(&table, 200), Some(9));
        }
    }

    #[test]
    fn a_newer_slot_hides_the_older_one() {
        let table = Table::with_buckets(2, 1);
        insert(&table, 0, 7, 1);
        insert(&table, 1, 7, 2);
        assert_eq!(owner(&table, 7), Some(2));
        table.unlink(0);
        assert_eq!(owner(&table, 7), Some(2));
    }

    #[test]
    fn a_chain_too_long_to_trust_is_found_by_the_quiet_walk() {
        let table = Table::with_buckets(200, 1);
        (0..200).for_each(|index| insert(&table, index, 1 + u64::from(index), index.into()));
        assert_eq!(table.find(1), None);
        assert_eq!(table.find_quiet(1).map(|found| found.owner), Some(0));
        assert!(table.find(200).unwrap().is_some());
    }

    #[test]
    fn a_refresh_never_turns_time_back_nor_touches_a_reused_slot() {
        let table = Table::new(4);
        insert(&table, 0, 7, 1);
        let stale = table.find(7).unwrap().unwrap();
        table.refresh(&stale, 50);
        table.refresh(&stale, 40);
        assert_eq!(table.read(0).seen, 50);
        table.unlink(0);
        table.bind(0, 8, 2, 60);
        table.link(0);
        table.refresh(&stale, 55);
        assert_eq!(table.read(0).seen, 60);
    }

    #[test]
    fn a_freeze_lasts_as_long_as_the_binding() {
        let table = Table::new(4);
        table.bind(0, 7, 1, 0);
        table.freeze(0, 99);
        table.link(0);
        assert_eq!(table.read(0).frozen_until, 99);
        assert_eq!(table.read(0).owner, 1 | FROZEN);
        table.unlink(0);
        insert(&table, 0, 7, 1);
        assert_eq!(table.read(0).frozen_until, 0);
    }

    #[test]
    fn versions_wrap_without_touching_the_index() {
        assert_eq!(next_version(u64::MAX, 5), 5);
        assert_eq!(first(next_version(!INDEX_MASK, NIL)), NIL);
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p acton-bridge --lib --release loom`
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Every interleaving with up to three preemptions.
    fn model(test: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(test);
    }

    const GATEWAY: u64 = 1;
    const OTHER: u64 = 2;

    /// One chain of two slots; a slot moves from one key and owner to another and back, the case
    /// a comparison of keys alone would miss. Owners 10 and 11 are GATEWAY's, 20 is OTHER's.
    #[test]
    fn a_reader_never_sees_the_owner_of_another_key() {
        model(|| {
            let table = Arc::new(Table::with_buckets(2, 1));
            table.bind(0, GATEWAY, 10, 0);
            table.link(0);
            let reader = {
                let table = table.clone();
                thread::spawn(move || {
                    if let Some(Some(found)) = table.find(GATEWAY) {
                        assert!(matches!(found.owner, 10 | 11), "owner {}", found.owner);
                    }
                })
            };
            table.unlink(0);
            table.bind(0, OTHER, 20, 0);
            table.link(0);
            table.unlink(0);
            table.bind(0, GATEWAY, 11, 0);
            table.link(0);
            reader.join().unwrap();
        });
    }

    /// A slot from the middle of one chain turns up in another, which changes the first chain's
    /// version but not its first slot.
    #[test]
    fn a_slot_that_leaves_for_another_chain_is_noticed() {
        model(|| {
            let table = Arc::new(Table::with_buckets(2, 2));
            table.bind(0, GATEWAY, 10, 0);
            table.link(0);
            table.bind(1, GATEWAY + 2, 30, 0);
            table.link(1);
            let reader = {
                let table = table.clone();
                thread::spawn(move || {
                    if let Some(Some(found)) = table.find(GATEWAY) {
                        assert_eq!(found.owner, 10);
                    }
                })
            };
            table.unlink(0);
            table.bind(0, OTHER, 20, 0);
            table.link(0);
            reader.join().unwrap();
        });
    }

    /// A move links the new slot before it unlinks the old one.
    #[test]
    fn a_key_that_moves_is_never_missed() {
        model(|| {
            let table = Arc::new(Table::with_buckets(3, 1));
            table.bind(0, GATEWAY, 10, 0);
            table.link(0);
            table.bind(1, OTHER, 20, 0);
            table.link(1);
            let reader = {
                let table = table.clone();
                thread::spawn(move || {
                    if let Some(found) = table.find(GATEWAY) {
                        assert!(matches!(found.expect("never missed").owner, 10 | 11));
                    }
                })
            };
            table.bind(2, GATEWAY, 11, 0);
            table.link(2);
            table.unlink(0);
            reader.join().unwrap();
        });
    }
}
