//! Frames and datagrams that no good neighbour sends: nothing panics, traffic passes behind them,
//! and the counters know what became of each. Probes for loops would be among them.
//!
//! `ACTON_HOSTILE_FRAMES` sets how many (20,000 without it), `ACTON_HOSTILE_SEED` which.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "hostile/keyed.rs"]
mod keyed;
#[path = "../../acton-tap/tests/offload_frames/mod.rs"]
mod offload_frames;
#[path = "hostile/random.rs"]
mod random;
mod support;

use std::net::UdpSocket;
use std::time::Duration;

use acton_netns::Namespace;
use acton_tap::{Checksum, Offloads, Tap};
use keyed::{sealed_by_a_trusted_server, sealed_by_an_invited_client};
use random::{Random, frames};
use support::{
    Acton, CLIENT_MAC, Mode, PORT, ROOT_V4, ROOT_V6, SERVER_MAC, SERVER_V4, World, counter,
    counters, leaf, ping_until_answered, shell, tcp_transfer, wait_until,
};

support::in_both_modes! {
    super_frames_that_the_kernel_lets_pass;
    plain: frames_from_a_peer;
    secure: sealed_by_an_invited_client, sealed_by_a_trusted_server,
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
    let server = world.serve(&["--macs-per-client", "0", "--no-loop-guard"]);
    let client = world.join(0, &["--no-loop-guard"]);
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
    let server = world.serve(&["--macs-per-client", "0", "--no-loop-guard"]);
    let peer = world.clients[1].run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    peer.connect((SERVER_V4, PORT)).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    peer.send(b"HELLO").unwrap();
    server.wait_for(" up: ");
    let before = counters(&server);
    let mut sent = 0;
    while sent < frames() {
        // Shorter ones are control words, which may end the session.
        for mut frame in random.run(1_400, |random| random.below(4) == 0) {
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
    let client = world.join(0, &["--no-loop-guard"]);
    works(&world, &server, &client);
    written_as_counted(&world.server, "server", &server);
    client.stop();
    println!("server: {}", server.stop());
}

fn received(server: &Acton, before: &str) -> u64 {
    let name = "udp.received.datagrams";
    counter(&counters(server), name) - counter(before, name)
}
