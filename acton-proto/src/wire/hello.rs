//! The datagrams of the handshake: HELLO, WELCOME, RETRY, RESET.

use super::field::{Reader, Writer};
use super::{ParseError, kind};

/// Size of HELLO in bytes.
pub const HELLO_LEN: usize = 168;
/// Offset of mac1 in HELLO: mac1 covers the bytes before it.
pub const HELLO_MAC1: usize = 136;
/// Offset of mac2 in HELLO: mac2 covers the bytes before it.
pub const HELLO_MAC2: usize = 152;
/// Size of WELCOME in bytes.
pub const WELCOME_LEN: usize = 108;
/// Offset of mac1 in WELCOME.
pub const WELCOME_MAC1: usize = 92;
/// Size of RETRY in bytes.
pub const RETRY_LEN: usize = 64;
/// Size of RESET in bytes.
pub const RESET_LEN: usize = 16;

/// HELLO: the first message of the handshake.
///
/// ```text
/// 0 type | 1 zero 3 | 4 sender_id | 8 e 32 | 40 enc_static 48 | 88 enc_payload 48 | 136 mac1 16 | 152 mac2 16
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The id by which the server shall address the client under the new keys.
    pub sender_id: u32,
    /// The Noise message: e, the sealed static key, the sealed payload.
    pub noise: [u8; 128],
    /// Proof that the sender knows the server's public key and the network key.
    pub mac1: [u8; 16],
    /// Proof that the sender receives at its address, or zero.
    pub mac2: [u8; 16],
}

impl Hello {
    /// Writes the datagram.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_LEN] {
        Writer::new()
            .put(&[kind::HELLO, 0, 0, 0])
            .put(&self.sender_id.to_be_bytes())
            .put(&self.noise)
            .put(&self.mac1)
            .put(&self.mac2)
            .finish()
    }

    pub(super) fn parse(bytes: &[u8; HELLO_LEN]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        r.u8()?;
        r.zero::<3>()?;
        Ok(Self { sender_id: r.id()?, noise: r.array()?, mac1: r.array()?, mac2: r.array()? })
    }
}

/// WELCOME: the second message of the handshake.
///
/// ```text
/// 0 type | 1 zero 3 | 4 receiver_id | 8 sender_id | 12 e 32 | 44 enc_payload 48 | 92 mac1 16
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The HELLO's `sender_id`.
    pub receiver_id: u32,
    /// The id by which the client shall address the server under the new keys.
    pub sender_id: u32,
    /// The Noise message: e, the sealed payload.
    pub noise: [u8; 80],
    /// Proof that the sender knows the client's public key and the network key.
    pub mac1: [u8; 16],
}

impl Welcome {
    /// Writes the datagram.
    #[must_use]
    pub fn encode(&self) -> [u8; WELCOME_LEN] {
        Writer::new()
            .put(&[kind::WELCOME, 0, 0, 0])
            .put(&self.receiver_id.to_be_bytes())
            .put(&self.sender_id.to_be_bytes())
            .put(&self.noise)
            .put(&self.mac1)
            .finish()
    }

    pub(super) fn parse(bytes: &[u8; WELCOME_LEN]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        r.u8()?;
        r.zero::<3>()?;
        Ok(Self { receiver_id: r.id()?, sender_id: r.id()?, noise: r.array()?, mac1: r.array()? })
    }
}

/// RETRY: a cookie for a client whose address the server wants proven.
///
/// ```text
/// 0 type | 1 zero 3 | 4 receiver_id | 8 nonce 24 | 32 enc_cookie 32
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The HELLO's `sender_id`.
    pub receiver_id: u32,
    /// The nonce of XChaCha20-Poly1305.
    pub nonce: [u8; 24],
    /// The cookie, sealed: 16 bytes and the tag.
    pub cookie: [u8; 32],
}

impl Retry {
    /// Writes the datagram.
    #[must_use]
    pub fn encode(&self) -> [u8; RETRY_LEN] {
        Writer::new()
            .put(&[kind::RETRY, 0, 0, 0])
            .put(&self.receiver_id.to_be_bytes())
            .put(&self.nonce)
            .put(&self.cookie)
            .finish()
    }

    pub(super) fn parse(bytes: &[u8; RETRY_LEN]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        r.u8()?;
        r.zero::<3>()?;
        Ok(Self { receiver_id: r.id()?, nonce: r.array()?, cookie: r.array()? })
    }
}

/// RESET: a restarted server got a datagram of an id it does not know. Not authenticated: it may
/// only hurry a handshake.
///
/// ```text
/// 0 type | 1 zero 3 | 4 receiver_id | 8 counter
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// The `receiver_id` of the datagram that was not understood.
    pub receiver_id: u32,
    /// Its counter.
    pub counter: u64,
}

impl Reset {
    /// Writes the datagram.
    #[must_use]
    pub fn encode(&self) -> [u8; RESET_LEN] {
        Writer::new()
            .put(&[kind::RESET, 0, 0, 0])
            .put(&self.receiver_id.to_be_bytes())
            .put(&self.counter.to_be_bytes())
            .finish()
    }

    pub(super) fn parse(bytes: &[u8; RESET_LEN]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        r.u8()?;
        r.zero::<3>()?;
        Ok(Self { receiver_id: r.id()?, counter: r.u64()? })
    }
}
