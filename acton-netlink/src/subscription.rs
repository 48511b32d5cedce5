//! News of changes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{SockFlag, setsockopt, sockopt};
use nix::unistd::read;

use crate::message::{Message, Messages};
use crate::neighbour::{FdbEntry, Neighbour, parse_fdb, parse_neighbour};
use crate::socket::{ROOM, bound};

/// What a [`Subscription`] can hear of (`RTNLGRP_*` of linux/rtnetlink.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Group {
    /// Interfaces: made, changed, gone.
    Link,
    /// IP neighbours and the entries of bridges' forwarding tables.
    Neighbour,
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
            Self::Neighbour => libc::RTNLGRP_NEIGH,
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

/// A change, as a [`Subscription`] tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// A neighbour is as it is told now.
    Neighbour(Neighbour),
    /// A bridge has this entry now, or has it at another port.
    FdbAdded(FdbEntry),
    /// A bridge has this entry no longer.
    FdbRemoved(FdbEntry),
    /// Something else that was asked for changed.
    Other,
}

/// Messages that one [`Subscription::read`] takes at most, so that its caller comes to other things.
const AT_ONCE: usize = 4_096;

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

    /// Has room for news of so many bytes, each with some 700 bytes of the kernel's own, where the
    /// usual 208 KiB (net.core.rmem_default) are few. Without `CAP_NET_ADMIN` no more than
    /// net.core.rmem_max.
    ///
    /// # Errors
    /// The socket does not work.
    pub fn set_room(&self, bytes: usize) -> io::Result<()> {
        if setsockopt(&self.socket, sockopt::RcvBufForce, &bytes).is_err() {
            setsockopt(&self.socket, sockopt::RcvBuf, &bytes)?;
        }
        Ok(())
    }

    /// Takes the news that are waiting, 4,096 messages at most, and tells each in order. `false` if
    /// there were more than the socket keeps and some were lost: then none are waiting any more, and
    /// what they were about has to be asked for anew. What changes from here on is told again.
    ///
    /// # Errors
    /// The socket does not work.
    pub fn read(&self, mut tell: impl FnMut(News)) -> io::Result<bool> {
        let mut buffer = vec![0; ROOM];
        for _ in 0..AT_ONCE {
            match read(&self.socket, &mut buffer) {
                Ok(length) => Messages(&buffer[..length]).for_each(|message| tell(news(&message))),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => {
                    // The kernel says so once, and then keeps nothing until its queue is empty
                    // (netlink_overrun and netlink_rcv_wake of net/netlink/af_netlink.c).
                    self.discard()?;
                    return Ok(false);
                }
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
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

fn news(message: &Message<'_>) -> News {
    let (is_new, is_gone) =
        (message.kind == libc::RTM_NEWNEIGH, message.kind == libc::RTM_DELNEIGH);
    if !is_new && !is_gone {
        return News::Other;
    }
    if let Some(entry) = parse_fdb(message.body) {
        return if is_new { News::FdbAdded(entry) } else { News::FdbRemoved(entry) };
    }
    parse_neighbour(message.body).map_or(News::Other, |neighbour| {
        News::Neighbour(Neighbour { mac: neighbour.mac.filter(|_| is_new), ..neighbour })
    })
}
