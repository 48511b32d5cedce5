//! Where the headers of a frame are.

use crate::vnet::{Checksum, GsoKind, Offloads};

/// Bytes of the destination, the source and the EtherType (IEEE 802.3).
const ETHERNET: usize = 14;
/// EtherTypes of C-VLAN and S-VLAN tags (IEEE 802.1Q), of which a frame may have two.
const VLAN_TAGS: [u16; 2] = [0x8100, 0x88a8];
const MAX_TAGS: usize = 2;

/// The IP version of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ip {
    V4,
    V6,
}

/// The transport protocol of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// As IP numbers it.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp].into_iter().find(|transport| transport.number() == number)
    }

    /// Where its checksum is, in bytes from its header's first.
    pub(super) fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// Fixed bytes of the headers, and where their fields are.
pub(super) mod ipv4 {
    use std::ops::Range;
    pub(in super::super) const LEN: usize = 20;
    pub(in super::super) const TOTAL_LENGTH: Range<usize> = 2..4;
    pub(in super::super) const ID: Range<usize> = 4..6;
    pub(in super::super) const FRAGMENT: Range<usize> = 6..8;
    pub(in super::super) const DONT_FRAGMENT: u16 = 0x4000;
    pub(in super::super) const CHECKSUM: Range<usize> = 10..12;
    pub(in super::super) const ADDRESSES: Range<usize> = 12..20;
}

pub(super) mod ipv6 {
    use std::ops::Range;
    pub(in super::super) const LEN: usize = 40;
    pub(in super::super) const PAYLOAD_LENGTH: Range<usize> = 4..6;
    pub(in super::super) const ADDRESSES: Range<usize> = 8..40;
}

pub(super) mod tcp {
    use std::ops::Range;
    pub(in super::super) const LEN: usize = 20;
    pub(in super::super) const SEQUENCE: Range<usize> = 4..8;
    pub(in super::super) const FLAGS: usize = 13;
    pub(in super::super) const FIN: u8 = 0x01;
    pub(in super::super) const SYN: u8 = 0x02;
    pub(in super::super) const RST: u8 = 0x04;
    pub(in super::super) const PSH: u8 = 0x08;
    pub(in super::super) const URG: u8 = 0x20;
    pub(in super::super) const CWR: u8 = 0x80;
}

pub(super) mod udp {
    use std::ops::Range;
    pub(in super::super) const LEN: usize = 8;
    pub(in super::super) const LENGTH: Range<usize> = 4..6;
}

/// The headers of a TCP or UDP frame: all of them lie in the frame, their own lengths are
/// consistent, and it is no IP fragment. Whether IP's length is the frame's is another question:
/// [`fills`](Self::fills).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: Ip,
    pub(super) protocol: Transport,
    /// Bytes from the frame's first to the IP header.
    pub(super) ip: usize,
    /// ... to the TCP or UDP header.
    pub(super) transport: usize,
    /// ... to the payload.
    pub(super) payload: usize,
}

