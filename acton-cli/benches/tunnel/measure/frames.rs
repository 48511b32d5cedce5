//! Frames from client to server: of 64 bytes, the smallest that Ethernet has, and small ones of many
//! sizes in an order in which they cannot be joined to super-frames.
//!
//! A packet socket at the client's device sends UDP datagrams. They are counted by a UDP
//! socket in the server's namespace that nobody reads, so that its own drop counter has each of
//! them: what arrives is counted after the kernel has taken super-frames apart, and no reader
//! takes processor time from the tunnel.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acton_raw::{Filter, RawSocket};
use acton_tap::Interface;
use pnet_base::MacAddr;
use pnet_packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv4::{self, Ipv4Flags, MutableIpv4Packet};
use pnet_packet::udp::{self, MutableUdpPacket};
use socket2::SockRef;

use super::cpu;
use crate::Result;
use crate::contender::Overlay;
use crate::world::{Network, UdpTable};

/// Bytes of the smallest frame without its check sequence, which no virtual device has.
const SMALLEST: usize = 60;
/// Bytes of the largest of mixed frames.
const LARGEST: usize = 300;
const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: usize = 20;
/// UDP port of the discard service (RFC 863).
const DISCARD: u16 = 9;

/// Runs before the window opens: queues are as full as they get.
const WARM_UP: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_millis(250);
/// Queues run empty after a trial.
const SETTLE: Duration = Duration::from_millis(50);
/// Frames of one system call, when as many as possible are sent.
const BATCH: usize = 64;
/// What a paced sender waits between two batches, at least: it sleeps, and cannot sleep shorter.
const PACE: Duration = Duration::from_micros(100);
/// How far a paced sender that was kept waiting may catch up.
const CATCH_UP: Duration = Duration::from_millis(1);

/// Loss that still counts as none.
const LOSS: f64 = 0.01;
/// Factor between two rates while the limit is looked for from one side.
const STRIDE: f64 = 1.25;
/// Halvings of the last stride: the limit is then known to 1.4 %.
const HALVINGS: u32 = 4;
/// A rate is given up after so many trials: a program that ran aside may have cost the first.
const TRIALS: u32 = 2;
/// No tunnel at all below this many frames a second.
const LEAST: f64 = 500.0;

/// Frames a second that arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// The most with a loss below 1 %.
    pub(super) lossless: f64,
    /// When as many as possible were sent.
    pub(super) flooded: f64,
}

/// What becomes of as many frames of many sizes as can be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixed {
    /// Frames a second that arrived.
    pub(super) delivered: f64,
    /// Processor time of the tunnel's programs for each of them.
    pub(super) cpu: Duration,
}

/// Floods the overlay with frames of many sizes.
pub(super) fn measure_mixed(overlay: &Overlay) -> Result<Mixed> {
    let mut lane = Lane::mixed(overlay)?;
    let processes = overlay.process_groups();
    let flood = lane.trial(None, &processes)?;
    if flood.delivered == 0.0 {
        return Err("no frame of many sizes came through".into());
    }
    Ok(Mixed { delivered: flood.delivered, cpu: flood.cpu.div_f64(flood.delivered) })
}

/// Floods the overlay, then looks for the highest rate that it carries whole.
pub(super) fn measure(overlay: &Overlay) -> Result<Rates> {
    let mut lane = Lane::equal(overlay)?;
    let flood = lane.trial(None, &[])?;
    if flood.is_whole() {
        return Ok(Rates { lossless: flood.delivered, flooded: flood.delivered });
    }
    let lossless = lane.highest_whole(flood)?;
    Ok(Rates { lossless, flooded: flood.delivered })
}

/// Frames a second in one window.
#[derive(Debug, Clone, Copy)]
struct Trial {
    sent: f64,
    delivered: f64,
    /// Processor time of the tunnel's programs in a second.
    cpu: Duration,
}

