//! Tells when this host's network has changed.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::Duration;

use acton_tap::Stop;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

/// What rtnetlink(7) tells of: links, addresses, routes and what chooses among tables of routes.
const GROUPS: [u32; 7] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
];
/// A change rarely comes alone: an address goes with its routes, and others come. How long to wait
/// for the rest.
const SETTLE: Duration = Duration::from_millis(50);
/// Least time between two changes that are told.
const REST: Duration = Duration::from_millis(250);

/// A watch over the network, on a thread of its own; dropping it ends it.
pub(crate) struct NetworkWatch {
    stop: Stop,
}

impl NetworkWatch {
    /// Calls `changed` soon after links, addresses or routes changed in the calling thread's
    /// network namespace, at most four times a second, and again where it says `false`: that nobody
    /// could be told.
    ///
    /// # Errors
    /// Those of a netlink socket, an eventfd or a thread that cannot be made.
    pub(crate) fn start(changed: impl Fn() -> bool + Send + 'static) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        GROUPS.iter().try_for_each(|&group| socket.add_membership(group))?;
        let stop = Stop::new()?;
        let watch = Self { stop: stop.clone() };
        thread::Builder::new()
            .name("acton-network".to_owned())
            .spawn(move || watch_until(&stop, &socket, changed))?;
        Ok(watch)
    }
}

impl Drop for NetworkWatch {
    fn drop(&mut self) {
        // The thread ends by itself: nobody has to wait for it.
        self.stop.stop();
    }
}

fn watch_until(stop: &Stop, socket: &Socket, changed: impl Fn() -> bool) {
    while wait(stop, Some(socket), PollTimeout::NONE) {
        if !pause(stop, SETTLE) {
            return;
        }
        // First what was told, then the call: what changes from here on is told again.
        while matches!(forget(socket), Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR)) {}
        loop {
            let told = changed();
            if !pause(stop, REST) {
                return;
            }
            if told {
                break;
            }
        }
    }
}

/// Takes a message and looks at nothing but that it was there. ENOBUFS says that there were more
/// than the kernel kept.
fn forget(socket: &Socket) -> nix::Result<usize> {
    recv(socket.as_raw_fd(), &mut [0; 8], MsgFlags::MSG_DONTWAIT)
}

/// Waits for some time; `false` if it was stopped.
fn pause(stop: &Stop, time: Duration) -> bool {
    wait(stop, None, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX))
}

/// Waits until there is something to read or the time is over; `false` if it was stopped.
fn wait(stop: &Stop, socket: Option<&Socket>, timeout: PollTimeout) -> bool {
    let fd = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = vec![fd(stop.as_fd())];
    fds.extend(socket.map(|socket| fd(socket.as_fd())));
    loop {
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => return fds[0].any() == Some(false),
        }
    }
}
