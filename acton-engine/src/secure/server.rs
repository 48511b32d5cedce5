//! The server's part in secure mode.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use acton_bridge::Bridge;
use acton_frame::Headers;
use acton_proto::handshake::SystemRandom;
use acton_proto::server::{
    Clients as Policy, DownReason, Notice, Path, RefusedReason, Server, ServerConfig, ServerEvent,
    SessionId,
};
use acton_proto::session::{Content, KeyLog, Keys, Received};
use acton_proto::wire::{Bye, Datagram, Header, Key, Refusal, Suites};
use arc_swap::{ArcSwap, Cache};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::admission::Admitted;
use super::limits::{Noticed, Strangers, Told};
use super::sealed::{Sealed, clamp};
use super::{
    SERVER_PMTU, ServerKeys, count_bundle, count_open_error, datagram_size, deliver, has_frames,
    is_too_large, pass_mark, specified, trust, wall,
};
use crate::frames::batch::FrameBatch;
use crate::observe::counters::{Counter, Counters};
use crate::run::clock;
use crate::run::launch::Launch;
use crate::run::running::{Message, Outbox, SessionsReader, next_message, read_sessions};
use crate::run::scheduling::Scheduling;
use crate::run::tap::{OpenTap, TapHandle};
use crate::run::worker::{Arrival, Output, Rarely, Side, TapSink};
use crate::sessions::housekeeping::Housekeeping;
use crate::sessions::leaves::{Leaf, LeafId, Leaves, Ports, slot};
use crate::sessions::owned_macs::{OwnedMacs, why};
use crate::sessions::router::{Router, Target};
use crate::{Error, Running};
use acton_udp::{Destination, Source, UdpSocket};

/// Most of a restart's time over which clients come back, by session.
const RETURN_SPREAD: Duration = Duration::from_millis(2);
/// Lines on MACs that cannot be kept, where a list is read.
const MAX_MACS_TOLD: usize = 5;

/// Settings of a server in secure mode.
pub(crate) struct SecureServer {
    pub(crate) keys: ServerKeys,
    pub(crate) admitted: Admitted,
    pub(crate) keepalive: Duration,
    pub(crate) max_sessions: usize,
    pub(crate) max_frame: u16,
    pub(crate) key_log: Option<KeyLog>,
    pub(crate) suites: Suites,
}

/// Starts a server on a TAP, a socket and a bridge that are ready.
pub(crate) fn start(
    settings: SecureServer,
    tap: OpenTap,
    sockets: Vec<UdpSocket>,
    bridge: Arc<Bridge<LeafId>>,
    scheduling: Scheduling,
) -> Result<Running, Error> {
    let workers = tap.queues.len() as u32;
    let worker_bits = workers.next_power_of_two().trailing_zeros() as u8;
    for socket in &sockets {
        socket.forbid_fragments().map_err(Error::system("forbid IP fragments"))?;
        socket.keep_reports().map_err(Error::system("hear of the path's MTU"))?;
    }
    if workers > 1 {
        // A session stays with one worker, whatever address it comes from.
        sockets[0].steer_by_word(worker_bits).map_err(Error::system("steer datagrams"))?;
    }
    let clients = Arc::new(ArcSwap::from_pointee(Clients::default()));
    let strangers = Strangers::default();
    let mut launch = Launch::new(sockets, &tap, scheduling)?;
    let handle = TapHandle::of(&tap.queues[0])?;
    for queue in tap.queues {
        launch.worker(queue, |outbox, counters| ServerSide {
            clients: Cache::new(Arc::clone(&clients)),
            router: Router::new(Arc::clone(&bridge), Arc::clone(&counters)),
            sealed: Sealed::default(),
            runs: Vec::new(),
            strangers: strangers.clone(),
            noticed: Noticed::default(),
            counters,
            outbox,
        })?;
    }
    let now = clock::now();
    let mut config = ServerConfig::new(settings.keys.private_key);
    config.network_key = settings.keys.network_key;
    config.max_sessions = settings.max_sessions;
    config.keepalive = settings.keepalive.as_secs().clamp(1, u16::MAX.into()) as u16;
    config.max_frame = settings.max_frame;
    config.pmtu = SERVER_PMTU;
    (config.workers, config.worker_bits) = (workers, worker_bits);
    config.caps = super::CAPS;
    config.key_log = settings.key_log;
    config.suites = settings.suites;
    let admitted = settings.admitted;
    let mut control = ServerControl {
        machine: Server::new(config, admitted.policy(), Box::new(SystemRandom), now),
        admitted,
        socket: launch.socket()?,
        tap: handle,
        housekeeping: Housekeeping::new(Arc::clone(&bridge), launch.worker_counters(), now),
        router: Router::new(Arc::clone(&bridge), launch.counters()),
        bridge: Arc::clone(&bridge),
        clients: Arc::clone(&clients),
        ports: Ports::default(),
        strangers,
        counters: launch.counters(),
        gone: Vec::new(),
        told: Told::default(),
        hints: Rarely::default(),
        said: Vec::new(),
        macs: OwnedMacs::new(Arc::clone(&bridge)),
        moved: Vec::new(),
        buffer: Vec::new(),
    };
    control.keep_macs();
    let sessions: SessionsReader = Arc::new(move || {
        read_sessions(&clients.load().leaves, &bridge, |client| client.path.remote)
    });
    launch.control(sessions, move |inbox| control.run(inbox))
}

