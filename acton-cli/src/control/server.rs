//! The end that is asked: a thread that lets connections in, and one for each of them.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use acton_engine::Handle;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;

use crate::config::{ConfigReport, KeyReport};

use super::connection::{self, Idle};
use super::listener::{ListenError, Listener};
use super::peer::{Peer, Right};
use super::wire::{Answer, ControlCounts, HookReport, ListReport, Refusal, RefusalCode};
use super::writer::AnswerWriter;

/// Connections at one time. One more has the one go that has been idle longest.
const MAX_CONNECTIONS: usize = 32;
/// How long those who are being answered have when the tunnel ends.
const GOODBYE: Duration = Duration::from_millis(500);

/// What is the process's and not its tunnel's, and can be asked for and changed all the same.
pub trait Process: fmt::Debug + Send + Sync {
    /// Sets what is logged.
    ///
    /// # Errors
    /// What is wrong with the levels.
    fn set_log(&self, levels: &str) -> Result<(), String>;

    /// Where the settings come from.
    fn config(&self) -> Option<ConfigReport>;

    /// What came of the hook, where there is one.
    fn hook(&self) -> Option<HookReport>;

    /// Reads the settings again and puts in force what can be, whole or not at all, and the list of
    /// clients; a `dry_run` only says what would become of the settings.
    ///
    /// # Errors
    /// Why the settings stay as they were.
    fn reload(&self, dry_run: bool) -> Result<Reloaded, String>;
}

/// What came of reading the settings again.
#[derive(Debug, Clone, Default)]
pub struct Reloaded {
    /// What became of each key.
    pub keys: Vec<KeyReport>,
    /// What became of the list of clients, where it was read.
    pub clients: Option<ListReport>,
}

/// How a tunnel can be asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The socket's path.
    pub path: PathBuf,
    /// What the instance is called.
    pub name: String,
    /// The group that may change, by number.
    pub group: Option<u32>,
    /// The process.
    pub process: Arc<dyn Process>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) handle: Handle,
    pub(super) name: String,
    pub(super) process: Arc<dyn Process>,
    pub(super) counts: Counts,
    /// When the tunnel's control thread may be asked for sessions again: how busy it is with that
    /// does not grow with those who ask.
    pub(super) next_page: Mutex<Instant>,
    pub(super) closing: AtomicBool,
}

/// What came to the socket.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) bad_requests: AtomicU64,
    pub(super) too_slow: AtomicU64,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> ControlCounts {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ControlCounts {
            connections: value(&self.connections),
            refused: value(&self.refused),
            evicted: value(&self.evicted),
            bad_requests: value(&self.bad_requests),
            too_slow: value(&self.too_slow),
        }
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
    /// Listens, and answers for `handle`'s tunnel from now on.
    ///
    /// # Errors
    /// Where the socket cannot be made, or somebody has it.
    pub fn start(settings: Settings, handle: Handle) -> Result<Self, ListenError> {
        let Settings { path, name, group, process } = settings;
        let listener = Listener::bind(&path, group)?;
        let shared = Arc::new(Shared {
            handle,
            name,
            process,
            counts: Counts::default(),
            next_page: Mutex::new(Instant::now()),
            closing: AtomicBool::new(false),
        });
        let failed = |step| move |error| ListenError::System { path, step, error };
        let (stop, stopped) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => return Err(failed("make a pair of sockets")(error)),
        };
        let door =
            Door { listener, changers: group, shared: Arc::clone(&shared), guests: Vec::new() };
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
    guests: Vec<Guest>,
}

/// A connection, seen from the door.
struct Guest {
    stream: UnixStream,
    idle: Arc<Idle>,
    thread: JoinHandle<()>,
}

impl Guest {
    /// Has it go, and waits until it has.
    fn turn_out(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        let _ = self.thread.join();
    }
}

impl Door {
    fn run(mut self, stopped: &UnixStream) {
        while self.wait(stopped) {
            match self.listener.socket.accept() {
                Ok((stream, _)) => {
                    Counts::add(&self.shared.counts.connections);
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
            self.guests.retain(|guest| !guest.thread.is_finished());
        }
        self.close();
    }

    /// Waits for a connection; false once it is time to end.
    fn wait(&self, stopped: &UnixStream) -> bool {
        let poll_in = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [poll_in(self.listener.socket.as_fd()), poll_in(stopped.as_fd())];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => return !fds[1].any().unwrap_or(true),
                Err(Errno::EINTR) => {}
                Err(_) => return false,
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
        if self.guests.len() >= MAX_CONNECTIONS && !self.make_room() {
            let message = "all connections are taken by others who are being answered";
            return self.refuse(stream, RefusalCode::Busy, message);
        }
        let idle = Arc::new(Idle::new());
        let (shared, handed, its) =
            (Arc::clone(&self.shared), stream.try_clone()?, Arc::clone(&idle));
        let thread = thread::Builder::new()
            .name("acton-asked".to_owned())
            .spawn(move || connection::serve(&shared, handed, right, &its))?;
        self.guests.push(Guest { stream, idle, thread });
        Ok(())
    }

    fn refuse(&self, stream: UnixStream, code: RefusalCode, message: &str) -> io::Result<()> {
        Counts::add(&self.shared.counts.refused);
        // The first line of a connection has room.
        let mut writer = AnswerWriter::new(stream);
        writer.add(&Answer::Error(Refusal { code, message: message.to_owned() }))?;
        writer.flush()
    }

    /// Has the connection go that has been idle longest; false if none is idle.
    fn make_room(&mut self) -> bool {
        let guests = self.guests.iter().enumerate();
        let idle = guests.filter_map(|(index, guest)| Some((guest.idle.since()?, index)));
        let Some((_, longest)) = idle.min() else { return false };
        Counts::add(&self.shared.counts.evicted);
        self.guests.swap_remove(longest).turn_out();
        true
    }

    /// Gives those who are being answered a moment, and has all go.
    fn close(self) {
        let until = Instant::now() + GOODBYE;
        for guest in self.guests {
            while !guest.thread.is_finished()
                && guest.idle.since().is_none()
                && Instant::now() < until
            {
                thread::sleep(Duration::from_millis(1));
            }
            guest.turn_out();
        }
    }
}
