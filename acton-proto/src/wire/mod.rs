//! The byte layouts of acton/1.
//!
//! Every multi-byte field is big-endian. Byte 0 of a datagram holds the version in its high nibble
//! and the type in its low nibble; what a layout leaves unused is zero, and a datagram in which it
//! is not zero does not parse. Parsing allocates nothing, reads each byte at most once and never
//! panics, whatever the input.
//!
//! | type | byte 0 | size | direction |
//! |---|---|---|---|
//! | HELLO | 0x11 | 168 | client to server |
//! | WELCOME | 0x12 | 108 | server to client |
//! | RETRY | 0x13 | 64 | server to client |
//! | DATA | 0x14 | 33 to 65,507 | both |
//! | CONTROL | 0x15 | 36 to 65,507 | both |
//! | BUNDLE | 0x16 | 64 to 65,507 | both |
//! | RESET | 0x18 | 16 | server to client |
//! | QUERY | 0x19 | 64 | client to server |
//! | REPLY | 0x1a | 64 | server to client |
//!
//! 0x17 is reserved and does not parse.

mod control;
mod data;
mod field;
mod hello;
mod isolation;
mod payload;
mod probe;
mod query;
mod report;

pub use control::{Bye, CONTROL_MIN_LEN, Control, ECHO_LEN, NewNetworkKey, ReportRole, server_tag};
pub use data::{BUNDLE_MIN_LEN, ENTRY_HEAD, Fragment, HEADER_LEN, Header, Kind, MAX_BUNDLED};
pub use data::{MAX_FRAGMENTS, MIN_FRAME, OVERHEAD, TAG_LEN};
pub use hello::{HELLO_LEN, HELLO_MAC1, HELLO_MAC2, WELCOME_MAC1};
pub use hello::{Hello, RESET_LEN, RETRY_LEN, Reset, Retry, WELCOME_LEN, Welcome};
pub use isolation::{
    IsolationAnswer, IsolationOrder, IsolationRefusal, IsolationReply, IsolationStep, MAX_HEARD,
    MacBytes, TestFrames, TestToken,
};
pub use payload::{Caps, HelloPayload, PAYLOAD_LEN, Refusal, Suites, WelcomePayload};
pub use probe::{PROBE_ETHERTYPE, PROBE_GROUP, PROBE_LEN, PROBE_MAGIC, is_probe};
pub use query::{
    FULL_LOAD, QUERY_LEN, QUERY_MAC, Query, REPLY_LEN, Reply, SERVER_STATE_LEN, ServerState,
};
pub use report::{Delivery, REPORT_LEN, Report, Rtt, Version};

/// The version that this crate speaks, the high nibble of byte 0.
pub const VERSION: u8 = 1;

/// Largest datagram in bytes: what a UDP/IPv4 datagram carries (65,535 - 20 - 8).
pub const MAX_DATAGRAM: usize = 65_507;

/// A key of X25519, public or private, or a pre-shared key.
pub type Key = [u8; 32];

/// Byte 0 of each datagram type.
pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 0x11;
    pub(crate) const WELCOME: u8 = 0x12;
    pub(crate) const RETRY: u8 = 0x13;
    pub(crate) const DATA: u8 = 0x14;
    pub(crate) const CONTROL: u8 = 0x15;
    pub(crate) const BUNDLE: u8 = 0x16;
    pub(crate) const RESET: u8 = 0x18;
    pub(crate) const QUERY: u8 = 0x19;
    pub(crate) const REPLY: u8 = 0x1a;
}

/// Why bytes are not a datagram of acton/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The length is not one that the type allows.
    #[error("the datagram's length does not fit its type")]
    Length,
    /// Byte 0 names no version and type that is known.
    #[error("the datagram is of no known version and type")]
    Type,
    /// A field that must be zero is not.
    #[error("a reserved field of the datagram is not zero")]
    Reserved,
    /// An id is zero.
    #[error("an id in the datagram is zero")]
    ZeroId,
    /// A field holds a value that is not allowed.
    #[error("a field of the datagram holds a value that is not allowed")]
    Value,
}

/// A parsed datagram. DATA, BUNDLE and CONTROL are still sealed: only their header is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram {
    /// A client asks for keys.
    Hello(Hello),
    /// The server's answer.
    Welcome(Welcome),
    /// The server wants its cookie in the next HELLO.
    Retry(Retry),
    /// The server does not know the id of a datagram it got.
    Reset(Reset),
    /// A client asks how the server is.
    Query(Query),
    /// The server says so.
    Reply(Reply),
    /// DATA, BUNDLE or CONTROL.
    Sealed(Header),
}

impl Datagram {
    /// Reads a datagram as UDP delivered it.
    ///
    /// ```
    /// use acton_proto::wire::{Datagram, ParseError};
    /// assert_eq!(Datagram::parse(b"HELLO"), Err(ParseError::Type));
    /// ```
    ///
    /// # Errors
    /// [`ParseError`] if the bytes are no datagram of acton/1.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        match bytes.first() {
            Some(&kind::HELLO) => exact(bytes).and_then(Hello::parse).map(Self::Hello),
            Some(&kind::WELCOME) => exact(bytes).and_then(Welcome::parse).map(Self::Welcome),
            Some(&kind::RETRY) => exact(bytes).and_then(Retry::parse).map(Self::Retry),
            Some(&kind::RESET) => exact(bytes).and_then(Reset::parse).map(Self::Reset),
            Some(&kind::QUERY) => exact(bytes).and_then(Query::parse).map(Self::Query),
            Some(&kind::REPLY) => exact(bytes).and_then(Reply::parse).map(Self::Reply),
            Some(&(kind::DATA | kind::CONTROL | kind::BUNDLE)) => {
                Header::parse(bytes).map(Self::Sealed)
            }
            Some(_) => Err(ParseError::Type),
            None => Err(ParseError::Length),
        }
    }
}

/// The bytes as an array, if their number is right.
fn exact<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], ParseError> {
    bytes.try_into().map_err(|_| ParseError::Length)
}

#[cfg(test)]
mod tests;
