//! Frames and datagrams that no good neighbour sends: nothing panics, traffic passes behind them,
//! and the counters know what became of each.
//!
//! `ACTON_HOSTILE_FRAMES` sets how many (20,000 without it), `ACTON_HOSTILE_SEED` which.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "../../acton-tap/tests/offload_frames/mod.rs"]
mod offload_frames;
mod support;

use std::net::UdpSocket;
use std::time::Duration;

use acton_netns::Namespace;
use acton_tap::{Checksum, Gso, GsoKind, Offloads, Tap, VnetHeader};
use nix::sys::signal::Signal;
use offload_frames::{Packet, content};
use support::{
    Acton, CLIENT_MAC, Mode, PORT, ROOT_V4, ROOT_V6, SERVER_MAC, SERVER_V4, World, counter, leaf,
    ping_until_answered, shell, tcp_transfer, wait_until,
};

support::in_both_modes! {
    super_frames_that_the_kernel_lets_pass;
    plain: frames_from_a_peer,
}

/// SplitMix64: the next of a sequence.
struct Random(u64);

impl Random {
    /// With the seed that was asked for, which is printed.
    fn seeded() -> Self {
        let seed = setting("ACTON_HOSTILE_SEED", 1);
        println!("ACTON_HOSTILE_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % bound
    }

    /// A packet, mostly one that may be merged with those that follow it.
    fn packet(&mut self, most: usize) -> Packet {
        let (v6, udp) = (self.below(2) == 0, self.below(2) == 0);
        let mut packet = Packet::new(v6, udp, 0);
        packet.payload = content(self.below(most), self.below(1 << 16) as u32);
        packet.sequence = self.below(1 << 20) as u32;
        packet.ports.0 = 1_000 + self.below(4) as u16;
        match self.below(8) {
            0 => packet.flags = self.below(256) as u8,
            1 => packet.tcp_options = vec![1; 4 * self.below(11)],
            2 if !v6 => packet.ip_options = vec![1; 4 * self.below(11)],
            3 if !v6 => packet.fragment = self.below(1 << 16) as u16,
            4 => packet.tags = vec![(0x8100, self.below(1 << 16) as u16); 1 + self.below(2)],
            _ => {}
        }
        packet
    }

    /// Changes, cuts or stretches a frame, or leaves it as it is.
    fn spoil(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(frame.len().min(90));
            frame[at] = match self.below(3) {
                0 => 0,
                1 => 0xff,
                _ => self.below(256) as u8,
            };
        }
        match self.below(10) {
            0 => frame.truncate(1 + self.below(frame.len())),
            1 => frame.resize(frame.len() + self.below(40), 0xa5),
            _ => {}
        }
    }

