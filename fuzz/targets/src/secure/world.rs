//! A server, clients, what is on its way between them, and what must hold of it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use acton_proto::client::{Client, ClientConfig, ClientEvent};
use acton_proto::handshake::{Random, Secret, public_key};
use acton_proto::server::{AnyClient, Notice, Path, Server, ServerConfig, ServerEvent, SessionId};
use acton_proto::session::{Keys, LinkState, LinkStatistics};
use acton_proto::wire::{Caps, Datagram, Key, Suites};

pub(super) const SERVER: u8 = 1;
pub(super) const NETWORK: u8 = 2;
/// The station that has the key of the first, and is off unless the fuzzer turns it on.
pub(super) const TWIN: usize = 2;
/// An address at which nobody gets what is sent there.
pub(super) const STRANGER: Path = Path {
    remote: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 9)),
    local: None,
};

/// First byte of a frame that was not made up by the fuzzer.
const HONEST: u8 = 0xaa;
/// 2026-01-01, in nanoseconds since 1970.
const WALL: u64 = 1_767_225_600_000_000_000;
const MAX_SESSIONS: usize = 8;
const MAX_PENDING: usize = 4;
const MAX_QUEUE: usize = 200;
const MAX_CAPTURED: usize = 64;
/// What an end offers that knows no REPORT.
const OLD: Caps = Caps(Caps::ALL.0 & !Caps::REPORT.0);
/// The longest that anything authentic keeps a client away is 900 s (BYE(replaced), 600 s +-50 %).
const HEALING: Duration = Duration::from_secs(1200);

pub(super) fn secret(n: u8) -> Secret {
    Secret::new([n; 32])
}

/// The public key of [`secret`], made once a process: each is a multiplication on the curve.
pub(super) fn public(n: u8) -> Key {
    static KEYS: LazyLock<[Key; 12]> =
        LazyLock::new(|| std::array::from_fn(|n| public_key(&secret(n as u8))));
    KEYS[usize::from(n)]
}

/// SplitMix64, so that an input always means the same.
#[derive(Debug)]
pub(super) struct Seeded(u64);

impl Seeded {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for Seeded {
    fn fill(&mut self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}

/// A datagram on its way; `path` is the client's side.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) to_server: bool,
    pub(super) path: Path,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Station {
    pub(super) client: Client,
    secret: u8,
    pub(super) key: Key,
    pub(super) path: Path,
    pub(super) on: bool,
    connected: bool,
}

/// A frame that somebody honest sent.
struct Sent {
    bytes: Vec<u8>,
    /// The client that it is from or for.
    client: Key,
    up: bool,
    delivered: bool,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) random: Seeded,
    pub(super) server: Server,
    pub(super) stations: Vec<Station>,
    pub(super) queue: VecDeque<Packet>,
    captured: VecDeque<Vec<u8>>,
    frames: Vec<Sent>,
    sessions: BTreeMap<SessionId, Key>,
    /// Keys that the server's other threads hold, by id.
    threads: BTreeMap<u32, Arc<Keys>>,
    /// Bytes from the stranger less those to him.
    credit: i64,
    ports: u16,
    options: u8,
}

impl World {
    pub(super) fn new(options: u8) -> Self {
        let now = Duration::from_secs(1000);
        let mut random = Seeded(u64::from(options));
        let server = new_server(options, now, &mut random);
        let mut world = Self {
            now,
            random,
            server,
            stations: Vec::new(),
            queue: VecDeque::new(),
            captured: VecDeque::new(),
            frames: Vec::new(),
            sessions: BTreeMap::new(),
            threads: BTreeMap::new(),
            credit: 0,
            ports: 0,
            options,
        };
        for (n, on) in [(10, true), (11, options & 8 != 0), (10, false)] {
            let (client, path) = (world.new_client(n), world.new_path());
            let key = public(n);
            world.stations.push(Station { client, secret: n, key, path, on, connected: false });
        }
        world
    }

    fn new_path(&mut self) -> Path {
        self.ports += 1;
        SocketAddr::from(([198, 51, 100, 1], self.ports)).into()
    }

    fn new_client(&mut self, n: u8) -> Client {
        let mut config = ClientConfig::new(secret(n), public(SERVER));
        config.network_key = Some(secret(NETWORK));
        config.suites = Suites(1 + u16::from(self.options >> 1 & 1));
        if self.options & 4 != 0 {
            config.max_frame = 9000;
            config.pmtu = 9000;
        }
        if self.options & 16 != 0 {
            config.caps = OLD;
        }
        Client::new(config, Box::new(Seeded(self.random.next())), self.now)
    }

