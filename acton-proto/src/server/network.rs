//! The network's keys: the one in force, and the one before it for as long as it still does.

use super::Server;
use crate::handshake::{CookieKey, MacKey, QueryKeys, Secret};
use crate::wire::{HELLO_LEN, Hello, Key, Query};

/// What a server does with one network key.
pub(super) struct NetworkKey {
    pub(super) key: Option<Secret>,
    pub(super) cookie_key: CookieKey,
    pub(super) query_keys: QueryKeys,
}

impl NetworkKey {
    pub(super) fn new(server: &Key, key: Option<Secret>) -> Self {
        Self {
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

/// Tells a HELLO or QUERY that was made for this server, with the network key, from all others. It
/// costs a hash, and any thread can do it before they are handed to [`Server::handle_hello`] and
/// [`Server::handle_query`].
#[derive(Debug, Clone)]
pub struct HelloCheck {
    now: MacKey,
    before: Option<MacKey>,
    queries: Vec<QueryKeys>,
}

impl HelloCheck {
    /// For the server of this public key, the network key, and the one before it where that still does.
    #[must_use]
    pub fn new(server: &Key, key: Option<&Secret>, before: Option<&Secret>) -> Self {
        let networks = [key].into_iter().chain(before.map(Some));
        let queries = networks.map(|key| QueryKeys::new(server, key)).collect();
        let before = before.map(|before| MacKey::new(server, Some(before)));
        Self { now: MacKey::new(server, key), before, queries }
    }

    /// Whether the MAC of a QUERY is right.
    #[must_use]
    pub fn passes_query(&self, query: &Query) -> bool {
        self.queries.iter().any(|keys| keys.verify(query))
    }

    /// Whether mac1 is right.
    #[must_use]
    pub fn passes(&self, hello: &Hello) -> bool {
        self.era(&hello.encode()).is_some()
    }

    /// The key that mac1 was made with, if it was with one.
    pub(super) fn era(&self, hello: &[u8; HELLO_LEN]) -> Option<Era> {
        if self.now.verify_hello(hello) {
            return Some(Era::Now);
        }
        self.before.as_ref().is_some_and(|key| key.verify_hello(hello)).then_some(Era::Before)
    }
}

impl Server {
    /// What tells this network's HELLO from others, as of now.
    #[must_use]
    pub const fn hello_check(&self) -> &HelloCheck {
        &self.hello_check
    }

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
        self.hello_check = HelloCheck::new(&server, key.as_ref(), before.as_ref());
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
