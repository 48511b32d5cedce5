//! Interfaces: what they are, and veth pairs.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use pnet_base::MacAddr;

use crate::Socket;
use crate::message::{Attributes, Request, ip, number, short, text};

/// Bytes of `struct ifinfomsg` (linux/rtnetlink.h).
const FIXED: usize = 16;

/// `IFLA_TUN_*` of linux/if_link.h.
const TUN_OWNER: u16 = 1;
const TUN_GROUP: u16 = 2;
const TUN_TYPE: u16 = 3;
const TUN_PI: u16 = 4;
const TUN_VNET_HDR: u16 = 5;
const TUN_PERSIST: u16 = 6;
const TUN_MULTI_QUEUE: u16 = 7;
const TUN_NUM_QUEUES: u16 = 8;
const TUN_NUM_DISABLED_QUEUES: u16 = 9;

/// `IFLA_INET6_CONF` of linux/if_link.h: the sysctls of an interface, 32 bits each, the first of which
/// is `DEVCONF_FORWARDING` (linux/ipv6.h).
const INET6_CONF: u16 = 2;

/// `IFLA_BR_*` of linux/if_link.h.
const BRIDGE_STP_STATE: u16 = 5;
const BRIDGE_VLAN_FILTERING: u16 = 7;
const BRIDGE_MCAST_SNOOPING: u16 = 23;
const BRIDGE_MCAST_QUERIER: u16 = 25;
const BRIDGE_MCAST_QUERIER_STATE: u16 = 47;

/// `IFLA_BRPORT_STATE` of linux/if_link.h, and `BR_STATE_FORWARDING` of linux/if_bridge.h.
const PORT_STATE: u16 = 1;
const FORWARDING: u8 = 3;

/// `RTEXT_FILTER_BRVLAN_COMPRESSED` of linux/rtnetlink.h: tell the VLANs of a bridge's ports, as ranges.
const TELL_VLANS: u32 = 1 << 2;
/// `IFLA_BRIDGE_VLAN_INFO` of linux/if_bridge.h, and its flag `BRIDGE_VLAN_INFO_PVID`.
const VLAN_INFO: u16 = 2;
const VLAN_IS_PVID: u16 = 1 << 1;
/// Its flags `BRIDGE_VLAN_INFO_UNTAGGED`, and `_RANGE_BEGIN` and `_RANGE_END`.
const VLAN_IS_UNTAGGED: u16 = 1 << 2;
const VLAN_RANGE_BEGINS: u16 = 1 << 3;
const VLAN_RANGE_ENDS: u16 = 1 << 4;

/// Where `tx_dropped` is in `struct rtnl_link_stats64` (linux/if_link.h), in bytes.
const TX_DROPPED: usize = 7 * 8;

/// `IFLA_BRPORT_*` of linux/if_link.h: what a bridge does at a port.
const PORT_LEARNING: u16 = 8;
const PORT_ISOLATED: u16 = 33;

/// `IFLA_VXLAN_*` of linux/if_link.h.
const VXLAN_ID: u16 = 1;
const VXLAN_LOCAL: u16 = 4;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PORT: u16 = 15;
const VXLAN_LOCAL6: u16 = 17;

/// `IFLA_VLAN_ID` of linux/if_link.h.
const VLAN_ID: u16 = 1;

/// `VETH_INFO_PEER` of linux/veth.h.
const VETH_INFO_PEER: u16 = 1;

/// What the kernel tells about an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Its index, by which the kernel knows it for life.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it was set up.
    pub up: bool,
    /// Whether there is something at its other end.
    pub carrier: bool,
    /// Its MAC address, if it has one.
    pub mac: Option<MacAddr>,
    /// Bytes of an IP packet.
    pub mtu: u32,
    /// What kind of virtual interface it is (`veth`, `bridge`, `tun`); empty for other ones.
    pub kind: String,
    /// The index of the interface that it is made on, as a VLAN is. It may be in another network
    /// namespace, as the other end of a veth is.
    pub lower: Option<u32>,
    /// Its VLAN, where it is an interface of one.
    pub vlan: Option<u16>,
    /// The index of the bridge, bond or other interface that it is a port of.
    pub master: Option<u32>,
    /// The kind of that interface; empty without one.
    pub master_kind: String,
    /// Its state as a TAP, if it is one.
    pub tap: Option<TapStatus>,
    /// Whether it forwards IPv6 (the sysctl forwarding), as a router does.
    pub ipv6_forwarding: bool,
    /// Packets that may wait to be sent (txqueuelen).
    pub tx_queue_len: u32,
    /// Packets that were to be sent and were dropped.
    pub tx_dropped: u64,
    /// Its settings as a bridge, if it is one.
    pub bridge: Option<BridgeStatus>,
    /// Its settings as a VXLAN interface, if it is one.
    pub vxlan: Option<VxlanStatus>,
    /// Its settings as a port of a bridge, if it is one.
    pub port: Option<PortStatus>,
    /// As a port of a bridge: whether that forwards through it. STP keeps it from doing so for a
    /// while, or for good.
    pub forwards: Option<bool>,
}

