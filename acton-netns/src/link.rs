use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::net::if_::if_nametoindex;
use pnet_base::MacAddr;

use crate::netlink::request;
use crate::{Error, Namespace};

/// What a veth pair may be given at its making; by default the kernel's MTU (1,500) and random
/// MAC addresses.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Veth {
    /// The MTU of both ends, in bytes without the Ethernet header.
    pub mtu: Option<u32>,
    /// The MAC address of the first end.
    pub mac_a: Option<MacAddr>,
    /// The MAC address of the second end.
    pub mac_b: Option<MacAddr>,
}

impl Veth {
    /// A pair with the kernel's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the MTU of both ends, in bytes without the Ethernet header (68 to 65,535).
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Sets the MAC addresses of the first and the second end.
    #[must_use]
    pub fn macs(mut self, a: MacAddr, b: MacAddr) -> Self {
        (self.mac_a, self.mac_b) = (Some(a), Some(b));
        self
    }
}

/// Joins two namespaces (or one with itself) by a veth pair (veth(4)), both ends up.
///
/// # Errors
/// [`Error::DeviceName`]; [`Error::Netlink`] where a name is taken, the MTU or a MAC is out of
/// range, or `CAP_NET_ADMIN` is missing.
pub fn veth(
    a: &Namespace,
    name_a: &str,
    b: &Namespace,
    name_b: &str,
    options: &Veth,
) -> Result<(), Error> {
    check_name(name_a)?;
    check_name(name_b)?;
    let mut peer = link(name_b, options.mtu, options.mac_b);
    // The kernel looks the number up in the table of the process that sends the request: this one.
    peer.attributes.push(LinkAttribute::NetNsFd(b.as_fd().as_raw_fd()));
    let mut message = link(name_a, options.mtu, options.mac_a);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    a.try_run(|| request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL))?
        .map_err(|source| refused("make a veth pair", &format!("{name_a}, {name_b}"), source))?;
    // Not in one message: an end cannot be opened before it has its peer (ENOTCONN).
    a.link_up(name_a)?;
    b.link_up(name_b)
}

impl Namespace {
    /// Brings a device up, as [`veth`] has done for its two.
    ///
    /// # Errors
    /// [`Error::Netlink`] where there is no such device or `CAP_NET_ADMIN` is missing.
    pub fn link_up(&self, device: &str) -> Result<(), Error> {
        self.configure("bring it up", device, |index| {
            let mut message = LinkMessage::default();
            message.header.index = index;
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
            request(RouteNetlinkMessage::SetLink(message), 0)
        })
    }

    /// Gives a device an address with its prefix length in bits. An IPv6 address can be used at
    /// once: duplicate address detection (RFC 4862) is left out.
    ///
    /// # Errors
    /// [`Error::PrefixLength`]; [`Error::Netlink`] where there is no such device, it has the
    /// address already, or `CAP_NET_ADMIN` is missing.
    pub fn add_address(&self, device: &str, address: IpAddr, prefix_len: u8) -> Result<(), Error> {
        let (family, bits) = family(address);
        if prefix_len > bits {
            return Err(Error::PrefixLength { address, prefix_len });
        }
        self.configure("add an address", device, |index| {
            let mut message = AddressMessage::default();
            message.header.family = family;
            message.header.prefix_len = prefix_len;
            message.header.scope = AddressScope::Universe;
            message.header.index = index;
            // IFA_LOCAL is the device's own address, IFA_ADDRESS that of the prefix: the same
            // but on point-to-point links (linux/if_addr.h).
            message.attributes =
                vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
            if address.is_ipv6() {
                message.header.flags = AddressHeaderFlags::Nodad;
            }
            request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
        })
    }

    /// Adds the default route of the gateway's address family.
    ///
    /// # Errors
    /// [`Error::Netlink`] where the gateway is on no link, there is such a route already, or
    /// `CAP_NET_ADMIN` is missing.
    pub fn add_default_route(&self, gateway: IpAddr) -> Result<(), Error> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(gateway).0,
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes = vec![RouteAttribute::Gateway(RouteAddress::from(gateway))];
        self.try_run(|| request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL))?
            .map_err(|source| refused("add a default route by it", &gateway.to_string(), source))
    }

    /// Runs `request` inside, with the index of `device` there.
    fn configure(
        &self,
        step: &'static str,
        device: &str,
        request: impl FnOnce(u32) -> io::Result<()> + Send,
    ) -> Result<(), Error> {
        self.try_run(|| request(if_nametoindex(device)?))?
            .map_err(|source| refused(step, device, source))
    }
}

/// A device that is yet to be made.
fn link(name: &str, mtu: Option<u32>, mac: Option<MacAddr>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
    message
}

/// The family of an address, and its length in bits.
fn family(address: IpAddr) -> (AddressFamily, u8) {
    match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}

/// What `dev_valid_name` of net/core/dev.c takes; rtnetlink itself answers a long name with a
/// mere "numerical result out of range".
fn check_name(name: &str) -> Result<(), Error> {
    let valid = (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_ascii_whitespace());
    if valid { Ok(()) } else { Err(Error::DeviceName(name.to_owned())) }
}

fn refused(step: &'static str, device: &str, source: io::Error) -> Error {
    Error::Netlink { step, device: device.to_owned(), source }
}
