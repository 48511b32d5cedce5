//! On which line a client is: told to real DHCP, DHCPv6 and PPPoE servers behind the root, to no client.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use acton_engine::SessionStatus;
use acton_netns::Namespace;
use pnet_base::MacAddr;
use support::ask::{said_by, sessions, told, until};
use support::{
    Acton, ROOT_V4, ROOT_V6, Site, TEST_ETHERTYPE, Wire, client_mac, control, counter, counters,
    frame, ping_until_answered, shell, wait_until,
};

fn main() {
    let test = |name, needs, body| testbed::Test { name, needs, body };
    testbed::run(&[
        test(
            "a_dhcp_server_gives_addresses_by_circuits",
            &["dnsmasq", "udhcpc", "tshark"],
            a_dhcp_server_gives_addresses_by_circuits,
        ),
        test(
            "learnt_leases_go_with_circuits",
            &["dnsmasq", "udhcpc"],
            learnt_leases_go_with_circuits,
        ),
        test(
            "a_dhcpv6_server_gives_addresses_by_circuits",
            &["dhcpd", "dhclient", "tshark"],
            a_dhcpv6_server_gives_addresses_by_circuits,
        ),
        test(
            "a_pppoe_server_is_told_the_circuit",
            &["pppoe-server", "pppoe-discovery", "tshark"],
            a_pppoe_server_is_told_the_circuit,
        ),
        test(
            "what_names_a_circuit_itself_is_dropped_unless_it_is_trusted",
            &[],
            what_names_a_circuit_itself_is_dropped_unless_it_is_trusted,
        ),
        test(
            "answers_go_to_whom_they_name_and_to_no_other",
            &[],
            answers_go_to_whom_they_name_and_to_no_other,
        ),
    ])
}

const CIRCUIT: &str = "circuit = { id = \"olt-7 {client}\", remote = \"{client}\" }";
/// Shown by tshark of a frame where something is wrong with it.
const WRONG: [&str; 4] =
    ["Malformed", "Expert Info (Error", "Bad checksum", "Checksum Status: Bad"];

/// A server whose list says this by default, and clients `site-0`, `site-1` and so on.
struct Lan {
    site: Site,
    server: Acton,
    _clients: Vec<Acton>,
}

impl Lan {
    fn new(clients: u8, default: &str) -> Self {
        let site = Site::new(default, &vec![""; clients.into()]);
        let server = site.world.serve(&["--no-loop-guard"]);
        let clients = site.join_all();
        for namespace in &site.world.clients {
            ping_until_answered(namespace, ROOT_V4);
        }
        Self { server, _clients: clients, site }
    }

    /// A DHCP server on the server's TAP.
    fn dnsmasq(&self, arguments: &[&str], says: &str) -> Acton {
        let file = |name: &str| self.site.world.keys.path(name).to_str().unwrap().to_owned();
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null"]);
        command.args(["--user=root", "--port=0", "--no-ping", "--interface=server"]);
        command.args(["--dhcp-authoritative", "--log-dhcp"]);
        command.arg(format!("--pid-file={}", file("pid")));
        command.arg(format!("--dhcp-leasefile={}", file("leases")));
        command.args(arguments);
        let server = Acton::spawn("dnsmasq", &self.site.world.server, &mut command);
        server.wait_for(says);
        server
    }

    /// Asks for an address of IPv4; which one it was.
    fn udhcpc(&self, i: usize, more: &str, script: &str) -> Option<String> {
        let command =
            format!("udhcpc -f -q -n -t 30 -T 1 -i client -s {script} {more} 2>&1 || true");
        let said = shell(&self.site.world.clients[i], &command);
        let (_, behind) = said.split_once("lease of ")?;
        behind.split([' ', ',']).next().map(str::to_owned)
    }

