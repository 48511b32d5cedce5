//! Whether a host is as its fabric wants it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use acton_netlink::PortVlans;

use super::links::join_vlan;
use super::{
    BridgeSeen, Fabric, Knowledge, Role, Seen, UnderlaySeen, VXLAN_OVERHEAD, VXLAN_PORT, Vni,
    VxlanSeen,
};

/// A line of FRR's configuration, after those that it stands under.
type Line = Vec<String>;

/// What differs, and what mends it, a sentence each.
#[must_use]
pub fn check(fabric: &Fabric, seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    let bridge = &fabric.bridge;
    match seen.bridge {
        None => found.push(format!(
            "there is no bridge {bridge}: `acton evpn render` prints how to make it"
        )),
        Some(BridgeSeen { is_bridge: false, .. }) => {
            found.push(format!("{bridge} is no bridge; name another with --bridge"));
        }
        Some(BridgeSeen { up, vlan_filtering, .. }) => {
            if !up {
                found.push(format!("{bridge} is down: ip link set {bridge} up"));
            }
            if vlan_filtering != fabric.has_vlans() {
                let number = u8::from(fabric.has_vlans());
                found.push(format!(
                    "{bridge} has vlan_filtering {}: ip link set {bridge} type bridge vlan_filtering {number}",
                    u8::from(vlan_filtering)
                ));
            }
        }
    }
    for (vni, vxlan) in fabric.vnis.iter().zip(&seen.vxlans) {
        match vxlan {
            Some(vxlan) => check_vxlan(fabric, *vni, vxlan, &mut found),
            None => found.push(format!(
                "there is no {}: `acton evpn render` prints how to make it",
                vni.interface()
            )),
        }
    }
    for (port, is) in fabric.ports.iter().zip(&seen.ports) {
        let name = &port.name;
        if is.joined {
            check_vlans(name, &fabric.vlans_of(port), &is.vlans, &mut found);
            continue;
        }
        let mend = match fabric.role {
            Role::Root => format!("ip link set {name} master {bridge}"),
            Role::LeafServer => format!("acton server --tap {name} --bridge {bridge}"),
        };
        found.push(format!("{name} is no port of {bridge}: {mend}"));
    }
    let needed = fabric.mtu + VXLAN_OVERHEAD;
    for UnderlaySeen { name, mtu } in seen.underlay.iter().filter(|it| it.mtu < needed) {
        found.push(format!(
            "{name}, by which other servers are reached, has an MTU of {mtu} where VXLAN needs {needed}, or \
             --mtu {} at all servers: ip link set {name} mtu {needed}",
            mtu.saturating_sub(VXLAN_OVERHEAD)
        ));
    }
    if !seen.bridge_filters.is_empty() {
        let all = |value: u8| {
            let set = seen.bridge_filters.iter().map(|name| format!("net.bridge.{name}={value}"));
            set.collect::<Vec<_>>().join(" ")
        };
        found.push(format!(
            "rules of iptables see what {bridge} forwards and may drop it ({}): sysctl -w {}",
            all(1),
            all(0)
        ));
    }
    if let Some(wanted) = fabric.frr() {
        match &seen.frr {
            Ok(running) => check_frr(&wanted, running, &mut found),
            Err(error) => found.push(format!(
                "what FRR runs by cannot be had ({error}): are bgpd and zebra there (/etc/frr/daemons), \
                 and may this user ask them?"
            )),
        }
    }
    found
}

