//! What a worker saw of floods, on its way to the control thread.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use acton_bridge::{FloodClass, Owner};

use crate::loops::probe::Probe;
use crate::run::control::Message;
use crate::sessions::policing::PolicyReason;
use crate::sessions::port::LeafId;

/// What a worker saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloodNews {
    /// A budget begins to act on what comes from there.
    BudgetActs { at: Owner<LeafId>, class: FloodClass },
    /// A client's policy begins to drop frames for that reason.
    PolicyActs { port: LeafId, reason: PolicyReason },
    /// Much is flooded all at once.
    Surge,
    /// A probe of this end's came back from there; at a client, the root is the tunnel.
    ProbeBack { from: Owner<LeafId>, probe: Probe },
    /// At a client: the server says whether it holds the client's flooding back.
    ServerSays { blocked: bool },
}

/// A worker's way to tell of floods. It never waits: what finds no room is not told.
#[derive(Clone)]
pub(crate) struct FloodReporter {
    send: Arc<dyn Fn(FloodNews) -> bool + Send + Sync>,
}

impl FloodReporter {
    /// Tells the control thread that `control` leads to.
    pub(crate) fn new<N: Send + 'static>(control: SyncSender<Message<N>>) -> Self {
        Self { send: Arc::new(move |news| control.try_send(Message::Flood(news)).is_ok()) }
    }

    /// Tells the control thread; whether there was room. What is worth telling comes again.
    pub(crate) fn tell(&self, news: FloodNews) -> bool {
        (self.send)(news)
    }
}
