//! What is read for each frame to a group, without a lock: who gets it.

use std::hash::BuildHasher;
use std::iter;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::group::{Group, IpFamily};
use super::querier::Querier;
use crate::port::Port;

/// Parts of the index, of which a change copies one: with 10,000 groups it holds some 40.
const SHARDS: usize = 256;

/// Leaves by their bits, in order.
pub(super) type Leaves = Arc<[u32]>;
type Shard = HashMap<Group, Leaves, RandomState>;

/// From when to when groups of an IP version on a VLAN go to those alone who asked for them.
#[derive(Debug, Clone, Copy)]
struct Span {
    known_until: Duration,
    settled: Duration,
}

/// Whether somebody asks hosts for groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// Nobody.
    No,
    /// Somebody, and answers are still to come.
    Since,
    /// Somebody, and all had time to answer.
    Settled,
}

/// The members of groups, as readers see them. One at a time changes it.
#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[ArcSwap<Shard>]>,
    hasher: RandomState,
    /// Who gets all groups.
    all: ArcSwap<Leaves>,
    /// Of these, multicast routers.
    routers: ArcSwap<Leaves>,
    queriers: ArcSwap<HashMap<(u16, IpFamily), Span, RandomState>>,
    nobody: Leaves,
}

/// Who gets a frame for a group. Clones and what comes of an iterator allocate nothing.
#[derive(Debug, Clone)]
pub struct Receivers<P> {
    members: Leaves,
    all: Leaves,
    leaf: PhantomData<P>,
}

impl<P: Port> Receivers<P> {
    /// Each of them once.
    pub fn iter(&self) -> impl Iterator<Item = P> {
        let others = self.members.iter().filter(|leaf| self.all.binary_search(leaf).is_err());
        self.all.iter().chain(others).map(|&leaf| P::from_bits(leaf))
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        if self.all.is_empty() { self.members.len() } else { self.iter().count() }
    }

    /// Whether they are those of another for sure: nothing was changed between the two.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.members, &other.members) && Arc::ptr_eq(&self.all, &other.all)
    }

    /// Whether nobody gets it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.all.is_empty()
    }

    /// Whether a leaf is among them.
    #[must_use]
    pub fn contains(&self, leaf: P) -> bool {
        let leaf = leaf.to_bits();
        [&self.members, &self.all].into_iter().any(|some| some.binary_search(&leaf).is_ok())
    }
}

impl Index {
    pub(super) fn new() -> Self {
        let nobody = Leaves::default();
        Self {
            shards: iter::repeat_with(ArcSwap::default).take(SHARDS).collect(),
            hasher: RandomState::default(),
            all: ArcSwap::from_pointee(Arc::clone(&nobody)),
            routers: ArcSwap::from_pointee(Arc::clone(&nobody)),
            queriers: ArcSwap::default(),
            nobody,
        }
    }

    fn shard(&self, group: &Group) -> &ArcSwap<Shard> {
        &self.shards[self.hasher.hash_one(group) as usize % SHARDS]
    }

    /// Who asked for a group, and who gets all.
    pub(super) fn receivers<P>(&self, group: &Group) -> Receivers<P> {
        let members = self.shard(group).load().get(group).map(Arc::clone);
        let members = members.unwrap_or_else(|| Arc::clone(&self.nobody));
        Receivers { members, all: Leaves::clone(&self.all.load()), leaf: PhantomData }
    }

    /// Where the multicast routers are.
    pub(super) fn routers<P>(&self) -> Receivers<P> {
        let (members, all) = (Leaves::clone(&self.nobody), Leaves::clone(&self.routers.load()));
        Receivers { members, all, leaf: PhantomData }
    }

    pub(super) fn asking(&self, vlan: u16, family: IpFamily, now: Duration) -> Asking {
        match self.queriers.load().get(&(vlan, family)) {
            Some(span) if now >= span.known_until => Asking::No,
            Some(span) if now >= span.settled => Asking::Settled,
            Some(_) => Asking::Since,
            None => Asking::No,
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().len()).sum()
    }

