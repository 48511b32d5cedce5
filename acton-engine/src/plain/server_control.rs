//! A server's control thread in plain mode: it alone opens and ends sessions.

use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use acton_frame::Headers;
use acton_proto::plain::{self, Control, DownReason, Origin, ServerConfig, ServerEvent, SessionId};
use acton_tap::offload::Trust;
use acton_udp::{Source, UdpSocket};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::server::{Allowed, Plain, PlainSession, allowed, is_allowed};
use super::server_worker::News;
use crate::Error;
use crate::floods::news::FloodNews;
use crate::floods::server_watch::OutgoingProbe;
use crate::observe::counters::{Counter, Counters};
use crate::observe::event::{Beginning, EndReason, EventKind};
use crate::observe::status::{Protocol, Report, SessionStatus, State};
use crate::run::announcer::Announcer;
use crate::run::control::{Controller, SERVER_SLACK, Steer};
use crate::run::launch::earliest;
use crate::run::tap::TapHandle;
use crate::run::tap_interface::TapInterface;
use crate::sessions::port::{LeafId, slot};
use crate::sessions::roster::{Opening, Roster};
use crate::sessions::sighting::Sighting;
use crate::settings::{Applied, ServerSettings, Settings};

/// Silence after which a session ends, in keepalive intervals, as in 0.1.1.
const KEEPALIVES_TO_EXPIRE: u32 = 3;

/// What the settings are to the protocol.
pub(super) fn protocol(settings: &ServerSettings) -> ServerConfig {
    let mut config = ServerConfig::default();
    config.expire_after = settings.keepalive() * KEEPALIVES_TO_EXPIRE;
    config.max_sessions = settings.max_sessions;
    config.max_sessions_per_source = settings.max_sessions_per_source();
    config
}

/// The server's control thread.
pub(super) struct ServerControl {
    pub(super) machine: plain::Server<SocketAddr>,
    pub(super) settings: ServerSettings,
    pub(super) roster: Roster<SocketAddr, Plain>,
    pub(super) socket: UdpSocket,
    pub(super) tap: TapHandle,
    pub(super) announcer: Announcer<LeafId>,
    pub(super) interface: Arc<TapInterface>,
    pub(super) allow: Arc<Allowed>,
    pub(super) counters: Arc<Counters>,
    /// Hosts that get no session for now, whatever the settings say: until when.
    pub(super) barred: HashMap<IpAddr, Duration, RandomState>,
    /// Whose session an operator is about to end.
    pub(super) kicked: Option<SocketAddr>,
}

impl ServerControl {
    /// Makes workers and bridge follow the sessions. `source` is the local address that the
    /// client used.
    fn settle(&mut self, now: Duration, source: Option<Source>) {
        let (full, of_source) = self.machine.refused();
        for (counter, total) in [(Counter::SessionsFull, full), (Counter::SourceFull, of_source)] {
            self.counters.add(counter, total - self.counters.get(counter));
        }
        while let Some(event) = self.machine.poll_event() {
            match event {
                ServerEvent::SessionUp { id, addr, by } => {
                    self.session_up(now, id, addr, by, source);
                }
                ServerEvent::SessionDown { id, addr, reason } => {
                    self.roster.directory().unbind(&addr);
                    let reason = match reason {
                        DownReason::Bye => EndReason::Bye,
                        DownReason::Removed if self.kicked == Some(addr) => EndReason::Kicked,
                        DownReason::Removed => EndReason::Removed,
                        _ => EndReason::Silent,
                    };
                    self.roster.close(now, id.index(), reason);
                }
                ServerEvent::Refused { addr, total } => {
                    let open = self.machine.len();
                    self.roster.tell(now, EventKind::SessionsFull { address: addr, open, total });
                }
                ServerEvent::SourceFull { addr, total } => {
                    let sessions = self.settings.max_sessions_per_source();
                    let event = EventKind::SourceFull { address: addr, sessions, total };
                    self.roster.tell(now, event);
                }
                _ => {}
            }
        }
    }

    fn session_up(
        &mut self,
        now: Duration,
        id: SessionId,
        address: SocketAddr,
        by: Origin,
        source: Option<Source>,
    ) {
        let is_named = by == Origin::Static;
        let by = match by {
            Origin::Hello => Beginning::Hello,
            Origin::Keepalive => Beginning::Keepalive,
            _ => Beginning::Named,
        };
        let port = self.roster.open(
            now,
            Opening {
                slot: id.index(),
                name: address.to_string().into(),
                address,
                to: self.socket.destination(address, source),
                by,
                policy: Arc::default(),
                mode: Plain::new(address, is_named),
            },
        );
        self.roster.directory().bind(address, port);
        if is_named {
            self.announcer.note_up(now, port);
        }
    }

    /// A client that has a session says that it is still there.
    fn hear(&mut self, now: Duration, client: SocketAddr) {
        let Some(id) = self.machine.get(client) else { return };
        let port = self.roster.port(id.index());
        if self.roster.directory().get(port).is_some_and(|session| session.mode.hear()) {
            self.announcer.note_up(now, port);
        }
    }

    /// Tells the LAN behind a client where this host's addresses are.
    fn announce(&mut self, now: Duration, port: LeafId) {
        let Some(session) = self.roster.directory().get(port) else { return };
        for frame in self.announcer.frames(now) {
            send(&self.socket, &session, frame, &self.counters);
        }
    }

    /// Asks clients which multicast groups they want, if it is time to.
    fn ask_for_groups(&self, now: Duration) {
        for (port, frame) in self.roster.take_group_queries(now, || self.interface.mac().ok()) {
            let Some(session) = self.roster.directory().get(port) else { continue };
            self.counters.add(Counter::GroupsAsked, 1);
            send(&self.socket, &session, &frame, &self.counters);
        }
    }