/// One client, as workers see it.
#[derive(Debug, Clone)]
struct Client {
    id: LeafId,
    /// What operators call it.
    name: Arc<str>,
    path: Path,
    to: Destination,
    /// The keys to seal with.
    keys: Arc<Keys>,
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
    /// Keys that open, by the id in a datagram's header, and whose they are.
    opening: HashMap<u32, (LeafId, Arc<Keys>), RandomState>,
}

/// What a worker passes to the control thread.
enum News {
    Datagram { path: Path, stranger: bool, bytes: Vec<u8> },
    Opened(Notice),
    TooLarge { leaf: LeafId, size: usize },
    PathHint { to: SocketAddr, size: usize },
}

/// The server's part of a worker.
struct ServerSide {
    clients: Cache<Arc<ArcSwap<Clients>>, Arc<Clients>>,
    router: Router,
    sealed: Sealed,
    runs: Vec<(Target, std::ops::Range<usize>)>,
    strangers: Strangers,
    noticed: Noticed,
    counters: Arc<Counters>,
    outbox: Outbox<News>,
}

impl Side for ServerSide {
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>) {
        let Self { clients, router, sealed, runs, counters, outbox, .. } = self;
        let leaves = &clients.load().leaves;
        runs.clear();
        router.route(frames, now, leaves, |target, run| runs.push((target, run)));
        let at = |slot| leaves.in_slot(slot).map(|client| &client.to);
        for (target, run) in runs.drain(..) {
            let (one, all) = match target {
                Target::One(id) => (leaves.get(id), None),
                Target::All => (None, Some(leaves.iter())),
            };
            if let Some(client) = one {
                clamp(frames, run.clone(), &client.keys);
            }
            // A frame for everybody is sealed for each: a key that all share would let any of
            // them speak as the server.
            for client in one.into_iter().chain(all.into_iter().flatten()) {
                sealed.seal(slot(client.id), &client.keys, frames, run.clone(), now, counters);
                if sealed.is_full() {
                    sealed.send(out, at);
                }
            }
        }
        sealed.send(out, at);
        for (leaf, size) in out.refused() {
            outbox.post(News::TooLarge { leaf, size });
        }
    }

    fn receive<'f>(
        &mut self,
        arrival: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    ) {
        let Self { clients, router, strangers, noticed, counters, outbox, .. } = self;
        let local = arrival.to.and_then(|to| specified(to.ip()));
        let path = Path { remote: arrival.from, local };
        let clients = clients.load();
        let header = has_frames(datagram).then(|| Header::parse(datagram).ok()).flatten();
        let known = header.and_then(|header| {
            let (leaf, keys) = clients.opening.get(&header.receiver_id)?;
            Some((header, *leaf, keys))
        });
        let Some((header, leaf, keys)) = known else {
            let stranger = match Datagram::parse(datagram) {
                Ok(Datagram::Hello(_)) => true,
                Ok(Datagram::Sealed(header)) => !clients.opening.contains_key(&header.receiver_id),
                _ => return counters.add(Counter::UnknownControl, 1),
            };
            let news = || News::Datagram { path, stranger, bytes: datagram.to_vec() };
            return strangers.post(outbox, counters, stranger, news);
        };
        let bytes = datagram.len();
        let Received { newest, first, content } = match keys.receive(now, &header, datagram) {
            Ok(received) => received,
            Err(error) => return count_open_error(counters, error),
        };
        let client = clients.leaves.get(leaf);
        let moved = newest && client.is_none_or(|client| client.path != path);
        if first || moved && noticed.is_news(header.receiver_id, path, now) {
            outbox.post(News::Opened(Notice {
                local_id: header.receiver_id,
                from: path,
                bytes,
                newest,
            }));
        }
        match content {
            Content::Frames(frames) => {
                count_bundle(counters, &frames);
                if client.is_none() {
                    return counters.add(Counter::NoSession, frames.len() as u64);
                }
                for mut frame in frames {
                    let headers = Headers::parse(frame.bytes());
                    if router.admit(leaf, &headers, now)
                        && pass_mark(arrival, keys, &mut frame, &headers, counters)
                    {
                        deliver(frame, &headers, tap);
                    }
                }
            }
            Content::Piece => counters.add(Counter::Pieces, 1),
            Content::Bad | Content::Control(_) => counters.add(Counter::BadFrame, 1),
        }
    }

    fn network_error(&mut self, error: &io::Error) {
        log::trace!("UDP: {error}");
    }

    fn path_hint(&mut self, to: SocketAddr, max_payload: usize) {
        self.outbox.post(News::PathHint { to, size: max_payload });
    }
}

