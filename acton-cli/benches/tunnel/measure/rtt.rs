//! Pings of an idle tunnel (ICMP echo, RFC 792): the other end's kernel answers, so that only the
//! tunnel's own wake-ups are in the figure.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

use pnet_packet::Packet;
use pnet_packet::icmp::echo_reply::EchoReplyPacket;
use pnet_packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet_packet::icmp::{IcmpPacket, IcmpTypes, checksum};
use pnet_packet::ipv4::Ipv4Packet;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Result;
use crate::contender::Overlay;

/// Pings before the ones that count.
const WARM_UP: u16 = 20;
const PINGS: u16 = 400;
/// Between an answer and the next ping: everything has gone to sleep again.
const PAUSE: Duration = Duration::from_millis(1);
/// How long an answer is waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Header and payload of an echo request in bytes, as ping(8) sends it.
const REQUEST: usize = 8 + 56;

#[derive(Debug, Clone, Copy)]
pub(super) struct Rtt {
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

pub(super) fn measure(overlay: &Overlay) -> Result<Rtt> {
    let server = SockAddr::from(SocketAddrV4::new(overlay.network.server, 0));
    let socket = overlay.world.client.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.connect(&server)?;
        socket.set_read_timeout(Some(ANSWER_WAIT))?;
        Ok::<_, io::Error>(socket)
    })?;
    let mut times = Vec::new();
    for sequence in 0..WARM_UP + PINGS {
        thread::sleep(PAUSE);
        let time = ping(&socket, sequence)
            .map_err(|error| format!("ping {sequence} on an idle tunnel: {error}"))?;
        if sequence >= WARM_UP {
            times.push(time);
        }
    }
    times.sort_unstable();
    Ok(Rtt { median: times[times.len() / 2], p99: times[times.len() * 99 / 100] })
}

fn ping(mut socket: &Socket, sequence: u16) -> io::Result<Duration> {
    let request = request(sequence);
    let start = Instant::now();
    socket.send(&request)?;
    let mut buffer = [0; 256];
    while start.elapsed() < ANSWER_WAIT {
        let length = socket.read(&mut buffer)?;
        if answers(&buffer[..length], sequence) {
            return Ok(start.elapsed());
        }
    }
    Err(ErrorKind::TimedOut.into())
}

fn request(sequence: u16) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let mut packet = MutableEchoRequestPacket::new(&mut bytes).expect("longer than its header");
    packet.set_icmp_type(IcmpTypes::EchoRequest);
    packet.set_sequence_number(sequence);
    let sum = checksum(&IcmpPacket::new(packet.packet()).expect("longer than its header"));
    packet.set_checksum(sum);
    bytes
}

/// Whether an IPv4 packet answers that request; nobody else pings in this namespace.
fn answers(bytes: &[u8], sequence: u16) -> bool {
    let Some(ip) = Ipv4Packet::new(bytes) else { return false };
    EchoReplyPacket::new(ip.payload()).is_some_and(|reply| {
        reply.get_icmp_type() == IcmpTypes::EchoReply && reply.get_sequence_number() == sequence
    })
}
