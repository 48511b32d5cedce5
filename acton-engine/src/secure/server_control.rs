//! A server's control thread in secure mode: it alone opens and ends sessions.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_frame::Headers;
use acton_proto::server::{
    DownReason, Path, RefusedReason, Server, ServerEvent, ServerStats, SessionId,
};
use acton_proto::session::Keys;
use acton_proto::wire::{Bye, Key, Refusal};
use acton_tap::offload::Trust;
use acton_udp::{Destination, Source, UdpSocket};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use pnet_base::MacAddr;

use super::arrival::{count_bundle, datagram_size, is_too_large, trust};
use super::budget::Budget;
use super::drain::Drain;
use super::expected::Expected;
use super::hellos::Hellos;
use super::leases;
use super::links::{self, Links};
use super::server::{SecureSession, Secured};
use super::server_worker::News;
use super::{keepalive_seconds, report};
use crate::Error;
use crate::floods::news::FloodNews;
use crate::floods::server_watch::OutgoingProbe;
use crate::observe::counters::{Counter, Counters};
use crate::observe::event::{Beginning, EndReason, EventKind, RefusalReason};
use crate::observe::status::{PastSession, Protocol, Report, SessionStatus};
use crate::run::announcer::Announcer;
use crate::run::clock::{self, wall};
use crate::run::control::{Controller, DrainOrder, SERVER_SLACK, Steer};
use crate::run::launch::earliest;
use crate::run::tap::{TapHandle, max_frame, unfit_peer_mtu};
use crate::run::tap_interface::TapInterface;
use crate::sessions::admission::{Gate, NetworkKeys};
use crate::sessions::lease_keeper::LeaseKeeper;
use crate::sessions::owned_macs::{OwnedMacs, not_kept};
use crate::sessions::port::{LeafId, slot};
use crate::sessions::roster::{Opening, Roster};
use crate::sessions::router::Router;
use crate::sessions::rules::{ListAnswer, NewRules, RulesNews};
use crate::sessions::sighting::Sighting;
use crate::settings::{Applied, ServerMode, ServerSettings, Settings};
use crate::throttle::Throttle;

/// Most of a restart's time over which clients come back, by session.
const RETURN_SPREAD: Duration = Duration::from_millis(2);
/// Handshakes before the thread looks at what came meanwhile: a HELLO of somebody who floods no one
/// waits for no more than these.
const HANDSHAKES_A_TURN: usize = 2;
/// Events on MACs that cannot be kept, where a list is read.
const MAX_MACS_TOLD: u32 = 5;
/// MACs of a list that are kept or released at one turn: some 2 ms.
const MACS_A_TURN: usize = 2_048;

/// The server's control thread.
pub(super) struct ServerControl {
    pub(super) machine: Server,
    pub(super) gate: Gate,
    pub(super) settings: ServerSettings,
    pub(super) roster: Roster<u32, Secured>,
    pub(super) router: Router,
    pub(super) links: Links,
    pub(super) macs: OwnedMacs,
    /// Events on MACs that could not be kept, since the list was read.
    pub(super) macs_told: u32,
    /// The ports of the clients that are here.
    pub(super) ports: HashMap<Key, LeafId, RandomState>,
    pub(super) socket: UdpSocket,
    pub(super) tap: TapHandle,
    pub(super) announcer: Announcer<LeafId>,
    pub(super) interface: Arc<TapInterface>,
    pub(super) expected: Arc<Expected>,
    pub(super) hellos: Arc<Hellos>,
    pub(super) counters: Arc<Counters>,
    /// What of the protocol's counters is in those already.
    pub(super) counted: ServerStats,
    pub(super) hints: Throttle,
    /// Clients are asked to go elsewhere.
    pub(super) drain: Option<Drain>,
    /// Keeps what addresses clients were given.
    pub(super) leases: Option<LeaseKeeper>,
    pub(super) buffer: Vec<u8>,
}

