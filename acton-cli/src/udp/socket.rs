//! A UDP socket set up for a tunnel.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::address::Destination;

/// Socket buffer size asked for, in bytes: some 3 ms of a 10 Gbit/s stream, which a worker that
/// lost its core for a moment must not lose.
const BUFFER_LEN: usize = 4 << 20;

/// A non-blocking UDP socket that says to which local address a datagram came and takes merged
/// datagrams (UDP_GRO).
#[derive(Debug)]
pub(crate) struct UdpSocket {
    socket: Socket,
    ipv6: bool,
}

impl UdpSocket {
    /// Binds to `local`; an unspecified IPv6 address takes IPv4 as well.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub(crate) fn bind(local: SocketAddr) -> io::Result<Self> {
        let ipv6 = local.is_ipv6();
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if ipv6 {
            socket.set_only_v6(local.ip() != IpAddr::from([0_u16; 8]))?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        grow_buffers(&socket);
        // Kernels before 5.0 know no merging; then each datagram comes alone.
        if let Err(error) = setsockopt(&socket, sockopt::UdpGroSegment, &true) {
            log::debug!("no UDP_GRO on this kernel: {error}");
        }
        socket.bind(&SockAddr::from(local))?;
        Ok(Self { socket, ipv6 })
    }

    /// Has datagrams never be fragmented on their way, whatever the system believes of the path
    /// (IP_PMTUDISC_PROBE, ip(7)): one larger than the first link is refused, one larger than a
    /// later link is lost. For protocols that search for the path's MTU themselves.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub(crate) fn forbid_fragments(&self) -> io::Result<()> {
        let set = |level, option| {
            super::sys::set_option(self.as_fd(), level, option, libc::IP_PMTUDISC_PROBE)
        };
        if self.ipv6 {
            set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)?;
        }
        // IPv4 inside an IPv6 socket goes by the option of IPv4.
        set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    }

    /// Talks to `remote` alone from now on, from the local address that routing chooses now, and
    /// learns what the network says of it.
    ///
    /// # Errors
    /// Those of connect(2), e.g. where no route leads there.
    pub(crate) fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        // A socket connected before would keep the local address it had then.
        super::sys::disconnect(self.as_fd())?;
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
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// A second handle of the same socket.
    ///
    /// # Errors
    /// Those of dup(2).
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, ipv6: self.ipv6 })
    }

    /// Whether addresses must be IPv6 ones, IPv4 mapped into them.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.ipv6
    }

    /// Sends one datagram, the rare kind that no batch waits for.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub(crate) fn send(&self, to: &Destination, payload: &[u8]) -> io::Result<()> {
        let mut arena = super::sys::SendArena::new(1, 1);
        let mut message = arena.begin();
        message.open(to);
        message.add(payload);
        message.send(self.as_fd(), 0).map(drop)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Past the system's limit where the process may, else up to it; a smaller buffer only loses
/// more under bursts.
fn grow_buffers(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER_LEN).is_err() {
        let _ = socket.set_recv_buffer_size(BUFFER_LEN);
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER_LEN).is_err() {
        let _ = socket.set_send_buffer_size(BUFFER_LEN);
    }
}
