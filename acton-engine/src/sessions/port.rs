//! A client's port on the bridge.

/// A client's port on the bridge: its slot in the low 16 bits, and above them how often the slot
/// was used before. A frame still under way for a client that has gone never reaches the next one
/// in its slot.
pub(crate) type LeafId = u32;

/// Bits of a [`LeafId`] that are the slot.
pub(crate) const SLOT_BITS: u32 = 16;

/// Sessions a server can hold at most, by the layout of [`LeafId`]: the protocol gives slots also
/// to as many as 1,024 clients that have none yet.
pub(crate) const MAX_SESSIONS: usize = (1 << SLOT_BITS) - 1_024;

/// The slot of a port.
pub(crate) fn slot(id: LeafId) -> usize {
    (id & ((1 << SLOT_BITS) - 1)) as usize
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
        u32::from(generation) << SLOT_BITS | slot as u32
    }
}
