//! The same work by packet sockets of acton-raw and its peers: small frames over a veth pair between two
//! network namespaces, received and sent.
//!
//! ```text
//! cargo run --release                            # as root; some minutes
//! cargo run --release -- --rounds 9 --seconds 3
//! ```
//!
//! Each contender runs in a process of its own, in turns, so that whatever else the machine does meets
//! all of them alike. Medians are printed as the tables of docs/CRATES.md. What is counted is the
//! processor time of the thread that receives or sends: the other end is the same for all.

mod receive;
mod send;

use std::env;
use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use acton_netns::{Namespace, Veth, veth};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A broadcast frame of the least length of Ethernet, and of an EtherType for experiments (IEEE 802).
const FRAME: [u8; 60] = {
    let mut frame = [0xff; 60];
    (frame[6], frame[12], frame[13]) = (0x02, 0x88, 0xb5);
    frame
};
/// Frames between two looks at the clock, where a call handles one.
const STRETCH: u64 = 64;

/// What one run gave.
#[derive(Clone, Copy)]
struct Measured {
    frames: f64,
    seconds: f64,
    /// Seconds of processor time of the thread.
    cpu: f64,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [one, work, name, seconds] = &arguments[..]
        && one == "--one"
    {
        let (left, right) = (Namespace::new()?, Namespace::new()?);
        veth(&left, "left", &right, "right", &Veth::new())?;
        let duration = Duration::from_secs(seconds.parse()?);
        let measured = match work.as_str() {
            "receive" => receive::measure(name, &left, &right, duration)?,
            _ => send::measure(name, &left, &right, duration)?,
        };
        println!("{} {} {}", measured.frames, measured.seconds, measured.cpu);
        return Ok(());
    }
    let option = |name: &str, default: u64| -> Outcome<u64> {
        let at = arguments.iter().position(|argument| argument == name);
        let value = at.and_then(|at| arguments.get(at + 1));
        Ok(value.map(|value| value.parse()).transpose()?.unwrap_or(default))
    };
    let (rounds, seconds) = (option("--rounds", 5)?, option("--seconds", 2)?);
    println!("{rounds} rounds of {seconds} s each, medians\n");
    table("receive", &receive::NAMES, rounds, seconds)?;
    table("send", &send::NAMES, rounds, seconds)
}

/// Measures all contenders at one kind of work, in turns.
fn table(work: &str, names: &[&str], rounds: u64, seconds: u64) -> Outcome<()> {
    let mut runs = vec![(Vec::new(), Vec::new()); names.len()];
    for _ in 0..rounds {
        for (name, (rates, costs)) in names.iter().zip(&mut runs) {
            let run = in_a_process(work, name, seconds)?;
            rates.push(run.frames / run.seconds / 1e3);
            costs.push(run.cpu / run.frames * 1e9);
        }
    }
    let medians: Vec<(f64, f64)> =
        runs.into_iter().map(|(rates, costs)| (median(rates), median(costs))).collect();
    let (first_rate, first_cost) = medians[0];
    println!("| {work} | thousands/s | of the first | CPU ns a frame | of the first |");
    println!("|---|---:|---:|---:|---:|");
    for (name, (rate, cost)) in names.iter().zip(medians) {
        let (of_rate, of_cost) = (rate / first_rate, cost / first_cost);
        println!("| {name} | {rate:.0} | {of_rate:.2} | {cost:.0} | {of_cost:.2} |");
    }
    println!();
    Ok(())
}

fn in_a_process(work: &str, name: &str, seconds: u64) -> Outcome<Measured> {
    let mut command = Command::new(env::current_exe()?);
    let output = command.args(["--one", work, name, &seconds.to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    match numbers[..] {
        [frames, seconds, cpu] if output.status.success() => Ok(Measured { frames, seconds, cpu }),
        _ => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Runs `some` for so long; each call tells how many frames it handled.
fn timed(duration: Duration, mut some: impl FnMut() -> Outcome<u64>) -> Outcome<Measured> {
    let (begin, cpu, mut frames) = (Instant::now(), cpu_seconds()?, 0);
    while begin.elapsed() < duration {
        frames += some()?;
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    Ok(Measured { frames: frames as f64, seconds, cpu })
}

fn cpu_seconds() -> Outcome<f64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(microseconds as f64 / 1e6)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
