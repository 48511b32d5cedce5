//! `acton rotate`, while a server runs and while it does not.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::time::Duration;

use acton_engine::Secret;
use acton_engine::keys::{Invite, State};
use support::{Acton, Mode, ROOT_V4, World, ping_until_answered, said};

testbed::main! {
    waiting;
    listed_clients_follow_and_nobody_else_does,
    a_client_that_cannot_keep_the_key_tries_again,
    a_change_while_the_server_is_away_counts_once_it_is_back,
    who_comes_too_late_is_told_what_to_look_for,
}

/// What a client says that was told.
const KEPT: &str = "another network key, which is kept";
const UNKEPT: &str = "will not know at its next start";

fn world(clients: u8) -> World {
    World::new(clients).speaking(Mode::Secure)
}

/// Has client `i` store an invite, by which it is listed.
fn join(world: &World, i: u8) {
    let url = world.keys.named_invite(&format!("client-{i}"), &[]);
    world.keys.acton(&format!("client-{i}"), &["join", &url]);
}

/// Starts client `i` with the invite that it stored.
fn start(world: &World, i: u8) -> Acton {
    world.run_client(i, &["client", "--state", &world.keys.client_state(i)])
}

fn stored_key(world: &World, i: u8) -> Option<Secret> {
    let state = State::new(world.keys.client_state(i));
    state.stored_invite().unwrap().unwrap().network_key
}

fn listed_clients_follow_and_nobody_else_does() {
    let world = world(3);
    join(&world, 0);
    let given = world.keys.named_invite("given", &[]);
    let server = world.serve(&[]);
    let revoked = world.keys.named_invite("revoked", &[]);
    world.keys.acton("server", &["revoke", "revoked"]);
    let stored = start(&world, 0);
    let by_argument = world.run_client(1, &["client", &given]);
    for client in [&stored, &by_argument] {
        client.wait_for(said::CONNECTED);
    }
    let old = stored_key(&world, 0);

    let printed = world.keys.acton("server", &["rotate"]);
    assert!(
        printed.contains("7 days more") && printed.contains("acton invite --name"),
        "{printed}"
    );
    server.wait_for("the network key is another");
    stored.wait_for(KEPT);
    by_argument.wait_for(UNKEPT);
    let new = world.keys.server().network_key;
    assert_eq!(stored_key(&world, 0).as_ref(), Some(&new));
    assert_ne!(old.as_ref(), Some(&new));
    for (client, i) in [(&stored, 0_u8), (&by_argument, 1)] {
        assert_eq!(client.log().matches(said::CONNECTED).count(), 1);
        ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
    }
    // One that was revoked has the old key, and learns nothing.
    let state = world.keys.client_state(2);
    let out = world.run_client(2, &["client", &revoked, "--state", &state]);
    out.wait_for("is not on its list");
    assert!(!out.stop().contains("network key"));

    // The old key ends: both go on, whatever begins anew.
    let path = world.keys.path("server").join("network.key");
    let text = fs::read_to_string(&path).unwrap();
    let only: Vec<_> = text.lines().filter(|line| !line.starts_with("before")).collect();
    fs::write(&path, only.join("\n")).unwrap();
    server.wait_for("the network key before does no more");
    server.stop();
    let _server = world.serve(&[]);
    for client in [&stored, &by_argument] {
        client.wait_for_nth(said::CONNECTED, 2);
    }
    stored.stop();
    start(&world, 0).wait_for(said::CONNECTED);
}

fn a_client_that_cannot_keep_the_key_tries_again() {
    let world = world(1);
    join(&world, 0);
    let old = stored_key(&world, 0);
    let _server = world.serve(&[]);
    let client = start(&world, 0);
    client.wait_for(said::CONNECTED);
    // Its state is where it cannot be written for a while.
    let state = world.keys.path("client-0");
    let aside = world.keys.path("aside");
    fs::rename(&state, &aside).unwrap();
    fs::write(&state, "no directory").unwrap();
    world.keys.acton("server", &["rotate"]);
    client.wait_for(UNKEPT);
    fs::remove_file(&state).unwrap();
    fs::rename(&aside, &state).unwrap();
    assert_eq!(stored_key(&world, 0), old);
    client.wait_for(KEPT);
    assert_eq!(stored_key(&world, 0), Some(world.keys.server().network_key));
    assert_eq!(client.stop().matches(UNKEPT).count(), 1, "told once");
}

fn a_change_while_the_server_is_away_counts_once_it_is_back() {
    let world = world(1);
    join(&world, 0);
    world.keys.acton("server", &["rotate", "--grace", "1"]);
    for times in 1..3 {
        // It is told in each session until it has shown that it knows; here it does at the second.
        let server = world.serve(&[]);
        let client = start(&world, 0);
        client.wait_for(said::CONNECTED);
        if times == 1 {
            client.wait_for(KEPT);
        }
        client.stop();
        server.stop();
    }
    assert_eq!(stored_key(&world, 0), Some(world.keys.server().network_key));
}

fn who_comes_too_late_is_told_what_to_look_for() {
    let world = world(1);
    join(&world, 0);
    let late =
        Invite::clone(&State::new(world.keys.client_state(0)).stored_invite().unwrap().unwrap());
    let server = world.serve(&[]);
    let rotation =
        State::new(world.keys.path("server")).rotate(Duration::from_secs(1), None).unwrap();
    assert!(rotation.listed && rotation.until.is_some());
    server.wait_for("the network key before does no more");
    let client =
        world.run_client(0, &["client", &late.url(), "--state", &world.keys.client_state(0)]);
    client.wait_for("from after the last change of its network key (acton rotate)");
    // What rotate says to do.
    world.keys.acton("server", &["revoke", "client-0"]);
    client.stop();
    join(&world, 0);
    start(&world, 0).wait_for(said::CONNECTED);
}
