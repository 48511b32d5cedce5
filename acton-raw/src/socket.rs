//! The socket: frames out and in.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, send};

use crate::batch::RecvBatch;
use crate::builder::Builder;
use crate::filter::Program;
use crate::frame::FrameMeta;
use crate::sys;
use crate::sys::message::{self, MAX_BATCH};
use crate::wait::{self, Wake};

/// An AF_PACKET socket bound to one Ethernet interface.
///
/// All methods take `&self`; several threads may share it. When it is closed the kernel takes
/// back what it changed, promiscuous mode included.
pub struct RawSocket {
    fd: OwnedFd,
    interface: String,
    index: u32,
    totals: Totals,
    /// The interface went down, and nothing has come since.
    down: AtomicBool,
}

/// How often a wait on an interface that is down looks whether it is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl RawSocket {
    /// What is needed to open a socket on the interface of this name.
    pub fn builder(interface: impl Into<String>) -> Builder {
        Builder::new(interface.into())
    }

    pub(crate) fn new(fd: OwnedFd, interface: String, index: u32) -> Self {
        Self { fd, interface, index, totals: Totals::default(), down: AtomicBool::new(false) }
    }

    /// The interface's name when the socket was opened.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The interface's index, which stays when it is renamed.
    pub fn interface_index(&self) -> u32 {
        self.index
    }

    /// Receives one frame into `buffer`, from its Ethernet header on; what does not fit is lost,
    /// and [`FrameMeta::is_truncated`] says so.
    ///
    /// The interface's MTU and 14 bytes are enough for frames of the wire; on an interface with
    /// receive offload (GRO, `ethtool -k`) a frame can have 64 KiB.
    ///
    /// # Errors
    /// `WouldBlock` on a non-blocking socket without frames. `ENETDOWN` once when the interface
    /// goes down; frames come again when it is up. `ENODEV` once when it is gone; no frame will
    /// come any more. An interface that goes away goes down first, and to a reader in between the
    /// kernel has nothing more to tell: find out by [`wait`](Self::wait) or
    /// [`is_gone`](Self::is_gone).
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<FrameMeta> {
        message::receive(&self.fd, buffer, 0).map_err(|error| self.explain(error))
    }

    /// Receives into `batch` what is there, at most as many frames as it has room for, and waits
    /// only if there is none. Returns how many there are now in [`RecvBatch::frames`].
    ///
    /// # Errors
    /// As [`recv`](Self::recv); the batch is then empty.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.fill(&self.fd).map_err(|error| self.explain(error))
    }

    /// Sends one frame, from its Ethernet header on and without frame check sequence. A VLAN tag
    /// goes in line.
    ///
    /// # Errors
    /// `EMSGSIZE` for a frame over the MTU, `EINVAL` for one shorter than an Ethernet header,
    /// `ENETDOWN` while the interface is down, `ENXIO` when it is gone, `ENOBUFS` when its queue
    /// is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.fd.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// Sends frames in order, up to 64 a system call. Returns how many went: less than all when
    /// one of them failed, and sending on from there tells why.
    ///
    /// # Errors
    /// As [`send`](Self::send), when the first frame failed.
    pub fn send_batch(&self, frames: &[&[u8]]) -> io::Result<usize> {
        let mut sent = 0;
        for chunk in frames.chunks(MAX_BATCH) {
            match message::send_batch(&self.fd, chunk) {
                Ok(count) => sent += count,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
            if sent % MAX_BATCH != 0 {
                break;
            }
        }
        Ok(sent)
    }

    /// Waits until frames can be read, `stop` is readable or closed at its other end, or
    /// `timeout` has passed; without one, for ever.
    ///
    /// To stop a thread that waits here, give it one end of a
    /// [`UnixStream::pair`](std::os::unix::net::UnixStream::pair) and drop the other.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), but `ENODEV` in every wait on an interface that went away, and
    /// those of `poll(2)`.
    pub fn wait(
        &self,
        stop: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<Wake> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let down = self.down.load(Ordering::Relaxed);
            if down && self.is_gone()? {
                return Err(io::Error::from_raw_os_error(libc::ENODEV));
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let slice = match left {
                Some(left) if !down || left <= LOOK_AGAIN => Some(left),
                None if !down => None,
                _ => Some(LOOK_AGAIN),
            };
            match wait::wait(self.fd.as_fd(), stop, slice).map_err(|error| self.explain(error))? {
                Wake::TimedOut if slice != left => {}
                Wake::Ready => {
                    self.down.store(false, Ordering::Relaxed);
                    return Ok(Wake::Ready);
                }
                wake => return Ok(wake),
            }
        }
    }

    /// Whether the interface was deleted or moved to another network namespace.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn is_gone(&self) -> io::Result<bool> {
        Ok(sys::local_address(&self.fd)?.sll_ifindex < 0)
    }

    /// Lets only frames pass that `program` keeps; frames received before and not yet read are
    /// dropped, so that what is read from here on has passed it.
    ///
    /// A frame that another processor is handing over at this very moment may still slip in;
    /// a filter given to the [`Builder`] has no such gap.
    ///
    /// # Errors
    /// `EINVAL` for a program the kernel finds wrong; the old filter stays then. `ENETDOWN` where
    /// the interface went down since the last call; the new filter is in force then.
    pub fn set_filter(&self, program: &Program) -> io::Result<()> {
        // Attached for the kernel's check: a wrong program must not cost the queued frames.
        sys::attach_filter(&self.fd, program)?;
        sys::attach_filter(&self.fd, &Program::constant(0))?;
        let drained = self.drain();
        sys::attach_filter(&self.fd, program)?;
        drained
    }

    /// Lets all frames pass.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn clear_filter(&self) -> io::Result<()> {
        sys::detach_filter(&self.fd)
    }

    /// Reads what is queued and throws it away.
    fn drain(&self) -> io::Result<()> {
        let mut down = Ok(());
        loop {
            match message::receive(&self.fd, &mut [], libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return down,
                // The kernel tells of it once, ahead of what is queued.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                    down = Err(self.explain(error));
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
    }

    /// Frames received and dropped since the socket was opened.
    ///
    /// # Errors
    /// Those of `getsockopt(2)`.
    pub fn statistics(&self) -> io::Result<Statistics> {
        self.totals.add(sys::take_statistics(&self.fd)?);
        Ok(self.totals.read())
    }

    /// Makes receiving and sending return `WouldBlock` instead of waiting, or wait again.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        let mut flags = OFlag::from_bits_retain(fcntl(&self.fd, FcntlArg::F_GETFL)?);
        flags.set(OFlag::O_NONBLOCK, on);
        fcntl(&self.fd, FcntlArg::F_SETFL(flags))?;
        Ok(())
    }

    /// The kernel says "network is down" of an interface that is down and of one that is gone.
    fn explain(&self, error: io::Error) -> io::Error {
        if error.raw_os_error() != Some(libc::ENETDOWN) {
            return error;
        }
        self.down.store(true, Ordering::Relaxed);
        match self.is_gone() {
            Ok(true) => io::Error::from_raw_os_error(libc::ENODEV),
            _ => error,
        }
    }
}

