//! Where the headers of a TCP or UDP frame are, and how a TAP speaks of such frames.

use acton_frame::field::{ipv4, ipv6};
use acton_frame::{Headers, IpVersion, Protocol};

use crate::vnet::{Checksum, GsoKind, Offloads};

/// The headers of a TCP or UDP frame: all of them lie in the frame, their own lengths are
/// consistent, and it is no IP fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: IpVersion,
    pub(super) protocol: Protocol,
    /// Bytes from the frame's first to the IP header.
    pub(super) ip: usize,
    /// ... to the TCP or UDP header.
    pub(super) transport: usize,
    /// ... to the payload.
    pub(super) payload: usize,
    /// Whether the frame ends where IP says: no padding follows.
    pub(super) fills: bool,
}

impl Layout {
    /// What `headers` say; `None` if they are those of anything but TCP or UDP.
    #[inline]
    pub(super) fn of(headers: &Headers) -> Option<Self> {
        let (ip, transport) = (headers.ip()?, headers.transport()?);
        Some(Self {
            version: ip.version,
            protocol: transport.protocol,
            ip: ip.start,
            transport: transport.start,
            payload: transport.payload,
            fills: ip.fills,
        })
    }

    /// The same, and `None` if they are those of a frame that is not as long as `frame`: the offsets
    /// lie in it.
    #[inline]
    pub(super) fn in_frame(headers: &Headers, frame: &[u8]) -> Option<Self> {
        Self::of(headers).filter(|_| headers.frame_len() == frame.len())
    }

    /// How super-frames with these headers are marked.
    pub(super) fn kind(&self) -> GsoKind {
        match (self.protocol, self.version) {
            (Protocol::Tcp, IpVersion::V4) => GsoKind::Tcp4,
            (Protocol::Tcp, IpVersion::V6) => GsoKind::Tcp6,
            (Protocol::Udp, _) => GsoKind::Udp,
        }
    }

    /// What a TAP needs before it takes such super-frames.
    pub(super) fn offload(&self) -> Offloads {
        match (self.protocol, self.version) {
            (Protocol::Tcp, IpVersion::V4) => Offloads::TSO4,
            (Protocol::Tcp, IpVersion::V6) => Offloads::TSO6,
            (Protocol::Udp, IpVersion::V4) => Offloads::USO4,
            (Protocol::Udp, IpVersion::V6) => Offloads::USO6,
        }
    }

    /// Whether the IP header has neither options nor extension headers.
    pub(super) fn is_plain(&self) -> bool {
        let length = match self.version {
            IpVersion::V4 => ipv4::LEN,
            IpVersion::V6 => ipv6::LEN,
        };
        self.transport - self.ip == length
    }

    /// The addresses, source first, of a frame that starts with `headers` of this layout.
    pub(super) fn addresses<'h>(&self, headers: &'h [u8]) -> &'h [u8] {
        let range = match self.version {
            IpVersion::V4 => ipv4::ADDRESSES,
            IpVersion::V6 => ipv6::ADDRESSES,
        };
        &headers[self.ip..][range]
    }

    /// Where the checksum is, in bytes from the frame's first.
    pub(super) fn checksum(&self) -> usize {
        self.transport + self.protocol.checksum_offset()
    }

    /// Its checksum as a TAP is told of it.
    pub(super) fn partial(&self) -> Checksum {
        // No header starts as far from the frame's first byte as 65,536.
        let start = self.transport as u16;
        Checksum::Partial { start, offset: self.protocol.checksum_offset() as u16 }
    }
}

/// The big-endian word at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}
