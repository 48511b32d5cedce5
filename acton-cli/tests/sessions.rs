//! The life of a session: how it comes, what it survives, and what goes with it.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;
use pnet_base::MacAddr;
use support::{
    HANG, Impairment, Mode, PORT, ROOT_V4, SERVER_MAC, SERVER_V4, SERVER_V6, TEST_ETHERTYPE, Wire,
    World, answers, frame, leaf, mac, ping_until_answered, said, shell, start_with_hosts,
    tcp_transfer, wait_until,
};

support::in_both_modes! {
    a_killed_clients_macs_go_with_the_time_out,
    bye_frees_at_once,
    a_killed_servers_clients_come_back,
    a_stopped_servers_clients_come_back,
    a_client_waits_for_its_server,
    a_client_follows_the_name_to_a_new_address,
    an_outage_is_noticed_and_survived,
    a_lossy_path_is_survived,
    both_signals_leave_nothing_behind,
    a_signal_at_the_first_moment_ends_it_cleanly,
    the_server_answers_from_the_address_it_was_called_by,
    a_client_whose_own_address_changes_comes_back,
    a_client_whose_link_goes_and_comes_carries_on,
    two_clients_behind_one_address_are_two_sessions,
    a_link_local_underlay_needs_no_addresses;
    plain:
    a_mac_that_moves_is_reached_at_its_new_client_at_once,
    a_new_address_behind_a_translator_is_taken_up,
    static_peers_need_no_hello,
    a_forged_hello_brings_its_answer_and_no_more;
    secure:
    a_late_answer_is_where_the_server_is,
}

/// A host somewhere behind a client.
const ROAMER: MacAddr = mac(0x99);

fn test_frame(to: MacAddr, from: MacAddr, number: u8) -> Vec<u8> {
    frame(to, from, TEST_ETHERTYPE, &[number; 64])
}

/// Sends a frame from behind a client and waits until it is out at the server: now the server
/// knows where `from` is.
fn announce(leaf: &Wire, root: &Wire, from: MacAddr, number: u8) {
    let hello = test_frame(MacAddr::broadcast(), from, number);
    leaf.send(&hello);
    root.receive_until(&hello);
}

/// Whether a unicast to `to` from the server is heard at this client.
fn is_sent_to(to: MacAddr, root: &Wire, leaf: &Wire, number: u8) -> bool {
    let unicast = test_frame(to, SERVER_MAC, number);
    root.send(&unicast);
    let last = test_frame(MacAddr::broadcast(), SERVER_MAC, number);
    root.send(&last);
    leaf.receive_until(&last).contains(&unicast)
}

fn a_mac_that_moves_is_reached_at_its_new_client_at_once() {
    let world = World::new(2);
    let _server = world.serve(&[]);
    let _clients = [0, 1].map(|i| world.join(i, &[]));
    let root = world.server_wire();
    let leaves = [0, 1].map(|i| world.client_wire(i));
    for round in 0..6 {
        let [here, there] = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        announce(&leaves[here], &root, ROAMER, round);
        assert!(is_sent_to(ROAMER, &root, &leaves[here], 0x10 + round));
        assert!(!is_sent_to(ROAMER, &root, &leaves[there], 0x20 + round));
    }
}

fn a_killed_clients_macs_go_with_the_time_out(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let server = world.serve(&["--keepalive", "1"]);
    let doomed = world.join(0, &["--keepalive", "1"]);
    let _other = world.join(1, &["--keepalive", "1"]);
    let (root, leaf, other) = (world.server_wire(), world.client_wire(0), world.client_wire(1));
    announce(&leaf, &root, ROAMER, 1);
    assert!(!is_sent_to(ROAMER, &root, &other, 2));
    doomed.kill();
    // Nobody has said so yet.
    assert!(!is_sent_to(ROAMER, &root, &other, 3));
    server.wait_for(said::EXPIRED);
    // A MAC without a place goes to all.
    assert!(is_sent_to(ROAMER, &root, &other, 4));
    let log = server.stop();
    let line = log.lines().find(|line| line.contains(said::EXPIRED)).unwrap();
    // A client of plain mode has no other name than its address.
    assert!(mode == Mode::Secure || line.contains("192.0.2.10:"), "{line}");
    assert!(line.contains("forgotten, 1 open"), "{line}");
}

