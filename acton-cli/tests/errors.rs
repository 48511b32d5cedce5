//! Bad settings, bad input and a hostile machine: each a clear message with the right exit code,
//! or a drop that is counted.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::Duration;

use acton_netns::Namespace;
use pnet_base::MacAddr;
use support::{
    Acton, CLIENT_MAC, Forger, HANG, PORT, ROOT_V4, SERVER_MAC, SERVER_V4, TEST_ETHERTYPE, World,
    client_mac, counter, frame, leaf, mac, ping_until_answered, said, shell, wait_until,
};

testbed::main! {
    a_client_without_an_invite_is_told_how_to_get_one,
    bad_arguments_are_named,
    a_name_that_does_not_resolve_is_tried_again,
    a_port_in_use_is_named,
    a_device_of_that_name_is_named,
    a_bridge_that_is_missing_is_named,
    without_privilege_the_message_says_what_is_needed,
    without_the_tun_device_the_message_says_so,
    a_deleted_tap_ends_the_program,
    a_tap_that_is_set_down_works_again_when_up,
    unknown_control_words_are_counted,
    frames_from_strangers_are_counted,
    sources_outside_allow_get_no_session,
    sessions_have_a_limit,
    forged_hellos_make_the_server_no_amplifier,
    oversized_frames_hurt_nobody,
    nothing_is_answered_larger_than_asked,
    random_datagrams_hurt_nobody,
    a_client_counts_what_it_cannot_read,
    a_client_hears_nobody_but_its_server,
}

/// Runs `acton` to its own end; its exit code and what it said.
#[track_caller]
fn run(namespace: &Namespace, arguments: &[&str]) -> (i32, String) {
    let (status, log) = Acton::start("acton", namespace, arguments).end();
    (status.code().unwrap(), log)
}

