//! The process that starts hooks, seen from the tunnel.

use std::env;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;

/// This program itself, also where an upgrade has put another in its place (proc_pid_exe(5)).
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Where programs are looked for that a hook names, where acton's own environment does not say.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Mode bits of a file (inode(7)): that somebody may run it, that its group or others may write it.
const RUN: u32 = 0o111;
const WRITTEN_BY_OTHERS: u32 = 0o022;
/// How long to wait for the process to take what it is sent: it does nothing else.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a program cannot be a hook.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("--hook {}: {error}", path.display())]
    Away { path: PathBuf, error: io::Error },
    #[error("--hook {path}: no file that can be run; if it is meant, run: chmod +x {path}")]
    NotRunnable { path: String },
    #[error(
        "--hook {path}: others than root may write it, and it would run as root; run: chown root: {path}; \
         chmod go-w {path}"
    )]
    OfOthers { path: String },
    #[error("--hook: cannot start the process that starts hooks")]
    System(#[source] io::Error),
}

/// A process that starts a hook for each event that it is sent. It runs as whoever started this one does
/// at that moment, ends with this one, and with it what it has started.
#[derive(Debug)]
pub(crate) struct HookStarter {
    pub(super) program: PathBuf,
    pub(super) time_out: Duration,
    pub(super) socket: UnixStream,
    pub(super) process: Child,
}

impl HookStarter {
    /// Starts it: to be done before this process becomes another user or is confined.
    ///
    /// # Errors
    /// Where the program cannot be a hook, or the system starts no process.
    pub(crate) fn start(program: &Path, time_out: Duration) -> Result<Self, HookError> {
        let program = checked(program)?;
        let (socket, its_end) = UnixStream::pair().map_err(HookError::System)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(HookError::System)?;
        // What hooks say goes where the log does: an invite on standard output is not theirs to join.
        let log = io::stderr().as_fd().try_clone_to_owned().map_err(HookError::System)?;
        let process = Command::new(OWN_PROGRAM)
            .args(["hook-runner", &time_out.as_secs_f64().to_string()])
            .arg(&program)
            // There may be an invite in it.
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into()))
            .stdin(OwnedFd::from(its_end))
            .stdout(Stdio::from(log))
            // What a terminal sends to this one's group, such as SIGINT, is not for it.
            .process_group(0)
            .spawn()
            .map_err(HookError::System)?;
        Ok(Self { program, time_out, socket, process })
    }
}

/// The program's whole path, where it can be a hook.
fn checked(program: &Path) -> Result<PathBuf, HookError> {
    let away = |error| HookError::Away { path: program.to_owned(), error };
    let path = path::absolute(program).map_err(away)?;
    let shown = || path.display().to_string();
    let metadata = fs::metadata(&path).map_err(away)?;
    if !metadata.is_file() || metadata.mode() & RUN == 0 {
        return Err(HookError::NotRunnable { path: shown() });
    }
    let is_of_others = metadata.uid() != 0 || metadata.mode() & WRITTEN_BY_OTHERS != 0;
    if geteuid().is_root() && is_of_others {
        return Err(HookError::OfOthers { path: shown() });
    }
    Ok(path)
}
