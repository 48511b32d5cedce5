//! What the Linux bridge that the server's TAP is a port of knows of clients: a MAC whose session has
//! ended is gone there within moments, and not after the bridge's ageing of 300 s, which no test waits for.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::time::{Duration, Instant};

use acton_netlink::Socket;
use acton_netns::Namespace;
use nix::sys::signal::Signal;
use pnet_base::MacAddr;
use support::{
    Acton, Mode, TEST_ETHERTYPE, Wire, World, client_mac, control, frame, in_both_modes, mac, said,
    shell, wait_until,
};

in_both_modes! {
    a_client_that_says_goodbye_takes_its_macs_along,
    a_client_that_falls_silent_takes_its_macs_along;
    secure:
    a_thousand_macs_go_at_once_and_those_of_others_stay,
    a_client_that_comes_back_at_once_stays_known,
    a_listed_mac_is_known_before_it_speaks,
    a_server_that_is_killed_takes_its_port_along,
    servers_that_are_isolated_in_one_bridge_keep_their_clients_apart,
}

/// A host of a site behind a client.
fn host(n: u16) -> MacAddr {
    let [high, low] = n.to_be_bytes();
    MacAddr::new(2, 0xac, 0x71, 0, high, low)
}

fn broadcast(from: MacAddr) -> Vec<u8> {
    frame(MacAddr::broadcast(), from, TEST_ETHERTYPE, &[7; 60])
}

/// A world whose server has a bridge `br0`.
fn world(mode: Mode, clients: u8) -> World {
    let world = World::new(clients).speaking(mode);
    shell(
        &world.server,
        "ip link add br0 type bridge mcast_snooping 0
         sysctl -qw net.ipv6.conf.br0.disable_ipv6=1 # else it speaks by itself
         ip link set br0 up",
    );
    world
}

fn serve(world: &World, more: &[&str]) -> Acton {
    world.serve(&[&["--bridge", "br0", "--no-loop-guard"], more].concat())
}

/// What the bridge has learned at the TAP: MAC and VLAN, in order.
struct Table<'a> {
    namespace: &'a Namespace,
    bridge: u32,
    tap: u32,
}

impl<'a> Table<'a> {
    fn of(world: &'a World) -> Self {
        let namespace = &world.server;
        let index = |name| namespace.run(|| Socket::open().unwrap().link(name).unwrap().index);
        let (bridge, tap) = (index("br0"), index("server"));
        Self { namespace, bridge, tap }
    }

    fn entries(&self) -> Vec<(MacAddr, Option<u16>)> {
        let all = self.namespace.run(|| Socket::open().unwrap().fdb(self.bridge).unwrap());
        let learned = all.iter().filter(|entry| entry.port == self.tap && entry.ages);
        let mut entries: Vec<_> = learned.map(|entry| (entry.mac, entry.vlan)).collect();
        entries.sort_unstable();
        entries
    }

    fn has(&self, mac: MacAddr) -> bool {
        self.entries().iter().any(|entry| entry.0 == mac)
    }
}

/// Has hosts behind client `i` speak until the bridge knows all of them.
fn speak(world: &World, table: &Table<'_>, i: u8, hosts: std::ops::Range<u16>) {
    let wire = world.client_wire(i);
    for n in hosts {
        wire.send(&broadcast(host(n)));
        wait_until("the bridge has heard a host", || table.has(host(n)));
    }
}

fn a_client_that_says_goodbye_takes_its_macs_along(mode: Mode) {
    let world = world(mode, 2);
    let _server = serve(&world, &[]);
    let (goes, _stays) = (world.join(0, &[]), world.join(1, &[]));
    let table = Table::of(&world);
    speak(&world, &table, 0, 0..20);
    speak(&world, &table, 1, 20..23);
    wait_until("both clients have spoken", || {
        [0, 1].map(client_mac).iter().all(|&it| table.has(it))
    });
    let start = Instant::now();
    goes.signal(Signal::SIGTERM);
    wait_until("its MACs have gone", || {
        !(0..20).any(|n| table.has(host(n))) && !table.has(client_mac(0))
    });
    println!("{mode:?}: gone {:.0?} after the signal", start.elapsed());
    assert!((20..23).all(|n| table.has(host(n))) && table.has(client_mac(1)));
}

fn a_client_that_falls_silent_takes_its_macs_along(mode: Mode) {
    let world = world(mode, 1);
    let server = serve(&world, &["--keepalive", "1"]);
    let client = world.join(0, &[]);
    let table = Table::of(&world);
    speak(&world, &table, 0, 0..3);
    client.kill();
    server.wait_for(said::EXPIRED);
    let start = Instant::now();
    wait_until("its MACs have gone", || table.entries().is_empty());
    println!("{mode:?}: gone {:.0?} after its session", start.elapsed());
}

