//! A client's control thread in plain mode: it connects, and connects again.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use acton_proto::plain::{self, ClientEvent, Datagram};

use super::client::{PlainUplink, protocol};
use super::client_worker::News;
use crate::Error;
use crate::floods::client_watch::ClientWatch;
use crate::floods::news::FloodNews;
use crate::observe::counters::{Counter, Counters};
use crate::observe::event::{EndReason, EventKind};
use crate::observe::event_log::EventLog;
use crate::observe::status::{Report, RttReport, State};
use crate::reach::dial::Dial;
use crate::reach::history::SessionHistory;
use crate::run::announcer::Announcer;
use crate::run::control::Controller;
use crate::run::launch::earliest;
use crate::run::tap::TapHandle;
use crate::run::tap_interface::TapInterface;
use crate::settings::{Applied, ClientSettings, Settings};

/// The client's control thread.
pub(super) struct ClientControl {
    pub(super) machine: plain::Client,
    pub(super) settings: ClientSettings,
    pub(super) dial: Dial<News>,
    pub(super) tap: TapHandle,
    pub(super) interface: Arc<TapInterface>,
    pub(super) announcer: Announcer<()>,
    /// `None` where nobody looks for loops.
    pub(super) watch: Option<ClientWatch>,
    pub(super) link: Arc<PlainUplink>,
    pub(super) counters: Arc<Counters>,
    pub(super) history: SessionHistory,
    pub(super) events: Arc<EventLog>,
    /// When the session began.
    pub(super) since: Option<Duration>,
}

impl ClientControl {
    fn settle(&mut self, now: Duration) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                ClientEvent::Connecting { attempt } => self.dial.connect(now, attempt),
                ClientEvent::Connected { rtt } => {
                    self.since = Some(now);
                    self.history.begin();
                    self.dial.connected();
                    self.set_connected(now, true);
                    let server = self.dial.text();
                    self.events.tell(now, EventKind::Connected { server, rtt });
                    self.announcer.note_up(now, ());
                }
                ClientEvent::Lost { silent_for } => {
                    self.disconnected(now, EndReason::Silent, Some(silent_for));
                }
                ClientEvent::Closed => self.disconnected(now, EndReason::Stopped, None),
                _ => {}
            }
        }
        if self.dial.is_ready()
            && let Some(control) = self.machine.poll_transmit()
        {
            let sent = self.dial.send(control.as_bytes());
            self.counters.add_sent_one(&sent, control.as_bytes().len());
        }
    }

    fn disconnected(&mut self, now: Duration, reason: EndReason, silent: Option<Duration>) {
        if self.since.take().is_some() {
            self.history.end(now, reason);
            let (server, retry_in) = (self.dial.text(), Duration::ZERO);
            self.events.tell(now, EventKind::Disconnected { server, reason, silent, retry_in });
        }
        self.set_connected(now, false);
    }

    /// Tells the LAN where this host's addresses are.
    fn announce(&mut self, now: Duration) {
        for frame in self.announcer.frames(now) {
            self.history.tally().add_out(1, frame.len() as u64);
            self.counters.add_sent_one(&self.dial.send(frame), frame.len());
        }
    }

    fn set_connected(&mut self, now: Duration, up: bool) {
        self.tap.set_carrier(up);
        if self.link.connected.swap(up, Ordering::Relaxed) != up {
            if let Some(watch) = &mut self.watch {
                watch.set_connected(now, up);
            }
            self.events.tell(now, EventKind::Carrier { up });
        }
    }

    fn last_frame(&self) -> Duration {
        Duration::from_nanos(self.link.last_frame.load(Ordering::Relaxed))
    }
}

impl Controller for ClientControl {
    type News = News;

    fn due(&self) -> Option<Duration> {
        let probes = self.watch.as_ref().and_then(ClientWatch::due);
        let announcements = self.announcer.due();
        let own = probes.map_or(announcements, |due| Some(earliest(due, announcements)));
        self.machine.poll_timeout().map_or(own, |due| Some(earliest(due, own)))
    }

    fn take(&mut self, now: Duration, news: News) {
        match news {
            News::Control(control) => {
                self.machine.handle_input(now, &Datagram::Control(control));
            }
            News::NetworkError(kind) => {
                if kind == ErrorKind::ConnectionRefused && !self.machine.is_connected() {
                    self.dial.refused(now);
                }
                self.machine.handle_network_error(now);
            }
            News::LookedUp(result) => {
                self.dial.looked_up(now, result, self.machine.is_connected());
            }
        }
    }

    fn take_flood(&mut self, now: Duration, news: FloodNews) {
        if let Some(watch) = &mut self.watch {
            watch.take(now, news);
        }
    }

    fn advance(&mut self, now: Duration) {
        self.machine.touch(self.last_frame());
        self.machine.handle_timeout(now);
        self.settle(now);
        if !self.announcer.take_due(now).is_empty() && self.machine.is_connected() {
            self.announce(now);
        }
        if let Some(watch) = &mut self.watch {
            watch.advance(now, &self.tap);
        }
        let rtt = self.machine.rtt().unwrap_or_default();
        self.counters.set(Counter::RttMicroseconds, rtt.as_micros() as u64);
    }

    fn settings(&self) -> Settings {
        Settings::Client(self.settings.clone())
    }

    fn apply(&mut self, _: Duration, settings: Settings) -> Result<Applied, Error> {
        let Settings::Client(new) = settings else { return Err(Error::other_end()) };
        let mut taken = self.settings.clone();
        let applied = taken.take(&new)?;
        self.interface.follow(&self.settings.common.tap, &taken.common.tap)?;
        self.settings = taken;
        self.machine.set_config(protocol(&self.settings));
        Ok(applied)
    }

    fn report(&self, now: Duration, _: &Range<usize>) -> Report {
        self.history.report(now, self.dial.server().to_string(), |status| {
            status.address = self.dial.peer_address();
            status.loop_found = self.watch.as_ref().and_then(|watch| watch.report(now));
            let Some((since, heard)) = self.since.zip(self.machine.last_seen()) else {
                return false;
            };
            status.session_for = Some(now.saturating_sub(since));
            status.rtt =
                self.machine.rtt().map(|smoothed| RttReport { min: None, smoothed, jitter: None });
            let silence = now.saturating_sub(heard.max(self.last_frame()));
            status.heard_ago = Some(silence);
            let overdue = self.settings.keepalive() * 3 / 2;
            status.state = if silence > overdue { State::Quiet } else { State::Up };
            true
        })
    }

    fn end(&mut self, now: Duration) {
        self.machine.close();
        self.settle(now);
        self.history.stop(now);
    }
}
