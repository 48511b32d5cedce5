//! The one pass over a frame.

use crate::ethernet::{Ethernet, is_tag};
use crate::field::{self, ipv4, ipv6, tcp, udp};
use crate::ip::{Fragment, Ip, IpVersion};
use crate::transport::{Protocol, Transport};

/// VLAN tags behind which IP is looked for.
const MAX_TAGS: u8 = 2;
/// IPv6 extension headers behind which what IP carries is looked for: twice the four that a
/// packet has at most if its sender follows RFC 8200, section 4.1. A bound, for one could fill a
/// frame with them.
const MAX_EXTENSIONS: usize = 8;

/// Where the headers of a frame are. See the [crate's page](crate).
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
    is_runt: bool,
    tags: u8,
    version: Option<IpVersion>,
    protocol: u8,
    fragment: Fragment,
    fills: bool,
}

impl Headers {
    /// Finds the headers of `frame`, which may be of any length and hold anything.
    pub fn parse(frame: &[u8]) -> Self {
        let mut headers = Self {
            frame_len: frame.len(),
            ethernet: Ethernet::default(),
            ethertype: 0,
            carried: 0,
            payload: 0,
            is_runt: true,
            tags: 0,
            version: None,
            protocol: 0,
            fragment: Fragment::Whole,
            fills: false,
        };
        let Some(ethernet) = Ethernet::parse(frame) else { return headers };
        headers.ethernet = ethernet;
        headers.is_runt = false;
        let mut ethertype = word(frame, field::ethernet::ADDRESSES_LEN);
        while let Some(kind) = ethertype
            && is_tag(kind)
            && headers.tags < MAX_TAGS
        {
            headers.tags += 1;
            ethertype = word(frame, headers.network() - 2);
        }
        headers.ethertype = ethertype.unwrap_or(0);
        match headers.ethertype {
            field::ethernet::IPV4 => headers.parse_ipv4(frame),
            field::ethernet::IPV6 => headers.parse_ipv6(frame),
            _ => {}
        }
        headers
    }

    fn parse_ipv4(&mut self, frame: &[u8]) {
        let start = self.network();
        let Some(header): Option<&[u8; ipv4::LEN]> = chunk(frame, start) else { return };
        let header_len = usize::from(header[0] & 0xf) * 4;
        if header[0] >> 4 != 4 || header_len < ipv4::LEN {
            return;
        }
        self.version = Some(IpVersion::V4);
        self.protocol = header[ipv4::PROTOCOL];
        let total = word(header, ipv4::TOTAL_LENGTH.start).unwrap_or(0);
        self.fills = start + usize::from(total) == frame.len();
        let fragment = word(header, ipv4::FRAGMENT.start).unwrap_or(0);
        if fragment & !ipv4::DONT_FRAGMENT != 0 {
            self.fragment = part(fragment & ipv4::FRAGMENT_OFFSET);
        }
        self.parse_carried(frame, start + header_len);
    }

    fn parse_ipv6(&mut self, frame: &[u8]) {
        let start = self.network();
        let Some(header): Option<&[u8; ipv6::LEN]> = chunk(frame, start) else { return };
        if header[0] >> 4 != 6 {
            return;
        }
        self.version = Some(IpVersion::V6);
        self.protocol = header[ipv6::NEXT_HEADER];
        let length = word(header, ipv6::PAYLOAD_LENGTH.start).unwrap_or(0);
        let mut at = start + ipv6::LEN;
        self.fills = at + usize::from(length) == frame.len();
        let mut extensions = 0;
        loop {
            let len = match self.protocol {
                ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS => {
                    let Some(&[_, units]) = chunk(frame, at) else { return };
                    (usize::from(units) + 1) * 8
                }
                ipv6::FRAGMENT => {
                    let header: Option<&[u8; ipv6::FRAGMENT_LEN]> = chunk(frame, at);
                    let field = header.and_then(|header| word(header, ipv6::FRAGMENT_FIELD.start));
                    let Some(field) = field else { return };
                    self.fragment = part(field >> 3);
                    ipv6::FRAGMENT_LEN
                }
                _ => return self.parse_carried(frame, at),
            };
            if extensions == MAX_EXTENSIONS {
                return;
            }
            extensions += 1;
            self.protocol = frame[at];
            at += len;
            if self.fragment == Fragment::Later {
                return;
            }
        }
    }

