//! Clients of several servers: one that dies, one that drains, one that is better.
//!
//! ```text
//!   client 0 ── UDP ──┬── server A, TAP in br0 ──┐
//!                     └── server B, TAP in br0 ──┴── LAN, whose host is 10.9.0.1
//! ```
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acton_cli::control::{Answer, Answers, PacketRecord, Request};
use acton_engine::{CaptureLayer, State, TraceVerdict};
use acton_netns::{Namespace, Veth, veth};
use pnet_base::MacAddr;
use support::ask::{connect, said_by, sessions, told, until};
use support::{
    Acton, HANG, Mode, ROOT_V4, TEST_ETHERTYPE, Wire, World, client_mac, control, counter,
    counters, frame, leaf, mac, ping, ping_until_answered, said, shell, tcp_transfer, wait_until,
};

testbed::main! {
    waiting;
    a_client_goes_to_another_server_when_its_own_is_killed,
    a_server_drains_without_a_lost_ping_and_is_come_back_to,
    a_transfer_goes_on_while_its_client_goes_to_another_server,
    who_is_at_a_server_without_a_way_to_the_lan_goes_to_another_one,
    a_tracked_link_that_does_not_exist_may_come,
    who_has_no_other_server_stays_until_all_are_sent_away,
    servers_of_different_keys_in_one_invite,
    what_the_lan_sends_to_all_comes_once_while_a_client_changes_servers,
    a_server_that_dies_while_its_client_leaves_it_is_left,
    a_standby_that_is_not_there_disturbs_nothing,
    a_refusal_of_the_other_server_is_told,
    who_stays_hears_nothing_of_who_goes,
    traces_and_captures_are_of_the_server_in_use,
    a_capture_follows_a_client_to_another_server,
}

/// Server A is on the world's server, server B on client 1.
const A: &str = "192.0.2.1:8080";
const B: &str = "192.0.2.11:8080";

/// What a client says that has gone to another server.
const MOVED: &str = "without a break";

/// Two servers whose TAPs are bridged into one LAN.
struct Site {
    world: World,
    lan: Namespace,
}

impl Site {
    fn new() -> Self {
        Self::of(3)
    }

    /// Of so many hosts on the WAN beside server A.
    fn of(hosts: u8) -> Self {
        let world = World::new(hosts).speaking(Mode::Secure);
        let lan = Namespace::new().unwrap();
        shell(
            &lan,
            "ip link add sw type bridge mcast_snooping 0; ip link set sw up; \
             ip addr add 10.9.0.1/24 dev sw",
        );
        for (host, port) in [(&world.server, "port-a"), (&world.clients[1], "port-b")] {
            veth(host, "lan0", &lan, port, &Veth::new()).unwrap();
            shell(&lan, &format!("ip link set {port} master sw"));
            shell(
                host,
                "ip link add br0 type bridge mcast_snooping 0; ip link set br0 up; \
                 ip link set lan0 master br0",
            );
        }
        Self { world, lan }
    }

    /// Starts a server with the state directory of `keys`.
    fn serve(&self, host: &Namespace, name: &str, keys: &str) -> Acton {
        self.serve_with(host, name, keys, &[])
    }

    fn serve_with(&self, host: &Namespace, name: &str, keys: &str, more: &[&str]) -> Acton {
        let mac = if name == "A" { "02:ac:70:00:00:a1" } else { "02:ac:70:00:00:b1" };
        let state = self.world.keys.path(keys);
        let state = state.to_str().unwrap();
        let fixed = ["server", "--state", state, "--bridge", "br0", "-m", mac];
        let server = Acton::start(name, host, &[&fixed[..], more].concat());
        server.wait_for(said::LISTENING);
        server
    }

    fn serve_a(&self) -> Acton {
        self.serve(&self.world.server, "A", "server")
    }

    fn serve_b(&self) -> Acton {
        self.serve(&self.world.clients[1], "B", "server")
    }