/// What the kernel tells about a bridge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgeStatus {
    /// Whether it speaks STP.
    pub stp: bool,
    /// Whether it tells VLANs apart (vlan_filtering).
    pub vlan_filtering: bool,
    /// Whether it sends multicast only where members were heard (IGMP and MLD snooping).
    pub snooping: bool,
    /// Whether it asks for members itself.
    pub querier: bool,
    /// Whether a querier was heard of, itself or another; a kernel before 5.16 does not tell.
    pub querier_known: bool,
}

/// What the kernel tells about a port of a bridge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortStatus {
    /// Whether the bridge learns who is behind it.
    pub learns: bool,
    /// Whether nothing passes between it and other isolated ports.
    pub isolated: bool,
}

/// VLANs that a port of a bridge is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortVlans {
    /// The first one's number.
    pub first: u16,
    /// The last one's number.
    pub last: u16,
    /// Untagged frames that come by the port are in it (PVID).
    pub pvid: bool,
    /// Its frames leave by the port without a tag.
    pub untagged: bool,
}

impl PortVlans {
    /// These VLANs.
    #[must_use]
    pub const fn new(vlans: std::ops::RangeInclusive<u16>, pvid: bool, untagged: bool) -> Self {
        Self { first: *vlans.start(), last: *vlans.end(), pvid, untagged }
    }
}

/// What the kernel tells about a VXLAN interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VxlanStatus {
    /// Its network identifier (VNI).
    pub id: u32,
    /// The address that its packets are from, where it has one of its own.
    pub local: Option<IpAddr>,
    /// The UDP port that they go to.
    pub port: u16,
    /// Whether it learns from packets which host a MAC is behind.
    pub learns: bool,
}

/// What the kernel tells about a TAP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapStatus {
    /// The user that may attach without `CAP_NET_ADMIN`.
    pub owner: Option<u32>,
    /// The group whose members may attach without `CAP_NET_ADMIN`.
    pub group: Option<u32>,
    /// Whether it stays when its last queue closes.
    pub persist: bool,
    /// Whether frames are preceded by four bytes of flags and protocol (no `IFF_NO_PI`).
    pub packet_information: bool,
    /// Whether frames are preceded by a virtio-net header (`IFF_VNET_HDR`).
    pub vnet_header: bool,
    /// Whether it can have several queues.
    pub multi_queue: bool,
    /// Queues that are attached; 0 without `multi_queue`, where the kernel does not tell.
    pub queues: u32,
    /// Queues that are detached and still open.
    pub detached_queues: u32,
}

/// An interface that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is made before `Socket::add_veth`"]
pub struct NewLink {
    name: String,
    mtu: Option<u32>,
    mac: Option<MacAddr>,
}

impl NewLink {
    /// An interface with the kernel's defaults: its kind's MTU and a random MAC address.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), mtu: None, mac: None }
    }

    /// Sets its MTU, in bytes of an IP packet.
    pub fn mtu(mut self, mtu: impl Into<Option<u32>>) -> Self {
        self.mtu = mtu.into();
        self
    }

    /// Sets its MAC address.
    pub fn mac(mut self, mac: impl Into<Option<MacAddr>>) -> Self {
        self.mac = mac.into();
        self
    }

    fn push(&self, request: &mut Request) {
        request.push_text(libc::IFLA_IFNAME, &self.name);
        if let Some(mtu) = self.mtu {
            request.push(libc::IFLA_MTU, &mtu.to_ne_bytes());
        }
        if let Some(mac) = self.mac {
            request.push(libc::IFLA_ADDRESS, &mac.octets());
        }
    }
}

