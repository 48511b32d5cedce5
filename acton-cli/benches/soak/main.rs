//! Tens of gigabytes through the tunnel, every byte checked by the program that receives it.
//!
//! ```text
//! cargo bench -p acton-cli --bench soak -- --gigabytes 100 --mode aes
//! cargo bench -p acton-cli --bench soak -- --gigabytes 2 --mode plain --phase router,bridge
//! cargo bench -p acton-cli --bench soak -- --seconds 1200
//! ```
//!
//! A server and a client run in network namespaces. TCP goes both ways over IPv4 and IPv6 at once,
//! and beside it UDP of all sizes up to packets of 1,500 bytes ([`traffic`]), through one kind of
//! path after the other ([`phases`]). At the end of each, no kernel on the way may have counted a
//! wrong checksum ([`kernel`]), and acton no drop that the path does not explain. It ends with code
//! 1 where anything was wrong.
//!
//! With `--seconds` it moves no gigabytes: a client comes and goes for so long ([`churn`]), and it
//! prints how the memory of the server grows, the sessions that another client lost and all drops.
//!
//! Needs root, nftables, tc and ethtool. `tests/soak.rs` moves less through the same paths.
#![allow(clippy::unwrap_used)] // as the tests whose world it uses: the panic is the report

mod churn;
mod kernel;
mod phases;
#[path = "../../tests/support/mod.rs"]
mod support;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use phases::{Phase, Run, Speech};

/// Moves bytes through the tunnel and checks every one
#[derive(Debug, Parser)]
#[command(name = "soak", max_term_width = 100)]
struct Arguments {
    /// Payload of TCP to move in all, which the phases share
    #[arg(long, default_value_t = 10.0)]
    gigabytes: f64,

    /// Instead: a client comes and goes for so many seconds
    #[arg(long, conflicts_with_all = ["gigabytes", "phase"])]
    seconds: Option<u64>,

    /// What server and client speak
    #[arg(long, value_enum, default_value_t = Speech::Aes)]
    mode: Speech,

    /// Phases to run; all without it
    #[arg(long, value_enum, value_delimiter = ',')]
    phase: Vec<Phase>,

    /// Where the patterns begin
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// What cargo bench adds, and cargo test does not
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench {
        // cargo test --all-targets builds benchmarks and runs them too.
        println!("not run: cargo bench -p acton-cli --bench soak");
        return ExitCode::SUCCESS;
    }
    if let Some(seconds) = arguments.seconds {
        let summary = churn::run(arguments.mode, Duration::from_secs(seconds));
        println!("{summary}");
        let errors = summary.errors();
        errors.iter().for_each(|error| println!("  ERROR: {error}"));
        return if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let phases =
        if arguments.phase.is_empty() { Phase::value_variants() } else { &arguments.phase };
    let bytes = (arguments.gigabytes * 1e9) as u64 / phases.len() as u64;
    let mut errors = 0;
    for &phase in phases {
        let toggle_every = Duration::from_secs(1);
        let seed = arguments.seed;
        let summary = Run { phase, speech: arguments.mode, bytes, seed, toggle_every }.go();
        println!("{summary}");
        errors += summary.errors.len();
    }
    println!("{errors} errors in all");
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
