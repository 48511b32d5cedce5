//! What a server floods as soon as thousands have joined at once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{Budgets, FloodBudgets, Running, Secret, Server, ServerKeys, TapSettings};
use acton_engine::{SystemRandom, public_key};
use acton_netns::Namespace;
use acton_proto::client::{Client, ClientConfig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How long a wait may take before the test is called hung. No measure of anything.
const HANG: Duration = Duration::from_secs(180);
/// Three times as many as a processor's queue in front of IP takes (net.core.netdev_max_backlog).
const CLIENTS: usize = 3_000;
/// Open files besides the clients' sockets.
const OTHER_FILES: u64 = 200;
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// The server's LAN.
const TAP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const BROADCAST: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 9, 255, 255), 9);
/// What is sent to everybody ends with this and a number.
const MARK: [u8; 8] = *b"to  all:";

/// A client without a TAP.
struct Member {
    client: Client,
    socket: UdpSocket,
}

/// The clients, on the test's own thread.
struct Crowd {
    members: Vec<Member>,
    start: Instant,
    /// How many frames of each number were heard.
    heard: Vec<usize>,
}

impl Crowd {
    fn new(server: &Secret) -> Self {
        let member = |_| {
            let private_key = Secret::generate(&mut SystemRandom);
            let config = ClientConfig::new(private_key, public_key(server));
            let client = Client::new(config, Box::new(SystemRandom), Duration::ZERO);
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            Member { client, socket }
        };
        let members = (0..CLIENTS).map(member).collect();
        Self { members, start: Instant::now(), heard: Vec::new() }
    }

    /// Has each do what it has to.
    fn turn(&mut self) {
        let mut buffer = [0; 2_048];
        for Member { client, socket } in &mut self.members {
            let now = self.start.elapsed();
            while let Ok(length) = socket.recv(&mut buffer) {
                for frame in client.handle_input(now, &mut buffer[..length]) {
                    let Some((&number, rest)) = frame.bytes().split_last() else { continue };
                    if rest.ends_with(&MARK) {
                        self.heard[usize::from(number)] += 1;
                    }
                }
            }
            if client.poll_timeout().is_some_and(|due| due <= now) {
                client.handle_timeout(now, now.as_nanos() as u64);
            }
            let mut datagram = Vec::new();
            while client.poll_transmit(1, &mut datagram).is_some() {
                // What finds no room is lost, as on a network.
                let _ = socket.send_to(&datagram, ADDRESS);
                datagram.clear();
            }
            while client.poll_event().is_some() {}
        }
    }

    #[track_caller]
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !done(self) {
            assert!(since.elapsed() < HANG, "{:?} were heard", self.heard);
            self.turn();
        }
    }

    fn are_in(&self) -> bool {
        let confirmed = |member: &Member| member.client.keys().is_some_and(|k| k.is_confirmed());
        self.members.iter().all(confirmed)
    }
}

fn server(private_key: Secret) -> Running {
    let mut tap = TapSettings::new("lan");
    tap.addresses.push(format!("{TAP}/16").parse().unwrap());
    let mut budgets = FloodBudgets::default();
    budgets.root = Budgets::all(None);
    let keys = ServerKeys { private_key, network_key: None };
    let server = Server::secure(keys).listen(ADDRESS).tap(tap).budgets(budgets);
    let server = server.max_sessions(CLIENTS).max_sessions_per_source(CLIENTS);
    // Where there are several, workers share what goes to everybody.
    server.loop_guard(false).workers(2).start().unwrap()
}

fn a_flood_right_after_a_storm_of_joins_loses_none_uncounted() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = CLIENTS as u64 + OTHER_FILES;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard.max(needed)).unwrap();
    Namespace::new().unwrap().run(|| {
        let private_key = Secret::generate(&mut SystemRandom);
        let mut crowd = Crowd::new(&private_key);
        let server = server(private_key);
        let late = || server.totals().get("drop.flood_late").unwrap() as usize;
        let root = UdpSocket::bind((TAP, 0)).unwrap();
        root.set_broadcast(true).unwrap();
        let send = |crowd: &mut Crowd| {
            let number = crowd.heard.len() as u8;
            crowd.heard.push(0);
            root.send_to(&[&MARK[..], &[number]].concat(), BROADCAST).unwrap();
        };
        crowd.until(Crowd::are_in);
        println!("all in after {:?}", crowd.start.elapsed());
        // One after the other, then many at once.
        for number in 0..5 {
            send(&mut crowd);
            crowd.until(|crowd| crowd.heard[number] + late() >= CLIENTS);
        }
        (0..50).for_each(|_| send(&mut crowd));
        let expected = crowd.heard.len() * CLIENTS;
        let heard = |crowd: &Crowd| crowd.heard.iter().sum::<usize>();
        crowd.until(|crowd| heard(crowd) + late() >= expected);
        // None comes twice, nor is one counted that came.
        thread::sleep(Duration::from_millis(50));
        crowd.turn();
        let (heard, late) = (heard(&crowd), late());
        println!("{heard} of {expected} were heard, {late} given up");
        assert_eq!(heard + late, expected);
        assert!(heard >= CLIENTS, "{heard}");
    });
}

testbed::main! {
    a_flood_right_after_a_storm_of_joins_loses_none_uncounted,
}
