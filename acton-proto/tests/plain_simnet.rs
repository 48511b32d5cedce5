//! Plain clients and a plain server through a simulated network, over thousands of seeds. The
//! server is checked after every step against a model that is too simple to be wrong.

mod simnet;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use acton_proto::plain::{
    Client, ClientConfig, ClientEvent, Control, Datagram, DownReason, Server, ServerConfig,
    ServerEvent, SessionId,
};
use simnet::{Link, Node, Rng, Simulation, for_seeds};

const EXPIRE_AFTER: Duration = Duration::from_secs(30);
const FRAME: [u8; 60] = [0x5a; 60];

/// The longest that a client needs once nothing disturbs it: the longest wait between two HELLO,
/// or for the KEEPALIVE that makes a session anew, and the time of what is still in flight.
const HEALED_AFTER: Duration = Duration::from_secs(11 + 4);

fn server_addr() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 8080)
}

fn client_addr(number: u64) -> SocketAddr {
    let host = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    SocketAddr::new(host, u16::try_from(10_000 + number).expect("a port"))
}

/// A client that sends a frame now and then, as its owner would.
struct ClientNode {
    client: Client,
    next_frame: Option<Duration>,
    frame_interval: Duration,
    connected: bool,
    attempts: u32,
    times_connected: u32,
    times_lost: u32,
}

impl ClientNode {
    fn new(seed: u64, now: Duration, frame_interval: Option<Duration>) -> Self {
        Self {
            client: Client::new(ClientConfig::default(), seed, now),
            next_frame: frame_interval.map(|interval| now + interval),
            frame_interval: frame_interval.unwrap_or_default(),
            connected: false,
            attempts: 0,
            times_connected: 0,
            times_lost: 0,
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Connecting { attempt } => {
                    assert!(!self.connected);
                    self.attempts += 1;
                    assert_eq!(attempt, self.attempts);
                }
                ClientEvent::Connected { .. } => {
                    assert!(!self.connected);
                    self.connected = true;
                    self.attempts = 0;
                    self.times_connected += 1;
                }
                ClientEvent::Lost { silent_for } => {
                    assert!(self.connected);
                    assert_eq!(silent_for, EXPIRE_AFTER);
                    self.connected = false;
                    self.times_lost += 1;
                }
                ClientEvent::Closed => self.connected = false,
                other => panic!("unknown event {other:?}"),
            }
        }
        assert_eq!(self.connected, self.client.is_connected());
    }
}

impl Node for ClientNode {
    fn handle_input(&mut self, now: Duration, from: SocketAddr, payload: &[u8]) {
        assert_eq!(from, server_addr());
        let datagram = Datagram::parse(payload).expect("the server sends nothing else");
        self.client.handle_input(now, &datagram);
        self.take_events();
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.client.handle_timeout(now);
        self.take_events();
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.client.poll_timeout().into_iter().chain(self.next_frame).min()
    }

    fn poll_transmit(&mut self, now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        if let Some(control) = self.client.poll_transmit() {
            return Some((server_addr(), control.as_bytes().to_vec()));
        }
        self.next_frame.take_if(|at| *at <= now)?;
        self.next_frame = Some(now + self.frame_interval);
        self.client.is_connected().then(|| (server_addr(), FRAME.to_vec()))
    }

    fn handle_refusal(&mut self, now: Duration) {
        self.client.handle_network_error(now);
    }
}

/// The server, restarted at will, and beside it the model.
struct ServerNode {
    server: Server<SocketAddr>,
    /// The model: the last sign of life of each session.
    model: BTreeMap<SocketAddr, Duration>,
    up: BTreeMap<SessionId, SocketAddr>,
    /// Bytes from and to each address, over all restarts.
    bytes: HashMap<SocketAddr, (usize, usize)>,
    inputs: usize,
    outputs: usize,
    dropped: usize,
    /// Whether frames are reported when they come, or asked for at the time-out.
    frames_are_touched: bool,
    frames_seen: BTreeMap<SessionId, Duration>,
}

impl ServerNode {
    fn new(now: Duration, frames_are_touched: bool) -> Self {
        Self {
            server: Server::new(ServerConfig::default(), now),
            model: BTreeMap::new(),
            up: BTreeMap::new(),
            bytes: HashMap::new(),
            inputs: 0,
            outputs: 0,
            dropped: 0,
            frames_are_touched,
            frames_seen: BTreeMap::new(),
        }
    }

