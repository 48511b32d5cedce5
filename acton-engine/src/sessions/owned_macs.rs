//! MACs that belong to listed clients, whether these are here or not.

use std::collections::VecDeque;
use std::sync::Arc;

use acton_bridge::{Bridge, StaticError};
use pnet_base::MacAddr;

use crate::observe::event::NotKept;
use crate::sessions::port::LeafId;

/// Keeps MACs for their clients, on every VLAN: those who are here alone may send from them, and
/// are known to have them untagged; while they are away nobody may.
#[derive(Debug)]
pub(crate) struct OwnedMacs {
    bridge: Arc<Bridge<LeafId>>,
    /// MACs whose owner may be another: a long list is followed some of them at a time.
    unsettled: VecDeque<MacAddr>,
}

impl OwnedMacs {
    pub(crate) fn new(bridge: Arc<Bridge<LeafId>>) -> Self {
        Self { bridge, unsettled: VecDeque::new() }
    }

    /// Keeps a MAC for its client, whose port is `leaf` if it is here.
    ///
    /// # Errors
    /// Where the bridge has a rule or no room for it.
    pub(crate) fn keep(&self, mac: MacAddr, leaf: Option<LeafId>) -> Result<(), StaticError> {
        match leaf {
            Some(leaf) => {
                self.bridge.reserve(mac, leaf)?;
                self.bridge.add_static(0, mac, leaf)
            }
            None => self.bridge.protect(mac),
        }
    }

    /// Whether a MAC is kept for the client whose port is `leaf`.
    pub(crate) fn is_kept(&self, mac: MacAddr, leaf: LeafId) -> bool {
        self.bridge.is_reserved(mac, leaf)
    }

    /// Lets go of a MAC that was kept.
    pub(crate) fn release(&self, mac: MacAddr) {
        self.bridge.unprotect(mac);
        self.bridge.remove_static(0, mac);
    }

    /// Notes MACs whose owner may be another now.
    pub(crate) fn unsettle(&mut self, macs: Vec<MacAddr>) {
        self.unsettled.extend(macs);
    }

    /// One of the MACs that were noted and not given since.
    pub(crate) fn next_unsettled(&mut self) -> Option<MacAddr> {
        self.unsettled.pop_front()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
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
        let macs = OwnedMacs::new(Arc::clone(&bridge));
        let send = |leaf, rest: &[u8]| {
            let frame = [&[0xff; 6][..], &PRINTER.octets(), rest].concat();
            match bridge.from_leaf(leaf, &frame, Duration::from_secs(1)).0 {
                FromLeaf::Drop(reason) => Some(reason),
                FromLeaf::Root { .. } => None,
            }
        };
        let try_it = |leaf| send(leaf, &[0x88, 0xb5]);
        let try_vlan = |leaf| send(leaf, &[0x81, 0x00, 0, 7, 0x88, 0xb5]);
        let kept_for = || [THIEF, OWNER].map(|leaf| macs.is_kept(PRINTER, leaf));
        macs.keep(PRINTER, None).unwrap();
        assert_eq!(try_it(THIEF), Some(DropReason::SourceProtected));
        assert_eq!(kept_for(), [false, false]);
        macs.keep(PRINTER, Some(OWNER)).unwrap();
        assert_eq!(kept_for(), [false, true]);
        for send in [&try_it as &dyn Fn(_) -> _, &try_vlan] {
            assert_eq!((send(THIEF), send(OWNER)), (Some(DropReason::SourceProtected), None));
        }
        bridge.purge(OWNER);
        macs.keep(PRINTER, None).unwrap();
        assert_eq!(try_it(THIEF), Some(DropReason::SourceProtected));
        // Off the list it is anybody's, whether its client is away or here.
        macs.release(PRINTER);
        assert_eq!(try_it(THIEF), None);
        assert_eq!(kept_for(), [false, false], "what is learnt is not kept");
        bridge.purge(THIEF);
        macs.keep(PRINTER, Some(OWNER)).unwrap();
        assert_eq!(try_it(THIEF), Some(DropReason::SourceProtected));
        macs.release(PRINTER);
        assert_eq!(try_it(THIEF), None);
    }

    #[test]
    fn what_cannot_be_kept_is_told() {
        let bridge = Arc::new(Bridge::new(Config::default().max_static(1)));
        let macs = OwnedMacs::new(bridge);
        let other = MacAddr(2, 0, 0, 0, 0, 8);
        macs.keep(PRINTER, None).unwrap();
        assert_eq!(macs.keep(other, None), Err(StaticError::Full { limit: 1 }));
        macs.release(PRINTER);
        macs.keep(other, None).unwrap();
    }
}
