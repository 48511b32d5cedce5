//! What of a client's frames passes: guards that are always on, and policies in the list of clients.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use acton_engine::SessionStatus;
use acton_netns::Namespace;
use pnet_base::MacAddr;
use support::ask::{said_by, sessions, told, until};
use support::{
    Acton, Mode, ROOT_V4, SERVER_MAC, Site, TEST_ETHERTYPE, Wire, World, answers, client_mac,
    control, frame, leaf, mac, ping_until_answered, said, shell, wait_until,
};

support::in_both_modes! {
    a_client_is_no_dhcp_server_to_the_lan: ["dnsmasq", "udhcpc"],
    a_client_is_no_router_to_the_lan,
    a_client_is_no_switch_to_the_lan;
    secure:
    who_is_trusted_serves_the_lan,
    only_kinds_that_are_allowed_pass,
    an_arp_poisoner_poisons_nobody,
    a_client_uses_what_dhcp_gave_it: ["dnsmasq", "udhcpc"],
    what_a_client_sends_and_gets_has_a_rate
}

/// A frame of IPv6, from a link-local address to all nodes.
fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend("fe80::bad".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend("ff02::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    frame(MacAddr::new(0x33, 0x33, 0, 0, 0, 1), client_mac(0), 0x86dd, &packet)
}

/// A router advertisement without a checksum: nobody is to see it.
fn advertisement() -> Vec<u8> {
    [&[134, 0, 0, 0, 64, 0, 0x07, 0x08][..], &[0; 8]].concat()
}

/// A frame by which the end of others is known.
fn marker(from: MacAddr, number: u8) -> Vec<u8> {
    frame(MacAddr::broadcast(), from, TEST_ETHERTYPE, &[number; 64])
}

/// How many frames of a session were dropped for a reason.
fn drops(session: &SessionStatus, reason: &str) -> u64 {
    session.traffic.drops.get(reason).copied().unwrap_or_default()
}

/// A DHCP server on a device, for addresses from 10.9.0.100 on.
fn dhcp_server(world: &World, namespace: &Namespace, device: &str) -> Acton {
    let file = |name: &str| world.keys.path(name).to_str().unwrap().to_owned();
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null"]);
    command.args(["--user=root", "--port=0", "--no-ping", "--dhcp-authoritative"]);
    command.args([&format!("--interface={device}"), "--dhcp-range=10.9.0.100,10.9.0.200,1h"]);
    command.arg(format!("--pid-file={}", file("pid")));
    command.arg(format!("--dhcp-leasefile={}", file("leases")));
    let server = Acton::spawn("dnsmasq", namespace, &mut command);
    server.wait_for("DHCP, IP range");
    server
}

/// Asks for an address; what came of it.
fn ask_dhcp(namespace: &Namespace, device: &str, times: u32, script: &str) -> bool {
    let command = format!("udhcpc -f -q -n -t {times} -T 1 -i {device} -s {script} 2>&1 || true");
    shell(namespace, &command).contains("lease of ")
}

fn a_client_is_no_dhcp_server_to_the_lan(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let rogue = dhcp_server(&world, &world.clients[0], "client");
    wait_until("the rogue server has answered", || {
        assert!(!ask_dhcp(&world.server, "server", 1, "/bin/true"));
        let session = sessions(&server).remove(0);
        let acts = session.policy.as_ref().unwrap().acting.iter().any(|it| it == "guard_dhcp");
        acts && drops(&session, "guard_dhcp") > 0
    });
    assert!(rogue.log().contains("DHCPOFFER"), "{}", rogue.log());
    server.wait_for("counted as guard_dhcp");
    drop((client, server));
    // Where the server's owner wants it, it serves the LAN.
    let _server = world.serve(&["--no-guards"]);
    let _client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    wait_until("the client serves the LAN", || ask_dhcp(&world.server, "server", 3, "/bin/true"));
}

fn a_client_is_no_router_to_the_lan(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&[]);
    let _client = world.join(0, &[]);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    let ra = advertisement();
    let redirect = [&[137, 0, 0, 0][..], &[0; 36]].concat();
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let tagged = |tags: &[u16], mut frame: Vec<u8>| {
        for tag in tags.iter().rev() {
            let [high, low] = tag.to_be_bytes();
            frame.splice(12..12, [0x81, 0, high, low]);
        }
        frame
    };
    // The first fragment ends in the middle of its options, RFC 7113, section 2.2.
    let first = |rest: &[u8]| [&[60, 0, 0, 1, 0, 0, 0, 7][..], rest].concat();
    let mut snap = vec![0, 64, 0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd];
    snap.extend(&ip6(58, &ra)[14..]);
    let mut behind_snap = ip6(58, &ra)[..12].to_vec();
    behind_snap.extend(snap);
    let nine = (0..9).map(|index| options(if index == 8 { 58 } else { 60 })).collect::<Vec<_>>();
    let hidden = [
        ip6(44, &first(&[58, 3, 1, 4, 0, 0, 0, 0])),
        ip6(44, &[17, 0, 0, 1, 0, 0, 0, 7]),
        ip6(60, &[nine.concat(), ra.clone()].concat()),
        tagged(&[0, 0, 0], ip6(58, &ra)),
        behind_snap,
    ];
    let advertisements = [
        ip6(58, &ra),
        tagged(&[7], ip6(58, &ra)),
        tagged(&[7, 8], ip6(58, &ra)),
        ip6(0, &[&options(60)[..], &options(58), &ra].concat()),
        ip6(44, &[&first(&[])[..], &options(58), &ra].concat()),
        {
            // To the server alone, whose address is known: such frames go the short way.
            let mut unicast = ip6(58, &ra);
            unicast[..6].copy_from_slice(&SERVER_MAC.octets());
            unicast
        },
    ];
    let bad: Vec<_> =
        hidden.iter().chain(&advertisements).cloned().chain([ip6(58, &redirect)]).collect();
    for frame in &bad {
        wire.send(frame);
    }
    let last = marker(client_mac(0), 1);
    wire.send(&last);
    let before = root.receive_until(&last);
    assert!(!before.iter().any(|frame| bad.contains(frame)), "{before:02x?}");
    let session =
        until(&server, "all are counted", |session| drops(session, "guard_redirect") == 1);
    let count = |reason| drops(&session, reason);
    assert_eq!((count("guard_ra"), count("guard_hidden")), (6, 5), "{session:#?}");
    // What clients say of routers passes, and so do other fragments.
    let solicitation = ip6(58, &[133, 0, 0, 0, 0, 0, 0, 0]);
    let other =
        ip6(44, &[&[17, 0, 0, 1, 0, 0, 0, 9][..], &[0, 99, 0, 99, 1, 0, 0, 0], &[0; 64]].concat());
    let later = ip6(44, &[&[60, 0, 0, 8, 0, 0, 0, 7][..], &ra].concat());
    wire.send(&solicitation);
    wire.send(&other);
    wire.send(&later);
    root.receive_all([solicitation, other, later]);
    for reason in ["guard_ra", "guard_hidden", "guard_redirect"] {
        let line = format!("counted as {reason}");
        server.wait_for(&line);
        assert_eq!(server.log().matches(&line).count(), 1, "told once: {}", server.log());
    }
}