    /// An invite of client `i` to these servers; its MAC is its own at each of them.
    fn invite(&self, i: u8, hosts: &[&str]) -> String {
        let name = format!("client-{i}");
        let hosts = hosts.iter().flat_map(|host| ["--host", host]);
        let arguments: Vec<_> = ["invite", "--name", &name].into_iter().chain(hosts).collect();
        let url = self.world.keys.acton("server", &arguments);
        self.list_mac("server", i);
        url
    }

    /// Says in the list of clients of `keys` whose the MAC of client `i` is.
    fn list_mac(&self, keys: &str, i: u8) {
        let (path, name) = (self.world.keys.path(keys).join("clients"), format!(" client-{i}"));
        let list = fs::read_to_string(&path).unwrap();
        let line = format!("{name} mac={}", client_mac(i));
        fs::write(&path, list.replace(&name, &line)).unwrap();
    }

    /// Starts client `i` with an invite.
    fn join(&self, i: u8, invite: &str) -> Acton {
        let state = self.world.keys.client_state(i);
        self.world.run_client(i, &["client", invite, "--state", &state])
    }

    fn client(&self, i: u8) -> &Namespace {
        &self.world.clients[usize::from(i)]
    }
}

/// Where a client is, by its status.
fn server_of(client: &Acton) -> Option<String> {
    let up = |state| matches!(state, State::Up | State::Quiet);
    Some(sessions(client).into_iter().find(|session| up(session.state))?.name)
}

#[track_caller]
fn wait_at(client: &Acton, server: &str) {
    wait_until(&format!("the client is at {server}"), || {
        server_of(client).as_deref() == Some(server)
    });
}

/// Pings ten times a second until `done`: how many were sent, and how many had no answer in three
/// tries of ten seconds: none at all, that is, however busy the machine.
fn pings(from: &Namespace, to: IpAddr, done: &AtomicBool) -> (usize, usize) {
    let (mut sent, mut lost) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        sent += 1;
        let is_answered = || ping(from, to, 56, Duration::from_secs(10)).is_ok();
        lost += usize::from(!(0..3).any(|_| is_answered()));
        thread::sleep(Duration::from_millis(100).saturating_sub(start.elapsed()));
    }
    (sent, lost)
}

/// The clients of a site of four hosts, one of which is server B.
const CLIENTS: [u8; 3] = [0, 2, 3];

/// Starts them, and waits until all are at server A, and find the LAN and the other server.
fn join_all(site: &Site) -> Vec<Acton> {
    let clients = CLIENTS.map(|i| site.join(i, &site.invite(i, &[A, B])));
    for (client, i) in clients.iter().zip(CLIENTS) {
        client.wait_for(said::CONNECTED);
        wait_at(client, A);
        ping_until_answered(site.client(i), ROOT_V4);
        // The LAN's host finds the client, too.
        ping_until_answered(&site.lan, leaf(i)[0]);
        let standby = until(client, "the other server answers", |it| {
            it.state == State::Standby && it.rtt.is_some()
        });
        assert_eq!(standby.name, B);
        assert!(standby.server.is_some_and(|it| it.load == Some(0.0)));
    }
    clients.into()
}

fn a_client_goes_to_another_server_when_its_own_is_killed() {
    let site = Site::of(4);
    let (first, _second) = (site.serve_a(), site.serve_b());
    let clients = join_all(&site);
    first.kill();
    let killed = Instant::now();
    // Each has traffic, by which it notices.
    let back = |i: u8| {
        wait_until("the LAN answers by the other server", || {
            ping(site.client(i), ROOT_V4, 56, Duration::from_millis(500)).is_ok()
        });
        killed.elapsed()
    };
    let mut taken = thread::scope(|scope| {
        let threads = CLIENTS.map(|i| scope.spawn(move || back(i)));
        threads.map(|thread| thread.join().unwrap())
    });
    taken.sort();
    println!("without a way to the LAN after a kill: {taken:.2?}");
    for client in clients {
        wait_at(&client, B);
        // The TAP kept its carrier: no lease and no address was lost.
        let events = told(&client, &["events", "--json"]);
        assert!(events.contains("\"carrier\"") && !events.contains("\"up\":false"), "{events}");
        let log = client.stop();
        assert!(log.contains(said::LOST), "{log}");
    }
}

