//! What a tunnel tells of itself: storms, a reload that was refused, a hook that fails, sessions that
//! move, versions.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use acton_cli::doctor::Code;
use acton_engine::{Secret, SystemRandom};
use acton_proto::client::{Client, ClientConfig};
use acton_proto::wire::Version;
use pnet_base::MacAddr;

use super::patient::{Patient, Scratch};
use super::support::{
    End, Impairment, Mode, PORT, SERVER_V4, TEST_ETHERTYPE, World, ask, client_mac, control, frame,
    said, wait_until,
};
use super::tunnel::{serve, until};

pub(crate) fn each_check_says_something() {
    let world = World::new(1).speaking(Mode::Secure);
    let (_server, path) = serve(&world, &[]);
    let running = Patient::Host(&world.server).look(&["--control", &path]);
    let without = Patient::Here.look(&[]);
    for code in Code::ALL {
        running.of(code.name());
        without.of(code.name());
    }
}

/// Frames at once, more than the budget has for them.
const FRAMES: usize = 50;

pub(crate) fn a_storm() {
    let world = World::new(1).speaking(Mode::Secure);
    let (server, path) = serve(&world, &["--budget", "broadcast=10", "--no-loop-guard"]);
    let _client = world.join(0, &["--no-loop-guard"]);
    let patient = Patient::Host(&world.server);
    let arguments = ["--control", &*path];
    assert_eq!(patient.look(&arguments).verdict("budget"), "ok");
    let wire = world.client_wire(0);
    let broadcast = frame(MacAddr::broadcast(), client_mac(0), TEST_ETHERTYPE, &[0; 46]);
    wait_until("some are over the budget", || {
        for _ in 0..FRAMES {
            wire.send(&broadcast);
        }
        let drops = ask::json(&server, &["drops"]);
        let mut drops = drops["drops"].as_array().unwrap().iter();
        drops.any(|drop| drop["reason"] == "budget_broadcast" && drop["count"].as_u64() > Some(0))
    });
    let look = patient.look(&arguments);
    assert_eq!(look.verdict("budget"), "warning", "{look:?}");
    assert!(look.measured("budget").contains("broadcast from "), "{look:?}");
    // What helps: whoever it was stops.
    until(&patient, &arguments, "budget", "ok");
}

pub(crate) fn a_reload_that_was_refused() {
    let scratch = Scratch::new("reload");
    let file = scratch.path("server.toml");
    fs::write(&file, "").unwrap();
    let world = World::new(0).speaking(Mode::Secure);
    let (server, path) = serve(&world, &["--config", &file]);
    let patient = Patient::Host(&world.server);
    let arguments = ["--control", &*path, "--config", &*file];
    assert_eq!(patient.look(&arguments).verdict("reload"), "ok");
    fs::write(&file, "bridge = \"br0\"\n").unwrap();
    assert_eq!(ask::said_by(control(&server), &["reload"]).code, 1);
    let look = patient.look(&arguments);
    assert_eq!(look.verdict("reload"), "warning", "{look:?}");
    assert!(look.measured("reload").contains("cannot join bridge br0"), "{look:?}");
    patient.run("ip link add br0 type bridge");
    patient.run(&look.fix("reload"));
    assert_eq!(patient.look(&arguments).verdict("reload"), "ok");
}

