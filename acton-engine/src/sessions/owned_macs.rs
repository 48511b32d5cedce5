//! MACs that belong to listed clients, whether these are here or not.

use std::sync::Arc;

use acton_bridge::{Bridge, StaticError};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use pnet_base::MacAddr;

use crate::observe::event::NotKept;
use crate::sessions::port::LeafId;

/// Keeps MACs for their clients, on every VLAN: those who are here alone may send from them, and
/// are known to have them untagged; while they are away nobody may.
#[derive(Debug)]
pub(crate) struct OwnedMacs {
    bridge: Arc<Bridge<LeafId>>,
    kept: HashMap<MacAddr, Option<LeafId>, RandomState>,
}

impl OwnedMacs {
    pub(crate) fn new(bridge: Arc<Bridge<LeafId>>) -> Self {
        Self { bridge, kept: HashMap::default() }
    }

    /// Keeps a MAC for its client, whose port is `leaf` if it is here.
    ///
    /// # Errors
    /// Where the bridge has a rule or no room for it.
    pub(crate) fn keep(&mut self, mac: MacAddr, leaf: Option<LeafId>) -> Result<(), StaticError> {
        self.kept.insert(mac, leaf);
        match leaf {
            Some(leaf) => {
                self.bridge.reserve(mac, leaf)?;
                self.bridge.add_static(0, mac, leaf)
            }
            None => self.bridge.protect(mac),
        }
    }

    /// Keeps these and no others.
    ///
    /// # Errors
    /// Each of those that cannot be kept, and why.
    pub(crate) fn keep_all(
        &mut self,
        macs: impl IntoIterator<Item = (MacAddr, Option<LeafId>)>,
    ) -> Result<(), Vec<(MacAddr, StaticError)>> {
        let macs: HashMap<_, _, RandomState> = macs.into_iter().collect();
        // First what goes, so that what comes finds room.
        for (mac, _) in self.kept.extract_if(|mac, _| !macs.contains_key(mac)) {
            self.bridge.unprotect(mac);
            self.bridge.remove_static(0, mac);
        }
        let mut failed = Vec::new();
        for (mac, leaf) in macs {
            failed.extend(self.keep(mac, leaf).err().map(|error| (mac, error)));
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }
}

/// Why a MAC cannot be kept, as events have it.
pub(crate) fn not_kept(error: StaticError) -> NotKept {
    match error {
        StaticError::Protected(_) => NotKept::OwnMac,
        StaticError::Full { .. } => NotKept::Full,
        _ => NotKept::Forbidden,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use acton_bridge::{Config, DropReason, FromLeaf};

    use super::*;

    const PRINTER: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);
    const OWNER: LeafId = 1;
    const THIEF: LeafId = 2;

    #[test]
    fn a_mac_is_its_clients_for_as_long_as_the_list_says() {
        let bridge = Arc::new(Bridge::new(Config::default()));
        let mut macs = OwnedMacs::new(Arc::clone(&bridge));
        let send = |leaf, rest: &[u8]| {
            let frame = [&[0xff; 6][..], &PRINTER.octets(), rest].concat();
            match bridge.from_leaf(leaf, &frame, Duration::from_secs(1)).0 {
                FromLeaf::Drop(reason) => Some(reason),
                FromLeaf::Root { .. } => None,
            }
        };
        let try_it = |leaf| send(leaf, &[0x88, 0xb5]);
        let try_vlan = |leaf| send(leaf, &[0x81, 0x00, 0, 7, 0x88, 0xb5]);
        macs.keep_all([(PRINTER, None)]).unwrap();
        assert_eq!(try_it(THIEF), Some(DropReason::SourceProtected));
        macs.keep(PRINTER, Some(OWNER)).unwrap();
        for send in [&try_it as &dyn Fn(_) -> _, &try_vlan] {
            assert_eq!((send(THIEF), send(OWNER)), (Some(DropReason::SourceProtected), None));
        }
        bridge.purge(OWNER);
        macs.keep(PRINTER, None).unwrap();
        assert_eq!(try_it(THIEF), Some(DropReason::SourceProtected));
        // Off the list it is anybody's, whether its client is away or here.
        macs.keep_all([]).unwrap();
        assert_eq!(try_it(THIEF), None);
        bridge.purge(THIEF);
        macs.keep_all([(PRINTER, Some(OWNER))]).unwrap();
        assert_eq!(try_it(THIEF), Some(DropReason::SourceProtected));
        macs.keep_all([]).unwrap();
        assert_eq!(try_it(THIEF), None);
    }

    #[test]
    fn what_cannot_be_kept_is_told() {
        let bridge = Arc::new(Bridge::new(Config::default().max_static(1)));
        let mut macs = OwnedMacs::new(bridge);
        let other = MacAddr(2, 0, 0, 0, 0, 8);
        let failed = macs.keep_all([(PRINTER, None), (other, None)]).unwrap_err();
        assert!(matches!(failed[..], [(_, StaticError::Full { limit: 1 })]), "{failed:?}");
        macs.keep_all([(other, None)]).unwrap();
    }
}
