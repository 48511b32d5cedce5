//! Frames in and out of one open file of a TAP, and a way to stop waiting for them.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use pnet_base::MacAddr;

use crate::error::Error;
use crate::sys::{self, Ifreq, IfreqCall, TunIntCall, TunValueCall};
use crate::vnet::Offloads;

/// One queue of a TAP: an open `/dev/net/tun` attached to it.
///
/// One read is one frame that the kernel sends out of the interface, one write is one frame that
/// the kernel receives on it: from the destination MAC, without the frame check sequence, after a
/// [`VnetHeader`](crate::VnetHeader) if the TAP was built with one.
///
/// Several threads may use a queue at once. The TAP goes away with its last queue, unless it is
/// persistent; a child process that is being started holds each queue open until its exec.
///
/// # Errors of sending and receiving
/// Beside `WouldBlock` on a non-blocking queue and `Interrupted`:
///
/// | errno | when |
/// |---|---|
/// | `EIO` | sending while the interface is down |
/// | `EINVAL` | sending less than an Ethernet header, a bad vnet header, or more than 1,024 pieces |
/// | `EINVAL` | receiving, when the buffer has no room for the vnet header; the frame is lost |
/// | `EFAULT` | receiving, when the interface was deleted during the wait |
/// | `EBADFD` | either, after the interface was deleted |
///
/// Receiving while the interface is down just waits.
#[derive(Debug)]
pub struct Queue {
    file: File,
}

