//! The replay window, a ring of bits (RFC 6479).

use crate::wire::Delivery;

/// How far behind the newest datagram a late one is still taken, in datagrams.
pub const WINDOW: u64 = 8192;

/// One word more than the window's bits: the newest word may be only partly used.
const WORDS: usize = WINDOW as usize / 64 + 1;

/// The counters seen so far.
pub(super) struct Window {
    /// One past the highest counter seen.
    next: u64,
    /// How many were taken.
    count: u64,
    bits: [u64; WORDS],
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { next: 0, count: 0, bits: [0; WORDS] }
    }

    /// Notes a counter of an authentic datagram. `None` if it was seen before or is too old, else
    /// whether it is the newest.
    pub(super) fn note(&mut self, counter: u64) -> Option<bool> {
        // The last counter has no successor to be `next`; it is never sent (limits are far below).
        if counter == u64::MAX || counter.saturating_add(WINDOW) < self.next {
            return None;
        }
        let newest = counter >= self.next;
        if newest {
            let (old, new) = (self.next.div_ceil(64), counter / 64);
            for word in (old..=new).take(WORDS) {
                self.bits[slot(word)] = 0;
            }
            if new - old.min(new) >= WORDS as u64 {
                self.bits = [0; WORDS];
            }
            self.next = counter + 1;
        }
        let (word, bit) = (&mut self.bits[slot(counter / 64)], 1 << (counter % 64));
        if *word & bit != 0 {
            return None;
        }
        *word |= bit;
        self.count += 1;
        Some(newest)
    }

    /// How many counters were taken, of those up to the highest.
    pub(super) const fn delivery(&self) -> Delivery {
        Delivery { expected: self.next, received: self.count }
    }
}

const fn slot(word: u64) -> usize {
    (word % WORDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn edges() {
        let mut window = Window::new();
        assert_eq!(window.note(0), Some(true));
        assert_eq!(window.note(0), None);
        assert_eq!(window.note(WINDOW), Some(true));
        assert_eq!(window.note(0), None, "seen");
        assert_eq!(window.note(1), Some(false), "the oldest in the window");
        assert_eq!(window.note(WINDOW + 2), Some(true));
        assert_eq!(window.note(2), None, "just out of the window");
        assert_eq!(window.note(3), Some(false));
        assert_eq!(window.note(u64::MAX), None);
        assert_eq!(window.note(u64::MAX - 1), Some(true));
        assert_eq!(window.note(WINDOW + 1), None);
        assert_eq!(window.note(u64::MAX - WINDOW), Some(false));
        assert_eq!(window.note(u64::MAX - WINDOW - 1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// Against a set of everything seen.
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec(
            prop_oneof![8 => -200..=40_i64, 2 => -9000..=9000_i64, 1 => 0..=30_000_i64], 1..400,
        )) {
            let (mut window, mut seen, mut next) = (Window::new(), BTreeSet::new(), 0_u64);
            for step in steps {
                let counter = next.saturating_add_signed(step);
                let old = next > WINDOW && counter < next - WINDOW;
                let expected = (!old && seen.insert(counter)).then_some(counter >= next);
                prop_assert_eq!(window.note(counter), expected, "counter {} next {}", counter, next);
                next = next.max(counter + 1);
                let delivery = Delivery { expected: next, received: seen.len() as u64 };
                prop_assert_eq!(window.delivery(), delivery);
            }
        }
    }
}
