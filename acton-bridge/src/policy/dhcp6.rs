//! What DHCPv6 messages say of addresses (RFC 8415).

use std::net::Ipv6Addr;
use std::time::Duration;

use acton_frame::field::udp;
use acton_frame::{Fragment, Headers, IpVersion};
use ipnet::{IpNet, Ipv6Net};
use pnet_base::MacAddr;

use super::guard::{Carried, DHCP6_CLIENT, DHCP6_SERVER, carried, ports};

/// Types of messages (section 7.3).
const SOLICIT: u8 = 1;
const REQUEST: u8 = 3;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const REPLY: u8 = 7;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;
const RELAY_FORWARD: u8 = 12;
/// Bytes of the type and the transaction's number, and of what a relay puts first (sections 8 and 9).
const LEN: usize = 4;
const RELAY_LEN: usize = 34;
/// Options (section 21).
const IA_NA: u16 = 3;
const IA_TA: u16 = 4;
const IA_ADDRESS: u16 = 5;
const RELAY_MESSAGE: u16 = 9;
const STATUS: u16 = 13;
const IA_PD: u16 = 25;
const IA_PREFIX: u16 = 26;

/// The ports of what servers say to clients, as they stand in a frame: 547 and 546.
const REPLY_PORTS: [u8; 4] = [2, 0x23, 2, 0x22];

/// What a DHCPv6 server answered a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dhcp6Reply {
    /// The VLAN that it is on, 0 for untagged.
    pub vlan: u16,
    /// The hardware address that it goes to.
    pub mac: MacAddr,
    /// The number that who asked gave the question, of 24 bits.
    pub transaction: u32,
    /// The addresses and delegated prefixes, and for how long each is given: not at all any more where
    /// that is zero.
    pub given: Vec<(IpNet, Duration)>,
}

/// What a DHCPv6 client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// To have addresses, by a question of this number.
    For(u32),
    /// To give some back.
    GiveBack,
}

/// An address or a prefix in a message.
#[derive(Debug, Clone, Copy)]
struct Binding {
    net: Ipv6Net,
    preferred: u32,
    valid: u32,
    /// No status says that it failed.
    is_fine: bool,
}

impl Dhcp6Reply {
    /// What a frame from the root gives: a server's REPLY that came to a link-local address, which no
    /// router passes on, so that nobody beyond one gives anything. `None` also where what it gives cannot
    /// be read.
    #[must_use]
    pub fn read(headers: &Headers, frame: &[u8]) -> Option<Self> {
        if headers.ports(frame)? != &REPLY_PORTS {
            return None;
        }
        let (ports, Some(message)) = datagram(headers, frame)? else { return None };
        let (REPLY, transaction, options) = parts(message)? else { return None };
        let [_, to] = ends(headers, frame)?;
        if ports != [DHCP6_SERVER, DHCP6_CLIENT] || !to.is_unicast_link_local() {
            return None;
        }
        let mut given = Vec::new();
        bindings(options, &mut |binding| {
            // One whose preferred lifetime is the longer is to be ignored (sections 21.6 and 21.22).
            if binding.is_fine && binding.preferred <= binding.valid {
                given.push((binding.net.into(), Duration::from_secs(binding.valid.into())));
            }
        })?;
        let ethernet = headers.ethernet()?;
        Some(Self { vlan: ethernet.vlan(), mac: ethernet.destination(), transaction, given })
    }
}

/// What a frame of a client's asks a server, and the options that it asks with; `None` for nothing that has
/// to do with addresses. What relays ask for others is not looked at.
pub(super) fn asked<'f>(headers: &Headers, frame: &'f [u8]) -> Option<(Asks, &'f [u8])> {
    let ([_, DHCP6_SERVER], Some(message)) = datagram(headers, frame)? else { return None };
    let (kind, transaction, options) = parts(message)?;
    match kind {
        SOLICIT | REQUEST | RENEW | REBIND => Some((Asks::For(transaction), options)),
        RELEASE | DECLINE => Some((Asks::GiveBack, options)),
        _ => None,
    }
}

/// Calls `each` with what options of a message name: addresses, and delegated prefixes. `None` where not
/// all of it can be read.
pub(super) fn nets(options: &[u8], each: &mut impl FnMut(Ipv6Net)) -> Option<()> {
    bindings(options, &mut |binding| each(binding.net))
}

