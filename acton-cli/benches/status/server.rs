//! The server, a process of its own, and who watches it.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::watch::Watcher;
use crate::{HANG, Result};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_acton");

/// The server, in a directory that goes with it.
pub(crate) struct Server {
    child: Child,
    directory: PathBuf,
    http: Option<SocketAddr>,
}

impl Server {
    /// Starts one with room for so many sessions, shown by HTTP or not.
    pub(crate) fn start(sessions: usize, http: Option<SocketAddr>) -> Result<Self> {
        Self::start_with(sessions, http, &[])
    }

    /// The same with these options.
    pub(crate) fn start_with(
        sessions: usize,
        http: Option<SocketAddr>,
        options: &[&str],
    ) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("acton-status-{}-{number}", std::process::id());
        let directory = env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let mut command = Command::new(PROGRAM);
        command.args(["server", "--listen", "127.0.0.1", "--keepalive", "600", "--max-sessions"]);
        command.arg(sessions.to_string()).arg("--state").arg(directory.join("keys"));
        command.arg("--control").arg(directory.join("sock")).args(options);
        if let Some(http) = http {
            command.args(["--http", &http.to_string()]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, directory, http };
        wait("the server listens", || UnixStream::connect(server.control()).is_ok())?;
        Ok(server)
    }

    /// Its control socket.
    pub(crate) fn control(&self) -> PathBuf {
        self.path("sock")
    }

    /// Resident memory in MiB.
    pub(crate) fn memory(&self) -> Result<f64> {
        Ok(testbed::proc::status(self.child.id(), "VmRSS")? as f64 / 1024.0)
    }

    /// User and system time so far.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = format!("/proc/{}/stat", self.child.id());
        Ok(testbed::proc::group_and_time(Path::new(&stat))?.1)
    }

    /// A file or directory of this name that goes with it: `keys` are its own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Has all tools watch it, from another process.
    pub(crate) fn watch(&self) -> Result<Watching> {
        let mut command = Watcher::command(&self.control(), self.http)?;
        Ok(Watching(command.spawn()?))
    }

    /// How often the thread of that name began to wait so far.
    pub(crate) fn waits(&self, thread: &str) -> Result<u64> {
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
            if value("Name:").map(str::trim) == Some(thread) {
                let waits = value("voluntary_ctxt_switches:").ok_or("no switches")?;
                return Ok(waits.trim().parse()?);
            }
        }
        Err(format!("no thread {thread}").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// All tools, watching; killed when dropped.
pub(crate) struct Watching(Child);

impl Watching {
    /// Ends it, which must not have ended before.
    pub(crate) fn stop(mut self) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(_) => Err("nobody watched any more: see above".into()),
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > HANG {
            return Err(format!("hung waiting until {what}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