impl ServerControl {
    /// Follows the rules that there are at the start, before anybody can have a session.
    pub(super) fn begin(&mut self, now: Duration) {
        match self.gate.take_network_keys() {
            Some(keys) => self.set_network_keys(keys),
            None => self.hellos.set_check(self.machine.hello_check().clone()),
        }
        self.macs.unsettle(self.gate.owned_macs());
        self.settle_macs(now, usize::MAX);
    }

    fn set_network_keys(&mut self, NetworkKeys { key, before }: NetworkKeys) {
        self.machine.set_network_keys(Some(key), before);
        self.hellos.set_check(self.machine.hello_check().clone());
    }

    fn follow_rules(&mut self, now: Duration, NewRules { rules, macs }: NewRules) {
        self.gate.set_rules(rules);
        if let Some(clients) = self.gate.rules().clients() {
            self.roster.tell(now, EventKind::ListRead { clients });
        }
        self.machine.set_clients(now, self.gate.for_protocol());
        self.settle(now);
        for session in self.machine.sessions() {
            let (policy, name) = (self.gate.policy(session.client), self.gate.name(session.client));
            let port = self.roster.port(session.id.0 as usize);
            let is_so =
                |session: &SecureSession| *session.name == *name && session.mode.policy == policy;
            if self.roster.directory().read(port, is_so) == Some(true) {
                continue;
            }
            self.roster.set_mac_rules(port, &policy);
            let frames = self.roster.noted(Arc::clone(&policy.frames));
            self.roster.directory().change(port, |session| {
                let mode = Secured { policy, ..session.mode.clone() };
                let policing = session.policing.under(session.policy.policy(), frames.policy());
                let name = name.into();
                SecureSession { name, policy: frames, policing, mode, ..session.clone() }
            });
        }
        self.macs_told = 0;
        self.macs.unsettle(macs);
    }

    /// Has the bridge follow the rules on up to `budget` MACs.
    fn settle_macs(&mut self, now: Duration, budget: usize) {
        for _ in 0..budget {
            let Some(mac) = self.macs.next_unsettled() else { return };
            match self.gate.owner(mac) {
                Some(client) => self.keep_mac(now, mac, &client, self.ports.get(&client).copied()),
                None => self.macs.release(mac),
            }
        }
    }

    fn keep_mac(&mut self, now: Duration, mac: MacAddr, client: &Key, port: Option<LeafId>) {
        let Err(error) = self.macs.keep(mac, port) else {
            if port.is_some() {
                self.roster.announce(mac);
            }
            return;
        };
        if self.macs_told == MAX_MACS_TOLD {
            return self.roster.add_suppressed("mac_not_kept", 1);
        }
        self.macs_told += 1;
        let (client, reason) = (self.gate.name(client), not_kept(error));
        self.roster.tell(now, EventKind::MacNotKept { mac, client, reason });
    }

    /// Keeps a client's MACs for it at `port`, or for nobody while it is away.
    fn keep_macs_of(&mut self, now: Duration, client: &Key, port: Option<LeafId>) {
        for &mac in &self.gate.policy(client).macs {
            self.keep_mac(now, mac, client, port);
        }
    }

    fn take_datagram(&mut self, now: Duration, path: Path, mut bytes: Vec<u8>) {
        let received = self.machine.handle_input(now, wall(), path, &mut bytes);
        if let Some((id, frames)) = received {
            count_bundle(&self.counters, &frames);
            // The session's beginning is among the events, and comes first.
            self.settle(now);
            let Some(session) = self.roster.session(id.0 as usize) else { return };
            let tally = session.tallies.of(0);
            for frame in frames {
                let headers = Headers::parse(frame.bytes());
                if self.router.admit(&session, frame.bytes(), &headers, now, tally) {
                    tally.add_in(1, frame.bytes().len() as u64);
                    self.tap.write(frame.bytes(), &headers, trust(&frame), &self.counters);
                }
            }
        }
    }

