//! How clients get in, how they are kept out, and what both sides say about it.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::ServerName;
use acton_engine::keys::{ServerIdentity, State};
use acton_proto::handshake::{Secret, SystemRandom};
use nix::sys::signal::Signal;
use pnet_base::MacAddr;
use support::{
    Acton, Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, Wire, World, answers, client_mac, counter,
    frame, leaf, mac, ping_until_answered, said,
};

testbed::main! {
    the_first_start_says_how_a_client_joins,
    an_invite_comes_by_every_way,
    the_servers_own_host_needs_no_invite,
    only_listed_clients_get_in_once_there_is_a_list,
    a_list_may_be_anywhere_and_is_read_again_on_sighup,
    a_removed_client_is_out_within_a_second_and_others_do_not_notice,
    a_wrong_invite_is_told_on_both_sides,
    two_machines_with_one_key_raise_an_alarm,
    a_listed_mac_is_its_clients_alone,
    a_listed_limit_of_macs_is_kept_and_followed,
}

const ACTON: &str = env!("CARGO_BIN_EXE_acton");

fn world(clients: u8) -> World {
    World::new(clients).speaking(Mode::Secure)
}

/// The lines of a log that contain `text`.
fn lines<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

/// What a client is told, and its server says, where keys do not fit.
mod told {
    pub(crate) const REMOVED: &str =
        "this client was removed from the server's list; ask for a new invite";
    pub(crate) const TAKEN_OFF: &str = "is not on the list any more";
    pub(crate) const NOT_LISTED: &str = "this client's key is not on its list; ask for an invite";
    pub(crate) const NO_SUCH_KEY: &str = "its key is not on the list; acton invite --name";
    pub(crate) const NO_ANSWER: &str =
        "is the invite one of this server, from after the last change of its network key";
    pub(crate) const WRONG_KEY: &str =
        "was made for another server or network key; its invite is not of this server";
}

