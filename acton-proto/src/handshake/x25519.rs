//! X25519 (RFC 7748): most of what a handshake costs.
//!
//! By graviola, whose assembler is that of s2n-bignum with its proofs, where the processor has the
//! instructions: an operation takes half of curve25519-dalek's time (24 us to 52 us). By that
//! elsewhere.

use curve25519_dalek::MontgomeryPoint;
use zeroize::Zeroizing;

use super::Secret;
use crate::wire::Key;

/// What two ends share who have each other's public key.
pub(super) type Shared = Zeroizing<[u8; 32]>;

/// The public key of a private key.
pub(super) fn public_key(private: &Secret) -> Key {
    assembler::public_key(private).unwrap_or_else(|| portable::public_key(private))
}

/// The shared secret. `None` if it is zero, which public keys of small order make it.
pub(super) fn shared_secret(private: &Secret, public: &Key) -> Option<Shared> {
    assembler::shared_secret(private, public)
        .unwrap_or_else(|| portable::shared_secret(private, public))
}

/// The outer `Option` is `None` where the processor does not have the instructions.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod assembler {
    use graviola::key_agreement::x25519::{PublicKey, StaticPrivateKey};
    use graviola::util::is_cpu_supported;

    use super::{Key, Secret, Shared};

    fn key(private: &Secret) -> Option<StaticPrivateKey> {
        is_cpu_supported().then(|| StaticPrivateKey::from_array(private.bytes()))
    }

    pub(super) fn public_key(private: &Secret) -> Option<Key> {
        Some(key(private)?.public_key().as_bytes())
    }

    pub(super) fn shared_secret(private: &Secret, public: &Key) -> Option<Option<Shared>> {
        let shared = key(private)?.diffie_hellman(&PublicKey::from_array(public));
        Some(shared.ok().map(|shared| Shared::new(shared.0)))
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod assembler {
    use super::{Key, Secret, Shared};

    pub(super) const fn public_key(_: &Secret) -> Option<Key> {
        None
    }

    pub(super) const fn shared_secret(_: &Secret, _: &Key) -> Option<Option<Shared>> {
        None
    }
}

mod portable {
    use super::{Key, MontgomeryPoint, Secret, Shared};

    pub(super) fn public_key(private: &Secret) -> Key {
        MontgomeryPoint::mul_base_clamped(*private.bytes()).to_bytes()
    }

    pub(super) fn shared_secret(private: &Secret, public: &Key) -> Option<Shared> {
        let shared = Shared::new(MontgomeryPoint(*public).mul_clamped(*private.bytes()).to_bytes());
        // No branch on a byte of the secret before the last.
        (shared.iter().fold(0, |any, byte| any | byte) != 0).then_some(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{Random, SystemRandom};

    fn agree(private: &Secret, public: &Key) -> Option<Shared> {
        let shared = portable::shared_secret(private, public);
        assert_eq!(shared_secret(private, public), shared);
        assert_eq!(public_key(private), portable::public_key(private));
        shared
    }

    /// Section 5.2.
    #[test]
    fn the_vector_of_rfc_7748() {
        let hex = |text: &str| -> Key {
            std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        };
        let scalar = hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
        let point = hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
        let expected = hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        assert_eq!(*agree(&Secret::new(scalar), &point).unwrap(), expected);
    }

    #[test]
    fn both_ways_to_compute_it_agree() {
        let mut random = SystemRandom;
        for _ in 0..200 {
            let mut point = [0; 32];
            random.fill(&mut point); // Half of them with the top bit, which does not count.
            assert!(agree(&Secret::generate(&mut random), &point).is_some());
        }
        // All bits set is a number above the field's; the others are of small order.
        let private = Secret::generate(&mut random);
        assert!(agree(&private, &[0xff; 32]).is_some());
        let mut one = [0; 32];
        assert!(agree(&private, &one).is_none());
        one[0] = 1;
        assert!(agree(&private, &one).is_none());
        let mut below_the_field = [0xff; 32];
        (below_the_field[0], below_the_field[31]) = (0xec, 0x7f);
        assert!(agree(&private, &below_the_field).is_none());
    }
}
