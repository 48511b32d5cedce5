//! The traffic: pings from the root to each client, which its kernel answers, and a stream of UDP from
//! each to the root, its transfer. Each packet is followed by its number.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use acton_raw::{Filter, RawSocket, RecvBatch};

use crate::clock::Clock;
use crate::world::{PROBE, ROOT, ROOT_MAC, World, client_ip, client_mac, client_of};

/// UDP ports of both ends of the streams.
const STREAM_PORT: u16 = 4_321;
/// Bytes of Ethernet and IPv4 headers.
const HEADERS: usize = 34;
/// Bytes of a ping's frame: 56 of data, as ping(8) has them.
const PING: usize = HEADERS + 8 + 56;
/// Bytes of data in a datagram of a stream.
const DATA: usize = 1_000;
/// That of the pings, so that answers to others are known.
const IDENTIFIER: [u8; 2] = [0xac, 0x70];
/// Packets that are sent at a turn at most, so that answers are heard between.
const TURN: usize = 64;

/// A packet that was sent, in microseconds of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) sent: u32,
    /// When the first copy came, if one did.
    pub(crate) came: Option<u32>,
    pub(crate) copies: u16,
}

/// Packets of each client by their numbers.
pub(crate) type Log = Vec<Vec<Packet>>;

/// What was sent and came.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) pings: Log,
    pub(crate) streams: Log,
    /// How late packets were sent, in microseconds, a figure a turn.
    pub(crate) late: Vec<u32>,
    /// Packets of streams that the client's kernel refused to send.
    pub(crate) unsent: usize,
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).expect("a run of less than 71 minutes")
}

/// Packets of all clients in turn, so many a second of each, evenly.
struct Pace {
    interval: Duration,
    next: Duration,
    client: usize,
    clients: usize,
}

impl Pace {
    fn new(now: Duration, clients: usize, rate: u32) -> Self {
        let interval = Duration::from_secs(1) / (rate * clients as u32);
        Self { interval, next: now, client: 0, clients }
    }

    /// Whose turn it is, if it is anybody's by now.
    fn take(&mut self, now: Duration) -> Option<usize> {
        if now < self.next {
            return None;
        }
        self.next += self.interval;
        let client = self.client;
        self.client = (client + 1) % self.clients;
        Some(client)
    }
}

/// The traffic, which ends when this is dropped.
pub(crate) struct Traffic {
    pub(crate) records: Arc<Mutex<Records>>,
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Pings each client `pings` times a second, and has it send `datagrams` a second.
    pub(crate) fn start(clock: Clock, world: &World, pings: u32, datagrams: u32) -> Self {
        let clients = world.clients.len();
        let logs = || vec![Vec::new(); clients];
        let records = Records { pings: logs(), streams: logs(), ..Records::default() };
        let (records, done) = (Arc::new(Mutex::new(records)), Arc::new(AtomicBool::new(false)));
        let socket = world.lan.run(|| {
            let filter = Filter::destination_mac(ROOT_MAC);
            let builder = RawSocket::builder(PROBE).filter(filter).ignore_outgoing(true);
            builder.nonblocking(true).receive_buffer(32 << 20).build().unwrap()
        });
        let root = Root { clock, socket, pace: Pace::new(clock.now(), clients, pings) };
        let mut threads = vec![spawn(&records, &done, |records, done| root.run(records, done))];
        if datagrams > 0 {
            let sockets = world.clients.iter().enumerate().map(|(number, host)| {
                let socket = host.run(|| UdpSocket::bind((client_ip(number), STREAM_PORT)));
                let socket = socket.unwrap();
                socket.connect((ROOT, STREAM_PORT)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            });
            let sockets: Vec<_> = sockets.collect();
            let pace = Pace::new(clock.now(), clients, datagrams);
            let streams = Streams { clock, sockets, pace };
            threads.push(spawn(&records, &done, |records, done| streams.run(records, done)));
        }
        Self { records, done, threads }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its panic has been told.
            let _ = thread.join();
        }
    }
}

fn spawn(
    records: &Arc<Mutex<Records>>,
    done: &Arc<AtomicBool>,
    body: impl FnOnce(&Mutex<Records>, &AtomicBool) + Send + 'static,
) -> JoinHandle<()> {
    let (records, done) = (Arc::clone(records), Arc::clone(done));
    thread::spawn(move || body(&records, &done))
}

/// The LAN's host: it pings, and hears answers and streams.
struct Root {
    clock: Clock,
    socket: RawSocket,
    pace: Pace,
}