fn the_first_start_says_how_a_client_joins() {
    let world = world(1);
    let server = world.serve(&[]);
    // Here a pipe reads it, as a journal does; a terminal is told the invite itself (keys.rs).
    server.wait_for("`acton invite`, run here with the same --state");
    let url = world.keys.acton("server", &["invite", "--host", "192.0.2.1"]);
    let state = world.keys.client_state(0);
    let client = world.run_client(0, &["client", &url, "--state", &state]);
    client.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    for file in ["server.key", "network.key"] {
        let mode = fs::metadata(world.keys.path("server").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    // Later ones keep the secret to themselves, and the client needs nothing new.
    server.stop();
    let server = world.serve(&[]);
    client.wait_for_nth(said::CONNECTED, 2);
    assert!(!server.log().contains("acton://"), "{}", server.log());
    assert!(!client.stop().contains("acton://"));
}

fn an_invite_comes_by_every_way() {
    let world = world(4);
    let _server = world.serve(&[]);
    let url = world.keys.invite("192.0.2.1");
    let file = world.keys.path("downloaded");
    fs::write(&file, format!("{url}\n")).unwrap();
    let file = file.to_str().unwrap();
    world.keys.acton("client-3", &["join", "--file", file]);
    let ways = [
        format!("exec {ACTON} client --invite-file {file}"),
        format!("exec {ACTON} client --invite-file - < {file}"),
        format!("ACTON_INVITE=$(cat {file}) exec {ACTON} client"),
        format!("exec {ACTON} client"),
    ];
    for (i, way) in ways.iter().enumerate() {
        let script = format!("{way} -a {}/24", leaf(i as u8)[0]);
        let mut command = Command::new("sh");
        command.args(["-ec", &script]).env("ACTON_STATE", world.keys.client_state(i as u8));
        let client = Acton::spawn("client", &world.clients[i], &mut command);
        client.wait_for(said::CONNECTED);
        ping_until_answered(&world.clients[i], ROOT_V4);
        let shown = fs::read(format!("/proc/{}/cmdline", client.id())).unwrap();
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(shown.contains("client") && !shown.contains("acton://"), "{shown}");
        assert!(!client.stop().contains("acton://"));
    }
}

fn the_servers_own_host_needs_no_invite() {
    let world = world(0);
    support::shell(&world.server, "ip link set lo up");
    let _server = world.serve(&[]);
    let state = world.keys.server_state();
    let arguments = ["client", "127.0.0.1", "--state", &state];
    let client = Acton::start("client", &world.server, &arguments);
    client.wait_for(said::CONNECTED);
    let (root, leaf) = (world.server_wire(), Wire::open(&world.server, "client"));
    let hello = frame(SERVER_MAC, client_mac(0), TEST_ETHERTYPE, b"from my own host");
    leaf.send(&hello);
    root.receive_until(&hello);
    client.stop();
}

/// Starts client `i` with an invite.
fn start(world: &World, i: u8, invite: &str) -> Acton {
    let state = world.keys.client_state(i);
    world.run_client(i, &["client", invite, "--state", &state])
}

fn only_listed_clients_get_in_once_there_is_a_list() {
    let world = world(2);
    let server = world.serve(&[]);
    // In with the network's invite, until there is a list that it is not on.
    let early = world.join(1, &[]);
    ping_until_answered(&world.clients[1], ROOT_V4);
    let invite = world.keys.named_invite("laptop", &[]);
    early.wait_for(told::REMOVED);
    server.wait_for(told::TAKEN_OFF);
    let laptop = start(&world, 0, &invite);
    laptop.wait_for(said::CONNECTED);
    server.wait_for("up: laptop from 192.0.2.10:");
    ping_until_answered(&world.clients[0], ROOT_V4);
    drop(early);
    let again = world.start_client(1, "192.0.2.1", &[]);
    again.wait_for(told::NOT_LISTED);
    server.wait_for(told::NO_SUCH_KEY);
    assert!(!answers(&world.clients[1], ROOT_V4));
    assert!(answers(&world.clients[0], ROOT_V4));
    let log = again.stop();
    assert_eq!(lines(&log, told::NOT_LISTED).len(), 1, "{log}");
    assert!(!log.contains(said::CONNECTED), "{log}");
    let log = server.stop();
    assert_eq!(lines(&log, told::NO_SUCH_KEY).len(), 1, "{log}");
    laptop.stop();
}

fn a_list_may_be_anywhere_and_is_read_again_on_sighup() {
    let world = world(2);
    let list = world.keys.path("members");
    let list = list.to_str().unwrap();
    let invites = ["a", "b"].map(|name| world.keys.named_invite(name, &["--clients", list]));
    let server = world.serve(&["--clients", list]);
    let clients = [0, 1].map(|i| start(&world, i, &invites[usize::from(i)]));
    for client in &clients {
        client.wait_for(said::CONNECTED);
    }
    // A list with a mistake changes nothing.
    let text = fs::read_to_string(list).unwrap();
    fs::write(list, format!("{text}and a mistake\n")).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("stays as it was");
    let log = server.log();
    assert!(lines(&log, "stays as it was")[0].contains(list), "{log}");
    assert!(answers(&world.clients[1], ROOT_V4));
    let without_b = text.lines().filter(|line| !line.contains(" b")).collect::<Vec<_>>();
    fs::write(list, format!("{}\n", without_b.join("\n"))).unwrap();
    let start = Instant::now();
    server.signal(Signal::SIGHUP);
    clients[1].wait_for(told::REMOVED);
    println!("SIGHUP: out after {:?}", start.elapsed());
    assert!(answers(&world.clients[0], ROOT_V4));
    assert!(!clients[0].log().contains(said::LOST));
}

fn a_removed_client_is_out_within_a_second_and_others_do_not_notice() {
    let world = world(2);
    let invites = ["doomed", "other"].map(|name| world.keys.named_invite(name, &[]));
    let server = world.serve(&[]);
    let clients = [0, 1].map(|i| start(&world, i, &invites[usize::from(i)]));
    for (client, host) in clients.iter().zip(&world.clients) {
        client.wait_for(said::CONNECTED);
        ping_until_answered(host, ROOT_V4);
    }
    let root = world.server_wire();
    let [doomed, other] = [0, 1].map(|i| world.client_wire(i));
    let numbered = |client, number: u32| {
        frame(SERVER_MAC, client_mac(client), TEST_ETHERTYPE, &number.to_be_bytes().repeat(15))
    };
    // Both send all the time, and the server's side notes when it heard which of them.
    const FRAMES: u32 = 400;
    let begin = Instant::now();
    let (revoked, last_doomed, heard_other) = thread::scope(|scope| {
        let revoke = scope.spawn(|| {
            thread::sleep(Duration::from_millis(500));
            world.keys.acton("server", &["revoke", "doomed"]);
            begin.elapsed()
        });
        scope.spawn(|| {
            for number in 0..FRAMES {
                doomed.send(&numbered(0, number));
                other.send(&numbered(1, number));
                thread::sleep(Duration::from_millis(10));
            }
        });
        let (mut last_doomed, mut heard_other) = (Duration::ZERO, 0);
        let last = numbered(1, FRAMES - 1);
        while let Some(frame) = root.receive(support::HANG) {
            if frame[12..14] == TEST_ETHERTYPE.to_be_bytes() {
                match frame[6..12] == client_mac(0).octets() {
                    true => last_doomed = begin.elapsed(),
                    false => heard_other += 1,
                }
            }
            if frame == last {
                break;
            }
        }
        (revoke.join().unwrap(), last_doomed, heard_other)
    });
    println!("revoked at {revoked:?}; last frame of the removed client at {last_doomed:?}");
    assert_eq!(heard_other, FRAMES);
    assert!(last_doomed > Duration::from_millis(400));
    // A second, and as much again for a busy machine.
    assert!(last_doomed < revoked + Duration::from_secs(2));
    clients[0].wait_for(told::REMOVED);
    server.wait_for(told::TAKEN_OFF);
    assert!(!answers(&world.clients[0], ROOT_V4));
    let [_, other] = clients;
    let log = other.stop();
    assert_eq!(lines(&log, said::CONNECTED).len(), 1, "{log}");
    assert!(!log.contains(said::LOST), "{log}");
}

fn a_wrong_invite_is_told_on_both_sides() {
    let world = world(3);
    // Of the server as it was before it got new keys.
    let stale = world.keys.invite("192.0.2.1");
    fs::remove_dir_all(world.keys.path("server")).unwrap();
    let server = world.serve(&[]);
    let address = || ServerName::parse("192.0.2.1", 8080).unwrap();
    let identity = world.keys.server();
    let stranger = State::new(world.keys.path("stranger")).server_identity().unwrap();
    let mut wrong_network = identity.invite(address());
    wrong_network.network_key = Some(Secret::generate(&mut SystemRandom));
    let mut wrong_server = ServerIdentity::invite(&stranger, address());
    wrong_server.network_key = Some(identity.network_key);
    let invites = [stale, wrong_network.url().to_string(), wrong_server.url().to_string()];
    let clients: Vec<_> = (0..3).map(|i| start(&world, i, &invites[usize::from(i)])).collect();
    for (i, client) in clients.iter().enumerate() {
        client.wait_for(told::NO_ANSWER);
        let who = format!("192.0.2.{}:", 10 + i);
        let log = server.log();
        assert!(lines(&log, told::WRONG_KEY).iter().any(|line| line.contains(&who)), "{log}");
    }
    for client in clients {
        let log = client.stop();
        assert_eq!(lines(&log, told::NO_ANSWER).len(), 1, "{log}");
        assert!(!log.contains(said::CONNECTED), "{log}");
    }
    // Somebody is told, not flooded: three clients said HELLO every second for six.
    let log = server.stop();
    println!("{} lines of wrong keys", lines(&log, told::WRONG_KEY).len());
    assert!(lines(&log, told::WRONG_KEY).len() <= 6, "{log}");
}

fn two_machines_with_one_key_raise_an_alarm() {
    let world = world(2);
    let invite = world.keys.named_invite("twin", &[]);
    let server = world.serve(&[]);
    let first = start(&world, 0, &invite);
    first.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    // It does not hear that it has been replaced, and so goes on as if it had not been.
    support::shell(&world.server, "ip route add blackhole 192.0.2.10/32");
    let second = start(&world, 1, &invite);
    second.wait_for(said::CONNECTED);
    let alarm = "two clients fight for the key of twin; give each an invite of its own";
    let wire = world.client_wire(0);
    let up = frame(SERVER_MAC, client_mac(0), TEST_ETHERTYPE, &[1; 60]);
    let count = |text| lines(&server.log(), text).len();
    support::wait_until("the server raises an alarm", || {
        wire.send(&up);
        count(alarm) == 1
    });
    ping_until_answered(&world.clients[1], ROOT_V4);
    (0..10).for_each(|_| wire.send(&up));
    assert!(answers(&world.clients[1], ROOT_V4));
    assert_eq!(count(alarm), 1, "{}", server.log());
    assert!(!second.stop().contains(said::LOST));
}

/// A host that belongs behind client "owner".
const PRINTER: MacAddr = mac(0x50);

fn a_listed_mac_is_its_clients_alone() {
    let world = world(2);
    let invites = ["owner", "thief"].map(|name| world.keys.named_invite(name, &[]));
    let list = world.keys.path("server").join("clients");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace(" owner", &format!(" owner mac={PRINTER}"))).unwrap();
    let server = world.serve(&[]);
    let thief = start(&world, 1, &invites[1]);
    thief.wait_for(said::CONNECTED);
    let root = world.server_wire();
    let test = |to, from, number: u8| frame(to, from, TEST_ETHERTYPE, &[number; 60]);
    let (forged, honest) =
        (test(SERVER_MAC, PRINTER, 1), |number| test(SERVER_MAC, client_mac(1), number));
    let stealing = world.client_wire(1);
    let steal = |number| {
        stealing.send(&forged);
        stealing.send(&honest(number));
        let before = root.receive_until(&honest(number));
        assert!(!before.contains(&forged), "{number}: {before:02x?}");
    };
    // Also while its owner is not there.
    steal(2);
    let owner = start(&world, 0, &invites[0]);
    owner.wait_for(said::CONNECTED);
    steal(3);
    // Nobody was heard from there, and yet it is known where it is.
    let owning = world.client_wire(0);
    let down = test(PRINTER, SERVER_MAC, 4);
    let last = test(MacAddr::broadcast(), SERVER_MAC, 5);
    // The client knows of its session before the server does.
    server.wait_for("up: owner");
    support::wait_until("its frames go to the owner", || {
        root.send(&down);
        root.send(&last);
        assert!(!stealing.receive_until(&last).contains(&down));
        owning.receive_until(&last).contains(&down)
    });
    let up = test(SERVER_MAC, PRINTER, 6);
    owning.send(&up);
    root.receive_until(&up);
    let log = server.stop();
    assert_eq!(counter(&log, "drop.source_protected"), 2, "{log}");
}

fn a_listed_limit_of_macs_is_kept_and_followed() {
    let world = world(2);
    let invites = ["few", "many"].map(|name| world.keys.named_invite(name, &[]));
    let list = world.keys.path("server").join("clients");
    let text = fs::read_to_string(&list).unwrap();
    let limited = |limit| text.replace(" few", &format!(" few max-macs={limit}"));
    fs::write(&list, limited(2)).unwrap();
    let server = world.serve(&["--macs-per-client", "3"]);
    let clients = [0, 1].map(|i| start(&world, i, &invites[usize::from(i)]));
    clients.iter().for_each(|client| client.wait_for(said::CONNECTED));
    let (root, few, many) = (world.server_wire(), world.client_wire(0), world.client_wire(1));
    // Host 0 is the client itself, the others are behind it.
    let says = |client: u8, host: u8| {
        let from = if host == 0 { client_mac(client) } else { mac(0x60 + 0x10 * client + host) };
        frame(SERVER_MAC, from, TEST_ETHERTYPE, &[host; 60])
    };
    let hears = |wire: &Wire, client, host| {
        wire.send(&says(client, host));
        wire.send(&says(client, 0));
        root.receive_until(&says(client, 0)).contains(&says(client, host))
    };
    let heard = |wire, client| [0, 1, 2, 3].map(|host| host == 0 || hears(wire, client, host));
    assert_eq!(heard(&few, 0), [true, true, false, false]);
    assert_eq!(heard(&many, 1), [true, true, true, false]);
    server.wait_for("no room for");
    // The list counts as it is now.
    fs::write(&list, limited(0)).unwrap();
    server.signal(Signal::SIGHUP);
    support::wait_until("the limit is off", || hears(&few, 0, 3));
    assert_eq!(heard(&few, 0), [true, true, true, true]);
    assert_eq!(heard(&many, 1), [true, true, true, false]);
    fs::write(&list, text.replace(" many", " many max-macs=4")).unwrap();
    server.signal(Signal::SIGHUP);
    support::wait_until("the limit is higher", || hears(&many, 1, 3));
    for client in clients {
        assert!(!client.stop().contains(said::LOST));
    }
    let log = server.stop();
    assert!(counter(&log, "drop.leaf_limit") >= 3, "{log}");
}