/// The server's control thread: it alone opens and ends sessions.
struct ServerControl {
    machine: Server,
    admitted: Admitted,
    socket: UdpSocket,
    tap: TapHandle,
    bridge: Arc<Bridge<LeafId>>,
    router: Router,
    clients: Arc<ArcSwap<Clients>>,
    ports: Ports,
    strangers: Strangers,
    counters: Arc<Counters>,
    housekeeping: Housekeeping,
    /// Clients that have gone, until workers see it.
    gone: Vec<(Arc<Client>, DownReason)>,
    told: Told,
    hints: Rarely,
    /// Lines of the log on what workers are about to see.
    said: Vec<String>,
    macs: OwnedMacs,
    /// Clients that came, to which port, and that went, oldest first.
    moved: Vec<(Key, Option<LeafId>)>,
    buffer: Vec<u8>,
}

impl ServerControl {
    fn run(mut self, inbox: &Receiver<Message<News>>) -> Result<(), Error> {
        let ended = loop {
            let due = self.housekeeping.due().min(self.admitted.due());
            let due = self.machine.poll_timeout().map_or(due, |machine| machine.min(due));
            match next_message(inbox, Some(due)) {
                Some(Message::News(news)) => self.handle(news),
                Some(Message::Reload) => {
                    if let Some(policy) = self.admitted.reload() {
                        self.follow_list(policy);
                    }
                }
                Some(Message::Failed(error)) => break Err(error),
                Some(Message::Stop) => break Ok(()),
                None => {}
            }
            let now = clock::now();
            self.machine.handle_timeout(now);
            if let Some(policy) = self.admitted.look(now) {
                self.follow_list(policy);
            }
            self.settle();
            self.housekeeping.run(now);
        };
        let spread =
            RETURN_SPREAD * u32::try_from(self.machine.session_count()).unwrap_or(u32::MAX);
        self.machine.close(clock::now(), Bye::Restart, spread + Duration::from_millis(500));
        self.settle();
        ended
    }

    fn follow_list(&mut self, policy: Box<dyn Policy>) {
        self.machine.set_clients(clock::now(), policy);
        self.settle();
        for session in self.machine.sessions() {
            let leaf = self.ports.current(session.id.0 as usize);
            self.bridge.set_leaf_limit(leaf, self.admitted.max_macs(session.client));
        }
        self.keep_macs();
    }

    /// Keeps the MACs of the list for its clients.
    fn keep_macs(&mut self) {
        let mut present = HashMap::<_, _, RandomState>::default();
        for session in self.machine.sessions() {
            present.insert(*session.client, self.ports.current(session.id.0 as usize));
        }
        let macs = self.admitted.all_macs();
        let kept = self.macs.keep_all(macs.map(|(key, mac)| (mac, present.get(&key).copied())));
        if let Err(failed) = kept {
            for (mac, error) in failed.iter().take(MAX_MACS_TOLD) {
                log::warn!("mac={mac} of the list is not kept for its client: {}", why(*error));
            }
            if failed.len() > MAX_MACS_TOLD {
                log::warn!("{} more of the list are not kept", failed.len() - MAX_MACS_TOLD);
            }
        }
    }

