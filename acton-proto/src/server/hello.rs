//! HELLO in: the checks in their order, the cheap ones first, and handshakes.

use std::sync::Arc;
use std::time::Duration;

use super::limit::Source;
use super::network::Era;
use super::peer::{PENDING_TIME, Peer, Pending, dead_after};
use super::queue::Asking;
use super::{Admission, Id, Path, RefusedReason, Server, ServerEvent, SessionId};
use crate::handshake::{MacKey, Responder, Secret, random_array, wipe_stack};
use crate::session::{Keys, Link, Role, Setup, Suite};
use crate::wire::{
    Hello, HelloPayload, Key, Refusal, VERSION, WELCOME_LEN, Welcome, WelcomePayload,
};

/// For how long a server under load stays careful.
const LOADED_TIME: Duration = Duration::from_secs(5);
/// Handshakes that are spent on undecided clients without a cookie before that counts as load: 16 a
/// second, and so many at once.
const UNDECIDED_LIMIT: (Duration, u32) = (Duration::from_micros(62_500), 16);
/// HELLO that are answered without a handshake before the owner is heard again.
const CHEAP_AT_ONCE: usize = 64;
/// How often refused HELLO are told to the owner, and so many at once.
const TOLD_LIMIT: (Duration, u32) = (Duration::from_millis(100), 20);

impl Server {
    /// Takes a HELLO: answers it if that takes no handshake, else lets it wait for
    /// [`serve`](Self::serve).
    pub fn handle_hello(&mut self, now: Duration, from: Path, hello: &Hello) {
        if self.closed {
            return;
        }
        let bytes = hello.encode();
        let Some(era) = self.hello_check.era(&bytes) else {
            self.stats.bad_mac += 1;
            return self.tell(now, from, None, RefusedReason::WrongKey);
        };
        // mac2 is zero or right, always: so no bit of a HELLO can be changed.
        let has_cookie = hello.mac2 != [0; 16]
            && self.cookies.verify(&bytes, from.remote, &mut *self.random, now);
        if hello.mac2 != [0; 16] && !has_cookie {
            return self.retry(now, from, hello, era);
        }
        if self.repeat(now, from, hello, era) {
            return;
        }
        if self.undecided.repeats(now, from, hello, has_cookie) {
            if !has_cookie {
                self.retry(now, from, hello, era);
            }
            return;
        }
        // A source that has not shown a cookie may be forged.
        if !has_cookie && self.under_load(now) {
            return self.retry(now, from, hello, era);
        }
        let source = self.presence.source(from.remote);
        if !self.queue.push(now, source, Asking { from, hello: *hello, era }) {
            self.stats.limited += 1;
        }
    }

    /// Does the handshake of a HELLO that waits, if one does, and what is cheap before it. False where
    /// none is left.
    pub fn serve(&mut self, now: Duration, wall: u64) -> bool {
        for _ in 0..CHEAP_AT_ONCE {
            let (next, stale) = self.queue.pop(now);
            self.stats.limited += stale;
            let Some(Asking { from, hello, era }) = next else { return false };
            let has_cookie = hello.mac2 != [0; 16];
            if self.repeat(now, from, &hello, era) {
                // Its client said it again while it waited.
            } else if !has_cookie && self.under_load(now) {
                // As it would have been told, had it come now.
                self.retry(now, from, &hello, era);
            } else {
                self.shake_hands(now, wall, from, &hello, era);
                break;
            }
        }
        self.backlog() > 0
    }

    /// How many HELLO wait for a handshake.
    #[must_use]
    pub const fn backlog(&self) -> usize {
        self.queue.len()
    }

    /// Answers a HELLO whose keys wait to be confirmed as before.
    fn repeat(&mut self, now: Duration, from: Path, hello: &Hello, era: Era) -> bool {
        let Some(pending) = self.pending_of(hello) else { return false };
        // Whoever confirms the keys got WELCOME where it was sent: there is one such address, for a
        // copy of the HELLO that comes from another has to show a cookie.
        let has_cookie = hello.mac2 != [0; 16];
        if from != pending.path && !has_cookie {
            self.retry(now, from, hello, era);
            return true;
        }
        pending.path = from;
        pending.proven |= has_cookie;
        let welcome = pending.welcome.to_vec();
        self.stats.repeated += 1;
        self.outbox.push(from, welcome);
        true
    }