impl Trial {
    fn is_whole(self) -> bool {
        self.delivered >= self.sent * (1.0 - LOSS)
    }
}

/// A way for frames from the client's device to a counter at the server.
pub(crate) struct Lane {
    socket: RawSocket,
    /// As many as a system call sends.
    frames: Vec<Vec<u8>>,
    /// Its drop counter is what arrived.
    _sink: UdpSocket,
    table: UdpTable,
}

impl Lane {
    /// For frames of 64 bytes.
    pub(crate) fn equal(overlay: &Overlay) -> Result<Self> {
        Self::of(overlay, [SMALLEST; BATCH])
    }

    /// For small frames of many sizes, each larger than the one before: a super-frame has equal ones,
    /// but for a shorter last one.
    fn mixed(overlay: &Overlay) -> Result<Self> {
        let size = |index| SMALLEST + index * (LARGEST - SMALLEST) / BATCH;
        Self::of(overlay, std::array::from_fn(size))
    }

    fn of(overlay: &Overlay, sizes: [usize; BATCH]) -> Result<Self> {
        let Network { device, server, .. } = overlay.network;
        let mac = || Interface::open(device)?.mac();
        let world = &overlay.world;
        let (source, destination) = (world.client.run(mac)?, world.server.run(mac)?);
        let frame = |size| frame(size, overlay.network, source, destination);
        let frames = sizes.into_iter().map(frame).collect();
        // It only sends: with an EtherType that is none, nothing is queued for it.
        let socket = RawSocket::builder(device).ignore_outgoing(true).filter(Filter::ethertype(0));
        let socket = world.client.run(|| socket.build())?;
        let sink = world.server.run(|| UdpSocket::bind((server, DISCARD)))?;
        // As small as it gets: what still finds room is not counted.
        SockRef::from(&sink).set_recv_buffer_size(0)?;
        Ok(Self { socket, frames, _sink: sink, table: UdpTable::of(&world.server)? })
    }

    /// The frames that arrived so far (modulo 2^32), but for the first few.
    pub(crate) fn arrived(&mut self) -> Result<u32> {
        Ok(self.table.drops(DISCARD)?.ok_or("the counting socket is gone")?)
    }

    /// Sends so many frames at once.
    pub(crate) fn send(&self, count: usize) -> io::Result<()> {
        let frames: Vec<_> = self.frames.iter().map(Vec::as_slice).cycle().take(count).collect();
        self.socket.send_batch(&frames).map(drop)
    }

    /// Lowers the rate from what a flood delivered until all of it arrives, raises it until some
    /// of it does not, and halves what is between.
    fn highest_whole(&mut self, flood: Trial) -> Result<f64> {
        let mut best = 0.0;
        let mut whole = |rate| {
            let found = self.whole(rate)?;
            best = f64::max(best, found.unwrap_or(0.0));
            Ok::<_, crate::Failure>(found.is_some())
        };
        // A rate that arrives whole, once the first loop is done, and one that does not.
        let (mut good, mut bad) = (flood.delivered, flood.sent);
        while !whole(good)? {
            (good, bad) = (good / STRIDE, good);
            if good < LEAST {
                return Err("64-byte frames are lost at any rate".into());
            }
        }
        while good * STRIDE < bad {
            let next = good * STRIDE;
            if whole(next)? { good = next } else { bad = next }
        }
        for _ in 0..HALVINGS {
            let middle = (good * bad).sqrt();
            if whole(middle)? { good = middle } else { bad = middle }
        }
        Ok(best)
    }

    /// What arrived at a rate that is carried whole.
    fn whole(&mut self, rate: f64) -> Result<Option<f64>> {
        for _ in 0..TRIALS {
            let trial = self.trial(Some(rate), &[])?;
            if trial.is_whole() {
                return Ok(Some(trial.delivered));
            }
        }
        Ok(None)
    }