impl Layout {
    /// Finds the headers of `frame`, past VLAN tags and IPv6 extension headers; `None` if it is
    /// anything but TCP or UDP.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let mut ip = ETHERNET;
        let mut ethertype = word(frame, ip - 2)?;
        for _ in 0..MAX_TAGS {
            if !VLAN_TAGS.contains(&ethertype) {
                break;
            }
            ip += 4;
            ethertype = word(frame, ip - 2)?;
        }
        let (version, protocol, transport) = match (ethertype, frame.get(ip)? >> 4) {
            (0x0800, 4) => {
                let header = frame.get(ip..)?.first_chunk::<{ ipv4::LEN }>()?;
                let length = usize::from(header[0] & 0xf) * 4;
                let fragment = word(header, ipv4::FRAGMENT.start)? & !ipv4::DONT_FRAGMENT;
                if length < ipv4::LEN || fragment != 0 {
                    return None;
                }
                (Ip::V4, Transport::of(header[9])?, ip + length)
            }
            (0x86dd, 6) => {
                let (protocol, transport) = past_extensions(frame, ip)?;
                (Ip::V6, protocol, transport)
            }
            _ => return None,
        };
        let header = frame.get(transport..)?;
        let length = match protocol {
            Transport::Tcp => usize::from(header.get(tcp::FLAGS - 1)? >> 4) * 4,
            Transport::Udp => udp::LEN,
        };
        if header.len() < length || protocol == Transport::Tcp && length < tcp::LEN {
            return None;
        }
        Some(Self { version, protocol, ip, transport, payload: transport + length })
    }

    /// Whether `kind` is how super-frames with these headers are marked.
    pub(super) fn is(&self, kind: GsoKind) -> bool {
        self.kind() == kind
    }

    /// How super-frames with these headers are marked.
    pub(super) fn kind(&self) -> GsoKind {
        match (self.protocol, self.version) {
            (Transport::Tcp, Ip::V4) => GsoKind::Tcp4,
            (Transport::Tcp, Ip::V6) => GsoKind::Tcp6,
            (Transport::Udp, _) => GsoKind::Udp,
        }
    }

    /// What a TAP needs before it takes such super-frames.
    pub(super) fn offload(&self) -> Offloads {
        match (self.protocol, self.version) {
            (Transport::Tcp, Ip::V4) => Offloads::TSO4,
            (Transport::Tcp, Ip::V6) => Offloads::TSO6,
            (Transport::Udp, Ip::V4) => Offloads::USO4,
            (Transport::Udp, Ip::V6) => Offloads::USO6,
        }
    }

    /// Whether the IP header has neither options nor extension headers.
    pub(super) fn is_plain(&self) -> bool {
        let length = match self.version {
            Ip::V4 => ipv4::LEN,
            Ip::V6 => ipv6::LEN,
        };
        self.transport - self.ip == length
    }

    /// Whether `frame`, which has this layout, ends where IP says: no padding follows.
    pub(super) fn fills(&self, frame: &[u8]) -> bool {
        let (at, before) = match self.version {
            Ip::V4 => (ipv4::TOTAL_LENGTH, 0),
            Ip::V6 => (ipv6::PAYLOAD_LENGTH, ipv6::LEN),
        };
        word(frame, self.ip + at.start)
            .is_some_and(|length| self.ip + before + usize::from(length) == frame.len())
    }

    /// The addresses, source first, of a frame that starts with `headers` of this layout.
    pub(super) fn addresses<'h>(&self, headers: &'h [u8]) -> &'h [u8] {
        let range = match self.version {
            Ip::V4 => ipv4::ADDRESSES,
            Ip::V6 => ipv6::ADDRESSES,
        };
        &headers[self.ip..][range]
    }

    /// Where the checksum is, in bytes from the frame's first.
    pub(super) fn checksum(&self) -> usize {
        self.transport + self.protocol.checksum_offset()
    }

    /// Its checksum as a TAP is told of it.
    pub(super) fn partial(&self) -> Option<Checksum> {
        let start = u16::try_from(self.transport).ok()?;
        Some(Checksum::Partial { start, offset: self.protocol.checksum_offset() as u16 })
    }
}

/// The big-endian word at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

/// Where TCP or UDP starts behind the IPv6 header at `ip` and the extension headers that may stand
/// before a whole packet's payload: hop-by-hop, routing, destination options (RFC 8200, section 4).
fn past_extensions(frame: &[u8], ip: usize) -> Option<(Transport, usize)> {
    let mut next = *frame.get(ip + 6)?;
    let mut at = ip + ipv6::LEN;
    while let 0 | 43 | 60 = next {
        let &[after, length] = frame.get(at..)?.first_chunk()?;
        next = after;
        at += (usize::from(length) + 1) * 8;
    }
    Some((Transport::of(next)?, at))
}
