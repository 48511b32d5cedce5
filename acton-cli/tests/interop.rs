//! Plain mode against programs of others: acton 0.1.1 as published, in both roles, and socat's
//! TAP.
//!
//! What is known of them, and shapes these tests:
//! - A client of 0.1.1 says HELLO until answered and never again; from there on KEEPALIVE, every
//!   10 s, is all it says beside frames. It ends when it hears no KEEPALIVE for 30 s, and at the
//!   first ICMP error (ECONNREFUSED): it survives a restart of the server only if it sends nothing
//!   meanwhile.
//! - Its server forgets a client after 30 to 60 s without HELLO or KEEPALIVE, and answers KEEPALIVE
//!   as it answers HELLO: with the word itself.
//! - socat answers no HELLO, so our client finds no server in it; only the other way round, named
//!   by `--peer`, do the two understand each other.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use acton_netns::Namespace;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use support::{
    Acton, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, Wire, World, client_mac, counter, frame, leaf, mac,
    ping_until_answered, said, tcp_transfer,
};

testbed::main! {
    an_old_client_at_our_server: ["cargo", "flock"],
    our_client_at_an_old_server: ["cargo", "flock"],
    an_old_client_lives_through_a_restart_by_keepalive_alone: ["cargo", "flock"],
    our_client_lives_through_a_restart_of_an_old_server: ["cargo", "flock"],
    an_old_client_that_dies_is_forgotten_and_a_living_one_is_not: ["cargo", "flock"],
    old_and_new_clients_and_socat_share_a_server_apart: ["cargo", "flock", "socat"],
    socat_as_a_peer: ["socat"],
}

/// What acton 0.1.1 says, where tests wait for it.
mod old_says {
    /// By a server, once it can be reached.
    pub(crate) const SERVING: &str = "server starts!";
    /// By a server of a client.
    pub(crate) const SESSION: &str = "new socket session";
    /// By a server of a client that said BYE.
    pub(crate) const BYE: &str = "BYE_PACKET arrives";
    /// By a client, when its server has answered.
    pub(crate) const CONNECTED: &str = "connected:";
    /// By a client that ends.
    pub(crate) const ENDS: &str = "client exits";
}

/// Enough for TCP to send full-size segments in large batches.
const TRANSFER: usize = 4_000_000;

/// The source port of socat.
const SOCAT_PORT: u16 = 9000;

/// The program of the published crate, built by its script where it is absent.
fn old_acton() -> &'static str {
    static PROGRAM: OnceLock<Result<String, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/acton-0.1.1.sh");
        // Cargo puts the program under test in a folder a profile of the target folder.
        let target = Path::new(env!("CARGO_BIN_EXE_acton")).ancestors().nth(2).unwrap();
        let mut build = Command::new(script);
        let output = outside(|| build.arg("--unoptimised").arg(target).output().unwrap());
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{script}: {}\n{log}", output.status));
        }
        Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    });
    program.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// Runs `body` where the test runner was started: where the network is.
