//! Addresses that hosts make themselves in advertised prefixes (RFC 4862).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acton_frame::field::{ethernet, icmpv6};
use acton_frame::{Headers, IpVersion};
use arc_swap::ArcSwap;

use super::dhcp6::ends;
use super::guard::{Carried, ROUTER_ADVERTISEMENT, carried};

/// Prefixes on one VLAN, and on all, at most.
const PER_VLAN: usize = 32;
const IN_ALL: usize = 1_024;
/// Bits of a prefix in which hosts make addresses of an Ethernet interface's 64 (RFC 2464).
const PREFIX_LEN: u8 = 64;
/// Bytes of an advertisement before its options, and the units of their lengths (RFC 4861, section 4.2).
const ADVERTISEMENT_LEN: usize = 16;
const UNIT: usize = 8;
/// Prefix information (RFC 4861, section 4.6.2): its number, its bytes, the flag of autonomous addresses.
const PREFIX_INFORMATION: u8 = 3;
const INFORMATION_LEN: usize = 32;
const AUTONOMOUS: u8 = 1 << 6;
/// No advertisement makes what is left of a prefix's time shorter than this (RFC 4862, section 5.5.3).
const TWO_HOURS: Duration = Duration::from_secs(7_200);
/// Bytes of an Ethernet header with one tag.
const ONE_TAG: usize = ethernet::LEN + ethernet::TAG_LEN;
/// IPv6's hop limit in its header.
const HOP_LIMIT: usize = 7;

/// The prefixes that routers at the root advertise, for hosts to make addresses in. Who looks for one takes
/// no lock.
#[derive(Debug, Default)]
pub struct AdvertisedPrefixes {
    /// By VLAN and prefix.
    known: ArcSwap<Vec<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    vlan: u16,
    /// The upper half of an address.
    prefix: u64,
    end: End,
}

/// When a prefix ends, and every address in it; it moves while the prefix is advertised.
#[derive(Debug, Clone)]
pub(super) struct End(Arc<AtomicU64>);

impl End {
    fn new(at: Duration) -> Self {
        Self(Arc::new(AtomicU64::new(nanos(at))))
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl AdvertisedPrefixes {
    /// Notes what a frame from the root advertises, a router's (RFC 4861, section 6.1.2): of 64 bits, for
    /// hosts to make addresses in. There is room for 32 on a VLAN, and for 1,024 in all; more are not
    /// known. Behind two tags nothing is.
    pub fn hear(&self, headers: &Headers, frame: &[u8], now: Duration) {
        let Some((vlan, options)) = advertisement(headers, frame) else { return };
        // All must be readable before any is believed.
        if informations(options, &mut |_, _| {}).is_none() {
            return;
        }
        let _ = informations(options, &mut |prefix, valid| self.put(vlan, prefix, valid, now));
    }

    /// Whether hosts may make this address, and for how long it would be theirs.
    pub(super) fn left(&self, vlan: u16, address: Ipv6Addr, now: Duration) -> Option<Duration> {
        self.end_of(vlan, address)?.get().checked_sub(now).filter(|left| !left.is_zero())
    }

    /// When the prefix of an address ends.
    pub(super) fn end_of(&self, vlan: u16, address: Ipv6Addr) -> Option<End> {
        let known = self.known.load();
        let at = known.binary_search_by_key(&(vlan, upper(address)), Known::key).ok()?;
        Some(known[at].end.clone())
    }

    /// The same where there was an address in the prefix already, for so long yet: if the prefix is not
    /// known it is from now on.
    pub(super) fn restore(
        &self,
        vlan: u16,
        address: Ipv6Addr,
        left: Duration,
        now: Duration,
    ) -> End {
        if self.left(vlan, address, now).is_none() {
            self.put(vlan, upper(address), left, now);
        }
        self.end_of(vlan, address).unwrap_or_else(|| End::new(now.saturating_add(left)))
    }

    fn put(&self, vlan: u16, prefix: u64, valid: Duration, now: Duration) {
        {
            let known = self.known.load();
            if let Ok(at) = known.binary_search_by_key(&(vlan, prefix), Known::key) {
                let end = &known[at].end;
                let time = time_left(end.get().saturating_sub(now), valid);
                return end.0.store(nanos(now.saturating_add(time)), Ordering::Relaxed);
            }
        }
        if valid.is_zero() || !self.has_room(vlan, now) {
            return;
        }
        let new = Known { vlan, prefix, end: End::new(now.saturating_add(valid)) };
        self.known.rcu(|known| {
            let mut known: Vec<_> =
                known.iter().filter(|other| other.end.get() > now).cloned().collect();
            // Another thread may have put it there, at most one more each.
            if let Err(at) = known.binary_search_by_key(&new.key(), Known::key) {
                known.insert(at, new.clone());
            }
            known
        });
    }

    fn has_room(&self, vlan: u16, now: Duration) -> bool {
        let known = self.known.load();
        let lasting = || known.iter().filter(|known| known.end.get() > now);
        lasting().count() < IN_ALL && lasting().filter(|it| it.vlan == vlan).count() < PER_VLAN
    }
}

impl Known {
    fn key(&self) -> (u16, u64) {
        (self.vlan, self.prefix)
    }
}

/// For how long a prefix is valid of which so much was `left` and that is advertised for so long: no less
/// than two hours, unless less was left, so that a forged advertisement ends nothing.
fn time_left(left: Duration, advertised: Duration) -> Duration {
    if advertised > TWO_HOURS || advertised > left { advertised } else { left.min(TWO_HOURS) }
}

/// The address that a frame of a leaf's probes for before it is used, and the VLAN (RFC 4862, section 5.4.2).
pub(super) fn probed(headers: &Headers, frame: &[u8]) -> Option<(u16, Ipv6Addr)> {
    let (vlan, message) = discovery(headers, frame, icmpv6::NEIGHBOUR_SOLICITATION)?;
    let [source, to] = ends(headers, frame)?;
    let target = target(message)?;
    let is_to_group = frame[0] & 1 == 1 && to.is_multicast();
    (source.is_unspecified() && is_to_group && may_be_made(target)).then_some((vlan, target))
}

/// The VLAN of a frame and the address that it tells to be its sender's, by a neighbour advertisement.
#[must_use]
pub fn neighbour_advertised(headers: &Headers, frame: &[u8]) -> Option<(u16, IpAddr)> {
    let (vlan, message) = discovery(headers, frame, icmpv6::NEIGHBOUR_ADVERTISEMENT)?;
    Some((vlan, target(message)?.into()))
}

fn may_be_made(address: Ipv6Addr) -> bool {
    !(address.is_unicast_link_local() || address.is_multicast() || address.is_unspecified())
}

fn target(message: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*message.get(icmpv6::TARGET)?.as_array::<16>()?))
}

