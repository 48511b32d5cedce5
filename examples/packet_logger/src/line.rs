//! One line of text a frame.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use acton_raw::{FrameMeta, PacketType};
use pnet_packet::arp::{ArpOperations, ArpPacket};
use pnet_packet::ethernet::{EtherTypes, EthernetPacket};
use pnet_packet::icmp::IcmpPacket;
use pnet_packet::icmpv6::Icmpv6Packet;
use pnet_packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::Ipv6Packet;
use pnet_packet::tcp::{TcpFlags, TcpPacket};
use pnet_packet::udp::UdpPacket;
use pnet_packet::vlan::VlanPacket;

/// Time (UTC), direction, MAC addresses, VLAN tags, EtherType, length on the wire, and what is in
/// the frame: `wire` is as much of it as was captured, VLAN tags in line, and `len` its length.
pub(crate) fn line(meta: &FrameMeta, wire: &[u8], len: usize) -> String {
    let direction = if meta.packet_type == PacketType::Outgoing { "out" } else { "in " };
    format!("{} {direction} {}", time(meta.timestamp), summary(wire, len))
}

fn time(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:06}", seconds % 60, since.subsec_micros())
}

fn summary(wire: &[u8], len: usize) -> String {
    let Some(frame) = EthernetPacket::new(wire) else {
        return format!("cut in the Ethernet header, {len} bytes");
    };
    let mut text = format!("{} > {} ", frame.get_source(), frame.get_destination());
    let (mut ethertype, mut payload) =
        (frame.get_ethertype(), &wire[EthernetPacket::minimum_packet_size()..]);
    while matches!(ethertype, EtherTypes::Vlan | EtherTypes::PBridge)
        && let Some(tag) = VlanPacket::new(payload)
    {
        add(&mut text, format_args!("vlan {} ", tag.get_vlan_identifier()));
        ethertype = tag.get_ethertype();
        payload = &payload[VlanPacket::minimum_packet_size()..];
    }
    let content = match ethertype {
        EtherTypes::Arp => ("ARP".to_owned(), arp(payload)),
        EtherTypes::Ipv4 => ("IPv4".to_owned(), ipv4(payload)),
        EtherTypes::Ipv6 => ("IPv6".to_owned(), ipv6(payload)),
        other => (format!("{:#06x}", other.0), Some(String::new())),
    };
    let (name, content) = (content.0, content.1.unwrap_or_else(|| "cut or malformed".to_owned()));
    add(&mut text, format_args!("{name} {len}"));
    if !content.is_empty() {
        add(&mut text, format_args!(": {content}"));
    }
    text
}

