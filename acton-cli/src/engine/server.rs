//! The server: one TAP, any number of clients.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use acton_bridge::{Bridge, Config, DropReason, FromLeaf, FromRoot, Learned, MovePolicy, Owner};
use acton_proto::plain::{
    self, Control, Datagram, DownReason, Origin, ServerConfig, ServerEvent, SessionId,
};
use acton_tap::Stop;
use arc_swap::{ArcSwap, Cache};
use ipnet::IpNet;

use super::clock;
use super::counters::{Counter, Counters};
use super::peers::{LeafId, MAX_SESSIONS, Peer, Peers, leaf_id, slot};
use super::running::{
    INBOX_LEN, Message, Outbox, Running, SessionInfo, SessionsReader, Stopper, Workers,
    next_message,
};
use super::worker::{FrameBatch, Side, Worker};
use super::{Error, TapSettings};
use crate::udp::{Destination, SendBatch, Source, UdpSocket};

/// Silence after which a session ends, in keepalive intervals, as in 0.1.1.
const KEEPALIVES_TO_EXPIRE: u32 = 3;
/// How often the bridge's table is swept of aged entries, some at a time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Least time between two warnings of the same kind.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// Entries looked at in one sweep.
const SWEEP_BUDGET: usize = 4_096;

/// A server of Ethernet over UDP.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// A server with a TAP called `server` that listens on UDP port 8080 of every IPv4 address.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            tap: TapSettings::new("server"),
            allow: Vec::new(),
            peers: Vec::new(),
            keepalive: Duration::from_secs(10),
            mac_ageing: Duration::from_secs(300),
            max_sessions: 4_096,
            macs_per_client: 16,
        }
    }
}

/// Settings of a server in plain mode.
#[derive(Debug, Clone)]
pub struct ServerBuilder {
    listen: SocketAddr,
    tap: TapSettings,
    allow: Vec<IpNet>,
    peers: Vec<SocketAddr>,
    keepalive: Duration,
    mac_ageing: Duration,
    max_sessions: usize,
    macs_per_client: usize,
}

impl ServerBuilder {
    /// The UDP address to listen on; the unspecified IPv6 address takes IPv4 as well.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The TAP that the server makes.
    #[must_use]
    pub fn tap(mut self, tap: TapSettings) -> Self {
        self.tap = tap;
        self
    }

    /// Sources that may have a session; with none given, all may.
    #[must_use]
    pub fn allow(mut self, sources: impl IntoIterator<Item = IpNet>) -> Self {
        self.allow.extend(sources);
        self
    }

    /// Clients that say no HELLO, as socat, with a session that never ends.
    #[must_use]
    pub fn peers(mut self, peers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.peers.extend(peers);
        self
    }