    /// Makes workers and bridge follow the sessions, then sends what the machine has to say.
    fn settle(&mut self, now: Duration) {
        while let Some(event) = self.machine.poll_event() {
            self.follow(now, event);
        }
        loop {
            self.buffer.clear();
            let Some(transmit) = self.machine.poll_transmit(1, &mut self.buffer) else { break };
            let to = self.destination(transmit.path);
            let sent = self.socket.send(&to, &self.buffer);
            self.counters.add_sent_one(&sent, self.buffer.len());
            let Err(error) = sent else { continue };
            log::debug!("{}: {error}", transmit.path.remote);
            if is_too_large(&error) {
                self.too_large(now, transmit.path, self.buffer.len());
            }
        }
    }

    /// A probe of the path that not even the first link takes.
    fn too_large(&mut self, now: Duration, path: Path, size: usize) {
        if let Some(id) = self.session_at(|other| other == path) {
            self.machine.handle_too_large(now, id, datagram_size(size));
        }
    }

    /// The session on a path. Asked for rarely, so the sessions may be searched.
    fn session_at(&self, is_it: impl Fn(Path) -> bool) -> Option<SessionId> {
        let mut found = None;
        self.roster.directory().for_each(|session| {
            if is_it(session.mode.path) {
                found = Some(SessionId(slot(session.port) as u32));
            }
        });
        found
    }

    fn destination(&self, path: Path) -> Destination {
        let source = path.local.map(|ip| Source::of(ip, path.remote));
        self.socket.destination(path.remote, source)
    }

    fn follow(&mut self, now: Duration, event: ServerEvent) {
        match event {
            ServerEvent::SessionUp { id, client, path, keys, client_time } => {
                self.session_up(now, id, client, path, keys);
                if let Some(ahead_seconds) = clock::apart(wall(), client_time) {
                    let (client, address) = (Some(self.gate.name(&client)), Some(path.remote));
                    let event = EventKind::ClockApart { client, address, ahead_seconds };
                    self.roster.tell(now, event);
                }
            }
            ServerEvent::KeysReady { id, keys } => self.add_keys(id, keys, false),
            ServerEvent::KeysChanged { id, keys, replaced } => {
                self.add_keys(id, keys, true);
                let (session, client) = (id.0 as usize, self.name(id));
                self.roster.tell(
                    now,
                    if replaced {
                        EventKind::Replaced { session, client }
                    } else {
                        EventKind::Rekeyed { session }
                    },
                );
                if replaced && let Some(session) = self.roster.session(session) {
                    self.client_up(now, id, session.mode.path);
                }
            }
            ServerEvent::KeysDropped { id, local_id } => {
                self.roster.directory().unbind(&local_id);
                self.change(id, |mode| mode.open.retain(|keys| keys.setup().local_id != local_id));
            }
            ServerEvent::IdExpected { local_id } => self.expected.add(local_id),
            ServerEvent::IdForgotten { local_id } => self.expected.remove(local_id),
            ServerEvent::AddressChanged { id, path } => {
                let port = self.roster.port(id.0 as usize);
                let to = Arc::new(self.destination(path).tagged(port));
                self.roster.directory().change(port, |session| {
                    let mode = Secured { path, ..session.mode.clone() };
                    SecureSession { mode, to, ..session.clone() }
                });
                let (session, client, address) = (id.0 as usize, self.name(id), path.remote);
                self.roster.tell(now, EventKind::SessionMoved { session, client, address });
            }
            ServerEvent::SessionDown { id, client, reason } => {
                self.roster.close(now, id.0 as usize, ended(reason));
                self.ports.remove(&client);
                self.keep_macs_of(now, &client, None);
            }
            ServerEvent::Duplicate { id, client } => {
                let (session, client) = (id.0 as usize, self.gate.name(&client));
                self.roster.tell(now, EventKind::Duplicate { session, client });
            }
            ServerEvent::Refused { path, client, reason } => {
                let client = client.map(|key| self.name_of(&key));
                let (address, reason) = (path.remote, refused(reason));
                self.roster.tell(now, EventKind::SessionRefused { address, client, reason });
            }
            _ => {}
        }
    }

