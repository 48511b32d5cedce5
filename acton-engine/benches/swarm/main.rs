//! What thousands of clients meet at one server, in both modes and at acton 0.1.1: joining, frames
//! for everybody beside a bare loop over sendmmsg, roaming, a crash; what attacks cost a client's
//! transfer; a hundred TCP streams; whether the server grows while clients come and go.
//!
//! ```text
//! cargo bench -p acton-engine --bench swarm -- --write docs
//! cargo bench -p acton-engine --bench swarm -- --quick
//! cargo bench -p acton-engine --bench swarm -- --parts clients --clients 100,1000 --mode secure
//! ```
//!
//! Each server is alone in a process and in a network namespace with its clients. Those of
//! [`swarm`] are state machines of `acton-proto` in this process, without TAPs, each with a UDP
//! socket; those that have a TAP ([`host`]) are the engine's, each in a namespace of its own. Each
//! figure stands in a [`table`] with the bar that it shall keep to, where there is one.
//!
//! Needs root, or user namespaces and a `/dev/net/tun` that is open to all.
#![forbid(unsafe_code)]

mod arguments;
mod attacks;
mod bare;
mod churn;
mod clients;
mod contender;
mod document;
mod flood;
mod host;
mod insider;
mod joining;
mod kernel;
mod moving;
mod multicast;
mod outsider;
mod pacer;
mod pings;
mod quantiles;
mod returning;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod swarm;
mod table;
mod telling;
mod transfer;
mod vlans;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use arguments::{Arguments, Extent, Modes, Part};
use contender::Contender;
use support::server::Mode;
use support::{Failure, Result, allow_open_files, enter_namespace, thousands};
use table::Column;

/// How long is looked, before anything is measured, what others do to the processors.
const LOOK: Duration = Duration::from_secs(2);
/// Open files besides the clients' sockets.
const OTHER_FILES: u64 = 4_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.program.run("swarm", || measure(&arguments))
}

fn measure(arguments: &Arguments) -> Result<()> {
    let (start, extent) = (Instant::now(), Extent::of(arguments));
    let most = extent.clients.iter().copied().max().unwrap_or_default().max(churn::CLIENTS);
    allow_open_files((most + swarm::GUESTS) as u64 + OTHER_FILES)?;
    // It may have to be fetched, which needs this machine's network.
    let predecessor = extent.predecessor.then(Contender::predecessor).and_then(|found| {
        found.inspect_err(|error| eprintln!("acton 0.1.1 is left out: {error}")).ok()
    });
    enter_namespace()?;
    let mut tables = Tables { arguments, extent, text: Vec::new(), failures: 0 };
    tables.text.push(conditions(arguments.program.server.workers)?);
    tables.clients(predecessor);
    tables.attacks();
    tables.streams();
    tables.multicast();
    tables.vlans();
    tables.churn();
    let text = tables.text.join("\n");
    print!("{text}");
    eprintln!("{:.0} s in all", start.elapsed().as_secs_f64());
    if let Some(folder) = &arguments.write {
        // cargo runs a benchmark in its package's folder.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        document::replace(&folder, &text)?;
    }
    match tables.failures {
        0 => Ok(()),
        failures => Err(format!("{failures} measurements failed: see above").into()),
    }
}

/// The tables so far. What fails is told at once and leaves its figures out.
struct Tables<'a> {
    arguments: &'a Arguments,
    extent: Extent,
    text: Vec<String>,
    failures: usize,
}

