//! What one admitted client can do to the control of all others, at full speed.
//!
//! ```text
//! cargo bench -p acton-engine --bench attacks
//! cargo bench -p acton-engine --bench attacks -- --seconds 30 --only keepalive
//! ```
//!
//! For each attack there is a fresh server, alone in a process, with eight idle clients that ask for a
//! sign of life twenty times a second. Others shake hands one after the other, before the attack and
//! meanwhile. All are on one machine: what the attacker takes of its processors, it takes from the
//! server too.
//!
//! Needs root, or user namespaces and a `/dev/net/tun` that is open to all.
#![forbid(unsafe_code)]

mod attack;
mod log_file;
mod measure;
mod peer;
mod report;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use attack::Attack;
use clap::{Parser, ValueEnum};
use support::program::Program;
use support::{Result, enter_namespace};

/// What one admitted client can do to the control of all others
#[derive(Debug, Parser)]
#[command(name = "attacks", max_term_width = 100)]
struct Arguments {
    /// These attacks alone
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Attack>,

    /// How long each lasts, in seconds: longer than a client that is not heard keeps its session
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(5..))]
    seconds: u32,

    /// Datagrams a second, or what the machine gives; by default 100,000, of HELLO 90,000
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..))]
    rate: Option<u32>,

    #[command(flatten)]
    program: Program,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let measure = || measure_all(&arguments);
    arguments.program.run_prepared("attacks", log_file::write_in_server, measure)
}

fn measure_all(arguments: &Arguments) -> Result<()> {
    enter_namespace()?;
    let all = Attack::value_variants();
    let attacks = if arguments.only.is_empty() { all } else { &arguments.only };
    let mut figures = Vec::new();
    for &attack in attacks {
        figures.push(measure::measure(attack, arguments)?);
    }
    print!("{}", report::text(&figures));
    Ok(())
}
