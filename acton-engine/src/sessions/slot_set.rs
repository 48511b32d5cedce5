//! Slots of the directory, of which few may be set: to set one takes the same time however many are, and
//! to go through them as long as they are many.

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
    }
}