    /// Looks at what IP carries, which starts at `start`.
    fn parse_carried(&mut self, frame: &[u8], start: usize) {
        let Some(header) = frame.get(start..) else { return };
        if self.fragment == Fragment::Later {
            return;
        }
        // Tags, the longest IPv4 header and as many extension headers end below 17,000.
        self.carried = start as u16;
        let (least, header_len) = match self.protocol {
            tcp::NUMBER => {
                let words = header.get(tcp::DATA_OFFSET).map_or(0, |byte| byte >> 4);
                (tcp::LEN, usize::from(words) * 4)
            }
            udp::NUMBER => (udp::LEN, udp::LEN),
            _ => return,
        };
        if (least..=header.len()).contains(&header_len) {
            self.payload = (start + header_len) as u16;
        }
    }

    /// Bytes from the frame's first to what is behind the Ethernet header and its tags.
    #[inline]
    fn network(&self) -> usize {
        field::ethernet::LEN + usize::from(self.tags) * field::ethernet::TAG_LEN
    }

    /// Bytes of the frame.
    #[inline]
    pub fn frame_len(&self) -> usize {
        self.frame_len
    }

    /// What a bridge goes by; `None` if the frame is a runt, as [`Ethernet::parse`] has it.
    #[inline]
    pub fn ethernet(&self) -> Option<&Ethernet> {
        if self.is_runt { None } else { Some(&self.ethernet) }
    }

    /// VLAN tags passed over, at most two.
    #[inline]
    pub fn tags(&self) -> usize {
        self.tags.into()
    }

    /// The EtherType behind those tags; `None` if the frame ends before it.
    #[inline]
    pub fn ethertype(&self) -> Option<u16> {
        Some(self.ethertype).filter(|&ethertype| ethertype != 0)
    }

    /// The IP header; `None` where there is none, or not all of it.
    #[inline]
    pub fn ip(&self) -> Option<Ip> {
        let &Self { protocol, fragment, fills, carried, .. } = self;
        let payload = if carried == 0 { None } else { Some(carried.into()) };
        let start = self.network();
        self.version.map(|version| Ip { version, start, protocol, fragment, fills, payload })
    }

    /// The header of TCP or UDP; `None` where there is none, or not all of it.
    #[inline]
    pub fn transport(&self) -> Option<Transport> {
        if self.payload == 0 {
            return None;
        }
        let protocol = if self.protocol == tcp::NUMBER { Protocol::Tcp } else { Protocol::Udp };
        Some(Transport { protocol, start: self.carried.into(), payload: self.payload.into() })
    }

    /// The IP addresses in `frame`, the source first: 8 bytes of IPv4, 32 of IPv6.
    #[inline]
    pub fn hosts<'f>(&self, frame: &'f [u8]) -> Option<&'f [u8]> {
        let addresses = match self.version? {
            IpVersion::V4 => ipv4::ADDRESSES,
            IpVersion::V6 => ipv6::ADDRESSES,
        };
        frame.get(self.network()..)?.get(addresses)
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
        if self.carried == 0 || self.fragment != Fragment::Whole || !has_ports {
            return None;
        }
        chunk(frame, self.carried.into())
    }
}

/// Which part of a packet a fragment is that starts at `offset` of it.
#[inline]
fn part(offset: u16) -> Fragment {
    if offset == 0 { Fragment::First } else { Fragment::Later }
}

/// The bytes from `at` on.
#[inline]
fn chunk<const N: usize>(frame: &[u8], at: usize) -> Option<&[u8; N]> {
    frame.get(at..)?.first_chunk()
}

/// The big-endian word at `at`.
#[inline]
fn word(frame: &[u8], at: usize) -> Option<u16> {
    chunk(frame, at).map(|bytes| u16::from_be_bytes(*bytes))
}
