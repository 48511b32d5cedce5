//! Sessions of acton/1 as they should go: keys, rekey, roaming, leaving, coming back.

mod secure_rig;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acton_proto::client::{ClientEvent, DownReason as ClientDown};
use acton_proto::handshake::{Secret, public_key};
use acton_proto::server::{
    Admission, AnyClient, Clients, DownReason, Notice, RefusedReason, ServerEvent,
};
use acton_proto::session::{KeyLog, REKEY_AFTER, Role, Suite};
use acton_proto::wire::{Bye, Datagram, Key, REPORT_LEN, Refusal, Suites};
use secure_rig::{
    Packet, Rig, SECOND, WALL, client_config, frame, name, path, secret, server_config,
};

fn key(n: u8) -> Key {
    public_key(&secret(n))
}

#[test]
fn frames_cross_under_both_suites() {
    for (client, server, expected) in [
        (Suites(3), Suites(3), Suite::Aes256Gcm),
        (Suites(3), Suites(1), Suite::ChaCha20Poly1305),
        (Suites(1), Suites(3), Suite::ChaCha20Poly1305),
        (Suites(0xffff), Suites(3), Suite::Aes256Gcm),
    ] {
        let (mut ours, mut theirs) = (client_config(10), server_config());
        (ours.suites, theirs.suites) = (client, server);
        let mut rig = Rig::new(theirs, Box::new(AnyClient));
        rig.add(ours, path(1));
        rig.run(SECOND / 2);
        assert_eq!(rig.stations[0].client.keys().unwrap().setup().suite, expected);
        rig.assert_works(0, &key(10));
    }
}

#[test]
fn the_first_datagrams_of_a_session_are_few() {
    let rig = Rig::connected();
    let names: Vec<_> = rig.wire.iter().map(|packet| name(&packet.bytes)).collect();
    assert_eq!(names[..3], ["HELLO", "WELCOME", "CONTROL"]);
    let [ServerEvent::SessionUp { client_time, .. }] = rig.events[..] else { panic!() };
    assert!((WALL..=rig.wall()).contains(&client_time), "{client_time}");
    let events = &rig.stations[0].events;
    assert!(matches!(
        events[..],
        [ClientEvent::Connecting { attempt: 0 }, ClientEvent::Connected { .. }]
    ));
    assert!(rig.stations[0].client.rtt().is_some());
}

#[test]
fn the_first_frame_may_confirm_the_keys() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    rig.add(client_config(10), path(1));
    rig.tick();
    for packet in rig.take_all() {
        rig.carry(packet); // HELLO
    }
    for packet in rig.take_all() {
        rig.carry(packet); // WELCOME
    }
    rig.take_client(0); // The KEEPALIVE is lost.
    assert_eq!(rig.server.session_count(), 0);
    for packet in rig.seal(0, &frame(3, 100)) {
        rig.carry(packet);
    }
    assert_eq!(rig.server.session_count(), 1);
    assert_eq!(rig.frames.len(), 1);
}

#[test]
fn one_hello_is_repeated_for_less_than_the_server_keeps_its_answer() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    rig.mtu = 0;
    rig.add(client_config(10), path(1));
    let mut said: HashMap<Vec<u8>, Vec<Duration>> = HashMap::new();
    for _ in 0..200 {
        rig.run(SECOND / 10);
        for packet in rig.wire.drain(..) {
            said.entry(packet.bytes).or_default().push(rig.now);
        }
    }
    let span = |times: &Vec<Duration>| *times.last().unwrap() - times[0];
    assert!(said.values().all(|times| span(times) < SECOND * 4));
    assert!(said.values().any(|times| times.len() >= 3), "repeated before a second handshake");
    assert!(said.len() >= 4);
}

#[test]
fn a_full_frame_crosses_a_small_path_in_pieces() {
    let mut rig = Rig::connected();
    rig.mtu = 1300;
    let big = frame(4, 1440);
    for index in 0..2 {
        let packets = rig.seal(0, &big);
        assert!(packets.iter().all(|packet| packet.bytes.len() <= 1472));
        for packet in packets {
            rig.carry(packet);
        }
        // On the second turn the client knows that 1,472 is too much.
        assert_eq!(rig.frames.len(), index);
        rig.run(Duration::from_secs(60));
    }
    let known = rig.stations[0].client.keys().unwrap().link().path_mtu();
    assert!((1284..=1300).contains(&known), "{known}");
}

