//! A small world for the end-to-end tests: a server and clients as processes, each in a network
//! namespace of its own, and hands to put frames in and take them out.
//!
//! ```text
//!   server ns: eth0 192.0.2.1    ──┐
//!   client ns: eth0 192.0.2.10+i ──┼── switch ns: a Linux bridge
//!   proxy  ns: eth0 192.0.2.200  ──┘
//! ```
//! The same hosts have 2001:db8::/64. On the TAPs it is 10.9.0.0/24 and fd09::/64, where the
//! server is 1 and client i is 10 + i. Nothing sleeps to let something happen: every wait is for
//! the thing itself, with [`HANG`] as the guard.
//!
//! A world speaks plain mode or acton/1; a test of [`in_both_modes!`] runs once in each.
#![allow(dead_code, unused_imports, unused_macros)] // Each test file takes what it needs.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

pub(crate) mod ask;
mod capture;
mod clock;
mod crowd;
mod end;
mod forge;
mod impair;
mod keys;
mod member;
mod names;
mod process;
mod public;
mod site;
mod traffic;
mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use acton_cli::control::{Answer, Connection, Place, Request};
use acton_engine::State;
use acton_netns::{Namespace, Veth, veth};
use nix::sys::signal::Signal;
use pnet_base::MacAddr;

pub(crate) use capture::{Capture, Captured};
pub(crate) use clock::{client_off_by, off_by, off_by_file};
pub(crate) use crowd::Crowd;
pub(crate) use end::{End, Machine};
pub(crate) use forge::Forger;
pub(crate) use impair::{Impairment, Proxy, Recorded};
pub(crate) use keys::KeyRing;
pub(crate) use member::{Member, member_socket};
pub(crate) use names::start_with_hosts;
pub(crate) use process::{Acton, Log};
pub(crate) use public::PublicProgram;
pub(crate) use site::{Site, list_clients};
pub(crate) use traffic::{answers, ping, ping_until_answered, tcp_transfer};
pub(crate) use wire::{TEST_ETHERTYPE, Wire, frame};

/// How long a wait may take before the test is called hung. No measure of anything.
pub(crate) const HANG: Duration = Duration::from_secs(180);

/// The server's addresses on the underlay, and the proxy's.
pub(crate) const SERVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
pub(crate) const PROXY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200));

/// The server's addresses on its TAP.
pub(crate) const ROOT_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
pub(crate) const ROOT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1));

/// What the log says, where tests wait for it.
pub(crate) mod said {
    /// By a server, once it can be reached.
    pub(crate) const LISTENING: &str = "server on UDP";
    /// By a client, when it begins to look for its server.
    pub(crate) const CONNECTING: &str = "connecting to";
    /// By a client, when it has a session.
    pub(crate) const CONNECTED: &str = "connected to";
    /// By a client, when its server has been silent too long.
    pub(crate) const LOST: &str = "lost ";
    /// By a server of a client.
    pub(crate) const BYE: &str = "said BYE";
    /// By a server of a client.
    pub(crate) const EXPIRED: &str = "silent too long";
    /// By a server in secure mode of a client.
    pub(crate) const MOVED: &str = "moved to";
    /// By a client in secure mode, when its own network is another.
    pub(crate) const CHANGED: &str = "this host's way to";
    pub(crate) const LINKS_CHANGED: &str = "the links here carry datagrams of up to";
}

/// The MAC addresses of the server's TAP and of client 0's.
pub(crate) const SERVER_MAC: MacAddr = mac(1);
pub(crate) const CLIENT_MAC: MacAddr = client_mac(0);

/// The UDP port of `acton server` unless told otherwise.
pub(crate) const PORT: u16 = 8080;

/// What server and clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The wire of acton 0.1.1.
    Plain,
    /// acton/1: every world has keys of its own, every client an invite.
    Secure,
}

/// Declares `fn main`: tests that are given a mode and run in both, named `plain::` and `secure::`,
/// and what programs they need; behind `plain:` and `secure:` tests of one mode alone. Those behind
/// `waiting;` wait nearly all their time.
macro_rules! in_both_modes {
    (waiting; $($tests:tt)*) => {
        $crate::support::in_both_modes! { @by run_waiting, $($tests)* }
    };
    (
        @by $run:ident,
        $($both:ident $(: [$($program:literal),* $(,)?])?),* $(,)?
        $(; plain: $($plain:ident),* $(,)?)?
        $(; secure: $($secure:ident $(: [$($of_secure:literal),* $(,)?])?),* $(,)?)?
    ) => {
        fn main() {
            use $crate::support::Mode;
            let test = |name, needs, body| testbed::Test { name, needs, body };
            testbed::$run(&[
                $(
                    test(
                        concat!("plain::", stringify!($both)),
                        &[$($($program),*)?],
                        || $both(Mode::Plain),
                    ),
                    test(
                        concat!("secure::", stringify!($both)),
                        &[$($($program),*)?],
                        || $both(Mode::Secure),
                    ),
                )*
                $($(test(concat!("plain::", stringify!($plain)), &[], $plain),)*)?
                $($(
                    test(
                        concat!("secure::", stringify!($secure)),
                        &[$($($of_secure),*)?],
                        $secure,
                    ),
                )*)?
            ])
        }
    };
    (@$($other:tt)*) => {
        compile_error!("tests are `name` or `name: [\"program\"]`, comma-separated");
    };
    ($($tests:tt)*) => {
        $crate::support::in_both_modes! { @by run, $($tests)* }
    };
}
pub(crate) use in_both_modes;

