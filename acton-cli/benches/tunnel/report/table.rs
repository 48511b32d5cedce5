//! The figures as tables, in Markdown that is as easy to read as it is.

use std::fmt::Write;

use super::{Report, Row};
use crate::contender::{VETH, VXLAN};
use crate::measure::Quantity;
use crate::world::Underlay;

/// Columns that the names take, and the figures.
const NAME: usize = 22;
const COLUMN: usize = 8;

/// For each underlay the medians, and the same as multiples of the baselines.
pub(crate) fn render(report: &Report) -> String {
    let mut text = format!("{}\n", report.conditions.sentence());
    for underlay in Underlay::ALL {
        let rows: Vec<_> = report.on(underlay).collect();
        if rows.is_empty() {
            continue;
        }
        let name = underlay.name();
        table(&mut text, &format!("{name}: medians"), &rows, |row, quantity| {
            match row.median(quantity) {
                Some(value) => format!("{value:.*}", quantity.decimals()),
                None if quantity == Quantity::Cpu => "kernel".to_owned(),
                None => "-".to_owned(),
            }
        });
        for baseline in [VXLAN, VETH] {
            let Some(base) = rows.iter().find(|row| row.name == baseline) else { continue };
            table(&mut text, &format!("{name}: times {baseline}"), &rows, |row, quantity| {
                match (row.median(quantity), base.median(quantity)) {
                    (Some(value), Some(base)) if base > 0.0 => format!("{:.3}", value / base),
                    _ => "-".to_owned(),
                }
            });
        }
    }
    text
}

fn table(text: &mut String, title: &str, rows: &[&Row], cell: impl Fn(&Row, Quantity) -> String) {
    text.push('\n');
    let mut line = |name: &str, cells: [String; Quantity::ALL.len()]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>COLUMN$} |")).collect();
        writeln!(text, "| {name:<NAME$} |{cells}").expect("a string takes all there is");
    };
    line(title, Quantity::ALL.map(|quantity| quantity.heading()[0].to_owned()));
    line(&"-".repeat(NAME), Quantity::ALL.map(|_| format!("{}:", "-".repeat(COLUMN - 1))));
    line("", Quantity::ALL.map(|quantity| quantity.heading()[1].to_owned()));
    for row in rows {
        line(row.name, Quantity::ALL.map(|quantity| cell(row, quantity)));
    }
}
