use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::codec::Control;

/// Answers that wait for a caller who does not poll; more are not given, and the client asks
/// again.
const MAX_QUEUED_REPLIES: usize = 4_096;

/// Refusals are reported at most once in this time: each one costs a stranger five bytes.
const REFUSED_INTERVAL: Duration = Duration::from_secs(1);

/// How a [`Server`] keeps its sessions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Silence after which a session ends. Default 30 s, as in 0.1.1, whose clients say
    /// KEEPALIVE every 10 s.
    pub expire_after: Duration,
    /// Sessions at one time, static ones aside. Default 4,096.
    pub max_sessions: usize,
    /// Sessions of one source at one time, static ones aside, where sources are told apart
    /// ([`Server::with_sources`]). Whoever forges a source's address opens them, and each gets every
    /// broadcast. Default 64.
    pub max_sessions_per_source: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            expire_after: Duration::from_secs(30),
            max_sessions: 4_096,
            max_sessions_per_source: 64,
        }
    }
}

/// Names a session from its `SessionUp` until its `SessionDown` has been polled; then the number
/// may name another one, the longest unused first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u32);

impl SessionId {
    /// The name that has this number.
    #[must_use]
    pub const fn at(index: usize) -> Self {
        Self(index as u32)
    }

    /// The number itself. Numbers are dense: they stay below the greatest number of sessions
    /// there ever were at one time, so they can index a table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a session came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// By a HELLO.
    Hello,
    /// By a KEEPALIVE: a client that still lives in the session of a server before a restart.
    Keepalive,
    /// By [`Server::add_static`].
    Static,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownReason {
    /// The client said BYE.
    Bye,
    /// Nothing came for [`ServerConfig::expire_after`].
    Expired,
    /// By [`Server::retain`].
    Removed,
}

/// One session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session<A> {
    /// Its name.
    pub id: SessionId,
    /// The client's address.
    pub addr: A,
    /// How it came to be.
    pub origin: Origin,
    /// When it came to be.
    pub since: Duration,
    /// The last sign of life that the server was told of.
    pub last_seen: Duration,
}

impl<A> Session<A> {
    fn is_static(&self) -> bool {
        self.origin == Origin::Static
    }
}

/// What a server's owner should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent<A> {
    /// A session began.
    SessionUp {
        /// Its name.
        id: SessionId,
        /// The client's address.
        addr: A,
        /// How it came to be.
        by: Origin,
    },
    /// A session ended; what refers to it must go before the next event is polled.
    SessionDown {
        /// Its name, free from now on.
        id: SessionId,
        /// The client's address.
        addr: A,
        /// Why it ended.
        reason: DownReason,
    },
    /// A client got no session and no answer because its source has as many as it may. Reported at
    /// most once a second.
    SourceFull {
        /// The last client that was refused.
        addr: A,
        /// Such refusals since the server began.
        total: u64,
    },
    /// A client got no session and no answer because the table is full. Reported at most once a
    /// second.
    Refused {
        /// The last client that was refused.
        addr: A,
        /// Refusals since the server began.
        total: u64,
    },
}

/// A number that names a session, or did.
#[derive(Debug, Clone)]
struct Slot<A> {
    session: Option<Session<A>>,
    /// Whether the number is in `deadlines`, where it is at most once.
    queued: bool,
}

#[derive(Debug, Clone)]
struct Refusals<A> {
    total: u64,
    reported: Option<Duration>,
    pending: Option<A>,
}

impl<A> Refusals<A> {
    const NONE: Self = Self { total: 0, reported: None, pending: None };

    fn note(&mut self, now: Duration, addr: A) {
        self.total += 1;
        let quiet = self.reported.is_some_and(|last| now < last.saturating_add(REFUSED_INTERVAL));
        if !quiet {
            self.reported = Some(now);
            self.pending = Some(addr);
        }
    }
}

/// The server's sessions, one for each client address `A`: a `SocketAddr`, or that and the local
/// address it was reached at.
///
/// HELLO or KEEPALIVE makes or keeps a session, BYE ends it at once, silence ends it after
/// [`ServerConfig::expire_after`], exactly. Which sources may speak at all is the caller's to
/// check first. A frame from an address that [`get`](Self::get) does not know is to be dropped
/// and counted.
///
/// A datagram costs O(1); a session costs O(log n) once in `expire_after`. Whatever outsiders
/// send, there are at most [`ServerConfig::max_sessions`] sessions, two waiting events for each
/// of them, and 4,096 waiting answers; and an answer is as long as its question, so a forged
/// source address gains nothing.
#[derive(Debug, Clone)]
pub struct Server<A> {
    config: ServerConfig,
    start: Duration,
    by_addr: HashMap<A, SessionId, RandomState>,
    slots: Vec<Slot<A>>,
    /// Slots to use again, the longest unused first. A slot whose `SessionDown` was not polled
    /// is not among them.
    free: VecDeque<SessionId>,
    statics: usize,
    /// For each session that can expire, a time that is not after its end: a sign of life moves
    /// `last_seen` only, and the entry moves when its time comes.
    deadlines: BinaryHeap<Reverse<(Duration, SessionId)>>,
    events: VecDeque<ServerEvent<A>>,
    refusals: Refusals<A>,
    source_of: Option<fn(A) -> u64>,
    sources: HashMap<u64, usize, RandomState>,
    source_refusals: Refusals<A>,
    replies: VecDeque<(A, Control)>,
}

