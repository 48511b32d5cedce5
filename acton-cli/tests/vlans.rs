//! VLANs of clients: what the server's TAP sees of them, what they get, and what neither may.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "vlans/apart.rs"]
mod apart;
mod support;

use std::collections::HashSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use acton_engine::SessionStatus;
use pnet_base::MacAddr;
use support::ask::{said_by, told, until};
use support::{
    Acton, Mode, SERVER_MAC, Site, TEST_ETHERTYPE, Wire, World, answers, client_mac, control,
    counter, counters, frame, list_clients, mac, ping_until_answered, said, shell, tcp_transfer,
    wait_until,
};

fn main() {
    let test = |name, body| testbed::Test { name, needs: &[], body };
    testbed::run(&[
        test("an_untagged_client_is_in_its_vlan_alone", an_untagged_client_is_in_its_vlan_alone),
        test("a_client_with_a_list_has_these_alone", a_client_with_a_list_has_these_alone),
        test("a_flood_goes_to_those_of_its_vlan", a_flood_goes_to_those_of_its_vlan),
        test("a_question_goes_to_who_has_the_address", a_question_goes_to_who_has_the_address),
        test("two_tags_lead_to_their_client", two_tags_lead_to_their_client),
        test("ip_and_tcp_pass_with_tags", ip_and_tcp_pass_with_tags),
        test("two_clients_have_one_mac_and_one_ip", two_clients_have_one_mac_and_one_ip),
        test("another_vlan_while_frames_pass", another_vlan_while_frames_pass),
        test("probes_find_loops_in_the_client_s_vlan", probes_find_loops_in_the_client_s_vlan),
        test("what_is_told_of_vlans", what_is_told_of_vlans),
        test("a_trunk_has_no_pair_of_another_s", apart::a_trunk_has_no_pair_of_another_s),
        test("nobody_draws_the_frames_of_a_pair", apart::nobody_draws_the_frames_of_a_pair),
        test(
            "a_storm_in_a_vlan_leaves_others_their_budget",
            apart::a_storm_in_a_vlan_leaves_others_their_budget,
        ),
        test("a_trunk_misses_what_others_get", apart::a_trunk_misses_what_others_get),
        test("one_address_in_two_vlans", apart::one_address_in_two_vlans),
        testbed::Test {
            name: "an_address_that_was_given_in_a_vlan",
            needs: &["dnsmasq", "udhcpc"],
            body: apart::an_address_that_was_given_in_a_vlan,
        },
    ]);
}

const C_TAG: u16 = 0x8100;
const S_TAG: u16 = 0x88a8;
/// From nobody who is there.
const HOST: MacAddr = mac(0x77);

/// A frame with tags, the outer one first: each its kind, and priority and id.
fn tagged(tags: &[(u16, u16)], frame: &[u8]) -> Vec<u8> {
    let words = tags.iter().flat_map(|&(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()]);
    [&frame[..12], &words.flatten().collect::<Vec<_>>(), &frame[12..]].concat()
}

/// A test frame with a number to know it by.
fn numbered(to: MacAddr, from: MacAddr, number: u8) -> Vec<u8> {
    frame(to, from, TEST_ETHERTYPE, &[number; 64])
}

/// How many frames of a session were dropped for its VLANs.
fn drops(session: &SessionStatus) -> u64 {
    session.traffic.drops.get("vlan").copied().unwrap_or_default()
}

/// The test frames among those that a wire received before `last`.
fn heard_before(wire: &Wire, last: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = wire.receive_until(last);
    let ethertype = TEST_ETHERTYPE.to_be_bytes();
    frames.retain(|frame| (12..22).step_by(2).any(|at| frame[at..].starts_with(&ethertype)));
    frames
}

/// Waits until the session of `site-0` is as `is_so` has it.
fn until_site_0(server: &Acton, what: &str, is_so: impl Fn(&SessionStatus) -> bool) {
    until(server, what, |session| session.name == "site-0" && is_so(session));
}

