//! Whose a MAC is: what one admitted client can do to the root's LAN and to other clients, and what
//! those keep. The server's TAP is a port of a Linux bridge that does not tell VLANs apart:
//!
//! ```text
//!   host ns:    eth0 10.9.0.100 ──┐
//!   gateway ns: eth0 10.9.0.254 ──┼── server ns: br0 10.9.0.1 ── TAP "server" ══ clients
//! ```
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::{Namespace, Veth, veth};
use nix::sys::signal::Signal;
use pnet_base::MacAddr;
use support::{
    Acton, Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, Wire, World, client_mac, counter, frame,
    leaf, mac, ping, ping_until_answered, said, shell, wait_until,
};

testbed::main! {
    a_client_cannot_take_the_gateway_under_a_vlan_tag,
    a_client_cannot_take_the_gateway_that_the_tap_never_hears,
    a_gateway_that_falls_silent_stays_protected,
    a_client_cannot_take_the_address_of_the_bridge,
    a_silent_client_keeps_its_mac,
    a_mac_that_is_named_is_nobodys,
    a_vrrp_address_fails_over_at_once_and_for_ever,
    a_vrrp_address_of_listed_clients_fails_over_at_once,
    a_mac_that_moves_after_a_hold_is_told_of_until_it_freezes,
    a_site_of_many_hosts_is_heard_and_one_too_many_is_named,
    a_strict_client_has_its_listed_macs_alone,
    a_lan_of_100_000_hosts_is_known_and_hurts_nobody,
}

const HOST: MacAddr = mac(0x64);
const GATEWAY: MacAddr = mac(0xfe);
const HOST_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 100));
const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 254));
/// Pings in a row of which so many have to be answered: what victims keep at least.
const PINGS: usize = 200;
const KEPT: usize = 190;

/// A server on a bridged LAN, with a host and a gateway on it.
struct Site {
    world: World,
    host: Namespace,
    gateway: Namespace,
    server: Acton,
}

impl Site {
    fn new(clients: u8, options: &[&str]) -> Self {
        Self::with(clients, options, |_| {})
    }

    /// The same where something is done to the server's host before the server starts.
    fn with(clients: u8, options: &[&str], prepare: impl FnOnce(&Namespace)) -> Self {
        let world = World::new(clients).speaking(Mode::Secure);
        shell(
            &world.server,
            &format!(
                "ip link add br0 address {SERVER_MAC} type bridge mcast_snooping 0
                 sysctl -qw net.ipv6.conf.br0.disable_ipv6=1 # else it speaks by itself
                 ip link set br0 up; ip addr add 10.9.0.1/24 dev br0"
            ),
        );
        let on_lan = |name: &str, own: MacAddr, ip: IpAddr| {
            let host = Namespace::new().unwrap();
            let macs = Veth::new().macs(own, mac(own.5 ^ 0x80));
            veth(&host, "eth0", &world.server, name, &macs).unwrap();
            shell(&world.server, &format!("ip link set {name} master br0"));
            host.add_address("eth0", ip, 24).unwrap();
            host
        };
        let host = on_lan("to-host", HOST, HOST_V4);
        let gateway = on_lan("to-gateway", GATEWAY, GATEWAY_V4);
        world.server.add_default_route(GATEWAY_V4).unwrap();
        // The server finds a LAN that lives.
        for address in [HOST_V4, GATEWAY_V4] {
            ping_until_answered(&world.server, address);
        }
        ping_until_answered(&host, GATEWAY_V4);
        prepare(&world.server);
        let state = world.keys.server_state();
        let fixed = ["server", "-t", "server", "--bridge", "br0", "--state", &state];
        let server = Acton::start("server", &world.server, &[&fixed, options].concat());
        server.wait_for(said::LISTENING);
        Self { world, host, gateway, server }
    }