impl<A: Copy + Eq + Hash> Server<A> {
    /// Starts a server without sessions at the time `now`.
    #[must_use]
    pub fn new(config: ServerConfig, now: Duration) -> Self {
        Self {
            config,
            start: now,
            by_addr: HashMap::default(),
            slots: Vec::new(),
            free: VecDeque::new(),
            statics: 0,
            deadlines: BinaryHeap::new(),
            events: VecDeque::new(),
            refusals: Refusals::NONE,
            source_of: None,
            sources: HashMap::default(),
            source_refusals: Refusals::NONE,
            replies: VecDeque::new(),
        }
    }

    /// The same, but no source has more than [`ServerConfig::max_sessions_per_source`] sessions.
    /// `source_of` tells the sources of addresses apart.
    #[must_use]
    pub fn with_sources(config: ServerConfig, now: Duration, source_of: fn(A) -> u64) -> Self {
        Self { source_of: Some(source_of), ..Self::new(config, now) }
    }

    /// Keeps sessions by other settings from now on. Those that are too many stay.
    pub fn set_config(&mut self, config: ServerConfig) {
        self.config = config;
    }

    /// Takes a control message that came from `from`. HELLO and KEEPALIVE are answered unless the
    /// table is full; BYE from a static peer or a stranger is ignored.
    pub fn handle_control(&mut self, now: Duration, from: A, control: Control) {
        let known = self.get(from);
        let by = match control {
            Control::Hello => Origin::Hello,
            Control::Keepalive => Origin::Keepalive,
            Control::Bye => {
                if let Some(id) = known.filter(|&id| !self.is_static(id)) {
                    self.end(id, DownReason::Bye);
                }
                return;
            }
        };
        match known {
            Some(id) => self.touch(id, now),
            None if self.is_full() => return self.refusals.note(now, from),
            None if self.is_full_of(from) => {
                return self.source_refusals.note(now, from);
            }
            None => {
                if let Some(source_of) = self.source_of {
                    *self.sources.entry(source_of(from)).or_default() += 1;
                }
                let id = self.begin(from, by, now);
                self.queue_deadline(id, now.saturating_add(self.config.expire_after));
            }
        }
        if self.replies.len() < MAX_QUEUED_REPLIES {
            self.replies.push_back((from, control));
        }
    }

    /// Adds a peer that never says HELLO, as socat: its session never ends, neither by silence
    /// nor by BYE, and is not counted in [`ServerConfig::max_sessions`]. A session that `addr`
    /// has already becomes static and keeps its name.
    pub fn add_static(&mut self, addr: A) -> SessionId {
        let Some(id) = self.get(addr) else {
            self.statics += 1;
            return self.begin(addr, Origin::Static, self.start);
        };
        if let Some(session) = self.slots[id.index()].session.as_mut().filter(|s| !s.is_static()) {
            session.origin = Origin::Static;
            self.statics += 1;
            self.leave_source(addr);
        }
        id
    }

    /// Ends the sessions that `keep` says no to; static ones stay. The wire has no word for it: a
    /// client notices that nothing is answered any more.
    pub fn retain(&mut self, keep: impl Fn(&Session<A>) -> bool) {
        let gone: Vec<_> =
            self.sessions().filter(|it| !it.is_static() && !keep(it)).map(|it| it.id).collect();
        for id in gone {
            self.end(id, DownReason::Removed);
        }
    }

    /// Tells that a frame of the session `id` came at the time `seen`, which may lie somewhat
    /// back: for workers that report rarely. Ignored if there is no such session.
    pub fn touch(&mut self, id: SessionId, seen: Duration) {
        let slot = self.slots.get_mut(id.index());
        if let Some(session) = slot.and_then(|slot| slot.session.as_mut()) {
            session.last_seen = session.last_seen.max(seen);
        }
    }

