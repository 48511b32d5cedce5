//! IPv6 addresses that a client is given by DHCPv6, or makes itself in a prefix that the LAN advertises.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;

use acton_engine::{LearntFrom, SessionStatus};
use pnet_base::MacAddr;
use support::ask::{said_by, sessions, told, until};
use support::{
    Acton, Mode, SERVER_MAC, TEST_ETHERTYPE, Wire, World, client_mac, control, frame, said, shell,
    wait_until,
};

fn main() {
    let test = |name, needs, body| testbed::Test { name, needs, body };
    testbed::run(&[
        test(
            "a_client_uses_what_it_made_in_an_advertised_prefix",
            &[],
            a_client_uses_what_it_made_in_an_advertised_prefix,
        ),
        test(
            "a_client_uses_what_dhcpv6_gave_it",
            &["dhcpd", "dhclient"],
            a_client_uses_what_dhcpv6_gave_it,
        ),
    ])
}

/// A server whose clients may use what is learnt alone, and so many of them.
struct Lan {
    world: World,
    server: Acton,
    _clients: Vec<Acton>,
}

impl Lan {
    fn new(clients: u8) -> Self {
        let world = World::new(clients).speaking(Mode::Secure);
        let _ = world.keys.server();
        let list = world.keys.path("server").join("clients");
        fs::write(&list, "[default]\nips = \"learn\"\n").unwrap();
        shell(&world.server, &format!("chmod 600 {}", list.display()));
        let invites: Vec<_> =
            (0..clients).map(|i| world.keys.named_invite(&format!("site-{i}"), &[])).collect();
        let server = world.serve(&["--no-loop-guard"]);
        let join = |i: u8| {
            let (invite, state) = (&invites[usize::from(i)], world.keys.client_state(i));
            let mac = client_mac(i).to_string();
            let arguments = ["client", invite, "--state", &state, "-m", &mac];
            let namespace = &world.clients[usize::from(i)];
            let client = Acton::start(&format!("client {i}"), namespace, &arguments);
            client.wait_for(said::CONNECTED);
            client
        };
        let clients: Vec<_> = (0..clients).map(join).collect();
        for (i, namespace) in world.clients.iter().enumerate() {
            wait_until("the client has its link-local address", || {
                let said = shell(namespace, "ip -6 -o address show dev client scope link");
                said.contains("fe80") && !said.contains("tentative")
            });
            let name = format!("site-{i}");
            until(&server, "the session is there", |session| session.name == name);
        }
        Self { server, _clients: clients, world }
    }

    /// Sends a frame as a client and says whether it comes to the root.
    fn passes(&self, i: u8, frame: &[u8]) -> bool {
        let (root, wire) = (self.world.server_wire(), self.world.client_wire(i));
        wire.send(frame);
        let last = marker(i);
        wire.send(&last);
        root.receive_until(&last).iter().any(|got| got == frame)
    }

    /// What a client holds: addresses and prefixes, and how it came to them.
    fn held(&self, i: u8) -> Vec<(String, LearntFrom)> {
        let name = format!("site-{i}");
        let session = sessions(&self.server).into_iter().find(|session| session.name == name);
        session.map(|session| held(&session)).unwrap_or_default()
    }
}

fn held(session: &SessionStatus) -> Vec<(String, LearntFrom)> {
    let policy = session.policy.as_ref().unwrap();
    let text = |address: IpAddr, len: Option<u8>| match len {
        Some(len) => format!("{address}/{len}"),
        None => address.to_string(),
    };
    policy.leases.iter().map(|it| (text(it.address, it.prefix_len), it.from)).collect()
}

/// A frame by which the end of others is known.
fn marker(i: u8) -> Vec<u8> {
    frame(MacAddr::broadcast(), client_mac(i), TEST_ETHERTYPE, &[7; 64])
}

/// How many frames of a session were dropped for their address.
fn refused(lan: &Lan, i: u8) -> u64 {
    let name = format!("site-{i}");
    let session = sessions(&lan.server).into_iter().find(|session| session.name == name).unwrap();
    session.traffic.drops.get("source_ip").copied().unwrap_or_default()
}

/// A packet of IPv6 to a group.
fn packet(source: MacAddr, [from, to]: [Ipv6Addr; 2], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    frame(MacAddr::new(0x33, 0x33, 0, 0, 0, 1), source, 0x86dd, &packet)
}

/// The same of ICMPv6, with its checksum.
fn icmpv6(source: MacAddr, ends: [Ipv6Addr; 2], message: &[u8]) -> Vec<u8> {
    let mut pseudo = ends.map(|end| end.octets()).concat();
    pseudo.extend((message.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, 58]);
    pseudo.extend(message);
    let words = pseudo.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let mut message = message.to_vec();
    message[2..4].copy_from_slice(&(!(sum + (sum >> 16)) as u16).to_be_bytes());
    packet(source, ends, 58, &message)
}

/// A router's advertisement of a prefix of 64 bits, valid for an hour.
fn advertisement(prefix: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, 0, 0, 0];
    message.extend([0; 8]);
    message.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    message.extend(prefix.octets());
    let ends = ["fe80::1", "ff02::1"].map(|end| end.parse().unwrap());
    icmpv6(SERVER_MAC, ends, &message)
}

