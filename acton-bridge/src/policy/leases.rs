//! Which IP addresses a leaf was given, or made itself.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use acton_frame::Headers;
use arc_swap::ArcSwap;
use ipnet::{IpNet, Ipv6Net};
use pnet_base::MacAddr;

use super::compiled::Grant;
use super::dhcp::{self, BOOT_REPLY, DhcpMessage};
use super::dhcp6::{self, Asks, Dhcp6Reply};
use super::slaac::{self, AdvertisedPrefixes, End};
use crate::neighbour_message::NeighbourMessage;

/// Addresses that one leaf may hold by DHCP, at most: as many as a /24 has. As many again it may make
/// itself.
const MAX: usize = 256;
/// For so long after a probe somebody may say that the address is his: he has a second for it (RFC 4862,
/// section 5.4, and RFC 4861's RETRANS_TIMER), and the way to the leaf and back is not counted.
const CONTESTABLE: Duration = Duration::from_secs(3);
/// Delegated prefixes that one leaf may hold, at most.
const MAX_PREFIXES: usize = 16;
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

/// How a leaf came to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum LearntFrom {
    /// A DHCP server gave it.
    #[default]
    Dhcp,
    /// It made it itself, in a prefix that a router advertises (RFC 4862).
    Slaac,
}

/// What a leaf holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldNet {
    /// The VLAN that it is on, 0 for untagged.
    pub vlan: u16,
    /// One address, or a prefix that was delegated.
    pub net: IpNet,
    /// How the leaf came to it.
    pub from: LearntFrom,
    /// For how long yet.
    pub left: Duration,
}

/// The addresses that a leaf holds, each for a time, and what it asked a DHCP server. Who looks whether an
/// address is held takes no lock.
#[derive(Debug, Default)]
pub struct Leases {
    /// Single addresses, by VLAN and address.
    held: ArcSwap<Vec<Held>>,
    /// Delegated prefixes, by VLAN and prefix.
    prefixes: ArcSwap<Vec<Held>>,
    /// There is one once something was asked.
    asked: OnceLock<Box<Asked>>,
}

#[derive(Debug, Clone)]
struct Held {
    vlan: u16,
    net: IpNet,
    until: Until,
}

/// How long something is held.
#[derive(Debug, Clone)]
enum Until {
    /// As DHCP gave it.
    Time(Duration),
    /// As long as its prefix is advertised.
    Prefix(End, Arc<Told>),
}

/// When a leaf told of an address that it made itself, in nanoseconds.
#[derive(Debug)]
struct Told {
    /// In whatever way, last.
    heard: AtomicU64,
    /// By a probe, last.
    probed: AtomicU64,
}

/// The numbers of the newest questions.
#[derive(Debug)]
struct Asked {
    /// Each with a bit above it, 0 for none.
    numbers: [AtomicU64; ASKED],
    next: AtomicUsize,
}

impl Leases {
    /// Notes what a frame of the leaf's asks a DHCP server, whose answer [`add`](Self::add) and
    /// [`add_reply`](Self::add_reply) take then; what the frame gives back is the leaf's no more, which
    /// is told by `true`.
    pub fn hear(&self, headers: &Headers, frame: &[u8]) -> bool {
        let vlan = headers.ethernet().map_or(0, acton_frame::Ethernet::vlan);
        if let Some((asks, options)) = dhcp6::asked(headers, frame) {
            match asks {
                Asks::For(transaction) => self.note(marked6(transaction)),
                Asks::GiveBack => {
                    let _ = dhcp6::nets(options, &mut |net| self.remove(vlan, net.into()));
                    return true;
                }
            }
            return false;
        }
        let message = dhcp::from_client(headers, frame).and_then(DhcpMessage::read);
        let Some(message) = message else { return false };
        if let Some(address) = message.gives_back() {
            self.remove(vlan, IpAddr::from(address).into());
            return true;
        }
        self.note(marked(message.transaction));
        false
    }

    /// Notes in a frame of the leaf's that it is still there with addresses that it made itself. The VLAN
    /// and the address, where the frame probes for one that the leaf does not hold yet: it may take it by
    /// [`make`](Self::make).
    pub fn hear_neighbour(
        &self,
        headers: &Headers,
        frame: &[u8],
        now: Duration,
    ) -> Option<(u16, IpAddr)> {
        let probed = slaac::probed(headers, frame).map(|(vlan, it)| (vlan, IpAddr::from(it)));
        if probed.is_some_and(|(vlan, address)| self.left(vlan, address, now).is_none()) {
            return probed;
        }
        let address = NeighbourMessage::read(headers, frame).tells?;
        let vlan = headers.ethernet()?.vlan();
        let held = self.held.load();
        let at = held.binary_search_by_key(&(vlan, address.into()), Held::key).ok()?;
        if let Until::Prefix(_, told) = &held[at].until {
            told.heard.store(now.as_nanos() as u64, Ordering::Relaxed);
            if probed.is_some() {
                told.probed.store(now.as_nanos() as u64, Ordering::Relaxed);
            }
        }
        None
    }

