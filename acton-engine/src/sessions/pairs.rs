//! Which client has which pair of VLAN tags: a frame from the root with one goes to it whatever its MAC.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use acton_bridge::{TagPair, VlanId};
use acton_frame::field::ethernet::C_TAG;
use acton_frame::{Headers, Tag};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::sessions::port::LeafId;

/// VLAN ids that there are.
const IDS: usize = 1 << 12;
/// A pair that nobody has.
const NOBODY: u64 = u64::MAX;
/// In the place of a port: the pair is one client's, which is not here.
const AWAY: u64 = 1 << 48;

/// The ports of clients by inner VLAN, each below the kind of its outer tag.
type Inner = [AtomicU64; IDS];

/// The port of each pair, read without waiting and in one step: 32 KiB for each outer VLAN that has one.
#[derive(Debug)]
pub(crate) struct Pairs {
    ports: Box<[OnceLock<Box<Inner>>]>,
    /// Those that the list gives to clients, here or not, by their VLANs: two that differ in the kind of
    /// their outer tag alone are one there. The control thread alone asks for them.
    kept: Mutex<HashMap<(VlanId, VlanId), TagPair, RandomState>>,
}

/// Whose a pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// This client's.
    Here(LeafId),
    /// A client's that has no session.
    Away,
}

impl Holder {
    pub(crate) fn port(self) -> Option<LeafId> {
        match self {
            Self::Here(port) => Some(port),
            Self::Away => None,
        }
    }
}

impl Default for Pairs {
    fn default() -> Self {
        Self { ports: (0..IDS).map(|_| OnceLock::new()).collect(), kept: Mutex::default() }
    }
}

impl Pairs {
    /// Whose pair a frame has.
    #[inline]
    pub(crate) fn find(&self, headers: &Headers, frame: &[u8]) -> Option<Holder> {
        if headers.tags() < 2 {
            return None;
        }
        let (outer, inner) = (Tag::of(headers, frame, 0)?, Tag::of(headers, frame, 1)?);
        let ports = self.ports[usize::from(outer.vlan())].get()?;
        let entry = ports[usize::from(inner.vlan())].load(Ordering::Acquire);
        let is_its = ((entry >> 32) as u16, inner.tpid) == (outer.tpid, C_TAG);
        if !is_its || entry == NOBODY {
            return None;
        }
        Some(if entry & AWAY == 0 { Holder::Here(entry as LeafId) } else { Holder::Away })
    }

    /// Gives a pair to a client, whoever had it.
    pub(crate) fn give(&self, pair: TagPair, port: LeafId) {
        self.of(pair).store(entry(pair, port), Ordering::Release);
    }

    /// Takes a pair from a client, if that has it still. The list may have given its VLANs to another
    /// client meanwhile, with another kind of tag.
    pub(crate) fn take(&self, pair: TagPair, port: LeafId) {
        let after = self.kept.lock().get(&ids(pair)).map_or(NOBODY, |kept| away(*kept));
        self.replace(pair, entry(pair, port), after);
    }

    /// Keeps these pairs, and no others, for clients while they are away.
    pub(crate) fn keep(&self, pairs: impl IntoIterator<Item = TagPair>) {
        let pairs: HashMap<_, _, _> = pairs.into_iter().map(|pair| (ids(pair), pair)).collect();
        let mut kept = self.kept.lock();
        for (ids, before) in kept.iter().filter(|(ids, before)| pairs.get(*ids) != Some(*before)) {
            let after = pairs.get(ids).map_or(NOBODY, |after| away(*after));
            self.replace(*before, away(*before), after);
        }
        for (_, pair) in pairs.iter().filter(|(ids, _)| !kept.contains_key(*ids)) {
            self.replace(*pair, NOBODY, away(*pair));
        }
        *kept = pairs;
    }

    fn replace(&self, pair: TagPair, before: u64, after: u64) {
        let order = Ordering::AcqRel;
        let _ = self.of(pair).compare_exchange(before, after, order, Ordering::Relaxed);
    }

    fn of(&self, TagPair { outer, inner, .. }: TagPair) -> &AtomicU64 {
        let ports = self.ports[usize::from(outer.get())]
            .get_or_init(|| Box::new([const { AtomicU64::new(NOBODY) }; IDS]));
        &ports[usize::from(inner.get())]
    }
}

