//! Why there is no session, and what both ends know of it: versions, suites and keys that do not go
//! together, a server that is full, a network that leads nowhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use acton_engine::{
    Admission, Admit, Client, ClientKeys, ClientPolicy, EndReason, EventKind, Key, RefusalReason,
    Running, Secret, State, SuiteChoice, SystemRandom, TapSettings, public_key,
};
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
    let payload = WelcomePayload::parse(&payload).unwrap();
    assert_eq!(payload.refusal, Some(Refusal::Version));
    // What the server's link carries: an Ethernet of MTU 1,500.
    assert_eq!((payload.max_frame, payload.pmtu), (1_522, 1_472));
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

fn a_full_server_says_so() {
    let world = World::new();
    let server = world.server.run(|| world.secure_server().max_sessions(1).start().unwrap());
    let first = world.client.run(|| world.secure_client().start().unwrap());
    until(&first, |session| session.state == State::Up);
    let keys =
        ClientKeys { private_key: Secret::generate(&mut SystemRandom), ..world.client_keys() };
    let late = Client::secure(World::name(), keys).tap(TapSettings::new("late"));
    let late = world.client.run(|| late.start().unwrap());
    is_refused(&late, RefusalReason::Full);
    refuses(&server, RefusalReason::Full);
    assert_eq!(first.status().sessions[0].state, State::Up);
}

/// Rules under which everybody needs this pre-shared key.
#[derive(Debug, Clone)]
struct WithPsk(Secret);

impl Admit for WithPsk {
    fn admit(&self, _: &Key) -> Option<Arc<ClientPolicy>> {
        let mut policy = ClientPolicy::default();
        policy.psk = Some(self.0.clone());
        Some(Arc::new(policy))
    }
}

impl Admission for WithPsk {
    fn rules(&self) -> Arc<dyn Admit> {
        Arc::new(self.clone())
    }

    fn look(&mut self, _: bool) -> Option<Result<Arc<dyn Admit>, String>> {
        None
    }
}

fn a_psk_of_the_clients_own_is_needed_where_listed() {
    let world = World::new();
    let psk = Secret::generate(&mut SystemRandom);
    let rules = WithPsk(psk.clone());
    let server = world.server.run(|| world.secure_server().admission(rules).start().unwrap());
    let keys = ClientKeys { psk: Some(psk), ..world.client_keys() };
    let client = world.client.run(|| {
        let client = Client::secure(World::name(), keys).tap(World::tap(2));
        client.start().unwrap()
    });
    until(&client, |session| session.state == State::Up);
    drop(client);
    // The same key, but not the secret that goes with it.
    let client = world.client.run(|| world.secure_client().start().unwrap());
    next(&mut client.events(0), |kind| matches!(kind, EventKind::Unreadable { .. }));
    refuses(&server, RefusalReason::Unconfirmed);
    assert_eq!(client.status().sessions[0].state, State::Handshaking);
}

fn the_last_of_two_clients_with_one_key_wins() {
    let world = World::new();
    let server = world.server.run(|| world.secure_server().start().unwrap());
    let first = world.client.run(|| world.secure_client().start().unwrap());
    until(&first, |session| session.state == State::Up);
    until(&server, |session| session.state == State::Up);
    let mut told = first.events(0);
    let twin = Client::secure(World::name(), world.client_keys()).tap(TapSettings::new("twin"));
    let second = world.client.run(|| twin.start().unwrap());
    until(&second, |session| session.state == State::Up);
    let lost = next(&mut told, |kind| matches!(kind, EventKind::Disconnected { .. }));
    let EventKind::Disconnected { reason, retry_in, .. } = lost.kind else { panic!("{lost:?}") };
    assert_eq!(reason, EndReason::Replaced);
    assert!((30..=90).contains(&retry_in.as_secs()), "{retry_in:?}");
    let replaced = first.status().sessions.remove(0);
    assert_eq!((replaced.state, replaced.reason), (State::Closed, Some(EndReason::Replaced)));
    // It holds off: no fight for the session in the next seconds.
    assert_eq!(told.next_within(Duration::from_secs(3)), None);
    assert_eq!(second.status().sessions[0].state, State::Up);
    let [session] = &server.status().sessions[..] else { panic!("one session") };
    assert_eq!(session.before.map(|before| before.reason), Some(EndReason::Replaced));
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
    a_full_server_says_so,
    a_psk_of_the_clients_own_is_needed_where_listed,
    the_last_of_two_clients_with_one_key_wins,
    a_host_without_a_way_to_the_server_is_told,
}