    fn shake_hands(&mut self, now: Duration, wall: u64, from: Path, hello: &Hello, era: Era) {
        let read = Responder::of(&self.identity, &hello.noise, &mut *self.random).ok();
        let read = read.and_then(|r| Some((HelloPayload::parse(r.payload()).ok()?, r)));
        let Some((payload, responder)) = read else {
            self.stats.failed += 1;
            return self.tell(now, from, None, RefusedReason::Handshake);
        };
        self.answer(now, wall, from, hello, &payload, responder, era);
        wipe_stack();
    }

    /// Asks the source of a HELLO to show that it receives there.
    fn retry(&mut self, now: Duration, from: Path, hello: &Hello, era: Era) {
        self.stats.retries += 1;
        let cookie = self.cookies.bake(from.remote, &mut *self.random, now);
        let network = match &self.network_before {
            Some(before) if era == Era::Before => before,
            _ => &self.network,
        };
        let cookie_key = &network.cookie_key;
        let retry = cookie_key.seal(&cookie, hello.sender_id, &hello.mac1, &mut *self.random);
        self.outbox.push(from, retry.encode().to_vec());
    }

    /// The keys that an earlier copy of this HELLO was answered with.
    fn pending_of(&mut self, hello: &Hello) -> Option<&mut Pending> {
        let slot = *self.hellos.get(&hello.mac1)?;
        self.peer_mut(slot)?.pending.as_mut()
    }

    fn under_load(&mut self, now: Duration) -> bool {
        if self.queue.len() >= self.config.cookie_backlog
            || self.embryo_count > self.config.max_pending / 2
        {
            self.loaded_until = now + LOADED_TIME;
        }
        now < self.loaded_until
    }

    /// The client proved its key: keys for it, or a refusal that it can read.
    #[inline(never)] // so that what it leaves on the stack lies below the caller
    #[allow(clippy::too_many_arguments)] // what was found out of one HELLO, step by step
    fn answer(
        &mut self,
        now: Duration,
        wall: u64,
        from: Path,
        hello: &Hello,
        payload: &HelloPayload,
        responder: Responder,
        era: Era,
    ) {
        // A cookie that is not right was refused.
        let proven = hello.mac2 != [0; 16];
        let client = *responder.client();
        let grant = self.clients.admit(&client);
        if grant.is_none() && self.clients.is_undecided(&client) {
            // Nobody is asked about a client for a source that may be forged.
            if !proven {
                // Where there are many, others who come now are likely to be unknown too: no more
                // handshakes are spent on that. A few that try again and again are no load.
                let (interval, burst) = UNDECIDED_LIMIT;
                if !self.unproven.take(now, interval, burst) {
                    self.loaded_until = now + LOADED_TIME;
                }
                return self.retry(now, from, hello, era);
            }
            return self.hold(now, client, Asking { from, hello: *hello, era });
        }
        let slot = self.by_client.get(&client).copied();
        let known = slot.and_then(|slot| self.peer_mut(slot));
        if known.is_some_and(|peer| !peer.admits(now, payload.timestamp, proven)) {
            if !proven {
                // A replay ends here; the client itself can show that it is none.
                return self.retry(now, from, hello, era);
            }
            self.stats.limited += 1;
            return;
        }
        let terms = self.terms(grant.as_ref(), slot, from, payload);
        let keepalive = payload.keepalive.clamp(1, self.config.keepalive.max(1));
        let answer = WelcomePayload {
            version: VERSION,
            suite: terms.map_or(0, Suite::code),
            refusal: terms.err().map(RefusedReason::refusal),
            caps: self.config.caps,
            max_frame: self.config.max_frame,
            pmtu: self.config.pmtu,
            keepalive,
            dead_after: dead_after(keepalive),
            instance: self.instance,
            time: wall,
        };
        let psk = grant.as_ref().and_then(|grant| grant.psk.as_ref());
        let psk = psk.or(self.network_of(era).key.as_ref()).cloned();
        let psk = psk.unwrap_or(Secret::new([0; 32]));
        let Ok((noise, split)) = responder.finish(&psk, &answer.encode()) else {
            self.stats.failed += 1;
            return self.tell(now, from, Some(client), RefusedReason::Handshake);
        };
        let worker = self.worker(slot);
        let local_id = self.draw_id(worker);
        let welcome =
            Welcome { receiver_id: hello.sender_id, sender_id: local_id, noise, mac1: [0; 16] };
        let mut datagram: [u8; WELCOME_LEN] = welcome.encode();
        let network_key = self.network_of(era).key.as_ref();
        MacKey::new(&client, network_key).sign_welcome(&mut datagram);
        self.outbox.push(from, datagram.to_vec());

        let (suite, grant) = match (terms, grant) {
            (Ok(suite), Some(grant)) => (suite, grant),
            (Err(reason), _) => {
                self.stats.refused += 1;
                return self.tell(now, from, Some(client), reason);
            }
            (Ok(_), None) => return,
        };
        self.stats.welcomed += 1;
        let slot = slot.unwrap_or_else(|| {
            self.admit_embryo(now, Peer::new(client, grant, Source::of(from.remote.ip())))
        });
        let setup = Setup {
            suite,
            local_id,
            remote_id: hello.sender_id,
            caps: payload.caps.common(self.config.caps),
            max_frame: payload.max_frame.min(self.config.max_frame),
            born: now,
        };
        if let Some(log) = &self.config.key_log {
            log.log(Role::Server, &setup, &split);
        }
        let link = self.link(now, slot, payload.instance);
        let pending = Pending {
            keys: Arc::new(Keys::new(Role::Server, &split, &setup, link)),
            path: from,
            proven,
            mac1: hello.mac1,
            welcome: datagram,
            timestamp: payload.timestamp,
            instance: payload.instance,
            max_frame: payload.max_frame,
            max_pmtu: payload.pmtu.min(self.config.pmtu),
            keepalive,
            era,
            until: now + PENDING_TIME,
        };
        self.set_pending(now, slot, pending);
    }

