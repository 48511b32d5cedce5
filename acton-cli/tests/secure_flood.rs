//! What a flood of datagrams from forged addresses costs those who have a session.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::keys::ServerIdentity;
use acton_proto::handshake::{Initiator, MacKey, Random, Secret, SystemRandom};
use acton_proto::wire::{Caps, HELLO_LEN, Hello, HelloPayload, Suites, VERSION};
use support::{
    Acton, Forger, HANG, Mode, PORT, ROOT_V4, World, counter, counters, leaf, ping_until_answered,
    said, shell, wait_until,
};

testbed::main! {
    a_flood_drops_nobody_and_takes_no_memory,
}

/// How long each kind of flood lasts.
const PHASE: Duration = Duration::from_secs(3);
/// Between each 64 of them, and while a client joins: some 50,000 a second, and 10,000. Of more than the
/// server takes the kernel drops most, whosever they are, and who is heard then is luck.
const BREATHS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(5)];
/// Different packets of each kind, sent over and over.
const PACKETS: usize = 2_048;
/// How much the server may grow under all floods together, in KiB.
const MAX_GROWTH: u64 = 32 << 10;

/// What is flooded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// HELLO that are noise behind their first bytes.
    WrongMac1,
    /// HELLO by somebody who has the network key, with noise for a handshake.
    RightMac1,
    /// HELLO that begin a handshake each, of as many clients.
    RealHandshakes,
    /// CONTROL for sessions that there are not.
    UnknownControl,
    /// DATA for sessions that there are not.
    UnknownData,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::WrongMac1,
        Self::RightMac1,
        Self::RealHandshakes,
        Self::UnknownControl,
        Self::UnknownData,
    ];

    /// What counts them, but for those that find the control thread busy.
    fn counters(self) -> &'static [&'static str] {
        match self {
            Self::WrongMac1 => &["drop.hello_wrong_key"],
            Self::RightMac1 => &["drop.hello_unreadable", "handshake.retries"],
            Self::RealHandshakes => &["handshake.welcomed", "handshake.retries"],
            Self::UnknownControl | Self::UnknownData => &["drop.no_session"],
        }
    }

    /// How many of them a log counts.
    fn met(self, log: &str) -> u64 {
        self.counters().iter().map(|name| counter(log, name)).sum()
    }

    fn payload(self, server: &ServerIdentity) -> Vec<u8> {
        let noise = |first: u8, length: usize| {
            let mut bytes = vec![0; length];
            SystemRandom.fill(&mut bytes[4..]);
            bytes[0] = first;
            bytes
        };
        match self {
            Self::WrongMac1 => noise(0x11, HELLO_LEN),
            Self::RightMac1 => {
                let mut hello: [u8; HELLO_LEN] = noise(0x11, HELLO_LEN).try_into().unwrap();
                hello[HELLO_LEN - 16..].fill(0);
                sign(server, &mut hello);
                hello.to_vec()
            }
            Self::RealHandshakes => real_hello(server).to_vec(),
            Self::UnknownControl => noise(0x15, 44),
            Self::UnknownData => noise(0x14, 100),
        }
    }
}

/// How many of the datagrams that came a log accounts for: as frames, as HELLO that were answered, or
/// as dropped on the way in.
fn came_to_what(log: &str) -> u64 {
    let line = log.lines().rev().find(|line| line.contains("counters: ")).unwrap();
    let values = line.split_whitespace().filter_map(|word| word.split_once('='));
    let counts = values.filter(|(name, _)| {
        let out = name.starts_with("drop.udp_") || *name == "drop.no_client";
        let answered = ["welcomed", "repeated", "refused", "retries"];
        name.starts_with("drop.") && !out
            || ["tap.written.frames", "session.pieces"].contains(name)
            || name.strip_prefix("handshake.").is_some_and(|name| answered.contains(&name))
    });
    counts.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

fn sign(server: &ServerIdentity, hello: &mut [u8; HELLO_LEN]) {
    MacKey::new(&server.public_key, Some(&server.network_key)).sign_hello(hello);
}

/// The HELLO of a client with a key of its own.
fn real_hello(server: &ServerIdentity) -> [u8; HELLO_LEN] {
    let payload = HelloPayload {
        version_min: VERSION,
        version_max: VERSION,
        suites: Suites::detect(),
        caps: Caps::FRAG,
        instance: 1,
        timestamp: 1,
        max_frame: 1_514,
        pmtu: 1_472,
        keepalive: 15,
    };
    let (_, noise) = Initiator::new(
        &Secret::generate(&mut SystemRandom),
        &server.public_key,
        &server.network_key,
        &payload.encode(),
        &mut SystemRandom,
    )
    .unwrap();
    let mut hello = Hello { sender_id: 1, noise, mac1: [0; 16], mac2: [0; 16] }.encode();
    sign(server, &mut hello);
    hello
}

/// Packets of one kind from all over 198.18.0.0/15 (RFC 2544).
fn packets(kind: Kind, server: &ServerIdentity) -> Vec<Vec<u8>> {
    let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), PORT);
    let packet = |number: usize| {
        let [low, high] = (number as u16).to_le_bytes();
        let from = SocketAddrV4::new(Ipv4Addr::new(198, 18, high, low), 1_024 + number as u16);
        Forger::udp(from, to, &kind.payload(server))
    };
    (0..PACKETS).map(packet).collect()
}

/// What the kernel knows of a process.
#[derive(Debug, Clone, Copy)]
struct Usage {
    memory_kib: u64,
    cpu: Duration,
}

impl Usage {
    fn of(process: &Acton) -> Self {
        Self { memory_kib: process.proc_status("VmRSS"), cpu: process.processor_time() }
    }
}

