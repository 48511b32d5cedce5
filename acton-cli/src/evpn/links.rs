//! The bridge and its VXLAN interfaces, as commands of iproute2.

use std::fmt::Write;

use super::{Fabric, Knowledge, Role, VXLAN_OVERHEAD, VXLAN_PORT, Vni};

pub(super) fn render(fabric: &Fabric) -> String {
    let Fabric { bridge, mtu, .. } = fabric;
    let mut text = String::new();
    let mut line = |it: &str| {
        text.push_str(it);
        text.push('\n');
    };
    line(&format!("# Links of {}; for sh, as root.", fabric.title()));
    line(&format!("# The underlay has to carry packets of {} bytes.", mtu + VXLAN_OVERHEAD));
    line("set -e");
    let filtering = if fabric.has_vlans() { " vlan_filtering 1 vlan_default_pvid 0" } else { "" };
    line(&format!(
        "ip link show dev {bridge} >/dev/null 2>&1 || ip link add {bridge} type bridge{filtering}"
    ));
    if fabric.role == Role::LeafServer {
        line(&format!("ip link set {bridge} addrgenmode none # it has no address of its own"));
    }
    line(&format!("ip link set {bridge} up"));
    for &vni in &fabric.vnis {
        line(&vxlan(fabric, vni));
    }
    for port in &fabric.ports {
        let name = &port.name;
        if fabric.role == Role::Root {
            line(&format!("ip link set {name} master {bridge} up"));
        } else if fabric.has_vlans() {
            line(&format!("# At each start of `acton server --tap {name} --bridge {bridge}`:"));
        }
        for (vlan, untagged) in fabric.vlans_of(port) {
            let join = join_vlan(name, vlan, untagged);
            line(&match fabric.role {
                Role::Root => join,
                // It may not be there yet.
                Role::LeafServer => format!("[ ! -e /sys/class/net/{name}/brport ] || {join}"),
            });
        }
    }
    text
}

/// The command that takes a port into a VLAN.
pub(super) fn join_vlan(port: &str, vlan: u16, untagged: bool) -> String {
    let how = if untagged { " pvid untagged" } else { "" };
    format!("bridge vlan add dev {port} vid {vlan}{how}")
}

fn vxlan(fabric: &Fabric, vni: Vni) -> String {
    let Fabric { local, bridge, mtu, knowledge, .. } = fabric;
    let (id, name) = (vni.id, vni.interface());
    let learning = match knowledge {
        Knowledge::Bgp { .. } => ("nolearning", "off"),
        Knowledge::Frames => ("learning", "on"),
    };
    let mut text = format!(
        "ip link del {name} 2>/dev/null || true\n\
         ip link add {name} mtu {mtu} type vxlan id {id} local {local} dstport {VXLAN_PORT} {}\n\
         ip link set {name} addrgenmode none master {bridge}\n\
         bridge link set dev {name} learning {} neigh_suppress off isolated off hairpin off\n",
        learning.0, learning.1,
    );
    if let Some(vlan) = vni.vlan {
        let _ = writeln!(text, "{}", join_vlan(&name, vlan, true));
    }
    if *knowledge == Knowledge::Frames {
        for host in fabric.hosts() {
            let _ = writeln!(text, "bridge fdb append 00:00:00:00:00:00 dev {name} dst {host}");
        }
    }
    let _ = write!(text, "ip link set {name} up");
    text
}