/// Demands an exit code and words in the message, and that no device is left.
#[track_caller]
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let namespace = Namespace::new().unwrap();
    let (status, log) = run(&namespace, arguments);
    assert_eq!(status, code, "{arguments:?}: {log}");
    for word in words {
        assert!(log.contains(word), "{arguments:?}: no '{word}' in: {log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(shell(&namespace, "ip -o link").lines().count(), 1);
}

/// Exit code where the arguments were wrong, as of most programs; and where the machine was.
const USAGE: i32 = 2;
const FAILURE: i32 = 1;

fn a_client_without_an_invite_is_told_how_to_get_one() {
    let state = "/nonexistent/acton";
    refused(&["client", "192.0.2.1", "--state", state], FAILURE, &["acton join"]);
    refused(&["client", "--state", state], FAILURE, &["acton join"]);
    // Plain mode is never a fallback, and its options never go unnoticed.
    refused(&["server", "--allow", "10.0.0.0/8"], USAGE, &["--plain"]);
    refused(&["server", "--plain", "--clients", "list"], USAGE, &["--plain", "--clients"]);
}

fn bad_arguments_are_named() {
    let server = |more: &[&'static str]| [&["server", "--plain"], more].concat();
    for (more, words) in [
        (vec!["-m", "02:00:00:00:00:01:02"], vec!["02:00:00:00:00:01:02"]),
        (vec!["-m", "02:00:00:00:00"], vec!["02:00:00:00:00"]),
        (vec!["-m", "01:00:5e:00:00:01"], vec!["01:00:5e:00:00:01"]),
        (vec!["-m", "zebra"], vec!["zebra"]),
        (vec!["-a", "10.9.0.1/33"], vec!["10.9.0.1/33"]),
        (vec!["-a", "10.9.0.256/24"], vec!["10.9.0.256/24"]),
        (vec!["-a", "fd09::1/129"], vec!["fd09::1/129"]),
        (vec!["-p", "65536"], vec!["65536"]),
        (vec!["-l", "nowhere"], vec!["nowhere"]),
        (vec!["--allow", "10.0.0.0/99"], vec!["10.0.0.0/99"]),
        (vec!["--peer", "10.0.0.1"], vec!["10.0.0.1"]),
        (vec!["--mtu", "67"], vec!["67"]),
        (vec!["--mtu", "65522"], vec!["65522"]),
        (vec!["--keepalive", "0"], vec!["0"]),
        (vec!["--max-sessions", "65537"], vec!["65537"]),
        (vec!["--no-such-option"], vec!["--no-such-option"]),
    ] {
        refused(&server(&more), USAGE, &words);
    }
    for (name, words) in
        [("a-name-of-16-byt", "15 bytes"), ("", "empty"), ("a/b", "a/b"), ("a b", "white space")]
    {
        refused(&server(&["-t", name]), USAGE, &[words]);
    }
    refused(&["client", "--plain"], USAGE, &["SERVER"]);
    refused(&["client", "--plain", "192.0.2.1:0"], USAGE, &["192.0.2.1:0"]);
    refused(&["client", "--plain", ""], USAGE, &["host name"]);
    refused(&["no-such-command"], USAGE, &["no-such-command"]);
}

fn a_name_that_does_not_resolve_is_tried_again() {
    let world = World::new(1);
    let client = world.start_client(0, "no-such-host.invalid", &[]);
    client.wait_for("trying again");
    client.stop();
}

fn a_port_in_use_is_named() {
    let world = World::new(0);
    let _taken = world.server.run(|| UdpSocket::bind(("0.0.0.0", PORT))).unwrap();
    let (code, log) = run(&world.server, &["server", "--plain"]);
    assert_eq!(code, FAILURE, "{log}");
    assert!(log.contains("0.0.0.0:8080") && log.contains("in use"), "{log}");
    assert!(!shell(&world.server, "ip -o link").contains("server"));
}

fn a_device_of_that_name_is_named() {
    let world = World::new(1);
    let (code, log) = run(&world.server, &["server", "--plain", "-t", "eth0"]);
    assert_eq!(code, FAILURE, "{log}");
    assert!(log.contains("eth0"), "{log}");
    // A TAP that another program holds.
    let server = world.serve(&[]);
    let again = ["server", "--plain", "-p", "8081"];
    let (code, log) = run(&world.server, &again);
    assert_eq!(code, FAILURE, "{log}");
    assert!(log.contains("server") && log.contains("use"), "{log}");
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    client.stop();
    server.stop();
    // A persistent one that is free is taken, and outlives acton.
    shell(&world.server, "ip tuntap add mode tap name server");
    let server = world.serve(&[]);
    let _client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    server.stop();
    assert!(shell(&world.server, "ip -o link").contains("server"));
}

fn a_bridge_that_is_missing_is_named() {
    refused(&["server", "--plain", "--bridge", "br-none"], FAILURE, &["br-none"]);
}

fn without_privilege_the_message_says_what_is_needed() {
    let world = World::new(0);
    let capless = format!(
        "exec setpriv --bounding-set=-net_admin --inh-caps=-net_admin {} server --plain",
        env!("CARGO_BIN_EXE_acton")
    );
    let mut command = Command::new("sh");
    let (status, log) = Acton::spawn("server", &world.server, command.args(["-c", &capless])).end();
    assert_eq!(status.code(), Some(FAILURE), "{log}");
    assert!(log.contains("CAP_NET_ADMIN") && log.contains("root"), "{log}");
}

fn without_the_tun_device_the_message_says_so() {
    let world = World::new(0);
    let script = format!(
        "mount -t tmpfs none /dev/net && exec {} server --plain",
        env!("CARGO_BIN_EXE_acton")
    );
    let mut command = Command::new("unshare");
    let (status, log) =
        Acton::spawn("server", &world.server, command.args(["--mount", "sh", "-ec", &script]))
            .end();
    assert_eq!(status.code(), Some(FAILURE), "{log}");
    assert!(log.contains("/dev/net/tun") && log.contains("modprobe tun"), "{log}");
}

fn a_deleted_tap_ends_the_program() {
    let world = World::new(1);
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    shell(&world.clients[0], "ip link del client");
    let (status, log) = client.end();
    assert_eq!(status.code(), Some(FAILURE), "{log}");
    assert!(log.contains("TAP client was deleted"), "{log}");
    // It has said BYE nonetheless.
    server.wait_for(said::BYE);
    shell(&world.server, "ip link del server");
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(FAILURE), "{log}");
    assert!(log.contains("TAP server was deleted"), "{log}");
}

fn a_tap_that_is_set_down_works_again_when_up() {
    let world = World::new(1);
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let wire = world.client_wire(0);
    shell(&world.server, "ip link set server down");
    for number in 0..10 {
        wire.send(&frame(MacAddr::broadcast(), client_mac(0), TEST_ETHERTYPE, &[number; 50]));
    }
    shell(&world.clients[0], "ip link set client down; ip link set client up");
    shell(&world.server, "ip link set server up");
    ping_until_answered(&world.clients[0], ROOT_V4);
    ping_until_answered(&world.server, leaf(0)[0]);
    client.stop();
    let log = server.stop();
    assert!(counter(&log, "drop.tap_down") >= 10, "{log}");
}

/// A UDP socket in client 0's place, towards the server.
fn stranger(world: &World) -> UdpSocket {
    let socket = world.clients[0].run(|| UdpSocket::bind("192.0.2.10:0")).unwrap();
    socket.connect(SocketAddr::new(SERVER_V4, PORT)).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    socket
}

/// Says HELLO, and waits for it to come back.
#[track_caller]
fn hello(socket: &UdpSocket) {
    socket.send(b"HELLO").unwrap();
    let mut buffer = [0; 65_536];
    loop {
        // Frames that the server floods may come first.
        let length = socket.recv(&mut buffer).unwrap();
        if &buffer[..length] == b"HELLO" {
            return;
        }
    }
}

fn unknown_control_words_are_counted() {
    let world = World::new(1);
    let server = world.serve(&[]);
    let socket = stranger(&world);
    let words: [&[u8]; 12] = [
        b"",
        b"H",
        b"HELL",
        b"HELLO\0",
        b"HELLO\n",
        b"hello",
        b"KEEPALIVE ",
        b"KEEPALIV",
        b"BYEBYE",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"GOODBYE",
        b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x08",
    ];
    for from_session in [false, true] {
        if from_session {
            hello(&socket);
        }
        for word in words {
            socket.send(word).unwrap();
        }
    }
    // It is still there, and so is the session.
    let frame = frame(SERVER_MAC, mac(9), TEST_ETHERTYPE, b"still here");
    let root = world.server_wire();
    socket.send(&frame).unwrap();
    root.receive_until(&frame);
    let log = server.stop();
    assert_eq!(counter(&log, "drop.unknown_control"), 2 * words.len() as u64, "{log}");
}

fn frames_from_strangers_are_counted() {
    let world = World::new(1);
    let server = world.serve(&[]);
    let root = world.server_wire();
    let (unknown, known) = (stranger(&world), stranger(&world));
    hello(&known);
    let forged = frame(SERVER_MAC, mac(9), TEST_ETHERTYPE, b"from nowhere");
    for _ in 0..5 {
        unknown.send(&forged).unwrap();
    }
    let honest = frame(SERVER_MAC, mac(8), TEST_ETHERTYPE, b"from a session");
    known.send(&honest).unwrap();
    assert!(!root.receive_until(&honest).contains(&forged));
    // After BYE it is a stranger again.
    known.send(b"BYE").unwrap();
    server.wait_for(said::BYE);
    known.send(&honest).unwrap();
    hello(&unknown);
    unknown.send(&forged).unwrap();
    assert!(!root.receive_until(&forged).contains(&honest));
    let log = server.stop();
    assert_eq!(counter(&log, "drop.no_session"), 6, "{log}");
}

fn sources_outside_allow_get_no_session() {
    let world = World::new(2);
    // A socket for both families must not hide an IPv4 source behind its mapped address.
    for listen in ["0.0.0.0", "::"] {
        let server =
            world.serve(&["--listen", listen, "--allow", "192.0.2.11/32", "--allow", "fd00::/8"]);
        let socket = stranger(&world);
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        for word in [&b"HELLO"[..], b"KEEPALIVE", b"BYE"] {
            socket.send(word).unwrap();
            assert!(socket.recv(&mut [0; 2000]).is_err(), "answered");
        }
        let allowed = world.join(1, &[]);
        ping_until_answered(&world.clients[1], ROOT_V4);
        allowed.stop();
        let log = server.stop();
        assert_eq!(counter(&log, "drop.not_allowed"), 3, "{log}");
        assert!(!log.contains("192.0.2.10:"), "{log}");
        assert!(log.contains("192.0.2.11:") && !log.contains("::ffff:"), "{log}");
    }
}

fn forged_hellos_make_the_server_no_amplifier() {
    // The victim, the attacker, and a client that does not notice.
    let world = World::new(3);
    let server = world.serve(&[]);
    let honest = world.join(2, &[]);
    ping_until_answered(&world.clients[2], ROOT_V4);
    let forger = Forger::new(&world.clients[1]);
    let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), PORT);
    for port in 10_000..14_096 {
        let from = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), port);
        forger.send(&Forger::udp(from, to, b"HELLO")).unwrap();
        if port % 64 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    wait_until("the victim has what it may have", || server.log().matches(" up: ").count() == 65);
    let received = || {
        let bytes = shell(&world.clients[0], "awk '/eth0:/ { print $2 }' /proc/net/dev");
        bytes.trim().parse::<u64>().unwrap()
    };
    let before = received();
    let broadcast = frame(MacAddr::broadcast(), SERVER_MAC, TEST_ETHERTYPE, &[0x5a; 1_400]);
    let root = world.server_wire();
    let leaf = world.client_wire(2);
    root.send(&broadcast);
    leaf.receive_until(&broadcast);
    // Client 2 may be served before the others are.
    wait_until("each session has it", || received() - before >= 64 * 1_400);
    std::thread::sleep(Duration::from_millis(200));
    let bytes = received() - before;
    println!("a broadcast of {} bytes is {bytes} to the victim", broadcast.len());
    assert!((64 * 1_400..2 * 64 * 1_500).contains(&bytes), "{bytes}");
    ping_until_answered(&world.clients[2], ROOT_V4);
    honest.stop();
    let log = server.stop();
    assert!(counter(&log, "drop.source_full") > 3_000, "{log}");
    assert!(log.contains("--max-sessions-per-source"), "{log}");
    assert!(log.lines().count() < 200, "{log}");
}