    /// Has client 0 send the forged frames and, meanwhile, `victims` ping; how many of [`PINGS`] each
    /// got answered, and how many frames for the forged addresses reached the client.
    fn attack(&self, attack: &Attack<'_>, victims: &[(&Namespace, IpAddr)]) -> (Vec<usize>, usize) {
        let (wire, end) = (self.world.client_wire(0), AtomicBool::new(false));
        let sources: Vec<_> = attack.forged.iter().map(|frame| frame[6..12].to_vec()).collect();
        thread::scope(|scope| {
            let attacker = scope.spawn(|| {
                let mut stolen = 0;
                while !end.load(Ordering::Relaxed) {
                    attack.forged.iter().for_each(|frame| wire.send(frame));
                    let next = Instant::now() + attack.every;
                    while let Some(left) = next.checked_duration_since(Instant::now())
                        && let Some(got) = wire.receive(left)
                    {
                        stolen += usize::from(sources.iter().any(|mac| *mac == got[..6]));
                    }
                }
                stolen
            });
            thread::sleep(attack.before);
            let pinging: Vec<_> = victims
                .iter()
                .map(|&(from, to)| scope.spawn(move || answered(from, to, attack.pause)))
                .collect();
            let kept = pinging.into_iter().map(|victim| victim.join().unwrap()).collect();
            end.store(true, Ordering::Relaxed);
            (kept, attacker.join().unwrap())
        })
    }
}

/// What an attacker sends, and when its victims ping.
struct Attack<'a> {
    forged: &'a [Vec<u8>],
    every: Duration,
    /// How long it is alone.
    before: Duration,
    /// Between two pings.
    pause: Duration,
}

/// How many of [`PINGS`] are answered.
fn answered(from: &Namespace, to: IpAddr, pause: Duration) -> usize {
    let pings = 0..PINGS;
    let answered = pings.filter(|_| {
        let answer = ping(from, to, 56, Duration::from_millis(300));
        thread::sleep(pause);
        answer.is_ok()
    });
    answered.count()
}

fn broadcast(from: MacAddr) -> Vec<u8> {
    frame(MacAddr::broadcast(), from, TEST_ETHERTYPE, &[7; 60])
}

fn tagged(vlan: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, 0, vlan]);
    frame
}

#[track_caller]
fn nothing_is_lost(what: &str, (kept, stolen): (Vec<usize>, usize)) {
    println!("{what}: {kept:?} of {PINGS} pings answered, {stolen} frames at the attacker");
    assert!(kept.iter().all(|&kept| kept >= KEPT), "{what}: {kept:?} of {PINGS} pings");
    assert_eq!(stolen, 0, "{what}: frames for the address at the attacker");
}

fn a_client_cannot_take_the_gateway_under_a_vlan_tag() {
    let site = Site::new(1, &[]);
    let _client = site.world.join(0, &[]);
    let forged = tagged(5, broadcast(GATEWAY));
    let attack = Attack {
        forged: &[forged],
        every: Duration::from_micros(1_200),
        before: Duration::ZERO,
        pause: Duration::from_millis(2),
    };
    let victims = [(&site.host, GATEWAY_V4)];
    nothing_is_lost("the gateway under a tag", site.attack(&attack, &victims));
    let log = site.server.stop();
    assert!(counter(&log, "drop.source_protected") > 100, "{log}");
}

fn a_client_cannot_take_the_gateway_that_the_tap_never_hears() {
    let site = Site::new(1, &[]);
    let _client = site.world.join(0, &[]);
    // Also the host, which is no gateway: the kernel's bridge knows it.
    let forged = [broadcast(GATEWAY), broadcast(HOST), tagged(5, broadcast(HOST))];
    let attack = Attack {
        forged: &forged,
        every: Duration::from_millis(500),
        before: Duration::ZERO,
        pause: Duration::from_millis(40),
    };
    let victims = [(&site.host, GATEWAY_V4), (&site.world.server, HOST_V4)];
    nothing_is_lost("a LAN that bypasses the TAP", site.attack(&attack, &victims));
    let log = site.server.stop();
    assert!(counter(&log, "drop.source_protected") > 5, "{log}");
    assert!(counter(&log, "drop.source_at_root") > 10, "{log}");
}

