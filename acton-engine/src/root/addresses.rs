//! IP addresses of the root's that no client may use: this host's on the LAN behind the TAP, and those of
//! gateways there.

use std::io;
use std::net::IpAddr;

use acton_bridge::RootAddress;
use acton_netlink::{Link, Socket};

/// The interfaces on which this host is on that LAN: the TAP, the Linux bridge that it is a port of, and
/// VLANs on either.
pub(super) struct Interfaces {
    /// Each with its VLANs as frames of the TAP have them, 0 for untagged.
    vlans: Vec<(u32, Vec<u16>)>,
}

impl Interfaces {
    /// Those of a TAP.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub(super) fn find(netlink: &mut Socket, tap: &Link) -> io::Result<Self> {
        let links = netlink.links()?;
        let bridge = tap.master.and_then(|master| links.iter().find(|link| link.index == master));
        let filters = bridge.and_then(|it| it.bridge).is_some_and(|it| it.vlan_filtering);
        let pvids = match bridge {
            Some(bridge) if filters => {
                Some([netlink.port_pvid(bridge.index)?, netlink.port_pvid(tap.index)?])
            }
            _ => None,
        };
        let base = bridge.map_or(tap.index, |bridge| bridge.index);
        let vlans = links.iter().filter_map(|link| {
            let vlan = match link.vlan {
                _ if link.index == base => 0,
                Some(vlan) if link.lower == Some(base) => vlan,
                _ => return None,
            };
            Some((link.index, seen_at_tap(vlan, pvids)))
        });
        Ok(Self { vlans: vlans.collect() })
    }

    /// What this host has there. What may be another host's, for this one still looks, is not its own.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub(super) fn own(&self, netlink: &mut Socket) -> io::Result<Vec<RootAddress>> {
        let mut own = Vec::new();
        for (interface, vlans) in &self.vlans {
            for address in netlink.addresses(*interface)? {
                if !address.tentative {
                    own.extend(on(address.ip, vlans));
                }
            }
        }
        Ok(own)
    }

    /// An address of somebody else on an interface.
    pub(super) fn place(&self, interface: u32, address: IpAddr) -> Vec<RootAddress> {
        let vlans = self.vlans.iter().find(|(other, _)| *other == interface);
        vlans.map(|(_, vlans)| on(address, vlans).collect()).unwrap_or_default()
    }
}

fn on(address: IpAddr, vlans: &[u16]) -> impl Iterator<Item = RootAddress> {
    vlans.iter().map(move |&vlan| RootAddress { address, vlan: Some(vlan) })
}

/// What frames of an interface of a VLAN have at the TAP, where 0 is the bridge itself: where that tells
/// VLANs apart, by the VLANs that its own untagged frames have, and the TAP's.
fn seen_at_tap(vlan: u16, pvids: Option<[Option<u16>; 2]>) -> Vec<u16> {
    let Some([of_bridge, of_tap]) = pvids else { return vec![vlan] };
    let Some(vlan) = Some(vlan).filter(|&vlan| vlan > 0).or(of_bridge) else { return Vec::new() };
    let untagged = (of_tap == Some(vlan)).then_some(0);
    [vlan].into_iter().chain(untagged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_are_as_frames_of_the_tap_have_them() {
        assert_eq!((seen_at_tap(0, None), seen_at_tap(7, None)), (vec![0], vec![7]));
        let as_made = Some([Some(1), Some(1)]);
        assert_eq!((seen_at_tap(0, as_made), seen_at_tap(7, as_made)), (vec![1, 0], vec![7]));
        let apart = Some([Some(1), Some(7)]);
        assert_eq!((seen_at_tap(0, apart), seen_at_tap(7, apart)), (vec![1], vec![7, 0]));
        assert_eq!(seen_at_tap(0, Some([None, Some(7)])), [0; 0]);
    }
}
