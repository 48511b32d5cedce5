//! A program of a contender.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::Result;

/// How long a program may take to end.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// A running program and those that it starts; told to end when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// What it says, on both outputs: in memory, so that it never waits for a reader.
    said: File,
}

impl Process {
    /// Starts `command` inside, with no input, in a process group of its own.
    pub(crate) fn start(namespace: &Namespace, command: &mut Command) -> Result<Self> {
        let said = File::from(memfd_create("said", MFdFlags::MFD_CLOEXEC)?);
        let (stdout, stderr) = (said.try_clone()?, said.try_clone()?);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
        let child = namespace.spawn(command).map_err(|error| {
            format!("cannot start {}: {error}", command.get_program().to_string_lossy())
        })?;
        Ok(Self { child, said })
    }

    /// Its process id, and that of the group of all that it starts.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to all of its group.
    pub(crate) fn signal(&self, signal: Signal) -> nix::Result<()> {
        killpg(self.group(), signal)
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.id().try_into().expect("a process id is a positive i32"))
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it and returns what it said.
    pub(crate) fn stop(mut self) -> String {
        self.end();
        self.said()
    }

    /// What it has said.
    pub(crate) fn said(&mut self) -> String {
        let mut said = Vec::new();
        // What was read before an error is worth showing.
        let _ = self.said.rewind().and_then(|()| self.said.read_to_end(&mut said));
        String::from_utf8_lossy(&said).into_owned()
    }

    fn end(&mut self) {
        let group = self.group();
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let _ = killpg(group, signal);
            let deadline = Instant::now() + STOP_WAIT;
            while Instant::now() < deadline {
                // The first of the group is ours to wait for; the group lives as long as any.
                let _ = self.ended();
                if killpg(group, None).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
