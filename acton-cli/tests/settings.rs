//! What the options and the environment do to the devices and the tunnel.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::process::Command;

use acton_netns::{Namespace, Veth, veth};
use pnet_base::MacAddr;
use support::{
    Acton, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, World, answers, client_mac, counter, frame, leaf,
    mac, ping_until_answered, said, shell, wait_until,
};

testbed::main! {
    the_environment_of_0_1_1_still_works,
    zero_addresses_leave_the_device_alone,
    a_bridge_brings_in_the_hosts_behind_it,
    macs_age_out,
    other_ports_and_names_work,
    an_open_server_warns_and_a_closed_one_does_not,
    counters_are_logged_on_request,
}

/// `acton` with environment variables for its settings.
fn start_with(namespace: &Namespace, arguments: &[&str], variables: &[(&str, &str)]) -> Acton {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(arguments).envs(variables.iter().copied());
    Acton::spawn(arguments[0], namespace, &mut command)
}

fn the_environment_of_0_1_1_still_works() {
    let world = World::new(1);
    // 0.1.1 read the server's network from the client's variable.
    for network in ["SERVER_TAP_NETWORK", "CLIENT_TAP_NETWORK"] {
        let server = start_with(
            &world.server,
            &["server", "--plain"],
            &[
                ("SERVER_LISTEN_ADDRESS", "192.0.2.1"),
                ("SERVER_LISTEN_PORT", "9999"),
                ("SERVER_TAP_NAME", "office"),
                ("SERVER_TAP_MAC", "02:00:00:00:00:aa"),
                (network, "10.9.0.1/24"),
                ("ACTON_LOG_LEVEL", "debug"),
                ("ACTON_LOG_STYLE", "never"),
            ],
        );
        server.wait_for(said::LISTENING);
        let client = start_with(
            &world.clients[0],
            &["client", "--plain"],
            &[
                ("CLIENT_SERVER_ADDRESS", "192.0.2.1"),
                ("CLIENT_SERVER_PORT", "9999"),
                ("CLIENT_TAP_NAME", "home"),
                ("CLIENT_TAP_MAC", "02:00:00:00:00:bb"),
                ("CLIENT_TAP_NETWORK", "10.9.0.10/24"),
                ("ACTON_LOG_LEVEL", "warn"),
                ("ACTON_LOG_STYLE", "always"),
            ],
        );
        ping_until_answered(&world.clients[0], ROOT_V4);
        let office =
            shell(&world.server, "ip -o address show dev office; ip -o link show dev office");
        assert!(office.contains("inet 10.9.0.1/24 brd 10.9.0.255"), "{office}");
        assert!(office.contains("link/ether 02:00:00:00:00:aa"), "{office}");
        let home =
            shell(&world.clients[0], "ip -o address show dev home; ip -o link show dev home");
        assert!(home.contains("inet 10.9.0.10/24 brd 10.9.0.255"), "{home}");
        assert!(home.contains("link/ether 02:00:00:00:00:bb"), "{home}");
        let log = client.stop();
        assert!(!log.contains("INFO"), "{log}");
        let log = server.stop();
        assert!(log.contains("INFO") && !log.contains('\u{1b}'), "{log}");
    }
}

fn zero_addresses_leave_the_device_alone() {
    let world = World::new(0);
    let zero = ["server", "--plain", "-m", "00:00:00:00:00:00", "-a", "0.0.0.0/0"];
    let server = Acton::start("server", &world.server, &zero);
    server.wait_for(said::LISTENING);
    let text = shell(&world.server, "ip -o -4 address show dev server");
    assert_eq!(text, "");
    let link = shell(&world.server, "ip -o link show dev server");
    assert!(!link.contains("link/ether 00:00:00:00:00:00"), "{link}");
    server.stop();
}

fn a_bridge_brings_in_the_hosts_behind_it() {
    let world = World::new(1);
    shell(&world.server, "ip link add lan type bridge mcast_snooping 0; ip link set lan up");
    let host = Namespace::new().unwrap();
    veth(&host, "eth0", &world.server, "to-host", &Veth::new()).unwrap();
    shell(&world.server, "ip link set to-host master lan");
    host.add_address("eth0", "10.9.0.100".parse().unwrap(), 24).unwrap();
    let server = Acton::start("server", &world.server, &["server", "--plain", "--bridge", "lan"]);
    server.wait_for(said::LISTENING);
    let link = shell(&world.server, "ip -o link show dev server");
    assert!(link.contains("master lan"), "{link}");
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], "10.9.0.100".parse().unwrap());
    ping_until_answered(&host, leaf(0)[0]);
    client.stop();
    server.stop();
}

fn macs_age_out() {
    let world = World::new(2);
    let _server = world.serve(&["--mac-ageing", "1"]);
    let _clients = [0, 1].map(|i| world.join(i, &[]));
    let (root, leaf, other) = (world.server_wire(), world.client_wire(0), world.client_wire(1));
    let hello = frame(SERVER_MAC, mac(0x99), TEST_ETHERTYPE, b"here");
    leaf.send(&hello);
    root.receive_until(&hello);
    let mut number = 0;
    let mut other_hears = || {
        number += 1;
        let unicast = frame(mac(0x99), SERVER_MAC, TEST_ETHERTYPE, &[number; 50]);
        let last = frame(MacAddr::broadcast(), SERVER_MAC, TEST_ETHERTYPE, &[number; 50]);
        root.send(&unicast);
        root.send(&last);
        other.receive_until(&last).contains(&unicast)
    };
    assert!(!other_hears());
    // Frames to it do not keep it: only frames from it do.
    wait_until("the MAC has aged out", other_hears);
}

fn other_ports_and_names_work() {
    let world = World::new(2);
    let server = world.serve(&["-p", "5555", "-t", "a-name-of-15-by"]);
    let by_option = world.join_at(0, "192.0.2.1", &["-p", "5555", "--tap-name", "tap%d"]);
    let by_address = world.join_at(1, "192.0.2.1:5555", &["--port", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    ping_until_answered(&world.clients[1], ROOT_V4);
    assert!(shell(&world.clients[0], "ip -o link").contains("tap0"));
    assert!(by_option.log().contains("tap0"));
    by_option.stop();
    by_address.stop();
    server.stop();
}

fn an_open_server_warns_and_a_closed_one_does_not() {
    let world = World::new(0);
    let warned = |arguments: &[&str]| {
        let log = world.serve(arguments).log();
        log.lines().filter(|line| line.contains("WARN")).count()
    };
    assert_eq!(warned(&[]), 1);
    assert_eq!(warned(&["--allow", "192.0.2.0/24"]), 0);
    assert_eq!(warned(&["--listen", "127.0.0.1"]), 0);
    assert_eq!(warned(&["--listen", "::1"]), 0);
}

fn counters_are_logged_on_request() {
    let world = World::new(1);
    let server = world.serve(&[]);
    let _client = world.join(0, &[]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let payload = frame(SERVER_MAC, client_mac(0), TEST_ETHERTYPE, &[1; 50]);
    leaf.send(&payload);
    root.receive_until(&payload);
    server.signal(nix::sys::signal::Signal::SIGUSR1);
    server.wait_for("counters:");
    assert!(counter(&server.log(), "tap.written.frames") >= 1);
    assert!(answers(&world.clients[0], ROOT_V4));
    server.stop();
}
