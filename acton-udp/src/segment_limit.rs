//! What the kernel is still asked to segment, after it refused to.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Datagrams that go alone after the first refusal, before the kernel is asked again: against these a
/// refused message of up to 64 datagrams is cheap.
const FIRST_WAIT: u32 = 1 << 10;
/// The same after many refusals: where the kernel will never segment, asking again costs nothing that
/// shows, and where it does again, 1.5 GB of full datagrams go alone before that is found out.
const MAX_WAIT: u32 = 1 << 20;

/// How large datagrams may be that the kernel cuts out of a message, by what it refused. It may have had
/// a reason that has gone, such as a device that was replaced: it is asked again after so many datagrams,
/// twice as many each time. No clock is needed, and who sends nothing has nothing to find out.
///
/// Threads share it. Its fields are hints, so relaxed atomics do.
#[derive(Debug)]
pub(crate) struct SegmentLimit {
    /// Bytes; `usize::MAX` for no limit.
    limit: AtomicUsize,
    /// Datagrams that are still to go alone.
    left: AtomicU32,
    /// How many those were at first; 0 before the first refusal.
    wait: AtomicU32,
}

impl SegmentLimit {
    pub(crate) const fn none() -> Self {
        let (left, wait) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { limit: AtomicUsize::new(usize::MAX), left, wait }
    }

    pub(crate) fn get(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Whether datagrams of `size` bytes may be in one message. Each that may not goes alone, and brings
    /// nearer the next attempt.
    #[inline]
    pub(crate) fn admits(&self, size: usize) -> bool {
        size <= self.get() || self.wait_on()
    }

    #[cold]
    fn wait_on(&self) -> bool {
        let left = self.left.load(Relaxed);
        self.left.store(left.saturating_sub(1), Relaxed);
        if left == 0 {
            self.limit.store(usize::MAX, Relaxed);
        }
        left == 0
    }

    /// The kernel segments no datagrams larger than `limit` bytes, for now.
    pub(crate) fn lower(&self, limit: usize) {
        if self.limit.fetch_min(limit, Relaxed) > limit {
            let wait = self.wait.load(Relaxed).saturating_mul(2).clamp(FIRST_WAIT, MAX_WAIT);
            self.wait.store(wait, Relaxed);
            self.left.store(wait, Relaxed);
        }
    }
}

impl Clone for SegmentLimit {
    fn clone(&self) -> Self {
        Self {
            limit: AtomicUsize::new(self.limit.load(Relaxed)),
            left: AtomicU32::new(self.left.load(Relaxed)),
            wait: AtomicU32::new(self.wait.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many datagrams of `size` go alone before the kernel is asked again.
    fn alone(limit: &SegmentLimit, size: usize) -> u32 {
        (0..).find(|_| limit.admits(size)).unwrap()
    }

    #[test]
    fn it_recovers_later_each_time() {
        let limit = SegmentLimit::none();
        assert_eq!(alone(&limit, 65_507), 0);
        let mut expected = FIRST_WAIT;
        for _ in 0..15 {
            limit.lower(0);
            assert_eq!(alone(&limit, 1_400), expected);
            assert_eq!((limit.get(), alone(&limit, 65_507)), (usize::MAX, 0));
            expected = (expected * 2).min(MAX_WAIT);
        }
    }

    #[test]
    fn what_is_below_it_is_segmented_and_hurries_nothing() {
        let limit = SegmentLimit::none();
        limit.lower(1_399);
        assert!((0..2 * FIRST_WAIT).all(|_| limit.admits(1_399)));
        assert_eq!(alone(&limit, 1_400), FIRST_WAIT);
    }

    #[test]
    fn a_second_refusal_of_the_same_is_none_and_a_copy_goes_on() {
        let limit = SegmentLimit::none();
        limit.lower(1_399);
        // Another thread's message was under way.
        limit.lower(1_399);
        assert!((0..10).all(|_| !limit.admits(1_400)));
        assert_eq!(alone(&limit.clone(), 1_400), FIRST_WAIT - 10);
    }
}
