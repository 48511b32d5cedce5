//! For how long flooding is held back once a loop was seen.

use std::time::Duration;

/// Flooding is held back until no probe has come back for so long.
const FIRST: Duration = Duration::from_secs(60);
/// That time at most, where the loop comes again and again.
const LONGEST: Duration = Duration::from_secs(4 * 3_600);
/// A loop that comes back within this time, or within twice the last hold, is the same one again.
const QUIET: Duration = Duration::from_secs(3_600);

/// The memory of one loop, open or held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// When it began.
    pub(crate) since: Duration,
    /// When a probe last came back.
    pub(crate) seen: Duration,
    /// Without a probe that comes back for so long it ends.
    pub(crate) time: Duration,
}

impl Hold {
    /// A loop that was found now, and maybe was there before.
    pub(crate) fn begin(now: Duration, before: Option<PastHold>) -> Self {
        let time = before.filter(|before| !before.is_over(now));
        let time = time.map_or(FIRST, |before| (before.time * 2).min(LONGEST));
        Self { since: now, seen: now, time }
    }

    /// When it ends, unless a probe comes back before.
    pub(crate) fn until(&self) -> Duration {
        self.seen + self.time
    }

    /// The hold is over.
    pub(crate) fn end(self, now: Duration) -> PastHold {
        PastHold { ended: now, time: self.time }
    }
}

/// A hold that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PastHold {
    ended: Duration,
    time: Duration,
}

impl PastHold {
    /// Whether it may be forgotten.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        now >= self.ended + QUIET.max(self.time * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_comes_again_is_held_back_for_longer() {
        let mut now = Duration::from_secs(1_000);
        let (mut past, mut times) = (None, Vec::new());
        for _ in 0..10 {
            let hold = Hold::begin(now, past);
            times.push(hold.time.as_secs());
            now = hold.until();
            past = Some(hold.end(now));
            now += Duration::from_secs(1);
        }
        assert_eq!(times, [60, 120, 240, 480, 960, 1_920, 3_840, 7_680, 14_400, 14_400]);
        now += LONGEST * 2;
        assert_eq!(Hold::begin(now, past).time, FIRST);
    }

    #[test]
    fn an_hour_without_it_begins_anew() {
        let at = Duration::from_secs;
        let past = Hold::begin(at(0), None).end(at(60));
        assert_eq!(Hold::begin(at(3_659), Some(past)).time, at(120));
        assert_eq!(Hold::begin(at(3_660), Some(past)).time, at(60));
    }
}
