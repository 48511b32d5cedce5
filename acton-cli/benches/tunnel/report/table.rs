//! The figures as tables, in Markdown that is as easy to read as it is.

use std::fmt::Write;

use super::{Report, Row};
use crate::contender::{self, VETH, VXLAN};
use crate::measure::Quantity;
use crate::world::Underlay;

/// Columns that the names take, and the least that figures take.
const NAME: usize = 19;
const COLUMN: usize = 6;

/// For each underlay the medians, and a table of what they are as multiples of the baselines'.
pub(crate) fn render(report: &Report) -> String {
    let mut text = format!("{}\n", report.conditions.sentence());
    if let Some(spread) = report.spread_sentence() {
        writeln!(text, "{spread}").expect("a string takes all there is");
    }
    for underlay in Underlay::ALL {
        medians(&mut text, underlay, &report.on(underlay).collect::<Vec<_>>());
    }
    ratios(&mut text, report);
    text
}

fn medians(text: &mut String, underlay: Underlay, rows: &[&Row]) {
    let mut columns = Quantity::ALL.to_vec();
    columns.retain(|&quantity| rows.iter().any(|row| row.median(quantity).is_some()));
    if columns.is_empty() {
        return;
    }
    let cell = |row: &Row, quantity: Quantity| match row.median(quantity) {
        Some(value) => format!("{value:.*}", quantity.decimals()),
        None if [VETH, VXLAN].contains(&row.name) => "kernel".to_owned(),
        None => "-".to_owned(),
    };
    let mut lines = vec![
        line(underlay.name(), columns.iter().map(|column| column.heading()[0].to_owned())),
        line("", columns.iter().map(|column| column.heading()[1].to_owned())),
    ];
    lines.extend(rows.iter().map(|row| line(row.name, columns.iter().map(|&c| cell(row, c)))));
    table(text, lines);
}

/// A row for each contender, both underlays in a cell.
fn ratios(text: &mut String, report: &Report) {
    let mut underlays = Underlay::ALL.to_vec();
    underlays.retain(|&underlay| report.on(underlay).next().is_some());
    let find = |name: &str, underlay| report.on(underlay).find(|row| row.name == name);
    let ratio = |name: &str, underlay, (quantity, baseline): (Quantity, &str)| {
        let base = find(baseline, underlay)?.median(quantity).filter(|&base| base > 0.0)?;
        Some(find(name, underlay)?.median(quantity)? / base)
    };
    let measured =
        |name, column| underlays.iter().any(|&underlay| ratio(name, underlay, column).is_some());
    let names = contender::ALL.map(|(name, _)| name);
    let columns: Vec<_> = Quantity::ALL
        .into_iter()
        .filter_map(|quantity| Some((quantity, quantity.baseline()?)))
        .filter(|&column| names.iter().any(|name| measured(name, column)))
        .collect();
    if columns.is_empty() {
        return;
    }
    let title = underlays.iter().map(|underlay| underlay.name()).collect::<Vec<_>>().join(", ");
    let mut lines = vec![
        line(&title, columns.iter().map(|(quantity, _)| quantity.heading()[0].to_owned())),
        line("", columns.iter().map(|(_, baseline)| format!("x {baseline}"))),
    ];
    for name in names {
        if !columns.iter().any(|&column| measured(name, column)) {
            continue;
        }
        let cells = columns.iter().map(|&column| {
            let ratios = underlays.iter().map(|&underlay| match ratio(name, underlay, column) {
                Some(ratio) => three_digits(ratio),
                None => "-".to_owned(),
            });
            let ratios: Vec<_> = ratios.collect();
            if ratios.iter().all(|ratio| ratio == "-") { "-".to_owned() } else { ratios.join(", ") }
        });
        lines.push(line(name, cells));
    }
    table(text, lines);
}

/// More say nothing, fewer hide a difference.
fn three_digits(value: f64) -> String {
    let decimals = if value < 0.995 { 3 } else { 2 - usize::from(value >= 9.95) };
    format!("{value:.decimals$}")
}

fn line(name: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    [name.to_owned()].into_iter().chain(cells).collect()
}

/// Writes a table whose first line is the heading; its columns are as wide as they have to be.
fn table(text: &mut String, mut lines: Vec<Vec<String>>) {
    let width = |column: usize| {
        let least = if column == 0 { NAME } else { COLUMN };
        lines.iter().map(|line| line[column].len()).fold(least, usize::max)
    };
    let widths: Vec<_> = (0..lines[0].len()).map(width).collect();
    let rule = widths.iter().enumerate().map(|(column, &width)| match column {
        0 => "-".repeat(width),
        _ => format!("{}:", "-".repeat(width - 1)),
    });
    lines.insert(1, rule.collect());
    text.push('\n');
    for line in lines {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            match column {
                0 => write!(text, "| {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            }
            .expect("a string takes all there is");
        }
        text.push('\n');
    }
}