    fn handle(&mut self, news: News) {
        let now = clock::now();
        match news {
            News::Datagram { path, stranger, mut bytes } => {
                if stranger {
                    self.strangers.done();
                }
                let header = has_frames(&bytes).then(|| Header::parse(&bytes).ok()).flatten();
                let received = self.machine.handle_input(now, wall(), path, &mut bytes);
                if let Some((id, frames)) = received {
                    count_bundle(&self.counters, &frames);
                    // The session's beginning is among the events, and comes first.
                    self.settle();
                    let leaf = self.ports.current(id.0 as usize);
                    for frame in frames {
                        let headers = Headers::parse(frame.bytes());
                        if self.router.admit(leaf, &headers, now) {
                            let trust = trust(&frame);
                            self.tap.write(frame.bytes(), &headers, trust, &self.counters);
                        }
                    }
                } else if let Some(header) = header {
                    self.settle();
                    // A session that has just begun may wait for the rest of a frame.
                    let known = self.clients.load().opening.contains_key(&header.receiver_id);
                    self.counters.add(if known { Counter::Pieces } else { Counter::NoSession }, 1);
                }
            }
            News::Opened(notice) => self.machine.handle_notice(now, &notice),
            News::PathHint { to, size } => {
                // Of all workers together, for it takes a search.
                if self.hints.is_due(now)
                    && let Some(id) = self.session_at(|path| path.remote == to)
                {
                    self.machine.handle_path_hint(now, id, datagram_size(size));
                }
            }
            News::TooLarge { leaf, size } => {
                let id = SessionId(slot(leaf) as u32);
                if self.ports.current(slot(leaf)) == leaf {
                    self.machine.handle_too_large(now, id, datagram_size(size));
                }
            }
        }
    }

    /// Makes workers and bridge follow the sessions, then sends what the machine has to say.
    fn settle(&mut self) {
        let mut next = None;
        while let Some(event) = self.machine.poll_event() {
            let clients = next.get_or_insert_with(|| Clients::clone(&self.clients.load()));
            self.apply(event, clients);
        }
        if let Some(clients) = next {
            let sessions = clients.leaves.len();
            self.clients.store(Arc::new(clients));
            self.said.drain(..).for_each(|line| log::info!("{line}"));
            // Only now, when no worker learns from them any more.
            for (client, reason) in self.gone.drain(..) {
                let macs = self.housekeeping.purge(client.id);
                log::info!(
                    "session {} down: {} {}; {macs} MACs forgotten, {sessions} open",
                    slot(client.id),
                    client.name,
                    ended_by(reason)
                );
            }
            for (key, leaf) in self.moved.drain(..) {
                for &mac in self.admitted.macs(&key) {
                    if let Err(error) = self.macs.keep(mac, leaf) {
                        let name = self.admitted.name(&key);
                        log::warn!("mac={mac} is not kept for {name}: {}", why(error));
                    }
                }
            }
        }
        loop {
            self.buffer.clear();
            let Some(transmit) = self.machine.poll_transmit(1, &mut self.buffer) else { break };
            let to = self.destination(transmit.path);
            let Err(error) = self.socket.send(&to, &self.buffer) else { continue };
            log::debug!("{}: {error}", transmit.path.remote);
            if is_too_large(&error) {
                self.too_large(transmit.path, self.buffer.len());
            } else {
                self.counters.add_unsent(&error);
            }
        }
    }

    /// A probe of the path that not even the first link takes.
    fn too_large(&mut self, path: Path, size: usize) {
        if let Some(id) = self.session_at(|other| other == path) {
            self.machine.handle_too_large(clock::now(), id, datagram_size(size));
        }
    }

    /// The session on a path. Asked for rarely, so the clients may be searched.
    fn session_at(&self, is_it: impl Fn(Path) -> bool) -> Option<SessionId> {
        let clients = self.clients.load();
        let client = clients.leaves.iter().find(|client| is_it(client.path))?;
        Some(SessionId(slot(client.id) as u32))
    }

    fn destination(&self, path: Path) -> Destination {
        let source = path.local.map(|ip| Source::of(ip, path.remote));
        Destination::new(path.remote, source, self.socket.is_ipv6())
    }

