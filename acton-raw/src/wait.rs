//! Waiting for frames, with a way to stop.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// Frames can be read.
    Ready,
    /// The stop descriptor is readable or its other end is closed.
    Stopped,
    /// The time is over.
    TimedOut,
}

/// Waits until `socket` or `stop` is ready or `timeout` has passed; without one, for ever.
///
/// An error that hangs on the socket is taken and returned.
pub(crate) fn wait(
    socket: BorrowedFd<'_>,
    stop: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> io::Result<Wake> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut fds = [
        PollFd::new(socket, PollFlags::POLLIN),
        // Without a stop descriptor the socket stands in for it, and is asked for nothing.
        PollFd::new(stop.unwrap_or(socket), PollFlags::POLLIN),
    ];
    let fds = if stop.is_some() { &mut fds[..] } else { &mut fds[..1] };
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match poll(fds, left.map_or(PollTimeout::NONE, milliseconds)) {
            Ok(0) if left.is_some_and(|left| left > MAX_POLL) => {}
            Ok(0) => return Ok(Wake::TimedOut),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    if fds.get(1).is_some_and(|stop| stop.any() != Some(false)) {
        return Ok(Wake::Stopped);
    }
    let events = fds[0].revents().unwrap_or(PollFlags::empty());
    if events.contains(PollFlags::POLLERR) {
        let errno = getsockopt(&socket, sockopt::SocketError)?;
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno));
        }
    }
    Ok(Wake::Ready)
}

/// Longest time one `poll` takes, some 24 days.
const MAX_POLL: Duration = Duration::from_millis(i32::MAX as u64);

/// Rounds up, so that a wait of less than a millisecond does not become a busy loop.
fn milliseconds(time: Duration) -> PollTimeout {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    i32::try_from(milliseconds)
        .ok()
        .and_then(|milliseconds| PollTimeout::try_from(milliseconds).ok())
        .unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn stop_goes_before_frames_and_frames_before_time() {
        let (mut feeder, socket) = UnixStream::pair().unwrap();
        let (stopper, stop) = UnixStream::pair().unwrap();
        let once =
            |timeout: Duration| wait(socket.as_fd(), Some(stop.as_fd()), Some(timeout)).unwrap();
        assert_eq!(once(Duration::from_micros(1)), Wake::TimedOut);
        feeder.write_all(b"x").unwrap();
        assert_eq!(once(Duration::ZERO), Wake::Ready);
        assert_eq!(wait(socket.as_fd(), None, None).unwrap(), Wake::Ready);
        drop(stopper);
        assert_eq!(once(Duration::MAX), Wake::Stopped);
    }

    #[test]
    fn time_is_rounded_up() {
        assert_eq!(milliseconds(Duration::from_nanos(1)), PollTimeout::from(1_u8));
        assert_eq!(milliseconds(Duration::ZERO), PollTimeout::ZERO);
        assert_eq!(milliseconds(Duration::MAX), PollTimeout::MAX);
    }
}
