//! The client's state machine: makes a session, keeps it, and makes it again, for ever.
//!
//! [`Client`] does no I/O. Its owner gives it datagrams and the time, sends what
//! [`poll_transmit`](Client::poll_transmit) gives, calls
//! [`handle_timeout`](Client::handle_timeout) when [`poll_timeout`](Client::poll_timeout) says so,
//! and acts on events. Frames may be sealed and opened elsewhere, on any thread, with the
//! [`Keys`] that the events carry; a datagram that carries no frames, or whose keys a thread does
//! not know, is for [`handle_input`](Client::handle_input).
//!
//! `now` is boot time since any epoch and never goes back; `wall` is nanoseconds since 1970.

mod handshake;
mod liveness;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::handshake::{
    Cookie, CookieKey, MacKey, Random, Secret, public_key, random_array, wipe_stack,
};
use crate::jitter::{spread, unit};
use crate::session::{
    Beyond, Content, Frames, KeyLog, Keys, LinkStatistics, Live, Outbox, REKEY_AFTER, SealedStats,
    SessionEnd,
};
use crate::wire::{
    Bye, Caps, Control, Datagram, Header, IsolationAnswer, IsolationOrder, Key, NewNetworkKey,
    Refusal, ReportRole, Rtt, Suites, Version,
};
use handshake::Pending;
use liveness::Liveness;
pub use liveness::Patience;

/// HELLO intervals: after so many, so long.
const HELLO_RETRY: [(u32, Duration); 3] = [
    (10, Duration::from_secs(1)),
    (60, Duration::from_secs(5)),
    (u32::MAX, Duration::from_secs(30)),
];
/// For how long one HELLO is repeated before a fresh one is made: less than the server keeps its
/// answer.
const HELLO_LIFETIME: Duration = Duration::from_secs(4);
/// How often what is not authenticated (RESET, ICMP) may hurry a HELLO.
const HURRY_EVERY: Duration = Duration::from_secs(5);
/// Longest time that a BYE may keep the client away.
const MAX_BYE_WAIT: Duration = Duration::from_secs(600);
/// First and longest time to stay away after another instance took the session.
const REPLACED_HOLD: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
/// Time to stay away after a refusal that only a person can change.
const REFUSED_HOLD: Duration = Duration::from_secs(30);
/// How many times as old as others keys may be that carried no frame, before they are replaced: 838 s,
/// so that there are ten HELLO and more before the server asks, and before they end.
const IDLE_REKEY: u32 = 7;
/// How often state that other threads change is looked at, at least: also after each silence that asks for
/// a sign of life, so that its end is not missed.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The client's private key.
    pub private_key: Secret,
    /// The server's public key.
    pub server_key: Key,
    /// The key shared by all of the network, if there is one.
    pub network_key: Option<Secret>,
    /// This client's own pre-shared key; without one the network key counts.
    pub psk: Option<Secret>,
    /// The suites to offer.
    pub suites: Suites,
    /// What the owner does with frames; used is what the server does too. Default all.
    pub caps: Caps,
    /// Largest Ethernet frame to take, bytes without FCS.
    pub max_frame: u16,
    /// Largest datagram (UDP payload) that the link carries, bytes; less than 1,200 counts as that.
    pub pmtu: u16,
    /// After how many seconds without sending to send KEEPALIVE; the server may lower it.
    pub keepalive: u16,
    /// The age at which keys are replaced, no more than the default of [`REKEY_AFTER`]; keys that
    /// carried no frame may be seven times as old.
    pub rekey_after: Duration,
    /// The version of the software to tell the server, `None` to keep it back. Default this crate's.
    pub version: Option<Version>,
    /// When a server that does not answer is given up. Default [`Patience::LONG`].
    pub patience: Patience,
    /// For debugging: gets the keys of every handshake.
    pub key_log: Option<KeyLog>,
}

