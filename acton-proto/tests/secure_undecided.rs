//! Clients on whom somebody has yet to decide.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod secure_rig;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use acton_proto::client::ClientEvent;
use acton_proto::handshake::public_key;
use acton_proto::server::{Admission, Clients, DownReason, ServerEvent};
use acton_proto::wire::{Key, Refusal};
use secure_rig::{Rig, SECOND, client_config, path, secret, server_config};

/// What was decided so far.
#[derive(Clone, Default)]
struct Decisions(Arc<Mutex<HashMap<Key, bool>>>);

impl Decisions {
    fn set(&self, n: u8, allow: Option<bool>) {
        let mut decisions = self.0.lock().unwrap();
        decisions.remove(&key(n));
        decisions.extend(allow.map(|allow| (key(n), allow)));
    }
}

impl Clients for Decisions {
    fn admit(&self, client: &Key) -> Option<Admission> {
        let allow = self.0.lock().unwrap().get(client).copied();
        (allow == Some(true)).then(|| Admission { psk: None, listed: true })
    }

    fn is_undecided(&self, client: &Key) -> bool {
        !self.0.lock().unwrap().contains_key(client)
    }
}

fn key(n: u8) -> Key {
    public_key(&secret(n))
}

fn asked(rig: &Rig) -> usize {
    rig.events.iter().filter(|event| matches!(event, ServerEvent::Undecided { .. })).count()
}

fn rig(clients: &[u8]) -> (Rig, Decisions) {
    let decisions = Decisions::default();
    let mut rig = Rig::new(server_config(), Box::new(decisions.clone()));
    for &n in clients {
        rig.add(client_config(n), path(u16::from(n)));
    }
    (rig, decisions)
}

fn decide(rig: &mut Rig, decisions: &Decisions, n: u8, allow: Option<bool>) {
    decisions.set(n, allow);
    rig.server.decided(rig.now, &key(n));
    let wall = rig.wall();
    while rig.server.serve(rig.now, wall) {}
}

#[test]
fn a_client_waits_for_the_decision_and_is_answered_at_once() {
    let (mut rig, decisions) = rig(&[10, 11]);
    rig.run(SECOND * 3);
    assert_eq!((asked(&rig), rig.server.undecided_count()), (2, 2), "once each");
    assert_eq!(rig.server.session_count(), 0);
    let to_client = rig.wire.iter().filter(|packet| !packet.to_server);
    assert!(to_client.clone().all(|packet| packet.bytes[0] == 0x13), "nothing but RETRY");
    decide(&mut rig, &decisions, 10, Some(true));
    decide(&mut rig, &decisions, 11, Some(false));
    rig.run(SECOND / 10);
    assert_eq!((rig.server.session_count(), rig.server.undecided_count()), (1, 0));
    rig.assert_works(0, &key(10));
    let refused = |event: &ClientEvent| {
        matches!(event, ClientEvent::Refused { reason: Refusal::NotAuthorised, .. })
    };
    assert!(rig.stations[1].events.iter().any(refused));
    // What is undecided again is asked again, once the client has come again.
    decide(&mut rig, &decisions, 11, None);
    rig.run(SECOND * 40);
    assert_eq!((asked(&rig), rig.server.undecided_count()), (3, 1));
}

#[test]
fn a_decision_that_comes_too_late_answers_the_next_hello() {
    let (mut rig, decisions) = rig(&[10]);
    rig.run(SECOND);
    rig.stations[0].on = false;
    rig.run(SECOND * 5);
    decide(&mut rig, &decisions, 10, Some(true));
    assert_eq!((rig.server.undecided_count(), rig.server.backlog()), (0, 0));
    rig.stations[0].on = true;
    rig.run(SECOND * 2);
    assert_eq!((rig.server.session_count(), asked(&rig)), (1, 1));
}

#[test]
fn a_session_ends_with_what_lets_it_in_and_no_other_does() {
    let (mut rig, decisions) = rig(&[10, 11]);
    [10, 11].iter().for_each(|&n| decisions.set(n, Some(true)));
    rig.run(SECOND * 2);
    assert_eq!((rig.server.session_count(), asked(&rig)), (2, 0));
    decide(&mut rig, &decisions, 11, Some(true));
    assert_eq!(rig.server.session_count(), 2);
    decide(&mut rig, &decisions, 10, Some(false));
    assert_eq!(rig.server.session_count(), 1);
    rig.run(SECOND * 20);
    let removed = |event: &ServerEvent| {
        matches!(event, ServerEvent::SessionDown { client, reason: DownReason::Removed, .. }
            if *client == key(10))
    };
    assert!(rig.events.iter().any(removed));
}

#[test]
fn what_ends_before_keys_are_confirmed_gives_no_session() {
    let (mut rig, decisions) = rig(&[10]);
    decisions.set(10, Some(true));
    // A datagram of each end at a time, up to WELCOME.
    for _ in 0..10 {
        if rig.server.pending_count() == 0 {
            rig.tick();
            let packets = rig.take_all();
            packets.into_iter().for_each(|packet| rig.carry(packet));
        }
    }
    let (pending, open) = (rig.server.pending_count(), rig.server.session_count());
    assert_eq!((pending, open), (1, 0), "welcomed, not confirmed");
    decisions.set(10, None);
    rig.run(SECOND * 3);
    let is_up = |event: &ServerEvent| matches!(event, ServerEvent::SessionUp { .. });
    assert!(!rig.events.iter().any(is_up), "nobody lets it in now");
    assert_eq!((asked(&rig), rig.server.undecided_count()), (1, 1), "it is asked about anew");
    decide(&mut rig, &decisions, 10, Some(true));
    rig.run(SECOND);
    rig.assert_works(0, &key(10));
}

#[test]
fn who_waits_is_answered_by_a_list_that_names_it() {
    let (mut rig, decisions) = rig(&[10]);
    rig.run(SECOND * 2);
    assert_eq!(rig.server.undecided_count(), 1);
    decisions.set(10, Some(true));
    rig.server.set_clients(rig.now, Box::new(decisions.clone()));
    assert_eq!((rig.server.undecided_count(), rig.server.backlog()), (0, 1));
}

#[test]
fn who_was_forgotten_by_its_owner_is_told_anew_once_it_comes_back() {
    let (mut rig, _decisions) = rig(&[10]);
    rig.run(SECOND * 2);
    rig.stations[0].on = false;
    rig.run(SECOND * 10);
    assert_eq!(asked(&rig), 1);
    rig.stations[0].on = true;
    rig.run(SECOND * 40);
    assert!(asked(&rig) > 1);
}

#[test]
fn a_few_undecided_clients_are_no_load_and_many_are() {
    for (undecided, is_load) in [(3, false), (30, true)] {
        let (mut rig, decisions) = rig(&(50..50 + undecided).collect::<Vec<_>>());
        decisions.set(10, Some(true));
        rig.run(SECOND);
        let before = rig.server.stats().retries;
        assert!(before >= u64::from(undecided), "each shows that it receives");
        rig.add(client_config(10), path(10));
        while rig.server.session_count() == 0 {
            rig.run(SECOND / 1_000);
        }
        assert_eq!(rig.server.stats().retries > before, is_load, "{undecided}");
    }
}