fn ids(TagPair { outer, inner, .. }: TagPair) -> (VlanId, VlanId) {
    (outer, inner)
}

fn entry(pair: TagPair, port: LeafId) -> u64 {
    u64::from(pair.tpid.number()) << 32 | u64::from(port)
}

fn away(pair: TagPair) -> u64 {
    entry(pair, 0) | AWAY
}

#[cfg(test)]
mod tests {
    use acton_bridge::{OuterTag, VlanId};
    use acton_frame::Tags;

    use super::*;

    #[test]
    fn a_pair_is_whose_it_was_given_last() {
        let pairs = Pairs::default();
        let find_of = |[outer_tag, inner_tag]: [u16; 2], outer, inner| {
            let outer = Tag { tpid: outer_tag, tci: outer };
            let frame = Tags::two(outer, Tag { tpid: inner_tag, tci: inner }).in_front_of(&[2; 60]);
            pairs.find(&Headers::parse(&frame), &frame)
        };
        let find = |outer, inner| find_of([0x88a8, C_TAG], outer, inner);
        let pair = |outer, inner| {
            let [outer, inner] = [outer, inner].map(|id| VlanId::new(id).unwrap());
            TagPair { outer, inner, tpid: OuterTag::Service }
        };
        assert_eq!(find(1_000, 17), None);
        pairs.give(pair(1_000, 17), 0);
        pairs.give(pair(1_000, 18), LeafId::MAX);
        // Priorities are no part of it.
        let here = |port| Some(Holder::Here(port));
        assert_eq!((find(0xf3e8, 0x3011), find(1_000, 18)), (here(0), here(LeafId::MAX)));
        for kinds in [[C_TAG, C_TAG], [0x88a8, 0x88a8]] {
            assert_eq!(find_of(kinds, 1_000, 17), None);
        }
        assert_eq!((find(17, 1_000), find(0, 0), find(1_000, 19)), (None, None, None));
        pairs.give(pair(1_000, 17), 5);
        pairs.take(pair(1_000, 17), 0);
        assert_eq!(find(1_000, 17), here(5));
        pairs.take(pair(1_000, 17), 5);
        assert_eq!(find(1_000, 17), None);
        let frame = Tags::one(Tag { tpid: 0x8100, tci: 1_000 }).in_front_of(&[2; 60]);
        assert_eq!(pairs.find(&Headers::parse(&frame), &frame), None);
    }

    #[test]
    fn a_pair_that_is_kept_is_nobody_else_s_while_its_client_is_away() {
        let pairs = Pairs::default();
        let find = |outer_tag| {
            let outer = Tag { tpid: outer_tag, tci: 1_000 };
            let frame = Tags::two(outer, Tag { tpid: C_TAG, tci: 17 }).in_front_of(&[2; 60]);
            pairs.find(&Headers::parse(&frame), &frame)
        };
        let pair = |tpid| {
            let [outer, inner] = [1_000, 17].map(|id| VlanId::new(id).unwrap());
            TagPair { outer, inner, tpid }
        };
        let (service, customer) = (pair(OuterTag::Service), pair(OuterTag::Customer));
        pairs.keep([service]);
        assert_eq!((find(0x88a8), find(C_TAG)), (Some(Holder::Away), None));
        pairs.give(service, 5);
        assert_eq!(find(0x88a8), Some(Holder::Here(5)));
        pairs.take(service, 5);
        assert_eq!(find(0x88a8), Some(Holder::Away));
        pairs.keep([customer]);
        assert_eq!((find(0x88a8), find(C_TAG)), (None, Some(Holder::Away)));
        // The list has it no more while its client is here, and again.
        pairs.give(customer, 6);
        pairs.keep([]);
        assert_eq!(find(C_TAG), Some(Holder::Here(6)));
        pairs.keep([customer]);
        pairs.keep([]);
        pairs.take(customer, 6);
        assert_eq!(find(C_TAG), None);
        // Its VLANs go to another client while it is here, with another kind of tag.
        pairs.keep([customer]);
        pairs.give(customer, 5);
        pairs.keep([service]);
        assert_eq!((find(0x88a8), find(C_TAG)), (None, Some(Holder::Here(5))));
        pairs.take(customer, 5);
        assert_eq!((find(0x88a8), find(C_TAG)), (Some(Holder::Away), None));
    }
}