impl ClientConfig {
    /// The defaults: what the processor is good at, 1,514-byte frames, a 1,500-byte IPv4 link,
    /// KEEPALIVE every 15 s.
    #[must_use]
    pub fn new(private_key: Secret, server_key: Key) -> Self {
        Self {
            private_key,
            server_key,
            network_key: None,
            psk: None,
            suites: Suites::detect(),
            caps: Caps::ALL,
            max_frame: 1514,
            pmtu: 1472,
            keepalive: 15,
            rekey_after: REKEY_AFTER,
            version: Some(Version::THIS),
            patience: Patience::LONG,
            key_log: None,
        }
    }

    /// The pre-shared key that Noise mixes in for clients without one of their own.
    fn common_psk(&self) -> Secret {
        self.network_key.clone().unwrap_or(Secret::new([0; 32]))
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DownReason {
    /// The server said BYE.
    Bye(Bye),
    /// The server gave no sign of life.
    Timeout,
    /// The keys became too old and no new ones could be made.
    Expired,
    /// [`Client::close`] was called.
    Closed,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A HELLO goes out without a session: the time to resolve the server's name again, or to try
    /// the next server.
    Connecting {
        /// How many HELLO went out in vain so far.
        attempt: u32,
    },
    /// There is a session.
    Connected {
        /// To seal and open frames with.
        keys: Arc<Keys>,
        /// The server's wall clock when it answered, nanoseconds since 1970.
        server_time: u64,
    },
    /// There are new keys: seal with these, and open with these and the ones before.
    KeysChanged {
        /// The new keys.
        keys: Arc<Keys>,
    },
    /// The server is another process than the one before, and did not say that it would end: it
    /// crashed, or was killed. Follows the event of the keys that it made.
    ServerRestarted {
        /// The session goes on with it, under new keys.
        session_goes_on: bool,
    },
    /// Keys with this id of ours open nothing any more.
    KeysDropped {
        /// The id that datagrams to the client carried.
        local_id: u32,
    },
    /// The session is over; the client goes on trying.
    Disconnected {
        /// Why.
        reason: DownReason,
        /// How long the client stays away.
        retry_in: Duration,
    },
    /// An answer came that does not open: most likely the pre-shared keys of the two ends differ.
    /// The client goes on trying.
    Unreadable,
    /// The server has another network key now, which the client uses from its next HELLO on. It
    /// should be kept: the one before will not do for long.
    NetworkKey {
        /// The key.
        key: Secret,
    },
    /// The server asks the client to go to another one.
    AskedToMove {
        /// Which: the [tag](crate::wire::server_tag) of its name, or `None` for whichever the client
        /// likes.
        to: Option<u64>,
    },
    /// The server has the client do something in a test of isolation, for
    /// [`Client::answer_isolation`] to say what came of it.
    IsolationOrder {
        /// What to do.
        order: IsolationOrder,
    },
    /// The server gives the client no session and says why; the client goes on trying.
    Refused {
        /// Why.
        reason: Refusal,
    },
}

/// Counters of the handshake, and of what was dropped. Whoever shows them shows them all, so they can
/// be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientStats {
    /// Datagrams that are none of acton/1.
    pub malformed: u64,
    /// HELLO and QUERY, which no server sends.
    pub wrong_end: u64,
    /// WELCOME, RETRY, RESET and REPLY that answer nothing that this client sent: late, or forged.
    pub stale_answers: u64,
    /// WELCOME to the HELLO under way that do not open.
    pub unreadable: u64,
    /// HELLO sent.
    pub hellos: u64,
    /// Sealed datagrams.
    pub sealed: SealedStats,
}

/// A client of one server.
pub struct Client {
    config: ClientConfig,
    random: Box<dyn Random>,
    mac_to_server: MacKey,
    mac_to_us: MacKey,
    cookie_key: CookieKey,
    cookie: Option<(Cookie, Duration)>,
    instance: u64,
    pending: Option<Pending>,
    /// HELLO sent since the last session or the last rekey.
    attempts: u32,
    /// When the next HELLO is due.
    hello_at: Option<Duration>,
    /// Nothing unauthenticated hurries a HELLO before this.
    hurry_at: Duration,
    live: Option<Live>,
    liveness: Liveness,
    rekey_at: Duration,
    /// The same for keys that carried no frame.
    idle_rekey_at: Duration,
    check_at: Duration,
    /// The instance of the server that the session is with, or was.
    server_instance: Option<u64>,
    /// How often that was another one than before.
    server_restarts: u64,
    /// The largest frame that the server takes.
    server_max_frame: u16,
    /// How often the network changed in this session.
    roams: u64,
    /// How the session before this one ended.
    ended: Option<SessionEnd<DownReason>>,
    /// How often in a row another instance took the session.
    replaced: u32,
    closed: bool,
    outbox: Outbox<()>,
    events: VecDeque<ClientEvent>,
    stats: ClientStats,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("live", &self.live)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client whose first HELLO is due at once.
    #[must_use]
    pub fn new(config: ClientConfig, mut random: Box<dyn Random>, now: Duration) -> Self {
        let network_key = config.network_key.as_ref();
        Self {
            mac_to_server: MacKey::new(&config.server_key, network_key),
            mac_to_us: MacKey::new(&public_key(&config.private_key), network_key),
            cookie_key: CookieKey::new(&config.server_key, network_key),
            cookie: None,
            instance: u64::from_ne_bytes(random_array(&mut *random)),
            pending: None,
            attempts: 0,
            hello_at: Some(now),
            hurry_at: now,
            live: None,
            liveness: Liveness::new(config.keepalive, config.patience),
            rekey_at: now,
            idle_rekey_at: now,
            check_at: now,
            server_instance: None,
            server_restarts: 0,
            server_max_frame: 0,
            roams: 0,
            ended: None,
            replaced: 0,
            closed: false,
            outbox: Outbox::new(),
            events: VecDeque::new(),
            stats: ClientStats::default(),
            config,
            random,
        }
    }

