//! Whose pairs of VLAN tags are whose, where a client may have one that is here or not.

use acton_bridge::{TagPair, VlanId};
use acton_proto::wire::Key;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// The client of each pair. Two that differ in the kind of their outer tag alone are one, as in a list.
#[derive(Debug, Default)]
pub(crate) struct PairOwners(HashMap<(VlanId, VlanId), (TagPair, Key), RandomState>);

impl PairOwners {
    /// Whose a pair is.
    pub(crate) fn owner(&self, pair: TagPair) -> Option<Key> {
        self.0.get(&ids(pair)).map(|(_, client)| *client)
    }

    pub(crate) fn give(&mut self, pair: TagPair, client: Key) {
        self.0.insert(ids(pair), (pair, client));
    }

    /// Takes a pair from a client, if it is its.
    pub(crate) fn release(&mut self, pair: TagPair, client: &Key) {
        if self.owner(pair) == Some(*client) {
            self.0.remove(&ids(pair));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TagPair, Key)> {
        self.0.values().copied()
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = TagPair> {
        self.iter().map(|(pair, _)| pair)
    }
}

impl FromIterator<(TagPair, Key)> for PairOwners {
    fn from_iter<I: IntoIterator<Item = (TagPair, Key)>>(all: I) -> Self {
        let mut owners = Self::default();
        all.into_iter().for_each(|(pair, client)| owners.give(pair, client));
        owners
    }
}

fn ids(TagPair { outer, inner, .. }: TagPair) -> (VlanId, VlanId) {
    (outer, inner)
}
