//! A client's control thread in secure mode: it connects, and connects again.

mod moves;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_frame::Headers;
use acton_proto::client::{ClientConfig, ClientEvent, DownReason, Patience};
use acton_proto::handshake::Secret;
use acton_proto::wire::{Bye, Datagram, FULL_LOAD, Reply};
use arc_swap::ArcSwap;

use super::arrival::{count_bundle, datagram_size, trust};
use super::client::{SecureUplink, max_pmtu, route_to};
use super::client_worker::{News, is_for_group};
use super::contact::{Contact, Place};
use super::key_keeping::KeyKeeping;
use super::server_sessions::refusal_reason;
use super::{keepalive_seconds, report};
use crate::Error;
use crate::floods::client_watch::ClientWatch;
use crate::floods::news::FloodNews;
use crate::isolation::subject::Subject;
use crate::observe::counters::{Counter, Counters};
use crate::observe::event::{EndReason, EventKind};
use crate::observe::event_log::EventLog;
use crate::observe::status::{Report, RttReport, ServerReport, SessionStatus, State};
use crate::reach::dial::Dial;
use crate::reach::history::SessionHistory;
use crate::reach::network::NetworkWatch;
use crate::reach::servers::{Health, Servers};
use crate::run::announcer::{self, Announcer};
use crate::run::clock::{self, wall};
use crate::run::control::Controller;
use crate::run::launch::earliest;
use crate::run::tap::{TapHandle, max_frame, unfit_peer_mtu};
use crate::run::tap_interface::TapInterface;
use crate::settings::{Applied, ClientSettings, Settings};

/// The client's control thread.
pub(super) struct ClientControl {
    /// With the server in use, or to be.
    pub(super) active: Contact,
    /// With the server that the client is about to go to.
    pub(super) joining: Option<Contact>,
    /// With the server that it comes from, which hears BYE then.
    pub(super) leaving: Option<(Contact, Duration)>,
    /// Which server to be at, where there are several.
    pub(super) servers: Option<Servers>,
    pub(super) places: Vec<Place>,
    /// What the protocol is to be with any of them.
    pub(super) config: ClientConfig,
    /// When the TAP's carrier goes, unless there is a session by then.
    pub(super) carrier_until: Option<Duration>,
    pub(super) has_carrier: bool,
    /// What is to be told of hosts behind this one's bridge.
    pub(super) bridged: Vec<Vec<u8>>,
    pub(super) keeping: KeyKeeping,
    pub(super) settings: ClientSettings,
    /// The longest datagram that there is a use for, in bytes: the largest frame's.
    pub(super) max_pmtu: u16,
    pub(super) _watch: Option<NetworkWatch>,
    pub(super) tap: TapHandle,
    pub(super) interface: Arc<TapInterface>,
    pub(super) announcer: Announcer<()>,
    /// Its part in tests of isolation.
    pub(super) subject: Subject,
    /// `None` where nobody looks for loops.
    pub(super) watch: Option<ClientWatch>,
    pub(super) link: Arc<ArcSwap<SecureUplink>>,
    pub(super) counters: Arc<Counters>,
    pub(super) history: SessionHistory,
    pub(super) events: Arc<EventLog>,
    pub(super) buffer: Vec<u8>,
}

/// How long the TAP keeps its carrier without a session where there are other servers: to lose it costs
/// hosts their leases and IPv6 addresses.
const CARRIER_TIME: Duration = Duration::from_secs(5);

impl ClientControl {
    /// The way to the server in use.
    fn dial(&self) -> &Dial<News> {
        &self.places[self.active.server].dial
    }

    fn dial_mut(&mut self) -> &mut Dial<News> {
        &mut self.places[self.active.server].dial
    }

    /// Names a server, for people.
    fn text_of(&self, server: usize) -> String {
        self.places[server].dial.text()
    }

