//! How clients meet through a root that forwards IP and believes ARP, and that the lines of
//! docs/SECURITY.md keep them from it.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use pnet_base::MacAddr;
use support::{
    Mode, ROOT_V4, SERVER_MAC, Wire, World, answers, client_mac, frame, leaf, ping_until_answered,
    shell, wait_until,
};

testbed::main! {
    the_lines_of_the_notes_keep_clients_apart: ["nft"],
}

/// The lines of nftables in the security notes.
fn lines_of_the_notes() -> String {
    let notes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SECURITY.md");
    let notes = fs::read_to_string(notes).unwrap();
    let (_, rest) = notes.split_once("```nft\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// An ARP reply (RFC 826) by which `ip` is at `mac`.
fn arp_reply(mac: MacAddr, ip: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let payload = [
        &[0, 1, 8, 0, 6, 4, 0, 2][..],
        &mac.octets(),
        &ip.octets(),
        &SERVER_MAC.octets(),
        &to.octets(),
    ];
    frame(SERVER_MAC, mac, 0x0806, &payload.concat())
}

fn v4(ip: IpAddr) -> Ipv4Addr {
    let IpAddr::V4(ip) = ip else { panic!("{ip} is of IPv4") };
    ip
}

fn the_lines_of_the_notes_keep_clients_apart() {
    let world = World::new(2).speaking(Mode::Secure);
    let _server = world.serve(&[]);
    let _clients = [world.join(0, &[]), world.join(1, &[])];
    let [attacker, victim] = [&world.clients[0], &world.clients[1]];
    for client in [attacker, victim] {
        ping_until_answered(client, ROOT_V4);
    }
    let victim_ip = leaf(1)[0];
    shell(&world.server, "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0");
    for (client, other) in [(attacker, victim_ip), (victim, leaf(0)[0])] {
        shell(client, &format!("ip route add {other}/32 via {ROOT_V4} dev client"));
    }
    assert!(answers(attacker, victim_ip), "a root that forwards joins clients at layer 3");

    let tap = Wire::open(attacker, "client");
    let poison = arp_reply(client_mac(0), v4(victim_ip), v4(ROOT_V4));
    let neighbour = || shell(&world.server, &format!("ip neigh show {victim_ip} dev server"));
    let poisoned = || {
        tap.send(&poison);
        neighbour().contains(&client_mac(0).to_string())
    };
    wait_until("the root believes the attacker", poisoned);
    shell(&world.server, &format!("ip neigh del {victim_ip} dev server"));

    let rules = world.keys.path("rules");
    fs::write(&rules, lines_of_the_notes()).unwrap();
    shell(&world.server, &format!("nft -f {}", rules.display()));
    ping_until_answered(&world.server, victim_ip);
    ping_until_answered(attacker, ROOT_V4);
    assert!(!answers(attacker, victim_ip), "they meet no more");
    for _ in 0..20 {
        tap.send(&poison);
    }
    // What the root has answered came after those.
    ping_until_answered(attacker, ROOT_V4);
    assert!(neighbour().contains(&client_mac(1).to_string()), "{}", neighbour());
    assert!(answers(&world.server, victim_ip));
}
