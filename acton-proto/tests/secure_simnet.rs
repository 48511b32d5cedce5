//! Clients and a server of acton/1 through a simulated network, over many seeds: whatever happened,
//! the tunnel comes back, no frame arrives twice or changed, and nobody else's traffic notices.

mod secure_rig;
mod simnet;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use acton_proto::client::{Client, ClientEvent};
use acton_proto::server::{AnyClient, Server, ServerEvent};
use acton_proto::session::{Keys, LinkState, LinkStatistics};
use acton_proto::wire::{Bye, Key};
use secure_rig::{SECOND, Seeded, WALL, client_config, server_config};
use simnet::{Link, Node, Rng, Simulation, for_seeds};

/// How long a tunnel may need once nothing disturbs it: the loss is noticed after 13 s, or a BYE
/// keeps the client away for 8 s, and the next HELLO may be 30 s off. A path that has shrunk is
/// noticed 9 s after the first frame that is too large for it, which may be long in coming.
const HEALED_AFTER: Duration = Duration::from_secs(90);

fn server_addr() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 8443))
}

fn client_addr(n: u64) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 10_000 + n as u16))
}

/// `client number | sequence number | filling that follows from both`.
fn make_frame(client: u8, sequence: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![client; len.max(14)];
    frame[1..5].copy_from_slice(&sequence.to_be_bytes());
    for (i, byte) in frame.iter_mut().enumerate().skip(5) {
        *byte = client ^ sequence as u8 ^ i as u8;
    }
    frame
}

/// What a frame tells, if it arrived as it was made.
fn read_frame(frame: &[u8]) -> (u8, u32) {
    let (client, sequence) =
        (frame[0], u32::from_be_bytes(frame[1..5].try_into().expect("four bytes")));
    assert_eq!(frame, make_frame(client, sequence, frame.len()), "the frame was changed");
    (client, sequence)
}

enum Side {
    Client {
        client: Box<Client>,
        every: Duration,
        next: Duration,
        sequence: u32,
        /// When each sequence number came back.
        back: Vec<(u32, Duration)>,
        connected: Option<Duration>,
    },
    Server {
        server: Box<Server>,
        peers: HashMap<u32, Key>,
        seen: HashSet<(u8, u32)>,
    },
}

