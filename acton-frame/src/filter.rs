//! Which frames somebody wants to see, said in words: the part of tcpdump's language that needs no
//! more than [`Headers`](crate::Headers).

mod parse;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use pnet_base::MacAddr;

use crate::Headers;
use crate::field::ethernet::{ARP, IPV4, IPV6};
use crate::field::{arp, icmpv6, tcp, udp};
use crate::ip::IpVersion;

pub use parse::FilterError;

/// Ports of DHCP (RFC 2131, section 4.1) and of DHCPv6 (RFC 8415, section 7.2).
const DHCP: [RangeInclusive<u16>; 2] = [67..=68, 546..=547];
/// The number of SCTP among IP's protocols, which has ports where TCP and UDP have them.
const SCTP: u8 = 132;

/// Which frames are wanted: tests joined by `and`, `or`, `not` and parentheses.
///
/// ```
/// use acton_frame::{Filter, Headers};
///
/// let filter: Filter = "arp or (udp port 53 and not host 192.0.2.1)".parse()?;
/// let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x08, 0x06], &[0; 46]].concat();
/// assert!(filter.matches(&Headers::parse(&frame), &frame));
/// # Ok::<(), acton_frame::FilterError>(())
/// ```
///
/// Words mean what they mean to tcpdump (pcap-filter(7)), `and` and `or` bind alike and from left to
/// right there as here, and each test is of one frame:
///
/// | Test | True of |
/// |---|---|
/// | `arp`, `ip`, `ip6` | ARP, IPv4, IPv6 |
/// | `icmp`, `igmp`, `icmp6`, `tcp`, `udp` | IP packets with that |
/// | `dhcp`, `nd` | DHCP or DHCPv6; IPv6's neighbour discovery (not tcpdump's) |
/// | `[src\|dst] host A`, `[src\|dst] net A/BITS` | IP packets and ARP from or to these addresses |
/// | `[tcp\|udp] [src\|dst] port N`, `portrange N-M` | TCP, UDP and SCTP from or to these ports |
/// | `proto N` | IP packets of that protocol (not tcpdump's) |
/// | `ether [src\|dst] MAC`, `ether proto 0x88b5` | frames from or to a MAC; of an EtherType |
/// | `broadcast`, `multicast` | frames to all; to a group, broadcasts among them |
/// | `vlan`, `vlan N` | tagged frames; those whose outer tag is of that VLAN |
///
/// Two things are otherwise than in tcpdump: VLAN tags are passed over by all tests, so that `arp` is
/// true of a tagged request too and `vlan` changes nothing for the tests behind it; and no fragment
/// has ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Expression);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Test(Test),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

/// From or to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

/// A question about one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    EtherType(u16),
    Protocol(Option<IpVersion>, u8),
    NeighbourDiscovery,
    Dhcp,
    /// The first bits of an address.
    Net(Side, IpAddr, u8),
    /// Of any of the protocols that have ports, or of one.
    Port(Option<u8>, Side, RangeInclusive<u16>),
    Mac(Side, MacAddr),
    Broadcast,
    Multicast,
    Vlan(Option<u16>),
}

impl Filter {
    /// Whether a frame is wanted. `headers` are what was found in it, or in as much of its beginning
    /// as `frame` is.
    #[must_use]
    pub fn matches(&self, headers: &Headers, frame: &[u8]) -> bool {
        self.0.matches(headers, frame)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Self)
    }
}

impl Expression {
    fn matches(&self, headers: &Headers, frame: &[u8]) -> bool {
        match self {
            Self::Test(test) => test.matches(headers, frame),
            Self::Not(inner) => !inner.matches(headers, frame),
            Self::And(one, other) => one.matches(headers, frame) && other.matches(headers, frame),
            Self::Or(one, other) => one.matches(headers, frame) || other.matches(headers, frame),
        }
    }
}

impl Side {
    /// Whether what is at the source or the destination, as the side has it, is wanted.
    fn any<T>(self, pair: [T; 2], wanted: impl Fn(T) -> bool) -> bool {
        let [source, destination] = pair;
        match self {
            Self::Source => wanted(source),
            Self::Destination => wanted(destination),
            Self::Either => wanted(source) || wanted(destination),
        }
    }
}

impl Test {
    fn matches(&self, headers: &Headers, frame: &[u8]) -> bool {
        match self {
            Self::EtherType(wanted) => headers.ethertype() == Some(*wanted),
            Self::Protocol(version, number) => headers.ip().is_some_and(|ip| {
                ip.protocol == *number && version.is_none_or(|version| version == ip.version)
            }),
            Self::NeighbourDiscovery => headers.ip().is_some_and(|ip| {
                let kind = ip.payload.and_then(|at| frame.get(at));
                ip.protocol == icmpv6::NUMBER
                    && ip.version == IpVersion::V6
                    && kind.is_some_and(|kind| icmpv6::NEIGHBOUR_DISCOVERY.contains(kind))
            }),
            Self::Dhcp => DHCP
                .iter()
                .any(|ports| has_port(Some(udp::NUMBER), Side::Either, ports, headers, frame)),
            Self::Net(side, address, bits) => match address {
                IpAddr::V4(address) => ipv4_pair(headers, frame).is_some_and(|pair| {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                    let wanted = address.to_bits() & mask;
                    side.any(pair, |found| u32::from_be_bytes(found) & mask == wanted)
                }),
                IpAddr::V6(address) => ipv6_pair(headers, frame).is_some_and(|pair| {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                    let wanted = address.to_bits() & mask;
                    side.any(pair, |found| u128::from_be_bytes(found) & mask == wanted)
                }),
            },
            Self::Port(protocol, side, ports) => has_port(*protocol, *side, ports, headers, frame),
            Self::Mac(side, wanted) => headers.ethernet().is_some_and(|ethernet| {
                side.any([ethernet.source(), ethernet.destination()], |found| found == *wanted)
            }),
            Self::Broadcast => {
                headers.ethernet().is_some_and(|ethernet| ethernet.destination().is_broadcast())
            }
            Self::Multicast => {
                headers.ethernet().is_some_and(|ethernet| ethernet.destination().0 & 1 == 1)
            }
            Self::Vlan(id) => {
                let outer = headers.ethernet().filter(|_| headers.tags() > 0);
                outer.is_some_and(|outer| id.is_none_or(|id| id == outer.vlan()))
            }
        }
    }
}

