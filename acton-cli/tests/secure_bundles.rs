//! Small frames that wait together share a datagram.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use acton_netns::Namespace;
use pnet_base::MacAddr;
use pnet_packet::ipv4::{Ipv4Packet, checksum};
use support::{
    Acton, Capture, Mode, PORT, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, Wire, World, counter, frame,
    mac, ping_until_answered, shell,
};

testbed::main! {
    frames_that_wait_share_datagrams_both_ways: ["tcpdump", "ethtool"],
    a_flood_is_bundled_for_each_client,
    packets_of_one_ecn_field_share_a_datagram: ["tcpdump"],
    each_frame_of_a_bundle_is_judged_by_itself: ["nft"],
}

const DATA: u8 = 0x14;
const BUNDLE: u8 = 0x16;
/// The values of the ECN field (RFC 3168, section 5).
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;
const BEHIND_SERVER: MacAddr = mac(0x71);
const BEHIND_CLIENT: MacAddr = mac(0x72);
/// UDP payload of a packet of 1,500 bytes in IPv4.
const PATH: usize = 1_472;

/// Has frames wait together in the TAP of `sender`.
fn send_together(sender: &Acton, wire: &Wire, frames: &[Vec<u8>]) {
    sender.while_stopped(|| frames.iter().for_each(|frame| wire.send(frame)));
}

fn next(wire: &Wire) -> Vec<u8> {
    loop {
        let frame = wire.receive(support::HANG).expect("a frame before the test hangs");
        // The kernels' own, as IPv6's, come between.
        if frame[12..14] == TEST_ETHERTYPE.to_be_bytes() {
            return frame;
        }
    }
}

/// Frames of many sizes that tell their number.
fn numbered(to: MacAddr, from: MacAddr, count: u16) -> Vec<Vec<u8>> {
    let one = |number: u16| {
        let payload = vec![number as u8; 2 + usize::from(number) * 37 % 400];
        let payload = [&number.to_be_bytes()[..], &payload].concat();
        frame(to, from, TEST_ETHERTYPE, &payload)
    };
    (0..count).map(one).collect()
}

/// The sizes of the tunnel's datagrams that carry several frames, both ways.
fn bundles(capture: Capture<'_>) -> Vec<usize> {
    let packets = capture.stop();
    let payloads = packets.iter().filter_map(|packet| packet.udp(PORT));
    payloads.filter(|payload| payload[0] == BUNDLE).map(<[u8]>::len).collect()
}

fn frames_that_wait_share_datagrams_both_ways() {
    let world = World::new(1).speaking(Mode::Secure);
    world.as_on_a_cable();
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let ways = [
        (&client, &leaf, &root, BEHIND_SERVER, BEHIND_CLIENT),
        (&server, &root, &leaf, BEHIND_CLIENT, BEHIND_SERVER),
    ];
    for (sender, out, into, to, from) in ways {
        let capture = Capture::start(&world.server, "eth0", &world.keys);
        let frames = numbered(to, from, 300);
        // As many as the buffers of the hands hold while nobody looks.
        for frames in frames.chunks(60) {
            send_together(sender, out, frames);
            for expected in frames {
                assert_eq!(next(into), *expected, "in the order they were sent in");
            }
        }
        let bundles = bundles(capture);
        let total: usize = frames.iter().map(Vec::len).sum();
        assert!(bundles.iter().all(|&size| size <= PATH), "{bundles:?}");
        assert!(bundles.len() < 2 * total / PATH, "{} for {total} bytes", bundles.len());
        assert!(bundles.iter().sum::<usize>() > total / 2, "{bundles:?}");
    }
    for log in [client.stop(), server.stop()] {
        assert!(counter(&log, "session.bundles") > 10, "{log}");
    }
}

fn a_flood_is_bundled_for_each_client() {
    let world = World::new(2).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let clients = [world.join(0, &[]), world.join(1, &[])];
    (0..2).for_each(|i| ping_until_answered(&world.clients[i], ROOT_V4));
    let (root, leaves) = (world.server_wire(), [world.client_wire(0), world.client_wire(1)]);
    let frames = numbered(MacAddr::broadcast(), BEHIND_SERVER, 60);
    send_together(&server, &root, &frames);
    for leaf in &leaves {
        frames.iter().for_each(|expected| assert!(next(leaf) == *expected));
    }
    for log in clients.map(Acton::stop) {
        assert!(counter(&log, "session.bundles") >= 1, "{log}");
    }
    server.stop();
}

