//! Follows what lives at the root while a server runs, on a thread of its own: no frame waits for it.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::named::Named;
use super::port_table::PortTable;
use super::survey::{Changes, Survey};
use crate::Error;
use crate::observe::event::EventKind;
use crate::observe::event_log::EventLog;
use crate::run::clock;
use crate::run::threads::{self, ThreadKind};
use crate::sessions::port::LeafId;
use acton_bridge::{Bridge, RootAddresses};
use acton_netlink::{Group, News, Subscription};
use acton_tap::{Interface, Stop};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;

/// What can change what lives at the root.
const GROUPS: [Group; 6] = [
    Group::Link,
    Group::Neighbour,
    Group::Ipv4Address,
    Group::Ipv4Route,
    Group::Ipv6Address,
    Group::Ipv6Route,
];
/// Bytes of news that the kernel keeps for this thread: a table of some 6,000 entries at once.
const ROOM: usize = 4 << 20;
/// Least time between two looks at links, routes and neighbours, and how many times as long as one
/// took: a table of 100,000 entries under constant change keeps a fifth of a processor busy.
const REST: Duration = Duration::from_millis(250);
const REST_FACTOR: u32 = 4;

/// A watch over what lives at the root; dropping it ends it.
pub(crate) struct RootWatch {
    stop: Stop,
    named: Arc<NewNames>,
    /// What the Linux bridge has at the TAP.
    pub(crate) port: PortTable,
}

/// What the settings name, where it is other than what the thread knows.
struct NewNames {
    named: Mutex<Option<Named>>,
    /// Written to where there are others.
    news: EventFd,
}

impl RootWatch {
    /// Has `bridge` and `addresses` know what lives at the root, before it returns and from then on.
    ///
    /// # Errors
    /// Where rtnetlink does not answer, or no thread can be made.
    pub(crate) fn start(
        bridge: &Arc<Bridge<LeafId>>,
        addresses: Arc<RootAddresses>,
        tap: &Interface,
        named: Named,
        events: Arc<EventLog>,
    ) -> Result<Self, Error> {
        Self::try_start(bridge, addresses, tap, named, events)
            .map_err(Error::system("see what lives at the root"))
    }

    fn try_start(
        bridge: &Arc<Bridge<LeafId>>,
        addresses: Arc<RootAddresses>,
        tap: &Interface,
        named: Named,
        events: Arc<EventLog>,
    ) -> io::Result<Self> {
        // What changes from here on is told.
        let news = Subscription::new(&GROUPS)?;
        news.set_room(ROOM)?;
        let mut survey = Survey::new(Arc::clone(bridge), addresses, tap.index(), named)?;
        let changes = survey.look(true)?;
        let stop = Stop::new()?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wakes = EventFd::from_value_and_flags(0, flags)?;
        let named = Arc::new(NewNames { named: Mutex::new(None), news: wakes });
        let port = PortTable::start(Arc::clone(bridge), tap.index())?;
        let watch = Self { stop: stop.clone(), named: Arc::clone(&named), port };
        let follower = Follower { survey, news, named, events };
        follower.tell(changes);
        threads::spawn("acton-root", ThreadKind::Other, move || follower.run(&stop))?;
        Ok(watch)
    }
}

impl RootWatch {
    /// Has what the settings name now be the root's alone, soon.
    pub(crate) fn set_named(&self, named: Named) {
        *self.named.named.lock() = Some(named);
        // It fails only where it is full of what nobody has read yet, who then reads this too.
        let _ = self.named.news.write(1);
    }
}

impl Drop for RootWatch {
    fn drop(&mut self) {
        // The thread ends by itself: nobody has to wait for it.
        self.stop.stop();
    }
}

struct Follower {
    survey: Survey,
    news: Subscription,
    named: Arc<NewNames>,
    events: Arc<EventLog>,
}

/// What has to be looked at again.
#[derive(Default)]
struct Due {
    /// Links, routes and neighbours.
    look: bool,
    /// The table of the Linux bridge too: news were lost.
    table: bool,
}