    fn restart(&mut self, now: Duration) {
        self.server = Server::new(ServerConfig::default(), now);
        self.model.clear();
        self.up.clear();
        self.frames_seen.clear();
    }

    fn check(&mut self, now: Duration) {
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::SessionUp { id, addr, .. } => {
                    assert_eq!(self.up.insert(id, addr), None);
                }
                ServerEvent::SessionDown { id, addr, reason } => {
                    assert_eq!(self.up.remove(&id), Some(addr));
                    assert!(matches!(reason, DownReason::Bye | DownReason::Expired));
                    self.frames_seen.remove(&id);
                }
                other => panic!("no reason for {other:?}"),
            }
        }
        self.model.retain(|_, seen| now < *seen + EXPIRE_AFTER);
        let sessions: BTreeMap<_, _> = self.server.sessions().map(|s| (s.addr, s.id)).collect();
        assert!(sessions.keys().eq(self.model.keys()), "{sessions:?} is not {:?}", self.model);
        assert!(sessions.iter().all(|(addr, id)| self.up.get(id) == Some(addr)));
        assert_eq!(self.up.len(), sessions.len());
    }
}

impl Node for ServerNode {
    fn handle_input(&mut self, now: Duration, from: SocketAddr, payload: &[u8]) {
        self.inputs += 1;
        self.bytes.entry(from).or_default().0 += payload.len();
        match Datagram::parse(payload) {
            Ok(Datagram::Control(control)) => {
                self.server.handle_control(now, from, control);
                match control {
                    Control::Hello | Control::Keepalive => drop(self.model.insert(from, now)),
                    Control::Bye => drop(self.model.remove(&from)),
                }
            }
            Ok(Datagram::Frame(_)) => match self.server.get(from) {
                Some(id) => {
                    if self.frames_are_touched {
                        self.server.touch(id, now);
                    } else {
                        self.frames_seen.insert(id, now);
                    }
                    self.model.insert(from, now);
                }
                None => self.dropped += 1,
            },
            Err(_) => self.dropped += 1,
        }
        self.check(now);
    }

    fn handle_timeout(&mut self, now: Duration) {
        let seen = &self.frames_seen;
        self.server.handle_timeout_with(now, |id| seen.get(&id).copied().unwrap_or_default());
        self.check(now);
        assert!(self.server.poll_timeout().is_none_or(|next| next > now));
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.server.poll_timeout()
    }

    fn poll_transmit(&mut self, _now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        let (to, control) = self.server.poll_transmit()?;
        self.outputs += 1;
        assert!(self.outputs <= self.inputs);
        let (received, sent) = self.bytes.entry(to).or_default();
        *sent += control.as_bytes().len();
        assert!(sent <= received, "{to} got {sent} bytes for {received}");
        Some((to, control.as_bytes().to_vec()))
    }
}

#[allow(clippy::large_enum_variant)] // there is one server
enum Peer {
    Server(ServerNode),
    Client(ClientNode),
}

impl Peer {
    fn server(&mut self) -> &mut ServerNode {
        match self {
            Self::Server(node) => node,
            Self::Client(_) => panic!("not the server"),
        }
    }

    fn client(&mut self) -> &mut ClientNode {
        match self {
            Self::Client(node) => node,
            Self::Server(_) => panic!("not a client"),
        }
    }

    fn as_node(&mut self) -> &mut dyn Node {
        match self {
            Self::Server(node) => node,
            Self::Client(node) => node,
        }
    }
}

impl Node for Peer {
    fn handle_input(&mut self, now: Duration, from: SocketAddr, payload: &[u8]) {
        self.as_node().handle_input(now, from, payload);
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.as_node().handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Self::Server(node) => node.poll_timeout(),
            Self::Client(node) => node.poll_timeout(),
        }
    }

    fn poll_transmit(&mut self, now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        self.as_node().poll_transmit(now)
    }

    fn handle_refusal(&mut self, now: Duration) {
        self.as_node().handle_refusal(now);
    }
}

const SERVER: usize = 0;

/// Whether the client is connected, and at the address that it has now.
fn is_whole(sim: &Simulation<Peer>, index: usize) -> bool {
    let (Peer::Server(server), Peer::Client(client)) = (sim.node(SERVER), sim.node(index)) else {
        panic!("the server is node 0")
    };
    client.client.is_connected() && server.server.get(sim.addr(index)).is_some()
}