    /// After how many seconds without sending to say KEEPALIVE, from the next handshake on.
    pub const fn set_keepalive(&mut self, seconds: u16) {
        self.config.keepalive = seconds;
    }

    /// When a server that does not answer is given up from now on.
    pub const fn set_patience(&mut self, patience: Patience) {
        self.config.patience = patience;
        self.liveness.set_patience(patience);
    }

    /// The keys to seal with, if there is a session.
    #[must_use]
    pub fn keys(&self) -> Option<&Arc<Keys>> {
        self.live.as_ref().map(|live| &live.current)
    }

    /// Whether a datagram names what this client chose or was given: a handshake under way, or keys. Who
    /// has a client for each of several servers so finds whose it is.
    #[must_use]
    pub fn expects(&self, datagram: &Datagram) -> bool {
        let pending = |id| self.pending.as_ref().is_some_and(|pending| pending.local_id() == id);
        match datagram {
            Datagram::Welcome(welcome) => pending(welcome.receiver_id),
            Datagram::Retry(retry) => pending(retry.receiver_id),
            Datagram::Reset(reset) => {
                self.keys().is_some_and(|keys| keys.setup().remote_id == reset.receiver_id)
            }
            Datagram::Sealed(header) => {
                self.live.as_ref().is_some_and(|live| live.keys(header.receiver_id).is_some())
            }
            _ => false,
        }
    }

    /// Round-trip times of this session, once a KEEPALIVE was answered. They are forgotten where the
    /// client is told that its network changed.
    #[must_use]
    pub const fn rtt(&self) -> Option<Rtt> {
        self.liveness.rtt()
    }

    /// What is known of the session. `None` without one: the client is at the handshake of its first,
    /// or of the next after [`last_end`](Self::last_end).
    #[must_use]
    pub fn statistics(&self, now: Duration) -> Option<LinkStatistics> {
        let live = self.live.as_ref()?;
        let expires = live.current.expires_at();
        let beyond = Beyond {
            quiet_at: self.liveness.quiet_at(live.link()),
            lost_at: self.liveness.dead_at(live.link()).map_or(expires, |at| at.min(expires)),
            rtt: self.rtt(),
            roams: self.roams,
            peer_instance: self.server_instance.unwrap_or(0),
            peer_max_frame: self.server_max_frame,
        };
        Some(LinkStatistics::new(now, live, &beyond))
    }

