//! What a tunnel and the process that starts its hooks tell one another: a line of JSON each.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// An event that a hook is to be given.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// The event's number.
    pub(super) number: u64,
    /// Variables of its environment.
    pub(super) environment: BTreeMap<String, String>,
    /// What it reads from standard input.
    pub(super) input: String,
}

/// A hook is over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    /// The event's number.
    pub(super) number: u64,
    /// What came of it.
    pub(super) outcome: Outcome,
}

/// What came of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It ended with exit code 0.
    Done,
    /// It ended with another.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// It took too long and was killed.
    TimedOut,
    /// The system does not start it.
    NotStarted(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "ended by {signal}"),
                Err(_) => write!(f, "ended by signal {number}"),
            },
            Self::TimedOut => f.write_str("not done in time and killed; --hook-timeout gives more"),
            Self::NotStarted(error) => write!(f, "cannot be started: {error}"),
        }
    }
}

/// Writes one line.
pub(super) fn send(mut to: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}
