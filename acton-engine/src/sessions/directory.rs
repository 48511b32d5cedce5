//! The directory of sessions: read by workers without waiting, changed by the control thread alone.
//!
//! A session lies in the slot that its port names, and is found by a key too: the id in a secure
//! datagram's header, or a plain client's address. To change a session is to replace it in its slot,
//! and to change a key is to replace the small part of the index that it falls into, so that neither
//! takes longer where there are more sessions.

use std::array;
use std::hash::{BuildHasher, Hash};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption, Cache};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::sessions::port::{LeafId, SLOT_BITS, slot};

/// Slots: as many as a port can name.
pub(crate) const SLOTS: usize = 1 << SLOT_BITS;
/// Slots that are made at a time; a flood passes over those that have nobody in them.
const CHUNK: usize = 256;
/// Chunks at most.
const CHUNKS: usize = SLOTS / CHUNK;
/// Parts of the index, each replaced whole: with 10,000 sessions one holds 40 to 80 keys.
const SHARDS: usize = 256;

/// What has a port.
pub(crate) trait Ported {
    /// Its port.
    fn port(&self) -> LeafId;
}

/// Sessions `S`, by port and by key `K`.
#[derive(Debug)]
pub(crate) struct Directory<K, S> {
    chunks: Box<[OnceLock<Box<Chunk<S>>>]>,
    shards: Box<[Arc<Shard<K>>]>,
    /// Chooses the shard of a key; within it, keys go by another seed.
    hasher: RandomState,
    len: AtomicUsize,
    /// Grows with every change.
    version: AtomicU64,
}

#[derive(Debug)]
struct Chunk<S> {
    occupied: AtomicUsize,
    slots: [ArcSwapOption<S>; CHUNK],
}

type Keys<K> = HashMap<K, LeafId, RandomState>;
type Shard<K> = ArcSwap<Keys<K>>;
type CachedShard<K> = Cache<Arc<Shard<K>>, Arc<Keys<K>>>;

