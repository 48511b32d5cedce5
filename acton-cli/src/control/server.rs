//! The end that is asked: a thread that lets connections in, and one for each of them.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::connection::{self, Idle};
use super::listener::{ListenError, Listener};
use super::look::Sink as _;
use super::peer::{Peer, Right};
use super::source::{Counts, Source};
use super::wire::{Answer, Refusal, RefusalCode};
use super::writer::AnswerWriter;

/// Connections at one time. One more has the one go that has been idle longest.
const MAX_CONNECTIONS: usize = 32;
/// How long those who are being answered have when the tunnel ends.
const GOODBYE: Duration = Duration::from_millis(500);

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
        Counts::add(&self.shared.counts().refused);
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
        Counts::add(&self.shared.counts().evicted);
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
