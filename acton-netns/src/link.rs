use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use acton_netlink::{NewAddress, NewLink, Socket};
use pnet_base::MacAddr;

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
    let link = |name, mac| NewLink::new(name).mtu(options.mtu).mac(mac);
    let (link_a, link_b) = (link(name_a, options.mac_a), link(name_b, options.mac_b));
    a.try_run(|| Socket::open()?.add_veth(&link_a, &link_b, Some(b.as_fd())))?
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
        self.configure("bring it up", device, |netlink, index| netlink.set_up(index))
    }

    /// Gives a device an address with its prefix length in bits. An IPv6 address can be used at
    /// once: duplicate address detection (RFC 4862) is left out.
    ///
    /// # Errors
    /// [`Error::PrefixLength`]; [`Error::Netlink`] where there is no such device, it has the
    /// address already, or `CAP_NET_ADMIN` is missing.
    pub fn add_address(&self, device: &str, address: IpAddr, prefix_len: u8) -> Result<(), Error> {
        if prefix_len > if address.is_ipv4() { 32 } else { 128 } {
            return Err(Error::PrefixLength { address, prefix_len });
        }
        let new = NewAddress::new(address, prefix_len).without_duplicate_detection();
        self.configure("add an address", device, |netlink, index| netlink.add_address(index, &new))
    }

    /// Adds the default route of the gateway's address family.
    ///
    /// # Errors
    /// [`Error::Netlink`] where the gateway is on no link, there is such a route already, or
    /// `CAP_NET_ADMIN` is missing.
    pub fn add_default_route(&self, gateway: IpAddr) -> Result<(), Error> {
        self.try_run(|| Socket::open()?.add_default_route(gateway))?
            .map_err(|source| refused("add a default route by it", &gateway.to_string(), source))
    }

    /// Runs `request` inside, with a socket and the index of `device` there.
    fn configure(
        &self,
        step: &'static str,
        device: &str,
        request: impl FnOnce(&mut Socket, u32) -> io::Result<()> + Send,
    ) -> Result<(), Error> {
        self.try_run(|| {
            let mut netlink = Socket::open()?;
            let index = netlink.link(device)?.index;
            request(&mut netlink, index)
        })?
        .map_err(|source| refused(step, device, source))
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