/// Neighbour discovery about a target: a probe of it (135), or word that the sender has it (136).
fn neighbour(kind: u8, from: MacAddr, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets()].concat();
    icmpv6(from, [source, "ff02::1".parse().unwrap()], &message)
}

fn udp(i: u8, source: Ipv6Addr) -> Vec<u8> {
    let datagram = [0, 9, 0, 9, 0, 8, 0, 0];
    packet(client_mac(i), [source, "ff02::1".parse().unwrap()], 17, &datagram)
}

fn pings(lan: &Lan, i: usize, from: &str, to: &str) -> bool {
    let ping = format!("ping -c 1 -W 1 -I {from} {to} >/dev/null && echo answered || true");
    shell(&lan.world.clients[i], &ping).contains("answered")
}

/// The address that the kernel of a client made itself, once it is no more probed for.
fn made_by_kernel(lan: &Lan, root: &Wire, prefix: Ipv6Addr) -> Ipv6Addr {
    let mut made = None;
    wait_until("the client has made an address", || {
        root.send(&advertisement(prefix));
        let command = "ip -6 -o address show dev client scope global dynamic -tentative";
        let said = shell(&lan.world.clients[0], command);
        let address = said.split_whitespace().find_map(|word| word.strip_suffix("/64"));
        made = address.map(|address| address.parse().unwrap());
        made.is_some()
    });
    made.unwrap()
}

fn a_client_uses_what_it_made_in_an_advertised_prefix() {
    let lan = Lan::new(2);
    let prefix: Ipv6Addr = "2001:db8:77::".parse().unwrap();
    let server = "2001:db8:77::1";
    let add = format!("ip -6 address add {server}/64 dev server nodad");
    shell(&lan.world.server, &add);
    let accept = "echo 2 >/proc/sys/net/ipv6/conf/client/accept_ra";
    shell(&lan.world.clients[0], accept);
    let root = lan.world.server_wire();
    let made = made_by_kernel(&lan, &root, prefix);
    wait_until("its address may be used", || pings(&lan, 0, &made.to_string(), server));
    assert_eq!(lan.held(0), [(made.to_string(), LearntFrom::Slaac)]);
    let text = told(&lan.server, &["status", "site-0"]);
    assert!(text.contains(&format!("{made} of its own in an advertised prefix")), "{text}");
    let macs = [client_mac(0), SERVER_MAC].map(|mac| mac.to_string());
    let source = made.to_string();
    let of = ["trace", &macs[0], &macs[1], "--from", "site-0", "--src-ip", &source];
    let text = said_by(control(&lan.server), &of).out;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("one of its own in an advertised prefix"), "{text}");
    // Another address in the prefix is not its own before it probes for that.
    let other: Ipv6Addr = "2001:db8:77::77".parse().unwrap();
    let before = refused(&lan, 0);
    assert!(!lan.passes(0, &udp(0, other)));
    assert!(refused(&lan, 0) > before);
    let nobody = Ipv6Addr::UNSPECIFIED;
    assert!(lan.passes(0, &neighbour(135, client_mac(0), nobody, other)));
    assert!(lan.passes(0, &udp(0, other)));
    // A second client cannot take either, and has what it probes for itself.
    let before = refused(&lan, 1);
    for taken in [made, other] {
        assert!(!lan.passes(1, &neighbour(135, client_mac(1), nobody, taken)));
        assert!(!lan.passes(1, &udp(1, taken)));
    }
    assert!(refused(&lan, 1) >= before + 4);
    let free: Ipv6Addr = "2001:db8:77::78".parse().unwrap();
    assert!(lan.passes(1, &neighbour(135, client_mac(1), nobody, free)));
    assert!(lan.passes(1, &udp(1, free)));
    assert!(lan.held(1).contains(&(free.to_string(), LearntFrom::Slaac)));
    // Nor keeps it one that a host of the LAN has.
    wait_until("the root's is the root's", || {
        // It has three seconds to say so, and says it as often as it is asked.
        let _ = lan.passes(1, &neighbour(135, client_mac(1), nobody, free));
        root.send(&neighbour(136, SERVER_MAC, free, free));
        !lan.held(1).contains(&(free.to_string(), LearntFrom::Slaac))
    });
    assert!(!lan.passes(1, &udp(1, free)));
    // A server that was killed knows what was: no probe comes again.
    let kept = lan.world.keys.path("server").join("leases");
    wait_until("the address is on the disk", || {
        let line = format!(" 0 {made} ");
        fs::read_to_string(&kept).is_ok_and(|text| {
            text.lines().any(|kept| kept.contains(&line) && kept.ends_with(" slaac"))
        })
    });
    drop(root);
    let Lan { world, server: killed, _clients } = lan;
    killed.kill();
    let server_again = world.serve(&["--no-loop-guard"]);
    let lan = Lan { world, server: server_again, _clients };
    until(&lan.server, "the client is back with its address", |session| {
        session.policy.is_some() && held(session).contains(&(made.to_string(), LearntFrom::Slaac))
    });
    shell(&lan.world.server, &add);
    wait_until("its address may be used again", || pings(&lan, 0, &made.to_string(), server));
}

