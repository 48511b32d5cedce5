//! Multicast snooping between real kernels: hosts ask by IGMP and MLD for what they want, by their own
//! kernels' choice of versions, and what they did not ask for stays away.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;
#[path = "multicast/vlans.rs"]
mod vlans;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use acton_netns::Namespace;
use nix::net::if_::if_nametoindex;
use pnet_base::MacAddr;
use pnet_packet::util;
use serde_json::Value;
use support::ask::{json, said_by, sessions, told, until};
use support::{
    Acton, Mode, ROOT_V6, SERVER_MAC, TEST_ETHERTYPE, Wire, World, client_mac, control, frame,
    leaf, ping_until_answered, shell, wait_until,
};
use vlans::groups_in_a_vlan_go_to_its_clients_who_asked;

support::in_both_modes! {
    waiting;
    groups_go_to_those_who_asked;
    secure:
    who_comes_again_is_asked_at_once,
    a_querier_that_falls_silent_leaves_all_to_all,
    who_leaves_is_asked_whether_others_want_it,
    a_linux_bridge_asks,
    a_router_behind_a_client_gets_all_and_must_be_trusted,
    what_is_not_listened_to_is_not_told,
    groups_in_a_vlan_go_to_its_clients_who_asked
}

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x1234);
const NOBODY: [usize; 0] = [];
/// Without probes for loops, which go to all too, and with one worker, so that frames keep their order.
const SNOOPING: [&str; 4] = ["--multicast-snooping", "--no-loop-guard", "--workers", "1"];

/// The MAC of a group.
fn group_mac(group: IpAddr) -> MacAddr {
    match group {
        IpAddr::V4(ip) => {
            let [_, b, c, d] = ip.octets();
            MacAddr(1, 0, 0x5e, b & 0x7f, c, d)
        }
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            MacAddr(0x33, 0x33, a, b, c, d)
        }
    }
}

/// A packet to a group, from `from` and an address that goes with it.
fn packet(from: MacAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match to {
        IpAddr::V4(ip) => {
            let mut header =
                vec![0x46, 0xc0, 0, 24 + payload.len() as u8, 0, 0, 0, 0, 1, protocol, 0, 0];
            header.extend([10, 9, 0, from.5]);
            header.extend(ip.octets());
            header.extend([0x94, 4, 0, 0]);
            let sum = util::checksum(&header, 5);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame(group_mac(to), from, 0x0800, &[&header, payload].concat())
        }
        IpAddr::V6(ip) => {
            let alert = [protocol, 0, 5, 2, 0, 0, 1, 0];
            let mut packet = vec![0x60, 0, 0, 0, 0, (alert.len() + payload.len()) as u8, 0, 1];
            packet.extend(link_local(from).octets());
            packet.extend(ip.octets());
            packet.extend(alert);
            packet.extend(payload);
            frame(group_mac(to), from, 0x86dd, &packet)
        }
    }
}

fn link_local(MacAddr(.., last): MacAddr) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, last.into())
}

fn igmp(from: MacAddr, to: Ipv4Addr, mut message: Vec<u8>) -> Vec<u8> {
    let sum = util::checksum(&message, 1);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(from, to.into(), 2, &message)
}

/// A general query by IGMPv3 that has hosts answer within a second, and comes again each `interval`
/// seconds.
fn query(from: MacAddr, interval: u8) -> Vec<u8> {
    igmp(from, Ipv4Addr::new(224, 0, 0, 1), vec![0x11, 10, 0, 0, 0, 0, 0, 0, 2, interval, 0, 0])
}

/// The same by MLDv2.
fn query_v6(from: MacAddr, interval: u8) -> Vec<u8> {
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut message = vec![130, 0, 0, 0, 0x03, 0xe8, 0, 0];
    message.extend([0; 16]);
    message.extend([2, interval, 0, 0]);
    let next = pnet_packet::ip::IpNextHeaderProtocol(58);
    let sum = util::ipv6_checksum(&message, 1, &[], &link_local(from), &all, next);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(from, all.into(), 58, &message)
}

