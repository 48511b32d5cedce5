//! What there is of a fabric on this host.

use std::io;
use std::net::IpAddr;
use std::process::Command;

use acton_netlink::Socket;

use super::Fabric;

/// What was seen of a fabric on its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The Linux bridge, if there is one of that name.
    pub bridge: Option<BridgeSeen>,
    /// The VXLAN interface of each network, in order, where there is one of that name.
    pub vxlans: Vec<Option<VxlanSeen>>,
    /// Whether the other port is one of the bridge; `None` where none was named.
    pub port_joined: Option<bool>,
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
            floods_to: netlink.flood_list(link.index)?,
        }));
    }
    let port_joined = fabric.port.as_deref().map(|name| {
        let port = netlink.link(name);
        port.is_ok_and(|port| port.master.is_some() && port.master == index)
    });
    let bridge = bridge.map(|bridge| BridgeSeen {
        is_bridge: bridge.bridge.is_some(),
        up: bridge.up,
        vlan_filtering: bridge.bridge.is_some_and(|status| status.vlan_filtering),
    });
    Ok(Seen { bridge, vxlans, port_joined, frr: running_config(vtysh) })
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
