//! No client is the LAN's gateway, or the server, by IP address: a poisoner plays for hosts of the LAN
//! behind a Linux bridge, and for a server that has its TAP alone.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use acton_engine::SessionStatus;
use acton_netns::{Namespace, Veth, veth};
use pnet_base::MacAddr;
use support::ask::{told, until};
use support::{
    Acton, Mode, ROOT_V4, SERVER_MAC, Site, TEST_ETHERTYPE, World, client_mac, frame, leaf, mac,
    ping_until_answered, said, shell, wait_until,
};

support::in_both_modes! {
    a_client_does_not_have_the_server_s_addresses;
    secure:
    a_poisoner_is_not_the_gateway,
    an_address_that_is_named_is_nobody_s,
}

const GATEWAY: MacAddr = mac(0xfe);
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0xfe);
const HOST_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);

/// ARP to all: an answer, or a question where `operation` is 1.
fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, operation];
    message.extend(client_mac(0).octets());
    message.extend(sender);
    message.extend([0; 6]);
    message.extend(target);
    frame(MacAddr::broadcast(), client_mac(0), 0x0806, &message)
}

fn ipv6(source: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(source.octets());
    packet.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    frame(MacAddr::new(0x33, 0x33, 0, 0, 0, 1), client_mac(0), 0x86dd, &packet)
}

/// Neighbour discovery: an advertisement (136) or a solicitation (135).
fn nd(kind: u8, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(target.octets());
    message.extend([2, 1]);
    message.extend(client_mac(0).octets());
    ipv6(source, 58, &message)
}

/// A packet of IPv4 with TCP, or a fragment of one.
fn ipv4(source: [u8; 4], fragment: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 46, 0, 9];
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, 6, 0, 0]);
    packet.extend(source);
    packet.extend([10, 9, 0, 100]);
    packet.extend([0, 80, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10]);
    packet.resize(46, 0);
    frame(MacAddr::broadcast(), client_mac(0), 0x0800, &packet)
}

fn tagged(vlan: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, 0, vlan]);
    frame
}

/// A frame by which the end of others is known.
fn marker(number: u8) -> Vec<u8> {
    frame(MacAddr::broadcast(), client_mac(0), TEST_ETHERTYPE, &[number; 64])
}

/// How many frames of the one session claimed an address that is the root's.
fn claims(session: &SessionStatus) -> u64 {
    session.traffic.drops.get("guard_gateway").copied().unwrap_or_default()
}

/// Sends frames from client 0; those of them that came out at the root.
fn pass(world: &World, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    frames.iter().for_each(|frame| wire.send(frame));
    wire.send(&marker(1));
    let mut out = root.receive_until(&marker(1));
    out.retain(|frame| frames.contains(frame));
    out
}

/// Waits until a server told that no client may use an address.
fn wait_until_guarded(server: &Acton, address: &str) {
    wait_until("the address is guarded", || {
        let events = told(server, &["events", "--json"]);
        events.lines().any(|line| line.contains("root_addresses") && line.contains(address))
    });
}

fn a_client_does_not_have_the_server_s_addresses(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--no-loop-guard"]);
    let _client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    wait_until_guarded(&server, "fd09::1");
    let own = "fd09::1".parse().unwrap();
    let forged =
        [arp(2, [10, 9, 0, 1], [10, 9, 0, 100]), nd(136, own, own), ipv4([10, 9, 0, 1], 0)];
    assert!(pass(&world, &forged).is_empty());
    until(&server, "all are counted", |session| claims(session) == 3);
    server.wait_for("counted as guard_gateway");
    // What the client has is its own.
    let IpAddr::V4(own) = leaf(0)[0] else { unreachable!() };
    let own = [arp(2, own.octets(), [10, 9, 0, 1]), ipv4(own.octets(), 0)];
    assert_eq!(pass(&world, &own).len(), 2);
}

/// A host and a gateway on the server's bridge `br0`, which has VLAN 7 too where the kernel has VLANs.
fn bridged(world: &World) -> [Namespace; 2] {
    shell(
        &world.server,
        &format!(
            "ip link add br0 address {SERVER_MAC} type bridge mcast_snooping 0
             ip link set br0 up
             ip addr add 10.9.0.1/24 dev br0; ip addr add fd09::1/64 dev br0 nodad
             if ip link add link br0 name br0.7 type vlan id 7 2>&1; then
                 ip link set br0.7 up; ip addr add 10.7.0.1/24 dev br0.7
             fi"
        ),
    );
    let on_lan = |name: &str, own: MacAddr, ip: Ipv4Addr| {
        let host = Namespace::new().unwrap();
        let macs = Veth::new().macs(own, mac(own.5 ^ 0x80));
        veth(&host, "eth0", &world.server, name, &macs).unwrap();
        shell(&world.server, &format!("ip link set {name} master br0"));
        host.add_address("eth0", ip.into(), 24).unwrap();
        host
    };
    let host = on_lan("to-host", mac(0x64), HOST_V4);
    let gateway = on_lan("to-gateway", GATEWAY, GATEWAY_V4);
    shell(&gateway, &format!("ip addr add {GATEWAY_V6}/64 dev eth0 nodad"));
    for address in [IpAddr::from(GATEWAY_V4), GATEWAY_V6.into()] {
        ping_until_answered(&world.server, address);
        world.server.add_default_route(address).unwrap();
    }
    ping_until_answered(&host, GATEWAY_V4.into());
    [host, gateway]
}

