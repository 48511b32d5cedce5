//! Status and events of tunnels that run, between real kernels.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{
    Admission, Admit, Client, ClientPolicy, EndReason, EventKind, MacAddr, Place, Protocol,
    RefusalReason, Role, Server, Settings, State,
};
use support::{HANG, World, next, until};

const CLIENT_MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 2);

/// Rules that let nobody in.
#[derive(Debug, Clone, Copy)]
struct Nobody;

impl Admit for Nobody {
    fn admit(&self, _: &[u8; 32]) -> Option<Arc<ClientPolicy>> {
        None
    }
}

impl Admission for Nobody {
    fn rules(&self) -> Arc<dyn Admit> {
        Arc::new(*self)
    }

    fn look(&mut self, _: bool) -> Option<Result<Arc<dyn Admit>, String>> {
        None
    }
}

fn a_status_says_what_both_ends_know() {
    let world = World::new();
    let (server, client) = world.connected();
    world.send(20, 1_000);
    let [of_server, of_client] = [&server, &client].map(|running| running.status());
    assert_eq!((of_server.role, of_client.role), (Role::Server, Role::Client));
    assert_eq!((of_server.protocol, of_client.protocol), (Protocol::Acton1, Protocol::Acton1));
    let (behind, ahead) = (&of_server.sessions[0], &of_client.sessions[0]);
    assert_eq!(behind.address.unwrap().ip(), IpAddr::from([192, 0, 2, 2]));
    assert_eq!(ahead.address, Some(SocketAddr::from(([192, 0, 2, 1], 8080))));
    assert_eq!(behind.suite, ahead.suite);
    assert!(behind.suite.is_some() && behind.key.is_some() && behind.key != ahead.key);
    assert!(behind.traffic.frames_in >= 20 && behind.traffic.bytes_in >= 20_000, "{behind:#?}");
    assert!(ahead.traffic.frames_out >= behind.traffic.frames_in, "{ahead:#?}");
    assert_eq!(behind.macs.iter().map(|entry| entry.mac).collect::<Vec<_>>(), [CLIENT_MAC]);
    assert_eq!((behind.mac_limit, ahead.mac_limit), (Some(256), None));
    let dropped = [behind, ahead].map(|session| session.traffic.drops.len());
    assert_eq!(dropped, [0, 0], "{behind:#?} {ahead:#?}");
    assert_eq!(of_server.bridge.unwrap().client_macs, 1);
    assert_eq!(of_client.bridge, None);
    assert_eq!(of_server.tap.mac, Some(MacAddr(2, 0, 0, 0, 0, 1)));
    assert_eq!((of_client.tap.running, of_client.tap.mtu), (Some(true), Some(1_500)));
    assert_eq!(of_server.sockets[0].kernel_drops, Some(0));
    assert!(of_server.totals.get("udp.received.datagrams").unwrap() >= 20);
}

