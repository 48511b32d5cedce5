//! Times, amounts and rates as people read them: short, and never in figures that nobody needs.

use std::time::Duration;

/// A length of time in at most seven characters: `0.4s`, `12s`, `3m5s`, `2h13m`, `3d4h`.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    let two = |first: u64, unit: char, second: u64, other: char| match second {
        0 => format!("{first}{unit}"),
        second => format!("{first}{unit}{second}{other}"),
    };
    match seconds {
        0..10 if time.subsec_millis() >= 50 => format!("{:.1}s", time.as_secs_f64()),
        0..60 => format!("{seconds}s"),
        60..3_600 => two(minutes, 'm', rest, 's'),
        3_600..86_400 => two(hours, 'h', minutes, 'm'),
        86_400..8_640_000 => two(days, 'd', hours, 'h'),
        _ => format!("{days}d"),
    }
}

/// A round trip: `0.12ms`, `3.4ms`, `120ms`, `1.2s`.
pub(super) fn round_trip(time: Duration) -> String {
    match time.as_secs_f64() * 1e3 {
        ms @ ..1.0 => format!("{ms:.2}ms"),
        ms @ ..10.0 => format!("{ms:.1}ms"),
        ms @ ..1_000.0 => format!("{ms:.0}ms"),
        ms => format!("{:.1}s", ms / 1e3),
    }
}

/// An amount with a decimal prefix: `0`, `999`, `1.2k`, `34M`.
pub(super) fn amount(amount: f64) -> String {
    let (figures, prefix) = scaled(amount);
    figures + prefix
}

/// The same with a unit: `34 Mbit/s`.
pub(super) fn amount_of(amount: f64, unit: &str) -> String {
    let (figures, prefix) = scaled(amount);
    format!("{figures} {prefix}{unit}")
}

fn scaled(mut amount: f64) -> (String, &'static str) {
    let mut prefixes = ["k", "M", "G", "T", "P"].into_iter();
    let mut prefix = "";
    while amount >= 999.5
        && let Some(next) = prefixes.next()
    {
        amount /= 1e3;
        prefix = next;
    }
    let decimals = usize::from(amount < 9.95 && !prefix.is_empty());
    (format!("{amount:.decimals$}"), prefix)
}

/// A count with its thousands apart: `12,345`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share that is lost, `0%` where nothing is: `0.02%`, `1.5%`, `12%`.
pub(super) fn share(lost: u64, of: u64) -> String {
    if lost == 0 || of == 0 {
        return "0%".to_owned();
    }
    match lost as f64 / of as f64 * 100.0 {
        percent @ ..0.01 => format!("<{:.2}%", percent.max(0.01)),
        percent @ ..1.0 => format!("{percent:.2}%"),
        percent @ ..10.0 => format!("{percent:.1}%"),
        percent => format!("{percent:.0}%"),
    }
}

/// A wall clock's time of seconds since 1970, as the log has it: `2026-11-28T14:20:52Z`.
pub(super) fn clock(seconds: f64) -> String {
    match jiff::Timestamp::from_second(seconds as i64) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{seconds:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let ms = Duration::from_millis;
        for (of, text) in [
            (ms(0), "0s"),
            (ms(420), "0.4s"),
            (ms(9_900), "9.9s"),
            (ms(12_345), "12s"),
            (ms(185_000), "3m5s"),
            (ms(7_980_000), "2h13m"),
            (ms(273_600_000), "3d4h"),
            (Duration::from_secs(86_400 * 400), "400d"),
        ] {
            assert_eq!(time(of), text);
        }
        let us = Duration::from_micros;
        let trips = [us(123), us(3_440), us(120_400), us(1_240_000)].map(round_trip);
        assert_eq!(trips, ["0.12ms", "3.4ms", "120ms", "1.2s"]);
    }

    #[test]
    fn amounts_are_short() {
        let amounts = [0.0, 999.0, 1_240.0, 33_600.0, 999_900.0, 2.5e9, 3e18].map(amount);
        assert_eq!(amounts, ["0", "999", "1.2k", "34k", "1.0M", "2.5G", "3000P"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let shares = [(0, 10), (1, 1_000_000), (1, 1_000), (15, 1_000), (1, 2), (0, 0)];
        let shares = shares.map(|(lost, of)| share(lost, of));
        assert_eq!(shares, ["0%", "<0.01%", "0.10%", "1.5%", "50%", "0%"]);
    }

    #[test]
    fn the_clock_is_that_of_the_log() {
        assert_eq!(clock(1_795_875_652.9), "2026-11-28T14:20:52Z");
    }
}
