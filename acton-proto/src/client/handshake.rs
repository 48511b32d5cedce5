//! HELLO out, WELCOME and RETRY in.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Client, ClientEvent, DownReason, HELLO_LIFETIME, HELLO_RETRY, REFUSED_HOLD, rekey_times,
};
use crate::handshake::{COOKIE_LIFETIME, Initiator, Random, Secret, random_array};
use crate::session::{Keys, Link, Live, Role, Setup, Suite};
use crate::wire::{
    Caps, HELLO_LEN, HELLO_MAC1, Hello, HelloPayload, Refusal, Retry, VERSION, WELCOME_LEN,
    Welcome, WelcomePayload,
};

/// A handshake under way.
#[derive(Debug)]
pub(super) struct Pending {
    initiator: Initiator,
    /// The same handshake without the client's own psk, which a server that knows the client no
    /// more does not have: it reads a refusal, and makes no keys.
    without_psk: Option<Initiator>,
    local_id: u32,
    /// The HELLO, with mac1.
    hello: [u8; HELLO_LEN],
    made: Duration,
    /// Whether an answer came that does not open.
    unreadable: bool,
}

impl Pending {
    pub(super) const fn local_id(&self) -> u32 {
        self.local_id
    }

    fn mac1(&self) -> [u8; 16] {
        std::array::from_fn(|i| self.hello[HELLO_MAC1 + i])
    }

    /// Why the server has no session for the client, if a WELCOME that does not open under the
    /// client's own psk says so without it. Told once.
    fn refusal_without_psk(&mut self, welcome: &Welcome) -> Option<Refusal> {
        let (payload, _) = self.without_psk.as_mut()?.finish(&welcome.noise).ok()?;
        self.without_psk = None;
        WelcomePayload::parse(&payload).ok()?.refusal
    }
}

/// Draws the same bytes again and again: the ephemeral key of one HELLO.
struct Ephemeral(Secret);

impl Random for Ephemeral {
    fn fill(&mut self, dest: &mut [u8]) {
        dest.copy_from_slice(self.0.bytes());
    }
}

impl Client {
    /// Sends the HELLO again, or a fresh one.
    pub(super) fn send_hello(&mut self, now: Duration, wall: u64) {
        let fresh = |pending: &Pending| now.saturating_sub(pending.made) < HELLO_LIFETIME;
        if !self.pending.as_ref().is_some_and(fresh) {
            self.pending = self.make_hello(now, wall);
        }
        if self.live.is_none() {
            self.events.push_back(ClientEvent::Connecting { attempt: self.attempts });
        }
        self.attempts = self.attempts.saturating_add(1);
        let retry = HELLO_RETRY.iter().find(|(upto, _)| self.attempts <= *upto);
        let retry = retry.map_or(HELLO_RETRY[0].1, |(_, every)| *every);
        self.hello_at = Some(now + self.jitter(retry, 10));
        self.transmit_hello(now);
    }

    /// Has a HELLO under way say what the settings are now.
    pub(super) fn renew_hello(&mut self, now: Duration, wall: u64) {
        if self.pending.is_some() {
            self.pending = self.make_hello(now, wall);
            self.transmit_hello(now);
        }
    }

    fn transmit_hello(&mut self, now: Duration) {
        let Some(pending) = &self.pending else { return };
        let mut hello = pending.hello;
        self.cookie.take_if(|(_, until)| now >= *until);
        if let Some((cookie, _)) = &self.cookie {
            cookie.sign_hello(&mut hello);
        }
        self.stats.hellos += 1;
        self.outbox.push((), hello.to_vec());
    }

    /// `None` only for a server key that is no X25519 key.
    fn make_hello(&mut self, now: Duration, wall: u64) -> Option<Pending> {
        let payload = HelloPayload {
            version_min: VERSION,
            version_max: VERSION,
            suites: self.config.suites,
            caps: self.config.caps,
            instance: self.instance,
            timestamp: wall,
            max_frame: self.config.max_frame,
            pmtu: self.config.pmtu,
            keepalive: self.config.keepalive,
        };
        let (config, payload) = (&self.config, payload.encode());
        let mut ephemeral = Ephemeral(Secret::generate(&mut *self.random));
        let mut begin = |psk: &Secret| {
            let (private, server) = (&config.private_key, &config.server_key);
            Initiator::new(private, server, psk, &payload, &mut ephemeral).ok()
        };
        let common = config.common_psk();
        let (initiator, noise) = begin(config.psk.as_ref().unwrap_or(&common))?;
        let without_psk = config.psk.as_ref().and_then(|_| Some(begin(&common)?.0));
        let local_id = self.draw_id();
        let mut hello = Hello { sender_id: local_id, noise, mac1: [0; 16], mac2: [0; 16] }.encode();
        self.mac_to_server.sign_hello(&mut hello);
        Some(Pending { initiator, without_psk, local_id, hello, made: now, unreadable: false })
    }

    /// An id that is not in use.
    fn draw_id(&mut self) -> u32 {
        loop {
            let id = u32::from_ne_bytes(random_array(&mut *self.random));
            let taken = self.live.as_ref().is_some_and(|live| live.keys(id).is_some());
            if id != 0 && !taken {
                return id;
            }
        }
    }