impl Tables<'_> {
    /// A table of each contender, with a column for each number of clients.
    fn clients(&mut self, predecessor: Option<Contender>) {
        if !self.wants(Part::Clients) {
            return;
        }
        let acton = self.arguments.modes.each().iter().map(|&mode| Contender::Acton(mode));
        for contender in acton.chain(predecessor) {
            let mut columns = Vec::new();
            for clients in self.extent.clients.clone() {
                let mut column = Column::new(thousands(clients));
                let met = clients::meet(&contender, clients, self.arguments, &mut column);
                let of_acton = matches!(contender, Contender::Acton(_));
                if !of_acton {
                    column.forget_bars();
                }
                columns.push(column);
                match met {
                    Ok(()) => {}
                    Err(error) if of_acton => {
                        self.failed(&format!("{}, {clients} clients", contender.name()), &error);
                    }
                    Err(error) => {
                        eprintln!("{} does not follow further: {error}", contender.name());
                        break;
                    }
                }
            }
            self.text.push(table::text(&format!("{}, clients", contender.name()), &columns));
        }
    }

    /// A table of each mode, with a column for each attack.
    fn attacks(&mut self) {
        for &mode in self.modes(Part::Attacks) {
            let title = format!("{}, a transfer beside", Contender::Acton(mode).name());
            match attacks::measure(mode, self.extent.attacks, self.workers()) {
                Ok(columns) => self.text.push(table::text(&title, &columns)),
                Err(error) => self.failed(&title, &error),
            }
        }
    }

    fn streams(&mut self) {
        let (hosts, looks, workers) = (self.extent.hosts, self.extent.streams, self.workers());
        let title = format!("a TCP stream of each of {hosts} clients");
        self.of_modes(Part::Streams, &title, |mode| streams::measure(mode, hosts, looks, workers));
    }

    /// A table of each mode, with a column for each number of clients that want the group.
    fn multicast(&mut self) {
        for &mode in self.modes(Part::Multicast) {
            let name = Contender::Acton(mode).name();
            let clients = multicast::CLIENTS;
            let title = format!("{name}, {clients} clients, 1,000 frames a second to a group");
            match multicast::measure(mode, self.workers()) {
                Ok(columns) => self.text.push(table::text(&title, &columns)),
                Err(error) => self.failed(&title, &error),
            }
        }
    }

    /// Each VLAN is a policy's, which plain mode has not.
    fn vlans(&mut self) {
        if !self.wants(Part::Vlans) || self.arguments.modes == Modes::Plain {
            return;
        }
        let clients = self.extent.clients.iter().copied().max().unwrap_or_default();
        let title = "secure, 200 frames a second for all in a VLAN";
        match vlans::measure(clients, self.workers()) {
            Ok(columns) => self.text.push(table::text(title, &columns)),
            Err(error) => self.failed(title, &error),
        }
    }

    fn churn(&mut self) {
        let (time, workers) = (self.extent.churn, self.workers());
        let title = "1,000 clients, and 100 joins and leaves a second";
        self.of_modes(Part::Churn, title, |mode| churn::measure(mode, time, workers));
    }

    /// A table with a column for each mode.
    fn of_modes(&mut self, part: Part, title: &str, measure: impl Fn(Mode) -> Result<Column>) {
        let mut columns = Vec::new();
        for &mode in self.modes(part) {
            match measure(mode) {
                Ok(column) => columns.push(column),
                Err(error) => self.failed(title, &error),
            }
        }
        if !columns.is_empty() {
            self.text.push(table::text(title, &columns));
        }
    }

    fn wants(&self, part: Part) -> bool {
        self.arguments.parts.is_empty() || self.arguments.parts.contains(&part)
    }

    /// The modes in which a part is measured.
    fn modes(&self, part: Part) -> &'static [Mode] {
        if self.wants(part) { self.arguments.modes.each() } else { &[] }
    }

    fn workers(&self) -> Option<usize> {
        self.arguments.program.server.workers
    }

    fn failed(&mut self, what: &str, error: &Failure) {
        self.failures += 1;
        eprintln!("{what}: {error}");
    }
}

/// On what this ran.
fn conditions(workers: Option<usize>) -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let processors = read("/proc/cpuinfo")?;
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let (_, model) = model.unwrap_or(("", "an unknown kind"));
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let count = thread::available_parallelism()?;
    let workers = match workers {
        Some(workers) => format!("{workers} of the server's workers"),
        None => "a worker of the server's on each".to_owned(),
    };
    let (kernel, others) = (kernel.trim(), testbed::proc::busy(LOOK)? * 100.0);
    Ok(format!(
        "{count} processors, {model}; Linux {kernel}; {workers}; other programs took {others:.0} % of \
         the processors.\n"
    ))
}
