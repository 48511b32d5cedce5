//! What only the LAN's own servers and routers say.

use acton_frame::field::{arp, ethernet, icmpv6, ipv4, ipv6, udp};
use acton_frame::{Fragment, Headers, Ip, IpVersion, Protocol};

use super::objection::Objection;

/// UDP ports of DHCP (RFC 2131, section 4.1) and DHCPv6 (RFC 8415, section 7.2).
pub(super) const DHCP_SERVER: u16 = 67;
pub(super) const DHCP_CLIENT: u16 = 68;
pub(super) const DHCP6_CLIENT: u16 = 546;
pub(super) const DHCP6_SERVER: u16 = 547;
/// The operation of DHCP messages from clients (RFC 2131, section 2).
const BOOT_REQUEST: u8 = 1;
/// DHCPv6's ADVERTISE, REPLY, RECONFIGURE and RELAY-REPL (RFC 8415, section 7.3).
pub(super) const DHCP6_OF_SERVERS: [u8; 4] = [2, 7, 10, 13];
/// ICMP, and its redirect (RFC 792).
const ICMP: u8 = 1;
const ICMP_REDIRECT: u8 = 5;
/// ICMPv6's router advertisement and redirect (RFC 4861, sections 4.2 and 4.5).
pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
const REDIRECT: u8 = 137;
/// The authentication header (RFC 4302), which [`Headers`] leaves alone.
const AUTHENTICATION: u8 = 51;
/// Headers behind one of these that are passed over, at most.
const MAX_BEHIND: usize = 8;
/// Groups of protocols between switches that bridges pass on, unlike those of 802.1D: Cisco's (CDP, VTP, DTP,
/// UDLD, PAgP; per-VLAN spanning tree; UplinkFast), and the first of the 16 of IEEE 802.1Q, table 10-1 (MRP).
const CISCO: [[u8; 6]; 3] = [
    [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc],
    [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd],
    [0x01, 0x00, 0x0c, 0xcd, 0xcd, 0xcd],
];
const MRP: [u8; 6] = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x20];
/// How a frame of 802.2 begins that names an EtherType (IEEE 802, clause 9.5: SNAP).
const SNAP: [u8; 3] = [0xaa, 0xaa, 3];
/// Bytes of that and of an organisation's number.
const SNAP_LEN: usize = 6;

/// What an IP packet carries, as far as a frame shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried<'f> {
    /// A protocol, and what begins there. It may be cut short.
    Found { protocol: u8, bytes: &'f [u8] },
    /// It is in another fragment, which came before.
    Elsewhere,
    /// It should be here and is not, or lies behind what nobody can pass over.
    Hidden,
}

/// Whether a frame is surely nothing that [`objection`] minds: TCP, and UDP that is not DHCP. For
/// most frames this decides, at the price of a look at what was parsed, and of UDP's ports.
#[inline]
pub(super) fn is_harmless(headers: &Headers, frame: &[u8]) -> bool {
    let Some(transport) = headers.transport().filter(|_| !hides_vlan(headers)) else {
        return false;
    };
    transport.protocol == Protocol::Tcp
        || ports(frame.get(transport.start..).unwrap_or_default()).is_some_and(|ports| {
            ports.iter().all(|port| {
                !matches!(*port, DHCP_SERVER | DHCP_CLIENT | DHCP6_CLIENT | DHCP6_SERVER)
            })
        })
}

/// What is wrong with a frame that a leaf sends which is neither server nor router.
pub(super) fn objection(headers: &Headers, frame: &[u8]) -> Option<Objection> {
    if is_disguised(headers, frame) {
        return Some(Objection::Hidden);
    }
    // So that both say the same of a packet that ends before its ports, which no host takes.
    if is_harmless(headers, frame) {
        return None;
    }
    if is_between_switches(frame) {
        return Some(Objection::Control);
    }
    let ip = headers.ip()?;
    match carried(&ip, frame) {
        Carried::Elsewhere => None,
        Carried::Hidden => Some(Objection::Hidden),
        Carried::Found { protocol, bytes } => match (ip.version, protocol) {
            (version, udp::NUMBER) => {
                let Some(ports) = ports(bytes) else { return Some(Objection::Hidden) };
                of_datagram(version, ports, bytes.get(udp::LEN).copied())
            }
            (IpVersion::V4, ICMP) => match bytes.first() {
                None => Some(Objection::Hidden),
                Some(&ICMP_REDIRECT) => Some(Objection::Redirect),
                Some(_) => None,
            },
            (IpVersion::V6, icmpv6::NUMBER) => match bytes.first() {
                None => Some(Objection::Hidden),
                Some(&ROUTER_ADVERTISEMENT) => Some(Objection::RouterAdvertisement),
                Some(&REDIRECT) => Some(Objection::Redirect),
                Some(_) => None,
            },
            _ => None,
        },
    }
}

/// Whether a frame is for switches that agree among themselves.
fn is_between_switches(frame: &[u8]) -> bool {
    let Some(destination) = frame.first_chunk::<6>() else { return false };
    CISCO.contains(destination)
        || destination.starts_with(&MRP[..5]) && destination[5] & 0xf0 == MRP[5]
}

