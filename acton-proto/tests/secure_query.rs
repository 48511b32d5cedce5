//! How a server is, asked without a session; and clients that are asked to go elsewhere.

mod secure_rig;

use std::collections::VecDeque;
use std::time::Duration;

use acton_proto::client::{ClientEvent, Patience};
use acton_proto::handshake::{QueryKeys, public_key};
use acton_proto::server::{AnyClient, SessionId};
use acton_proto::wire::{Caps, Datagram, QUERY_LEN, Query, ServerState, server_tag};
use secure_rig::*;

fn keys(network: u8) -> QueryKeys {
    QueryKeys::new(&public_key(&secret(SERVER_SECRET)), Some(&secret(network)))
}

/// What the server answers from where it was asked, if it does.
fn ask(rig: &mut Rig, keys: &QueryKeys, query: &Query) -> Option<ServerState> {
    rig.give_server(path(9), &query.encode());
    let mut answers = rig.take_server();
    let answer = answers.pop()?;
    assert_eq!((answers.len(), answer.path), (0, path(9)));
    assert!(answer.bytes.len() <= QUERY_LEN, "no more than was sent");
    let Ok(Datagram::Reply(reply)) = Datagram::parse(&answer.bytes) else {
        panic!("no REPLY: {answer:?}");
    };
    keys.open(&reply, query)
}

#[test]
fn a_server_says_how_it_is_to_who_knows_the_network_key() {
    let mut config = server_config();
    config.max_sessions = 4;
    let mut rig = Rig::new(config, Box::new(AnyClient));
    let (right, wrong) = (keys(NETWORK), keys(NETWORK + 1));
    let mut random = Seeded(3);
    let first = ask(&mut rig, &right, &right.query(&mut random)).unwrap();
    assert_eq!((first.draining, first.load), (false, 0));
    rig.add(client_config(10), path(1));
    rig.run(SECOND / 2);
    rig.server.set_draining(true);
    let second = ask(&mut rig, &right, &right.query(&mut random)).unwrap();
    assert_eq!((second.draining, second.load), (true, 250));
    assert_eq!(second.instance, first.instance);

    let stranger = wrong.query(&mut random);
    assert_eq!(ask(&mut rig, &wrong, &stranger), None, "silence");
    let stats = rig.server.stats();
    assert_eq!((stats.queries, stats.bad_mac), (2, 1));
    assert_eq!(rig.server.session_count(), 1);

    // With both network keys while both do.
    rig.server.set_network_keys(Some(secret(NETWORK + 1)), Some(secret(NETWORK)));
    for keys in [&right, &wrong] {
        assert!(ask(&mut rig, keys, &keys.query(&mut random)).is_some());
    }
}

#[test]
fn every_bit_of_a_query_counts_and_a_flood_of_them_is_bounded() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    let keys = keys(NETWORK);
    let good = keys.query(&mut Seeded(3)).encode();
    for bit in 0..8 * good.len() {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        rig.give_server(path(9), &bad);
    }
    assert_eq!(rig.take_server().len(), 0);
    let (mut answers, flood) = (0, 10_000);
    for _ in 0..flood {
        rig.give_server(path(9), &good);
        answers += rig.take_server().len();
    }
    let stats = rig.server.stats();
    assert!((250..300).contains(&answers), "{answers}");
    assert_eq!((stats.queries, stats.queries_limited), (answers as u64, flood - answers as u64));
}

#[test]
fn clients_that_can_are_asked_to_move_and_the_others_are_not() {
    let mut config = server_config();
    config.caps = Caps::ALL.union(Caps::MOVE);
    let mut rig = Rig::new(config, Box::new(AnyClient));
    let mut can = client_config(10);
    can.caps = Caps::ALL.union(Caps::MOVE);
    rig.add(can, path(1));
    rig.add(client_config(11), path(2));
    rig.run(SECOND / 2);
    let to = server_tag("b.example:8080");
    let now = rig.now;
    let asked = [0, 1, 2].map(|id| rig.server.ask_to_move(now, SessionId(id), to));
    assert_eq!(asked.iter().filter(|asked| **asked).count(), 1, "{asked:?}");
    rig.run(SECOND / 2);
    let heard = |station: &Station| {
        let mut events = station.events.iter();
        events
            .any(|event| matches!(event, ClientEvent::AskedToMove { to: Some(tag) } if *tag == to))
    };
    assert_eq!(rig.stations.iter().map(heard).collect::<Vec<_>>(), [true, false]);
    assert!(rig.stations.iter().all(|station| station.client.keys().is_some()), "they stay");
}

