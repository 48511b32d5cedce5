//! The sessions of a server for those who ask from outside of its threads: by name.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;

use acton_bridge::{CircuitEcho, CompiledPolicy, FrameVlan, Vlans};

use crate::floods::gate::FloodGate;
use crate::sessions::circuits::{self, Addressee};
use crate::sessions::directory::Directory;
use crate::sessions::pairs::Holder;
use crate::sessions::policing::Policing;
use crate::sessions::port::{LeafId, slot};
use crate::sessions::session::{Session, SessionMode};
use crate::sessions::vlan_members::is_wide;

/// How many sessions get what is flooded, and how many do not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flooded {
    pub(crate) reached: usize,
    /// Those of them that are in many VLANs, or in all.
    pub(crate) wide: usize,
    /// There is a loop through them.
    pub(crate) blocked: usize,
    /// They are in other VLANs.
    pub(crate) elsewhere: usize,
}

/// Who is there, whatever the mode.
pub(crate) trait SessionNames: Send + Sync {
    /// What operators call the client with that port.
    fn name(&self, port: LeafId) -> Option<Arc<str>>;

    /// The port of a session by what operators may call it: the client's name, its UDP address or
    /// the session's number.
    fn find(&self, wanted: &str) -> Option<LeafId>;

    /// Who is at which UDP address.
    fn addresses(&self) -> HashMap<SocketAddr, Arc<str>>;

    /// What is flooded from a client, and to it.
    fn gate(&self, port: LeafId) -> Option<Arc<FloodGate>>;

    /// What a client may send and get, and what came of that.
    fn policing(&self, port: LeafId) -> Option<(Arc<CompiledPolicy>, Arc<Policing>)>;

    /// Who gets what is flooded in a VLAN.
    fn flooded(&self, vlan: FrameVlan) -> Flooded;

    /// Whom a frame from the root with the name of a circuit is for, which is addressed to the client
    /// `there`.
    fn addressee(&self, echo: &CircuitEcho, frame: &[u8], there: Option<Holder>) -> Addressee;
}

impl<K, M> SessionNames for Directory<K, Session<M>>
where
    K: Copy + Eq + Hash + Send + Sync,
    M: SessionMode + Send + Sync,
{
    fn name(&self, port: LeafId) -> Option<Arc<str>> {
        self.read(port, |session| Arc::clone(&session.name))
    }

    fn find(&self, wanted: &str) -> Option<LeafId> {
        let (number, address) = (wanted.parse::<usize>().ok(), wanted.parse().ok());
        let (mut by_name, mut otherwise) = (None, None);
        self.for_each(|session| {
            if *session.name == *wanted {
                by_name = Some(session.port);
            } else if number == Some(slot(session.port)) || address == Some(session.mode.address())
            {
                otherwise = Some(session.port);
            }
        });
        by_name.or(otherwise)
    }

    fn addresses(&self) -> HashMap<SocketAddr, Arc<str>> {
        let mut clients = HashMap::with_capacity(self.len());
        self.for_each(|session| {
            clients.insert(session.mode.address(), Arc::clone(&session.name));
        });
        clients
    }

    fn gate(&self, port: LeafId) -> Option<Arc<FloodGate>> {
        self.read(port, |session| Arc::clone(&session.gate))
    }

    fn policing(&self, port: LeafId) -> Option<(Arc<CompiledPolicy>, Arc<Policing>)> {
        self.read(port, |session| (Arc::clone(&session.policy), Arc::clone(&session.policing)))
    }

    fn flooded(&self, vlan: FrameVlan) -> Flooded {
        let mut counts = Flooded::default();
        self.for_each(|session| {
            let is_in = |vlans: &Vlans| vlans.of_flood(vlan).is_some();
            let vlans = session.policy.vlans();
            if !vlans.is_none_or(is_in) {
                counts.elsewhere += 1;
            } else if session.gate.is_blocked() {
                counts.blocked += 1;
            } else {
                counts.reached += 1;
                counts.wide += usize::from(is_wide(vlans));
            }
        });
        counts
    }

    fn addressee(&self, echo: &CircuitEcho, frame: &[u8], there: Option<Holder>) -> Addressee {
        circuits::addressee(self, echo, frame, there)
    }
}
