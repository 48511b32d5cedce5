//! A server's watch for loops, as its control thread has it.

use std::sync::Arc;
use std::time::Duration;

use acton_bridge::Owner;

use crate::floods::probe_source::ProbeSource;
use crate::floods::shared::Floods;
use crate::loops::probe::{LEN, Probe, Way};
use crate::loops::server_guard::{Action, Held, JoinedWith, SentTo, ServerGuard};
use crate::run::tap_interface::TapInterface;
use crate::sessions::port::LeafId;

/// Looks for loops; what it finds is the roster's to carry out.
#[derive(Debug)]
pub(crate) struct ServerWatch {
    guard: ServerGuard<LeafId>,
    floods: Arc<Floods>,
    source: ProbeSource,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum WatchOrder {
    /// Send a probe.
    Probe(OutgoingProbe),
    /// Hold a client's flooding back, at least for so long.
    Block { port: LeafId, with: JoinedWith<LeafId>, hold: Duration },
    /// Let it flood again; it was held back for so long.
    Open { port: LeafId, after: Duration },
    /// Tell that a client's LAN sends frames back.
    TellReflects { port: LeafId },
}

/// A probe on its way out.
#[derive(Debug)]
pub(crate) struct OutgoingProbe {
    /// The client that it goes to; `None` for the TAP.
    pub(crate) to: Option<LeafId>,
    pub(crate) frame: [u8; LEN],
}

impl ServerWatch {
    /// A watch over all of a server's clients; `None` where nobody looks for loops.
    pub(crate) fn new(
        floods: Arc<Floods>,
        interface: Arc<TapInterface>,
        now: Duration,
    ) -> Option<Self> {
        let guard = ServerGuard::new(now, floods.prober.as_ref()?.seed());
        Some(Self { guard, floods, source: ProbeSource::new(interface) })
    }

    pub(crate) fn client_up(&mut self, now: Duration, port: LeafId) {
        self.guard.client_up(now, port);
    }

    pub(crate) fn client_down(&mut self, now: Duration, port: LeafId) {
        self.guard.client_down(now, port);
    }

    /// Something looks like a loop, of that client where it is one's.
    pub(crate) fn suspect(&mut self, now: Duration, client: Option<LeafId>) {
        self.guard.suspect(now, client);
    }

    /// A probe of this server's came back from there.
    pub(crate) fn came_back(&mut self, now: Duration, from: Owner<LeafId>, probe: Probe) {
        let sent_to = match probe.way {
            Way::Tap => SentTo::Tap,
            Way::Client { port, .. } => SentTo::Client(port),
        };
        self.guard.came_back(now, sent_to, probe.sent, from);
    }

    pub(crate) fn due(&self) -> Duration {
        self.guard.due()
    }

    /// How many clients are held back.
    pub(crate) fn held_count(&self) -> usize {
        self.guard.held_count()
    }

    /// How a client is held back, where it is.
    pub(crate) fn held(&self, now: Duration, port: LeafId) -> Option<Held<LeafId>> {
        self.guard.held(now, port)
    }

    /// What is to be done now, one after the other.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<WatchOrder> {
        let (to, way) = match self.guard.poll(now)? {
            Action::ProbeTap => (None, Way::Tap),
            Action::ProbeClient { port, blocked } => (Some(port), Way::Client { port, blocked }),
            Action::Block { port, with, hold } => {
                return Some(WatchOrder::Block { port, with, hold });
            }
            Action::Open { port, after } => return Some(WatchOrder::Open { port, after }),
            Action::TellReflects { port } => return Some(WatchOrder::TellReflects { port }),
        };
        let frame = self.source.frame(self.floods.prober.as_ref()?, way, now);
        Some(WatchOrder::Probe(OutgoingProbe { to, frame }))
    }
}
