//! The sessions of a server for those who ask from outside of its threads: by name.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;

use acton_bridge::CompiledPolicy;

use crate::floods::gate::FloodGate;
use crate::sessions::directory::Directory;
use crate::sessions::policing::Policing;
use crate::sessions::port::{LeafId, slot};
use crate::sessions::session::{Session, SessionMode};

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

    /// How many get what is flooded, and how many do not, for there is a loop through them.
    fn flooded(&self) -> (usize, usize);
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

    fn flooded(&self) -> (usize, usize) {
        let (mut flooded, mut blocked) = (0, 0);
        self.for_each(|session| match session.gate.is_blocked() {
            true => blocked += 1,
            false => flooded += 1,
        });
        (flooded, blocked)
    }
}
