//! Sealed datagrams in, and the timers of sessions.

use std::sync::Arc;
use std::time::Duration;

use super::limit::{Bucket, Source};
use super::network::Era;
use super::peer::{Candidate, Established, Peer, Pending};
use super::{
    CLOSING_TIME, Closing, DownReason, Id, MAX_CLOSING, Notice, Path, RESET_LIMIT, RESET_TIME,
    RefusedReason, Server, ServerEvent, SessionId,
};
use crate::handshake::random_array;
use crate::session::{Content, Frames, Keys, Live};
use crate::wire::{
    Bye, Caps, Control, ECHO_LEN, Header, Key, NewNetworkKey, Refusal, ReportRole, Reset,
};

/// In what time all sessions are looked at once, and how often some of them are.
const SWEEP_ALL: Duration = Duration::from_secs(5);
pub(super) const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// How often a client is asked for new keys, at most.
const REKEY_EVERY: Duration = Duration::from_secs(10);
/// Addresses where a session is looked for: eight a second, so many at once. A load balancer that
/// deals its datagrams out anew makes four a second, honestly.
const CANDIDATE_LIMIT: (Duration, u32) = (Duration::from_millis(125), 8);
/// How long under closed keys what was on its way is no sign of a live second instance.
const IN_FLIGHT: Duration = Duration::from_secs(1);