fn has_port(
    protocol: Option<u8>,
    side: Side,
    wanted: &RangeInclusive<u16>,
    headers: &Headers,
    frame: &[u8],
) -> bool {
    let is_of_protocol = headers.ip().is_some_and(|ip| match protocol {
        Some(protocol) => ip.protocol == protocol,
        None => matches!(ip.protocol, tcp::NUMBER | udp::NUMBER | SCTP),
    });
    let ports = headers.ports(frame).filter(|_| is_of_protocol);
    ports.is_some_and(|&[a, b, c, d]| {
        let pair = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        side.any(pair, |port| wanted.contains(&port))
    })
}

/// The IPv4 addresses of an IPv4 packet or in ARP, the source's first.
fn ipv4_pair(headers: &Headers, frame: &[u8]) -> Option<[[u8; 4]; 2]> {
    if let Some(&[s0, s1, s2, s3, d0, d1, d2, d3]) = headers.hosts(frame) {
        return Some([[s0, s1, s2, s3], [d0, d1, d2, d3]]);
    }
    if headers.ethertype() != Some(ARP) {
        return None;
    }
    let packet = frame.get(headers.network()?..)?;
    let of = |range| packet.get::<std::ops::Range<usize>>(range)?.first_chunk().copied();
    // Of hardware of any kind that has addresses as long as Ethernet's.
    (packet.get(arp::LENGTHS)? == arp::ETHERNET_IPV4_LENGTHS)
        .then_some([of(arp::SENDER)?, of(arp::TARGET)?])
}

fn ipv6_pair(headers: &Headers, frame: &[u8]) -> Option<[[u8; 16]; 2]> {
    let hosts = headers.hosts(frame)?;
    Some([*hosts.get(..16)?.first_chunk()?, *hosts.get(16..)?.first_chunk()?])
}

/// What it is in the words that it is read from, with all parentheses.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(test) => test.fmt(f),
            Self::Not(inner) => match **inner {
                Self::Test(_) | Self::Not(_) => write!(f, "not {inner}"),
                _ => write!(f, "not ({inner})"),
            },
            Self::And(one, other) | Self::Or(one, other) => {
                let word = if matches!(self, Self::And(..)) { "and" } else { "or" };
                // What stands on the left binds anyway.
                match **other {
                    Self::Test(_) | Self::Not(_) => write!(f, "{one} {word} {other}"),
                    _ => write!(f, "{one} {word} ({other})"),
                }
            }
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "src ",
            Self::Destination => "dst ",
            Self::Either => "",
        })
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EtherType(ARP) => f.write_str("arp"),
            Self::EtherType(IPV4) => f.write_str("ip"),
            Self::EtherType(IPV6) => f.write_str("ip6"),
            Self::EtherType(other) => write!(f, "ether proto {other:#06x}"),
            Self::Protocol(version, number) => {
                match parse::PROTOCOLS
                    .iter()
                    .find(|known| (known.1, known.2) == (*version, *number))
                {
                    Some((word, ..)) => f.write_str(word),
                    None => write!(f, "proto {number}"),
                }
            }
            Self::NeighbourDiscovery => f.write_str("nd"),
            Self::Dhcp => f.write_str("dhcp"),
            Self::Net(side, address, bits) => {
                let all = if address.is_ipv4() { 32 } else { 128 };
                if *bits == all {
                    write!(f, "{side}host {address}")
                } else {
                    write!(f, "{side}net {address}/{bits}")
                }
            }
            Self::Port(protocol, side, ports) => {
                match *protocol {
                    Some(tcp::NUMBER) => f.write_str("tcp ")?,
                    Some(_) => f.write_str("udp ")?,
                    None => {}
                }
                let (first, last) = (ports.start(), ports.end());
                if first == last {
                    write!(f, "{side}port {first}")
                } else {
                    write!(f, "{side}portrange {first}-{last}")
                }
            }
            Self::Mac(side, mac) => write!(f, "ether {side}{mac}"),
            Self::Broadcast => f.write_str("broadcast"),
            Self::Multicast => f.write_str("multicast"),
            Self::Vlan(None) => f.write_str("vlan"),
            Self::Vlan(Some(id)) => write!(f, "vlan {id}"),
        }
    }
}