#[test]
fn a_link_that_one_end_calls_tiny_carries_frames_all_the_same() {
    for pmtu in [0, 31, 33, 1199] {
        for by_server in [true, false] {
            let (mut ours, mut theirs) = (client_config(10), server_config());
            *(if by_server { &mut theirs.pmtu } else { &mut ours.pmtu }) = pmtu;
            let mut rig = Rig::new(theirs, Box::new(AnyClient));
            rig.add(ours, path(1));
            rig.run(SECOND);
            rig.assert_works(0, &key(10));
            let server = rig.server.sessions().next().expect("a session").keys;
            for keys in [rig.stations[0].client.keys().expect("a session"), server] {
                assert_eq!(keys.link().path_mtu(), 1200);
            }
        }
    }
}

#[test]
fn an_idle_session_costs_no_large_datagrams() {
    let mut rig = Rig::connected();
    rig.run(SECOND * 30);
    assert_eq!(rig.stations[0].client.keys().unwrap().link().path_mtu(), 1472);
    // Rekeys are due meanwhile, and KEEPALIVE; the path is searched anew only where it is smaller
    // than both ends.
    rig.wire.clear();
    rig.run(SECOND * 3600);
    let longest = rig.wire.iter().map(|packet| packet.bytes.len()).max();
    assert!(longest < Some(1000), "{longest:?}");
    // A large frame has its path confirmed, once.
    let packet = rig.seal(0, &frame(1, 1400)).remove(0);
    rig.carry(packet);
    rig.wire.clear();
    rig.run(SECOND * 60);
    assert_eq!(rig.wire.iter().filter(|packet| packet.bytes.len() == 1472).count(), 1);
}

#[test]
fn a_path_that_shrinks_in_silence_is_noticed() {
    let mut rig = Rig::connected();
    rig.run(SECOND);
    let keys = rig.stations[0].client.keys().unwrap().clone();
    assert_eq!(keys.link().path_mtu(), 1472);
    rig.mtu = 1252; // What 1,280 bytes of IPv4 leave.
    let mut lost = 0;
    for _ in 0..20 {
        let before = rig.frames.len();
        for packet in rig.seal(0, &frame(1, 1400)) {
            rig.carry(packet);
        }
        lost += usize::from(rig.frames.len() == before);
        rig.run(SECOND);
    }
    assert!(lost <= 10, "{lost} seconds without large frames");
    assert!(rig.server.session_count() == 1 && rig.changes() == 1);
    // The server learns it in its own direction.
    for _ in 0..12 {
        rig.seal_back(&key(10), &frame(1, 1400)).into_iter().for_each(|packet| rig.carry(packet));
        rig.run(SECOND);
    }
    let got = rig.stations[0].frames.len();
    rig.seal_back(&key(10), &frame(1, 1400)).into_iter().for_each(|packet| rig.carry(packet));
    assert_eq!(rig.stations[0].frames.len(), got + 1);
}

#[test]
fn rekeys_lose_no_frame_whatever_is_on_its_way() {
    let mut rig = Rig::connected();
    let (mut sent, mut back) = (0, 0);
    let mut flying = Vec::new();
    let client = key(10);
    let end = rig.now + REKEY_AFTER * 5;
    while rig.now < end {
        // A frame each way every 50 ms, carried one step later than control datagrams.
        let old = std::mem::take(&mut flying);
        flying.extend(rig.seal(0, &frame(sent as u8, 100)));
        flying.extend(rig.seal_back(&client, &frame(back as u8, 100)));
        (sent, back) = (sent + 1, back + 1);
        rig.run(Duration::from_millis(50));
        old.into_iter().for_each(|packet| rig.carry(packet));
    }
    flying.into_iter().for_each(|packet| rig.carry(packet));
    assert_eq!(rig.frames.len(), sent);
    assert_eq!(rig.stations[0].frames.len(), back);
    let rekeys = rig.events.iter().filter(|e| matches!(e, ServerEvent::KeysChanged { .. }));
    assert!((5..=6).contains(&rekeys.count()));
    assert_eq!(rig.server.session_count(), 1);
    let over = |event: &&ClientEvent| matches!(event, ClientEvent::Disconnected { .. });
    assert!(!rig.stations[0].events.iter().any(|event| over(&event)));
}

