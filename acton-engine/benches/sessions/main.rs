//! What sessions cost a server: processor time of a join, a rekey and a leave, memory, and the
//! processor's share while all are idle, for growing numbers of sessions.
//!
//! ```text
//! cargo bench -p acton-engine --bench sessions
//! cargo bench -p acton-engine --bench sessions -- --clients 100,10000 --quick
//! ```
//!
//! For each number of clients there is a fresh server, alone in a process ([`support::process`], [`support::server`])
//! so that its processor time and memory are its own. The clients ([`support::crowd`]) are state machines of
//! `acton-proto` in this process, without TAPs, each with a UDP socket and a loopback address of its
//! own. [`phases`] tells what is measured in which order; [`report`] prints it.
//!
//! Needs root, or user namespaces and a `/dev/net/tun` that is open to all.
#![forbid(unsafe_code)]

mod phases;
mod report;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use support::program::Program;
use support::{Result, allow_open_files, enter_namespace};

/// Open files besides the clients' sockets.
const OTHER_FILES: u64 = 100;

/// What sessions cost a server: processor time, memory, the idle processor
#[derive(Debug, Parser)]
#[command(name = "sessions", max_term_width = 100)]
struct Arguments {
    /// Numbers of clients, each measured with a server of its own
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000",
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    clients: Vec<u32>,

    /// Joins, leaves and rekeys a second; at 200 a server starts to ask for cookies
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..200))]
    pace: u32,

    /// Watches the idle server for one minute in place of two
    #[arg(long)]
    quick: bool,

    /// Writes the figures as JSON to this file, as seen from the workspace
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    #[command(flatten)]
    program: Program,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.program.run("sessions", || measure(&arguments))
}

fn measure(arguments: &Arguments) -> Result<()> {
    let mut sizes: Vec<_> = arguments.clients.iter().map(|&clients| clients as usize).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let most = sizes.last().copied().unwrap_or_default();
    allow_open_files((most + phases::GUESTS) as u64 + OTHER_FILES)?;
    enter_namespace()?;
    let mut figures = Vec::new();
    for clients in sizes {
        let (pace, workers) = (f64::from(arguments.pace), arguments.program.server.workers);
        figures.push(phases::measure(clients, pace, arguments.quick, workers)?);
    }
    print!("{}", report::text(&figures));
    if let Some(file) = &arguments.json {
        // cargo runs a benchmark in its package's folder.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = report::json(&figures);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
