//! Those who are connected to a tunnel to ask it, by its control socket or by HTTP: a thread for each, so
//! many at most, and the one that has been idle longest goes for another.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;

/// Connections of one kind at one time.
pub(crate) const MAX_GUESTS: usize = 32;
/// How long those who are being answered have when the tunnel ends.
const GOODBYE: Duration = Duration::from_millis(500);

/// Since when a connection has nothing to do.
#[derive(Debug)]
pub(crate) struct Idle(Mutex<Option<Instant>>);

impl Idle {
    /// `None` while it is being answered.
    pub(crate) fn since(&self) -> Option<Instant> {
        *self.0.lock()
    }

    pub(crate) fn begin(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    pub(crate) fn end(&self) {
        *self.0.lock() = None;
    }
}

/// A connection.
pub(crate) trait Stream: Sized + Send + 'static {
    fn again(&self) -> io::Result<Self>;
    fn shut(&self);
}

impl Stream for UnixStream {
    fn again(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn shut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Stream for TcpStream {
    fn again(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn shut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// Those who are connected.
#[derive(Debug)]
pub(crate) struct Guests<S>(Vec<Guest<S>>);

#[derive(Debug)]
struct Guest<S> {
    stream: S,
    idle: Arc<Idle>,
    thread: JoinHandle<()>,
}

impl<S: Stream> Guest<S> {
    /// Has it go, and waits until it has.
    fn turn_out(self) {
        self.stream.shut();
        let _ = self.thread.join();
    }
}

impl<S: Stream> Guests<S> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn are_full(&self) -> bool {
        self.0.len() >= MAX_GUESTS
    }

    /// Has the one go that has been idle longest; `false` if none is idle.
    pub(crate) fn make_room(&mut self) -> bool {
        let guests = self.0.iter().enumerate();
        let idle = guests.filter_map(|(index, guest)| Some((guest.idle.since()?, index)));
        let Some((_, longest)) = idle.min() else { return false };
        self.0.swap_remove(longest).turn_out();
        true
    }

    /// Has `serve` answer one more, on a thread of this name. It is idle until told otherwise.
    ///
    /// # Errors
    /// Where there is no descriptor or no thread left for it.
    pub(crate) fn admit(
        &mut self,
        thread: &str,
        stream: S,
        serve: impl FnOnce(S, &Idle) + Send + 'static,
    ) -> io::Result<()> {
        let idle = Arc::new(Idle(Mutex::new(Some(Instant::now()))));
        let (handed, its) = (stream.again()?, Arc::clone(&idle));
        let thread = thread::Builder::new().name(thread.to_owned());
        let thread = thread.spawn(move || serve(handed, &its))?;
        self.0.push(Guest { stream, idle, thread });
        Ok(())
    }

    /// Forgets those who have gone.
    pub(crate) fn sweep(&mut self) {
        self.0.retain(|guest| !guest.thread.is_finished());
    }

    /// Gives those who are being answered a moment, and has all go.
    pub(crate) fn close(self) {
        let until = Instant::now() + GOODBYE;
        for guest in self.0 {
            let is_answered = || !guest.thread.is_finished() && guest.idle.since().is_none();
            while is_answered() && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
            guest.turn_out();
        }
    }
}

/// Waits for somebody who connects, or until that time: whether it is the former. `None` once `stopped`
/// is closed.
pub(crate) fn wait(
    socket: BorrowedFd<'_>,
    stopped: &UnixStream,
    until: Option<Instant>,
) -> Option<bool> {
    let poll_in = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = [poll_in(socket), poll_in(stopped.as_fd())];
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    // A millisecond more, so as not to be early.
    let left = left.map(|left| PollTimeout::try_from(left.as_millis() + 1));
    let left = left.map_or(PollTimeout::NONE, |left| left.unwrap_or(PollTimeout::MAX));
    match poll(&mut fds, left) {
        Ok(_) if fds[1].any().unwrap_or(true) => None,
        Ok(_) => Some(fds[0].any().unwrap_or(false)),
        Err(Errno::EINTR) => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn who_has_been_idle_longest_goes_and_who_is_answered_stays() {
        let mut guests = Guests::new();
        let mut others = Vec::new();
        for is_answered in [true, false, false] {
            let (other, stream) = UnixStream::pair().unwrap();
            let serve = move |mut stream: UnixStream, idle: &Idle| {
                if is_answered {
                    idle.end();
                }
                let _ = stream.read(&mut [0]);
            };
            guests.admit("guest", stream, serve).unwrap();
            others.push(other);
        }
        while guests.0[0].idle.since().is_some() {
            thread::yield_now();
        }
        let left = |guests: &Guests<UnixStream>| guests.0.len();
        assert!(guests.make_room());
        assert_eq!(others[1].read(&mut [0]).unwrap(), 0, "the first that was idle");
        assert!(guests.make_room() && !guests.make_room());
        assert_eq!(left(&guests), 1);
        drop(others);
        while left(&guests) > 0 {
            guests.sweep();
        }
    }

    #[test]
    fn all_go_in_the_end() {
        let (mut other, stream) = UnixStream::pair().unwrap();
        let mut guests = Guests::new();
        let serve = |mut stream: UnixStream, _: &Idle| drop(stream.read(&mut [0]));
        guests.admit("guest", stream, serve).unwrap();
        assert!(!guests.are_full());
        guests.close();
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
    }
}
