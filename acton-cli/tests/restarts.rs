//! What a server or a client is after it was started again: the same host, at once.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use acton_netns::{Namespace, Veth, veth};
use support::{
    Acton, Mode, ROOT_V4, ROOT_V6, World, answers, leaf, ping, ping_until_answered, said, shell,
    wait_until,
};

support::in_both_modes! {
    a_taps_mac_is_the_same_at_each_start,
    a_server_that_comes_back_is_reached_at_once,
    a_client_that_comes_back_is_reached_at_once,
    a_client_that_comes_back_keeps_its_lease: ["dnsmasq", "udhcpc"],
    a_server_that_comes_back_is_reached_at_once_behind_a_bridge,
    a_tap_that_is_there_is_left_as_it_was: ["setpriv"],
    what_the_user_did_to_a_tap_meanwhile_stays,
    a_bridged_server_that_was_killed_is_as_before,
    a_port_that_a_killed_server_made_stays_one,
    a_client_on_a_tap_that_stays_comes_back_too,
    a_bridge_keeps_its_mac_when_a_tap_joins;
    plain:
    two_tunnels_of_one_state_have_two_macs;
    secure:
    a_server_that_crashed_is_told_of
}

/// The name of all TAPs whose MAC nobody gives.
const TAP: &str = "lan";

/// MACs of a TAP before it comes back and afterwards.
const ONE: &str = "02:00:00:00:00:01";
const OTHER: &str = "02:00:00:00:00:02";

/// Starts the server, whose TAP is given no MAC.
fn start(world: &World, mode: Mode, more: &[&str]) -> Acton {
    let state = world.keys.server_state();
    let mode = if mode == Mode::Plain { &["--plain"][..] } else { &[] };
    let fixed = ["server", "--state", &state, "-t", TAP];
    Acton::start("server", &world.server, &[&fixed, mode, more].concat())
}

/// The same, and waits until it listens.
fn serve(world: &World, mode: Mode, more: &[&str]) -> Acton {
    let server = start(world, mode, more);
    server.wait_for(said::LISTENING);
    server
}

/// Starts client `i`, whose TAP is given no MAC, and waits for its session.
fn join(world: &World, mode: Mode, i: u8, more: &[&str]) -> Acton {
    let mut arguments = world.client_arguments(i, "192.0.2.1");
    if mode == Mode::Plain {
        arguments.extend(["--state".to_owned(), world.keys.client_state(i)]);
    }
    arguments.extend(["-t", TAP].iter().chain(more).map(|&argument| argument.to_owned()));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let client = Acton::start("client", &world.clients[usize::from(i)], &arguments);
    client.wait_for(said::CONNECTED);
    client
}

fn mac_of(namespace: &Namespace, interface: &str) -> String {
    let text = shell(namespace, &format!("ip -o link show {interface}"));
    text.split_once("link/ether ").unwrap().1[..17].to_owned()
}

fn a_taps_mac_is_the_same_at_each_start(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let hosts = [&world.server, &world.clients[0], &world.clients[1]];
    let macs = || hosts.map(|host| mac_of(host, TAP));
    let server = serve(&world, mode, &[]);
    let clients = [0, 1].map(|i| join(&world, mode, i, &[]));
    let first = macs();
    assert_eq!(BTreeSet::from(first.clone()).len(), 3, "{first:?}");
    assert!(first.iter().all(|mac| mac.starts_with("fe:")), "{first:?}");
    server.kill();
    clients.into_iter().for_each(Acton::kill);
    let server = serve(&world, mode, &[]);
    let _clients = [0, 1].map(|i| join(&world, mode, i, &[]));
    assert_eq!(macs(), first);
    server.stop();
    let _server = serve(&world, mode, &["-m", "02:00:00:00:00:77"]);
    assert_eq!(mac_of(&world.server, TAP), "02:00:00:00:00:77");
}

fn two_tunnels_of_one_state_have_two_macs() {
    let world = World::new(1);
    let state = world.keys.server_state();
    let arguments = ["server", "--plain", "--state", &state, "-t", TAP];
    let first = Acton::start("first", &world.server, &arguments);
    first.wait_for(said::LISTENING);
    let second = Acton::start("second", &world.clients[0], &arguments);
    second.wait_for("is in use by another acton");
    second.wait_for(said::LISTENING);
    assert_ne!(mac_of(&world.server, TAP), mac_of(&world.clients[0], TAP));
}

/// Whether a host knows of a neighbour that it is at `mac`. It asks nobody.
fn knows(host: &Namespace, neighbour: IpAddr, mac: &str) -> bool {
    shell(host, &format!("ip neighbour show {neighbour}")).contains(mac)
}

