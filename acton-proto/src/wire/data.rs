//! The header of DATA, BUNDLE and CONTROL.

use super::field::{Reader, Writer};
use super::{CONTROL_MIN_LEN, MAX_DATAGRAM, ParseError, kind};

/// Size of the header in bytes. It is the AEAD's additional data.
pub const HEADER_LEN: usize = 16;
/// Size of the AEAD's tag in bytes, for both suites.
pub const TAG_LEN: usize = 16;
/// What a datagram adds to the frame inside it, in bytes.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// The most pieces of a frame: the index has four bits.
pub const MAX_FRAGMENTS: usize = 16;

/// The least Ethernet frame that is carried: two addresses and a type.
pub const MIN_FRAME: usize = 14;
/// Bytes in front of a frame in a bundle: its length.
pub const ENTRY_HEAD: usize = 2;
/// The least plaintext of a bundle: two of the least frames. One frame alone goes as DATA.
pub const BUNDLE_MIN_LEN: usize = 2 * (ENTRY_HEAD + MIN_FRAME);
/// The most frames of a bundle: what one datagram can have its receiver do is bounded.
pub const MAX_BUNDLED: usize = 64;

/// Bit 0 of the flags: the inner checksum is partial.
const FLAG_CSUM: u8 = 1;
/// Bit 0 of the fragment byte: the last piece.
const FRAG_LAST: u8 = 1;

/// Which piece of a frame a DATA datagram carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Place of the piece, 0 to 15. The frame's first piece has the counter `counter - index`.
    pub index: u8,
    /// Whether it is the last piece.
    pub last: bool,
}

impl Fragment {
    /// A whole frame: the first piece is the last.
    pub const WHOLE: Self = Self { index: 0, last: true };
}

/// What a sealed datagram carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An Ethernet frame or a piece of one.
    Data {
        /// Which piece.
        fragment: Fragment,
        /// The inner TCP or UDP checksum holds the pseudo-header's sum only.
        partial_checksum: bool,
    },
    /// Whole Ethernet frames, each behind its length.
    Bundle {
        /// The same of all of them.
        partial_checksum: bool,
    },
    /// A control message.
    Control,
}

/// The header of DATA, BUNDLE and CONTROL, in clear but authenticated.
///
/// ```text
/// 0 type | 1 frag (index << 4 | last) | 2 flags (bit 0 CSUM) | 3 zero | 4 receiver_id | 8 counter
/// ```
///
/// A whole frame has frag 0x01: index 0 is the last. BUNDLE has zero there, CONTROL has zero in bytes
/// 1 to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// Which type, and what it says of its frames.
    pub kind: Kind,
    /// The receiver's id of the keys.
    pub receiver_id: u32,
    /// The datagram's number under these keys, from 0.
    pub counter: u64,
}

impl Header {
    /// Writes the header.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let front = match self.kind {
            Kind::Control => [kind::CONTROL, 0, 0, 0],
            Kind::Data { fragment, partial_checksum } => {
                let frag = fragment.index << 4 | if fragment.last { FRAG_LAST } else { 0 };
                [kind::DATA, frag, if partial_checksum { FLAG_CSUM } else { 0 }, 0]
            }
            Kind::Bundle { partial_checksum } => {
                [kind::BUNDLE, 0, if partial_checksum { FLAG_CSUM } else { 0 }, 0]
            }
        };
        Writer::new()
            .put(&front)
            .put(&self.receiver_id.to_be_bytes())
            .put(&self.counter.to_be_bytes())
            .finish()
    }

    /// Reads the header of a sealed datagram and checks the datagram's length.
    ///
    /// # Errors
    /// [`ParseError`] if the type is not DATA, BUNDLE or CONTROL, a reserved bit is set, the id is zero, a
    /// piece has a counter below its index, or the length cannot be.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(datagram);
        let [byte0, frag, flags, zero] = r.array()?;
        let kind = match byte0 {
            kind::DATA => {
                if frag & 0x0f & !FRAG_LAST != 0 || flags & !FLAG_CSUM != 0 || zero != 0 {
                    return Err(ParseError::Reserved);
                }
                let fragment = Fragment { index: frag >> 4, last: frag & FRAG_LAST != 0 };
                if usize::from(fragment.index) == MAX_FRAGMENTS - 1 && !fragment.last {
                    return Err(ParseError::Value);
                }
                Kind::Data { fragment, partial_checksum: flags & FLAG_CSUM != 0 }
            }
            kind::BUNDLE if frag | flags & !FLAG_CSUM | zero != 0 => {
                return Err(ParseError::Reserved);
            }
            kind::BUNDLE => Kind::Bundle { partial_checksum: flags & FLAG_CSUM != 0 },
            kind::CONTROL if [frag, flags, zero] == [0; 3] => Kind::Control,
            kind::CONTROL => return Err(ParseError::Reserved),
            _ => return Err(ParseError::Type),
        };
        let least = match kind {
            Kind::Data { .. } => OVERHEAD + 1,
            Kind::Bundle { .. } => OVERHEAD + BUNDLE_MIN_LEN,
            Kind::Control => OVERHEAD + CONTROL_MIN_LEN,
        };
        if datagram.len() < least || datagram.len() > MAX_DATAGRAM {
            return Err(ParseError::Length);
        }
        let header = Self { kind, receiver_id: r.id()?, counter: r.u64()? };
        match kind {
            Kind::Data { fragment, .. } if header.counter < u64::from(fragment.index) => {
                Err(ParseError::Value)
            }
            _ => Ok(header),
        }
    }
}