    fn apply(&mut self, event: ServerEvent, clients: &mut Clients) {
        match event {
            ServerEvent::SessionUp { id, client, path, keys, client_time } => {
                self.session_up(clients, id, &client, path, keys);
                self.warn_of_clock(&client, path, client_time);
            }
            ServerEvent::KeysReady { id, keys } => {
                let leaf = self.ports.current(id.0 as usize);
                if clients.leaves.get(leaf).is_some() {
                    clients.opening.insert(keys.setup().local_id, (leaf, keys));
                }
            }
            ServerEvent::KeysChanged { id, keys, replaced } => {
                let leaf = self.ports.current(id.0 as usize);
                clients.opening.insert(keys.setup().local_id, (leaf, Arc::clone(&keys)));
                change(clients, leaf, |client| client.keys = keys);
                if replaced {
                    log::info!("session {} goes on with another instance of its client", id.0);
                }
            }
            ServerEvent::KeysDropped { local_id, .. } => {
                clients.opening.remove(&local_id);
            }
            ServerEvent::AddressChanged { id, path } => {
                let leaf = self.ports.current(id.0 as usize);
                let to = self.destination(path).tagged(leaf);
                change(clients, leaf, |client| (client.path, client.to) = (path, to));
                self.said.push(format!("session {} moved to {}", id.0, path.remote));
            }
            ServerEvent::SessionDown { id, client, reason } => {
                let leaf = self.ports.current(id.0 as usize);
                self.moved.push((client, None));
                if let Some(client) = clients.leaves.remove(slot(leaf)) {
                    self.gone.push((client, reason));
                }
            }
            ServerEvent::Duplicate { id, client } => log::warn!(
                "session {}: two clients fight for the key of {}; give each an invite of its own \
                 (acton invite --name)",
                id.0,
                self.admitted.name(&client)
            ),
            ServerEvent::Refused { path, client, reason } => {
                if !self.told.is_due(path.remote.ip(), clock::now()) {
                    return;
                }
                let who = client.map(|key| format!(" ({})", self.admitted.name(&key)));
                log::warn!(
                    "{}{} got no session: {}",
                    path.remote,
                    who.unwrap_or_default(),
                    refused_by(reason)
                );
            }
            _ => {}
        }
    }

    fn warn_of_clock(&mut self, client: &Key, path: Path, client_time: u64) {
        if let Some(trouble) = clock::trouble(wall(), client_time)
            && self.told.is_due(path.remote.ip(), clock::now())
        {
            log::warn!("{} ({}): {trouble}", path.remote, self.admitted.name(client));
        }
    }

    fn session_up(
        &mut self,
        clients: &mut Clients,
        id: SessionId,
        key: &Key,
        path: Path,
        keys: Arc<Keys>,
    ) {
        let leaf = self.ports.open(id.0 as usize);
        let to = self.destination(path).tagged(leaf);
        clients.opening.insert(keys.setup().local_id, (leaf, Arc::clone(&keys)));
        self.bridge.set_leaf_limit(leaf, self.admitted.max_macs(key));
        self.moved.push((*key, Some(leaf)));
        let name = self.admitted.name(key).into();
        clients.leaves.insert(Arc::new(Client { id: leaf, name, path, to, keys }));
        self.said.push(format!(
            "session {} up: {} from {}; {} open",
            id.0,
            self.admitted.name(key),
            path.remote,
            clients.leaves.len()
        ));
    }
}

fn change(clients: &mut Clients, leaf: LeafId, change: impl FnOnce(&mut Client)) {
    if let Some(client) = clients.leaves.get(leaf) {
        let mut client = Client::clone(client);
        change(&mut client);
        clients.leaves.insert(Arc::new(client));
    }
}

fn ended_by(reason: DownReason) -> &'static str {
    match reason {
        DownReason::Bye(_) => "said BYE",
        DownReason::Timeout => "has been silent too long",
        DownReason::Removed => "is not on the list any more",
        _ => "ended with the server",
    }
}

fn refused_by(reason: RefusedReason) -> &'static str {
    match reason {
        RefusedReason::WrongKey => {
            "its HELLO was made for another server or network key; its invite is not of this \
             server, or an old one"
        }
        RefusedReason::Handshake => "its handshake does not open; its invite is damaged or old",
        RefusedReason::Unconfirmed => {
            "it did not confirm its keys: its psk is not the one listed, or the answer was lost"
        }
        RefusedReason::Told(Refusal::NotAuthorised) => {
            "its key is not on the list; acton invite --name makes it an invite"
        }
        RefusedReason::Told(Refusal::Full) => "all sessions are taken (--max-sessions)",
        RefusedReason::Told(Refusal::Version) => {
            "it speaks no version that this server does; update the older one"
        }
        RefusedReason::Told(Refusal::Suite) => {
            "it takes no cipher suite that this server does; look at --suite on both, or update \
             the older one"
        }
        _ => "the protocol forbids it",
    }
}
