//! Which IP addresses a leaf was given.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use acton_frame::Headers;
use arc_swap::ArcSwap;
use pnet_base::MacAddr;

use super::guard::from_dhcp_server;

/// Addresses that one leaf may hold, at most: as many as a /24 has.
const MAX: usize = 256;
/// In a DHCP message (RFC 2131, section 2): where the address that is given, the client's hardware
/// address and the options are; the operation is its first byte.
const GIVEN: usize = 16;
const HARDWARE: usize = 28;
const COOKIE: usize = 236;
const COOKIE_BYTES: [u8; 4] = [99, 130, 83, 99];
const BOOT_REPLY: u8 = 2;
/// Options (RFC 2132): those without a length, the lease time in seconds, and the message's type.
const PAD: u8 = 0;
const END: u8 = 255;
const LEASE_TIME: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const ACK: u8 = 5;

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
    /// For how long.
    pub time: Duration,
}

impl Lease {
    /// What a frame from the root gives: DHCP's acknowledgement, of an address that has a lease time.
    #[must_use]
    pub fn read(headers: &Headers, frame: &[u8]) -> Option<Self> {
        let message = from_dhcp_server(headers, frame)?;
        if message.first() != Some(&BOOT_REPLY) || message.get(COOKIE..COOKIE + 4)? != COOKIE_BYTES
        {
            return None;
        }
        let address = Ipv4Addr::from(*message.get(GIVEN..)?.first_chunk()?);
        let [a, b, c, d, e, f] = *message.get(HARDWARE..)?.first_chunk()?;
        let (mut kind, mut time) = (None, None);
        let mut options = &message[COOKIE + 4..];
        loop {
            match *options {
                [PAD, ref rest @ ..] => options = rest,
                [END, ..] | [] | [_] => break,
                [code, len, ref rest @ ..] => {
                    let (value, rest) = rest.split_at_checked(len.into())?;
                    match code {
                        MESSAGE_TYPE => kind = value.first().copied(),
                        LEASE_TIME => time = value.as_array().copied().map(u32::from_be_bytes),
                        _ => {}
                    }
                    options = rest;
                }
            }
        }
        if kind != Some(ACK) || address.is_unspecified() {
            return None;
        }
        Some(Self {
            vlan: headers.ethernet()?.vlan(),
            address: address.into(),
            mac: MacAddr(a, b, c, d, e, f),
            time: Duration::from_secs(time?.into()),
        })
    }
}

/// The addresses that a leaf holds, each for a time. Readers take no lock.
#[derive(Debug, Default)]
pub struct Leases(ArcSwap<Vec<Held>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    vlan: u16,
    address: IpAddr,
    until: Duration,
}

impl Leases {
    /// Notes that the leaf was given an address now. Of more than 256 the one that ends first goes.
    pub fn add(&self, lease: &Lease, now: Duration) {
        let Lease { vlan, address, time, .. } = *lease;
        self.0.rcu(|held| {
            let mut held: Vec<_> = held
                .iter()
                .filter(|other| other.until > now && (other.vlan, other.address) != (vlan, address))
                .copied()
                .collect();
            if held.len() >= MAX
                && let Some(first) = (0..held.len()).min_by_key(|&index| held[index].until)
            {
                held.swap_remove(first);
            }
            held.push(Held { vlan, address, until: now.saturating_add(time) });
            held
        });
    }

    /// For how long the leaf has an address yet; `None` if it has not.
    #[must_use]
    pub fn left(&self, vlan: u16, address: IpAddr, now: Duration) -> Option<Duration> {
        let held = self.0.load();
        let mut own = held.iter().filter(|held| (held.vlan, held.address) == (vlan, address));
        own.find_map(|held| held.until.checked_sub(now).filter(|left| !left.is_zero()))
    }

    /// The addresses, with their VLANs and for how long they are the leaf's yet.
    #[must_use]
    pub fn list(&self, now: Duration) -> Vec<(u16, IpAddr, Duration)> {
        let held = self.0.load();
        let left = |held: &Held| {
            let left = held.until.checked_sub(now).filter(|left| !left.is_zero())?;
            Some((held.vlan, held.address, left))
        };
        held.iter().filter_map(left).collect()
    }
}