/// A DHCPv6 server that gives addresses and prefixes.
fn dhcpd(lan: &Lan) -> Acton {
    let file = |name: &str| lan.world.keys.path(name).display().to_string();
    let text = "subnet6 fd09::/64 { range6 fd09::120 fd09::12f; \
                prefix6 fd09:5:: fd09:5:f:: /48; }\n";
    fs::write(file("dhcpd.conf"), text).unwrap();
    fs::write(file("dhcpd.leases"), "").unwrap();
    let mut command = Command::new("dhcpd");
    command.args(["-6", "-d", "-user", "root", "-group", "root", "-cf", &file("dhcpd.conf")]);
    command.args(["-lf", &file("dhcpd.leases"), "-pf", &file("dhcpd.pid"), "server"]);
    let server = Acton::spawn("dhcpd", &lan.world.server, &mut command);
    server.wait_for("Server starting service");
    server
}

/// Runs dhclient in the first client until its leases hold these words; what they hold.
fn dhclient(lan: &Lan, words: &[&str]) -> String {
    let file = |name: &str| lan.world.keys.path(name).display().to_string();
    let (leases, pid) = (file("leases6"), file("pid6"));
    let mut command = Command::new("dhclient");
    command.args(["-6", "-d", "-N", "-P", "-sf", "/bin/true", "-lf", &leases, "-pf", &pid]);
    fs::write(&leases, "").unwrap();
    let client = Acton::spawn("dhclient", &lan.world.clients[0], command.arg("client"));
    let mut text = String::new();
    wait_until("there is a lease", || {
        text = fs::read_to_string(&leases).unwrap();
        words.iter().all(|word| text.contains(word))
    });
    drop(client);
    text
}

fn a_client_uses_what_dhcpv6_gave_it() {
    let lan = Lan::new(2);
    let dhcp = dhcpd(&lan);
    let leases = dhclient(&lan, &["iaaddr ", "iaprefix "]);
    let word = |before: &str| {
        let (_, behind) = leases.split_once(before).unwrap();
        behind.split_whitespace().next().unwrap().to_owned()
    };
    let (address, prefix) = (word("iaaddr "), word("iaprefix "));
    let expected = [&address, &prefix].map(|it| (it.clone(), LearntFrom::Dhcp));
    wait_until("both are the client's", || lan.held(0) == expected);
    let text = told(&lan.server, &["status", "site-0"]);
    assert!(text.contains(&format!("{prefix} by DHCP, for")), "{text}\n{}", dhcp.log());
    let own: Ipv6Addr = address.parse().unwrap();
    let delegated: Ipv6Addr = prefix.split('/').next().unwrap().parse().unwrap();
    let in_prefix = (delegated.to_bits() | 1 << 70 | 1).into();
    for good in [own, in_prefix] {
        assert!(lan.passes(0, &udp(0, good)), "{good}");
        assert!(!lan.passes(1, &udp(1, good)), "{good}");
    }
    let beyond: Ipv6Addr = (delegated.to_bits() + (1 << 80)).into();
    for bad in ["fd09::1ff".parse().unwrap(), beyond] {
        let before = refused(&lan, 0);
        assert!(!lan.passes(0, &udp(0, bad)), "{bad}");
        assert!(refused(&lan, 0) > before);
    }
    shell(&lan.world.clients[0], &format!("ip -6 address add {address}/64 nodad dev client"));
    wait_until("the address may be used", || pings(&lan, 0, &address, "fd09::1"));
    // The second gives back what is not its own: that goes nowhere.
    let association = |code: u8, value: &[u8]| {
        let inner = [&[0, code, 0, value.len() as u8][..], value].concat();
        let (outer, len) = (if code == 5 { 3 } else { 25 }, inner.len() as u8 + 12);
        [&[0, outer, 0, len][..], &[0; 12], &inner].concat()
    };
    let release = association(5, &[&own.octets()[..], &[0; 8]].concat());
    let release = [&[8, 0, 0, 1][..], &release].concat();
    let mut datagram = vec![2, 0x22, 2, 0x23, 0, 8 + release.len() as u8, 0, 0];
    datagram.extend(release);
    let ends = ["fe80::2", "ff02::1:2"].map(|end| end.parse().unwrap());
    assert!(!lan.passes(1, &packet(client_mac(1), ends, 17, &datagram)));
    assert_eq!(lan.held(0), expected);
    // The first does, and has it no more.
    shell(&lan.world.clients[0], &format!("ip -6 address del {address}/64 dev client"));
    let file = |name: &str| lan.world.keys.path(name).display().to_string();
    let back = format!(
        "timeout 60 dhclient -6 -r -N -P -sf /bin/true -lf {} -pf {} client",
        file("leases6"),
        file("pid6")
    );
    shell(&lan.world.clients[0], &back);
    wait_until("it was given back", || lan.held(0).is_empty());
    assert!(!lan.passes(0, &udp(0, own)));
}