    /// How often clients say KEEPALIVE; one silent for three times as long is forgotten.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = interval;
        self
    }

    /// How long a MAC is remembered after its last frame.
    #[must_use]
    pub fn mac_ageing(mut self, ageing: Duration) -> Self {
        self.mac_ageing = ageing;
        self
    }

    /// Clients at one time, at most.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// MACs behind one client, at most; 0 for no limit. Frames from further ones are dropped.
    #[must_use]
    pub fn macs_per_client(mut self, macs: usize) -> Self {
        self.macs_per_client = macs;
        self
    }

    /// Makes the TAP and the socket and starts the server.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made, or a setting is out of range.
    pub fn start(self) -> Result<Running, Error> {
        if self.max_sessions + self.peers.len() > MAX_SESSIONS {
            return Err(Error::Setting(format!("at most {MAX_SESSIONS} sessions")));
        }
        // The socket first: where the port is taken, no TAP comes and goes.
        let socket = UdpSocket::bind(self.listen)
            .map_err(|source| Error::Bind { address: self.listen, source })?;
        let local_addr = socket.local_addr().map_err(Error::system("read the UDP address"))?;
        let (interface, queues) = self.tap.open(1, true)?;
        let own_mac = interface.mac()?;

        let config = Config::default()
            .ageing(self.mac_ageing)
            .max_macs_per_leaf(self.macs_per_client)
            // A client of plain mode has no identity that could own a MAC.
            .moves(MovePolicy::FirstFrame);
        let bridge = Arc::new(Bridge::new(config));
        bridge
            .set_own_mac(own_mac)
            .map_err(|error| Error::Setting(format!("MAC {own_mac} of the TAP: {error}")))?;
        let peers = Arc::new(ArcSwap::from_pointee(Peers::default()));
        let control_counters = Arc::new(Counters::new());
        let mut counters = vec![Arc::clone(&control_counters)];

        let (sender, inbox) = mpsc::sync_channel(INBOX_LEN);
        let stop = Stop::new().map_err(Error::system("make an eventfd"))?;
        let mut workers = Workers::new(stop.clone());
        let control_socket =
            socket.try_clone().map_err(Error::system("duplicate the UDP socket"))?;
        for queue in queues {
            let own = Arc::new(Counters::new());
            counters.push(Arc::clone(&own));
            let side = ServerSide {
                bridge: Arc::clone(&bridge),
                peers: Cache::new(Arc::clone(&peers)),
                routes: Vec::new(),
                counters: Arc::clone(&own),
                outbox: Outbox { sender: sender.clone(), counters: Arc::clone(&own) },
            };
            let worker = Worker {
                tap_name: interface.name().to_owned(),
                queue,
                socket: socket.try_clone().map_err(Error::system("duplicate the UDP socket"))?,
                stop: stop.clone(),
                counters: own,
                side,
            };
            workers.spawn(worker, sender.clone())?;
        }

        let mut protocol = ServerConfig::default();
        protocol.expire_after = self.keepalive * KEEPALIVES_TO_EXPIRE;
        protocol.max_sessions = self.max_sessions;
        let mut control = ServerControl {
            machine: plain::Server::new(protocol, clock::now()),
            socket: control_socket,
            bridge,
            peers,
            allow: self.allow,
            generations: Vec::new(),
            counters: control_counters,
            workers: counters[1..].to_vec(),
            limits: [
                (0, DropReason::LeafLimit, "a client has more MACs than --macs-per-client"),
                (0, DropReason::TableFull, "the table of MACs is full"),
            ],
            warn_at: Duration::ZERO,
        };
        log::info!(
            "server on UDP {local_addr}, TAP {} ({own_mac}, MTU {}), plain mode: no keys, no \
             encryption",
            interface.name(),
            self.tap.mtu
        );
        for &peer in &self.peers {
            control.machine.add_static(peer);
        }
        control.settle_events(None);

        let sessions = sessions_reader(&control);
        let tap_name = interface.name().to_owned();
        let thread = thread::Builder::new()
            .name("acton-control".to_owned())
            .spawn(move || control.run(&inbox, workers))
            .map_err(Error::system("start the control thread"))?;
        Ok(Running {
            control: Some(thread),
            stopper: Stopper::new(sender),
            counters,
            sessions,
            tap_name,
            local_addr,
        })
    }
}

fn sessions_reader(control: &ServerControl) -> SessionsReader {
    let (peers, bridge) = (Arc::clone(&control.peers), Arc::clone(&control.bridge));
    Arc::new(move || {
        let peers = peers.load();
        let mut sessions: Vec<_> = peers
            .iter()
            .map(|peer| SessionInfo {
                number: slot(peer.id),
                address: peer.address,
                macs: Vec::new(),
            })
            .collect();
        for entry in bridge.entries(clock::now()) {
            if let Owner::Leaf(id) = entry.owner
                && peers.get(id).is_some()
                && let Some(session) = sessions.iter_mut().find(|info| info.number == slot(id))
            {
                session.macs.push(entry.mac);
            }
        }
        sessions
    })
}

/// A control word that a worker received.
struct News {
    from: SocketAddr,
    to: Option<Source>,
    control: Control,
}

/// Where the bridge sends a frame from the TAP.
#[derive(Clone, Copy)]
enum Route {
    One(LeafId),
    All,
    Nowhere,
}

impl Route {
    fn resolve(self, peers: &Peers) -> Target<'_> {
        match self {
            // A client that has just gone: its MAC is an unknown one now.
            Self::One(id) => peers.get(id).map_or(Target::All, Target::One),
            Self::All => Target::All,
            Self::Nowhere => Target::Nobody,
        }
    }
}

/// Who that is at the moment.
enum Target<'a> {
    One(&'a Peer),
    All,
    Nobody,
}