fn a_server_drains_without_a_lost_ping_and_is_come_back_to() {
    let site = Site::of(4);
    let (first, _second) = (site.serve_a(), site.serve_b());
    let clients = join_all(&site);
    let done = AtomicBool::new(false);
    let results = thread::scope(|scope| {
        let (site, done) = (&site, &done);
        let pingers = CLIENTS.map(|i| {
            let there = scope.spawn(move || pings(site.client(i), ROOT_V4, done));
            let back = scope.spawn(move || pings(&site.lan, leaf(i)[0], done));
            [there, back]
        });
        // Should a wait hang, these end too.
        let guard = Done(done);
        assert_eq!(told(&first, &["drain", "--over", "2"]), "3 clients are asked to go\n");
        for client in &clients {
            client.wait_for("asks to go to another server");
            client.wait_for(MOVED);
            wait_at(client, B);
        }
        wait_until("the first server has nobody left", || {
            sessions(&first).iter().all(|session| session.state != State::Up)
        });
        // Each said goodbye to the server that it left.
        first.wait_for_nth(said::BYE, CLIENTS.len());
        let status = told(&first, &["status"]);
        assert!(status.contains("draining: clients are asked"), "{status}");
        until(&clients[0], "the first server is known to drain", |it| {
            it.name == A && it.server.is_some_and(|server| server.draining)
        });

        // It takes clients again, and is the better one: once that has been so for a minute, they are
        // back.
        assert_eq!(told(&first, &["drain", "--stop"]), "it drains no more\n");
        for client in &clients {
            client.wait_for_nth(MOVED, 2);
            wait_at(client, A);
        }
        drop(guard);
        pingers.map(|both| both.map(|thread| thread.join().unwrap()))
    });
    println!("pings sent and lost, from each client and to it: {results:?}");
    for (sent, lost) in results.into_iter().flatten() {
        assert!(sent > 10, "{sent}");
        assert_eq!(lost, 0, "of {sent}");
    }
    for client in clients {
        let log = client.stop();
        assert_eq!(log.matches(said::CONNECTED).count(), 1, "{log}");
    }
}

fn a_transfer_goes_on_while_its_client_goes_to_another_server() {
    let site = Site::new();
    let (first, _second) = (site.serve_a(), site.serve_b());
    let client = site.join(0, &site.invite(0, &[A, B]));
    wait_at(&client, A);
    ping_until_answered(site.client(0), ROOT_V4);
    until(&client, "the other server answers", |it| it.state == State::Standby);
    let done = AtomicBool::new(false);
    let transfers = thread::scope(|scope| {
        let (site, done) = (&site, &done);
        let transfers = scope.spawn(move || {
            let mut transfers = 0;
            while !done.load(Ordering::Relaxed) {
                tcp_transfer(site.client(0), &site.lan, ROOT_V4, 4 << 20);
                transfers += 1;
            }
            transfers
        });
        let guard = Done(done);
        told(&first, &["drain"]);
        wait_at(&client, B);
        drop(guard);
        transfers.join().unwrap()
    });
    assert!(transfers > 0);
    ping_until_answered(site.client(0), ROOT_V4);
}

