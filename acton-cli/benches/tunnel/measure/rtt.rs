//! Pings (ICMP echo, RFC 792): the other end's kernel answers. Of an idle tunnel, only its own
//! wake-ups are in the figure; under a load, the queues in it.

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
/// How long an answer is waited for; a ping that is lost counts as one that took so long.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// So many lost pings, and the tunnel does not work.
const LOST: usize = 10;

/// How a tunnel is pinged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pings {
    count: u16,
    /// Between an answer and the next ping.
    pause: Duration,
}

/// Everything has gone to sleep again before the next ping.
pub(super) const IDLE: Pings = Pings { count: 400, pause: Duration::from_millis(1) };
/// Spread out, to see queues as they fill and empty.
pub(super) const LOADED: Pings = Pings { count: 150, pause: Duration::from_millis(4) };

/// Header and payload of an echo request in bytes, as ping(8) sends it.
const REQUEST: usize = 8 + 56;

#[derive(Debug, Clone, Copy)]
pub(super) struct Rtt {
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

pub(super) fn measure(overlay: &Overlay, pings: Pings) -> Result<Rtt> {
    let server = SockAddr::from(SocketAddrV4::new(overlay.network.server, 0));
    let socket = overlay.world.client.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.connect(&server)?;
        socket.set_read_timeout(Some(ANSWER_WAIT))?;
        Ok::<_, io::Error>(socket)
    })?;
    let (mut times, mut lost) = (Vec::new(), 0);
    for sequence in 0..WARM_UP + pings.count {
        thread::sleep(pings.pause);
        let time = match ping(&socket, sequence) {
            Ok(time) => time,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                lost += 1;
                if lost == LOST {
                    return Err(format!("{LOST} of {sequence} pings were lost").into());
                }
                ANSWER_WAIT
            }
            Err(error) => return Err(format!("ping {sequence}: {error}").into()),
        };
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