    /// Leaves that get all groups.
    pub(super) fn gets_all(&self) -> usize {
        self.all.load().len()
    }

    pub(super) fn add(&self, group: Group, leaf: u32) {
        let shard = self.shard(&group);
        let mut groups = Shard::clone(&shard.load());
        let members = groups.entry(group).or_insert_with(|| Arc::clone(&self.nobody));
        *members = with(members, leaf);
        shard.store(Arc::new(groups));
    }

    pub(super) fn remove(&self, group: &Group, leaf: u32) {
        let shard = self.shard(group);
        let mut groups = Shard::clone(&shard.load());
        if let Some(members) = groups.get_mut(group) {
            *members = without(members, leaf);
            if members.is_empty() {
                groups.remove(group);
            }
            shard.store(Arc::new(groups));
        }
    }

    /// Says whether a leaf gets all groups, and whether for being a router.
    pub(super) fn set_all(&self, leaf: u32, gets_all: bool, is_router: bool) {
        for (list, is_in) in [(&self.all, gets_all), (&self.routers, gets_all && is_router)] {
            let leaves = list.load();
            if leaves.binary_search(&leaf).is_ok() != is_in {
                let new = if is_in { with(&leaves, leaf) } else { without(&leaves, leaf) };
                list.store(Arc::new(new));
            }
        }
    }

    pub(super) fn set_querier(&self, vlan: u16, family: IpFamily, querier: Option<&Querier>) {
        let mut queriers = HashMap::clone(&self.queriers.load());
        match querier {
            Some(&Querier { until, settled, .. }) => {
                queriers.insert((vlan, family), Span { known_until: until, settled });
            }
            None => {
                queriers.remove(&(vlan, family));
            }
        }
        self.queriers.store(Arc::new(queriers));
    }

    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.store(Arc::default()));
        for list in [&self.all, &self.routers] {
            list.store(Arc::new(Arc::clone(&self.nobody)));
        }
        self.queriers.store(Arc::default());
    }
}

fn with(leaves: &Leaves, leaf: u32) -> Leaves {
    let (Ok(at) | Err(at)) = leaves.binary_search(&leaf);
    let (before, behind) = leaves.split_at(at);
    let behind = behind.strip_prefix(&[leaf]).unwrap_or(behind);
    [before, &[leaf], behind].concat().into()
}

fn without(leaves: &Leaves, leaf: u32) -> Leaves {
    leaves.iter().copied().filter(|&other| other != leaf).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_receiver_comes_once() {
        let index = Index::new();
        let group = Group::new(7, "239.1.2.3".parse().unwrap()).unwrap();
        let other = Group { vlan: 8, ..group };
        let receivers = |group: &Group| index.receivers::<u32>(group);
        assert!(receivers(&group).is_empty());
        for leaf in [5, 3, 9, 5] {
            index.add(group, leaf);
        }
        assert_eq!(receivers(&group).iter().collect::<Vec<_>>(), [3, 5, 9]);
        index.set_all(5, true, true);
        index.set_all(4, true, false);
        let all = receivers(&group);
        assert_eq!(all.iter().collect::<Vec<_>>(), [4, 5, 3, 9]);
        assert_eq!((all.count(), all.contains(4), all.contains(6)), (4, true, false));
        assert_eq!(receivers(&other).iter().collect::<Vec<_>>(), [4, 5]);
        assert_eq!(index.routers::<u32>().iter().collect::<Vec<_>>(), [5]);
        index.set_all(5, false, true);
        index.remove(&group, 5);
        index.remove(&other, 5);
        assert_eq!(receivers(&group).iter().collect::<Vec<_>>(), [4, 3, 9]);
        assert_eq!((index.groups(), index.routers::<u32>().count()), (1, 0));
        index.clear();
        assert_eq!((index.groups(), receivers(&group).count()), (0, 0));
    }
}
