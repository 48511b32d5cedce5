//! The ways that traffic takes, and what is held against it at the end of each.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::{Namespace, Veth, veth};
use clap::ValueEnum;

use crate::kernel;
use crate::support::{Acton, Mode, ROOT_V4, ROOT_V6, World, leaf, ping_until_answered, shell};
use crate::traffic::{Host, Tally, mixed};

/// What lies between the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Phase {
    /// The tunnel alone; the underlay passes super-frames.
    Plain,
    /// Datagrams of the MTU's size, of which the underlay loses one in 1,000 and delays one in 50.
    Impaired,
    /// Behind the client's TAP a router with a host on a device that fills in no checksum.
    Router,
    /// Behind the server's TAP a Linux bridge with a host on a port, first with offloads and then
    /// without.
    Bridge,
    /// The offloads of both TAPs are switched off and on all the time.
    Toggled,
}

/// What server and client speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speech {
    Plain,
    /// acton/1 with AES-256-GCM.
    Aes,
    /// acton/1 with ChaCha20-Poly1305.
    Chacha,
}

impl Speech {
    /// The mode, and the options of both ends.
    pub(crate) const fn options(self) -> (Mode, &'static [&'static str]) {
        match self {
            Self::Plain => (Mode::Plain, &[]),
            Self::Aes => (Mode::Secure, &["--suite", "aes"]),
            Self::Chacha => (Mode::Secure, &["--suite", "chacha"]),
        }
    }
}

/// A phase, and how much goes through it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) phase: Phase,
    pub(crate) speech: Speech,
    pub(crate) bytes: u64,
    pub(crate) seed: u64,
    /// How long the offloads of [`Phase::Toggled`] stay as they are.
    pub(crate) toggle_every: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Summary {
    run: Run,
    tally: Tally,
    took: Duration,
    /// What acton counted, as its two logs end.
    counters: [String; 2],
    pub(crate) errors: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { phase, speech, .. } = self.run;
        let Tally { bytes, sent, received, late } = self.tally;
        let [server, client] = &self.counters;
        let seconds = self.took.as_secs_f64();
        writeln!(f, "  server: {server}\n  client: {client}")?;
        for error in &self.errors {
            writeln!(f, "  ERROR: {error}")?;
        }
        write!(
            f,
            "{phase:?}, {speech:?}: {bytes} bytes in {seconds:.1} s, {:.2} Gbit/s; {received} of \
             {sent} datagrams came, {late} late; {} errors",
            bytes as f64 * 8e-9 / seconds,
            self.errors.len()
        )
    }
}

/// Drops that a path explains: what came before the session or behind its end, and full buffers.
const EXPLAINED: [&str; 6] = [
    "drop.not_connected",
    "drop.no_client",
    "drop.no_session",
    "drop.udp_full",
    "drop.tap_down",
    "drop.standing_queue",
];
/// By datagrams that are lost, or delayed by more than the replay window is long.
const EXPLAINED_BY_IMPAIRMENT: [&str; 2] = ["drop.replayed", "drop.incomplete_frame"];

impl Run {
    /// Builds the network, runs server and client in it, moves the traffic, looks at all counters.
    pub(crate) fn go(self) -> Summary {
        let (mode, suite) = self.speech.options();
        let world = World::new(1).speaking(mode);
        if self.phase == Phase::Impaired {
            world.as_on_a_cable();
            for host in [&world.server, &world.clients[0]] {
                shell(host, IMPAIR);
            }
        }
        let server = world.serve(suite);
        let client = world.join(0, suite);
        let behind = Namespace::new().unwrap();
        let start = Instant::now();
        let moved = self.through(&world, &behind);
        let took = start.elapsed();
        let (tally, mut errors) = match moved {
            Ok(tally) => (tally, Vec::new()),
            Err(errors) => (Tally::default(), errors),
        };
        for (name, host) in [("server", &world.server), ("client", &world.clients[0])] {
            errors.extend(kernel::broken(host).into_iter().map(|what| format!("{name}: {what}")));
        }
        errors.extend(kernel::broken(&behind).into_iter().map(|what| format!("host: {what}")));
        let counters = [client, server].map(|end| last_counters(end, self, &mut errors));
        let [client, server] = counters;
        Summary { run: self, tally, took, counters: [server, client], errors }
    }

    fn through(self, world: &World, behind: &Namespace) -> Result<Tally, Vec<String>> {
        let Self { bytes, seed, .. } = self;
        let server = Host(&world.server, [ROOT_V4, ROOT_V6]);
        let client = Host(&world.clients[0], leaf(0));
        for address in server.1 {
            ping_until_answered(&world.clients[0], address);
        }
        // A ping goes out also while the own IPv6 address is of no use yet.
        for address in client.1 {
            ping_until_answered(&world.server, address);
        }
        match self.phase {
            Phase::Plain | Phase::Impaired => mixed(server, client, bytes, seed),
            Phase::Router => mixed(server, routed(world, behind), bytes, seed),
            Phase::Bridge => {
                let host = bridged(world, behind);
                let mut total = mixed(host, client, bytes / 2, seed)?;
                shell(behind, &format!("ethtool -K lan {WITHOUT}"));
                shell(&world.server, &format!("ethtool -K lan {WITHOUT}"));
                total += mixed(host, client, bytes / 2, seed + 1)?;
                Ok(total)
            }
            Phase::Toggled => self.toggled(world, server, client),
        }
    }

