//! Slots of the directory, of which few may be set: to set one takes the same time however many are, and
//! to go through them as long as they are many.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sessions::directory::SLOTS;

/// Bits of a word.
const BITS: usize = u64::BITS as usize;
/// Words that have a bit for each slot.
const WORDS: usize = SLOTS / BITS;

/// A set of slots: 8 KiB. One thread changes it, any number read it meanwhile.
#[derive(Debug)]
pub(crate) struct SlotSet {
    words: Box<[AtomicU64]>,
    /// A bit for each word that has any.
    used: [AtomicU64; WORDS / BITS],
    len: AtomicUsize,
}

impl Default for SlotSet {
    fn default() -> Self {
        Self {
            words: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            used: [const { AtomicU64::new(0) }; _],
            len: AtomicUsize::new(0),
        }
    }
}

impl SlotSet {
    pub(crate) fn insert(&self, slot: usize) {
        let (word, bit) = (slot / BITS, 1 << (slot % BITS));
        if self.words[word].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.used[word / BITS].fetch_or(1 << (word % BITS), Ordering::AcqRel);
            self.len.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn remove(&self, slot: usize) {
        let (word, bit) = (slot / BITS, 1 << (slot % BITS));
        let before = self.words[word].fetch_and(!bit, Ordering::AcqRel);
        if before & bit == 0 {
            return;
        }
        if before == bit {
            self.used[word / BITS].fetch_and(!(1 << (word % BITS)), Ordering::AcqRel);
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn contains(&self, slot: usize) -> bool {
        self.word(slot / BITS) >> (slot % BITS) & 1 != 0
    }

    #[inline]
    fn word(&self, index: usize) -> u64 {
        self.words[index].load(Ordering::Acquire)
    }

    #[inline]
    fn used(&self, index: usize) -> u64 {
        self.used[index].load(Ordering::Acquire)
    }

    /// Calls `each` with them, in order.
    pub(crate) fn for_each(&self, mut each: impl FnMut(usize)) {
        let mut next = self.next(0);
        while next < SLOTS {
            each(next);
            next = self.next(next + 1);
        }
    }

    /// The first slot from `slot` on that is in it; [`SLOTS`] where none is.
    pub(crate) fn next(&self, slot: usize) -> usize {
        let mut word = slot / BITS;
        if word >= WORDS {
            return SLOTS;
        }
        let rest = self.word(word) >> (slot % BITS);
        if rest != 0 {
            return slot + rest.trailing_zeros() as usize;
        }
        word += 1;
        while word < WORDS {
            let used = self.used(word / BITS) >> (word % BITS);
            if used == 0 {
                word = (word / BITS + 1) * BITS;
                continue;
            }
            word += used.trailing_zeros() as usize;
            // It may have lost its last one meanwhile.
            let bits = self.word(word);
            if bits != 0 {
                return word * BITS + bits.trailing_zeros() as usize;
            }
            word += 1;
        }
        SLOTS
    }
}

/// Slots that are in any of some sets, of one thread at a time. Its memory is allocated with the first one,
/// and kept.
#[derive(Debug, Default, Clone)]
pub(crate) struct SlotUnion {
    words: Vec<u64>,
    len: usize,
}

impl SlotUnion {
    pub(crate) fn insert(&mut self, slot: usize) {
        self.add_word(slot / BITS, 1 << (slot % BITS));
    }

    /// Takes in those of a set.
    pub(crate) fn add(&mut self, set: &SlotSet) {
        for group in 0..WORDS / BITS {
            let mut used = set.used(group);
            while used != 0 {
                let word = group * BITS + used.trailing_zeros() as usize;
                self.add_word(word, set.word(word));
                used &= used - 1;
            }
        }
    }

    fn add_word(&mut self, word: usize, bits: u64) {
        if self.words.is_empty() {
            self.words.resize(WORDS, 0);
        }
        self.len += (bits & !self.words[word]).count_ones() as usize;
        self.words[word] |= bits;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first slot from `slot` on that is in it; [`SLOTS`] where none is.
    pub(crate) fn next(&self, slot: usize) -> usize {
        let first = slot / BITS;
        let mut mask = u64::MAX << (slot % BITS);
        for (word, bits) in self.words.iter().enumerate().skip(first) {
            let bits = bits & mask;
            if bits != 0 {
                return word * BITS + bits.trailing_zeros() as usize;
            }
            mask = u64::MAX;
        }
        SLOTS
    }

    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
        self.len = 0;
    }
}

/// How many slots of a range are in any of some sets.
pub(crate) fn count_in<'s>(
    range: &Range<usize>,
    sets: impl Iterator<Item = &'s SlotSet> + Clone,
) -> usize {
    if range.is_empty() {
        return 0;
    }
    let count = |word: usize| {
        let [from, to] =
            [range.start, range.end].map(|at| at.saturating_sub(word * BITS).min(BITS));
        let mask = u64::MAX >> (BITS - (to - from)) << from;
        let bits = sets.clone().fold(0, |bits, set| bits | set.word(word));
        (bits & mask).count_ones() as usize
    };
    (range.start / BITS..range.end.div_ceil(BITS)).map(count).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn all(set: &SlotSet) -> Vec<usize> {
        let from = |slot| Some(set.next(slot)).filter(|slot| *slot < SLOTS);
        std::iter::successors(from(0), |slot| from(slot + 1)).collect()
    }

    #[test]
    fn the_first_and_the_last_slot_are_found() {
        let set = SlotSet::default();
        assert_eq!(all(&set), [0_usize; 0]);
        set.insert(0);
        set.insert(SLOTS - 1);
        assert_eq!(all(&set), [0, SLOTS - 1]);
        assert_eq!(set.next(SLOTS), SLOTS);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(
            steps in prop::collection::vec((any::<bool>(), 0..SLOTS, 0..4_usize), 0..200),
        ) {
            let (set, mut model) = (SlotSet::default(), BTreeSet::new());
            for (inserts, slot, near) in steps {
                // Some lie close together, so that words have more than one.
                let slot = if near == 0 { slot } else { slot % 200 };
                if inserts {
                    set.insert(slot);
                    model.insert(slot);
                } else {
                    set.remove(slot);
                    model.remove(&slot);
                }
                prop_assert_eq!(set.contains(slot), inserts);
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert_eq!(all(&set), model.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn what_is_in_any_of_two_is_found_and_counted(
            sets in prop::array::uniform2(prop::collection::btree_set(0..SLOTS, 0..50)),
            near in prop::collection::btree_set(0..200_usize, 0..50),
            ends in prop::array::uniform2(0..SLOTS + 1),
        ) {
            let [one, other] = [0, 1].map(|number| {
                let set = SlotSet::default();
                sets[number].iter().for_each(|&slot| set.insert(slot));
                set
            });
            near.iter().for_each(|&slot| other.insert(slot));
            let model: BTreeSet<_> = sets.iter().flatten().chain(&near).copied().collect();
            let mut union = SlotUnion::default();
            union.add(&one);
            union.add(&other);
            let from = |slot| Some(union.next(slot)).filter(|slot| *slot < SLOTS);
            let found: Vec<_> = std::iter::successors(from(0), |slot| from(slot + 1)).collect();
            prop_assert_eq!(found.len(), union.len());
            prop_assert_eq!(found, model.iter().copied().collect::<Vec<_>>());
            for range in [ends[0].min(ends[1])..ends[0].max(ends[1]), 0..SLOTS, 63..64, 64..130] {
                let expected = model.range(range.clone()).count();
                prop_assert_eq!(count_in(&range, [&one, &other].into_iter()), expected);
            }
            union.clear();
            prop_assert_eq!((union.next(0), union.len()), (SLOTS, 0));
        }
    }
}
