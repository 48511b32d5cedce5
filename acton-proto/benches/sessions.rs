//! What sessions cost their server: joining, and being there without a frame to carry.
//!
//! `cargo bench -p acton-proto --bench sessions -- [SESSIONS...]`, 100 and 10,000 unless told. Clients
//! and a server on a virtual clock; only the server's calls are timed, by kind, and no socket is
//! part of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use acton_proto::client::{Client, ClientConfig};
use acton_proto::handshake::{Secret, SystemRandom, public_key};
use acton_proto::server::{AnyClient, Server, ServerConfig};
use acton_proto::wire::{Datagram, Key};

const START: Duration = Duration::from_secs(1000);
/// Clients arrive over so long, fast enough for the largest count and below the server's 200 a
/// second from which on it asks for cookies.
const JOINING: Duration = Duration::from_secs(100);
/// Left alone for so long before and while it is measured: several rekeys of each session.
const SETTLING: Duration = Duration::from_secs(200);
const IDLE: Duration = Duration::from_secs(600);
/// 2026-01-01 in nanoseconds since 1970.
const WALL: u64 = 1_767_225_600_000_000_000;

/// What calls of one kind took, in nanoseconds.
#[derive(Debug, Default)]
struct Cost(Vec<u64>);

impl Cost {
    fn add(&mut self, since: Instant) {
        self.0.push(since.elapsed().as_nanos() as u64);
    }

    /// The mean without the longest hundredth: a thread that loses its processor meanwhile costs
    /// nobody else.
    fn mean_us(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.truncate(sorted.len() - sorted.len() / 100);
        sorted.iter().sum::<u64>() as f64 / 1000.0 / sorted.len().max(1) as f64
    }

    /// Calls a minute of one session of so many.
    fn rate(&self, sessions: usize) -> f64 {
        self.0.len() as f64 / IDLE.as_secs_f64() / sessions as f64 * 60.0
    }

    /// The part of a processor that they take.
    fn load(&self) -> f64 {
        self.mean_us() * self.0.len() as f64 / 1e6 / IDLE.as_secs_f64()
    }
}

/// The server's time, by what it did.
#[derive(Debug, Default)]
struct Costs {
    /// HELLO in, WELCOME out.
    hello: Cost,
    /// A control message in, its answer out.
    control: Cost,
    timeout: Cost,
}

struct World {
    now: Duration,
    server: Server,
    clients: Vec<Client>,
    /// When each client is to be called; entries that are too early do no harm.
    due: BinaryHeap<Reverse<(Duration, usize)>>,
    costs: Costs,
}

fn address(index: usize) -> SocketAddr {
    let [_, a, b, c] = (index as u32 / 50).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 1024 + (index % 50) as u16))
}

/// Whose address it is.
fn index(address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else { panic!("an address of this bench") };
    let host = u32::from(*address.ip()) & 0x00ff_ffff;
    host as usize * 50 + usize::from(address.port() - 1024)
}

impl World {
    fn new(sessions: usize) -> Self {
        let mut random = SystemRandom;
        let network = Secret::generate(&mut random);
        let private = Secret::generate(&mut random);
        let server_key: Key = public_key(&private);
        let mut config = ServerConfig::new(private);
        config.network_key = Some(network.clone());
        config.max_sessions = sessions;
        let server = Server::new(config, Box::new(AnyClient), Box::new(SystemRandom), START);
        let mut world = Self {
            now: START,
            server,
            clients: Vec::with_capacity(sessions),
            due: BinaryHeap::new(),
            costs: Costs::default(),
        };
        for index in 0..sessions {
            let mut config = ClientConfig::new(Secret::generate(&mut random), server_key);
            config.network_key = Some(network.clone());
            let at = START + JOINING * index as u32 / sessions as u32;
            world.clients.push(Client::new(config, Box::new(SystemRandom), at));
            world.due.push(Reverse((at, index)));
        }
        world
    }

    fn wall(&self) -> u64 {
        WALL + self.now.as_nanos() as u64
    }

    /// Carries what a client says to the server and what the server says back, until both are
    /// silent.
    fn exchange(&mut self, index: usize) {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let wall = self.wall();
        while let Some(segment) = self.clients[index].poll_transmit(64, &mut up) {
            for datagram in up.chunks_mut(segment) {
                let hello = matches!(Datagram::parse(datagram), Ok(Datagram::Hello(_)));
                let begun = Instant::now();
                self.server.handle_input(self.now, wall, address(index).into(), datagram);
                while self.server.poll_event().is_some() {}
                let transmit = self.server.poll_transmit(64, &mut down);
                let costs = &mut self.costs;
                if hello { &mut costs.hello } else { &mut costs.control }.add(begun);
                if let Some(transmit) = transmit {
                    for datagram in down.chunks_mut(transmit.segment) {
                        self.clients[index].handle_input(self.now, datagram);
                    }
                }
                down.clear();
            }
            up.clear();
        }
        while self.clients[index].poll_event().is_some() {}
    }

    fn handle_server_timeout(&mut self) {
        let begun = Instant::now();
        self.server.handle_timeout(self.now);
        while self.server.poll_event().is_some() {}
        self.costs.timeout.add(begun);
        let mut out = Vec::new();
        while let Some(transmit) = self.server.poll_transmit(64, &mut out) {
            let index = index(transmit.path.remote);
            for datagram in out.chunks_mut(transmit.segment) {
                self.clients[index].handle_input(self.now, datagram);
            }
            out.clear();
            self.exchange(index);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let client = self.due.peek().map(|Reverse((at, _))| *at);
            let server = self.server.poll_timeout();
            let next = [client, server].into_iter().flatten().min();
            let Some(at) = next.filter(|&at| at <= end) else { break };
            self.now = at.max(self.now);
            if server.is_some_and(|at| at <= self.now) {
                self.handle_server_timeout();
                continue;
            }
            let Some(Reverse((_, index))) = self.due.pop() else { break };
            let (now, wall) = (self.now, self.wall());
            self.clients[index].handle_timeout(now, wall);
            self.exchange(index);
            if let Some(at) = self.clients[index].poll_timeout() {
                self.due.push(Reverse((at.max(now + Duration::from_millis(1)), index)));
            }
        }
        self.now = end;
    }
}

fn main() {
    let counts: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![100, 10_000] } else { counts };
    println!("sessions | join HELLO | rekey HELLO |   control |  time-out | idle, of a core");
    for sessions in counts {
        let mut world = World::new(sessions);
        world.run(JOINING);
        let joins = std::mem::take(&mut world.costs);
        world.run(SETTLING);
        assert_eq!(world.server.session_count(), sessions, "all have joined");
        world.costs = Costs::default();
        world.run(IDLE);
        assert_eq!(world.server.session_count(), sessions, "all are still there");
        let Costs { hello, control, timeout } = world.costs;
        println!(
            "{sessions:8} | {:7.1} us | {:8.1} us | {:6.2} us | {:6.2} us | {:.3} %",
            joins.hello.mean_us(),
            hello.mean_us(),
            control.mean_us(),
            timeout.mean_us(),
            [&hello, &control, &timeout].map(Cost::load).iter().sum::<f64>() * 100.0,
        );
        let [hellos, controls, timeouts] = [hello, control, timeout].map(|it| it.rate(sessions));
        println!(
            "         | a session a minute: {hellos:.2} HELLO, {controls:.2} control, \
             {timeouts:.2} time-outs",
        );
    }
}
