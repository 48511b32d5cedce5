use std::net::{Ipv4Addr, SocketAddrV4};

use acton_netns::Namespace;
use pnet_packet::{icmp, ipv4, udp};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of an IPv4 header without options, and of a UDP header.
const IPV4: usize = 20;
const UDP: usize = 8;

/// Sends IPv4 packets that claim to be from anybody.
pub(crate) struct Forger {
    socket: Socket,
}

impl Forger {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        // The caller of this protocol number gives the whole header (raw(7)).
        let raw = Protocol::from(libc::IPPROTO_RAW);
        let socket = namespace.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(raw))).unwrap();
        Self { socket }
    }

    /// Sends a packet that was made here.
    pub(crate) fn send(&self, packet: &[u8]) -> std::io::Result<usize> {
        let to = Ipv4Addr::from(<[u8; 4]>::try_from(&packet[16..20]).unwrap());
        self.socket.send_to(packet, &SocketAddrV4::new(to, 0).into())
    }

    /// An IPv4 packet with a UDP datagram, not to be fragmented.
    pub(crate) fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; UDP + payload.len()];
        datagram[0..2].copy_from_slice(&from.port().to_be_bytes());
        datagram[2..4].copy_from_slice(&to.port().to_be_bytes());
        let length = u16::try_from(datagram.len()).unwrap();
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        datagram[UDP..].copy_from_slice(payload);
        let view = udp::UdpPacket::new(&datagram).unwrap();
        let sum = udp::ipv4_checksum(&view, from.ip(), to.ip());
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        packet(*from.ip(), *to.ip(), 17, &datagram)
    }

    /// An ICMP error (RFC 792) about `about`, a packet as [`udp`](Self::udp) makes it; `rest` is
    /// the second word of the message, e.g. the MTU of the next hop (RFC 1191).
    pub(crate) fn icmp(from: Ipv4Addr, kind: u8, code: u8, rest: u32, about: &[u8]) -> Vec<u8> {
        let to = Ipv4Addr::from(<[u8; 4]>::try_from(&about[12..16]).unwrap());
        let mut message = vec![kind, code, 0, 0];
        message.extend(rest.to_be_bytes());
        // As much as tells which socket is meant, and more, as RFC 1812 asks.
        message.extend(&about[..about.len().min(100)]);
        let sum = icmp::checksum(&icmp::IcmpPacket::new(&message).unwrap());
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        packet(from, to, 1, &message)
    }
}

fn packet(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(IPV4 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = ipv4::checksum(&ipv4::Ipv4Packet::new(&packet).unwrap());
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}
