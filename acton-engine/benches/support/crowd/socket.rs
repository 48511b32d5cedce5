//! A client's socket: the kernel says when a datagram came, whenever it is read.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::support::Result;

/// Not connected, so that it hears others than the server too. A server that is gone is so noticed
/// as behind a NAT: by its silence.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: UdpSocket,
    server: SocketAddr,
}

/// A datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) length: usize,
    pub(crate) from_server: bool,
    /// When the kernel had it, by the wall clock.
    pub(crate) at: Duration,
}

impl Socket {
    pub(crate) fn new(address: Ipv4Addr, server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { socket, server })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Sends to the server. What finds no room is lost, as on a network.
    pub(crate) fn send(&self, datagram: &[u8]) -> Result<()> {
        self.send_to(datagram, self.server)
    }

    /// The same to somebody else.
    pub(crate) fn send_to(&self, datagram: &[u8], to: SocketAddr) -> Result<()> {
        match self.socket.send_to(datagram, to) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A datagram, if one waits.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<Option<Arrived>> {
        let mut control = cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let message = match recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let at = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        let from = message.address.map(|from| SocketAddr::V4(from.into()));
        Ok(Some(Arrived {
            length: message.bytes,
            from_server: from == Some(self.server),
            at: at.unwrap_or_else(wall_clock),
        }))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The time since 1970, as the kernel tells when a datagram came.
pub(crate) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
