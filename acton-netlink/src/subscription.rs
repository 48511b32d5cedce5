//! News of changes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::SockFlag;
use nix::unistd::read;

use crate::socket::bound;

/// What a [`Subscription`] can hear of (`RTNLGRP_*` of linux/rtnetlink.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Group {
    /// Interfaces: made, changed, gone.
    Link,
    /// IPv4 addresses.
    Ipv4Address,
    /// IPv4 routes.
    Ipv4Route,
    /// What chooses among tables of IPv4 routes.
    Ipv4Rule,
    /// IPv6 addresses.
    Ipv6Address,
    /// IPv6 routes.
    Ipv6Route,
    /// What chooses among tables of IPv6 routes.
    Ipv6Rule,
}

impl Group {
    /// Its bit in `sockaddr_nl::nl_groups`, which has room for groups 1 to 32.
    fn bit(self) -> u32 {
        let number = match self {
            Self::Link => libc::RTNLGRP_LINK,
            Self::Ipv4Address => libc::RTNLGRP_IPV4_IFADDR,
            Self::Ipv4Route => libc::RTNLGRP_IPV4_ROUTE,
            Self::Ipv4Rule => libc::RTNLGRP_IPV4_RULE,
            Self::Ipv6Address => libc::RTNLGRP_IPV6_IFADDR,
            Self::Ipv6Route => libc::RTNLGRP_IPV6_ROUTE,
            Self::Ipv6Rule => libc::RTNLGRP_IPV6_RULE,
        };
        1 << (number - 1)
    }
}

/// A socket that becomes readable when something changes in one network namespace.
///
/// It never blocks: wait for it with poll(2), by its [`AsFd`].
#[derive(Debug)]
pub struct Subscription {
    socket: OwnedFd,
}

impl Subscription {
    /// Listens from now on to `groups` of the calling thread's network namespace.
    ///
    /// # Errors
    /// There are too many open files, or this kind of socket is forbidden here.
    pub fn new(groups: &[Group]) -> io::Result<Self> {
        let bits = groups.iter().fold(0, |bits, group| bits | group.bit());
        Ok(Self { socket: bound(SockFlag::SOCK_NONBLOCK, bits)? })
    }

    /// Takes all news that are waiting and looks at nothing but that they were there, also where
    /// there were more than the socket keeps. What changes from here on is told again.
    ///
    /// # Errors
    /// The socket does not work.
    pub fn discard(&self) -> io::Result<()> {
        loop {
            // A read takes a whole message, whatever part of it there is room for.
            match read(&self.socket, &mut [0; 8]) {
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Subscription {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
