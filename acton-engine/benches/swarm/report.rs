//! The figures as a table.

use std::fmt::Write as _;

use crate::phases::{Figures, Quantiles};
use crate::support::{thousands, three_digits};

const KIB: f64 = 1024.0;

/// A heading, and the value below it.
type Row = (&'static str, fn(&Figures) -> f64);

const ROWS: [Row; 32] = [
    ("all in after a burst, s", |f| f.all_in),
    ("HELLO a client", |f| f.hellos),
    ("right after it: lost, %", |f| f.storm_lost * 100.0),
    ("- by the kernel's backlog", |f| f.storm_backlog),
    ("memory, KiB a session", |f| f.memory / KIB),
    ("ping, nothing else, ms", |f| ms(f.idle_ping.median)),
    ("- 99 %", |f| ms(f.idle_ping.p99)),
    ("a frame for all: first, ms", |f| ms(f.tunnel.0)),
    ("- last", |f| ms(f.tunnel.1)),
    ("- lost, %", |f| f.lost * 100.0),
    ("- processor time, ms", |f| ms(f.spent)),
    ("a bare loop: first, ms", |f| ms(f.bare.0)),
    ("- last", |f| ms(f.bare.1)),
    ("- lost, %", |f| f.bare_lost * 100.0),
    ("- processor time, ms", |f| ms(f.bare_spent)),
    ("last : last of the bare loop", |f| f.tunnel.1 / f.bare.1),
    ("processor time : the bare loop's", |f| f.spent / f.bare_spent),
    ("ping meanwhile, ms", |f| ms(f.flood_ping.median)),
    ("- 99 %", |f| ms(f.flood_ping.p99)),
    ("- : idle", |f| ratio(f.flood_ping, f.idle_ping)),
    ("at a rate: heard, %", |f| f.rate.heard * 100.0),
    ("- given up and counted, %", |f| f.rate.given_up * 100.0),
    ("- lost by the kernel, %", |f| f.rate.kernel * 100.0),
    ("- last, ms", |f| ms(f.rate.last.median)),
    ("- last, 99 %", |f| ms(f.rate.last.p99)),
    ("- ping meanwhile, ms", |f| ms(f.rate.ping.median)),
    ("- ping, 99 %", |f| ms(f.rate.ping.p99)),
    ("- ping : idle", |f| ratio(f.rate.ping, f.idle_ping)),
    ("- % of a core", |f| f.rate.processor * 100.0),
    ("killed: half are back, s", |f| f.back.map_or(f64::NAN, |(back, _)| back.median)),
    ("- 99 %", |f| f.back.map_or(f64::NAN, |(back, _)| back.p99)),
    ("- all", |f| f.back.map_or(f64::NAN, |(_, last)| last)),
];

fn ms(seconds: f64) -> f64 {
    seconds * 1e3
}

fn ratio(one: Quantiles, other: Quantiles) -> f64 {
    one.median / other.median
}

/// A column for each number of clients.
pub(crate) fn text(figures: &[Figures]) -> String {
    let mut text = format!("| {:<32} |", "clients");
    let mut rule = format!("| {} |", "-".repeat(32));
    for figures in figures {
        put(&mut text, format_args!(" {:>8} |", thousands(figures.clients)));
        put(&mut rule, format_args!(" {}: |", "-".repeat(7)));
    }
    put(&mut text, format_args!("\n{rule}\n"));
    for (heading, of) in ROWS {
        put(&mut text, format_args!("| {heading:<32} |"));
        for value in figures.iter().map(of) {
            let value = if value.is_nan() { "-".to_owned() } else { three_digits(value) };
            put(&mut text, format_args!(" {value:>8} |"));
        }
        text.push('\n');
    }
    text
}

fn put(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes all there is");
}
