//! Rate limits for what may happen only once in a while.

use std::hash::Hash;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Lets something happen once in an interval.
#[derive(Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    due: Duration,
}

impl Throttle {
    /// Lets the first one through.
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { interval, due: Duration::ZERO }
    }

    /// Whether it may happen now.
    pub(crate) fn admits(&mut self, now: Duration) -> bool {
        let due = now >= self.due;
        if due {
            self.due = now + self.interval;
        }
        due
    }
}

/// Lets a value through where it differs from the last one, and the same one once in an interval.
#[derive(Debug)]
pub(crate) struct ChangeThrottle<T> {
    last: Option<T>,
    throttle: Throttle,
}

impl<T: PartialEq> ChangeThrottle<T> {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { last: None, throttle: Throttle::new(interval) }
    }

    /// Whether `value` is worth telling now.
    pub(crate) fn admits(&mut self, value: T, now: Duration) -> bool {
        if self.last.as_ref() == Some(&value) {
            return self.throttle.admits(now);
        }
        self.last = Some(value);
        self.throttle.due = now + self.throttle.interval;
        true
    }
}

/// Lets each of several causes through once in an interval, and so many causes in that time.
#[derive(Debug)]
pub(crate) struct KeyedThrottle<K> {
    interval: Duration,
    most: usize,
    admitted: HashMap<K, Duration, RandomState>,
}

impl<K: Eq + Hash> KeyedThrottle<K> {
    pub(crate) fn new(interval: Duration, most: usize) -> Self {
        Self { interval, most, admitted: HashMap::default() }
    }

    /// Whether `key` may be told of now. Keys can be forged: past the most that are remembered,
    /// none is let through for a while.
    pub(crate) fn admits(&mut self, key: K, now: Duration) -> bool {
        if self.admitted.len() >= self.most {
            self.admitted.retain(|_, at| now < *at + self.interval);
        }
        let due = self.admitted.get(&key).is_none_or(|at| now >= *at + self.interval);
        let due = due && self.admitted.len() < self.most;
        if due {
            self.admitted.insert(key, now);
        }
        due
    }
}

/// Lets so many through at once and then so many in a time, and counts the rest.
#[derive(Debug)]
pub(crate) struct Bucket {
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again; each one let through moves it on.
    full_at: Duration,
    suppressed: u64,
}

impl Bucket {
    /// A bucket of `burst` that gets one back every `interval`.
    pub(crate) const fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst, full_at: Duration::ZERO, suppressed: 0 }
    }

    /// Whether one more goes through; what does not is counted.
    pub(crate) fn admits(&mut self, now: Duration) -> bool {
        let next = self.full_at.max(now) + self.interval;
        let admits = next <= now + self.interval * self.burst;
        if admits {
            self.full_at = next;
        } else {
            self.suppressed += 1;
        }
        admits
    }

    /// Counts some that were held back elsewhere.
    pub(crate) const fn add_suppressed(&mut self, more: u64) {
        self.suppressed += more;
    }

    /// How many were not let through since this was last asked.
    pub(crate) const fn take_suppressed(&mut self) -> u64 {
        std::mem::replace(&mut self.suppressed, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn once_in_an_interval() {
        let mut throttle = Throttle::new(SECOND);
        let admitted: Vec<_> =
            (0..40).filter(|&i| throttle.admits(SECOND * 9 + SECOND * i / 10)).collect();
        assert_eq!(admitted, [0, 10, 20, 30]);
    }

    #[test]
    fn a_change_goes_through_at_once() {
        let mut throttle = ChangeThrottle::new(SECOND);
        let at = |tenths: u32| SECOND * tenths / 10;
        let mut admits = |value, tenths| throttle.admits(value, at(tenths));
        assert!(admits('a', 0) && !admits('a', 5) && admits('a', 10));
        assert!(admits('b', 11) && !admits('b', 12) && admits('a', 13));
    }

    #[test]
    fn each_key_has_its_interval_and_keys_have_a_number() {
        let mut throttle = KeyedThrottle::new(SECOND, 2);
        assert!(throttle.admits(1, SECOND) && !throttle.admits(1, SECOND));
        assert!(throttle.admits(2, SECOND) && !throttle.admits(3, SECOND));
        assert!(throttle.admits(3, 2 * SECOND) && throttle.admits(1, 2 * SECOND));
    }

    #[test]
    fn a_bucket_counts_what_it_holds_back() {
        let mut bucket = Bucket::new(SECOND / 10, 5);
        let admitted = (0..20).filter(|_| bucket.admits(SECOND)).count();
        assert_eq!((admitted, bucket.take_suppressed(), bucket.take_suppressed()), (5, 15, 0));
        assert!(bucket.admits(SECOND + SECOND / 10) && !bucket.admits(SECOND + SECOND / 10));
    }
}