impl Root {
    fn run(mut self, records: &Mutex<Records>, done: &AtomicBool) {
        let mut batch = RecvBatch::new(RecvBatch::MAX, 2_048);
        while !done.load(Ordering::Relaxed) {
            self.ping(records);
            self.hear(&mut batch, records);
            let left = self.pace.next.saturating_sub(self.clock.now());
            // poll(2) waits for whole milliseconds.
            if !left.is_zero() {
                let _ = self.socket.wait(None, Some(left.max(Duration::from_millis(1)))).unwrap();
            }
        }
    }

    fn ping(&mut self, records: &Mutex<Records>) {
        let (now, due) = (self.clock.now(), self.pace.next);
        let mut frames = Vec::new();
        let mut guard = records.lock().unwrap();
        while frames.len() < TURN
            && let Some(client) = self.pace.take(now)
        {
            let log = &mut guard.pings[client];
            let number = u16::try_from(log.len()).expect("a run of less than 65,536 pings");
            log.push(Packet { sent: micros(now), came: None, copies: 0 });
            frames.push(echo_request(client, number));
        }
        if !frames.is_empty() {
            guard.late.push(micros(now.saturating_sub(due)));
        }
        drop(guard);
        let frames: Vec<_> = frames.iter().map(|frame| &frame[..]).collect();
        let mut sent = 0;
        while sent < frames.len() {
            sent += self.socket.send_batch(&frames[sent..]).unwrap();
        }
    }

    fn hear(&self, batch: &mut RecvBatch, records: &Mutex<Records>) {
        loop {
            match self.socket.recv_batch(batch) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
            let came = micros(self.clock.now());
            let mut guard = records.lock().unwrap();
            for frame in batch.frames() {
                if let Some((is_ping, client, number)) = parse(frame.bytes) {
                    let log = if is_ping { &mut guard.pings } else { &mut guard.streams };
                    if let Some(packet) = log.get_mut(client).and_then(|log| log.get_mut(number)) {
                        packet.came.get_or_insert(came);
                        packet.copies += 1;
                    }
                }
            }
        }
    }
}

/// Whether a frame answers a ping or is of a stream, of which client, and its number.
fn parse(frame: &[u8]) -> Option<(bool, usize, usize)> {
    let source: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let client = client_of(source.into())?;
    let packet = frame.get(HEADERS..)?;
    match frame.get(23)? {
        // An echo reply (RFC 792).
        1 if packet.first() == Some(&0) && packet.get(4..6)? == IDENTIFIER => {
            let number = packet.get(6..8)?.try_into().ok()?;
            Some((true, client, u16::from_be_bytes(number).into()))
        }
        17 => {
            let number = packet.get(8..12)?.try_into().ok()?;
            Some((false, client, u32::from_be_bytes(number) as usize))
        }
        _ => None,
    }
}

/// The frame of an echo request (RFC 792) in IPv4 (RFC 791).
fn echo_request(client: usize, number: u16) -> [u8; PING] {
    let mut frame = [0; PING];
    frame[..6].copy_from_slice(&<[u8; 6]>::from(client_mac(client)));
    frame[6..12].copy_from_slice(&<[u8; 6]>::from(ROOT_MAC));
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip = &mut frame[14..HEADERS];
    (ip[0], ip[8], ip[9]) = (0x45, 64, 1);
    ip[2..4].copy_from_slice(&((PING - 14) as u16).to_be_bytes());
    ip[12..16].copy_from_slice(&ROOT.octets());
    ip[16..].copy_from_slice(&client_ip(client).octets());
    let sum = checksum(ip);
    ip[10..12].copy_from_slice(&sum);
    let icmp = &mut frame[HEADERS..];
    icmp[0] = 8;
    icmp[4..6].copy_from_slice(&IDENTIFIER);
    icmp[6..8].copy_from_slice(&number.to_be_bytes());
    let sum = checksum(icmp);
    icmp[2..4].copy_from_slice(&sum);
    frame
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// The clients' programs, which send.
struct Streams {
    clock: Clock,
    sockets: Vec<UdpSocket>,
    pace: Pace,
}

impl Streams {
    fn run(mut self, records: &Mutex<Records>, done: &AtomicBool) {
        let mut data = [0; DATA];
        while !done.load(Ordering::Relaxed) {
            let now = self.clock.now();
            let mut due = Vec::new();
            {
                let mut guard = records.lock().unwrap();
                while due.len() < TURN
                    && let Some(client) = self.pace.take(now)
                {
                    let log = &mut guard.streams[client];
                    due.push((client, log.len() as u32));
                    log.push(Packet { sent: micros(now), came: None, copies: 0 });
                }
            }
            let mut unsent = 0;
            for (client, number) in due {
                data[..4].copy_from_slice(&number.to_be_bytes());
                unsent += usize::from(self.sockets[client].send(&data).is_err());
            }
            if unsent > 0 {
                records.lock().unwrap().unsent += unsent;
            }
            thread::sleep(self.pace.next.saturating_sub(self.clock.now()));
        }
    }
}