    /// What tshark says of frames, in full.
    fn tshark(&self, frames: &[Vec<u8>]) -> String {
        // pcap-savefile(5), in this machine's order, of Ethernet.
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_536, 1_u32] {
            file.extend(word.to_ne_bytes());
        }
        for frame in frames {
            for word in [0, 0, frame.len() as u32, frame.len() as u32] {
                file.extend(word.to_ne_bytes());
            }
            file.extend(frame);
        }
        let path = self.site.world.keys.path("frames.pcap");
        fs::write(&path, file).unwrap();
        let mut command = Command::new("tshark");
        command.env("HOME", path.parent().unwrap()).arg("-r").arg(&path).arg("-V");
        command.args(["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for wrong in WRONG {
            assert!(!said.contains(wrong), "{wrong}: {said}");
        }
        said
    }

    /// What was counted at the server.
    fn counter(&self, name: &str) -> u64 {
        counter(&counters(&self.server), name)
    }
}

/// How many frames of a session were dropped for their circuit.
fn refused(session: &SessionStatus) -> u64 {
    session.traffic.drops.get("circuit").copied().unwrap_or_default()
}

/// The frames that came so far, up to one that is sent by `from` now.
fn so_far(wire: &Wire, from: &Wire, source: MacAddr) -> Vec<Vec<u8>> {
    let last = frame(MacAddr::broadcast(), source, TEST_ETHERTYPE, &[7; 64]);
    from.send(&last);
    wire.receive_until(&last)
}

/// Those of UDP to this port.
fn to_port(frames: &[Vec<u8>], port: u16) -> Vec<Vec<u8>> {
    let is_it = |frame: &&Vec<u8>| {
        let headers = acton_frame::Headers::parse(frame);
        headers.ports(frame).is_some_and(|ports| ports[2..] == port.to_be_bytes())
    };
    frames.iter().filter(is_it).cloned().collect()
}

fn is_in(frame: &[u8], text: &str) -> bool {
    frame.windows(text.len()).any(|window| window == text.as_bytes())
}

const BY_CIRCUIT: [&str; 4] = [
    "--dhcp-circuitid=set:zero,olt-7 site-0",
    "--dhcp-remoteid=set:one,site-1",
    "--dhcp-range=tag:zero,10.9.0.120,10.9.0.120,1h",
    "--dhcp-range=tag:one,10.9.0.130,10.9.0.130,1h",
];

fn a_dhcp_server_gives_addresses_by_circuits() {
    let lan = Lan::new(2, CIRCUIT);
    let _dhcp = lan.dnsmasq(&BY_CIRCUIT, "DHCP, IP range");
    let (root, wires) =
        (lan.site.world.server_wire(), [0, 1].map(|i| lan.site.world.client_wire(i)));
    // To all of the LAN, and to one host.
    assert_eq!(lan.udhcpc(0, "-B", "/bin/true").as_deref(), Some("10.9.0.120"));
    assert_eq!(lan.udhcpc(1, "", "/bin/true").as_deref(), Some("10.9.0.130"));
    // Again, as in a renewal.
    assert_eq!(lan.udhcpc(1, "-r 10.9.0.130", "/bin/true").as_deref(), Some("10.9.0.130"));
    let asked = to_port(&so_far(&root, &wires[0], client_mac(0)), 67);
    let said = lan.tshark(&asked);
    let count = |text: &str| said.matches(text).count();
    assert!(asked.len() >= 6 && count("Option: (82)") == asked.len(), "{said}");
    assert_eq!(count("[Checksum Status: Good]"), asked.len(), "{said}");
    assert!(count("Agent Circuit ID: 6f6c742d3720736974652d30") >= 2, "{said}");
    assert!(count("Agent Remote ID: 736974652d31") >= 4, "{said}");
    // No host is told of it, and none gets what another is answered, though it goes to all.
    for (i, wire) in wires.iter().enumerate() {
        let answers = to_port(&so_far(wire, &root, MacAddr::new(2, 0, 0, 0, 0, 0x55)), 68);
        let said = lan.tshark(&answers);
        assert!(answers.len() >= 2 && !said.contains("Option: (82)"), "{said}");
        let good = said.matches("[Checksum Status: Good]").count();
        assert_eq!(good, answers.len(), "{said}");
        let own = client_mac(i as u8).octets();
        assert!(answers.iter().all(|frame| frame[14 + 28 + 28..][..6] == own), "{said}");
        assert!(answers.iter().all(|frame| frame.len() >= 14 + 28 + 300), "{said}");
    }
    assert!(lan.counter("circuit.named") >= 6 && lan.counter("circuit.removed") >= 6);
    let text = told(&lan.server, &["status", "site-1"]);
    assert!(text.contains("circuit: \"olt-7 site-1\", remote \"site-1\""), "{text}");
}