fn all_whole(sim: &Simulation<Peer>) -> bool {
    (1..sim.nodes().count()).all(|index| is_whole(sim, index))
}

fn bad_link(rng: &mut Rng) -> Link {
    Link {
        loss: rng.fraction() * 0.6,
        duplicate: rng.fraction() * 0.4,
        reorder: rng.fraction() * 0.5,
        hold: rng.millis(0..1_500),
        delay: rng.millis(0..400),
        jitter: rng.millis(0..300),
        ..Link::CLEAN
    }
}

/// A server and up to five clients on bad links, some of which send frames.
fn tunnel(seed: u64, rng: &mut Rng) -> Simulation<Peer> {
    let start = rng.millis(0..100_000_000);
    let link = bad_link(rng);
    let mut sim = Simulation::new(seed, start, link);
    sim.add(server_addr(), Peer::Server(ServerNode::new(start, rng.chance(0.5))));
    for number in 0..1 + rng.below(5) {
        let interval = rng.chance(0.5).then(|| rng.millis(200..20_000));
        let client = ClientNode::new(rng.next(), start, interval);
        sim.add(client_addr(number), Peer::Client(client));
    }
    sim
}

/// One thing that goes wrong.
fn disturb(sim: &mut Simulation<Peer>, rng: &mut Rng) {
    let now = sim.now();
    let clients = sim.nodes().count() as u64 - 1;
    let index = 1 + rng.below(clients) as usize;
    match rng.below(9) {
        // The server is killed, and starts again with an empty table.
        0 => {
            sim.set_listening(SERVER, false);
            sim.run_until(now + rng.millis(0..60_000));
            let now = sim.now();
            sim.node_mut(SERVER).server().restart(now);
            sim.set_listening(SERVER, true);
        }
        // Somebody says BYE in a client's name.
        1 => sim.inject(sim.addr(index), server_addr(), b"BYE".to_vec()),
        // Silence, for all or for one.
        2 => {
            sim.set_all_links(Link::CUT);
            sim.run_until(now + rng.millis(0..90_000));
            sim.set_all_links(bad_link(rng));
        }
        3 => {
            sim.set_link(SERVER, index, Link::CUT);
            sim.run_until(now + rng.millis(0..90_000));
            sim.set_link(SERVER, index, bad_link(rng));
        }
        // A client ends with BYE, and a new one starts at its address.
        4 => {
            sim.node_mut(index).client().client.close();
            sim.node_mut(index).client().take_events();
            sim.run_until(now + rng.millis(0..5_000));
            let client = ClientNode::new(rng.next(), sim.now(), None);
            *sim.node_mut(index) = Peer::Client(client);
        }
        // A client crashes.
        5 => *sim.node_mut(index) = Peer::Client(ClientNode::new(rng.next(), now, None)),
        // A NAT gives it another port.
        6 => {
            let number = 1_000 + rng.below(10_000);
            sim.rebind(index, client_addr(number));
        }
        // Strangers send what they like.
        7 => {
            for _ in 0..rng.below(50) {
                let from = client_addr(20_000 + rng.below(100));
                let length = rng.below(20) as usize;
                let text = [&b"HELLO"[..], b"KEEPALIVE", b"BYE", b"", &FRAME, &FRAME[..length]];
                let payload = text[rng.below(text.len() as u64) as usize].to_vec();
                sim.inject(from, server_addr(), payload);
            }
        }
        // And in a client's name.
        _ => {
            for _ in 0..rng.below(20) {
                let text = [&b"HELLO"[..], b"KEEPALIVE", b"BYE", &FRAME];
                let payload = text[rng.below(text.len() as u64) as usize].to_vec();
                sim.inject(sim.addr(index), server_addr(), payload);
            }
        }
    }
}

/// Whatever happened, clients are connected again soon after it ends, and stay so.
#[test]
fn clients_come_back_after_any_disturbance() {
    for_seeds(2_000, |seed| {
        let rng = &mut Rng::new(seed ^ 0x00c0_ffee);
        let mut sim = tunnel(seed, rng);
        for _ in 0..rng.below(8) {
            sim.run_until(sim.now() + rng.millis(0..40_000));
            disturb(&mut sim, rng);
        }
        sim.set_all_links(Link { delay: rng.millis(0..500), ..Link::CLEAN });
        sim.run_until(sim.now() + HEALED_AFTER);
        assert!(all_whole(&sim));

        let count = sim.nodes().count();
        let connections = |sim: &mut Simulation<Peer>| -> Vec<_> {
            (1..count).map(|index| sim.node_mut(index).client().times_connected).collect()
        };
        let before = connections(&mut sim);
        sim.run_until(sim.now() + Duration::from_secs(120));
        assert!(all_whole(&sim));
        assert_eq!(connections(&mut sim), before, "a connection broke without a cause");
    });
}

