//! Frames of a test of isolation: made, and known again.

use std::net::{Ipv4Addr, Ipv6Addr};

use acton_frame::field::{arp, ethernet, ipv4, ipv6, udp};
use acton_frame::{Headers, Protocol};
use acton_proto::wire::{MacBytes, TestFrames, TestToken};
use acton_tap::offload::Sum;
use pnet_base::MacAddr;

use crate::isolation::kind::TestKind;

/// IEEE Std 802 - Local Experimental EtherType 1 (IEEE 802, section 9.2.3): no kernel answers it.
const ETHERTYPE: u16 = 0x88b5;
/// The port of "discard" (RFC 863).
const PORT: [u8; 2] = [0, 9];
/// Bytes of what marks a frame: the token of the test, and the frame's number.
const MARK_LEN: usize = 18;
/// Ethernet's least frame, in bytes without check sequence.
const LEAST: usize = 60;
/// The VLAN of tagged frames, and the one within it of those that have two tags.
const VLAN: u16 = 100;
const INNER_VLAN: u16 = 200;
/// A group of nobody's that bridges pass on.
const GROUP: MacBytes = [0x03, 0x61, 0x63, 0x74, 0x6f, 0x6f];
/// An IPv4 group of the organisation-local scope (RFC 2365), and the MAC of that.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 9);
const GROUP_V4_MAC: MacBytes = [0x01, 0x00, 0x5e, 0x40, 0, 9];
/// All nodes of a link (RFC 4291, section 2.7.1), and the MAC of that (RFC 2464).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacBytes = [0x33, 0x33, 0, 0, 0, 1];
/// Who has no address says one of documentation (RFC 5737, RFC 3849), which no router passes on.
const NOBODY_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const NOBODY_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
];
const TTL: u8 = 64;
const BROADCAST: MacBytes = [0xff; 6];

/// Where the sender of test frames lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) mac: MacAddr,
    /// Unspecified where there is none.
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
    /// The longest frame, in bytes.
    pub(crate) max_frame: usize,
}

/// A frame of this kind; `None` where one of the two ends lacks the address that it takes.
pub(crate) fn frame(
    kind: TestKind,
    token: TestToken,
    frames: &TestFrames,
    home: &Home,
) -> Option<Vec<u8>> {
    let own = home.mac.octets();
    let mark = mark(token, frames.number.wrapping_add(kind as u16));
    let peer_v4 = or_v4(frames.ipv4, NOBODY_V4[1]);
    let peer_v6 = or_v6(frames.ipv6, NOBODY_V6[1]);
    let from_v4 = or_v4(home.ipv4, NOBODY_V4[0]);
    let from_v6 = or_v6(home.ipv6, NOBODY_V6[0]);
    let (root, peer) = (frames.root, frames.peer);
    let plain = |to, from, tags: &[(u16, u16)]| link(to, from, tags, ETHERTYPE, &mark);
    let v4 = |to, address| link(to, own, &[], ethernet::IPV4, &packet_v4(from_v4, address, &mark));
    let v6 = |to, address| link(to, own, &[], ethernet::IPV6, &packet_v6(from_v6, address, &mark));
    Some(match kind {
        TestKind::Root => plain(root, own, &[]),
        TestKind::Broadcast => plain(BROADCAST, own, &[]),
        TestKind::BroadcastVlan => plain(BROADCAST, own, &[(ethernet::C_TAG, VLAN)]),
        TestKind::Group => plain(GROUP, own, &[]),
        TestKind::GroupIpv4 => v4(GROUP_V4_MAC, GROUP_V4),
        TestKind::GroupIpv6 => v6(ALL_NODES_MAC, ALL_NODES),
        TestKind::Unknown => plain(nobody(token), own, &[]),
        TestKind::FromRoot => plain(BROADCAST, root, &[]),
        TestKind::FromGroup => plain(BROADCAST, GROUP, &[]),
        TestKind::Beside => plain(nobody(token), stranger(token).octets(), &[]),
        TestKind::Peer => plain(peer, own, &[]),
        TestKind::PeerLarge => {
            let mut large = plain(peer, own, &[]);
            large.resize(home.max_frame.max(LEAST), 0);
            large
        }
        TestKind::PeerPriority => plain(peer, own, &[(ethernet::C_TAG, 0)]),
        TestKind::PeerVlan => plain(peer, own, &[(ethernet::C_TAG, VLAN)]),
        TestKind::PeerQinq => {
            plain(peer, own, &[(ethernet::S_TAG, VLAN), (ethernet::C_TAG, INNER_VLAN)])
        }
        TestKind::PeerIpv4 => v4(peer, peer_v4),
        TestKind::PeerIpv6 => v6(peer, peer_v6),
        TestKind::PeerArp => {
            // With another address than its own it would tell of one that it does not have.
            if home.ipv4.is_unspecified() || frames.ipv4.is_unspecified() {
                return None;
            }
            let mut request = arp_request(own, home.ipv4, frames.ipv4);
            request.extend(mark);
            link(BROADCAST, own, &[], ethernet::ARP, &request)
        }
        TestKind::FromPeer => plain(BROADCAST, peer, &[]),
        TestKind::RoutedIpv4 if frames.ipv4.is_unspecified() => return None,
        TestKind::RoutedIpv6 if frames.ipv6.is_unspecified() => return None,
        TestKind::RoutedIpv4 => v4(root, frames.ipv4),
        TestKind::RoutedIpv6 => v6(root, frames.ipv6),
    })
}

