//! The MAC of a TAP that nobody gave one: the same at each start.

use acton_proto::wire::Key;
use blake2::{Blake2s256, Digest};
use pnet_base::MacAddr;

/// What is hashed first, so that no other hash of a key is a MAC.
const LABEL: &[u8] = b"acton TAP MAC v1";
/// The first byte: locally administered, unicast, and of those the highest. A Linux bridge takes the
/// lowest MAC of its ports for its own (br_stp_recalculate_bridge_id of net/bridge/br_stp_if.c); a TAP
/// that comes and goes is not to change it. libvirt has its TAPs begin so, too.
const FIRST: u8 = 0xfe;

/// The MAC of a TAP that is told from others by these bytes.
pub(crate) fn tap_mac([b, c, d, e, f]: [u8; 5]) -> MacAddr {
    MacAddr(FIRST, b, c, d, e, f)
}

/// The MAC of the TAP called `name` of the end with this public key: [`FIRST`], then the first five
/// bytes of BLAKE2s over [`LABEL`], the key and the name (docs/PROTOCOL.md, "The MAC of a TAP").
///
/// Clients differ by their keys, and so do a server and a client of one host; an end's TAPs differ by
/// their names. 40 bits are left: of networks with 4,096 ends one in 130,000 has two alike.
pub(crate) fn derived_mac(key: &Key, name: &str) -> MacAddr {
    let hash = Blake2s256::new().chain_update(LABEL).chain_update(key).chain_update(name);
    let [b, c, d, e, f, ..] = <[u8; 32]>::from(hash.finalize());
    tap_mac([b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_the_one_of_the_specification() {
        let key = std::array::from_fn(|i| i as u8);
        assert_eq!(derived_mac(&key, "server").to_string(), "fe:29:97:27:69:0a");
    }

    #[test]
    fn keys_and_names_make_a_difference() {
        let macs = [([1; 32], "a"), ([2; 32], "a"), ([1; 32], "b"), ([2; 32], "b")];
        let macs: HashSet<_> = macs.iter().map(|(key, name)| derived_mac(key, name)).collect();
        assert_eq!(macs.len(), 4);
    }

    proptest! {
        #[test]
        fn it_is_unicast_and_locally_administered(key: [u8; 32], name in "[a-z]{1,15}") {
            let mac = derived_mac(&key, &name);
            prop_assert!(mac.is_unicast() && mac.is_local());
            prop_assert_eq!(mac.0, 0xfe, "a bridge would take it");
        }
    }
}