impl Socket {
    /// The interface called `name`.
    ///
    /// # Errors
    /// `ENODEV`: there is none.
    pub fn link(&mut self, name: &str) -> io::Result<Link> {
        // The kernel would say ERANGE to the one, and look for what comes before the other.
        if name.len() >= libc::IFNAMSIZ || name.contains('\0') {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let mut request = Request::new(libc::RTM_GETLINK, 0, &fixed(0, 0));
        request.push_text(libc::IFLA_IFNAME, name);
        self.ask(request, parse)
    }

    /// The interface with that index.
    ///
    /// # Errors
    /// `ENODEV`: there is none.
    pub fn link_by_index(&mut self, index: u32) -> io::Result<Link> {
        self.ask(Request::new(libc::RTM_GETLINK, 0, &fixed(index, 0)), parse)
    }

    /// All interfaces.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let request = || Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &fixed(0, 0));
        self.dump(request, parse)
    }

    /// The VLAN that untagged frames have which come to the bridge by its port `index` (PVID); `None`
    /// where it takes no such frames.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn port_pvid(&mut self, index: u32) -> io::Result<Option<u16>> {
        let vlans = self.port_vlans(index)?;
        Ok(vlans.iter().find(|vlans| vlans.pvid).map(|vlans| vlans.first))
    }

    /// The VLANs that port `index` of a bridge is in.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn port_vlans(&mut self, index: u32) -> io::Result<Vec<PortVlans>> {
        let request = || {
            let mut fixed = fixed(0, 0);
            fixed[0] = libc::AF_BRIDGE as u8;
            let mut request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &fixed);
            request.push(libc::IFLA_EXT_MASK, &TELL_VLANS.to_ne_bytes());
            request
        };
        self.dump(request, |body| {
            let is_it = body.get(4..).and_then(number) == Some(index);
            if is_it { parse_vlans(body) } else { Vec::new() }
        })
    }

    /// Has interface `index`, a port of a bridge, exchange nothing with other isolated ports of it, or
    /// not so.
    ///
    /// # Errors
    /// `ENODEV`: there is none. `EOPNOTSUPP`: it is a port of no bridge. `EPERM`.
    pub fn set_port_isolated(&mut self, index: u32, isolated: bool) -> io::Result<()> {
        let mut fixed = fixed(index, 0);
        fixed[0] = libc::AF_BRIDGE as u8;
        let mut request = Request::new(libc::RTM_SETLINK, 0, &fixed);
        request.nest(libc::IFLA_PROTINFO | libc::NLA_F_NESTED as u16, |request| {
            request.push(PORT_ISOLATED, &[u8::from(isolated)]);
        });
        self.request(request)
    }

    /// Sets interface `index` up, which it may be already.
    ///
    /// # Errors
    /// `ENODEV`, `EPERM`, and what its driver has against it.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.request(Request::new(libc::RTM_SETLINK, 0, &fixed(index, libc::IFF_UP as u32)))
    }

    /// Makes a pair of veth(4), both ends down: `peer` in the network namespace that
    /// `peer_namespace` is a descriptor of, or in this one.
    ///
    /// # Errors
    /// `EEXIST`: a name is taken. `EINVAL`, `ERANGE`, `EADDRNOTAVAIL`: a name, the MTU or a MAC
    /// address is none. `EPERM`.
    pub fn add_veth(
        &mut self,
        link: &NewLink,
        peer: &NewLink,
        peer_namespace: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut request = Request::new(libc::RTM_NEWLINK, flags, &fixed(0, 0));
        link.push(&mut request);
        request.nest(libc::IFLA_LINKINFO, |request| {
            request.push_text(libc::IFLA_INFO_KIND, "veth");
            request.nest(libc::IFLA_INFO_DATA, |request| {
                request.nest(VETH_INFO_PEER, |request| {
                    request.extend(&fixed(0, 0));
                    peer.push(request);
                    if let Some(namespace) = peer_namespace {
                        // The kernel looks the number up in the table of the process that sends
                        // the request: this one.
                        let fd = namespace.as_raw_fd().to_ne_bytes();
                        request.push(libc::IFLA_NET_NS_FD, &fd);
                    }
                });
            });
        });
        self.request(request)
    }
}

/// `struct ifinfomsg` for an interface, with flags (`IFF_*`) that are to be set.
fn fixed(index: u32, flags: u32) -> [u8; FIXED] {
    let mut fixed = [0; FIXED];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..].copy_from_slice(&flags.to_ne_bytes());
    fixed
}