fn sessions_have_a_limit() {
    let world = World::new(1);
    let server = world.serve(&["--max-sessions", "3"]);
    let sockets = [(); 3].map(|()| stranger(&world));
    for socket in &sockets {
        hello(socket);
    }
    let late = stranger(&world);
    late.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    late.send(b"HELLO").unwrap();
    assert!(late.recv(&mut [0; 2000]).is_err(), "answered");
    server.wait_for("--max-sessions");
    // Who is in, stays in; and a place that is free is given.
    hello(&sockets[0]);
    sockets[1].send(b"BYE").unwrap();
    server.wait_for(said::BYE);
    late.set_read_timeout(Some(HANG)).unwrap();
    hello(&late);
    server.stop();
}

fn oversized_frames_hurt_nobody() {
    let world = World::with_mtu(2, 9000);
    let server = world.serve(&[]);
    let _client = world.join(1, &[]);
    let socket = stranger(&world);
    hello(&socket);
    // The largest payload of UDP over IPv4, and one that no TAP's MTU allows.
    for length in [65_507, 9_001, 1_519] {
        let mut large = frame(MacAddr::broadcast(), mac(9), TEST_ETHERTYPE, &[]);
        large.resize(length, 0x5a);
        socket.send(&large).unwrap();
    }
    let root = world.server_wire();
    let after = frame(SERVER_MAC, mac(9), TEST_ETHERTYPE, b"after");
    socket.send(&after).unwrap();
    root.receive_until(&after);
    ping_until_answered(&world.clients[1], ROOT_V4);
    server.stop();
}

