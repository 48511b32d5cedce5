//! The network: two servers whose TAPs are bridged into one LAN, and clients each in a namespace of its
//! own, behind a router.
//!
//! ```text
//!   client i: wan 198.18.x.y/31 ──┐                    ┌── server A 192.0.2.1 ── TAP, br0 ── port-a ──┐
//!   …                             ├── core: a router ──┤                                               ├── lan: bridge sw
//!   client n: wan 198.18.x.y/31 ──┘    and a switch    └── server B 192.0.2.2 ── TAP, br0 ── port-b ──┤
//!                                                                               root 10.64.0.1 ── probe
//! ```
//! Neighbours are said rather than asked for: the kernel has room for 1,024 of all namespaces together
//! (net.ipv4.neigh.default.gc_thresh3).

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use acton_engine::keys::{State, encode_key};
use acton_engine::{Rank, ServerName};
use acton_netns::{Namespace, Veth, veth};
use acton_proto::handshake::{Secret, SystemRandom, public_key};
use pnet_base::MacAddr;

use crate::support::{Acton, KeyRing, PORT, said, shell};

/// The root's address on the LAN, which all clients reach.
pub(crate) const ROOT: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
pub(crate) const ROOT_MAC: MacAddr = MacAddr(2, 0xac, 0x72, 0, 0, 1);
/// The interface of the LAN's host, and the bridge that it is on.
pub(crate) const PROBE: &str = "probe";
pub(crate) const SWITCH: &str = "sw";
/// As many clients as there are addresses for.
pub(crate) const MOST: usize = 10_000;

/// The router's among the servers: that of none of the switch's ports, so that the router takes nothing
/// from a server whose cable is out.
const CORE_MAC: MacAddr = MacAddr(2, 0xac, 0x70, 0, 0, 1);
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
/// Frames between the hosts' own bridges are no business of the firewall.
const NO_FILTER: &str = "for key in iptables ip6tables arptables; do \
     if [ -e /proc/sys/net/bridge/bridge-nf-call-$key ]; then \
     echo 0 >/proc/sys/net/bridge/bridge-nf-call-$key; fi; done;";

/// A client's MAC on the LAN, which has its number.
pub(crate) const fn client_mac(number: usize) -> MacAddr {
    MacAddr(2, 0xac, 0x71, 0, (number >> 8) as u8, number as u8)
}

/// The number of the client that has this MAC.
pub(crate) fn client_of(mac: MacAddr) -> Option<usize> {
    let MacAddr(2, 0xac, 0x71, 0, high, low) = mac else { return None };
    Some(usize::from(high) << 8 | usize::from(low))
}

/// Its address on the LAN.
pub(crate) fn client_ip(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 1, 0)) + number as u32)
}

/// The router's address on the way to a client, and the client's.
fn way(number: usize) -> [Ipv4Addr; 2] {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 2 * number as u32;
    [first, first + 1].map(Ipv4Addr::from)
}

pub(crate) struct World {
    core: Namespace,
    servers: [Namespace; 2],
    pub(crate) lan: Namespace,
    pub(crate) clients: Vec<Namespace>,
    pub(crate) keys: KeyRing,
    invites: Vec<String>,
}

impl World {
    /// With so many clients, which are listed with their MACs. The LAN may keep the servers from hearing
    /// each other, and the clients may be behind one address.
    pub(crate) fn new(clients: usize, isolated: bool, nat: bool) -> Self {
        let [core, lan, a, b] = [(); 4].map(|()| Namespace::new().unwrap());
        shell(
            &core,
            &format!(
                "{NO_FILTER} echo 1 >/proc/sys/net/ipv4/ip_forward; \
                 ip link add servers address {CORE_MAC} type bridge mcast_snooping 0; \
                 ip link set servers up; \
                 ip addr add 192.0.2.254/24 dev servers"
            ),
        );
        shell(
            &lan,
            &format!(
                "{NO_FILTER} echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; \
                 ip link add {SWITCH} type bridge mcast_snooping 0; ip link set {SWITCH} up; \
                 ip link add {PROBE} address {ROOT_MAC} type veth peer name port-probe; \
                 ip link set port-probe master {SWITCH} up; ip link set {PROBE} up"
            ),
        );
        for (server, (letter, address)) in [&a, &b].into_iter().zip(['a', 'b'].iter().zip(SERVERS))
        {
            veth(server, "wan", &core, &format!("to-{letter}"), &Veth::new()).unwrap();
            veth(server, "lan0", &lan, &format!("port-{letter}"), &Veth::new()).unwrap();
            shell(&core, &format!("ip link set to-{letter} master servers"));
            shell(&lan, &format!("ip link set port-{letter} master {SWITCH}"));
            shell(
                server,
                &format!(
                    "{NO_FILTER} ip addr add {address}/24 dev wan; ip route add default via 192.0.2.254; \
                     ip link add br0 type bridge mcast_snooping 0; ip link set br0 up; \
                     ip link set lan0 master br0"
                ),
            );
        }
        if isolated {
            shell(&lan, "for port in a b; do bridge link set dev port-$port isolated on; done");
        }
        if nat {
            shell(
                &core,
                "nft 'add table ip nat; add chain ip nat out { type nat hook postrouting priority 100 ; }; \
                 add rule ip nat out oifname servers masquerade'",
            );
        }
        let keys = KeyRing::new();
        let invites = list(&keys, clients);
        let clients = join_wan(&core, clients);
        Self { core, servers: [a, b], lan, clients, keys, invites }
    }

