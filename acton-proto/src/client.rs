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

mod config;
mod event;
mod handshake;
mod input;
mod liveness;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::handshake::{Cookie, CookieKey, MacKey, Random, public_key, random_array};
use crate::jitter::{spread, unit};
use crate::session::{Beyond, Keys, LinkStatistics, Live, Outbox, REKEY_AFTER, SessionEnd};
use crate::wire::{Bye, Caps, Control, Datagram, IsolationAnswer, ReportRole, Rtt};
pub use config::ClientConfig;
pub use event::{ClientEvent, ClientStats, DownReason};
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
/// Time to stay away after a refusal that only a person can change.
const REFUSED_HOLD: Duration = Duration::from_secs(30);
/// How many times as old as others keys may be that carried no frame, before they are replaced: 838 s,
/// so that there are ten HELLO and more before the server asks, and before they end.
const IDLE_REKEY: u32 = 7;
/// How often state that other threads change is looked at, at least: also after each silence that asks for
/// a sign of life, so that its end is not missed.
const CHECK_EVERY: Duration = Duration::from_secs(5);

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