fn add(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

fn arp(payload: &[u8]) -> Option<String> {
    let packet = ArpPacket::new(payload)?;
    let (sender, target) = (packet.get_sender_proto_addr(), packet.get_target_proto_addr());
    Some(match packet.get_operation() {
        ArpOperations::Request => format!("who-has {target} tell {sender}"),
        ArpOperations::Reply => format!("{sender} is-at {}", packet.get_sender_hw_addr()),
        other => format!("operation {}", other.0),
    })
}

fn ipv4(payload: &[u8]) -> Option<String> {
    let packet = Ipv4Packet::new(payload)?;
    let header = usize::from(packet.get_header_length()) * 4;
    if header < Ipv4Packet::minimum_packet_size() {
        return None;
    }
    let (source, destination) = (packet.get_source().into(), packet.get_destination().into());
    let protocol = packet.get_next_level_protocol();
    if packet.get_fragment_offset() > 0 {
        let offset = packet.get_fragment_offset() * 8;
        return Some(format!("{source} > {destination} {} fragment at {offset}", name(protocol)));
    }
    Some(transport(source, destination, protocol, payload.get(header..)?))
}

fn ipv6(payload: &[u8]) -> Option<String> {
    let packet = Ipv6Packet::new(payload)?;
    let (source, destination) = (packet.get_source().into(), packet.get_destination().into());
    let content = &payload[Ipv6Packet::minimum_packet_size()..];
    Some(transport(source, destination, packet.get_next_header(), content))
}

fn transport(
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNextHeaderProtocol,
    payload: &[u8],
) -> String {
    let ports = |from, to| format!("{source} port {from} > {destination} port {to}");
    match protocol {
        IpNextHeaderProtocols::Tcp => TcpPacket::new(payload).map(|tcp| {
            let ports = ports(tcp.get_source(), tcp.get_destination());
            format!("{ports} tcp [{}]", flags(tcp.get_flags()))
        }),
        IpNextHeaderProtocols::Udp => UdpPacket::new(payload)
            .map(|udp| format!("{} udp", ports(udp.get_source(), udp.get_destination()))),
        IpNextHeaderProtocols::Icmp => IcmpPacket::new(payload).map(|icmp| {
            let (kind, code) = (icmp.get_icmp_type().0, icmp.get_icmp_code().0);
            format!("{source} > {destination} icmp type {kind} code {code}")
        }),
        IpNextHeaderProtocols::Icmpv6 => Icmpv6Packet::new(payload).map(|icmp| {
            let (kind, code) = (icmp.get_icmpv6_type().0, icmp.get_icmpv6_code().0);
            format!("{source} > {destination} icmpv6 type {kind} code {code}")
        }),
        _ => None,
    }
    .unwrap_or_else(|| format!("{source} > {destination} {}", name(protocol)))
}

fn name(protocol: IpNextHeaderProtocol) -> String {
    match protocol.to_string().to_lowercase() {
        unknown if unknown == "unknown" => format!("protocol {}", protocol.0),
        name => name,
    }
}

/// The set flags by their first letters, as tcpdump does.
fn flags(flags: u8) -> String {
    let letters = [
        (TcpFlags::SYN, 'S'),
        (TcpFlags::FIN, 'F'),
        (TcpFlags::RST, 'R'),
        (TcpFlags::PSH, 'P'),
        (TcpFlags::URG, 'U'),
        (TcpFlags::ACK, '.'),
    ];
    letters.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa], parts.concat().as_slice()].concat()
    }

    const IPV4: [u8; 20] = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

    #[test]
    fn tcp_in_two_tags() {
        let tcp = [0x10, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0];
        let tags = [0x88, 0xa8, 0x20, 7, 0x81, 0, 0, 5, 8, 0];
        assert_eq!(
            summary(&frame(&[&tags, &IPV4, &tcp]), 62),
            "02:00:00:00:00:0a > 02:00:00:00:00:0b vlan 7 vlan 5 IPv4 62: \
             10.0.0.1 port 4096 > 10.0.0.2 port 80 tcp [S.]"
        );
    }

    #[test]
    fn others() {
        let text = |parts: &[&[u8]]| {
            let whole = summary(&frame(parts), 60);
            whole.strip_prefix("02:00:00:00:00:0a > 02:00:00:00:00:0b ").unwrap().to_owned()
        };
        let mut ip = IPV4;
        ip[9] = 17;
        assert_eq!(
            text(&[&[8, 0], &ip, &[0, 53, 1, 0, 0, 8, 0, 0]]),
            "IPv4 60: 10.0.0.1 port 53 > 10.0.0.2 port 256 udp"
        );
        assert_eq!(text(&[&[8, 0], &ip]), "IPv4 60: 10.0.0.1 > 10.0.0.2 udp");
        ip[7] = 2;
        assert_eq!(text(&[&[8, 0], &ip]), "IPv4 60: 10.0.0.1 > 10.0.0.2 udp fragment at 16");
        (ip[7], ip[9]) = (0, 200);
        assert_eq!(text(&[&[8, 0], &ip]), "IPv4 60: 10.0.0.1 > 10.0.0.2 protocol 200");
        ip[0] = 0x44;
        assert_eq!(text(&[&[8, 0], &ip]), "IPv4 60: cut or malformed");
        assert_eq!(text(&[&[0x88, 0xb5], &[0; 9]]), "0x88b5 60");
        assert_eq!(text(&[&[0x81, 0, 0]]), "0x8100 60");
        let arp = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 10, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            text(&[&[8, 6], &arp, &[10, 0, 0, 2]]),
            "ARP 60: who-has 10.0.0.2 tell 10.0.0.1"
        );
        assert_eq!(summary(&[0; 13], 60), "cut in the Ethernet header, 60 bytes");
    }

    #[test]
    fn time_of_day() {
        let noon = UNIX_EPOCH + std::time::Duration::new(86_400 * 3 + 43_261, 5_000);
        assert_eq!(time(noon), "12:01:01.000005");
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_line(
            ethertype in prop::sample::select(vec![0x0800_u16, 0x0806, 0x86dd, 0x8100]),
            protocol in prop::sample::select(vec![1_u8, 6, 17, 58]),
            mut payload in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            if let Some(byte) = payload.get_mut(9) {
                *byte = protocol;
            }
            let text = summary(&frame(&[&ethertype.to_be_bytes(), &payload]), 60);
            prop_assert!(text.contains(" 60"), "{text}");
        }
    }
}
