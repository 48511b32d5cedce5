//! Whose addresses are by what is said of them, heard or not.

use super::{History, Writer};
use crate::address::Address;
use crate::key;
use crate::port::Owner;
use crate::statics::StaticError;

impl Writer<'_> {
    pub(crate) fn add_static(
        &mut self,
        vlan: u16,
        address: Address,
        leaf: u32,
    ) -> Result<(), StaticError> {
        let key = key::mac(vlan, address);
        let owner = Owner::Leaf(leaf);
        let whole = self.fdb.table.find_quiet(key::whole(address));
        if whole.is_some_and(|it| it.owner & key::STATIC != 0 && key::owner(it.owner) != owner) {
            return Err(StaticError::Protected(address.mac()));
        }
        let old = self.fdb.table.find_quiet(key);
        if old.is_none_or(|old| old.owner & key::STATIC == 0) {
            self.static_room()?;
        }
        self.add(key, key::owner_word(owner) | key::STATIC, 0, 0, History::default());
        if let Some(old) = old {
            self.remove(old.index);
        }
        if let Some(whole) = whole
            && whole.owner & key::STATIC == 0
        {
            self.remove(whole.index);
        }
        Ok(())
    }

    pub(crate) fn remove_static(&mut self, vlan: u16, address: Address) -> bool {
        let found = self.fdb.table.find_quiet(key::mac(vlan, address));
        let found = found.filter(|found| found.owner & key::STATIC != 0);
        let Some(found) = found else { return false };
        self.remove(found.index);
        // What is pinned shows again.
        let _ = self.settle(address);
        true
    }

    /// Removes what was learned of an address on a VLAN, or else at the root.
    pub(crate) fn forget_mac(&mut self, vlan: u16, address: Address) -> bool {
        for key in [key::mac(vlan, address), key::whole(address)] {
            let found = self.fdb.table.find_quiet(key);
            if let Some(found) = found.filter(|found| self.fdb.ages(found)) {
                self.remove(found.index);
                return true;
            }
        }
        false
    }

    /// Whether a leaf has a static entry of an address, on whatever VLAN.
    pub(crate) fn is_static_at_leaf(&self, address: Address) -> bool {
        let table = &self.fdb.table;
        self.of_address(address).into_iter().any(|index| table.read(index).owner & key::STATIC != 0)
    }

    pub(crate) fn protect(&mut self, address: Address) -> Result<(), StaticError> {
        self.keep_for(address, Owner::Root)
    }

    pub(crate) fn reserve(&mut self, address: Address, leaf: u32) -> Result<(), StaticError> {
        if self.state.of_root.contains(&address.0) {
            return Err(StaticError::Protected(address.mac()));
        }
        self.keep_for(address, Owner::Leaf(leaf))
    }

    fn keep_for(&mut self, address: Address, owner: Owner<u32>) -> Result<(), StaticError> {
        let before = self.state.protected.insert(address.0, owner);
        self.settle(address).inspect_err(|_| {
            match before {
                Some(before) => self.state.protected.insert(address.0, before),
                None => self.state.protected.remove(&address.0),
            };
        })
    }

    pub(crate) fn unprotect(&mut self, address: Address) -> bool {
        let removed = self.state.protected.remove(&address.0).is_some();
        // What is said less needs no room.
        let _ = self.settle(address);
        removed
    }

    /// Of addresses that find no room, the last are left out.
    pub(crate) fn set_of_root(&mut self, macs: &[u64]) -> Result<(), StaticError> {
        // First what goes, so that what comes finds room.
        let before = self.state.of_root.clone();
        for &mac in before.iter().filter(|mac| !macs.contains(mac)) {
            self.state.of_root.remove(&mac);
            let _ = self.settle(Address(mac));
        }
        let mut result = Ok(());
        for &mac in macs {
            if self.state.of_root.insert(mac)
                && let Err(error) = self.settle(Address(mac))
            {
                self.state.of_root.remove(&mac);
                result = Err(error);
            }
        }
        result
    }

    /// False if there is no room.
    pub(crate) fn pin(&mut self, address: Address) -> bool {
        let pinned = &mut self.state.pinned;
        if pinned.len() >= self.fdb.limits.pinned {
            return pinned.contains(&address.0);
        }
        if pinned.insert(address.0) {
            // Nothing static is needed, so there is room.
            let _ = self.settle(address);
        }
        true
    }

    pub(crate) fn unpin(&mut self, address: Address) {
        if self.state.pinned.remove(&address.0) {
            let _ = self.settle(address);
        }
    }

    /// Has the table follow what is said of a whole address, and takes it from leaves that it is
    /// not for. Where there is no room, the table stays as it is.
    pub(crate) fn settle(&mut self, address: Address) -> Result<(), StaticError> {
        // The bridge takes neither as a source from anybody.
        if address.is_group() || address.is_zero() {
            return Ok(());
        }
        let key = key::whole(address);
        let old = self.fdb.table.find_quiet(key);
        let old_word = old.map_or(0, |old| old.owner);
        let kept_for = match self.state.protected.get(&address.0) {
            _ if self.state.of_root.contains(&address.0) => Some(Owner::Root),
            kept_for => kept_for.copied(),
        };
        let word = if let Some(owner) = kept_for {
            if old_word & key::STATIC == 0 {
                self.static_room()?;
            }
            Some(key::owner_word(owner) | key::STATIC)
        } else if self.state.pinned.contains(&address.0) && !self.is_static_at_leaf(address) {
            Some(key::owner_word(Owner::Root) | key::PINNED)
        } else {
            // What is learned stays.
            old.filter(|old| self.fdb.ages(old)).map(|old| old.owner)
        };
        if old.map(|old| old.owner) == word {
            return Ok(());
        }
        if let Some(word) = word {
            self.add(key, word, 0, 0, History::default());
        }
        if let Some(old) = old {
            self.remove(old.index);
        }
        self.take_from_leaves(address, word);
        Ok(())
    }

    /// Takes an address, as it is known whole now, from leaves that may not have it.
    pub(super) fn take_from_leaves(&mut self, address: Address, whole: Option<u64>) {
        for index in self.of_address(address) {
            let (key, word) = (self.fdb.table.key(index), self.fdb.table.read(index).owner);
            let owner = key::owner(word);
            let may_have = match whole {
                Some(whole) => key::owner(whole) == owner,
                None => match owner {
                    Owner::Leaf(leaf) => word & key::STATIC != 0 || self.may_learn(leaf, key),
                    Owner::Root => true,
                },
            };
            if !may_have {
                self.remove(index);
            }
        }
    }

    fn static_room(&self) -> Result<(), StaticError> {
        let limit = self.fdb.limits.statics;
        if self.state.statics < limit { Ok(()) } else { Err(StaticError::Full { limit }) }
    }
}
