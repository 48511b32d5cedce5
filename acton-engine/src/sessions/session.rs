//! One session, as workers see it.

use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::CompiledPolicy;
use acton_udp::Destination;

use crate::floods::gate::FloodGate;
use crate::observe::status::SessionStatus;
use crate::observe::tally::Tallies;
use crate::sessions::directory::Ported;
use crate::sessions::policing::Policing;
use crate::sessions::port::LeafId;

/// A session, with what its mode adds. It never changes: the control thread puts another in its
/// place.
#[derive(Debug, Clone)]
pub(crate) struct Session<M> {
    /// The client's port on the bridge.
    pub(crate) port: LeafId,
    /// What operators call the client.
    pub(crate) name: Arc<str>,
    /// Where datagrams to it go.
    pub(crate) to: Arc<Destination>,
    /// When the session began.
    pub(crate) since: Duration,
    /// What went through it.
    pub(crate) tallies: Arc<Tallies>,
    /// What of that may be flooded.
    pub(crate) gate: Arc<FloodGate>,
    /// What it may send and get.
    pub(crate) policy: Arc<CompiledPolicy>,
    /// What came of that.
    pub(crate) policing: Arc<Policing>,
    /// What the mode adds.
    pub(crate) mode: M,
}

/// What a mode adds to a session.
pub(crate) trait SessionMode {
    /// Who a client is, also once its session is over.
    type Client: Copy + Eq + Hash;

    /// The client.
    fn client(&self) -> Self::Client;

    /// Where it is.
    fn address(&self) -> SocketAddr;

    /// Adds to a status what says who a client is, beside its name and address.
    fn identify(client: &Self::Client, status: &mut SessionStatus);
}

impl<M> Ported for Session<M> {
    fn port(&self) -> LeafId {
        self.port
    }
}
