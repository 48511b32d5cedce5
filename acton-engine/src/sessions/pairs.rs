//! Which client has which pair of VLAN tags: a frame from the root with one goes to it whatever its MAC.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use acton_bridge::TagPair;
use acton_frame::field::ethernet::C_TAG;
use acton_frame::{Headers, Tag};

use crate::sessions::port::LeafId;

/// VLAN ids that there are.
const IDS: usize = 1 << 12;
/// A pair that nobody has.
const NOBODY: u64 = u64::MAX;

/// The ports of clients by inner VLAN, each below the kind of its outer tag.
type Inner = [AtomicU64; IDS];

/// The port of each pair, read without waiting and in one step: 32 KiB for each outer VLAN that has one.
#[derive(Debug)]
pub(crate) struct Pairs(Box<[OnceLock<Box<Inner>>]>);

impl Default for Pairs {
    fn default() -> Self {
        Self((0..IDS).map(|_| OnceLock::new()).collect())
    }
}

impl Pairs {
    /// The client whose pair a frame from the root has.
    #[inline]
    pub(crate) fn find(&self, headers: &Headers, frame: &[u8]) -> Option<LeafId> {
        if headers.tags() < 2 {
            return None;
        }
        let (outer, inner) = (Tag::of(headers, frame, 0)?, Tag::of(headers, frame, 1)?);
        let ports = self.0[usize::from(outer.vlan())].get()?;
        let entry = ports[usize::from(inner.vlan())].load(Ordering::Acquire);
        let is_its = (entry >> 32, inner.tpid) == (outer.tpid.into(), C_TAG);
        is_its.then_some(entry as LeafId)
    }

    /// Gives a pair to a client, whoever had it.
    pub(crate) fn give(&self, pair: TagPair, port: LeafId) {
        self.of(pair).store(entry(pair, port), Ordering::Release);
    }

    /// Takes a pair from a client, if that has it still.
    pub(crate) fn take(&self, pair: TagPair, port: LeafId) {
        let (its, order) = (entry(pair, port), Ordering::AcqRel);
        let _ = self.of(pair).compare_exchange(its, NOBODY, order, Ordering::Relaxed);
    }

    fn of(&self, TagPair { outer, inner, .. }: TagPair) -> &AtomicU64 {
        let ports = self.0[usize::from(outer.get())]
            .get_or_init(|| Box::new([const { AtomicU64::new(NOBODY) }; IDS]));
        &ports[usize::from(inner.get())]
    }
}

fn entry(pair: TagPair, port: LeafId) -> u64 {
    u64::from(pair.tpid.number()) << 32 | u64::from(port)
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
        assert_eq!((find(0xf3e8, 0x3011), find(1_000, 18)), (Some(0), Some(LeafId::MAX)));
        for kinds in [[C_TAG, C_TAG], [0x88a8, 0x88a8]] {
            assert_eq!(find_of(kinds, 1_000, 17), None);
        }
        assert_eq!((find(17, 1_000), find(0, 0), find(1_000, 19)), (None, None, None));
        pairs.give(pair(1_000, 17), 5);
        pairs.take(pair(1_000, 17), 0);
        assert_eq!(find(1_000, 17), Some(5));
        pairs.take(pair(1_000, 17), 5);
        assert_eq!(find(1_000, 17), None);
        let frame = Tags::one(Tag { tpid: 0x8100, tci: 1_000 }).in_front_of(&[2; 60]);
        assert_eq!(pairs.find(&Headers::parse(&frame), &frame), None);
    }
}