    fn toggled(self, world: &World, a: Host<'_>, b: Host<'_>) -> Result<Tally, Vec<String>> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let toggler = scope.spawn(|| {
                let taps = [(&world.server, "server"), (&world.clients[0], "client")];
                // Each behind what it depends on (`rx` is fixed on a TAP).
                let on = ["sg", "tx", "gso", "gro", "tso", "tx-udp-segmentation"];
                let turns = (on.iter().rev().map(|feature| (feature, "off")))
                    .chain(on.iter().map(|feature| (feature, "on")))
                    .flat_map(|(feature, state)| taps.map(|tap| (tap, feature, state)));
                for ((namespace, tap), feature, state) in turns.cycle() {
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                    shell(namespace, &format!("ethtool -K {tap} {feature} {state}"));
                    thread::sleep(self.toggle_every);
                }
            });
            let outcome = mixed(a, b, self.bytes, self.seed);
            done.store(true, Ordering::Release);
            toggler.join().expect("ethtool runs");
            outcome
        })
    }
}

/// What a host cannot do for its packets when it sends them, or merge when it receives them.
const WITHOUT: &str = "tx off rx off tso off gso off gro off";

/// Loses and delays datagrams on their way in and out of a host.
const IMPAIR: &str = "
    tc qdisc add dev eth0 root handle 1: htb default 1
    tc class add dev eth0 parent 1: classid 1:1 htb rate 10gbit quantum 60000
    tc class add dev eth0 parent 1: classid 1:2 htb rate 200mbit quantum 60000
    nft 'table inet impair {
        chain in {
            type filter hook input priority 0
            udp dport 8080 numgen random mod 1000 0 drop
            udp sport 8080 numgen random mod 1000 0 drop
        }
        chain out {
            type filter hook postrouting priority 0
            udp dport 8080 numgen random mod 50 0 meta priority set 0x00010002
            udp sport 8080 numgen random mod 50 0 meta priority set 0x00010002
        }
    }'";

/// A host behind a router, which is the client's.
fn routed<'n>(world: &World, behind: &'n Namespace) -> Host<'n> {
    let router = &world.clients[0];
    veth(router, "lan", behind, "lan", &Veth::new()).unwrap();
    let [v4, v6]: [IpAddr; 2] =
        [Ipv4Addr::new(10, 20, 0, 2).into(), Ipv6Addr::new(0xfd20, 0, 0, 0, 0, 0, 0, 2).into()];
    let [via_v4, via_v6] = leaf(0);
    behind.add_address("lan", v4, 24).unwrap();
    behind.add_address("lan", v6, 64).unwrap();
    shell(
        router,
        &format!(
            "ip address add 10.20.0.1/24 dev lan
             ip address add fd20::1/64 dev lan nodad
             echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
             ethtool -K lan {WITHOUT}"
        ),
    );
    shell(
        behind,
        &format!(
            "ethtool -K lan {WITHOUT}
             ip route add default via 10.20.0.1
             ip route add default via fd20::1"
        ),
    );
    shell(
        &world.server,
        &format!(
            "ip route add 10.20.0.0/24 via {via_v4}
             ip route add fd20::/64 via {via_v6}"
        ),
    );
    ping_until_answered(&world.server, v4);
    ping_until_answered(&world.server, v6);
    Host(behind, [v4, v6])
}

/// A host on a port of a bridge whose other port is the server's TAP.
fn bridged<'n>(world: &World, behind: &'n Namespace) -> Host<'n> {
    veth(&world.server, "lan", behind, "lan", &Veth::new()).unwrap();
    let [v4, v6]: [IpAddr; 2] =
        [Ipv4Addr::new(10, 9, 0, 100).into(), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 100).into()];
    behind.add_address("lan", v4, 24).unwrap();
    behind.add_address("lan", v6, 64).unwrap();
    shell(
        &world.server,
        "ip link add br0 type bridge mcast_snooping 0
         for call in /proc/sys/net/bridge/bridge-nf-call-*; do
             ! test -e $call || echo 0 > $call
         done
         ip link set server master br0
         ip link set lan master br0
         ip link set br0 up",
    );
    ping_until_answered(&world.clients[0], v4);
    ping_until_answered(&world.clients[0], v6);
    Host(behind, [v4, v6])
}

/// Ends an end, and returns its counters; drops that nothing explains are errors.
fn last_counters(end: Acton, run: Run, errors: &mut Vec<String>) -> String {
    let log = end.stop();
    let Some(line) = log.lines().rev().find(|line| line.contains("udp.received.datagrams=")) else {
        errors.push(format!("no counters in its log: {log}"));
        return String::new();
    };
    let words = line.split_whitespace().filter(|word| word.contains('='));
    for word in words.clone().filter(|word| word.starts_with("drop.")) {
        let is_of = |names: &[&str]| names.iter().any(|name| word.starts_with(name));
        let explained =
            is_of(&EXPLAINED) || run.phase == Phase::Impaired && is_of(&EXPLAINED_BY_IMPAIRMENT);
        if !explained {
            errors.push(format!("acton dropped frames: {word}"));
        }
    }
    words.collect::<Vec<_>>().join(" ")
}
