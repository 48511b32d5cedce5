//! The clients of a server as its workers see them: a snapshot that is replaced whole, so that a
//! reader never waits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::udp::Destination;

/// A client's port on the bridge: its slot in the low 16 bits, and above them how often the slot
/// was used before. A frame still under way for a client that has gone can so never reach the
/// next one in its slot.
pub(super) type LeafId = u32;

/// Sessions a server can hold at most, by the layout of [`LeafId`].
pub(super) const MAX_SESSIONS: usize = 1 << 16;

pub(super) fn leaf_id(slot: usize, generation: u16) -> LeafId {
    u32::from(generation) << 16 | (slot & 0xffff) as u32
}

pub(super) fn slot(id: LeafId) -> usize {
    (id & 0xffff) as usize
}

/// One client.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: LeafId,
    pub(super) address: SocketAddr,
    pub(super) to: Destination,
    /// When a frame last came from there, in nanoseconds of the engine's clock.
    last_frame: AtomicU64,
}

impl Peer {
    pub(super) fn new(id: LeafId, address: SocketAddr, to: Destination) -> Self {
        Self { id, address, to, last_frame: AtomicU64::new(0) }
    }

    /// Notes a sign of life.
    pub(super) fn touch(&self, now: Duration) {
        self.last_frame.store(now.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The last sign of life noted, zero if none.
    pub(super) fn last_frame(&self) -> Duration {
        Duration::from_nanos(self.last_frame.load(Ordering::Relaxed))
    }
}

/// All clients at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    by_address: HashMap<SocketAddr, Arc<Peer>, RandomState>,
    by_slot: Vec<Option<Arc<Peer>>>,
}

impl Peers {
    pub(super) fn insert(&mut self, peer: Arc<Peer>) {
        let slot = slot(peer.id);
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, None);
        }
        self.by_slot[slot] = Some(Arc::clone(&peer));
        self.by_address.insert(peer.address, peer);
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Arc<Peer>> {
        let peer = self.by_slot.get_mut(slot)?.take()?;
        self.by_address.remove(&peer.address);
        Some(peer)
    }

    pub(super) fn at(&self, address: &SocketAddr) -> Option<&Peer> {
        self.by_address.get(address).map(|peer| &**peer)
    }

    /// The client with that id; `None` also where its slot has gone to another one.
    pub(super) fn get(&self, id: LeafId) -> Option<&Peer> {
        self.by_slot.get(slot(id))?.as_deref().filter(|peer| peer.id == id)
    }

    /// The client in `slot`, whichever that is now.
    pub(super) fn in_slot(&self, slot: usize) -> Option<&Peer> {
        self.by_slot.get(slot)?.as_deref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.by_slot.iter().flatten().map(|peer| &**peer)
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(slot: usize, generation: u16, address: &str) -> Arc<Peer> {
        let address = address.parse().unwrap();
        let to = Destination::new(address, None, false);
        Arc::new(Peer::new(leaf_id(slot, generation), address, to))
    }

    #[test]
    fn an_old_id_never_reaches_the_next_client_of_its_slot() {
        let mut peers = Peers::default();
        peers.insert(peer(3, 0, "192.0.2.1:1"));
        let old = leaf_id(3, 0);
        assert!(peers.get(old).is_some());
        peers.remove(3);
        peers.insert(peer(3, 1, "192.0.2.2:2"));
        assert!(peers.get(old).is_none());
        assert_eq!(peers.get(leaf_id(3, 1)).unwrap().address, "192.0.2.2:2".parse().unwrap());
        assert!(peers.at(&"192.0.2.1:1".parse().unwrap()).is_none());
        assert_eq!((peers.len(), peers.iter().count()), (1, 1));
    }
}
