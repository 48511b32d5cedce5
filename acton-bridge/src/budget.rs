//! How many frames of a kind may pass: so many a second, and so many at once.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Budget {
    /// Frames a second.
    pub rate: NonZeroU32,
    /// Frames at once, after a time with fewer.
    pub burst: NonZeroU32,
}

impl Budget {
    /// So many frames a second and so many at once. Zero counts as one.
    #[must_use]
    pub const fn new(rate: u32, burst: u32) -> Self {
        const fn at_least_one(number: u32) -> NonZeroU32 {
            match NonZeroU32::new(number) {
                Some(number) => number,
                None => NonZeroU32::MIN,
            }
        }
        Self { rate: at_least_one(rate), burst: at_least_one(burst) }
    }
}

/// Frames that one super-frame stands for at most: 65,535 bytes by segments of 48 (`TCP_MIN_MSS` of
/// Linux); one of still smaller ones is let off the rest.
const LARGEST: u64 = 65_535 / 48;

/// What has passed of a budget: a token bucket in one word, for any number of threads, without a
/// lock. (The word is the theoretical arrival time of the Generic Cell Rate Algorithm, ITU-T I.371,
/// annex A, in nanoseconds: when all that has passed would have passed at the budget's rate.)
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// A bucket that is full: nothing has passed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether `frames` more may pass, all or none of them; if so, they have passed. More than a burst
    /// passes where a whole burst would, and is paid for afterwards. What is owed never counts as more
    /// than the largest super-frame costs now, so that a budget that was raised helps at once.
    ///
    /// `now` is the time since any epoch of the caller's, on a clock that does not go back; threads
    /// may be a little apart.
    #[must_use]
    pub fn admits(&self, budget: Budget, frames: u32, now: Duration) -> bool {
        self.admits_part(budget, frames, (1, 1), now)
    }

    /// The same of frames that cost a part alone of what they are: with `(10, 10_000)` a thousandth, since
    /// they go to ten of so many.
    #[must_use]
    pub fn admits_part(
        &self,
        budget: Budget,
        frames: u32,
        part: (u32, u32),
        now: Duration,
    ) -> bool {
        let interval = interval(budget);
        let cost = cost_of(interval * u64::from(frames.max(1)), part);
        let tolerance = interval * u64::from(budget.burst.get());
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let longest = now.saturating_add(tolerance.max(interval * LARGEST));
        let start = |arrival: u64| arrival.clamp(now, longest);
        let admits = |start: u64| (start - now).saturating_add(cost.min(tolerance)) <= tolerance;
        let next = |arrival: u64| {
            let start = start(arrival);
            match admits(start) {
                true => Some(start.saturating_add(cost)),
                // What is owed beyond that is forgiven for good.
                false => (start < arrival).then_some(start),
            }
        };
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        before.is_ok_and(|arrival| admits(start(arrival)))
    }

    /// How many frames may pass now, one by one. Nothing is spent.
    #[must_use]
    pub fn left(&self, budget: Budget, now: Duration) -> u32 {
        // No more than a burst.
        (self.time_left(budget, now) / interval(budget)) as u32
    }

    /// Whether a frame may pass now that costs a part of one, as [`admits_part`](Self::admits_part) has it.
    /// Nothing is spent.
    #[must_use]
    pub fn has_part(&self, budget: Budget, part: (u32, u32), now: Duration) -> bool {
        self.time_left(budget, now) >= cost_of(interval(budget), part)
    }

    /// What may be spent now, in nanoseconds.
    fn time_left(&self, budget: Budget, now: Duration) -> u64 {
        let tolerance = interval(budget) * u64::from(budget.burst.get());
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let ahead = self.0.load(Ordering::Relaxed).saturating_sub(now);
        tolerance.saturating_sub(ahead)
    }
}

/// What a part costs of what costs so much.
fn cost_of(whole_cost: u64, (part, whole): (u32, u32)) -> u64 {
    if part == whole {
        return whole_cost;
    }
    let cost = u128::from(whole_cost) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(cost).unwrap_or(u64::MAX).max(1)
}

