//! Creates a TAP, or attaches to one that exists.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use acton_netlink::{Link, Socket};
use nix::errno::Errno;

use crate::error::Error;
use crate::interface::Interface;
use crate::name;
use crate::queue::Queue;
use crate::sys::{self, Ifreq, IfreqCall};
use crate::vnet::Offloads;

/// The file of all TUN and TAP interfaces (Documentation/networking/tuntap.rst).
pub(crate) const TUN: &str = "/dev/net/tun";

/// Queues of a TAP at most (`MAX_TAP_QUEUES` of linux/if_tap.h).
const MAX_QUEUES: usize = 256;

/// What a TAP is to be; from [`Tap::builder`].
///
/// The name is `tap%d`, there is one queue, and nothing else is asked for by default.
#[derive(Debug, Clone)]
#[must_use = "nothing is made before `build`"]
pub struct Builder {
    name: String,
    queues: usize,
    nonblocking: bool,
    exclusive: bool,
    vnet_header: bool,
    offloads: Offloads,
    owner: Option<u32>,
    group: Option<u32>,
    persist: Option<bool>,
    carrier: Option<bool>,
}

impl Builder {
    fn new() -> Self {
        Self {
            name: "tap%d".to_owned(),
            queues: 1,
            nonblocking: false,
            exclusive: false,
            vnet_header: false,
            offloads: Offloads::none(),
            owner: None,
            group: None,
            persist: None,
            carrier: None,
        }
    }

    /// The name, 1 to 15 bytes without white space, `/` and `:`. In place of one `%d` the kernel
    /// puts the lowest number that makes the name new; [`Tap::name`] tells the outcome.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The number of queues, 1 to 256. The kernel spreads what it sends over them by flow, and
    /// sends a flow to the queue that last wrote a frame of it.
    pub fn queues(mut self, queues: usize) -> Self {
        self.queues = queues;
        self
    }

    /// Whether reads and writes return `WouldBlock` in place of waiting.
    pub fn nonblocking(mut self, nonblocking: bool) -> Self {
        self.nonblocking = nonblocking;
        self
    }

    /// Whether to fail if an interface of that name exists, rather than to attach to it.
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Whether each frame is preceded by a [`VnetHeader`](crate::VnetHeader).
    pub fn vnet_header(mut self, vnet_header: bool) -> Self {
        self.vnet_header = vnet_header;
        self
    }

    /// What the kernel may leave undone in frames. It grants what it knows, which
    /// [`Tap::offloads`] tells. Needs the [vnet header](Self::vnet_header).
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// The user who may attach to it without `CAP_NET_ADMIN`.
    pub fn owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// The group whose members may attach to it without `CAP_NET_ADMIN`.
    pub fn group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// Whether it stays when its last queue closes. A new TAP does not, one that exists is left
    /// as it is, unless this says otherwise.
    pub fn persist(mut self, persist: bool) -> Self {
        self.persist = Some(persist);
        self
    }

    /// Whether its carrier is on. A new TAP has it, but may report the operational state UNKNOWN:
    /// `carrier(true)` turns it off and on, after which the state is UP or DOWN like a card's.
    pub fn carrier(mut self, carrier: bool) -> Self {
        self.carrier = Some(carrier);
        self
    }

    /// Makes the TAP, or attaches to it, in the calling thread's network namespace.
    ///
    /// An attachment sets the vnet header and offloads anew, also for programs that hold other
    /// queues of the same TAP: the kernel has one setting an interface.
    ///
    /// # Errors
    /// A bad name or number of queues; no `/dev/net/tun` or no permission; a name that is taken by
    /// another kind of interface or another program; whatever step the kernel refuses. A new TAP
    /// is then gone again.
    pub fn build(&self) -> Result<Tap, Error> {
        name::check_template(&self.name)?;
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return Err(Error::QueueCount(self.queues));
        }
        self.check_offloads()?;
        let (first, attached) = self.first_queue()?;
        let name = attached.name();
        let mut queues = vec![first];
        while queues.len() < self.queues {
            let flags = attached.flags() & !(libc::IFF_TUN_EXCL as u16);
            let queue = self.open()?;
            attach(&queue, &name, flags).map_err(|error| self.refused(&name, error))?;
            queues.push(queue);
        }

