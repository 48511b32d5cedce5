//! Wakes a worker that sleeps in poll(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// An eventfd(2): readable from when it is rung until it is hushed.
#[derive(Debug)]
pub(crate) struct Bell(EventFd);

impl Bell {
    /// # Errors
    /// The process or the system is out of file descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Wakes whoever polls it. Never blocks.
    pub(crate) fn ring(&self) {
        // It fails only where the counter is full: then it is readable as it should be.
        let _ = self.0.write(1);
    }

    /// Lets whoever polls it sleep again. Never blocks.
    pub(crate) fn hush(&self) {
        // It fails only where nobody rang.
        let _ = self.0.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
