//! The engine's clock: time since boot, suspend included, so that a laptop that slept knows its
//! session to be old. No wall clock decides anything; that one is far off is worth a line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("Linux has had it since 2.6")
}

/// Nanoseconds since 1970, for what compares clocks of different hosts.
pub(crate) fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
}

/// Difference of two wall clocks that is worth telling.
const TOLERANCE: Duration = Duration::from_secs(300);

/// How far this host's wall clock is ahead of the peer's, in seconds, where they are far apart. Both
/// in nanoseconds since 1970.
pub(crate) fn apart(ours: u64, theirs: u64) -> Option<f64> {
    let apart = Duration::from_nanos(ours.abs_diff(theirs));
    let seconds = if ours < theirs { -apart.as_secs_f64() } else { apart.as_secs_f64() };
    (apart.as_secs() > TOLERANCE.as_secs()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_apart_past_five_minutes() {
        let at = |seconds: u64| Duration::from_secs(seconds).as_nanos() as u64;
        assert_eq!(apart(at(1_000), at(1_300)), None);
        assert_eq!(apart(at(1_000), at(1_301)), Some(-301.0));
        assert_eq!(apart(at(1_301), at(1_000)), Some(301.0));
        assert!(apart(0, u64::MAX).is_some_and(|apart| apart < -1e9));
    }
}