fn each_end_knows_what_the_other_tells_it() {
    let world = World::new();
    let second = Duration::from_secs(1);
    let server = world.server.run(|| world.secure_server().keepalive(second).start().unwrap());
    let client = world.client.run(|| world.secure_client().start().unwrap());
    until(&client, |session| session.state == State::Up);
    world.send(50, 1_000);
    for end in [&server, &client] {
        // By a KEEPALIVE or its answer that went after the datagrams above.
        let session = until(end, |session| {
            let told = session.loss_out.is_some_and(|loss| loss.received >= 2);
            told && session.rtt.is_some() && session.path_mtu_in == session.path_mtu_out
        });
        for loss in [session.loss_in.unwrap(), session.loss_out.unwrap()] {
            assert_eq!(loss.sent, loss.received, "{session:#?}");
        }
        let rtt = session.rtt.unwrap();
        assert!(rtt.min.unwrap() <= rtt.smoothed && rtt.smoothed < HANG, "{rtt:?}");
        assert_eq!(session.peer_version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!((session.roams, session.before), (Some(0), None));
        // The cable carries 1,500 bytes.
        assert!((1_400..=1_472).contains(&session.path_mtu_out.unwrap()), "{session:#?}");
    }
    // Nothing crosses any more: a sign of life is overdue at both ends, and neither says "up".
    world.client.run(|| testbed::sh("ip link set cable down"));
    for end in [&client, &server] {
        let quiet = until(end, |session| session.state == State::Quiet);
        assert!(quiet.heard_ago.unwrap() > second, "{quiet:#?}");
    }
    until(&client, |session| session.state == State::Lost && session.rtt.is_none());
}

fn what_the_bridge_drops_is_counted_for_its_session() {
    let world = World::new();
    let (server, client) = world.connected();
    // The server's own address, which no client may use.
    world.client.run(|| testbed::sh("ip link set lan address 02:00:00:00:00:01"));
    let sender = world.client.run(|| UdpSocket::bind("10.9.0.2:0").unwrap());
    let since = Instant::now();
    while server.status().sessions[0].traffic.drops.is_empty() {
        assert!(since.elapsed() < HANG);
        let _ = sender.send_to(&[0; 100], "10.9.0.1:5000");
        thread::sleep(Duration::from_millis(5));
    }
    let drops = &server.status().sessions[0].traffic.drops;
    assert_eq!(drops.keys().collect::<Vec<_>>(), ["source_protected"], "{drops:?}");
    let held = next(&mut server.events(0), |kind| matches!(kind, EventKind::MacHeld { .. }));
    let EventKind::MacHeld { mac, by: Place::Session { session: 0, .. }, reason, .. } = &held.kind
    else {
        panic!("{held:?}");
    };
    assert_eq!((*mac, *reason), (MacAddr(2, 0, 0, 0, 0, 1), "source_protected"));
    drop(client);
}

fn a_session_that_ends_is_told_and_remembered() {
    let world = World::new();
    let (server, client) = world.connected();
    let mut events = client.events(0);
    drop(server);
    let lost = next(&mut events, |kind| matches!(kind, EventKind::Disconnected { .. }));
    let EventKind::Disconnected { reason: EndReason::Restart, .. } = lost.kind else {
        panic!("{lost:?}");
    };
    let session = until(&client, |session| session.state == State::Closed);
    assert_eq!((session.reason, session.before), (Some(EndReason::Restart), None));
    assert_eq!((session.session_for, session.heard_ago, session.rtt), (None, None, None));
    let server = world.server.run(|| world.secure_server().start().unwrap());
    let session = until(&client, |session| session.state == State::Up);
    assert_eq!(session.before.map(|before| before.reason), Some(EndReason::Restart));
    drop(server);
}

fn a_client_counts_each_session_and_all_of_them() {
    let world = World::new();
    let (server, client) = world.connected();
    world.send(20, 1_000);
    drop(server);
    let first = until(&client, |session| session.state == State::Closed).traffic;
    assert!(first.frames_out >= 20, "{first:?}");
    let server = world.server.run(|| world.secure_server().start().unwrap());
    until(&client, |session| session.state == State::Up);
    world.send(1, 1_000);
    let status = client.status();
    let second = &status.sessions[0].traffic;
    assert!(second.frames_out >= 1, "{second:?}");
    assert_eq!(status.traffic.frames_out, first.frames_out + second.frames_out);
    assert_eq!(status.traffic.bytes_out, first.bytes_out + second.bytes_out);
    drop(server);
}

fn a_server_remembers_clients_that_have_gone() {
    let world = World::new();
    for plain in [false, true] {
        let server = world.server.run(|| match plain {
            false => world.secure_server().start().unwrap(),
            true => Server::plain().tap(World::tap(1)).start().unwrap(),
        });
        let client = || {
            let client = world.client.run(|| match plain {
                false => world.secure_client().start().unwrap(),
                true => Client::plain(World::name()).tap(World::tap(2)).start().unwrap(),
            });
            until(&client, |session| session.state == State::Up);
            client
        };
        let first = client();
        world.send(3, 100);
        drop(first);
        let gone = until(&server, |session| session.state == State::Closed);
        assert_eq!((gone.reason, gone.number), (Some(EndReason::Bye), None));
        assert_eq!((gone.key.is_none(), gone.address.is_some()), (plain, true), "{gone:#?}");
        assert!(gone.traffic.frames_in >= 3 && gone.macs.is_empty(), "{gone:#?}");
        assert!(gone.in_state_for.is_some() && gone.session_for.is_none(), "{gone:#?}");
        let second = client();
        let status = server.status();
        assert!(status.traffic.frames_in >= gone.traffic.frames_in, "{status:#?}");
        // By its key it is the one that went; by its address, in plain mode, it is another one.
        assert_eq!(status.sessions.len(), if plain { 2 } else { 1 }, "{status:#?}");
        drop(second);
    }
}

fn a_client_that_is_refused_says_so() {
    let world = World::new();
    let server = world.server.run(|| world.secure_server().admission(Nobody).start().unwrap());
    let client = world.client.run(|| world.secure_client().start().unwrap());
    let refused = until(&client, |session| session.state == State::Closed);
    assert_eq!((refused.refusal, refused.reason), (Some(RefusalReason::NotListed), None));
    drop(server);
}

fn a_client_without_a_server_is_handshaking_and_knows_nothing() {
    let world = World::new();
    for plain in [false, true] {
        let client = world.client.run(|| match plain {
            false => world.secure_client().start().unwrap(),
            true => Client::plain(World::name()).tap(World::tap(2)).start().unwrap(),
        });
        let session = &client.status().sessions[0];
        assert_eq!(session.state, State::Handshaking);
        assert_eq!((session.heard_ago, session.rtt), (None, None));
        assert_eq!(session.suite, None);
        assert_eq!((session.loss_in, session.loss_out, session.before), (None, None, None));
    }
}

fn plain_mode_has_a_status_too() {
    let world = World::new();
    let server = world.server.run(|| Server::plain().tap(World::tap(1)).start().unwrap());
    let client = world.client.run(|| {
        let client = Client::plain(World::name()).tap(World::tap(2));
        client.keepalive(Duration::from_secs(1)).start().unwrap()
    });
    until(&client, |session| session.state == State::Up);
    world.send(5, 500);
    let behind = until(&server, |session| session.traffic.frames_in >= 5);
    assert_eq!((behind.state, behind.key, behind.suite), (State::Up, None, None));
    assert_eq!(server.status().protocol, Protocol::Plain);
    // Nothing crosses any more: first a sign of life is overdue, then the server counts as lost.
    world.client.run(|| testbed::sh("ip link set cable down"));
    until(&client, |session| session.state == State::Quiet);
    let lost = until(&client, |session| session.state == State::Lost);
    assert_eq!(lost.reason, Some(EndReason::Silent));
}

fn events_are_numbered_in_order_and_go_on_from_any() {
    let world = World::new();
    let server = world.server.run(|| world.secure_server().start().unwrap());
    let client = world
        .client
        .run(|| world.secure_client().rekey_after(Duration::from_secs(1)).start().unwrap());
    let mut events = server.events(0);
    next(&mut events, |kind| matches!(kind, EventKind::SessionUp { session: 0, .. }));
    world.send(1, 100);
    let learnt = next(&mut events, |kind| {
        matches!(kind, EventKind::MacLearnt { mac: CLIENT_MAC, at: Place::Session { .. }, .. })
    });
    next(&mut events, |kind| matches!(kind, EventKind::Rekeyed { session: 0 }));
    drop(client);
    next(&mut events, |kind| {
        matches!(kind, EventKind::SessionDown { reason: EndReason::Bye, open: 0, .. })
    });
    let mut again = server.events(learnt.number - 1);
    assert_eq!(again.try_next(), Some(learnt));
    let mut all = server.events(0);
    let numbers: Vec<_> = std::iter::from_fn(|| all.try_next()).map(|event| event.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(server.status().last_event >= numbers.len() as u64);
}

fn mtus_that_do_not_fit_are_told_at_both_ends() {
    for mtus in [[1_500, 9_000], [9_000, 1_500]] {
        let world = World::new();
        let [mut server_tap, mut client_tap] = [1, 2].map(World::tap);
        [server_tap.mtu, client_tap.mtu] = mtus;
        let server = world.server.run(|| world.secure_server().tap(server_tap).start().unwrap());
        let client = world.client.run(|| world.secure_client().tap(client_tap).start().unwrap());
        for (end, [own, other]) in [(&server, mtus), (&client, [mtus[1], mtus[0]])] {
            let mut events = end.events(0);
            let event = next(&mut events, |kind| matches!(kind, EventKind::MtuUnfit { .. }));
            let EventKind::MtuUnfit { mtu, peer_mtu, .. } = event.kind else { unreachable!() };
            assert_eq!((mtu, peer_mtu), (own, other));
            assert_eq!(until(end, |session| session.state == State::Up).peer_mtu, Some(other));
        }
    }
}

fn a_handle_outlives_its_tunnel_and_holds_nothing() {
    let world = World::new();
    let server = world.server.run(|| world.secure_server().start().unwrap());
    let handle = server.handle();
    let client = world.client.run(|| world.secure_client().start().unwrap());
    until(&server, |session| session.state == State::Up);
    let of_client = client.handle();
    drop(client);
    until(&server, |session| session.state == State::Closed);
    drop(server);
    for (handle, reason) in [(&handle, EndReason::Bye), (&of_client, EndReason::Stopped)] {
        let last = handle.status();
        let [session] = &last.sessions[..] else { panic!("{last:#?}") };
        assert_eq!((session.state, session.reason), (State::Closed, Some(reason)), "{last:#?}");
        assert!(last.ended && handle.events(0).is_ended());
        assert_eq!((last.tap.name.as_str(), last.tap.mac, last.tap.running), ("lan", None, None));
        assert!(last.sockets.is_empty());
        thread::sleep(Duration::from_millis(5));
        assert_eq!(handle.status(), last, "it stays as it was");
    }
    assert!(handle.apply(Settings::Server(world.secure_server().settings())).is_err());
    handle.stop();
    // Its port and its TAP's name are free.
    let again = world.server.run(|| world.secure_server().start().unwrap());
    drop(again);
}

fn sessions_of_a_tunnel_that_stopped_are_closed() {
    let world = World::new();
    for plain in [false, true] {
        let server = world.server.run(|| match plain {
            false => world.secure_server().start().unwrap(),
            true => Server::plain().tap(World::tap(1)).start().unwrap(),
        });
        let client = world.client.run(|| match plain {
            false => world.secure_client().start().unwrap(),
            true => Client::plain(World::name()).tap(World::tap(2)).start().unwrap(),
        });
        until(&client, |session| session.state == State::Up);
        until(&server, |session| session.state == State::Up);
        let handles = [server.handle(), client.handle()];
        // The server first, so that its session is there when it stops.
        for running in [server, client] {
            drop(running);
        }
        for handle in handles {
            let last = handle.status();
            let [session] = &last.sessions[..] else { panic!("{last:#?}") };
            assert_eq!((session.state, session.reason), (State::Closed, Some(EndReason::Stopped)));
        }
    }
}

testbed::main! {
    a_status_says_what_both_ends_know,
    each_end_knows_what_the_other_tells_it,
    what_the_bridge_drops_is_counted_for_its_session,
    a_session_that_ends_is_told_and_remembered,
    a_client_counts_each_session_and_all_of_them,
    a_server_remembers_clients_that_have_gone,
    a_client_that_is_refused_says_so,
    a_client_without_a_server_is_handshaking_and_knows_nothing,
    plain_mode_has_a_status_too,
    events_are_numbered_in_order_and_go_on_from_any,
    mtus_that_do_not_fit_are_told_at_both_ends,
    a_handle_outlives_its_tunnel_and_holds_nothing,
    sessions_of_a_tunnel_that_stopped_are_closed,
}