    /// Sends `rate` frames a second, or all it can, and counts both ends in the same window: a
    /// queue that fills up meanwhile counts as loss. `processes` are the tunnel's.
    fn trial(&mut self, rate: Option<f64>, processes: &[u32]) -> Result<Trial> {
        let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let Self { socket, frames, table, .. } = self;
        let trial = thread::scope(|scope| {
            let sending = scope.spawn(|| send(socket, frames, rate, &sent, &stop));
            thread::sleep(WARM_UP);
            let trial = count(table, &sent, processes);
            stop.store(true, Ordering::Relaxed);
            sending.join().expect("the sender does not panic")?;
            trial
        });
        thread::sleep(SETTLE);
        trial
    }
}

fn count(table: &mut UdpTable, sent: &AtomicU64, processes: &[u32]) -> Result<Trial> {
    let cpu = cpu::spent(processes)?;
    let (start, sent_before, delivered_before) = look(table, sent)?;
    thread::sleep(WINDOW);
    let (end, sent_after, delivered_after) = look(table, sent)?;
    let cpu = cpu::spent(processes)?.saturating_sub(cpu);
    let seconds = (end - start).as_secs_f64();
    Ok(Trial {
        sent: (sent_after - sent_before) as f64 / seconds,
        delivered: f64::from(delivered_after.wrapping_sub(delivered_before)) / seconds,
        cpu: cpu.div_f64(seconds),
    })
}

/// The time, and the frames sent and (modulo 2^32) delivered so far.
fn look(table: &mut UdpTable, sent: &AtomicU64) -> Result<(Instant, u64, u32)> {
    let delivered = table.drops(DISCARD)?.ok_or("the counting socket is gone")?;
    Ok((Instant::now(), sent.load(Ordering::Relaxed), delivered))
}

fn send(
    socket: &RawSocket,
    frames: &[Vec<u8>],
    rate: Option<f64>,
    sent: &AtomicU64,
    stop: &AtomicBool,
) -> io::Result<()> {
    let size = match rate {
        Some(rate) => ((rate * PACE.as_secs_f64()) as usize).clamp(1, BATCH),
        None => BATCH,
    };
    let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(size as f64 / rate));
    let frames: Vec<_> = frames[..size].iter().map(Vec::as_slice).collect();
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < next {
            thread::sleep(next - now);
        }
        next = (next + interval).max(now.checked_sub(CATCH_UP).unwrap_or(now));
        // A full queue at the device is loss like any other.
        match socket.send_batch(&frames) {
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => return Err(error),
            _ => sent.fetch_add(size as u64, Ordering::Relaxed),
        };
    }
    Ok(())
}

/// A UDP datagram from client to server in a frame of `size` bytes, checksums and all.
fn frame(size: usize, network: Network, source: MacAddr, destination: MacAddr) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let long_enough = "the frame holds its headers";
    let mut ethernet = MutableEthernetPacket::new(&mut bytes).expect(long_enough);
    ethernet.set_source(source);
    ethernet.set_destination(destination);
    ethernet.set_ethertype(EtherTypes::Ipv4);

    let (ip_bytes, udp_bytes) = bytes[ETHERNET_HEADER..].split_at_mut(IPV4_HEADER);
    let mut ip = MutableIpv4Packet::new(ip_bytes).expect(long_enough);
    ip.set_version(4);
    ip.set_header_length((IPV4_HEADER / 4) as u8);
    ip.set_total_length((size - ETHERNET_HEADER) as u16);
    ip.set_flags(Ipv4Flags::DontFragment);
    ip.set_ttl(64);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
    ip.set_source(network.client);
    ip.set_destination(network.server);
    let checksum = ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(checksum);

    let length = udp_bytes.len() as u16;
    let mut udp = MutableUdpPacket::new(udp_bytes).expect(long_enough);
    udp.set_source(DISCARD);
    udp.set_destination(DISCARD);
    udp.set_length(length);
    let checksum = udp::ipv4_checksum(&udp.to_immutable(), &network.client, &network.server);
    udp.set_checksum(checksum);
    bytes
}
