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

/// How long an answer is waited for; a ping that is lost counts as one that took so long.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// So many lost pings, and the tunnel does not work.
const LOST: usize = 10;

/// Blocks of pings that each idle tunnel gets, in turn with the others: noise that lasts longer
/// than a block falls on all.
const BLOCKS: usize = 30;
/// Pings of a block that count.
const BLOCK: usize = 40;
/// Pings before them: the processors' caches forgot this tunnel while the others had their turn.
const BLOCK_WARM_UP: usize = 10;
/// Between an answer and the next ping: everything has gone to sleep again.
const IDLE_PAUSE: Duration = Duration::from_millis(1);

/// Pings beside a load, and the ones before them that do not count.
const LOADED: usize = 150;
const LOADED_WARM_UP: usize = 20;
/// Between an answer and the next ping: spread out, to see queues as they fill and empty.
const LOADED_PAUSE: Duration = Duration::from_millis(4);

/// Header and payload of an echo request in bytes, as ping(8) sends it.
const REQUEST: usize = 8 + 56;

#[derive(Debug, Clone, Copy)]
pub(super) struct Rtt {
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

/// Pings an overlay that others load.
pub(super) fn loaded(overlay: &Overlay) -> Result<Rtt> {
    let mut pinger = Pinger::new(overlay)?;
    pinger.series(LOADED_WARM_UP, LOADED_PAUSE)?;
    let times = sorted(pinger.series(LOADED, LOADED_PAUSE)?);
    Ok(Rtt { median: share(&times, 0.5), p99: share(&times, 0.99) })
}

/// Pings overlays that nobody loads, block by block in turn; of each, the median over its blocks
/// of their medians.
pub(super) fn idle<'a>(overlays: impl Iterator<Item = &'a Overlay>) -> Vec<Result<Rtt>> {
    let mut turns: Vec<_> = overlays
        .map(|overlay| Pinger::new(overlay).map(|pinger| (pinger, Vec::new(), Vec::new())))
        .collect();
    for block in 0..BLOCKS {
        let mut run = |turn: &mut Result<(Pinger, Vec<_>, Vec<_>)>| {
            let Ok((pinger, medians, times)) = turn else { return };
            match pinger.block() {
                Ok(block) => {
                    medians.push(share(&block, 0.5));
                    times.extend(block);
                }
                Err(error) => *turn = Err(error),
            }
        };
        // Forth and back: none always follows the same.
        match block % 2 {
            0 => turns.iter_mut().for_each(&mut run),
            _ => turns.iter_mut().rev().for_each(&mut run),
        }
    }
    let rtt = |(_, medians, times)| Rtt {
        median: share(&sorted(medians), 0.5),
        p99: share(&sorted(times), 0.99),
    };
    turns.into_iter().map(|turn| turn.map(rtt)).collect()
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

/// What this share of them, sorted and at least one, does not exceed.
fn share(times: &[Duration], share: f64) -> Duration {
    times[(times.len() as f64 * share) as usize]
}

/// The client's end of a series of pings.
struct Pinger {
    socket: Socket,
    sequence: u16,
    lost: usize,
}

impl Pinger {
    fn new(overlay: &Overlay) -> Result<Self> {
        let server = SockAddr::from(SocketAddrV4::new(overlay.network.server, 0));
        let socket = overlay.world.client.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
            socket.connect(&server)?;
            socket.set_read_timeout(Some(ANSWER_WAIT))?;
            Ok::<_, io::Error>(socket)
        })?;
        Ok(Self { socket, sequence: 0, lost: 0 })
    }

    /// The times of a block's pings, sorted.
    fn block(&mut self) -> Result<Vec<Duration>> {
        self.series(BLOCK_WARM_UP, IDLE_PAUSE)?;
        Ok(sorted(self.series(BLOCK, IDLE_PAUSE)?))
    }

    /// The times of so many pings, with a pause before each.
    fn series(&mut self, count: usize, pause: Duration) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            thread::sleep(pause);
            times.push(match self.ping() {
                Ok(time) => time,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    self.lost += 1;
                    if self.lost == LOST {
                        return Err(format!("{LOST} pings were lost").into());
                    }
                    ANSWER_WAIT
                }
                Err(error) => return Err(format!("ping: {error}").into()),
            });
        }
        Ok(times)
    }

    fn ping(&mut self) -> io::Result<Duration> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(self.sequence);
        let start = Instant::now();
        self.socket.send(&request)?;
        let mut buffer = [0; 256];
        while start.elapsed() < ANSWER_WAIT {
            let length = self.socket.read(&mut buffer)?;
            if answers(&buffer[..length], self.sequence) {
                return Ok(start.elapsed());
            }
        }
        Err(ErrorKind::TimedOut.into())
    }
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
