//! LANs that the tunnel joins and something else joins too: what goes round is stopped, told, and let
//! through again. And what looks much like that, and is none.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::thread;
use std::time::{Duration, Instant};

use acton_netns::{Namespace, Veth, veth};
use nix::sys::signal::Signal;
use pnet_base::MacAddr;
use support::{
    Acton, Mode, TEST_ETHERTYPE, Wire, World, answers, counter, frame, mac, ping_until_answered,
    shell, wait_until,
};

support::in_both_modes! {
    waiting;
    two_lans_that_are_joined_twice,
    two_clients_that_share_a_lan,
    what_is_no_loop,
    ;
    secure: a_loop_that_goes_away,
}

/// By either end, once it knows of a loop.
const FOUND: &str = "a loop:";
/// By either end, once it is gone.
const GONE: &str = "is gone after";
/// A loop without a guard: frames in a second, at least.
const STORM: u64 = 1_000;

/// Gives a host a bridge, which says nothing by itself.
fn add_bridge(host: &Namespace) {
    shell(
        host,
        "ip link add br0 type bridge mcast_snooping 0
         sysctl -qw net.ipv6.conf.br0.disable_ipv6=1
         ip link set br0 up",
    );
}

/// A cable between the bridges of two hosts, at ports called `name`. It is plugged in at one end.
fn add_cable(one: &Namespace, other: &Namespace, name: &str) {
    veth(one, name, other, name, &Veth::new()).unwrap();
    for host in [one, other] {
        shell(host, &format!("sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1"));
        shell(host, &format!("ip link set {name} master br0"));
    }
    unplug(other, name);
}

fn plug_in(host: &Namespace, name: &str) {
    shell(host, &format!("ip link set {name} up"));
}

fn unplug(host: &Namespace, name: &str) {
    shell(host, &format!("ip link set {name} down"));
}

/// Frames that a port has seen, in both directions.
fn frames_of(host: &Namespace, port: &str) -> u64 {
    let both = format!("awk '$1 == \"{port}:\" {{ print $3, $11 }}' /proc/net/dev");
    shell(host, &both).split_whitespace().map(|line| line.parse::<u64>().unwrap()).sum()
}

/// Who has 10.9.0.99? From a host that is not there.
fn arp() -> Vec<u8> {
    let from = mac(0xee);
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend(from.octets());
    request.extend([10, 9, 0, 98, 0, 0, 0, 0, 0, 0, 10, 9, 0, 99]);
    frame(MacAddr::broadcast(), from, 0x0806, &request)
}

/// A world whose server and client 0 have bridges that their TAPs join, and a cable between these
/// that is not plugged in.
fn twice_joined(mode: Mode, arguments: &[&str]) -> (World, Acton, Acton) {
    let world = World::new(1).speaking(mode);
    for host in [&world.server, &world.clients[0]] {
        add_bridge(host);
    }
    add_cable(&world.server, &world.clients[0], "cable");
    let arguments = [&["--bridge", "br0"], arguments].concat();
    let server = world.serve(&arguments);
    let client = world.join(0, &arguments);
    (world, server, client)
}

/// Closes the loop, sends one ARP request, and gives the frames that the cable sees within `time` of
/// that.
fn frames_of_one_request(world: &World, time: Duration) -> u64 {
    let before = frames_of(&world.server, "cable");
    plug_in(&world.clients[0], "cable");
    for (host, ports) in
        [(&world.server, ["cable", "server"]), (&world.clients[0], ["cable", "client"])]
    {
        for port in ports {
            wait_until(&format!("{port} forwards"), || {
                let link = shell(host, &format!("bridge link show dev {port}"));
                link.contains("state forwarding") && link.contains("LOWER_UP")
            });
        }
    }
    Wire::open_as_it_is(&world.server, "br0").send(&arp());
    thread::sleep(time);
    frames_of(&world.server, "cable") - before
}

fn two_lans_that_are_joined_twice(mode: Mode) {
    // What it is about: without the guard it goes round.
    let (world, server, client) = twice_joined(mode, &["--no-loop-guard"]);
    let second = Duration::from_secs(1);
    let unguarded = frames_of_one_request(&world, second);
    assert!(unguarded > STORM, "{unguarded}");
    unplug(&world.clients[0], "cable");
    let logs = [server.stop(), client.stop()];
    assert!(!logs.iter().any(|log| log.contains(FOUND)), "{logs:?}");

    let (world, server, client) = twice_joined(mode, &[]);
    let guarded = frames_of_one_request(&world, second);
    for end in [&server, &client] {
        end.wait_for(FOUND);
    }
    let until_both_told = frames_of(&world.server, "cable");
    assert!(guarded <= 1_000, "{guarded} frames");
    // Another one does not go round at all, but each probe passes.
    Wire::open_as_it_is(&world.server, "br0").send(&arp());
    thread::sleep(second);
    let after = frames_of(&world.server, "cable") - until_both_told;
    assert!(after < 100, "{after} frames");
    println!(
        "one ARP request: {unguarded} frames in a second without the guard, {guarded} with it"
    );
    let log = server.stop();
    assert!(log.contains("joined with the server's LAN"), "{log}");
    assert_eq!(log.matches(FOUND).count(), 1, "{log}");
    assert!(counter(&log, "drop.loop_blocked") > 0, "{log}");
    let log = client.stop();
    assert_eq!(log.matches(FOUND).count(), 1, "{log}");
}

