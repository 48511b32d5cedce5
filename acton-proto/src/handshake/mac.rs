//! mac1, mac2 and cookies: proofs that cost a hash.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::{AeadInPlace, XChaCha20Poly1305};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Random, Secret, random_array};
use crate::wire::{HELLO_LEN, HELLO_MAC1, HELLO_MAC2, Key, Retry, WELCOME_LEN, WELCOME_MAC1};

/// How long a secret for cookies is the newest. A cookie is good for one to two of these.
pub(crate) const COOKIE_LIFETIME: Duration = Duration::from_secs(120);

/// A cookie: what a HELLO's mac2 is keyed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cookie([u8; 16]);

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookie(..)")
    }
}

/// `BLAKE2s-256(label || public key || network key or 32 zero bytes)`.
pub(super) fn label_key(label: &[u8; 11], public: &Key, network_key: Option<&Secret>) -> [u8; 32] {
    let digest = Blake2s256::new().chain_update(label).chain_update(public);
    digest.chain_update(network_key.map_or(&[0; 32], Secret::bytes)).finalize().into()
}

/// BLAKE2s with a 16-byte output and a key.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(key)
        .expect("BLAKE2s takes keys of up to 32 bytes");
    for part in parts {
        mac.update(part);
    }
    mac.finalize_fixed().into()
}

/// The key of mac1 towards one recipient.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MacKey([u8; 32]);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(..)")
    }
}

impl MacKey {
    /// The key for datagrams to the holder of `recipient`.
    #[must_use]
    pub fn new(recipient: &Key, network_key: Option<&Secret>) -> Self {
        Self(label_key(b"acton1 mac1", recipient, network_key))
    }

    /// Writes mac1 and zeroes mac2.
    pub fn sign_hello(&self, hello: &mut [u8; HELLO_LEN]) {
        let tag = mac(&self.0, &[&hello[..HELLO_MAC1]]);
        hello[HELLO_MAC1..HELLO_MAC2].copy_from_slice(&tag);
        hello[HELLO_MAC2..].fill(0);
    }

    /// Whether mac1 is right, in constant time.
    #[must_use]
    pub fn verify_hello(&self, hello: &[u8; HELLO_LEN]) -> bool {
        let tag = mac(&self.0, &[&hello[..HELLO_MAC1]]);
        tag.ct_eq(&hello[HELLO_MAC1..HELLO_MAC2]).into()
    }

    /// Writes mac1.
    pub fn sign_welcome(&self, welcome: &mut [u8; WELCOME_LEN]) {
        let tag = mac(&self.0, &[&welcome[..WELCOME_MAC1]]);
        welcome[WELCOME_MAC1..].copy_from_slice(&tag);
    }

    /// Whether mac1 is right, in constant time.
    #[must_use]
    pub fn verify_welcome(&self, welcome: &[u8; WELCOME_LEN]) -> bool {
        let tag = mac(&self.0, &[&welcome[..WELCOME_MAC1]]);
        tag.ct_eq(&welcome[WELCOME_MAC1..]).into()
    }
}

impl Cookie {
    /// Writes mac2. mac1 must be there.
    pub fn sign_hello(&self, hello: &mut [u8; HELLO_LEN]) {
        let tag = mac(&self.0, &[&hello[..HELLO_MAC2]]);
        hello[HELLO_MAC2..].copy_from_slice(&tag);
    }

    fn verify_hello(&self, hello: &[u8; HELLO_LEN]) -> bool {
        mac(&self.0, &[&hello[..HELLO_MAC2]]).ct_eq(&hello[HELLO_MAC2..]).into()
    }
}

/// The key under which cookies travel in RETRY.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CookieKey([u8; 32]);

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieKey(..)")
    }
}

impl CookieKey {
    /// The key for RETRY of the server with this public key.
    #[must_use]
    pub fn new(server: &Key, network_key: Option<&Secret>) -> Self {
        Self(label_key(b"acton1 cook", server, network_key))
    }

