//! Any frame: what is found is what pnet_packet's own parsers find, layer by layer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use acton_frame::{Ethernet, Fragment, Headers, Ip, IpVersion, Protocol, Transport};
use pnet_packet::ethernet::{EtherType, EtherTypes, EthernetPacket};
use pnet_packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols as Next};
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::{ExtensionPacket, FragmentPacket, Ipv6Packet};
use pnet_packet::tcp::TcpPacket;
use pnet_packet::udp::UdpPacket;
use pnet_packet::vlan::VlanPacket;
use proptest::prelude::*;

fn is_tag(ethertype: EtherType) -> bool {
    [EtherTypes::Vlan, EtherTypes::PBridge].contains(&ethertype)
}

/// VLAN tags, the EtherType behind them and where what follows starts.
fn tags(frame: &[u8]) -> Option<(Vec<u16>, Option<EtherType>, usize)> {
    let ethernet = EthernetPacket::new(frame)?;
    let (mut ids, mut ethertype, mut at) = (Vec::new(), Some(ethernet.get_ethertype()), 14);
    while ethertype.is_some_and(is_tag) && ids.len() < 2 {
        let tag = VlanPacket::new(&frame[at..]);
        ethertype = tag.as_ref().map(VlanPacket::get_ethertype);
        ids.push(tag.map_or(0, |tag| tag.get_vlan_identifier()));
        at += 4;
    }
    Some((ids, ethertype, at))
}

fn ipv4(frame: &[u8], start: usize) -> Option<Ip> {
    let packet = Ipv4Packet::new(frame.get(start..)?)?;
    if packet.get_version() != 4 || packet.get_header_length() < 5 {
        return None;
    }
    let fragment = match (packet.get_fragment_offset(), packet.get_flags()) {
        (0, 0 | 2) => Fragment::Whole,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    };
    let payload = start + usize::from(packet.get_header_length()) * 4;
    Some(Ip {
        version: IpVersion::V4,
        start,
        protocol: packet.get_next_level_protocol().0,
        fragment,
        fills: start + usize::from(packet.get_total_length()) == frame.len(),
        payload: Some(payload).filter(|&at| at <= frame.len() && fragment != Fragment::Later),
    })
}

fn ipv6(frame: &[u8], start: usize) -> Option<Ip> {
    let packet = Ipv6Packet::new(frame.get(start..)?)?;
    if packet.get_version() != 6 {
        return None;
    }
    let mut ip = Ip {
        version: IpVersion::V6,
        start,
        protocol: packet.get_next_header().0,
        fragment: Fragment::Whole,
        fills: start + 40 + usize::from(packet.get_payload_length()) == frame.len(),
        payload: None,
    };
    let mut at = start + 40;
    // What stands behind the packet is none of its headers.
    let end = frame.len().min(at + usize::from(packet.get_payload_length()));
    let packet = &frame[..end];
    let mut passed = 0;
    loop {
        let rest = packet.get(at..);
        let (next, length) = match IpNextHeaderProtocol(ip.protocol) {
            Next::Hopopt | Next::Ipv6Route | Next::Ipv6Opts => {
                let Some(extension) = rest.and_then(ExtensionPacket::new) else { return Some(ip) };
                let length = 8 + 8 * usize::from(extension.get_hdr_ext_len());
                (extension.get_next_header(), length)
            }
            Next::Ipv6Frag => {
                let Some(header) = rest.and_then(FragmentPacket::new) else { return Some(ip) };
                let later = header.get_fragment_offset_with_flags() >> 3 != 0;
                ip.fragment = if later { Fragment::Later } else { Fragment::First };
                (header.get_next_header(), 8)
            }
            _ => break,
        };
        if passed == 8 {
            return Some(ip);
        }
        passed += 1;
        ip.protocol = next.0;
        at += length;
        if ip.fragment == Fragment::Later {
            return Some(ip);
        }
    }
    ip.payload = Some(at).filter(|&at| at <= packet.len());
    Some(ip)
}

fn transport(frame: &[u8], ip: Ip) -> Option<Transport> {
    let start = ip.payload.filter(|_| ip.fragment == Fragment::Whole)?;
    let bytes = &frame[start..];
    let (protocol, length) = match IpNextHeaderProtocol(ip.protocol) {
        Next::Tcp => {
            let words = TcpPacket::new(bytes)?.get_data_offset();
            (Protocol::Tcp, Some(words).filter(|&words| words >= 5)?.into())
        }
        Next::Udp => UdpPacket::new(bytes).map(|_| (Protocol::Udp, 2_usize))?,
        _ => return None,
    };
    let payload = Some(start + length * 4).filter(|&at| at <= frame.len())?;
    Some(Transport { protocol, start, payload })
}

/// Bytes that mean nothing.
const FILL: [u8; 100] = [0x2f; 100];

/// An IPv4 header with options, whose length is not filled in.
fn ipv4_header(words: u8, fragment: u16, protocol: u8) -> Vec<u8> {
    let [high, low] = fragment.to_be_bytes();
    let header = [0x40 | words, 0, 0, 0, 0, 1, high, low, 64, protocol, 0, 0];
    [&header[..], &FILL[..usize::from(words.max(5)) * 4 - 12]].concat()
}