impl Follower {
    fn run(mut self, stop: &Stop) {
        let (mut due, mut next_look) = (Due::default(), Instant::now());
        let (mut hearing_failed, mut look_failed) = (false, false);
        loop {
            let rest = next_look.saturating_duration_since(Instant::now());
            let timeout = if due.look { poll_timeout(rest) } else { PollTimeout::NONE };
            if !wait(stop, &self.news, &self.named.news, timeout) {
                return;
            }
            due.look |= self.take_named();
            let heard = self.hear(&mut due);
            self.note(heard, &mut hearing_failed);
            let start = Instant::now();
            if due.look && start >= next_look {
                let looked = self.survey.look(due.table).map(|changes| self.tell(changes));
                let end = Instant::now();
                next_look = end + REST.max((end - start) * REST_FACTOR);
                // What failed is tried again.
                due = Due { look: looked.is_err(), table: due.table && looked.is_err() };
                self.note(looked, &mut look_failed);
            }
        }
    }

    /// Tells why something failed, and not again before it worked.
    fn note(&self, result: io::Result<()>, failed: &mut bool) {
        if let Err(error) = &result
            && !*failed
        {
            self.events.tell(clock::now(), EventKind::RootUnknown { error: error.to_string() });
        }
        *failed = result.is_err();
    }

    /// Takes what the settings name now; true where that is other than before.
    fn take_named(&mut self) -> bool {
        // Nothing to read is no fault.
        let _ = self.named.news.read();
        let Some(named) = self.named.named.lock().take() else { return false };
        let differs = self.survey.named != named;
        self.survey.named = named;
        differs
    }

    /// Takes what the kernel tells.
    fn hear(&mut self, due: &mut Due) -> io::Result<()> {
        let Self { survey, news, .. } = self;
        let whole = news.read(|news| match news {
            News::FdbAdded(entry) => due.look |= survey.add(&entry),
            News::FdbRemoved(entry) => survey.remove(&entry),
            News::Neighbour(neighbour) => due.look |= survey.gateways.hear(&neighbour),
            _ => due.look = true,
        })?;
        if !whole {
            *due = Due { look: true, table: true };
        }
        let without_room = survey.fdb.take_without_room();
        let refusals = Vec::new();
        self.tell(Changes { macs: None, addresses: None, without_room, refusals });
        Ok(())
    }

    fn tell(&self, changes: Changes) {
        let now = clock::now();
        if let Some(macs) = changes.macs {
            self.events.tell(now, EventKind::RootMacs { macs });
        }
        if let Some(addresses) = changes.addresses {
            let mut addresses: Vec<_> = addresses.iter().map(|it| it.address).collect();
            addresses.dedup();
            self.events.tell(now, EventKind::RootAddresses { addresses });
        }
        if let Some(count) = changes.without_room {
            let error = format!(
                "no room for {count} MACs of the LAN, which a client may use now; start the server \
                 again, so that it makes room"
            );
            self.events.tell(now, EventKind::RootUnknown { error });
        }
        for refusal in changes.refusals {
            self.events.tell(now, EventKind::RootUnknown { error: refusal.to_string() });
        }
    }
}

/// For poll(2), which counts in whole milliseconds: never shorter.
fn poll_timeout(rest: Duration) -> PollTimeout {
    PollTimeout::try_from(rest + Duration::from_nanos(999_999)).unwrap_or(PollTimeout::MAX)
}

/// Waits until there is something to read or the time is over; `false` if it was stopped.
fn wait(stop: &Stop, news: &Subscription, named: &EventFd, timeout: PollTimeout) -> bool {
    let fd = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = [fd(stop.as_fd()), fd(news.as_fd()), fd(named.as_fd())];
    loop {
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => return fds[0].any() == Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_wakes_before_a_time_is_over() {
        for (micros, millis) in
            [(0, 0_u16), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (249_500, 250)]
        {
            let timeout = poll_timeout(Duration::from_micros(micros));
            assert_eq!(timeout, PollTimeout::from(millis), "{micros}");
        }
        assert_eq!(poll_timeout(Duration::from_secs(u32::MAX.into())), PollTimeout::MAX);
    }
}
