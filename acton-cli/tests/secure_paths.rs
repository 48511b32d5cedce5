//! What acton/1 does when the way between client and server changes or is bad, and that nothing
//! on that way ever needs IP fragments.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::io::{Read, Write};
use std::iter;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::{Namespace, Veth, veth};
use nix::sys::signal::Signal;
use pnet_base::MacAddr;
use support::{
    Acton, Capture, HANG, Impairment, Mode, PORT, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, Wire, World,
    client_mac, counter, frame, leaf, mac, ping, ping_until_answered, said, shell, tcp_transfer,
    wait_until,
};

testbed::main! {
    a_rebound_client_goes_on_within_a_round_trip,
    a_client_with_a_new_address_goes_on_with_its_session,
    a_client_with_a_new_address_of_ipv6_goes_on_too,
    a_silent_client_tells_of_a_new_address_by_itself,
    a_silent_client_tells_of_a_new_way_by_itself,
    a_killed_server_is_back_for_its_clients_in_seconds,
    a_third_lost_each_way_keeps_the_session,
    a_path_that_shrinks_silently_is_noticed: ["ethtool"],
    a_router_that_says_how_much_it_carries_is_heard: ["ethtool"],
    a_router_of_ipv6_is_heard_too: ["ethtool"],
    a_jumbo_link_is_used: ["ethtool", "tcpdump"],
    a_link_of_another_mtu_is_followed: ["ethtool", "tcpdump"],
    a_path_follows_the_mtu_of_the_taps: ["ethtool", "tcpdump"],
    an_address_that_goes_and_comes_back_costs_no_path: ["ethtool", "tcpdump"],
    a_small_link_costs_no_frame: ["ethtool", "tcpdump"],
    full_frames_need_no_ip_fragments: ["ethtool", "tcpdump"],
    tcp_is_made_to_fit_one_datagram: ["ethtool", "tcpdump"],
    a_flooded_syn_is_made_to_fit_each_receiver: ["ethtool"],
    a_syn_fits_the_smaller_of_both_ways: ["ethtool", "tcpdump"],
}

/// The type byte of DATA, and the byte behind it where the frame is not in pieces.
const DATA: u8 = 0x14;
const WHOLE: u8 = 0x01;

/// A world of one client that speaks acton/1.
fn world() -> World {
    World::new(1).speaking(Mode::Secure)
}

fn numbered(to: MacAddr, from: MacAddr, number: u32) -> Vec<u8> {
    let mut payload = vec![0x5a; 60];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    frame(to, from, TEST_ETHERTYPE, &payload)
}

/// Demands that the client has had one session all along.
#[track_caller]
fn one_session(client: &Acton, server: &Acton) {
    let (client, server) = (client.log(), server.log());
    let lines = |log: &str, text| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!((lines(&client, said::CONNECTED), lines(&client, said::LOST)), (1, 0), "{client}");
    assert_eq!((lines(&server, " up: "), lines(&server, " down: ")), (1, 0), "{server}");
}