/// The kernel's bridge forgets the gateway, the server does not.
fn a_gateway_that_falls_silent_stays_protected() {
    let site = Site::new(1, &[]);
    let _client = site.world.join(0, &[]);
    let known = |mac: MacAddr| {
        shell(&site.world.server, "bridge fdb show br br0")
            .contains(&format!("{mac} dev to-gateway"))
    };
    assert!(known(GATEWAY));
    let forget = format!(
        "bridge fdb del {GATEWAY} dev to-gateway master; bridge fdb del {HOST} dev to-host master"
    );
    shell(&site.world.server, &forget);
    let (root, wire) = (site.world.server_wire(), site.world.client_wire(0));
    shell(&site.gateway, "ip link set eth0 arp off");
    // The host is anybody's now, once that is heard of; the gateway never.
    let again = format!("bridge fdb del {HOST} dev to-host master 2>/dev/null || true");
    wait_until("the host is forgotten", || {
        // Its kernel looks for routers still, and is so known again.
        shell(&site.world.server, &again);
        wire.send(&broadcast(HOST));
        root.receive(Duration::from_millis(50)).is_some_and(|frame| frame == broadcast(HOST))
    });
    wire.send(&broadcast(GATEWAY));
    wire.send(&broadcast(client_mac(0)));
    let before = root.receive_until(&broadcast(client_mac(0)));
    assert!(!before.contains(&broadcast(GATEWAY)));
    // With its first word the host has its own again.
    shell(&site.gateway, "ip link set eth0 arp on");
    ping_until_answered(&site.host, GATEWAY_V4);
    wait_until("the host is known again", || {
        wire.send(&broadcast(HOST));
        wire.send(&broadcast(client_mac(0)));
        !root.receive_until(&broadcast(client_mac(0))).contains(&broadcast(HOST))
    });
}

fn a_client_cannot_take_the_address_of_the_bridge() {
    let site = Site::new(2, &[]);
    let _clients = [0, 1].map(|i| site.world.join(i, &[]));
    ping_until_answered(&site.world.clients[1], ROOT_V4);
    let victims = [(&site.host, ROOT_V4), (&site.world.clients[1], ROOT_V4)];
    // Others know its address, and once neighbours have asked again after their usual 5 s it says
    // nothing by the TAP.
    let mut attack = Attack {
        forged: &[broadcast(SERVER_MAC), tagged(9, broadcast(SERVER_MAC))],
        every: Duration::from_millis(400),
        before: Duration::from_secs(12),
        pause: Duration::from_millis(20),
    };
    nothing_is_lost("the bridge's own", site.attack(&attack, &victims));
    // Another address of the bridge is protected as soon as it has it, and the old one is not.
    let new = mac(0xee);
    shell(&site.world.server, &format!("ip link set br0 address {new}"));
    wait_until("the new address is told", || site.server.log().contains(&new.to_string()));
    for (from, to) in victims {
        // Those who knew the old one ask again.
        shell(from, "ip neigh flush all");
        ping_until_answered(from, to);
    }
    let forged = [broadcast(new)];
    (attack.forged, attack.before) = (&forged, Duration::ZERO);
    nothing_is_lost("its new one", site.attack(&attack, &victims));
}

fn a_silent_client_keeps_its_mac() {
    let site = Site::new(2, &[]);
    let _clients = [0, 1].map(|i| site.world.join(i, &[]));
    let (victim, root) = (&site.world.clients[1], &site.world.server);
    ping_until_answered(root, leaf(1)[0]);
    // It says nothing more.
    shell(victim, "ip link set client arp off; sysctl -qw net.ipv6.conf.client.disable_ipv6=1");
    shell(root, &format!("ip neigh replace {} lladdr {} dev br0", leaf(1)[0], client_mac(1)));
    let (root_wire, wire, own) =
        (site.world.server_wire(), site.world.client_wire(0), site.world.client_wire(1));
    let forged = [broadcast(client_mac(1)), broadcast(client_mac(0))];
    for _ in 0..4 {
        thread::sleep(Duration::from_secs(4));
        forged.iter().for_each(|frame| wire.send(frame));
        let before = root_wire.receive_until(&forged[1]);
        assert!(!before.contains(&forged[0]), "stolen from a silent client");
        let down = frame(client_mac(1), SERVER_MAC, TEST_ETHERTYPE, &[9; 60]);
        root_wire.send(&down);
        own.receive_until(&down);
    }
    shell(victim, "ip link set client arp on");
    ping_until_answered(victim, ROOT_V4);
    let log = site.server.stop();
    assert_eq!(counter(&log, "drop.source_held"), 4, "{log}");
    let lines = log.lines().filter(|line| line.contains(" used behind "));
    let lines: Vec<_> = lines.filter(|line| line.contains("--mac-hold")).collect();
    assert_eq!(lines.len(), 1, "told once a minute, with what serves: {log}");
}