fn who_is_at_a_server_without_a_way_to_the_lan_goes_to_another_one() {
    let site = Site::of(4);
    let first = site.serve_with(&site.world.server, "A", "server", &["--track", "lan0"]);
    let _second = site.serve_b();
    let clients = join_all(&site);
    // The cable between server A and the LAN is cut.
    shell(&site.lan, "ip link set port-a down");
    let cut = Instant::now();
    let back = |i: u8| {
        wait_until("the LAN answers by the other server", || {
            ping(site.client(i), ROOT_V4, 56, Duration::from_millis(200)).is_ok()
        });
        cut.elapsed()
    };
    let taken = thread::scope(|scope| {
        let threads = CLIENTS.map(|i| scope.spawn(move || back(i)));
        threads.map(|thread| thread.join().unwrap())
    });
    println!("without a way to the LAN after its cable was cut: {taken:.2?}");
    for client in &clients {
        client.wait_for(MOVED);
        wait_at(client, B);
    }
    first.wait_for("link lan0, which is tracked, carries nothing: clients go elsewhere");
    let status = told(&first, &["status"]);
    assert!(status.contains("lan0, which --track names, carries nothing"), "{status}");
    let findings = said_by(control(&first), &["doctor", "--json"]).out;
    let finding = findings.split("\"uplink\"").nth(1).unwrap_or(&findings);
    assert!(finding.contains("ip link show lan0"), "{findings}");

    // What an operator says is apart from it.
    told(&first, &["drain"]);
    let status = told(&first, &["status"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status.contains("(acton drain; --track: lan0 carries nothing)"), "{status}");
    let stopped = told(&first, &["drain", "--stop"]);
    assert_eq!(stopped, "it drains on (--track: lan0 carries nothing)\n");
    let status = told(&first, &["status"]);
    assert!(status.contains("draining: clients") && !status.contains("acton drain"), "{status}");
    shell(&site.lan, "ip link set port-a up");
    first.wait_for("carries something again");
    // What it says before that is over is tested without a clock, as drain_reasons().
    let stopped = told(&first, &["drain", "--stop"]);
    let settles = stopped.contains("carry something again, and have to for");
    assert!(settles || stopped == "it drains no more\n", "{stopped}");
    first.wait_for("draining no more");
    assert!(!told(&first, &["status"]).contains("lan0"));
    for client in &clients {
        client.wait_for_nth(MOVED, 2);
        wait_at(client, A);
    }
}

fn a_tracked_link_that_does_not_exist_may_come() {
    let world = World::new(0).speaking(Mode::Secure);
    let server = world.serve(&["--track", "later0"]);
    server.wait_for("there is no link later0, which is tracked");
    let doctor = || said_by(control(&server), &["doctor", "--json"]).out;
    let status = told(&server, &["status"]);
    assert!(status.contains("there is no link later0"), "{status}");
    assert!(doctor().contains("there is no link later0, which is tracked"), "{}", doctor());
    // It is plugged in, and then its cable.
    shell(&world.server, "ip link add later0 type veth peer name later1");
    server.wait_for("link later0, which is tracked, carries nothing");
    assert!(doctor().contains("ip link show later0"), "{}", doctor());
    shell(&world.server, "ip link set later0 up; ip link set later1 up");
    server.wait_for("link later0, which is tracked, carries something again");
    assert!(!told(&server, &["status"]).contains("later0"));
}

/// Says that it is done, also in a panic.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn who_has_no_other_server_stays_until_all_are_sent_away() {
    let site = Site::new();
    let (two, one) = (site.invite(0, &[A, B]), site.invite(2, &[A]));
    let (first, _second) = (site.serve_a(), site.serve_b());
    let clients = [site.join(0, &two), site.join(2, &one)];
    for client in &clients {
        client.wait_for(said::CONNECTED);
    }
    let asked = "1 client is asked to go; 1 client has no other server and stays\n";
    assert_eq!(told(&first, &["drain", "--to", B]), asked);
    wait_at(&clients[0], B);
    ping_until_answered(site.client(2), ROOT_V4);
    wait_at(&clients[1], A);
    let plain = said_by(control(&clients[1]), &["drain"]);
    assert!(plain.code != 0 && plain.err.contains("this is a client"), "{plain:?}");

    told(&first, &["drain", "--now", "--over", "1"]);
    clients[1].wait_for("the server restarts");
    clients[1].wait_for("it has no room for another session");
    told(&first, &["drain", "--stop"]);
    let start = Instant::now();
    wait_until("it is let in again", || {
        assert!(start.elapsed() < HANG);
        server_of(&clients[1]).is_some()
    });
}

