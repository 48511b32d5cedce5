//! Interfaces: those that lead to the other end, and the TAP.

use std::io;
use std::net::{IpAddr, SocketAddr};

use acton_netlink::{Link, Socket};

use super::printed;
use crate::doctor::facts::{BridgeFacts, Known, OutgoingLink, TapFacts};

/// The features that count, and what `ethtool -K` calls them.
const OFFLOADS: [(&str, &str); 3] = [
    ("generic-receive-offload", "gro"),
    ("generic-segmentation-offload", "gso"),
    ("tx-udp-segmentation", "tx-udp-segmentation"),
];

/// Whether a route leads there.
pub(super) fn route(ip: IpAddr) -> io::Result<()> {
    Socket::open()?.route_to(ip, None).map(drop)
}

/// The interfaces by which datagrams leave for `far`; without any, by which they would for anywhere.
pub(super) fn to(far: &[SocketAddr], by_default: bool) -> Vec<OutgoingLink> {
    find(far, by_default).unwrap_or_default()
}

fn find(far: &[SocketAddr], by_default: bool) -> io::Result<Vec<OutgoingLink>> {
    let mut netlink = Socket::open()?;
    let mut found: Vec<(u32, bool)> = Vec::new();
    for address in far {
        if let Ok(route) = netlink.route_to(address.ip(), None) {
            found.push((route.interface, address.is_ipv6()));
        }
    }
    if found.is_empty() && by_default {
        found.extend(netlink.default_routes()?.iter().map(|route| (route.interface, false)));
    }
    found.sort_unstable();
    found.dedup();
    let links = found.into_iter().filter_map(|(index, is_ipv6)| {
        let link = netlink.link_by_index(index).ok()?;
        let offloads_off = printed("ethtool", &["-k", &link.name]).map(|text| off(&text));
        Some(OutgoingLink { name: link.name, mtu: link.mtu, is_ipv6, offloads_off })
    });
    Ok(links.collect())
}

/// What is off in what ethtool says, and can be switched on.
fn off(text: &str) -> Vec<String> {
    let is_off = |feature: &str| {
        text.lines().any(|line| {
            let value = line.trim().strip_prefix(feature).and_then(|rest| rest.strip_prefix(':'));
            value.is_some_and(|value| value.trim().starts_with("off") && !value.contains("[fixed]"))
        })
    };
    let off = OFFLOADS.into_iter().filter(|(feature, _)| is_off(feature));
    off.map(|(_, name)| name.to_owned()).collect()
}

/// The TAP; `None` where there is none of this name.
pub(super) fn tap(name: &str) -> Option<Known<TapFacts>> {
    let mut netlink = match Socket::open() {
        Ok(netlink) => netlink,
        Err(error) => return Some(Err(error.to_string())),
    };
    let Link { name, tx_queue_len, tx_dropped, master, forwards, .. } = netlink.link(name).ok()?;
    let bridge = master.and_then(|index| netlink.link_by_index(index).ok());
    let bridge = bridge.and_then(|link| {
        let status = link.bridge?;
        Some(BridgeFacts {
            name: link.name,
            stp: status.stp,
            forwards,
            snooping: status.snooping,
            querier: status.querier || status.querier_known,
        })
    });
    Some(Ok(TapFacts { name, queue_len: tx_queue_len, dropped: tx_dropped, bridge }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fixed_cannot_be_switched_on() {
        let text = "Features for eth0:\ngeneric-segmentation-offload: on\n\
                    generic-receive-offload: off\ntx-udp-segmentation: off [fixed]\n\
                    \ttx-generic-segmentation: on\n";
        assert_eq!(off(text), ["gro"]);
    }
}
