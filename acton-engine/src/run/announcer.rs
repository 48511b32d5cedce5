//! What this host tells its neighbours through a session that comes up.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use acton_netlink::Socket;
use acton_tap::{Error, Interface};
use pnet_base::MacAddr;

use crate::frames::announcement::{announcement, mac_announcement};
use crate::run::tap_interface::TapInterface;

/// When it is told, from the moment that a session came up: again, should a datagram get lost. An
/// IPv6 address can be told once the kernel has made sure that nobody else has it, which takes 1 to
/// 2 s from the moment that the TAP has a carrier.
const TIMES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(5)];
/// For how long what was read of this host's addresses does for other sessions too.
const FRESH: Duration = Duration::from_secs(1);
/// Addresses that are told at most: a session costs a fixed sum.
const MAX_ADDRESSES: usize = 16;
/// MACs behind a bridge that are told of at most, as many as a server takes of a client unless told
/// otherwise.
const MAX_MACS: usize = 256;
/// Sessions that are told at a turn at most, so that the control thread hears others between.
const TURN: usize = 64;

/// Tells what this host's addresses on the LAN are to sessions `T` that come up: those of the TAP,
/// and of the bridge that it is a port of, which then answers for both.
#[derive(Debug)]
pub(crate) struct Announcer<T> {
    interface: Arc<TapInterface>,
    frames: Vec<Vec<u8>>,
    /// When they were read.
    read: Option<Duration>,
    /// Whom to tell, and when; a queue for each of [`TIMES`], in order.
    waiting: [VecDeque<(Duration, T)>; TIMES.len()],
}

impl<T> Announcer<T> {
    pub(crate) fn new(interface: Arc<TapInterface>) -> Self {
        let waiting = std::array::from_fn(|_| VecDeque::new());
        Self { interface, frames: Vec::new(), read: None, waiting }
    }

    /// Notes that a session came up: it is to be told in this turn, and again.
    pub(crate) fn note_up(&mut self, now: Duration, session: T)
    where
        T: Clone,
    {
        for (queue, after) in self.waiting.iter_mut().zip(TIMES) {
            queue.push_back((now + after, session.clone()));
        }
    }

    /// Nobody is to be told any more of what was noted.
    pub(crate) fn forget(&mut self) {
        self.waiting.iter_mut().for_each(VecDeque::clear);
    }

    /// When [`take_due`](Self::take_due) has something.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.waiting.iter().filter_map(|queue| Some(queue.front()?.0)).min()
    }

    /// Sessions that are to be told now; more may be left for the next turn.
    pub(crate) fn take_due(&mut self, now: Duration) -> Vec<T> {
        let mut due = Vec::new();
        for queue in &mut self.waiting {
            while due.len() < TURN
                && let Some((_, session)) = queue.pop_front_if(|(at, _)| *at <= now)
            {
                due.push(session);
            }
        }
        due
    }

    /// The frames to tell.
    pub(crate) fn frames(&mut self, now: Duration) -> &[Vec<u8>] {
        if self.read.is_none_or(|read| now.saturating_sub(read) >= FRESH) {
            self.read = Some(now);
            self.frames = read(&self.interface).unwrap_or_else(|error| {
                log::debug!("this host's addresses are not told: {error}");
                Vec::new()
            });
        }
        &self.frames
    }
}

/// Announcements of the MACs that the TAP's bridge knows on other ports: of hosts behind a client that
/// has gone to another server, which say nothing of it themselves. None where there is no bridge.
pub(crate) fn bridged(tap: &Interface) -> Vec<Vec<u8>> {
    let macs = bridged_macs(tap).unwrap_or_else(|error| {
        log::debug!("the MACs of this host's bridge are not told: {error}");
        Vec::new()
    });
    macs.into_iter().map(mac_announcement).collect()
}

fn bridged_macs(tap: &Interface) -> io::Result<Vec<MacAddr>> {
    let bridge = tap.bridge().map_err(io::Error::other)?;
    let Some(bridge) = bridge else { return Ok(Vec::new()) };
    let mut netlink = Socket::open()?;
    let (bridge, port) = (netlink.link(&bridge)?.index, netlink.link(tap.name())?.index);
    let entries = netlink.fdb(bridge)?;
    // Those of the bridge's own are announced with its addresses.
    let others = entries.iter().filter(|entry| entry.port != port && entry.port != bridge);
    let mut macs: Vec<_> = others.map(|entry| entry.mac).filter(|mac| mac.is_unicast()).collect();
    macs.sort_unstable();
    macs.dedup();
    macs.truncate(MAX_MACS);
    Ok(macs)
}

/// The announcements of what the TAP's host answers for on the LAN.
fn read(tap: &Interface) -> Result<Vec<Vec<u8>>, Error> {
    let mut addresses = tap.addresses()?;
    let bridge = tap.bridge()?.map(|bridge| Interface::open(&bridge)).transpose()?;
    if let Some(bridge) = &bridge {
        addresses.extend(bridge.addresses()?);
    }
    let answers = bridge.as_ref().unwrap_or(tap);
    let (mac, is_router) = (answers.mac()?, answers.is_ipv6_router()?);
    let usable = addresses.iter().filter(|address| !address.tentative);
    let usable = usable.map(|address| address.ip).filter(|ip| !ip.is_loopback());
    Ok(usable.take(MAX_ADDRESSES).map(|ip| announcement(mac, ip, is_router)).collect())
}
