//! Tunnels that are broken, each in its own way: what `acton status` and `acton doctor` say on a terminal
//! names the cause, without a look at anything else.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::process::Command;
use std::thread;
use std::time::Instant;

use acton_engine::State;
use acton_netns::Namespace;
use support::ask::{said_by, until};
use support::{Acton, HANG, Mode, World, client_off_by, control, pause_after, shell, wait_until};

testbed::main! {
    waiting;
    an_invite_of_another_server,
    a_server_that_is_not_there,
    a_port_that_is_another,
    a_firewall_before_the_server: ["nft"],
    a_path_that_swallows_what_is_large,
    a_tap_that_is_down,
    a_tap_that_left_its_bridge,
    a_name_that_nobody_knows,
    a_client_that_was_revoked,
    one_key_on_two_hosts,
    a_clock_that_went_back: ["faketime"],
    a_host_without_an_address,
    taps_of_two_sizes,
}

fn world(clients: u8) -> World {
    World::new(clients).speaking(Mode::Secure)
}

/// Words as they come, without the breaks of lines that a terminal needs.
fn unbroken(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What `acton status` says of this end.
fn status(end: &Acton) -> String {
    unbroken(&said_by(control(end), &["status"]).out)
}

/// What `acton doctor` says of this end, on its host, with the keys in `state`.
fn doctor(host: &Namespace, end: &Acton, state: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.arg("doctor").env("ACTON_CONTROL", control(end)).env("ACTON_CONFIG", "none");
    let output = host.output(command.env("ACTON_STATE", state)).unwrap();
    unbroken(&String::from_utf8_lossy(&output.stdout))
}

/// The end of a client that stored an invite, as by `acton join`.
struct Joined<'w> {
    world: &'w World,
    end: Acton,
    state: String,
}

impl<'w> Joined<'w> {
    /// Starts client 0.
    fn start(world: &'w World, invite: &str) -> Self {
        let state = world.keys.client_state(0);
        world.keys.acton("client-0", &["join", invite]);
        let end = world.run_client(0, &["client", "--state", &state, "--keepalive", "1"]);
        Self { world, end, state }
    }

    fn status(&self) -> String {
        status(&self.end)
    }

    fn doctor(&self) -> String {
        doctor(&self.world.clients[0], &self.end, &self.state)
    }
}

fn doctor_of_server(world: &World, server: &Acton) -> String {
    doctor(&world.server, server, &world.keys.server_state())
}

/// Looks until it says so.
#[track_caller]
fn until_it_says(cause: &str, look: impl Fn() -> String) {
    let mut text = String::new();
    let start = Instant::now();
    while !text.contains(cause) {
        assert!(start.elapsed() < HANG, "nobody says '{cause}' but {text}");
        thread::sleep(pause_after(start.elapsed()));
        text = look();
    }
}

fn an_invite_of_another_server() {
    let world = world(1);
    let server = world.serve(&[]);
    let wrong = World::new(0).keys.invite("192.0.2.1");
    let client = Joined::start(&world, &wrong);
    // The client hears nothing, as of a server that is not there; the server knows.
    until_it_says("the server has other keys", || client.doctor());
    until_it_says("requests for a session were made with one of another server", || {
        doctor_of_server(&world, &server)
    });
}

fn a_server_that_is_not_there() {
    let world = world(1);
    let client = Joined::start(&world, &world.keys.invite("192.0.2.1"));
    until_it_says("ICMP from 192.0.2.1 says that nobody listens at that port", || client.doctor());
    until_it_says("handshaking - 192.0.2.1:8080 no answer yet", || client.status());
}

fn a_port_that_is_another() {
    let world = world(1);
    let _server = world.serve(&["--port", "8081"]);
    let client = Joined::start(&world, &world.keys.invite("192.0.2.1:8082"));
    let cause = "192.0.2.1:8082: ICMP from 192.0.2.1 says that nobody listens at that port";
    until_it_says(cause, || client.doctor());
}

