//! What there is of a fabric on this host.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::process::Command;

use acton_netlink::{PortVlans, Socket};

use super::{Fabric, Peer};
use crate::doctor::gather::host::bridge_filters;

/// What was seen of a fabric on its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The Linux bridge, if there is one of that name.
    pub bridge: Option<BridgeSeen>,
    /// The VXLAN interface of each network, in order, where there is one of that name.
    pub vxlans: Vec<Option<VxlanSeen>>,
    /// The bridge's other ports, in order.
    pub ports: Vec<PortSeen>,
    /// What packets to the other hosts leave by, where a route leads to them.
    pub underlay: Vec<UnderlaySeen>,
    /// Settings below net.bridge that have a firewall see bridged frames and are on.
    pub bridge_filters: Vec<&'static str>,
    /// What FRR runs by, or why that could not be had.
    pub frr: Result<String, String>,
}

/// A Linux bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BridgeSeen {
    /// It is a bridge at all.
    pub is_bridge: bool,
    /// It is up.
    pub up: bool,
    /// It tells VLANs apart.
    pub vlan_filtering: bool,
}

/// Another port of the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortSeen {
    /// It is one of this bridge.
    pub joined: bool,
    /// The VLANs that it is in, as the kernel tells.
    pub vlans: Vec<PortVlans>,
}

/// An interface of the underlay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnderlaySeen {
    /// Its name.
    pub name: String,
    /// Bytes of an IP packet.
    pub mtu: u32,
}

/// A VXLAN interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VxlanSeen {
    /// It is up.
    pub up: bool,
    /// It is a port of the bridge.
    pub joined: bool,
    /// Bytes of an IP packet.
    pub mtu: u32,
    /// Its network identifier; `None` where it is no VXLAN interface.
    pub id: Option<u32>,
    /// The address that its packets are from.
    pub local: Option<IpAddr>,
    /// The UDP port that they go to.
    pub port: u16,
    /// It learns where MACs are from packets.
    pub learns: bool,
    /// The bridge learns MACs at it.
    pub port_learns: bool,
    /// As a port it exchanges nothing with other isolated ones.
    pub isolated: bool,
    /// As a port, the VLANs that it is in.
    pub vlans: Vec<PortVlans>,
    /// Where it floods to.
    pub floods_to: Vec<IpAddr>,
}

/// Looks at this host's links and at FRR, by `vtysh` with these arguments before its own.
///
/// # Errors
/// rtnetlink does not answer.
pub fn look(fabric: &Fabric, vtysh: &[String]) -> io::Result<Seen> {
    let mut netlink = Socket::open()?;
    let bridge = netlink.link(&fabric.bridge).ok();
    let index = bridge.as_ref().map(|bridge| bridge.index);
    let mut vxlans = Vec::new();
    for vni in &fabric.vnis {
        let Ok(link) = netlink.link(&vni.interface()) else {
            vxlans.push(None);
            continue;
        };
        let vxlan = link.vxlan.unwrap_or_default();
        vxlans.push(Some(VxlanSeen {
            up: link.up,
            joined: link.master.is_some() && link.master == index,
            mtu: link.mtu,
            id: link.vxlan.map(|vxlan| vxlan.id),
            local: vxlan.local,
            port: vxlan.port,
            learns: vxlan.learns,
            port_learns: link.port.is_some_and(|port| port.learns),
            isolated: link.port.is_some_and(|port| port.isolated),
            vlans: netlink.port_vlans(link.index)?,
            floods_to: netlink.flood_list(link.index)?,
        }));
    }
    let mut ports = Vec::new();
    for port in &fabric.ports {
        ports.push(match netlink.link(&port.name) {
            Ok(link) => PortSeen {
                joined: link.master.is_some() && link.master == index,
                vlans: netlink.port_vlans(link.index)?,
            },
            Err(_) => PortSeen::default(),
        });
    }
    let underlay = underlay(fabric, &mut netlink);
    let bridge = bridge.map(|bridge| BridgeSeen {
        is_bridge: bridge.bridge.is_some(),
        up: bridge.up,
        vlan_filtering: bridge.bridge.is_some_and(|status| status.vlan_filtering),
    });
    Ok(Seen {
        bridge,
        vxlans,
        ports,
        underlay,
        bridge_filters: bridge_filters(),
        frr: running_config(vtysh),
    })
}

/// The interfaces by which the other hosts are reached, each once.
fn underlay(fabric: &Fabric, netlink: &mut Socket) -> Vec<UnderlaySeen> {
    let mut found = BTreeSet::new();
    let networks = fabric.peers.iter().filter_map(|peer| match peer {
        Peer::Network(network) => network.hosts().next(),
        Peer::Host(_) => None,
    });
    for host in fabric.hosts().into_iter().chain(networks) {
        let Ok(route) = netlink.route_to(host.into(), None) else { continue };
        if let Ok(link) = netlink.link_by_index(route.interface) {
            found.insert(UnderlaySeen { name: link.name, mtu: link.mtu });
        }
    }
    found.into_iter().collect()
}

fn running_config(arguments: &[String]) -> Result<String, String> {
    let mut command = Command::new("vtysh");
    let output = command.args(arguments).args(["-c", "show running-config"]).output();
    let output = output.map_err(|error| format!("cannot run vtysh: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [&output.stderr[..], &output.stdout].concat();
    Err(format!("vtysh: {}", String::from_utf8_lossy(&said).trim()))
}
