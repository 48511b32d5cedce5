//! Frames for the tests and benches of `acton_tap::offload`, built field by field, with checksums
//! computed by code of its own.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU16;

use acton_tap::{Checksum, Gso, GsoKind, VnetHeader};

pub(crate) mod any;
pub(crate) mod cases;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const CWR: u8 = 0x80;

/// A TCP or UDP packet; the fields that its version or protocol lacks are left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Packet {
    /// EtherType and tag of each VLAN tag.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) flow_label: u16,
    /// Flags and offset of IPv4: 0x4000 is DF.
    pub(crate) fragment: u16,
    /// IPv4 options, or one IPv6 extension header whose first byte says what follows.
    pub(crate) ip_options: Vec<u8>,
    /// What kind of extension header that is.
    pub(crate) extension: u8,
    pub(crate) ports: (u16, u16),
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn new(v6: bool, udp: bool, payload: usize) -> Self {
        Self {
            tags: Vec::new(),
            v6,
            udp,
            tos: 0,
            ttl: 8,
            id: 100,
            flow_label: 0x1234,
            fragment: 0x4000,
            ip_options: Vec::new(),
            extension: 60,
            ports: (1500, 8000),
            sequence: 100,
            acknowledged: 100,
            flags: ACK,
            window: 0xffff,
            tcp_options: Vec::new(),
            payload: content(payload, 100),
        }
    }

    /// The packet that follows in the flow, with as much payload.
    pub(crate) fn next(&self) -> Self {
        self.next_with(self.payload.len())
    }

    pub(crate) fn next_with(&self, payload: usize) -> Self {
        let sequence = self.sequence.wrapping_add(self.payload.len() as u32);
        let id = self.id.wrapping_add(1);
        let payload = content(payload, sequence);
        Self { sequence, id, payload, ..self.clone() }
    }

    /// `count` packets that follow one another, this one first.
    pub(crate) fn run(&self, count: usize) -> Vec<Self> {
        std::iter::successors(Some(self.clone()), |packet| Some(packet.next()))
            .take(count)
            .collect()
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn ip(&self) -> usize {
        14 + self.tags.len() * 4
    }

    pub(crate) fn transport(&self) -> usize {
        self.ip() + if self.v6 { 40 } else { 20 } + self.ip_options.len()
    }

    pub(crate) fn head(&self) -> usize {
        self.transport() + if self.udp { 8 } else { 20 + self.tcp_options.len() }
    }

    pub(crate) fn kind(&self) -> GsoKind {
        match (self.udp, self.v6) {
            (true, _) => GsoKind::Udp,
            (false, false) => GsoKind::Tcp4,
            (false, true) => GsoKind::Tcp6,
        }
    }

    fn checksum_offset(&self) -> usize {
        if self.udp { 6 } else { 16 }
    }

    pub(crate) fn checksum(&self) -> usize {
        self.transport() + self.checksum_offset()
    }

    /// The frame with its checksum.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = self.partial();
        let sum = !sum(&frame[self.transport()..], 0);
        let sum = if sum == 0 && self.udp { 0xffff } else { sum };
        frame[self.checksum()..][..2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// The frame with the sum of the pseudo-header in place of its checksum.
    pub(crate) fn partial(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for (ethertype, tag) in &self.tags {
            frame.extend(ethertype.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        let transport = self.transport_header();
        let length = self.ip_options.len() + transport.len() + self.payload.len();
        let protocol = if self.udp { 17 } else { 6 };
        if self.v6 {
            let extended = !self.ip_options.is_empty();
            let next = if extended { self.extension } else { protocol };
            frame.extend([0x86, 0xdd, 0x60 | self.tos >> 4, self.tos << 4]);
            frame.extend(self.flow_label.to_be_bytes());
            frame.extend((length as u16).to_be_bytes());
            frame.extend([next, self.ttl]);
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            frame.extend(&self.ip_options);
        } else {
            let start = frame.len() + 2;
            frame.extend([0x08, 0x00, 0x45 + (self.ip_options.len() / 4) as u8, self.tos]);
            frame.extend((20 + length as u16).to_be_bytes());
            frame.extend(self.id.to_be_bytes());
            frame.extend(self.fragment.to_be_bytes());
            frame.extend([self.ttl, protocol, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1]);
            frame.extend(&self.ip_options);
            let checksum = !sum(&frame[start..], 0);
            frame[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        let addresses = if self.v6 { 8..40 } else { 12..20 };
        let pseudo = u32::from(protocol) + (transport.len() + self.payload.len()) as u32;
        let pseudo = sum(&frame[self.ip()..][addresses], pseudo);
        frame.extend(transport);
        let at = self.checksum();
        frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        frame.extend(&self.payload);
        frame
    }

    fn transport_header(&self) -> Vec<u8> {
        let mut header = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        if self.udp {
            header.extend((8 + self.payload.len() as u16).to_be_bytes());
            header.extend([0, 0]);
        } else {
            header.extend(self.sequence.to_be_bytes());
            header.extend(self.acknowledged.to_be_bytes());
            header.extend([(5 + self.tcp_options.len() as u8 / 4) << 4, self.flags]);
            header.extend(self.window.to_be_bytes());
            header.extend([0, 0, 0, 0]);
            header.extend(&self.tcp_options);
        }
        header
    }

    pub(crate) fn partial_checksum(&self) -> Checksum {
        let start = self.transport() as u16;
        Checksum::Partial { start, offset: self.checksum_offset() as u16 }
    }

    /// The packet as a super-frame that is to be cut every `size` bytes.
    pub(crate) fn super_frame(&self, size: u16) -> (VnetHeader, Vec<u8>) {
        let size = NonZeroU16::new(size).unwrap();
        let ecn = !self.udp && self.flags & CWR != 0;
        let header = VnetHeader {
            checksum: self.partial_checksum(),
            gso: Some(Gso { kind: self.kind(), size, ecn }),
            header_len: self.head() as u16,
        };
        (header, self.partial())
    }
}

/// Payload that differs from byte to byte and from place to place.
pub(crate) fn content(length: usize, from: u32) -> Vec<u8> {
    (0..length as u32)
        .map(|byte| ((from.wrapping_add(byte)).wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// RFC 1071, plainly.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
        sum = (sum >> 16) + (sum & 0xffff);
    }
    ((sum >> 16) + (sum & 0xffff)) as u16
}