/// What is wrong with a UDP datagram whose payload begins with that byte.
fn of_datagram(version: IpVersion, ports: [u16; 2], first: Option<u8>) -> Option<Objection> {
    let (to_client, server) = match version {
        IpVersion::V4 => (DHCP_CLIENT, DHCP_SERVER),
        IpVersion::V6 => (DHCP6_CLIENT, DHCP6_SERVER),
    };
    if ports[1] == to_client {
        return Some(Objection::DhcpServer);
    }
    if !ports.contains(&server) {
        return None;
    }
    // Clients' messages, and what relays make of them, pass.
    let Some(first) = first else { return Some(Objection::Hidden) };
    let is_of_server = match version {
        IpVersion::V4 => first != BOOT_REQUEST,
        IpVersion::V6 => DHCP6_OF_SERVERS.contains(&first),
    };
    is_of_server.then_some(Objection::DhcpServer)
}

/// Whether a frame may hold a packet where [`Headers`] does not look and some hosts do: behind a third
/// tag, in a frame of 802.2 (CVE-2021-27853, CVE-2021-27854), or in another VLAN.
pub(super) fn is_disguised(headers: &Headers, frame: &[u8]) -> bool {
    let Some(network) = headers.network() else { return false };
    if hides_vlan(headers) {
        return true;
    }
    let number = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    match number(network - 2) {
        Some(ethernet::C_TAG | ethernet::S_TAG) => true,
        Some(0..0x0600) => {
            let named = || number(network + SNAP_LEN);
            let known =
                [ethernet::IPV4, ethernet::IPV6, ethernet::ARP, ethernet::C_TAG, ethernet::S_TAG];
            frame[network..].starts_with(&SNAP) && named().is_some_and(|kind| known.contains(&kind))
        }
        _ => false,
    }
}

/// Whether a frame has a tag behind one that names no VLAN. Some hosts take off the outer one and are in the
/// VLAN of the other, as Linux does; to others it is in none.
#[inline]
fn hides_vlan(headers: &Headers) -> bool {
    headers.tags() > 1 && headers.ethernet().is_some_and(|ethernet| ethernet.vlan() == 0)
}

/// What an IP packet carries. What stands in the frame behind the packet's own end is none of it.
pub(super) fn carried<'f>(ip: &Ip, frame: &'f [u8]) -> Carried<'f> {
    if ip.fragment == Fragment::Later {
        return Carried::Elsewhere;
    }
    let header = frame.get(ip.start..).unwrap_or_default();
    let len = match ip.version {
        IpVersion::V4 => header.get(ipv4::TOTAL_LENGTH).map(|len| (len, 0)),
        IpVersion::V6 => header.get(ipv6::PAYLOAD_LENGTH).map(|len| (len, ipv6::LEN)),
    };
    let Some((&[high, low], before)) =
        len.and_then(|(len, before)| Some((len.as_array::<2>()?, before)))
    else {
        return Carried::Hidden;
    };
    let end = ip.start + before + usize::from(u16::from_be_bytes([high, low]));
    let packet = &frame[..end.min(frame.len())];
    let Some(mut bytes) = ip.payload.and_then(|start| packet.get(start..)) else {
        return Carried::Hidden;
    };
    let mut protocol = ip.protocol;
    if ip.version == IpVersion::V6 && protocol == AUTHENTICATION {
        for _ in 0..MAX_BEHIND {
            let Some(&[next, units]) = bytes.first_chunk() else { return Carried::Hidden };
            let len = match protocol {
                AUTHENTICATION => (usize::from(units) + 2) * 4,
                ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS => {
                    (usize::from(units) + 1) * 8
                }
                ipv6::FRAGMENT => return Carried::Hidden,
                _ => return Carried::Found { protocol, bytes },
            };
            let Some(rest) = bytes.get(len..) else { return Carried::Hidden };
            (protocol, bytes) = (next, rest);
        }
        return Carried::Hidden;
    }
    Carried::Found { protocol, bytes }
}

/// The address that ARP claims, of Ethernet or 802.2, for IPv4: the sender's, or the target's where a
/// request has no sender's, for it is probed before it is used (RFC 5227, section 2.1.1).
pub(super) fn arp_claim<'f>(headers: &Headers, frame: &'f [u8]) -> Option<&'f [u8; 4]> {
    let message: &[u8; arp::LEN] = frame.get(headers.network()?..)?.first_chunk()?;
    if message[arp::LENGTHS] != arp::ETHERNET_IPV4_LENGTHS {
        return None;
    }
    let sender = message.get(arp::SENDER)?.as_array()?;
    let is_probe = *sender == [0; 4] && message[arp::OPERATION] == arp::REQUEST.to_be_bytes();
    if is_probe { message.get(arp::TARGET)?.as_array() } else { Some(sender) }
}

/// The ports of a UDP datagram, the source first.
pub(super) fn ports(datagram: &[u8]) -> Option<[u16; 2]> {
    let &[a, b, c, d] = datagram.first_chunk()?;
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}