    /// Starts server 0 or 1, and waits until it listens.
    pub(crate) fn serve(&self, number: usize) -> Acton {
        let state = self.keys.server_state();
        let (name, mac) = [("A", "02:ac:73:00:00:0a"), ("B", "02:ac:73:00:00:0b")][number];
        let serve = ["server", "--state", &state, "--bridge", "br0", "--track", "lan0", "-m", mac];
        // Where they share an address, a quarter of all sessions may be of it.
        let arguments = [&serve[..], &["--max-sessions-per-source", "65536"]].concat();
        let server = Acton::start(name, &self.servers[number], &arguments);
        server.wait_for(said::LISTENING);
        server
    }

    /// Takes the cable of a server out of the switch, so that both ends see a link and hear nothing, or
    /// puts it in again.
    pub(crate) fn plug(&self, number: usize, is_in: bool) {
        let master = if is_in { "master servers" } else { "nomaster" };
        shell(&self.core, &format!("ip link set to-{} {master}", ['a', 'b'][number]));
    }

    /// Takes down the link between a server and the LAN, which both ends see, or puts it up.
    pub(crate) fn join_lan(&self, number: usize, is_up: bool) {
        let state = if is_up { "up" } else { "down" };
        shell(&self.lan, &format!("ip link set port-{} {state}", ['a', 'b'][number]));
    }

    /// What client `number` is started with.
    pub(crate) fn arguments(&self, number: usize) -> Vec<String> {
        let state = self.state(number).to_str().unwrap().to_owned();
        let (address, mac) = (format!("{}/10", client_ip(number)), client_mac(number).to_string());
        let fixed =
            ["client", &self.invites[number], "--state", &state, "-a", &address, "-m", &mac];
        fixed.map(str::to_owned).into()
    }

    /// Its state directory, beside which its log and its socket are.
    pub(crate) fn state(&self, number: usize) -> PathBuf {
        self.keys.path(&format!("client-{number}"))
    }
}

/// Lists clients with keys and MACs of their own, and makes an invite to both servers for each.
fn list(keys: &KeyRing, clients: usize) -> Vec<String> {
    let identity = keys.server();
    let [first, second] = SERVERS.map(|it| ServerName::parse(&it.to_string(), PORT).unwrap());
    let (mut list, mut invites) = (String::new(), Vec::new());
    for number in 0..clients {
        let key = Secret::generate(&mut SystemRandom);
        let public = encode_key(&public_key(&key));
        writeln!(list, "{public} client-{number} mac={}", client_mac(number)).unwrap();
        let mut invite = identity.invite(first.clone());
        invite.client_key = Some(key);
        let invite = invite.or(second.clone(), Rank::new(1, 1)).unwrap();
        invites.push(invite.url().to_string());
    }
    let state = State::new(keys.server_state());
    fs::write(state.clients_path(None), list).unwrap();
    state.require_list().unwrap();
    invites
}

/// Makes the clients' namespaces and joins them to the router.
fn join_wan(core: &Namespace, clients: usize) -> Vec<Namespace> {
    let mut batch = String::new();
    let join = |number: usize| {
        let host = Namespace::new().unwrap();
        let [near, far] = way(number);
        let (high, low) = ((number >> 8) as u8, number as u8);
        let macs @ [core_mac, mac] = [0xc0, 0xc1].map(|end| MacAddr(2, end, 0, 0, high, low));
        let name = format!("c{number}");
        veth(&host, "wan", core, &name, &Veth::new().macs(macs[1], macs[0])).unwrap();
        writeln!(batch, "addr add {near}/31 dev {name}").unwrap();
        writeln!(batch, "neigh add {far} lladdr {mac} nud permanent dev {name}").unwrap();
        shell(
            &host,
            &format!(
                "ip -batch - <<-.\n\
                 \taddr add {far}/31 dev wan\n\
                 \tneigh add {near} lladdr {core_mac} nud permanent dev wan\n\
                 \troute add default via {near}\n\
                 \t."
            ),
        );
        host
    };
    let hosts = (0..clients).map(join).collect();
    let path = std::env::temp_dir().join(format!("acton-bench-{}-core", std::process::id()));
    fs::write(&path, batch).unwrap();
    shell(core, &format!("ip -batch {}", path.display()));
    fs::remove_file(path).unwrap();
    hosts
}
