//! A client's control thread in secure mode: it connects, and connects again.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_frame::Headers;
use acton_proto::client::{Client, ClientEvent, ClientStats, DownReason};
use acton_proto::wire::{Bye, Key};
use arc_swap::ArcSwap;

use super::arrival::{count_bundle, datagram_size, is_too_large, trust};
use super::client::{SecureUplink, max_pmtu, route_to};
use super::client_worker::News;
use super::key_keeping::KeyKeeping;
use super::server_control::refusal_reason;
use super::{keepalive_seconds, report};
use crate::Error;
use crate::floods::client_watch::ClientWatch;
use crate::floods::news::FloodNews;
use crate::observe::counters::{Counter, Counters};
use crate::observe::event::{EndReason, EventKind};
use crate::observe::event_log::EventLog;
use crate::observe::status::Report;
use crate::reach::dial::Dial;
use crate::reach::history::SessionHistory;
use crate::reach::network::NetworkWatch;
use crate::reach::route::Route;
use crate::run::announcer::Announcer;
use crate::run::clock::{self, wall};
use crate::run::control::Controller;
use crate::run::launch::earliest;
use crate::run::tap::{TapHandle, max_frame, unfit_peer_mtu};
use crate::run::tap_interface::TapInterface;
use crate::settings::{Applied, ClientSettings, Settings};

/// The client's control thread.
pub(super) struct ClientControl {
    pub(super) machine: Client,
    pub(super) server_key: Key,
    pub(super) keeping: KeyKeeping,
    pub(super) settings: ClientSettings,
    pub(super) dial: Dial<News>,
    /// How datagrams go to the server now, where that is known.
    pub(super) route: Option<Route>,
    /// When that was last looked at.
    pub(super) looked: Duration,
    /// The longest datagram that there is a use for, in bytes: the largest frame's.
    pub(super) max_pmtu: u16,
    pub(super) _watch: Option<NetworkWatch>,
    pub(super) tap: TapHandle,
    pub(super) interface: Arc<TapInterface>,
    pub(super) announcer: Announcer<()>,
    /// `None` where nobody looks for loops.
    pub(super) watch: Option<ClientWatch>,
    pub(super) link: Arc<ArcSwap<SecureUplink>>,
    pub(super) counters: Arc<Counters>,
    pub(super) history: SessionHistory,
    /// What of the protocol's counters is in those already.
    pub(super) counted: ClientStats,
    pub(super) events: Arc<EventLog>,
    pub(super) buffer: Vec<u8>,
    /// What is to be said as soon as the server's address is known.
    pub(super) waiting: Vec<u8>,
}

fn send(dial: &mut Dial<News>, machine: &mut Client, counters: &Counters, datagram: &[u8]) {
    let sent = dial.send(datagram);
    counters.add_sent_one(&sent, datagram.len());
    if sent.is_err_and(|error| is_too_large(&error)) {
        // A probe of the path that not even the first link takes.
        machine.handle_too_large(datagram_size(datagram.len()));
    }
}

impl ClientControl {
    fn take_datagram(&mut self, now: Duration, from: SocketAddr, mut datagram: Vec<u8>) {
        let connecting = self.machine.keys().is_none();
        let frames = self.machine.handle_input(now, &mut datagram);
        let connected = connecting && self.machine.keys().is_some();
        if connected {
            self.dial.answered(from);
        }
        count_bundle(&self.counters, &frames);
        for frame in frames {
            self.history.tally().add_in(1, frame.bytes().len() as u64);
            let headers = Headers::parse(frame.bytes());
            self.tap.write(frame.bytes(), &headers, trust(&frame), &self.counters);
        }
        if connected {
            self.follow_route(now);
            // The session begins before its first frames, which may be the next message.
            self.settle(now);
        }
    }

    /// This host's network is another: the server must hear from where to reach this client.
    fn network_changed(&mut self, now: Duration) {
        let (known, looked) = (self.dial.peer_address().is_some(), self.looked);
        self.dial.look_up_soon();
        if !known || self.follow_route(now) {
            if self.machine.keys().is_some() {
                self.events.tell(now, EventKind::WayChanged { server: self.dial.text() });
            }
            self.machine.handle_network_change(now);
        } else {
            // It may have been another for a moment.
            self.machine.handle_network_news(now, looked);
        }
    }