fn learnt_leases_go_with_circuits() {
    let lan = Lan::new(1, &format!("{CIRCUIT}\nips = [\"10.9.0.10\", \"learn\"]"));
    let _dhcp = lan.dnsmasq(&BY_CIRCUIT, "DHCP, IP range");
    let script = lan.site.world.keys.path("bound");
    let line = "[ \"$1\" != bound ] || ip address replace $ip/24 dev $interface";
    fs::write(&script, format!("#!/bin/sh\n{line}\n")).unwrap();
    let script = script.to_str().unwrap().to_owned();
    shell(&lan.site.world.clients[0], &format!("chmod +x {script}"));
    for more in ["-B", ""] {
        assert_eq!(lan.udhcpc(0, more, &script).as_deref(), Some("10.9.0.120"));
    }
    until(&lan.server, "the lease is known", |session| {
        session.policy.as_ref().unwrap().leases.iter().any(|lease| lease.left > Duration::ZERO)
    });
    wait_until("the address may be used", || {
        let ping = "ping -c 1 -W 1 -I 10.9.0.120 10.9.0.1 >/dev/null && echo answered || true";
        shell(&lan.site.world.clients[0], ping).contains("answered")
    });
}

/// A DHCPv6 server that knows clients by their circuits; dnsmasq takes nothing from a lightweight relay.
fn dhcpd(lan: &Lan) -> Acton {
    let file = |name: &str| lan.site.world.keys.path(name).display().to_string();
    let class = |name: &str| {
        format!(
            "class \"{name}\" {{ match if v6relay(1, option dhcp6.interface-id) = \"olt-7 {name}\"; }}\n"
        )
    };
    let pool = |i: u8, name: &str| {
        format!("pool6 {{ allow members of \"{name}\"; range6 fd09::1{i}0 fd09::1{i}0; }}\n")
    };
    let (zero, one) = ("site-0", "site-1");
    let text = format!(
        "{}{}subnet6 fd09::/64 {{\n{}{}}}\n",
        class(zero),
        class(one),
        pool(2, zero),
        pool(3, one)
    );
    fs::write(file("dhcpd.conf"), text).unwrap();
    fs::write(file("dhcpd.leases"), "").unwrap();
    let mut command = Command::new("dhcpd");
    command.args(["-6", "-d", "-user", "root", "-group", "root", "-cf", &file("dhcpd.conf")]);
    command.args(["-lf", &file("dhcpd.leases"), "-pf", &file("dhcpd.pid"), "server"]);
    let server = Acton::spawn("dhcpd", &lan.site.world.server, &mut command);
    server.wait_for("Server starting service");
    server
}

/// Asks for an address of IPv6; what the leases then say.
fn dhclient(lan: &Lan, i: usize) -> String {
    let file = |name: &str| lan.site.world.keys.path(&format!("{name}-{i}")).display().to_string();
    let (leases, pid) = (file("leases6"), file("pid6"));
    let namespace: &Namespace = &lan.site.world.clients[i];
    shell(
        namespace,
        &format!(
            "rm -f {leases}; touch {leases}; timeout 60 dhclient -6 -1 -d -nw -sf /bin/true -lf {leases} \
             -pf {pid} client >{leases}.log 2>&1 & \
             for n in $(seq 300); do grep -q iaaddr {leases} && break; sleep 0.1; done; kill $!; \
             wait $! || true"
        ),
    );
    fs::read_to_string(&leases).unwrap() + &fs::read_to_string(format!("{leases}.log")).unwrap()
}