fn nothing_is_answered_larger_than_asked() {
    let world = World::new(1);
    let _server = world.serve(&[]);
    let socket = stranger(&world);
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut buffer = [0; 2000];
    for length in 0..64 {
        socket.send(&vec![b'K'; length]).unwrap();
    }
    assert!(socket.recv(&mut buffer).is_err(), "a stranger's frame was answered");
    socket.set_read_timeout(Some(HANG)).unwrap();
    socket.send(b"KEEPALIVE").unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"KEEPALIVE");
}

fn random_datagrams_hurt_nobody() {
    let world = World::new(2);
    let server = world.serve(&[]);
    let _client = world.join(1, &[]);
    let (unknown, known) = (stranger(&world), stranger(&world));
    hello(&known);
    let mut random = 0x1234_5678_9abc_def0_u64;
    let mut next = || {
        // xorshift64: any bytes will do, as long as they are the same ones each time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..5_000 {
        let length = next() as usize % 1_600;
        let datagram: Vec<u8> =
            (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
        for socket in [&unknown, &known] {
            socket.send(&datagram[..length]).unwrap();
        }
    }
    ping_until_answered(&world.clients[1], ROOT_V4);
    let log = server.stop();
    assert!(counter(&log, "drop.no_session") > 1_000, "{log}");
    assert!(counter(&log, "drop.unknown_control") > 10, "{log}");
}

/// A server that the test plays, with a client that has said HELLO to it.
fn played_server(world: &World) -> (UdpSocket, Acton) {
    let socket = world.server.run(|| UdpSocket::bind((SERVER_V4, PORT))).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    let client = world.start_client(0, "192.0.2.1", &[]);
    let mut word = [0; 100];
    let (length, from) = socket.recv_from(&mut word).unwrap();
    assert_eq!(&word[..length], b"HELLO");
    socket.connect(from).unwrap();
    (socket, client)
}

fn a_client_counts_what_it_cannot_read() {
    let world = World::new(1);
    let (server, client) = played_server(&world);
    // Frames before the session stands.
    let early = frame(CLIENT_MAC, SERVER_MAC, TEST_ETHERTYPE, b"early");
    server.send(&early).unwrap();
    server.send(b"HELLO").unwrap();
    client.wait_for(said::CONNECTED);
    let leaf = world.client_wire(0);
    for word in [&b""[..], b"WELCOME", b"hello", b"\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
        server.send(word).unwrap();
    }
    // Harmless at any time.
    server.send(b"HELLO").unwrap();
    server.send(b"KEEPALIVE").unwrap();
    let after = frame(CLIENT_MAC, SERVER_MAC, TEST_ETHERTYPE, b"after");
    server.send(&after).unwrap();
    assert!(!leaf.receive_until(&after).contains(&early));
    let log = client.stop();
    assert_eq!(counter(&log, "drop.unknown_control"), 4, "{log}");
    assert_eq!(counter(&log, "drop.no_session"), 1, "{log}");
}

fn a_client_hears_nobody_but_its_server() {
    let world = World::new(1);
    let (server, client) = played_server(&world);
    server.send(b"HELLO").unwrap();
    client.wait_for(said::CONNECTED);
    let leaf = world.client_wire(0);
    let to = server.peer_addr().unwrap();
    let forged = frame(CLIENT_MAC, SERVER_MAC, TEST_ETHERTYPE, b"forged");
    for other in [
        world.proxy.run(|| UdpSocket::bind("192.0.2.200:8080")).unwrap(),
        world.server.run(|| UdpSocket::bind("192.0.2.1:8081")).unwrap(),
    ] {
        other.send_to(&forged, to).unwrap();
        other.send_to(b"BYE", to).unwrap();
    }
    let honest = frame(CLIENT_MAC, SERVER_MAC, TEST_ETHERTYPE, b"honest");
    server.send(&honest).unwrap();
    assert!(!leaf.receive_until(&honest).contains(&forged));
    client.stop();
}