    fn take_datagram(&mut self, now: Duration, from: SocketAddr, mut datagram: Vec<u8>) {
        let parsed = Datagram::parse(&datagram).ok();
        if let (Some(Datagram::Reply(reply)), Some(_)) = (&parsed, &self.servers) {
            return self.hear(now, from, reply);
        }
        let is_for = |contact: &&mut Contact| parsed.as_ref().is_some_and(|it| contact.expects(it));
        let left = self.leaving.as_mut().map(|(contact, _)| contact).filter(is_for);
        let other = left.or(self.joining.as_mut().filter(is_for));
        let is_active = other.is_none();
        let contact = other.unwrap_or(&mut self.active);
        let connecting = contact.machine.keys().is_none();
        let frames = contact.machine.handle_input(now, &mut datagram);
        let connected = connecting && contact.machine.keys().is_some();
        if connected {
            self.places[contact.server].dial.answered(from);
        }
        count_bundle(&self.counters, &frames);
        let listener = self.subject.listener();
        for frame in frames {
            if !is_active && is_for_group(frame.bytes()) {
                self.counters.add(Counter::Beside, 1);
                continue;
            }
            let headers = Headers::parse(frame.bytes());
            if listener.as_ref().is_some_and(|it| it.takes(&headers, frame.bytes())) {
                self.counters.add(Counter::IsolationHeard, 1);
                continue;
            }
            self.history.tally().add_in(1, frame.bytes().len() as u64);
            self.tap.write(frame.bytes(), &headers, trust(frame.partial_checksum), &self.counters);
        }
        if connected {
            if is_active {
                self.follow_route(now);
            }
            // The session begins before its first frames, which may be the next message.
            self.settle(now);
        }
    }

    /// A server says how it is.
    fn hear(&mut self, now: Duration, from: SocketAddr, reply: &Reply) {
        let mut places = self.places.iter_mut().enumerate();
        let heard = places.find_map(|(server, place)| Some((server, place.hear(from, reply)?)));
        match (heard, &mut self.servers) {
            (Some((server, state)), Some(servers)) => {
                let is_back = servers.answered(now, server, state);
                if is_back && self.active.machine.keys().is_none() {
                    // So is this host's network, perhaps.
                    self.active.machine.handle_network_change(now);
                }
            }
            _ => self.counters.add(Counter::StaleAnswer, 1),
        }
    }

    /// This host's network is another: the server must hear from where to reach this client.
    fn network_changed(&mut self, now: Duration) {
        let (known, looked) = (self.dial().peer_address().is_some(), self.active.looked);
        for place in &mut self.places {
            place.dial.look_up_soon();
        }
        if !known || self.follow_route(now) {
            if self.active.machine.keys().is_some() {
                self.events.tell(now, EventKind::WayChanged { server: self.dial().text() });
            }
            self.active.machine.handle_network_change(now);
            for contact in self.others() {
                contact.machine.handle_network_change(now);
            }
        } else {
            // It may have been another for a moment.
            self.active.machine.handle_network_news(now, looked);
        }
    }

    /// Looks how datagrams go to the server now; whether by another way than before.
    fn follow_route(&mut self, now: Duration) -> bool {
        let route = self.dial().peer_address().and_then(route_to);
        let active = &mut self.active;
        active.looked = now;
        if route == active.route {
            return false;
        }
        active.route = route;
        let Some(route) = &active.route else { return false };
        active.machine.set_pmtu(now, wall(), route.pmtu.min(self.max_pmtu));
        true
    }

    /// Has the protocol know how long the TAP's frames are now.
    fn follow_mtu(&mut self, now: Duration) {
        let max_frame = max_frame(self.settings.common.tap.mtu);
        self.config.max_frame = max_frame;
        self.max_pmtu = max_pmtu(max_frame);
        let active = &mut self.active;
        active.machine.set_max_frame(now, wall(), max_frame);
        if let Some(route) = &active.route {
            active.machine.set_pmtu(now, wall(), route.pmtu.min(self.max_pmtu));
        }
    }

    fn settle(&mut self, now: Duration) {
        while let Some(event) = self.active.machine.poll_event() {
            self.follow(now, event);
        }
        self.settle_joining(now);
        self.settle_leaving(now);
        let Self { active, joining, leaving, places, counters, buffer, .. } = self;
        let others = [joining.as_mut(), leaving.as_mut().map(|(contact, _)| contact)];
        for contact in others.into_iter().flatten().chain([active]) {
            contact.transmit(&mut places[contact.server].dial, counters, buffer);
        }
    }

    /// There is a session where there was none.
    fn connected(&mut self, now: Duration, server_time: Option<u64>) {
        self.history.begin();
        self.dial_mut().connected();
        self.publish();
        self.carrier_until = None;
        self.set_carrier(now, true);
        if let Some(servers) = &mut self.servers {
            servers.up(now);
        }
        let server = self.dial().text();
        self.events.tell(now, EventKind::Connected { server, rtt: None });
        self.session_up(now);
        if let Some(ahead_seconds) = server_time.and_then(|time| clock::apart(wall(), time)) {
            let (client, address) = (None, self.dial().peer_address());
            let event = EventKind::ClockApart { client, address, ahead_seconds };
            self.events.tell(now, event);
        }
    }