fn a_client_is_no_switch_to_the_lan(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--no-loop-guard"]);
    let client = world.join(0, &[]);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    let to = |group: [u8; 6], from, kind: u16| frame(group.into(), from, kind, &[0x42; 60]);
    let cisco = |last| [1, 0, 0x0c, 0xcc, 0xcc, last];
    let of_802_1 = |last| [1, 0x80, 0xc2, 0, 0, last];
    // Per-VLAN spanning tree in a frame of 802.2, untagged and tagged; CDP; MVRP.
    let mut tagged = to(cisco(0xcd), client_mac(0), 60);
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    let control = [
        to(cisco(0xcd), client_mac(0), 60),
        tagged,
        to(cisco(0xcc), client_mac(0), 60),
        to(of_802_1(0x21), client_mac(0), 0x88f5),
    ];
    // Spanning tree, LACP, 802.1X and LLDP.
    let reserved = [(0, 60), (2, 0x8809), (3, 0x888e), (14, 0x88cc)];
    let reserved = reserved.map(|(last, kind)| to(of_802_1(last), client_mac(0), kind));
    for frame in control.iter().chain(&reserved) {
        wire.send(frame);
    }
    let last = marker(client_mac(0), 9);
    wire.send(&last);
    let out = root.receive_until(&last);
    assert!(!out.iter().any(|it| control.contains(it) || reserved.contains(it)), "{out:02x?}");
    let session = until(&server, "all are counted", |session| drops(session, "guard_control") == 4);
    assert_eq!(drops(&session, "reserved"), 4, "{session:#?}");
    // What the LAN's switches say reaches clients, so that theirs see a loop beside the tunnel; spanning
    // tree itself does not.
    let (cdp, bpdu) = (to(cisco(0xcc), mac(0x77), 60), to(of_802_1(0), mac(0x77), 60));
    root.send(&bpdu);
    root.send(&cdp);
    assert!(!wire.receive_until(&cdp).contains(&bpdu));
    if mode == Mode::Plain {
        // Nobody is trusted by name there.
        drop((client, server, root, wire));
        let _server = world.serve(&["--no-loop-guard", "--no-guards"]);
        let _client = world.join(0, &[]);
        let (root, wire) = (world.server_wire(), world.client_wire(0));
        wire.send(&control[0]);
        root.receive_until(&control[0]);
    }
}