impl<K: Copy + Eq + Hash, S: Ported> Directory<K, S> {
    /// A directory of nobody.
    pub(crate) fn new() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            shards: (0..SHARDS).map(|_| Arc::default()).collect(),
            hasher: RandomState::default(),
            len: AtomicUsize::new(0),
            version: AtomicU64::new(0),
        }
    }

    /// A number that is another one after every change: what was read since it was read holds while
    /// it is the same.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    fn in_slot(&self, port: LeafId) -> Option<&ArcSwapOption<S>> {
        let slot = slot(port);
        Some(&self.chunks.get(slot / CHUNK)?.get()?.slots[slot % CHUNK])
    }

    /// The session with that port; `None` also where its slot has gone to another one.
    pub(crate) fn get(&self, port: LeafId) -> Option<Arc<S>> {
        self.in_slot(port)?.load_full().filter(|session| session.port() == port)
    }

    /// What `read` makes of the session with that port, without keeping it.
    pub(crate) fn read<T>(&self, port: LeafId, read: impl FnOnce(&S) -> T) -> Option<T> {
        self.read_shared(port, |session| read(session))
    }

    /// The same of a session that may be kept.
    pub(crate) fn read_shared<T>(
        &self,
        port: LeafId,
        read: impl FnOnce(&Arc<S>) -> T,
    ) -> Option<T> {
        let session = self.in_slot(port)?.load();
        session.as_ref().filter(|session| session.port() == port).map(read)
    }

    /// What `read` makes of the session in a slot.
    pub(crate) fn read_slot<T>(&self, slot: usize, read: impl FnOnce(&Arc<S>) -> T) -> Option<T> {
        let slots = &self.chunks.get(slot / CHUNK)?.get()?.slots;
        slots[slot % CHUNK].load().as_ref().map(read)
    }

    /// Calls `each` with every session.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Arc<S>)) {
        self.for_each_in(0..SLOTS, |session| {
            each(session);
            ControlFlow::Continue(())
        });
    }

    /// Calls `each` with the sessions in these slots until it breaks; the slot to go on with.
    pub(crate) fn for_each_in(
        &self,
        slots: Range<usize>,
        mut each: impl FnMut(&Arc<S>) -> ControlFlow<()>,
    ) -> usize {
        let Range { start: mut next, end: last } = slots.start..slots.end.min(SLOTS);
        while next < last {
            let (number, first) = (next / CHUNK, next % CHUNK);
            let end = last.min((number + 1) * CHUNK);
            let chunk = self.chunks[number].get();
            if let Some(chunk) = chunk.filter(|chunk| chunk.occupied.load(Ordering::Relaxed) > 0) {
                for slot in &chunk.slots[first..first + (end - next)] {
                    next += 1;
                    if let Some(session) = &*slot.load()
                        && each(session).is_break()
                    {
                        return next;
                    }
                }
            }
            next = end;
        }
        slots.end
    }

    /// Whether there may be sessions in this slot or later ones.
    pub(crate) fn may_go_on(&self, slot: usize) -> bool {
        let chunks = self.chunks.iter().skip(slot / CHUNK).filter_map(OnceLock::get);
        chunks.into_iter().any(|chunk| chunk.occupied.load(Ordering::Relaxed) > 0)
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Puts a session into the slot of its port, in place of the one that is there.
    pub(crate) fn put(&self, session: Arc<S>) {
        let slot = slot(session.port());
        let chunk = self.chunks[slot / CHUNK].get_or_init(|| {
            let slots = array::from_fn(|_| ArcSwapOption::empty());
            Box::new(Chunk { occupied: AtomicUsize::new(0), slots })
        });
        // Counted before it is there and until it is gone, so that nobody passes over it.
        chunk.occupied.fetch_add(1, Ordering::Relaxed);
        if chunk.slots[slot % CHUNK].swap(Some(session)).is_some() {
            chunk.occupied.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        self.changed();
    }

    /// Takes the session with that port out. Its keys are to be [unbound](Self::unbind) before.
    pub(crate) fn take(&self, port: LeafId) -> Option<Arc<S>> {
        let slots = self.in_slot(port)?;
        slots.load().as_ref().filter(|session| session.port() == port)?;
        let session = slots.swap(None)?;
        if let Some(chunk) = self.chunks[slot(port) / CHUNK].get() {
            chunk.occupied.fetch_sub(1, Ordering::Relaxed);
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.changed();
        Some(session)
    }

    /// Replaces the session with that port by what `change` makes of it.
    pub(crate) fn change(&self, port: LeafId, change: impl FnOnce(&S) -> S) {
        if let Some(session) = self.get(port) {
            self.put(Arc::new(change(&session)));
        }
    }

    /// Has `key` lead to a port.
    pub(crate) fn bind(&self, key: K, port: LeafId) {
        self.rekey(&key, |keys| {
            keys.insert(key, port);
        });
    }

    /// Has `key` lead nowhere.
    pub(crate) fn unbind(&self, key: &K) {
        self.rekey(key, |keys| {
            keys.remove(key);
        });
    }

    fn rekey(&self, key: &K, change: impl FnOnce(&mut Keys<K>)) {
        let shard = self.shard(key);
        let mut keys = Keys::clone(&shard.load());
        change(&mut keys);
        shard.store(Arc::new(keys));
        self.changed();
    }

    fn shard(&self, key: &K) -> &Shard<K> {
        &self.shards[shard_of(&self.hasher, key)]
    }

    /// A reader of the index, for those who ask often and want `T` of the session that they find.
    pub(crate) fn index<T>(&self) -> Index<K, T> {
        let shards = self.shards.iter().map(|shard| Cache::new(Arc::clone(shard))).collect();
        Index { shards, hasher: self.hasher.clone(), last: None }
    }
}

/// One worker's reader of the index: an atomic load tells whether a part of it is another by now.
pub(crate) struct Index<K, T> {
    shards: Box<[CachedShard<K>]>,
    hasher: RandomState,
    last: Option<Found<K, T>>,
}

/// What a key led to.
struct Found<K, T> {
    key: K,
    /// Of the directory, when it was looked up.
    version: u64,
    what: T,
}

impl<K: Copy + Eq + Hash, T> Index<K, T> {
    /// Where `key` leads.
    pub(crate) fn find(&mut self, key: &K) -> Option<LeafId> {
        self.shards[shard_of(&self.hasher, key)].load().get(key).copied()
    }

    /// What `take` makes of the session that `key` leads to. Questions that follow one another about
    /// one key share the answer while nothing changes.
    pub(crate) fn session<S: Ported>(
        &mut self,
        directory: &Directory<K, S>,
        key: K,
        take: impl FnOnce(Arc<S>) -> Option<T>,
    ) -> Option<&T> {
        let version = directory.version();
        if self.last.as_ref().is_none_or(|last| (last.key, last.version) != (key, version)) {
            self.last = None;
            let what = take(directory.get(self.find(&key)?)?)?;
            self.last = Some(Found { key, version, what });
        }
        self.last.as_ref().map(|last| &last.what)
    }

    /// Lets go of an answer that does not hold any more, so that it does not stay for want of a
    /// question.
    pub(crate) fn tidy<S: Ported>(&mut self, directory: &Directory<K, S>) {
        let version = directory.version();
        self.last.take_if(|last| last.version != version);
    }
}

fn shard_of(hasher: &RandomState, key: &impl Hash) -> usize {
    hasher.hash_one(key) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::sessions::port::Ports;

    #[derive(Debug, PartialEq)]
    struct Entry(LeafId, u32);

    impl Ported for Entry {
        fn port(&self) -> LeafId {
            self.0
        }
    }

    fn ports(directory: &Directory<u32, Entry>) -> Vec<LeafId> {
        let mut ports = Vec::new();
        directory.for_each(|entry| ports.push(entry.0));
        ports
    }

    #[test]
    fn an_old_port_never_reaches_the_next_client_of_its_slot() {
        let mut ports_of = Ports::default();
        let directory = Directory::<u32, _>::new();
        let old = ports_of.open(3);
        directory.put(Arc::new(Entry(old, 0)));
        assert!(directory.get(old).is_some());
        assert_eq!(directory.take(old).map(|entry| entry.0), Some(old));
        let new = ports_of.open(3);
        directory.put(Arc::new(Entry(new, 0)));
        assert_ne!(old, new);
        assert!(directory.get(old).is_none() && directory.take(old).is_none());
        assert_eq!(directory.read(new, |entry| entry.0), Some(new));
        assert_eq!((directory.len(), ports(&directory)), (1, vec![new]));
        assert_eq!((ports_of.current(3), slot(new)), (new, 3));
    }

    proptest! {
        #[test]
        fn it_agrees_with_two_maps(
            steps in prop::collection::vec((0..4_u8, 0..700_u32, any::<u32>()), 0..300),
        ) {
            let directory = Directory::new();
            let mut index = directory.index::<u32>();
            let (mut by_port, mut by_key) = (BTreeMap::new(), BTreeMap::new());
            for (step, port, value) in steps {
                match step {
                    0 => {
                        directory.put(Arc::new(Entry(port, value)));
                        by_port.insert(port, value);
                    }
                    1 => {
                        let taken = directory.take(port).map(|entry| entry.1);
                        prop_assert_eq!(taken, by_port.remove(&port));
                    }
                    2 => {
                        directory.bind(value % 500, port);
                        by_key.insert(value % 500, port);
                    }
                    _ => {
                        directory.unbind(&(value % 500));
                        by_key.remove(&(value % 500));
                    }
                }
                prop_assert_eq!(directory.len(), by_port.len());
                prop_assert_eq!(index.find(&(value % 500)), by_key.get(&(value % 500)).copied());
                let found = index.session(&directory, value % 500, |entry| Some(entry.1)).copied();
                let expected = by_key.get(&(value % 500)).and_then(|port| by_port.get(port));
                prop_assert_eq!(found, expected.copied());
                prop_assert_eq!(index.find(&port), by_key.get(&port).copied());
                let read = directory.read(port, |entry| entry.1);
                prop_assert_eq!(read, by_port.get(&port).copied());
            }
            prop_assert_eq!(ports(&directory), by_port.into_keys().collect::<Vec<_>>());
        }
    }

    #[test]
    fn readers_on_other_threads_see_each_change_whole() {
        let directory = Directory::<u32, Entry>::new();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut index = directory.index::<()>();
                while !done.load(Ordering::Relaxed) {
                    for key in 0..64 {
                        let Some(port) = index.find(&key) else { continue };
                        // What a key leads to may be gone by now, but it is never another's.
                        if let Some(value) = directory.read(port, |entry| entry.1) {
                            assert_eq!(value, port.wrapping_mul(7));
                        }
                    }
                    directory.for_each(|entry| assert_eq!(entry.1, entry.0.wrapping_mul(7)));
                }
            });
            let mut ports = Ports::default();
            for round in 0..20_000_u32 {
                let (slot, key) = (round as usize % 64, round % 64);
                let old = ports.current(slot);
                directory.unbind(&key);
                directory.take(old);
                let port = ports.open(slot);
                directory.put(Arc::new(Entry(port, port.wrapping_mul(7))));
                directory.bind(key, port);
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert_eq!(directory.len(), 64);
    }
}