/// The underlay and the hosts on it.
pub(crate) struct World {
    pub(crate) server: Namespace,
    pub(crate) clients: Vec<Namespace>,
    pub(crate) proxy: Namespace,
    pub(crate) switch: Namespace,
    pub(crate) keys: KeyRing,
    mode: Mode,
    /// What the server that was started last says.
    server_log: Mutex<Weak<Log>>,
}

impl World {
    /// A server and `clients` clients on an Ethernet of MTU 1,500, in plain mode.
    pub(crate) fn new(clients: u8) -> Self {
        Self::with_mtu(clients, 1500)
    }

    /// The same on an Ethernet of another MTU.
    pub(crate) fn with_mtu(clients: u8, mtu: u32) -> Self {
        let switch = Namespace::new().unwrap();
        switch.run(|| {
            testbed::sh(&format!(
                "ip link add lan mtu {mtu} type bridge mcast_snooping 0; ip link set lan up"
            ));
        });
        let host = |number: u8| {
            let host = Namespace::new().unwrap();
            let port = format!("port{number}");
            veth(&host, "eth0", &switch, &port, &Veth::new().mtu(mtu)).unwrap();
            switch.run(|| testbed::sh(&format!("ip link set {port} master lan")));
            host.add_address("eth0", Ipv4Addr::new(192, 0, 2, number).into(), 24).unwrap();
            let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into());
            host.add_address("eth0", v6.into(), 64).unwrap();
            host
        };
        Self {
            server: host(1),
            clients: (0..clients).map(|i| host(10 + i)).collect(),
            proxy: host(200),
            switch,
            keys: KeyRing::new(),
            mode: Mode::Plain,
            server_log: Mutex::default(),
        }
    }

    /// The same world in another mode.
    pub(crate) fn speaking(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Starts `acton server` with addresses on its TAP and waits until it listens.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Acton {
        let server = self.start_server(arguments);
        server.wait_for(said::LISTENING);
        server
    }

    /// The same without the wait.
    pub(crate) fn start_server(&self, arguments: &[&str]) -> Acton {
        let (mac, state) = (SERVER_MAC.to_string(), self.keys.server_state());
        let fixed = ["server", "-m", &mac, "-a", "10.9.0.1/24", "-a", "fd09::1/64"];
        let mode = match self.mode {
            Mode::Plain => &["--plain"][..],
            Mode::Secure => &["--state", &state],
        };
        let server = Acton::start("server", &self.server, &[&fixed, mode, arguments].concat());
        *self.server_log.lock().unwrap() = server.log_handle();
        server
    }

    /// Starts client `i` with addresses on its TAP, towards the server's IPv4 address, and waits
    /// for its session.
    pub(crate) fn join(&self, i: u8, arguments: &[&str]) -> Acton {
        self.join_at(i, "192.0.2.1", arguments)
    }

    /// The same towards `server`, as the command line has it.
    pub(crate) fn join_at(&self, i: u8, server: &str, arguments: &[&str]) -> Acton {
        let before = self.sessions_up();
        let client = self.start_client(i, server, arguments);
        client.wait_for(said::CONNECTED);
        // A client of acton/1 knows of its session half a round trip before the server does. One
        // that takes over a session is none more there.
        let start = Instant::now();
        while self.sessions_up() == before && start.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(1));
        }
        client
    }

    /// How many sessions the server has begun.
    fn sessions_up(&self) -> usize {
        self.server_log.lock().unwrap().upgrade().map_or(0, |log| log.count(" up: "))
    }

    /// The same without the wait.
    pub(crate) fn start_client(&self, i: u8, server: &str, arguments: &[&str]) -> Acton {
        let fixed = self.client_arguments(i, server);
        let fixed: Vec<_> = fixed.iter().map(String::as_str).collect();
        self.run_client(i, &[&fixed, arguments].concat())
    }

    /// Starts client `i` with these arguments and addresses on its TAP.
    pub(crate) fn run_client(&self, i: u8, arguments: &[&str]) -> Acton {
        let [v4, v6] = leaf(i);
        let (v4, v6) = (format!("{v4}/24"), format!("{v6}/64"));
        let mac = client_mac(i).to_string();
        let addresses = ["-m", &mac, "-a", &v4, "-a", &v6];
        Acton::start(
            &format!("client {i}"),
            &self.clients[usize::from(i)],
            &[arguments, &addresses].concat(),
        )
    }

    /// What client `i` needs to find `server` and speak to it: in secure mode an invite.
    pub(crate) fn client_arguments(&self, i: u8, server: &str) -> Vec<String> {
        match self.mode {
            Mode::Plain => ["client", server, "--plain"].map(str::to_owned).to_vec(),
            Mode::Secure => {
                let state = self.keys.client_state(i);
                vec!["client".into(), self.keys.invite(server), "--state".into(), state]
            }
        }
    }

    /// A proxy at 192.0.2.200 before the server.
    pub(crate) fn proxy(&self, impairment: Impairment, seed: u64) -> Proxy {
        let server = SocketAddr::new(SERVER_V4, PORT);
        Proxy::start(&self.proxy, (PROXY_V4, PORT), server, impairment, seed)
    }

    /// Has every packet cross the underlay by itself, as it would cross a cable, in place of
    /// packets that a veth passes on merged.
    pub(crate) fn as_on_a_cable(&self) {
        for host in self.clients.iter().chain([&self.server, &self.proxy]) {
            shell(host, "ethtool -K eth0 tso off gso off gro off tx-udp-segmentation off");
        }
    }

    /// A hand on the server's TAP.
    pub(crate) fn server_wire(&self) -> Wire {
        Wire::open(&self.server, "server")
    }

    /// A hand on the TAP of client `i`.
    pub(crate) fn client_wire(&self, i: u8) -> Wire {
        Wire::open(&self.clients[usize::from(i)], "client")
    }
}