fn who_is_trusted_serves_the_lan() {
    let site = Site::new("", &["trusted = true"]);
    let world = &site.world;
    let server = world.serve(&[]);
    let _client = site.join(0);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    let router = ip6(58, &advertisement());
    wire.send(&router);
    root.receive_until(&router);
    // From now on not any more: the list is read again while the server runs.
    site.change("trusted = true", "trusted = false");
    until(&server, "it is guarded", |session| session.policy.as_ref().unwrap().guarded);
    wire.send(&router);
    until(&server, "it is dropped", |session| drops(session, "guard_ra") == 1);
    let text = told(&server, &["status", "site-0"]);
    assert!(text.contains("guard_ra"), "{text}");
    // A list that is wrong says where, and the one before holds.
    site.change("trusted = false", "trusted = 7");
    server.wait_for(":6:11: write true or false");
    wire.send(&router);
    until(&server, "it is dropped", |session| drops(session, "guard_ra") == 2);
    site.change("trusted = 7", "trusted = false");
    assert!(world.keys.acton("server", &["revoke", "site-0"]).contains("clients left"));
}

fn only_kinds_that_are_allowed_pass() {
    let default = "allow = [\"ip\", \"ip6\", \"arp\", 0x88b5]";
    let site = Site::new(default, &[""]);
    let world = &site.world;
    let server = world.serve(&[]);
    let _client = site.join(0);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    let other = frame(MacAddr::broadcast(), client_mac(0), 0x8863, &[7; 64]);
    let mut tagged = other.clone();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    for bad in [&other, &tagged] {
        wire.send(bad);
    }
    let last = marker(client_mac(0), 3);
    wire.send(&last);
    let before = root.receive_until(&last);
    assert!(!before.contains(&other) && !before.contains(&tagged), "{before:02x?}");
    until(&server, "both are counted", |session| drops(session, "ethertype") == 2);
    let traced = said_by(
        control(&server),
        &[
            "trace",
            &client_mac(0).to_string(),
            "ff:ff:ff:ff:ff:ff",
            "--from",
            "site-0",
            "--ethertype",
            "0x8863",
        ],
    );
    assert!(traced.out.contains("not allowed") && traced.out.contains("ethertype"), "{traced:?}");
    // An address of IPv6 is the server's once its kernel found that nobody else has it.
    wait_until("the server's addresses are guarded", || {
        let events = told(&server, &["events", "--json"]);
        events.lines().any(|line| line.contains("root_addresses") && line.contains("fd09::1"))
    });
    // Each rule can be asked about.
    for (more, reason) in [
        (&["--udp", "67:68"][..], "guard_dhcp"),
        (&["--udp", "547:546", "--ethertype", "0x86dd"], "guard_dhcp"),
        (&["--icmp", "134", "--src-ip", "fe80::1"], "guard_ra"),
        (&["--icmp", "137", "--src-ip", "fe80::1"], "guard_redirect"),
        (&["--icmp", "5"], "guard_redirect"),
        (&["--src-ip", "10.9.0.1"], "guard_gateway"),
        (&["--src-ip", "10.9.0.1", "--arp"], "guard_gateway"),
        (&["--src-ip", "fd09::1", "--icmp", "136"], "guard_gateway"),
        (&["--src-ip", "10.9.0.1", "--udp", "53:53"], "guard_gateway"),
        (&["--src-ip", "10.9.0.10", "--udp", "53:53"], "forward to the TAP"),
        (&["--src-ip", "fd09::a", "--icmp", "136"], "forward to the TAP"),
    ] {
        let mac = client_mac(0).to_string();
        let fixed = ["trace", &mac, "ff:ff:ff:ff:ff:ff", "--from", "site-0"];
        // The server's own IPv6 address counts once the kernel has found that nobody else has it.
        wait_until(&format!("{more:?} leads to {reason}"), || {
            let traced = said_by(control(&server), &[&fixed[..], more].concat());
            assert!(traced.err.is_empty(), "{more:?}: {traced:?}");
            traced.out.contains(reason)
        });
    }
}