    fn probe(&self, probe: &OutgoingProbe) {
        let OutgoingProbe { to, frame } = probe;
        self.counters.add(Counter::ProbesSent, 1);
        let Some(port) = *to else {
            return self.tap.write(frame, &Headers::parse(frame), Trust::Verify, &self.counters);
        };
        if let Some(session) = self.roster.directory().get(port) {
            send(&self.socket, &session, frame, &self.counters);
        }
    }
}

impl Controller for ServerControl {
    type News = News;
    const SLACK: Duration = SERVER_SLACK;

    fn due(&self) -> Option<Duration> {
        let own = earliest(self.roster.due(), self.announcer.due());
        Some(earliest(own, self.machine.poll_timeout()))
    }

    fn take(&mut self, now: Duration, news: News) {
        let (from, to, control) = match news {
            News::Control { from, to, control, place: _place } => (from, to, control),
            News::OtherMode(address) => {
                let event = EventKind::OtherMode { address, speaks: Protocol::Acton1 };
                return self.roster.tell(now, event);
            }
            News::FirstFrame(port) => return self.announcer.note_up(now, port),
        };
        // The worker that passed it on may have had another list.
        self.barred.retain(|_, &mut until| now < until);
        if !is_allowed(&self.allow.load(), from) || self.barred.contains_key(&from.ip()) {
            return self.counters.add(Counter::NotAllowed, 1);
        }
        if control == Control::Keepalive {
            self.hear(now, from);
        }
        self.machine.handle_control(now, from, control);
        self.settle(now, to);
        while let Some((client, control)) = self.machine.poll_transmit() {
            let destination = self.socket.destination(client, to);
            let sent = self.socket.send(&destination, control.as_bytes());
            self.counters.add_sent_one(&sent, control.as_bytes().len());
            if let Err(error) = sent {
                log::debug!("answer to {client}: {error}");
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
        let roster = &self.roster;
        self.machine.handle_timeout_with(now, |id| {
            let last_frame = |session: &_| last_frame(session);
            roster.directory().read(roster.port(id.index()), last_frame).unwrap_or_default()
        });
        self.settle(now, None);
        for port in self.announcer.take_due(now) {
            self.announce(now, port);
        }
        while let Some(probe) = self.roster.next_probe(now) {
            self.probe(&probe);
        }
        self.ask_for_groups(now);
        self.roster.keep_house(now);
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
        self.machine.set_config(protocol(&self.settings));
        self.roster.follow(&self.settings);
        let allow = Arc::new(allowed(&self.settings.mode));
        self.allow.store(Arc::clone(&allow));
        self.machine.retain(|session| is_allowed(&allow, session.addr));
        self.settle(now, None);
        Ok(applied)
    }

    fn steer(&mut self, now: Duration, steer: Steer) -> Result<(), Error> {
        match steer {
            Steer::Drain(_) => Err(Error::PlainDrain),
            Steer::VerifyIsolation(..) => Err(Error::PlainIsolation),
            Steer::Kick { session, bar } => {
                let address = self.roster.find(&session)?;
                let address = self.roster.directory().read(address, |session| session.mode.address);
                let address = address.ok_or(Error::NoSession(session))?;
                if let Some(time) = bar {
                    self.barred.insert(address.ip(), now.saturating_add(time));
                }
                self.kicked = Some(address);
                self.machine.retain(|session| session.addr != address);
                self.settle(now, None);
                self.kicked = None;
                Ok(())
            }
            Steer::AddMac { mac, vlan, session } => self.roster.add_mac(mac, vlan, &session),
        }
    }

    fn report(&self, now: Duration, slots: &Range<usize>) -> Report {
        let keepalive = self.settings.keepalive();
        let add = |session: &PlainSession, status: &mut SessionStatus| {
            let told = self.machine.session(SessionId::at(slot(session.port)));
            let Some(told) = told else { return };
            let heard = told.last_seen.max(last_frame(session));
            status.mac_limit = Some(self.settings.macs_per_client).filter(|&limit| limit > 0);
            if told.origin == Origin::Static && heard <= told.since {
                // A peer that says nothing by itself was not heard yet.
                status.state = State::Quiet;
                return;
            }
            let silence = now.saturating_sub(heard);
            status.heard_ago = Some(silence);
            let overdue = silence > keepalive + keepalive / 2;
            status.state = if overdue { State::Quiet } else { State::Up };
            status.in_state_for = if overdue {
                Some(silence.saturating_sub(keepalive + keepalive / 2))
            } else {
                None
            };
        };
        self.roster.report(now, slots, add, iter::empty())
    }

    fn end(&mut self, now: Duration) {
        // The wire of 0.1.1 has no word for it.
        let mut open = Vec::new();
        self.roster.directory().for_each(|session| open.push(Arc::clone(session)));
        for session in open {
            self.roster.directory().unbind(&session.mode.address);
            self.roster.close(now, slot(session.port), EndReason::Stopped);
        }
    }
}

/// Sends a frame of the control thread's own.
fn send(socket: &UdpSocket, session: &PlainSession, frame: &[u8], counters: &Counters) {
    session.tallies.of(0).add_out(1, frame.len() as u64);
    let sent = socket.send(&session.to, frame);
    counters.add_sent_one(&sent, frame.len());
}

fn last_frame(session: &PlainSession) -> Duration {
    Duration::from_nanos(session.mode.last_frame.load(Ordering::Relaxed))
}
