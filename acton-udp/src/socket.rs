//! The socket: its options, and single datagrams.

use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket};

use crate::builder::Builder;
use crate::destination::Destination;
use crate::refusal::REFUSALS;
use crate::report::Report;
use crate::source::Source;
use crate::statistics::KernelStatistics;
use crate::sys;
use crate::sys::send::SendArena;
use crate::wait;

/// A non-blocking UDP socket that says to which local address a datagram came and how it was
/// marked, and takes merged datagrams (`UDP_GRO`).
///
/// [`RecvBatch`](crate::RecvBatch) receives from it, [`SendBuffer`](crate::SendBuffer) sends. All
/// methods take `&self`; several threads may share it or have a clone each.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    ipv6: bool,
}

impl UdpSocket {
    /// What is needed to open a socket otherwise than [`bind`](Self::bind) does.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Binds to `local`; an unspecified IPv6 address takes IPv4 as well, and port 0 is any that is
    /// free.
    ///
    /// # Errors
    /// As [`Builder::bind`].
    pub fn bind(local: SocketAddr) -> io::Result<Self> {
        Builder::new().bind(local)
    }

    /// Binds `count` sockets to the same address (SO_REUSEPORT, socket(7)): see
    /// [`Builder::bind_group`].
    ///
    /// # Errors
    /// As [`Builder::bind_group`].
    pub fn bind_group(local: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        Builder::new().bind_group(local, count)
    }

    pub(crate) fn new(socket: Socket, ipv6: bool) -> Self {
        Self { socket, ipv6 }
    }

    pub(crate) fn bind_to(&self, local: &SockAddr) -> io::Result<()> {
        self.socket.bind(local)
    }

    /// Where datagrams to `remote` go, from `source` where that is known. IPv4 is mapped into IPv6
    /// where the socket is an IPv6 one; it serves all sockets of the same family.
    #[must_use]
    pub fn destination(&self, remote: SocketAddr, source: Option<Source>) -> Destination {
        Destination::new(remote, source, self.ipv6)
    }

    /// Has a datagram for this group of sockets ([`bind_group`](Self::bind_group)) go to the one
    /// whose number stands in the low `bits` bits (0 to 32) of the big-endian word of 32 bits at
    /// byte `offset` of its payload. Where no socket has that number, the kernel chooses by
    /// addresses; a datagram too short for the word goes to the first socket.
    ///
    /// Call it on any one socket, once all are bound.
    ///
    /// # Errors
    /// Those of setsockopt(2) for SO_ATTACH_REUSEPORT_CBPF.
    pub fn steer_by_word(&self, offset: u16, bits: u8) -> io::Result<()> {
        let unused = 32_u32.saturating_sub(bits.into());
        let mask = u32::MAX.checked_shr(unused).unwrap_or(0);
        sys::steer_by_word(self.as_fd(), offset.into(), mask)
    }

