//! TCP and UDP.

use crate::field::{tcp, udp};

/// A transport protocol whose headers are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in IP.
    #[inline]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => tcp::NUMBER,
            Self::Udp => udp::NUMBER,
        }
    }

    /// Where its checksum is, in bytes from its header's first.
    #[inline]
    pub fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => tcp::CHECKSUM.start,
            Self::Udp => udp::CHECKSUM.start,
        }
    }
}

/// A TCP or UDP header that lies whole in the frame, of a packet that is no fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// The protocol.
    pub protocol: Protocol,
    /// Bytes from the frame's first to the header.
    pub start: usize,
    /// Bytes from the frame's first to the payload, behind TCP's options.
    pub payload: usize,
}
