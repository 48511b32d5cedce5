//! What a run showed, and the forms it is told in, a file each.

mod chart;
mod document;
mod json;
mod table;

use std::fs;
use std::path::Path;
use std::thread;

use crate::contender::{LOOP, VXLAN};
use crate::measure::{Figures, Quantity, TcpSettings};
use crate::world::Underlay;
use crate::{Failure, Result};

use document::Part;
pub(crate) use table::render as text;

/// One contender on one underlay.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) underlay: Underlay,
    pub(crate) rounds: Vec<Figures>,
}

impl Row {
    pub(crate) fn new(name: &'static str, underlay: Underlay) -> Self {
        Self { name, underlay, rounds: Vec::new() }
    }

    /// The figures of the rounds, sorted.
    fn sorted(&self, quantity: Quantity) -> Vec<f64> {
        let figures = self.rounds.iter().filter_map(|round| round.get(quantity));
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by(f64::total_cmp);
        figures
    }

    /// The median over the rounds; of an even number of them, the mean of the two in the middle.
    fn median(&self, quantity: Quantity) -> Option<f64> {
        let figures = self.sorted(quantity);
        let last = figures.len().checked_sub(1)?;
        Some((figures[last / 2] + figures[last.div_ceil(2)]) / 2.0)
    }

    /// The smallest and the largest of the rounds.
    fn range(&self, quantity: Quantity) -> Option<(f64, f64)> {
        let figures = self.sorted(quantity);
        Some((*figures.first()?, *figures.last()?))
    }

    /// How far the rounds are from their median at most, as a share of it.
    fn spread(&self, quantity: Quantity) -> Option<f64> {
        let (median, (least, most)) = (self.median(quantity)?, self.range(quantity)?);
        Some(f64::max(median - least, most - median) / median)
    }
}

/// A whole run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) conditions: Conditions,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// The rows of one underlay that have figures.
    fn on(&self, underlay: Underlay) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.underlay == underlay && !row.rounds.is_empty())
    }

    /// How much the rounds differ, where there are several.
    fn spread_sentence(&self) -> Option<String> {
        let rows = self.rows.iter().filter(|row| row.rounds.len() > 1);
        let spreads = rows
            .flat_map(|row| Quantity::ALL.into_iter().filter_map(|quantity| row.spread(quantity)));
        let mut spreads: Vec<_> = spreads.collect();
        spreads.sort_by(f64::total_cmp);
        let share = |of: usize| spreads.get(spreads.len() * of / 10).map(|spread| spread * 100.0);
        Some(format!(
            "Half of the figures stay within {:.0} % of their median in all rounds, nine in ten \
             within {:.0} %.",
            share(5)?,
            share(9)?
        ))
    }

    /// Writes `benchmarks.json` and `benchmarks.svg` into a folder, and the tables into its
    /// `BENCHMARKS.md`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let keep = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text)
                .map_err(|error| Failure::from(format!("{}: {error}", path.display())))
        };
        keep("benchmarks.json", json::render(self))?;
        keep("benchmarks.svg", chart::render(self))?;
        document::replace(folder, Part::Figures, &table::render(self))
    }
}

/// Writes the table of instructions into a folder's `BENCHMARKS.md`.
pub(crate) fn write_instructions(folder: &Path, table: &str) -> Result<()> {
    document::replace(folder, Part::Instructions, table)
}

/// Share of the processors that others may take before the figures are of them rather than of
/// the contenders.
const BUSY: f64 = 0.05;

/// What the figures were taken on.
#[derive(Debug)]
pub(crate) struct Conditions {
    rounds: u32,
    tcp: TcpSettings,
    kernel: String,
    processor: String,
    cores: usize,
    /// Share of the processors' time that others took before each round, the mean.
    others: f64,
}

