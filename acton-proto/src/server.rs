//! The server's state machine: admits clients, keeps their sessions, notices when they are gone.
//!
//! [`Server`] does no I/O and belongs to one thread, which does the handshakes and the timers. The
//! threads that move frames hold the [`Keys`] of the sessions, by id; they seal and open on their
//! own, answer signs of life from where the session is ([`Keys::answer`]), and hand this one what is
//! rare: HELLO and datagrams of an id that it expects ([`Server::handle_input`]), another control
//! message, opened ([`Server::handle_opened_control`]), and news of a datagram they opened
//! ([`Server::handle_notice`]) if it was the first under its keys, or the newest and not from the
//! session's address. What one client or one stranger may ask of this thread is theirs to limit.
//!
//! A server on one thread may instead give every datagram to [`Server::handle_input`].
//!
//! HELLO may be handed over ahead of the time for a handshake: [`Server::handle_hello`] does what is
//! cheap, and [`Server::serve`] one handshake, of whoever is next. So it is the owner's time that
//! limits handshakes, and nothing while there is enough of it.
//!
//! All that an outsider can make grow is bounded: HELLO that wait, for a handshake or for a decision
//! ([`Clients::is_undecided`]), have a largest number, keys to be confirmed have a largest number and live
//! for 5 s, replies are never larger than what they answer, and nothing is sent to an address that it did not pay for in bytes.

mod drain;
mod ended;
mod event;
mod hello;
mod isolation;
mod limit;
mod network;
mod peer;
mod presence;
mod queue;
mod session;
mod undecided;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

pub use event::{DownReason, RefusedReason, ServerEvent, ServerStats};

use crate::handshake::{CookieJar, Identity, Random, Secret, random_array};
use crate::session::{Frames, KeyLog, Keys, LinkStatistics, Outbox, SessionEnd};
use crate::timer::Deadlines;
use crate::wire::{Bye, Caps, Datagram, Key, Suites, Version};
use drain::QueryLimit;
use ended::Ended;
use limit::{Bucket, Source};
pub use network::HelloCheck;
use network::NetworkKey;
use peer::{PENDING_TIME, Peer};
use presence::Presence;
use queue::HelloQueue;
use undecided::Undecided;

/// For how long after its start a server answers ids that nobody has with RESET.
pub const RESET_TIME: Duration = Duration::from_secs(120);
/// RESET: so often, so many at once. What holds them back is how many HELLO wait; this is for who sends
/// datagrams without end. Of 10,000 idle clients that joined together, some 4,000 a second find out by
/// their KEEPALIVE that the server is another one, and whoever hears nothing asks 10 s later.
pub const RESET_LIMIT: (Duration, u32) = (Duration::from_micros(100), 1_024);
/// For how long keys that were closed by BYE say it again.
const CLOSING_TIME: Duration = Duration::from_secs(10);
/// How many of those are kept.
const MAX_CLOSING: usize = 1024;

/// Where a client is: its address, and the server's own address that it spoke to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The client's address and port.
    pub remote: SocketAddr,
    /// The server's address, where it has more than one.
    pub local: Option<IpAddr>,
}

impl From<SocketAddr> for Path {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

/// Names a session. A small number, used again after the session's end was polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// On what terms a client gets in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// The client's own pre-shared key; without one the network key counts.
    pub psk: Option<Secret>,
    /// Whether the client is one that its owner knows. Anybody who has the network key may come with
    /// any number of keys that are not, and each counts against
    /// [`max_sessions_per_source`](ServerConfig::max_sessions_per_source) and
    /// [`max_unlisted`](ServerConfig::max_unlisted).
    pub listed: bool,
}

/// Decides who gets in.
pub trait Clients: Send {
    /// The terms for the holder of this public key, `None` to refuse.
    fn admit(&self, client: &Key) -> Option<Admission>;

    /// Of a client that is not [admitted](Self::admit), whether that is only because nobody has decided
    /// yet. Then its HELLO is not answered but waits, once it has shown that it receives at its address;
    /// the owner hears [`ServerEvent::Undecided`] and says [`Server::decided`].
    fn is_undecided(&self, _client: &Key) -> bool {
        false
    }
}

/// Admits every client key: what keeps strangers out is the network key.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyClient;