fn a_dhcpv6_server_gives_addresses_by_circuits() {
    let lan = Lan::new(2, CIRCUIT);
    for namespace in &lan.site.world.clients {
        ping_until_answered(namespace, ROOT_V6);
    }
    let dhcp = dhcpd(&lan);
    let (root, wires) =
        (lan.site.world.server_wire(), [0, 1].map(|i| lan.site.world.client_wire(i)));
    for (i, address) in [(0, "fd09::120"), (1, "fd09::130")] {
        let leases = dhclient(&lan, i);
        assert!(leases.contains(&format!("iaaddr {address}")), "{leases}\n{}", dhcp.log());
    }
    let asked = to_port(&so_far(&root, &wires[0], client_mac(0)), 547);
    let said = lan.tshark(&asked);
    assert!(asked.len() >= 4, "{said}");
    let count = |text: &str| said.matches(text).count();
    assert_eq!(count("Message type: Relay-forw (12)"), asked.len(), "{said}");
    assert_eq!(count("Forum') (3561)"), asked.len(), "{said}");
    assert_eq!(count("[Checksum Status: Good]"), asked.len(), "{said}");
    assert_eq!(count("Link address: ::\n"), asked.len(), "{said}");
    for (i, wire) in wires.iter().enumerate() {
        let frames = so_far(wire, &root, MacAddr::new(2, 0, 0, 0, 0, 0x55));
        let answers = to_port(&frames, 546);
        let said = lan.tshark(&answers);
        assert!(answers.len() >= 2 && !said.contains("Interface-Id"), "{said}");
        let good = said.matches("[Checksum Status: Good]").count();
        assert_eq!(good, answers.len(), "{said}");
        assert!(answers.iter().all(|frame| frame[..6] == client_mac(i as u8).octets()), "{said}");
        assert!(to_port(&frames, 547).is_empty(), "{frames:02x?}");
    }
}

fn a_pppoe_server_is_told_the_circuit() {
    let lan = Lan::new(1, CIRCUIT);
    let (root, wire) = (lan.site.world.server_wire(), lan.site.world.client_wire(0));
    let pid = lan.site.world.keys.path("pppoe").display().to_string();
    let mut command = Command::new("pppoe-server");
    command.args(["-F", "-I", "server", "-C", "bng", "-X", &pid]);
    let _pppoe = Acton::spawn("pppoe-server", &lan.site.world.server, &mut command);
    wait_until("the concentrator answers", || {
        let said =
            shell(&lan.site.world.clients[0], "pppoe-discovery -I client -t 1 -a 1 2>&1 || true");
        said.contains("Access-Concentrator: bng")
    });
    let discovery = |frames: Vec<Vec<u8>>| {
        let is_it = |frame: &Vec<u8>| frame[12..14] == [0x88, 0x63];
        frames.into_iter().filter(is_it).collect::<Vec<_>>()
    };
    let asked = discovery(so_far(&root, &wire, client_mac(0)));
    let said = lan.tshark(&asked);
    assert!(!asked.is_empty(), "{said}");
    assert_eq!(said.matches("Circuit ID: olt-7 site-0").count(), asked.len(), "{said}");
    assert_eq!(said.matches("Remote ID: site-0").count(), asked.len(), "{said}");
    let answers = discovery(so_far(&wire, &root, MacAddr::new(2, 0, 0, 0, 0, 0x55)));
    let said = lan.tshark(&answers);
    assert!(!answers.is_empty() && said.contains("Offer"), "{said}");
    assert!(!said.contains("Circuit"), "{said}");
}