fn an_untagged_client_is_in_its_vlan_alone() {
    let site = Site::new("", &["vlan = 100"]);
    let server = site.world.serve(&["--no-loop-guard"]);
    let _clients = site.join_all();
    let (root, wire) = (site.world.server_wire(), site.world.client_wire(0));
    let all = MacAddr::broadcast();
    let mine = numbered(all, client_mac(0), 1);
    wire.send(&mine);
    root.receive_until(&tagged(&[(C_TAG, 100)], &mine));
    // A priority tag keeps its priority.
    wire.send(&tagged(&[(C_TAG, 0xa000)], &mine));
    root.receive_until(&tagged(&[(C_TAG, 0xa064)], &mine));
    // Whatever else it tags does not pass, its own VLAN neither.
    let bad: &[&[(u16, u16)]] = &[
        &[(C_TAG, 100)],
        &[(C_TAG, 200)],
        &[(C_TAG, 4_095)],
        &[(S_TAG, 0)],
        &[(S_TAG, 100)],
        &[(C_TAG, 0), (C_TAG, 200)],
        &[(C_TAG, 100), (C_TAG, 200)],
    ];
    for tags in bad {
        wire.send(&tagged(tags, &numbered(all, client_mac(0), 2)));
    }
    let last = numbered(all, client_mac(0), 3);
    wire.send(&last);
    let before = heard_before(&root, &tagged(&[(C_TAG, 100)], &last));
    assert_eq!(before, Vec::<Vec<u8>>::new());
    until_site_0(&server, "all are counted", |session| drops(session) == bad.len() as u64);
    server.wait_for("counted as vlan");

    // To it: its VLAN, without the tag, by broadcast and by its address.
    let yours = [numbered(all, HOST, 4), numbered(client_mac(0), HOST, 5)];
    for frame in &yours {
        root.send(&tagged(&[(C_TAG, 0x6064)], frame));
        wire.receive_until(frame);
    }
    // And nothing else, whatever its address.
    let others: &[&[(u16, u16)]] =
        &[&[], &[(C_TAG, 0)], &[(C_TAG, 200)], &[(S_TAG, 100)], &[(C_TAG, 100), (C_TAG, 7)]];
    for tags in others {
        for to in [all, client_mac(0), mac(0x99)] {
            root.send(&tagged(tags, &numbered(to, HOST, 6)));
        }
    }
    let last = numbered(all, HOST, 7);
    root.send(&tagged(&[(C_TAG, 100)], &last));
    assert_eq!(heard_before(&wire, &last), Vec::<Vec<u8>>::new());
    // Its address is known in its VLAN, so what has two tags there was for it alone.
    until_site_0(&server, "it is counted", |session| drops(session) > bad.len() as u64);
    let log = counters(&server);
    assert!(counter(&log, "drop.vlan") >= (bad.len() + others.len() * 2) as u64, "{log}");
}

fn a_client_with_a_list_has_these_alone() {
    let site = Site::new("", &["vlans = [100, \"200-210\"]", "vlans = [0, 7]"]);
    let server = site.world.serve(&["--no-loop-guard"]);
    let _clients = site.join_all();
    let root = site.world.server_wire();
    let all = MacAddr::broadcast();
    let wires = site.client_wires();
    let good: [&[&[(u16, u16)]]; 2] = [
        &[&[(C_TAG, 100)], &[(C_TAG, 0xe0c8)], &[(C_TAG, 210)], &[(C_TAG, 205), (C_TAG, 9)]],
        &[&[], &[(C_TAG, 0xe000)], &[(C_TAG, 7)]],
    ];
    let bad: [&[&[(u16, u16)]]; 2] = [
        &[&[], &[(C_TAG, 0)], &[(C_TAG, 99)], &[(C_TAG, 211)], &[(S_TAG, 100)]],
        &[&[(C_TAG, 100)], &[(S_TAG, 7)], &[(C_TAG, 0), (C_TAG, 100)]],
    ];
    for (i, wire) in wires.iter().enumerate() {
        let from = client_mac(i as u8);
        for tags in bad[i] {
            wire.send(&tagged(tags, &numbered(all, from, 1)));
        }
        for tags in good[i] {
            let frame = tagged(tags, &numbered(all, from, 2));
            wire.send(&frame);
            assert_eq!(heard_before(&root, &frame), Vec::<Vec<u8>>::new(), "{tags:?}");
        }
        // What it gets is as it is at the root.
        for tags in bad[i] {
            root.send(&tagged(tags, &numbered(all, HOST, 0x30 + i as u8)));
        }
        for tags in good[i] {
            let frame = tagged(tags, &numbered(all, HOST, 4));
            root.send(&frame);
            let before = heard_before(wire, &frame);
            assert!(
                !before.iter().any(|frame| frame.ends_with(&[0x30 + i as u8])),
                "{before:02x?}"
            );
        }
        // Its host says things of its own, too, without a tag.
        let name = format!("site-{i}");
        until(&server, "all are counted", |session| {
            session.name == name && drops(session) >= bad[i].len() as u64
        });
    }
}

