//! ICMP echo (RFC 792) over a raw socket.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use pnet_packet::Packet;
use pnet_packet::icmp::echo_reply::EchoReplyPacket;
use pnet_packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet_packet::icmp::{IcmpPacket, IcmpTypes, checksum};
use pnet_packet::ipv4::Ipv4Packet;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How long an answer is waited for: a frame lost while the kernel still brings a link up costs
/// an ARP retry of 1 s, and is no loss of the tunnel's.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// Payload in bytes, as ping(8) sends.
const PAYLOAD_LEN: usize = 56;
/// Header of an echo request in bytes.
const HEADER_LEN: usize = 8;

/// How a host answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PingResult {
    /// Requests sent.
    pub sent: u16,
    /// Requests answered.
    pub answered: u16,
    /// The median round-trip time; `None` without an answer.
    pub rtt: Option<Duration>,
}

/// Pings each of `targets` `count` times, one after the other.
pub(super) fn all(targets: &[Ipv4Addr], count: u16) -> io::Result<Vec<PingResult>> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    let identifier = std::process::id() as u16;
    targets.iter().map(|&target| one(&socket, target, identifier, count)).collect()
}

fn one(socket: &Socket, target: Ipv4Addr, identifier: u16, count: u16) -> io::Result<PingResult> {
    let mut times = Vec::new();
    for sequence in 1..=count {
        if let Some(time) = round_trip(socket, target, identifier, sequence)? {
            times.push(time);
        }
    }
    times.sort_unstable();
    let rtt = times.get(times.len() / 2).copied();
    Ok(PingResult { sent: count, answered: times.len() as u16, rtt })
}

fn round_trip(
    socket: &Socket,
    target: Ipv4Addr,
    identifier: u16,
    sequence: u16,
) -> io::Result<Option<Duration>> {
    let start = Instant::now();
    let address = SockAddr::from(SocketAddrV4::new(target, 0));
    socket.send_to(&request(identifier, sequence), &address)?;
    let mut buffer = [0; 1_500];
    loop {
        let Some(left) = ANSWER_WAIT.checked_sub(start.elapsed()).filter(|left| !left.is_zero())
        else {
            return Ok(None);
        };
        socket.set_read_timeout(Some(left))?;
        let mut reader = socket;
        let received = match reader.read(&mut buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if answers(&buffer[..received], target, identifier, sequence) {
            return Ok(Some(start.elapsed()));
        }
    }
}

fn request(identifier: u16, sequence: u16) -> [u8; HEADER_LEN + PAYLOAD_LEN] {
    let mut bytes = [0; HEADER_LEN + PAYLOAD_LEN];
    let mut packet = MutableEchoRequestPacket::new(&mut bytes).expect("longer than its header");
    packet.set_icmp_type(IcmpTypes::EchoRequest);
    packet.set_identifier(identifier);
    packet.set_sequence_number(sequence);
    let sum = checksum(&IcmpPacket::new(packet.packet()).expect("longer than its header"));
    packet.set_checksum(sum);
    bytes
}

/// Whether an IPv4 packet is the answer of `target` to that request.
fn answers(bytes: &[u8], target: Ipv4Addr, identifier: u16, sequence: u16) -> bool {
    let Some(ip) = Ipv4Packet::new(bytes).filter(|ip| ip.get_source() == target) else {
        return false;
    };
    EchoReplyPacket::new(ip.payload()).is_some_and(|reply| {
        reply.get_icmp_type() == IcmpTypes::EchoReply
            && reply.get_identifier() == identifier
            && reply.get_sequence_number() == sequence
    })
}