/// Demands that a neighbour whose session is up is reached from `host` at its new MAC: by IPv4 before
/// the host asks for it anew, after five seconds (arp(7)); by IPv6 once the neighbour's kernel knows that
/// nobody else has the address, without being asked.
#[track_caller]
fn reached_at_once(host: &Namespace, [v4, v6]: [IpAddr; 2]) {
    let start = Instant::now();
    while ping(host, v4, 56, Duration::from_millis(50)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(4), "{v4} is away");
    }
    println!("reached {:.1?} after the session", start.elapsed());
    wait_until("the new MAC is known", || knows(host, v6, OTHER));
    assert!(answers(host, v6), "{v6}");
}

/// No frame asks for the new MAC, so that only what the server says by itself can tell it.
fn a_server_that_comes_back_is_reached_at_once(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let client_host = &world.clients[0];
    let serve = |mac: &str| {
        let addresses = ["-a", "10.9.0.1/24", "-a", "fd09::1/64"];
        serve(&world, mode, &[&["--keepalive", "1", "-m", mac], &addresses[..]].concat())
    };
    let server = serve(ONE);
    let _client = world.join(0, &["--keepalive", "1"]);
    for address in [ROOT_V4, ROOT_V6] {
        ping_until_answered(client_host, address);
        assert!(knows(client_host, address, ONE), "{address}");
    }
    server.kill();
    let server = serve(OTHER);
    server.wait_for(" up: ");
    reached_at_once(client_host, [ROOT_V4, ROOT_V6]);
}

fn a_client_that_comes_back_is_reached_at_once(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let _server = world.serve(&[]);
    let join =
        |mac: &str| join(&world, mode, 0, &["-m", mac, "-a", "10.9.0.10/24", "-a", "fd09::a/64"]);
    let client = join(ONE);
    for address in leaf(0) {
        ping_until_answered(&world.server, address);
        assert!(knows(&world.server, address, ONE), "{address}");
    }
    client.kill();
    let _client = join(OTHER);
    reached_at_once(&world.server, leaf(0));
}

/// A DHCP server at the root knows its clients by their MACs.
fn a_client_that_comes_back_keeps_its_lease(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let (root, host) = (&world.server, &world.clients[0]);
    let _server = serve(&world, mode, &["-a", "10.9.0.1/24"]);
    let file = |name: &str| world.keys.path(name).to_str().unwrap().to_owned();
    let (leases, script) = (file("leases"), file("bound"));
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null"]);
    command.args(["--user=root", "--port=0", "--no-ping", "--dhcp-authoritative"]);
    command.args([&format!("--interface={TAP}"), "--dhcp-range=10.9.0.100,10.9.0.200,1h"]);
    command.arg(format!("--pid-file={}", file("pid")));
    command.arg(format!("--dhcp-leasefile={leases}"));
    let dhcp = Acton::spawn("dnsmasq", root, &mut command);
    dhcp.wait_for("DHCP, IP range");

    // The package's own would write the machine's resolv.conf.
    shell(
        host,
        &format!(
            "printf '#!/bin/sh\n[ \"$1\" != bound ] || ip address add $ip/$mask dev $interface\n' \
             > {script}; chmod +x {script}"
        ),
    );
    let lease = || {
        shell(host, &format!("udhcpc -f -q -n -t 30 -T 1 -i {TAP} -s {script} 2>&1"));
        let text = shell(host, &format!("ip -o -4 address show {TAP}"));
        let (_, address) = text.split_once("inet ").unwrap();
        address.split('/').next().unwrap().parse::<Ipv4Addr>().unwrap()
    };
    let client = join(&world, mode, 0, &[]);
    let (mac, address) = (mac_of(host, TAP), lease());
    ping_until_answered(root, address.into());
    client.kill();
    let _client = join(&world, mode, 0, &[]);
    assert_eq!((mac_of(host, TAP), lease()), (mac.clone(), address));
    ping_until_answered(root, address.into());
    let leases = fs::read_to_string(leases).unwrap();
    assert_eq!(leases.lines().count(), 1, "{leases}");
    assert!(leases.contains(&format!("{mac} {address} ")), "{leases}");
}

fn a_server_that_crashed_is_told_of() {
    let world = World::new(1).speaking(Mode::Secure);
    world.serve(&[]).stop();
    let server = world.serve(&[]);
    let client = world.join(0, &["--keepalive", "1"]);
    server.kill();
    let server = world.serve(&[]);
    client.wait_for("is another process than before");
    let control = client.control().to_str().unwrap();
    let status = world.keys.acton("client-0", &["status", "--json", "--control", control]);
    assert!(status.contains("\"server_restarts\":1"), "{status}");
    // Only then it has somebody to say BYE to.
    server.wait_for(" up: ");
    server.stop();
    client.wait_for(said::LOST);
    let _server = world.serve(&[]);
    client.wait_for_nth(said::CONNECTED, 2);
    // That one had said so.
    let log = client.stop();
    assert_eq!(log.matches("is another process than before").count(), 1, "{log}");
}