/// Calls `each` with what a frame gives back to a server, or will not take, so that the server may give it
/// to others: a client's, from whatever port, or one that relays passed on. `None` where that cannot be
/// read.
pub(super) fn given_back(
    headers: &Headers,
    frame: &[u8],
    each: &mut impl FnMut(Ipv6Net),
) -> Option<()> {
    let Some(([_, DHCP6_SERVER], message)) = datagram(headers, frame) else { return Some(()) };
    let mut message = message?;
    while *message.first()? == RELAY_FORWARD {
        let mut inner = None;
        let mut is_twice = false;
        options(message.get(RELAY_LEN..)?, &mut |code, value| {
            if code == RELAY_MESSAGE {
                is_twice |= inner.replace(value).is_some();
            }
            Some(())
        })?;
        message = inner.filter(|_| !is_twice)?;
    }
    match message[0] {
        RELEASE | DECLINE => nets(message.get(LEN..)?, each),
        _ => Some(()),
    }
}

/// The addresses of an IPv6 packet, the source first.
pub(super) fn ends(headers: &Headers, frame: &[u8]) -> Option<[Ipv6Addr; 2]> {
    let hosts: &[u8; 32] = headers.hosts(frame)?.as_array()?;
    let (source, to) = hosts.split_at(16);
    Some([*source.as_array::<16>()?, *to.as_array::<16>()?].map(Ipv6Addr::from))
}

/// The ports of UDP over IPv6, the source first, and what it carries; `None` there where another fragment
/// has some of it.
fn datagram<'f>(headers: &Headers, frame: &'f [u8]) -> Option<([u16; 2], Option<&'f [u8]>)> {
    let ip = headers.ip().filter(|ip| ip.version == IpVersion::V6)?;
    let Carried::Found { protocol: udp::NUMBER, bytes } = carried(&ip, frame) else { return None };
    let message = bytes.get(udp::LEN..).filter(|_| ip.fragment == Fragment::Whole);
    Some((ports(bytes)?, message))
}

/// The type of a message, its transaction's number, and its options.
fn parts(message: &[u8]) -> Option<(u8, u32, &[u8])> {
    let (&[kind, a, b, c], options) = message.split_first_chunk()?;
    Some((kind, u32::from_be_bytes([0, a, b, c]), options))
}

/// Calls `each` with the code and the value of each option; `None` where `each` says so, or an option is
/// longer than what is left.
fn options<'f>(
    mut bytes: &'f [u8],
    each: &mut impl FnMut(u16, &'f [u8]) -> Option<()>,
) -> Option<()> {
    while !bytes.is_empty() {
        let (&[a, b, c, d], rest) = bytes.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u16::from_be_bytes([c, d]).into())?;
        each(u16::from_be_bytes([a, b]), value)?;
        bytes = rest;
    }
    Some(())
}

/// Whether no status among options says that something failed.
fn is_fine(bytes: &[u8]) -> Option<bool> {
    let mut is_fine = true;
    options(bytes, &mut |code, value| {
        if code == STATUS {
            is_fine &= value.first_chunk()? == &[0, 0];
        }
        Some(())
    })?;
    Some(is_fine)
}

/// Calls `each` with the addresses and the prefixes in a message's options.
fn bindings(bytes: &[u8], each: &mut impl FnMut(Binding)) -> Option<()> {
    let is_message_fine = is_fine(bytes)?;
    options(bytes, &mut |association, value| {
        let inner = match association {
            IA_NA | IA_PD => value.get(12..)?,
            IA_TA => value.get(4..)?,
            _ => return Some(()),
        };
        let is_association_fine = is_message_fine && is_fine(inner)?;
        options(inner, &mut |code, value| {
            let read = match (association, code) {
                (IA_NA | IA_TA, IA_ADDRESS) => address(value)?,
                (IA_PD, IA_PREFIX) => prefix(value)?,
                _ => return Some(()),
            };
            let (mut binding, own_options) = read;
            binding.is_fine = is_association_fine && is_fine(own_options)?;
            each(binding);
            Some(())
        })
    })
}

fn address(value: &[u8]) -> Option<(Binding, &[u8])> {
    let (address, rest) = value.split_first_chunk::<16>()?;
    let (preferred, rest) = rest.split_first_chunk()?;
    let (valid, options) = rest.split_first_chunk()?;
    Some((binding(*address, 128, *preferred, *valid)?, options))
}

fn prefix(value: &[u8]) -> Option<(Binding, &[u8])> {
    let (preferred, rest) = value.split_first_chunk()?;
    let (valid, rest) = rest.split_first_chunk()?;
    let (&[len], rest) = rest.split_first_chunk()?;
    let (prefix, options) = rest.split_first_chunk::<16>()?;
    Some((binding(*prefix, len, *preferred, *valid)?, options))
}

/// `None` for what can be nobody's: all addresses, and more bits than an address has.
fn binding(net: [u8; 16], len: u8, preferred: [u8; 4], valid: [u8; 4]) -> Option<Binding> {
    let net = Ipv6Net::new(net.into(), len).ok().filter(|_| len > 0)?.trunc();
    let [preferred, valid] = [preferred, valid].map(u32::from_be_bytes);
    Some(Binding { net, preferred, valid, is_fine: true })
}
