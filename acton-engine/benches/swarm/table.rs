//! Figures in columns, what they shall keep to, and the table that they make.

use std::fmt::{self, Write as _};

use crate::support::three_digits;

/// What a figure shall keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    /// A figure that was not taken keeps to nothing.
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    row: &'static str,
    value: f64,
    bar: Option<Bar>,
}

/// The figures of one column, from above.
#[derive(Debug)]
pub(crate) struct Column {
    heading: String,
    cells: Vec<Cell>,
}

impl Column {
    pub(crate) fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), cells: Vec::new() }
    }

    /// A figure; one that is no number was not to be had.
    pub(crate) fn put(&mut self, row: &'static str, value: f64) {
        self.cells.push(Cell { row, value, bar: None });
    }

    /// A figure that shall keep to something.
    pub(crate) fn hold(&mut self, row: &'static str, value: f64, bar: impl Into<Option<Bar>>) {
        self.cells.push(Cell { row, value, bar: bar.into() });
    }

    /// Holds nothing to anything, as one that is shown to compare with.
    pub(crate) fn forget_bars(&mut self) {
        self.cells.iter_mut().for_each(|cell| cell.bar = None);
    }

    fn get(&self, row: &str) -> Option<Cell> {
        self.cells.iter().copied().find(|cell| cell.row == row)
    }
}

/// The columns side by side, and last, where anything has a bar, each row's bar and whether all of its
/// figures meet it.
pub(crate) fn text(corner: &str, columns: &[Column]) -> String {
    let mut rows: Vec<&str> = Vec::new();
    for cell in columns.iter().flat_map(|column| &column.cells) {
        if !rows.contains(&cell.row) {
            rows.push(cell.row);
        }
    }
    let barred = columns.iter().flat_map(|column| &column.cells).any(|cell| cell.bar.is_some());
    let mut lines = vec![vec![corner.to_owned()], vec![]];
    lines[0].extend(columns.iter().map(|column| column.heading.clone()));
    lines[0].extend(["bar", "met"].map(str::to_owned).into_iter().filter(|_| barred));
    for row in rows {
        let cells: Vec<_> = columns.iter().map(|column| column.get(row)).collect();
        let value = |cell: &Option<Cell>| match cell {
            Some(cell) if !cell.value.is_nan() => three_digits(cell.value),
            _ => "-".to_owned(),
        };
        let mut line = vec![row.to_owned()];
        line.extend(cells.iter().map(value));
        line.extend(verdict(columns, &cells).into_iter().filter(|_| barred));
        lines.push(line);
    }
    let width = |index: usize| {
        let cells = lines.iter().filter_map(|line| line.get(index));
        cells.map(String::len).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..lines[0].len()).map(width).collect();
    let is_figure = |index: usize| (1..=columns.len()).contains(&index);
    lines[1] = widths.iter().map(|&width| "-".repeat(width)).collect();
    (1..=columns.len()).for_each(|index| {
        lines[1][index].pop();
        lines[1][index].push(':');
    });
    let mut text = String::new();
    for line in &lines {
        for (index, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            if is_figure(index) {
                put(&mut text, format_args!("| {cell:>width$} "));
            } else {
                put(&mut text, format_args!("| {cell:<width$} "));
            }
        }
        text.push_str("|\n");
    }
    text
}

/// A row's bar, with the columns that have it where not all figures have the same, and whether it is
/// met.
fn verdict(columns: &[Column], cells: &[Option<Cell>]) -> [String; 2] {
    let mut bars: Vec<(Bar, Vec<&str>)> = Vec::new();
    let (mut missed, mut held, mut free) = (Vec::new(), 0, 0);
    for (column, cell) in columns.iter().zip(cells) {
        let Some(cell) = cell else { continue };
        let Some(bar) = cell.bar else {
            free += 1;
            continue;
        };
        held += 1;
        match bars.iter_mut().find(|(other, _)| *other == bar) {
            Some((_, headings)) => headings.push(&column.heading),
            None => bars.push((bar, vec![&column.heading])),
        }
        if !bar.is_met(cell.value) {
            missed.push(&*column.heading);
        }
    }
    let all = free == 0 && bars.len() == 1;
    let said = |(bar, headings): &(Bar, Vec<&str>)| match all {
        true => bar.to_string(),
        false => format!("{bar} at {}", headings.join("; ")),
    };
    let bar = bars.iter().map(said).collect::<Vec<_>>().join(", ");
    let met = match (held, missed.len()) {
        (0, _) => String::new(),
        (_, 0) => "yes".to_owned(),
        (held, missed) if held == missed => "NO".to_owned(),
        _ => format!("NOT at {}", missed.join("; ")),
    };
    [bar, met]
}

fn put(text: &mut String, more: fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes all there is");
}