/// The bridge has the lowest MAC of its ports: that of the TAP while that is there.
fn a_server_that_comes_back_is_reached_at_once_behind_a_bridge(mode: Mode) {
    let world = World::new(1).speaking(mode);
    shell(
        &world.server,
        "ip link add br0 type bridge; ip link add port0 address 02:ff:00:00:00:01 type veth peer \
         name host0; ip link set port0 master br0 up; ip link set host0 up; ip address add 10.9.0.1/24 dev br0; \
         ip address add fd09::1/64 dev br0; ip link set br0 up",
    );
    let serve =
        |mac: &str| serve(&world, mode, &["--keepalive", "1", "--bridge", "br0", "-m", mac]);
    let client_host = &world.clients[0];
    let server = serve(ONE);
    let client = world.start_client(0, "192.0.2.1", &["--keepalive", "1"]);
    client.wait_for(said::CONNECTED);
    for address in [ROOT_V4, ROOT_V6] {
        ping_until_answered(client_host, address);
        assert!(knows(client_host, address, ONE), "{address}");
    }
    server.kill();
    let server = serve(OTHER);
    server.wait_for(" up: ");
    reached_at_once(client_host, [ROOT_V4, ROOT_V6]);
}

/// What `ip` says of the TAP, but for its counters and what the kernel adds by itself.
fn state_of(host: &Namespace) -> String {
    shell(
        host,
        &format!(
            "ip -o link show {TAP} | grep -o 'master [^ ]*' || true; \
             ip -o address show {TAP} scope global | grep -o 'inet6* [^ ]*' || true"
        ),
    )
}

fn a_tap_that_is_there_is_left_as_it_was(mode: Mode) {
    let world = World::new(0).speaking(mode);
    let host = &world.server;
    shell(
        host,
        &format!(
            "ip link add br0 type bridge; ip tuntap add {TAP} mode tap user 0; \
             ip link set {TAP} address 02:00:00:00:00:77; ip address add 10.8.0.1/24 dev {TAP}"
        ),
    );
    let before = state_of(host);
    let bridged = ["-a", "10.9.0.1/24", "-a", "fd09::1/64", "--bridge", "br0"];
    for _ in 0..3 {
        let server = serve(&world, mode, &bridged);
        let state = state_of(host);
        for has in ["master br0", "10.8.0.1/24", "10.9.0.1/24", "fd09::1/64"] {
            assert!(state.contains(has), "{has}: {state}");
        }
        assert_eq!(mac_of(host, TAP), "02:00:00:00:00:77");
        server.stop();
        assert_eq!(state_of(host), before);
    }

    // What one that was killed left is the next one's to take away.
    serve(&world, mode, &["-a", "10.9.0.1/24", "-a", "10.7.0.1/24"]).kill();
    let server = serve(&world, mode, &["-a", "10.9.0.1/24"]);
    let state = state_of(host);
    assert!(state.contains("10.9.0.1/24") && !state.contains("10.7.0.1/24"), "{state}");
    server.stop();
    assert_eq!(state_of(host), before);

    // What is so already needs no privilege.
    serve(&world, mode, &bridged).kill();
    let server = serve_without_privilege(&world, mode, &bridged);
    server.stop();
    let server = serve_without_privilege(&world, mode, &bridged);
    server.kill();
}

fn what_the_user_did_to_a_tap_meanwhile_stays(mode: Mode) {
    let world = World::new(0).speaking(mode);
    let host = &world.server;
    shell(
        host,
        &format!(
            "ip link add br0 type bridge; ip link add br1 type bridge; \
             ip tuntap add {TAP} mode tap; \
             sysctl -qw net.ipv4.conf.all.promote_secondaries=0 \
             net.ipv4.conf.{TAP}.promote_secondaries=0"
        ),
    );
    let server =
        serve(&world, mode, &["-a", "10.9.0.1/24", "-a", "10.8.0.1/24", "--bridge", "br0"]);
    shell(
        host,
        &format!(
            "ip address add 10.9.0.5/24 dev {TAP}; \
             ip address del 10.8.0.1/24 dev {TAP}; ip address add 10.8.0.1/24 dev {TAP}; \
             ip link set {TAP} nomaster; ip link set {TAP} master br1"
        ),
    );
    server.stop();
    let state = state_of(host);
    for has in ["master br1", "10.9.0.5/24", "10.8.0.1/24"] {
        assert!(state.contains(has), "{has}: {state}");
    }
    assert!(!state.contains("10.9.0.1/24"), "{state}");
}

