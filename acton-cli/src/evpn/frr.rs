//! The configuration of FRR: BGP with EVPN between each root and each leaf server, and between roots.
//!
//! Leaf servers have no session with one another, and a root passes on what one says to none: it is
//! internal BGP without a route reflector. What a leaf server says only roots import.

use std::fmt::Write;

use super::{Fabric, Peer, Role};

/// Leaf servers that may come out of a network: FRR lets 100 in where nothing is said.
const MAX_LISTEN: u32 = 1_000;

pub(super) fn render(fabric: &Fabric, asn: u16) -> String {
    let mut text = format!("! FRR of {}: bgpd, zebra.\n!\n", fabric.title());
    let mut line = |depth: usize, it: &str| {
        let _ = writeln!(text, "{}{it}", " ".repeat(depth));
    };
    line(0, &format!("router bgp {asn}"));
    line(1, &format!("bgp router-id {}", fabric.local));
    line(1, "no bgp default ipv4-unicast");
    // A host that has gone is missed after 3 s, and asked for again each second.
    line(1, "timers bgp 1 3");
    let mut groups = Vec::new();
    let mut group = |name: &'static str, hosts: &[Peer]| {
        if hosts.is_empty() {
            return;
        }
        groups.push(name);
        line(1, &format!("neighbor {name} peer-group"));
        line(1, &format!("neighbor {name} remote-as {asn}"));
        line(1, &format!("neighbor {name} timers connect 1"));
        line(1, &format!("neighbor {name} update-source {}", fabric.local));
        for peer in hosts {
            match peer {
                Peer::Host(host) => line(1, &format!("neighbor {host} peer-group {name}")),
                Peer::Network(network) => {
                    line(1, &format!("bgp listen limit {MAX_LISTEN}"));
                    line(1, &format!("bgp listen range {network} peer-group {name}"));
                }
            }
        }
    };
    match fabric.role {
        Role::Root => {
            let roots: Vec<_> = fabric.roots.iter().copied().map(Peer::Host).collect();
            group("LEAF-SERVERS", &fabric.peers);
            group("ROOTS", &roots);
        }
        Role::LeafServer => group("ROOTS", &fabric.peers),
    }
    line(1, "!");
    line(1, "address-family l2vpn evpn");
    for name in groups {
        line(2, &format!("neighbor {name} activate"));
    }
    line(2, "advertise-all-vni");
    for vni in &fabric.vnis {
        line(2, &format!("vni {}", vni.id));
        let imported: &[Role] = match fabric.role {
            Role::Root => &[Role::Root, Role::LeafServer],
            Role::LeafServer => &[Role::Root],
        };
        for &role in imported {
            line(3, &format!("route-target import {asn}:{}", vni.target(role)));
        }
        line(3, &format!("route-target export {asn}:{}", vni.target(fabric.role)));
        line(2, "exit-vni");
    }
    line(1, "exit-address-family");
    line(0, "exit");
    text
}