fn a_rebound_client_goes_on_within_a_round_trip() {
    const ONE_WAY: Duration = Duration::from_millis(200);
    let world = world();
    let server = world.serve(&[]);
    let proxy = world.proxy(Impairment { delay: ONE_WAY, ..Impairment::default() }, 1);
    let client = world.join_at(0, "192.0.2.200", &[]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    ping_until_answered(&world.clients[0], ROOT_V4);

    let mut quickest = HANG;
    for round in 1..=3 {
        proxy.rebind();
        // Its next packet is delivered though it comes from nowhere known.
        let up = numbered(SERVER_MAC, client_mac(0), 0x8000_0000 | round);
        leaf.send(&up);
        root.receive_until(&up);
        let heard_at = Instant::now();
        // From now on a round trip may pass: the question whether the client is there, and its
        // answer; then half of one until what the server sends is there.
        let down = |number| numbered(client_mac(0), SERVER_MAC, round << 16 | number);
        let mut sent = Vec::new();
        let goes_on = loop {
            sent.push(down(sent.len() as u32));
            root.send(sent.last().unwrap());
            match leaf.receive(Duration::from_millis(5)) {
                Some(frame) if sent.contains(&frame) => break heard_at.elapsed(),
                _ => assert!(heard_at.elapsed() < HANG, "hung"),
            }
        };
        println!("rebound, round {round}: down again {goes_on:?} after the first packet up");
        quickest = quickest.min(goes_on);
        server.wait_for_nth(said::MOVED, round as usize);
    }
    // A second round trip would make each five.
    assert!(quickest < 5 * ONE_WAY, "{quickest:?}");
    one_session(&client, &server);
}

fn change_address(world: &World, old: &str, new: &str) {
    shell(
        &world.clients[0],
        &format!(
            "ip address del 192.0.2.{old}/24 dev eth0
             ip address add 192.0.2.{new}/24 dev eth0"
        ),
    );
}

fn a_client_with_a_new_address_goes_on_with_its_session() {
    let world = world();
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    ping_until_answered(&world.clients[0], ROOT_V4);
    for (round, [old, new]) in [["10", "99"], ["99", "98"]].into_iter().enumerate() {
        change_address(&world, old, new);
        let start = Instant::now();
        let up = numbered(SERVER_MAC, client_mac(0), round as u32);
        wire.send(&up);
        root.receive_until(&up);
        server.wait_for(&format!("{} 192.0.2.{new}:", said::MOVED));
        println!("new address: the server knew it after {:?}", start.elapsed());
        // Less than a keepalive: the packet itself told it.
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        ping_until_answered(&world.server, leaf(0)[0]);
    }
    one_session(&client, &server);
}

fn a_client_with_a_new_address_of_ipv6_goes_on_too() {
    let world = world();
    let server = world.serve(&["--listen", "::"]);
    let client = world.join_at(0, "2001:db8::1", &[]);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    ping_until_answered(&world.clients[0], ROOT_V4);
    for (round, [old, new]) in [["a", "99"], ["99", "98"]].into_iter().enumerate() {
        shell(
            &world.clients[0],
            &format!(
                "ip address del 2001:db8::{old}/64 dev eth0
                 ip address add 2001:db8::{new}/64 dev eth0 nodad"
            ),
        );
        let up = numbered(SERVER_MAC, client_mac(0), round as u32);
        wire.send(&up);
        root.receive_until(&up);
        server.wait_for(&format!("{} [2001:db8::{new}]:", said::MOVED));
        ping_until_answered(&world.server, leaf(0)[0]);
    }
    one_session(&client, &server);
}

/// A client that says nothing by itself for an hour, and its server.
fn silent(world: &World) -> (Acton, Acton) {
    let server = world.serve(&["--keepalive", "3600"]);
    // IPv6 would look for routers, and tell of groups.
    let host = &world.clients[0];
    shell(host, "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    let (mac, address) = (client_mac(0).to_string(), format!("{}/24", leaf(0)[0]));
    let mut arguments = world.client_arguments(0, "192.0.2.1");
    arguments.extend(["-m", &mac, "-a", &address, "--keepalive", "3600"].map(str::to_owned));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let client = Acton::start("client 0", host, &arguments);
    client.wait_for(said::CONNECTED);
    ping_until_answered(host, ROOT_V4);
    (server, client)
}

/// Demands that frames from the LAN reach the client, who has sent none of its own.
fn reaches_the_silent(root: &Wire, wire: &Wire, number: u32) {
    let down = numbered(client_mac(0), SERVER_MAC, number);
    // The server says that the client moved a moment before its workers know.
    wait_until("the client is reached", || {
        root.send(&down);
        wire.receive(Duration::from_millis(20)).is_some_and(|frame| frame == down)
    });
    while let Some(frame) = root.receive(Duration::ZERO) {
        assert_ne!(frame[6..12], client_mac(0).octets(), "the client sent {frame:02x?}");
    }
}

fn a_silent_client_tells_of_a_new_address_by_itself() {
    let world = world();
    let (server, client) = silent(&world);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    let move_to = |old, new| change_address(&world, old, new);
    for (round, [old, new]) in [["10", "99"], ["99", "98"]].into_iter().enumerate() {
        let start = Instant::now();
        move_to(old, new);
        server.wait_for(&format!("{} 192.0.2.{new}:", said::MOVED));
        println!("new address: the server knew it after {:?}", start.elapsed());
        reaches_the_silent(&root, &wire, round as u32);
    }
    // What has nothing to do with the server is none of its business.
    shell(
        &world.clients[0],
        "ip link add other type veth peer name peer
         ip address add 198.51.100.1/24 dev other
         ip link set other up
         ip route add 203.0.113.0/24 dev other",
    );
    move_to("98", "97");
    server.wait_for(&format!("{} 192.0.2.97:", said::MOVED));
    reaches_the_silent(&root, &wire, 99);
    one_session(&client, &server);
    let log = client.stop();
    assert_eq!(log.lines().filter(|line| line.contains(said::CHANGED)).count(), 3, "{log}");
}

fn a_silent_client_tells_of_a_new_way_by_itself() {
    let world = world();
    // Two ways lead to the server, and each shows it another address.
    let second = Namespace::new().unwrap();
    veth(&world.clients[0], "eth1", &second, "left", &Veth::new()).unwrap();
    veth(&world.server, "eth1", &second, "right", &Veth::new()).unwrap();
    shell(&world.clients[0], "ip address add 198.51.100.2/24 dev eth1");
    shell(
        &second,
        "ip address add 198.51.100.1/24 dev left
         ip address add 203.0.113.1/24 dev right
         ip route add 192.0.2.1/32 via 203.0.113.2
         echo 1 > /proc/sys/net/ipv4/ip_forward",
    );
    shell(
        &world.server,
        "ip address add 203.0.113.2/24 dev eth1
         ip route add 198.51.100.0/24 via 203.0.113.1",
    );
    let (server, client) = silent(&world);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    shell(&world.clients[0], "ip route add 192.0.2.1/32 via 198.51.100.1");
    server.wait_for(&format!("{} 198.51.100.2:", said::MOVED));
    reaches_the_silent(&root, &wire, 1);
    // The link goes away, and with it the route.
    shell(&world.clients[0], "ip link set eth1 down");
    server.wait_for(&format!("{} 192.0.2.10:", said::MOVED));
    reaches_the_silent(&root, &wire, 2);
    one_session(&client, &server);
}

fn a_killed_server_is_back_for_its_clients_in_seconds() {
    let world = World::new(2).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let clients = [0, 1].map(|i| world.join(i, &[]));
    for client in &world.clients {
        ping_until_answered(client, ROOT_V4);
    }
    server.kill();
    let _server = world.serve(&[]);
    let start = Instant::now();
    for client in &world.clients {
        ping_until_answered(client, ROOT_V4);
    }
    println!("server restarted: both clients back after {:?}", start.elapsed());
    // Silence alone would be noticed after 13 s: RESET is what hurries.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    for client in clients {
        client.stop();
    }
}

fn a_third_lost_each_way_keeps_the_session() {
    let world = world();
    let server = world.serve(&["--keepalive", "1"]);
    let bad = Impairment { loss: 0.3, delay: Duration::from_millis(25), ..Impairment::default() };
    let proxy = world.proxy(bad, 7);
    let start = Instant::now();
    let client = world.join_at(0, "192.0.2.200", &["--keepalive", "1"]);
    println!("30 % loss each way: connected after {:?}", start.elapsed());
    let mut answered = 0;
    for _ in 0..60 {
        answered +=
            u32::from(ping(&world.clients[0], ROOT_V4, 56, Duration::from_millis(150)).is_ok());
    }
    println!("30 % loss each way: {answered} of 60 pings answered");
    // Half are expected; one in 10,000 runs has fewer than 15.
    assert!(answered >= 15, "{answered}");
    assert!(proxy.stop().lost > 15);
    one_session(&client, &server);
}

/// Waits until datagrams as large as the underlay carries are in use both ways.
fn fill_the_path(world: &World, payload: usize) {
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    fill(world, (&leaf, client_mac(0)), (&root, SERVER_MAC), payload);
    fill(world, (&root, SERVER_MAC), (&leaf, client_mac(0)), payload);
}

/// The same one way.
fn fill(
    world: &World,
    (from, source): (&Wire, MacAddr),
    (to, destination): (&Wire, MacAddr),
    payload: usize,
) {
    wait_until("frames of a full datagram go unfragmented", || {
        let capture = Capture::start(&world.server, "eth0", &world.keys);
        let full = frame(destination, source, TEST_ETHERTYPE, &vec![0x77; payload - 32 - 14]);
        from.send(&full);
        to.receive_until(&full);
        let packets = capture.stop();
        let whole = |udp: &[u8]| udp[..2] == [DATA, WHOLE] && udp.len() == payload;
        packets.iter().filter_map(|packet| packet.udp(PORT)).any(whole)
    });
}

fn a_path_that_shrinks_silently_is_noticed() {
    let world = world();
    world.as_on_a_cable();
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    fill_the_path(&world, 1472);
    // A bridge drops without a word what the next link does not carry.
    shell(&world.switch, "ip link set port10 mtu 1280");
    // One that goes in a single datagram, of 1,454 bytes.
    let refused = ping(&world.clients[0], ROOT_V4, 1_380, Duration::from_millis(300));
    assert!(refused.is_err(), "the link carries more than it should: {refused:?}");
    let start = Instant::now();
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 1_000_000);
    println!("MTU 1,500 -> 1,280: 1 MB up took {:?}", start.elapsed());
    let start = Instant::now();
    tcp_transfer(&world.server, &world.clients[0], leaf(0)[0], 1_000_000);
    println!("MTU 1,500 -> 1,280: 1 MB down took {:?}", start.elapsed());
    for (from, to) in [(&world.clients[0], ROOT_V4), (&world.server, leaf(0)[0])] {
        wait_until("full frames pass again", || {
            ping(from, to, 1_380, Duration::from_millis(500)).is_ok()
        });
    }
    one_session(&client, &server);
}

