//! Which IP addresses a leaf was given.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use acton_frame::Headers;
use arc_swap::ArcSwap;
use pnet_base::MacAddr;

use super::dhcp::{self, BOOT_REPLY, DhcpMessage};

/// Addresses that one leaf may hold, at most: as many as a /24 has.
const MAX: usize = 256;
/// Questions of a leaf's that may wait for their answer: one of each host that it may have.
const ASKED: usize = 256;

/// An address that the LAN's DHCP server gave somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The VLAN that it is on, 0 for untagged.
    pub vlan: u16,
    /// The address.
    pub address: IpAddr,
    /// The hardware address of who asked for it.
    pub mac: MacAddr,
    /// The number that who asked gave the question (`xid`).
    pub transaction: u32,
    /// For how long.
    pub time: Duration,
}

impl Lease {
    /// What a frame from the root gives: DHCP's acknowledgement, of an address that has a lease time. It
    /// must have come to that address or to all (RFC 2131, section 4.1), so that nobody beyond a router
    /// gives another one.
    #[must_use]
    pub fn read(headers: &Headers, frame: &[u8]) -> Option<Self> {
        let message = DhcpMessage::read(dhcp::from_server(headers, frame)?)?;
        let address = message.given;
        if (message.operation, message.kind) != (BOOT_REPLY, Some(dhcp::ACK))
            || address.is_unspecified()
        {
            return None;
        }
        let [_, _, _, _, to @ ..]: &[u8; 8] = headers.hosts(frame)?.as_array()?;
        if ![address, Ipv4Addr::BROADCAST].contains(&Ipv4Addr::from(*to)) {
            return None;
        }
        Some(Self {
            vlan: headers.ethernet()?.vlan(),
            address: address.into(),
            mac: message.hardware,
            transaction: message.transaction,
            time: message.time?,
        })
    }
}

/// The addresses that a leaf holds, each for a time, and what it asked a DHCP server. Who looks whether an
/// address is held takes no lock.
#[derive(Debug, Default)]
pub struct Leases {
    /// By VLAN and address.
    held: ArcSwap<Vec<Held>>,
    /// There is one once something was asked.
    asked: OnceLock<Box<Asked>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    vlan: u16,
    address: IpAddr,
    until: Duration,
}

/// The numbers of the newest questions.
#[derive(Debug)]
struct Asked {
    /// Each with a bit above it, 0 for none.
    numbers: [AtomicU64; ASKED],
    next: AtomicUsize,
}

impl Leases {
    /// Notes what a frame of the leaf's asks a DHCP server, whose acknowledgement [`add`](Self::add) takes
    /// then; an address that the frame gives back is the leaf's no more, which is told by `true`.
    pub fn hear(&self, headers: &Headers, frame: &[u8]) -> bool {
        let message = dhcp::from_client(headers, frame).and_then(DhcpMessage::read);
        let Some(message) = message else { return false };
        if let Some(address) = message.gives_back() {
            let vlan = headers.ethernet().map_or(0, acton_frame::Ethernet::vlan);
            self.remove(vlan, address.into());
            return true;
        }
        let asked = self.asked.get_or_init(Box::default);
        let number = marked(message.transaction);
        if !asked.has(number) {
            let at = asked.next.fetch_add(1, Ordering::Relaxed) % ASKED;
            asked.numbers[at].store(number, Ordering::Relaxed);
        }
        false
    }

    /// Notes that the leaf had an address already, for so long yet; whether it has room: 256 at a time.
    pub fn restore(&self, vlan: u16, address: IpAddr, left: Duration, now: Duration) -> bool {
        self.hold(vlan, address, left, now)
    }

    /// Notes that the leaf was given an address now; whether it asked for it, and has room: 256 at a time.
    pub fn add(&self, lease: &Lease, now: Duration) -> bool {
        let Lease { vlan, address, time, .. } = *lease;
        if !self.asked.get().is_some_and(|asked| asked.has(marked(lease.transaction))) {
            return false;
        }
        self.hold(vlan, address, time, now)
    }

    fn hold(&self, vlan: u16, address: IpAddr, time: Duration, now: Duration) -> bool {
        let mut is_held = false;
        self.held.rcu(|held| {
            let others = held.iter().filter(|other| other.until > now);
            let mut held: Vec<_> =
                others.filter(|other| other.key() != (vlan, address)).copied().collect();
            is_held = held.len() < MAX;
            if is_held {
                let at = held.partition_point(|other| other.key() < (vlan, address));
                held.insert(at, Held { vlan, address, until: now.saturating_add(time) });
            }
            held
        });
        is_held
    }

    /// Notes that an address is the leaf's no more.
    pub fn remove(&self, vlan: u16, address: IpAddr) {
        self.held.rcu(|held| {
            let left = held.iter().filter(|other| other.key() != (vlan, address));
            left.copied().collect::<Vec<_>>()
        });
    }

    /// For how long the leaf has an address yet; `None` if it has not.
    #[must_use]
    pub fn left(&self, vlan: u16, address: IpAddr, now: Duration) -> Option<Duration> {
        let held = self.held.load();
        let at = held.binary_search_by_key(&(vlan, address), Held::key).ok()?;
        held[at].left(now)
    }

    /// The addresses, with their VLANs and for how long they are the leaf's yet.
    #[must_use]
    pub fn list(&self, now: Duration) -> Vec<(u16, IpAddr, Duration)> {
        let held = self.held.load();
        held.iter().filter_map(|held| Some((held.vlan, held.address, held.left(now)?))).collect()
    }
}

impl Held {
    fn key(&self) -> (u16, IpAddr) {
        (self.vlan, self.address)
    }

    fn left(&self, now: Duration) -> Option<Duration> {
        self.until.checked_sub(now).filter(|left| !left.is_zero())
    }
}

impl Asked {
    fn has(&self, number: u64) -> bool {
        self.numbers.iter().any(|other| other.load(Ordering::Relaxed) == number)
    }
}

impl Default for Asked {
    fn default() -> Self {
        Self { numbers: [const { AtomicU64::new(0) }; _], next: AtomicUsize::new(0) }
    }
}

fn marked(transaction: u32) -> u64 {
    1 << 32 | u64::from(transaction)
}