struct Machine {
    side: Side,
    number: u8,
    rng: Rng,
    /// The wall clock less the boot clock.
    wall: u64,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Machine {
    fn client(seed: u64, number: u8, now: Duration, every: Duration) -> Self {
        let random = Box::new(Seeded(seed));
        let client = Box::new(Client::new(client_config(10 + number), random, now));
        let side = Side::Client {
            client,
            every,
            next: now + every,
            sequence: 0,
            back: Vec::new(),
            connected: None,
        };
        Self { side, number, rng: Rng::new(seed), wall: WALL, out: VecDeque::new() }
    }

    fn server(seed: u64, now: Duration, cookie_backlog: usize) -> Self {
        let mut config = server_config();
        config.cookie_backlog = cookie_backlog;
        let server = Server::new(config, Box::new(AnyClient), Box::new(Seeded(seed)), now);
        let side =
            Side::Server { server: Box::new(server), peers: HashMap::new(), seen: HashSet::new() };
        Self { side, number: 0, rng: Rng::new(seed), wall: WALL, out: VecDeque::new() }
    }

    /// The process is another; what the test counts goes on.
    fn restart(&mut self, seed: u64, now: Duration) {
        match &mut self.side {
            Side::Client { client, connected, .. } => {
                let random = Box::new(Seeded(seed));
                **client = Client::new(client_config(10 + self.number), random, now);
                *connected = None;
            }
            Side::Server { server, peers, .. } => {
                let random = Box::new(Seeded(seed));
                **server = Server::new(server_config(), Box::new(AnyClient), random, now);
                peers.clear();
            }
        }
    }

    fn back(&self) -> &[(u32, Duration)] {
        match &self.side {
            Side::Client { back, .. } => back,
            Side::Server { .. } => &[],
        }
    }

    fn statistics(&self, now: Duration) -> Option<LinkStatistics> {
        match &self.side {
            Side::Client { client, .. } => client.statistics(now),
            Side::Server { .. } => None,
        }
    }

    fn connected(&self) -> Option<Duration> {
        match &self.side {
            Side::Client { connected, .. } => *connected,
            Side::Server { .. } => None,
        }
    }

    fn the_server(&mut self) -> &mut Server {
        match &mut self.side {
            Side::Server { server, .. } => server,
            Side::Client { .. } => panic!("a client"),
        }
    }

    fn send(
        out: &mut VecDeque<(SocketAddr, Vec<u8>)>,
        to: SocketAddr,
        keys: &Keys,
        now: Duration,
        frame: &[u8],
    ) {
        let mut datagrams = Vec::new();
        if let Ok(segment) = keys.seal_frame(now, frame, false, &mut datagrams) {
            out.extend(datagrams.chunks(segment).map(|bytes| (to, bytes.to_vec())));
        }
    }

    fn drain(&mut self, now: Duration) {
        let mut bytes = Vec::new();
        match &mut self.side {
            Side::Client { client, connected, .. } => {
                while let Some(event) = client.poll_event() {
                    match event {
                        ClientEvent::Connected { .. } => {
                            assert!(connected.is_none());
                            *connected = Some(now);
                        }
                        ClientEvent::Disconnected { .. } => {
                            assert!(connected.take().is_some());
                        }
                        _ => {}
                    }
                }
                assert_eq!(connected.is_some(), client.keys().is_some());
                while let Some(segment) = client.poll_transmit(64, &mut bytes) {
                    let datagrams = bytes.chunks(segment).map(|b| (server_addr(), b.to_vec()));
                    self.out.extend(datagrams);
                    bytes.clear();
                }
            }
            Side::Server { server, peers, .. } => {
                while let Some(event) = server.poll_event() {
                    match event {
                        ServerEvent::SessionUp { id, client, .. } => {
                            assert!(peers.insert(id.0, client).is_none(), "an id in use");
                        }
                        ServerEvent::SessionDown { id, client, .. } => {
                            assert_eq!(peers.remove(&id.0), Some(client));
                        }
                        _ => {}
                    }
                }
                assert_eq!(peers.len(), server.session_count());
                while let Some(transmit) = server.poll_transmit(64, &mut bytes) {
                    let to = transmit.path.remote;
                    self.out.extend(bytes.chunks(transmit.segment).map(|b| (to, b.to_vec())));
                    bytes.clear();
                }
            }
        }
    }
}

impl Node for Machine {
    fn handle_input(&mut self, now: Duration, from: SocketAddr, payload: &[u8]) {
        let mut datagram = payload.to_vec();
        match &mut self.side {
            Side::Client { client, back, .. } => {
                for frame in client.handle_input(now, &mut datagram) {
                    let (number, sequence) = read_frame(frame.bytes());
                    assert_eq!(number, self.number, "another client's frame");
                    assert!(back.iter().all(|(seen, _)| *seen != sequence), "a frame came twice");
                    back.push((sequence, now));
                }
            }
            Side::Server { server, seen, .. } => {
                let wall = self.wall + now.as_nanos() as u64;
                if let Some((id, frames)) =
                    server.handle_input(now, wall, from.into(), &mut datagram)
                {
                    let session = server.sessions().find(|session| session.id == id);
                    let session = session.expect("the session of a frame");
                    for frame in frames {
                        let frame = frame.bytes();
                        assert!(seen.insert(read_frame(frame)), "a frame came twice");
                        Self::send(&mut self.out, session.path.remote, session.keys, now, frame);
                    }
                }
            }
        }
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Duration) {
        let wall = self.wall.wrapping_add(now.as_nanos() as u64);
        match &mut self.side {
            Side::Client { client, every, next, sequence, .. } => {
                client.handle_timeout(now, wall);
                if now >= *next {
                    *next = now + *every;
                    *sequence += 1;
                    let len = 14 + self.rng.below(1501) as usize;
                    if let Some(keys) = client.keys() {
                        let frame = make_frame(self.number, *sequence, len);
                        Self::send(&mut self.out, server_addr(), keys, now, &frame);
                    }
                }
            }
            Side::Server { server, .. } => server.handle_timeout(now),
        }
        self.drain(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        match &self.side {
            Side::Client { client, next, .. } => {
                client.poll_timeout().into_iter().chain([*next]).min()
            }
            Side::Server { server, .. } => server.poll_timeout(),
        }
    }

    fn poll_transmit(&mut self, now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        self.drain(now);
        self.out.pop_front()
    }

    fn handle_refusal(&mut self, now: Duration) {
        if let Side::Client { client, .. } = &mut self.side {
            client.handle_network_error(now);
        }
    }
}

const START: Duration = Duration::from_secs(5000);

fn network(seed: u64, clients: u8, link: Link, every: Duration) -> Simulation<Machine> {
    let mut sim = Simulation::new(seed, START, link);
    let mut rng = Rng::new(seed ^ 0xabcd);
    let backlog = if rng.chance(0.3) { 0 } else { 12_288 };
    sim.add(server_addr(), Machine::server(rng.next(), START, backlog));
    for n in 0..clients {
        let machine = Machine::client(rng.next(), n, START, every);
        sim.add(client_addr(u64::from(n)), machine);
    }
    sim
}

fn bad_link(rng: &mut Rng) -> Link {
    Link {
        loss: rng.fraction() * 0.3,
        duplicate: rng.fraction() * 0.2,
        reorder: rng.fraction() * 0.3,
        hold: rng.millis(1..2000),
        delay: rng.millis(1..150),
        jitter: rng.millis(1..50),
        mtu: [usize::MAX, 1472, 1400, 1232][rng.below(4) as usize],
    }
}

/// Of a session whose network has been a good one for a while.
fn assert_is_up(known: LinkStatistics) {
    assert_eq!(known.state, LinkState::Up);
    let (from_peer, to_peer) = (known.from_peer, known.to_peer.expect("reported"));
    assert!(from_peer.received <= from_peer.expected && to_peer.received <= to_peer.expected);
    assert!(from_peer.received > 0 && to_peer.received > 0);
    assert!(known.rtt.is_some_and(|rtt| rtt.min <= rtt.smoothed), "{:?}", known.rtt);
}

#[test]
fn whatever_happens_the_tunnel_comes_back() {
    for_seeds(1_000, |seed| {
        let mut rng = Rng::new(seed);
        let clients = 3_u8;
        let mut sim = network(seed, clients, bad_link(&mut rng), SECOND * 2);
        let mut ports = 100;
        for _ in 0..8 {
            let until = sim.now() + rng.millis(100..20_000);
            sim.run_until(until);
            let now = sim.now();
            let victim = 1 + rng.below(u64::from(clients)) as usize;
            match rng.below(9) {
                0 => sim.node_mut(0).restart(rng.next(), now),
                1 => sim.node_mut(victim).restart(rng.next(), now),
                2 => {
                    ports += 1;
                    sim.rebind(victim, client_addr(ports));
                }
                3 => sim.set_link(0, victim, Link::CUT),
                4 => sim.set_all_links(bad_link(&mut rng)),
                5 => {
                    sim.set_listening(0, false);
                    let until = now + rng.millis(1..30_000);
                    sim.run_until(until);
                    sim.set_listening(0, true);
                    sim.node_mut(0).restart(rng.next(), until);
                }
                6 => {
                    // A clean stop, and a start some seconds later.
                    sim.node_mut(0).the_server().close(now, Bye::Restart, SECOND * 8);
                    sim.run_until(now + SECOND);
                    sim.node_mut(0).restart(rng.next(), now + SECOND);
                }
                7 => sim.node_mut(victim).wall = rng.next() >> 2,
                _ => sim.set_all_links(Link { mtu: 1280 - 28, ..bad_link(&mut rng) }),
            }
        }
        let mtu = [usize::MAX, 1472, 1252][rng.below(3) as usize];
        sim.set_all_links(Link { mtu, ..Link::CLEAN });
        let healed = sim.now() + HEALED_AFTER;
        sim.run_until(healed + SECOND * 20);
        for (n, machine) in sim.nodes().enumerate().skip(1) {
            let recent = machine.back().iter().filter(|(_, at)| *at > healed).count();
            // A frame every two seconds for twenty; a first rekey or restart may take one.
            assert!(recent >= 8, "client {n}: {recent} of 10 frames came back");
            assert_is_up(machine.statistics(sim.now()).expect("a session"));
        }
        let now = sim.now();
        let server = sim.node_mut(0).the_server();
        assert_eq!(server.session_count(), usize::from(clients));
        for session in server.sessions() {
            assert_is_up(server.session_statistics(now, session.id).expect("a session"));
        }
    });
}

#[test]
fn nobody_notices_what_happens_to_others() {
    for_seeds(200, |seed| {
        let mut rng = Rng::new(seed);
        let mut sim = network(seed, 3, Link::CLEAN, SECOND / 2);
        for victim in 2..=3 {
            sim.set_link(0, victim, bad_link(&mut rng));
        }
        let mut ports = 100;
        for _ in 0..10 {
            let until = sim.now() + rng.millis(100..15_000);
            sim.run_until(until);
            let (now, victim) = (sim.now(), 2 + rng.below(2) as usize);
            match rng.below(4) {
                0 => sim.node_mut(victim).restart(rng.next(), now),
                1 => {
                    ports += 1;
                    sim.rebind(victim, client_addr(ports));
                }
                2 => sim.set_link(0, victim, Link::CUT),
                _ => sim.set_link(0, victim, bad_link(&mut rng)),
            }
        }
        sim.run_until(sim.now() + SECOND);
        let Side::Client { sequence, back, .. } = &sim.node(1).side else { panic!("a client") };
        // The first frame may come before the handshake ends, the last may be on its way.
        assert!(back.len() + 2 >= *sequence as usize, "{} of {sequence}", back.len());
    });
}

#[test]
fn a_handshake_succeeds_in_eight_seconds_at_thirty_per_cent_loss() {
    let mut times = Vec::new();
    for seed in 0..1000 {
        let link = Link { loss: 0.3, delay: Duration::from_millis(25), ..Link::CLEAN };
        let mut sim = network(seed, 1, link, SECOND * 3600);
        sim.run_until_or(START + SECOND * 60, |sim| sim.node(1).connected().is_some());
        times.push(sim.node(1).connected().expect("a session within a minute") - START);
    }
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    println!("handshake at 30 % loss each way: median {:?}, p99 {p99:?}", times[times.len() / 2]);
    assert!(p99 <= SECOND * 8, "{p99:?}");
}
