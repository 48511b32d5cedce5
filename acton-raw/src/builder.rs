//! Opening a socket, in the order that lets no foreign frame in.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

use crate::error::{Error, FilterError};
use crate::fanout::Fanout;
use crate::filter::{Filter, Program};
use crate::ring::{Ring, RingConfig};
use crate::socket::RawSocket;
use crate::sys;
use crate::sys::mapping::Mapping;

/// Longest interface name in bytes: `IFNAMSIZ` less the terminator (`linux/if.h`).
const MAX_NAME: usize = libc::IFNAMSIZ - 1;

/// `PACKET_FANOUT_FLAG_IGNORE_OUTGOING` of linux/if_packet.h.
const FANOUT_IGNORE_OUTGOING: u16 = 0x4000;

/// What a socket is to be; [`build`](Self::build) opens it.
///
/// The socket is made deaf (protocol 0), gets its filter, options and ring, and is bound last: no
/// frame of another interface and none that its filter rejects is ever received.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    interface: String,
    selection: Selection,
    snaplen: Option<u32>,
    promiscuous: bool,
    ignore_outgoing: bool,
    qdisc_bypass: bool,
    nonblocking: bool,
    receive_buffer: Option<usize>,
    fanout: Option<Fanout>,
}

/// Which frames are to be received.
#[derive(Debug, Clone)]
enum Selection {
    All,
    Filter(Filter),
    Program(Program),
}

impl Builder {
    pub(crate) fn new(interface: String) -> Self {
        Self {
            interface,
            selection: Selection::All,
            snaplen: None,
            promiscuous: false,
            ignore_outgoing: false,
            qdisc_bypass: false,
            nonblocking: false,
            receive_buffer: None,
            fanout: None,
        }
    }