/// Runs until the client has new keys of which the server's control thread heard nothing, and a
/// worker opened a frame under them. What the worker has to tell.
#[test]
fn the_keys_before_are_forgotten_ten_seconds_after_the_new_ones_are_confirmed() {
    let mut rig = Rig::connected();
    let step = SECOND / 4;
    let changed = |rig: &Rig| {
        let mut events = rig.stations[0].events.iter();
        events.any(|event| matches!(event, ClientEvent::KeysChanged { .. }))
    };
    while !changed(&rig) {
        rig.run(step);
        rig.assert_works(0, &key(10));
    }
    let confirmed = rig.now;
    let mut forgotten = [None; 2];
    while forgotten.contains(&None) {
        rig.run(step);
        let time = rig.now - confirmed;
        assert!(time < 20 * SECOND, "{forgotten:?}");
        let mut ours = rig.stations[0].events.iter();
        if ours.any(|event| matches!(event, ClientEvent::KeysDropped { .. })) {
            forgotten[0].get_or_insert(time);
        }
        if rig.events.iter().any(|event| matches!(event, ServerEvent::KeysDropped { .. })) {
            forgotten[1].get_or_insert(time);
        }
    }
    for time in forgotten.into_iter().flatten() {
        assert!(time >= 10 * SECOND - step && time <= 10 * SECOND + step, "{forgotten:?}");
    }
}

#[test]
fn pieces_of_a_frame_that_never_comes_are_given_up_by_a_timer() {
    let mut rig = Rig::connected();
    let up = rig.seal(0, &frame(1, 1500));
    let down = rig.seal_back(&key(10), &frame(2, 1500));
    assert_eq!((up.len(), down.len()), (2, 2));
    rig.carry(up[0].clone());
    rig.carry(down[1].clone());
    let given_up = |rig: &Rig| {
        [rig.server.stats().sealed.incomplete, rig.stations[0].client.stats().sealed.incomplete]
    };
    assert_eq!((rig.server.stats().sealed.pieces, given_up(&rig)), (1, [0, 0]));
    rig.run(SECOND / 2);
    assert_eq!(given_up(&rig), [0, 0]);
    rig.run(6 * SECOND);
    assert_eq!(given_up(&rig), [1, 1]);
    // The rest comes to nothing.
    rig.carry(up[1].clone());
    assert!(rig.frames.is_empty());
}

fn opened_by_a_worker(rig: &mut Rig) -> Notice {
    rig.run(REKEY_AFTER - SECOND * 20);
    let ready = loop {
        for packet in rig.take_server() {
            rig.carry(packet); // ECHO
        }
        let hello = rig.stations[0].client.poll_timeout().expect("a client that goes on");
        rig.now = hello.max(rig.now);
        rig.tick();
        for packet in rig.take_all() {
            rig.carry(packet);
        }
        let ready = rig.events.iter().find_map(|event| match event {
            ServerEvent::KeysReady { keys, .. } => Some(keys.clone()),
            _ => None,
        });
        if let Some(ready) = ready {
            break ready;
        }
    };
    for packet in rig.take_server() {
        rig.carry(packet); // WELCOME
    }
    rig.take_client(0);
    assert!(!ready.is_confirmed());
    let mut datagram = rig.seal(0, &frame(9, 80)).remove(0).bytes;
    let Ok(Datagram::Sealed(header)) = Datagram::parse(&datagram) else { panic!("sealed") };
    assert_eq!(header.receiver_id, ready.setup().local_id);
    let bytes = datagram.len();
    let received = ready.receive(rig.now, &header, &mut datagram).expect("authentic");
    assert!(received.first && received.newest);
    let got = received.content.into_frames().next().expect("a frame");
    assert_eq!(got.bytes(), frame(9, 80));
    Notice { local_id: header.receiver_id, from: path(1), bytes, newest: received.newest }
}

fn keys_changed(rig: &Rig) -> bool {
    rig.events.iter().any(|e| matches!(e, ServerEvent::KeysChanged { replaced: false, .. }))
}

#[test]
fn workers_open_and_the_control_thread_hears_of_it() {
    let mut rig = Rig::connected();
    let notice = opened_by_a_worker(&mut rig);
    assert!(!keys_changed(&rig));
    rig.server.handle_notice(rig.now, &notice);
    rig.tick();
    assert!(keys_changed(&rig));
    rig.assert_works(0, &key(10));
}

#[test]
fn a_notice_that_is_lost_costs_no_session() {
    let mut rig = Rig::connected();
    opened_by_a_worker(&mut rig);
    rig.stations[0].on = false;
    rig.run(SECOND * 6);
    assert!(keys_changed(&rig));
    rig.stations[0].on = true;
    rig.assert_works(0, &key(10));
}