fn bye_frees_at_once(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let server = world.serve(&[]);
    let (leaving, _other) = (world.join(0, &[]), world.join(1, &[]));
    let (root, leaf, other) = (world.server_wire(), world.client_wire(0), world.client_wire(1));
    announce(&leaf, &root, ROAMER, 1);
    assert!(!is_sent_to(ROAMER, &root, &other, 2));
    leaving.stop();
    server.wait_for(said::BYE);
    assert!(is_sent_to(ROAMER, &root, &other, 3));
    let log = server.stop();
    assert!(!log.contains(said::EXPIRED), "{log}");
}

fn a_killed_servers_clients_come_back(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let server = world.serve(&[]);
    let clients = [0, 1].map(|i| world.join(i, &["--keepalive", "1"]));
    server.kill();
    let server = world.serve(&[]);
    for i in [0, 1] {
        ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
        ping_until_answered(&world.server, leaf(i)[0]);
    }
    for client in clients {
        client.stop();
    }
    server.stop();
}

fn a_stopped_servers_clients_come_back(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&[]);
    let client = world.join(0, &["--keepalive", "1"]);
    server.stop();
    client.wait_for(said::LOST);
    let _server = world.serve(&[]);
    client.wait_for_nth(said::CONNECTED, 2);
    ping_until_answered(&world.clients[0], ROOT_V4);
}

fn a_client_waits_for_its_server(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let client = world.start_client(0, "192.0.2.1", &[]);
    client.wait_for(said::CONNECTING);
    let _server = world.serve(&[]);
    client.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    client.stop();
}

fn a_client_follows_the_name_to_a_new_address(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let hosts = world.keys.path("hosts");
    fs::write(&hosts, "192.0.2.1 tunnel.test\n").unwrap();
    let server = world.serve(&[]);
    let client = start_with_hosts(&world, &hosts);
    client.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);

    server.kill();
    shell(&world.server, "ip address del 192.0.2.1/24 dev eth0");
    shell(&world.server, "ip address add 192.0.2.2/24 dev eth0");
    let _server = world.serve(&[]);
    fs::write(&hosts, "192.0.2.2 tunnel.test\n").unwrap();
    client.wait_for("192.0.2.2:8080");
    client.wait_for_nth(said::CONNECTED, 2);
    ping_until_answered(&world.clients[0], ROOT_V4);
}

/// The answer to a HELLO comes when the client tries the name's next address already.
fn a_late_answer_is_where_the_server_is() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let hosts = world.keys.path("hosts");
    fs::write(&hosts, "192.0.2.1 tunnel.test\n192.0.2.250 tunnel.test\n").unwrap();
    let client = server.while_stopped(|| {
        let client = start_with_hosts(&world, &hosts);
        client.wait_for("connecting to tunnel.test:8080 (192.0.2.250:8080)");
        client
    });
    client.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let log = client.stop();
    assert!(log.contains("connected to tunnel.test:8080 (192.0.2.1:8080)"), "{log}");
    assert!(!log.contains(said::LOST), "{log}");
}