fn a_mac_that_is_named_is_nobodys() {
    let named = mac(0x77);
    let site = Site::new(1, &["--protect", &named.to_string()]);
    let _client = site.world.join(0, &[]);
    let (root, wire) = (site.world.server_wire(), site.world.client_wire(0));
    for forged in [broadcast(named), tagged(5, broadcast(named))] {
        wire.send(&forged);
        wire.send(&broadcast(client_mac(0)));
        assert!(!root.receive_until(&broadcast(client_mac(0))).contains(&forged));
    }
    let log = site.server.stop();
    assert_eq!(counter(&log, "drop.source_protected"), 2, "{log}");
}

const VRRP: MacAddr = MacAddr(0, 0, 0x5e, 0, 1, 7);

fn a_vrrp_address_fails_over_at_once_and_for_ever() {
    let site = Site::new(2, &["--shared-mac", "00:00:5e:00:01:00/40"]);
    let _clients = [0, 1].map(|i| site.world.join(i, &[]));
    let wires = [0, 1].map(|i| site.world.client_wire(i));
    let root = site.world.server_wire();
    fail_over_20_times(&root, &wires);
    // Never away from the LAN.
    let at_root = MacAddr(0, 0, 0x5e, 0, 1, 8);
    let theirs = broadcast(at_root);
    Wire::open(&site.host, "eth0").send(&theirs);
    wires[0].receive_until(&theirs);
    let forged = frame(MacAddr::broadcast(), at_root, TEST_ETHERTYPE, &[1; 60]);
    wires[0].send(&forged);
    wires[0].send(&broadcast(client_mac(0)));
    assert!(!root.receive_until(&broadcast(client_mac(0))).contains(&forged));
    let log = site.server.stop();
    assert_eq!(
        (counter(&log, "bridge.moved"), counter(&log, "drop.source_frozen")),
        (20, 0),
        "{log}"
    );
}

/// Two routers are master of [`VRRP`] in turn: each announces it, and then has what is for it.
fn fail_over_20_times(root: &Wire, routers: &[Wire; 2]) {
    let mut worst = Duration::ZERO;
    for turn in 0..21_u8 {
        let master = &routers[usize::from(turn % 2)];
        let start = Instant::now();
        let announcement = frame(MacAddr::broadcast(), VRRP, TEST_ETHERTYPE, &[turn; 60]);
        master.send(&announcement);
        root.receive_until(&announcement);
        let down = frame(VRRP, SERVER_MAC, TEST_ETHERTYPE, &[turn; 60]);
        root.send(&down);
        master.receive_until(&down);
        if turn > 0 {
            worst = worst.max(start.elapsed());
        }
    }
    println!("20 fail-overs, the slowest in {worst:.1?}");
    assert!(worst < Duration::from_secs(5), "{worst:?}");
}

/// A world of clients that are listed by these names, and their invites.
fn listed<const N: usize>(names: [&str; N]) -> (World, [String; N]) {
    let world = World::new(N as u8).speaking(Mode::Secure);
    let invites = names.map(|name| world.keys.named_invite(name, &[]));
    (world, invites)
}

/// Starts client `i` with its invite, and waits for its session.
fn join_listed(world: &World, i: u8, invites: &[String]) -> Acton {
    let (invite, state) = (&invites[usize::from(i)], world.keys.client_state(i));
    let client = world.run_client(i, &["client", invite, "--state", &state]);
    client.wait_for(said::CONNECTED);
    client
}

