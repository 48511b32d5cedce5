//! The one-word keys and owner words of the table.
//!
//! Three kinds of key share the table, so that one lock-free reader serves all three:
//!
//! ```text
//! bit   63        60..62  48..59    0..47
//!       0         0       VLAN id   MAC address     an address of a VLAN
//!       0         0       4095      MAC address     the address is protected on every VLAN
//!       1         0       0         port (32 bits)  the leaf is at its limit
//! ```
//!
//! 4095 is an id that no frame may carry ([`DropReason::BadVlan`](crate::DropReason::BadVlan)).

use crate::address::Address;
use crate::port::Owner;

/// VLAN ids below this one are real.
pub(crate) const VLANS: u16 = 0xfff;
const AT_LIMIT: u64 = 1 << 63;

pub(crate) fn mac(vlan: u16, address: Address) -> u64 {
    debug_assert!(vlan < VLANS);
    u64::from(vlan) << 48 | address.0
}

pub(crate) fn protected(address: Address) -> u64 {
    u64::from(VLANS) << 48 | address.0
}

pub(crate) fn at_limit(leaf: u32) -> u64 {
    AT_LIMIT | u64::from(leaf)
}

/// The VLAN and address of a key that [`mac`] made; `None` for the other kinds.
pub(crate) fn parts(key: u64) -> Option<(u16, Address)> {
    let vlan = (key >> 48) as u16;
    (vlan < VLANS).then_some((vlan, Address(key & 0xffff_ffff_ffff)))
}

/// The address of a key that [`mac`] or [`protected`] made, as the key of its protection.
pub(crate) fn protection_of(key: u64) -> u64 {
    key | u64::from(VLANS) << 48
}

/// Owner words: the port's bits, and flags above them.
const ROOT: u64 = 1 << 32;
pub(crate) const STATIC: u64 = 1 << 33;

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
        assert_eq!(parts(protected(Address(1))), None);
        assert_eq!(parts(at_limit(u32::MAX)), None);
        assert_eq!(parts(at_limit(0)), None);
        assert_eq!(protection_of(mac(5, Address(1))), protected(Address(1)));
    }

    #[test]
    fn owners_survive_their_word() {
        for owner_ in [Owner::Root, Owner::Leaf(0), Owner::Leaf(u32::MAX)] {
            assert_eq!(owner(owner_word(owner_)), owner_);
            assert_eq!(owner(owner_word(owner_) | STATIC | crate::table::FROZEN), owner_);
        }
    }
}
