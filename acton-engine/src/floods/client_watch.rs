//! A client's watch for loops, as its control thread has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use acton_frame::Headers;
use acton_tap::offload::Trust;

use crate::floods::client_screen::ClientFloods;
use crate::floods::news::FloodNews;
use crate::floods::probe_source::ProbeSource;
use crate::loops::client_guard::{Action, ClientGuard, Witness};
use crate::loops::probe::Way;
use crate::observe::counters::{Counter, Counters};
use crate::observe::event::{EventKind, LoopWitness, Place};
use crate::observe::event_log::EventLog;
use crate::observe::status::LoopReport;
use crate::run::tap::TapHandle;
use crate::run::tap_interface::TapInterface;

/// Looks for loops, and does what is to be done about them.
#[derive(Debug)]
pub(crate) struct ClientWatch {
    guard: ClientGuard,
    floods: Arc<ClientFloods>,
    source: ProbeSource,
    counters: Arc<Counters>,
    events: Arc<EventLog>,
}

impl ClientWatch {
    /// `None` where nobody looks for loops.
    pub(crate) fn new(
        floods: Option<Arc<ClientFloods>>,
        interface: Arc<TapInterface>,
        counters: Arc<Counters>,
        events: Arc<EventLog>,
    ) -> Option<Self> {
        let floods = floods?;
        let guard = ClientGuard::new(floods.prober.seed());
        Some(Self { guard, floods, source: ProbeSource::new(interface), counters, events })
    }

    /// Whether there is a session.
    pub(crate) fn set_connected(&mut self, now: Duration, connected: bool) {
        self.guard.set_connected(now, connected);
    }

    /// Takes what a worker saw.
    pub(crate) fn take(&mut self, now: Duration, news: FloodNews) {
        match news {
            FloodNews::ProbeBack { probe, .. } => self.guard.came_back(now, probe.sent),
            FloodNews::ServerSays { blocked } => self.guard.server_says(now, blocked),
            FloodNews::Surge => self.guard.suspect(now),
            FloodNews::BudgetActs { .. } | FloodNews::PolicyActs { .. } => {}
        }
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        self.guard.due()
    }

    /// Does what is to be done now.
    pub(crate) fn advance(&mut self, now: Duration, tap: &TapHandle) {
        while let Some(action) = self.guard.poll(now) {
            match action {
                Action::Probe => {
                    let frame = self.source.frame(&self.floods.prober, Way::Tap, now);
                    self.counters.add(Counter::ProbesSent, 1);
                    tap.write(&frame, &Headers::parse(&frame), Trust::Verify, &self.counters);
                }
                Action::Block => self.floods.blocked.store(true, Ordering::Relaxed),
                Action::Open => self.floods.blocked.store(false, Ordering::Relaxed),
                Action::TellFound { by, hold } => {
                    let (by, with) = match by {
                        Witness::Probe => (LoopWitness::Probe, Some(Place::Root)),
                        Witness::Server => (LoopWitness::Server, None),
                    };
                    let at = Place::Client;
                    self.events.tell(now, EventKind::LoopFound { at, with, by, hold });
                }
                Action::TellOver { after } => {
                    self.events.tell(now, EventKind::LoopOver { at: Place::Client, after });
                }
            }
        }
    }

    /// The loop that there is.
    pub(crate) fn report(&self, now: Duration) -> Option<LoopReport> {
        let (found_ago, opens_in) = self.guard.found(now)?;
        // What this client found itself is a way to the server's LAN.
        let with = opens_in.map(|_| Place::Root);
        Some(LoopReport { with, found_ago, opens_in })
    }
}
