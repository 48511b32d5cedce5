//! What is said to the service manager.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;

/// Who is to be notified: a path, or an abstract name behind `@`.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often, in microseconds, a watchdog wants to hear that all is well, and of which process.
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";
/// How long a message may wait for room in the manager's queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service manager, or nobody where none started this process. Clones are cheap.
///
/// It is spoken to through one socket that is connected at the start: later on this process may have
/// no right to make one.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceManager(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
    ready: AtomicBool,
    status: Mutex<StatusText>,
}

/// How the service is, in a few words.
#[derive(Debug, Default)]
struct StatusText {
    progress: String,
    /// Why the settings stay as they were before the last reload.
    refused: Option<String>,
}

impl fmt::Display for StatusText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.progress))?;
        match &self.refused {
            Some(why) => write!(f, "; the last reload was refused: {}", one_line(why)),
            None => Ok(()),
        }
    }
}

impl ServiceManager {
    /// The one that the environment names.
    pub(crate) fn of_environment() -> Self {
        let Some(name) = env::var_os(SOCKET) else { return Self::default() };
        match connect(&name) {
            Ok(socket) => {
                let watchdog = watchdog(env::var(WATCHDOG).ok(), env::var(WATCHDOG_PROCESS).ok());
                let (ready, status) = (AtomicBool::new(false), Mutex::default());
                Self(Some(Arc::new(Line { socket, watchdog, ready, status })))
            }
            Err(error) => {
                log::warn!(
                    "{SOCKET} {}: {error}; the service manager hears nothing of this tunnel",
                    name.display()
                );
                Self::default()
            }
        }
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// How long it waits for [`alive`](Self::alive) before it ends this process; `None` for ever.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// Says that the service is there. Units that are to start after it do so now.
    pub(crate) fn ready(&self, status: &str) {
        if let Some(line) = &self.0 {
            line.ready.store(true, Ordering::Relaxed);
        }
        self.tell_status("READY=1\n", |text| status.clone_into(&mut text.progress));
    }

    /// Whether it was told [`ready`](Self::ready).
    pub(crate) fn is_ready(&self) -> bool {
        self.0.as_ref().is_some_and(|line| line.ready.load(Ordering::Relaxed))
    }

    /// Says how the service is, in a few words.
    pub(crate) fn status(&self, status: &str) {
        self.tell_status("", |text| status.clone_into(&mut text.progress));
    }

    /// Says whether the last reload was refused, for as long as none is in force.
    pub(crate) fn reloaded(&self, refused: Option<&str>) {
        let is_news = |line: &Arc<Line>| line.status.lock().refused.as_deref() != refused;
        if self.0.as_ref().is_some_and(is_news) {
            self.tell_status("", |text| text.refused = refused.map(str::to_owned));
        }
    }

    /// Says how the service is, after a `change` of that.
    fn tell_status(&self, before: &str, change: impl FnOnce(&mut StatusText)) {
        let Some(line) = &self.0 else { return };
        let mut status = line.status.lock();
        change(&mut status);
        // Under the lock, so that the last that is said is what holds.
        self.tell(&format!("{before}STATUS={status}"));
    }

    /// Says that the start takes longer, by so much from now.
    pub(crate) fn starting(&self, longer: Duration, status: &str) {
        let microseconds = longer.as_micros();
        self.tell(&format!("EXTEND_TIMEOUT_USEC={microseconds}\nSTATUS={}", one_line(status)));
    }

    /// Says that the threads move.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Says that the settings are read again, does that, and says that it is done. One that is not
    /// ready yet says nothing: it would say that it is.
    pub(crate) fn while_reloading(&self, reload: impl FnOnce()) {
        if !self.is_ready() {
            return reload();
        }
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
        reload();
        self.tell("READY=1");
    }

    /// Says that the service ends.
    pub(crate) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    fn tell(&self, message: &str) {
        if let Some(line) = &self.0
            && let Err(error) = line.socket.send(message.as_bytes())
        {
            log::debug!("the service manager: {error}");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    match name.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        [b'/', ..] => socket.connect(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "no path and no @name")),
    }
    Ok(socket)
}

/// The watchdog's time, where it is for this process.
fn watchdog(microseconds: Option<String>, process: Option<String>) -> Option<Duration> {
    if process.is_some_and(|id| id.parse() != Ok(process::id())) {
        return None;
    }
    let microseconds = microseconds?.parse().ok().filter(|&microseconds| microseconds > 0)?;
    Some(Duration::from_micros(microseconds))
}

/// A message is lines, so that a value has none.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_is_none_of_ours() {
        let text = |text: &str| Some(text.to_owned());
        let own = process::id().to_string();
        assert_eq!(watchdog(text("3000000"), Some(own)), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(text("3000000"), None), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(text("3000000"), text("1")), None);
        assert_eq!(watchdog(text("0"), None), None);
        assert_eq!(watchdog(text("soon"), None), None);
        assert_eq!(watchdog(None, None), None);
    }

    #[test]
    fn a_refused_reload_is_told_behind_the_rest() {
        let mut text = StatusText { progress: "serving".to_owned(), refused: None };
        assert_eq!(text.to_string(), "serving");
        text.refused = Some("no such\nbridge".to_owned());
        assert_eq!(text.to_string(), "serving; the last reload was refused: no such bridge");
    }

    #[test]
    fn a_value_cannot_begin_a_line() {
        assert_eq!(one_line("lost it\nREADY=1"), "lost it READY=1");
    }
}
