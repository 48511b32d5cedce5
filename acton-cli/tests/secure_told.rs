//! What both ends say of clocks, versions and suites that do not go together, and of a network that
//! leads nowhere: a line that says what to do, and no more than that.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use acton_proto::handshake::{Initiator, MacKey, Responder, Secret, SystemRandom};
use acton_proto::wire::{
    Caps, Datagram, HELLO_LEN, Hello, HelloPayload, Refusal, Suites, VERSION, WELCOME_LEN, Welcome,
    WelcomePayload,
};
use support::{Acton, HANG, Mode, PORT, ROOT_V4, World, leaf, ping_until_answered, said};

testbed::main! {
    a_clock_that_is_years_off_is_told_and_locks_nobody_out: ["faketime"],
    a_server_whose_clock_is_years_off_is_none_the_less_joined: ["faketime"],
    a_client_of_another_version_is_told,
    a_server_of_another_version_is_told,
    suites_that_do_not_go_together_are_told,
    a_host_without_a_way_to_the_server_is_told,
}

fn world(clients: u8) -> World {
    World::new(clients).speaking(Mode::Secure)
}

/// The lines of a log that contain `text`.
fn lines<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

/// An `acton` whose wall clock, and no other, is off by so much.
fn off_by(offset: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command
        .args(arguments)
        // What faketime(1) sets. It runs the program as a child, which signals do not reach.
        .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

fn client_off_by(world: &World, i: u8, offset: &str) -> Acton {
    let address = format!("{}/24", leaf(i)[0]);
    let arguments = [world.client_arguments(i, "192.0.2.1"), vec!["-a".into(), address]].concat();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let host = &world.clients[usize::from(i)];
    Acton::spawn("client", host, &mut off_by(offset, &arguments))
}

const TO_DO: &str = "acton works all the same, but set the wrong one (timedatectl set-ntp true)";

fn a_clock_that_is_years_off_is_told_and_locks_nobody_out() {
    let world = world(2);
    let server = world.serve(&[]);
    // Its clock was right once, and it comes back without having said BYE.
    let before = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    before.kill();
    let offsets = [("-10y", "behind", "ahead of"), ("+30y", "ahead of", "behind")];
    for (i, (offset, at_client, at_server)) in (0..).zip(offsets) {
        let client = client_off_by(&world, i, offset);
        client.wait_for(TO_DO);
        ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
        assert!(client.log().contains(&format!("days {at_client} its clock")), "{}", client.log());
        if i == 1 {
            let line = format!("days {at_server} its clock");
            server.wait_for(&line);
            let log = server.log();
            assert!(lines(&log, &line)[0].contains("192.0.2.11:"), "{log}");
        }
        // Once more: told a minute later at the earliest.
        client.stop();
        let client = client_off_by(&world, i, offset);
        client.wait_for(said::CONNECTED);
        ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
        client.stop();
    }
    let log = server.stop();
    for (i, (.., at_server)) in (0..).zip(offsets) {
        let line = format!("days {at_server} its clock");
        assert_eq!(lines(&log, &line).len(), 1, "client {i}: {log}");
        assert!(lines(&log, &line)[0].contains(TO_DO), "{log}");
    }
}

fn a_server_whose_clock_is_years_off_is_none_the_less_joined() {
    let world = world(1);
    let state = world.keys.server_state();
    world.keys.server();
    let arguments = ["server", "--state", &state, "-a", "10.9.0.1/24"];
    let server = Acton::spawn("server", &world.server, &mut off_by("-10y", &arguments));
    server.wait_for(said::LISTENING);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    client.wait_for(TO_DO);
    server.wait_for(TO_DO);
}

/// Versions that this acton does not speak.
const LATER: u8 = VERSION + 1;

/// A HELLO of a client that speaks later versions alone, and what reads the answer.
fn later_hello(world: &World, private: &Secret) -> ([u8; HELLO_LEN], Initiator) {
    let server = world.keys.server();
    let payload = HelloPayload {
        version_min: LATER,
        version_max: LATER,
        suites: Suites::CHACHA20_POLY1305,
        caps: Caps::ALL,
        instance: 1,
        timestamp: 1,
        max_frame: 1_514,
        pmtu: 1_472,
        keepalive: 15,
    };
    let key = &server.public_key;
    let made =
        Initiator::new(private, key, &server.network_key, &payload.encode(), &mut SystemRandom);
    let (initiator, noise) = made.unwrap();
    let mut hello = Hello { sender_id: 7, noise, mac1: [0; 16], mac2: [0; 16] }.encode();
    MacKey::new(key, Some(&server.network_key)).sign_hello(&mut hello);
    (hello, initiator)
}

fn a_client_of_another_version_is_told() {
    let world = world(1);
    let server = world.serve(&[]);
    let socket = world.clients[0].run(|| UdpSocket::bind("192.0.2.10:0")).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    // More often than a client would ask, and each time another one.
    for _ in 0..5 {
        let (hello, mut initiator) = later_hello(&world, &Secret::generate(&mut SystemRandom));
        socket.send_to(&hello, ("192.0.2.1", PORT)).unwrap();
        let mut answer = [0; WELCOME_LEN];
        assert_eq!(socket.recv(&mut answer).unwrap(), WELCOME_LEN);
        let Ok(Datagram::Welcome(welcome)) = Datagram::parse(&answer) else { panic!() };
        let (payload, _) = initiator.finish(&welcome.noise).unwrap();
        let payload = WelcomePayload::parse(&payload).unwrap();
        assert_eq!(payload.refusal, Some(Refusal::Version));
    }
    let told = "it speaks no version that this server does; update the older one";
    server.wait_for(told);
    // It still serves.
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    client.stop();
    let log = server.stop();
    assert_eq!(lines(&log, told).len(), 1, "{log}");
}

fn a_server_of_another_version_is_told() {
    let world = world(1);
    let identity = world.keys.server();
    let socket = world.server.run(|| UdpSocket::bind(("192.0.2.1", PORT))).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    let client = world.start_client(0, "192.0.2.1", &[]);
    let mut bytes = [0; 2_048];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    let Ok(Datagram::Hello(hello)) = Datagram::parse(&bytes[..length]) else { panic!() };
    let responder = Responder::new(&identity.private_key, &hello.noise, &mut SystemRandom).unwrap();
    let asked = HelloPayload::parse(responder.payload()).unwrap();
    assert_eq!((asked.version_min, asked.version_max), (VERSION, VERSION));
    let payload = WelcomePayload {
        version: LATER,
        suite: 0,
        refusal: Some(Refusal::Version),
        caps: Caps::ALL,
        max_frame: 1_514,
        pmtu: 1_472,
        keepalive: 15,
        dead_after: 50,
        instance: 1,
        time: asked.timestamp,
    };
    let client_key = *responder.client();
    let (noise, _) = responder.finish(&identity.network_key, &payload.encode()).unwrap();
    let mut welcome =
        Welcome { receiver_id: hello.sender_id, sender_id: 9, noise, mac1: [0; 16] }.encode();
    MacKey::new(&client_key, Some(&identity.network_key)).sign_welcome(&mut welcome);
    socket.send_to(&welcome, from).unwrap();
    client.wait_for("it speaks no version that this client does; update the older one");
    // It waits before it asks again.
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    assert!(socket.recv_from(&mut bytes).is_err());
    assert!(!client.stop().contains(said::CONNECTED));
}

fn suites_that_do_not_go_together_are_told() {
    let world = world(1);
    let server = world.serve(&["--suite", "aes"]);
    let client = world.start_client(0, "192.0.2.1", &["--suite", "chacha"]);
    let to_do = "look at --suite on both, or update the older one";
    client.wait_for(&format!("it takes no cipher suite that this client does; {to_do}"));
    server.wait_for(&format!("it takes no cipher suite that this server does; {to_do}"));
    assert!(!client.stop().contains(said::CONNECTED));
    let log = server.stop();
    assert_eq!(lines(&log, to_do).len(), 1, "{log}");
}

fn a_host_without_a_way_to_the_server_is_told() {
    let world = world(1);
    let client = world.start_client(0, "198.51.100.1", &[]);
    client.wait_for(
        "no answer from 198.51.100.1:8080 so far (Network is unreachable): is its server",
    );
}