    fn session_up(
        &mut self,
        now: Duration,
        id: SessionId,
        client: Key,
        path: Path,
        keys: Arc<Keys>,
    ) {
        let (policy, name) = (self.gate.policy(&client), self.gate.name(&client));
        let local_id = keys.setup().local_id;
        let (open, budget) = (vec![Arc::clone(&keys)], Arc::new(Budget::new()));
        let port = self.roster.open(
            now,
            Opening {
                slot: id.0 as usize,
                name: name.into(),
                address: path.remote,
                to: self.destination(path),
                by: Beginning::Handshake,
                policy: Arc::clone(&policy.frames),
                mode: Secured {
                    client,
                    policy: Arc::clone(&policy),
                    path,
                    seal: keys,
                    open,
                    budget,
                },
            },
        );
        self.roster.set_mac_rules(port, &policy);
        self.roster.directory().bind(local_id, port);
        self.ports.insert(client, port);
        self.keep_macs_of(now, &client, Some(port));
        self.client_up(now, id, path);
    }

    /// A client that knows nothing of a session before.
    fn client_up(&mut self, now: Duration, id: SessionId, path: Path) {
        self.announcer.note_up(now, self.roster.port(id.0 as usize));
        let mtu = self.settings.common.tap.mtu;
        let known = self.machine.session_statistics(now, id);
        let peer_mtu = known.and_then(|known| unfit_peer_mtu(mtu, known.peer_max_frame));
        if let Some(peer_mtu) = peer_mtu {
            let (client, address) = (Some(self.name(id)), Some(path.remote));
            self.roster.tell(now, EventKind::MtuUnfit { client, address, mtu, peer_mtu });
        }
    }

    /// Tells the LAN behind a client where this host's addresses are.
    fn announce(&mut self, now: Duration, port: LeafId) {
        let Some(session) = self.roster.directory().get(port) else { return };
        for frame in self.announcer.frames(now) {
            send(now, &self.socket, &session, frame, &mut self.buffer, &self.counters);
        }
    }

    fn probe(&mut self, now: Duration, probe: &OutgoingProbe) {
        let OutgoingProbe { to, frame } = probe;
        self.counters.add(Counter::ProbesSent, 1);
        let Some(port) = *to else {
            return self.tap.write(frame, &Headers::parse(frame), Trust::Verify, &self.counters);
        };
        if let Some(session) = self.roster.directory().get(port) {
            send(now, &self.socket, &session, frame, &mut self.buffer, &self.counters);
        }
    }

    /// Asks clients to go elsewhere from now on, or no more.
    fn set_drain(&mut self, now: Duration, order: Option<DrainOrder>) {
        self.machine.set_draining(order.is_some());
        let was = self.drain.is_some();
        self.drain = order.map(|order| Drain::new(now, order));
        self.limit_sessions();
        let on = self.drain.is_some();
        if on != was {
            self.roster.tell(now, EventKind::Draining { on });
        }
    }

    /// Has the protocol know how many clients there may be.
    fn limit_sessions(&mut self) {
        let settings = &self.settings;
        // Nobody comes in where everyone is to go.
        let is_shut = self.drain.as_ref().is_some_and(|drain| drain.order.everyone);
        let all = if is_shut { 0 } else { settings.max_sessions };
        let unlisted = settings.max_unlisted.unwrap_or(usize::MAX);
        self.machine.set_max_sessions(all, settings.max_sessions_per_source(), unlisted);
    }