    /// The suite of the session, or why there is none.
    fn terms(
        &self,
        grant: Option<&Admission>,
        slot: Option<u32>,
        from: Path,
        payload: &HelloPayload,
    ) -> Result<Suite, RefusedReason> {
        use RefusedReason::Told;
        let has_session =
            slot.and_then(|slot| self.peer(slot)).is_some_and(|p| p.session.is_some());
        let grant = grant.ok_or(Told(Refusal::NotAuthorised))?;
        // The one version there is: below the lower of both maxima nothing is taken.
        if !(payload.version_min..=payload.version_max).contains(&VERSION) {
            return Err(Told(Refusal::Version));
        }
        let suite = Suite::choose(self.config.suites.common(payload.suites));
        let suite = suite.ok_or(Told(Refusal::Suite))?;
        if !has_session {
            self.room(grant.listed, from)?;
        }
        Ok(suite)
    }

    /// Whether there is room for one more session.
    pub(super) fn room(&self, listed: bool, from: Path) -> Result<(), RefusedReason> {
        let config = &self.config;
        if self.session_count >= config.max_sessions {
            return Err(RefusedReason::Told(Refusal::Full));
        }
        if listed {
            return Ok(());
        }
        if self.presence.unlisted() >= config.max_unlisted {
            return Err(RefusedReason::UnlistedFull);
        }
        if self.presence.unlisted_of(from.remote) >= config.max_sessions_per_source {
            return Err(RefusedReason::SourceFull);
        }
        Ok(())
    }

    /// A session stays with its worker; a new client gets one at random.
    fn worker(&mut self, slot: Option<u32>) -> u32 {
        let session = slot.and_then(|slot| self.peer(slot)?.session.as_ref());
        if let Some(session) = session {
            return session.live.current.setup().local_id;
        }
        u32::from_ne_bytes(random_array(&mut *self.random)) % self.config.workers.max(1)
    }

