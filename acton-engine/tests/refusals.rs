//! Versions and suites that do not go together, and a network that leads nowhere: what both ends know
//! of why there is no session.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use acton_engine::{Client, EventKind, RefusalReason, Running, Secret, State, SuiteChoice};
use acton_engine::{SystemRandom, public_key};
use acton_proto::handshake::{Initiator, MacKey, Responder};
use acton_proto::wire::{
    Caps, Datagram, HELLO_LEN, Hello, HelloPayload, Refusal, Suites, VERSION, WELCOME_LEN, Welcome,
    WelcomePayload,
};
use support::{HANG, World, next, until};

/// A version that this acton does not speak.
const LATER: u8 = VERSION + 1;
/// Where the server listens.
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 8080);

/// A UDP socket of a test that speaks for itself.
fn bound(address: ([u8; 4], u16)) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from(address)).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    socket
}

/// Waits until a server tells that it refused a client for this reason.
#[track_caller]
fn refuses(server: &Running, wanted: RefusalReason) {
    next(
        &mut server.events(0),
        |kind| matches!(kind, EventKind::SessionRefused { reason, .. } if *reason == wanted),
    );
}

/// Waits until a client knows that it is refused for this reason.
#[track_caller]
fn is_refused(client: &Running, reason: RefusalReason) {
    let session = until(client, |session| session.refusal == Some(reason));
    assert_eq!((session.state, session.reason), (State::Closed, None));
}

/// A HELLO of a client that speaks later versions alone, and what reads the answer.
fn later_hello(world: &World) -> ([u8; HELLO_LEN], Initiator) {
    let server = public_key(&world.server_key);
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
    let private = Secret::generate(&mut SystemRandom);
    let psk = Secret::new([0; 32]);
    let made = Initiator::new(&private, &server, &psk, &payload.encode(), &mut SystemRandom);
    let (initiator, noise) = made.unwrap();
    let mut hello = Hello { sender_id: 7, noise, mac1: [0; 16], mac2: [0; 16] }.encode();
    MacKey::new(&server, None).sign_hello(&mut hello);
    (hello, initiator)
}

fn a_client_of_another_version_is_told() {
    let world = World::new();
    let server = world.server.run(|| world.secure_server().start().unwrap());
    let socket = world.client.run(|| bound(([192, 0, 2, 2], 0)));
    let (hello, mut initiator) = later_hello(&world);
    socket.send_to(&hello, SocketAddr::from(SERVER)).unwrap();
    let mut answer = [0; WELCOME_LEN];
    assert_eq!(socket.recv(&mut answer).unwrap(), WELCOME_LEN);
    let Ok(Datagram::Welcome(welcome)) = Datagram::parse(&answer) else { panic!() };
    let (payload, _) = initiator.finish(&welcome.noise).unwrap();
    assert_eq!(WelcomePayload::parse(&payload).unwrap().refusal, Some(Refusal::Version));
    refuses(&server, RefusalReason::Version);
    // It still serves.
    let client = world.client.run(|| world.secure_client().start().unwrap());
    until(&client, |session| session.state == State::Up);
}

fn a_server_of_another_version_is_told() {
    let world = World::new();
    let socket = world.server.run(|| bound(SERVER));
    let client = world.client.run(|| world.secure_client().start().unwrap());
    let mut bytes = [0; 2_048];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    let Ok(Datagram::Hello(hello)) = Datagram::parse(&bytes[..length]) else { panic!() };
    let responder = Responder::new(&world.server_key, &hello.noise, &mut SystemRandom).unwrap();
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
    let (noise, _) = responder.finish(&Secret::new([0; 32]), &payload.encode()).unwrap();
    let mut welcome =
        Welcome { receiver_id: hello.sender_id, sender_id: 9, noise, mac1: [0; 16] }.encode();
    MacKey::new(&client_key, None).sign_welcome(&mut welcome);
    socket.send_to(&welcome, from).unwrap();
    is_refused(&client, RefusalReason::Version);
    // It waits before it asks again.
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    assert!(socket.recv_from(&mut bytes).is_err());
}

fn suites_that_do_not_go_together_are_told() {
    let world = World::new();
    let server = world.server.run(|| {
        let server = world.secure_server().suite(SuiteChoice::Aes256Gcm);
        server.start().unwrap()
    });
    let client = world.client.run(|| {
        let client = world.secure_client().suite(SuiteChoice::Chacha20Poly1305);
        client.start().unwrap()
    });
    is_refused(&client, RefusalReason::Suite);
    refuses(&server, RefusalReason::Suite);
    assert!(server.status().sessions.is_empty());
}

fn a_host_without_a_way_to_the_server_is_told() {
    let world = World::new();
    let nowhere = SocketAddr::from(([198, 51, 100, 1], 8080));
    let client = world.client.run(|| Client::plain(nowhere.into()).start().unwrap());
    let told = |error: &str| error.to_lowercase().contains("unreachable");
    next(&mut client.events(0), |kind| match kind {
        EventKind::Connecting { error: Some(error), .. } => told(error),
        EventKind::Unreachable { error, .. } => told(error),
        _ => false,
    });
}

testbed::main! {
    a_client_of_another_version_is_told,
    a_server_of_another_version_is_told,
    suites_that_do_not_go_together_are_told,
    a_host_without_a_way_to_the_server_is_told,
}
