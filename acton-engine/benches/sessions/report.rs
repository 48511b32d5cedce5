//! The figures as a table, the bars that they shall keep to, and the same as JSON.

use std::fmt::Write as _;

use crate::phases::Figures;
use crate::support::process::Processor;
use crate::support::{thousands, three_digits};

/// What a join or a rekey may cost with the most clients, as a multiple of with the fewest.
const MAX_RATIO: f64 = 1.3;
/// Share of a processor that idle clients may take, in percent.
const MAX_IDLE: f64 = 2.0;
/// Memory a session in KiB.
const MAX_MEMORY: f64 = 8.0;

const KIB: f64 = 1024.0;

/// One line of the table.
struct Row {
    heading: &'static str,
    key: &'static str,
    of: fn(&Figures) -> f64,
}

const JOIN: Row = Row { heading: "join, us", key: "join_us", of: |f| micros(f.join.total()) };
const REKEY: Row = Row { heading: "rekey, us", key: "rekey_us", of: |f| micros(f.rekey.total()) };
const IDLE: Row =
    Row { heading: "idle, % of a core", key: "idle_percent", of: |f| f.idle.total() * 100.0 };
const MEMORY: Row = Row {
    heading: "memory at the end, KiB a session",
    key: "memory_at_end_kib",
    of: |f| f.memory_at_end / KIB,
};

const ROWS: [Row; 13] = [
    JOIN,
    Row { heading: "- control thread", key: "join_control_us", of: |f| control(f.join) },
    Row {
        heading: "join, mean from the first, us",
        key: "join_mean_us",
        of: |f| micros(f.join_mean.total()),
    },
    REKEY,
    Row { heading: "- control thread", key: "rekey_control_us", of: |f| control(f.rekey) },
    Row { heading: "leave, us", key: "leave_us", of: |f| micros(f.leave.total()) },
    Row { heading: "- control thread", key: "leave_control_us", of: |f| control(f.leave) },
    IDLE,
    Row {
        heading: "- control thread",
        key: "idle_control_percent",
        of: |f| f.idle.control * 100.0,
    },
    Row { heading: "idle without rekeys", key: "calm_percent", of: |f| f.calm.total() * 100.0 },
    Row {
        heading: "- control thread",
        key: "calm_control_percent",
        of: |f| f.calm.control * 100.0,
    },
    Row { heading: "memory, KiB a session", key: "memory_kib", of: |f| f.memory / KIB },
    MEMORY,
];

fn micros(seconds: f64) -> f64 {
    seconds * 1e6
}

fn control(processor: Processor) -> f64 {
    micros(processor.control)
}

/// A column for each number of clients, one for the ratios of the last to the first, and the bars.
pub(crate) fn text(figures: &[Figures]) -> String {
    let (Some(first), Some(last)) = (figures.first(), figures.last()) else {
        return String::new();
    };
    let ratio = |row: &Row| (row.of)(last) / (row.of)(first);
    let sizes = format!("{} : {}", thousands(last.clients), thousands(first.clients));
    let mut text = format!("| {:<32} |", "sessions");
    let mut rule = format!("| {} |", "-".repeat(32));
    for heading in figures.iter().map(|f| thousands(f.clients)).chain([sizes.clone()]) {
        put(&mut text, format_args!(" {heading:>12} |"));
        put(&mut rule, format_args!(" {}: |", "-".repeat(11)));
    }
    put(&mut text, format_args!("\n{rule}\n"));
    for row in &ROWS {
        put(&mut text, format_args!("| {:<32} |", row.heading));
        for value in figures.iter().map(row.of).chain([ratio(row)]) {
            put(&mut text, format_args!(" {:>12} |", three_digits(value)));
        }
        text.push('\n');
    }
    text.push('\n');
    let at = format!("{sizes} sessions");
    bar(&mut text, &format!("join, {at}"), ratio(&JOIN), MAX_RATIO, "x");
    bar(&mut text, &format!("rekey, {at}"), ratio(&REKEY), MAX_RATIO, "x");
    let at = format!("{} sessions", thousands(last.clients));
    bar(&mut text, &format!("idle, {at}"), (IDLE.of)(last), MAX_IDLE, "% of a core");
    bar(&mut text, &format!("memory, {at}"), (MEMORY.of)(last), MAX_MEMORY, "KiB a session");
    text
}

fn bar(text: &mut String, what: &str, value: f64, most: f64, unit: &str) {
    let kept = if value <= most { "kept" } else { "MISSED" };
    put(text, format_args!("{what}: {} of at most {most} {unit}: {kept}\n", three_digits(value)));
}

/// The same, in full (RFC 8259).
pub(crate) fn json(figures: &[Figures]) -> String {
    let object = |figures: &Figures| {
        let mut text = format!("  {{ \"clients\": {}", figures.clients);
        for row in &ROWS {
            put(&mut text, format_args!(", \"{}\": {:.3}", row.key, (row.of)(figures)));
        }
        text + " }"
    };
    let objects: Vec<_> = figures.iter().map(object).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}

fn put(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes all there is");
}