fn outside<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        // The main thread's, which no test runs on.
        setns(File::open("/proc/self/ns/net").unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        body()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

fn start_old(name: &str, namespace: &Namespace, arguments: &[&str]) -> Acton {
    let mut command = Command::new(old_acton());
    Acton::spawn(name, namespace, command.env("ACTON_LOG_STYLE", "never").args(arguments))
}

/// Starts a server of 0.1.1 and waits until it listens.
fn serve_old(world: &World) -> Acton {
    let mac = SERVER_MAC.to_string();
    let server =
        start_old("old server", &world.server, &["server", "-m", &mac, "-a", "10.9.0.1/24"]);
    server.wait_for(old_says::SERVING);
    server
}

/// Starts client `i` of 0.1.1 and waits for its session.
fn join_old(world: &World, i: u8) -> Acton {
    let (address, mac) = (format!("{}/24", leaf(i)[0]), client_mac(i).to_string());
    let arguments = ["client", "192.0.2.1", "-m", &mac, "-a", &address];
    let client = start_old(&format!("old client {i}"), &world.clients[usize::from(i)], &arguments);
    client.wait_for(old_says::CONNECTED);
    client
}

/// Starts socat in the place of client `i`, with a TAP and addresses like the others'.
fn join_socat(world: &World, i: u8) -> Acton {
    let tap = format!("TUN:{}/24,tun-type=tap,tun-name=client,iff-no-pi,iff-up", leaf(i)[0]);
    let udp = format!("UDP4:192.0.2.1:8080,bind=192.0.2.{}:{SOCAT_PORT}", 10 + i);
    let namespace = &world.clients[usize::from(i)];
    let socat =
        Acton::spawn("socat", namespace, Command::new("socat").args(["-d", "-d", &tap, &udp]));
    socat.wait_for("starting data transfer loop");
    socat
}

/// A hand on the TAP of the server, of whichever program.
fn server_wire(world: &World) -> Wire {
    Wire::open_as_it_is(&world.server, "server")
}

/// A hand on the TAP of client `i`, of whichever program.
fn client_wire(world: &World, i: u8) -> Wire {
    Wire::open_as_it_is(&world.clients[usize::from(i)], "client")
}

/// Everything that should go through a tunnel between the server and client `i`.
fn exchange(world: &World, i: u8) {
    let client = &world.clients[usize::from(i)];
    let address = leaf(i)[0];
    ping_until_answered(client, ROOT_V4);
    ping_until_answered(&world.server, address);
    tcp_transfer(client, &world.server, ROOT_V4, TRANSFER);
    tcp_transfer(&world.server, client, address, TRANSFER);
    frames_of_all_sizes(&client_wire(world, i), &server_wire(world));
}

/// Frames from the shortest to the longest arrive byte for byte, in order, both ways.
fn frames_of_all_sizes(client: &Wire, server: &Wire) {
    for length in [0, 1, 45, 46, 47, 1499, 1500] {
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let up = frame(SERVER_MAC, mac(0x99), TEST_ETHERTYPE, &payload);
        client.send(&up);
        server.receive_until(&up);
        let down = frame(mac(0x99), SERVER_MAC, TEST_ETHERTYPE, &payload);
        server.send(&down);
        client.receive_until(&down);
    }
}

fn an_old_client_at_our_server() {
    let world = World::new(1);
    let server = world.serve(&[]);
    let client = join_old(&world, 0);
    exchange(&world, 0);
    client.signal(Signal::SIGINT);
    server.wait_for(said::BYE);
    let (status, log) = client.end();
    assert_eq!(status.code(), Some(0), "{log}");
    let log = server.stop();
    let down = log.lines().find(|line| line.contains(said::BYE)).unwrap();
    // Its TAP's and the one that sent the test frames.
    assert!(down.contains("192.0.2.10:") && down.contains("2 MACs forgotten, 0 open"), "{down}");
    assert_eq!(counter(&log, "drop.unknown_control"), 0, "{log}");
}

fn our_client_at_an_old_server() {
    let world = World::new(1);
    let server = serve_old(&world);
    let client = world.join(0, &[]);
    exchange(&world, 0);
    let log = client.stop();
    assert_eq!(counter(&log, "drop.unknown_control"), 0, "{log}");
    server.wait_for(old_says::BYE);
    assert!(!server.log().contains("unknown control packet"), "{}", server.log());
}

fn an_old_client_lives_through_a_restart_by_keepalive_alone() {
    let world = World::new(1);
    let server = world.serve(&[]);
    let client = join_old(&world, 0);
    ping_until_answered(&world.clients[0], ROOT_V4);
    // Stopped, it sends nothing that would be refused and end it.
    client.signal(Signal::SIGSTOP);
    server.kill();
    let server = world.serve(&[]);
    client.signal(Signal::SIGCONT);
    server.wait_for("said KEEPALIVE");
    exchange(&world, 0);
    assert!(!client.log().contains(old_says::ENDS), "{}", client.log());
    let log = server.stop();
    assert!(!log.contains("said HELLO"), "{log}");
}

fn our_client_lives_through_a_restart_of_an_old_server() {
    let world = World::new(1);
    let server = serve_old(&world);
    let client = world.join(0, &["--keepalive", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    // A short one, which a KEEPALIVE bridges.
    server.kill();
    let server = serve_old(&world);
    server.wait_for(old_says::SESSION);
    exchange(&world, 0);
    // A long one.
    let before = |text| client.log().matches(text).count();
    let (lost, connected) = (before(said::LOST), before(said::CONNECTED));
    server.kill();
    client.wait_for_nth(said::LOST, lost + 1);
    let _server = serve_old(&world);
    client.wait_for_nth(said::CONNECTED, connected + 1);
    exchange(&world, 0);
    client.stop();
}

fn an_old_client_that_dies_is_forgotten_and_a_living_one_is_not() {
    let world = World::new(2);
    // Silence of 15 s; a client of 0.1.1 says KEEPALIVE every 10 s.
    let server = world.serve(&["--keepalive", "5"]);
    let clients = [0, 1].map(|i| join_old(&world, i));
    for i in [0, 1] {
        ping_until_answered(&world.server, leaf(i)[0]);
    }
    let [doomed, living] = clients;
    doomed.kill();
    server.wait_for(said::EXPIRED);
    ping_until_answered(&world.server, leaf(1)[0]);
    assert!(!living.log().contains(old_says::ENDS), "{}", living.log());
    let log = server.stop();
    let expired: Vec<_> = log.lines().filter(|line| line.contains(said::EXPIRED)).collect();
    assert_eq!(expired.len(), 1, "{expired:?}");
    assert!(
        expired[0].contains("192.0.2.10:") && expired[0].contains("1 MAC forgotten, 1 open"),
        "{expired:?}"
    );
}

fn old_and_new_clients_and_socat_share_a_server_apart() {
    let world = World::new(3);
    let server = world.serve(&["--peer", &format!("192.0.2.12:{SOCAT_PORT}")]);
    let (_old, _new, _socat) = (join_old(&world, 0), world.join(1, &[]), join_socat(&world, 2));
    for client in &world.clients {
        ping_until_answered(client, ROOT_V4);
    }
    let root = server_wire(&world);
    let wires = [0, 1, 2].map(|i| client_wire(&world, i));
    let macs = [0, 1, 2].map(|i| mac(0x90 + i));
    // Each is known at the server, then sends to the others and to all.
    for (from, wire) in wires.iter().enumerate() {
        let known = frame(SERVER_MAC, macs[from], TEST_ETHERTYPE, b"known");
        wire.send(&known);
        root.receive_until(&known);
    }
    for (from, wire) in wires.iter().enumerate() {
        for to in (0..3).filter(|&to| to != from) {
            wire.send(&frame(macs[to], macs[from], TEST_ETHERTYPE, b"stray"));
        }
        let to_all = frame(pnet_base::MacAddr::broadcast(), macs[from], TEST_ETHERTYPE, b"stray");
        wire.send(&to_all);
        root.receive_until(&to_all);
    }
    // One to all goes behind whatever else was on its way.
    let last = frame(pnet_base::MacAddr::broadcast(), SERVER_MAC, TEST_ETHERTYPE, b"last");
    root.send(&last);
    for wire in &wires {
        let before = wire.receive_until(&last);
        assert!(!before.iter().any(|frame| frame.ends_with(b"stray")), "{before:02x?}");
    }
    for i in [0, 1, 2] {
        exchange(&world, i);
    }
    server.stop();
}

fn socat_as_a_peer() {
    let world = World::new(1);
    let server = world.serve(&["--peer", &format!("192.0.2.10:{SOCAT_PORT}")]);
    server.wait_for("is named by --peer");
    let socat = join_socat(&world, 0);
    exchange(&world, 0);
    // A peer has its session for good: it may go and come back, and the server speak first.
    socat.kill();
    let _socat = join_socat(&world, 0);
    ping_until_answered(&world.server, leaf(0)[0]);
    exchange(&world, 0);
    let log = server.stop();
    assert!(!log.contains(said::EXPIRED), "{log}");
    assert_eq!(counter(&log, "drop.no_session"), 0, "{log}");
}
