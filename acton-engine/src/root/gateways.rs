//! The gateways that this host's default routes name on the LAN behind the TAP.

use std::net::IpAddr;

use acton_netlink::Neighbour;
use pnet_base::MacAddr;

/// A gateway, and its MAC once that is certain.
#[derive(Debug, Clone, Copy)]
struct Gateway {
    interface: u32,
    ip: IpAddr,
    /// What the host's neighbour table says, which anybody on the LAN can forge, also a client.
    claimed: Option<MacAddr>,
    /// What the kernel's bridge knew at another port than the TAP when it was claimed. It stays
    /// until another one is as certain: a client that poisons the neighbour table changes nothing.
    certain: Option<MacAddr>,
}

/// The gateways on the LAN behind the TAP.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    known: Vec<Gateway>,
}

impl Gateways {
    /// The default routes lead to these, by interface and address.
    pub(super) fn follow(&mut self, routes: &[(u32, IpAddr)]) {
        let before = std::mem::take(&mut self.known);
        for &(interface, ip) in routes {
            let known = before.iter().find(|known| (known.interface, known.ip) == (interface, ip));
            let new = Gateway { interface, ip, claimed: None, certain: None };
            self.known.push(known.copied().unwrap_or(new));
        }
    }

    /// The interfaces that they are on.
    pub(super) fn interfaces(&self) -> Vec<u32> {
        let mut all: Vec<_> = self.known.iter().map(|gateway| gateway.interface).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What the neighbour table says of a host; `true` where that is a gateway with another MAC.
    pub(super) fn hear(&mut self, neighbour: &Neighbour) -> bool {
        let mut changed = false;
        for gateway in &mut self.known {
            let is_it = (gateway.interface, gateway.ip) == (neighbour.interface, neighbour.ip);
            if is_it && neighbour.mac.is_some() && gateway.claimed != neighbour.mac {
                gateway.claimed = neighbour.mac;
                changed = true;
            }
        }
        changed
    }

    /// Whether a gateway is said to have this MAC, which is not certain yet.
    pub(super) fn asks_about(&self, mac: MacAddr) -> bool {
        self.known.iter().any(|it| it.claimed == Some(mac) && it.certain != Some(mac))
    }

    /// Their MACs, as far as they are certain; `is_elsewhere` says of a MAC whether the kernel's
    /// bridge knows it at another port than the TAP.
    pub(super) fn macs(&mut self, is_elsewhere: impl Fn(MacAddr) -> bool) -> Vec<MacAddr> {
        for gateway in &mut self.known {
            if let Some(mac) = gateway.claimed
                && is_elsewhere(mac)
            {
                gateway.certain = Some(mac);
            }
        }
        self.known.iter().filter_map(|gateway| gateway.certain).collect()
    }
}