fn servers_of_different_keys_in_one_invite() {
    let site = Site::new();
    let keys = &site.world.keys;
    // Server B has keys of its own, and knows the client by the key that A's invite carries.
    let first = site.invite(0, &[A]);
    let client_key = {
        let list = fs::read_to_string(keys.path("server").join("clients")).unwrap();
        list.lines().find(|line| line.contains("client-0")).unwrap()[..44].to_owned()
    };
    let arguments = ["invite", "--host", B, "--name", "client-0", "--key", &client_key];
    let second = keys.acton("other", &arguments);
    site.list_mac("other", 0);
    let file = keys.path("second");
    fs::write(&file, second).unwrap();
    keys.acton("server", &["revoke", "client-0"]);
    let both = {
        let file = file.to_str().unwrap();
        keys.acton("server", &["invite", "--host", A, "--name", "client-0", "--and", file])
    };
    // The client of this invite has a key of its own again, which B is told.
    site.list_mac("server", 0);
    assert_ne!(first, both);
    let list = fs::read_to_string(keys.path("server").join("clients")).unwrap();
    let new_key = list.lines().find(|line| line.contains("client-0")).unwrap()[..44].to_owned();
    let at_b = keys.path("other").join("clients");
    let list = fs::read_to_string(&at_b).unwrap().replace(&client_key, &new_key);
    fs::write(&at_b, list).unwrap();

    let server_a = site.serve_a();
    let _server_b = site.serve(&site.world.clients[1], "B", "other");
    let stored = keys.acton("client-0", &["join", &both]);
    assert!(stored.contains(&format!("the invite of {A}, {B} in ")), "{stored}");
    let state = keys.client_state(0);
    let client = site.world.run_client(0, &["client", "--state", &state]);
    wait_at(&client, A);
    until(&client, "the other server answers", |it| it.state == State::Standby);
    server_a.stop();
    wait_at(&client, B);
    ping_until_answered(site.client(0), ROOT_V4);
}

/// A frame of the LAN's host to all, with a number.
fn to_all(number: u32) -> Vec<u8> {
    let payload = [&number.to_be_bytes()[..], &[7; 60]].concat();
    frame(MacAddr::broadcast(), mac(77), TEST_ETHERTYPE, &payload)
}

fn what_the_lan_sends_to_all_comes_once_while_a_client_changes_servers() {
    let site = Site::new();
    let (first, _second) = (site.serve_a(), site.serve_b());
    let client = site.join(0, &site.invite(0, &[A, B]));
    wait_at(&client, A);
    until(&client, "the other server answers", |it| it.state == State::Standby);
    let (lan, tap) = (Wire::open(&site.lan, "sw"), site.world.client_wire(0));
    lan.send(&to_all(0));
    tap.receive_until(&to_all(0));
    told(&first, &["drain"]);
    // While it joins, and for as long as it hears both.
    let mut sent = 0;
    wait_until("the client has left the first server", || {
        sent += 1;
        lan.send(&to_all(sent));
        first.log().contains(said::BYE)
    });
    wait_at(&client, B);
    let last = sent + 1;
    lan.send(&to_all(last));
    let came = tap.receive_until(&to_all(last));
    let copies = |number| came.iter().filter(|&it| *it == to_all(number)).count();
    let twice: Vec<_> = (1..=sent).filter(|&number| copies(number) > 1).collect();
    // What is on its way by both at the one moment at which the client changes may come by each.
    assert!(twice.len() <= 2, "of {sent} frames these came more than once: {twice:?}");
    let beside = counter(&counters(&client), "drop.beside");
    assert!(beside > 0, "both servers sent the same");
}

fn a_server_that_dies_while_its_client_leaves_it_is_left() {
    let site = Site::new();
    let (first, _second) = (site.serve_a(), site.serve_b());
    let client = site.join(0, &site.invite(0, &[A, B]));
    wait_at(&client, A);
    until(&client, "the other server answers", |it| it.state == State::Standby);
    // Whether the second session has begun by then or not.
    told(&first, &["drain"]);
    first.kill();
    wait_until("the LAN answers by the other server", || {
        ping(site.client(0), ROOT_V4, 56, Duration::from_millis(500)).is_ok()
    });
    wait_at(&client, B);
    let events = told(&client, &["events", "--json"]);
    assert!(!events.contains("\"up\":false"), "its TAP kept the carrier: {events}");
}

