//! Rates of clients (`rate-in`, `rate-out`): how exact they are, what a ping sees beside them, and what a
//! hundred clients that all transfer at once get, each.
//!
//! ```text
//! cargo bench -p acton-cli --bench rates                       # five minutes
//! cargo bench -p acton-cli --bench rates -- --parts precision --rates 20 --delays 20
//! ```
//!
//! Server and clients are the program, a process each, in network namespaces of their own that a Linux
//! bridge joins; the kernels of these make and take the TCP and UDP that is measured ([`flow`]). A round
//! trip of its own has a relay between ([`delay`]). It prints tables; nothing in them has to be so.
//!
//! Needs root, tc and ethtool.
#![allow(clippy::unwrap_used)] // as the tests whose world it uses: the panic is the report

mod delay;
mod fairness;
mod flow;
mod precision;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// How exact rates of clients are, and how fair
#[derive(Debug, Parser)]
#[command(name = "rates", max_term_width = 100)]
struct Arguments {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "precision,fairness")]
    parts: Vec<Part>,

    /// Rates in Mbit/s
    #[arg(long, value_delimiter = ',', default_value = "5,20,100")]
    rates: Vec<u32>,

    /// What the way takes there and back, in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "0,20,100")]
    delays: Vec<u64>,

    /// Congestion controls, by their names in tcp(7)
    #[arg(long, value_delimiter = ',', default_value = "cubic,reno,bbr")]
    controls: Vec<String>,

    /// More keys of each client's policy, a line each
    #[arg(long, default_value = "")]
    policy: String,

    /// How many clients transfer at once where it is about fairness
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=180))]
    clients: u8,

    /// How long each measurement is, in seconds, after a third of that in which it settles
    #[arg(long, default_value_t = 6)]
    seconds: u64,

    /// What cargo bench adds, and cargo test does not
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// How close to its rate a client comes, and what a ping sees beside
    Precision,
    /// What each of many clients gets
    Fairness,
}

impl Arguments {
    fn window(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench {
        // cargo test --all-targets builds benchmarks and runs them too.
        println!("not run: cargo bench -p acton-cli --bench rates");
        return ExitCode::SUCCESS;
    }
    if let Some(why) = testbed::missing_on_this_machine() {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    let busy = testbed::proc::busy(Duration::from_secs(1)).unwrap();
    println!("others take {:.0} % of the processors", busy * 100.0);
    for part in &arguments.parts {
        match part {
            Part::Precision => precision::measure(&arguments),
            Part::Fairness => fairness::measure(&arguments),
        }
    }
    ExitCode::SUCCESS
}