/// The VLAN and the options of a router's advertisement.
fn advertisement<'f>(headers: &Headers, frame: &'f [u8]) -> Option<(u16, &'f [u8])> {
    let (vlan, message) = discovery(headers, frame, ROUTER_ADVERTISEMENT)?;
    let [source, _] = ends(headers, frame)?;
    source.is_unicast_link_local().then_some(())?;
    Some((vlan, message.get(ADVERTISEMENT_LEN..)?))
}

/// The VLAN and the message of neighbour discovery of a kind, that crossed no router.
fn discovery<'f>(headers: &Headers, frame: &'f [u8], kind: u8) -> Option<(u16, &'f [u8])> {
    if !headers.may_resolve() {
        return None;
    }
    let ip = headers.ip().filter(|ip| ip.version == IpVersion::V6)?;
    headers.network().filter(|&network| network <= ONE_TAG)?;
    let Carried::Found { protocol: icmpv6::NUMBER, bytes } = carried(&ip, frame) else {
        return None;
    };
    let is_meant = bytes.first_chunk() == Some(&[kind, 0])
        && *frame.get(ip.start + HOP_LIMIT)? == icmpv6::HOP_LIMIT;
    is_meant.then_some((headers.ethernet()?.vlan(), bytes))
}

/// Calls `each` with the prefixes that options have hosts make addresses in, and for how long. `None`
/// where not all can be read.
fn informations(mut options: &[u8], each: &mut impl FnMut(u64, Duration)) -> Option<()> {
    while !options.is_empty() {
        let &[kind, units] = options.first_chunk()?;
        let (option, rest) = options.split_at_checked(usize::from(units) * UNIT)?;
        if option.is_empty() {
            return None;
        }
        options = rest;
        if kind != PREFIX_INFORMATION {
            continue;
        }
        let option: &[u8; INFORMATION_LEN] = option.as_array()?;
        let [_, _, len, flags, valid @ ..] = option.first_chunk::<8>()?;
        let (valid, preferred) = (u32::from_be_bytes(*valid), *option[8..].first_chunk()?);
        let preferred = u32::from_be_bytes(preferred);
        let prefix = Ipv6Addr::from(*option[16..].first_chunk::<16>()?);
        if *len == PREFIX_LEN
            && flags & AUTONOMOUS != 0
            && preferred <= valid
            && may_be_made(prefix)
        {
            each(upper(prefix), Duration::from_secs(valid.into()));
        }
    }
    Some(())
}

/// The upper half of an address.
fn upper(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
