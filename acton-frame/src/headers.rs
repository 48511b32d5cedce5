//! The one pass over a frame.

use crate::ethernet::Ethernet;
use crate::field::ethernet::{ARP, IPV4, IPV6};
use crate::field::{self, icmpv6, ipv4, ipv6, tcp, udp};
use crate::ip::{Ip, IpBits, IpVersion};
use crate::tags::is_tag;
use crate::transport::{Protocol, Transport};

/// VLAN tags behind which IP is looked for.
const MAX_TAGS: usize = 2;
/// IPv6 extension headers behind which what IP carries is looked for: twice the four that a
/// packet has at most if its sender follows RFC 8200, section 4.1. A bound, for one could fill a
/// frame with them.
const MAX_EXTENSIONS: usize = 8;

/// Where the headers of a frame are. See the [crate's page](crate).
// 32 bytes, for one waits with each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    frame_len: usize,
    ethernet: Ethernet,
    /// 0 if it is cut off.
    ethertype: u16,
    /// Where what IP carries starts; 0 for nowhere.
    carried: u16,
    /// Where TCP's or UDP's payload starts; 0 without their whole header.
    payload: u16,
    /// Where what is behind the Ethernet header and its tags starts; 0 for a runt.
    network: u8,
    /// IP's.
    protocol: u8,
    ip: IpBits,
}

impl Headers {
    /// Finds the headers of `frame`, which may be of any length and hold anything.
    #[inline]
    pub fn parse(frame: &[u8]) -> Self {
        let mut headers = Self {
            frame_len: frame.len(),
            ethernet: Ethernet::default(),
            ethertype: 0,
            carried: 0,
            payload: 0,
            network: 0,
            protocol: 0,
            ip: IpBits::NONE,
        };
        headers.find(frame);
        headers
    }

    /// Fills in what is found. It returns nothing, so that each field is written once, where it is to
    /// be: returned, all of them wait in registers and on the stack, for a quarter more instructions.
    #[inline(never)]
    fn find(&mut self, frame: &[u8]) {
        let Some(ethernet) = Ethernet::parse(frame) else { return };
        self.ethernet = ethernet;
        let start = field::ethernet::LEN;
        let ethertype = word(frame, start - 2).unwrap_or(0);
        if is_tag(ethertype) {
            self.find_behind_tags(frame, start, ethertype);
        } else {
            self.find_behind(frame, start, ethertype);
        }
    }

    fn find_behind_tags(&mut self, frame: &[u8], mut start: usize, mut ethertype: u16) {
        for _ in 0..MAX_TAGS {
            if is_tag(ethertype) {
                start += field::ethernet::TAG_LEN;
                ethertype = word(frame, start - 2).unwrap_or(0);
            }
        }
        self.find_behind(frame, start, ethertype);
    }

    /// Looks at what is behind the Ethernet header and its tags, which starts at `start`.
    #[inline]
    fn find_behind(&mut self, frame: &[u8], start: usize, ethertype: u16) {
        self.network = start as u8;
        self.ethertype = ethertype;
        match ethertype {
            IPV4 => self.find_ipv4(frame, start),
            IPV6 => self.find_ipv6(frame, start),
            _ => {}
        }
    }

    #[inline]
    fn find_ipv4(&mut self, frame: &[u8], start: usize) {
        let Some(header): Option<&[u8; ipv4::LEN]> = chunk(frame, start) else { return };
        let header_len = match header[0] {
            0x45..=0x4f => usize::from(header[0] & 0xf) * 4,
            _ => return,
        };
        self.protocol = header[ipv4::PROTOCOL];
        let total = word(header, ipv4::TOTAL_LENGTH.start).unwrap_or(0);
        self.ip = IpBits::new(IpBits::V4, start + usize::from(total) == frame.len());
        let fragment = word(header, ipv4::FRAGMENT.start).unwrap_or(0);
        if fragment & !ipv4::DONT_FRAGMENT != 0 {
            self.ip.add_fragment(fragment & ipv4::FRAGMENT_OFFSET);
            if self.ip.has(IpBits::LATER) {
                return;
            }
        }
        self.find_carried(frame, start + header_len);
    }

    #[inline]
    fn find_ipv6(&mut self, frame: &[u8], start: usize) {
        let Some(header): Option<&[u8; ipv6::LEN]> = chunk(frame, start) else { return };
        if header[0] >> 4 != 6 {
            return;
        }
        self.protocol = header[ipv6::NEXT_HEADER];
        let length = word(header, ipv6::PAYLOAD_LENGTH.start).unwrap_or(0);
        let behind = start + ipv6::LEN;
        self.ip = IpBits::new(IpBits::V6, behind + usize::from(length) == frame.len());
        if is_extension(self.protocol) {
            self.pass_extensions(frame, behind, length);
        } else {
            self.find_carried(frame, behind);
        }
    }

    /// Passes over IPv6 extension headers, the first at `at`, where so many bytes are the packet's: what
    /// stands behind it is none of it.
    #[cold]
    fn pass_extensions(&mut self, frame: &[u8], mut at: usize, length: u16) {
        let packet = frame.get(..at + usize::from(length)).unwrap_or(frame);
        let mut passed = 0;
        while is_extension(self.protocol) {
            let len = if self.protocol == ipv6::FRAGMENT {
                let header: Option<&[u8; ipv6::FRAGMENT_LEN]> = chunk(packet, at);
                let field = header.and_then(|header| word(header, ipv6::FRAGMENT_FIELD.start));
                let Some(field) = field else { return };
                self.ip.add_fragment(field >> 3);
                ipv6::FRAGMENT_LEN
            } else {
                let Some(&[_, units]) = chunk(packet, at) else { return };
                (usize::from(units) + 1) * 8
            };
            if passed == MAX_EXTENSIONS {
                return;
            }
            passed += 1;
            self.protocol = packet[at];
            at += len;
            if self.ip.has(IpBits::LATER) {
                return;
            }
        }
        if at <= packet.len() {
            self.find_carried(frame, at);
        }
    }

