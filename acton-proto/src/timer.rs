//! Deadlines of many things: one each, the earliest first.

use std::collections::BTreeSet;
use std::time::Duration;

/// A deadline for each key. Setting, clearing and taking the earliest are O(log n); no datagram of
/// the data path comes here.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    queue: BTreeSet<(Duration, K)>,
}

impl<K: Ord + Copy> Deadlines<K> {
    pub(crate) const fn new() -> Self {
        Self { queue: BTreeSet::new() }
    }

    /// Moves the deadline of `key`; `slot` is where the owner keeps what was set last.
    pub(crate) fn set(&mut self, key: K, slot: &mut Option<Duration>, deadline: Option<Duration>) {
        if *slot == deadline {
            return;
        }
        if let Some(old) = slot.take() {
            self.queue.remove(&(old, key));
        }
        if let Some(new) = deadline {
            self.queue.insert((new, key));
        }
        *slot = deadline;
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.queue.first().map(|&(deadline, _)| deadline)
    }

    /// A key whose deadline has come. It keeps the deadline until its owner sets another.
    pub(crate) fn due(&self, now: Duration) -> Option<K> {
        self.queue.first().filter(|&&(deadline, _)| deadline <= now).map(|&(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_moves() {
        let ms = Duration::from_millis;
        let mut deadlines = Deadlines::new();
        let mut slots = [None; 3];
        for (key, at) in [(0, 30), (1, 10), (2, 20)] {
            deadlines.set(key, &mut slots[key], Some(ms(at)));
        }
        assert_eq!((deadlines.next(), deadlines.due(ms(9))), (Some(ms(10)), None));
        assert_eq!(deadlines.due(ms(10)), Some(1));
        deadlines.set(1, &mut slots[1], Some(ms(40)));
        deadlines.set(2, &mut slots[2], None);
        assert_eq!(deadlines.due(ms(99)), Some(0));
        deadlines.set(0, &mut slots[0], None);
        assert_eq!((deadlines.next(), slots), (Some(ms(40)), [None, Some(ms(40)), None]));
    }
}
