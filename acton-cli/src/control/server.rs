//! The end that is asked: a thread that lets connections in, and one for each of them.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::guests::{Guests, wait};

use super::connection;
use super::listener::{ListenError, Listener};
use super::look::Sink as _;
use super::peer::{Peer, Right};
use super::source::{Counts, Source};
use super::wire::{Answer, Refusal, RefusalCode};
use super::writer::AnswerWriter;

/// Where a tunnel can be asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The socket's path.
    pub path: PathBuf,
    /// The group that may change, by number.
    pub group: Option<u32>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) source: Arc<Source>,
    pub(super) closing: AtomicBool,
}

impl Shared {
    pub(super) fn counts(&self) -> &Counts {
        &self.source.control
    }
}

/// A control socket that answers. Dropped, it says what is left to be said, and is gone.
#[derive(Debug)]
pub struct ControlServer {
    shared: Arc<Shared>,
    /// Closed to have the thread end.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Listens, and answers from `source` from now on.
    ///
    /// # Errors
    /// Where the socket cannot be made, or somebody has it.
    pub fn start(settings: Settings, source: Arc<Source>) -> Result<Self, ListenError> {
        let Settings { path, group } = settings;
        let listener = Listener::bind(&path, group)?;
        let shared = Arc::new(Shared { source, closing: AtomicBool::new(false) });
        let failed = |step| move |error| ListenError::System { path, step, error };
        let (stop, stopped) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => return Err(failed("make a pair of sockets")(error)),
        };
        let door =
            Door { listener, changers: group, shared: Arc::clone(&shared), guests: Guests::new() };
        let thread = thread::Builder::new()
            .name("acton-socket".to_owned())
            .spawn(move || door.run(&stopped))
            .map_err(failed("start a thread"))?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// Who lets connections in.
struct Door {
    listener: Listener,
    changers: Option<u32>,
    shared: Arc<Shared>,
    guests: Guests<UnixStream>,
}

impl Door {
    fn run(mut self, stopped: &UnixStream) {
        while let Some(is_called) = wait(self.listener.socket.as_fd(), stopped, None) {
            if is_called {
                self.let_in();
            }
            self.guests.sweep();
        }
        self.guests.close();
    }

    fn let_in(&mut self) {
        match self.listener.socket.accept() {
            Ok((stream, _)) => {
                Counts::add(&self.shared.counts().connections);
                if let Err(error) = self.admit(stream) {
                    log::debug!("control socket: {error}");
                }
            }
            // Whoever it was has gone; or no descriptor is free, which may pass.
            Err(error) => {
                log::debug!("control socket: {error}");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn admit(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        let owner = nix::unistd::geteuid().as_raw();
        let right = Peer::of(&stream)?.right(owner, self.listener.group(), self.changers);
        if right == Right::None {
            let message = "only root and the members of the socket's group may ask";
            return self.refuse(stream, RefusalCode::Forbidden, message);
        }
        if self.guests.are_full() {
            if !self.guests.make_room() {
                let message = "all connections are taken by others who are being answered";
                return self.refuse(stream, RefusalCode::Busy, message);
            }
            Counts::add(&self.shared.counts().evicted);
        }
        let shared = Arc::clone(&self.shared);
        let serve = move |stream, idle: &_| connection::serve(&shared, stream, right, idle);
        self.guests.admit("acton-asked", stream, serve)
    }

    fn refuse(&self, stream: UnixStream, code: RefusalCode, message: &str) -> io::Result<()> {
        Counts::add(&self.shared.counts().refused);
        // The first line of a connection has room.
        let mut writer = AnswerWriter::new(stream);
        writer.add(&Answer::Error(Refusal { code, message: message.to_owned() }))?;
        writer.flush()
    }
}