impl fmt::Debug for RawSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fd, interface, index, .. } = self;
        formatter
            .debug_struct("RawSocket")
            .field("fd", fd)
            .field("interface", interface)
            .field("index", index)
            .finish()
    }
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<RawSocket> for OwnedFd {
    fn from(socket: RawSocket) -> Self {
        socket.fd
    }
}

/// Counts since a socket was opened, of frames that passed its filter (`PACKET_STATISTICS`,
/// `packet(7)`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Frames that were put into the socket's queue or ring.
    pub received: u64,
    /// Frames that were dropped because it was full.
    pub dropped: u64,
    /// How often a ring was full and stopped.
    pub ring_freezes: u64,
}

/// The kernel sets its counters to 0 when they are read; here they add up.
#[derive(Default)]
struct Totals {
    received: AtomicU64,
    dropped: AtomicU64,
    freezes: AtomicU64,
}

impl Totals {
    fn add(&self, counters: libc::tpacket_stats_v3) {
        // The kernel counts a dropped frame among the packets too.
        let received = counters.tp_packets.saturating_sub(counters.tp_drops);
        self.received.fetch_add(received.into(), Ordering::Relaxed);
        self.dropped.fetch_add(counters.tp_drops.into(), Ordering::Relaxed);
        self.freezes.fetch_add(counters.tp_freeze_q_cnt.into(), Ordering::Relaxed);
    }

    fn read(&self) -> Statistics {
        Statistics {
            received: self.received.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            ring_freezes: self.freezes.load(Ordering::Relaxed),
        }
    }
}