/// The addresses of client `i` on its TAP.
pub(crate) fn leaf(i: u8) -> [IpAddr; 2] {
    let number = 10 + i;
    [
        Ipv4Addr::new(10, 9, 0, number).into(),
        Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, number.into()).into(),
    ]
}

/// A unicast MAC address of the locally administered range.
pub(crate) const fn mac(last: u8) -> MacAddr {
    MacAddr(2, 0xac, 0x70, 0, 0, last)
}

/// The MAC address of the TAP of client `i`.
pub(crate) const fn client_mac(i: u8) -> MacAddr {
    mac(10 + i)
}

/// The value of a counter in the last line of a log that has it; zeros are left out there.
pub(crate) fn counter(log: &str, name: &str) -> u64 {
    let values = log.split_whitespace().filter_map(|word| word.split_once('='));
    values.rev().find(|&(known, _)| known == name).map_or(0, |(_, value)| {
        value.parse().unwrap_or_else(|error| panic!("{name}={value}: {error}"))
    })
}

/// The log, its last counters those of now.
pub(crate) fn counters(end: &Acton) -> String {
    let lines = end.log().matches("counters: ").count();
    end.signal(Signal::SIGUSR1);
    wait_until("the counters are logged", || end.log().matches("counters: ").count() > lines);
    end.log()
}

/// Runs a shell command in a namespace and returns its standard output.
#[track_caller]
pub(crate) fn shell(namespace: &Namespace, command: &str) -> String {
    let output = namespace.output(Command::new("sh").args(["-ec", command])).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "`{command}`: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The control socket of an instance, once it is there: soon after the tunnel.
#[track_caller]
pub(crate) fn control(end: &Acton) -> &Path {
    wait_until("there is a control socket", || end.listens_for_control());
    end.control()
}

/// What the sessions are called that are up.
#[track_caller]
pub(crate) fn session_names(end: &Acton) -> Vec<String> {
    let mut connection = Connection::open(&Place::Path(control(end).to_owned())).unwrap();
    let request = Request::Status { session: None, states: vec![State::Up] };
    let (mut answers, mut names) = (connection.ask(request).unwrap(), Vec::new());
    loop {
        match answers.read().unwrap() {
            Answer::Session(session) => names.push(session.name),
            Answer::End(_) => return names,
            _ => {}
        }
    }
}

/// Asks again and again until the answer is yes.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        let waited = start.elapsed();
        assert!(waited < HANG, "hung waiting until {what}");
        thread::sleep(pause_after(waited));
    }
}

/// Until the next look at what one has waited for so long: to look is often to run a program, whose time
/// the tunnel lacks.
pub(crate) fn pause_after(waited: Duration) -> Duration {
    (waited / 10).clamp(Duration::from_millis(5), Duration::from_millis(100))
}