/// A TCP stream through the tunnel that runs until told to stop.
struct Transfer {
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Transfer {
    fn run(&self, world: &World) {
        let listener = world.server.run(|| TcpListener::bind((ROOT_V4, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let from = &world.clients[0];
                let mut stream = from.run(|| TcpStream::connect_timeout(&address, HANG)).unwrap();
                stream.set_write_timeout(Some(HANG)).unwrap();
                while !self.stop.load(Ordering::Relaxed) {
                    stream.write_all(&[0x5a; 64 << 10]).unwrap();
                }
            });
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(HANG)).unwrap();
            let mut buffer = vec![0; 256 << 10];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                self.bytes.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
    }

    /// The mean rate over `time` from now on, in Mbit/s.
    fn rate(&self, time: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.bytes.load(Ordering::Relaxed));
        thread::sleep(time);
        let bytes = self.bytes.load(Ordering::Relaxed) - before;
        bytes as f64 * 8e-6 / start.elapsed().as_secs_f64()
    }
}

fn a_flood_drops_nobody_and_takes_no_memory() {
    // A busy client, two that say no more than they must, one that comes in the midst of it all,
    // and the attacker's host.
    let world = World::new(5).speaking(Mode::Secure);
    let identity = world.keys.server();
    // Answers to forged addresses go nowhere.
    shell(&world.server, "ip route add 198.18.0.0/15 via 192.0.2.200");
    let server = world.serve(&["--keepalive", "2"]);
    let clients = [0, 1, 2].map(|i| world.join(i, &["--keepalive", "2"]));
    for host in &world.clients[..3] {
        ping_until_answered(host, ROOT_V4);
    }
    let forger = Forger::new(&world.clients[4]);
    let transfer = Transfer { bytes: AtomicU64::new(0), stop: AtomicBool::new(false) };
    let before = Usage::of(&server);
    thread::scope(|scope| {
        scope.spawn(|| transfer.run(&world));
        let _ends_with_a_panic_too = testbed::Ending(&transfer.stop);
        while transfer.bytes.load(Ordering::Relaxed) < 5_000_000 {
            thread::sleep(Duration::from_millis(10));
        }
        let usage = Usage::of(&server);
        let quiet = transfer.rate(PHASE);
        let cpu = (Usage::of(&server).cpu - usage.cpu).as_secs_f64() / PHASE.as_secs_f64();
        println!(
            "{:<16} {quiet:>6.0} Mbit/s            server: {:>3.0} % CPU, {} KiB",
            "quiet",
            cpu * 100.0,
            usage.memory_kib
        );
        for kind in Kind::ALL {
            let packets = packets(kind, &identity);
            let met = kind.met(&counters(&server));
            let (sent, done) = (AtomicU64::new(0), AtomicBool::new(false));
            let joining = AtomicBool::new(kind == Kind::RightMac1);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for packet in packets.iter().cycle() {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        // A full queue loses some, as any network does.
                        let _ = forger.send(packet);
                        let sent = sent.fetch_add(1, Ordering::Relaxed);
                        if sent % 64 == 0 {
                            thread::sleep(BREATHS[usize::from(joining.load(Ordering::Relaxed))]);
                        }
                    }
                });
                let _ends_with_a_panic_too = testbed::Ending(&done);
                let late = joining.load(Ordering::Relaxed).then(|| {
                    let start = Instant::now();
                    let late = world.join(3, &["--keepalive", "2"]);
                    println!("a client joins in the midst of it after {:?}", start.elapsed());
                    joining.store(false, Ordering::Relaxed);
                    late
                });
                // In the midst of it the connection goes on.
                let arrived = transfer.bytes.load(Ordering::Relaxed);
                wait_until("the transfer goes on", || {
                    transfer.bytes.load(Ordering::Relaxed) > arrived
                });
                let usage = Usage::of(&server);
                let before = sent.load(Ordering::Relaxed);
                let flooded = transfer.rate(PHASE);
                let now = Usage::of(&server);
                println!(
                    "{:<16} {flooded:>6.0} Mbit/s ({:>3.0} %)    server: {:>3.0} % CPU, {} KiB; \
                     {} thousand packets a second",
                    format!("{kind:?}"),
                    flooded / quiet * 100.0,
                    (now.cpu - usage.cpu).as_secs_f64() / PHASE.as_secs_f64() * 100.0,
                    now.memory_kib,
                    (sent.load(Ordering::Relaxed) - before) / PHASE.as_millis() as u64,
                );
                if let Some(late) = late {
                    late.stop();
                }
            });
            let log = counters(&server);
            assert!(kind.met(&log) > met + 100, "{kind:?}: {log}");
        }
    });
    let after = Usage::of(&server);
    assert!(after.memory_kib < before.memory_kib + MAX_GROWTH, "{before:?} {after:?}");
    // Everybody is there, with the session of the beginning, and has been all along.
    for (i, client) in clients.into_iter().enumerate() {
        ping_until_answered(&world.server, leaf(i as u8)[0]);
        let log = client.stop();
        assert_eq!(log.matches(said::CONNECTED).count(), 1, "{log}");
        assert!(!log.contains(said::LOST), "{log}");
    }
    let log = server.stop();
    assert!(!log.contains(said::EXPIRED), "{log}");
    assert_eq!(log.matches(" up: ").count(), 4, "{log}");
    // What came was written as frames or is counted, but for the clients' control messages.
    let bundled = counter(&log, "session.bundled_frames") - counter(&log, "session.bundles");
    let came = counter(&log, "udp.received.datagrams") + bundled;
    let explained = came_to_what(&log);
    println!("{came} came, {explained} explained");
    assert!(came >= explained && came - explained < 2_000, "{log}");
    println!("{} lines of log", log.lines().count());
    assert!(log.lines().count() < 400, "{log}");
}
