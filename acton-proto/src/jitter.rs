//! Spread of timers, so that a thousand clients that lost one server do not come back in step.

use std::time::Duration;

/// What a random number says of a spread: -1,024 to 1,023.
pub(crate) const fn unit(random: u64) -> i64 {
    (random % 2_048) as i64 - 1_024
}

/// `time` and up to so many per cent more or less; `unit` is -1,024 to 1,023.
pub(crate) fn spread(time: Duration, percent: u32, unit: i64) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let part = time.as_nanos() * u128::from(percent) * u128::from(unit.unsigned_abs());
    let part = part / (100 * 1_024);
    // No more than `time`, up to 100 per cent.
    let part = Duration::new((part / SECOND) as u64, (part % SECOND) as u32);
    if unit < 0 { time.saturating_sub(part) } else { time.saturating_add(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bounds() {
        let ten = Duration::from_secs(10);
        assert_eq!(spread(ten, 50, 0), ten);
        assert_eq!(spread(ten, 50, -1024), Duration::from_secs(5));
        assert!(spread(ten, 50, 1023) < Duration::from_secs(15));
        assert!(spread(ten, 50, 1023) > Duration::from_millis(14_990));
        assert_eq!((unit(0), unit(2_047), unit(2_048)), (-1_024, 1_023, -1_024));
        assert_eq!(spread(Duration::MAX, 50, 1_023), Duration::MAX);
    }
}