/// Puts the client behind the host that is the proxy elsewhere, which routes here.
fn route(world: &World) {
    let (far, router) = (&world.clients[0], &world.proxy);
    veth(far, "far", router, "near", &Veth::new()).unwrap();
    shell(
        far,
        "ip link set eth0 down
         ip address add 198.51.100.10/24 dev far
         ip route add default via 198.51.100.1
         ethtool -K far tso off gso off gro off tx-udp-segmentation off",
    );
    shell(router, "ip address add 198.51.100.1/24 dev near; sysctl -qw net.ipv4.ip_forward=1");
    shell(&world.server, "ip route add 198.51.100.0/24 via 192.0.2.200");
}

fn a_router_that_says_how_much_it_carries_is_heard() {
    let world = world();
    route(&world);
    world.as_on_a_cable();
    let (far, router) = (&world.clients[0], &world.proxy);
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    ping_until_answered(far, ROOT_V4);
    fill_the_path(&world, 1472);
    shell(
        router,
        "ip route replace 192.0.2.0/24 dev eth0 src 192.0.2.200 mtu lock 1300
         ip route replace 198.51.100.0/24 dev near src 198.51.100.1 mtu lock 1300",
    );
    // Datagrams of 1,454 bytes. What is too large for the router is lost, once each way; without
    // its word it would be seconds until the silence is noticed.
    let waits = Duration::from_millis(300);
    let lost = (0..).take_while(|_| ping(far, ROOT_V4, 1_380, waits).is_err()).count();
    println!("MTU 1,500 -> 1,300, announced: {lost} pings lost");
    assert!(lost <= 6, "{lost}");
    one_session(&client, &server);
}

