//! Congestion that datagrams meet on their way is told to the packets inside (RFC 6040).
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use acton_netns::Namespace;
use pnet_base::MacAddr;
use pnet_packet::ipv4::{Ipv4Packet, checksum};
use support::{
    Capture, Mode, PORT, ROOT_V4, TEST_ETHERTYPE, World, counter, frame, mac, ping_until_answered,
    shell,
};

testbed::main! {
    a_mark_on_the_way_is_passed_on_both_ways: ["nft", "tcpdump"],
    a_mark_on_a_way_of_ipv6_is_passed_on_both_ways: ["nft", "tcpdump"],
}

/// Hosts behind the two ends.
const BEHIND_SERVER: MacAddr = mac(0x71);
const BEHIND_CLIENT: MacAddr = mac(0x72);

/// The values of the ECN field (RFC 3168, section 5).
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// A UDP packet that bears `ecn` and DSCP 10.
fn packet(to: MacAddr, from: MacAddr, ecn: u8, payload: usize) -> Vec<u8> {
    let total = (28 + payload) as u16;
    let [high, low] = total.to_be_bytes();
    let mut ip =
        vec![0x45, 10 << 2 | ecn, high, low, 0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2];
    let sum = checksum(&Ipv4Packet::new(&ip).unwrap());
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let [high, low] = ((8 + payload) as u16).to_be_bytes();
    ip.extend([0, 9, 0, 9, high, low, 0, 0]);
    ip.resize(usize::from(total), ecn);
    frame(to, from, 0x0800, &ip)
}

/// Has `host` find datagrams of the tunnel marked whose ECN field matches; `ip` is that of nft.
fn mark_arriving(host: &Namespace, ip: &str, matching: &str) {
    shell(
        host,
        &format!(
            "nft add table {ip} way
             nft add chain {ip} way in '{{ type filter hook prerouting priority mangle; }}'
             nft flush chain {ip} way in
             nft add rule {ip} way in meta l4proto udp {matching} {ip} ecn set ce"
        ),
    );
}

fn a_mark_on_the_way_is_passed_on_both_ways() {
    passed_on("192.0.2.1", "ip");
}

fn a_mark_on_a_way_of_ipv6_is_passed_on_both_ways() {
    passed_on("2001:db8::1", "ip6");
}

fn passed_on(address: &str, ip: &str) {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&["--listen", "::"]);
    let client = world.join_at(0, address, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let ways = [
        (&leaf, &root, BEHIND_SERVER, BEHIND_CLIENT),
        (&root, &leaf, BEHIND_CLIENT, BEHIND_SERVER),
    ];

    // Unmarked, the datagram bears what the packet does, and nothing changes, whole or in pieces.
    for (sender, receiver, to, from) in ways {
        for ecn in [NOT_ECT, ECT_1, ECT_0, CE] {
            let capture = Capture::start(&world.server, "eth0", &world.keys);
            for payload in [100, 1_472] {
                let sent = packet(to, from, ecn, payload);
                sender.send(&sent);
                receiver.receive_until(&sent);
            }
            let borne = |packet: &support::Captured| Some((packet.udp(PORT)?[0], packet.ecn()));
            let seen: Vec<_> = capture.stop().iter().filter_map(borne).collect();
            let data = seen.iter().filter(|&&(kind, _)| kind == 0x14);
            assert!(data.filter(|&&(_, field)| field == ecn).count() >= 2, "{seen:?}");
        }
    }

    // A router marks what is capable of it.
    for host in [&world.server, &world.clients[0]] {
        mark_arriving(host, ip, &format!("{ip} ecn != not-ect"));
    }
    for (sender, receiver, to, from) in ways {
        for (sent, expected) in [(NOT_ECT, NOT_ECT), (ECT_1, CE), (ECT_0, CE), (CE, CE)] {
            for payload in [100, 1_472] {
                sender.send(&packet(to, from, sent, payload));
                let mut marked = packet(to, from, expected, payload);
                // The payload is what was sent.
                marked[14 + 28..].fill(sent);
                receiver.receive_until(&marked);
            }
        }
    }

    // One that marks all: to ends that know no ECN a mark must be a loss. What is no IP passes.
    for host in [&world.server, &world.clients[0]] {
        mark_arriving(host, ip, "");
    }
    for (sender, receiver, to, from) in ways {
        sender.send(&packet(to, from, NOT_ECT, 200));
        let other = frame(to, from, TEST_ETHERTYPE, &[7; 60]);
        sender.send(&other);
        receiver.receive_until(&other);
    }
    for log in [client.stop(), server.stop()] {
        // Two fields that change, in frames of two sizes.
        assert!(counter(&log, "ecn.marked") >= 4, "{log}");
        assert!(counter(&log, "drop.ecn_unmarkable") >= 1, "{log}");
    }
}