fn a_firewall_before_the_server() {
    let world = world(1);
    let server = world.serve(&[]);
    shell(
        &world.server,
        "nft 'add table inet f; add chain inet f in { type filter hook input priority 0; }'
         nft add rule inet f in udp dport 8080 drop",
    );
    let client = Joined::start(&world, &world.keys.invite("192.0.2.1"));
    until_it_says("silence, asked", || client.doctor());
    until_it_says("a rule of `inet f in` drops UDP port 8080", || {
        doctor_of_server(&world, &server)
    });
    // At the client's own host too.
    shell(&world.server, "nft delete table inet f");
    shell(
        &world.clients[0],
        "nft 'add table inet f; add chain inet f out { type filter hook output priority 0; }'
         nft add rule inet f out udp dport 8080 drop",
    );
    until_it_says("a rule of `inet f out` drops UDP port 8080", || client.doctor());
}

/// A bridge in the middle says nothing to who sends what is too large for it.
fn a_path_that_swallows_what_is_large() {
    let world = world(1);
    world.switch.run(|| testbed::sh("ip link set port1 mtu 1300"));
    let server = world.serve(&[]);
    let client = Joined::start(&world, &world.keys.invite("192.0.2.1"));
    let cause = "bytes get through wanted 1472, as the link here carries";
    until_it_says(cause, || client.doctor());
    until_it_says(cause, || doctor_of_server(&world, &server));
}

fn a_tap_that_is_down() {
    let world = world(1);
    let server = world.serve(&[]);
    shell(&world.server, "ip link set server down");
    until_it_says("TAP server is down: ip link set server up", || status(&server));
    until_it_says("server: down, or without a carrier", || doctor_of_server(&world, &server));
}

fn a_tap_that_left_its_bridge() {
    let world = world(0);
    shell(&world.server, "ip link add br0 type bridge; ip link set br0 up");
    let server = world.serve(&["--bridge", "br0"]);
    assert!(status(&server).contains(" in br0"));
    shell(&world.server, "ip link set server nomaster");
    let cause = "TAP server was taken out of bridge br0: ip link set server master br0";
    until_it_says(cause, || status(&server));
    until_it_says("server: was taken out of bridge br0", || doctor_of_server(&world, &server));
    shell(&world.server, "ip link set server master br0");
    wait_until("it is back", || !status(&server).contains("was taken out"));
}

fn a_name_that_nobody_knows() {
    let world = world(1);
    let client = Joined::start(&world, &world.keys.invite("tunnel.invalid"));
    until_it_says("tunnel.invalid has no address", || client.doctor());
    until_it_says("tunnel.invalid", || client.status());
}

fn a_client_that_was_revoked() {
    let world = world(1);
    world.keys.server();
    let invite = world.keys.named_invite("berlin", &[]);
    let server = world.serve(&["--keepalive", "1"]);
    let client = Joined::start(&world, &invite);
    until(&client.end, "there is a session", |session| session.state == State::Up);
    world.keys.acton("server", &["revoke", "berlin"]);
    until_it_says("not allowed any more", || client.status());
    until_it_says("closed: removed", || client.doctor());
    until_it_says("not allowed any more", || status(&server));
}

fn one_key_on_two_hosts() {
    let world = world(2);
    let server = world.serve(&["--keepalive", "1"]);
    let client = Joined::start(&world, &world.keys.invite("192.0.2.1"));
    until(&client.end, "there is a session", |session| session.state == State::Up);
    // The state directory of the first, copied with its machine.
    let second = world.run_client(1, &["client", "--state", &client.state, "--keepalive", "1"]);
    until(&second, "there is a session", |session| session.state == State::Up);
    until_it_says("another client has its key", || client.status());
    until_it_says("another machine took the session", || client.doctor());
    drop(server);
}

fn a_clock_that_went_back() {
    let world = world(1);
    let server = world.serve(&[]);
    let _client = client_off_by(&world, 0, "-1h");
    until_it_says("3600 s ahead of that end's", || doctor_of_server(&world, &server));
}

fn a_host_without_an_address() {
    let world = world(1);
    let _server = world.serve(&[]);
    let client = Joined::start(&world, &world.keys.invite("192.0.2.1"));
    until(&client.end, "there is a session", |session| session.state == State::Up);
    shell(&world.clients[0], "ip address flush dev eth0");
    until_it_says("give this host an address in that network", || client.doctor());
}

fn taps_of_two_sizes() {
    let world = world(1);
    let server = world.serve(&["--mtu", "1400"]);
    let client = Joined::start(&world, &world.keys.invite("192.0.2.1"));
    until_it_says("MTU 1400 there, 1500 here", || client.doctor());
    until_it_says("MTU 1500 there, 1400 here", || doctor_of_server(&world, &server));
}
