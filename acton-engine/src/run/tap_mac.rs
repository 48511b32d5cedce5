//! The MAC of a TAP that nobody gave one: the same at each start.

use acton_proto::wire::Key;
use blake2::{Blake2s256, Digest};
use pnet_base::MacAddr;

/// What is hashed first, so that no other hash of a key is a MAC.
const LABEL: &[u8] = b"acton TAP MAC v1";

/// The MAC of the TAP called `name` of the end with this public key: the first six bytes of BLAKE2s
/// over [`LABEL`], the key and the name, of which the first byte is made that of a locally
/// administered unicast address (docs/PROTOCOL.md, "The MAC of a TAP").
///
/// Clients differ by their keys, and so do a server and a client of one host; an end's TAPs differ by
/// their names. 46 bits are left: of networks with 4,096 ends one in eight million has two alike.
pub(crate) fn derived_mac(key: &Key, name: &str) -> MacAddr {
    let hash = Blake2s256::new().chain_update(LABEL).chain_update(key).chain_update(name);
    let [first, b, c, d, e, f, ..] = <[u8; 32]>::from(hash.finalize());
    MacAddr(first & 0xfc | 0x02, b, c, d, e, f)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_the_one_of_the_specification() {
        let key = std::array::from_fn(|i| i as u8);
        assert_eq!(derived_mac(&key, "server").to_string(), "2a:97:27:69:0a:a1");
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
        }
    }
}