    /// Asks some clients to go elsewhere, or sends those away that are left, if it is time to.
    fn drain_some(&mut self, now: Duration) {
        let Some(drain) = &mut self.drain else { return };
        let machine = &mut self.machine;
        let to = drain.order.to;
        let can_move = |id: &SessionId| machine.can_move(*id);
        let all = || machine.sessions().map(|session| session.id).filter(can_move).collect();
        let (asked, sends_away) = drain.next(now, all);
        if sends_away {
            let left: Vec<_> = machine.sessions().map(|session| *session.client).collect();
            for client in left {
                machine.kick(now, &client, Bye::Restart);
            }
        }
        for id in asked {
            machine.ask_to_move(now, id, to);
        }
    }

    /// Has workers open with new keys, and with `seal` seal with them too.
    fn add_keys(&self, id: SessionId, keys: Arc<Keys>, seal: bool) {
        let port = self.roster.port(id.0 as usize);
        let local_id = keys.setup().local_id;
        if self.roster.directory().get(port).is_none() {
            return;
        }
        self.change(id, |mode| {
            if mode.opening(local_id).is_none() {
                mode.open.push(Arc::clone(&keys));
            }
            if seal {
                mode.seal = keys;
            }
        });
        self.roster.directory().bind(local_id, port);
    }

    fn change(&self, id: SessionId, change: impl FnOnce(&mut Secured)) {
        let port = self.roster.port(id.0 as usize);
        self.roster.directory().change(port, |session| {
            let mut session = session.clone();
            change(&mut session.mode);
            session
        });
    }

    /// How the last session of a client ended.
    fn before(&self, client: &Key, now: Duration) -> Option<PastSession> {
        let end = self.machine.last_end(client)?;
        Some(PastSession { reason: ended(end.reason), ago: now.saturating_sub(end.until) })
    }

    /// What operators call a client without a session; where the rules do not name it any more, what it
    /// was called when it had one.
    fn name_of(&self, client: &Key) -> String {
        let past = || self.roster.past_name(client).map(str::to_owned);
        self.gate.listed_name(client).or_else(past).unwrap_or_else(|| self.gate.name(client))
    }

    /// What operators call the client of a session.
    fn name(&self, id: SessionId) -> String {
        let name = |session: &SecureSession| session.name.to_string();
        self.roster.directory().read(self.roster.port(id.0 as usize), name).unwrap_or_default()
    }
}

impl Controller for ServerControl {
    type News = News;
    const SLACK: Duration = SERVER_SLACK;

    fn due(&self) -> Option<Duration> {
        let own = if self.macs.is_settled() { self.roster.due() } else { Duration::ZERO };
        let own = earliest(earliest(own, self.announcer.due()), self.gate.due());
        let own = earliest(own, self.drain.as_ref().map(Drain::due));
        Some(earliest(own, self.machine.poll_timeout()))
    }

    fn has_backlog(&self) -> bool {
        self.machine.backlog() > 0
    }

    fn take(&mut self, now: Duration, news: News) {
        match news {
            News::Hello { path, hello, place: _place } => {
                self.machine.handle_hello(now, path, &hello);
            }
            News::Datagram { path, bytes, place: _place } => self.take_datagram(now, path, bytes),
            News::Unknown { path, header, place: _place } => {
                self.machine.handle_unknown(now, path, &header);
            }
            News::Query { path, query, place: _place } => {
                self.machine.handle_query(now, path, &query);
            }
            News::Control { notice, counter, message, place: _place } => {
                self.machine.handle_opened_control(now, &notice, counter, &message);
            }
            News::OtherMode(address) => {
                let event = EventKind::OtherMode { address, speaks: Protocol::Plain };
                self.roster.tell(now, event);
            }
            News::LinkPmtu(pmtu) => {
                if self.machine.set_pmtu(pmtu) {
                    self.roster.tell(now, EventKind::LinksChanged { pmtu });
                }
            }
            News::Opened { notice, place: _place } => self.machine.handle_notice(now, &notice),
            News::PathHint { to, size } => {
                // Of all workers together, for it takes a search.
                if self.hints.admits(now)
                    && let Some(id) = self.session_at(|path| path.remote == to)
                {
                    self.machine.handle_path_hint(now, id, datagram_size(size));
                }
            }
            News::Rules(RulesNews::Rules(rules)) => self.follow_rules(now, rules),
            News::Rules(RulesNews::RulesFailed(error)) => {
                self.roster.tell(now, EventKind::ListFailed { error });
            }
            News::Rules(RulesNews::NetworkKeys(keys)) => {
                let before = keys.before.is_some();
                self.roster.tell(now, EventKind::NetworkKeyRead { before });
                self.set_network_keys(keys);
            }
            News::Rules(RulesNews::NetworkKeyFailed(error)) => {
                self.roster.tell(now, EventKind::NetworkKeyFailed { error });
            }
            News::TooLarge { leaf, size } => {
                if self.roster.port(slot(leaf)) == leaf {
                    let id = SessionId(slot(leaf) as u32);
                    self.machine.handle_too_large(now, id, datagram_size(size));
                }
            }
        }
    }

