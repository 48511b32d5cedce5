//! QUERY and REPLY: how a server is, asked by a client that has no session with it.

use super::field::{Reader, Writer};
use super::{ParseError, kind};

/// Size of QUERY in bytes.
pub const QUERY_LEN: usize = 64;
/// Offset of the MAC in QUERY, which covers the bytes before it.
pub const QUERY_MAC: usize = 48;
/// Size of REPLY in bytes: never more than what it answers.
pub const REPLY_LEN: usize = 64;
/// Size of what a REPLY says, before it is sealed, in bytes.
pub const SERVER_STATE_LEN: usize = 16;

/// The load of a server that takes no more clients.
pub const FULL_LOAD: u16 = 1_000;

const DRAINING: u16 = 1;

/// QUERY: a client asks how a server is.
///
/// ```text
/// 0 type | 1 zero 3 | 4 sender_id | 8 random 24 | 32 zero 16 | 48 mac 16
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// What the REPLY repeats.
    pub sender_id: u32,
    /// What makes each one another.
    pub random: [u8; 24],
    /// Proof that the sender knows the server's public key and the network key.
    pub mac: [u8; 16],
}

impl Query {
    /// Writes the datagram.
    #[must_use]
    pub fn encode(&self) -> [u8; QUERY_LEN] {
        Writer::new()
            .put(&[kind::QUERY, 0, 0, 0])
            .put(&self.sender_id.to_be_bytes())
            .put(&self.random)
            .put(&[0; 16])
            .put(&self.mac)
            .finish()
    }

    pub(super) fn parse(bytes: &[u8; QUERY_LEN]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        r.u8()?;
        r.zero::<3>()?;
        let (sender_id, random) = (r.id()?, r.array()?);
        r.zero::<16>()?;
        Ok(Self { sender_id, random, mac: r.array()? })
    }
}

/// REPLY: the server's answer.
///
/// ```text
/// 0 type | 1 zero 3 | 4 receiver_id | 8 nonce 24 | 32 state 16, tag 16
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The QUERY's `sender_id`.
    pub receiver_id: u32,
    /// The nonce of XChaCha20-Poly1305.
    pub nonce: [u8; 24],
    /// The server's state, sealed: 16 bytes and the tag.
    pub sealed: [u8; 32],
}

impl Reply {
    /// Writes the datagram.
    #[must_use]
    pub fn encode(&self) -> [u8; REPLY_LEN] {
        Writer::new()
            .put(&[kind::REPLY, 0, 0, 0])
            .put(&self.receiver_id.to_be_bytes())
            .put(&self.nonce)
            .put(&self.sealed)
            .finish()
    }

    pub(super) fn parse(bytes: &[u8; REPLY_LEN]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        r.u8()?;
        r.zero::<3>()?;
        Ok(Self { receiver_id: r.id()?, nonce: r.array()?, sealed: r.array()? })
    }
}

/// How a server is.
///
/// ```text
/// 0 flags 2: bit 0 draining | 2 load 2 | 4 zero 4 | 8 instance 8
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerState {
    /// It asks its clients to go elsewhere.
    pub draining: bool,
    /// Sessions in thousandths of those that it takes: [`FULL_LOAD`] where it takes no more.
    pub load: u16,
    /// Drawn when the server's process began.
    pub instance: u64,
}

impl ServerState {
    /// Writes what is sealed.
    #[must_use]
    pub fn encode(&self) -> [u8; SERVER_STATE_LEN] {
        Writer::new()
            .put(&(if self.draining { DRAINING } else { 0 }).to_be_bytes())
            .put(&self.load.to_be_bytes())
            .put(&[0; 4])
            .put(&self.instance.to_be_bytes())
            .finish()
    }

    /// Reads what was sealed. Flags and bytes of later versions are none of this one's.
    ///
    /// # Errors
    /// [`ParseError::Value`] where the load is more than there can be.
    pub fn parse(bytes: &[u8; SERVER_STATE_LEN]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        let (flags, load) = (r.u16()?, r.u16()?);
        let _later: [u8; 4] = r.array()?;
        if load > FULL_LOAD {
            return Err(ParseError::Value);
        }
        Ok(Self { draining: flags & DRAINING != 0, load, instance: r.u64()? })
    }
}
