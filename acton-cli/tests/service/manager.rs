use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::HANG;

/// What systemd is to a service: a socket that hears how it is.
pub(crate) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    /// One whose socket has this name.
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("acton-test-{}-{name}.notify", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(HANG)).unwrap();
        Self { socket, path }
    }

    /// `acton` with these arguments as a service whose watchdog waits so long, if it has one.
    pub(crate) fn command(&self, arguments: &[&str], watchdog: Option<Duration>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
        command.args(arguments).env("NOTIFY_SOCKET", &self.path);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        command
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message to the service manager");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// All messages up to the first with a line that begins so.
    #[track_caller]
    pub(crate) fn until(&self, line: &str) -> Vec<String> {
        let mut messages = Vec::new();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < HANG, "no {line} in {messages:?}");
            messages.push(self.next());
            if messages.last().is_some_and(|last| last.lines().any(|it| it.starts_with(line))) {
                return messages;
            }
        }
    }

    /// Waits until nothing was said for so long.
    pub(crate) fn until_silent_for(&self, silence: Duration) {
        self.socket.set_read_timeout(Some(silence)).unwrap();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < HANG, "something is said again and again");
            match self.socket.recv(&mut [0; 4096]) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        self.socket.set_read_timeout(Some(HANG)).unwrap();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