    /// Receives only frames that pass `filter`.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.selection = Selection::Filter(filter);
        self
    }

    /// Receives only frames that `program` keeps, and as much of them as it says; replaces
    /// [`filter`](Self::filter), and [`snaplen`](Self::snaplen) does not apply.
    pub fn program(mut self, program: Program) -> Self {
        self.selection = Selection::Program(program);
        self
    }

    /// Receives at most this many bytes of a frame (0 counts as 1).
    pub fn snaplen(mut self, bytes: u32) -> Self {
        self.snaplen = Some(bytes);
        self
    }

    /// Has the interface receive frames for other hosts too, while the socket is open.
    pub fn promiscuous(mut self, on: bool) -> Self {
        self.promiscuous = on;
        self
    }

    /// Leaves out the frames that this host sends. In a fanout group, all members must, and kernels
    /// that do not know it of groups deliver them all the same.
    pub fn ignore_outgoing(mut self, on: bool) -> Self {
        self.ignore_outgoing = on;
        self
    }

    /// Sends past the interface's queueing discipline: quicker, but what the card cannot take at
    /// once is lost, and other sockets do not see the frames go.
    pub fn qdisc_bypass(mut self, on: bool) -> Self {
        self.qdisc_bypass = on;
        self
    }

    /// See [`RawSocket::set_nonblocking`].
    pub fn nonblocking(mut self, on: bool) -> Self {
        self.nonblocking = on;
        self
    }

    /// Size of the receive queue in bytes, bookkeeping included (`SO_RCVBUF`, `socket(7)`). Over
    /// `net.core.rmem_max` only with CAP_NET_ADMIN, else that is what one gets.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Shares the interface's frames with the other members of a group.
    pub fn fanout(mut self, fanout: Fanout) -> Self {
        self.fanout = Some(fanout);
        self
    }

    /// Opens the socket.
    ///
    /// # Errors
    /// [`Error`] with the interface and the step that failed.
    pub fn build(self) -> Result<RawSocket, Error> {
        self.open(None).map(|(socket, _)| socket)
    }

    /// Opens the socket with a ring to receive through.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_ring(self, config: RingConfig) -> Result<Ring, Error> {
        let (socket, mapping) = self.open(Some(config))?;
        let mapping = mapping.expect("a configuration was given");
        Ok(Ring::new(socket, mapping))
    }

    fn open(self, ring: Option<RingConfig>) -> Result<(RawSocket, Option<Mapping>), Error> {
        let program = self
            .selected()
            .map_err(|source| Error::Filter { interface: self.interface.clone(), source })?;
        let index = self.index()?;
        let fd = self.deaf_socket()?;

        // A member of a fanout group is bound before it can join, and must not get other
        // members' frames in between.
        let first =
            if self.fanout.is_some() { Some(Program::constant(0)) } else { program.clone() };
        if let Some(program) = &first {
            self.step("attach the filter", sys::attach_filter(&fd, program))?;
        }
        self.set_options(&fd)?;
        let mapping = match ring {
            Some(config) => Some(self.add_ring(&fd, config)?),
            None => None,
        };
        if self.promiscuous {
            self.step("enter promiscuous mode", sys::add_promiscuous(&fd, index))?;
        }
        self.step("bind the packet socket", sys::bind(&fd, index))?;
        self.check_hardware(&fd)?;
        if let Some(fanout) = self.fanout {
            // The group has a switch of its own, and the socket's does not count in it.
            let outgoing = if self.ignore_outgoing { FANOUT_IGNORE_OUTGOING } else { 0 };
            let joined = sys::join_fanout(&fd, fanout.group, fanout.type_flags() | outgoing);
            self.step(
                "join the fanout group (the interface must be up, and all members bound to it \
                 with the same mode and flags)",
                joined,
            )?;
            let attached = match &program {
                Some(program) => sys::attach_filter(&fd, program),
                None => sys::detach_filter(&fd),
            };
            self.step("attach the filter", attached)?;
        }
        Ok((RawSocket::new(fd, self.interface, index as u32), mapping))
    }

    /// The program that selects the frames, if not all are to be received whole.
    fn selected(&self) -> Result<Option<Program>, FilterError> {
        let snaplen = self.snaplen.map(|bytes| bytes.max(1));
        match &self.selection {
            Selection::All => Ok(snaplen.map(Program::constant)),
            Selection::Filter(filter) => filter.compile(snaplen.unwrap_or(u32::MAX)).map(Some),
            Selection::Program(program) => Ok(Some(program.clone())),
        }
    }

    fn index(&self) -> Result<i32, Error> {
        let interface = || self.interface.clone();
        let forbidden = |byte: u8| matches!(byte, b'/' | b':' | 0) || byte.is_ascii_whitespace();
        let name = &self.interface;
        if name.is_empty() || name.len() > MAX_NAME || name.bytes().any(forbidden) {
            return Err(Error::InterfaceName { interface: interface() });
        }
        match if_nametoindex(name.as_str()) {
            Ok(index) => Ok(index as i32),
            Err(Errno::ENODEV) => Err(Error::NoSuchInterface { interface: interface() }),
            Err(errno) => self.step("look up its index", Err(errno.into())),
        }
    }

    /// Protocol 0: it receives nothing until it is bound.
    fn deaf_socket(&self) -> Result<OwnedFd, Error> {
        let mut flags = SockFlag::SOCK_CLOEXEC;
        flags.set(SockFlag::SOCK_NONBLOCK, self.nonblocking);
        match socket(AddressFamily::Packet, SockType::Raw, flags, None) {
            Err(Errno::EPERM | Errno::EACCES) => {
                Err(Error::Permission { interface: self.interface.clone() })
            }
            result => self.step("open a packet socket", result.map_err(Into::into)),
        }
    }

    fn set_options(&self, fd: &OwnedFd) -> Result<(), Error> {
        let auxdata = sys::set_packet_option(fd, libc::PACKET_AUXDATA, 1);
        self.step("ask for VLAN tags", auxdata)?;
        let timestamps = setsockopt(fd, sockopt::ReceiveTimestampns, &true);
        self.step("ask for time stamps", timestamps.map_err(Into::into))?;
        if self.ignore_outgoing {
            let ignore = sys::set_packet_option(fd, libc::PACKET_IGNORE_OUTGOING, 1);
            self.step("leave out outgoing frames (needs Linux 4.20)", ignore)?;
        }
        if self.qdisc_bypass {
            let bypass = sys::set_packet_option(fd, libc::PACKET_QDISC_BYPASS, 1);
            self.step("bypass the queueing discipline", bypass)?;
        }
        if let Some(bytes) = self.receive_buffer {
            // The option is a C int.
            let bytes = bytes.min(i32::MAX as usize);
            let set = setsockopt(fd, sockopt::RcvBufForce, &bytes)
                .or_else(|_| setsockopt(fd, sockopt::RcvBuf, &bytes));
            self.step("set the receive buffer's size", set.map_err(Into::into))?;
        }
        Ok(())
    }

    fn add_ring(&self, fd: &OwnedFd, config: RingConfig) -> Result<Mapping, Error> {
        let version = libc::tpacket_versions::TPACKET_V3 as i32;
        let version = sys::set_packet_option(fd, libc::PACKET_VERSION, version);
        self.step("choose TPACKET_V3", version)?;
        let mapping = config.request().and_then(|request| Mapping::new(fd, &request));
        self.step(
            "make the receive ring (the block size must be a multiple of the page size, and the \
             memory be there)",
            mapping,
        )
    }

    /// Filters and VLAN tags count bytes from an Ethernet header, so there must be one.
    fn check_hardware(&self, fd: &OwnedFd) -> Result<(), Error> {
        let address = self.step("read its hardware type", sys::local_address(fd))?;
        match address.sll_hatype {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Ok(()),
            hardware_type => {
                Err(Error::NotEthernet { interface: self.interface.clone(), hardware_type })
            }
        }
    }

    fn step<T>(&self, step: &'static str, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|source| Error::Step { interface: self.interface.clone(), step, source })
    }
}