pub(crate) fn a_hook_that_fails() {
    let scratch = Scratch::new("hook");
    let hook = scratch.path("hook");
    fs::write(&hook, "#!/bin/sh\necho no such table >&2\nexit 7\n").unwrap();
    fs::set_permissions(&hook, Permissions::from_mode(0o755)).unwrap();
    let world = World::new(1).speaking(Mode::Secure);
    let (_server, path) = serve(&world, &["--hook", &hook]);
    let patient = Patient::Host(&world.server);
    let arguments = ["--control", &*path];
    let client = world.join(0, &[]);
    let look = until(&patient, &arguments, "hook", "warning");
    assert!(look.measured("hook").contains(&hook), "{look:?}");
    // Another one in its place is taken at the next event, as of a client that goes.
    fs::write(scratch.path("mended"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(scratch.path("mended"), Permissions::from_mode(0o755)).unwrap();
    fs::rename(scratch.path("mended"), &hook).unwrap();
    drop(client);
    until(&patient, &arguments, "hook", "ok");
}

pub(crate) fn a_nat_that_forgets() {
    let world = World::new(1).speaking(Mode::Secure);
    let (server, path) = serve(&world, &["--keepalive", "1"]);
    let proxy = world.proxy(Impairment::default(), 1);
    let _client = world.join_at(0, "192.0.2.200", &["--keepalive", "1"]);
    let patient = Patient::Host(&world.server);
    let arguments = ["--control", &*path];
    assert_eq!(patient.look(&arguments).verdict("nat_mapping"), "ok");
    for moves in 1..=3 {
        proxy.rebind();
        ask::until(&server, "it comes from another port", |session| session.roams == Some(moves));
    }
    let look = patient.look(&arguments);
    assert_eq!(look.verdict("nat_mapping"), "warning", "{look:?}");
    assert!(look.measured("nat_mapping").contains("ports of 192.0.2.200: 3 so far"), "{look:?}");
    assert!(look.of("nat_mapping")["advice"].as_str().unwrap().contains("--keepalive"), "{look:?}");
}

pub(crate) fn another_version_that_runs() {
    let world = World::new(0).speaking(Mode::Secure);
    let (server, path) = serve(&world, &[]);
    let patient = Patient::Host(&world.server);
    assert_eq!(patient.look(&["--control", &path]).verdict("version_skew"), "ok");
    // What the tunnel would say had it been started before the program was replaced.
    let scratch = Scratch::new("version");
    let older = scratch.path("older.sock");
    let listener = UnixListener::bind(&older).unwrap();
    let there = control(&server).to_owned();
    thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), UnixStream::connect(&there).unwrap());
            let (mut requests, mut asks) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut requests, &mut asks));
            answer_as_older(far, near);
        }
    });
    let look = patient.look(&["--control", &older]);
    assert_eq!(look.verdict("version_skew"), "warning", "{look:?}");
    assert!(look.measured("version_skew").starts_with("0.1.9 runs, this is "), "{look:?}");
}

/// Passes lines on, with another version of acton in them.
fn answer_as_older(from: UnixStream, mut to: UnixStream) {
    let this = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    for line in BufReader::new(from).lines() {
        let line = line.unwrap().replace(&this, "\"version\":\"0.1.9\"");
        if writeln!(to, "{line}").is_err() {
            return;
        }
    }
}

pub(crate) fn another_version_at_the_other_end() {
    let world = World::new(1).speaking(Mode::Secure);
    let (_server, path) = serve(&world, &["--keepalive", "1"]);
    let identity = world.keys.server();
    let key = Secret::generate(&mut SystemRandom);
    let mut config = ClientConfig::new(key, identity.public_key);
    config.network_key = Some(identity.network_key.clone());
    config.keepalive = 1;
    config.version = Some(Version { major: 0, minor: 1, patch: 9 });
    let machine = Client::new(config, Box::new(SystemRandom), Duration::ZERO);
    let mut client = End::new(machine, &world.clients[0], 0);
    client.to = Some(SocketAddr::new(SERVER_V4, PORT));
    let patient = Patient::Host(&world.server);
    let mut look = patient.look(&["--control", &path]);
    wait_until("the server knows the client's version", || {
        client.turn();
        look = patient.look(&["--control", &path]);
        look.verdict("version_skew") == "warning"
    });
    assert!(look.measured("version_skew").starts_with("0.1.9 there, "), "{look:?}");
}

/// A server says nothing to who asks with the invite of another one, so that it is the one to tell.
pub(crate) fn an_invite_of_another_server() {
    let world = World::new(1).speaking(Mode::Secure);
    let (_server, path) = serve(&world, &[]);
    let patient = Patient::Host(&world.server);
    assert_eq!(patient.look(&["--control", &path]).verdict("invite"), "skipped");
    let other = World::new(0).speaking(Mode::Secure);
    let wrong = other.keys.invite("192.0.2.1");
    let state = world.keys.client_state(0);
    let client = world.run_client(0, &["client", &wrong, "--state", &state]);
    client.wait_for(said::CONNECTING);
    let look = until(&patient, &["--control", &path], "invite", "warning");
    assert!(look.measured("invite").contains("with one of another server"), "{look:?}");
}