    pub(super) fn wall(&self) -> u64 {
        WALL + self.now.as_nanos() as u64
    }

    pub(super) fn renew(&mut self, at: usize) {
        let client = self.new_client(self.stations[at].secret);
        let station = &mut self.stations[at];
        station.client = client;
        station.connected = false;
    }

    pub(super) fn rebind(&mut self, at: usize) {
        self.stations[at].path = self.new_path();
    }

    pub(super) fn restart_server(&mut self) {
        self.server = new_server(self.options, self.now, &mut self.random);
        self.sessions.clear();
        self.threads.clear();
    }

    /// The keys that the server seals with for a station's session.
    pub(super) fn session_keys(&self, at: usize) -> Option<Arc<Keys>> {
        let key = &self.stations[at].key;
        self.server.sessions().find(|s| s.client == key).map(|session| Arc::clone(session.keys))
    }

    pub(super) fn captured(&self, back: u8) -> Option<Vec<u8>> {
        self.captured.get(usize::from(back) % MAX_CAPTURED).cloned()
    }

    pub(super) fn delivered(&self) -> bool {
        self.frames.iter().any(|frame| frame.delivered)
    }

    fn push(&mut self, packet: Packet) {
        if packet.path == STRANGER {
            // Nobody gets it: who did could prove the address, by passing it on to the client.
            return;
        }
        self.captured.push_front(packet.bytes.clone());
        self.captured.truncate(MAX_CAPTURED);
        self.queue.push_back(packet);
        if self.queue.len() > MAX_QUEUE {
            self.queue.pop_front();
        }
    }

    /// A datagram with the stranger's address.
    pub(super) fn deliver_strange(&mut self, bytes: Vec<u8>) {
        self.credit += bytes.len() as i64;
        self.deliver(&Packet { to_server: true, path: STRANGER, bytes });
    }

    pub(super) fn deliver_next(&mut self) {
        if let Some(packet) = self.queue.pop_front() {
            self.deliver(&packet);
        }
    }

    pub(super) fn deliver(&mut self, packet: &Packet) {
        let mut bytes = packet.bytes.clone();
        if packet.to_server {
            let wall = self.wall();
            let made = self.server.handle_input(self.now, wall, packet.path, &mut bytes);
            self.collect();
            if let Some((id, frames)) = made {
                let client = *self.sessions.get(&id).expect("a frame comes in a session");
                frames.for_each(|frame| self.arrived(true, client, frame.bytes()));
            }
        } else {
            let here = |station: &Station| station.on && station.path == packet.path;
            if let Some(at) = self.stations.iter().position(here) {
                let frames = self.stations[at].client.handle_input(self.now, &mut bytes);
                let client = self.stations[at].key;
                frames.for_each(|frame| self.arrived(false, client, frame.bytes()));
            }
        }
        self.collect();
    }

    /// One of the server's threads opens the next datagram, if it has the keys; the news of it.
    pub(super) fn open_elsewhere(&mut self) -> Option<Notice> {
        let packet = self.queue.front().filter(|packet| packet.to_server)?;
        let mut bytes = packet.bytes.clone();
        let size = bytes.len();
        let Ok(Datagram::Sealed(header)) = Datagram::parse(&bytes) else { return None };
        let (local_id, from) = (header.receiver_id, packet.path);
        let keys = Arc::clone(self.threads.get(&local_id)?);
        self.queue.pop_front();
        let received = keys.receive(self.now, &header, &mut bytes).ok()?;
        for frame in received.content.into_frames() {
            // Sessions share the client's key, but not the threads' view of who is there.
            let client = self.frame_of(frame.bytes()).map(|sent| sent.client);
            if let Some(client) = client {
                self.arrived(true, client, frame.bytes());
            }
        }
        Some(Notice { local_id, from, bytes: size, newest: received.newest })
    }

    fn frame_of(&mut self, frame: &[u8]) -> Option<&mut Sent> {
        let &[HONEST, a, b, c, d, ..] = frame else { return None };
        self.frames.get_mut(u32::from_be_bytes([a, b, c, d]) as usize)
    }