    fn follow(&mut self, now: Duration, event: ClientEvent) {
        match event {
            ClientEvent::Connecting { attempt } => {
                self.dial_mut().connect(now, attempt.saturating_add(1));
                self.publish();
            }
            ClientEvent::Connected { keys, server_time } => {
                self.active.open_and_seal(keys);
                self.connected(now, Some(server_time));
            }
            ClientEvent::KeysChanged { keys } => {
                self.active.open_and_seal(keys);
                self.publish();
                self.events.tell(now, EventKind::Rekeyed { session: 0 });
            }
            ClientEvent::ServerRestarted { session_goes_on } => {
                self.events.tell(now, EventKind::ServerRestarted { server: self.dial().text() });
                if session_goes_on {
                    self.session_up(now);
                }
            }
            ClientEvent::KeysDropped { local_id } => {
                self.active.open.retain(|keys| keys.setup().local_id != local_id);
                self.publish();
            }
            ClientEvent::Disconnected { reason, retry_in } => {
                self.active.seal = None;
                self.active.open.clear();
                self.subject.stop();
                self.publish();
                let reason = ended(reason);
                self.history.end(now, reason);
                if let Some(servers) = &mut self.servers {
                    servers.down(now, retry_in);
                    self.carrier_until = Some(now + CARRIER_TIME);
                } else {
                    self.set_carrier(now, false);
                }
                let server = self.dial().text();
                let silent = None;
                self.events.tell(now, EventKind::Disconnected { server, reason, silent, retry_in });
            }
            ClientEvent::NetworkKey { key } => {
                self.take_network_key(now, self.active.server, &key);
            }
            ClientEvent::AskedToMove { to } => self.asked_to_move(now, to),
            ClientEvent::IsolationOrder { order } => self.obey_isolation(now, order),
            ClientEvent::Unreadable => {
                self.events.tell(now, EventKind::Unreadable { server: self.dial().text() });
            }
            ClientEvent::Refused { reason } => {
                let (server, reason) = (self.dial().text(), refusal_reason(reason));
                self.history.refuse(now, reason);
                if let Some(servers) = &mut self.servers {
                    servers.refused(now);
                }
                self.events.tell(now, EventKind::Refused { server, reason });
            }
            _ => {}
        }
    }

    /// A server changed the network key: that of all servers that have the same.
    fn take_network_key(&mut self, now: Duration, server: usize, key: &Secret) {
        let before = self.places[server].keys.network_key.clone();
        for place in &mut self.places {
            if place.keys.network_key == before {
                place.set_network_key(key.clone());
            }
        }
        let unkept = self.keeping.keep(now, before, key.clone()).err();
        self.tell_network_key(now, self.text_of(server), unkept);
    }

    fn tell_network_key(&self, now: Duration, server: String, unkept: Option<String>) {
        self.events.tell(now, EventKind::NetworkKeyTold { server, unkept });
    }

    /// A session with a server that knows nothing of the one before.
    fn session_up(&mut self, now: Duration) {
        self.announcer.note_up(now, ());
        if self.servers.is_some() {
            // The LAN knew them at another server's port.
            self.bridged = announcer::bridged(&self.interface);
        }
        let mtu = self.settings.common.tap.mtu;
        let known = self.active.machine.statistics(now);
        let peer_mtu = known.and_then(|known| unfit_peer_mtu(mtu, known.peer_max_frame));
        if let Some(peer_mtu) = peer_mtu {
            let (client, address) = (None, self.dial().peer_address());
            self.events.tell(now, EventKind::MtuUnfit { client, address, mtu, peer_mtu });
        }
    }

    /// Tells the LAN where this host's addresses are.
    fn announce(&mut self, now: Duration) {
        let link = self.link.load_full();
        let Some(keys) = &link.seal else { return };
        let bridged = std::mem::take(&mut self.bridged);
        let Self { active, places, counters, buffer, history, .. } = self;
        let dial = &mut places[active.server].dial;
        for frame in bridged.iter().chain(self.announcer.frames(now)) {
            buffer.clear();
            // Keys that are used up come to an end in other ways too.
            if keys.seal_frame(now, frame, false, buffer).is_ok() {
                history.tally().add_out(1, frame.len() as u64);
                active.send(dial, counters, buffer);
            }
        }
    }

