//! `acton verify-isolation` between real kernels: it shows isolation where there is, and finds each way
//! round it that is made here on purpose.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use acton_engine::{IsolationPart, IsolationReport, IsolationVerdict, event_kinds};
use serde_json::Value;
use support::ask::{Said, json, said_by, sessions, told};
use support::{
    Acton, Mode, ROOT_V4, Site, TEST_ETHERTYPE, World, client_mac, control, counter, counters, mac,
    ping_until_answered, shell,
};

testbed::main! {
    isolated_clients_are_shown_to_be_and_the_test_counts_apart: [],
    a_host_that_sends_frames_back_is_found: [],
    a_bridge_port_in_hairpin_mode_is_never_called_isolation: [],
    a_cable_between_two_clients_is_found: [],
    a_router_is_told_and_is_no_leak: [],
    where_one_does_not_agree_nobody_sends: [],
    a_policy_that_lets_nothing_pass_is_no_hole: [],
    plain_mode_and_a_client_say_that_they_cannot: [],
}

const ALLOW: &[&str] = &["--allow-isolation-test"];

/// A world whose first clients agree, and one process for each of its clients.
fn world(clients: u8, agree: u8, server: &[&str]) -> (World, Acton, Vec<Acton>) {
    let world = World::new(clients).speaking(Mode::Secure);
    let running = world.serve(server);
    let join = |i| world.join(i, if i < agree { ALLOW } else { &[] });
    let clients = (0..clients).map(join).collect();
    (world, running, clients)
}

fn verify(server: &Acton, arguments: &[&str]) -> (Said, IsolationReport) {
    let arguments = [&["verify-isolation", "--json"], arguments].concat();
    let said = said_by(control(server), &arguments);
    let report =
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said, report)
}

fn row<'r>(report: &'r IsolationReport, kind: &str) -> &'r acton_engine::IsolationKind {
    let mut kinds = report.kinds.iter();
    kinds.find(|it| it.kind == kind).unwrap_or_else(|| panic!("{kind} in {report:?}"))
}

/// The names of all that happened.
fn events(end: &Acton) -> Vec<String> {
    let events = told(end, &["events", "--json"]);
    let name = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["event"].as_str().unwrap().to_owned()
    };
    events.lines().map(name).collect()
}