    /// Looks at what IP carries, which starts at `start`.
    #[inline]
    fn find_carried(&mut self, frame: &[u8], start: usize) {
        if start > frame.len() {
            return;
        }
        // Tags, the longest IPv4 header and as many extension headers end below 17,000.
        self.carried = start as u16;
        if self.ip.is_fragment() {
            return;
        }
        let payload = start
            + match self.protocol {
                udp::NUMBER => udp::LEN,
                tcp::NUMBER => match frame.get(start + tcp::DATA_OFFSET) {
                    Some(&words @ 0x50..) => usize::from(words >> 4) * 4,
                    _ => return,
                },
                _ => return,
            };
        if payload <= frame.len() {
            self.payload = payload as u16;
        }
    }

    /// Bytes of the frame.
    #[inline]
    pub fn frame_len(&self) -> usize {
        self.frame_len
    }

    /// What a bridge goes by; `None` if the frame is a runt, as [`Ethernet::parse`] has it.
    #[inline]
    pub fn ethernet(&self) -> Option<&Ethernet> {
        if self.network == 0 { None } else { Some(&self.ethernet) }
    }

    /// The same as seen by somebody to whom the frame is in another VLAN than its tags say: what
    /// [`ethernet`](Self::ethernet) gives is in that VLAN, and all else is where it is in the frame.
    #[inline]
    #[must_use]
    pub fn in_vlan(mut self, vlan: u16) -> Self {
        self.ethernet = self.ethernet.in_vlan(vlan);
        self
    }

    /// VLAN tags passed over, at most two.
    #[inline]
    pub fn tags(&self) -> usize {
        usize::from(self.network).saturating_sub(field::ethernet::LEN) / field::ethernet::TAG_LEN
    }

    /// The EtherType behind those tags; `None` if the frame ends before it.
    #[inline]
    pub fn ethertype(&self) -> Option<u16> {
        Some(self.ethertype).filter(|&ethertype| ethertype != 0)
    }

    /// Whether the frame may say who has which IP address, or ask for it: it is ARP or ICMPv6.
    #[inline]
    pub fn may_resolve(&self) -> bool {
        self.ethertype == ARP || self.protocol == icmpv6::NUMBER
    }

    /// Bytes from the frame's first to what is behind the Ethernet header and its tags.
    #[inline]
    pub fn network(&self) -> Option<usize> {
        Some(self.network.into()).filter(|&start| start != 0)
    }

    /// The IP header; `None` where there is none, or not all of it.
    #[inline]
    pub fn ip(&self) -> Option<Ip> {
        Some(Ip {
            version: self.ip.version()?,
            start: self.network.into(),
            protocol: self.protocol,
            fragment: self.ip.fragment(),
            fills: self.ip.has(IpBits::FILLS),
            payload: if self.carried == 0 { None } else { Some(self.carried.into()) },
        })
    }

    /// The header of TCP or UDP; `None` where there is none, or not all of it, and for fragments.
    #[inline]
    pub fn transport(&self) -> Option<Transport> {
        if self.payload == 0 {
            return None;
        }
        Some(Transport {
            protocol: if self.protocol == tcp::NUMBER { Protocol::Tcp } else { Protocol::Udp },
            start: self.carried.into(),
            payload: self.payload.into(),
        })
    }

    /// The IP addresses in `frame`, the source first: 8 bytes of IPv4, 32 of IPv6.
    #[inline]
    pub fn hosts<'f>(&self, frame: &'f [u8]) -> Option<&'f [u8]> {
        let addresses = match self.ip.version()? {
            IpVersion::V4 => ipv4::ADDRESSES,
            IpVersion::V6 => ipv6::ADDRESSES,
        };
        frame.get(usize::from(self.network)..)?.get(addresses)
    }

    /// What tells flows between two hosts apart: the ports of TCP, UDP, DCCP, SCTP and UDP-Lite, the
    /// source first, or the parameters index of ESP. `None` for other protocols and for fragments,
    /// of which the first alone has them.
    #[inline]
    pub fn ports<'f>(&self, frame: &'f [u8]) -> Option<&'f [u8; 4]> {
        const DCCP: u8 = 33;
        const ESP: u8 = 50;
        const SCTP: u8 = 132;
        const UDP_LITE: u8 = 136;
        let has_ports =
            matches!(self.protocol, tcp::NUMBER | udp::NUMBER | DCCP | ESP | SCTP | UDP_LITE);
        if self.carried == 0 || self.ip.is_fragment() || !has_ports {
            return None;
        }
        chunk(frame, self.carried.into())
    }
}

/// Whether a header of this kind stands before what an IPv6 packet carries.
#[inline]
fn is_extension(kind: u8) -> bool {
    use ipv6::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// The bytes from `at` on, which is below 17,000: nothing overflows.
#[inline]
fn chunk<const N: usize>(frame: &[u8], at: usize) -> Option<&[u8; N]> {
    frame.get(at..at + N)?.first_chunk()
}

/// The big-endian word at `at`.
#[inline]
fn word(frame: &[u8], at: usize) -> Option<u16> {
    chunk(frame, at).map(|bytes| u16::from_be_bytes(*bytes))
}