fn a_router_of_ipv6_is_heard_too() {
    let world = world();
    let (far, router) = (&world.clients[0], &world.proxy);
    veth(far, "far", router, "near", &Veth::new()).unwrap();
    shell(
        far,
        "ip link set eth0 down
         ip address add 2001:db8:1::10/64 dev far nodad
         ip route add default via 2001:db8:1::1
         ethtool -K far tso off gso off gro off tx-udp-segmentation off",
    );
    shell(
        router,
        "ip address add 2001:db8:1::1/64 dev near nodad
         sysctl -qw net.ipv6.conf.all.forwarding=1",
    );
    shell(&world.server, "ip route add 2001:db8:1::/64 via 2001:db8::c8");
    world.as_on_a_cable();
    let server = world.serve(&["--listen", "::"]);
    let client = world.join_at(0, "2001:db8::1", &[]);
    ping_until_answered(far, ROOT_V4);
    fill_the_path(&world, 1_452);
    shell(
        router,
        "ip route replace 2001:db8::/64 dev eth0 proto kernel metric 256 mtu lock 1300
         ip route replace 2001:db8:1::/64 dev near proto kernel metric 256 mtu lock 1300",
    );
    // Datagrams of 1,434 bytes.
    let waits = Duration::from_millis(300);
    let lost = (0..).take_while(|_| ping(far, ROOT_V4, 1_360, waits).is_err()).count();
    println!("MTU 1,500 -> 1,300, announced by ICMPv6: {lost} pings lost");
    assert!((1..=6).contains(&lost), "{lost}");
    one_session(&client, &server);
}