fn isolated_clients_are_shown_to_be_and_the_test_counts_apart() {
    // Budgets that a test would use up, were it to count.
    let budgets = ["--budget", "broadcast=1/1", "--budget", "unknown=1/1"];
    let (_world, server, clients) = world(3, 3, &budgets);
    let known = |server: &Acton| json(server, &["fdb"])["macs"].as_array().unwrap().len();
    let drops = |log: &str| {
        let all = log.split_whitespace().filter_map(|word| word.strip_prefix("drop."));
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let (before, known_before) = (counters(&server), known(&server));
    let (said, report) = verify(&server, &[]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    assert_eq!(report.verdict, IsolationVerdict::Isolated);
    assert_eq!((report.pairs, report.pairs_of, report.clients.len()), (6, 6, 3));
    assert!(report.clients.iter().all(|client| client.part == IsolationPart::Agreed));
    let macs: Vec<_> = report.clients.iter().filter_map(|client| client.mac).collect();
    assert!((0..3).all(|i| macs.contains(&client_mac(i))), "{macs:?}");
    for kind in ["broadcast", "group", "group_ipv4", "group_ipv6", "unknown", "root"] {
        assert_eq!((row(&report, kind).sent, row(&report, kind).at_root), (3, 3), "{report:?}");
    }
    for (kind, reason) in [
        ("peer", "leaf_to_leaf"),
        ("peer_large", "leaf_to_leaf"),
        ("peer_ipv4", "leaf_to_leaf"),
        ("peer_ipv6", "leaf_to_leaf"),
        ("from_peer", "source_held"),
    ] {
        assert_eq!(row(&report, kind).dropped[reason], 6, "{report:?}");
    }
    assert_eq!(row(&report, "from_root").dropped["source_protected"], 3);
    assert_eq!(row(&report, "from_group").dropped["source_group"], 3);
    for kind in &report.kinds {
        assert_eq!((kind.lost, kind.at_clients, kind.came_back), (0, 0, 0), "{kind:?}");
    }
    assert!(row(&report, "routed_ipv4").at_root == 6 && report.routed.is_empty());

    let after = counters(&server);
    let apart = ["isolation.passed", "isolation.dropped"].map(|name| counter(&after, name));
    let total =
        |of: fn(&acton_engine::IsolationKind) -> u64| report.kinds.iter().map(of).sum::<u64>();
    assert!(apart[0] >= total(|kind| kind.at_root), "{apart:?}");
    assert!(apart[1] >= total(|kind| kind.dropped.values().sum()), "{apart:?}");
    let line =
        |log: &str| log.lines().rfind(|line| line.contains("counters: ")).unwrap().to_owned();
    assert_eq!(drops(&line(&after)), drops(&line(&before)), "no reason to drop counts them");
    assert_eq!(known(&server), known_before, "the bridge learnt nothing by it");
    for client in &clients {
        let log = counters(client);
        assert!(counter(&log, "isolation.sent") >= 27, "{log}");
        assert_eq!(counter(&log, "isolation.heard"), 2, "what the server sent before and after");
    }
    let alarms = ["loop_found", "lan_reflects", "budget_acts", "policy_acts", "mac_held"];
    assert!(alarms.iter().all(|alarm| event_kinds().any(|event| event.name == *alarm)));
    let events = events(&server);
    assert!(!events.iter().any(|event| alarms.contains(&&**event)), "{events:?}");

    // Once more is too soon for the clients, which protect themselves.
    let said = said_by(control(&server), &["verify-isolation"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("too soon after the last test"), "{said:?}");
}

fn a_host_that_sends_frames_back_is_found() {
    let (world, server, _clients) = world(2, 2, &["--no-loop-guard"]);
    let (root, is_over) = (world.server_wire(), AtomicBool::new(false));
    let (said, report) = thread::scope(|scope| {
        // A host in the server's LAN that sends on what it gets, from its own address.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let Some(mut frame) = root.receive(Duration::from_millis(50)) else { continue };
                if frame[..6] == [0xff; 6] && frame[12..14] == TEST_ETHERTYPE.to_be_bytes() {
                    frame[6..12].copy_from_slice(&mac(0xee).octets());
                    root.send(&frame);
                }
            }
        });
        let verified = verify(&server, &["--all"]);
        is_over.store(true, Ordering::Relaxed);
        verified
    });
    assert_eq!((said.code, report.verdict), (1, IsolationVerdict::Leaks), "{said:?}");
    let broadcast = row(&report, "broadcast");
    assert_eq!((broadcast.at_root, broadcast.at_clients, broadcast.came_back), (2, 2, 2));
    assert_eq!(row(&report, "peer").at_clients, 0, "{report:?}");
    assert!(report.leaks.iter().all(|leak| leak.kind == "broadcast"), "{:?}", report.leaks);
    assert_eq!(report.leaks.len(), 2);
}

fn a_bridge_port_in_hairpin_mode_is_never_called_isolation() {
    let world = World::new(2).speaking(Mode::Secure);
    shell(
        &world.server,
        "ip link add br0 type bridge mcast_snooping 0; ip link set br0 addrgenmode none up",
    );
    let server = world.serve(&["--bridge", "br0", "--no-loop-guard"]);
    let _clients = [0, 1].map(|i| world.join(i, &[ALLOW, &["--no-loop-guard"]].concat()));
    let (said, report) = verify(&server, &[]);
    assert_eq!((said.code, report.verdict), (0, IsolationVerdict::Isolated), "{said:?}");
    shell(&world.server, "ip link set dev server type bridge_slave hairpin on");
    // What a client says of its own accord may come back first, and put its MAC at the root: then
    // nothing of it passes, and nothing is shown.
    support::wait_until("the clients take part again", || {
        let (said, report) = verify(&server, &[]);
        let is_too_soon = report.clients.iter().any(|it| it.part == IsolationPart::TooSoon);
        let is_found = match report.verdict {
            IsolationVerdict::Leaks => said.code == 1 && !report.leaks.is_empty(),
            _ => said.code == 2 && !report.doubts.is_empty(),
        };
        assert!(is_too_soon || is_found, "{said:?}");
        !is_too_soon
    });
}