/// Waits for the control socket of a server that was started again: that of the one before is still there.
fn wait_until_it_answers(server: &Acton) {
    wait_until("the server answers", || UnixStream::connect(control(server)).is_ok());
}

/// ARP that says `address` is at `from`, to everybody.
fn arp(from: MacAddr, address: IpAddr, hardware: u8) -> Vec<u8> {
    let IpAddr::V4(address) = address else { panic!("ARP is of IPv4") };
    let IpAddr::V4(root) = ROOT_V4 else { unreachable!() };
    let mut message = vec![0, hardware, 8, 0, 6, 4, 0, 2];
    message.extend(from.octets());
    message.extend(address.octets());
    message.extend(SERVER_MAC.octets());
    message.extend(root.octets());
    frame(SERVER_MAC, from, 0x0806, &message)
}

/// One client says by ARP and neighbour discovery that it is the other one.
fn an_arp_poisoner_poisons_nobody() {
    let policies = ["ips = [\"10.9.0.10\", \"fd09::a\"]", "ips = [\"10.9.0.11\", \"fd09::b\"]"];
    let site = Site::new("", &policies);
    let world = &site.world;
    let server = world.serve(&[]);
    let _clients = [0, 1].map(|i| site.join(i));
    let victim = leaf(0);
    for i in [0, 1] {
        for address in leaf(i) {
            ping_until_answered(&world.server, address);
        }
    }
    let poisoner = world.client_wire(1);
    let root = world.server_wire();
    let neighbour = || shell(&world.server, "ip neigh show dev server");
    let knows = |mac: MacAddr| {
        let line = format!("{} lladdr {mac}", victim[0]);
        neighbour().lines().any(|known| known.contains(&line))
    };
    assert!(knows(client_mac(0)), "{}", neighbour());
    // As Ethernet and, as Linux takes it too, as 802.2; then by a packet of the victim's address.
    let mut advertisement = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    let IpAddr::V6(victim_v6) = victim[1] else { unreachable!() };
    advertisement.extend(victim_v6.octets());
    advertisement.extend([2, 1]);
    advertisement.extend(client_mac(1).octets());
    let mut nd = ip6(58, &advertisement);
    nd[6..12].copy_from_slice(&client_mac(1).octets());
    let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 9, 0, 10, 10, 9, 0, 1];
    packet.resize(46, 0);
    let spoofed = frame(SERVER_MAC, client_mac(1), 0x0800, &packet);
    let forged = [arp(client_mac(1), victim[0], 1), arp(client_mac(1), victim[0], 6), nd, spoofed];
    for frame in &forged {
        poisoner.send(frame);
    }
    let last = marker(client_mac(1), 4);
    poisoner.send(&last);
    let before = root.receive_until(&last);
    assert!(!before.iter().any(|frame| forged.contains(frame)), "{before:02x?}");
    assert!(knows(client_mac(0)), "{}", neighbour());
    let named =
        |session: &SessionStatus| session.name == "site-1" && drops(session, "source_ip") >= 4;
    until(&server, "all are counted", named);
    server.wait_for("counted as source_ip");
    assert!(answers(&world.server, victim[0]));
    // Its own addresses are its own.
    let own = arp(client_mac(1), leaf(1)[0], 1);
    poisoner.send(&own);
    root.receive_until(&own);
    let text = told(&server, &["status", "site-1"]);
    assert!(text.contains("10.9.0.11"), "{text}");
    // Without the policy it works: the test would see it.
    site.change("ips = [\"10.9.0.11\", \"fd09::b\"]", "");
    until(&server, "the policy is gone", |session| {
        session.name == "site-1" && session.policy.as_ref().unwrap().sources.is_none()
    });
    let poison = arp(client_mac(1), victim[0], 1);
    wait_until("the poison works", || {
        poisoner.send(&poison);
        knows(client_mac(1))
    });
}