impl Clients for AnyClient {
    fn admit(&self, _: &Key) -> Option<Admission> {
        Some(Admission::default())
    }
}

/// Settings of a [`Server`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The server's private key.
    pub private_key: Secret,
    /// The key shared by all of the network, if there is one.
    pub network_key: Option<Secret>,
    /// The suites to agree to.
    pub suites: Suites,
    /// What the owner does with frames; used is what the client does too. Default all.
    pub caps: Caps,
    /// Largest Ethernet frame to take, bytes without FCS.
    pub max_frame: u16,
    /// Largest datagram (UDP payload) that the link carries, bytes; less than 1,200 counts as that.
    pub pmtu: u16,
    /// After how many seconds without sending clients send KEEPALIVE, at most.
    pub keepalive: u16,
    /// The most sessions at a time.
    pub max_sessions: usize,
    /// The most of them from one IPv4 address or IPv6 /64, of clients that are not listed.
    pub max_sessions_per_source: usize,
    /// The most of them of clients that are not listed.
    pub max_unlisted: usize,
    /// The most clients without a session whose keys wait to be confirmed.
    pub max_pending: usize,
    /// HELLO that wait for a handshake from which on clients must show a cookie.
    pub cookie_backlog: usize,
    /// The version of the software to tell clients, `None` to keep it back. Default this crate's.
    pub version: Option<Version>,
    /// How many low bits of an id name a worker.
    pub worker_bits: u8,
    /// How many workers there are; each new client gets one at random.
    pub workers: u32,
    /// For debugging: gets the keys of every handshake.
    pub key_log: Option<KeyLog>,
}

impl ServerConfig {
    /// The defaults: 1,514-byte frames, a 1,500-byte IPv4 link, 4,096 sessions, 12,288 HELLO
    /// that wait before cookies, one worker.
    #[must_use]
    pub fn new(private_key: Secret) -> Self {
        Self {
            private_key,
            network_key: None,
            suites: Suites::detect(),
            caps: Caps::ALL,
            max_frame: 1514,
            pmtu: 1472,
            keepalive: 15,
            max_sessions: 4096,
            max_sessions_per_source: 1024,
            max_unlisted: usize::MAX,
            max_pending: 1024,
            cookie_backlog: 12_288,
            version: Some(Version::THIS),
            worker_bits: 0,
            workers: 1,
            key_log: None,
        }
    }
}

/// What a thread tells of a datagram that it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// The datagram's `receiver_id`.
    pub local_id: u32,
    /// Where it came from.
    pub from: Path,
    /// Its size in bytes.
    pub bytes: usize,
    /// [`Received::newest`](crate::session::Received::newest).
    pub newest: bool,
}

/// Datagrams to send with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// Where they go.
    pub path: Path,
    /// Size of each in bytes; the last may be shorter.
    pub segment: usize,
}

/// What an id in a datagram's header means.
#[derive(Debug)]
enum Id {
    /// Keys of the peer in this slot.
    Peer(u32),
    /// Keys that were closed.
    Closing(Box<Closing>),
}

/// Keys that were closed by BYE; what still comes under them gets the BYE again.
#[derive(Debug)]
struct Closing {
    keys: Arc<Keys>,
    path: Path,
    reason: Bye,
    id: SessionId,
    client: Key,
    since: Duration,
    told_at: Duration,
    alarmed: bool,
}

/// A session, as [`Server::sessions`] lists it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SessionInfo<'a> {
    /// The session.
    pub id: SessionId,
    /// The client's public key.
    pub client: &'a Key,
    /// Where the client is.
    pub path: Path,
    /// The keys in use.
    pub keys: &'a Arc<Keys>,
}

/// A client without a session that is being given one, as [`Server::handshakes`] lists it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HandshakeInfo<'a> {
    /// The client's public key.
    pub client: &'a Key,
    /// Where the client seems to be.
    pub path: Path,
    /// When it was given its keys, which it has yet to confirm.
    pub since: Duration,
}