    /// Looks how datagrams go to the server now; whether by another way than before.
    fn follow_route(&mut self, now: Duration) -> bool {
        self.looked = now;
        let route = self.dial.peer_address().and_then(route_to);
        if route == self.route {
            return false;
        }
        self.route = route;
        let Some(route) = &self.route else { return false };
        self.machine.set_pmtu(now, wall(), route.pmtu.min(self.max_pmtu));
        true
    }

    /// Has the protocol know how long the TAP's frames are now.
    fn follow_mtu(&mut self, now: Duration) {
        let max_frame = max_frame(self.settings.common.tap.mtu);
        self.machine.set_max_frame(now, wall(), max_frame);
        self.max_pmtu = max_pmtu(max_frame);
        if let Some(route) = &self.route {
            self.machine.set_pmtu(now, wall(), route.pmtu.min(self.max_pmtu));
        }
    }

    fn settle(&mut self, now: Duration) {
        while let Some(event) = self.machine.poll_event() {
            self.follow(now, event);
        }
        loop {
            self.buffer.clear();
            let Some(segment) = self.machine.poll_transmit(1, &mut self.buffer) else { break };
            for datagram in self.buffer.chunks(segment.max(1)) {
                // The newest HELLO waits for the address; older ones would be stale.
                self.waiting.clear();
                // What belongs to a session goes where that is, also while a name is looked up.
                if self.dial.is_ready() || self.machine.keys().is_some() {
                    send(&mut self.dial, &mut self.machine, &self.counters, datagram);
                } else {
                    self.waiting.extend_from_slice(datagram);
                }
            }
        }
        if self.dial.is_ready() && !self.waiting.is_empty() {
            send(&mut self.dial, &mut self.machine, &self.counters, &self.waiting);
            self.waiting.clear();
        }
    }

    fn follow(&mut self, now: Duration, event: ClientEvent) {
        match event {
            ClientEvent::Connecting { attempt } => {
                self.dial.connect(now, attempt.saturating_add(1));
                self.change(|_| {});
            }
            ClientEvent::Connected { keys, server_time } => {
                self.history.begin();
                self.dial.connected();
                self.change(|link| link.open_and_seal(keys));
                self.set_carrier(now, true);
                let server = self.dial.text();
                self.events.tell(now, EventKind::Connected { server, rtt: None });
                self.session_up(now);
                if let Some(ahead_seconds) = clock::apart(wall(), server_time) {
                    let (client, address) = (None, self.dial.peer_address());
                    let event = EventKind::ClockApart { client, address, ahead_seconds };
                    self.events.tell(now, event);
                }
            }
            ClientEvent::KeysChanged { keys } => {
                self.change(|link| link.open_and_seal(keys));
                self.events.tell(now, EventKind::Rekeyed { session: 0 });
            }
            ClientEvent::ServerRestarted { session_goes_on } => {
                self.events.tell(now, EventKind::ServerRestarted { server: self.dial.text() });
                if session_goes_on {
                    self.session_up(now);
                }
            }
            ClientEvent::KeysDropped { local_id } => self.change(|link| {
                link.open.retain(|keys| keys.setup().local_id != local_id);
            }),
            ClientEvent::Disconnected { reason, retry_in } => {
                self.change(|link| {
                    link.seal = None;
                    link.open.clear();
                });
                let reason = ended(reason);
                self.history.end(now, reason);
                self.set_carrier(now, false);
                let server = self.dial.text();
                let silent = None;
                self.events.tell(now, EventKind::Disconnected { server, reason, silent, retry_in });
            }
            ClientEvent::NetworkKey { key } => {
                let unkept = self.keeping.keep(now, key).err();
                self.tell_network_key(now, unkept);
            }
            ClientEvent::Unreadable => {
                self.events.tell(now, EventKind::Unreadable { server: self.dial.text() });
            }
            ClientEvent::Refused { reason } => {
                let (server, reason) = (self.dial.text(), refusal_reason(reason));
                self.history.refuse(now, reason);
                self.events.tell(now, EventKind::Refused { server, reason });
            }
            _ => {}
        }
    }

    fn tell_network_key(&self, now: Duration, unkept: Option<String>) {
        let server = self.dial.text();
        self.events.tell(now, EventKind::NetworkKeyTold { server, unkept });
    }

