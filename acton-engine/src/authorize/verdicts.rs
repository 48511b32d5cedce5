//! What holds now, for those who ask who gets in.

use std::sync::Arc;

use acton_bridge::TagPair;
use acton_proto::wire::Key;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::sessions::admission::ClientPolicy;
use crate::sessions::pair_owners::PairOwners;

/// The terms of each, `None` where it may have no session.
type Terms = HashMap<Key, Option<Arc<ClientPolicy>>, RandomState>;

/// The terms, and which pairs of VLAN tags are whose by them.
#[derive(Debug, Default)]
struct Held {
    terms: Terms,
    pairs: PairOwners,
}

impl Held {
    fn replace(&mut self, client: Key, terms: Option<Option<Arc<ClientPolicy>>>) {
        let pair = |terms: Option<&Option<Arc<ClientPolicy>>>| terms?.as_ref()?.pair();
        if let Some(before) = pair(self.terms.get(&client)) {
            self.pairs.release(before, &client);
        }
        if let Some(after) = pair(terms.as_ref()) {
            self.pairs.give(after, client);
        }
        match terms {
            Some(terms) => _ = self.terms.insert(client, terms),
            None => _ = self.terms.remove(&client),
        }
    }
}

/// The verdicts in force. Clones are the same ones; all are on the control thread, so that nobody waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdicts(Arc<Mutex<Held>>);

impl Verdicts {
    /// The terms of a client that may have a session.
    pub(crate) fn terms(&self, client: &Key) -> Option<Arc<ClientPolicy>> {
        self.0.lock().terms.get(client).cloned().flatten()
    }

    /// Whether there is one, either way.
    pub(crate) fn is_there(&self, client: &Key) -> bool {
        self.0.lock().terms.contains_key(client)
    }

    /// Whether the client may have no session.
    pub(crate) fn denies(&self, client: &Key) -> bool {
        self.0.lock().terms.get(client).is_some_and(Option::is_none)
    }

    /// Whose a pair of VLAN tags is by a verdict.
    pub(crate) fn pair_owner(&self, pair: TagPair) -> Option<Key> {
        self.0.lock().pairs.owner(pair)
    }

    /// Those who have a pair by a verdict that is another's by these.
    pub(crate) fn at_odds_with(&self, pairs: &PairOwners) -> Vec<Key> {
        let held = self.0.lock();
        held.pairs
            .iter()
            .filter(|(pair, _)| pairs.owner(*pair).is_some())
            .map(|(_, key)| key)
            .collect()
    }

    pub(super) fn set(&self, client: Key, terms: Option<Arc<ClientPolicy>>) {
        self.0.lock().replace(client, Some(terms));
    }

    pub(super) fn remove(&self, client: &Key) {
        self.0.lock().replace(*client, None);
    }
}
