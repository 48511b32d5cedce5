//! Clients of two servers, a thousand of them, and what they notice when a server is killed, cut off or
//! drained, and when it is back.
//!
//! ```text
//! cargo bench -p acton-cli --bench servers                                  # 1,000 clients, ten minutes
//! cargo bench -p acton-cli --bench servers -- --clients 50 --parts drain
//! ```
//!
//! Servers and clients are the program, a process each, in network namespaces of their own ([`world`]).
//! The root of the LAN pings each client ten times a second, and each sends it a stream ([`traffic`]).
//! Where each client is say the servers' events and the forwarding table of the LAN's switch
//! ([`watch`]). It prints a table, and ends with code 1 where anything is not as it has to be.
//!
//! Needs root, and nft for `--nat`. A client takes some 4 MiB.
#![allow(clippy::unwrap_used)] // as the tests whose world it uses: the panic is the report

mod clients;
mod clock;
mod parts;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod traffic;
mod usage;
mod watch;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use clients::Clients;
use clock::Clock;
use parts::Trial;
use table::Table;
use traffic::Traffic;
use world::{MOST, World};

/// What clients of two servers notice of what happens to these
#[derive(Debug, Parser)]
#[command(name = "servers", max_term_width = 100)]
struct Arguments {
    /// How many clients
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=MOST as i64))]
    clients: u16,

    /// What to do, in the order that is usual: where a part needs it, clients come back to server A before
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<What>,

    /// Pings of each client a second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pings: u32,

    /// Datagrams of 1,000 bytes that each client sends a second
    #[arg(long, default_value_t = 2)]
    datagrams: u32,

    /// Over how many seconds a server drains [default: as `acton drain` likes]
    #[arg(long)]
    over: Option<u64>,

    /// The LAN's switch passes nothing between the servers, as bridges of EVPN do not
    #[arg(long)]
    isolated: bool,

    /// All clients are behind one address
    #[arg(long)]
    nat: bool,

    /// What cargo bench adds, and cargo test does not
    #[arg(long, hide = true)]
    bench: bool,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Nothing, which is measured first anyway
    Rest,
    /// Server A is drained
    Drain,
    /// Server A is killed
    Kill,
    /// The link of server A to the LAN, which it tracks, is down
    Fabric,
    /// The cable of server A is pulled out
    Link,
    /// Clients go back to server A, after each of the others
    Return,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench {
        // cargo test --all-targets builds benchmarks and runs them too.
        println!("not run: cargo bench -p acton-cli --bench servers");
        return ExitCode::SUCCESS;
    }
    if let Some(why) = testbed::missing_on_this_machine() {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let failed = run(&arguments);
    println!("{failed} lines of what had to be so were not");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does what is asked for; how much was not as it had to be.
fn run(arguments: &Arguments) -> usize {
    let wanted = |what| arguments.parts.is_empty() || arguments.parts.contains(&what);
    let mut trial = begin(arguments);
    trial.settle();
    trial.rest(10);
    let mut is_away = false;
    for what in [What::Drain, What::Kill, What::Fabric, What::Link] {
        if !wanted(what) {
            continue;
        }
        if is_away {
            trial.come_back();
        }
        match what {
            What::Drain => trial.drain(),
            What::Kill => trial.kill(),
            What::Fabric => trial.fabric(),
            _ => trial.link(),
        }
        is_away = true;
    }
    // After a cut it takes minutes longer than after the others, and is no different.
    if is_away && wanted(What::Return) && !(wanted(What::Kill) && wanted(What::Link)) {
        trial.come_back();
    }
    trial.table.failed()
}

/// Makes everything, and waits until all clients are at server A and know of the other.
fn begin(arguments: &Arguments) -> Trial {
    let clock = Clock::start();
    let world = World::new(arguments.clients.into(), arguments.isolated, arguments.nat);
    println!("{} namespaces after {:.0?}", arguments.clients, clock.now());
    let servers = [world.serve(0), world.serve(1)];
    let (sessions, macs) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    for (number, server) in servers.iter().enumerate() {
        watch::sessions(clock, number, server, &sessions);
    }
    watch::macs(clock, &world, &macs);
    let clients = Clients::start(&world);
    println!("all have a session after {:.0?}", clock.now());
    let traffic = Traffic::start(clock, &world, arguments.pings, arguments.datagrams);
    let servers = servers.map(Some);
    let (table, over) = (Table::begin(), arguments.over);
    Trial { clock, world, servers, clients, traffic, sessions, macs, table, over }
}