    /// A session with a server that knows nothing of the one before.
    fn session_up(&mut self, now: Duration) {
        self.announcer.note_up(now, ());
        let mtu = self.settings.common.tap.mtu;
        let known = self.machine.statistics(now);
        let peer_mtu = known.and_then(|known| unfit_peer_mtu(mtu, known.peer_max_frame));
        if let Some(peer_mtu) = peer_mtu {
            let (client, address) = (None, self.dial.peer_address());
            self.events.tell(now, EventKind::MtuUnfit { client, address, mtu, peer_mtu });
        }
    }

    /// Tells the LAN where this host's addresses are.
    fn announce(&mut self, now: Duration) {
        let link = self.link.load_full();
        let Some(keys) = &link.seal else { return };
        for frame in self.announcer.frames(now) {
            self.buffer.clear();
            // Keys that are used up come to an end in other ways too.
            if keys.seal_frame(now, frame, false, &mut self.buffer).is_ok() {
                self.history.tally().add_out(1, frame.len() as u64);
                send(&mut self.dial, &mut self.machine, &self.counters, &self.buffer);
            }
        }
    }

    /// Shows what the protocol counts and measures among the counters.
    fn count(&mut self) {
        report::add_client_stats(&self.counters, &mut self.counted, self.machine.stats());
        let rtt = self.machine.rtt().map(|rtt| rtt.smoothed).unwrap_or_default();
        self.counters.set(Counter::RttMicroseconds, rtt.as_micros() as u64);
    }

    fn set_carrier(&mut self, now: Duration, up: bool) {
        if let Some(watch) = &mut self.watch {
            watch.set_connected(now, up);
        }
        self.tap.set_carrier(up);
        self.events.tell(now, EventKind::Carrier { up });
    }

    fn change(&self, change: impl FnOnce(&mut SecureUplink)) {
        let mut link = SecureUplink::clone(&self.link.load());
        link.to = Arc::new(self.dial.destination());
        change(&mut link);
        self.link.store(Arc::new(link));
    }
}

impl Controller for ClientControl {
    type News = News;

    fn due(&self) -> Option<Duration> {
        let probes = self.watch.as_ref().and_then(ClientWatch::due);
        let announcements = self.announcer.due();
        let own = [probes, announcements, self.keeping.due()].into_iter().flatten().min();
        self.machine.poll_timeout().map_or(own, |due| Some(earliest(due, own)))
    }

    fn take(&mut self, now: Duration, news: News) {
        match news {
            News::Datagram { from, bytes, place: _place } => self.take_datagram(now, from, bytes),
            News::TooLarge(size) => self.machine.handle_too_large(datagram_size(size)),
            News::PathHint(size) => self.machine.handle_path_hint(now, datagram_size(size)),
            News::NetworkError(kind) => {
                if kind == ErrorKind::ConnectionRefused && self.machine.keys().is_none() {
                    self.dial.refused(now);
                }
                self.machine.handle_network_error(now);
            }
            News::NetworkChanged => self.network_changed(now),
            News::LookedUp(result) => {
                self.dial.looked_up(now, result, self.machine.keys().is_some());
                self.follow_route(now);
                self.change(|_| {});
            }
        }
    }

    fn take_flood(&mut self, now: Duration, news: FloodNews) {
        if let Some(watch) = &mut self.watch {
            watch.take(now, news);
        }
    }

    fn advance(&mut self, now: Duration) {
        self.machine.handle_timeout(now, wall());
        self.settle(now);
        if self.keeping.retry(now) {
            self.tell_network_key(now, None);
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
        self.machine.set_keepalive(keepalive_seconds(self.settings.keepalive()));
        self.follow_mtu(now);
        Ok(applied)
    }

    fn report(&self, now: Duration, _: &Range<usize>) -> Report {
        self.history.report(now, self.dial.server().to_string(), |status| {
            status.key = Some(report::key_text(&self.server_key));
            status.address = self.dial.peer_address();
            status.loop_found = self.watch.as_ref().and_then(|watch| watch.report(now));
            status.server_restarts = Some(self.machine.server_restarts());
            let known = self.machine.statistics(now);
            if let Some(known) = &known {
                report::add_statistics(status, known, now);
            }
            known.is_some()
        })
    }

    fn end(&mut self, now: Duration) {
        self.machine.close(now);
        self.settle(now);
        if self.keeping.retry_now(now) {
            self.tell_network_key(now, None);
        }
        self.count();
        self.history.stop(now);
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