    /// What a super-frame may claim to be.
    fn header(&mut self, packet: &Packet) -> VnetHeader {
        let (mut header, _) = packet.super_frame(1 + self.below(1_460) as u16);
        match self.below(8) {
            0 => header.gso = None,
            1 => {
                let kinds = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp];
                header.gso = header.gso.map(|gso| Gso { kind: kinds[self.below(3)], ..gso });
            }
            2 => {
                let [start, offset] = [self.below(120), self.below(40)].map(|place| place as u16);
                header.checksum = Checksum::Partial { start, offset };
            }
            3 => header.header_len = self.below(200) as u16,
            4 => (header.checksum, header.gso) = (Checksum::Unverified, None),
            _ => {}
        }
        header
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn frames() -> u64 {
    setting("ACTON_HOSTILE_FRAMES", 20_000)
}

/// The counters now.
fn counters(end: &Acton) -> String {
    let lines = end.log().matches("counters: ").count();
    end.signal(Signal::SIGUSR1);
    wait_until("the counters are logged", || end.log().matches("counters: ").count() > lines);
    end.log()
}

/// All drops.
fn drops(log: &str) -> u64 {
    let line = log.lines().rev().find(|line| line.contains("counters: ")).unwrap();
    let values = line.split_whitespace().filter_map(|word| word.split_once('='));
    let drops = values.filter(|(name, _)| name.starts_with("drop."));
    drops.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

/// A number of the kernel's about a device.
fn statistic(namespace: &Namespace, device: &str, name: &str) -> u64 {
    let links = shell(namespace, &format!("ip -s -s link show dev {device}"));
    let lines: Vec<_> = links.lines().collect();
    let (way, title) = name.split_once(' ').unwrap();
    let at = lines.iter().position(|line| line.trim_start().starts_with(&format!("{way}:")));
    let at = at.unwrap_or_else(|| panic!("{links}"));
    let names = lines[at].split_whitespace().skip(1);
    let values = lines[at + 1].split_whitespace();
    let found = names.zip(values).find(|(name, _)| *name == title);
    found.unwrap_or_else(|| panic!("{links}")).1.parse().unwrap()
}

/// The frames of a host on a port of the bridge that the client's TAP is another port of.
fn super_frames_that_the_kernel_lets_pass(mode: Mode) {
    let mut random = Random::seeded();
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--macs-per-client", "0"]);
    let client = world.join(0, &[]);
    let host = &world.clients[0];
    shell(
        host,
        "ip link add br0 type bridge mcast_snooping 0
         for call in /proc/sys/net/bridge/bridge-nf-call-*; do
             ! test -e $call || echo 0 > $call
         done
         ip link set client master br0
         ip link set br0 up",
    );
    let hostile = host.run(|| {
        let tap = Tap::builder().name("hostile").vnet_header(true).offloads(Offloads::all());
        let tap = tap.build().unwrap();
        tap.interface().join_bridge("br0").unwrap();
        tap.interface().up().unwrap();
        tap
    });
    let mut accepted = 0;
    for _ in 0..frames() {
        let most = [200, 3_000, 60_000][random.below(3)];
        let packet = random.packet(most);
        let header = random.header(&packet);
        let mut frame =
            if header.checksum == Checksum::Unverified { packet.frame() } else { packet.partial() };
        random.spoil(&mut frame);
        // To the server, or to everybody; a frame for the bridge itself would stop there.
        let to = if random.below(8) == 0 { [0xff; 6] } else { SERVER_MAC.octets() };
        let start = frame.len().min(6);
        frame[..start].copy_from_slice(&to[..start]);
        if let Some(from) = frame.get_mut(6..12) {
            from.copy_from_slice(&CLIENT_MAC.octets());
            from[5] = 0x80 + random.below(8) as u8;
        }
        accepted +=
            u64::from(hostile.queues()[0].send(&[&header.encode(), &frame[..]].concat()).is_ok());
    }
    println!("the kernel took {accepted} of {} frames", frames());
    assert!(accepted > frames() / 4, "{accepted}");
    shell(host, "ip link set client nomaster");
    drop(hostile);
    works(&world, &server, &client);
    written_as_counted(&world.server, "server", &server);
    written_as_counted(host, "client", &client);
    client.stop();
    let log = server.stop();
    println!("{log}");
    let out = counter(&log, "tap.written.frames") + counter(&log, "session.pieces") + drops(&log);
    // A bundle is as many as it holds.
    let came = counter(&log, "udp.received.datagrams") + counter(&log, "session.bundled_frames")
        - counter(&log, "session.bundles");
    // Control words and messages are not frames; frames for no client came from the TAP.
    assert!(came.abs_diff(out) < 64, "{came} datagrams, {out} explained: {log}");
}

/// Each read and write of acton's is a frame to the kernel too, and no write failed unnoticed.
fn written_as_counted(namespace: &Namespace, device: &str, end: &Acton) {
    let kernel = || ["TX packets", "RX packets"].map(|name| statistic(namespace, device, name));
    wait_until("the kernel counts what acton counts", || {
        let before = kernel();
        let log = counters(end);
        // Traffic in between makes them differ for a moment only.
        before == kernel() && before == ["tap.reads", "tap.writes"].map(|name| counter(&log, name))
    });
}

fn works(world: &World, server: &Acton, client: &Acton) {
    for (root, leaf) in [ROOT_V4, ROOT_V6].into_iter().zip(leaf(0)) {
        ping_until_answered(&world.clients[0], root);
        ping_until_answered(&world.server, leaf);
        tcp_transfer(&world.clients[0], &world.server, root, 1_000_000);
    }
    for end in [server, client] {
        assert!(!end.log().contains("panicked"), "{}", end.log());
    }
}

/// Frames of a client that has nothing good in mind.
fn frames_from_a_peer() {
    let mut random = Random::seeded();
    let world = World::new(2);
    let server = world.serve(&["--macs-per-client", "0"]);
    let peer = world.clients[1].run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    peer.connect((SERVER_V4, PORT)).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    peer.send(b"HELLO").unwrap();
    server.wait_for(" up: ");
    let before = counters(&server);
    let mut sent = 0;
    while sent < frames() {
        // A run that may be merged, of which some are spoiled.
        let first = random.packet(1_400);
        let run = first.run(1 + random.below(12));
        for packet in run {
            let mut frame = match random.below(4) {
                0 => packet.partial(),
                _ => packet.frame(),
            };
            if random.below(3) == 0 {
                random.spoil(&mut frame);
            }
            // Shorter ones are control words, which may end the session.
            if frame.len() < 14 {
                continue;
            }
            frame[..6].copy_from_slice(&SERVER_MAC.octets());
            frame[6..12].copy_from_slice(&CLIENT_MAC.octets());
            if peer.send(&frame).is_ok() {
                sent += 1;
            }
        }
        // As fast as the server's buffer is emptied: every datagram is to be accounted for.
        let arrived = || received(&server, &before);
        if sent % 64 < 12 {
            wait_until("all datagrams have arrived", || arrived() >= sent);
        }
    }
    wait_until("every frame is written or dropped", || {
        let now = counters(&server);
        let written = counter(&now, "tap.written.frames") - counter(&before, "tap.written.frames");
        written + drops(&now) - drops(&before) == sent
    });
    let after = counters(&server);
    let more = |name| counter(&after, name) - counter(&before, name);
    assert_eq!(more("udp.received.datagrams"), sent, "{after}");
    assert!(more("tap.writes") < more("tap.written.frames"), "none was merged: {after}");
    let client = world.join(0, &[]);
    works(&world, &server, &client);
    written_as_counted(&world.server, "server", &server);
    client.stop();
    println!("server: {}", server.stop());
}

fn received(server: &Acton, before: &str) -> u64 {
    let name = "udp.received.datagrams";
    counter(&counters(server), name) - counter(before, name)
}
