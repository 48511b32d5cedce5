//! The clients of a server by their port on the bridge.

use std::sync::Arc;

/// A client's port on the bridge: its slot in the low 16 bits, and above them how often the slot
/// was used before. A frame still under way for a client that has gone can so never reach the
/// next one in its slot.
pub(crate) type LeafId = u32;

/// Sessions a server can hold at most, by the layout of [`LeafId`]: the protocol gives slots also
/// to as many as 1,024 clients that have none yet.
pub(crate) const MAX_SESSIONS: usize = (1 << 16) - 1_024;

pub(crate) fn slot(id: LeafId) -> usize {
    (id & 0xffff) as usize
}

/// Gives out ports, each slot's under a new generation every time.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    generations: Vec<u16>,
}

impl Ports {
    /// A port for the client that takes `slot` now.
    pub(crate) fn open(&mut self, slot: usize) -> LeafId {
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, 0);
        }
        self.generations[slot] = self.generations[slot].wrapping_add(1);
        self.current(slot)
    }

    /// The port of the client that took `slot` last.
    pub(crate) fn current(&self, slot: usize) -> LeafId {
        let generation = self.generations.get(slot).copied().unwrap_or_default();
        u32::from(generation) << 16 | (slot & 0xffff) as u32
    }
}

/// What a leaf is, to the table of them.
pub(crate) trait Leaf {
    fn id(&self) -> LeafId;
}

/// All clients at one moment, by slot.
#[derive(Debug)]
pub(crate) struct Leaves<L> {
    by_slot: Vec<Option<Arc<L>>>,
    len: usize,
}

impl<L> Clone for Leaves<L> {
    fn clone(&self) -> Self {
        Self { by_slot: self.by_slot.clone(), len: self.len }
    }
}

impl<L> Default for Leaves<L> {
    fn default() -> Self {
        Self { by_slot: Vec::new(), len: 0 }
    }
}

impl<L: Leaf> Leaves<L> {
    /// Puts a client in its slot, and returns the one that was there.
    pub(crate) fn insert(&mut self, leaf: Arc<L>) -> Option<Arc<L>> {
        let slot = slot(leaf.id());
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, None);
        }
        let old = self.by_slot[slot].replace(leaf);
        self.len += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove(&mut self, slot: usize) -> Option<Arc<L>> {
        let leaf = self.by_slot.get_mut(slot)?.take()?;
        self.len -= 1;
        Some(leaf)
    }

    /// The client with that port; `None` also where its slot has gone to another one.
    pub(crate) fn get(&self, id: LeafId) -> Option<&Arc<L>> {
        self.in_slot(slot(id)).filter(|leaf| leaf.id() == id)
    }

    /// The client in `slot`, whichever that is now.
    pub(crate) fn in_slot(&self, slot: usize) -> Option<&Arc<L>> {
        self.by_slot.get(slot)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<L>> {
        self.by_slot.iter().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Leaf for LeafId {
        fn id(&self) -> LeafId {
            *self
        }
    }

    #[test]
    fn an_old_port_never_reaches_the_next_client_of_its_slot() {
        let mut ports = Ports::default();
        let mut leaves = Leaves::default();
        let old = ports.open(3);
        leaves.insert(Arc::new(old));
        assert!(leaves.get(old).is_some());
        leaves.remove(3);
        let new = ports.open(3);
        leaves.insert(Arc::new(new));
        assert_ne!(old, new);
        assert!(leaves.get(old).is_none());
        assert_eq!(leaves.get(new).map(|leaf| **leaf), Some(new));
        assert_eq!((leaves.len(), leaves.iter().count()), (1, 1));
        assert_eq!((ports.current(3), slot(new)), (new, 3));
    }
}