/// Data for a group from the LAN, known by a number.
fn data(group: IpAddr, number: u8) -> Vec<u8> {
    let payload = [0x30, 0x39, 0x30, 0x39, 0, 9, 0, 0, number];
    packet(SERVER_MAC, group, 17, &payload)
}

/// The same on a VLAN.
fn tagged(mut frame: Vec<u8>, vlan: u8) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, 0, vlan]);
    frame
}

/// A host of a client's that wants a group for as long as this is there.
fn join(namespace: &Namespace, client: u8, group: IpAddr) -> UdpSocket {
    namespace.run(|| match (group, leaf(client)[0]) {
        (IpAddr::V4(group), IpAddr::V4(own)) => {
            let socket = UdpSocket::bind("0.0.0.0:12345").unwrap();
            socket.join_multicast_v4(&group, &own).unwrap();
            socket
        }
        (IpAddr::V6(group), _) => {
            let socket = UdpSocket::bind("[::]:12345").unwrap();
            socket.join_multicast_v6(&group, if_nametoindex("client").unwrap()).unwrap();
            socket
        }
        _ => unreachable!("a client has an address of IPv4"),
    })
}

/// Which of these wires get a frame that the LAN sends: what comes before a broadcast that follows it.
fn who_gets(root: &Wire, wires: &[Wire], sent: &[u8]) -> Vec<usize> {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NUMBER: AtomicU8 = AtomicU8::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let last = frame(MacAddr::broadcast(), SERVER_MAC, TEST_ETHERTYPE, &[number; 50]);
    root.send(sent);
    root.send(&last);
    let got = |wire: &Wire| wire.receive_until(&last).iter().any(|frame| frame == sent);
    wires.iter().enumerate().filter(|(_, wire)| got(wire)).map(|(index, _)| index).collect()
}

/// What a server says of multicast.
fn multicast(server: &Acton) -> Value {
    json(server, &["status"])["bridge"]["multicast"].clone()
}

/// Waits until all who came had time to say what they want, and the LAN's queriers were answered.
fn until_settled(server: &Acton, queriers: usize) {
    wait_until("all have said what they want", || {
        let report = multicast(server);
        let known = report["queriers"].as_array().unwrap();
        let are_settled = known.iter().all(|querier| querier["settled"] == true);
        report["get_all"] == 0 && known.len() == queriers && are_settled
    });
}

/// Who gets a group, by their names.
fn members(server: &Acton, group: IpAddr) -> Vec<String> {
    let groups = json(server, &["groups"]);
    let of = groups["groups"].as_array().unwrap().iter();
    let of = of.filter(|member| member["group"] == group.to_string().as_str());
    of.map(|member| member["at"]["session"]["client"].as_str().unwrap().to_owned()).collect()
}

fn until_members(server: &Acton, group: impl Into<IpAddr>, count: usize) {
    let group = group.into();
    wait_until(&format!("{group} has {count} members"), || members(server, group).len() == count);
}