impl Server {
    pub(super) fn handle_sealed<'d>(
        &mut self,
        now: Duration,
        from: Path,
        header: &Header,
        datagram: &'d mut [u8],
    ) -> Option<(SessionId, Frames<'d>)> {
        let slot = match self.ids.get(&header.receiver_id) {
            Some(Id::Peer(slot)) => *slot,
            Some(Id::Closing(_)) => {
                self.handle_closing(now, header, datagram);
                return None;
            }
            None => {
                self.handle_unknown(now, from, header);
                return None;
            }
        };
        let keys = Arc::clone(self.peer(slot)?.keys(header.receiver_id)?);
        let bytes = datagram.len();
        let received = match keys.receive(now, header, datagram) {
            Ok(received) => received,
            Err(error) => {
                self.stats.sealed.note_unopened(error);
                return None;
            }
        };
        let newest = received.newest;
        let notice = Notice { local_id: header.receiver_id, from, bytes, newest };
        self.handle_opened(now, slot, &notice);
        match received.content {
            Content::Frames(frames) => {
                let has_session = self.peer(slot).is_some_and(|peer| peer.session.is_some());
                if has_session {
                    return Some((SessionId(slot), frames));
                }
                self.stats.sealed.unknown += 1;
            }
            Content::Control(message) => {
                self.take_control(now, slot, &keys, header.counter, &notice, message);
            }
            Content::Bad => self.stats.sealed.bad_frames += 1,
            Content::Piece => self.stats.sealed.pieces += 1,
            Content::BadPiece => self.stats.sealed.bad_pieces += 1,
        }
        None
    }

    /// News of a datagram that another thread opened.
    pub fn handle_notice(&mut self, now: Duration, notice: &Notice) {
        if let Some(Id::Peer(slot)) = self.ids.get(&notice.local_id) {
            let slot = *slot;
            self.handle_opened(now, slot, notice);
        }
    }

    /// A control message that another thread opened, in the datagram of this counter, and could not
    /// answer by itself ([`Keys::answer`]).
    pub fn handle_opened_control(
        &mut self,
        now: Duration,
        notice: &Notice,
        counter: u64,
        message: &[u8],
    ) {
        let Some(Id::Peer(slot)) = self.ids.get(&notice.local_id) else { return };
        let slot = *slot;
        let keys = self.peer(slot).and_then(|peer| peer.keys(notice.local_id));
        let Some(keys) = keys.map(Arc::clone) else { return };
        self.handle_opened(now, slot, notice);
        self.take_control(now, slot, &keys, counter, notice, message);
    }

    fn take_control(
        &mut self,
        now: Duration,
        slot: u32,
        keys: &Arc<Keys>,
        counter: u64,
        notice: &Notice,
        message: &[u8],
    ) {
        match Control::parse(message) {
            Ok(message) => self.handle_control(now, slot, keys, counter, notice, message),
            Err(_) => self.stats.sealed.bad_control += 1,
        }
        self.reschedule(now, slot);
    }

    /// An authentic datagram: keys may be confirmed by it, and the client may have moved.
    fn handle_opened(&mut self, now: Duration, slot: u32, notice: &Notice) {
        let Some(peer) = self.peer_mut(slot) else { return };
        if let Some(pending) = peer.pending.take_if(|p| p.keys.setup().local_id == notice.local_id)
        {
            self.hellos.remove(&pending.mac1);
            self.confirm(now, slot, pending, notice.from);
        }
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else { return };
        let Some(session) = &mut peer.session else { return };
        let current = session.live.current.setup().local_id == notice.local_id;
        if !notice.newest || !current {
            return;
        }
        if notice.from == session.path {
            // The client is where it was, whoever sent what seemed to come from elsewhere.
            session.look_for(None);
            return;
        }
        if session.candidate.as_ref().is_none_or(|candidate| candidate.path != notice.from) {
            let (interval, burst) = CANDIDATE_LIMIT;
            if !session.candidates.take(now, interval, burst) {
                self.stats.moves_limited += 1;
                return;
            }
            let token = u64::from_ne_bytes(random_array(&mut *self.random));
            session.look_for(Some(Candidate::new(notice.from, token)));
        }
        if let Some(candidate) = &mut session.candidate {
            candidate.add(notice.bytes);
        }
        self.challenge(now, slot);
        self.reschedule(now, slot);
    }

    /// Asks the candidate address for an ECHO, if that is due and paid for.
    fn challenge(&mut self, now: Duration, slot: u32) {
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else { return };
        let Some(session) = &mut peer.session else { return };
        let Some(candidate) = &mut session.candidate else { return };
        if candidate.challenge(now) {
            let (path, token) = (candidate.path, candidate.token);
            let keepalive = Control::Keepalive { token, size: 0 };
            if let Ok(datagram) = session.live.current.seal_control(now, keepalive) {
                self.outbox.push(path, datagram);
            }
        } else if candidate.is_over(now) {
            session.look_for(None);
        }
    }

    /// The client has the new keys.
    fn confirm(&mut self, now: Duration, slot: u32, pending: Pending, from: Path) {
        if self.peer(slot).is_some_and(|peer| peer.session.is_none()) && !self.regrant(slot) {
            return self.turn_away(now, slot, &pending);
        }
        let Pending {
            keys, path, instance, max_frame, max_pmtu, keepalive, era, timestamp, ..
        } = pending;
        let id = SessionId(slot);
        let no_room = self.peer(slot).and_then(|peer| self.room(peer.grant.listed, path).err());
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else { return };
        let client = peer.client;
        let fresh = |replaced_instance| Established {
            live: Live::new(now, Arc::clone(&keys), max_pmtu),
            path,
            instance,
            max_frame,
            replaced_instance,
            keepalive,
            era,
            candidate: None,
            rekey_at: now,
            roams: 0,
            candidates: Bucket::new(),
        };
        match &mut peer.session {
            Some(session) if session.instance == instance => {
                let dropped = session.live.replace(Arc::clone(&keys));
                // They are confirmed, so the ones before have their last seconds, or had them while
                // this thread did not run.
                let expired = session.live.expire_previous(now);
                session.live.set_max_pmtu(now, max_pmtu);
                session.max_frame = max_frame;
                session.keepalive = keepalive;
                session.era = era;
                self.events.push_back(ServerEvent::KeysChanged { id, keys, replaced: false });
                // WELCOME came there, or there would be no confirmation.
                if from != session.path && path != session.path {
                    self.move_to(now, slot, path);
                }
                for dropped in dropped.into_iter().chain(expired) {
                    self.drop_keys(id, &dropped);
                }
            }
            Some(session) => {
                let again = session.replaced_instance == Some(instance);
                let old = std::mem::replace(session, fresh(None));
                session.replaced_instance = Some(old.instance);
                self.stats.sealed.incomplete += old.live.link().sweep_pieces(Duration::MAX);
                self.ended.note(client, DownReason::Replaced, old.live.since(), now);
                self.events.push_back(ServerEvent::KeysChanged { id, keys, replaced: true });
                self.presence.move_to(old.path.remote, path.remote, !peer.grant.listed);
                if old.path != path {
                    self.events.push_back(ServerEvent::AddressChanged { id, path });
                }
                if again {
                    self.alarm(id, client);
                }
                if let Some(previous) = old.live.previous() {
                    self.drop_keys(id, previous);
                }
                self.drop_keys(id, &old.live.current);
                self.close_keys(now, id, client, &old.live.current, old.path, Bye::Replaced);
            }
            None => {
                if let Some(reason) = no_room {
                    self.ids.remove(&keys.setup().local_id);
                    self.remove_embryo(slot);
                    self.close_keys(now, id, client, &keys, path, Bye::Limit);
                    return self.tell(now, path, Some(client), reason);
                }
                peer.session = Some(fresh(None));
                let (source, alone) = (peer.source, !peer.grant.listed);
                self.count_embryo_out(source);
                self.session_count += 1;
                self.presence.add(path.remote, alone);
                let (client_time, local_id) = (timestamp, keys.setup().local_id);
                self.events.push_back(ServerEvent::SessionUp {
                    id,
                    client,
                    path,
                    keys,
                    client_time,
                });
                self.events.push_back(ServerEvent::IdForgotten { local_id });
            }
        }
        self.reschedule(now, slot);
    }

    /// What let a client in ended before it confirmed its keys: it gets no session. Where it is to be
    /// decided on anew it may ask for one at once.
    fn turn_away(&mut self, now: Duration, slot: u32, pending: &Pending) {
        let Some(client) = self.peer(slot).map(|peer| peer.client) else { return };
        let is_undecided =
            self.clients.admit(&client).is_none() && self.clients.is_undecided(&client);
        let bye = if is_undecided { Bye::Restart } else { Bye::Removed };
        let (keys, path) = (&pending.keys, pending.path);
        self.ids.remove(&keys.setup().local_id);
        self.remove_embryo(slot);
        self.close_keys(now, SessionId(slot), client, keys, path, bye);
        self.tell(now, path, Some(client), RefusedReason::Told(Refusal::NotAuthorised));
    }

    fn alarm(&mut self, id: SessionId, client: Key) {
        self.stats.duplicates += 1;
        self.events.push_back(ServerEvent::Duplicate { id, client });
    }

    fn drop_keys(&mut self, id: SessionId, keys: &Keys) {
        let local_id = keys.setup().local_id;
        self.ids.remove(&local_id);
        self.events.push_back(ServerEvent::KeysDropped { id, local_id });
    }

    fn move_to(&mut self, now: Duration, slot: u32, path: Path) {
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else { return };
        let Some(session) = &mut peer.session else { return };
        self.presence.move_to(session.path.remote, path.remote, !peer.grant.listed);
        session.path = path;
        session.look_for(None);
        session.roams += 1;
        session.live.path_changed(now);
        self.events.push_back(ServerEvent::AddressChanged { id: SessionId(slot), path });
    }

    fn handle_control(
        &mut self,
        now: Duration,
        slot: u32,
        keys: &Arc<Keys>,
        counter: u64,
        notice: &Notice,
        message: Control,
    ) {
        let from = notice.from;
        let version = self.config.version;
        let Some(session) = self.peer_mut(slot).and_then(|peer| peer.session.as_mut()) else {
            return;
        };
        let proven = from == session.path;
        let mut candidate = session.candidate.as_mut().filter(|candidate| candidate.path == from);
        // A datagram is at most 65,507 bytes.
        let echo = |token| Control::Echo { token, size: notice.bytes as u16 };
        let mut pay = || candidate.as_mut().is_some_and(|candidate| candidate.spend(ECHO_LEN));
        let answer = match message {
            Control::Keepalive { token, .. } => (proven || pay()).then(|| echo(token)),
            Control::Report { role: ReportRole::Question, token, report }
                if keys.setup().caps.contains(Caps::REPORT) =>
            {
                if proven {
                    let answer = keys.answer_question(now, counter, token, report, version);
                    if let Some(datagram) = answer {
                        self.outbox.push(from, datagram);
                    }
                    return;
                }
                session.live.hear(now, keys, counter, report);
                // What a KEEPALIVE gets there.
                pay().then(|| echo(token))
            }
            Control::Echo { token, .. } if candidate.is_some_and(|c| c.token == token) => {
                return self.move_to(now, slot, from);
            }
            Control::Echo { token, size } => return session.live.handle_echo(now, token, size),
            Control::Bye { reason, .. } => {
                self.end(now, slot, DownReason::Bye(reason), None);
                return;
            }
            Control::IsolationAnswer(answer)
                if proven && keys.setup().caps.contains(Caps::ISOLATION) =>
            {
                let id = SessionId(slot);
                self.events.push_back(ServerEvent::IsolationAnswer { id, answer });
                return;
            }
            Control::Rekey
            | Control::Report { .. }
            | Control::NetworkKey(_)
            | Control::Move { .. }
            | Control::IsolationOrder(_)
            | Control::IsolationAnswer(_) => {
                self.stats.sealed.bad_control += 1;
                return;
            }
        };
        if let Some(datagram) = answer.and_then(|answer| keys.seal_control(now, answer).ok()) {
            self.outbox.push(from, datagram);
        }
    }

    /// A datagram under keys that were closed: the sender did not hear the BYE.
    fn handle_closing(&mut self, now: Duration, header: &Header, datagram: &mut [u8]) {
        let Some(Id::Closing(closing)) = self.ids.get_mut(&header.receiver_id) else { return };
        if let Err(error) = closing.keys.open(now, header, datagram) {
            return self.stats.sealed.note_unopened(error);
        }
        self.stats.sealed.unknown += 1;
        let alarm =
            closing.reason == Bye::Replaced && !closing.alarmed && now >= closing.since + IN_FLIGHT;
        closing.alarmed |= alarm;
        let due = now >= closing.told_at + IN_FLIGHT;
        if due {
            closing.told_at = now;
        }
        let (keys, path, reason) = (Arc::clone(&closing.keys), closing.path, closing.reason);
        let (id, client) = (closing.id, closing.client);
        if due {
            self.send_bye(now, &keys, path, reason, 0);
        }
        if alarm {
            self.alarm(id, client);
        }
    }

    /// A sealed datagram of an id that nobody has. For [`RESET_TIME`] after its start a server may
    /// answer it by RESET: the sender may have had a session with the process before. Where so many
    /// HELLO wait that more would soon need cookies, it does not: whoever is not told now says more.
    pub fn handle_unknown(&mut self, now: Duration, from: Path, header: &Header) {
        self.stats.sealed.unknown += 1;
        let (interval, burst) = RESET_LIMIT;
        let wanted =
            now < self.born + RESET_TIME && self.backlog() <= self.config.cookie_backlog / 2;
        if wanted && self.resets.take(now, interval, burst) {
            self.stats.resets += 1;
            let reset = Reset { receiver_id: header.receiver_id, counter: header.counter };
            self.outbox.push(from, reset.encode().to_vec());
        }
    }

    /// Does what is due. Call it when [`poll_timeout`](Self::poll_timeout) has come; a call too
    /// early does no harm.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some((_, id)) = self.closing.pop_front_if(|(until, _)| now >= *until) {
            self.forget_closed(id);
        }
        while let Some(slot) = self.deadlines.due(now) {
            self.handle_peer_timeout(now, slot);
            self.reschedule(now, slot);
        }
        self.sweep(now);
    }

    /// Looks at what other threads did with the keys of sessions, some sessions at a time: a deadline
    /// for each would cost an idle server most of its time.
    fn sweep(&mut self, now: Duration) {
        if self.session_count == 0 || now < self.sweep_at {
            return;
        }
        self.sweep_at = (self.sweep_at + SWEEP_EVERY).max(now);
        let parts = (SWEEP_ALL.as_millis() / SWEEP_EVERY.as_millis()) as usize;
        self.sweep_owed += self.peers.len();
        let some = self.sweep_owed / parts;
        self.sweep_owed %= parts;
        // Until their next handshake shows that they have it.
        let tell = self.network_before.as_ref().and(self.network.key.as_ref());
        let tell = tell.map(|key| Control::NetworkKey(NewNetworkKey(*key.bytes())));
        for _ in 0..some {
            let slot = self.swept % self.peers.len();
            self.swept = slot + 1;
            let Some(peer) = &mut self.peers[slot] else { continue };
            let Some(session) = &mut peer.session else { continue };
            let (sooner, keys) = (session.live.note_use(), &session.live.current);
            self.stats.sealed.incomplete += keys.link().sweep_pieces(now);
            if keys.wants_rekey(now)
                && peer.pending.is_none()
                && now >= session.rekey_at
                && let Ok(datagram) = keys.seal_control(now, Control::Rekey)
            {
                session.rekey_at = now + REKEY_EVERY;
                self.outbox.push(session.path, datagram);
            }
            if session.era == Era::Before
                && let Some(key) = tell
                && keys.setup().caps.contains(Caps::NETWORK_KEY)
                && let Ok(datagram) = keys.seal_control(now, key)
            {
                self.outbox.push(session.path, datagram);
            }
            if sooner {
                self.reschedule(now, slot as u32);
            }
        }
    }

    fn handle_peer_timeout(&mut self, now: Duration, slot: u32) {
        let Some(peer) = self.peer(slot) else { return };
        let has_session = peer.session.is_some();
        if let Some(pending) = peer.pending.as_ref().filter(|pending| now >= pending.until) {
            if !has_session {
                let told = peer.pending.as_ref().map(|pending| (pending.path, peer.client));
                self.remove_embryo(slot);
                if let Some((path, client)) = told {
                    self.tell(now, path, Some(client), RefusedReason::Unconfirmed);
                }
                return;
            }
            if pending.keys.is_confirmed() {
                // A thread opened something under them, and its notice was lost.
                let (local_id, from) = (pending.keys.setup().local_id, pending.path);
                let notice = Notice { local_id, from, bytes: 0, newest: false };
                self.handle_opened(now, slot, &notice);
            } else {
                self.drop_pending(slot);
            }
        }
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else { return };
        let Some(session) = &mut peer.session else { return };
        if now >= session.dead_at() {
            self.end(now, slot, DownReason::Timeout, None);
            return;
        }
        let probe = session.live.probe(now, &mut *self.random);
        if let Some(probe) = probe
            && let Ok(datagram) = session.live.current.seal_control(now, probe)
        {
            self.outbox.push(session.path, datagram);
        }
        if let Some(dropped) = session.live.expire_previous(now) {
            self.drop_keys(SessionId(slot), &dropped);
        }
        self.challenge(now, slot);
    }

    /// The system refused to send a datagram of `size` bytes (EMSGSIZE, EINVAL) of this session.
    pub fn handle_too_large(&mut self, now: Duration, id: SessionId, size: u16) {
        if let Some(session) = self.peer_mut(id.0).and_then(|peer| peer.session.as_mut()) {
            session.live.handle_too_large(size);
            self.reschedule(now, id.0);
        }
    }

    /// A router reported that the path of this session carries datagrams of `size` bytes only (ICMP
    /// of RFC 1191 and RFC 8201). Anybody can forge that, so it counts only until a probe of the
    /// size in use is answered, never for less than what every path carries, and once in 5 s.
    pub fn handle_path_hint(&mut self, now: Duration, id: SessionId, size: u16) {
        let Some(Some(peer)) = self.peers.get_mut(id.0 as usize) else { return };
        let Some(session) = &mut peer.session else { return };
        if session.live.handle_hint(now, size, &mut *self.random) {
            self.reschedule(now, id.0);
        }
    }

    /// Ends whatever the slot holds. With a reason for BYE the client is told, and told again.
    /// True if there was a session.
    pub(super) fn end(
        &mut self,
        now: Duration,
        slot: u32,
        reason: DownReason,
        bye: Option<Bye>,
    ) -> bool {
        if self.peer(slot).is_some_and(|peer| peer.session.is_none()) {
            self.remove_embryo(slot);
            return false;
        }
        let pending = self.drop_pending(slot);
        let Some(mut peer) = self.peers.get_mut(slot as usize).and_then(Option::take) else {
            return false;
        };
        let Some(session) = peer.session.take() else { return false };
        self.deadlines.set(slot, &mut peer.deadline, None);
        self.by_client.remove(&peer.client);
        self.session_count -= 1;
        self.stats.sealed.incomplete += session.live.link().sweep_pieces(Duration::MAX);
        self.presence.remove(session.path.remote, !peer.grant.listed);
        self.ended.note(peer.client, reason, session.live.since(), now);
        self.identity.forget(&peer.client);
        let id = SessionId(slot);
        if let Some(previous) = session.live.previous() {
            self.drop_keys(id, previous);
        }
        self.drop_keys(id, &session.live.current);
        if let Some(bye) = bye {
            let keys = &session.live.current;
            self.close_keys(now, id, peer.client, keys, session.path, bye);
        }
        self.events.push_back(ServerEvent::SessionDown { id, client: peer.client, reason });
        // The client is back already and has its answer: that begins another session.
        let goes_on = |pending: &Pending| match reason {
            DownReason::Timeout => true,
            DownReason::Bye(_) => pending.instance != session.instance,
            _ => false,
        };
        if let Some(pending) = pending.filter(goes_on) {
            let source = Source::of(pending.path.remote.ip());
            let slot = self.admit_embryo(now, Peer::new(peer.client, peer.grant, source));
            self.set_pending(now, slot, pending);
        }
        true
    }

    /// Says BYE, and keeps the keys for a while to say it again.
    fn close_keys(
        &mut self,
        now: Duration,
        id: SessionId,
        client: Key,
        keys: &Arc<Keys>,
        path: Path,
        reason: Bye,
    ) {
        if self.closing.len() >= MAX_CLOSING
            && let Some((_, oldest)) = self.closing.pop_front()
        {
            self.forget_closed(oldest);
        }
        self.send_bye(now, keys, path, reason, 0);
        let local_id = keys.setup().local_id;
        let closing = Closing {
            keys: Arc::clone(keys),
            path,
            reason,
            id,
            client,
            since: now,
            told_at: now,
            alarmed: false,
        };
        self.ids.insert(local_id, Id::Closing(Box::new(closing)));
        self.closing.push_back((now + CLOSING_TIME, local_id));
        self.events.push_back(ServerEvent::IdExpected { local_id });
    }

    fn forget_closed(&mut self, local_id: u32) {
        self.ids.remove(&local_id);
        self.events.push_back(ServerEvent::IdForgotten { local_id });
    }

    pub(super) fn send_bye(
        &mut self,
        now: Duration,
        keys: &Keys,
        path: Path,
        reason: Bye,
        retry_ms: u32,
    ) {
        if let Ok(datagram) = keys.seal_control(now, Control::Bye { reason, retry_ms }) {
            self.outbox.push(path, datagram);
        }
    }
}

impl Peer {
    /// The keys that open datagrams with this id.
    fn keys(&self, id: u32) -> Option<&Arc<Keys>> {
        let pending = self.pending.as_ref().map(|pending| &pending.keys);
        let pending = pending.filter(|keys| keys.setup().local_id == id);
        pending.or_else(|| self.session.as_ref()?.live.keys(id))
    }
}