/// Any loss short of all of it only takes longer.
#[test]
fn clients_come_back_while_datagrams_are_still_lost() {
    for_seeds(1_000, |seed| {
        let rng = &mut Rng::new(seed ^ 0x0bad_cafe);
        let mut sim = tunnel(seed, rng);
        for _ in 0..rng.below(4) {
            sim.run_until(sim.now() + rng.millis(0..40_000));
            disturb(&mut sim, rng);
        }
        sim.set_all_links(Link { loss: 0.3 + rng.fraction() * 0.4, ..bad_link(rng) });
        // A day, as a guard against a hang: at 70 % loss each way one HELLO in eleven is answered.
        for index in 1..sim.nodes().count() {
            let day = sim.now() + Duration::from_secs(86_400);
            assert!(sim.run_until_or(day, |sim| is_whole(sim, index)));
        }
    });
}

/// The last BYE frees every session at once where nothing is lost, and silence frees them in time
/// where everything is.
#[test]
fn nothing_is_left_when_clients_end() {
    for_seeds(500, |seed| {
        let rng = &mut Rng::new(seed ^ 0x0dea_dbee);
        let mut sim = tunnel(seed, rng);
        sim.run_until(sim.now() + rng.millis(0..60_000));
        let polite = rng.chance(0.5);
        let link = if polite { Link::CLEAN } else { Link::CUT };
        // What is in flight must land before the BYE, or it opens a session behind it.
        sim.set_all_links(link);
        sim.run_until(sim.now() + Duration::from_secs(if polite { 20 } else { 3 }));
        let clients = sim.nodes().count() - 1;
        assert!(!polite || sim.node_mut(SERVER).server().server.len() == clients);
        for index in 1..=clients {
            sim.node_mut(index).client().client.close();
        }
        sim.run_until(sim.now() + link.delay);
        let server = &sim.node_mut(SERVER).server().server;
        assert!(!polite || server.is_empty());
        sim.run_until(sim.now() + EXPIRE_AFTER);
        let server = &sim.node_mut(SERVER).server().server;
        assert!(server.is_empty());
        assert_eq!(server.poll_timeout(), None);
    });
}

/// A refused KEEPALIVE is repeated every 5 s: a restarted server has its sessions back before the
/// usual 10 s, and no connection is given up.
#[test]
fn a_refusal_shortens_the_outage_of_a_restart() {
    for_seeds(200, |seed| {
        let rng = &mut Rng::new(seed);
        let start = rng.millis(0..1_000_000);
        let mut sim = Simulation::new(seed, start, Link::CLEAN);
        sim.add(server_addr(), Peer::Server(ServerNode::new(start, true)));
        let interval = Some(Duration::from_millis(100));
        sim.add(client_addr(0), Peer::Client(ClientNode::new(rng.next(), start, interval)));
        sim.run_until(sim.now() + rng.millis(2_000..30_000));
        assert!(all_whole(&sim));
        sim.set_listening(SERVER, false);
        sim.run_until(sim.now() + rng.millis(500..15_000));
        let now = sim.now();
        sim.node_mut(SERVER).server().restart(now);
        sim.set_listening(SERVER, true);
        sim.run_until(sim.now() + Duration::from_millis(5_100));
        assert!(all_whole(&sim));
        assert_eq!(sim.node_mut(1).client().times_lost, 0);
    });
}

/// The simulator itself: the same seed is the same run, another one is not.
#[test]
fn the_simulation_repeats_itself() {
    let run = |seed| {
        let rng = &mut Rng::new(seed);
        let mut sim = tunnel(seed, rng);
        for _ in 0..5 {
            sim.run_until(sim.now() + rng.millis(0..40_000));
            disturb(&mut sim, rng);
        }
        let server = sim.node_mut(SERVER).server();
        (server.inputs, server.outputs, server.dropped, server.model.clone())
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
        assert_ne!(run(seed), run(seed + 1_000));
    }
}
