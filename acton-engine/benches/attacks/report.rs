//! The figures as a table.

use std::fmt::Write as _;

use crate::measure::Figures;
use crate::support::{thousands, three_digits};

const MIB: f64 = 1024.0 * 1024.0;
const KIB: f64 = 1024.0;

const HEADINGS: [&str; 11] = [
    "attack",
    "datagrams/s",
    "sessions kept, %",
    "KEEPALIVE answered, %",
    "handshake quiet, ms",
    "longest",
    "attacked, ms",
    "longest",
    "control thread, %",
    "memory, MiB",
    "log, KiB",
];

/// A line for each attack.
pub(crate) fn text(figures: &[Figures]) -> String {
    let mut text = format!("| {} |\n|", HEADINGS.join(" | "));
    for column in 0..HEADINGS.len() {
        text.push_str(if column == 0 { " --- |" } else { " ---: |" });
    }
    text.push('\n');
    for figures in figures {
        let ms = |seconds: f64| three_digits(seconds * 1e3);
        let percent = |share: f64| three_digits(share * 100.0);
        let mib = |bytes: u64| three_digits(bytes as f64 / MIB);
        let cells = [
            figures.attack.name().to_owned(),
            thousands(figures.rate as usize),
            percent(figures.kept),
            percent(figures.answered),
            ms(figures.quiet.median),
            ms(figures.quiet.longest),
            ms(figures.attacked.median),
            ms(figures.attacked.longest),
            percent(figures.control),
            format!("{} to {}", mib(figures.memory_before), mib(figures.memory_after)),
            three_digits(figures.log as f64 / KIB),
        ];
        writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes all there is");
    }
    text
}
