//! The network's keys: the one in force, and the one before it for as long as it still does.

use super::Server;
use crate::handshake::{CookieKey, MacKey, QueryKeys, Secret};
use crate::wire::Key;

/// What a server does with one network key.
pub(super) struct NetworkKey {
    pub(super) key: Option<Secret>,
    pub(super) mac_to_us: MacKey,
    pub(super) cookie_key: CookieKey,
    pub(super) query_keys: QueryKeys,
}

impl NetworkKey {
    pub(super) fn new(server: &Key, key: Option<Secret>) -> Self {
        Self {
            mac_to_us: MacKey::new(server, key.as_ref()),
            cookie_key: CookieKey::new(server, key.as_ref()),
            query_keys: QueryKeys::new(server, key.as_ref()),
            key,
        }
    }
}

/// Which network key a HELLO was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// That in force.
    Now,
    /// The one before it.
    Before,
}

impl Server {
    /// The network key from now on, and the one before it where that still does. Where there is one
    /// before, clients that use it and know how are told the new one in their sessions; those must be
    /// the ones that are meant to have it, so without a list of clients there should be none.
    pub fn set_network_keys(&mut self, key: Option<Secret>, before: Option<Secret>) {
        if key != self.network.key {
            for peer in self.peers.iter_mut().flatten() {
                if let Some(session) = &mut peer.session {
                    session.era = Era::Before;
                }
                if let Some(pending) = &mut peer.pending {
                    pending.era = Era::Before;
                }
            }
        }
        let server = *self.identity.public();
        self.network = NetworkKey::new(&server, key);
        self.network_before = before.map(|key| NetworkKey::new(&server, Some(key)));
    }

    /// The key of an era. Where the one before has come to an end meanwhile, it is that in force.
    pub(super) fn network_of(&self, era: Era) -> &NetworkKey {
        match era {
            Era::Now => &self.network,
            Era::Before => self.network_before.as_ref().unwrap_or(&self.network),
        }
    }
}
