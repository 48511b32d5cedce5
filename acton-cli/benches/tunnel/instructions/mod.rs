//! Instructions in user space for a frame: unlike times they are the same on a busy machine, and
//! a change shows that no clock would.
//!
//! valgrind's callgrind counts them, for few virtual machines have hardware counters. It shows a
//! program a processor with AES-NI and AVX2, and without VAES and AVX-512.

mod cases;
mod program;

use std::fmt::Write;
use std::process::Command;

use clap::Args;

use crate::Result;
use crate::contender::{self, BEFORE};
use crate::world::installed;
use program::{End, Mode};

/// What this program does under valgrind.
#[derive(Debug, Clone, Args)]
pub(crate) struct Case {
    /// A case's name
    #[arg(long, hide = true, requires = "units")]
    case: Option<String>,
    /// How often it is done
    #[arg(long, hide = true)]
    units: Option<usize>,
}

impl Case {
    /// Does what it is told and no more, if it is told to.
    pub(crate) fn run(&self) -> Option<Result<()>> {
        let (name, units) = (self.case.as_deref()?, self.units?);
        let case = cases::ALL.iter().find(|case| case.name == name);
        Some(case.ok_or_else(|| format!("no case {name:?}").into()).map(|case| (case.work)(units)))
    }
}

/// The table, in Markdown, of all cases; `None` where there is no valgrind.
pub(crate) fn table() -> Result<Option<String>> {
    if let Err(error) = installed("valgrind", "--version") {
        eprintln!("instructions are left out: {error}");
        return Ok(None);
    }
    let mut text = String::from(
        "| Instructions in user space                           | a frame |\n\
         | ---------------------------------------------------- | ------: |\n",
    );
    let mut line = |name: &str, instructions: f64| {
        writeln!(text, "| {name:<52} | {instructions:>7.0} |").expect("a string takes all");
    };
    for case in &cases::ALL {
        eprintln!("{}", case.name);
        line(case.name, case.count()?);
    }
    for mode in Mode::ALL {
        for end in End::ALL {
            for burst in [64, 1] {
                let name = program::name(mode, end, burst);
                eprintln!("{name}");
                line(&name, program::count(mode, end, burst, false)?);
                if contender::has_before() {
                    line(&format!("- of {BEFORE}"), program::count(mode, end, burst, true)?);
                }
            }
        }
    }
    Ok(Some(text))
}

/// A command line, to be completed by a program's, that counts its instructions.
pub(crate) fn callgrind(options: &[&str]) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).args(options);
    command
}

/// The instructions that callgrind says it counted.
fn collected(said: &str) -> Result<f64> {
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    let count = count.and_then(|(_, count)| count.trim().parse().ok());
    count.ok_or_else(|| format!("callgrind did not say what it counted: {said}").into())
}
