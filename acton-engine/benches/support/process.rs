//! The process of the server: what it says of its sessions, and what the kernel says of it.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::ops::{Add, Mul, Sub};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::Result;
use super::server::{self, Serve};

/// Processor time of the server's threads in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Processor {
    /// Of the control thread.
    pub(crate) control: f64,
    /// Of all others.
    pub(crate) workers: f64,
}

impl Processor {
    pub(crate) fn total(self) -> f64 {
        self.control + self.workers
    }
}

impl Add for Processor {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { control: self.control + other.control, workers: self.workers + other.workers }
    }
}

impl Sub for Processor {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + other * -1.0
    }
}

impl Mul<f64> for Processor {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self { control: self.control * factor, workers: self.workers * factor }
    }
}

/// Seconds that a thread ran, by its directory below /proc.
pub(crate) fn run_time(task: &Path) -> Result<f64> {
    // Time on a processor, time in its queue, turns: sched-stats.rst of the kernel.
    let statistics = fs::read_to_string(task.join("schedstat"))?;
    let nanoseconds = statistics.split(' ').next().unwrap_or_default().parse::<u64>()?;
    Ok(nanoseconds as f64 / 1e9)
}

/// A server in a process of its own, which ends with this value.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    /// `None` of a program that is not to be asked.
    answers: Option<Lines<BufReader<ChildStdout>>>,
}

impl ServerProcess {
    /// Starts a server in the namespace of the calling thread, and waits until it listens.
    pub(crate) fn start(serve: &Serve) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(serve.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the server has no standard output")?;
        let mut process = Self { child, answers: Some(BufReader::new(stdout).lines()) };
        let word = process.answer()?;
        if word == server::READY { Ok(process) } else { Err(word.into()) }
    }

    /// Starts another program that serves, and waits neither until it does nor for what it says.
    pub(crate) fn start_other(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self { child: child.map_err(|error| format!("{program}: {error}"))?, answers: None })
    }

    /// Whether it answers [`sessions`](Self::sessions) and [`counter`](Self::counter).
    pub(crate) fn can_be_asked(&self) -> bool {
        self.answers.is_some()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sessions that are open, as the server has it.
    pub(crate) fn sessions(&mut self) -> Result<usize> {
        Ok(self.ask(server::SESSIONS)?.parse()?)
    }

    /// The counter of this name.
    pub(crate) fn counter(&mut self, name: &str) -> Result<u64> {
        Ok(self.ask(name)?.parse()?)
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        let stdin = self.child.stdin.as_mut().ok_or("the server has no standard input")?;
        writeln!(stdin, "{question}")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let answers = self.answers.as_mut().ok_or("this server answers no questions")?;
        Ok(answers.next().ok_or("the server has ended: see above")??)
    }

    /// Processor time so far of its threads but the one that only answers
    /// [`sessions`](Self::sessions). The kernel counts it in nanoseconds, and with it the
    /// delivery of a datagram to a loopback address, which it does in the sender's time.
    pub(crate) fn processor(&self) -> Result<Processor> {
        let mut spent = Processor::default();
        for entry in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let task = entry?.path();
            let first = task.file_name().is_some_and(|name| *name == *self.id().to_string());
            if first && self.can_be_asked() {
                continue;
            }
            let name = fs::read_to_string(task.join("comm"))?;
            let control = name.contains("control");
            let part = if control { &mut spent.control } else { &mut spent.workers };
            *part += run_time(&task)?;
        }
        Ok(spent)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        Ok(testbed::proc::status(self.id(), "VmRSS")? * 1024)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.can_be_asked() {
            // Its standard input ends, and with that the server.
            drop(self.child.stdin.take());
        } else if let Err(error) = self.child.kill() {
            eprintln!("the server's process: {error}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("the server's process: {error}");
        }
    }
}