#[test]
fn one_that_has_somewhere_to_go_gives_a_dead_server_up_sooner() {
    for (patience, within) in [(Patience::SHORT, 1_800), (Patience::LONG, 13_100)] {
        let mut rig = Rig::new(server_config(), Box::new(AnyClient));
        let mut config = client_config(10);
        config.patience = patience;
        rig.add(config, path(1));
        rig.run(SECOND);
        let started = rig.now;
        let mut sealed = Vec::new();
        let client = &mut rig.stations[0].client;
        client.keys().unwrap().seal_frame(started, &frame(1, 60), false, &mut sealed).unwrap();
        let mut now = started;
        while client.keys().is_some() {
            now = client.poll_timeout().unwrap().max(now);
            client.handle_timeout(now, WALL);
            let mut out = Vec::new();
            while client.poll_transmit(64, &mut out).is_some() {}
        }
        let taken = now - started;
        assert!(taken <= Duration::from_millis(within), "{taken:?}");
        assert!(taken >= patience.silence, "{taken:?}");
    }
}

/// The way to the server is cut, and frames of it still arrive: often, or so seldom that it is asked for
/// a sign of life between two, which counts no more.
#[test]
fn a_server_that_is_heard_and_does_not_answer_is_given_up_by_one_that_has_somewhere_to_go() {
    for (patience, lost) in [(Patience::SHORT, true), (Patience::LONG, false)] {
        for pause in [1, 32] {
            let mut rig = Rig::new(server_config(), Box::new(AnyClient));
            let mut config = client_config(10);
            config.patience = patience;
            let key = public_key(&config.private_key);
            rig.add(config, path(1));
            rig.run(SECOND * 25);
            let (cut, mut steps) = (rig.now, 0);
            // The server forgets the client after 30 s.
            while rig.stations[0].client.keys().is_some() && rig.now < cut + SECOND * 29 {
                rig.now += SECOND / 20;
                steps += 1;
                rig.tick();
                if rig.stations[0].client.keys().is_some() {
                    rig.seal(0, &frame(1, 60));
                }
                if steps % pause == 0 {
                    for packet in rig.seal_back(&key, &frame(2, 60)) {
                        rig.give_client(0, &packet.bytes);
                    }
                }
                rig.take_server();
                rig.take_client(0);
            }
            let taken = rig.now - cut;
            assert_eq!(rig.stations[0].client.keys().is_none(), lost, "{pause}: {taken:?}");
            assert!(!lost || (SECOND * 8..SECOND * 20).contains(&taken), "{pause}: {taken:?}");
        }
    }
}

/// What other threads send is seen when the machine next looks by itself.
#[test]
fn a_dead_server_is_noticed_however_the_send_fell_between_two_looks() {
    for after in 1..20_u32 {
        let mut rig = Rig::new(server_config(), Box::new(AnyClient));
        let mut config = client_config(10);
        config.patience = Patience::SHORT;
        rig.add(config, path(1));
        rig.run(SECOND * 7);
        let client = &mut rig.stations[0].client;
        client.handle_timeout(rig.now, WALL);
        // Nobody looks between this and what was due before.
        let mut due = client.poll_timeout().unwrap();
        let sent = rig.now + SECOND * after / 20;
        let mut is_sent = false;
        while client.keys().is_some() {
            if !is_sent && due >= sent {
                let (frame, mut sealed) = (frame(1, 60), Vec::new());
                client.keys().unwrap().seal_frame(sent, &frame, false, &mut sealed).unwrap();
                is_sent = true;
            }
            client.handle_timeout(due, WALL);
            let mut out = Vec::new();
            while client.poll_transmit(64, &mut out).is_some() {}
            if client.keys().is_some() {
                due = client.poll_timeout().unwrap().max(due);
            }
        }
        let taken = due.saturating_sub(sent);
        assert!(is_sent && taken <= Duration::from_millis(1_800), "{after}: {taken:?}");
    }
}