fn groups_go_to_those_who_asked(mode: Mode) {
    let world = World::new(3).speaking(mode);
    let server = world.serve(&SNOOPING);
    let _clients: Vec<_> = (0..3).map(|i| world.join(i, &[])).collect();
    let (root, wires) = (world.server_wire(), [0, 1, 2].map(|i| world.client_wire(i)));
    // One speaks the newest version, one an old one, and one has no interest.
    shell(&world.clients[1], "echo 2 > /proc/sys/net/ipv4/conf/client/force_igmp_version");
    shell(&world.clients[1], "echo 1 > /proc/sys/net/ipv6/conf/client/force_mld_version");
    let hosts = [0, 1].map(|i| {
        let namespace = &world.clients[usize::from(i)];
        [join(namespace, i, GROUP.into()), {
            let socket = namespace.run(|| UdpSocket::bind("[::]:12346").unwrap());
            let index = namespace.run(|| if_nametoindex("client").unwrap());
            socket.join_multicast_v6(&GROUP_V6, index).unwrap();
            socket
        }]
    });
    until_members(&server, GROUP, 2);
    until_members(&server, GROUP_V6, 2);
    let gets = |frame: &[u8]| who_gets(&root, &wires, frame);
    assert_eq!(gets(&data(GROUP.into(), 1)), [0, 1, 2], "the LAN has no querier");
    root.send(&query(SERVER_MAC, 125));
    root.send(&query_v6(SERVER_MAC, 125));
    server.wait_for("10.9.0.1 asks for multicast groups: they go to the clients that want them");
    until_settled(&server, 2);
    for number in 0..5 {
        assert_eq!(gets(&data(GROUP.into(), number)), [0, 1]);
        assert_eq!(gets(&data(GROUP_V6.into(), number)), [0, 1]);
    }
    // The hosts themselves have it; of IPv6 these frames have no checksum that they would take.
    for [socket, _] in &hosts {
        socket.set_read_timeout(Some(support::HANG)).unwrap();
        socket.recv(&mut [0; 9]).unwrap();
    }
    // What nobody asked for.
    assert_eq!(gets(&data(IpAddr::from([239, 9, 9, 9]), 1)), NOBODY);
    // What is of the link, and what shares its MAC with that.
    for group in ["224.0.0.251", "224.0.0.1", "ff02::fb", "ff02::1:ff00:9"] {
        assert_eq!(gets(&data(group.parse().unwrap(), 1)), [0, 1, 2], "{group}");
    }
    assert_eq!(gets(&data(IpAddr::from([239, 128, 0, 251]), 1)), NOBODY);
    assert_eq!(gets(&tagged(data(GROUP.into(), 1), 7)), [0, 1, 2], "on a VLAN where nobody asks");
    let not_ip = frame(group_mac(GROUP.into()), SERVER_MAC, TEST_ETHERTYPE, &[7; 50]);
    assert_eq!(gets(&not_ip), [0, 1, 2]);
    for i in 0..3 {
        ping_until_answered(&world.clients[i], ROOT_V6);
        ping_until_answered(&world.server, leaf(i as u8)[1]);
    }
    // A host's report of the LAN stays there: who heard it would not send its own.
    let report = igmp(SERVER_MAC, GROUP, [&[0x16, 0, 0, 0][..], &GROUP.octets()].concat());
    assert_eq!(gets(&report), NOBODY);
    let text = told(&server, &["status"]);
    assert!(text.contains("asked for by 10.9.0.1, fe80::bad:"), "{text}");
    let trace = told(&server, &["trace", &SERVER_MAC.to_string(), &GROUP.to_string()]);
    assert!(trace.contains("the 2 sessions that want the group"), "{trace}");
    let totals = json(&server, &["status"])["totals"].clone();
    let count = |name: &str| totals[name].as_u64().unwrap();
    assert!(count("multicast.grouped") >= 10 && count("multicast.unwanted") >= 3, "{totals}");
    assert_eq!(count("multicast.no_room"), 0);
}

fn who_comes_again_is_asked_at_once() {
    let world = World::new(2).speaking(Mode::Secure);
    let server = world.serve(&SNOOPING);
    let _clients: Vec<_> = (0..2).map(|i| world.join(i, &[])).collect();
    let (root, wires) = (world.server_wire(), [0, 1].map(|i| world.client_wire(i)));
    let _host = join(&world.clients[0], 0, GROUP.into());
    root.send(&query(SERVER_MAC, 125));
    until_members(&server, GROUP, 1);
    until_settled(&server, 1);
    let gets = |root: &Wire, number| who_gets(root, &wires, &data(GROUP.into(), number));
    assert_eq!(gets(&root, 1), [0]);
    // Its kernel knows nothing of the new session, and the LAN asks in two minutes.
    let name = members(&server, GROUP.into()).remove(0);
    told(&server, &["kick", &name]);
    server.wait_for_nth(" up: ", 3);
    until_members(&server, GROUP, 1);
    until_settled(&server, 1);
    assert_eq!(gets(&root, 2), [0]);
    assert!(json(&server, &["status"])["totals"]["multicast.asked"].as_u64().unwrap() > 0);
    // A server that comes again knows nothing of the LAN: all get all until that asks.
    server.kill();
    let server = world.serve(&SNOOPING);
    let root = world.server_wire();
    wait_until("both are back", || sessions(&server).len() == 2);
    assert_eq!(gets(&root, 3), [0, 1]);
    root.send(&query(SERVER_MAC, 125));
    until_members(&server, GROUP, 1);
    until_settled(&server, 1);
    assert_eq!(gets(&root, 4), [0]);
}