    fn arrived(&mut self, up: bool, client: Key, frame: &[u8]) {
        assert!(frame.len() >= 14, "a frame without a header");
        if frame[0] != HONEST {
            return;
        }
        let sent = self.frame_of(frame).expect("a frame that was sent");
        assert_eq!(sent.bytes, frame, "a frame arrives as it was sent");
        assert_eq!((sent.up, sent.client), (up, client), "a frame arrives where it is to");
        assert!(!std::mem::replace(&mut sent.delivered, true), "a frame arrives once");
    }

    fn new_frame(&mut self, client: Key, up: bool, len: usize) -> Vec<u8> {
        let number = self.frames.len() as u32;
        let mut bytes = vec![number as u8; len % 9100 + 14];
        bytes[0] = HONEST;
        bytes[1..5].copy_from_slice(&number.to_be_bytes());
        self.frames.push(Sent { bytes: bytes.clone(), client, up, delivered: false });
        bytes
    }

    /// Seals a frame of the station's and sends it; its number.
    pub(super) fn send_up(&mut self, at: usize, len: usize) {
        let Station { key, path, .. } = self.stations[at];
        let Some(keys) = self.stations[at].client.keys().cloned() else { return };
        let frame = self.new_frame(key, true, len);
        self.seal(&keys, &frame, Packet { to_server: true, path, bytes: Vec::new() });
    }

    /// Seals a frame for the station's session and sends it to where the server thinks it is.
    pub(super) fn send_down(&mut self, at: usize, len: usize) {
        let key = self.stations[at].key;
        let session = self.server.sessions().find(|session| *session.client == key);
        let Some((keys, path)) = session.map(|s| (Arc::clone(s.keys), s.path)) else { return };
        let frame = self.new_frame(key, false, len);
        self.seal(&keys, &frame, Packet { to_server: false, path, bytes: Vec::new() });
    }

    fn seal(&mut self, keys: &Keys, frame: &[u8], packet: Packet) {
        let mut out = Vec::new();
        let Ok(segment) = keys.seal_frame(self.now, frame, false, &mut out) else { return };
        for bytes in out.chunks(segment) {
            self.push(Packet { bytes: bytes.to_vec(), ..packet });
        }
    }

    /// Takes what everybody says, and checks it.
    pub(super) fn collect(&mut self) {
        let mut out = Vec::new();
        while let Some(transmit) = self.server.poll_transmit(64, &mut out) {
            for bytes in out.chunks(transmit.segment) {
                if transmit.path == STRANGER {
                    self.credit -= bytes.len() as i64;
                }
                self.push(Packet { to_server: false, path: transmit.path, bytes: bytes.to_vec() });
            }
            assert!(self.credit >= 0, "the stranger got more than he sent");
            out.clear();
        }
        for at in 0..self.stations.len() {
            let Station { path, on, .. } = self.stations[at];
            while let Some(segment) = self.stations[at].client.poll_transmit(64, &mut out) {
                if on {
                    for bytes in out.chunks(segment) {
                        self.push(Packet { to_server: true, path, bytes: bytes.to_vec() });
                    }
                }
                out.clear();
            }
            self.client_events(at);
        }
        self.server_events();
    }