fn a_jumbo_link_is_used() {
    let world = World::with_mtu(1, 9_000).speaking(Mode::Secure);
    world.as_on_a_cable();
    let server = world.serve(&["-l", "::", "--mtu", "9000"]);
    for (address, payload) in [("192.0.2.1", 8_972), ("2001:db8::1", 8_952)] {
        let client = world.join_at(0, address, &["--mtu", "9000"]);
        fill_the_path(&world, payload);
        client.stop();
    }
    let log = server.stop();
    assert_eq!(counter(&log, "drop.udp_too_large"), 0, "{log}");
}

fn a_link_of_another_mtu_is_followed() {
    let world = world();
    world.as_on_a_cable();
    let server = world.serve(&["--mtu", "9000"]);
    let client = world.join(0, &["--mtu", "9000"]);
    fill_the_path(&world, 1_472);
    // The client's own link last, for its change is what makes it ask the server anew.
    shell(&world.switch, "for port in lan port1 port10; do ip link set $port mtu 9000; done");
    shell(&world.server, "ip link set eth0 mtu 9000");
    server.wait_for(&format!("{} 8972 bytes", said::LINKS_CHANGED));
    shell(&world.clients[0], "ip link set eth0 mtu 9000");
    fill_the_path(&world, 8_972);
    // What is on its way may be lost, as where a cable is pulled.
    shell(&world.clients[0], "ip link set eth0 mtu 1400");
    client.wait_for_nth(said::CHANGED, 2);
    fill_the_path(&world, 1_372);
    one_session(&client, &server);
}

