//! Opening a socket, with its options set before it is bound.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::socket::UdpSocket;

/// Socket buffer size asked for, in bytes: some 3 ms of a 10 Gbit/s stream, which a reader that
/// lost its core for a moment must not lose.
const BUFFER_LEN: usize = 4 << 20;

/// Largest size asked for, in bytes: `SO_RCVBUF` and `SO_SNDBUF` are C ints that the kernel
/// doubles, socket(7).
const MAX_BUFFER: usize = i32::MAX as usize / 2;

/// What a socket is to be; [`bind`](Self::bind) opens it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    receive_buffer: usize,
    send_buffer: usize,
    ipv6_only: bool,
    merge: bool,
}

/// Whether an address cannot be shared, or not by this process, or not yet.
fn is_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    matches!(error.kind(), AddrInUse | AddrNotAvailable | PermissionDenied)
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { receive_buffer: BUFFER_LEN, send_buffer: BUFFER_LEN, ipv6_only: false, merge: true }
    }

    /// Bytes of datagrams that may wait to be received (4 MiB). The kernel allows twice as many,
    /// for its bookkeeping counts (`SO_RCVBUF`, socket(7)); without CAP_NET_ADMIN no more than
    /// `net.core.rmem_max`. What was granted,
    /// [`kernel_statistics`](UdpSocket::kernel_statistics) tells.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Bytes of datagrams that may wait to leave (4 MiB), by the same rules (`SO_SNDBUF`,
    /// `net.core.wmem_max`).
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = bytes;
        self
    }

    /// Has the unspecified IPv6 address not take IPv4 as well (off; `IPV6_V6ONLY`, ipv6(7)). Any
    /// other IPv6 address never does.
    pub fn ipv6_only(mut self, on: bool) -> Self {
        self.ipv6_only = on;
        self
    }

    /// Has the kernel hand over several datagrams of one sender as one message (on; `UDP_GRO`,
    /// udp(7)). Kernels before 5.0 cannot: [`UdpSocket::merges`].
    pub fn merge(mut self, on: bool) -> Self {
        self.merge = on;
        self
    }

    /// Opens a socket bound to `local`; an unspecified IPv6 address takes IPv4 as well, and port 0
    /// is any that is free.
    ///
    /// # Errors
    /// Those of socket(2), setsockopt(2) and bind(2), e.g. `AddrInUse`.
    pub fn bind(&self, local: SocketAddr) -> io::Result<UdpSocket> {
        self.bind_one(local, false)
    }

    /// Opens `count` sockets (at least one) bound to the same address (SO_REUSEPORT, socket(7)).
    /// The kernel gives all datagrams of a peer's address and port to one of them, unless told
    /// otherwise by [`UdpSocket::steer_by_word`].
    ///
    /// # Errors
    /// As [`bind`](Self::bind); also where a program of the same user shares the port already,
    /// which sharing alone would not notice.
    pub fn bind_group(&self, local: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
        let alone = self.bind_one(local, false)?;
        if count <= 1 {
            return Ok(vec![alone]);
        }
        // It proved that nobody else has the port.
        let local = alone.local_addr()?;
        drop(alone);
        (0..count).map(|_| self.bind_one(local, true)).collect()
    }

    /// Opens further sockets beside those of `bound`, which were bound elsewhere, until they are `count`
    /// together; more of them than that all stay, since the kernel gives each its share. Where the
    /// kernel lets nobody else have a share of their port, they stay alone: they were bound without
    /// SO_REUSEPORT, or by another user (socket(7)).
    ///
    /// # Errors
    /// `InvalidInput` where they are not bound, or not all to one address; else as
    /// [`bind`](Self::bind).
    pub fn complete_group(
        &self,
        mut bound: Vec<UdpSocket>,
        count: usize,
    ) -> io::Result<Vec<UdpSocket>> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        let first = bound.first().ok_or_else(|| invalid("no socket to begin with"))?;
        let local = first.local_addr()?;
        if local.port() == 0 {
            return Err(invalid("a socket that is bound to no port"));
        }
        for socket in &bound {
            if socket.local_addr()? != local {
                return Err(invalid("sockets that are bound to several addresses"));
            }
        }
        let mut alike = self.clone();
        if local.is_ipv6() {
            alike.ipv6_only = first.is_ipv6_only()?;
        }
        while bound.len() < count {
            match alike.bind_one(local, true) {
                Ok(socket) => bound.push(socket),
                // Also where only who passed the socket may have the port, or the address is not there
                // yet.
                Err(error) if is_refused(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(bound)
    }

    fn bind_one(&self, local: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        if local.is_ipv6() {
            socket.set_only_v6(self.ipv6_only || local.ip() != IpAddr::from([0_u16; 8]))?;
        }
        socket.set_reuse_port(shared)?;
        self.size_buffers(&socket);
        let socket = self.prepare(socket, local.is_ipv6())?;
        socket.bind_to(&SockAddr::from(local))?;
        Ok(socket)
    }

    /// Sets what a socket of this crate needs.
    pub(crate) fn prepare(&self, socket: Socket, ipv6: bool) -> io::Result<UdpSocket> {
        socket.set_nonblocking(true)?;
        if ipv6 {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            socket.set_recv_tclass_v6(true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        // Also of IPv4 inside an IPv6 socket.
        socket.set_recv_tos_v4(true)?;
        // Kernels before 5.0 know no merging; then each datagram comes alone.
        let _ = setsockopt(&socket, sockopt::UdpGroSegment, &self.merge);
        Ok(UdpSocket::new(socket, ipv6))
    }

    /// Past the system's limit where the process may, else up to it; a smaller buffer only loses
    /// more under bursts.
    fn size_buffers(&self, socket: &Socket) {
        let (receive, send) =
            (self.receive_buffer.min(MAX_BUFFER), self.send_buffer.min(MAX_BUFFER));
        if setsockopt(socket, sockopt::RcvBufForce, &receive).is_err() {
            let _ = socket.set_recv_buffer_size(receive);
        }
        if setsockopt(socket, sockopt::SndBufForce, &send).is_err() {
            let _ = socket.set_send_buffer_size(send);
        }
    }
}
