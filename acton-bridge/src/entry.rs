//! What the bridge knows of an address.

use std::time::Duration;

use pnet_base::MacAddr;

use crate::fdb::Fdb;
use crate::key;
use crate::port::{Owner, Port};
use crate::table::Found;

/// What the bridge knows of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Entry<P> {
    /// The VLAN id, 0 for untagged. The root has an address on every VLAN: that of its first frame,
    /// 0 where there was none.
    pub vlan: u16,
    /// The address.
    pub mac: MacAddr,
    /// Where it lives.
    pub owner: Owner<P>,
    /// The time since its last frame; `None` where it does not age: a static entry, or a
    /// [pinned](crate::Bridge::pin) one.
    #[cfg_attr(feature = "serde", serde(with = "crate::seconds"))]
    pub age: Option<Duration>,
    /// How much longer no other leaf can take it because its owner was heard of, but for one that
    /// [shares](crate::Bridge::set_leaf_shared) it; each frame of the owner starts that time anew
    /// ([`MovePolicy`](crate::MovePolicy)). `None` if it is not held, or does not age.
    #[cfg_attr(feature = "serde", serde(with = "crate::seconds"))]
    pub held_for: Option<Duration>,
    /// How much longer no other leaf can take it because it moved too often, but for one that shares
    /// it; `None` if it is not frozen.
    #[cfg_attr(feature = "serde", serde(with = "crate::seconds"))]
    pub frozen_for: Option<Duration>,
}

impl<P> Entry<P> {
    /// The same entry, its leaf by another name.
    pub fn map<Q>(self, leaf: impl FnOnce(P) -> Q) -> Entry<Q> {
        let Self { vlan, mac, owner, age, held_for, frozen_for } = self;
        Entry { vlan, mac, owner: owner.map(leaf), age, held_for, frozen_for }
    }
}

impl<P: Port> Entry<P> {
    pub(crate) fn new(fdb: &Fdb, key: u64, found: &Found, now: u64) -> Self {
        let age = Duration::from_nanos(now.saturating_sub(found.seen));
        Self {
            vlan: key::vlan(key, found.owner),
            mac: key::address(key).mac(),
            owner: key::owner(found.owner).map(P::from_bits),
            age: fdb.ages(found).then_some(age),
            held_for: left(fdb.held_until(key, found), now),
            frozen_for: left(found.frozen_until, now),
        }
    }
}

fn left(until: u64, now: u64) -> Option<Duration> {
    (now < until).then(|| Duration::from_nanos(until - now))
}
