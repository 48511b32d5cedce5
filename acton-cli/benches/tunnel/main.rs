//! acton against its peers on this machine.
//!
//! ```text
//! acton-cli/benches/peers.sh                                       # installs the peers
//! cargo bench -p acton-cli --bench tunnel -- --only veth,vxlan,acton --underlay wire
//! cargo bench -p acton-cli --bench tunnel -- --write docs          # all of docs/BENCHMARKS.md
//! ```
//!
//! Each contender gets two fresh network namespaces joined by a veth pair ([`world`]), is started
//! in them ([`contender`]), measured ([`measure`]) and stopped, with the offloads of the veth on
//! and off. A round goes over all of them, so that whatever else the machine does falls on all
//! alike; the tables ([`report`]) show medians over the rounds. Absolute figures belong to the
//! machine, the ratios travel better.
//!
//! Needs root, or user namespaces and a `/dev/net/tun` that is open to all.
#![forbid(unsafe_code)]

mod contender;
mod instructions;
mod measure;
mod report;
#[path = "../watch/mod.rs"]
mod watch;
mod world;

use std::env;
use std::error::Error;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Parser, ValueEnum};

use contender::{LoopEnd, Overlay};
use instructions::Case;
use measure::{Group, TcpSettings};
use report::{Conditions, Report, Row};
use watch::Watcher;
use world::Underlay;

type Failure = Box<dyn Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

/// acton, its predecessor and other tunnels side by side: throughput, frame rate, round trips, CPU
#[derive(Debug, Parser)]
#[command(name = "tunnel", max_term_width = 100)]
struct Arguments {
    /// Rounds over all contenders; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,

    /// Seconds that each TCP transfer is measured
    #[arg(long, default_value = "1", value_parser = seconds)]
    seconds: Duration,

    /// TCP's congestion control; the host's own without it
    #[arg(long, value_name = "NAME")]
    congestion_control: Option<String>,

    /// Contenders to measure; all without it
    #[arg(long, value_name = "NAMES", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(contender::ALL.map(|(name, _)| name)))]
    only: Vec<String>,

    /// What crosses the cable: super-frames as they are, or packets of the MTU's size; both without
    /// it
    #[arg(long, value_enum, value_delimiter = ',')]
    underlay: Vec<Underlay>,

    /// What is measured; everything without it
    #[arg(long, value_enum, value_delimiter = ',')]
    figures: Vec<Group>,

    /// Folder, as seen from the workspace, for benchmarks.json and benchmarks.svg, and whose
    /// BENCHMARKS.md takes the tables
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,

    /// What cargo bench adds, and cargo test does not
    #[arg(long, hide = true)]
    bench: bool,

    /// Instead: instructions in user space for a frame, counted by valgrind
    #[arg(long, conflicts_with_all = ["only", "underlay", "figures", "rounds", "seconds",
          "congestion_control"])]
    instructions: bool,

    #[command(flatten)]
    case: Case,

    #[command(flatten)]
    loop_end: LoopEnd,

    #[command(flatten)]
    watcher: Watcher,
}

/// How long is looked, once all contenders run and before they are measured, what others do to the processors.
const LOOK: Duration = Duration::from_secs(2);

/// See tcp(7).
const HOST_CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3_600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "not within 0.1 to 3,600 seconds".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(result) = arguments
        .case
        .run()
        .or_else(|| arguments.loop_end.run())
        .or_else(|| arguments.watcher.run())
    {
        return ended(result);
    }
    if !arguments.bench {
        // cargo test --all-targets builds benchmarks and runs them too.
        println!("not run: cargo bench -p acton-cli --bench tunnel");
        return ExitCode::SUCCESS;
    }
    let outcome = if arguments.instructions { count(&arguments) } else { compare(&arguments) };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            eprintln!("{failures} measurements failed: see above");
            ExitCode::FAILURE
        }
        Err(error) => ended(Err(error)),
    }
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Counts instructions, prints the table; what fails ends it.
fn count(arguments: &Arguments) -> Result<usize> {
    prepare()?;
    let _alone = wait_for_others()?;
    if let Some(table) = instructions::table()? {
        print!("{table}");
        if let Some(folder) = &arguments.write {
            report::write_instructions(&workspace(folder), &table)?;
        }
    }
    Ok(0)
}