/// Whatever comes between, each client gets what is of its VLANs, in order and as it should be. So
/// many frames come at once that they go out in rounds.
fn a_flood_goes_to_those_of_its_vlan() {
    let policies =
        ["vlan = 100", "", "vlan = 200", "vlans = [0, 100]", "vlan = 100", "vlan = \"100.5\""];
    let site = Site::new("", &policies);
    let _server =
        site.world.serve(&["--no-loop-guard", "--workers", "1", "--budget", "root:broadcast=none"]);
    let _clients = site.join_all();
    let (root, wires) = (site.world.server_wire(), site.client_wires());
    let all = MacAddr::broadcast();
    let tags: [&[(u16, u16)]; 5] =
        [&[(C_TAG, 100)], &[], &[(C_TAG, 200)], &[(C_TAG, 100), (C_TAG, 5)], &[(C_TAG, 300)]];
    let mut expected = vec![Vec::new(); wires.len()];
    for number in 0..1_000_u32 {
        // Some VLANs come in runs.
        let kind = [0, 0, 0, 1, 2, 2, 0, 4, 1, 3, 0][number as usize % 11];
        let mut frame = frame(all, HOST, TEST_ETHERTYPE, &[7; 1_400]);
        frame[14..18].copy_from_slice(&number.to_be_bytes());
        let whole = tagged(tags[kind], &frame);
        root.send(&whole);
        for i in match kind {
            0 => &[0, 4][..],
            2 => &[2],
            _ => &[],
        } {
            expected[*i].push(frame.clone());
        }
        expected[1].push(whole.clone());
        if matches!(kind, 0 | 1 | 3) {
            expected[3].push(whole);
        }
    }
    // What is sent behind them, until it comes: a busy machine loses what waits for too long.
    let last = numbered(all, HOST, 0xee);
    for (i, (wire, expected)) in wires.iter().zip(&expected).enumerate() {
        let (sent, received) = match i {
            0 | 4 => (tagged(tags[0], &last), last.clone()),
            2 => (tagged(tags[2], &last), last.clone()),
            5 => (tagged(&[(S_TAG, 100), (C_TAG, 5)], &last), last.clone()),
            _ => (last.clone(), last.clone()),
        };
        let mut heard = Vec::new();
        wait_until("the last one comes", || {
            root.send(&sent);
            while let Some(frame) = wire.receive(Duration::from_millis(100)) {
                if frame == received {
                    return true;
                }
                heard.push(frame);
            }
            false
        });
        let is_of_test = |frame: &Vec<u8>| frame.len() > 1_400;
        heard.retain(is_of_test);
        // Those of one VLAN are of one flow.
        let flow = |frame: &[u8]| {
            let tags = frame[12..].chunks(4).take_while(|tag| tag.starts_with(&[0x81, 0]));
            tags.map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        for tags in heard.iter().map(|frame| flow(frame)).collect::<HashSet<_>>() {
            let of_flow = |frame: &&Vec<u8>| flow(frame) == tags;
            let mut left = expected.iter().filter(of_flow);
            for frame in heard.iter().filter(of_flow) {
                let is_next = left.any(|expected| expected == frame);
                assert!(is_next, "{i}: {tags:02x?}, {:02x?}", &frame[12..26]);
            }
        }
        assert!(
            expected.is_empty() == heard.is_empty(),
            "{i}: {} of {}",
            heard.len(),
            expected.len()
        );
    }
}

/// Who has an address? In its VLAN the one who has it is asked, and in others it is nobody's.
fn a_question_goes_to_who_has_the_address() {
    let site = Site::new("", &["vlan = 100", ""]);
    let _server = site.world.serve(&["--no-loop-guard"]);
    let _clients = site.join_all();
    let (root, wires) = (site.world.server_wire(), site.client_wires());
    let arp = |to: MacAddr, from: MacAddr, operation: u8, sender: [u8; 4], target: [u8; 4]| {
        let mut message = vec![0, 1, 8, 0, 6, 4, 0, operation];
        message.extend([&from.octets()[..], &sender, &[0; 6], &target, &[0; 18]].concat());
        frame(to, from, 0x0806, &message)
    };
    let all = MacAddr::broadcast();
    let tells = arp(all, client_mac(0), 1, [10, 9, 0, 40], [10, 9, 0, 40]);
    wires[0].send(&tells);
    root.receive_until(&tagged(&[(C_TAG, 100)], &tells));
    let asks = |number: u8| arp(all, mac(number), 1, [10, 9, 0, number], [10, 9, 0, 40]);
    let in_vlan = tagged(&[(C_TAG, 100)], &asks(0x71));
    root.send(&in_vlan);
    wires[0].receive_until(&asks(0x71));
    let elsewhere = tagged(&[(C_TAG, 200)], &asks(0x72));
    root.send(&elsewhere);
    let before = wires[1].receive_until(&elsewhere);
    assert!(!before.contains(&in_vlan), "the client of that VLAN was asked alone");
}

fn two_tags_lead_to_their_client() {
    let policies = ["vlan = \"1000.17\"", "vlan = \"1000.18\"\ntpid = 0x8100", "", "vlan = 17"];
    let site = Site::new("max-macs = 1", &policies);
    // Frames of several VLANs are looked at in the order in which they were sent.
    let server = site.world.serve(&["--no-loop-guard", "--workers", "1"]);
    let _clients = site.join_all();
    let (root, wires) = (site.world.server_wire(), site.client_wires());
    let outside = [(S_TAG, 1_000), (C_TAG, 1_000)];
    let inside = [(C_TAG, 17), (C_TAG, 18)];
    let all = MacAddr::broadcast();
    // Both have one MAC, and more than one.
    for i in 0..2 {
        for from in [mac(0x50), mac(0x51), mac(0x52)] {
            for (number, to) in [all, HOST].into_iter().enumerate() {
                let frame = numbered(to, from, number as u8);
                wires[i].send(&frame);
                root.receive_until(&tagged(&[outside[i], inside[i]], &frame));
            }
        }
        let frame = numbered(all, mac(0x50), 9);
        wires[i].send(&tagged(&[(C_TAG, 0x4000)], &frame));
        let priority = |(tpid, id)| (tpid, id | 0x4000);
        root.receive_until(&tagged(&[priority(outside[i]), priority(inside[i])], &frame));
    }
    let fdb = told(&server, &["fdb"]);
    assert!(!fdb.contains(&mac(0x50).to_string()), "{fdb}");
    // Back, by the tags alone.
    for (number, to) in [all, mac(0x50), mac(0x99), HOST, client_mac(2)].into_iter().enumerate() {
        for i in [1, 0] {
            let frame = numbered(to, mac(0x60), 0x20 + number as u8);
            root.send(&tagged(&[outside[i], inside[i]], &frame));
            assert_eq!(heard_before(&wires[i], &frame), Vec::<Vec<u8>>::new(), "{to}");
        }
    }
    // Not with another kind of tag, where they are a VLAN as any, nor with one tag more; nor to others.
    root.send(&tagged(&[outside[1], inside[0]], &numbered(all, mac(0x60), 0x30)));
    root.send(&tagged(&[outside[0], inside[0], (C_TAG, 5)], &numbered(all, mac(0x60), 0x31)));
    root.send(&tagged(&[outside[0]], &numbered(all, mac(0x60), 0x32)));
    root.send(&tagged(&[inside[0]], &numbered(all, mac(0x60), 0x33)));
    until_site_0(&server, "it is counted", |session| drops(session) == 1);
    let last = numbered(all, mac(0x60), 0x40);
    root.send(&tagged(&[outside[0], inside[0]], &last));
    assert_eq!(heard_before(&wires[0], &last), Vec::<Vec<u8>>::new());
    root.send(&tagged(&[inside[0]], &last));
    let only = heard_before(&wires[3], &last);
    assert_eq!(only, [numbered(all, mac(0x60), 0x33)]);
    let trunk = tagged(&[inside[0]], &last);
    let only = heard_before(&wires[2], &trunk);
    let floods: [(&[(u16, u16)], u8); 3] =
        [(&[outside[1], inside[0]], 0x30), (&[outside[0]], 0x32), (&[inside[0]], 0x33)];
    assert_eq!(only, floods.map(|(tags, number)| tagged(tags, &numbered(all, mac(0x60), number))));
}

/// Two servers whose TAPs are ports of one Linux bridge: what one's client has no tag on crosses it with
/// tags, and has none at the other's client. Client 1 is the second server's.
struct Pair {
    site: Site,
    peers: Vec<String>,
    servers: [Acton; 2],
}

impl Pair {
    /// Clients of the first server, then of the second one.
    fn new(policies: &[&str], peers: &[&str]) -> Self {
        let world = World::new((policies.len() + peers.len()) as u8).speaking(Mode::Secure);
        world.as_on_a_cable();
        shell(
            &world.server,
            "test ! -d /proc/sys/net/bridge ||
             for call in /proc/sys/net/bridge/bridge-nf-call-*; do echo 0 > $call; done
             ip link add br0 type bridge mcast_snooping 0
             ip link set br0 up",
        );
        let _ = world.keys.server();
        let invites = list_clients(&world, "server", "192.0.2.1", "", policies);
        let first = world.serve(&["--bridge", "br0"]);
        let other = world.keys.path("other");
        fs::create_dir(&other).unwrap();
        shell(&world.server, &format!("chmod 700 {}", other.display()));
        world.keys.acton("other", &["invite", "--host", "192.0.2.1:8081"]);
        let peers = list_clients(&world, "other", "192.0.2.1:8081", "", peers);
        let state = other.to_str().unwrap().to_owned();
        let arguments = ["server", "-t", "other", "-m", "02:ac:70:00:00:02", "-p", "8081"];
        let more = ["--state", &state, "--bridge", "br0"];
        let second = Acton::start("other", &world.server, &[&arguments[..], &more].concat());
        second.wait_for(said::LISTENING);
        Self { site: Site { world, invites }, peers, servers: [first, second] }
    }

    /// Starts client `i`, whose MAC and addresses are those of client `like`.
    fn join(&self, i: usize, like: u8) -> Acton {
        let own = self.site.invites.len();
        let invite = if i < own { &self.site.invites[i] } else { &self.peers[i - own] };
        let world = &self.site.world;
        let (state, mac) = (world.keys.client_state(i as u8), client_mac(like).to_string());
        let [v4, v6] = support::leaf(like).map(|address| address.to_string());
        let (v4, v6) = (format!("{v4}/24"), format!("{v6}/64"));
        let arguments = ["client", invite, "--state", &state, "-m", &mac, "-a", &v4, "-a", &v6];
        let client = Acton::start(&format!("client {i}"), &world.clients[i], &arguments);
        client.wait_for(said::CONNECTED);
        client
    }
}

/// Full packets and TCP, both ways, over IPv4 and IPv6.
fn reaches(world: &World, from: usize, to: usize, like: u8) {
    let [from, to] = [from, to].map(|i| &world.clients[i]);
    for address in support::leaf(like) {
        ping_until_answered(from, address);
        let (size, kind) = if address.is_ipv4() { (1_472, "-M do") } else { (1_452, "") };
        shell(from, &format!("ping -n -c 2 -i 0.2 {kind} -s {size} {address}"));
        tcp_transfer(from, to, address, 4 << 20);
    }
}

fn ip_and_tcp_pass_with_tags() {
    let pair =
        Pair::new(&["vlan = 100", "vlan = \"1000.17\""], &["vlan = 100", "vlan = \"1000.17\""]);
    let world = &pair.site.world;
    let _clients: Vec<_> = (0..4).map(|i| pair.join(i, i as u8)).collect();
    for (one, other) in [(0, 2), (1, 3)] {
        reaches(world, one, other, other as u8);
        reaches(world, other, one, one as u8);
    }
    for (one, other) in [(0, 3), (1, 2), (0, 1)] {
        assert!(!answers(&world.clients[one], support::leaf(other)[0]), "{one} and {other}");
    }
    // They were super-frames, with checksums that are right.
    let [first, second] = &pair.servers;
    for server in [first, second] {
        let log = counters(server);
        let (writes, frames) = (counter(&log, "tap.writes"), counter(&log, "tap.written.frames"));
        assert!(writes * 2 < frames, "{writes} of {frames}: {log}");
        assert_eq!(counter(&log, "tap.superframe_refused"), 0, "{log}");
    }
    for client in &world.clients {
        let errors = "awk '/^Tcp:/ { print $NF }' /proc/net/snmp | tail -1";
        assert_eq!(shell(client, errors).trim(), "0");
    }
}

fn two_clients_have_one_mac_and_one_ip() {
    let policies = ["vlan = \"1000.17\"", "vlan = \"1000.18\""];
    let pair = Pair::new(&policies, &policies);
    let world = &pair.site.world;
    // 0 and 1 are one host to look at, and so are the ones that they speak to, 2 and 3.
    let _clients = [(0, 0), (1, 0), (2, 2), (3, 2)].map(|(i, like)| pair.join(i, like));
    for (one, other) in [(0, 2), (1, 3)] {
        reaches(world, one, other, 2);
        reaches(world, other, one, 0);
    }
}

fn another_vlan_while_frames_pass() {
    let site = Site::new("", &["vlan = 100", ""]);
    let server = site.world.serve(&["--no-loop-guard"]);
    let _clients = site.join_all();
    let (root, wires) = (site.world.server_wire(), site.client_wires());
    let all = MacAddr::broadcast();
    let hello = numbered(all, client_mac(0), 1);
    let seen = |tags: &[(u16, u16)]| {
        let sent = tagged(tags, &hello);
        wait_until("the frame is in that VLAN", || {
            wires[0].send(&hello);
            while let Some(frame) = root.receive(Duration::from_millis(50)) {
                if frame == sent {
                    return true;
                }
            }
            false
        });
    };
    let steps: [(&str, &[(u16, u16)]); 5] = [
        ("vlan = 100", &[(C_TAG, 100)]),
        ("vlan = 200", &[(C_TAG, 200)]),
        ("vlan = \"7.8\"", &[(S_TAG, 7), (C_TAG, 8)]),
        ("strict = false", &[]),
        ("vlan = 100", &[(C_TAG, 100)]),
    ];
    let mut before: Option<(&str, &[(u16, u16)])> = None;
    for (number, (policy, tags)) in steps.into_iter().enumerate() {
        if let Some((old, _)) = before {
            site.change(old, policy);
        }
        seen(tags);
        // What is for it comes in its new VLAN, and no more in the one before.
        if let Some((_, old)) = before.filter(|(_, old)| !old.is_empty() && !tags.is_empty()) {
            for to in [client_mac(0), all] {
                root.send(&tagged(old, &numbered(to, HOST, 0x50)));
            }
        }
        let last = numbered(client_mac(0), HOST, number as u8);
        root.send(&tagged(tags, &last));
        assert_eq!(heard_before(&wires[0], &last), Vec::<Vec<u8>>::new(), "{policy}");
        before = Some((policy, tags));
    }
    let sessions = support::session_names(&server);
    assert_eq!(sessions.len(), 2, "none ended for it");
    assert_eq!(server.log().matches(" up: ").count(), 2, "{}", server.log());
}

/// The next probe of the server's.
fn next_probe(wire: &Wire) -> Vec<u8> {
    loop {
        let frame = wire.receive(support::HANG).expect("probes are sent");
        // Clients look for loops too.
        if frame[12..14] == [0x88, 0xb6] && frame[6..12] == SERVER_MAC.octets() {
            return frame;
        }
    }
}

fn probes_find_loops_in_the_client_s_vlan() {
    let site = Site::new("", &["vlan = 100", "vlan = 200"]);
    let server = site.world.serve(&[]);
    let _clients = site.join_all();
    let (root, wires) = (site.world.server_wire(), site.client_wires());
    // What comes back elsewhere does not go round: untagged, in another VLAN, through another's LAN.
    let probe = next_probe(&wires[0]);
    root.send(&probe);
    root.send(&tagged(&[(C_TAG, 200)], &probe));
    wires[1].send(&probe);
    // Nor does what the server sent into its own TAP, without a tag.
    let of_tap = next_probe(&root);
    wires[0].send(&of_tap);
    wait_until("the probes have come back", || {
        counter(&counters(&server), "loop.probes_back") >= 4
    });
    assert!(!told(&server, &["status", "site-0"]).contains("by another way"));
    // In its own it does.
    wait_until("the loop is found", || {
        root.send(&tagged(&[(C_TAG, 100)], &next_probe(&wires[0])));
        server.log().contains("a loop:")
    });
}

fn what_is_told_of_vlans() {
    let site = Site::new("", &["vlan = 100", "vlan = \"1000.17\"", "vlans = [0, \"7-9\"]"]);
    let server = site.world.serve(&["--no-loop-guard"]);
    let _clients = site.join_all();
    for (name, said) in [
        ("site-0", "VLANs: 100, untagged at the client"),
        ("site-1", "VLANs: 1000.17 (802.1ad outside), untagged at the client"),
        ("site-2", "VLANs: 0 (untagged), 7-9 alone"),
    ] {
        let text = told(&server, &["status", name]);
        assert!(text.contains(said), "{text}");
    }
    let (root, wire) = (site.world.server_wire(), site.world.client_wire(0));
    wire.send(&numbered(MacAddr::broadcast(), client_mac(0), 1));
    root.receive_until(&tagged(&[(C_TAG, 100)], &numbered(MacAddr::broadcast(), client_mac(0), 1)));
    let (mine, host) = (client_mac(0).to_string(), HOST.to_string());
    let trace = |arguments: &[&str]| {
        let said = said_by(control(&server), &[&["trace"], arguments].concat());
        said.out + &said.err
    };
    let all = "ff:ff:ff:ff:ff:ff";
    for (arguments, expected) in [
        (&[&*mine, all, "--from", "site-0"][..], &["100 at the root", "forward to the TAP"][..]),
        (
            &[&mine, all, "--from", "site-0", "--vlan", "7"],
            &["none that the client is in", "drop (vlan)"],
        ),
        (
            &[&mine, all, "--from", "site-1"],
            &["VLAN 1000.17", "1000.17 at the root", "not learnt", "forward to the TAP"],
        ),
        (&[&host, &mine, "--vlan", "100"], &["lose their tag", "forward to site-0"]),
        (
            &[&host, &mine, "--vlan", "1000.17"],
            &["VLAN 1000.17", "the two tags are site-1's", "forward to site-1"],
        ),
        (&[&host, all, "--vlan", "7"], &["2 sessions are not in that", "forward to the one"]),
        (&[&host, all, "--vlan", "7"], &["in all VLANs: ", "1/3 of a frame"]),
        (&[&host, all, "--vlan", "300"], &["3 sessions are not in that", "drop (vlan)"]),
        (&[&host, all], &["2 sessions are not in that", "forward to the one"]),
    ] {
        let text = trace(arguments);
        for expected in expected {
            assert!(text.contains(expected), "{arguments:?}: no {expected:?} in {text}");
        }
    }
    // The root's frame with two tags, as it was dropped or passed, is not a matter of words.
    root.send(&numbered(MacAddr::broadcast(), HOST, 9));
    wire.send(&tagged(&[(C_TAG, 9)], &numbered(MacAddr::broadcast(), client_mac(0), 2)));
    wait_until("the drop is shown", || told(&server, &["drops"]).contains("vlan"));
    let events = told(&server, &["events"]);
    assert!(events.contains("vlan") && events.contains("site-0"), "{events}");
    // A list that is wrong says where.
    site.change("vlan = 100", "vlan = \"1000.17\"");
    server.wait_for("1000.17 is");
}