    fn client_events(&mut self, at: usize) {
        let Station { client, connected, .. } = &mut self.stations[at];
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Connected { .. } => {
                    assert!(!std::mem::replace(connected, true), "connected twice");
                }
                ClientEvent::Disconnected { .. } => {
                    assert!(std::mem::replace(connected, false), "disconnected twice");
                }
                _ => {}
            }
        }
        assert_eq!(client.keys().is_some(), *connected, "events say whether there is a session");
        let statistics = client.statistics(self.now);
        assert_eq!(statistics.is_some(), *connected, "what is known is of a session");
        statistics.iter().for_each(make_sense);
    }

    fn server_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::SessionUp { id, client, keys, .. } => {
                    assert_eq!(self.sessions.insert(id, client), None, "a name is given once");
                    self.threads.insert(keys.setup().local_id, keys);
                }
                ServerEvent::KeysReady { id, keys } | ServerEvent::KeysChanged { id, keys, .. } => {
                    assert!(self.sessions.contains_key(&id), "keys of a session");
                    self.threads.insert(keys.setup().local_id, keys);
                }
                ServerEvent::KeysDropped { local_id, .. } => {
                    assert!(self.threads.remove(&local_id).is_some(), "only what was is dropped");
                }
                ServerEvent::SessionDown { id, client, .. } => {
                    assert_eq!(self.sessions.remove(&id), Some(client), "only what began ends");
                }
                _ => {}
            }
        }
        assert_eq!(self.server.session_count(), self.sessions.len());
        for id in self.sessions.keys() {
            let statistics = self.server.session_statistics(self.now, *id);
            make_sense(&statistics.expect("what is known of a session"));
        }
        assert!(self.server.session_count() <= MAX_SESSIONS);
        assert!(self.server.pending_count() <= MAX_PENDING);
        let twice = |(n, client)| self.sessions.values().skip(n + 1).any(|other| other == client);
        assert!(!self.sessions.values().enumerate().any(twice), "a client has one session");
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now += time;
        let (now, wall) = (self.now, self.wall());
        let server = &mut self.server;
        assert!(
            rests(now, server, |it| it.handle_timeout(now), |it| it.poll_timeout()),
            "the server spins"
        );
        for station in self.stations.iter_mut().filter(|station| station.on) {
            let client = &mut station.client;
            assert!(
                rests(now, client, |it| it.handle_timeout(now, wall), |it| it.poll_timeout()),
                "a client spins"
            );
        }
    }

    pub(super) fn advance_to_timeout(&mut self) {
        let on = self.stations.iter().filter(|station| station.on);
        let clients = on.filter_map(|station| station.client.poll_timeout());
        let next = clients.chain(self.server.poll_timeout()).min();
        self.advance(next.map_or(Duration::ZERO, |at| at.saturating_sub(self.now)));
    }

    /// Lets the network be a good one until frames go both ways for all.
    pub(super) fn heal(&mut self) {
        self.stations[TWIN].on = false;
        for at in 0..TWIN {
            if self.stations[at].client.poll_timeout().is_none() {
                self.renew(at);
            }
        }
        self.server.set_clients(self.now, Box::new(AnyClient));
        let end = self.now + HEALING;
        loop {
            self.settle();
            if (0..TWIN).all(|at| !self.stations[at].on || self.works(at)) {
                return;
            }
            assert!(self.now < end, "the tunnel does not come back");
            self.advance_to_timeout();
        }
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.collect();
            if self.queue.is_empty() {
                return;
            }
            self.deliver_next();
        }
        panic!("no end of datagrams");
    }

    fn works(&mut self, at: usize) -> bool {
        let first = self.frames.len();
        self.send_up(at, 50);
        self.send_down(at, 60);
        self.settle();
        let works = self.frames.len() == first + 2
            && self.frames[first..].iter().all(|frame| frame.delivered);
        let statistics = self.stations[at].client.statistics(self.now);
        assert!(!works || statistics.is_some_and(|it| it.state == LinkState::Up), "it is up");
        works
    }
}

/// Numbers that no state of a session, and no peer's word, makes nonsense of.
fn make_sense(statistics: &LinkStatistics) {
    for delivery in [Some(statistics.from_peer), statistics.to_peer].into_iter().flatten() {
        assert!(delivery.received <= delivery.expected, "more came than were sent");
    }
    let reports = statistics.caps.contains(Caps::REPORT);
    assert!(reports || statistics.to_peer.is_none(), "a report that was not agreed on");
    assert!(statistics.since <= statistics.last_received, "heard before it began");
}

/// Does what is due; whether nothing is, after a few calls.
fn rests<T>(
    now: Duration,
    it: &mut T,
    handle: impl Fn(&mut T),
    next: impl Fn(&T) -> Option<Duration>,
) -> bool {
    (0..8).any(|_| {
        handle(it);
        next(it).is_none_or(|at| at > now)
    })
}

fn new_server(options: u8, now: Duration, random: &mut Seeded) -> Server {
    let mut config = ServerConfig::new(secret(SERVER));
    config.network_key = Some(secret(NETWORK));
    config.suites = Suites(3);
    config.max_sessions = MAX_SESSIONS;
    config.max_pending = MAX_PENDING;
    if options & 1 != 0 {
        // Always loaded, so that cookies are in play.
        config.cookie_backlog = 0;
    }
    if options & 4 != 0 {
        config.max_frame = 9000;
        config.pmtu = 9000;
    }
    if options & 32 != 0 {
        config.caps = OLD;
    }
    Server::new(config, Box::new(AnyClient), Box::new(Seeded(random.next())), now)
}
