//! What was measured, and how it had to be.

use std::fmt::Display;
use std::time::Duration;

/// The table, printed line by line.
#[derive(Debug, Default)]
pub(crate) struct Table {
    failed: usize,
}

impl Table {
    pub(crate) fn begin() -> Self {
        row("PART", "MEASURED", "P50", "P99", "MAX", "HAS TO BE", "");
        Self::default()
    }

    /// How much of something there was.
    pub(crate) fn say(&self, part: &str, what: &str, how_much: impl Display) {
        println!("{part:<7} {what:<57} {how_much}");
    }

    /// Something that has to be so.
    pub(crate) fn holds(
        &mut self,
        part: &str,
        what: &str,
        seen: impl Display,
        bar: &str,
        ok: bool,
    ) {
        let seen = seen.to_string();
        row(part, what, "", "", &seen, bar, self.verdict(ok));
    }

    /// Times of clients, none of which may be missing; what 99 of 100 have to keep within, if anything.
    pub(crate) fn times(
        &mut self,
        part: &str,
        what: &str,
        times: &[Option<Duration>],
        bar: Option<Duration>,
    ) {
        let missing = times.iter().filter(|time| time.is_none()).count();
        if missing > 0 {
            let what = format!("{what}: missing");
            return self.holds(part, &what, missing, "0", false);
        }
        let mut sorted: Vec<_> = times.iter().flatten().copied().collect();
        sorted.sort_unstable();
        let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(&sorted, percent));
        let ok = bar.is_none_or(|bar| p99 <= bar);
        let bar = bar.map(|bar| format!("p99 {bar:?}")).unwrap_or_default();
        let verdict = if bar.is_empty() { "" } else { self.verdict(ok) };
        row(part, what, &seconds(p50), &seconds(p99), &seconds(max), &bar, verdict);
    }

    fn verdict(&mut self, ok: bool) -> &'static str {
        self.failed += usize::from(!ok);
        if ok { "ok" } else { "NOT OK" }
    }

    /// How much was not as it had to be.
    pub(crate) const fn failed(&self) -> usize {
        self.failed
    }
}

/// The value that so many of a hundred do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

fn row(part: &str, what: &str, p50: &str, p99: &str, max: &str, bar: &str, verdict: &str) {
    let line = format!("{part:<7} {what:<57} {p50:>8} {p99:>8} {max:>8}  {bar:<10} {verdict}");
    println!("{}", line.trim_end());
}