/// The link carries more than the frames of small TAPs need, so that these say what is looked for.
fn a_path_follows_the_mtu_of_the_taps() {
    let world = World::with_mtu(1, 9_000).speaking(Mode::Secure);
    world.as_on_a_cable();
    let files = ["server.toml", "client.toml"].map(|name| world.keys.path(name));
    let write = |mtu: u16| {
        files.iter().for_each(|file| fs::write(file, format!("mtu = {mtu}\n")).unwrap());
    };
    write(1_500);
    let [of_server, of_client] = files.each_ref().map(|file| file.to_str().unwrap());
    let server = world.serve(&["--config", of_server]);
    let client = world.join(0, &["--config", of_client]);
    // A frame of a TAP's MTU takes 46 bytes more, and one with two VLAN tags another 8.
    fill_the_path(&world, 1_546);
    for (round, mtu) in [9_000, 1_500, 9_000].into_iter().enumerate() {
        write(mtu);
        // The client asks for other keys, with which the server says what it takes by then.
        for end in [&server, &client] {
            end.signal(Signal::SIGHUP);
            end.wait_for_nth(".toml again", round + 1);
        }
        fill_the_path(&world, if mtu == 9_000 { 8_972 } else { 1_546 });
        for (end, who) in [(&server, "server"), (&client, "client-0")] {
            let socket = end.control().to_str().unwrap();
            let status = world.keys.acton(who, &["status", "--json", "--control", socket]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let pmtu = status["sessions"][0]["path_mtu_out"].as_u64().unwrap();
            assert!(pmtu <= u64::from(mtu) + 54, "{status}");
        }
    }
    one_session(&client, &server);
}

/// Datagrams from an address that is not there are refused, but not for their size.
fn an_address_that_goes_and_comes_back_costs_no_path() {
    let world = world();
    world.as_on_a_cable();
    let server = world.serve(&["-l", "::"]);
    let client = world.join_at(0, "2001:db8::1", &[]);
    fill_the_path(&world, 1_452);
    shell(&world.server, "ip address del 2001:db8::1/64 dev eth0");
    let root = world.server_wire();
    // For so long that the server looks for the path's MTU meanwhile, and no longer: ten seconds without an
    // answer do cost the path.
    let start = Instant::now();
    for number in 0.. {
        if start.elapsed() > Duration::from_secs(7) {
            break;
        }
        let mut down = numbered(client_mac(0), SERVER_MAC, number);
        down.resize(1_400, 2);
        root.send(&down);
        thread::sleep(Duration::from_millis(50));
    }
    shell(&world.server, "ip address add 2001:db8::1/64 dev eth0 nodad");
    fill_the_path(&world, 1_452);
    one_session(&client, &server);
    let log = server.stop();
    assert_eq!(counter(&log, "drop.udp_too_large"), 0, "{log}");
    assert!(counter(&log, "drop.udp_unreachable") > 50, "{log}");
}

fn a_small_link_costs_no_frame() {
    let world = world();
    world.as_on_a_cable();
    shell(&world.clients[0], "ip link set eth0 mtu 1400");
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let full = |to, from, number| {
        let mut frame = numbered(to, from, number);
        frame.resize(1_514, 3);
        frame
    };
    // From the first frame on, while the search goes on, and until it has found what there is.
    let mut number = 0;
    let both_ways = |number: &mut u32| {
        for _ in 0..50 {
            *number += 1;
            let up = full(SERVER_MAC, client_mac(0), *number);
            leaf.send(&up);
            let down = full(client_mac(0), SERVER_MAC, *number);
            root.send(&down);
            root.receive_until(&up);
            leaf.receive_until(&down);
        }
    };
    both_ways(&mut number);
    fill_the_path(&world, 1_372);
    both_ways(&mut number);
    one_session(&client, &server);
    for log in [client.stop(), server.stop()] {
        assert_eq!(counter(&log, "drop.udp_too_large"), 0, "{log}");
    }
}

/// A host behind the client.
const BEHIND_CLIENT: MacAddr = mac(0x77);

fn full_frames_need_no_ip_fragments() {
    let world = world();
    world.as_on_a_cable();
    let _server = world.serve(&[]);
    let capture = Capture::start(&world.server, "eth0", &world.keys);
    let _client = world.join(0, &[]);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    ping_until_answered(&world.clients[0], ROOT_V4);
    let ends: [(_, IpAddr); 2] = [(&world.clients[0], ROOT_V4), (&world.server, leaf(0)[0])];
    for (from, to) in ends {
        for size in [1_300, 1_398, 1_399, 1_470, 1_471, 1_472] {
            ping(from, to, size, HANG).unwrap();
        }
    }
    for number in 0..50 {
        let mut up = numbered(SERVER_MAC, BEHIND_CLIENT, number);
        up.resize(1514, 1);
        wire.send(&up);
        root.receive_until(&up);
        let mut down = numbered(BEHIND_CLIENT, SERVER_MAC, number);
        down.resize(1514, 2);
        root.send(&down);
        wire.receive_until(&down);
    }
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 2_000_000);
    tcp_transfer(&world.server, &world.clients[0], leaf(0)[0], 2_000_000);

    let packets = capture.stop();
    let tunnel: Vec<_> = packets.iter().filter(|packet| packet.udp(PORT).is_some()).collect();
    let longest = tunnel.iter().map(|packet| packet.len()).max().unwrap();
    let pieces = tunnel.iter().filter(|packet| {
        let udp = packet.udp(PORT).unwrap();
        udp[0] == DATA && udp[1] != WHOLE
    });
    println!(
        "{} datagrams, {} of them pieces, longest IP packet {longest}",
        tunnel.len(),
        pieces.clone().count()
    );
    assert!(tunnel.len() > 2_000);
    // 100 frames of 1,514 bytes and as many pings, in two pieces at least.
    assert!(pieces.count() >= 200);
    assert!(longest <= 1_500);
    assert!(packets.iter().all(|packet| !packet.is_fragment()), "an IP fragment");
    assert!(tunnel.iter().all(|packet| !packet.may_be_fragmented()), "DF is not set");
}