    /// Seals a cookie for the sender of the HELLO with this `sender_id` and mac1.
    pub fn seal(
        &self,
        cookie: &Cookie,
        hello_id: u32,
        hello_mac1: &[u8; 16],
        random: &mut dyn Random,
    ) -> Retry {
        let nonce: [u8; 24] = random_array(random);
        let mut sealed = [0; 32];
        let (text, tag) = sealed.split_at_mut(16);
        text.copy_from_slice(&cookie.0);
        tag.copy_from_slice(
            &XChaCha20Poly1305::new(&self.0.into())
                .encrypt_in_place_detached(&nonce.into(), hello_mac1, text)
                .expect("sixteen bytes are below the limit of the cipher"),
        );
        Retry { receiver_id: hello_id, nonce, cookie: sealed }
    }

    /// Opens the cookie in a RETRY that answers the HELLO with this mac1.
    #[must_use]
    pub fn open(&self, retry: &Retry, hello_mac1: &[u8; 16]) -> Option<Cookie> {
        let mut text: [u8; 16] = *retry.cookie.first_chunk()?;
        let tag: [u8; 16] = *retry.cookie.last_chunk()?;
        XChaCha20Poly1305::new(&self.0.into())
            .decrypt_in_place_detached(&retry.nonce.into(), hello_mac1, &mut text, &tag.into())
            .ok()?;
        Some(Cookie(text))
    }
}

/// The server's secrets for cookies: the newest and the one before it.
pub struct CookieJar {
    secrets: [[u8; 32]; 2],
    since: Duration,
}

impl std::fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CookieJar").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Drop for CookieJar {
    fn drop(&mut self) {
        self.secrets.zeroize();
    }
}

impl CookieJar {
    /// A jar with fresh secrets.
    pub fn new(random: &mut dyn Random, now: Duration) -> Self {
        Self { secrets: [random_array(random), random_array(random)], since: now }
    }

    /// Replaces secrets that are too old.
    fn turn(&mut self, random: &mut dyn Random, now: Duration) {
        let age = now.saturating_sub(self.since);
        if age < COOKIE_LIFETIME {
            return;
        }
        let once = age < 2 * COOKIE_LIFETIME;
        self.secrets[1] = if once { self.secrets[0] } else { random_array(random) };
        self.secrets[0] = random_array(random);
        // From when the newest was due, so that no secret outlives two lifetimes.
        self.since = if once { self.since + COOKIE_LIFETIME } else { now };
    }

    /// The cookie for a client at `source`.
    pub fn bake(&mut self, source: SocketAddr, random: &mut dyn Random, now: Duration) -> Cookie {
        self.turn(random, now);
        bake(&self.secrets[0], source)
    }

    /// Whether mac2 of a HELLO from `source` was made with a cookie of this jar.
    pub fn verify(
        &mut self,
        hello: &[u8; HELLO_LEN],
        source: SocketAddr,
        random: &mut dyn Random,
        now: Duration,
    ) -> bool {
        self.turn(random, now);
        self.secrets.iter().any(|secret| bake(secret, source).verify_hello(hello))
    }
}