impl Conditions {
    /// `others`: the share of the processors' time that others took, 0 to 1, before each round.
    pub(crate) fn new(rounds: u32, tcp: TcpSettings, others: &[f64]) -> Self {
        let kernel = nix::sys::utsname::uname()
            .map_or_else(|_| "?".to_owned(), |name| name.release().to_string_lossy().into_owned());
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find(|line| line.starts_with("model name"));
        let processor = model.and_then(|line| line.split_once(": ")).map_or("?", |(_, name)| name);
        Self {
            rounds,
            tcp,
            kernel,
            processor: processor.to_owned(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            others: others.iter().sum::<f64>() / others.len().max(1) as f64,
        }
    }

    /// In one sentence.
    fn sentence(&self) -> String {
        // A release's suffix is its builder's.
        let kernel = self.kernel.split('-').next().unwrap_or_default();
        let Self { rounds, processor, cores, others, .. } = self;
        let median =
            if *rounds == 1 { "one round".into() } else { format!("medians of {rounds} rounds") };
        let seconds = self.tcp.window.as_secs_f64();
        let congestion_control = &self.tcp.congestion_control;
        let warning = if *others > BUSY { ": too much to rely on the figures" } else { "" };
        format!(
            "{cores} cores of {processor}, Linux {kernel}; {median}, {seconds} s a TCP transfer \
             with {congestion_control}; other programs took {:.0} % of the processors{warning}.",
            others * 100.0
        )
    }
}

impl Quantity {
    /// Two lines above a column: what it is, and in which unit.
    fn heading(self) -> [&'static str; 2] {
        match self {
            Self::TcpToServer => ["TCP up", "Gbit/s"],
            Self::TcpToClient => ["TCP down", "Gbit/s"],
            Self::StreamsToServer => ["4 up", "Gbit/s"],
            Self::StreamsToClient => ["4 down", "Gbit/s"],
            Self::Cpu => ["CPU", "s/GB"],
            Self::Frames => ["whole", "k/s"],
            Self::FramesFlooded => ["flood", "k/s"],
            Self::FramesMixed => ["mixed", "k/s"],
            Self::FramesMixedCpu => ["CPU", "us"],
            Self::Rtt => ["idle", "us"],
            Self::RttTail => ["99 %", "us"],
            Self::RttLoaded => ["loaded", "us"],
            Self::RttLoadedTail => ["99 %", "us"],
        }
    }

    /// Whose figure it is compared with: that of the kernel's tunnel, and where a user program's
    /// wake-ups and system calls are the cost, that of the plainest one.
    fn baseline(self) -> Option<&'static str> {
        match self {
            Self::TcpToServer
            | Self::TcpToClient
            | Self::StreamsToServer
            | Self::StreamsToClient
            | Self::Frames
            | Self::FramesMixed => Some(VXLAN),
            Self::Cpu | Self::FramesMixedCpu | Self::Rtt | Self::RttLoaded => Some(LOOP),
            Self::FramesFlooded | Self::RttTail | Self::RttLoadedTail => None,
        }
    }

    fn decimals(self) -> usize {
        match self {
            Self::TcpToServer
            | Self::TcpToClient
            | Self::StreamsToServer
            | Self::StreamsToClient
            | Self::Cpu
            | Self::FramesMixedCpu => 2,
            Self::Frames | Self::FramesFlooded | Self::FramesMixed => 1,
            Self::Rtt | Self::RttTail | Self::RttLoaded | Self::RttLoadedTail => 0,
        }
    }

    /// The key in JSON, with the unit.
    fn key(self) -> &'static str {
        match self {
            Self::TcpToServer => "tcp_up_gbit_s",
            Self::TcpToClient => "tcp_down_gbit_s",
            Self::StreamsToServer => "tcp_4_up_gbit_s",
            Self::StreamsToClient => "tcp_4_down_gbit_s",
            Self::Cpu => "cpu_s_per_gb",
            Self::Frames => "frames_whole_k_s",
            Self::FramesFlooded => "frames_flood_k_s",
            Self::FramesMixed => "frames_mixed_k_s",
            Self::FramesMixedCpu => "frames_mixed_cpu_us",
            Self::Rtt => "rtt_idle_us",
            Self::RttTail => "rtt_idle_p99_us",
            Self::RttLoaded => "rtt_loaded_us",
            Self::RttLoadedTail => "rtt_loaded_p99_us",
        }
    }
}
