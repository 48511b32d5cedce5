//! Two servers and a root that `acton evpn render --static` joins: their clients reach the root's LAN and
//! not one another. With BGP the same, and how long each fault takes, is tried by contrib/evpn/trial.
//!
//! ```text
//!   root 192.0.2.200 ── VXLAN ──┬── leaf server 192.0.2.1  ══ clients 0 and 1
//!   br0 10.9.0.254              └── leaf server 192.0.2.13 ══ client 2
//! ```
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use pnet_base::MacAddr;
use support::{
    Acton, Mode, TEST_ETHERTYPE, Wire, World, client_mac, frame, mac, ping_until_answered, said,
    shell, wait_until,
};

testbed::main! {
    clients_of_two_servers_reach_the_root_and_not_one_another: ["bridge"],
    a_host_that_is_not_as_rendered_is_told: ["bridge"],
}

const ROOT: &str = "192.0.2.200";
const ROOT_LAN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 254));
const LEAF_SERVERS: [&str; 2] = ["192.0.2.1", "192.0.2.13"];

struct Fabric {
    world: World,
    _servers: Vec<Acton>,
    _clients: Vec<Acton>,
}

/// The options of `acton evpn` for a leaf server.
fn leaf_server(local: &str) -> Vec<&str> {
    let role = ["--role", "leaf-server", "--router-id", local, "--peers", ROOT];
    [&role[..], &["--vni", "100", "--bridge", "br0", "--static"]].concat()
}

fn root() -> Vec<String> {
    let peers = LEAF_SERVERS.join(",");
    let role = ["--role", "root", "--router-id", ROOT, "--peers", &peers];
    let all = [&role[..], &["--vni", "100", "--bridge", "br0", "--static"]].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn evpn(namespace: &Namespace, command: &str, options: &[&str]) -> (bool, String) {
    let mut acton = Command::new(env!("CARGO_BIN_EXE_acton"));
    acton.args(["evpn", command]).args(options);
    let output = namespace.output(&mut acton).unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// What the host's firewall does to bridges is none of these tests'.
fn no_bridge_filters(namespace: &Namespace) {
    shell(
        namespace,
        "for it in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $it ] || echo 0 > $it; done",
    );
}

/// Does what `render` prints.
fn make(namespace: &Namespace, options: &[&str]) {
    no_bridge_filters(namespace);
    let (done, text) = evpn(namespace, "render", options);
    assert!(done, "{text}");
    // It may be run again.
    shell(namespace, &text);
    shell(namespace, &text);
}

impl Fabric {
    fn new() -> Self {
        let world = World::with_mtu(4, 1_600).speaking(Mode::Plain);
        let root = root();
        let root: Vec<_> = root.iter().map(String::as_str).collect();
        make(&world.proxy, &root);
        shell(&world.proxy, "ip address add 10.9.0.254/24 dev br0");
        let hosts = [&world.server, &world.clients[3]];
        let servers = hosts.into_iter().zip(LEAF_SERVERS).map(|(host, local)| {
            make(host, &leaf_server(local));
            let options = ["server", "--plain", "-t", "server", "--bridge", "br0"];
            let server = Acton::start(local, host, &[&options[..], &["--no-loop-guard"]].concat());
            server.wait_for(said::LISTENING);
            server
        });
        let servers: Vec<_> = servers.collect();
        let clients = [(0, 0), (1, 0), (2, 1)].map(|(i, server)| {
            let client = world.start_client(i, LEAF_SERVERS[server], &[]);
            client.wait_for(said::CONNECTED);
            client
        });
        Self { world, _servers: servers, _clients: clients.into() }
    }
}

fn clients_of_two_servers_reach_the_root_and_not_one_another() {
    let fabric = Fabric::new();
    let world = &fabric.world;
    for i in 0..3 {
        ping_until_answered(&world.clients[i], ROOT_LAN);
    }
    let root = Wire::open_as_it_is(&world.proxy, "br0");
    let wires: Vec<_> = (0..3).map(|i| world.client_wire(i)).collect();
    for from in 0..3_u8 {
        let victim = (from + 1) % 3;
        let (own, other) = (client_mac(from), client_mac(victim));
        // To all, to nobody that is known, to the others, and as somebody else.
        let sent = [
            (MacAddr::broadcast(), own),
            (MacAddr::new(1, 0, 0x5e, 0, 0, 0x42), own),
            (mac(0x99), own),
            (other, own),
            (client_mac((from + 2) % 3), own),
            (MacAddr::broadcast(), other),
            (client_mac((from + 2) % 3), other),
        ];
        let frames = sent.map(|(to, from)| frame(to, from, TEST_ETHERTYPE, &[0x5a; 60]));
        for frame in &frames {
            wires[usize::from(from)].send(frame);
        }
        // All that went before has been dealt with once the root has this, and has answered.
        root.receive_until(&frames[0]);
        ping_until_answered(&world.clients[usize::from(from)], ROOT_LAN);
        for (i, wire) in wires.iter().enumerate().filter(|&(i, _)| i != usize::from(from)) {
            ping_until_answered(&world.clients[i], ROOT_LAN);
            while let Some(got) = wire.receive(Duration::ZERO) {
                assert!(
                    got[12..14] != TEST_ETHERTYPE.to_be_bytes(),
                    "{from} reached {i}: {got:02x?}"
                );
            }
        }
        // The root still finds the one whose address was used.
        let start = Instant::now();
        ping_until_answered(&world.proxy, support::leaf(victim)[0]);
        println!("the root reaches {victim} after {:.0?}", start.elapsed());
    }
}

fn a_host_that_is_not_as_rendered_is_told() {
    let world = World::with_mtu(0, 1_600);
    let options = leaf_server(LEAF_SERVERS[0]);
    let check = || evpn(&world.server, "check", &options);
    assert!(check().1.contains("there is no bridge br0"));
    make(&world.server, &options);
    assert_eq!(check(), (true, "as rendered\n".to_owned()));
    shell(
        &world.server,
        "bridge fdb append 00:00:00:00:00:00 dev vx100 dst 192.0.2.13; ip link set br0 down
         ip link set eth0 mtu 1549
         on=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $on ] || echo 1 > $on",
    );
    let (fine, said) = check();
    let filters = Path::new("/proc/sys/net/bridge").exists();
    assert!(!fine && said.contains("192.0.2.13") && said.contains("br0 is down"), "{said}");
    assert!(said.contains("an MTU of 1549 where VXLAN needs 1550"), "{said}");
    assert!(said.contains("bridge-nf-call-iptables=0") == filters, "{said}");
    // What it says mends it.
    for line in said.lines() {
        shell(&world.server, line.rsplit_once(": ").unwrap().1);
    }
    wait_until("it is as rendered", || check().0);
}