#[test]
fn a_way_that_was_another_for_a_moment_is_told_if_something_went_by_it() {
    let mut rig = Rig::connected();
    rig.run(SECOND * 60);
    let client = &mut rig.stations[0].client;
    let (now, sent) = (rig.now, client.keys().unwrap().link().last_sent());
    let mut said = |since| {
        client.handle_network_news(now, since);
        client.poll_transmit(1, &mut Vec::new()).is_some()
    };
    assert!(!said(sent + Duration::from_nanos(1)), "nothing went out since");
    assert!(said(sent));
}

#[test]
fn a_client_that_is_looked_for_elsewhere_and_is_where_it_was_stays_there() {
    let mut rig = Rig::connected();
    let keys = rig.server.sessions().next().unwrap().keys.clone();
    assert!(!keys.link().is_looking());
    for (from, looking) in [(2, true), (1, false)] {
        let mut datagram = rig.seal(0, &frame(9, 80)).remove(0).bytes;
        let (now, wall) = (rig.now, rig.wall());
        rig.server.handle_input(now, wall, path(from), &mut datagram);
        // While it is so, workers tell of what comes from where the session is, too.
        assert_eq!(keys.link().is_looking(), looking);
    }
}

#[test]
fn a_size_that_the_system_refuses_is_not_used_again() {
    let mut rig = Rig::connected();
    rig.run(SECOND);
    let client = rig.stations[0].client.keys().unwrap().clone();
    let session = rig.server.sessions().next().unwrap();
    let (id, server) = (session.id, session.keys.clone());
    assert_eq!((client.link().path_mtu(), server.link().path_mtu()), (1472, 1472));
    rig.mtu = 1400;
    rig.stations[0].client.handle_too_large(1472);
    rig.server.handle_too_large(rig.now, id, 1472);
    assert_eq!((client.link().path_mtu(), server.link().path_mtu()), (1200, 1200));
    rig.run(SECOND * 60);
    for keys in [client, server] {
        assert!((1384..=1400).contains(&keys.link().path_mtu()), "{}", keys.link().path_mtu());
    }
}

#[test]
fn a_client_whose_link_is_another_says_so() {
    let mut server = server_config();
    server.pmtu = 8972;
    let mut rig = Rig::new(server, Box::new(AnyClient));
    let client = rig.add(client_config(10), path(1));
    let set = |rig: &mut Rig, pmtu| {
        let (now, wall) = (rig.now, rig.wall());
        rig.stations[client].client.set_pmtu(now, wall, pmtu);
    };
    let sizes = |rig: &Rig| {
        let client = rig.stations[client].client.keys().unwrap().link().path_mtu();
        let server = rig.server.sessions().next().unwrap().keys.link().path_mtu();
        (client, server)
    };
    // The server's address is known only now, and with it the link: the HELLO that waited for it
    // goes anew.
    rig.tick();
    assert_eq!(rig.take_client(client).len(), 1);
    set(&mut rig, 1452);
    rig.run(SECOND);
    assert_eq!(sizes(&rig), (1452, 1452));
    let hellos = |rig: &Rig| rig.wire.iter().filter(|p| name(&p.bytes) == "HELLO").count();
    let before = hellos(&rig);
    set(&mut rig, 1452);
    rig.run(SECOND);
    assert_eq!(hellos(&rig), before);
    // Jumbo frames, and back: both ends follow, and the session goes on.
    set(&mut rig, 8972);
    rig.run(SECOND);
    assert_eq!(sizes(&rig), (8972, 8972));
    rig.mtu = 1372;
    set(&mut rig, 1372);
    assert!(sizes(&rig).0 <= 1372);
    rig.run(SECOND);
    assert_eq!(sizes(&rig), (1372, 1372));
    rig.assert_works(client, &key(10));
    assert_eq!(hellos(&rig), before + 2);
    let of_sessions = |event: &&ServerEvent| {
        matches!(event, ServerEvent::SessionUp { .. } | ServerEvent::SessionDown { .. })
    };
    assert_eq!(rig.events.iter().filter(of_sessions).count(), 1);
}

