//! What an operator does to a server that runs, and asks it, between real kernels.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{
    CaptureOptions, DropsWanted, EndReason, Error, EventKind, FdbEntry, MacAddr, Place,
    RefusalReason, Running, State, TraceVerdict,
};
use support::{World, next, until};

const SERVER_MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);
const CLIENT_MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 2);
/// A host that says nothing.
const PRINTER: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);
const BROADCAST: MacAddr = MacAddr(255, 255, 255, 255, 255, 255);

fn frame(to: MacAddr, from: MacAddr, len: usize) -> Vec<u8> {
    let mut frame = [&to.octets()[..], &from.octets(), &[0x88, 0xb5]].concat();
    frame.resize(len, 0);
    frame
}

fn entry(server: &Running, mac: MacAddr) -> Option<FdbEntry> {
    server.fdb().unwrap().into_iter().find(|entry| entry.mac == mac)
}

fn pages_hold_what_a_status_does() {
    let world = World::new();
    let (server, client) = world.connected();
    world.send(20, 1_000);
    for end in [&server, &client] {
        let whole = end.status();
        let mut pages = end.status_pages();
        let sessions: Vec<_> = pages.by_ref().flatten().collect();
        let names = |sessions: &[acton_engine::SessionStatus]| -> Vec<_> {
            sessions.iter().map(|session| (session.name.clone(), session.macs.len())).collect()
        };
        assert_eq!(names(&sessions), names(&whole.sessions));
        assert_eq!(pages.head().bridge, whole.bridge);
        assert!(pages.traffic().frames_in >= whole.traffic.frames_in);
    }
    let session = &server.status().sessions[0];
    for name in [session.name.clone(), "0".to_owned(), session.address.unwrap().to_string()] {
        assert_eq!(server.status_of(&name).flatten().count(), 1, "{name}");
    }
    assert_eq!(server.status_of("nobody").flatten().count(), 0);
}

fn a_kicked_client_comes_back_at_once_or_after_its_time() {
    let world = World::new();
    let (server, client) = world.connected();
    let name = server.status().sessions[0].name.clone();
    let mut events = server.events(server.status().last_event);
    server.kick(&name, None).unwrap();
    let down = next(&mut events, |kind| matches!(kind, EventKind::SessionDown { .. }));
    assert!(matches!(down.kind, EventKind::SessionDown { reason: EndReason::Kicked, .. }));
    next(&mut events, |kind| matches!(kind, EventKind::SessionUp { .. }));
    until(&client, |session| session.state == State::Up);
    // While it is kept out it is refused, however often it starts.
    let (time, since) = (Duration::from_secs(2), Instant::now());
    server.kick("0", Some(time)).unwrap();
    // Not that of the kick before, which a client may still have.
    let removed =
        |session: &acton_engine::SessionStatus| session.reason == Some(EndReason::Removed);
    until(&client, |session| session.state == State::Closed && removed(session));
    drop(client);
    let again = world.client.run(|| world.secure_client().start().unwrap());
    let refused = until(&again, |session| session.refusal.is_some());
    assert_eq!(refused.refusal, Some(RefusalReason::NotListed));
    drop(again);
    // The server's timers may be a little late.
    thread::sleep((time * 5 / 4).saturating_sub(since.elapsed()));
    let client = world.client.run(|| world.secure_client().start().unwrap());
    until(&client, |session| session.state == State::Up);
    assert!(matches!(server.kick("nobody", None), Err(Error::NoSession(name)) if name == "nobody"));
    assert!(matches!(client.kick("0", None), Err(Error::NotServer)));
}

fn macs_are_listed_said_and_forgotten() {
    let world = World::new();
    let (server, client) = world.connected();
    world.send(1, 100);
    while entry(&server, CLIENT_MAC).is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    let learned = entry(&server, CLIENT_MAC).unwrap();
    assert!(matches!(&learned.at, Place::Session { session: 0, client: Some(_) }), "{learned:?}");
    assert!(learned.age.is_some() && learned.held_for.is_some(), "{learned:?}");
    // The kernel behind the client has asked for the server's address, and told of its own.
    let addresses = &learned.addresses;
    assert!(addresses.contains(&"10.9.0.2".parse().unwrap()), "{learned:?}");
    server.add_mac(PRINTER, 7, Some("0")).unwrap();
    let said = entry(&server, PRINTER).unwrap();
    assert_eq!((said.vlan, said.age), (7, None));
    // Flushed is what was learned.
    assert!(server.flush_macs(Some("0")).unwrap() >= 1);
    assert!(entry(&server, PRINTER).is_some());
    assert!(!server.forget_mac(PRINTER, 8).unwrap());
    assert!(server.forget_mac(PRINTER, 7).unwrap() && entry(&server, PRINTER).is_none());
    server.add_mac(PRINTER, 0, None).unwrap();
    assert_eq!(entry(&server, PRINTER).unwrap().at, Place::Root);
    assert!(server.forget_mac(PRINTER, 0).unwrap() && entry(&server, PRINTER).is_none());
    for error in [
        server.add_mac(SERVER_MAC, 0, Some("0")),
        server.add_mac(BROADCAST, 0, None),
        server.add_mac(PRINTER, 0, Some("nobody")),
        client.add_mac(PRINTER, 0, None),
    ] {
        assert!(error.is_err());
    }
}