/// A frame by which a server shows that a client hears: to its MAC, or to all.
pub(crate) fn control_frame(
    token: TestToken,
    number: u16,
    root: MacAddr,
    to: Option<MacAddr>,
) -> Vec<u8> {
    let to = to.map_or(BROADCAST, |mac| mac.octets());
    link(to, root.octets(), &[], ETHERTYPE, &mark(token, number))
}

/// The number of a frame of this test; `None` for any other frame.
pub(crate) fn number(token: TestToken, headers: &Headers, frame: &[u8]) -> Option<u16> {
    let network = headers.network()?;
    let at = match headers.ethertype()? {
        ETHERTYPE => network,
        ethernet::ARP => network + arp::LEN,
        ethernet::IPV4 | ethernet::IPV6 => {
            let transport = headers.transport().filter(|it| it.protocol == Protocol::Udp)?;
            transport.payload
        }
        _ => return None,
    };
    let mark: &[u8; MARK_LEN] = frame.get(at..)?.first_chunk()?;
    let (of, number) = mark.split_first_chunk::<16>()?;
    (*of == token.0).then(|| u16::from_be_bytes([number[0], number[1]]))
}

/// The VLANs, as the bridge knows them, on which a client of the test sends from its own MAC beside that
/// of untagged frames.
pub(crate) const VLANS: [u16; 1] = [VLAN];

/// A MAC that nobody has, drawn anew for each test.
fn nobody(token: TestToken) -> MacBytes {
    let [a, b, c, d, e, ..] = token.0;
    [0x06, a, b, c, d, e]
}

/// Another one, which a client's LAN hears of where the client must not say that its own MAC is at the TAP.
pub(crate) fn stranger(token: TestToken) -> MacAddr {
    let [.., a, b, c, d, e] = token.0;
    MacAddr(0x06, a, b, c, d, e)
}

fn mark(token: TestToken, number: u16) -> [u8; MARK_LEN] {
    let mut mark = [0; MARK_LEN];
    mark[..16].copy_from_slice(&token.0);
    mark[16..].copy_from_slice(&number.to_be_bytes());
    mark
}

fn or_v4(address: Ipv4Addr, other: Ipv4Addr) -> Ipv4Addr {
    if address.is_unspecified() { other } else { address }
}

fn or_v6(address: Ipv6Addr, other: Ipv6Addr) -> Ipv6Addr {
    if address.is_unspecified() { other } else { address }
}

/// A frame with these tags, padded to Ethernet's least length.
fn link(
    to: MacBytes,
    from: MacBytes,
    tags: &[(u16, u16)],
    ethertype: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [to, from].concat();
    for (kind, vlan) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(LEAST), 0);
    frame
}

fn arp_request(mac: MacBytes, from: Ipv4Addr, of: Ipv4Addr) -> Vec<u8> {
    let mut message = arp::IPV4_OVER_ETHERNET.to_vec();
    message.extend(arp::REQUEST.to_be_bytes());
    message.extend(mac);
    message.extend(from.octets());
    message.extend([0; 6]);
    message.extend(of.octets());
    message
}

fn packet_v4(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let addresses = [from.octets(), to.octets()].concat();
    let datagram = datagram(&addresses, payload);
    let mut packet = vec![0x45, 0];
    packet.extend(((ipv4::LEN + datagram.len()) as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, TTL, udp::NUMBER, 0, 0]);
    packet.extend(addresses);
    let sum = Sum::of(&packet).checksum();
    packet[ipv4::CHECKSUM].copy_from_slice(&sum);
    packet.extend(datagram);
    packet
}

fn packet_v6(from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let addresses = [from.octets(), to.octets()].concat();
    let datagram = datagram(&addresses, payload);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((datagram.len() as u16).to_be_bytes());
    packet.extend([udp::NUMBER, TTL]);
    packet.extend(addresses);
    debug_assert_eq!(packet.len(), ipv6::LEN);
    packet.extend(datagram);
    packet
}

/// A UDP datagram to the port of "discard" and from there.
fn datagram(addresses: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = udp::LEN + payload.len();
    let mut datagram = [PORT, PORT].concat();
    datagram.extend((len as u16).to_be_bytes());
    datagram.extend([0; 2]);
    datagram.extend(payload);
    let sum = Sum::pseudo_header(addresses, udp::NUMBER, len).plus(&datagram);
    // A sum of 0 would mean that there is none (RFC 768).
    let sum = if sum.checksum() == [0; 2] { [0xff; 2] } else { sum.checksum() };
    datagram[udp::CHECKSUM].copy_from_slice(&sum);
    datagram
}