fn check_vxlan(fabric: &Fabric, vni: Vni, seen: &VxlanSeen, found: &mut Vec<String>) {
    let (name, bridge) = (vni.interface(), &fabric.bridge);
    let anew = "make it anew as `acton evpn render` prints";
    if seen.id != Some(vni.id) {
        let is = seen.id.map_or("no VXLAN interface".to_owned(), |id| format!("of VNI {id}"));
        return found.push(format!("{name} is {is}: {anew}"));
    }
    if seen.local != Some(fabric.local.into()) {
        let local = seen.local.map_or("no address".to_owned(), |local| local.to_string());
        found.push(format!("{name} sends from {local} and not {}: {anew}", fabric.local));
    }
    if seen.port != VXLAN_PORT {
        found.push(format!("{name} sends to UDP port {} and not {VXLAN_PORT}: {anew}", seen.port));
    }
    if seen.mtu != fabric.mtu {
        let (is, wanted) = (seen.mtu, fabric.mtu);
        found.push(format!("{name} has an MTU of {is}: ip link set {name} mtu {wanted}"));
    }
    if !seen.joined {
        found.push(format!("{name} is no port of {bridge}: ip link set {name} master {bridge}"));
    }
    if !seen.up {
        found.push(format!("{name} is down: ip link set {name} up"));
    }
    if seen.isolated {
        found.push(format!(
            "{name} is isolated, so that nothing passes between it and a TAP that is so too: bridge link \
             set dev {name} isolated off"
        ));
    }
    if let (true, Some(vlan)) = (seen.joined, vni.vlan) {
        check_vlans(&name, &[(vlan, true)], &seen.vlans, found);
    }
    let by_frames = fabric.knowledge == Knowledge::Frames;
    if seen.learns != by_frames {
        let wanted = if by_frames { "learning" } else { "nolearning" };
        found.push(format!("{name} is to be {wanted}: ip link set {name} type vxlan {wanted}"));
    }
    if seen.joined && seen.port_learns != by_frames {
        let wanted = if by_frames { "on" } else { "off" };
        found.push(format!("bridge {bridge} is to have learning {wanted} at {name}: bridge link set dev {name} learning {wanted}"));
    }
    if by_frames {
        let wanted: BTreeSet<IpAddr> = fabric.hosts().into_iter().map(IpAddr::from).collect();
        let is: BTreeSet<IpAddr> = seen.floods_to.iter().copied().collect();
        for host in wanted.difference(&is) {
            found.push(format!("{name} does not flood to {host}: bridge fdb append 00:00:00:00:00:00 dev {name} dst {host}"));
        }
        for host in is.difference(&wanted) {
            let why = match fabric.role {
                Role::LeafServer => ", whose clients could so be reached",
                Role::Root => "",
            };
            found.push(format!("{name} floods to {host}{why}: bridge fdb del 00:00:00:00:00:00 dev {name} dst {host}"));
        }
    }
}

/// A port of a bridge with VLANs is in those that are wanted, each with a tag or without one, and in no
/// further one.
fn check_vlans(port: &str, wanted: &[(u16, bool)], is: &[PortVlans], found: &mut Vec<String>) {
    if wanted.is_empty() {
        return;
    }
    for &(vlan, untagged) in wanted {
        let is_so = |it: &&PortVlans| {
            (it.first..=it.last).contains(&vlan) && (it.pvid, it.untagged) == (untagged, untagged)
        };
        if is.iter().find(is_so).is_none() {
            let how = if untagged { "without" } else { "with" };
            let mend = join_vlan(port, vlan, untagged);
            found.push(format!("{port} is not in VLAN {vlan} {how} a tag: {mend}"));
        }
    }
    let is_wanted = |vlan: u16| wanted.iter().any(|&(it, _)| it == vlan);
    for it in is.iter().flat_map(|it| it.first..=it.last).filter(|&vlan| !is_wanted(vlan)) {
        found.push(format!(
            "{port} is in VLAN {it}, which is not its network's: bridge vlan del dev {port} vid {it}"
        ));
    }
}

/// Each line that is wanted has to be there; further ones may, but for route targets of a network of the
/// fabric.
fn check_frr(wanted: &str, running: &str, found: &mut Vec<String>) {
    let (wanted, running) = (lines(wanted), lines(running));
    let (wanted, running): (BTreeSet<_>, BTreeSet<_>) =
        (wanted.into_iter().collect(), running.into_iter().collect());
    for line in wanted.difference(&running) {
        found.push(format!("FRR has not: {}", line.join(" / ")));
    }
    let is_ours = |line: &Line| {
        line.last().is_some_and(|it| it.starts_with("route-target "))
            && wanted.iter().any(|it| it[..] == line[..line.len() - 1])
    };
    for line in running.difference(&wanted).filter(|line| is_ours(line)) {
        found.push(format!("FRR has what keeps clients apart no longer: {}", line.join(" / ")));
    }
}

/// The lines of a configuration, each after those that it is indented under.
fn lines(text: &str) -> Vec<Line> {
    let mut under: Vec<(usize, &str)> = Vec::new();
    let mut all = Vec::new();
    for line in text.lines() {
        let words = line.trim();
        let is_end = words == "exit" || words.starts_with("exit-") || words == "end";
        if words.is_empty() || words.starts_with('!') || is_end {
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        under.retain(|&(other, _)| other < depth);
        under.push((depth, words));
        all.push(under.iter().map(|&(_, words)| words.to_owned()).collect());
    }
    all
}