    /// How often the server was another process than the one before, announced or not.
    #[must_use]
    pub const fn server_restarts(&self) -> u64 {
        self.server_restarts
    }

    /// How the last session ended that did.
    #[must_use]
    pub const fn last_end(&self) -> Option<SessionEnd<DownReason>> {
        self.ended
    }

    /// Counters of the handshake and of what was dropped.
    #[must_use]
    pub const fn stats(&self) -> ClientStats {
        self.stats
    }

    /// Takes a datagram, which is opened in place if it is sealed. Gives the frames in it, or the one
    /// it completes.
    pub fn handle_input<'d>(&mut self, now: Duration, datagram: &'d mut [u8]) -> Frames<'d> {
        match Datagram::parse(datagram) {
            Ok(_) if self.closed => {}
            Ok(Datagram::Sealed(header)) => return self.handle_sealed(now, &header, datagram),
            Ok(Datagram::Welcome(welcome)) => {
                self.handle_welcome(now, &welcome, datagram);
                wipe_stack();
            }
            Ok(Datagram::Retry(retry)) => self.handle_retry(now, &retry),
            Ok(Datagram::Reset(reset)) => {
                let sent = |keys: &Arc<Keys>| {
                    keys.setup().remote_id == reset.receiver_id && reset.counter < keys.sealed()
                };
                if self.keys().is_some_and(sent) {
                    self.hurry(now);
                } else {
                    self.stats.stale_answers += 1;
                }
            }
            // A REPLY is for whoever sent the QUERY.
            Ok(Datagram::Reply(_)) => self.stats.stale_answers += 1,
            Ok(Datagram::Hello(_) | Datagram::Query(_)) => self.stats.wrong_end += 1,
            Err(_) => self.stats.malformed += 1,
        }
        Frames::default()
    }

    fn handle_sealed<'d>(
        &mut self,
        now: Duration,
        header: &Header,
        datagram: &'d mut [u8],
    ) -> Frames<'d> {
        let keys = self.live.as_ref().and_then(|live| live.keys(header.receiver_id));
        let Some(keys) = keys.cloned() else {
            self.stats.sealed.unknown += 1;
            return Frames::default();
        };
        let size = datagram.len();
        let received = match keys.receive(now, header, datagram) {
            Ok(received) => received,
            Err(error) => {
                self.stats.sealed.note_unopened(error);
                return Frames::default();
            }
        };
        match received.content {
            Content::Frames(frames) => return frames,
            Content::Control(message) => match Control::parse(message) {
                Ok(message) => self.handle_control(now, &keys, header.counter, message, size),
                Err(_) => self.stats.sealed.bad_control += 1,
            },
            Content::Bad => self.stats.sealed.bad_frames += 1,
            Content::Piece => self.stats.sealed.pieces += 1,
            Content::BadPiece => self.stats.sealed.bad_pieces += 1,
        }
        Frames::default()
    }

    fn handle_control(
        &mut self,
        now: Duration,
        keys: &Arc<Keys>,
        counter: u64,
        message: Control,
        len: usize,
    ) {
        match message {
            Control::Keepalive { token, .. } => {
                // A datagram is at most 65,507 bytes.
                let echo = Control::Echo { token, size: len as u16 };
                if let Ok(datagram) = keys.seal_control(now, echo) {
                    self.outbox.push((), datagram);
                }
            }
            Control::Echo { token, size } => {
                self.liveness.handle_echo(now, token);
                if let Some(live) = &mut self.live {
                    live.handle_echo(now, token, size);
                }
            }
            Control::Bye { reason, retry_ms } => self.handle_bye(now, reason, retry_ms),
            // One under keys that were replaced has had its effect.
            Control::Rekey => {
                if self.keys().is_some_and(|current| Arc::ptr_eq(current, keys)) {
                    self.rekey(now);
                }
            }
            Control::Report { role: ReportRole::Answer, token, report }
                if keys.setup().caps.contains(Caps::REPORT) =>
            {
                self.liveness.handle_echo(now, token);
                if let Some(live) = &mut self.live {
                    live.hear(now, keys, counter, report);
                }
            }
            Control::NetworkKey(NewNetworkKey(key))
                if keys.setup().caps.contains(Caps::NETWORK_KEY) =>
            {
                // One under keys that were replaced may be older than what was told since.
                if self.keys().is_some_and(|current| Arc::ptr_eq(current, keys)) {
                    self.take_network_key(now, Secret::new(key));
                }
            }
            Control::Move { to } if keys.setup().caps.contains(Caps::MOVE) => {
                let to = Some(to).filter(|&to| to != 0);
                self.events.push_back(ClientEvent::AskedToMove { to });
            }
            Control::IsolationOrder(order) if keys.setup().caps.contains(Caps::ISOLATION) => {
                // One under keys that were replaced is repeated.
                if self.keys().is_some_and(|current| Arc::ptr_eq(current, keys)) {
                    self.events.push_back(ClientEvent::IsolationOrder { order });
                }
            }
            Control::Report { .. }
            | Control::NetworkKey(_)
            | Control::Move { .. }
            | Control::IsolationOrder(_)
            | Control::IsolationAnswer(_) => {
                self.stats.sealed.bad_control += 1;
            }
        }
    }

    /// The network key from the next HELLO on.
    fn take_network_key(&mut self, now: Duration, key: Secret) {
        if self.config.network_key.as_ref() == Some(&key) {
            return;
        }
        self.mac_to_server = MacKey::new(&self.config.server_key, Some(&key));
        self.mac_to_us = MacKey::new(&public_key(&self.config.private_key), Some(&key));
        self.cookie_key = CookieKey::new(&self.config.server_key, Some(&key));
        self.config.network_key = Some(key.clone());
        // What was made with the one before would be answered with that.
        self.cookie = None;
        if self.pending.take().is_some() {
            self.hello_at = Some(now);
        }
        self.events.push_back(ClientEvent::NetworkKey { key });
    }

    fn handle_bye(&mut self, now: Duration, reason: Bye, retry_ms: u32) {
        let asked = Duration::from_millis(retry_ms.into()).min(MAX_BYE_WAIT);
        let wait = match reason {
            Bye::Replaced => {
                let (first, longest) = REPLACED_HOLD;
                let since = self.live.as_ref().map_or(now, Live::since);
                if now.saturating_sub(since) >= longest {
                    self.replaced = 0;
                }
                let hold = (first * (1 << self.replaced.min(8))).min(longest);
                self.replaced += 1;
                self.jitter(hold, 50).max(asked)
            }
            Bye::Removed => asked.max(REFUSED_HOLD),
            Bye::Limit => asked.max(CHECK_EVERY),
            _ => asked,
        };
        self.down(now, DownReason::Bye(reason), wait);
    }

    /// Does what is due. Call it when [`poll_timeout`](Self::poll_timeout) has come; a call too
    /// early does no harm.
    pub fn handle_timeout(&mut self, now: Duration, wall: u64) {
        if self.closed {
            return;
        }
        self.check_session(now);
        if self.hello_at.is_some_and(|at| now >= at) {
            self.send_hello(now, wall);
        }
    }

    fn check_session(&mut self, now: Duration) {
        let Some(live) = &mut self.live else { return };
        if now >= live.current.expires_at() {
            return self.down(now, DownReason::Expired, Duration::ZERO);
        }
        if self.liveness.is_dead(now, live.link()) {
            return self.down(now, DownReason::Timeout, Duration::ZERO);
        }
        live.note_use();
        self.stats.sealed.incomplete += live.link().sweep_pieces(now);
        if let Some(keys) = live.expire_previous(now) {
            let local_id = keys.setup().local_id;
            self.events.push_back(ClientEvent::KeysDropped { local_id });
        }
        let probe = live.probe(now, &mut *self.random);
        let keys = Arc::clone(&live.current);
        if let Some(probe) = probe {
            self.send_control(now, &keys, probe);
        }
        if self.liveness.keepalive_due(now, &keys) {
            self.send_keepalive(now);
        }
        let unconfirmed = self.liveness.take_unconfirmed(now, &keys);
        let forgotten = self.liveness.is_forgotten(now, keys.link());
        if now >= self.rekey_at(&keys) || keys.wants_rekey(now) || unconfirmed || forgotten {
            self.rekey(now);
        }
        self.check_at = now + CHECK_EVERY.min(self.liveness.silence());
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.closed {
            return None;
        }
        let session = self.live.as_ref().map(|live| {
            let expires = live.current.expires_at();
            let rekey =
                if self.hello_at.is_some() { expires } else { self.rekey_at(&live.current) };
            let liveness = self.liveness.poll_timeout(&live.current);
            expires.min(rekey).min(liveness).min(self.check_at).min(live.poll_timeout())
        });
        [self.hello_at, session].into_iter().flatten().min()
    }

    /// Appends datagrams to `out` that go to the server in one send: of the returned segment size
    /// each, the last maybe shorter, at most `max_datagrams`.
    pub fn poll_transmit(&mut self, max_datagrams: usize, out: &mut Vec<u8>) -> Option<usize> {
        self.outbox.pop(max_datagrams, out).map(|((), segment)| segment)
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// The system reported that the server cannot be reached. Anybody can forge that: it only
    /// hurries a HELLO, and where [`Patience::heeds_errors`] a KEEPALIVE, once in 5 s.
    pub fn handle_network_error(&mut self, now: Duration) {
        if now >= self.hurry_at
            && let Some(live) = &self.live
        {
            self.liveness.doubt(live.link());
        }
        self.hurry(now);
    }

    /// The client's address or route changed: the server is told at once.
    pub fn handle_network_change(&mut self, now: Duration) {
        if let Some(live) = &mut self.live {
            live.path_changed(now);
            self.liveness.path_changed();
            self.roams += 1;
            self.send_keepalive(now);
        } else if self.attempts > 0 {
            // In vain so far; a wait that the server asked for is kept.
            self.hello_at = self.hello_at.map(|at| at.min(now));
        }
    }

    /// The client's network changed in a way that does not show: something that was sent meanwhile may
    /// have gone another way, so that the server looks for the client there. It is told where the
    /// client is.
    pub fn handle_network_news(&mut self, now: Duration, since: Duration) {
        if self.keys().is_some_and(|keys| keys.link().last_sent() >= since) {
            self.send_keepalive(now);
        }
    }

    /// The link that leads to the server carries datagrams of `pmtu` bytes now. A HELLO under way
    /// is made anew to say so; with a session the server hears it by a rekey.
    pub fn set_pmtu(&mut self, now: Duration, wall: u64, pmtu: u16) {
        if std::mem::replace(&mut self.config.pmtu, pmtu) == pmtu || self.closed {
            return;
        }
        if let Some(live) = &mut self.live {
            live.limit_pmtu(now, pmtu);
            self.rekey(now);
        }
        self.renew_hello(now, wall);
    }

    /// The longest frame that this end takes is of `bytes` bytes now. A HELLO under way is made anew
    /// to say so; with a session the server hears it by a rekey.
    pub fn set_max_frame(&mut self, now: Duration, wall: u64, bytes: u16) {
        if std::mem::replace(&mut self.config.max_frame, bytes) == bytes || self.closed {
            return;
        }
        if self.live.is_some() {
            self.rekey(now);
        }
        self.renew_hello(now, wall);
    }

    /// The system refused to send a datagram of `size` bytes (EMSGSIZE, EINVAL).
    pub fn handle_too_large(&mut self, size: u16) {
        if let Some(live) = &mut self.live {
            live.handle_too_large(size);
        }
    }

    /// A router reported that the path carries datagrams of `size` bytes only. Anybody can forge
    /// that: see [`Server::handle_path_hint`](crate::server::Server::handle_path_hint).
    pub fn handle_path_hint(&mut self, now: Duration, size: u16) {
        if let Some(live) = &mut self.live {
            live.handle_hint(now, size, &mut *self.random);
        }
    }

    /// Says BYE and stops. What is left to transmit should still be sent.
    pub fn close(&mut self, now: Duration) {
        if let Some(keys) = self.keys().cloned() {
            self.send_control(now, &keys, Control::Bye { reason: Bye::Stop, retry_ms: 0 });
            self.down(now, DownReason::Closed, Duration::ZERO);
        }
        self.pending = None;
        self.hello_at = None;
        self.closed = true;
    }

    /// Tells the server what came of an [order](ClientEvent::IsolationOrder) of its.
    pub fn answer_isolation(&mut self, now: Duration, answer: IsolationAnswer) {
        if let Some(keys) = self.keys().cloned() {
            self.send_control(now, &keys, Control::IsolationAnswer(answer));
        }
    }

    /// Asks for new keys, if that is not under way.
    fn rekey(&mut self, now: Duration) {
        if self.pending.is_none() && self.hello_at.is_none() {
            self.attempts = 0;
            self.hello_at = Some(now);
        }
    }

    /// When the keys in use are to be replaced. Idle ones protect nothing but signs of life, and an
    /// idle session costs its server little but its rekeys.
    fn rekey_at(&self, keys: &Keys) -> Duration {
        if keys.is_idle() { self.idle_rekey_at } else { self.rekey_at }
    }

    /// A hint that nobody vouches for: one HELLO per 5 s, and never before a wait is over that an
    /// authenticated message asked for.
    fn hurry(&mut self, now: Duration) {
        if !self.closed && self.live.is_some() && now >= self.hurry_at {
            self.hurry_at = now + HURRY_EVERY;
            self.rekey(now);
        }
    }

    fn down(&mut self, now: Duration, reason: DownReason, wait: Duration) {
        let Some(live) = self.live.take() else { return };
        self.stats.sealed.incomplete += live.link().sweep_pieces(Duration::MAX);
        for keys in [Some(&live.current), live.previous()].into_iter().flatten() {
            let local_id = keys.setup().local_id;
            self.events.push_back(ClientEvent::KeysDropped { local_id });
        }
        self.ended = Some(SessionEnd::new(reason, live.since(), now));
        self.pending = None;
        self.attempts = 0;
        self.hello_at = Some(now + wait);
        self.events.push_back(ClientEvent::Disconnected { reason, retry_in: wait });
    }

    /// Asks the server for a sign of life, and reports to one that takes it.
    fn send_keepalive(&mut self, now: Duration) {
        let token = u64::from_ne_bytes(random_array(&mut *self.random));
        let unit = self.random_unit();
        let Some(live) = &self.live else { return };
        let keys = &live.current;
        let message = if keys.setup().caps.contains(Caps::REPORT) {
            let report = live.report(self.liveness.rtt(), self.config.version);
            Control::Report { role: ReportRole::Question, token, report }
        } else {
            Control::Keepalive { token, size: 0 }
        };
        self.liveness.note_keepalive(now, keys.link(), token, unit);
        match keys.seal_control(now, message) {
            Ok(datagram) => self.outbox.push((), datagram),
            // Past the packet limit, and no handshake was answered since a quarter of it.
            Err(_) => self.down(now, DownReason::Expired, Duration::ZERO),
        }
    }

    fn send_control(&mut self, now: Duration, keys: &Keys, message: Control) {
        // Used-up keys seal nothing; a handshake is due then.
        if let Ok(datagram) = keys.seal_control(now, message) {
            self.outbox.push((), datagram);
        }
    }

    /// Draws from -1,024 to 1,023.
    fn random_unit(&mut self) -> i64 {
        unit(u16::from_ne_bytes(random_array(&mut *self.random)).into())
    }

    /// `time` and up to so many per cent more or less.
    fn jitter(&mut self, time: Duration, percent: u32) -> Duration {
        spread(time, percent, self.random_unit())
    }
}

/// When the client asks for new keys, if the ones in use carried frames and if not: a little early,
/// never together with all others.
fn rekey_times(born: Duration, after: Duration, unit: i64) -> (Duration, Duration) {
    let after = after.min(REKEY_AFTER);
    let early = spread(after - after / 20, 5, unit);
    (born + early, born + early * IDLE_REKEY)
}