/// `BLAKE2s-128(secret, IP address || port)`; an IPv4-mapped address counts as IPv4.
fn bake(secret: &[u8; 32], source: SocketAddr) -> Cookie {
    let port = source.port().to_be_bytes();
    Cookie(match source.ip().to_canonical() {
        IpAddr::V4(ip) => mac(secret, &[&ip.octets(), &port]),
        IpAddr::V6(ip) => mac(secret, &[&ip.octets(), &port]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::SystemRandom;
    use crate::wire::Datagram;

    const MINUTE: Duration = Duration::from_secs(60);

    fn hello() -> [u8; HELLO_LEN] {
        std::array::from_fn(|i| i as u8)
    }

    #[test]
    fn mac1_covers_every_bit_before_it_and_needs_the_right_keys() {
        let network = Secret::new([3; 32]);
        let key = MacKey::new(&[1; 32], Some(&network));
        let mut good = hello();
        key.sign_hello(&mut good);
        assert!(key.verify_hello(&good));
        for bit in 0..HELLO_MAC2 * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verify_hello(&bad), "bit {bit}");
        }
        assert!(!MacKey::new(&[2; 32], Some(&network)).verify_hello(&good));
        assert!(!MacKey::new(&[1; 32], None).verify_hello(&good));
    }

    #[test]
    fn a_cookie_travels_in_retry_and_proves_one_address() {
        let mut random = SystemRandom;
        let mut jar = CookieJar::new(&mut random, MINUTE);
        let here: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let key = CookieKey::new(&[1; 32], None);
        let cookie = jar.bake(here, &mut random, MINUTE);
        let retry = key.seal(&cookie, 5, &[9; 16], &mut random);
        let Ok(Datagram::Retry(retry)) = Datagram::parse(&retry.encode()) else {
            panic!("a RETRY parses");
        };
        assert_eq!(key.open(&retry, &[9; 16]), Some(cookie));
        assert_eq!(key.open(&retry, &[8; 16]), None, "bound to the HELLO");
        for bit in 0..256 {
            let mut bad = retry;
            bad.cookie[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&bad, &[9; 16]), None, "bit {bit}");
        }

        let mut signed = hello();
        assert!(!jar.verify(&signed, here, &mut random, MINUTE));
        cookie.sign_hello(&mut signed);
        assert!(jar.verify(&signed, here, &mut random, MINUTE));
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        assert!(jar.verify(&signed, mapped, &mut random, MINUTE));
        for other in ["192.0.2.1:8", "192.0.2.2:7", "[2001:db8::1]:7"] {
            assert!(!jar.verify(&signed, other.parse().unwrap(), &mut random, MINUTE));
        }
        // Good under the secret before the newest, not under an older one.
        assert!(jar.verify(&signed, here, &mut random, 3 * MINUTE));
        assert!(!jar.verify(&signed, here, &mut random, 6 * MINUTE));
    }

    #[test]
    fn a_late_turn_keeps_no_cookie_for_longer() {
        let mut random = SystemRandom;
        let mut jar = CookieJar::new(&mut random, Duration::ZERO);
        let here = "192.0.2.1:7".parse().unwrap();
        let mut signed = hello();
        jar.bake(here, &mut random, Duration::ZERO).sign_hello(&mut signed);
        let second = Duration::from_secs(1);
        assert!(jar.verify(&signed, here, &mut random, 2 * COOKIE_LIFETIME - second));
        assert!(!jar.verify(&signed, here, &mut random, 3 * COOKIE_LIFETIME - 2 * second));
    }

    /// Computed by other code from the same definitions (Python's hashlib).
    #[test]
    fn vectors() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let mut signed = hello();
        MacKey::new(&[1; 32], Some(&Secret::new([3; 32]))).sign_hello(&mut signed);
        Cookie([9; 16]).sign_hello(&mut signed);
        assert_eq!(hex(&signed[HELLO_MAC1..HELLO_MAC2]), "869002c043c3f1e1b7bac8aed80063fd");
        assert_eq!(hex(&signed[HELLO_MAC2..]), "b5eaba665f2fcbb32104599127a99fc2");
        let cookie = bake(&[5; 32], "192.0.2.1:7".parse().unwrap());
        assert_eq!(hex(&cookie.0), "004863a97bc14e1a42c3baf814aea75d");
        let key = CookieKey::new(&[1; 32], None);
        let expected = "7ecef537927a8afb1e63a5bc6be88b3f5008a3cb10b6d2157d464a06ae37c270";
        assert_eq!(hex(&key.0), expected);
    }

    #[test]
    fn a_jar_left_alone_forgets_both_secrets() {
        let mut random = SystemRandom;
        let mut jar = CookieJar::new(&mut random, Duration::ZERO);
        let here: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let mut signed = hello();
        jar.bake(here, &mut random, Duration::ZERO).sign_hello(&mut signed);
        assert!(!jar.verify(&signed, here, &mut random, 10 * MINUTE));
    }
}
