//! The engine's clock: time since boot, suspend included, so that a laptop that slept knows its
//! session to be old. No wall clock decides anything; that one is far off is worth a line.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("Linux has had it since 2.6")
}

/// Difference of two wall clocks that is worth a line.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What to say where this host's wall clock and the peer's, in nanoseconds since 1970, are far
/// apart: the wrong one of them hides in logs and certificates.
pub(crate) fn trouble(ours: u64, theirs: u64) -> Option<String> {
    let seconds = Duration::from_nanos(ours.abs_diff(theirs)).as_secs();
    let apart = match seconds {
        ..172_800 => format!("{seconds} s"),
        _ => format!("{} days", seconds / 86_400),
    };
    let which = if ours < theirs { "behind" } else { "ahead of" };
    (seconds > TOLERANCE.as_secs()).then(|| {
        format!(
            "this host's clock is {apart} {which} its clock; acton works all the same, but set the \
             wrong one (timedatectl set-ntp true)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_far_apart_are_told() {
        let at = |seconds: u64| Duration::from_secs(seconds).as_nanos() as u64;
        let year = 31_536_000;
        assert_eq!(trouble(at(year), at(year + 300)), None);
        let behind = trouble(at(year), at(year + 301)).unwrap();
        assert!(behind.starts_with("this host's clock is 301 s behind its"), "{behind}");
        let ahead = trouble(at(10 * year), at(year)).unwrap();
        assert!(ahead.starts_with("this host's clock is 3285 days ahead of its"), "{ahead}");
        assert!(trouble(0, u64::MAX).is_some());
    }
}