fn a_querier_that_falls_silent_leaves_all_to_all() {
    let world = World::new(2).speaking(Mode::Secure);
    let server = world.serve(&SNOOPING);
    let _clients: Vec<_> = (0..2).map(|i| world.join(i, &[])).collect();
    let (root, wires) = (world.server_wire(), [0, 1].map(|i| world.client_wire(i)));
    let _host = join(&world.clients[0], 0, GROUP.into());
    root.send(&query(SERVER_MAC, 125));
    until_settled(&server, 1);
    let gets = |number| who_gets(&root, &wires, &data(GROUP.into(), number));
    assert_eq!(gets(1), [0]);
    let told_groups = json(&server, &["groups"]);
    assert_eq!(told_groups["multicast"]["queriers"][0]["address"], "10.9.0.1");
    let text = told(&server, &["groups"]);
    assert!(text.contains(&GROUP.to_string()) && !text.contains("all clients"), "{text}");
    // The last that it says, and that it asks each second: it counts as there for 2.5 s.
    root.send(&query(SERVER_MAC, 1));
    server.wait_for("10.9.0.1 asks for multicast groups no more: they go to all clients");
    assert_eq!(gets(2), [0, 1]);
    let text = told(&server, &["status"]);
    assert!(text.contains("the LAN has no querier, so all clients get all"), "{text}");
    let text = told(&server, &["groups"]);
    assert!(text.contains("the LAN has no querier, so all clients get all groups"), "{text}");
}

fn who_leaves_is_asked_whether_others_want_it() {
    let world = World::new(2).speaking(Mode::Secure);
    let server = world.serve(&SNOOPING);
    let _clients: Vec<_> = (0..2).map(|i| world.join(i, &[])).collect();
    let (root, wires) = (world.server_wire(), [0, 1].map(|i| world.client_wire(i)));
    let hosts = [0, 1].map(|i| join(&world.clients[usize::from(i)], i, GROUP.into()));
    root.send(&query(SERVER_MAC, 125));
    until_members(&server, GROUP, 2);
    until_settled(&server, 1);
    let asked = || json(&server, &["status"])["totals"]["multicast.asked"].as_u64().unwrap();
    let before = asked();
    // A host behind client 0 that is gone says that it leaves; another there wants it still.
    let leave = [&[0x17, 0, 0, 0][..], &GROUP.octets()].concat();
    wires[0].send(&igmp(client_mac(0), Ipv4Addr::new(224, 0, 0, 2), leave));
    wait_until("it is asked", || asked() > before);
    wait_until("it has answered", || {
        let groups = json(&server, &["groups"]);
        groups["groups"].as_array().unwrap().iter().all(|member| member["leaving"] == false)
    });
    let [_stays, leaves] = hosts;
    drop(leaves);
    until_members(&server, GROUP, 1);
    for number in 0..3 {
        assert_eq!(who_gets(&root, &wires, &data(GROUP.into(), number)), [0]);
    }
}

