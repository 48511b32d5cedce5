//! A program of a contender.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Result;

/// How long a program may take to end.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// A running program; told to end when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts `command` inside, with no input. Nobody reads what it says before it has ended, so
    /// it must say little.
    pub(crate) fn start(namespace: &Namespace, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = namespace.spawn(command).map_err(|error| {
            format!("cannot start {}: {error}", command.get_program().to_string_lossy())
        })?;
        Ok(Self(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Ends it and returns its complaints.
    pub(crate) fn stop(mut self) -> String {
        self.end();
        self.said()
    }

    /// The complaints of a program that has ended.
    pub(crate) fn said(&mut self) -> String {
        let mut said = Vec::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            // What was read before an error is worth showing.
            let _ = stderr.read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    fn end(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let id = self.0.id().try_into().expect("a process id is a positive i32");
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        let deadline = Instant::now() + STOP_WAIT;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