fn a_thousand_macs_go_at_once_and_those_of_others_stay() {
    let world = world(Mode::Secure, 2);
    let server = serve(&world, &["--macs-per-client", "0"]);
    let (goes, _stays) = (world.join(0, &[]), world.join(1, &[]));
    let table = Table::of(&world);
    let wire = world.client_wire(0);
    speak(&world, &table, 1, 5_000..5_010);
    let all = 1_000;
    wait_until("the bridge has heard them all", || {
        let known = table.entries();
        let missing = (0..all).filter(|&n| !known.contains(&(host(n), None)));
        missing.take(100).map(|n| wire.send(&broadcast(host(n)))).count() == 0
    });
    let start = Instant::now();
    goes.stop();
    wait_until("its MACs have gone", || table.entries().len() <= 11);
    println!("{all} gone {:.0?} after the signal", start.elapsed());
    wait_until("that is told", || server.log().contains("said BYE"));
    assert!((5_000..5_010).all(|n| table.has(host(n))));
}

/// A session that takes the place of another of the same client.
fn a_client_that_comes_back_at_once_stays_known() {
    let world = world(Mode::Secure, 1);
    let _server = serve(&world, &[]);
    let table = Table::of(&world);
    for round in 0..10 {
        let client = world.join(0, &[]);
        let wire = world.client_wire(0);
        let own = client_mac(0);
        wait_until("the bridge knows it", || {
            wire.send(&broadcast(own));
            table.has(own)
        });
        if round % 2 == 0 {
            client.kill();
        } else {
            client.stop();
        };
    }
    let _client = world.join(0, &[]);
    let wire = world.client_wire(0);
    wait_until("the bridge knows it", || {
        wire.send(&broadcast(client_mac(0)));
        table.has(client_mac(0))
    });
    // What was of earlier sessions is dealt with by now: the server forgets it a second time, later.
    std::thread::sleep(Duration::from_secs(3));
    assert!(table.has(client_mac(0)));
}

fn a_listed_mac_is_known_before_it_speaks() {
    let world = world(Mode::Secure, 1);
    let invite = world.keys.named_invite("printer", &[]);
    let list = world.keys.path("server").join("clients");
    let text = fs::read_to_string(&list).unwrap();
    let silent = mac(0x77);
    fs::write(&list, text.replace(" printer", &format!(" printer mac={silent}"))).unwrap();
    let server = serve(&world, &[]);
    let table = Table::of(&world);
    let state = world.keys.client_state(0);
    let client = world.run_client(0, &["client", &invite, "--state", &state]);
    server.wait_for(" up: ");
    wait_until("the bridge knows it", || table.has(silent));
    client.stop();
    wait_until("the bridge knows it no longer", || !table.has(silent));
}

fn a_server_that_is_killed_takes_its_port_along() {
    let world = world(Mode::Secure, 1);
    let server = serve(&world, &[]);
    let _client = world.join(0, &[]);
    let table = Table::of(&world);
    speak(&world, &table, 0, 0..3);
    let start = Instant::now();
    server.kill();
    wait_until("its MACs have gone", || table.entries().is_empty());
    println!("gone {:.0?} after the end", start.elapsed());
}

/// One of them on a TAP that stays, in the bridge before it came.
fn servers_that_are_isolated_in_one_bridge_keep_their_clients_apart() {
    let world = world(Mode::Plain, 2);
    shell(
        &world.server,
        "ip tuntap add server mode tap multi_queue vnet_hdr; ip link set server master br0",
    );
    let isolated = |name: &str| {
        shell(&world.server, &format!("bridge -d link show dev {name}")).contains("isolated on")
    };
    let options = ["--bridge-isolated", "--bridge", "br0", "--no-loop-guard"];
    let first = world.serve(&options);
    let more = ["server", "--plain", "-t", "other", "--port", "8081"];
    let second = Acton::start("second", &world.server, &[&more[..], &options].concat());
    second.wait_for(said::LISTENING);
    assert!(isolated("server") && isolated("other"));
    let status = shell(
        &world.server,
        &format!("{} status --control {}", env!("CARGO_BIN_EXE_acton"), control(&first).display()),
    );
    assert!(status.contains(", in br0, isolated"), "{status}");
    let _one = world.join(0, &[]);
    let other = world.start_client(1, "192.0.2.1", &["--port", "8081"]);
    other.wait_for(said::CONNECTED);
    let (left, right, root) =
        (world.client_wire(0), world.client_wire(1), Wire::open(&world.server, "br0"));
    for (from, to, number) in [(&left, &right, 0), (&right, &left, 1)] {
        for destination in [MacAddr::broadcast(), client_mac(1 - number)] {
            from.send(&frame(destination, client_mac(number), TEST_ETHERTYPE, &[5; 60]));
        }
        // The bridge itself hears all of it, and last this one.
        let last = frame(MacAddr::broadcast(), client_mac(number), TEST_ETHERTYPE, &[6; 60]);
        from.send(&last);
        root.receive_until(&last);
        // What the bridge says comes after what it might have passed on.
        let mark = frame(MacAddr::broadcast(), mac(0x60 + number), TEST_ETHERTYPE, &[7; 60]);
        root.send(&mark);
        let before = to.receive_until(&mark);
        assert!(!before.iter().any(|it| it[6..12] == client_mac(number).octets()), "{before:02x?}");
    }
    first.stop();
    assert!(!isolated("server"), "it is as it was");
    drop(second);
}
