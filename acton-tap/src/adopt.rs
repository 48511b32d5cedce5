//! Takes over descriptors of a TAP that somebody else opened, once they are found to be what was asked
//! for.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use thiserror::Error;

use crate::VnetHeader;
use crate::builder::{Builder, Tap};
use crate::error::Error;
use crate::interface::Interface;
use crate::queue::Queue;
use crate::sys::{self, Ifreq, IfreqCall, TunGetCall};

/// Why a descriptor that was passed does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FdProblem {
    /// `TUNGETIFF` does not know it.
    #[error("not a TAP's: it is another kind of file than /dev/net/tun")]
    NotTun,
    /// It is an open `/dev/net/tun` without an interface.
    #[error(
        "not attached to an interface: whoever passes it attaches it first (TUNSETIFF), and must \
         not have deleted the interface"
    )]
    NotAttached,
    /// It is a TUN's, which moves IP packets.
    #[error("a TUN's, which moves IP packets: it has to be made with IFF_TAP")]
    Tun,
    /// Frames would have four bytes of flags and protocol before them.
    #[error("it puts packet information before frames: it has to be made with IFF_NO_PI")]
    PacketInformation,
    /// It was opened to read or to write alone.
    #[error("not open for both reading and writing")]
    OneWay,
    /// The vnet header was asked for, and frames come without one.
    #[error(
        "frames come without the vnet header: it has to be made with IFF_VNET_HDR, or used \
         without vnet_header and offloads"
    )]
    NoVnetHeader,
    /// Frames come with a vnet header that was not asked for.
    #[error("frames come with a vnet header: ask for vnet_header(true)")]
    UnexpectedVnetHeader,
    /// `TUNGETVNETHDRSZ` tells another size, which holds for all who have the TAP open.
    #[error(
        "vnet header of {0} bytes where this crate has {wanted}: set it by TUNSETVNETHDRSZ",
        wanted = VnetHeader::LEN
    )]
    VnetHeaderSize(i32),
    /// Descriptors of two interfaces were passed as queues of one.
    #[error("a queue of {0}: all queues of a TAP are of one interface")]
    OtherInterface(String),
    /// The thread sees no interface, or another, where the descriptor's is.
    #[error(
        "its interface is in another network namespace than this thread's: adopt_queue does \
         without the interface"
    )]
    OtherNamespace,
}

impl Builder {
    /// Takes over descriptors that a privileged helper opened and passed, one a queue, in place of
    /// making the TAP: needs neither `CAP_NET_ADMIN` nor `/dev/net/tun`.
    ///
    /// Each is checked against what was asked for here: a TAP without packet information, with the
    /// [vnet header](Self::vnet_header) or without. The name, the number of queues and
    /// [`exclusive`](Self::exclusive) are the helper's affair and have no part in it; all else is
    /// set as [`build`](Self::build) sets it.
    ///
    /// ```no_run
    /// use std::os::fd::AsFd;
    ///
    /// use acton_tap::{Offloads, Tap};
    ///
    /// // Inherited as standard input; one that came by SCM_RIGHTS or from systemd does as well.
    /// let fd = std::io::stdin().as_fd().try_clone_to_owned()?;
    /// let tap = Tap::builder().vnet_header(true).offloads(Offloads::all()).adopt([fd])?;
    /// println!("{} with {}", tap.name(), tap.offloads());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no descriptor, or one does not serve ([`Error::Descriptor`]), or the kernel refuses
    /// a step. The descriptors are then closed.
    pub fn adopt(&self, fds: impl IntoIterator<Item = OwnedFd>) -> Result<Tap, Error> {
        self.check_offloads()?;
        let queues =
            fds.into_iter().map(|fd| self.adopt_queue(fd)).collect::<Result<Vec<_>, _>>()?;
        let first = queues.first().ok_or(Error::QueueCount(0))?;
        let name = first.name()?;
        for queue in &queues[1..] {
            let other = queue.name()?;
            if other != name {
                return Err(problem(&name, FdProblem::OtherInterface(other)));
            }
        }
        // By name: the kernel tells a descriptor's MAC address, too, but no number of its interface.
        let interface = Interface::open(&name);
        let mac = interface.as_ref().ok().and_then(|interface| interface.mac().ok());
        if mac != Some(first.mac()?) {
            return Err(problem(&name, FdProblem::OtherNamespace));
        }
        let interface = interface?;
        if interface.tap_status()?.is_some_and(|status| status.packet_information) {
            return Err(problem(&name, FdProblem::PacketInformation));
        }
        self.set_up(interface, queues)
    }

    /// Takes over one descriptor, checked as by [`adopt`](Self::adopt), for its frames alone: its
    /// interface may be in another network namespace. Of what was asked for only
    /// [`nonblocking`](Self::nonblocking) is set, and one thing stays unchecked: whether frames have
    /// packet information before them. A descriptor does not tell, for `TUNGETIFF` gives the bit of
    /// `IFF_NO_PI` to `IFF_NOFILTER` as well.
    ///
    /// # Errors
    /// The descriptor does not serve ([`Error::Descriptor`]). It is then closed.
    pub fn adopt_queue(&self, fd: OwnedFd) -> Result<Queue, Error> {
        let number = fd.as_raw_fd();
        let mut status = Ifreq::new("");
        sys::ifreq(&fd, IfreqCall::TunGet, &mut status).map_err(|error| {
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EBADFD => problem(&unnamed(number), FdProblem::NotAttached),
                Errno::ENOTTY | Errno::EINVAL | Errno::EOPNOTSUPP => {
                    problem(&unnamed(number), FdProblem::NotTun)
                }
                _ => Error::os(&unnamed(number), "read its status", error),
            }
        })?;
        let name = status.name();
        let mode = fcntl(&fd, FcntlArg::F_GETFL)
            .map_err(|errno| Error::os(&name, "read its descriptor's flags", errno))?;
        let has = |flag: i32| status.flags() & flag as u16 != 0;
        let found = match (self.wants_vnet_header(), has(libc::IFF_VNET_HDR)) {
            _ if !has(libc::IFF_TAP) => Some(FdProblem::Tun),
            _ if mode & OFlag::O_ACCMODE.bits() != libc::O_RDWR => Some(FdProblem::OneWay),
            (true, false) => Some(FdProblem::NoVnetHeader),
            (false, true) => Some(FdProblem::UnexpectedVnetHeader),
            (false, false) => None,
            (true, true) => {
                let size = sys::tun_get(&fd, TunGetCall::VnetHeaderSize)
                    .map_err(|error| Error::os(&name, "read its vnet header's size", error))?;
                (size != VnetHeader::LEN as i32).then_some(FdProblem::VnetHeaderSize(size))
            }
        };
        if let Some(found) = found {
            return Err(problem(&name, found));
        }
        let queue = Queue::from(fd);
        queue
            .set_nonblocking(self.wants_nonblocking())
            .map_err(|error| Error::os(&name, "make its descriptor wait or not", error))?;
        Ok(queue)
    }
}

/// What a descriptor is called whose interface is not known.
fn unnamed(number: RawFd) -> String {
    format!("descriptor {number}")
}

fn problem(name: &str, problem: FdProblem) -> Error {
    Error::Descriptor { name: name.to_owned(), problem }
}