fn a_client_uses_what_dhcp_gave_it() {
    let site = Site::new("", &["ips = \"learn\""]);
    let world = &site.world;
    let server = world.serve(&[]);
    let (invite, state) = (&site.invites[0], world.keys.client_state(0));
    let mac = client_mac(0).to_string();
    let start = || {
        let arguments = ["client", invite, "--state", &state, "-m", &mac];
        let client = Acton::start("client 0", &world.clients[0], &arguments);
        client.wait_for(said::CONNECTED);
        client
    };
    let client = start();
    let dhcp = dhcp_server(world, &world.server, "server");
    let script = world.keys.path("bound");
    fs::write(
        &script,
        "#!/bin/sh\n[ \"$1\" != bound ] || ip address replace $ip/24 dev $interface\n",
    )
    .unwrap();
    let script = script.to_str().unwrap().to_owned();
    shell(&world.clients[0], &format!("chmod +x {script}"));
    wait_until("it has a lease", || ask_dhcp(&world.clients[0], "client", 5, &script));
    ping_until_answered(&world.clients[0], ROOT_V4);
    let session = until(&server, "the lease is known", |session| {
        !session.policy.as_ref().unwrap().leases.is_empty()
    });
    let lease = session.policy.unwrap().leases.remove(0);
    assert!(lease.left > Duration::from_secs(3_000) && lease.left <= Duration::from_secs(3_600));
    let address = lease.address;
    // Another address is not its own.
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    wire.send(&arp(client_mac(0), "10.9.0.77".parse().unwrap(), 1));
    let last = marker(client_mac(0), 5);
    wire.send(&last);
    root.receive_until(&last);
    until(&server, "it is counted", |session| drops(session, "source_ip") >= 1);
    // A client that comes back has what it had.
    client.stop();
    let client = start();
    shell(&world.clients[0], &format!("ip address replace {address}/24 dev client"));
    ping_until_answered(&world.clients[0], ROOT_V4);
    // And so it has where the server is killed and starts again, with no DHCP server any more.
    drop((dhcp, root, wire));
    let kept = world.keys.path("server").join("leases");
    wait_until("the lease is on the disk", || {
        fs::read_to_string(&kept).is_ok_and(|text| text.contains(&format!(" 0 {address} ")))
    });
    let mode = fs::metadata(&kept).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    server.kill();
    let server = world.serve(&[]);
    wait_until_it_answers(&server);
    until(&server, "the client is back and its lease known", |session| {
        session
            .policy
            .as_ref()
            .is_some_and(|policy| policy.leases.iter().any(|lease| lease.address == address))
    });
    ping_until_answered(&world.clients[0], ROOT_V4);
    // A file that is damaged is worth a warning, and no address is known then.
    server.kill();
    fs::write(&kept, "acton leases 1\nhalf a line").unwrap();
    let server = world.serve(&[]);
    server.wait_for("holds no list of leases");
    wait_until_it_answers(&server);
    until(&server, "the client is back without a lease", |session| {
        session.policy.as_ref().is_some_and(|policy| policy.leases.is_empty())
    });
    wait_until("its address is dropped", || {
        !answers(&world.clients[0], ROOT_V4)
            && sessions(&server).iter().any(|session| drops(session, "source_ip") > 0)
    });
    drop(client);
}

fn what_a_client_sends_and_gets_has_a_rate() {
    let policy = "rate-in = { frames = 1, burst-frames = 20 }\n\
                  rate-out = { bits = \"8k\", burst-bytes = 5000 }";
    let site = Site::new("", &[policy]);
    let world = &site.world;
    let server = world.serve(&["--no-loop-guard"]);
    let _client = site.join(0);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    let received = |wire: &Wire| {
        std::iter::from_fn(|| wire.receive(Duration::from_millis(500)))
            .filter(|frame| frame[12..14] == TEST_ETHERTYPE.to_be_bytes())
            .count()
    };
    let one = frame(MacAddr::broadcast(), client_mac(0), TEST_ETHERTYPE, &[1; 986]);
    for _ in 0..500 {
        wire.send(&one);
    }
    until(&server, "the rate acts", |session| drops(session, "rate_in") >= 400);
    assert!((1..100).contains(&received(&root)));
    let to_it = frame(client_mac(0), mac(0x77), TEST_ETHERTYPE, &[2; 986]);
    for _ in 0..300 {
        root.send(&to_it);
    }
    until(&server, "the rate acts", |session| drops(session, "rate_out") >= 200);
    assert!((1..100).contains(&received(&wire)));
    // What is for everybody counts too.
    let to_all = frame(MacAddr::broadcast(), mac(0x77), TEST_ETHERTYPE, &[3; 986]);
    let before = drops(&sessions(&server)[0], "rate_out");
    for _ in 0..300 {
        root.send(&to_all);
    }
    until(&server, "the rate acts", |session| drops(session, "rate_out") >= before + 200);
    assert!(received(&wire) < 100);
    server.wait_for("counted as rate_in");
    server.wait_for("counted as rate_out");
    let text = told(&server, &["status", "site-0"]);
    assert!(text.contains("8 kbit/s") && text.contains("1 frames/s"), "{text}");
}