fn a_cable_between_two_clients_is_found() {
    let world = World::new(3).speaking(Mode::Secure);
    let (left, right) = (&world.clients[0], &world.clients[1]);
    acton_netns::veth(left, "side", right, "side", &acton_netns::Veth::new()).unwrap();
    let lan = "ip link add br0 type bridge mcast_snooping 0; ip link set br0 addrgenmode none up";
    for client in [left, right] {
        shell(client, lan);
        shell(client, "ip link set side down master br0 addrgenmode none");
    }
    let server = world.serve(&["--no-loop-guard"]);
    let _clients = [0, 1, 2].map(|i| {
        let bridge: &[&str] = if i < 2 { &["--bridge", "br0"] } else { &[] };
        world.join(i, &[ALLOW, &["--no-loop-guard"], bridge].concat())
    });
    // The cable is not plugged in yet.
    let (said, report) = verify(&server, &[]);
    assert_eq!((said.code, report.verdict), (0, IsolationVerdict::Isolated), "{said:?}");
    assert_eq!(row(&report, "beside").sent, 3, "{report:?}");
    for client in [left, right] {
        shell(client, "ip link set side up");
    }
    support::wait_until("the clients take part again", || {
        let said = said_by(control(&server), &["verify-isolation"]);
        let is_too_soon = said.out.contains("too soon after the last test");
        let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_found = said.code == 1 && words.contains("ANOTHER WAY: what");
        assert!(is_too_soon || is_found, "{said:?}");
        !is_too_soon
    });
}

fn a_router_is_told_and_is_no_leak() {
    let (world, server, _clients) = world(2, 2, &[]);
    for client in &world.clients {
        ping_until_answered(client, ROOT_V4);
    }
    shell(&world.server, "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0");
    let (said, report) = verify(&server, &[]);
    assert_eq!((said.code, report.verdict), (0, IsolationVerdict::Isolated), "{said:?}");
    assert_eq!(row(&report, "routed_ipv4").at_clients, 2, "{report:?}");
    assert!(report.routed.iter().all(|packet| packet.kind == "routed_ipv4"), "{report:?}");
    assert!(report.leaks.is_empty());
}

fn where_one_does_not_agree_nobody_sends() {
    let (_world, server, clients) = world(3, 2, &[]);
    let said = said_by(control(&server), &["verify-isolation"]);
    assert_eq!((said.code, &*said.err), (2, ""), "{said:?}");
    let refused = said.out.lines().filter(|line| line.contains("its owner does not allow it"));
    let mut named = refused.map(|line| line.split_whitespace().next().unwrap());
    let names = support::session_names(&server);
    assert!(named.next().is_some_and(|name| names.iter().any(|it| it == name)), "{said:?}");
    assert_eq!(named.next(), None, "{said:?}");
    assert!(said.out.contains("nothing was sent"), "{said:?}");
    for client in &clients {
        let log = counters(client);
        let sent = ["isolation.sent", "isolation.heard"].map(|name| counter(&log, name));
        assert_eq!(sent, [0, 0], "{log}");
    }
    let unknown = said_by(control(&server), &["verify-isolation", "rome"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.err.contains("no session 'rome'"), "{unknown:?}");
    // Those that agree are tested on demand, at once.
    let (said, report) = verify(&server, &["--willing-only"]);
    assert_eq!((said.code, report.verdict), (0, IsolationVerdict::Isolated), "{said:?}");
    assert_eq!(report.pairs, 2, "{said:?}");
    assert_eq!(counter(&counters(&clients[2]), "isolation.sent"), 0);
}

fn a_policy_that_lets_nothing_pass_is_no_hole() {
    // Test frames are of another kind.
    let site = Site::new("allow = [\"ip\", \"ip6\", \"arp\"]", &["", ""]);
    let server = site.world.serve(&[]);
    let _clients = [0, 1].map(|i| site.join_with(i, ALLOW));
    let (said, report) = verify(&server, &["site-1", "site-0"]);
    assert_eq!((said.code, report.verdict), (0, IsolationVerdict::Isolated), "{said:?}");
    assert_eq!(row(&report, "broadcast").dropped["ethertype"], 2, "{report:?}");
    assert_eq!(row(&report, "group_ipv4").at_root, 2, "{report:?}");
    assert_eq!(report.clients[0].name, "site-1");
    let events = events(&server);
    assert!(!events.iter().any(|event| event == "policy_acts"), "{events:?}");
    for session in sessions(&server) {
        assert_eq!(session.traffic.drops.get("ethertype"), None, "{session:?}");
    }
}

fn plain_mode_and_a_client_say_that_they_cannot() {
    let world = World::new(1).speaking(Mode::Plain);
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    let said = said_by(control(&server), &["verify-isolation"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("a server in plain mode cannot"), "{said:?}");
    let said = said_by(control(&client), &["verify-isolation"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("this is a client"), "{said:?}");
    drop(client);
    let (status, log) = world.start_client(0, "192.0.2.1", ALLOW).end();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("cannot be used with"), "{log}");
}
