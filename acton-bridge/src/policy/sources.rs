//! Which IP addresses a frame claims, and whether a leaf may use them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use acton_frame::field::{ethernet, icmpv6, ipv4, ipv6};
use acton_frame::{Headers, IpVersion};
use ipnet::{IpNet, Ipv6Net};

use super::dhcp::{self, DhcpMessage};
use super::guard::{Carried, arp_claim, carried, is_disguised};

/// What a frame claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claims {
    /// To have these addresses: the source of a packet or of ARP, the target of a probe of ARP and of
    /// neighbour discovery, and what is given back to a DHCP server. None in a frame that is neither IP
    /// nor ARP.
    /// `resolves` where it is of neighbour discovery's protocol, so that others may go by it.
    Addresses { addresses: [Option<IpAddr>; 2], resolves: bool },
    /// Something that cannot be read.
    Unreadable,
}

impl Claims {
    fn of(addresses: [Option<IpAddr>; 2]) -> Self {
        Self::Addresses { addresses, resolves: false }
    }
}

/// What a frame claims. The unspecified address, with which one asks for another, claims nothing.
pub(super) fn claims(headers: &Headers, frame: &[u8]) -> Claims {
    if is_disguised(headers, frame) {
        return Claims::Unreadable;
    }
    let ethertype = headers.ethertype();
    if ethertype == Some(ethernet::ARP) {
        return match arp_claim(headers, frame) {
            Some(address) => Claims::of([some(Ipv4Addr::from(*address)), None]),
            None => Claims::Unreadable,
        };
    }
    let Some(ip) = headers.ip() else {
        return match ethertype {
            Some(ethernet::IPV4 | ethernet::IPV6) => Claims::Unreadable,
            _ => Claims::of([None; 2]),
        };
    };
    let header = frame.get(ip.start..).unwrap_or_default();
    let source = match ip.version {
        IpVersion::V4 => source_of(header, ipv4::ADDRESSES.start).map(|source: [u8; 4]| {
            let source = Ipv4Addr::from(source);
            (!source.is_unspecified()).then_some(IpAddr::from(source))
        }),
        IpVersion::V6 => source_of(header, ipv6::ADDRESSES.start).map(|source: [u8; 16]| {
            let source = Ipv6Addr::from(source);
            (!source.is_unspecified()).then_some(IpAddr::from(source))
        }),
    };
    let Some(source) = source else { return Claims::Unreadable };
    if ip.version == IpVersion::V4 {
        if dhcp::is_cut_to_server(headers, frame) {
            return Claims::Unreadable;
        }
        let message = dhcp::to_server(headers, frame);
        return match message {
            Some(message) if message.is_obscure => Claims::Unreadable,
            _ => Claims::of([source, message.and_then(|message| some(message.gives_back()?))]),
        };
    }
    let mut resolves = false;
    let target = match carried(&ip, frame) {
        Carried::Hidden => return Claims::Unreadable,
        Carried::Found { protocol: icmpv6::NUMBER, bytes } => {
            resolves = true;
            let claims_target = match bytes.first() {
                None => return Claims::Unreadable,
                Some(&icmpv6::NEIGHBOUR_SOLICITATION) => source.is_none(),
                Some(&icmpv6::NEIGHBOUR_ADVERTISEMENT) => true,
                Some(_) => false,
            };
            match bytes.get(icmpv6::TARGET).and_then(|target| target.as_array::<16>()) {
                Some(target) if claims_target => some(Ipv6Addr::from(*target)),
                None if claims_target => return Claims::Unreadable,
                _ => None,
            }
        }
        _ => None,
    };
    Claims::Addresses { addresses: [source, target], resolves }
}

/// Whether a frame asks a DHCP server, of whatever address: what gives an address back does not.
pub(super) fn asks_dhcp(headers: &Headers, frame: &[u8]) -> bool {
    !is_disguised(headers, frame)
        && dhcp::from_client(headers, frame).is_some_and(|message| {
            DhcpMessage::read(message)
                .is_none_or(|message| !message.is_obscure && message.gives_back().is_none())
        })
}

fn source_of<const N: usize>(header: &[u8], at: usize) -> Option<[u8; N]> {
    header.get(at..)?.first_chunk().copied()
}

fn some<T: Into<IpAddr>>(address: T) -> Option<IpAddr> {
    Some(address.into()).filter(|address| !address.is_unspecified())
}

/// Networks, to be searched: sorted ranges that do not meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ranges {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Ranges {
    pub(super) fn new(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { v4: joined(v4), v6: joined(v6) }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => is_in(&self.v4, address.to_bits(), address.to_bits()),
            IpAddr::V6(address) => is_in(&self.v6, address.to_bits(), address.to_bits()),
        }
    }

    /// Whether all of a network lies in one of these.
    pub(super) fn contains_net(&self, net: Ipv6Net) -> bool {
        is_in(&self.v6, net.network().to_bits(), net.broadcast().to_bits())
    }
}

/// The ranges without those that lie in another: of two networks that meet, one holds the other.
fn joined<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable_by_key(|&(first, last)| (first, std::cmp::Reverse(last)));
    ranges.dedup_by(|later, earlier| later.1 <= earlier.1);
    ranges.into()
}

fn is_in<T: Ord + Copy>(ranges: &[(T, T)], first: T, last: T) -> bool {
    let after = ranges.partition_point(|&(start, _)| start <= first);
    after > 0 && last <= ranges[after - 1].1
}