/// The server's part of a worker.
struct ServerSide {
    bridge: Arc<Bridge<LeafId>>,
    peers: Cache<Arc<ArcSwap<Peers>>, Arc<Peers>>,
    routes: Vec<Route>,
    counters: Arc<Counters>,
    outbox: Outbox<News>,
}

impl Side for ServerSide {
    fn refresh(&mut self) {
        self.peers.load();
    }

    fn send<'a>(
        &'a mut self,
        frames: &'a FrameBatch,
        now: Duration,
        batch: &mut SendBatch<'a, '_>,
    ) {
        let Self { bridge, peers, routes, counters, .. } = self;
        routes.clear();
        for frame in frames.iter() {
            let (verdict, learned) = bridge.from_root(frame, now);
            count_move(counters, learned);
            routes.push(match verdict {
                FromRoot::Leaf(id) => Route::One(id),
                FromRoot::Flood(_) => Route::All,
                FromRoot::Drop(reason) => {
                    counters.add_bridge_drop(reason);
                    Route::Nowhere
                }
            });
        }
        let peers = peers.load();
        let mut index = 0;
        while let Some(&route) = routes.get(index) {
            match route.resolve(peers) {
                Target::Nobody => index += 1,
                Target::One(peer) => {
                    batch.push(&peer.to, frames.get(index));
                    index += 1;
                }
                Target::All => {
                    // A run of frames for everybody goes out client by client, so that each gets
                    // its run in one send; the order of what one client gets stays.
                    let run = routes[index..]
                        .iter()
                        .take_while(|route| matches!(route.resolve(peers), Target::All))
                        .count();
                    counters.add(Counter::Flooded, run as u64);
                    if peers.len() == 0 {
                        counters.add(Counter::NoClient, run as u64);
                    }
                    for peer in peers.iter() {
                        for frame in index..index + run {
                            batch.push(&peer.to, frames.get(frame));
                        }
                    }
                    index += run;
                }
            }
        }
    }

    fn accept(
        &mut self,
        from: SocketAddr,
        to: Option<Source>,
        datagram: &[u8],
        now: Duration,
    ) -> bool {
        let frame = match Datagram::parse(datagram) {
            Ok(Datagram::Frame(frame)) => frame,
            Ok(Datagram::Control(control)) => {
                self.outbox.post(News { from, to, control });
                return false;
            }
            Err(_) => {
                self.counters.add(Counter::UnknownControl, 1);
                return false;
            }
        };
        let Some(peer) = self.peers.load().at(&from) else {
            self.counters.add(Counter::NoSession, 1);
            return false;
        };
        peer.touch(now);
        let (verdict, learned) = self.bridge.from_leaf(peer.id, frame, now);
        count_move(&self.counters, learned);
        match verdict {
            FromLeaf::Root { .. } => true,
            FromLeaf::Drop(reason) => {
                self.counters.add_bridge_drop(reason);
                false
            }
        }
    }

    fn network_error(&mut self, error: &io::Error) {
        log::debug!("UDP: {error}");
    }
}

fn count_move(counters: &Counters, learned: Learned<LeafId>) {
    if let Learned::Moved { .. } = learned {
        counters.add(Counter::Moved, 1);
    }
}

