//! When to probe into the TAP: time after time, and at once on suspicion.

use std::time::Duration;

use crate::throttle::Bucket;

/// Probes on suspicion: so many at once, one more in so much time.
const SUSPICIONS: u32 = 5;
const SUSPICION_INTERVAL: Duration = Duration::from_secs(1);

/// The times of probes into the TAP.
#[derive(Debug)]
pub(crate) struct Pace {
    due: Duration,
    suspicions: Bucket,
    /// Spreads those of many processes, which would hold one another back if they moved in step.
    random: u64,
}

impl Pace {
    /// The first probe is due now. `seed` spreads.
    pub(crate) const fn new(now: Duration, seed: u64) -> Self {
        let suspicions = Bucket::new(SUSPICION_INTERVAL, SUSPICIONS);
        // The generator never leaves 0.
        Self { due: now, suspicions, random: seed | 1 }
    }

    /// When the next one is due.
    pub(crate) const fn due(&self) -> Duration {
        self.due
    }

    /// Has the next one be due now, unless that was asked for too often.
    pub(crate) fn hurry(&mut self, now: Duration) {
        if self.suspicions.admits(now) {
            self.due = now;
        }
    }

    /// Whether one is due; then the next one is due after `interval`, more or less.
    pub(crate) fn take_due(&mut self, now: Duration, interval: Duration) -> bool {
        let is_due = now >= self.due;
        if is_due {
            self.due = now + interval * 5 / 6 + interval * (self.next() % 1_000) as u32 / 3_000;
        }
        is_due
    }

    /// Marsaglia's xorshift: it guards no secret.
    const fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spread_around_its_interval_and_hurries_within_bounds() {
        let second = Duration::from_secs(1);
        let (mut pace, mut now) = (Pace::new(second, 7), second);
        for _ in 0..1_000 {
            assert!(pace.take_due(now, second * 3) && !pace.take_due(now, second * 3));
            let waits = pace.due() - now;
            assert!((second * 5 / 2..second * 7 / 2).contains(&waits), "{waits:?}");
            now = pace.due();
        }
        let hurried = (0..100).filter(|_| {
            pace.hurry(now);
            pace.take_due(now, second * 3)
        });
        assert!((5..=6).contains(&hurried.count()));
    }
}
