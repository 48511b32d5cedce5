//! The random numbers that spread timers. They guard no secret: a seeded SplitMix64 is enough, and a
//! test can repeat it.

use std::time::Duration;

use crate::jitter::{spread, unit};

#[derive(Debug, Clone)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `time` +-10 %.
    pub(super) fn around(&mut self, time: Duration) -> Duration {
        spread(time, 10, unit(self.next()))
    }

    /// `time` or up to 10 % less, for what has a last moment.
    pub(super) fn before(&mut self, time: Duration) -> Duration {
        spread(time - time / 20, 5, unit(self.next()))
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_bounds_and_uses_them() {
        let mut jitter = Jitter::new(7);
        let time = Duration::from_secs(10);
        let around: Vec<_> = (0..10_000).map(|_| jitter.around(time).as_millis()).collect();
        let before: Vec<_> = (0..10_000).map(|_| jitter.before(time).as_millis()).collect();
        assert!(around.iter().all(|ms| (9_000..=11_000).contains(ms)));
        assert!(around.iter().any(|&ms| ms < 9_050) && around.iter().any(|&ms| ms > 10_950));
        assert!(before.iter().all(|ms| (9_000..=10_000).contains(ms)));
        assert!(before.iter().any(|&ms| ms < 9_050) && before.iter().any(|&ms| ms > 9_950));
        assert!(jitter.around(Duration::MAX) > Duration::from_secs(1 << 40));
    }
}