#[test]
fn what_does_not_reach_the_server_has_one_that_has_somewhere_to_go_ask_at_once() {
    for (patience, expected) in [(Patience::SHORT, 1_000), (Patience::LONG, 13_000)] {
        let mut rig = Rig::new(server_config(), Box::new(AnyClient));
        let mut config = client_config(10);
        config.patience = patience;
        rig.add(config, path(1));
        rig.run(SECOND);
        let client = &mut rig.stations[0].client;
        let (started, mut sealed) = (rig.now, Vec::new());
        client.keys().unwrap().seal_frame(started, &frame(1, 60), false, &mut sealed).unwrap();
        let (mut now, mut sent) = (started, 0);
        while client.keys().is_some() {
            client.handle_network_error(now);
            now = client.poll_timeout().unwrap().max(now);
            client.handle_timeout(now, WALL);
            let mut out = Vec::new();
            while client.poll_transmit(1, &mut out).is_some() {
                sent += 1;
            }
        }
        assert_eq!((now - started).as_millis(), expected);
        assert!(sent < 20, "{sent} datagrams, some of them HELLO");
    }
}

/// What was asked on the way that is gone was not heard: the server is asked as often on the new one.
#[test]
fn who_moves_in_a_silence_asks_anew() {
    for moved_after in [SECOND / 5, SECOND * 7 / 5, SECOND * 33 / 20] {
        let mut rig = Rig::new(server_config(), Box::new(AnyClient));
        let mut config = client_config(10);
        config.patience = Patience::SHORT;
        rig.add(config, path(1));
        rig.run(SECOND);
        let started = rig.now;
        rig.seal(0, &frame(1, 60));
        let client = &mut rig.stations[0].client;
        let (mut now, mut moved, mut asked) = (started, false, 0);
        let mut out = Vec::new();
        while client.keys().is_some() {
            let due = client.poll_timeout().unwrap().max(now);
            if !moved && due >= started + moved_after {
                (now, moved) = (started + moved_after, true);
                client.handle_network_change(now);
            } else {
                now = due;
                client.handle_timeout(now, WALL);
            }
            while client.poll_transmit(1, &mut out).is_some() {
                asked += u32::from(moved && client.keys().is_some());
            }
        }
        assert!(asked >= 4, "{asked} after {moved_after:?}");
    }
}

/// News of the network have the client say where it is, as often as they come: who has nowhere else to go
/// waits no less for that.
#[test]
fn news_in_a_silence_do_not_use_up_the_questions_of_one_that_has_nowhere_to_go() {
    for first in [5_000_u64, 9_990, 10_000, 10_500, 11_200, 12_100] {
        for gap in [0_u64, 20, 400, 700] {
            let mut rig = Rig::new(server_config(), Box::new(AnyClient));
            rig.add(client_config(10), path(1));
            rig.run(SECOND);
            let started = rig.now;
            rig.seal(0, &frame(1, 60));
            let client = &mut rig.stations[0].client;
            let at = |i| started + Duration::from_millis(first + gap * i);
            let mut news: VecDeque<_> = (0..8).map(at).collect();
            let (mut now, mut said) = (started, 0);
            while client.keys().is_some() {
                let due = client.poll_timeout().unwrap().max(now);
                if let Some(at) = news.pop_front_if(|at| *at < due) {
                    now = at;
                    client.handle_network_news(now, started);
                    said += u32::from(client.poll_transmit(1, &mut Vec::new()).is_some());
                } else {
                    now = due;
                    client.handle_timeout(now, WALL);
                }
                while client.poll_transmit(1, &mut Vec::new()).is_some() {}
            }
            assert_eq!((now - started).as_millis(), 13_000, "{first} {gap}");
            assert!(said > 0, "{first} {gap}: it tells where it is");
        }
    }
}

#[test]
fn errors_that_are_forged_cost_a_question_in_five_seconds() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    let mut config = client_config(10);
    config.patience = Patience::SHORT;
    rig.add(config, path(1));
    rig.run(SECOND);
    let before = rig.stations[0].client.stats().hellos;
    for _ in 0..100 {
        let (now, client) = (rig.now, &mut rig.stations[0].client);
        let mut sealed = Vec::new();
        client.keys().unwrap().seal_frame(now, &frame(1, 60), false, &mut sealed).unwrap();
        client.handle_network_error(now);
        rig.run(SECOND / 10);
    }
    let client = &rig.stations[0].client;
    assert!(client.keys().is_some(), "the server answers");
    assert!(client.stats().hellos - before <= 3, "{}", client.stats().hellos - before);
}