/// The ports of a bridge.
fn ports(host: &Namespace, bridge: &str) -> Vec<String> {
    let text = shell(host, &format!("ip -o link show master {bridge}"));
    let name = |line: &str| line.split([' ', ':', '@']).nth(2).unwrap().to_owned();
    text.lines().map(name).collect()
}

fn a_bridged_server_that_was_killed_is_as_before(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let (host, lan) = (&world.server, Namespace::new().unwrap());
    shell(host, "ip link add br0 type bridge; ip link set br0 up");
    veth(&lan, "eth0", host, "to-lan", &Veth::new()).unwrap();
    shell(host, "ip link set to-lan master br0");
    lan.add_address("eth0", "10.9.0.100".parse().unwrap(), 24).unwrap();
    let serve = || serve(&world, mode, &["--keepalive", "1", "--bridge", "br0"]);
    let passes = || {
        ping_until_answered(&lan, leaf(0)[0]);
        ping_until_answered(&world.clients[0], "10.9.0.100".parse().unwrap());
    };
    let state = || (ports(host, "br0"), mac_of(host, "br0"), mac_of(host, TAP));
    let server = serve();
    let _client = world.join(0, &["--keepalive", "1"]);
    passes();
    let before = state();
    assert_eq!(before.0, ["to-lan", TAP]);
    server.kill();
    wait_until("the TAP went with its process", || ports(host, "br0") == ["to-lan"]);
    let server = serve();
    assert_eq!(state(), before);
    passes();
    server.stop();
    assert_eq!(ports(host, "br0"), ["to-lan"]);
}

/// Nothing tells whether it was the user.
fn a_port_that_a_killed_server_made_stays_one(mode: Mode) {
    let world = World::new(0).speaking(mode);
    let host = &world.server;
    shell(
        host,
        &format!(
            "ip link add br0 type bridge; ip link add br1 type bridge; ip tuntap add {TAP} mode tap"
        ),
    );
    let bridged = ["-a", "10.9.0.1/24", "--bridge", "br0"];
    serve(&world, mode, &bridged).kill();
    let left = state_of(host);
    assert!(left.contains("master br0") && left.contains("10.9.0.1/24"), "{left}");
    let server = serve(&world, mode, &bridged);
    assert_eq!(state_of(host), left);
    server.stop();
    assert_eq!(state_of(host).trim(), "master br0");
    // Another bridge does not get it unasked.
    let other = ["--bridge", "br1"];
    let (status, log) = start(&world, mode, &other).end();
    assert!(status.code() == Some(1) && log.contains("nomaster"), "{status}: {log}");
    assert_eq!(state_of(host).trim(), "master br0");
    shell(host, &format!("ip link set {TAP} nomaster"));
    let server = serve(&world, mode, &other);
    assert_eq!(state_of(host).trim(), "master br1");
    server.stop();
    assert_eq!(state_of(host).trim(), "");
}

fn a_client_on_a_tap_that_stays_comes_back_too(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let host = &world.clients[0];
    shell(host, &format!("ip link add br0 type bridge; ip tuntap add {TAP} mode tap"));
    let mac = mac_of(host, TAP);
    let _server = world.serve(&[]);
    let alone = ["-a", "10.9.0.10/24", "-a", "fd09::a/64"];
    join(&world, mode, 0, &alone).kill();
    for more in [&[][..], &["--bridge", "br0"]] {
        let client = join(&world, mode, 0, &[&alone, more].concat());
        assert_eq!(mac_of(host, TAP), mac);
        if more.is_empty() {
            ping_until_answered(host, ROOT_V4);
        }
        client.stop();
        assert_eq!(state_of(host).trim(), "");
    }
}

/// Two servers with copies of one key would give their bridges the same MAC.
fn a_bridge_keeps_its_mac_when_a_tap_joins(mode: Mode) {
    let world = World::new(0).speaking(mode);
    let host = &world.server;
    shell(
        host,
        "ip link add br0 type bridge; \
         ip link add port0 address fa:00:00:00:00:01 type veth peer name host0; \
         ip link set port0 master br0",
    );
    let _server = serve(&world, mode, &["--bridge", "br0"]);
    assert!(state_of(host).contains("master br0"));
    assert_eq!(mac_of(host, "br0"), "fa:00:00:00:00:01");
}

fn serve_without_privilege(world: &World, mode: Mode, more: &[&str]) -> Acton {
    let state = world.keys.server_state();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    command.args([env!("CARGO_BIN_EXE_acton"), "server", "--state", &state, "-t", TAP]);
    command.args(if mode == Mode::Plain { &["--plain"][..] } else { &[] }).args(more);
    let server = Acton::spawn("server", &world.server, &mut command);
    server.wait_for(said::LISTENING);
    server
}
