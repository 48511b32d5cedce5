//! Frames by which a host that comes back tells its neighbours where its addresses are: they may
//! remember another MAC, and switches another port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use acton_frame::field::{ethernet, icmpv6};
use acton_tap::offload::Sum;
use pnet_base::MacAddr;

/// All nodes of a link (RFC 4291, section 2.7.1), and the group of that as a MAC (RFC 2464).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddr = MacAddr(0x33, 0x33, 0, 0, 0, 1);
/// The EtherType of RARP (RFC 903).
const RARP: u16 = 0x8035;
/// Flags of a neighbour advertisement (RFC 4861, section 4.4): from a router; override what is known.
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;

/// The frame that tells that `ip` is at `mac`, unasked: an ARP announcement (RFC 5227, section 3) or
/// a neighbour advertisement (RFC 4861, section 7.2.6). A router must say in the latter that it is
/// one, or its neighbours drop their default route.
pub(crate) fn announcement(mac: MacAddr, ip: IpAddr, is_router: bool) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => arp(mac, ip),
        IpAddr::V6(ip) => advertisement(mac, ip, is_router),
    }
}

/// The frame that tells switches at which port a MAC is whose IP addresses are not known: a request of
/// RARP (RFC 903), which nobody answers any more, as QEMU sends for a guest that has moved.
pub(crate) fn mac_announcement(mac: MacAddr) -> Vec<u8> {
    let mut frame = header(MacAddr::broadcast(), mac, RARP);
    // Ethernet and IPv4, addresses of 6 and 4 bytes, a request to reverse.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 3]);
    frame.extend(mac.octets());
    frame.extend([0; 4]);
    frame.extend(mac.octets());
    frame.extend([0; 4]);
    frame
}

fn arp(mac: MacAddr, ip: Ipv4Addr) -> Vec<u8> {
    let mut frame = header(MacAddr::broadcast(), mac, ethernet::ARP);
    // Ethernet and IPv4, addresses of 6 and 4 bytes, a request (RFC 826).
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.octets());
    frame.extend(ip.octets());
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame
}

fn advertisement(mac: MacAddr, ip: Ipv6Addr, is_router: bool) -> Vec<u8> {
    let flags = OVERRIDE | if is_router { ROUTER } else { 0 };
    let mut message = vec![icmpv6::NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(ip.octets());
    // The option "target link-layer address", of 1 x 8 bytes.
    message.extend([2, 1]);
    message.extend(mac.octets());
    let addresses = [ip.octets(), ALL_NODES.octets()].concat();
    let sum = Sum::pseudo_header(&addresses, icmpv6::NUMBER, message.len()).plus(&message);
    message[icmpv6::CHECKSUM].copy_from_slice(&sum.checksum());

    let mut frame = header(ALL_NODES_MAC, mac, ethernet::IPV6);
    frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, icmpv6::NUMBER, icmpv6::HOP_LIMIT]);
    frame.extend(addresses);
    frame.extend(message);
    frame
}

fn header(to: MacAddr, from: MacAddr, ethertype: u16) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &ethertype.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use pnet_packet::arp::{ArpOperations, ArpPacket};
    use pnet_packet::icmpv6::{self, Icmpv6Packet};
    use pnet_packet::ipv6::Ipv6Packet;
    use pnet_packet::{FromPacket, Packet};

    use super::*;

    const MAC: MacAddr = MacAddr(2, 3, 4, 5, 6, 7);

    #[test]
    fn ipv4_is_announced_as_rfc_5227_has_it() {
        let ip = Ipv4Addr::new(10, 9, 0, 1);
        let frame = announcement(MAC, ip.into(), true);
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 3, 4, 5, 6, 7, 8, 6]);
        let arp = ArpPacket::new(&frame[14..]).unwrap().from_packet();
        assert_eq!(
            (arp.operation, arp.hw_addr_len, arp.proto_addr_len),
            (ArpOperations::Request, 6, 4)
        );
        assert_eq!((arp.sender_hw_addr, arp.target_hw_addr), (MAC, MacAddr::zero()));
        assert_eq!((arp.sender_proto_addr, arp.target_proto_addr), (ip, ip));
        assert_eq!(frame.len(), 42);
    }

    #[test]
    fn ipv6_is_announced_as_rfc_4861_has_it() {
        let ip: Ipv6Addr = "fd09::1".parse().unwrap();
        for (is_router, flags) in [(false, 0x20), (true, 0xa0)] {
            let frame = announcement(MAC, ip.into(), is_router);
            assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 0x86, 0xdd]);
            let packet = Ipv6Packet::new(&frame[14..]).unwrap();
            assert_eq!((packet.get_source(), packet.get_destination()), (ip, ALL_NODES));
            assert_eq!((packet.get_hop_limit(), packet.get_payload_length()), (255, 32));
            let message = Icmpv6Packet::new(packet.payload()).unwrap();
            assert_eq!(message.get_checksum(), icmpv6::checksum(&message, &ip, &ALL_NODES));
            assert_eq!((packet.payload()[0], packet.payload()[4]), (136, flags));
            assert_eq!(packet.payload()[8..24], ip.octets());
            assert_eq!(packet.payload()[24..], [2, 1, 2, 3, 4, 5, 6, 7]);
        }
    }
}