    /// Shows what the protocol counts and measures among the counters.
    fn count(&mut self) {
        let counters = Arc::clone(&self.counters);
        self.active.count(&counters);
        self.others().for_each(|contact| contact.count(&counters));
        let rtt = self.active.machine.rtt().map(|rtt| rtt.smoothed).unwrap_or_default();
        self.counters.set(Counter::RttMicroseconds, rtt.as_micros() as u64);
    }

    fn set_carrier(&mut self, now: Duration, up: bool) {
        if std::mem::replace(&mut self.has_carrier, up) && up {
            return;
        }
        if let Some(watch) = &mut self.watch {
            watch.set_connected(now, up);
        }
        self.tap.set_carrier(up);
        self.events.tell(now, EventKind::Carrier { up });
    }

    /// Whether news of datagrams to `to` are about the server in use: of several servers it may be
    /// another.
    fn is_to_active(&self, to: Option<SocketAddr>) -> bool {
        self.servers.is_none() || to.is_some() && to == self.dial().peer_address()
    }

    fn has_session(&self, server: usize) -> bool {
        let left = self.leaving.as_ref().map(|(left, _)| left);
        let mut contacts = [Some(&self.active), self.joining.as_ref(), left].into_iter().flatten();
        contacts.any(|contact| contact.server == server && contact.seal.is_some())
    }

    /// Has the worker know the session, and those beside it.
    pub(super) fn publish(&self) {
        let left = self.leaving.as_ref().map(|(left, _)| left);
        let others = self.joining.iter().chain(left);
        self.link.store(Arc::new(SecureUplink {
            to: Arc::new(self.dial().destination()),
            seal: self.active.seal.clone(),
            open: self.active.open.clone(),
            beside: others.flat_map(|contact| contact.open.clone()).collect(),
            listener: self.subject.listener(),
        }));
    }
}

impl Controller for ClientControl {
    type News = News;

    fn due(&self) -> Option<Duration> {
        let probes = self.watch.as_ref().and_then(ClientWatch::due);
        let announcements = self.announcer.due();
        let joining = self.joining.as_ref().and_then(|joining| joining.machine.poll_timeout());
        let leaving = self.leaving.as_ref().map(|(_, until)| *until);
        let choice = self.servers.as_ref().map(Servers::due);
        let own =
            [probes, announcements, self.keeping.due(), self.carrier_until, self.subject.due()];
        let others = own.into_iter().chain([joining, leaving, choice]).flatten().min();
        self.active.machine.poll_timeout().map_or(others, |due| Some(earliest(due, others)))
    }

    fn take(&mut self, now: Duration, news: News) {
        match news {
            News::Datagram { from, bytes, place: _place } => self.take_datagram(now, from, bytes),
            News::TooLarge(size) => self.active.machine.handle_too_large(datagram_size(size)),
            News::PathHint(to, size) => {
                if self.is_to_active(Some(to)) {
                    self.active.machine.handle_path_hint(now, datagram_size(size));
                }
            }
            News::NetworkError(to, kind) => {
                if !self.is_to_active(to) {
                    return;
                }
                let is_refused = kind == ErrorKind::ConnectionRefused;
                if is_refused && self.active.machine.keys().is_none() {
                    self.dial_mut().refused(now);
                }
                self.active.machine.handle_network_error(now);
            }
            News::NetworkChanged => self.network_changed(now),
            News::LookedUp(server, result) => {
                let is_active = server == self.active.server;
                let connected = self.has_session(server);
                let place = &mut self.places[server];
                let has_moved = place.looked_up(now, result, connected, &self.counters);
                if is_active {
                    self.follow_route(now);
                    if has_moved {
                        // What was said meanwhile went to where the server was.
                        self.active.machine.handle_network_change(now);
                    }
                    self.publish();
                }
            }
        }
    }

    fn take_flood(&mut self, now: Duration, news: FloodNews) {
        if let Some(watch) = &mut self.watch {
            watch.take(now, news);
        }
    }