/// A server of many clients.
pub struct Server {
    config: ServerConfig,
    clients: Box<dyn Clients>,
    random: Box<dyn Random>,
    identity: Arc<Identity>,
    network: NetworkKey,
    /// The network key before that, while it still does.
    network_before: Option<NetworkKey>,
    hello_check: HelloCheck,
    cookies: CookieJar,
    instance: u64,
    born: Duration,
    peers: Vec<Option<Peer>>,
    free: Vec<u32>,
    by_client: HashMap<Key, u32, foldhash::quality::RandomState>,
    ids: HashMap<u32, Id, foldhash::quality::RandomState>,
    /// HELLO with keys that wait to be confirmed, by mac1.
    hellos: HashMap<[u8; 16], u32, foldhash::quality::RandomState>,
    /// Peers without a session, oldest first; may name slots that are something else by now.
    embryos: VecDeque<(u32, Key)>,
    embryo_count: usize,
    /// How many of them came from a source.
    embryo_sources: HashMap<Source, usize, foldhash::quality::RandomState>,
    session_count: usize,
    presence: Presence,
    closing: VecDeque<(Duration, u32)>,
    ended: Ended,
    deadlines: Deadlines<u32>,
    /// The slot that the sweep comes to next, and when.
    swept: usize,
    sweep_at: Duration,
    /// Slots, times the parts that a sweep of all has, that are still to be looked at.
    sweep_owed: usize,
    queue: HelloQueue,
    undecided: Undecided,
    loaded_until: Duration,
    /// Undecided clients without a cookie that took a handshake.
    unproven: Bucket,
    resets: Bucket,
    queries: QueryLimit,
    draining: bool,
    told: Bucket,
    closed: bool,
    outbox: Outbox<Path>,
    events: VecDeque<ServerEvent>,
    stats: ServerStats,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("sessions", &self.session_count)
            .field("pending", &self.hellos.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server without sessions.
    #[must_use]
    pub fn new(
        config: ServerConfig,
        clients: Box<dyn Clients>,
        mut random: Box<dyn Random>,
        now: Duration,
    ) -> Self {
        let identity = Arc::new(Identity::new(config.private_key.clone()));
        Self {
            clients,
            network: NetworkKey::new(identity.public(), config.network_key.clone()),
            network_before: None,
            hello_check: HelloCheck::new(identity.public(), config.network_key.as_ref(), None),
            identity,
            cookies: CookieJar::new(&mut *random, now),
            instance: u64::from_ne_bytes(random_array(&mut *random)),
            born: now,
            peers: Vec::new(),
            free: Vec::new(),
            by_client: HashMap::default(),
            ids: HashMap::default(),
            hellos: HashMap::default(),
            embryos: VecDeque::new(),
            embryo_count: 0,
            embryo_sources: HashMap::default(),
            session_count: 0,
            presence: Presence::default(),
            closing: VecDeque::new(),
            ended: Ended::new(config.max_sessions),
            deadlines: Deadlines::new(),
            swept: 0,
            sweep_at: now,
            sweep_owed: 0,
            queue: HelloQueue::default(),
            undecided: Undecided::default(),
            loaded_until: Duration::ZERO,
            unproven: Bucket::new(),
            resets: Bucket::new(),
            queries: QueryLimit::new(&mut *random),
            draining: false,
            told: Bucket::new(),
            closed: false,
            outbox: Outbox::new(),
            events: VecDeque::new(),
            stats: ServerStats::default(),
            config,
            random,
        }
    }

    /// Takes a datagram, which is opened in place if it is sealed. Gives the frames in it, or the
    /// one it completes, and the session; that session's events come before the frames.
    pub fn handle_input<'d>(
        &mut self,
        now: Duration,
        wall: u64,
        from: Path,
        datagram: &'d mut [u8],
    ) -> Option<(SessionId, Frames<'d>)> {
        if self.closed {
            return None;
        }
        match Datagram::parse(datagram) {
            Ok(Datagram::Sealed(header)) => self.handle_sealed(now, from, &header, datagram),
            Ok(Datagram::Hello(hello)) => {
                self.handle_hello(now, from, &hello);
                while self.serve(now, wall) {}
                None
            }
            Ok(Datagram::Query(query)) => {
                self.handle_query(now, from, &query);
                None
            }
            Ok(_) => {
                self.stats.wrong_end += 1;
                None
            }
            Err(_) => {
                self.stats.malformed += 1;
                None
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let closing = self.closing.front().map(|&(until, _)| until);
        let sweep = (self.session_count > 0).then_some(self.sweep_at);
        [self.deadlines.next(), closing, sweep].into_iter().flatten().min()
    }

    /// Appends datagrams to `out` that go to one client in one send, at most `max_datagrams`.
    pub fn poll_transmit(&mut self, max_datagrams: usize, out: &mut Vec<u8>) -> Option<Transmit> {
        let (path, segment) = self.outbox.pop(max_datagrams, out)?;
        Some(Transmit { path, segment })
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        let event = self.events.pop_front()?;
        if let ServerEvent::SessionDown { id, .. } = event {
            self.free.push(id.0);
        }
        Some(event)
    }

    /// The sessions.
    pub fn sessions(&self) -> impl Iterator<Item = SessionInfo<'_>> {
        (0..).zip(&self.peers).filter_map(|(slot, peer)| {
            let peer = peer.as_ref()?;
            let session = peer.session.as_ref()?;
            Some(SessionInfo {
                id: SessionId(slot),
                client: &peer.client,
                path: session.path,
                keys: &session.live.current,
            })
        })
    }

    /// What is known of a session. It takes the same time however many there are.
    #[must_use]
    pub fn session_statistics(&self, now: Duration, id: SessionId) -> Option<LinkStatistics> {
        Some(self.peer(id.0)?.session.as_ref()?.statistics(now))
    }

    /// How the last session of a client ended that did. The server remembers as many clients as it
    /// may have sessions.
    #[must_use]
    pub fn last_end(&self, client: &Key) -> Option<SessionEnd<DownReason>> {
        self.ended.get(client)
    }

    /// Clients without a session whose keys wait to be confirmed.
    pub fn handshakes(&self) -> impl Iterator<Item = HandshakeInfo<'_>> {
        self.hellos.values().filter_map(|slot| {
            let peer = self.peer(*slot).filter(|peer| peer.session.is_none())?;
            let pending = peer.pending.as_ref()?;
            let since = pending.until.saturating_sub(PENDING_TIME);
            Some(HandshakeInfo { client: &peer.client, path: pending.path, since })
        })
    }

