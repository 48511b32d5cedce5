//! A server's key pair, and the secrets that it shares with clients that come again and again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::x25519::{self, Shared};
use super::{Secret, public_key};
use crate::wire::Key;

/// Boxed, so that a table that grows leaves no copy of them behind.
type Known = HashMap<Key, Box<Shared>, foldhash::quality::RandomState>;

/// The server's key pair. With the keys of clients that it was told to remember, a handshake spares
/// the Diffie-Hellman of the two static keys, whose result is always the same: a quarter of the
/// time of a rekey. What is remembered gives nobody more than the private key beside it.
pub(crate) struct Identity {
    private: Secret,
    public: Key,
    known: Mutex<Known>,
}

impl Identity {
    pub(crate) fn new(private: Secret) -> Self {
        let public = public_key(&private);
        Self { private, public, known: Mutex::new(HashMap::default()) }
    }

    pub(crate) const fn private(&self) -> &Secret {
        &self.private
    }

    pub(crate) const fn public(&self) -> &Key {
        &self.public
    }

    /// Keeps the secret shared with this client, until it is forgotten.
    pub(crate) fn remember(&self, client: &Key) {
        let mut known = self.known();
        if !known.contains_key(client)
            && let Some(shared) = x25519::shared_secret(&self.private, client)
        {
            known.insert(*client, Box::new(shared));
        }
    }

    pub(crate) fn forget(&self, client: &Key) {
        self.known().remove(client);
    }

    /// The secret shared with the holder of this key, of small order or not.
    pub(super) fn shared_secret(&self, public: &Key) -> Option<Shared> {
        let known = self.known().get(public).map(|shared| Shared::clone(shared));
        known.or_else(|| x25519::shared_secret(&self.private, public))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::SystemRandom;

    #[test]
    fn what_is_remembered_is_what_would_be_computed() {
        let mut random = SystemRandom;
        let identity = Identity::new(Secret::generate(&mut random));
        let client = public_key(&Secret::generate(&mut random));
        let computed = identity.shared_secret(&client);
        assert!(computed.is_some());
        for _ in 0..2 {
            identity.remember(&client);
            assert_eq!(identity.known().len(), 1);
            assert_eq!(identity.shared_secret(&client), computed);
        }
        identity.remember(&[0; 32]); // Of small order: there is nothing to share.
        assert_eq!(identity.known().len(), 1);
        assert_eq!(identity.shared_secret(&[0; 32]), None);
        identity.forget(&client);
        assert!(identity.known().is_empty());
        assert_eq!(identity.shared_secret(&client), computed);
    }
}