    /// Has datagrams never be fragmented on their way, whatever the system believes of the path
    /// (IP_PMTUDISC_PROBE, ip(7)): one larger than the first link is refused, one larger than a
    /// later link is lost. For protocols that search for the path's MTU themselves.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn forbid_fragments(&self) -> io::Result<()> {
        let set =
            |level, option| sys::set_option(self.as_fd(), level, option, libc::IP_PMTUDISC_PROBE);
        if self.ipv6 {
            set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)?;
        }
        // IPv4 inside an IPv6 socket goes by the option of IPv4.
        set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    }

    /// Has the kernel keep what the network says of datagrams (IP_RECVERR, ip(7)) for
    /// [`take_report`](Self::take_report), also where the socket is not connected. It then must be
    /// taken: until it is, poll(2) reports an error.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn keep_reports(&self) -> io::Result<()> {
        let set = |level, option| sys::set_option(self.as_fd(), level, option, 1);
        if self.ipv6 {
            set(libc::IPPROTO_IPV6, libc::IPV6_RECVERR)?;
        }
        // What is said of IPv4 inside an IPv6 socket goes by the option of IPv4.
        set(libc::IPPROTO_IP, libc::IP_RECVERR)
    }

    /// What the network said of an earlier datagram, the oldest first; `None` where it said nothing
    /// more.
    pub fn take_report(&self) -> Option<Report> {
        loop {
            let (name, control) = sys::recv::receive_error(self.as_fd()).ok()?;
            if let Some(report) = Report::decode(&name, &control.bytes[..control.len]) {
                return Some(report);
            }
        }
    }

    /// What the kernel counts of this socket: its drops, its buffers and what waits in them
    /// (SO_MEMINFO of Linux 4.12, linux/sock_diag.h). One short system call that takes no lock:
    /// another thread may make it through a [clone](Self::try_clone) as often as it likes.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn kernel_statistics(&self) -> io::Result<KernelStatistics> {
        sys::meminfo(self.as_fd()).map(KernelStatistics::from_meminfo)
    }

    /// Whether the kernel hands over several datagrams as one message (`UDP_GRO`): `false` before
    /// Linux 5.0, and where the [builder](Builder::merge) was told so.
    pub fn merges(&self) -> bool {
        getsockopt(&self.socket, sockopt::UdpGroSegment).unwrap_or(false)
    }

    /// Talks to `remote` alone from now on, from the local address that routing chooses now, and
    /// learns what the network says of it. The way there is [`Destination::connected`].
    ///
    /// # Errors
    /// Those of connect(2), e.g. where no route leads there.
    pub fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        // A socket connected before would keep the local address it had then.
        sys::disconnect(self.as_fd())?;
        let remote = match remote {
            SocketAddr::V4(v4) if self.ipv6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => remote,
        };
        self.socket.connect(&SockAddr::from(remote))
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// A second handle of the same socket.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, ipv6: self.ipv6 })
    }

    /// Whether it is an IPv6 socket, which may carry IPv4 too, mapped into IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.ipv6
    }

    pub(crate) fn is_ipv6_only(&self) -> io::Result<bool> {
        self.socket.only_v6()
    }

    /// Waits until there is a datagram or an error to take, `true`, or `timeout` has passed,
    /// `false`; without one, for ever. To wait for more than this socket, poll it: it is [`AsFd`].
    ///
    /// # Errors
    /// Those of poll(2); never `Interrupted`.
    pub fn wait_readable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        wait::readable(self.as_fd(), timeout)
    }

    /// Sends one datagram, the rare kind that no batch waits for: memory is allocated for it.
    ///
    /// # Errors
    /// Those of sendmsg(2): `WouldBlock` where the send buffer is full, `EMSGSIZE` where the
    /// datagram is too large, no route. What the network said of an earlier datagram counts as an
    /// error of this one only where [`REFUSALS`] attempts met nothing else.
    pub fn send(&self, to: &Destination, payload: &[u8]) -> io::Result<()> {
        let mut arena = SendArena::new(1, 1);
        let mut message = arena.begin();
        message.open(to, payload.len(), 0);
        message.add(payload);
        let mut refusals = 0;
        loop {
            match message.send(self.as_fd(), 0) {
                Ok(_) => return Ok(()),
                Err(error) => {
                    refusals += 1;
                    if refusals == REFUSALS || error.kind() == io::ErrorKind::WouldBlock {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<UdpSocket> for OwnedFd {
    fn from(socket: UdpSocket) -> Self {
        socket.socket.into()
    }
}

/// Takes a socket that was made elsewhere, e.g. handed over by systemd: sets what
/// [`bind`](UdpSocket::bind) sets, for all who hold it, and leaves the buffers as they are. Other
/// options that add control messages to each datagram may crowd out what this crate asks for.
impl TryFrom<OwnedFd> for UdpSocket {
    type Error = io::Error;

    /// # Errors
    /// `InvalidInput` where it is no UDP socket; those of getsockopt(2) and setsockopt(2).
    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        let domain = socket.domain()?;
        let udp = socket.protocol()? == Some(Protocol::UDP);
        if !udp || ![Domain::IPV4, Domain::IPV6].contains(&domain) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a UDP socket"));
        }
        Builder::new().prepare(socket, domain == Domain::IPV6)
    }
}

/// As from an [`OwnedFd`].
impl TryFrom<net::UdpSocket> for UdpSocket {
    type Error = io::Error;

    fn try_from(socket: net::UdpSocket) -> io::Result<Self> {
        OwnedFd::from(socket).try_into()
    }
}
