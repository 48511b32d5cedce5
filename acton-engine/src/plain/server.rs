//! The server's part in plain mode.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use acton_bridge::Bridge;
use acton_frame::Headers;
use acton_proto::plain::{
    self, Control, Datagram, DownReason, Origin, ServerConfig, ServerEvent, SessionId,
};
use acton_tap::offload::Trust;
use arc_swap::{ArcSwap, Cache};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;

use crate::frames::batch::FrameBatch;
use crate::frames::cut::Cut;
use crate::observe::counters::{Counter, Counters};
use crate::run::clock;
use crate::run::launch::Launch;
use crate::run::running::{Message, Outbox, SessionsReader, next_message, read_sessions};
use crate::run::scheduling::Scheduling;
use crate::run::tap::OpenTap;
use crate::run::worker::{Arrival, Output, Side, TapSink};
use crate::sessions::housekeeping::Housekeeping;
use crate::sessions::leaves::{Leaf, LeafId, Leaves, Ports, slot};
use crate::sessions::router::{Router, Target};
use crate::{Error, Running};
use acton_udp::{Destination, Source, UdpSocket};

/// Silence after which a session ends, in keepalive intervals, as in 0.1.1.
const KEEPALIVES_TO_EXPIRE: u32 = 3;

/// Settings of a server in plain mode.
#[derive(Debug, Clone)]
pub(crate) struct PlainServer {
    pub(crate) allow: Vec<IpNet>,
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) keepalive: Duration,
    pub(crate) max_sessions: usize,
}

/// Starts a server on a TAP, a socket and a bridge that are ready.
pub(crate) fn start(
    settings: PlainServer,
    tap: OpenTap,
    sockets: Vec<UdpSocket>,
    bridge: Arc<Bridge<LeafId>>,
    scheduling: Scheduling,
) -> Result<Running, Error> {
    let clients = Arc::new(ArcSwap::from_pointee(Clients::default()));
    let mut launch = Launch::new(sockets, &tap, scheduling)?;
    for queue in tap.queues {
        launch.worker(queue, |outbox, counters| ServerSide {
            clients: Cache::new(Arc::clone(&clients)),
            cut: Cut::default(),
            router: Router::new(Arc::clone(&bridge), Arc::clone(&counters)),
            counters,
            outbox,
        })?;
    }
    let mut protocol = ServerConfig::default();
    protocol.expire_after = settings.keepalive * KEEPALIVES_TO_EXPIRE;
    protocol.max_sessions = settings.max_sessions;
    let now = clock::now();
    let mut control = ServerControl {
        machine: plain::Server::new(protocol, now),
        socket: launch.socket()?,
        housekeeping: Housekeeping::new(Arc::clone(&bridge), launch.worker_counters(), now),
        clients: Arc::clone(&clients),
        allow: settings.allow,
        ports: Ports::default(),
        counters: launch.counters(),
    };
    for peer in settings.peers {
        control.machine.add_static(peer);
    }
    control.settle_events(None);
    let sessions: SessionsReader =
        Arc::new(move || read_sessions(&clients.load().leaves, &bridge, |client| client.address));
    launch.control(sessions, move |inbox| control.run(inbox))
}

/// One client, as workers see it.
#[derive(Debug)]
struct Client {
    id: LeafId,
    address: SocketAddr,
    to: Destination,
    /// When a frame last came from there, in nanoseconds of the engine's clock.
    last_frame: AtomicU64,
}

impl Leaf for Client {
    fn id(&self) -> LeafId {
        self.id
    }
}

/// All clients at one moment: a snapshot that is replaced whole, so that a reader never waits.
#[derive(Debug, Clone, Default)]
struct Clients {
    leaves: Leaves<Client>,
    by_address: HashMap<SocketAddr, Arc<Client>, RandomState>,
}

/// A control word that a worker received.
struct News {
    from: SocketAddr,
    to: Option<Source>,
    control: Control,
}

/// The server's part of a worker.
struct ServerSide {
    clients: Cache<Arc<ArcSwap<Clients>>, Arc<Clients>>,
    cut: Cut,
    router: Router,
    counters: Arc<Counters>,
    outbox: Outbox<News>,
}