fn parse(body: &[u8]) -> Option<Link> {
    let flags = number(body.get(8..)?)?;
    let mut link = Link {
        index: number(body.get(4..)?)?,
        up: flags & libc::IFF_UP as u32 != 0,
        ..Link::default()
    };
    for (kind, value) in Attributes::after(FIXED, body) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_ADDRESS => {
                link.mac = <[u8; 6]>::try_from(value).ok().map(MacAddr::from);
            }
            libc::IFLA_MTU => link.mtu = number(value)?,
            libc::IFLA_CARRIER => link.carrier = value.first() == Some(&1),
            libc::IFLA_TXQLEN => link.tx_queue_len = number(value)?,
            libc::IFLA_STATS64 => {
                let dropped = value.get(TX_DROPPED..).and_then(|rest| rest.first_chunk());
                link.tx_dropped = dropped.map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            }
            libc::IFLA_LINK => link.lower = number(value),
            libc::IFLA_MASTER => link.master = number(value),
            libc::IFLA_AF_SPEC => {
                let families = Attributes::after(0, value);
                let ipv6 = families.filter(|&(family, _)| family == libc::AF_INET6 as u16);
                let sysctls = ipv6.flat_map(|(_, value)| Attributes::after(0, value));
                let mut sysctls = sysctls.filter(|&(kind, _)| kind == INET6_CONF);
                link.ipv6_forwarding =
                    sysctls.next().and_then(|(_, value)| number(value)).is_some_and(|on| on != 0);
            }
            libc::IFLA_LINKINFO => {
                for (kind, value) in Attributes::after(0, value) {
                    match kind {
                        libc::IFLA_INFO_KIND => link.kind = text(value),
                        libc::IFLA_INFO_SLAVE_KIND => link.master_kind = text(value),
                        // The data follows its kind, and only TUN's kind has these.
                        libc::IFLA_INFO_DATA if link.kind == "tun" => link.tap = parse_tap(value),
                        libc::IFLA_INFO_DATA if link.kind == "bridge" => {
                            link.bridge = Some(parse_bridge(value));
                        }
                        libc::IFLA_INFO_DATA if link.kind == "vlan" => {
                            let mut values = Attributes::after(0, value);
                            let id = values.find(|&(kind, _)| kind == VLAN_ID);
                            link.vlan = id.and_then(|(_, value)| short(value));
                        }
                        libc::IFLA_INFO_DATA if link.kind == "vxlan" => {
                            link.vxlan = Some(parse_vxlan(value));
                        }
                        libc::IFLA_INFO_SLAVE_DATA if link.master_kind == "bridge" => {
                            let mut values = Attributes::after(0, value);
                            let state = values.find(|&(kind, _)| kind == PORT_STATE);
                            link.forwards =
                                state.map(|(_, value)| value.first() == Some(&FORWARDING));
                            link.port = Some(parse_port(value));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// `None` for a TUN (layer 3) interface.
fn parse_tap(data: &[u8]) -> Option<TapStatus> {
    let mut status = TapStatus::default();
    for (kind, value) in Attributes::after(0, data) {
        let on = value.first() == Some(&1);
        match kind {
            TUN_OWNER => status.owner = number(value),
            TUN_GROUP => status.group = number(value),
            TUN_TYPE if value.first().copied() != Some(libc::IFF_TAP as u8) => return None,
            TUN_PI => status.packet_information = on,
            TUN_VNET_HDR => status.vnet_header = on,
            TUN_PERSIST => status.persist = on,
            TUN_MULTI_QUEUE => status.multi_queue = on,
            TUN_NUM_QUEUES => status.queues = number(value).unwrap_or(0),
            TUN_NUM_DISABLED_QUEUES => status.detached_queues = number(value).unwrap_or(0),
            _ => {}
        }
    }
    Some(status)
}

fn parse_port(data: &[u8]) -> PortStatus {
    let mut status = PortStatus::default();
    for (kind, value) in Attributes::after(0, data) {
        let on = value.first() == Some(&1);
        match kind {
            PORT_LEARNING => status.learns = on,
            PORT_ISOLATED => status.isolated = on,
            _ => {}
        }
    }
    status
}

fn parse_vxlan(data: &[u8]) -> VxlanStatus {
    let mut status = VxlanStatus::default();
    for (kind, value) in Attributes::after(0, data) {
        match kind {
            VXLAN_ID => status.id = number(value).unwrap_or(0),
            VXLAN_LOCAL | VXLAN_LOCAL6 => status.local = ip(value),
            VXLAN_LEARNING => status.learns = value.first() == Some(&1),
            // In network byte order.
            VXLAN_PORT => status.port = short(value).map_or(0, u16::from_be),
            _ => {}
        }
    }
    status
}

fn parse_vlans(body: &[u8]) -> Vec<PortVlans> {
    let specific = Attributes::after(FIXED, body).filter(|&(kind, _)| kind == libc::IFLA_AF_SPEC);
    let told = specific.flat_map(|(_, value)| Attributes::after(0, value));
    let told = told.filter(|&(kind, _)| kind == VLAN_INFO);
    let (mut vlans, mut first) = (Vec::new(), None);
    // struct bridge_vlan_info: flags, then the id.
    for (flags, id) in told.filter_map(|(_, it)| Some((short(it)?, short(it.get(2..)?)?))) {
        if flags & VLAN_RANGE_BEGINS != 0 {
            first = Some(id);
            continue;
        }
        let begun = first.take().filter(|_| flags & VLAN_RANGE_ENDS != 0);
        vlans.push(PortVlans {
            first: begun.unwrap_or(id),
            last: id,
            pvid: flags & VLAN_IS_PVID != 0,
            untagged: flags & VLAN_IS_UNTAGGED != 0,
        });
    }
    vlans
}

fn parse_bridge(data: &[u8]) -> BridgeStatus {
    let mut status = BridgeStatus::default();
    for (kind, value) in Attributes::after(0, data) {
        let on = value.first().is_some_and(|&value| value != 0);
        match kind {
            // A number of 32 bits; the others have 8.
            BRIDGE_STP_STATE => status.stp = number(value) != Some(0),
            BRIDGE_VLAN_FILTERING => status.vlan_filtering = on,
            BRIDGE_MCAST_SNOOPING => status.snooping = on,
            BRIDGE_MCAST_QUERIER => status.querier = on,
            BRIDGE_MCAST_QUERIER_STATE => {
                status.querier_known = Attributes::after(0, value).next().is_some();
            }
            _ => {}
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_interface_of_a_vlan_has_its_number() {
        let mut request = Request::new(libc::RTM_NEWLINK, 0, &fixed(9, 0));
        request.nest(libc::IFLA_LINKINFO, |request| {
            request.push_text(libc::IFLA_INFO_KIND, "vlan");
            request.nest(libc::IFLA_INFO_DATA, |request| {
                request.push(VLAN_ID, &7_u16.to_ne_bytes());
            });
        });
        assert_eq!(parse(&request.bytes(1)[16..]).unwrap().vlan, Some(7));
    }

    /// A port that is in VLANs 2 to 6, and in 7 with untagged frames.
    #[test]
    fn vlans_of_a_port_are_ranges_with_flags() {
        let told = |vlans: &[(u16, u16)]| {
            let mut fixed = [0; FIXED];
            fixed[0] = libc::AF_BRIDGE as u8;
            let mut request = Request::new(libc::RTM_NEWLINK, 0, &fixed);
            request.nest(libc::IFLA_AF_SPEC, |request| {
                for &(flags, id) in vlans {
                    let info = [flags.to_ne_bytes(), id.to_ne_bytes()].concat();
                    request.push(VLAN_INFO, &info);
                }
            });
            parse_vlans(&request.bytes(1)[16..])
        };
        let (range, one) = (
            PortVlans { first: 2, last: 6, pvid: false, untagged: false },
            PortVlans { first: 7, last: 7, pvid: true, untagged: true },
        );
        let ranges = [(VLAN_RANGE_BEGINS, 2), (VLAN_RANGE_ENDS, 6)];
        assert_eq!(told(&ranges), [range]);
        let untagged = (VLAN_IS_PVID | VLAN_IS_UNTAGGED, 7);
        assert_eq!(told(&[&ranges[..], &[untagged]].concat()), [range, one]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert!(parse(&bytes).is_none() || bytes.len() >= 12);
            parse_tap(&bytes);
            parse_bridge(&bytes);
            parse_port(&bytes);
            parse_vxlan(&bytes);
            parse_vlans(&bytes);
        }
    }
}
