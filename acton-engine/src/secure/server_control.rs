//! A server's control thread in secure mode: it alone opens and ends sessions.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_frame::Headers;
use acton_proto::server::{Path, Server, ServerStats, SessionId};
use acton_proto::wire::{Bye, Key};
use acton_udp::{Destination, Source, UdpSocket};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use pnet_base::MacAddr;

use super::arrival::{count_bundle, datagram_size, is_too_large, trust};
use super::authorization::Authorization;
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
use crate::observe::counters::Counters;
use crate::observe::event::EventKind;
use crate::observe::status::{Listing, Protocol, Report, SessionStatus};
use crate::run::announcer::Announcer;
use crate::run::clock::wall;
use crate::run::control::{Controller, DrainOrder, SERVER_SLACK, Steer};
use crate::run::launch::earliest;
use crate::run::tap::{TapHandle, max_frame};
use crate::run::tap_interface::TapInterface;
use crate::sessions::admission::Gate;
use crate::sessions::lease_keeper::LeaseKeeper;
use crate::sessions::owned_macs::OwnedMacs;
use crate::sessions::port::{LeafId, slot};
use crate::sessions::roster::Roster;
use crate::sessions::router::Router;
use crate::sessions::rules::{ListAnswer, RulesNews};
use crate::sessions::sighting::Sighting;
use crate::settings::{Applied, ServerMode, ServerSettings, Settings};
use crate::throttle::Throttle;

/// Most of a restart's time over which clients come back, by session.
const RETURN_SPREAD: Duration = Duration::from_millis(2);
/// Handshakes before the thread looks at what came meanwhile: a HELLO of somebody who floods no one
/// waits for no more than these.
const HANDSHAKES_A_TURN: usize = 2;
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
    /// Why the rules on clients that were read last are not in force.
    pub(super) list_error: Option<String>,
    /// A test of isolation that is on.
    pub(super) isolation: Option<IsolationTest>,
    /// Keeps what addresses clients were given.
    pub(super) leases: Option<LeaseKeeper>,
    pub(super) buffer: Vec<u8>,
}

impl ServerControl {
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

    pub(super) fn destination(&self, path: Path) -> Destination {
        let source = path.local.map(|ip| Source::of(ip, path.remote));
        self.socket.destination(path.remote, source)
    }

    /// What operators call a client without a session; where the rules do not name it any more, what it
    /// was called when it had one.
    pub(super) fn name_of(&self, client: &Key) -> String {
        let past = || self.roster.past_name(client).map(str::to_owned);
        self.gate.listed_name(client).or_else(past).unwrap_or_else(|| self.gate.name(client))
    }

    /// What operators call the client of a session.
    pub(super) fn name(&self, id: SessionId) -> String {
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
                self.list_error = Some(error.clone());
                let no_list = self.gate.listing() == Listing::Unreadable;
                self.roster.tell(now, EventKind::ListFailed { error, no_list });
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
            if let Some(policy) = &mut status.policy {
                // What another has, or cannot be kept, does not pass from this one.
                let is_kept = |mac: &&MacAddr| self.macs.is_kept(**mac, session.port);
                policy.own_macs = secured.policy.macs.iter().filter(is_kept).copied().collect();
                let shared = secured.policy.shared_macs.iter().map(ToString::to_string);
                policy.shared_macs = shared.collect();
                policy.strict = secured.policy.strict;
            }
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
        let report = Report { draining, ..self.roster.report(now, slots, add, handshakes) };
        let list_error = self.list_error.clone();
        let drain_ordered = self.ordered.is_some();
        let listing = self.gate.listing();
        Report { drain_ordered, list_error, listing, ..self.uplinks.report(now, report) }
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
        self.end_accounts(now);
        report::add_server_stats(&self.counters, &mut self.counted, self.machine.stats());
    }
}