/// Gets what an ordinary user lacks.
fn prepare() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        // While this process has one thread, as the kernel demands.
        acton_netns::enter_user_namespace()?;
    }
    Ok(())
}

/// A folder as seen from the workspace; cargo runs a benchmark in its package's.
fn workspace(folder: &Path) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder)
}

/// Measures, prints the table, and returns how many measurements failed.
fn compare(arguments: &Arguments) -> Result<usize> {
    prepare()?;
    let _alone = wait_for_others()?;
    let mut underlays = Underlay::ALL.to_vec();
    underlays.retain(|underlay| {
        (arguments.underlay.is_empty() || arguments.underlay.contains(underlay))
            && is_there(underlay.name(), underlay.find()).is_some()
    });
    let mut contestants = Vec::new();
    for (name, find) in contender::ALL {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let Some(contender) = is_there(name, find(name)) else { continue };
        let rows: Vec<_> = underlays.iter().map(|&underlay| Row::new(name, underlay)).collect();
        contestants.push((contender, rows));
    }
    if contestants.is_empty() {
        return Err("no contender is left to measure".into());
    }

    let groups: &[Group] = match &arguments.figures[..] {
        [] => Group::value_variants(),
        some => some,
    };
    let tcp = TcpSettings {
        window: arguments.seconds,
        congestion_control: match &arguments.congestion_control {
            Some(name) => name.clone(),
            None => fs::read_to_string(HOST_CONGESTION_CONTROL)?.trim().to_owned(),
        },
    };
    let (mut failures, mut others) = (0, Vec::new());
    let mut failed = |name: &str, underlay: Underlay, error: &Failure| {
        failures += 1;
        eprintln!("{name}, {}: {}", underlay.name(), chain(&**error));
    };
    for round in 1..=arguments.rounds {
        for &underlay in &underlays {
            eprintln!("round {round} of {}, {}", arguments.rounds, underlay.name());
            let (mut running, mut overlays) = (Vec::new(), Vec::new());
            for (contender, rows) in &mut contestants {
                let row = rows.iter_mut().find(|row| row.underlay == underlay);
                let row = row.expect("a row for each underlay");
                match Overlay::start(&**contender, underlay) {
                    Ok(overlay) => {
                        overlays.push((row.name, overlay));
                        running.push(row);
                    }
                    Err(error) => failed(row.name, underlay, &error),
                }
            }
            others.push(measure::busy(LOOK)?);
            let figures = measure::all(&overlays, groups, &tcp);
            for (row, figures) in running.into_iter().zip(figures) {
                match figures {
                    Ok(figures) => row.rounds.push(figures),
                    Err(error) => failed(row.name, underlay, &error),
                }
            }
        }
    }
    let rows = contestants.into_iter().flat_map(|(_, rows)| rows).collect();
    let conditions = Conditions::new(arguments.rounds, tcp, &others);
    let report = Report { conditions, rows };
    print!("{}", report::text(&report));
    if let Some(folder) = &arguments.write {
        report.write(&workspace(folder))?;
    }
    Ok(failures)
}

/// What was found; what was not gets a line that says why.
fn is_there<T>(name: &str, found: Result<T>) -> Option<T> {
    found.inspect_err(|error| eprintln!("{name} is left out: {}", chain(&**error))).ok()
}

/// Two runs at once would measure one another. The lock goes with the file, so with the process.
fn wait_for_others() -> Result<File> {
    let path = env::temp_dir().join("acton-bench.lock");
    let file = File::create(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for another benchmark, which holds {}", path.display());
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(file)
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
