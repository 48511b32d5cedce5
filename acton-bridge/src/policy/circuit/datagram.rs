//! A UDP datagram in a frame, whose payload is to be made longer or shorter.

use acton_frame::field::{ipv4, ipv6, udp};
use acton_frame::{Fragment, Headers, Ip, IpVersion};

/// A UDP datagram that is whole and no longer or shorter than both its headers say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram {
    version: IpVersion,
    /// Where IP's header starts.
    ip: usize,
    /// Where UDP's starts.
    start: usize,
    /// Where the packet ends.
    pub(super) end: usize,
}

/// What is to be true of a checksum afterwards, as it was before: that it is right, or by how much it is
/// wrong, so that nothing here mends what was spoiled on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sums {
    /// What IPv4's header adds up to; all ones where it is right.
    header: u16,
    /// The same of the datagram; `None` where it has no checksum, which IPv4 allows.
    datagram: Option<u16>,
}

impl Datagram {
    /// `None` where there is none, or none that can be changed.
    pub(super) fn find(headers: &Headers, frame: &[u8]) -> Option<Self> {
        let Ip { version, start: ip, protocol, fragment, payload, .. } = headers.ip()?;
        if protocol != udp::NUMBER || fragment != Fragment::Whole {
            return None;
        }
        let header = frame.get(ip..)?;
        let (length, before) = match version {
            IpVersion::V4 => (ipv4::TOTAL_LENGTH, 0),
            IpVersion::V6 => (ipv6::PAYLOAD_LENGTH, ipv6::LEN),
        };
        let (start, end) = (payload?, ip + before + usize::from(word(header, length.start)?));
        let len = usize::from(word(frame.get(start..)?, udp::LENGTH.start)?);
        let is_right = len >= udp::LEN && start + len == end && end <= frame.len();
        is_right.then_some(Self { version, ip, start, end })
    }

    /// Where UDP's payload starts.
    pub(super) fn payload(&self) -> usize {
        self.start + udp::LEN
    }

    /// Bytes of the IP packet.
    pub(super) fn packet_len(&self) -> usize {
        self.end - self.ip
    }

    pub(super) fn is_v6(&self) -> bool {
        self.version == IpVersion::V6
    }

    /// The addresses, the source first: 8 bytes of IPv4, 32 of IPv6.
    pub(super) fn addresses<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        let range = self.addresses_range();
        &frame[range]
    }

    fn addresses_range(&self) -> std::ops::Range<usize> {
        let range = match self.version {
            IpVersion::V4 => ipv4::ADDRESSES,
            IpVersion::V6 => ipv6::ADDRESSES,
        };
        self.ip + range.start..self.ip + range.end
    }

    /// Puts another destination into an IPv6 packet.
    pub(super) fn set_destination(&self, frame: &mut [u8], address: [u8; 16]) {
        let end = self.addresses_range().end;
        frame[end - address.len()..end].copy_from_slice(&address);
    }

    /// Puts other ports into it, the source first.
    pub(super) fn set_ports(&self, frame: &mut [u8], ports: [u16; 2]) {
        for (at, port) in [0, 2].into_iter().zip(ports) {
            frame[self.start + at..][..2].copy_from_slice(&port.to_be_bytes());
        }
    }

    /// What its checksums are like. One that is partial, the sum of a pseudo-header for others to go on
    /// from, is right.
    pub(super) fn sums(&self, frame: &[u8], is_partial: bool) -> Sums {
        let header = match self.version {
            IpVersion::V4 => sum(0, &frame[self.ip..self.start]),
            IpVersion::V6 => u16::MAX,
        };
        let has_none = frame[self.start..][udp::CHECKSUM] == [0, 0];
        let datagram = match is_partial {
            true => Some(u16::MAX),
            false => (!has_none).then(|| self.sum(frame)),
        };
        Sums { header, datagram }
    }

    /// Writes lengths and checksums for the packet that ends at `end` now.
    pub(super) fn finish(mut self, frame: &mut [u8], end: usize, sums: Sums) {
        self.end = end;
        let length = |bytes: usize| (bytes as u16).to_be_bytes();
        frame[self.start..][udp::LENGTH].copy_from_slice(&length(end - self.start));
        match self.version {
            IpVersion::V4 => {
                let header = &mut frame[self.ip..self.start];
                header[ipv4::TOTAL_LENGTH].copy_from_slice(&length(end - self.ip));
                header[ipv4::CHECKSUM].fill(0);
                let checksum = field(sums.header, sum(0, header));
                header[ipv4::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
            }
            IpVersion::V6 => {
                frame[self.ip..][ipv6::PAYLOAD_LENGTH]
                    .copy_from_slice(&length(end - self.ip - ipv6::LEN));
            }
        }
        frame[self.start..][udp::CHECKSUM].fill(0);
        if let Some(wanted) = sums.datagram {
            let checksum = match field(wanted, self.sum(frame)) {
                // Zero means none (RFC 768).
                0 => u16::MAX,
                checksum => checksum,
            };
            frame[self.start..][udp::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    /// The sum of the datagram and its pseudo-header.
    fn sum(&self, frame: &[u8]) -> u16 {
        let len = (self.end - self.start) as u16;
        let pseudo = sum(0, self.addresses(frame));
        let pseudo = sum(pseudo, &[&[0, udp::NUMBER][..], &len.to_be_bytes()].concat());
        sum(pseudo, &frame[self.start..self.end])
    }
}

/// The checksum by which what adds up to `rest` without it adds up to `wanted`.
fn field(wanted: u16, rest: u16) -> u16 {
    match wanted {
        u16::MAX => !rest,
        _ => sum(wanted, &(!rest).to_be_bytes()),
    }
}

/// The ones' complement sum of 16-bit words (RFC 1071), of which an odd last byte is the upper half.
fn sum(before: u16, bytes: &[u8]) -> u16 {
    // A packet has at most 32,768 words, whose sum fits.
    let mut sum = u32::from(before);
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low));
    }
    sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The big-endian word at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}