fn a_loop_that_goes_away() {
    let (world, server, client) = twice_joined(Mode::Secure, &[]);
    frames_of_one_request(&world, Duration::ZERO);
    for end in [&server, &client] {
        end.wait_for(FOUND);
    }
    // While it is there it stays closed: nobody tells that it is gone.
    thread::sleep(Duration::from_secs(70));
    for end in [&server, &client] {
        assert!(!end.log().contains(GONE), "{}", end.log());
    }
    unplug(&world.clients[0], "cable");
    let start = Instant::now();
    while ![&server, &client].iter().all(|end| end.log().contains(GONE)) {
        assert!(start.elapsed() < Duration::from_secs(300));
        thread::sleep(Duration::from_millis(100));
    }
    println!("told {:.0?} after the cable was pulled", start.elapsed());
    // What is flooded passes again.
    let (root, leaf) =
        (Wire::open_as_it_is(&world.server, "br0"), Wire::open_as_it_is(&world.clients[0], "br0"));
    let request = arp();
    root.send(&request);
    leaf.receive_until(&request);
}

fn two_clients_that_share_a_lan(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let lan = Namespace::new().unwrap();
    add_bridge(&lan);
    for (i, client) in world.clients.iter().enumerate() {
        add_bridge(client);
        let name = format!("cable{i}");
        add_cable(client, &lan, &name);
        plug_in(&lan, &name);
    }
    shell(&lan, "ip address add 10.9.0.77/24 dev br0");
    let server = world.serve(&[]);
    let clients = [0, 1].map(|i| world.join(i, &["--bridge", "br0"]));
    server.wait_for(FOUND);
    let log = server.log();
    let told = log.lines().find(|line| line.contains(FOUND)).unwrap();
    assert_eq!(told.matches("the LAN of ").count(), 2, "{told}");
    // The LAN hears each frame once, and is heard.
    let (root, leaf) = (world.server_wire(), Wire::open_as_it_is(&lan, "br0"));
    ping_until_answered(&lan, support::ROOT_V4);
    let [first, last] = [1, 2].map(|number| {
        frame(MacAddr::broadcast(), support::SERVER_MAC, TEST_ETHERTYPE, &[number; 64])
    });
    for request in [&first, &first, &first, &last] {
        root.send(request);
    }
    let heard = leaf.receive_until(&last);
    assert_eq!(heard.iter().filter(|frame| **frame == first).count(), 3);
    assert!(answers(&lan, support::ROOT_V4));
    // Who holds back nothing by itself knows of it by the server.
    wait_until("a client tells", || clients.iter().any(|client| client.log().contains(FOUND)));
    // Without its fellow, the one that was held back takes over.
    let [first, second] = clients;
    let _left = if told.contains("(session 0) is joined") {
        second.stop();
        first
    } else {
        first.stop();
        second
    };
    server.wait_for(GONE);
    ping_until_answered(&lan, support::ROOT_V4);
}

fn what_is_no_loop(mode: Mode) {
    let world = World::new(3).speaking(mode);
    // A site behind client 0, the server's own LAN, and a client behind that; all clients have one
    // switch between them and the server.
    let site = Namespace::new().unwrap();
    for host in [&site, &world.clients[0], &world.server, &world.clients[2]] {
        add_bridge(host);
    }
    add_cable(&world.clients[0], &site, "site");
    add_cable(&world.server, &world.clients[2], "own");
    plug_in(&site, "site");
    plug_in(&world.clients[2], "own");
    shell(&site, "ip address add 10.9.0.77/24 dev br0");
    shell(&world.server, "ip address add 198.51.100.1/24 dev br0");
    shell(&world.clients[2], "ip address add 198.51.100.2/24 dev br0");
    let server = world.serve(&["--bridge", "br0"]);
    shell(&world.server, "ip address add 10.9.0.200/24 dev br0; ip address flush dev server");
    let clients = [
        world.join(0, &["--bridge", "br0"]),
        world.join(1, &[]),
        world.join_at(2, "198.51.100.1", &[]),
    ];
    for host in [&site, &world.clients[1], &world.clients[2]] {
        ping_until_answered(host, "10.9.0.200".parse().unwrap());
    }
    // A thousand broadcasts from each side make everybody look.
    let (root, leaf) =
        (Wire::open_as_it_is(&world.server, "br0"), Wire::open_as_it_is(&site, "br0"));
    let (to_site, to_root) =
        (arp(), frame(MacAddr::broadcast(), mac(0xed), TEST_ETHERTYPE, &[7; 64]));
    for _ in 0..1_000 {
        root.send(&to_site);
        leaf.send(&to_root);
    }
    leaf.receive_until(&to_site);
    root.receive_until(&to_root);
    let probes = |end: &Acton| {
        end.signal(Signal::SIGUSR1);
        thread::sleep(Duration::from_millis(50));
        counter(&end.log(), "loop.probes")
    };
    wait_until("the server has looked often", || probes(&server) >= 12);
    for client in &clients {
        wait_until("a client has looked", || probes(client) >= 2);
    }
    let logs = [vec![server], clients.into()].into_iter().flatten().map(Acton::stop);
    for log in logs {
        assert!(!log.contains(FOUND), "{log}");
        assert_eq!(counter(&log, "loop.probes_back"), 0, "{log}");
        assert_eq!(counter(&log, "drop.loop_blocked"), 0, "{log}");
    }
}
