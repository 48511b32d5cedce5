//! The process that starts hooks. It obeys a socket whose other end somebody may have who has taken over
//! the tunnel: so that it starts this one program and no other, so many at a time, and sets no variables
//! but acton's own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::environment::may_be_set;
use super::queue::RUNNING;
use super::wire::{Ended, Job, Outcome, send};

/// How often to look at the socket, where no hook's time is up before.
const LOOK: Duration = Duration::from_secs(60);

/// A hook that runs. It is in the list for as long as nobody has waited for it, so that its number is no
/// other process's.
#[derive(Debug)]
struct Running {
    group: Pid,
    until: Instant,
    timed_out: bool,
}

/// What the threads that wait for hooks share.
#[derive(Debug)]
struct Shared {
    running: Mutex<Vec<Running>>,
    answers: Mutex<UnixStream>,
}

/// Starts `program` for each event that standard input, a socket, has, and says there what came of it.
/// Kills it with all of its process group after `time_out`. Ends, and kills all that run, with the other
/// end of the socket.
///
/// # Errors
/// Where the socket is none.
pub(crate) fn run(program: &Path, time_out: Duration) -> io::Result<()> {
    // A service manager that ends all processes of a service ends this one by ending the tunnel.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let answers = Mutex::new(socket.try_clone()?);
    let shared = Arc::new(Shared { running: Mutex::new(Vec::new()), answers });
    let mut reader = BufReader::new(socket);
    let mut line = Vec::new();
    loop {
        let next = shared.kill_overdue(Instant::now());
        reader.get_ref().set_read_timeout(Some(next))?;
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) if line.ends_with(b"\n") => {
                let Ok(job) = serde_json::from_slice(&line) else { break };
                line.clear();
                shared.begin(program, job, time_out);
            }
            // Of a line that is not whole, what came stays.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    for hook in &*shared.running.lock() {
        kill(hook.group);
    }
    Ok(())
}

impl Shared {
    /// Kills those whose time is up; says in what time to do so again.
    fn kill_overdue(&self, now: Instant) -> Duration {
        let mut next = LOOK;
        for hook in self.running.lock().iter_mut().filter(|hook| !hook.timed_out) {
            match hook.until.checked_duration_since(now) {
                Some(left) if !left.is_zero() => next = next.min(left),
                _ => {
                    hook.timed_out = true;
                    kill(hook.group);
                }
            }
        }
        // Less than the clock's grain would mean: for ever.
        next.max(Duration::from_millis(1))
    }

    fn begin(self: &Arc<Self>, program: &Path, job: Job, time_out: Duration) {
        let number = job.number;
        let mut running = self.running.lock();
        let child = if running.len() < RUNNING {
            start(program, job)
        } else {
            Err(io::Error::other("too many run"))
        };
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                drop(running);
                return self.answer(number, Outcome::NotStarted(error.to_string()));
            }
        };
        // It leads a group of this number.
        let group = Pid::from_raw(child.id().cast_signed());
        running.push(Running { group, until: Instant::now() + time_out, timed_out: false });
        drop(running);
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let outcome = shared.wait(child, group);
            shared.answer(number, outcome);
        });
    }

    /// Waits for a hook to end.
    fn wait(&self, mut child: Child, group: Pid) -> Outcome {
        // Its number stays its own until it is off the list.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(group), flags) == Err(Errno::EINTR) {}
        let mut running = self.running.lock();
        let at = running.iter().position(|hook| hook.group == group);
        let timed_out = at.is_some_and(|at| running.swap_remove(at).timed_out);
        match child.wait() {
            _ if timed_out => Outcome::TimedOut,
            Ok(status) => outcome(status),
            Err(error) => Outcome::NotStarted(error.to_string()),
        }
    }

    fn answer(&self, number: u64, outcome: Outcome) {
        // Where nobody is there to hear it, this process is about to end.
        let _ = send(&self.answers.lock(), &Ended { number, outcome });
    }
}

fn start(program: &Path, job: Job) -> io::Result<Child> {
    // No pipe: who does not read it keeps nobody waiting.
    let mut input = File::from(memfd_create(c"acton-event", MFdFlags::MFD_CLOEXEC)?);
    input.write_all(job.input.as_bytes())?;
    input.rewind()?;
    Command::new(program)
        .envs(job.environment.into_iter().filter(|(name, _)| may_be_set(name)))
        .current_dir("/")
        .stdin(input)
        .process_group(0)
        .spawn()
}

fn outcome(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Done,
        (Some(code), _) => Outcome::Exit(code),
        (None, signal) => Outcome::Signal(signal.unwrap_or_default()),
    }
}

fn kill(group: Pid) {
    // One that has ended by itself is as well.
    let _ = killpg(group, Signal::SIGKILL);
}