fn a_trace_says_where_a_frame_would_go_and_teaches_nothing() {
    let world = World::new();
    let (server, client) = world.connected();
    let name = server.status().sessions[0].name.clone();
    let verdict = |from: Option<&str>, to, source, len| {
        server.trace(from, &frame(to, source, len)).unwrap().verdict
    };
    let before = server.fdb().unwrap().len();
    assert_eq!(verdict(None, PRINTER, SERVER_MAC, 60), TraceVerdict::Sessions(1));
    assert_eq!(verdict(Some(&name), BROADCAST, PRINTER, 60), TraceVerdict::Tap);
    let protected = TraceVerdict::Drop("source_protected".into());
    assert_eq!(verdict(Some("0"), BROADCAST, SERVER_MAC, 60), protected);
    assert_eq!(server.fdb().unwrap().len(), before);
    server.add_mac(PRINTER, 0, Some("0")).unwrap();
    assert_eq!(verdict(None, PRINTER, SERVER_MAC, 60), TraceVerdict::Session(name));
    let too_long = TraceVerdict::Drop("frame_too_long".into());
    assert_eq!(verdict(None, PRINTER, SERVER_MAC, 9_000), too_long);
    assert_eq!(verdict(Some("0"), PRINTER, CLIENT_MAC, 60), TraceVerdict::Drop("local".into()));
    assert!(matches!(server.trace(Some("nobody"), &[]), Err(Error::NoSession(_))));

    let ahead = client.status().sessions[0].name.clone();
    let frame = frame(BROADCAST, CLIENT_MAC, 60);
    assert_eq!(client.trace(None, &frame).unwrap().verdict, TraceVerdict::Session(ahead.clone()));
    assert_eq!(client.trace(Some(&ahead), &frame).unwrap().verdict, TraceVerdict::Tap);
    drop(server);
    until(&client, |session| session.state == State::Closed);
    let lost = TraceVerdict::Drop("not_connected".into());
    assert_eq!(client.trace(None, &frame).unwrap().verdict, lost);
}

/// What was dropped and overwritten before a reader looked is lost only to one who wants every drop.
fn drops_that_nobody_asked_for_are_not_lost() {
    let world = World::new();
    let (server, _client) = world.connected();
    let captured = |reason: Option<&str>| {
        let mut drops = DropsWanted::default();
        drops.reason = reason.map(str::to_owned);
        let mut options = CaptureOptions::default();
        options.drops = Some(drops);
        server.capture(options).unwrap()
    };
    let (mut every, mut forged) = (captured(None), captured(Some("forged")));
    // More than are kept.
    let socket = world.client.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let (since, malformed) = (Instant::now(), || server.totals().get("drop.malformed").unwrap());
    while malformed() < 2_000 {
        assert!(since.elapsed() < support::HANG, "{} were dropped", malformed());
        socket.send_to(&[0; 60], "192.0.2.1:8080").unwrap();
    }
    assert!(every.next_within(Duration::ZERO).is_some());
    assert!(forged.next_within(Duration::ZERO).is_none());
    assert!(every.lost() >= 1_000 && every.unseen_drops() == 0, "{}", every.lost());
    assert!(forged.lost() == 0 && forged.unseen_drops() >= 1_000, "{}", forged.unseen_drops());
}

testbed::main! {
    pages_hold_what_a_status_does,
    a_kicked_client_comes_back_at_once_or_after_its_time,
    macs_are_listed_said_and_forgotten,
    a_trace_says_where_a_frame_would_go_and_teaches_nothing,
    drops_that_nobody_asked_for_are_not_lost,
}
