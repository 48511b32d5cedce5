//! What the kernel's bridge knows on its other ports, pinned to the root of the tunnel's bridge.

use std::sync::Arc;

use acton_bridge::Bridge;
use acton_netlink::FdbEntry;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use pnet_base::MacAddr;

use crate::sessions::port::LeafId;

/// A MAC on one VLAN, as the kernel's bridge has it.
type Place = (MacAddr, Option<u16>);

/// The entries of the kernel's bridge that are at other ports than the TAP.
pub(super) struct KernelFdb {
    bridge: Arc<Bridge<LeafId>>,
    /// The index of the TAP.
    tap: u32,
    places: HashSet<Place, RandomState>,
    /// On how many VLANs each MAC is known.
    macs: HashMap<MacAddr, u32, RandomState>,
    /// MACs that the tunnel's bridge had no room for.
    unpinned: usize,
}

impl KernelFdb {
    pub(super) fn new(bridge: Arc<Bridge<LeafId>>, tap: u32) -> Self {
        Self { bridge, tap, places: HashSet::default(), macs: HashMap::default(), unpinned: 0 }
    }

    /// Whether a MAC is known at another port than the TAP.
    pub(super) fn knows(&self, mac: MacAddr) -> bool {
        self.macs.contains_key(&mac)
    }

    /// How many MACs found no room since this was last asked.
    pub(super) fn take_unpinned(&mut self) -> usize {
        std::mem::take(&mut self.unpinned)
    }

    /// The kernel's bridge has an entry, or has it at another port now.
    pub(super) fn add(&mut self, entry: &FdbEntry) {
        if entry.port == self.tap {
            // A host that moved behind a client.
            self.remove(entry);
        } else if let Some(place) = place(entry)
            && self.places.insert(place)
        {
            self.count(place.0);
        }
    }

    /// The kernel's bridge has an entry no longer.
    pub(super) fn remove(&mut self, entry: &FdbEntry) {
        if let Some(place) = place(entry)
            && self.places.remove(&place)
        {
            self.discount(place.0);
        }
    }

    /// The kernel's bridge has these entries and no others.
    pub(super) fn replace(&mut self, entries: &[FdbEntry]) {
        let elsewhere = entries.iter().filter(|entry| entry.port != self.tap);
        let places: HashSet<Place, RandomState> = elsewhere.filter_map(place).collect();
        let before = std::mem::replace(&mut self.places, places);
        // First what goes, so that what comes finds room.
        for place in &before {
            if !self.places.contains(place) {
                self.discount(place.0);
            }
        }
        let added: Vec<_> = self.places.difference(&before).map(|place| place.0).collect();
        added.into_iter().for_each(|mac| self.count(mac));
    }

    fn count(&mut self, mac: MacAddr) {
        let vlans = self.macs.entry(mac).or_default();
        *vlans += 1;
        if *vlans == 1 && !self.bridge.pin(mac) {
            self.unpinned += 1;
        }
    }

    fn discount(&mut self, mac: MacAddr) {
        let Some(vlans) = self.macs.get_mut(&mac) else { return };
        *vlans -= 1;
        if *vlans == 0 {
            self.macs.remove(&mac);
            self.bridge.unpin(mac);
        }
    }
}

/// `None` for a group, which is nobody's.
fn place(entry: &FdbEntry) -> Option<Place> {
    let is_unicast = !entry.mac.is_multicast() && !entry.mac.is_zero();
    is_unicast.then_some((entry.mac, entry.vlan))
}