/// A message of DHCP between these ports with these options, on a VLAN where there is one.
fn dhcp(to: MacAddr, from: MacAddr, ports: [u8; 2], vlan: Option<u8>, options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[0] = if ports[1] == 67 { 1 } else { 2 };
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend(options);
    message.push(255);
    message.resize(message.len().max(300), 0);
    let len = (message.len() as u16 + 8).to_be_bytes();
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    packet[2..4].copy_from_slice(&(message.len() as u16 + 28).to_be_bytes());
    packet.extend([0, ports[0], 0, ports[1], len[0], len[1], 0, 0]);
    packet.extend(message);
    let mut frame = frame(to, from, 0x0800, &packet);
    if let Some(vlan) = vlan {
        frame.splice(12..12, [0x81, 0, 0, vlan]);
    }
    frame
}

/// Option 82 with this circuit.
fn option_82(circuit: &str) -> Vec<u8> {
    let len = circuit.len() as u8;
    [&[82, len + 2, 1, len][..], circuit.as_bytes()].concat()
}

fn what_names_a_circuit_itself_is_dropped_unless_it_is_trusted() {
    let default =
        "circuit = { id = \"olt-7 {client} {mac}:{vlan}\", protocols = [\"dhcp\", \"pppoe\"] }";
    let lan = Lan::new(1, default);
    let (root, wire) = (lan.site.world.server_wire(), lan.site.world.client_wire(0));
    let to_all = MacAddr::broadcast();
    let ask = |options: &[u8], vlan| dhcp(to_all, client_mac(0), [68, 67], vlan, options);
    let forged = ask(&option_82("olt-7 site-9"), None);
    let tag = [&[1, 5, 0, 8, 0, 0, 0x0d, 0xe9, 1, 2][..], b"me"].concat();
    let pppoe = [&[0x11, 0x09, 0, 0, 0, tag.len() as u8][..], &tag].concat();
    let pppoe = frame(to_all, client_mac(0), 0x8863, &pppoe);
    for bad in [&forged, &pppoe, &ask(&option_82("x"), Some(7))] {
        wire.send(bad);
    }
    wire.send(&ask(&[53, 1, 1], Some(7)));
    let frames = so_far(&root, &wire, client_mac(0));
    let [named] = &*to_port(&frames, 67) else { panic!("{frames:02x?}") };
    assert!(is_in(named, &format!("olt-7 site-0 {}:7", client_mac(0))), "{named:02x?}");
    assert!(!frames.contains(&pppoe), "{frames:02x?}");
    until(&lan.server, "all are counted", |session| refused(session) == 3);
    lan.server.wait_for("counted as circuit");
    let drops = told(&lan.server, &["drops"]);
    assert!(drops.contains("circuit"), "{drops}");
    let traced = |what: &[&str]| {
        let (from, to) = (client_mac(0).to_string(), to_all.to_string());
        let of = [&["trace", &from, &to, "--from", "site-0"], what].concat();
        said_by(control(&lan.server), &of).out
    };
    let text = traced(&["--ethertype", "0x88b5"]);
    assert!(text.contains("circuit") && text.contains("nothing for a server"), "{text}");
    let text = traced(&["--dhcp"]);
    assert!(text.contains("named as \"olt-7 site-0 {mac}:{vlan}\" in dhcp"), "{text}");
    let text = traced(&["--ethertype", "0x0800"]);
    assert!(text.contains("nothing for a server"), "{text}");
    // One that is trusted may name circuits, and those who have none.
    lan.site.change("[default]\n", "[default]\ntrusted = true\n");
    until(&lan.server, "it is trusted", |session| !session.policy.as_ref().unwrap().guarded);
    for good in [&forged, &pppoe] {
        wire.send(good);
        root.receive_until(good);
    }
    wire.send(&ask(&[53, 1, 1], None));
    let frames = so_far(&root, &wire, client_mac(0));
    assert!(is_in(&to_port(&frames, 67)[0], "olt-7 site-0"), "{frames:02x?}");
    // A list that is wrong says where, and the one before holds.
    lan.site.change("{mac}:", "{port}:");
    lan.server.wait_for(":3:18: no name of a circuit: {port} is no field");
    assert_eq!(refused(&sessions(&lan.server).remove(0)), 3);
}