fn a_poisoner_is_not_the_gateway() {
    let world = World::new(1).speaking(Mode::Secure);
    let [host, _gateway] = bridged(&world);
    let site = Site::of(world, "", &[""]);
    let world = &site.world;
    let state = world.keys.server_state();
    let arguments =
        ["server", "-t", "server", "--bridge", "br0", "--state", &state, "--no-loop-guard"];
    let server = Acton::start("server", &world.server, &arguments);
    server.wait_for(said::LISTENING);
    let _client = site.join(0);
    let has_vlan = shell(&world.server, "ip link").contains("br0.7");
    let of_vlan = has_vlan.then_some("10.7.0.1");
    for address in ["10.9.0.254", "fd09::fe", "10.9.0.1", "fd09::1"].into_iter().chain(of_vlan) {
        wait_until_guarded(&server, address);
    }
    let knows = |mac: MacAddr| {
        let line = format!("{GATEWAY_V4} dev eth0 lladdr {mac}");
        shell(&host, "ip neigh show").contains(&line)
    };
    assert!(knows(GATEWAY));
    let (gateway, other) = (GATEWAY_V4.octets(), "fe80::5".parse().unwrap());
    let datagram = [0, 99, 0, 99, 0, 8, 0, 0];
    let mut forged = vec![
        arp(2, gateway, HOST_V4.octets()),
        arp(1, gateway, gateway),
        arp(1, [0; 4], gateway),
        ipv4(gateway, 0),
        ipv4(gateway, 0x2000),
        ipv4(gateway, 20),
        nd(136, other, GATEWAY_V6),
        nd(135, GATEWAY_V6, other),
        nd(135, Ipv6Addr::UNSPECIFIED, GATEWAY_V6),
        ipv6(GATEWAY_V6, 17, &datagram),
        ipv6(GATEWAY_V6, 44, &[&[17, 0, 0, 8, 0, 0, 0, 1][..], &datagram].concat()),
        arp(2, [10, 9, 0, 1], gateway),
        nd(136, other, "fd09::1".parse().unwrap()),
    ];
    if has_vlan {
        forged.push(tagged(7, arp(2, [10, 7, 0, 1], HOST_V4.octets())));
        forged.push(tagged(7, ipv4([10, 7, 0, 1], 0)));
    }
    assert_eq!(pass(world, &forged), [[0; 0]; 0]);
    until(&server, "all are counted", |session| claims(session) == forged.len() as u64);
    assert!(knows(GATEWAY), "{}", shell(&host, "ip neigh show"));
    // Elsewhere it is another address, and what asks for it claims nothing.
    let others = [
        tagged(8, arp(2, gateway, HOST_V4.octets())),
        arp(2, [10, 7, 0, 1], HOST_V4.octets()),
        arp(1, leaf_v4(), gateway),
        nd(135, other, GATEWAY_V6),
    ];
    assert_eq!(pass(world, &others), others);
    // An address that the server has later, and one that it gives up.
    shell(&world.server, "ip addr add 10.9.0.77/24 dev br0");
    wait_until_guarded(&server, "10.9.0.77");
    assert_eq!(pass(world, &[arp(2, [10, 9, 0, 77], gateway)]), [[0; 0]; 0]);
    shell(&world.server, "ip addr del 10.9.0.77/24 dev br0");
    wait_until("it is free", || !pass(world, &[arp(2, [10, 9, 0, 77], gateway)]).is_empty());
    // A client that is trusted may be the gateway: so the test would see a poisoner.
    let list = world.keys.path("server").join("clients");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text + "trusted = true\n").unwrap();
    until(&server, "it is trusted", |session| !session.policy.as_ref().unwrap().guarded);
    wait_until("the poison works", || {
        pass(world, &forged[..1]);
        knows(client_mac(0))
    });
}

fn leaf_v4() -> [u8; 4] {
    let IpAddr::V4(address) = leaf(0)[0] else { unreachable!() };
    address.octets()
}

fn an_address_that_is_named_is_nobody_s() {
    let world = World::new(1).speaking(Mode::Secure);
    let options =
        ["--no-loop-guard", "--protect", "10.9.0.99", "--protect", "fd09::99", "--protect"];
    let server = world.serve(&[&options[..], &["02:ac:70:00:00:77"]].concat());
    let _client = world.join(0, &[]);
    wait_until_guarded(&server, "fd09::99");
    let named = [10, 9, 0, 99];
    let forged = [
        arp(2, named, [10, 9, 0, 1]),
        tagged(5, arp(2, named, [10, 9, 0, 1])),
        nd(136, "fe80::5".parse().unwrap(), "fd09::99".parse().unwrap()),
    ];
    assert_eq!(pass(&world, &forged), [[0; 0]; 0]);
    until(&server, "all are counted", |session| claims(session) == 3);
    assert!(told(&server, &["events", "--json"]).contains("02:ac:70:00:00:77"));
}