#[cfg(test)]
mod tests {
    use acton_proto::wire::is_probe;
    use pnet_packet::Packet;
    use pnet_packet::ipv4::Ipv4Packet;
    use pnet_packet::ipv6::Ipv6Packet;
    use pnet_packet::udp::UdpPacket;
    use pnet_packet::{ipv4, udp};
    use proptest::prelude::*;

    use super::*;

    const TOKEN: TestToken = TestToken([0xa5; 16]);
    const PEER: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);

    fn home() -> Home {
        let (ipv4, ipv6) = (Ipv4Addr::new(10, 0, 0, 7), Ipv6Addr::LOCALHOST);
        Home { mac: MacAddr(2, 0, 0, 0, 0, 7), ipv4, ipv6, max_frame: 1_514 }
    }

    fn frames() -> TestFrames {
        TestFrames {
            number: 64,
            kinds: u32::MAX,
            root: [2, 0, 0, 0, 0, 1],
            peer: PEER.octets(),
            ipv4: Ipv4Addr::new(10, 0, 0, 9),
            ipv6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9),
        }
    }

    fn read(token: TestToken, frame: &[u8]) -> Option<u16> {
        number(token, &Headers::parse(frame), frame)
    }

    #[test]
    fn every_kind_is_known_again_by_its_token_alone() {
        for &kind in TestKind::ALL {
            let frame = frame(kind, TOKEN, &frames(), &home()).unwrap();
            assert!((LEAST..=1_514).contains(&frame.len()), "{kind:?}: {}", frame.len());
            assert_eq!(read(TOKEN, &frame), Some(64 + kind as u16), "{kind:?}");
            assert_eq!(read(TestToken([0x5a; 16]), &frame), None, "{kind:?}");
            assert!(!is_probe(&frame));
            let from = &frame[6..12];
            let forged = [TestKind::FromRoot, TestKind::FromGroup, TestKind::FromPeer];
            let own = !forged.contains(&kind) && !kind.is_beside();
            assert_eq!(from == home().mac.octets(), own, "{kind:?}");
        }
        let frame = control_frame(TOKEN, 31, MacAddr(2, 0, 0, 0, 0, 1), Some(PEER));
        assert_eq!((read(TOKEN, &frame), frame.len()), (Some(31), LEAST));
    }

    #[test]
    fn without_addresses_nothing_is_said_of_any() {
        let (mut home, mut frames) = (home(), frames());
        (home.ipv4, home.ipv6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        (frames.ipv4, frames.ipv6) = (home.ipv4, home.ipv6);
        let made = |kind| frame(kind, TOKEN, &frames, &home);
        let missing: Vec<_> =
            TestKind::ALL.iter().filter(|kind| made(**kind).is_none()).copied().collect();
        assert_eq!(missing, [TestKind::PeerArp, TestKind::RoutedIpv4, TestKind::RoutedIpv6]);
        let packet = made(TestKind::PeerIpv4).unwrap();
        assert_eq!(packet[26..34], [192, 0, 2, 1, 192, 0, 2, 2]);
    }

    #[test]
    fn packets_are_whole_and_their_sums_right() {
        let made = |kind| frame(kind, TOKEN, &frames(), &home()).unwrap();
        for kind in [TestKind::PeerIpv4, TestKind::GroupIpv4, TestKind::RoutedIpv4] {
            let frame = made(kind);
            let packet = Ipv4Packet::new(&frame[14..]).unwrap();
            assert_eq!(packet.get_checksum(), ipv4::checksum(&packet));
            let datagram = UdpPacket::new(packet.payload()).unwrap();
            let (from, to) = (packet.get_source(), packet.get_destination());
            assert_eq!(datagram.get_checksum(), udp::ipv4_checksum(&datagram, &from, &to));
            assert_eq!(datagram.get_destination(), 9);
        }
        for kind in [TestKind::PeerIpv6, TestKind::GroupIpv6, TestKind::RoutedIpv6] {
            let frame = made(kind);
            let packet = Ipv6Packet::new(&frame[14..]).unwrap();
            let datagram = UdpPacket::new(packet.payload()).unwrap();
            let (from, to) = (packet.get_source(), packet.get_destination());
            assert_eq!(datagram.get_checksum(), udp::ipv6_checksum(&datagram, &from, &to));
        }
    }

    proptest! {
        #[test]
        fn other_frames_are_none(bytes in prop::collection::vec(any::<u8>(), 0..200), ethertype in prop_oneof![
            Just(ETHERTYPE), Just(ethernet::ARP), Just(ethernet::IPV4), Just(ethernet::IPV6)]) {
            let mut bytes = bytes;
            if bytes.len() >= 14 {
                bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
            }
            prop_assert_eq!(read(TOKEN, &bytes), None);
        }
    }
}
