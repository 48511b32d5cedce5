//! The figures as text.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use crate::contender::{VETH, VXLAN};
use crate::measure::{Figures, Quantity};

/// Columns that the names take.
const NAME: usize = 20;
const COLUMN: usize = 11;

/// One contender and what it showed.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<Figures>,
}

impl Row {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new() }
    }

    /// The median over the rounds; of an even number of them, the mean of the two in the middle.
    fn median(&self, quantity: Quantity) -> Option<f64> {
        let figures = self.rounds.iter().filter_map(|round| round.get(quantity));
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let last = figures.len().checked_sub(1)?;
        Some((figures[last / 2] + figures[last.div_ceil(2)]) / 2.0)
    }
}

impl Quantity {
    /// Two lines above the column.
    fn heading(self) -> [&'static str; 2] {
        match self {
            Self::TcpToServer => ["TCP up", "Gbit/s"],
            Self::TcpToClient => ["TCP down", "Gbit/s"],
            Self::Cpu => ["CPU", "s/GB"],
            Self::Frames => ["frames", "k/s, whole"],
            Self::FramesFlooded => ["frames", "k/s, flood"],
            Self::Rtt => ["RTT us", "median"],
            Self::RttTail => ["RTT us", "99 %"],
        }
    }

    fn decimals(self) -> usize {
        match self {
            Self::TcpToServer | Self::TcpToClient | Self::Cpu => 2,
            Self::Frames | Self::FramesFlooded => 1,
            Self::Rtt | Self::RttTail => 0,
        }
    }
}

/// Medians, the same as multiples of the baselines, and what the columns mean.
pub(crate) fn render(rows: &[Row], rounds: u32, window: Duration) -> String {
    let mut text = format!("\n{}\n\n", conditions(rounds, window));
    block(&mut text, "medians", rows, |row, quantity| match row.median(quantity) {
        Some(value) => format!("{value:.*}", quantity.decimals()),
        None if quantity == Quantity::Cpu && !row.rounds.is_empty() => "in kernel".to_owned(),
        None => "-".to_owned(),
    });
    for baseline in [VXLAN, VETH] {
        let measured = |row: &&Row| row.name == baseline && !row.rounds.is_empty();
        let Some(base) = rows.iter().find(measured) else { continue };
        block(&mut text, &format!("times {baseline}"), rows, |row, quantity| {
            match (row.median(quantity), base.median(quantity)) {
                (Some(value), Some(base)) if base > 0.0 => format!("{:.3}", value / base),
                _ => "-".to_owned(),
            }
        });
    }
    text + LEGEND
}

const LEGEND: &str = "\
up: client to server. TCP: payload of one stream. CPU: user and system time of the tunnel's
programs for each 10^9 bytes of that payload, both ways; what the kernel does outside of them is
not in it. frames: 64 bytes, client to server, thousands that arrive a second: whole, at the
highest rate with less than 1 % lost; flood, of as many as one sender can send. veth and vxlan do
their work in the sender's own time: they lose nothing, and their rate is the sender's. RTT: pings
of the idle tunnel. Tunnels have an MTU of 1,400; the veth, with 1,500, passes super-frames whole.
";

/// What the figures were taken on.
fn conditions(rounds: u32, window: Duration) -> String {
    let kernel = nix::sys::utsname::uname()
        .map_or_else(|_| "?".to_owned(), |name| name.release().to_string_lossy().into_owned());
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let window = window.as_secs_f64();
    format!("rounds: {rounds}, {window} s a TCP transfer; Linux {kernel}, {cores} cores")
}

fn block(text: &mut String, title: &str, rows: &[Row], cell: impl Fn(&Row, Quantity) -> String) {
    let mut line = |name: &str, cells: [String; Quantity::ALL.len()]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>COLUMN$}")).collect();
        writeln!(text, "{name:<NAME$}{cells}").expect("a string takes all there is");
    };
    line("", Quantity::ALL.map(|quantity| quantity.heading()[0].to_owned()));
    line(title, Quantity::ALL.map(|quantity| quantity.heading()[1].to_owned()));
    for row in rows {
        line(row.name, Quantity::ALL.map(|quantity| cell(row, quantity)));
    }
    text.push('\n');
}
