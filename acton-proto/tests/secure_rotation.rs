//! The network key becomes another while clients have sessions, and while they have none.

mod secure_rig;

use std::time::Duration;

use acton_proto::client::ClientEvent;
use acton_proto::handshake::{Secret, public_key};
use acton_proto::server::{Admission, AnyClient, Clients, ServerEvent};
use acton_proto::session::REKEY_AFTER;
use acton_proto::wire::{Caps, Key, Refusal};
use secure_rig::{NETWORK, Rig, SECOND, client_config, name, path, secret, server_config};

/// The network key after the change.
const NEXT: u8 = 3;
/// A server looks at every session within this, and a client makes new keys within it and a half.
const LOOK: Duration = Duration::from_secs(11);

/// Admits these clients.
struct Listed(Vec<Key>);

impl Clients for Listed {
    fn admit(&self, client: &Key) -> Option<Admission> {
        self.0.contains(client).then(Admission::default)
    }
}

fn key(n: u8) -> Key {
    public_key(&secret(n))
}

/// A server that lists the clients 10 and 11, with the former.
fn connected() -> Rig {
    let mut rig = Rig::new(server_config(), Box::new(Listed(vec![key(10), key(11)])));
    rig.add(client_config(10), path(1));
    rig.run(SECOND / 2);
    assert_eq!(rig.server.session_count(), 1);
    rig
}

/// The network keys that a client was told.
fn told(rig: &Rig, index: usize) -> Vec<Secret> {
    let told = |event: &ClientEvent| match event {
        ClientEvent::NetworkKey { key } => Some(key.clone()),
        _ => None,
    };
    rig.stations[index].events.iter().filter_map(told).collect()
}

fn rotate(rig: &mut Rig) {
    rig.server.set_network_keys(Some(secret(NEXT)), Some(secret(NETWORK)));
}

#[test]
fn a_client_with_a_session_is_told_and_goes_on_without_a_break() {
    let mut rig = connected();
    rotate(&mut rig);
    rig.run(LOOK);
    assert_eq!(told(&rig, 0), [secret(NEXT)]);
    rig.assert_works(0, &key(10));
    rig.run(REKEY_AFTER * 2);
    // Once it has shown that it has the new one it is told no more.
    let before = rig.wire.len();
    rig.run(LOOK);
    let controls = rig.wire[before..].iter().filter(|packet| !packet.to_server);
    assert!(controls.count() <= 2, "answers to keepalives alone");
    rig.server.set_network_keys(Some(secret(NEXT)), None);
    rig.run(REKEY_AFTER * 4);
    rig.assert_works(0, &key(10));
    assert_eq!(rig.server.session_count(), 1);
    assert!(!rig.events.iter().any(|event| matches!(event, ServerEvent::SessionDown { .. })));
}

#[test]
fn a_client_that_comes_within_the_time_is_told_and_one_that_comes_later_hears_nothing() {
    let mut rig = connected();
    rotate(&mut rig);
    let late = rig.add(client_config(11), path(2));
    rig.run(LOOK + SECOND);
    assert_eq!(told(&rig, late), [secret(NEXT)]);
    // A server that begins anew knows both keys.
    let mut config = server_config();
    config.network_key = Some(secret(NEXT));
    rig.restart_server(config);
    rig.server.set_network_keys(Some(secret(NEXT)), Some(secret(NETWORK)));
    rig.run(REKEY_AFTER);
    rig.assert_works(late, &key(11));
    // The time is over.
    rig.server.set_network_keys(Some(secret(NEXT)), None);
    let too_late = rig.add(client_config(12), path(3));
    let before = rig.wire.len();
    rig.run(LOOK);
    let answered =
        rig.wire[before..].iter().any(|packet| !packet.to_server && packet.path == path(3));
    assert!(!answered && rig.stations[too_late].client.keys().is_none());
}

#[test]
fn who_is_not_on_the_list_is_told_nothing_but_that() {
    let mut rig = connected();
    rotate(&mut rig);
    let revoked = rig.add(client_config(12), path(2));
    rig.run(LOOK);
    assert!(told(&rig, revoked).is_empty());
    let events = &rig.stations[revoked].events;
    let refused = |event: &ClientEvent| {
        matches!(event, ClientEvent::Refused { reason: Refusal::NotAuthorised })
    };
    assert!(events.iter().any(refused), "{events:?}");
}

#[test]
fn without_a_key_before_nobody_is_told() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    rig.add(client_config(10), path(1));
    rig.run(SECOND);
    rig.assert_works(0, &key(10));
    rig.server.set_network_keys(Some(secret(NEXT)), None);
    rig.run(REKEY_AFTER * 2);
    assert!(told(&rig, 0).is_empty());
    assert_eq!(rig.server.session_count(), 0, "its keys came to an end");
}

#[test]
fn a_client_of_an_earlier_version_is_told_nothing_and_works_while_the_old_key_does() {
    let mut rig = Rig::new(server_config(), Box::new(Listed(vec![key(10)])));
    let mut config = client_config(10);
    config.caps = Caps(Caps::ALL.0 & !Caps::NETWORK_KEY.0);
    rig.add(config, path(1));
    rig.run(SECOND);
    rotate(&mut rig);
    rig.run(REKEY_AFTER * 3);
    assert!(told(&rig, 0).is_empty());
    rig.assert_works(0, &key(10));
}

#[test]
fn a_cookie_comes_under_the_key_that_the_client_has() {
    let mut config = server_config();
    config.cookie_backlog = 0;
    let mut rig = Rig::new(config, Box::new(Listed(vec![key(10), key(11), key(12)])));
    rotate(&mut rig);
    for (number, n) in (10..13).enumerate() {
        rig.add(client_config(n), path(1 + number as u16));
    }
    rig.run(SECOND * 5);
    assert!(rig.wire.iter().any(|packet| name(&packet.bytes) == "RETRY"));
    assert_eq!(rig.server.session_count(), 3);
}

#[test]
fn a_client_that_was_told_needs_the_old_key_no_more() {
    let mut rig = connected();
    rotate(&mut rig);
    rig.run(REKEY_AFTER - SECOND * 20);
    assert_eq!(told(&rig, 0), [secret(NEXT)]);
    rig.server.set_network_keys(Some(secret(NEXT)), None);
    rig.run(REKEY_AFTER);
    rig.assert_works(0, &key(10));
}