impl Queue {
    /// Waits for one frame (unless non-blocking) and returns its bytes; what `buffer` cannot hold
    /// of it is lost without notice.
    ///
    /// # Errors
    /// Those listed at [`Queue`].
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// As [`recv`](Self::recv), filling `buffers` one after the other.
    ///
    /// # Errors
    /// Those listed at [`Queue`].
    pub fn recv_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.file).read_vectored(buffers)
    }

    /// Sends one frame, which goes whole or not at all, and returns its bytes.
    ///
    /// # Errors
    /// Those listed at [`Queue`].
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        (&self.file).write(frame)
    }

    /// As [`send`](Self::send) of the concatenated `pieces`.
    ///
    /// # Errors
    /// Those listed at [`Queue`].
    pub fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        // The standard library would write the first 1,024: a frame, but not this one.
        if pieces.len() > libc::UIO_MAXIOV as usize {
            return Err(Errno::EINVAL.into());
        }
        (&self.file).write_vectored(pieces)
    }

    /// Receives on a non-blocking queue the frames that are there, at most `limit`, one after the
    /// other into `buffer`, shows each to `take`, and returns how many there were.
    ///
    /// # Errors
    /// Those listed at [`Queue`], when the first frame failed, `WouldBlock` if there is none.
    /// Receiving on tells why another failed.
    pub fn recv_batch(
        &self,
        buffer: &mut [u8],
        limit: usize,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        for count in 0..limit {
            match self.recv(buffer) {
                Ok(length) => take(&buffer[..length]),
                Err(error) if count == 0 => return Err(error),
                Err(_) => return Ok(count),
            }
        }
        Ok(limit)
    }

    /// As [`recv`](Self::recv), but waits also on a non-blocking queue, and returns `None` as soon
    /// as `stop` is [stopped](Stop::stop), even if frames are there.
    ///
    /// Where several threads read one queue, make it non-blocking: else a frame that another
    /// thread took first leaves this one waiting where `stop` does not reach it.
    ///
    /// # Errors
    /// Those listed at [`Queue`], except `WouldBlock` and `Interrupted`.
    pub fn recv_or_stopped(&self, buffer: &mut [u8], stop: &Stop) -> io::Result<Option<usize>> {
        loop {
            let mut fds = [
                PollFd::new(stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            if fds[0].any().unwrap_or(true) {
                return Ok(None);
            }
            match self.recv(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes [`recv`](Self::recv) return `WouldBlock` when there is no frame, or wait for one. It
    /// holds for every descriptor that was duplicated from this one.
    ///
    /// # Errors
    /// Those of `fcntl`.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        let mut flags = OFlag::from_bits_retain(fcntl(&self.file, FcntlArg::F_GETFL)?);
        flags.set(OFlag::O_NONBLOCK, nonblocking);
        fcntl(&self.file, FcntlArg::F_SETFL(flags))?;
        Ok(())
    }

    /// The name of the TAP now (`TUNGETIFF`); it may have been renamed.
    ///
    /// # Errors
    /// The TAP is gone.
    pub fn name(&self) -> Result<String, Error> {
        self.status().map(|status| status.name())
    }

    /// Takes this queue out of the set that frames are spread over (`TUNSETQUEUE`): it receives
    /// none, though it may still send, until [`attach`](Self::attach). Only for a TAP of several
    /// queues.
    ///
    /// # Errors
    /// The TAP was made for one queue, or the queue is detached already, or the TAP is gone.
    pub fn detach(&self) -> Result<(), Error> {
        let single = "only a TAP built with several queues can, and a queue that is attached";
        self.set_attached(libc::IFF_DETACH_QUEUE, "detach a queue", single)
    }

    /// Puts this queue back into that set.
    ///
    /// # Errors
    /// It is attached already, or the TAP is gone.
    pub fn attach(&self) -> Result<(), Error> {
        self.set_attached(libc::IFF_ATTACH_QUEUE, "attach a queue", "it is attached already")
    }

    fn set_attached(&self, flag: i32, step: &str, if_invalid: &'static str) -> Result<(), Error> {
        let mut request = Ifreq::new("").with(&(flag as u16).to_ne_bytes());
        sys::ifreq(self, IfreqCall::TunQueue, &mut request).map_err(|error| match self.status() {
            // Of a TAP that is gone the kernel says EINVAL too.
            Err(gone) => gone,
            Ok(_) => self.error(step, error).advise(Errno::EINVAL, if_invalid),
        })
    }

    /// Sets the carrier of the TAP (`TUNSETCARRIER`, Linux 5.0): without it the interface is up but
    /// not running, as an Ethernet card whose cable is out.
    ///
    /// # Errors
    /// The TAP is gone.
    pub fn set_carrier(&self, carrier: bool) -> Result<(), Error> {
        sys::tun_int(self, TunIntCall::Carrier, carrier.into())
            .map_err(|error| self.error("set the carrier", error))
    }

    /// Makes the TAP stay when its last queue closes (`TUNSETPERSIST`), or go with it.
    ///
    /// # Errors
    /// The TAP is gone.
    pub fn set_persist(&self, persist: bool) -> Result<(), Error> {
        sys::tun_value(self, TunValueCall::Persist, persist.into())
            .map_err(|error| self.error("set persistence", error))
    }

    /// Whether the TAP stays when its last queue closes.
    ///
    /// # Errors
    /// The TAP is gone.
    pub fn is_persistent(&self) -> Result<bool, Error> {
        Ok(self.status()?.flags() & libc::IFF_PERSIST as u16 != 0)
    }

    /// Lets the user `uid` attach without `CAP_NET_ADMIN` (`TUNSETOWNER`). The kernel has no way to
    /// take it back. [`Interface::tap_status`](crate::Interface::tap_status) reads it.
    ///
    /// # Errors
    /// The user namespace has no such user, or the TAP is gone.
    pub fn set_owner(&self, uid: u32) -> Result<(), Error> {
        sys::tun_value(self, TunValueCall::Owner, uid)
            .map_err(|error| self.error(&format!("set the owner to {uid}"), error))
    }

    /// Lets the members of group `gid` attach without `CAP_NET_ADMIN` (`TUNSETGROUP`).
    ///
    /// # Errors
    /// The user namespace has no such group, or the TAP is gone.
    pub fn set_group(&self, gid: u32) -> Result<(), Error> {
        sys::tun_value(self, TunValueCall::Group, gid)
            .map_err(|error| self.error(&format!("set the group to {gid}"), error))
    }

    /// Asks the kernel for `offloads` (`TUNSETOFFLOAD`) in place of those that were set, for the
    /// whole TAP, and returns what it granted: where it knows less, all of USO is left out, then
    /// all of TSO, then everything. Only for a TAP with the vnet header.
    ///
    /// # Errors
    /// It has no vnet header, or the TAP is gone.
    pub fn set_offloads(&self, offloads: Offloads) -> Result<Offloads, Error> {
        if !offloads.is_empty() && self.status()?.flags() & libc::IFF_VNET_HDR as u16 == 0 {
            return Err(Error::OffloadsWithoutHeader);
        }
        for attempt in offloads.attempts() {
            match sys::tun_value(self, TunValueCall::Offload, attempt.bits()) {
                Ok(()) => return Ok(attempt),
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
                Err(error) => return Err(self.error("set offloads", error)),
            }
        }
        Err(self.error("clear offloads", Errno::EINVAL.into()))
    }

    /// The MAC address of the TAP.
    pub(crate) fn mac(&self) -> Result<MacAddr, Error> {
        let mut request = Ifreq::new("");
        sys::ifreq(self, IfreqCall::GetMac, &mut request)
            .map_err(|error| self.error("read its MAC", error))?;
        // struct sockaddr: two bytes of hardware type, then the address.
        let [_, _, mac @ ..] = request.value::<8>();
        Ok(mac.into())
    }

    /// Sets the size and byte order of the vnet header, which a persistent TAP keeps from before.
    pub(crate) fn set_vnet_layout(&self) -> Result<(), Error> {
        sys::tun_int(self, TunIntCall::VnetHeaderSize, crate::VnetHeader::LEN as i32)
            .and_then(|()| sys::tun_int(self, TunIntCall::VnetLittleEndian, 1))
            .map_err(|error| self.error("set the vnet header's layout", error))
    }

    /// Name and flags (`TUNGETIFF`).
    fn status(&self) -> Result<Ifreq, Error> {
        let mut request = Ifreq::new("");
        sys::ifreq(self, IfreqCall::TunGet, &mut request)
            .map_err(|error| Error::os("TAP queue", "read its status", error))?;
        Ok(request)
    }

    fn error(&self, step: &str, error: io::Error) -> Error {
        let name = self.name().unwrap_or_else(|_| "TAP queue".to_owned());
        Error::os(&name, step, error)
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes over a descriptor of `/dev/net/tun` that is attached to a TAP, unchecked: another kind of
/// file makes a queue whose calls fail. [`Builder::adopt`](crate::Builder::adopt) checks.
impl From<OwnedFd> for Queue {
    fn from(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }
}

impl From<Queue> for OwnedFd {
    fn from(queue: Queue) -> Self {
        queue.file.into()
    }
}

impl Read for &Queue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.recv_vectored(buffers)
    }
}

impl Write for &Queue {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.send(frame)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Queue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.recv_vectored(buffers)
    }
}

impl Write for Queue {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.send(frame)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends every [`Queue::recv_or_stopped`] that was given a clone of it, now and later.
///
/// Its descriptor is an eventfd(2) that becomes readable, and stays so, once it is stopped: a
/// program with a poll set of its own adds it there.
#[derive(Debug, Clone)]
pub struct Stop(Arc<EventFd>);

impl Stop {
    /// A handle that is not stopped.
    ///
    /// # Errors
    /// The process or the system is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(EventFd::from_flags(flags)?)))
    }

    /// Stops the readers, for good. Never blocks.
    pub fn stop(&self) {
        // It fails only with EAGAIN, when the counter is full: then it is readable as it should be.
        let _ = self.0.write(1);
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