fn a_linux_bridge_asks() {
    let world = World::new(2).speaking(Mode::Secure);
    // Its own times are short, so that the test is.
    shell(
        &world.server,
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true
         ip link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_query_use_ifaddr 1 \
             mcast_igmp_version 3 mcast_mld_version 2 mcast_query_interval 500 \
             mcast_query_response_interval 100 mcast_startup_query_interval 100
         ip address add 10.9.0.2/24 dev br0
         ip link add host0 type veth peer name port0
         ip link set port0 master br0 up
         ip link set host0 up
         ip link set br0 up",
    );
    let server = world.serve(&[&SNOOPING[..], &["--bridge", "br0"]].concat());
    let _clients: Vec<_> = (0..2).map(|i| world.join(i, &[])).collect();
    let wires = [0, 1].map(|i| world.client_wire(i));
    let host = join(&world.clients[0], 0, GROUP.into());
    server.wait_for("10.9.0.2 asks for multicast groups");
    server.wait_for("fe80::");
    until_members(&server, GROUP, 1);
    until_settled(&server, 2);
    // From a host on the LAN, through that bridge, which snoops too: it knows of the member by the same
    // report.
    let lan = Wire::open(&world.server, "host0");
    wait_until("the bridge knows that the group is behind the TAP", || {
        shell(&world.server, "bridge mdb show dev br0")
            .contains("dev br0 port server grp 239.1.2.3")
    });
    assert_eq!(who_gets(&lan, &wires, &data(GROUP.into(), 1)), [0]);
    // It asks again and again, and the member answers each time.
    let heard = || multicast(&server)["queriers"][0]["heard_seconds"].as_f64().unwrap();
    let age = || json(&server, &["groups"])["groups"][0]["age_seconds"].as_f64().unwrap();
    let first = age();
    wait_until("it has asked again", || heard() < 1.0 && age() < first.max(2.0));
    assert_eq!(who_gets(&lan, &wires, &data(GROUP.into(), 2)), [0]);
    drop(host);
    wait_until("nobody wants it", || members(&server, GROUP.into()).is_empty());
    shell(&world.server, "ip link set br0 type bridge mcast_querier 0");
    server.wait_for("10.9.0.2 asks for multicast groups no more");
}

fn a_router_behind_a_client_gets_all_and_must_be_trusted() {
    let world = World::new(2).speaking(Mode::Secure);
    let hello = |from| {
        let mut message = vec![0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105];
        let sum = util::checksum(&message, 1);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        packet(from, IpAddr::from([224, 0, 0, 13]), 103, &message)
    };
    {
        let server = world.serve(&SNOOPING);
        let _client = world.join(0, &[]);
        let (root, wire) = (world.server_wire(), world.client_wire(0));
        root.send(&query(SERVER_MAC, 125));
        until_settled(&server, 1);
        wire.send(&query(client_mac(0), 125));
        wire.send(&hello(client_mac(0)));
        root.receive_until(&hello(client_mac(0)));
        let dropped = |name: &'static str| {
            move |session: &acton_engine::SessionStatus| session.traffic.drops.get(name) == Some(&1)
        };
        until(&server, "its query is dropped", dropped("guard_query"));
        server.wait_for("counted as guard_query");
        assert_eq!(multicast(&server)["get_all"], 0, "nor does it get all for its hello");
    }
    let server = world.serve(&[&SNOOPING[..], &["--no-guards"]].concat());
    let _clients: Vec<_> = (0..2).map(|i| world.join(i, &[])).collect();
    let (root, wires) = (world.server_wire(), [0, 1].map(|i| world.client_wire(i)));
    root.send(&query(SERVER_MAC, 125));
    until_settled(&server, 1);
    wires[1].send(&query(client_mac(1), 125));
    root.receive_until(&query(client_mac(1), 125));
    wait_until("it is known as a router", || multicast(&server)["get_all"] == 1);
    assert_eq!(who_gets(&root, &wires, &data(GROUP.into(), 1)), [1]);
    let text = told(&server, &["groups"]);
    assert!(text.contains("a multicast router is behind it"), "{text}");
}

fn what_is_not_listened_to_is_not_told() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&["--no-loop-guard", "--workers", "1"]);
    let client = world.join(0, &[]);
    let said = said_by(control(&server), &["groups"]);
    assert!(said.code != 0 && said.err.contains("--multicast-snooping"), "{said:?}");
    let said = said_by(control(&client), &["groups"]);
    assert!(said.code != 0 && said.err.contains("this is a client"), "{said:?}");
    assert!(multicast(&server).is_null());
    // All as ever: a client may ask, and gets all in any case.
    let (root, wires) = (world.server_wire(), [world.client_wire(0)]);
    root.send(&query(SERVER_MAC, 125));
    wires[0].send(&query(client_mac(0), 125));
    root.receive_until(&query(client_mac(0), 125));
    assert_eq!(who_gets(&root, &wires, &data(GROUP.into(), 1)), [0]);
}