fn tcp_is_made_to_fit_one_datagram() {
    let world = world();
    world.as_on_a_cable();
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    fill_the_path(&world, 1472);
    let outside = Capture::start(&world.server, "eth0", &world.keys);
    let taps = [(&world.server, "server"), (&world.clients[0], "client")]
        .map(|(host, device)| Capture::start(host, device, &world.keys));
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 1_000_000);
    tcp_transfer(&world.server, &world.clients[0], leaf(0)[0], 1_000_000);
    let outside = outside.stop();
    let data = || outside.iter().filter_map(|packet| packet.udp(PORT)).filter(|udp| udp[0] == DATA);
    assert!(data().count() > 1_000);
    assert_eq!(data().filter(|udp| udp[1] != WHOLE).count(), 0, "a segment in pieces");
    assert_eq!(data().map(<[u8]>::len).max(), Some(1472));
    // 1,472 less 32 of acton, 14 of Ethernet, 20 of IPv4 and 20 of TCP. Each end sees what it
    // sent as it was, and what came as the other end was made to say it.
    for capture in taps {
        let mut seen: Vec<_> =
            capture.stop().iter().filter_map(|packet| packet.mss_of_syn()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1386, 1386, 1460, 1460]);
    }
    let logs = [client.stop(), server.stop()];
    for log in logs {
        assert_eq!(counter(&log, "drop.udp_too_large"), 0, "{log}");
    }
}

/// The MSS of a TCP SYN over IPv4, where Linux has it.
fn mss_of_syn(frame: &[u8]) -> Option<u16> {
    let is_syn =
        frame.len() >= 58 && frame[12..14] == [8, 0] && frame[23] == 6 && frame[47] & 2 != 0;
    is_syn.then(|| u16::from_be_bytes([frame[56], frame[57]]))
}

