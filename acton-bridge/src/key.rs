//! The one-word keys and owner words of the table.
//!
//! Four kinds of key share the table, so that one lock-free reader serves them all:
//!
//! ```text
//! bit   63        62      48..59    0..47
//!       0         0       VLAN id   MAC address     a leaf has the address on a VLAN
//!       0         0       4095      MAC address     somebody has it whole, on every VLAN
//!       1         0       0         port (32 bits)  the leaf is at its limit
//!       1         1       0         port (32 bits)  the leaf is strict
//! ```
//!
//! 4095 is an id that no frame may carry ([`DropReason::BadVlan`](crate::DropReason::BadVlan)).
//! What the root has it has whole; a leaf has whole what is reserved for it.

use crate::address::Address;
use crate::port::Owner;

/// VLAN ids below this one are real.
pub(crate) const VLANS: u16 = 0xfff;
const AT_LIMIT: u64 = 1 << 63;
const STRICT: u64 = 1 << 62;

pub(crate) fn mac(vlan: u16, address: Address) -> u64 {
    debug_assert!(vlan < VLANS);
    u64::from(vlan) << 48 | address.0
}

/// The key of an address as somebody has it whole.
pub(crate) fn whole(address: Address) -> u64 {
    u64::from(VLANS) << 48 | address.0
}

pub(crate) fn at_limit(leaf: u32) -> u64 {
    AT_LIMIT | u64::from(leaf)
}

pub(crate) fn strict(leaf: u32) -> u64 {
    AT_LIMIT | STRICT | u64::from(leaf)
}

/// The VLAN and address of a key that [`mac`] made; `None` for the other kinds.
pub(crate) fn parts(key: u64) -> Option<(u16, Address)> {
    let vlan = (key >> 48) as u16;
    (vlan < VLANS).then_some((vlan, Address(key & 0xffff_ffff_ffff)))
}

/// The key of the same address as somebody has it whole.
pub(crate) fn whole_of(key: u64) -> u64 {
    key | u64::from(VLANS) << 48
}

/// Whether a key is that of an address, of a VLAN or whole.
pub(crate) fn is_address(key: u64) -> bool {
    key & AT_LIMIT == 0
}

/// The address of a key that [`mac`] or [`whole`] made.
pub(crate) fn address(key: u64) -> Address {
    Address(key & 0xffff_ffff_ffff)
}

/// Owner words: the port's bits, and flags above them.
const ROOT: u64 = 1 << 32;
/// It was said by whom the bridge belongs to, and does not age.
pub(crate) const STATIC: u64 = 1 << 33;
/// The root is known to have it, by other means than frames, and it does not age.
pub(crate) const PINNED: u64 = 1 << 34;
/// Where the word of a learned address of the root has the VLAN of its first frame.
const VLAN_SHIFT: u32 = 40;

/// The word of an address that is learned at the root.
pub(crate) fn root_word(vlan: u16) -> u64 {
    ROOT | u64::from(vlan) << VLAN_SHIFT
}

/// The VLAN that an address is told to be on: that of its key, or of the root's first frame.
pub(crate) fn vlan(key: u64, word: u64) -> u16 {
    let vlan = if parts(key).is_some() { key >> 48 } else { word >> VLAN_SHIFT };
    vlan as u16 & 0xfff
}

pub(crate) fn owner_word(owner: Owner<u32>) -> u64 {
    match owner {
        Owner::Root => ROOT,
        Owner::Leaf(port) => port.into(),
    }
}

pub(crate) fn owner(word: u64) -> Owner<u32> {
    if word & ROOT != 0 { Owner::Root } else { Owner::Leaf(word as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_key_never_meet() {
        let address = Address(0xffff_ffff_ffff);
        assert_eq!(parts(mac(4094, address)), Some((4094, address)));
        assert_eq!(parts(mac(0, Address(1))), Some((0, Address(1))));
        assert_eq!(parts(whole(Address(1))), None);
        assert_eq!(parts(at_limit(u32::MAX)), None);
        assert_eq!(parts(at_limit(0)), None);
        assert_eq!(whole_of(mac(5, Address(1))), whole(Address(1)));
        assert_ne!(strict(7), at_limit(7));
        assert!(is_address(whole(address)) && !is_address(at_limit(0)) && !is_address(strict(0)));
        assert_eq!(super::address(whole(Address(1))), Address(1));
    }

    #[test]
    fn an_address_tells_its_vlan() {
        let address = Address(0xffff_ffff_ffff);
        assert_eq!(vlan(mac(4094, address), owner_word(Owner::Leaf(u32::MAX))), 4094);
        assert_eq!(vlan(whole(address), root_word(4094) | PINNED | STATIC), 4094);
        assert_eq!(owner(root_word(4094)), Owner::Root);
    }

    #[test]
    fn owners_survive_their_word() {
        for owner_ in [Owner::Root, Owner::Leaf(0), Owner::Leaf(u32::MAX)] {
            assert_eq!(owner(owner_word(owner_)), owner_);
            assert_eq!(owner(owner_word(owner_) | STATIC | PINNED | crate::table::FROZEN), owner_);
        }
    }
}
