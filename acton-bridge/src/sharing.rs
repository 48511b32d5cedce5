//! Ranges of addresses that leaves share.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use foldhash::quality::RandomState;
use hashbrown::HashMap;

use crate::address::Address;
use crate::range::MacRange;

/// Parts of the table, so that a change copies the ranges of few leaves.
const SHARDS: usize = 64;

type Leaves = HashMap<u32, Arc<[MacRange]>, RandomState>;

/// Which ranges all leaves share, and which each of them. Asked of an address that moves, so ranges are
/// looked at one by one. Readers take no lock; changes are made by the one writer.
#[derive(Debug)]
pub(crate) struct Sharing {
    all: ArcSwap<Vec<MacRange>>,
    /// A part without ranges, as nearly all are, is `None`.
    shards: [ArcSwapOption<Leaves>; SHARDS],
}

impl Sharing {
    pub(crate) fn new(all: Vec<MacRange>) -> Self {
        let shards = std::array::from_fn(|_| ArcSwapOption::empty());
        Self { all: ArcSwap::from_pointee(all), shards }
    }

    /// Whether all leaves share an address.
    pub(crate) fn has_all(&self, address: Address) -> bool {
        self.all.load().iter().any(|range| range.has(address))
    }

    /// Sets the ranges of all leaves, in place of those before.
    pub(crate) fn set_all(&self, ranges: Vec<MacRange>) {
        self.all.store(Arc::new(ranges));
    }

    fn shard(&self, leaf: u32) -> &ArcSwapOption<Leaves> {
        &self.shards[leaf as usize % SHARDS]
    }

    /// Whether a leaf shares an address, whatever the others do.
    pub(crate) fn has(&self, leaf: u32, address: Address) -> bool {
        let leaves = self.shard(leaf).load();
        let ranges = leaves.as_ref().and_then(|leaves| leaves.get(&leaf));
        ranges.is_some_and(|ranges| ranges.iter().any(|range| range.has(address)))
    }

    /// Sets the ranges of a leaf, in place of those before.
    pub(crate) fn set(&self, leaf: u32, ranges: &[MacRange]) {
        let before = self.shard(leaf).load_full();
        if ranges.is_empty() && before.as_ref().is_none_or(|leaves| !leaves.contains_key(&leaf)) {
            return;
        }
        let mut leaves = before.as_deref().cloned().unwrap_or_default();
        if ranges.is_empty() {
            leaves.remove(&leaf);
        } else {
            leaves.insert(leaf, ranges.into());
        }
        self.shard(leaf).store((!leaves.is_empty()).then(|| Arc::new(leaves)));
    }
}