/// A UDP packet in IPv4 that bears `ecn`.
fn packet(to: MacAddr, from: MacAddr, ecn: u8) -> Vec<u8> {
    let mut header = [0x45, ecn, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2];
    let sum = checksum(&Ipv4Packet::new(&header).unwrap());
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame(to, from, 0x0800, &[&header[..], &[0, 9, 0, 9, 0, 8, 0, 0]].concat())
}

/// Packets share a datagram with those of their own ECN field alone, which it bears.
fn packets_of_one_ecn_field_share_a_datagram() {
    let world = World::new(1).speaking(Mode::Secure);
    let _server = world.serve(&[]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let fields = [ECT_0, ECT_0, NOT_ECT, ECT_1, CE, CE, ECT_0, ECT_0];
    let packets = fields.map(|ecn| packet(BEHIND_SERVER, BEHIND_CLIENT, ecn));
    let capture = Capture::start(&world.server, "eth0", &world.keys);
    send_together(&client, &leaf, &packets);
    packets.iter().for_each(|sent| drop(root.receive_until(sent)));
    let borne = |packet: &support::Captured| Some((packet.udp(PORT)?[0], packet.ecn()));
    let borne = capture.stop().iter().filter_map(borne).collect::<Vec<_>>();
    // What is said beside them may come between.
    let of_frames = |(kind, _): &(u8, u8)| [DATA, BUNDLE].contains(kind);
    let borne: Vec<_> = borne.into_iter().filter(of_frames).collect();
    let expected = [(BUNDLE, ECT_0), (DATA, NOT_ECT), (DATA, ECT_1), (BUNDLE, CE), (BUNDLE, ECT_0)];
    assert!(borne.windows(expected.len()).any(|run| run == expected), "{borne:?}");
}

fn mark_all(host: &Namespace) {
    shell(
        host,
        "nft add table ip way
         nft add chain ip way in '{ type filter hook prerouting priority mangle; }'
         nft add rule ip way in meta l4proto udp ip ecn set ce",
    );
}

fn each_frame_of_a_bundle_is_judged_by_itself() {
    let world = World::new(1).speaking(Mode::Secure);
    // The kernel gives frames of two flows to two workers, if there are two.
    let server = world.serve(&["--workers", "1"]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));

    // Between good ones: a source that is the server's own, and one that is a group.
    let good = numbered(BEHIND_SERVER, BEHIND_CLIENT, 4);
    let forged = frame(BEHIND_SERVER, SERVER_MAC, TEST_ETHERTYPE, b"forged");
    let group = frame(BEHIND_SERVER, MacAddr::broadcast(), TEST_ETHERTYPE, b"of a group");
    let mixed = [&good[0], &forged, &good[1], &group, &good[2], &good[3]].map(Clone::clone);
    send_together(&client, &leaf, &mixed);
    good.iter().for_each(|expected| assert_eq!(next(&root), *expected));

    // Of packets whose ends know no ECN, a mark on the datagram is a loss; the others are no packets.
    for host in [&world.server, &world.clients[0]] {
        mark_all(host);
    }
    let ways = [
        (&client, &leaf, &root, BEHIND_SERVER, BEHIND_CLIENT),
        (&server, &root, &leaf, BEHIND_CLIENT, BEHIND_SERVER),
    ];
    for (sender, out, into, to, from) in ways {
        let good = numbered(to, from, 4);
        let lost = packet(to, from, NOT_ECT);
        let mixed = [&good[0], &lost, &good[1], &good[2], &lost, &lost, &good[3]].map(Clone::clone);
        send_together(sender, out, &mixed);
        let last = good.last().unwrap();
        let before = into.receive_until(last);
        assert!(!before.contains(&lost));
        assert_eq!(before.iter().filter(|frame| good.contains(frame)).count(), 3);
    }
    let (client, server) = (client.stop(), server.stop());
    assert_eq!(counter(&server, "drop.source_protected"), 1, "{server}");
    for log in [client, server] {
        assert!(counter(&log, "session.bundles") >= 1, "{log}");
        assert!(counter(&log, "drop.ecn_unmarkable") >= 3, "{log}");
    }
}
