//! What the kernel's bridge knows on its other ports, pinned to the root of the tunnel's bridge.

use std::collections::BTreeSet;
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
    /// Those that the tunnel's bridge had no room for yet.
    waiting: BTreeSet<MacAddr>,
    /// How many of them were told.
    told: usize,
}

impl KernelFdb {
    pub(super) fn new(bridge: Arc<Bridge<LeafId>>, tap: u32) -> Self {
        Self {
            bridge,
            tap,
            places: HashSet::default(),
            macs: HashMap::default(),
            waiting: BTreeSet::new(),
            told: 0,
        }
    }

    /// Whether a MAC is known at another port than the TAP.
    pub(super) fn knows(&self, mac: MacAddr) -> bool {
        self.macs.contains_key(&mac)
    }

    /// How many MACs have no room, where that is worth telling: the first, and then at twice as many.
    pub(super) fn take_without_room(&mut self) -> Option<usize> {
        let count = self.waiting.len();
        if count == 0 {
            self.told = 0;
        }
        let is_news = count > 2 * self.told;
        if is_news {
            self.told = count;
        }
        is_news.then_some(count)
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
            self.waiting.insert(mac);
        }
    }

    fn discount(&mut self, mac: MacAddr) {
        let Some(vlans) = self.macs.get_mut(&mac) else { return };
        *vlans -= 1;
        if *vlans > 0 {
            return;
        }
        self.macs.remove(&mac);
        if self.waiting.remove(&mac) {
            return;
        }
        self.bridge.unpin(mac);
        // There is room for another one now.
        if let Some(mac) = self.waiting.pop_first()
            && !self.bridge.pin(mac)
        {
            self.waiting.insert(mac);
        }
    }
}

/// `None` for a group, which is nobody's.
fn place(entry: &FdbEntry) -> Option<Place> {
    let is_unicast = !entry.mac.is_multicast() && !entry.mac.is_zero();
    is_unicast.then_some((entry.mac, entry.vlan))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use acton_bridge::{Config, FromLeaf};

    use super::*;

    fn mac(last: u8) -> MacAddr {
        MacAddr(2, 0, 0, 0, 0, last)
    }

    /// Which of these a client may not use.
    fn pinned(bridge: &Bridge<LeafId>, macs: [MacAddr; 4]) -> Vec<MacAddr> {
        let is_pinned = |mac: &MacAddr| {
            let frame = [&[0xff; 6][..], &mac.octets(), &[0x88, 0xb5]].concat();
            matches!(bridge.from_leaf(1, &frame, Duration::from_secs(1)).0, FromLeaf::Drop(_))
        };
        macs.into_iter().filter(is_pinned).collect()
    }

    #[test]
    fn what_found_no_room_finds_it_once_there_is_some() {
        let bridge = Arc::new(Bridge::new(Config::default().max_pinned(2)));
        let mut fdb = KernelFdb::new(Arc::clone(&bridge), 9);
        let all = [1, 2, 3, 4].map(mac);
        all.iter().for_each(|&mac| fdb.count(mac));
        assert_eq!(fdb.take_without_room(), Some(2));
        assert_eq!(fdb.take_without_room(), None, "told");
        assert!(all.iter().all(|&mac| fdb.knows(mac)));
        fdb.discount(mac(4));
        fdb.discount(mac(1));
        // What waits no longer, and what was pinned.
        assert_eq!(pinned(&bridge, all), [mac(2), mac(3)]);
        assert_eq!(fdb.take_without_room(), None);
        fdb.count(mac(4));
        assert_eq!(fdb.take_without_room(), Some(1), "it was none meanwhile");
    }
}
