//! The bridge and its VXLAN interfaces, as files of systemd-networkd.

use std::fmt::Write;

use super::{Fabric, Knowledge, Role, VXLAN_OVERHEAD, VXLAN_PORT, Vni};

/// Where they belong.
const DIRECTORY: &str = "/etc/systemd/network";

pub(super) fn render(fabric: &Fabric) -> String {
    let Fabric { bridge, mtu, .. } = fabric;
    let mut text = format!(
        "# Links of {}, for systemd-networkd.\n\
         # The underlay has to carry packets of {} bytes.\n",
        fabric.title(),
        mtu + VXLAN_OVERHEAD
    );
    let mut file = |name: &str, content: &str| {
        let _ = write!(text, "\n# {DIRECTORY}/{name}\n{content}");
    };
    let filtering = match fabric.has_vlans() {
        true => "\n[Bridge]\nVLANFiltering=yes\nDefaultPVID=none\n",
        false => "",
    };
    file(
        &format!("10-{bridge}.netdev"),
        &format!("[NetDev]\nName={bridge}\nKind=bridge\n{filtering}"),
    );
    let addresses = match fabric.role {
        Role::LeafServer => "LinkLocalAddressing=no\nIPv6AcceptRA=no\n",
        Role::Root => "",
    };
    file(
        &format!("10-{bridge}.network"),
        &format!(
            "[Match]\nName={bridge}\n\n[Link]\nRequiredForOnline=no\n\n\
             [Network]\nConfigureWithoutCarrier=yes\n{addresses}"
        ),
    );
    for &vni in &fabric.vnis {
        let name = vni.interface();
        file(&format!("20-{name}.netdev"), &netdev(fabric, vni));
        file(&format!("20-{name}.network"), &network(fabric, vni));
    }
    for port in &fabric.ports {
        let vlans = fabric.vlans_of(port);
        // A TAP's owner is acton, which also makes it a port.
        if fabric.role == Role::LeafServer && vlans.is_empty() {
            continue;
        }
        let name = &port.name;
        let mut content = format!("[Match]\nName={name}\n\n[Network]\nBridge={bridge}\n");
        if fabric.role == Role::LeafServer {
            content.push_str("LinkLocalAddressing=no\nIPv6AcceptRA=no\n");
        }
        for (vlan, untagged) in vlans {
            content.push_str(&in_vlan(vlan, untagged));
        }
        file(&format!("30-{name}.network"), &content);
    }
    text
}

fn in_vlan(vlan: u16, untagged: bool) -> String {
    let how =
        if untagged { format!("PVID={vlan}\nEgressUntagged={vlan}\n") } else { String::new() };
    format!("\n[BridgeVLAN]\nVLAN={vlan}\n{how}")
}

fn netdev(fabric: &Fabric, vni: Vni) -> String {
    let learning = if fabric.knowledge == Knowledge::Frames { "yes" } else { "no" };
    format!(
        "[NetDev]\nName={}\nKind=vxlan\nMTUBytes={}\n\n\
         [VXLAN]\nVNI={}\nLocal={}\nDestinationPort={VXLAN_PORT}\nMacLearning={learning}\n\
         Independent=yes\n",
        vni.interface(),
        fabric.mtu,
        vni.id,
        fabric.local,
    )
}

fn network(fabric: &Fabric, vni: Vni) -> String {
    let learning = if fabric.knowledge == Knowledge::Frames { "yes" } else { "no" };
    let mut text = format!(
        "[Match]\nName={}\n\n[Network]\nBridge={}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n\
         [Bridge]\nLearning={learning}\nNeighborSuppression=no\nIsolated=no\nHairPin=no\n",
        vni.interface(),
        fabric.bridge,
    );
    if let Some(vlan) = vni.vlan {
        text.push_str(&in_vlan(vlan, true));
    }
    if fabric.knowledge == Knowledge::Frames {
        for host in fabric.hosts() {
            let _ = write!(
                text,
                "\n[BridgeFDB]\nMACAddress=00:00:00:00:00:00\nDestination={host}\n\
                 AssociatedWith=self\n"
            );
        }
    }
    text
}