    /// The number of sessions.
    #[must_use]
    pub const fn session_count(&self) -> usize {
        self.session_count
    }

    /// The number of clients without a session whose keys wait to be confirmed.
    #[must_use]
    pub const fn pending_count(&self) -> usize {
        self.embryo_count
    }

    /// Counters of the control side.
    #[must_use]
    pub const fn stats(&self) -> ServerStats {
        self.stats
    }

    /// Ends the session of a client, which gets BYE(removed). It may come back if it is still
    /// admitted. False if it has none.
    pub fn remove(&mut self, now: Duration, client: &Key) -> bool {
        let Some(&slot) = self.by_client.get(client) else { return false };
        self.end(now, slot, DownReason::Removed, Some(Bye::Removed))
    }

    /// The largest datagram (UDP payload) that the link carries, bytes, from the next handshake on.
    /// False if it was as large before.
    pub const fn set_pmtu(&mut self, pmtu: u16) -> bool {
        std::mem::replace(&mut self.config.pmtu, pmtu) != pmtu
    }

    /// Ends the session of a client, which is told `bye`: with [`Bye::Restart`] it comes back at once,
    /// with [`Bye::Removed`] after a while. False if it has none.
    pub fn kick(&mut self, now: Duration, client: &Key, bye: Bye) -> bool {
        let Some(&slot) = self.by_client.get(client) else { return false };
        self.end(now, slot, DownReason::Kicked, Some(bye))
    }

    /// Replaces the list of clients. Who is not on it any more, or on other terms, is out at once;
    /// who waited for a decision and needs none any more is answered.
    pub fn set_clients(&mut self, now: Duration, clients: Box<dyn Clients>) {
        self.clients = clients;
        for slot in 0..self.peers.len() as u32 {
            if !self.regrant(slot) {
                self.end_removed(now, slot);
            }
        }
        for client in self.undecided.clients() {
            if self.clients.admit(&client).is_some() || !self.clients.is_undecided(&client) {
                self.decided(now, &client);
            }
        }
    }