#[test]
fn the_key_log_of_both_ends_tells_the_same() {
    type Told = Arc<Mutex<Vec<(Role, u32, u32, [u8; 32], [u8; 32])>>>;
    let told = Told::default();
    let log = || {
        let told = told.clone();
        Some(KeyLog::new(move |entry| {
            let (setup, split) = (entry.setup, entry.split);
            let ids = (setup.local_id, setup.remote_id);
            told.lock().unwrap().push((entry.role, ids.0, ids.1, split.to_server, split.to_client));
        }))
    };
    let (mut ours, mut theirs) = (client_config(10), server_config());
    (ours.key_log, theirs.key_log) = (log(), log());
    let mut rig = Rig::new(theirs, Box::new(AnyClient));
    rig.add(ours, path(1));
    rig.run(SECOND);
    let told = told.lock().unwrap();
    let [(Role::Server, a, b, up, down), (Role::Client, c, d, up2, down2)] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((a, b, up, down), (d, c, up2, down2));
}

#[test]
fn a_client_that_moves_is_followed_within_a_round_trip() {
    let mut rig = Rig::connected();
    rig.run(SECOND);
    rig.stations[0].path = path(2);
    let packet = rig.seal(0, &frame(1, 100)).remove(0);
    rig.carry(packet);
    assert_eq!(rig.frames.len(), 1, "its frames are taken at once");
    assert_eq!(rig.server.sessions().next().unwrap().path, path(1), "not yet");
    rig.settle();
    assert_eq!(rig.server.sessions().next().unwrap().path, path(2));
    let moved = |e: &ServerEvent| matches!(e, ServerEvent::AddressChanged { .. });
    assert!(rig.events.iter().any(moved));
    rig.assert_works(0, &key(10));
}

#[test]
fn a_client_that_moves_in_the_middle_of_a_handshake_is_followed() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    rig.add(client_config(10), path(1));
    rig.tick();
    for packet in rig.take_all() {
        rig.carry(packet);
    }
    for packet in rig.take_all() {
        rig.carry(packet);
    }
    rig.stations[0].path = path(2);
    rig.run(SECOND);
    assert_eq!(rig.server.sessions().next().unwrap().path, path(2));
    rig.assert_works(0, &key(10));
}

#[test]
fn bye_ends_a_session_at_once_on_either_side() {
    let mut rig = Rig::connected();
    rig.stations[0].client.close(rig.now);
    rig.run(SECOND);
    assert_eq!(rig.server.session_count(), 0);
    let down = rig.events.last().unwrap();
    let stop = DownReason::Bye(Bye::Stop);
    assert!(matches!(down, ServerEvent::SessionDown { reason, .. } if *reason == stop));
    assert_eq!(rig.stations[0].client.poll_timeout(), None);

    let mut rig = Rig::connected();
    rig.server.close(rig.now, Bye::Restart, SECOND * 8);
    rig.settle();
    let Some(ClientEvent::Disconnected { reason, retry_in }) = rig.stations[0].events.last() else {
        panic!("{:?}", rig.stations[0].events);
    };
    assert_eq!(*reason, ClientDown::Bye(Bye::Restart));
    assert!(*retry_in <= SECOND * 8);
    rig.restart_server(server_config());
    rig.run(SECOND * 9);
    rig.assert_works(0, &key(10));
}

#[test]
fn a_server_that_was_killed_is_found_again_by_its_reset() {
    let mut rig = Rig::connected();
    rig.restart_server(server_config());
    let packet = rig.seal(0, &frame(1, 100)).remove(0);
    rig.carry(packet);
    rig.run(SECOND / 10);
    assert_eq!(rig.server.stats().resets, 1);
    rig.assert_works(0, &key(10));
}

#[test]
fn a_server_that_comes_back_on_a_smaller_link_is_believed() {
    let mut rig = Rig::connected();
    rig.run(SECOND);
    let link = rig.stations[0].client.keys().expect("a session").link().clone();
    assert_eq!(link.path_mtu(), 1472);
    let mut config = server_config();
    config.pmtu = 1300;
    rig.restart_server(config);
    let packet = rig.seal(0, &frame(1, 100)).remove(0);
    rig.carry(packet);
    rig.run(SECOND);
    assert_eq!(link.path_mtu(), 1300);
    rig.assert_works(0, &key(10));
}

#[test]
fn a_server_that_was_killed_long_ago_is_found_without() {
    let mut rig = Rig::connected();
    rig.restart_server(server_config());
    rig.stations[0].on = false;
    rig.run(SECOND * 121);
    rig.stations[0].on = true;
    let packet = rig.seal(0, &frame(1, 100)).remove(0);
    rig.carry(packet);
    rig.run(SECOND * 16);
    assert_eq!(rig.server.stats().resets, 0, "not after its first two minutes");
    rig.assert_works(0, &key(10));
}