fn a_mac_that_moves_after_a_hold_is_told_of_until_it_freezes() {
    const ROAMS: MacAddr = mac(0x66);
    let (world, invites) = listed(["left", "right"]);
    let server = world.serve(&["--mac-hold", "0.5", "--no-loop-guard"]);
    let _clients = [0, 1].map(|i| join_listed(&world, i, &invites));
    let (root, wires) = (world.server_wire(), [0, 1].map(|i| world.client_wire(i)));
    let has_it = |client: u8| {
        let own = broadcast(client_mac(client));
        wires[usize::from(client)].send(&broadcast(ROAMS));
        wires[usize::from(client)].send(&own);
        root.receive_until(&own).contains(&broadcast(ROAMS))
    };
    assert!(has_it(0) && !has_it(1));
    // The fifth move is the last.
    for turn in 1..=5 {
        wait_until("it moves after the hold", || has_it(turn % 2));
    }
    assert!(!has_it(0), "it is frozen");
    let log = server.stop();
    for [what, left, right, advice] in [
        ["used behind right", "stays behind left", "behind right", "--mac-hold"],
        ["moved: it was", "behind left", "behind right", ""],
        ["moves to and fro", "", "behind right", "--shared-mac"],
    ] {
        let line =
            log.lines().find(|line| line.contains(what) && line.contains(&ROAMS.to_string()));
        let line = line.unwrap_or_else(|| panic!("{what}: {log}"));
        assert!([left, right, advice].iter().all(|text| line.contains(text)), "{line}");
    }
    assert_eq!(counter(&log, "bridge.moved"), 5, "{log}");
    assert!(counter(&log, "drop.source_held") >= 1, "{log}");
    assert_eq!(counter(&log, "drop.source_frozen"), 1, "{log}");
}

fn a_vrrp_address_of_listed_clients_fails_over_at_once() {
    let (world, invites) = listed(["left", "right", "other"]);
    let list = world.keys.path("server").join("clients");
    let unshared = fs::read_to_string(&list).unwrap();
    let of_routers = |line: &str| line.contains(" left") || line.contains(" right");
    let shared: String = unshared
        .lines()
        .map(|line| match of_routers(line) {
            true => format!("{line} shared-mac=00:00:5e:00:01:00/40\n"),
            false => format!("{line}\n"),
        })
        .collect();
    fs::write(&list, &unshared).unwrap();
    let server = world.serve(&["--no-loop-guard"]);
    let _clients = [0, 1, 2].map(|i| join_listed(&world, i, &invites));
    let root = world.server_wire();
    let routers = [0, 1].map(|i| world.client_wire(i));
    let ([left, right], other) = (&routers, world.client_wire(2));
    let has_it = |wire: &Wire, client: u8, mark: u8| {
        let announcement = frame(MacAddr::broadcast(), VRRP, TEST_ETHERTYPE, &[mark; 60]);
        let own = frame(MacAddr::broadcast(), client_mac(client), TEST_ETHERTYPE, &[mark; 60]);
        wire.send(&announcement);
        wire.send(&own);
        root.receive_until(&own).contains(&announcement)
    };
    // So far the first to use it keeps it.
    assert!(has_it(&other, 2, 0x40) && !has_it(left, 0, 0x41));
    // The list is followed while it goes on.
    fs::write(&list, &shared).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("the routers share it", || has_it(left, 0, 0x42));
    fail_over_20_times(&root, &routers);
    assert!(!has_it(&other, 2, 0x43), "it is not shared with all");
    fs::write(&list, &unshared).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("they share it no more", || !(has_it(left, 0, 0x44) && has_it(right, 1, 0x45)));
    let log = server.stop();
    assert_eq!(counter(&log, "drop.source_frozen"), 0, "{log}");
}