fn an_outage_is_noticed_and_survived(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--keepalive", "1"]);
    let proxy = world.proxy(Impairment::default(), 1);
    let client = world.join_at(0, "192.0.2.200", &["--keepalive", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    proxy.set(Impairment { loss: 1.0, ..Impairment::default() });
    client.wait_for(said::LOST);
    server.wait_for(said::EXPIRED);
    assert!(!answers(&world.clients[0], ROOT_V4));
    proxy.set(Impairment::default());
    client.wait_for_nth(said::CONNECTED, 2);
    ping_until_answered(&world.clients[0], ROOT_V4);
    assert!(proxy.stop().lost > 0);
}

fn a_new_address_behind_a_translator_is_taken_up() {
    let world = World::new(1);
    let server = world.serve(&["--keepalive", "1"]);
    let old = world.proxy(Impairment::default(), 1);
    let client = world.join_at(0, "192.0.2.200", &["--keepalive", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    // The next one sends to the server from another port.
    old.stop();
    let _new = world.proxy(Impairment::default(), 2);
    ping_until_answered(&world.clients[0], ROOT_V4);
    ping_until_answered(&world.server, leaf(0)[0]);
    server.wait_for(said::EXPIRED);
    ping_until_answered(&world.server, leaf(0)[0]);
    client.stop();
}

fn a_lossy_path_is_survived(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&[]);
    let bad = Impairment {
        loss: 0.3,
        duplicate: 0.1,
        reorder: 0.1,
        delay: Duration::from_millis(10),
        ..Impairment::default()
    };
    let proxy = world.proxy(bad, 42);
    let client = world.join_at(0, "192.0.2.200", &[]);
    for _ in 0..5 {
        ping_until_answered(&world.clients[0], ROOT_V4);
    }
    let fair = Impairment { loss: 0.02, delay: Duration::from_millis(2), ..bad };
    proxy.set(fair);
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 500_000);
    tcp_transfer(&world.server, &world.clients[0], leaf(0)[0], 500_000);
    let counts = proxy.stop();
    assert!(counts.lost > 0 && counts.duplicated > 0 && counts.reordered > 0, "{counts:?}");
    client.stop();
    server.stop();
}

fn both_signals_leave_nothing_behind(mode: Mode) {
    let world = World::new(1).speaking(mode);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = world.serve(&[]);
        let client = world.join(0, &[]);
        client.signal(signal);
        let (status, log) = client.end();
        assert_eq!(status.code(), Some(0), "{log}");
        server.wait_for(said::BYE);
        server.signal(signal);
        let (status, log) = server.end();
        assert_eq!(status.code(), Some(0), "{log}");
        for host in [&world.server, &world.clients[0]] {
            assert_eq!(devices(host), ["lo", "eth0"]);
        }
    }
}

fn a_signal_at_the_first_moment_ends_it_cleanly(mode: Mode) {
    let world = World::new(0).speaking(mode);
    for _ in 0..20 {
        world.serve(&[]).stop();
    }
}

/// The names of the devices in a namespace.
fn devices(namespace: &acton_netns::Namespace) -> Vec<String> {
    let links = shell(namespace, "ip -o link");
    let name = |line: &str| line.split([':', '@']).nth(1).unwrap().trim().to_owned();
    links.lines().map(name).collect()
}

/// Whoever forges a client's address has it sent one small datagram for another; what the server tells
/// of its own addresses waits for a sign that somebody is there.
fn a_forged_hello_brings_its_answer_and_no_more() {
    let world = World::new(1);
    let _server = world.serve(&["--no-loop-guard"]);
    let victim = world.clients[0].run(|| UdpSocket::bind("192.0.2.10:9000")).unwrap();
    victim.set_read_timeout(Some(HANG)).unwrap();
    victim.connect((SERVER_V4, PORT)).unwrap();
    let mut buffer = [0; 2000];
    let mut next = || {
        let length = victim.recv(&mut buffer).unwrap();
        let is_arp = buffer[..length].get(12..14) == Some(&[0x08, 0x06]);
        (buffer[..length].to_vec(), is_arp)
    };
    // What it would tell at once it sends after no more than 32 answers.
    for _ in 0..40 {
        victim.send(b"HELLO").unwrap();
        // What the kernel of the server's host says by itself is not the server's.
        while let (got, is_arp) = next()
            && got != b"HELLO"
        {
            assert!(!is_arp, "an announcement");
        }
    }
    victim.send(b"KEEPALIVE").unwrap();
    while !next().1 {}
}

fn static_peers_need_no_hello() {
    let world = World::new(2);
    for (listen, peer) in
        [("0.0.0.0", "192.0.2.10:9000"), ("::", "192.0.2.10:9000"), ("::", "[2001:db8::a]:9000")]
    {
        let server = world.serve(&["--listen", listen, "--peer", peer]);
        let other = world.join(1, &[]);
        static_peer(&world, peer.parse().unwrap());
        other.stop();
        server.stop();
    }
}

/// What a peer with a session from the start can do, at `address` of client 0.
fn static_peer(world: &World, address: SocketAddr) {
    let (root, other) = (world.server_wire(), world.client_wire(1));
    let peer = world.clients[0].run(|| UdpSocket::bind(address)).unwrap();
    peer.set_read_timeout(Some(HANG)).unwrap();
    let server = if address.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
    peer.connect((server, PORT)).unwrap();
    let up = test_frame(SERVER_MAC, ROAMER, 1);
    peer.send(&up).unwrap();
    root.receive_until(&up);
    let down = test_frame(ROAMER, SERVER_MAC, 2);
    root.send(&down);
    let mut buffer = [0; 2000];
    wait_until("the peer gets its frame", || {
        let length = peer.recv(&mut buffer).unwrap();
        buffer[..length] == down
    });
    assert!(!is_sent_to(ROAMER, &root, &other, 3));
    // BYE does not end what no HELLO began.
    peer.send(b"BYE").unwrap();
    let after = test_frame(SERVER_MAC, ROAMER, 4);
    peer.send(&after).unwrap();
    root.receive_until(&after);
}

fn the_server_answers_from_the_address_it_was_called_by(mode: Mode) {
    let world = World::new(2).speaking(mode);
    shell(
        &world.server,
        "ip address add 192.0.2.2/24 dev eth0; ip address add 2001:db8::2/64 dev eth0 nodad",
    );
    for (listen, addresses) in
        [("0.0.0.0", ["192.0.2.1", "192.0.2.2"]), ("::", ["192.0.2.2", "[2001:db8::2]"])]
    {
        let server = world.serve(&["--listen", listen]);
        let clients = [0, 1].map(|i| world.join_at(i, addresses[usize::from(i)], &[]));
        for i in [0, 1] {
            ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
            // To all, and to one.
            ping_until_answered(&world.server, leaf(i)[0]);
        }
        for client in clients {
            client.stop();
        }
        server.stop();
    }
}

fn a_client_whose_own_address_changes_comes_back(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--keepalive", "1"]);
    let client = world.join(0, &["--keepalive", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    shell(
        &world.clients[0],
        "ip address del 192.0.2.10/24 dev eth0; ip address add 192.0.2.99/24 dev eth0",
    );
    server.wait_for("192.0.2.99:");
    ping_until_answered(&world.clients[0], ROOT_V4);
    ping_until_answered(&world.server, leaf(0)[0]);
    client.stop();
}

fn a_client_whose_link_goes_and_comes_carries_on(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let _server = world.serve(&["--keepalive", "1"]);
    let client = world.join(0, &["--keepalive", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    shell(&world.clients[0], "ip link set eth0 down");
    client.wait_for(said::LOST);
    shell(&world.clients[0], "ip link set eth0 up");
    client.wait_for_nth(said::CONNECTED, 2);
    ping_until_answered(&world.clients[0], ROOT_V4);
    client.stop();
}

fn two_clients_behind_one_address_are_two_sessions(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let server = world.serve(&[]);
    let proxy = world.proxy(Impairment::default(), 1);
    let clients = [0, 1].map(|i| world.join_at(i, "192.0.2.200", &[]));
    for i in [0, 1] {
        ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
        ping_until_answered(&world.server, leaf(i)[0]);
    }
    let [first, second] = clients;
    first.stop();
    server.wait_for(said::BYE);
    assert!(answers(&world.clients[1], ROOT_V4));
    assert!(!answers(&world.server, leaf(0)[0]));
    second.stop();
    drop(proxy);
}

fn a_link_local_underlay_needs_no_addresses(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--listen", "::"]);
    let text = shell(&world.server, "ip -o -6 address show dev eth0 scope link");
    let address = text.split_whitespace().find(|word| word.starts_with("fe80:")).unwrap();
    let address = address.trim_end_matches("/64");
    // Its own is tentative for the first second (RFC 4862), and tentative ones cannot send.
    wait_until("the client's link-local address is there", || {
        let text = shell(&world.clients[0], "ip -o -6 address show dev eth0 scope link");
        text.contains("fe80:") && !text.contains("tentative")
    });
    let client = world.join_at(0, &format!("[{address}%eth0]:8080"), &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    ping_until_answered(&world.server, leaf(0)[0]);
    client.stop();
    server.stop();
}