#[test]
fn a_silent_client_is_forgotten_and_an_idle_one_is_not() {
    let mut rig = Rig::connected();
    rig.run(SECOND * 600);
    assert_eq!(rig.server.session_count(), 1);
    rig.stations[0].on = false;
    rig.run(SECOND * 49);
    rig.run(SECOND * 7);
    assert_eq!(rig.server.session_count(), 0);
    let timeout =
        |e: &ServerEvent| matches!(e, ServerEvent::SessionDown { reason: DownReason::Timeout, .. });
    assert!(rig.events.iter().any(timeout));
    assert_eq!(rig.server.poll_timeout(), None, "nothing is left behind");
}

/// Its keys may be young enough, but its server has forgotten it: it does not wait for an answer first.
#[test]
fn a_client_that_was_suspended_is_back_at_once() {
    for asleep in [60, 170, 600, 3_600] {
        let mut rig = Rig::connected();
        rig.run(SECOND * 3);
        rig.stations[0].on = false;
        rig.run(SECOND * asleep);
        assert_eq!(rig.server.session_count(), 0);
        rig.stations[0].on = true;
        rig.tick();
        rig.run(SECOND / 10);
        assert_eq!(rig.server.session_count(), 1, "asleep for {asleep} s");
        rig.assert_works(0, &key(10));
    }
}

#[test]
fn a_dead_server_is_noticed_after_thirteen_seconds_of_talking() {
    let mut rig = Rig::connected();
    rig.run(SECOND);
    rig.mtu = 0;
    let start = rig.now;
    rig.seal(0, &frame(1, 100));
    loop {
        rig.run(SECOND / 10);
        if rig.stations[0].client.keys().is_none() {
            break;
        }
        assert!(rig.now < start + SECOND * 30);
    }
    let took = rig.now - start;
    assert!((SECOND * 13..SECOND * 14).contains(&took), "{took:?}");
    rig.run(SECOND * 3600);
    // Never a silence of more than 33 s between two HELLO, for ever.
    assert!(rig.stations[0].client.poll_timeout().unwrap() <= rig.now + SECOND * 33);
    rig.mtu = usize::MAX;
    rig.run(SECOND * 34);
    rig.assert_works(0, &key(10));
}

/// When the first client asks with a REPORT, and not by probes of the path, while nobody answers and its
/// timers are looked at every 10 ms, until it gives the session up.
fn asks_in_vain(rig: &mut Rig) -> Vec<Duration> {
    let (start, mut asked) = (rig.now, Vec::new());
    while rig.stations[0].client.keys().is_some() {
        rig.tick();
        let packets = rig.take_client(0);
        let report = |p: &&Packet| name(&p.bytes) == "CONTROL" && p.bytes.len() == REPORT_LEN;
        asked.extend(packets.iter().filter(report).map(|_| rig.now));
        rig.now += SECOND / 100;
        assert!(rig.now < start + SECOND * 30);
    }
    asked
}

#[test]
fn a_dead_server_is_asked_three_times_a_second_apart() {
    let mut rig = Rig::connected();
    rig.run(SECOND);
    let start = rig.now;
    rig.seal(0, &frame(1, 100));
    let expected = [10, 11, 12].map(|second| start + SECOND * second);
    assert_eq!(asks_in_vain(&mut rig), expected);

    // A client that was suspended meanwhile waits for answers all the same.
    let mut rig = Rig::connected();
    rig.run(SECOND);
    rig.seal(0, &frame(1, 100));
    rig.now += SECOND * 60;
    let expected = [0, 1, 2].map(|second| rig.now + SECOND * second);
    assert_eq!(asks_in_vain(&mut rig), expected);
}

/// A list of clients with or without keys of their own.
#[derive(Clone, Default)]
struct Listed(HashMap<Key, Option<u8>>);

impl Clients for Listed {
    fn admit(&self, client: &Key) -> Option<Admission> {
        Some(Admission { psk: self.0.get(client)?.map(secret), listed: true })
    }
}