    /// Ends the sessions that are due at `now`.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.handle_timeout_with(now, |_| Duration::ZERO);
    }

    /// The same, but asks `last_seen` for a newer sign of life before it ends a session: so
    /// workers need not report at all, only keep the time of each session's last frame, and each
    /// session is asked about once in `expire_after`.
    pub fn handle_timeout_with(
        &mut self,
        now: Duration,
        mut last_seen: impl FnMut(SessionId) -> Duration,
    ) {
        while let Some(&Reverse((due, id))) = self.deadlines.peek()
            && due <= now
        {
            self.deadlines.pop();
            let slot = &mut self.slots[id.index()];
            slot.queued = false;
            let Some(session) = slot.session.as_mut().filter(|s| !s.is_static()) else { continue };
            session.last_seen = session.last_seen.max(last_seen(id));
            let due = session.last_seen.saturating_add(self.config.expire_after);
            if due <= now {
                self.end(id, DownReason::Expired);
            } else {
                self.queue_deadline(id, due);
            }
        }
    }

    /// The time to call [`handle_timeout`](Self::handle_timeout): never later than the end of a
    /// session, perhaps earlier, for a session that lived on. `None` if none can expire.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadlines.peek().map(|&Reverse((due, _))| due)
    }

    /// The next answer to send, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(A, Control)> {
        self.replies.pop_front()
    }

    /// The next event, those of sessions in their order.
    pub fn poll_event(&mut self) -> Option<ServerEvent<A>> {
        let Some(event) = self.events.pop_front() else {
            let total = self.refusals.total;
            let full =
                self.refusals.pending.take().map(|addr| ServerEvent::Refused { addr, total });
            let total = self.source_refusals.total;
            return full.or_else(|| {
                let addr = self.source_refusals.pending.take()?;
                Some(ServerEvent::SourceFull { addr, total })
            });
        };
        if let ServerEvent::SessionDown { id, .. } = event {
            self.free.push_back(id);
        }
        Some(event)
    }

    /// The session of a client address.
    #[must_use]
    pub fn get(&self, addr: A) -> Option<SessionId> {
        self.by_addr.get(&addr).copied()
    }

    /// A session by its name.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session<A>> {
        self.slots.get(id.index())?.session.as_ref()
    }

    /// All sessions, by name.
    pub fn sessions(&self) -> impl Iterator<Item = &Session<A>> {
        self.slots.iter().filter_map(|slot| slot.session.as_ref())
    }

    /// How many HELLO and KEEPALIVE got no session since the server began: because the table was full,
    /// and because their source had as many as it may.
    #[must_use]
    pub const fn refused(&self) -> (u64, u64) {
        (self.refusals.total, self.source_refusals.total)
    }

    /// How many sessions there are, static ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_addr.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_addr.is_empty()
    }

    fn is_static(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(Session::is_static)
    }

    /// Counts the sessions whose `SessionDown` waits too: a caller that does not poll must not
    /// make the queues grow.
    fn is_full(&self) -> bool {
        self.slots.len() - self.free.len() - self.statics >= self.config.max_sessions
    }

    fn is_full_of(&self, addr: A) -> bool {
        let sessions = self.source_of.and_then(|source_of| self.sources.get(&source_of(addr)));
        sessions.is_some_and(|&sessions| sessions >= self.config.max_sessions_per_source)
    }

    fn leave_source(&mut self, addr: A) {
        let Some(source) = self.source_of.map(|source_of| source_of(addr)) else { return };
        if let Some(sessions) = self.sources.get_mut(&source) {
            *sessions -= 1;
            if *sessions == 0 {
                self.sources.remove(&source);
            }
        }
    }

    fn begin(&mut self, addr: A, origin: Origin, now: Duration) -> SessionId {
        let id = self.free.pop_front().unwrap_or_else(|| {
            let next = u32::try_from(self.slots.len()).expect("no memory holds 2^32 sessions");
            self.slots.push(Slot { session: None, queued: false });
            SessionId(next)
        });
        let session = Session { id, addr, origin, since: now, last_seen: now };
        self.slots[id.index()].session = Some(session);
        self.by_addr.insert(addr, id);
        self.events.push_back(ServerEvent::SessionUp { id, addr, by: origin });
        id
    }

    fn end(&mut self, id: SessionId, reason: DownReason) {
        if let Some(Session { addr, .. }) = self.slots[id.index()].session.take() {
            self.by_addr.remove(&addr);
            self.leave_source(addr);
            self.events.push_back(ServerEvent::SessionDown { id, addr, reason });
        }
    }

    /// An entry left by the number's last session is earlier than `due` and serves as well; a
    /// second one would let HELLO, BYE, HELLO, BYE ... fill the heap.
    fn queue_deadline(&mut self, id: SessionId, due: Duration) {
        let slot = &mut self.slots[id.index()];
        if !slot.queued {
            slot.queued = true;
            self.deadlines.push(Reverse((due, id)));
        }
    }
}

#[cfg(test)]
mod tests;