/// The server's control thread: it alone opens and ends sessions.
struct ServerControl {
    machine: plain::Server<SocketAddr>,
    socket: UdpSocket,
    bridge: Arc<Bridge<LeafId>>,
    peers: Arc<ArcSwap<Peers>>,
    allow: Vec<IpNet>,
    /// How often each slot has been used.
    generations: Vec<u16>,
    counters: Arc<Counters>,
    /// The counters of the workers.
    workers: Vec<Arc<Counters>>,
    /// Limits worth a warning, and the drops warned of so far.
    limits: [(u64, DropReason, &'static str); 2],
    /// When the next such warning is due at the earliest.
    warn_at: Duration,
}

impl ServerControl {
    fn run(mut self, inbox: &Receiver<Message<News>>, workers: Workers) -> Result<(), Error> {
        let mut sweep_at = clock::now() + SWEEP_INTERVAL;
        let ended = loop {
            let due = self.machine.poll_timeout().map_or(sweep_at, |due| due.min(sweep_at));
            match next_message(inbox, Some(due)) {
                Some(Message::News(news)) => self.handle(&news),
                Some(Message::Failed(error)) => break Err(error),
                Some(Message::Stop) => break Ok(()),
                None => {}
            }
            let now = clock::now();
            let peers = self.peers.load();
            self.machine.handle_timeout_with(now, |id| {
                peers.in_slot(id.index()).map_or(Duration::ZERO, Peer::last_frame)
            });
            drop(peers);
            self.settle_events(None);
            if now >= sweep_at {
                self.bridge.sweep(now, SWEEP_BUDGET);
                self.warn_of_limits(now);
                sweep_at = now + SWEEP_INTERVAL;
            }
        };
        drop(workers);
        ended
    }

    fn handle(&mut self, news: &News) {
        let allowed =
            self.allow.is_empty() || self.allow.iter().any(|net| net.contains(&news.from.ip()));
        if !allowed {
            self.counters.add(Counter::NotAllowed, 1);
            log::debug!("{} is not in --allow", news.from);
            return;
        }
        self.machine.handle_control(clock::now(), news.from, news.control);
        self.settle_events(news.to);
        while let Some((to, control)) = self.machine.poll_transmit() {
            let destination = Destination::new(to, news.to, self.socket.is_ipv6());
            if let Err(error) = self.socket.send(&destination, control.as_bytes()) {
                self.counters.add(Counter::UdpUnreachable, 1);
                log::debug!("answer to {to}: {error}");
            }
        }
    }

    /// Makes workers and bridge follow the sessions. `source` is the local address that the
    /// client used.
    fn settle_events(&mut self, source: Option<Source>) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                ServerEvent::SessionUp { id, addr, by } => self.session_up(id, addr, by, source),
                ServerEvent::SessionDown { id, addr, reason } => {
                    self.session_down(id, addr, reason);
                }
                ServerEvent::Refused { addr, total } => {
                    let seen = self.counters.get(Counter::SessionsFull);
                    self.counters.add(Counter::SessionsFull, total.saturating_sub(seen));
                    log::warn!(
                        "{addr} got no session: all {} are taken (--max-sessions); {total} refused \
                         so far",
                        self.machine.len()
                    );
                }
                _ => {}
            }
        }
    }

    fn session_up(&mut self, id: SessionId, addr: SocketAddr, by: Origin, source: Option<Source>) {
        let slot = id.index();
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, 0);
        }
        self.generations[slot] = self.generations[slot].wrapping_add(1);
        let leaf = leaf_id(slot, self.generations[slot]);
        let to = Destination::new(addr, source, self.socket.is_ipv6());
        let peer = Arc::new(Peer::new(leaf, addr, to));
        let sessions = self.change_peers(|peers| peers.insert(peer));
        let by = match by {
            Origin::Hello => "said HELLO",
            Origin::Keepalive => "said KEEPALIVE, as after a restart of the server",
            _ => "is named by --peer",
        };
        log::info!("session {slot} up: {addr} {by}; {sessions} open");
    }

    fn session_down(&mut self, id: SessionId, addr: SocketAddr, reason: DownReason) {
        let slot = id.index();
        let leaf = leaf_id(slot, self.generations[slot]);
        let sessions = self.change_peers(|peers| {
            peers.remove(slot);
        });
        let macs = self.bridge.purge(leaf);
        let reason = match reason {
            DownReason::Bye => "said BYE",
            _ => "has been silent too long",
        };
        log::info!("session {slot} down: {addr} {reason}; {macs} MACs forgotten, {sessions} open");
    }

    /// Tells of frames lost to the limits of the table, which an operator may want to raise.
    fn warn_of_limits(&mut self, now: Duration) {
        if now < self.warn_at {
            return;
        }
        for (known, reason, advice) in &mut self.limits {
            let total = self.workers.iter().map(|counters| counters.bridge_drops(*reason)).sum();
            if total > *known {
                log::warn!("{} frames dropped: {advice}", total - *known);
                *known = total;
                self.warn_at = now + WARN_INTERVAL;
            }
        }
    }

    /// Replaces the workers' snapshot and returns how many sessions it holds.
    fn change_peers(&self, change: impl FnOnce(&mut Peers)) -> usize {
        let mut peers = Peers::clone(&self.peers.load());
        change(&mut peers);
        let sessions = peers.len();
        self.peers.store(Arc::new(peers));
        sessions
    }
}