    fn note(&self, number: u64) {
        let asked = self.asked.get_or_init(Box::default);
        if !asked.has(number) {
            let at = asked.next.fetch_add(1, Ordering::Relaxed) % ASKED;
            asked.numbers[at].store(number, Ordering::Relaxed);
        }
    }

    fn has_asked(&self, number: u64) -> bool {
        self.asked.get().is_some_and(|asked| asked.has(number))
    }

    /// Notes that the leaf had this already, for so long yet; whether it has room, as in
    /// [`add`](Self::add), [`add_reply`](Self::add_reply) and [`make`](Self::make).
    pub fn restore(&self, was: &HeldNet, advertised: &AdvertisedPrefixes, now: Duration) -> bool {
        match (was.from, was.net.addr()) {
            (LearntFrom::Slaac, IpAddr::V6(address)) => {
                let end = advertised.restore(was.vlan, address, was.left, now);
                self.hold_made(was.vlan, address.into(), &end, now, Duration::ZERO)
            }
            _ => self.hold(was.vlan, was.net, was.left, now),
        }
    }

    /// Notes that the leaf was given an address now; whether it asked for it, and has room: 256 at a time.
    pub fn add(&self, lease: &Lease, now: Duration) -> bool {
        let Lease { vlan, address, time, .. } = *lease;
        self.has_asked(marked(lease.transaction)) && self.hold(vlan, address.into(), time, now)
    }

    /// Notes what a DHCPv6 server answered the leaf: what it gives is held if the leaf asked, as in
    /// [`add`](Self::add), and of delegated prefixes 16; what it gives no time is the leaf's no more.
    /// Calls `each` with what is held now; whether anything changed.
    pub fn add_reply(
        &self,
        reply: &Dhcp6Reply,
        now: Duration,
        mut each: impl FnMut(IpNet),
    ) -> bool {
        if !self.has_asked(marked6(reply.transaction)) {
            return false;
        }
        for &(net, time) in &reply.given {
            if time.is_zero() {
                self.remove(reply.vlan, net);
            } else if self.hold(reply.vlan, net, time, now) {
                each(net);
            }
        }
        !reply.given.is_empty()
    }

    /// Notes that the leaf uses an address that it made itself, in a prefix that is advertised; whether it
    /// may. Of more than 256 the one gives way that the leaf has not told of for longest.
    pub fn make(
        &self,
        advertised: &AdvertisedPrefixes,
        vlan: u16,
        address: IpAddr,
        now: Duration,
    ) -> bool {
        let IpAddr::V6(v6) = address else { return false };
        let end = advertised.end_of(vlan, v6).filter(|end| end.get() > now);
        end.is_some_and(|end| self.hold_made(vlan, address, &end, now, now))
    }

    fn hold_made(
        &self,
        vlan: u16,
        address: IpAddr,
        end: &End,
        now: Duration,
        probed: Duration,
    ) -> bool {
        let [heard, probed] = [now, probed].map(|at| AtomicU64::new(at.as_nanos() as u64));
        let until = Until::Prefix(end.clone(), Arc::new(Told { heard, probed }));
        let new = Held { vlan, net: address.into(), until };
        self.held.rcu(|held| {
            let mut held = still_held(held, now);
            if let Err(at) = held.binary_search_by_key(&new.key(), Held::key) {
                held.insert(at, new.clone());
                let made = held.iter().enumerate().filter_map(|(at, held)| {
                    Some((held.heard()?, at)).filter(|_| held.key() != new.key())
                });
                if made.clone().count() >= MAX
                    && let Some((_, longest)) = made.min()
                {
                    held.remove(longest);
                }
            }
            held
        });
        true
    }

    fn hold(&self, vlan: u16, net: IpNet, time: Duration, now: Duration) -> bool {
        let new = Held { vlan, net, until: Until::Time(now.saturating_add(time)) };
        let max = if is_address(net) { MAX } else { MAX_PREFIXES };
        let mut is_held = false;
        self.list_of(net).rcu(|held| {
            let mut held = still_held(held, now);
            held.retain(|other| other.key() != new.key());
            is_held = held.iter().filter(|other| other.heard().is_none()).count() < max;
            if is_held {
                let at = held.partition_point(|other| other.key() < new.key());
                held.insert(at, new.clone());
            }
            held
        });
        is_held
    }