    /// Has a peer go by the terms that there are now. False where it is out, or on another psk.
    fn regrant(&mut self, slot: u32) -> bool {
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else { return true };
        let grant = self.clients.admit(&peer.client);
        let Some(grant) = grant.filter(|grant| grant.psk == peer.grant.psk) else { return false };
        if let Some(session) = &peer.session {
            let at = session.path.remote;
            self.presence.remove(at, !peer.grant.listed);
            self.presence.add(at, !grant.listed);
        }
        peer.grant = grant;
        true
    }

    fn end_removed(&mut self, now: Duration, slot: u32) {
        self.end(now, slot, DownReason::Removed, Some(Bye::Removed));
    }

    /// The most sessions at a time from now on: of all, of one source, and of clients that are not
    /// listed ([`ServerConfig`]). Those that are too many stay.
    pub const fn set_max_sessions(&mut self, all: usize, of_a_source: usize, unlisted: usize) {
        self.config.max_sessions = all;
        self.config.max_sessions_per_source = of_a_source;
        self.config.max_unlisted = unlisted;
    }

    /// After how many seconds without sending clients say KEEPALIVE at most: each from its next
    /// handshake on.
    pub const fn set_keepalive(&mut self, seconds: u16) {
        self.config.keepalive = seconds;
    }

    /// The longest frame that this end takes, in bytes: a session counts on it with its next keys.
    pub const fn set_max_frame(&mut self, bytes: u16) {
        self.config.max_frame = bytes;
    }

    /// The suites to agree to from the next handshake on.
    pub const fn set_suites(&mut self, suites: Suites) {
        self.config.suites = suites;
    }

    /// Says BYE to all and stops; clients come back at random within `spread`. What is left to
    /// transmit should still be sent.
    pub fn close(&mut self, now: Duration, reason: Bye, spread: Duration) {
        self.closed = true;
        let spread = u32::try_from(spread.as_millis()).unwrap_or(u32::MAX);
        for slot in 0..self.peers.len() as u32 {
            if let Some(session) = self.peer(slot).and_then(|peer| peer.session.as_ref()) {
                let (keys, path) = (Arc::clone(&session.live.current), session.path);
                let draw = u32::from_ne_bytes(random_array(&mut *self.random));
                let retry_ms = draw % spread.saturating_add(1).max(1);
                self.send_bye(now, &keys, path, reason, retry_ms);
            }
            self.end(now, slot, DownReason::Closed, None);
        }
        self.ids.clear();
        self.closing.clear();
    }

    fn peer(&self, slot: u32) -> Option<&Peer> {
        self.peers.get(slot as usize)?.as_ref()
    }

    fn peer_mut(&mut self, slot: u32) -> Option<&mut Peer> {
        self.peers.get_mut(slot as usize)?.as_mut()
    }

    /// A peer without keys, in a slot of its own.
    fn add_peer(&mut self, peer: Peer) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() as u32 - 1
        });
        self.by_client.insert(peer.client, slot);
        self.embryos.push_back((slot, peer.client));
        self.embryo_count += 1;
        *self.embryo_sources.entry(peer.source).or_default() += 1;
        self.peers[slot as usize] = Some(peer);
        slot
    }

    /// An id that is not in use, for this worker.
    fn draw_id(&mut self, worker: u32) -> u32 {
        let mask = (1_u32 << self.config.worker_bits.min(16)) - 1;
        loop {
            let random = u32::from_ne_bytes(random_array(&mut *self.random));
            let id = random & !mask | worker & mask;
            if id != 0 && !self.ids.contains_key(&id) {
                return id;
            }
        }
    }

    fn reschedule(&mut self, now: Duration, slot: u32) {
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else { return };
        // Never in the past, so that one peer cannot hold up the others.
        let deadline = peer.poll_timeout().map(|at| at.max(now + Duration::from_millis(1)));
        // A deadline to come stays where it became a later one, and is moved when it has come: so
        // the signs of life of idle clients move nothing.
        let stays = |(old, new): (Duration, Duration)| now < old && old <= new;
        if peer.deadline.zip(deadline).is_some_and(stays) {
            return;
        }
        self.deadlines.set(slot, &mut peer.deadline, deadline);
    }
}
