//! The two cipher suites, as keys for one direction.

use std::hint::black_box;

use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Mac};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::wire::{HEADER_LEN, Suites, TAG_LEN};

/// A cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305,
    /// AES-256-GCM (NIST SP 800-38D).
    Aes256Gcm,
}

impl Suite {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::ChaCha20Poly1305 => 1,
            Self::Aes256Gcm => 2,
        }
    }

    /// The suite with this number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::ChaCha20Poly1305),
            2 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// The bit in a set of suites.
    #[must_use]
    pub const fn bit(self) -> Suites {
        match self {
            Self::ChaCha20Poly1305 => Suites::CHACHA20_POLY1305,
            Self::Aes256Gcm => Suites::AES_256_GCM,
        }
    }

    /// What a server chooses of the suites that both ends name: AES-256-GCM first, for an end names
    /// it only where it is the faster.
    #[must_use]
    pub const fn choose(common: Suites) -> Option<Self> {
        if common.contains(Suites::AES_256_GCM) {
            Some(Self::Aes256Gcm)
        } else if common.contains(Suites::CHACHA20_POLY1305) {
            Some(Self::ChaCha20Poly1305)
        } else {
            None
        }
    }
}

/// Which side of the handshake an end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sent HELLO.
    Client,
    /// It sent WELCOME.
    Server,
}

/// The AEAD key and iv of one direction, wiped when dropped.
pub(super) struct Direction {
    key: LessSafeKey,
    /// The first 8 bytes of the iv, and the 4 others.
    iv: (u64, u32),
}

impl Drop for Direction {
    fn drop(&mut self) {
        if let Ok(nothing) = UnboundKey::new(self.key.algorithm(), &[0; 32]) {
            self.key = LessSafeKey::new(nothing);
        }
        self.iv = (0, 0);
        black_box(self);
    }
}

/// `BLAKE2s-256 keyed with the split key over (label || suite)`.
fn derive(split: &[u8; 32], label: &[u8], suite: Suite) -> Zeroizing<[u8; 32]> {
    let mut mac = <Blake2sMac256 as KeyInit>::new_from_slice(split)
        .expect("BLAKE2s takes keys of up to 32 bytes");
    mac.update(label);
    mac.update(&[suite.code()]);
    Zeroizing::new(mac.finalize_fixed().into())
}

impl Direction {
    pub(super) fn new(split: &[u8; 32], suite: Suite) -> Self {
        let algorithm = match suite {
            Suite::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Suite::Aes256Gcm => &aead::AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, &*derive(split, b"acton1 key", suite))
            .expect("both suites take keys of 32 bytes");
        let iv = derive(split, b"acton1 iv", suite);
        let (first, rest) = iv.split_first_chunk().expect("it has 32 bytes");
        let second = rest.first_chunk().expect("it has 32 bytes");
        let iv = (u64::from_be_bytes(*first), u32::from_be_bytes(*second));
        Self { key: LessSafeKey::new(key), iv }
    }

    /// `iv XOR (4 zero bytes || counter)`, written in the two words in which the cipher reads it:
    /// a load that spans two stores waits for both to reach the cache.
    fn nonce(&self, counter: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&(self.iv.0 ^ (counter >> 32)).to_be_bytes());
        nonce[8..].copy_from_slice(&(self.iv.1 ^ counter as u32).to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals `header || plaintext || room for the tag`. False if the cipher refuses the length.
    pub(super) fn seal(&self, counter: u64, datagram: &mut [u8]) -> bool {
        let Some((header, rest)) = datagram.split_first_chunk_mut::<HEADER_LEN>() else {
            return false;
        };
        let Some((text, room)) = rest.split_last_chunk_mut::<TAG_LEN>() else { return false };
        let sealed =
            self.key.seal_in_place_separate_tag(self.nonce(counter), Aad::from(*header), text);
        sealed.is_ok_and(|tag| {
            room.copy_from_slice(tag.as_ref());
            true
        })
    }

    /// Opens `header || ciphertext || tag` in place. False if it is not authentic.
    pub(super) fn open(&self, counter: u64, datagram: &mut [u8]) -> bool {
        let Some((header, rest)) = datagram.split_first_chunk_mut::<HEADER_LEN>() else {
            return false;
        };
        self.key.open_in_place(self.nonce(counter), Aad::from(*header), rest).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn codes_and_choice() {
        for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
            assert_eq!(Suite::from_code(suite.code()), Some(suite));
            assert_eq!(Suite::choose(suite.bit()), Some(suite));
            assert_eq!(suite.bit().0, 1 << (suite.code() - 1));
        }
        assert_eq!(Suite::choose(Suites(3)), Some(Suite::Aes256Gcm));
        assert_eq!(Suite::choose(Suites(4)), None);
    }

    /// Key, iv and a sealed datagram, computed by other code (Python's hashlib and cryptography).
    #[test]
    fn vectors() {
        for (suite, expected) in [
            (Suite::ChaCha20Poly1305, include_str!("vector_chacha.txt")),
            (Suite::Aes256Gcm, include_str!("vector_aes.txt")),
        ] {
            let split = [0x66; 32];
            let direction = Direction::new(&split, suite);
            let mut datagram = [0; HEADER_LEN + 20 + TAG_LEN];
            datagram[..HEADER_LEN]
                .copy_from_slice(&[0x14, 1, 0, 0, 9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 1, 2]);
            datagram[HEADER_LEN..HEADER_LEN + 20].copy_from_slice(&[0x77; 20]);
            assert!(direction.seal(0x0102, &mut datagram));
            let iv = format!("{:016x}{:08x}", direction.iv.0, direction.iv.1);
            let lines = [hex(&*derive(&split, b"acton1 key", suite)), iv, hex(&datagram)];
            assert_eq!(lines.join("\n"), expected.trim_end());
            assert!(direction.open(0x0102, &mut datagram));
            assert_eq!(datagram[HEADER_LEN..HEADER_LEN + 20], [0x77; 20]);
        }
    }
}