fn a_site_of_many_hosts_is_heard_and_one_too_many_is_named() {
    let world = World::new(1).speaking(Mode::Secure);
    let invite = world.keys.named_invite("site", &[]);
    let server = world.serve(&[]);
    let state = world.keys.client_state(0);
    let _client = world.run_client(0, &["client", &invite, "--state", &state]);
    server.wait_for(" up: ");
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    let host = |n: u16| {
        let [high, low] = n.to_be_bytes();
        MacAddr::new(2, 0xac, 0x71, 0, high, low)
    };
    let own = broadcast(client_mac(0));
    wire.send(&own);
    root.receive_until(&own);
    for n in 1..256 {
        wire.send(&broadcast(host(n)));
        root.receive_until(&broadcast(host(n)));
    }
    for n in [256, 257] {
        wire.send(&broadcast(host(n)));
    }
    wire.send(&own);
    let before = root.receive_until(&own);
    assert!(![256, 257].iter().any(|&n| before.contains(&broadcast(host(n)))));
    server.wait_for(&format!("no room for {} behind site", host(256)));
    let log = server.stop();
    assert_eq!(counter(&log, "drop.leaf_limit"), 2, "{log}");
    assert_eq!(log.matches("no room for").count(), 1, "once a minute: {log}");
}

fn a_strict_client_has_its_listed_macs_alone() {
    let world = World::new(1).speaking(Mode::Secure);
    let invite = world.keys.named_invite("kiosk", &[]);
    let list = world.keys.path("server").join("clients");
    let text = fs::read_to_string(&list).unwrap();
    let strict = text.replace(" kiosk", &format!(" kiosk mac={} strict", client_mac(0)));
    fs::write(&list, strict).unwrap();
    let server = world.serve(&[]);
    let state = world.keys.client_state(0);
    let _client = world.run_client(0, &["client", &invite, "--state", &state]);
    server.wait_for(" up: ");
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    for forged in [broadcast(mac(0x55)), tagged(5, broadcast(mac(0x55)))] {
        for own in [broadcast(client_mac(0)), tagged(5, broadcast(client_mac(0)))] {
            wire.send(&forged);
            wire.send(&own);
            assert!(!root.receive_until(&own).contains(&forged));
        }
    }
    let log = server.stop();
    assert!(counter(&log, "drop.source_not_listed") >= 4, "{log}");
    assert!(log.contains("it is strict"), "{log}");
}

fn a_lan_of_100_000_hosts_is_known_and_hurts_nobody() {
    const HOSTS: u32 = 100_000;
    let of_lan = |n: u32| MacAddr::new(2, 1, 0, (n >> 16) as u8, (n >> 8) as u8, n as u8);
    let batch = |command: &str, port: &str, first: u32| {
        let line = |n| format!("fdb {command} {} dev {port} master dynamic\n", of_lan(n));
        (first..first + HOSTS / 2).map(line).collect::<String>()
    };
    let run = |host: &Namespace, text: String| {
        let (from, to) = piped(text);
        let mut command = std::process::Command::new("bridge");
        let output = host.output(command.args(["-batch", "-"]).stdin(from)).unwrap();
        to.join().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    // Half of it is there at the start, which makes room for as many more.
    let site = Site::with(1, &[], |host| run(host, batch("add", "to-host", 0)));
    run(&site.world.server, batch("add", "to-gateway", HOSTS / 2));
    let _client = site.world.join(0, &[]);
    let (root, wire) = (site.world.server_wire(), site.world.client_wire(0));
    let own = broadcast(client_mac(0));
    let passes = |forged: MacAddr| {
        wire.send(&broadcast(forged));
        wire.send(&own);
        root.receive_until(&own).contains(&broadcast(forged))
    };
    assert!(!passes(of_lan(7)));
    // One that is used before the news of it are read is the client's from then on, so each try takes
    // another.
    let mut untried = (0..HOSTS).rev();
    wait_until("the news are read", || !passes(of_lan(untried.next().unwrap())));
    assert_eq!(answered(&site.world.server, HOST_V4, Duration::ZERO), PINGS);
    println!("{} KiB", site.server.proc_status("VmRSS"));
    // What the bridge forgets is anybody's again.
    run(&site.world.server, batch("del", "to-host", 0).replace(" dynamic", ""));
    wait_until("the LAN is forgotten", || passes(of_lan(8)));
    let log = site.server.stop();
    assert!(!log.contains("not known in full"), "{log}");
}

/// A pipe with a text in it.
fn piped(text: String) -> (std::io::PipeReader, thread::JoinHandle<()>) {
    let (from, mut to) = std::io::pipe().unwrap();
    (from, thread::spawn(move || to.write_all(text.as_bytes()).unwrap()))
}