    fn sight(&mut self, now: Duration, sighting: Sighting) {
        self.roster.sight(now, sighting);
    }

    fn take_flood(&mut self, now: Duration, news: FloodNews) {
        self.roster.take_flood(now, news);
    }

    fn advance(&mut self, now: Duration) {
        self.machine.handle_timeout(now);
        if self.gate.lift_bars(now) {
            self.machine.set_clients(now, self.gate.for_protocol());
        }
        self.drain_some(now);
        let wall = wall();
        for _ in 0..HANDSHAKES_A_TURN {
            if !self.machine.serve(now, wall) {
                break;
            }
        }
        self.settle(now);
        for port in self.announcer.take_due(now) {
            self.announce(now, port);
        }
        report::add_server_stats(&self.counters, &mut self.counted, self.machine.stats());
        self.settle_macs(now, MACS_A_TURN);
        while let Some(probe) = self.roster.next_probe(now) {
            self.probe(now, &probe);
        }
        self.roster.keep_house(now);
        if let Some(keeper) = &mut self.leases {
            let roster = &self.roster;
            keeper.keep(roster.lease_changes(), || leases::snapshot(roster, now));
        }
    }

    fn reload(&mut self, answer: Option<ListAnswer>) {
        self.gate.look_again(answer);
    }

    fn settings(&self) -> Settings {
        Settings::Server(self.settings.clone())
    }

    fn apply(&mut self, _: Duration, settings: Settings) -> Result<Applied, Error> {
        let Settings::Server(new) = settings else { return Err(Error::other_end()) };
        let mut taken = self.settings.clone();
        let applied = taken.take(&new)?;
        self.interface.follow(&self.settings.common.tap, &taken.common.tap)?;
        self.settings = taken;
        if let ServerMode::Secure(secure) = &self.settings.mode {
            self.machine.set_suites(secure.suite.into());
        }
        self.limit_sessions();
        let settings = &self.settings;
        self.machine.set_keepalive(keepalive_seconds(settings.keepalive()));
        let max_frame = max_frame(settings.common.tap.mtu);
        self.machine.set_max_frame(max_frame);
        self.machine.set_pmtu(self.links.pmtu(links::needed(max_frame)));
        self.roster.follow(settings);
        Ok(applied)
    }

    fn steer(&mut self, now: Duration, steer: Steer) -> Result<(), Error> {
        match steer {
            Steer::Kick { session, bar } => {
                let port = self.roster.find(&session)?;
                let client = self.roster.directory().read(port, |session| session.mode.client);
                let client = client.ok_or_else(|| Error::NoSession(session.clone()))?;
                let bye = if bar.is_some() { Bye::Removed } else { Bye::Restart };
                let kicked = self.machine.kick(now, &client, bye);
                if let Some(time) = bar {
                    self.gate.bar(client, now.saturating_add(time));
                    self.machine.set_clients(now, self.gate.for_protocol());
                }
                self.settle(now);
                if kicked { Ok(()) } else { Err(Error::NoSession(session)) }
            }
            Steer::Drain(order) => {
                self.set_drain(now, order);
                Ok(())
            }
            Steer::AddMac { mac, vlan, session } => self.roster.add_mac(mac, vlan, &session),
        }
    }