    fn advance(&mut self, now: Duration) {
        if let Some(servers) = &self.servers {
            let elsewhere = servers.has_elsewhere(now);
            let patience = if elsewhere { Patience::SHORT } else { Patience::LONG };
            self.active.machine.set_patience(patience);
        }
        self.active.machine.handle_timeout(now, wall());
        if let Some(joining) = &mut self.joining {
            joining.machine.handle_timeout(now, wall());
        }
        self.settle(now);
        if self.servers.is_some() {
            self.choose(now);
            self.settle(now);
        }
        if self.leaving.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.leave(now);
        }
        if self.carrier_until.take_if(|until| now >= *until).is_some() {
            self.set_carrier(now, false);
        }
        if self.keeping.retry(now) {
            self.tell_network_key(now, self.dial().text(), None);
        }
        if self.subject.expire(now) {
            self.publish();
        }
        if !self.announcer.take_due(now).is_empty() {
            self.announce(now);
        }
        if let Some(watch) = &mut self.watch {
            watch.advance(now, &self.tap);
        }
        self.count();
    }

    fn settings(&self) -> Settings {
        Settings::Client(self.settings.clone())
    }

    fn apply(&mut self, now: Duration, settings: Settings) -> Result<Applied, Error> {
        let Settings::Client(new) = settings else { return Err(Error::other_end()) };
        let mut taken = self.settings.clone();
        let applied = taken.take(&new)?;
        self.interface.follow(&self.settings.common.tap, &taken.common.tap)?;
        self.settings = taken;
        if !self.settings.allow_isolation_test {
            self.leave_isolation();
        }
        self.config.keepalive = keepalive_seconds(self.settings.keepalive());
        self.active.machine.set_keepalive(self.config.keepalive);
        self.follow_mtu(now);
        Ok(applied)
    }

    fn report(&self, now: Duration, _: &Range<usize>) -> Report {
        let mut report = self.history.report(now, self.dial().server().to_string(), |status| {
            let keys = &self.places[self.active.server].keys;
            status.key = Some(report::key_text(&keys.server_key));
            status.address = self.dial().peer_address();
            status.loop_found = self.watch.as_ref().and_then(|watch| watch.report(now));
            status.server_restarts = Some(self.active.machine.server_restarts());
            status.server = self.servers.as_ref().map(|servers| ServerReport {
                draining: servers.is_leaving(),
                load: None,
                ..server_report(servers, self.active.server)
            });
            let known = self.active.machine.statistics(now);
            if let Some(known) = &known {
                report::add_statistics(status, known, now);
            }
            known.is_some()
        });
        let others = (0..self.places.len()).filter(|&server| server != self.active.server);
        if let Some(servers) = &self.servers {
            report.sessions.extend(others.map(|server| self.report_other(now, servers, server)));
        }
        report
    }

    fn end(&mut self, now: Duration) {
        self.leave(now);
        if let Some(joining) = &mut self.joining {
            joining.machine.close(now);
        }
        self.active.machine.close(now);
        self.settle(now);
        if self.keeping.retry_now(now) {
            self.tell_network_key(now, self.dial().text(), None);
        }
        self.count();
        self.history.stop(now);
    }
}

impl ClientControl {
    /// How a server is that is not in use.
    fn report_other(&self, now: Duration, servers: &Servers, server: usize) -> SessionStatus {
        let place = &self.places[server];
        let mut status = SessionStatus::new(place.dial.server().to_string());
        let (health, _) = servers.known(server);
        status.state = match health {
            Health::Answers => State::Standby,
            Health::Unknown => State::Handshaking,
            Health::Silent => State::Unreachable,
        };
        status.key = Some(report::key_text(&place.keys.server_key));
        status.address = place.dial.peer_address();
        let answer = servers.known(server).1;
        status.heard_ago = answer.map(|(at, _)| now.saturating_sub(at));
        status.rtt =
            servers.rtt(server).map(|rtt| RttReport { min: None, smoothed: rtt, jitter: None });
        status.server = Some(server_report(servers, server));
        status
    }
}

/// What is known of a server beside the session with it.
fn server_report(servers: &Servers, server: usize) -> ServerReport {
    let (rank, (_, answer)) = (servers.rank(server), servers.known(server));
    ServerReport {
        priority: rank.priority,
        weight: rank.weight,
        draining: answer.is_some_and(|(_, state)| state.draining),
        load: answer.map(|(_, state)| f64::from(state.load) / f64::from(FULL_LOAD)),
    }
}

fn ended(reason: DownReason) -> EndReason {
    match reason {
        DownReason::Bye(Bye::Stop) => EndReason::Bye,
        DownReason::Bye(Bye::Restart) => EndReason::Restart,
        DownReason::Bye(Bye::Replaced) => EndReason::Replaced,
        DownReason::Bye(Bye::Removed) => EndReason::Removed,
        DownReason::Bye(Bye::Limit) => EndReason::Full,
        DownReason::Timeout => EndReason::Silent,
        DownReason::Expired => EndReason::KeysExpired,
        DownReason::Closed => EndReason::Stopped,
        _ => EndReason::Other,
    }
}