/// A host behind a client that has said nothing yet: what goes to it goes to all. The other client's
/// path is smaller.
fn a_flooded_syn_is_made_to_fit_each_receiver() {
    let world = World::new(2).speaking(Mode::Secure);
    world.as_on_a_cable();
    shell(&world.clients[1], "ip link set eth0 mtu 1400");
    let (silent, nobody) = (mac(0x99), mac(0x77));
    shell(
        &world.clients[0],
        &format!(
            "sysctl -qw net.ipv6.conf.default.disable_ipv6=1
             ip link add br0 type bridge
             ip link add port0 type veth peer name silent address {silent}
             ip link set port0 master br0 up; ip link set br0 up; ip link set silent up
             ip address add 10.9.0.10/24 dev silent
             ip neighbour add {ROOT_V4} lladdr {SERVER_MAC} dev silent"
        ),
    );
    let server = world.serve(&[]);
    shell(
        &world.server,
        &format!(
            "ip neighbour add 10.9.0.10 lladdr {silent} dev server
             ip neighbour add 10.9.0.77 lladdr {nobody} dev server"
        ),
    );
    let proxy = world.proxy(Impairment { no_pieces: true, ..Impairment::default() }, 1);
    let arguments =
        [world.client_arguments(0, "192.0.2.200"), vec!["--bridge".into(), "br0".into()]];
    let arguments = arguments.concat();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let client = Acton::start("client", &world.clients[0], &arguments);
    client.wait_for(said::CONNECTED);
    let _other = world.join(1, &[]);

    // The path of each is looked for when it has a session: until then less goes into a datagram.
    let wires = [world.client_wire(0), world.client_wire(1)];
    wait_until("each client is told what its path carries", || {
        let to = SocketAddr::from(([10, 9, 0, 77], 9));
        let failed =
            world.server.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(50)));
        assert!(failed.is_err());
        let newest = |wire: &Wire| {
            let frames = iter::from_fn(|| wire.receive(Duration::from_millis(50)));
            frames.filter_map(|frame| mss_of_syn(&frame)).last()
        };
        let seen = wires.each_ref().map(newest);
        assert!(seen[0] <= Some(1_386) && seen[1] <= Some(1_286), "{seen:?}");
        seen == [Some(1_386), Some(1_286)]
    });

    // The first connection to the silent host: what it sends never needs pieces.
    let to = SocketAddr::from((leaf(0)[0], 5_000));
    let listener = world.clients[0].run(|| TcpListener::bind(to)).unwrap();
    let mut received = world.server.run(|| TcpStream::connect_timeout(&to, HANG)).unwrap();
    received.set_read_timeout(Some(HANG)).unwrap();
    let (mut sending, _) = listener.accept().unwrap();
    let sent = thread::spawn(move || sending.write_all(&vec![7; 1_000_000]));
    let mut bytes = Vec::new();
    received.read_to_end(&mut bytes).unwrap();
    sent.join().unwrap().unwrap();
    assert_eq!(bytes.len(), 1_000_000);
    let log = server.stop();
    assert_eq!(counter(&log, "session.pieces"), 0, "{log}");
    proxy.stop();
}

/// An MSS limits what comes back: a server's SYN has to fit what the client's way carries.
fn a_syn_fits_the_smaller_of_both_ways() {
    let world = world();
    route(&world);
    world.as_on_a_cable();
    let (far, router) = (&world.clients[0], &world.proxy);
    let server = world.serve(&["--keepalive", "1"]);
    let client = world.join(0, &["--keepalive", "1"]);
    ping_until_answered(far, ROOT_V4);
    fill_the_path(&world, 1472);
    let wires = [world.client_wire(0), world.server_wire()];
    // Nobody listens there; what a SYN offers where it arrives is all that counts.
    let offered = || {
        let hosts = [(&world.server, leaf(0)[0]), (far, ROOT_V4)];
        for (from, to) in hosts {
            let to = SocketAddr::new(to, 9);
            let refused = from.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)));
            assert!(refused.is_err());
        }
        wires.each_ref().map(|wire| {
            let frames = iter::from_fn(|| wire.receive(Duration::from_millis(50)));
            frames.filter_map(|frame| mss_of_syn(&frame)).last()
        })
    };
    wait_until("each way's SYN fits both", || offered() == [Some(1_386); 2]);
    // Only what the client sends comes by a smaller link.
    shell(router, "ip route replace 192.0.2.0/24 dev eth0 src 192.0.2.200 mtu lock 1300");
    let waits = Duration::from_millis(300);
    wait_until("the client knows", || ping(far, ROOT_V4, 1_380, waits).is_ok());
    wait_until("each way's SYN fits the smaller", || offered() == [Some(1_186); 2]);
    let [leaf, root] = &wires;
    fill(&world, (root, SERVER_MAC), (leaf, client_mac(0)), 1_472);
    one_session(&client, &server);
}
