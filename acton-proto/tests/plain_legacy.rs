//! Our client with a server of acton 0.1.1 and its client with our server, through the simulated
//! network. The old ends are re-told here, tick for tick, from the published sources.

mod simnet;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use acton_proto::plain::{Client, ClientConfig, Control, Datagram, Server, ServerConfig};
use simnet::{Link, Node, Rng, Simulation, for_seeds};

const SECOND: Duration = Duration::from_secs(1);

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn server_addr() -> SocketAddr {
    addr("192.0.2.1:8080")
}

fn client_addr() -> SocketAddr {
    addr("198.51.100.7:40000")
}

/// What the test asks of each end.
trait End: Node {
    /// A client: whether frames may flow. A server: whether the client has a session.
    fn is_up(&self) -> bool;
}

struct OldClient {
    connected: bool,
    exited: bool,
    tick: u64,
    silent: u64,
    next_tick: Duration,
    out: Option<&'static [u8]>,
}

impl OldClient {
    fn new(now: Duration) -> Self {
        Self {
            connected: false,
            exited: false,
            tick: 0,
            silent: 0,
            next_tick: now,
            out: Some(b"HELLO"),
        }
    }
}

impl Node for OldClient {
    fn handle_input(&mut self, _now: Duration, _from: SocketAddr, payload: &[u8]) {
        match payload {
            b"HELLO" => self.connected = true,
            b"KEEPALIVE" => self.silent = 0,
            _ => {}
        }
    }