        // The order that the kernel wants: the interface, the header's layout, the offloads.
        if self.vnet_header {
            queues[0].set_vnet_layout()?;
        }
        self.set_up(Interface::open(&name)?, queues)
    }

    /// Sets what was asked for of a TAP that is attached.
    pub(crate) fn set_up(&self, interface: Interface, queues: Vec<Queue>) -> Result<Tap, Error> {
        let queue = &queues[0];
        let offloads = queue.set_offloads(self.offloads)?;
        if let Some(uid) = self.owner {
            queue.set_owner(uid)?;
        }
        if let Some(gid) = self.group {
            queue.set_group(gid)?;
        }
        if let Some(carrier) = self.carrier {
            queue.set_carrier(false)?;
            if carrier {
                queue.set_carrier(true)?;
            }
        }
        // Last, so that a step that fails leaves no new TAP behind.
        if let Some(persist) = self.persist {
            queue.set_persist(persist)?;
        }
        Ok(Tap { interface, queues, offloads, vnet_header: self.vnet_header })
    }

    pub(crate) fn check_offloads(&self) -> Result<(), Error> {
        if !self.vnet_header && !self.offloads.is_empty() {
            return Err(Error::OffloadsWithoutHeader);
        }
        Ok(())
    }

    pub(crate) fn wants_vnet_header(&self) -> bool {
        self.vnet_header
    }

    pub(crate) fn wants_nonblocking(&self) -> bool {
        self.nonblocking
    }

    /// The first queue, which makes the interface if need be, with its real name and flags.
    fn first_queue(&self) -> Result<(Queue, Ifreq), Error> {
        let queue = self.open()?;
        let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
        for (wanted, flag) in [
            (self.exclusive, libc::IFF_TUN_EXCL),
            (self.vnet_header, libc::IFF_VNET_HDR),
            (self.queues > 1, libc::IFF_MULTI_QUEUE),
        ] {
            flags |= if wanted { flag } else { 0 };
        }
        let flags = flags as u16;
        let attached = match attach(&queue, &self.name, flags) {
            // A TAP made for several queues wants the flag also from who needs one of them.
            Err(error) if is(&error, Errno::EINVAL) => {
                attach(&queue, &self.name, flags | libc::IFF_MULTI_QUEUE as u16)
            }
            attached => attached,
        };
        let attached = attached.map_err(|error| self.refused(&self.name, error))?;
        Ok((queue, attached))
    }

    fn open(&self) -> Result<Queue, Error> {
        let flags = if self.nonblocking { libc::O_NONBLOCK } else { 0 };
        open_tun(flags, || format!("open it to make {}", self.name))
    }

    /// Says what a `TUNSETIFF` that failed means for `name`.
    fn refused(&self, name: &str, error: io::Error) -> Error {
        let name = name.to_owned();
        let existing = || -> Option<Link> { Socket::open().ok()?.link(&name).ok() };
        if is(&error, Errno::EBUSY) {
            return if self.exclusive { Error::Exists { name } } else { Error::Busy { name } };
        }
        if is(&error, Errno::EINVAL) {
            match existing().map(|link| link.tap) {
                Some(None) => return Error::NotTap { name },
                Some(Some(tap)) if !tap.multi_queue => return Error::SingleQueue { name },
                Some(Some(_)) | None => {}
            }
        }
        Error::os(TUN, format!("create or attach {name}"), error)
            .advise(Errno::E2BIG, "it has as many queues as a TAP can")
            .advise(Errno::ENFILE, "every number for %d is taken")
    }
}

/// Opens the file of all TAPs, with further flags of open(2), to do `step`.
pub(crate) fn open_tun(flags: i32, step: impl FnOnce() -> String) -> Result<Queue, Error> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(TUN);
    let file =
        file.map_err(|source| match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
            Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => Error::NoTunDevice { source },
            Errno::EACCES | Errno::EPERM => Error::TunDeviceClosed { source },
            _ => Error::os(TUN, step(), source),
        })?;
    Ok(Queue::from(OwnedFd::from(file)))
}

/// `TUNSETIFF`; gives the interface's real name and the flags that were set.
fn attach(queue: &Queue, name: &str, flags: u16) -> io::Result<Ifreq> {
    let mut request = Ifreq::new(name).with(&flags.to_ne_bytes());
    sys::ifreq(queue, IfreqCall::TunAttach, &mut request)?;
    Ok(request)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// A TAP interface and the queues that this program holds of it.
#[derive(Debug)]
pub struct Tap {
    interface: Interface,
    queues: Vec<Queue>,
    offloads: Offloads,
    vnet_header: bool,
}

impl Tap {
    /// Starts to describe a TAP.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Its real name.
    pub fn name(&self) -> &str {
        self.interface.name()
    }

    /// The kernel's side of it.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Its queues, as many as were asked for.
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// The offloads that the kernel granted of those asked for.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Whether each frame is preceded by a [`VnetHeader`](crate::VnetHeader).
    pub fn has_vnet_header(&self) -> bool {
        self.vnet_header
    }

    /// Sets the carrier; see [`Queue::set_carrier`].
    ///
    /// # Errors
    /// The TAP is gone.
    pub fn set_carrier(&self, carrier: bool) -> Result<(), Error> {
        self.queues[0].set_carrier(carrier)
    }

    /// Makes it stay when its last queue closes, or go; see [`Queue::set_persist`].
    ///
    /// # Errors
    /// The TAP is gone.
    pub fn set_persist(&self, persist: bool) -> Result<(), Error> {
        self.queues[0].set_persist(persist)
    }

    /// The parts, say for one thread a queue.
    pub fn into_parts(self) -> (Interface, Vec<Queue>) {
        (self.interface, self.queues)
    }
}