/// An IPv6 header with extension headers: their kinds, lengths and second words.
fn ipv6_header(extensions: &[(u8, u8, u16)], protocol: u8) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
    header.extend(&FILL[..32]);
    let mut next = 6;
    for &(kind, units, word) in extensions {
        header[next] = kind;
        next = header.len();
        header.extend([protocol, units]);
        header.extend(word.to_be_bytes());
        header.extend(&FILL[..4 + 8 * usize::from(units)]);
    }
    header
}

fn ip_header() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let protocol = prop_oneof![
        4 => prop::sample::select(vec![6_u8, 17, 50, 132, 1, 58]),
        1 => any::<u8>(),
    ];
    let fragment = prop::sample::select(vec![0_u16, 0x4000, 0x2000, 0x8000, 7]);
    let extension = prop_oneof![
        3 => (prop::sample::select(vec![0_u8, 43, 60]), 0..3_u8, any::<u16>()),
        1 => (Just(44), Just(0), prop_oneof![0..8_u16, any::<u16>()]),
    ];
    let extensions = prop_oneof![
        3 => prop::collection::vec(extension.clone(), 0..4),
        1 => prop::collection::vec(extension, 7..11),
    ];
    (any::<bool>(), 4..16_u8, fragment, extensions, protocol).prop_map(
        |(v6, words, fragment, extensions, protocol)| match v6 {
            false => (v6, ipv4_header(words, fragment, protocol)),
            true => (v6, ipv6_header(&extensions, protocol)),
        },
    )
}

/// A frame of likely headers, at times with a few bits wrong, or cut.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let tag = (prop::sample::select(vec![0x8100_u16, 0x88a8]), any::<u16>());
    let tags = prop::collection::vec(tag, 0..4);
    let ethertype = prop::option::weighted(0.1, any::<u16>());
    let payload = prop::collection::vec(any::<u8>(), 0..100);
    let padding = prop_oneof![Just(0), 0..9_u16];
    let harm = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let end = prop::option::of(0..150_usize);
    (tags, ethertype, ip_header(), payload, padding, harm, end).prop_map(
        |(tags, ethertype, (v6, mut ip), payload, padding, harm, end)| {
            let length = (ip.len() + payload.len()) as u16 - padding.min(payload.len() as u16);
            match v6 {
                false => ip[2..4].copy_from_slice(&length.to_be_bytes()),
                true => ip[4..6].copy_from_slice(&(length - 40).to_be_bytes()),
            }
            let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            for (kind, id) in tags {
                frame.extend([kind.to_be_bytes(), id.to_be_bytes()].concat());
            }
            frame.extend(ethertype.unwrap_or(if v6 { 0x86dd } else { 0x0800 }).to_be_bytes());
            frame.extend([ip, payload].concat());
            for (at, bits) in harm {
                let at = at.index(frame.len());
                frame[at] ^= bits;
            }
            frame.truncate(end.unwrap_or(usize::MAX));
            frame
        },
    )
}

fn check(frame: &[u8]) -> Result<(), TestCaseError> {
    let headers = Headers::parse(frame);
    prop_assert_eq!(headers.frame_len(), frame.len());
    prop_assert_eq!(headers.ethernet().copied(), Ethernet::parse(frame));
    let Some((ids, ethertype, at)) = tags(frame) else {
        prop_assert_eq!(headers.ethernet(), None);
        prop_assert_eq!((headers.ip(), headers.transport()), (None, None));
        return Ok(());
    };
    // A frame that ends in its outer tag is a runt; one that ends in the inner has no EtherType.
    prop_assert_eq!(headers.ethernet().is_none(), ids.len() == 1 && ethertype.is_none());
    let expected = EthernetPacket::new(frame).unwrap();
    if let Some(ethernet) = headers.ethernet() {
        prop_assert_eq!(ethernet.destination(), expected.get_destination());
        prop_assert_eq!(ethernet.source(), expected.get_source());
        prop_assert_eq!(ethernet.vlan(), ids.first().copied().unwrap_or(0));
        prop_assert_eq!(headers.tags(), ids.len());
    }
    prop_assert_eq!(
        headers.ethertype(),
        ethertype.map(|ethertype| ethertype.0).filter(|&t| t != 0)
    );
    let ip = match ethertype {
        Some(EtherTypes::Ipv4) => ipv4(frame, at),
        Some(EtherTypes::Ipv6) => ipv6(frame, at),
        _ => None,
    };
    prop_assert_eq!(headers.ip(), ip);
    prop_assert_eq!(headers.transport(), ip.and_then(|ip| transport(frame, ip)));
    let hosts = ip.map(|ip| match ip.version {
        IpVersion::V4 => &frame[ip.start + 12..ip.start + 20],
        IpVersion::V6 => &frame[ip.start + 8..ip.start + 40],
    });
    prop_assert_eq!(headers.hosts(frame), hosts);
    let ports = ip.filter(|ip| {
        ip.fragment == Fragment::Whole && [6, 17, 33, 50, 132, 136].contains(&ip.protocol)
    });
    let ports = ports.and_then(|ip| frame.get(ip.payload?..)?.first_chunk());
    prop_assert_eq!(headers.ports(frame), ports);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16_384))]

    #[test]
    fn likely_frames(frame in any_frame()) {
        check(&frame)?;
    }

    #[test]
    fn any_bytes(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&frame)?;
    }

    /// A caller may mix frames up: what is asked of the wrong one is wrong, and no more than that.
    #[test]
    fn headers_of_another_frame(frame in any_frame(), other in any_frame()) {
        let headers = Headers::parse(&frame);
        let _ = headers.hosts(&other);
        let _ = headers.ports(&other);
    }
}