impl Side for ServerSide {
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>) {
        let clients = self.clients.load();
        self.cut.fill(frames, &self.counters);
        let (cut, frames) = (&self.cut, &*frames);
        let mut batch = out.batch();
        self.router.route(frames, now, &clients.leaves, |target, run| {
            // What goes to everybody goes out client by client, so that each gets the run in one
            // send; the order of what one client gets stays.
            let (one, all) = match target {
                Target::One(id) => (clients.leaves.get(id), None),
                Target::All => (None, Some(clients.leaves.iter())),
            };
            for client in one.into_iter().chain(all.into_iter().flatten()) {
                for parts in cut.parts(frames, run.clone()) {
                    batch.push_parts(&client.to, parts);
                }
            }
        });
        batch.finish();
    }

    fn receive<'f>(
        &mut self,
        arrival: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    ) {
        let &Arrival { from, to, .. } = arrival;
        let frame = match Datagram::parse(datagram) {
            Ok(Datagram::Frame(frame)) => frame,
            Ok(Datagram::Control(control)) => {
                self.outbox.post(News { from, to, control });
                return;
            }
            Err(_) => return self.counters.add(Counter::UnknownControl, 1),
        };
        let Some(client) = self.clients.load().by_address.get(&from) else {
            return self.counters.add(Counter::NoSession, 1);
        };
        client.last_frame.store(now.as_nanos() as u64, Ordering::Relaxed);
        let headers = Headers::parse(frame);
        if self.router.admit(client.id, &headers, now) {
            tap.write(frame, &headers, Trust::Verify);
        }
    }

    fn network_error(&mut self, error: &io::Error) {
        log::debug!("UDP: {error}");
    }
}

/// The server's control thread: it alone opens and ends sessions.
struct ServerControl {
    machine: plain::Server<SocketAddr>,
    socket: UdpSocket,
    clients: Arc<ArcSwap<Clients>>,
    allow: Vec<IpNet>,
    ports: Ports,
    counters: Arc<Counters>,
    housekeeping: Housekeeping,
}

impl ServerControl {
    fn run(mut self, inbox: &Receiver<Message<News>>) -> Result<(), Error> {
        loop {
            let housekeeping = self.housekeeping.due();
            let due = self.machine.poll_timeout().map_or(housekeeping, |due| due.min(housekeeping));
            match next_message(inbox, Some(due)) {
                Some(Message::News(news)) => self.handle(&news),
                Some(Message::Reload) => {}
                Some(Message::Failed(error)) => return Err(error),
                Some(Message::Stop) => return Ok(()),
                None => {}
            }
            let now = clock::now();
            let clients = self.clients.load();
            self.machine.handle_timeout_with(now, |id| {
                let client = clients.leaves.in_slot(id.index());
                client.map_or(Duration::ZERO, |client| {
                    Duration::from_nanos(client.last_frame.load(Ordering::Relaxed))
                })
            });
            drop(clients);
            self.settle_events(None);
            self.housekeeping.run(now);
        }
    }

    fn handle(&mut self, news: &News) {
        let source = news.from.ip();
        if !self.allow.is_empty() && !self.allow.iter().any(|net| net.contains(&source)) {
            self.counters.add(Counter::NotAllowed, 1);
            log::debug!("{} is not in --allow", news.from);
            return;
        }
        self.machine.handle_control(clock::now(), news.from, news.control);
        self.settle_events(news.to);
        while let Some((to, control)) = self.machine.poll_transmit() {
            let destination = Destination::new(to, news.to, self.socket.is_ipv6());
            if let Err(error) = self.socket.send(&destination, control.as_bytes()) {
                self.counters.add_unsent(&error);
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

    fn session_up(
        &mut self,
        session: SessionId,
        address: SocketAddr,
        by: Origin,
        source: Option<Source>,
    ) {
        let id = self.ports.open(session.index());
        let to = Destination::new(address, source, self.socket.is_ipv6());
        let client = Arc::new(Client { id, address, to, last_frame: AtomicU64::new(0) });
        let sessions = self.change(|clients| {
            clients.leaves.insert(Arc::clone(&client));
            clients.by_address.insert(address, client);
        });
        let by = match by {
            Origin::Hello => "said HELLO",
            Origin::Keepalive => "said KEEPALIVE, as after a restart of the server",
            _ => "is named by --peer",
        };
        log::info!("session {} up: {address} {by}; {sessions} open", slot(id));
    }

    fn session_down(&mut self, session: SessionId, address: SocketAddr, reason: DownReason) {
        let id = self.ports.current(session.index());
        let sessions = self.change(|clients| {
            clients.leaves.remove(slot(id));
            clients.by_address.remove(&address);
        });
        let macs = self.housekeeping.purge(id);
        let reason = match reason {
            DownReason::Bye => "said BYE",
            _ => "has been silent too long",
        };
        log::info!(
            "session {} down: {address} {reason}; {macs} MACs forgotten, {sessions} open",
            slot(id)
        );
    }

    /// Replaces the workers' snapshot and returns how many sessions it holds.
    fn change(&self, change: impl FnOnce(&mut Clients)) -> usize {
        let mut clients = Clients::clone(&self.clients.load());
        change(&mut clients);
        let sessions = clients.leaves.len();
        self.clients.store(Arc::new(clients));
        sessions
    }
}
