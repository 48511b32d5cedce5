//! Waiting for a socket.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a full send buffer is waited for, in milliseconds: the driver frees it in
/// microseconds or is stuck, and then the datagrams behind are better dropped than late.
const FULL_WAIT_MS: u8 = 5;

/// Between two looks whether there is room, while a report keeps the kernel from telling.
const REPORT_PAUSE: Duration = Duration::from_micros(100);

/// Waits until a datagram or an error can be taken, `true`, or `timeout` has passed, `false`;
/// without one, for ever.
pub(crate) fn readable(socket: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
        match poll(&mut fds, left.map_or(PollTimeout::NONE, milliseconds)) {
            Ok(0) if left == Some(Duration::ZERO) => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// For poll(2), rounded up, so that the last millisecond is not spent in a busy loop.
fn milliseconds(time: Duration) -> PollTimeout {
    let milliseconds = time.as_micros().div_ceil(1_000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}

/// Waits a moment for room in the send buffer, and says whether there is.
pub(crate) fn writable(socket: BorrowedFd<'_>) -> bool {
    let until = Instant::now() + Duration::from_millis(FULL_WAIT_MS.into());
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::from(FULL_WAIT_MS)) {
            Ok(0) | Err(_) => return false,
            Ok(_) if fds[0].revents().is_some_and(|got| got.contains(PollFlags::POLLOUT)) => {
                return true;
            }
            // A report of the network's that nobody has taken yet ends the wait at once.
            Ok(_) if Instant::now() < until => thread::sleep(REPORT_PAUSE),
            Ok(_) => return false,
        }
    }
}
