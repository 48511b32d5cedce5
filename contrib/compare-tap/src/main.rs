//! The same work through TAPs by acton-tap and its peers: two network namespaces, a TAP in each, and a
//! program between them that carries frames both ways.
//!
//! ```text
//! cargo run --release                            # as root; some minutes
//! cargo run --release -- --rounds 9 --seconds 3
//! ```
//!
//! Each contender runs in a process of its own, in turns, so that whatever else the machine does meets
//! all of them alike. Medians are printed as the tables of docs/CRATES.md.

mod relay;
mod traffic;

use std::env;
use std::error::Error;
use std::process::Command;

use relay::RELAYS;
use traffic::Measured;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [one, name, work, seconds] = &arguments[..]
        && one == "--one"
    {
        let measured = traffic::measure(name, work, seconds.parse()?)?;
        println!("{} {} {}", measured.units, measured.seconds, measured.cpu);
        return Ok(());
    }
    let option = |name: &str, default: u64| -> Outcome<u64> {
        let at = arguments.iter().position(|argument| argument == name);
        let value = at.and_then(|at| arguments.get(at + 1));
        Ok(value.map(|value| value.parse()).transpose()?.unwrap_or(default))
    };
    let (rounds, seconds) = (option("--rounds", 5)?, option("--seconds", 2)?);
    println!("{rounds} rounds of {seconds} s each, medians\n");
    table("tcp", "TCP, Gbit/s", "CPU s/GB", rounds, seconds, |run| {
        let gigabytes = run.units / 1e9;
        (gigabytes * 8.0 / run.seconds, run.cpu / gigabytes)
    })?;
    table("frames", "frames of 60 bytes, thousands/s", "CPU us each", rounds, seconds, |run| {
        (run.units / run.seconds / 1e3, run.cpu / run.units * 1e6)
    })
}

/// Measures all contenders at one kind of work, in turns, and prints what `figures` makes of it, a rate
/// and a cost.
fn table(
    work: &str,
    rate: &str,
    cost: &str,
    rounds: u64,
    seconds: u64,
    figures: impl Fn(Measured) -> (f64, f64),
) -> Outcome<()> {
    let mut runs = vec![(Vec::new(), Vec::new()); RELAYS.len()];
    for _ in 0..rounds {
        for (relay, (rates, costs)) in RELAYS.iter().zip(&mut runs) {
            let (rate, cost) = figures(in_a_process(relay.name, work, seconds)?);
            rates.push(rate);
            costs.push(cost);
        }
    }
    let medians: Vec<(f64, f64)> =
        runs.into_iter().map(|(rates, costs)| (median(rates), median(costs))).collect();
    let (first_rate, first_cost) = medians[0];
    println!("| | {rate} | of the first | {cost} | of the first |\n|---|---:|---:|---:|---:|");
    for (relay, (rate, cost)) in RELAYS.iter().zip(medians) {
        let (of_rate, of_cost) = (rate / first_rate, cost / first_cost);
        println!("| {} | {rate:.2} | {of_rate:.2} | {cost:.2} | {of_cost:.2} |", relay.name);
    }
    println!();
    Ok(())
}

fn in_a_process(name: &str, work: &str, seconds: u64) -> Outcome<Measured> {
    let mut command = Command::new(env::current_exe()?);
    let output = command.args(["--one", name, work, &seconds.to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    match numbers[..] {
        [units, seconds, cpu] if output.status.success() => Ok(Measured { units, seconds, cpu }),
        _ => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
