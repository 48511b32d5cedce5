//! Tells when this host's network has changed.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use acton_netlink::{Group, Subscription};
use acton_tap::Stop;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::run::threads::{self, ThreadKind};

/// What can change the way to the server: links, addresses, routes and what chooses among tables of
/// routes.
const GROUPS: [Group; 7] = [
    Group::Link,
    Group::Ipv4Address,
    Group::Ipv4Route,
    Group::Ipv4Rule,
    Group::Ipv6Address,
    Group::Ipv6Route,
    Group::Ipv6Rule,
];
/// A change rarely comes alone: an address goes with its routes, and others come. How long to wait
/// for the rest.
const SETTLE: Duration = Duration::from_millis(50);
/// Least time between two changes that are told.
const REST: Duration = Duration::from_millis(250);

/// A watch over the network, on a thread of its own; dropping it ends it.
#[derive(Debug)]
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
        let changes = Subscription::new(&GROUPS)?;
        let stop = Stop::new()?;
        let watch = Self { stop: stop.clone() };
        let watch_on = move || watch_until(&stop, &changes, changed);
        threads::spawn("acton-network", ThreadKind::Other, watch_on)?;
        Ok(watch)
    }
}

impl Drop for NetworkWatch {
    fn drop(&mut self) {
        // The thread ends by itself: nobody has to wait for it.
        self.stop.stop();
    }
}

fn watch_until(stop: &Stop, changes: &Subscription, changed: impl Fn() -> bool) {
    while wait(stop, Some(changes), PollTimeout::NONE) {
        if !pause(stop, SETTLE) {
            return;
        }
        // First what was told, then the call: what changes from here on is told again.
        if changes.discard().is_err() {
            return;
        }
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

/// Waits for some time; `false` if it was stopped.
fn pause(stop: &Stop, time: Duration) -> bool {
    wait(stop, None, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX))
}

/// Waits until there is something to read or the time is over; `false` if it was stopped.
fn wait(stop: &Stop, changes: Option<&Subscription>, timeout: PollTimeout) -> bool {
    let fd = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = vec![fd(stop.as_fd())];
    fds.extend(changes.map(|changes| fd(changes.as_fd())));
    loop {
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => return fds[0].any() == Some(false),
        }
    }
}
