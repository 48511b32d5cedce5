//! What thousands of clients meet at one server: how long until all are in that come at once, how
//! long until all are back when the server was killed, when the first and the last of them hear a
//! frame for everybody beside a bare loop over sendmmsg, and what a ping through the tunnel takes
//! meanwhile.
//!
//! ```text
//! cargo bench -p acton-engine --bench swarm
//! cargo bench -p acton-engine --bench swarm -- --clients 100,1000 --addresses one --quick
//! ```
//!
//! For each number of clients there is a fresh server, alone in a process. The clients are state
//! machines of `acton-proto` in this process, without TAPs, each with a UDP socket. [`phases`] tells
//! what is measured in which order; [`report`] prints it.
//!
//! Needs root, or user namespaces and a `/dev/net/tun` that is open to all.
#![forbid(unsafe_code)]

mod bare;
mod kernel;
mod phases;
mod pings;
mod report;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use clap::Parser;
use support::crowd::Addresses;
use support::server::Serve;
use support::{Result, allow_open_files, enter_namespace};

/// Open files besides the clients' sockets.
const OTHER_FILES: u64 = 100;

/// What thousands of clients meet at one server: joining, floods, a crash
#[derive(Debug, Parser)]
#[command(name = "swarm", max_term_width = 100)]
struct Arguments {
    /// Numbers of clients, each measured with a server of its own
    #[arg(long, value_delimiter = ',', default_value = "100,1000,3000,10000",
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    clients: Vec<u32>,

    /// Where the clients are
    #[arg(long, value_enum, default_value_t = Addresses::Many)]
    addresses: Addresses,

    /// Frames for everybody a second while they come in numbers
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,

    /// How long they do, in seconds
    #[arg(long, default_value_t = 3)]
    seconds: u32,

    /// Does not kill the server
    #[arg(long)]
    quick: bool,

    /// What cargo bench adds, and cargo test does not
    #[arg(long, hide = true)]
    bench: bool,

    #[command(flatten)]
    server: Serve,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.server.serve {
        Some(address) => arguments.server.run(address),
        None if arguments.bench => measure(&arguments),
        None => {
            // cargo test --all-targets builds benchmarks and runs them too.
            println!("not run: cargo bench -p acton-engine --bench swarm");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let most = arguments.clients.iter().max().copied().unwrap_or_default();
    allow_open_files(u64::from(most) + OTHER_FILES)?;
    enter_namespace()?;
    let mut figures = Vec::new();
    for &clients in &arguments.clients {
        figures.push(phases::measure(clients as usize, arguments)?);
    }
    print!("{}", report::text(&figures));
    Ok(())
}