    /// The link of the session that the keys would go on with, or one of its own.
    fn link(&self, now: Duration, slot: u32, instance: u64) -> Arc<Link> {
        let session = self.peer(slot).and_then(|peer| peer.session.as_ref());
        match session.filter(|session| session.instance == instance) {
            Some(session) => Arc::clone(session.live.link()),
            None => Arc::new(Link::new(now)),
        }
    }

    /// Makes room for a client without a session: the one that has waited longest gives way, of a
    /// source that has no less than its share of them.
    pub(super) fn admit_embryo(&mut self, now: Duration, peer: Peer) -> u32 {
        while self.embryo_count >= self.config.max_pending.max(1) {
            let (total, sources) = (self.embryo_count, self.embryo_sources.len());
            let (peers, counts) = (&self.peers, &self.embryo_sources);
            let gives_way = |(slot, client): &(u32, Key)| {
                let peer = peers[*slot as usize].as_ref();
                let peer = peer.filter(|p| p.session.is_none() && p.client == *client);
                peer.is_none_or(|p| counts.get(&p.source).is_none_or(|n| n * sources >= total))
            };
            let Some(at) = self.embryos.iter().position(gives_way) else { break };
            let Some((slot, client)) = self.embryos.remove(at) else { break };
            let same = |p: &Peer| p.session.is_none() && p.client == client;
            if self.peer(slot).is_some_and(same) {
                self.remove_embryo(slot);
            }
        }
        // Slots that became something else are dropped before they outnumber the others.
        if self.embryos.len() > 2 * self.config.max_pending.max(1) {
            let peers = &self.peers;
            self.embryos.retain(|(slot, client)| {
                let peer = peers[*slot as usize].as_ref();
                peer.is_some_and(|p| p.session.is_none() && p.client == *client)
            });
        }
        let slot = self.add_peer(peer);
        self.reschedule(now, slot);
        slot
    }

    pub(super) fn set_pending(&mut self, now: Duration, slot: u32, pending: Pending) {
        self.drop_pending(slot);
        self.ids.insert(pending.keys.setup().local_id, Id::Peer(slot));
        self.hellos.insert(pending.mac1, slot);
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else { return };
        peer.timestamp = peer.timestamp.max(pending.timestamp);
        if peer.session.is_some() {
            self.identity.remember(&peer.client);
            let keys = Arc::clone(&pending.keys);
            self.events.push_back(ServerEvent::KeysReady { id: SessionId(slot), keys });
        } else {
            let local_id = pending.keys.setup().local_id;
            self.events.push_back(ServerEvent::IdExpected { local_id });
        }
        peer.pending = Some(pending);
        self.reschedule(now, slot);
    }

    /// Forgets keys that were not confirmed.
    pub(super) fn drop_pending(&mut self, slot: u32) -> Option<Pending> {
        let peer = self.peers.get_mut(slot as usize)?.as_mut()?;
        let pending = peer.pending.take()?;
        let local_id = pending.keys.setup().local_id;
        if peer.session.is_some() {
            self.events.push_back(ServerEvent::KeysDropped { id: SessionId(slot), local_id });
        } else {
            self.events.push_back(ServerEvent::IdForgotten { local_id });
        }
        self.ids.remove(&local_id);
        self.hellos.remove(&pending.mac1);
        Some(pending)
    }

    /// A client without a session is none any more.
    pub(super) fn count_embryo_out(&mut self, source: Source) {
        self.embryo_count -= 1;
        if let Some(count) = self.embryo_sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.embryo_sources.remove(&source);
            }
        }
    }

    pub(super) fn remove_embryo(&mut self, slot: u32) {
        self.drop_pending(slot);
        let Some(mut peer) = self.peers.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.deadlines.set(slot, &mut peer.deadline, None);
        self.by_client.remove(&peer.client);
        self.count_embryo_out(peer.source);
        self.free.push(slot);
    }

    pub(super) fn tell(
        &mut self,
        now: Duration,
        path: Path,
        client: Option<Key>,
        reason: RefusedReason,
    ) {
        let (interval, burst) = TOLD_LIMIT;
        if self.told.take(now, interval, burst) {
            self.events.push_back(ServerEvent::Refused { path, client, reason });
        }
    }
}