    /// Notes that something is the leaf's no more.
    pub fn remove(&self, vlan: u16, net: IpNet) {
        self.remove_if(vlan, net, |_| true);
    }

    /// Notes that somebody at the root tells that an address is his: if the leaf has just probed for it, it
    /// is the leaf's no more. Whether it was. Later it stays the leaf's: a router that answers for hosts
    /// which do not reach one another takes nothing from them.
    pub fn yield_made(&self, vlan: u16, address: IpAddr, now: Duration) -> bool {
        self.remove_if(vlan, address.into(), |held| match &held.until {
            Until::Time(_) => false,
            Until::Prefix(_, told) => {
                let probed = Duration::from_nanos(told.probed.load(Ordering::Relaxed));
                probed > Duration::ZERO && now.saturating_sub(probed) < CONTESTABLE
            }
        })
    }

    fn remove_if(&self, vlan: u16, net: IpNet, is_meant: impl Fn(&Held) -> bool) -> bool {
        let list = self.list_of(net);
        let is_it = |other: &Held| other.key() == (vlan, net) && is_meant(other);
        if !list.load().iter().any(is_it) {
            return false;
        }
        list.rcu(|held| held.iter().filter(|other| !is_it(other)).cloned().collect::<Vec<_>>());
        true
    }

    fn list_of(&self, net: IpNet) -> &ArcSwap<Vec<Held>> {
        if is_address(net) { &self.held } else { &self.prefixes }
    }

    /// For how long the leaf has an address yet, or the prefix that it is in; `None` if it has neither.
    #[must_use]
    pub fn left(&self, vlan: u16, address: IpAddr, now: Duration) -> Option<Duration> {
        self.find(vlan, address, now).map(|held| held.left)
    }

    /// What speaks for an address.
    pub(super) fn grant(&self, vlan: u16, address: IpAddr, now: Duration) -> Option<Grant> {
        let held = self.find(vlan, address, now)?;
        Some(match held.from {
            LearntFrom::Dhcp => Grant::Leased(held.left),
            LearntFrom::Slaac => Grant::Made(held.left),
        })
    }

    fn find(&self, vlan: u16, address: IpAddr, now: Duration) -> Option<HeldNet> {
        self.holds(vlan, address.into(), now).or_else(|| {
            let prefixes = self.prefixes.load();
            let mut own = prefixes.iter().filter(|held| held.vlan == vlan);
            own.find_map(|held| held.net.contains(&address).then(|| held.now(now))?)
        })
    }

    /// What the leaf holds on a VLAN: just this address, or just this prefix.
    #[must_use]
    pub fn holds(&self, vlan: u16, net: IpNet, now: Duration) -> Option<HeldNet> {
        let held = self.list_of(net).load();
        let at = held.binary_search_by_key(&(vlan, net), Held::key).ok()?;
        held[at].now(now)
    }

    /// Whether a net that a frame gives back is the leaf's: just this, or a part of a prefix.
    pub(super) fn covers(&self, vlan: u16, net: Ipv6Net, now: Duration) -> bool {
        let prefixes = self.prefixes.load();
        let covers = |held: &Held| {
            held.vlan == vlan && held.net.contains(&IpNet::from(net)) && held.now(now).is_some()
        };
        self.holds(vlan, net.into(), now).is_some() || prefixes.iter().any(covers)
    }

    /// What the leaf holds: addresses first, then prefixes.
    #[must_use]
    pub fn list(&self, now: Duration) -> Vec<HeldNet> {
        let (held, prefixes) = (self.held.load(), self.prefixes.load());
        held.iter().chain(&***prefixes).filter_map(|held| held.now(now)).collect()
    }
}

impl Held {
    fn key(&self) -> (u16, IpNet) {
        (self.vlan, self.net)
    }

    fn now(&self, now: Duration) -> Option<HeldNet> {
        let (until, from) = match &self.until {
            Until::Time(until) => (*until, LearntFrom::Dhcp),
            Until::Prefix(end, _) => (end.get(), LearntFrom::Slaac),
        };
        let left = until.checked_sub(now).filter(|left| !left.is_zero())?;
        Some(HeldNet { vlan: self.vlan, net: self.net, from, left })
    }

    /// When the leaf last told of it, if it made it itself.
    fn heard(&self) -> Option<u64> {
        match &self.until {
            Until::Time(_) => None,
            Until::Prefix(_, told) => Some(told.heard.load(Ordering::Relaxed)),
        }
    }
}

fn still_held(held: &[Held], now: Duration) -> Vec<Held> {
    held.iter().filter(|held| held.now(now).is_some()).cloned().collect()
}

fn is_address(net: IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
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

/// DHCPv6's numbers are others than DHCP's.
fn marked6(transaction: u32) -> u64 {
    2 << 32 | u64::from(transaction)
}