    pub(super) fn handle_retry(&mut self, now: Duration, retry: &Retry) {
        let pending = self.pending.as_ref().filter(|p| p.local_id == retry.receiver_id);
        let cookie = pending.and_then(|p| self.cookie_key.open(retry, &p.mac1()));
        let Some(cookie) = cookie else {
            self.stats.stale_answers += 1;
            return;
        };
        // A second RETRY with the same cookie answers a HELLO that crossed the first one.
        if self.cookie.as_ref().is_none_or(|(old, _)| *old != cookie) {
            self.cookie = Some((cookie, now + COOKIE_LIFETIME));
            self.transmit_hello(now);
        }
    }

    #[inline(never)] // so that what it leaves on the stack lies below the caller
    pub(super) fn handle_welcome(&mut self, now: Duration, welcome: &Welcome, datagram: &[u8]) {
        let bytes: Option<&[u8; WELCOME_LEN]> = datagram.try_into().ok();
        let ours = bytes.is_some_and(|bytes| self.mac_to_us.verify_welcome(bytes));
        let pending = self.pending.as_mut();
        let pending = pending.filter(|p| ours && p.local_id == welcome.receiver_id);
        let Some(pending) = pending else {
            self.stats.stale_answers += 1;
            return;
        };
        let Ok((payload, split)) = pending.initiator.finish(&welcome.noise) else {
            self.stats.unreadable += 1;
            if let Some(reason) = pending.refusal_without_psk(welcome) {
                // News for the user and nothing more: what was sealed without the psk changes
                // nothing, and a WELCOME under it may still come.
                pending.unreadable = true;
                return self.events.push_back(ClientEvent::Refused { reason });
            }
            // Told once a HELLO: anyone who has the network key can make such an answer.
            if !std::mem::replace(&mut pending.unreadable, true) {
                self.events.push_back(ClientEvent::Unreadable);
            }
            return;
        };
        let local_id = pending.local_id;
        self.pending = None;
        self.hello_at = None;
        let agreed = WelcomePayload::parse(&payload).map_err(|_| Refusal::Version);
        let agreed = agreed.and_then(|payload| self.check(&payload).map(|suite| (payload, suite)));
        let (payload, suite) = match agreed {
            Ok(agreed) => agreed,
            Err(reason) => {
                self.events.push_back(ClientEvent::Refused { reason });
                self.attempts = 0;
                self.hello_at = Some(now + self.jitter(REFUSED_HOLD, 10));
                return;
            }
        };
        let setup = Setup {
            suite,
            local_id,
            remote_id: welcome.sender_id,
            caps: payload.caps.common(self.config.caps),
            max_frame: payload.max_frame.min(self.config.max_frame),
            born: now,
        };
        let link = self.live.as_ref().map(|live| Arc::clone(live.link()));
        let link = link.unwrap_or_else(|| Arc::new(Link::new(now)));
        link.note_received(now);
        if let Some(log) = &self.config.key_log {
            log.log(Role::Client, &setup, &split);
        }
        let keys = Arc::new(Keys::new(Role::Client, &split, &setup, link));
        let unit = self.random_unit();
        (self.rekey_at, self.idle_rekey_at) = rekey_times(now, self.config.rekey_after, unit);
        self.attempts = 0;
        let before = self.server_instance.replace(payload.instance);
        let restarted = before.is_some_and(|before| before != payload.instance);
        let said_bye = self.ended.is_some_and(|end| matches!(end.reason, DownReason::Bye(_)));
        let session_goes_on = self.live.is_some();
        let unsaid = restarted && (session_goes_on || !said_bye);
        self.server_restarts += u64::from(restarted);
        self.server_max_frame = payload.max_frame;
        let reports = setup.caps.contains(Caps::REPORT);
        let keepalive = payload.keepalive.min(self.config.keepalive.max(1));
        self.liveness.keys_changed(now, keepalive, payload.dead_after, reports);
        let max_pmtu = payload.pmtu.min(self.config.pmtu);
        if let Some(live) = &mut self.live {
            live.set_max_pmtu(now, max_pmtu);
            if let Some(dropped) = live.replace(Arc::clone(&keys)) {
                let local_id = dropped.setup().local_id;
                self.events.push_back(ClientEvent::KeysDropped { local_id });
            }
            self.events.push_back(ClientEvent::KeysChanged { keys });
        } else {
            self.live = Some(Live::new(now, Arc::clone(&keys), max_pmtu));
            self.liveness.path_changed();
            self.roams = 0;
            self.events.push_back(ClientEvent::Connected { keys, server_time: payload.time });
        }
        if unsaid {
            self.events.push_back(ClientEvent::ServerRestarted { session_goes_on });
        }
        self.check_at = now;
        // The server seals with the new keys once it got something under them.
        self.send_keepalive(now);
    }

    /// Whether the session that the server offers is one that was asked for.
    fn check(&self, payload: &WelcomePayload) -> Result<Suite, Refusal> {
        if let Some(reason) = payload.refusal {
            return Err(reason);
        }
        if payload.version != VERSION {
            return Err(Refusal::Version);
        }
        Suite::from_code(payload.suite)
            .filter(|suite| self.config.suites.contains(suite.bit()))
            .ok_or(Refusal::Suite)
    }
}