    fn handle_timeout(&mut self, _now: Duration) {
        self.next_tick += SECOND;
        self.tick += 1;
        self.silent += 1;
        if self.connected {
            self.out = self.tick.is_multiple_of(10).then_some(b"KEEPALIVE");
            self.exited |= self.silent > 30;
        } else {
            self.out = self.tick.is_multiple_of(3).then_some(b"HELLO");
            self.exited |= self.silent > 180;
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        (!self.exited).then_some(self.next_tick)
    }

    fn poll_transmit(&mut self, _now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.take().filter(|_| !self.exited).map(|text| (server_addr(), text.to_vec()))
    }

    fn handle_refusal(&mut self, _now: Duration) {
        self.exited = true;
    }
}

impl End for OldClient {
    fn is_up(&self) -> bool {
        self.connected && !self.exited
    }
}

struct OldServer {
    expiry: BTreeMap<SocketAddr, Duration>,
    next_sweep: Duration,
    out: Vec<(SocketAddr, Vec<u8>)>,
}

impl OldServer {
    fn new(now: Duration) -> Self {
        Self { expiry: BTreeMap::new(), next_sweep: now + 29 * SECOND, out: Vec::new() }
    }
}

impl Node for OldServer {
    fn handle_input(&mut self, now: Duration, from: SocketAddr, payload: &[u8]) {
        match payload {
            b"HELLO" | b"KEEPALIVE" => {
                self.expiry.insert(from, now + 30 * SECOND);
                self.out.push((from, payload.to_vec()));
            }
            b"BYE" => drop(self.expiry.remove(&from)),
            _ => {} // A frame renews nothing.
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.next_sweep += 30 * SECOND;
        self.expiry.retain(|_, expiry| *expiry >= now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        Some(self.next_sweep)
    }

    fn poll_transmit(&mut self, _now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.pop()
    }
}

impl End for OldServer {
    fn is_up(&self) -> bool {
        self.expiry.contains_key(&client_addr())
    }
}

struct NewClient(Client);

impl Node for NewClient {
    fn handle_input(&mut self, now: Duration, _from: SocketAddr, payload: &[u8]) {
        self.0.handle_input(now, &Datagram::parse(payload).expect("an old server only echoes"));
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.0.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.0.poll_timeout()
    }

    fn poll_transmit(&mut self, _now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        Some((server_addr(), self.0.poll_transmit()?.as_bytes().to_vec()))
    }

    fn handle_refusal(&mut self, now: Duration) {
        self.0.handle_network_error(now);
    }
}

impl End for NewClient {
    fn is_up(&self) -> bool {
        self.0.is_connected()
    }
}

struct NewServer(Server<SocketAddr>);

impl Node for NewServer {
    fn handle_input(&mut self, now: Duration, from: SocketAddr, payload: &[u8]) {
        if let Ok(Datagram::Control(control)) = Datagram::parse(payload) {
            self.0.handle_control(now, from, control);
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.0.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.0.poll_timeout()
    }

    fn poll_transmit(&mut self, _now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        let (to, control): (_, Control) = self.0.poll_transmit()?;
        Some((to, control.as_bytes().to_vec()))
    }
}

impl End for NewServer {
    fn is_up(&self) -> bool {
        self.0.get(client_addr()).is_some()
    }
}

impl Node for Box<dyn End> {
    fn handle_input(&mut self, now: Duration, from: SocketAddr, payload: &[u8]) {
        (**self).handle_input(now, from, payload);
    }

    fn handle_timeout(&mut self, now: Duration) {
        (**self).handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        (**self).poll_timeout()
    }

    fn poll_transmit(&mut self, now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        (**self).poll_transmit(now)
    }

    fn handle_refusal(&mut self, now: Duration) {
        (**self).handle_refusal(now);
    }
}

const SERVER: usize = 0;
const CLIENT: usize = 1;

fn new_server(now: Duration) -> Box<dyn End> {
    Box::new(NewServer(Server::new(ServerConfig::default(), now)))
}

fn old_server(now: Duration) -> Box<dyn End> {
    Box::new(OldServer::new(now))
}

/// Connects, holds the session through ten minutes of moderate loss, then through a restart of
/// the server that sends no ICMP error, by KEEPALIVE alone.
fn session_holds(
    seed: u64,
    client: impl Fn(Duration) -> Box<dyn End>,
    server: impl Fn(Duration) -> Box<dyn End>,
) {
    let rng = &mut Rng::new(seed);
    let start = rng.millis(0..1_000_000);
    let link = Link { duplicate: 0.1, reorder: 0.2, hold: SECOND, ..Link::CLEAN };
    let mut sim: Simulation<Box<dyn End>> = Simulation::new(seed, start, link);
    sim.add(server_addr(), server(start));
    sim.add(client_addr(), client(start));
    let both = |sim: &Simulation<Box<dyn End>>| sim.nodes().all(|end| end.is_up());

    sim.run_until(start + 2 * SECOND);
    assert!(both(&sim));
    for _ in 0..60 {
        // Short of the 30 s that either end puts up with.
        sim.set_all_links(Link { loss: 1.0, ..link });
        sim.run_until(sim.now() + rng.millis(0..7_000));
        sim.set_all_links(link);
        sim.run_until(sim.now() + 12 * SECOND);
        assert!(both(&sim), "at {:?}", sim.now() - start);
    }
    sim.set_all_links(Link::CUT);
    sim.run_until(sim.now() + 2 * SECOND);
    *sim.node_mut(SERVER) = server(sim.now());
    sim.set_all_links(link);
    sim.run_until(sim.now() + 12 * SECOND);
    assert!(both(&sim));
    assert!(sim.node(CLIENT).is_up());
}

#[test]
fn an_old_client_holds_its_session_at_our_server() {
    for_seeds(200, |seed| {
        session_holds(seed, |now| Box::new(OldClient::new(now)), new_server);
    });
}

#[test]
fn our_client_holds_its_session_at_an_old_server() {
    for_seeds(200, |seed| {
        let client = |now| -> Box<dyn End> {
            Box::new(NewClient(Client::new(ClientConfig::default(), seed, now)))
        };
        session_holds(seed, client, old_server);
    });
}

/// The retelling is right where it must be: two old ends hold a session too.
#[test]
fn two_old_ends_hold_theirs() {
    for_seeds(50, |seed| {
        session_holds(seed, |now| Box::new(OldClient::new(now)), old_server);
    });
}
