//! What holds now, for those who ask who gets in.

use std::sync::Arc;

use acton_proto::wire::Key;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::sessions::admission::ClientPolicy;

/// The terms of each, `None` where it may have no session.
type Terms = HashMap<Key, Option<Arc<ClientPolicy>>, RandomState>;

/// The verdicts in force. Clones are the same ones; all are on the control thread, so that nobody waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdicts(Arc<Mutex<Terms>>);

impl Verdicts {
    /// The terms of a client that may have a session.
    pub(crate) fn terms(&self, client: &Key) -> Option<Arc<ClientPolicy>> {
        self.0.lock().get(client).cloned().flatten()
    }

    /// Whether there is one, either way.
    pub(crate) fn is_there(&self, client: &Key) -> bool {
        self.0.lock().contains_key(client)
    }

    /// Whether the client may have no session.
    pub(crate) fn denies(&self, client: &Key) -> bool {
        self.0.lock().get(client).is_some_and(Option::is_none)
    }

    pub(super) fn set(&self, client: Key, terms: Option<Arc<ClientPolicy>>) {
        self.0.lock().insert(client, terms);
    }

    pub(super) fn remove(&self, client: &Key) {
        self.0.lock().remove(client);
    }
}
