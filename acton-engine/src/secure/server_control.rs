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
use super::authorization::{Authorization, follow_terms};
use super::budget::Budget;
use super::drain::Drain;
use super::expected::Expected;
use super::hellos::Hellos;
use super::isolation::IsolationTest;
use super::leases;
use super::links::{self, Links};
use super::server::{SecureSession, Secured};
use super::server_worker::News;
use super::uplinks::Uplinks;
use super::{keepalive_seconds, report};
use crate::Error;
use crate::authorize::accounts::Accounts;
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
    pub(super) authorization: Option<Authorization>,
    pub(super) accounts: Accounts,
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
    /// What an operator wants of it.
    pub(super) ordered: Option<DrainOrder>,
    pub(super) uplinks: Uplinks,
    /// A test of isolation that is on.
    pub(super) isolation: Option<IsolationTest>,
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
        self.roster.keep_pairs(self.gate.pairs().pairs());
        self.macs.unsettle(self.gate.owned_macs());
        self.settle_macs(now, usize::MAX);
        let down = self.links.track(&self.settings.tracked_links);
        self.see_uplinks(now, down);
    }

    fn set_network_keys(&mut self, NetworkKeys { key, before }: NetworkKeys) {
        self.machine.set_network_keys(Some(key), before);
        self.hellos.set_check(self.machine.hello_check().clone());
    }

    fn follow_rules(&mut self, now: Duration, NewRules { rules, macs }: NewRules) {
        self.gate.set_rules(rules);
        self.forget_listed();
        self.give_back_pairs(now);
        if let Some(clients) = self.gate.rules().clients() {
            self.roster.tell(now, EventKind::ListRead { clients });
        }
        self.machine.set_clients(now, self.gate.for_protocol());
        self.settle(now);
        for session in self.machine.sessions() {
            let port = self.roster.port(session.id.0 as usize);
            if follow_terms(now, &self.gate, &mut self.roster, port, session.client) {
                self.macs.unsettle(self.gate.policy(session.client).macs.clone());
            }
        }
        self.macs_told = 0;
        self.macs.unsettle(macs);
    }

    /// Has the bridge follow the rules on up to `budget` MACs.
    fn settle_macs(&mut self, now: Duration, budget: usize) {
        for _ in 0..budget {
            let Some(mac) = self.macs.next_unsettled() else { return };
            match self.gate.owner(mac) {
                Some(client) => {
                    self.forget_lent(mac);
                    self.keep_mac(now, mac, &client, self.ports.get(&client).copied());
                }
                None if self.is_lent(mac) => {}
                None => self.macs.release(mac),
            }
        }
    }

    pub(super) fn keep_mac(
        &mut self,
        now: Duration,
        mac: MacAddr,
        client: &Key,
        port: Option<LeafId>,
    ) {
        let Err(error) = self.macs.keep(mac, port) else {
            if let Some(port) = port {
                self.roster.announce(mac, port);
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
        if self.authorization.is_some() && !self.gate.lists(client) {
            return; // those are lent
        }
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
                let admitted = self.router.admit(&session, frame.bytes(), &headers, now, tally);
                let Some(tags) = admitted else { continue };
                tally.add_in(1, frame.bytes().len() as u64);
                let (bytes, is_partial) = (frame.bytes(), frame.partial_checksum);
                let (frame, is_partial) =
                    self.router.finished(&session, &headers, bytes, is_partial, tags);
                self.tap.write(&frame, &Headers::parse(&frame), trust(is_partial), &self.counters);
            }
        }
    }

    /// Makes workers and bridge follow the sessions, then sends what the machine has to say.
    pub(super) fn settle(&mut self, now: Duration) {
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
                    self.leave_isolation(id);
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
                self.account_moved(session, path);
                self.roster.tell(now, EventKind::SessionMoved { session, client, address });
            }
            ServerEvent::SessionDown { id, client, reason } => {
                let session = id.0 as usize;
                let open = self.roster.session(session);
                self.roster.close(now, session, ended(reason));
                self.leave_isolation(id);
                self.ports.remove(&client);
                self.keep_macs_of(now, &client, None);
                self.account_down(now, session, &client, open.as_deref(), ended(reason));
            }
            ServerEvent::Duplicate { id, client } => {
                let (session, client) = (id.0 as usize, self.gate.name(&client));
                self.roster.tell(now, EventKind::Duplicate { session, client });
            }
            ServerEvent::IsolationAnswer { id, answer } => self.hear_isolation(now, id, &answer),
            ServerEvent::Undecided { client, path } => self.consult(now, &client, path),
            ServerEvent::Refused { path, client: key, reason } => {
                let client = key.map(|key| self.name_of(&key));
                let denied = key.is_some_and(|key| self.is_denied(&key));
                let (address, reason) = match refused(reason) {
                    RefusalReason::NotListed if denied => (path.remote, RefusalReason::Denied),
                    reason => (path.remote, reason),
                };
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
        self.account_up(now, id.0 as usize, &client, port);
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
        // They are where this host's frames have no tag, which is not where all clients are.
        if session.policy.vlans().is_some_and(|it| it.place_of_untagged() != Some((0, 0))) {
            return;
        }
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

    /// Takes which of the tracked links carry nothing now.
    fn see_uplinks(&mut self, now: Duration, mut down: Vec<String>) {
        // Who looked may have known of other ones.
        down.retain(|link| self.settings.tracked_links.contains(link));
        let changed = self.uplinks.see(now, down);
        let news = !changed.is_empty();
        for (link, up) in changed {
            self.roster.tell(now, EventKind::Uplink { link, up });
        }
        if news {
            self.follow_orders(now);
        }
    }

    /// Asks clients to go elsewhere where an operator wants it, or a link is down.
    fn follow_orders(&mut self, now: Duration) {
        let order = self.uplinks.order(self.ordered.as_ref());
        // A link more that is down is no reason to begin anew.
        if order.as_ref() != self.drain.as_ref().map(|drain| &drain.order) {
            self.set_drain(now, order);
        }
    }

    /// Asks clients which multicast groups they want, if it is time to.
    fn ask_for_groups(&mut self, now: Duration) {
        let interface = Arc::clone(&self.interface);
        for (port, frame) in self.roster.take_group_queries(now, || interface.mac().ok()) {
            let Some(session) = self.roster.directory().get(port) else { continue };
            self.counters.add(Counter::GroupsAsked, 1);
            send(now, &self.socket, &session, &frame, &mut self.buffer, &self.counters);
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
    pub(super) fn name_of(&self, client: &Key) -> String {
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
        let own = earliest(own, self.uplinks.due());
        let own = earliest(own, self.isolation_due());
        let own = earliest(own, self.authorization.as_ref().and_then(Authorization::due));
        let own = earliest(own, self.accounts.due());
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
            News::Links { pmtu, down } => {
                self.see_uplinks(now, down);
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
            News::Decision(decision) => self.take_decision(now, decision),
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
        if self.uplinks.settle(now) {
            self.follow_orders(now);
        }
        self.drain_some(now);
        self.authorize_some(now);
        let wall = wall();
        for _ in 0..HANDSHAKES_A_TURN {
            if !self.machine.serve(now, wall) {
                break;
            }
        }
        self.settle(now);
        if self.test_isolation(now) {
            self.settle(now);
        }
        for port in self.announcer.take_due(now) {
            self.announce(now, port);
        }
        report::add_server_stats(&self.counters, &mut self.counted, self.machine.stats());
        self.settle_macs(now, MACS_A_TURN);
        while let Some(probe) = self.roster.next_probe(now) {
            self.probe(now, &probe);
        }
        self.ask_for_groups(now);
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

    fn apply(&mut self, now: Duration, settings: Settings) -> Result<Applied, Error> {
        let Settings::Server(new) = settings else { return Err(Error::other_end()) };
        let mut taken = self.settings.clone();
        let applied = taken.take(&new)?;
        self.interface.follow(&self.settings.common.tap, &taken.common.tap)?;
        self.settings = taken;
        if let ServerMode::Secure(secure) = &self.settings.mode {
            self.machine.set_suites(secure.suite.into());
        }
        self.limit_sessions();
        self.follow_authorize_settings(now);
        let settings = &self.settings;
        self.machine.set_keepalive(keepalive_seconds(settings.keepalive()));
        let max_frame = max_frame(settings.common.tap.mtu);
        self.machine.set_max_frame(max_frame);
        self.machine.set_pmtu(self.links.pmtu(links::needed(max_frame)));
        self.roster.follow(settings);
        let down = self.links.track(&settings.tracked_links);
        self.uplinks.track(&self.settings.tracked_links);
        self.see_uplinks(now, down);
        self.follow_orders(now);
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
                self.ordered = order;
                if self.ordered.is_some() {
                    // The same again asks all of them again.
                    self.set_drain(now, self.uplinks.order(self.ordered.as_ref()));
                } else {
                    self.follow_orders(now);
                }
                Ok(())
            }
            Steer::VerifyIsolation(options, answer) => {
                self.begin_isolation_test(now, &options, answer)
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
            status.can_move = Some(self.machine.can_move(id));
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
        let uplinks_down = self.uplinks.down().to_owned();
        Report { draining, uplinks_down, ..self.roster.report(now, slots, add, handshakes) }
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
pub(super) fn send(
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