fn a_standby_that_is_not_there_disturbs_nothing() {
    let site = Site::new();
    // On the host of B nobody has the port, which its kernel says.
    let _first = site.serve_a();
    let client = site.join(0, &site.invite(0, &[A, B]));
    wait_at(&client, A);
    until(&client, "the other server is known to be away", |it| it.state == State::Unreachable);
    ping_until_answered(site.client(0), ROOT_V4);
    let log = counters(&client);
    assert_eq!(counter(&log, "handshake.hellos"), 1, "no handshake was hurried: {log}");
    assert!(counter(&log, "query.sent") >= 3, "{log}");
    assert_eq!(log.matches(said::CONNECTED).count(), 1, "{log}");
}

fn a_refusal_of_the_other_server_is_told() {
    let site = Site::new();
    let other = site.world.keys.path("other");
    // B has the same keys, and a list from before the client was on it.
    site.invite(2, &[A, B]);
    fs::create_dir(&other).unwrap();
    for entry in fs::read_dir(site.world.keys.path("server")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
    }
    let invite = site.invite(0, &[A, B]);
    let first = site.serve_a();
    let _second = site.serve(&site.world.clients[1], "B", "other");
    let client = site.join(0, &invite);
    wait_at(&client, A);
    until(&client, "the other server answers", |it| it.state == State::Standby);
    told(&first, &["drain"]);
    let mut events = String::new();
    wait_until("the refusal is told", || {
        events = told(&client, &["events", "--json"]);
        events.contains("\"refused\"")
    });
    assert!(events.lines().any(|it| it.contains("\"refused\"") && it.contains(B)), "{events}");
    wait_at(&client, A);
    ping_until_answered(site.client(0), ROOT_V4);
}

fn who_stays_hears_nothing_of_who_goes() {
    let site = Site::new();
    let invites = [(0, site.invite(0, &[A, B])), (2, site.invite(2, &[A]))];
    // Servers that know the whole list from the beginning.
    let (first, _second) = (site.serve_a(), site.serve_b());
    let [goes, stays] = invites.map(|(i, invite)| site.join(i, &invite));
    [&goes, &stays].into_iter().for_each(|client| wait_at(client, A));
    until(&goes, "the other server answers", |it| it.state == State::Standby);
    let (tap, lan) = (site.world.client_wire(2), Wire::open(&site.lan, "sw"));
    told(&first, &["drain"]);
    // It tells the LAN by ARP where it is, and server A hears that: at once, and 5 s later, when it is no
    // client of A's any more.
    wait_until("A has heard it", || counter(&counters(&first), "drop.client_elsewhere") > 0);
    lan.send(&to_all(1));
    let came = tap.receive_until(&to_all(1));
    let of_arp = |frame: &Vec<u8>| {
        frame[6..12] == client_mac(0).octets() && frame[12..14] == 0x0806_u16.to_be_bytes()
    };
    assert!(!came.iter().any(of_arp), "{came:02x?}");
}

/// A client at server A, which knows that B is there.
fn at_a(site: &Site) -> Acton {
    let client = site.join(0, &site.invite(0, &[A, B]));
    wait_at(&client, A);
    until(&client, "the other server answers", |it| it.state == State::Standby);
    ping_until_answered(site.client(0), ROOT_V4);
    client
}

fn capture(session: Option<&str>, layer: CaptureLayer) -> Request {
    Request::Capture {
        session: session.map(str::to_owned),
        layer: Some(layer),
        drops: None,
        filter: (layer == CaptureLayer::Inner).then(|| "icmp".to_owned()),
        snaplen: None,
    }
}

