//! The figures as JSON (RFC 8259), each round of them.

use super::{Conditions, Report, Row};
use crate::measure::Quantity;

pub(super) fn render(report: &Report) -> String {
    let Conditions { rounds, tcp, kernel, processor, cores, others } = &report.conditions;
    let rows: Vec<_> =
        report.rows.iter().filter(|row| !row.rounds.is_empty()).map(result).collect();
    format!(
        "{{\n  \"rounds\": {rounds},\n  \"seconds\": {},\n  \"congestion_control\": {},\n  \"kernel\": {},\n  \
         \"processor\": {},\n  \"cores\": {cores},\n  \"others\": {others:.3},\n  \"results\": [\n{}\n  ]\n}}\n",
        tcp.window.as_secs_f64(),
        string(&tcp.congestion_control),
        string(kernel),
        string(processor),
        rows.join(",\n")
    )
}

fn result(row: &Row) -> String {
    let medians = figures(|quantity| row.median(quantity));
    let least = figures(|quantity| Some(row.range(quantity)?.0));
    let most = figures(|quantity| Some(row.range(quantity)?.1));
    let rounds: Vec<_> = row
        .rounds
        .iter()
        .map(|round| format!("        {}", figures(|quantity| round.get(quantity))))
        .collect();
    format!(
        "    {{\n      \"contender\": {}, \"underlay\": {},\n      \"median\": {medians},\n      \"min\": {least},\n      \
         \"max\": {most},\n      \"rounds\": [\n{}\n      ]\n    }}",
        string(row.name),
        string(row.underlay.name()),
        rounds.join(",\n")
    )
}

/// An object; what was not measured is not in it.
fn figures(value: impl Fn(Quantity) -> Option<f64>) -> String {
    let members = Quantity::ALL.into_iter().filter_map(|quantity| {
        Some(format!("{}: {:.4}", string(quantity.key()), value(quantity)?))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
}

fn string(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}