    fn report(&self, now: Duration, slots: &Range<usize>) -> Report {
        let add = |session: &SecureSession, status: &mut SessionStatus| {
            let secured = &session.mode;
            status.mac_limit =
                match secured.policy.max_macs.unwrap_or(self.settings.macs_per_client) {
                    0 => None,
                    limit => Some(limit),
                };
            let id = SessionId(slot(session.port) as u32);
            if let Some(known) = self.machine.session_statistics(now, id) {
                report::add_statistics(status, &known, now);
            }
            status.before = self.before(&secured.client, now);
        };
        // Clients without a session that are being given one.
        let handshakes = self.machine.handshakes().map(|handshake| {
            let mut status = SessionStatus::new(self.name_of(handshake.client));
            status.address = Some(handshake.path.remote);
            status.in_state_for = Some(now.saturating_sub(handshake.since));
            status.before = self.before(handshake.client, now);
            (*handshake.client, status)
        });
        let draining = self.drain.is_some();
        Report { draining, ..self.roster.report(now, slots, add, handshakes) }
    }

    fn end(&mut self, now: Duration) {
        if let Some(keeper) = self.leases.take() {
            let roster = &self.roster;
            keeper.finish(roster.lease_changes(), || leases::snapshot(roster, now));
        }
        let sessions = u32::try_from(self.machine.session_count()).unwrap_or(u32::MAX);
        let spread = RETURN_SPREAD * sessions + Duration::from_millis(500);
        self.machine.close(now, Bye::Restart, spread);
        self.settle(now);
        report::add_server_stats(&self.counters, &mut self.counted, self.machine.stats());
    }
}

/// Sends a frame of the control thread's own.
fn send(
    now: Duration,
    socket: &UdpSocket,
    session: &SecureSession,
    frame: &[u8],
    buffer: &mut Vec<u8>,
    counters: &Counters,
) {
    buffer.clear();
    // Keys that are used up come to an end in other ways too.
    if session.mode.seal.seal_frame(now, frame, false, buffer).is_ok() {
        session.tallies.of(0).add_out(1, frame.len() as u64);
        let sent = socket.send(&session.to, buffer);
        counters.add_sent_one(&sent, buffer.len());
    }
}

fn ended(reason: DownReason) -> EndReason {
    match reason {
        DownReason::Bye(_) => EndReason::Bye,
        DownReason::Timeout => EndReason::Silent,
        DownReason::Removed => EndReason::Removed,
        DownReason::Kicked => EndReason::Kicked,
        DownReason::Replaced => EndReason::Replaced,
        _ => EndReason::Stopped,
    }
}

fn refused(reason: RefusedReason) -> RefusalReason {
    match reason {
        RefusedReason::WrongKey => RefusalReason::WrongKey,
        RefusedReason::Handshake => RefusalReason::Handshake,
        RefusedReason::Unconfirmed => RefusalReason::Unconfirmed,
        RefusedReason::SourceFull => RefusalReason::SourceFull,
        RefusedReason::UnlistedFull => RefusalReason::UnlistedFull,
        RefusedReason::Told(refusal) => refusal_reason(refusal),
        _ => RefusalReason::Other,
    }
}

/// A refusal as the other end is told of it.
pub(super) fn refusal_reason(refusal: Refusal) -> RefusalReason {
    match refusal {
        Refusal::NotAuthorised => RefusalReason::NotListed,
        Refusal::Full => RefusalReason::Full,
        Refusal::Version => RefusalReason::Version,
        Refusal::Suite => RefusalReason::Suite,
        _ => RefusalReason::Other,
    }
}