#[test]
fn only_listed_clients_get_in_and_the_others_are_told() {
    let list = Listed([(key(10), None), (key(11), Some(77))].into());
    let mut rig = Rig::new(server_config(), Box::new(list.clone()));
    rig.add(client_config(10), path(10));
    let mut own = client_config(11);
    own.psk = Some(secret(77));
    rig.add(own, path(11));
    rig.add(client_config(12), path(12));
    let mut wrong = client_config(11);
    wrong.psk = Some(secret(78));
    rig.run(SECOND);
    assert_eq!(rig.server.session_count(), 2);
    rig.assert_works(0, &key(10));
    rig.assert_works(1, &key(11));
    let refused =
        |e: &ClientEvent| matches!(e, ClientEvent::Refused { reason: Refusal::NotAuthorised });
    assert!(rig.stations[2].events.iter().any(refused));
    let told = rig.events.iter().any(|event| match event {
        ServerEvent::Refused { client, reason, .. } => {
            *client == Some(key(12)) && *reason == RefusedReason::Told(Refusal::NotAuthorised)
        }
        _ => false,
    });
    assert!(told);

    // A wrong key of its own: no session, whatever the client tries, and the true one lives on.
    let index = rig.add(wrong, path(13));
    rig.run(SECOND * 20);
    assert!(rig.stations[index].client.keys().is_none());
    rig.assert_works(1, &key(11));

    // Off the list: out at once, and told.
    rig.stations[index].on = false;
    let mut shorter = list;
    shorter.0.remove(&key(10));
    rig.server.set_clients(rig.now, Box::new(shorter));
    rig.settle();
    assert_eq!(rig.server.session_count(), 1);
    assert!(rig.stations[0].client.keys().is_none());
    rig.run(SECOND * 120);
    assert!(rig.stations[0].client.keys().is_none());
    rig.assert_works(1, &key(11));
}

#[test]
fn a_client_with_a_psk_that_was_taken_off_the_list_is_told() {
    let list = Listed([(key(11), Some(77))].into());
    let mut rig = Rig::new(server_config(), Box::new(list));
    let mut own = client_config(11);
    own.psk = Some(secret(77));
    rig.add(own.clone(), path(11));
    rig.run(SECOND);
    rig.assert_works(0, &key(11));
    let told = |rig: &Rig, index: usize| -> Vec<bool> {
        let refused = |event: &ClientEvent| match event {
            ClientEvent::Refused { reason: Refusal::NotAuthorised } => Some(true),
            ClientEvent::Unreadable => Some(false),
            _ => None,
        };
        rig.stations[index].events.iter().filter_map(refused).collect()
    };
    // Now, and when it begins anew: once a HELLO, and nothing else.
    rig.server.set_clients(rig.now, Box::new(Listed::default()));
    rig.run(SECOND * 40);
    assert!(!told(&rig, 0).is_empty() && told(&rig, 0).iter().all(|refused| *refused));
    rig.stations[0].on = false;
    let index = rig.add(own, path(12));
    rig.run(Duration::from_millis(3_500));
    assert_eq!(told(&rig, index), [true]);

    // Listed without its psk is no refusal, and no session either.
    rig.server.set_clients(rig.now, Box::new(Listed([(key(11), None)].into())));
    rig.run(SECOND * 10);
    assert!(told(&rig, index).contains(&false));
    assert!(rig.stations[index].client.keys().is_none());
    rig.server.set_clients(rig.now, Box::new(Listed([(key(11), Some(77))].into())));
    rig.run(SECOND * 35);
    rig.assert_works(index, &key(11));
}

#[test]
fn without_the_network_key_there_is_only_silence() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    let mut stranger = client_config(10);
    stranger.network_key = Some(Secret::new([99; 32]));
    rig.add(stranger, path(1));
    let mut stranger = client_config(11);
    stranger.network_key = None;
    rig.add(stranger, path(2));
    rig.run(SECOND * 30);
    assert!(rig.wire.iter().all(|packet| packet.to_server));
    assert!(rig.server.stats().bad_mac >= 20);
    let told =
        |e: &ServerEvent| matches!(e, ServerEvent::Refused { reason: RefusedReason::WrongKey, .. });
    assert!(rig.events.iter().any(told));
}

#[test]
fn a_full_server_says_so() {
    let mut config = server_config();
    config.max_sessions = 1;
    let mut rig = Rig::new(config, Box::new(AnyClient));
    rig.add(client_config(10), path(1));
    rig.run(SECOND);
    rig.add(client_config(11), path(2));
    rig.run(SECOND);
    assert_eq!(rig.server.session_count(), 1);
    let full = |e: &ClientEvent| matches!(e, ClientEvent::Refused { reason: Refusal::Full });
    assert!(rig.stations[1].events.iter().any(full));
    rig.stations[0].client.close(rig.now);
    rig.run(SECOND * 40);
    rig.assert_works(1, &key(11));
}