#[track_caller]
fn next_packet(answers: &mut Answers<'_>) -> PacketRecord {
    match answers.read().unwrap() {
        Answer::Packet(packet) => packet,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn begin(answers: &mut Answers<'_>) {
    let answer = answers.read().unwrap();
    assert!(matches!(answer, Answer::Capturing(_)), "{answer:?}");
}

fn traces_and_captures_are_of_the_server_in_use() {
    let site = Site::new();
    let (_first, _second) = (site.serve_a(), site.serve_b());
    let client = at_a(&site);
    let (here, there) = (client_mac(0).to_string(), mac(77).to_string());
    let trace = told(&client, &["trace", &here, &there]);
    assert!(trace.contains(&format!("to {A}, which is up")), "{trace}");
    assert!(trace.contains(&format!("forward to {A}")), "{trace}");
    let trace = told(&client, &["trace", &there, &here, "--from", A]);
    assert!(trace.contains("forward to the TAP"), "{trace}");
    let said = said_by(control(&client), &["trace", &there, &here, "--from", B]);
    assert!(said.code == 1 && said.err.contains(B), "{said:?}");

    let (mut all, mut of_a) = (connect(&client), connect(&client));
    let mut all = all.ask(capture(None, CaptureLayer::Inner)).unwrap();
    let mut of_a = of_a.ask(capture(Some(A), CaptureLayer::Inner)).unwrap();
    [&mut all, &mut of_a].into_iter().for_each(begin);
    ping_until_answered(site.client(0), ROOT_V4);
    for frames in [&mut all, &mut of_a] {
        let [asked, answered] = [(); 2].map(|()| next_packet(frames));
        assert_eq!(asked.session.as_deref(), Some(A));
        assert_eq!(asked.verdict, Some(TraceVerdict::Session(A.to_owned())));
        assert_eq!(answered.session.as_deref(), Some(A));
        assert_eq!(answered.verdict, Some(TraceVerdict::Tap));
    }

    // It asks B now and then how it is.
    let mut of_b = connect(&client);
    let mut of_b = of_b.ask(capture(Some(B), CaptureLayer::Outer)).unwrap();
    begin(&mut of_b);
    for _ in 0..2 {
        ping_until_answered(site.client(0), ROOT_V4);
        let datagram = next_packet(&mut of_b);
        assert_eq!(datagram.session.as_deref(), Some(B));
        assert_eq!(datagram.remote, Some(B.parse().unwrap()), "{datagram:?}");
    }
    let said = said_by(control(&client), &["capture", "192.0.2.99:8080", "--write", "-"]);
    assert!(said.code == 1 && said.err.contains("192.0.2.99:8080"), "{said:?}");
}

fn a_capture_follows_a_client_to_another_server() {
    let site = Site::new();
    let (first, _second) = (site.serve_a(), site.serve_b());
    let client = at_a(&site);
    let (mut all, mut of_a, mut of_b) = (connect(&client), connect(&client), connect(&client));
    let mut all = all.ask(capture(None, CaptureLayer::Inner)).unwrap();
    let mut of_a = of_a.ask(capture(Some(A), CaptureLayer::Inner)).unwrap();
    let mut of_b = of_b.ask(capture(Some(B), CaptureLayer::Inner)).unwrap();
    [&mut all, &mut of_a, &mut of_b].into_iter().for_each(begin);
    ping_until_answered(site.client(0), ROOT_V4);
    let of_first = next_packet(&mut all);
    assert_eq!(of_first.session.as_deref(), Some(A));
    assert_eq!(next_packet(&mut of_a).data, of_first.data);

    told(&first, &["drain"]);
    client.wait_for(MOVED);
    wait_at(&client, B);
    let moved = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    ping_until_answered(site.client(0), ROOT_V4);
    let mut of_second = next_packet(&mut all);
    while of_second.time < moved {
        of_second = next_packet(&mut all);
    }
    assert_eq!(of_second.session.as_deref(), Some(B));
    // Nothing of A is there.
    assert_eq!(next_packet(&mut of_b).data, of_second.data);
}