/// Nanoseconds from frame to frame.
fn interval(budget: Budget) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    (SECOND / u64::from(budget.rate.get())).max(1)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn passed(bucket: &Bucket, budget: Budget, attempts: u32, now: Duration) -> u32 {
        (0..attempts).filter(|_| bucket.admits(budget, 1, now)).count() as u32
    }

    #[test]
    fn what_is_left_passes_and_asking_spends_nothing() {
        let (bucket, budget) = (Bucket::new(), Budget::new(10, 4));
        let mut now = SECOND;
        for left in (0..=4).rev() {
            assert_eq!([(); 3].map(|()| bucket.left(budget, now)), [left; 3]);
            assert_eq!(bucket.admits(budget, 1, now), left > 0);
        }
        now += SECOND / 10;
        assert_eq!(bucket.left(budget, now), 1);
        assert_eq!(bucket.left(budget, now + 60 * SECOND), 4);
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (bucket, budget) = (Bucket::new(), Budget::new(100, 250));
        assert_eq!(passed(&bucket, budget, 1_000, SECOND), 250);
        assert_eq!(passed(&bucket, budget, 1_000, SECOND * 2), 100);
        assert_eq!(passed(&bucket, budget, 1_000, SECOND * 60), 250);
    }

    #[test]
    fn many_frames_in_one_are_paid_for() {
        let (bucket, budget) = (Bucket::new(), Budget::new(10, 20));
        assert!(bucket.admits(budget, 45, SECOND), "more than a burst, in front of a full bucket");
        assert!(!bucket.admits(budget, 1, SECOND * 3));
        assert!(bucket.admits(budget, 1, SECOND * 4));
        assert!(!bucket.admits(budget, 45, SECOND * 4));
    }

    #[test]
    fn a_budget_that_was_raised_helps_at_once() {
        let (bucket, small, large) =
            (Bucket::new(), Budget::new(1, 1_000), Budget::new(10_000, 100));
        assert_eq!(passed(&bucket, small, 2_000, SECOND), 1_000);
        assert!(!bucket.admits(small, 1, SECOND), "its debt is 1,000 seconds");
        assert!(!bucket.admits(large, 1, SECOND), "what was spent was spent");
        assert_eq!(passed(&bucket, large, 1_000, SECOND * 2), 100);
        assert_eq!(passed(&bucket, large, 1_000, SECOND * 3), 100);
        assert_eq!(passed(&bucket, small, 1_000, SECOND * 3), 1_000 - 1, "lowered: from now on");
    }

    #[test]
    fn what_goes_to_few_costs_a_part() {
        let (bucket, budget) = (Bucket::new(), Budget::new(100, 10));
        let part = |attempts: u32, part| {
            (0..attempts).filter(|_| bucket.admits_part(budget, 1, part, SECOND)).count()
        };
        assert_eq!(part(9_999, (1, 1_000)), 9_999);
        let has = |part| bucket.has_part(budget, part, SECOND);
        assert_eq!([(0, 1), (1, 1_000), (2, 1_000), (1, 1)].map(has), [true, true, false, false]);
        assert_eq!(part(20_000, (1, 1_000)), 1);
        assert!(!has((1, 1_000)));
        assert!(!bucket.admits(budget, 1, SECOND));
        assert!(bucket.admits(budget, 1, SECOND + SECOND / 100));
        assert_eq!(part(1, (0, 0)), 0, "nothing costs nothing");
    }

    #[test]
    fn threads_share_a_budget() {
        let (bucket, budget) = (Bucket::new(), Budget::new(1, 1_000));
        let all: u32 = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| passed(&bucket, budget, 1_000, SECOND)));
            threads.map(|thread| thread.join().unwrap()).into_iter().sum()
        });
        assert_eq!(all, 1_000);
    }

    proptest! {
        /// Against the bucket that everybody knows: tokens that come with time.
        #[test]
        fn it_agrees_with_a_bucket_of_tokens(
            rate in 1..2_000_u32,
            burst in 1..2_000_u32,
            steps in prop::collection::vec((0..500_000_u64, 1..50_u32), 1..400),
        ) {
            let (bucket, budget) = (Bucket::new(), Budget::new(rate, burst));
            let interval = 1_000_000_000 / u64::from(rate);
            // In nanoseconds of the rate, so that both round alike.
            let (most, mut now) = (interval * u64::from(burst), 0);
            let mut tokens = most as i128;
            for (microseconds, frames) in steps {
                now += microseconds * 1_000;
                tokens = (tokens + i128::from(microseconds) * 1_000).min(most.into());
                let cost = i128::from(interval * u64::from(frames));
                let admits = tokens >= cost.min(most.into());
                if admits {
                    tokens -= cost;
                }
                prop_assert_eq!(bucket.admits(budget, frames, Duration::from_nanos(now)), admits);
            }
        }
    }
}