#[test]
fn the_last_of_two_instances_wins_and_the_first_holds_off() {
    let mut rig = Rig::connected();
    rig.add(client_config(10), path(2));
    rig.run(SECOND);
    rig.assert_works(1, &key(10));
    assert_eq!(rig.server.session_count(), 1);
    let Some(ClientEvent::Disconnected { reason, retry_in }) = rig.stations[0].events.last() else {
        panic!("{:?}", rig.stations[0].events);
    };
    assert_eq!(*reason, ClientDown::Bye(Bye::Replaced));
    assert!((SECOND * 30..=SECOND * 90).contains(retry_in));
    assert_eq!(rig.server.stats().duplicates, 0, "a client may start anew");
    // The hold-off doubles, so the two change places ever less often, and the alarm tells.
    rig.run(SECOND * 3600);
    let changes = rig.events.iter();
    let changes = changes.filter(|e| matches!(e, ServerEvent::KeysChanged { replaced: true, .. }));
    let changes = changes.count();
    assert!((4..=30).contains(&changes), "{changes} in an hour");
    assert!(rig.server.stats().duplicates > 0);
    assert_eq!(rig.server.session_count(), 1);
}

#[test]
fn a_crashed_client_is_back_at_once_from_the_same_address() {
    let mut rig = Rig::connected();
    rig.stations[0].on = false;
    rig.add(client_config(10), path(1));
    rig.run(SECOND);
    rig.assert_works(1, &key(10));
    assert_eq!(rig.server.session_count(), 1);
    rig.run(SECOND * 30);
    assert_eq!(rig.server.stats().duplicates, 0);
}

#[test]
fn ids_carry_the_worker_through_rekeys() {
    let mut config = server_config();
    (config.worker_bits, config.workers) = (4, 5);
    let mut rig = Rig::new(config, Box::new(AnyClient));
    let clients = 30_u8;
    for n in 0..clients {
        rig.add(client_config(10 + n), path(u16::from(n) + 1));
        rig.run(SECOND / 10);
    }
    let workers = |rig: &Rig| -> Vec<u32> {
        rig.server.sessions().map(|session| session.keys.setup().local_id & 15).collect()
    };
    let before = workers(&rig);
    assert_eq!(before.len(), usize::from(clients));
    assert!((0..5).all(|worker| before.contains(&worker)) && before.iter().all(|&w| w < 5));
    rig.run(REKEY_AFTER * 2);
    assert_eq!(workers(&rig), before);
}

#[test]
fn a_clock_that_is_wrong_locks_nobody_out() {
    let mut rig = Rig::connected();
    rig.stations[0].on = false;
    rig.run(SECOND * 10);
    // The machine comes back in 1970.
    let index = rig.add(client_config(10), path(3));
    rig.stations[index].on = false;
    rig.stations[index].client.handle_timeout(rig.now, 5);
    for packet in rig.take_client(index) {
        rig.carry(packet);
    }
    rig.stations[index].on = true;
    rig.settle();
    rig.assert_works(index, &key(10));
}

#[test]
fn a_server_that_crashed_is_told_of_and_one_that_said_bye_is_counted() {
    let mut rig = Rig::connected();
    rig.run(REKEY_AFTER * 2);
    assert_eq!(rig.stations[0].client.server_restarts(), 0, "a rekey is none");
    let mut told = Vec::new();
    let mut run = |rig: &mut Rig| {
        rig.run(SECOND * 120);
        rig.assert_works(0, &key(10));
        told.extend(rig.stations[0].events.drain(..).filter_map(|event| match event {
            ClientEvent::ServerRestarted { session_goes_on } => Some(session_goes_on),
            _ => None,
        }));
        (rig.stations[0].client.server_restarts(), told.clone())
    };
    rig.restart_server(server_config());
    assert_eq!(run(&mut rig), (1, vec![true]));
    // It is away for longer than the session lasts.
    rig.mtu = 0;
    rig.run(SECOND * 60);
    assert!(rig.stations[0].client.keys().is_none());
    rig.mtu = usize::MAX;
    rig.restart_server(server_config());
    assert_eq!(run(&mut rig), (2, vec![true, false]));
    rig.server.close(rig.now, Bye::Restart, SECOND);
    rig.run(SECOND / 10);
    rig.restart_server(server_config());
    assert_eq!(run(&mut rig), (3, vec![true, false]));
}