fn answers_go_to_whom_they_name_and_to_no_other() {
    let lan = Lan::new(2, CIRCUIT);
    let (root, wires) =
        (lan.site.world.server_wire(), [0, 1].map(|i| lan.site.world.client_wire(i)));
    let from = MacAddr::new(2, 0, 0, 0, 0, 0x55);
    let answer = |to: MacAddr, number: u8, circuit: &str| {
        let options = [&[53, 1, 2, 61, 1, number][..], &option_82(circuit)].concat();
        dhcp(to, from, [67, 68], None, &options)
    };
    let to_all = MacAddr::broadcast();
    // To all, and to a MAC that nobody has; then one that names nobody, and one for another's MAC.
    for (number, to) in [(1, to_all), (2, MacAddr::new(2, 0, 0, 0, 0, 0x99))] {
        root.send(&answer(to, number, "olt-7 site-1"));
    }
    let nobody_s = answer(to_all, 3, "olt-7 site-9");
    let mistaken = answer(client_mac(0), 4, "olt-7 site-1");
    for frame in [&nobody_s, &mistaken] {
        root.send(frame);
    }
    let got = [(0, &mistaken), (1, &nobody_s)]
        .map(|(i, last): (usize, _)| to_port(&wires[i].receive_until(last), 68));
    assert_eq!(got[0], [nobody_s]);
    let numbers: Vec<_> = got[1].iter().map(|frame| frame[14 + 28 + 240 + 5]).collect();
    assert_eq!(numbers, [1, 2]);
    for frame in &got[1] {
        assert!(!is_in(frame, "olt-7"), "{frame:02x?}");
    }
    assert_eq!(lan.counter("circuit.removed"), 2);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let traced = |to: MacAddr, circuit: &str| {
        let of = ["trace", &from.to_string(), &to.to_string(), "--circuit", circuit];
        words(&said_by(control(&lan.server), &of).out)
    };
    let text = traced(to_all, "olt-7 site-1");
    assert!(text.contains("taken out, and it goes to site-1, whatever its"), "{text}");
    assert!(text.ends_with("forward to site-1"), "{text}");
    let text = traced(client_mac(1), "olt-7 site-1");
    assert!(text.contains("goes by its address"), "{text}");
    assert!(text.ends_with("forward to site-1"), "{text}");
    for (to, circuit, verdict) in
        [(to_all, "olt-7 site-9", "all 2 sessions"), (client_mac(0), "olt-7 site-1", "site-0")]
    {
        let text = traced(to, circuit);
        assert!(text.contains("is no client's"), "{text}");
        assert!(text.ends_with(&format!("forward to {verdict}")), "{text}");
    }
    assert_eq!(lan.counter("circuit.removed"), 2, "nothing is counted");
    // As it passes: without the name, which was taken out before.
    let mut live = Command::new(env!("CARGO_BIN_EXE_acton"));
    live.args(["trace", "--live", "1", "--from", "root", "udp port 68"]);
    live.arg("--control").arg(control(&lan.server)).stdout(std::process::Stdio::piped());
    let live = live.spawn().unwrap();
    lan.server.wait_for("somebody captures");
    root.send(&answer(to_all, 5, "olt-7 site-1"));
    let output = live.wait_with_output().unwrap();
    let text = words(&String::from_utf8_lossy(&output.stdout));
    assert!(
        text.contains("if it named one, that was site-1's") && !text.contains("but then"),
        "{text}"
    );
}
