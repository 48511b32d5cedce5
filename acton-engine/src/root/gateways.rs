//! The gateways that this host's default routes name on the LAN behind the TAP.

use std::fmt;
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use acton_netlink::Neighbour;
use pnet_base::MacAddr;

/// MACs that one gateway has at most: those of a few routers that share its address, and of what came
/// in their place. A client can have so many of the LAN's MACs taken for a gateway's, no more.
const MAX_MACS: usize = 8;
/// Gateways at most: a client that forges router advertisements names as many as it likes.
const MAX_GATEWAYS: usize = 16;
/// How long a gateway is kept that no route names: longer than a network manager needs to start again.
const KEPT: Duration = Duration::from_secs(600);

/// A gateway, and its MACs as far as they are certain.
#[derive(Debug)]
struct Gateway {
    interface: u32,
    ip: IpAddr,
    /// Since when no route names it.
    gone_since: Option<Duration>,
    /// What the host's neighbour table says, which anybody on the LAN can forge, also a client.
    claimed: Option<MacAddr>,
    /// What the kernel's bridge knew at another port than the TAP when it was claimed. All of them
    /// stay: a client that poisons the neighbour table with another host's takes none away.
    certain: Vec<MacAddr>,
    /// It was told that there is no room for more.
    is_full: bool,
}

/// What there was no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another MAC of a gateway.
    Mac(IpAddr, MacAddr),
    /// Another gateway.
    Gateway(IpAddr),
}

/// As in a warning, which says what helps.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(ip, mac) => write!(
                f,
                "gateway {ip} has {MAX_MACS} MACs and is said to have {mac} too, which a client may \
                 use once it is silent; if that is its MAC, name it by --protect, else look who \
                 forges ARP or ND"
            ),
            Self::Gateway(ip) => write!(
                f,
                "there are {MAX_GATEWAYS} gateways and {ip} is one too many; name its MAC by \
                 --protect, or look who forges router advertisements"
            ),
        }
    }
}

/// The gateways on the LAN behind the TAP.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    known: Vec<Gateway>,
    /// It was told that there is no room for more.
    is_full: bool,
    refusals: Vec<Refusal>,
}

impl Gateways {
    /// The default routes lead to these, by interface and address. Those that they led to before are
    /// kept for a while: a route may be away for a moment only.
    pub(super) fn follow(&mut self, routes: &[(u32, IpAddr)], now: Duration) {
        for gateway in &mut self.known {
            let is_named = routes.contains(&(gateway.interface, gateway.ip));
            gateway.gone_since = if is_named { None } else { gateway.gone_since.or(Some(now)) };
        }
        self.known.retain(|gateway| {
            let is_kept = |since| !gateway.certain.is_empty() && now.saturating_sub(since) < KEPT;
            gateway.gone_since.is_none_or(is_kept)
        });
        for &(interface, ip) in routes {
            if self.known.iter().any(|known| (known.interface, known.ip) == (interface, ip)) {
                continue;
            }
            if self.known.len() < MAX_GATEWAYS {
                self.known.push(Gateway {
                    interface,
                    ip,
                    gone_since: None,
                    claimed: None,
                    certain: Vec::new(),
                    is_full: false,
                });
            } else if !mem::replace(&mut self.is_full, true) {
                self.refusals.push(Refusal::Gateway(ip));
            }
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
        self.claim(neighbour.interface, neighbour.ip, neighbour.mac)
    }

    fn claim(&mut self, interface: u32, ip: IpAddr, mac: Option<MacAddr>) -> bool {
        let mut changed = false;
        for gateway in &mut self.known {
            let is_it = (gateway.interface, gateway.ip) == (interface, ip);
            if is_it && mac.is_some() && gateway.claimed != mac {
                gateway.claimed = mac;
                changed = true;
            }
        }
        changed
    }

    /// Whether a gateway is said to have this MAC, which is not certain yet and can become so.
    pub(super) fn asks_about(&self, mac: MacAddr) -> bool {
        let asks = |it: &Gateway| it.claimed == Some(mac) && !it.certain.contains(&mac);
        self.known.iter().any(|it| asks(it) && !it.is_full)
    }

    /// Their MACs, as far as they are certain; `is_elsewhere` says of a MAC whether the kernel's
    /// bridge knows it at another port than the TAP.
    pub(super) fn macs(&mut self, is_elsewhere: impl Fn(MacAddr) -> bool) -> Vec<MacAddr> {
        for gateway in &mut self.known {
            let Some(mac) = gateway.claimed else { continue };
            if gateway.certain.contains(&mac) || !is_elsewhere(mac) {
                continue;
            }
            if gateway.certain.len() < MAX_MACS {
                gateway.certain.push(mac);
            } else if !mem::replace(&mut gateway.is_full, true) {
                self.refusals.push(Refusal::Mac(gateway.ip, mac));
            }
        }
        self.known.iter().flat_map(|gateway| gateway.certain.iter().copied()).collect()
    }

    /// The addresses of those that have a MAC which is certain, with their interfaces: a gateway behind a
    /// client has none.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        let certain = self.known.iter().filter(|gateway| !gateway.certain.is_empty());
        certain.map(|gateway| (gateway.interface, gateway.ip))
    }

    /// What there was no room for since this was last asked; of each gateway, and of all gateways,
    /// the first only.
    pub(super) fn take_refusals(&mut self) -> Vec<Refusal> {
        mem::take(&mut self.refusals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERFACE: u32 = 3;
    const ROUTER: (u32, IpAddr) = (INTERFACE, IpAddr::V4(std::net::Ipv4Addr::new(10, 2, 0, 254)));
    const START: Duration = Duration::from_secs(1_000);

    fn mac(last: u8) -> MacAddr {
        MacAddr(2, 0, 0, 0, 0, last)
    }

    fn with_router() -> Gateways {
        let mut gateways = Gateways::default();
        gateways.follow(&[ROUTER], START);
        gateways
    }

    /// The router is said to have this MAC; what is certain then.
    fn said(gateways: &mut Gateways, mac: MacAddr) -> Vec<MacAddr> {
        gateways.claim(INTERFACE, ROUTER.1, Some(mac));
        gateways.macs(|_| true)
    }

    #[test]
    fn a_mac_counts_once_it_is_seen_elsewhere() {
        let mut gateways = with_router();
        assert!(gateways.claim(INTERFACE, ROUTER.1, Some(mac(1))));
        assert!(!gateways.claim(INTERFACE, ROUTER.1, Some(mac(1))), "as before");
        assert!(!gateways.claim(INTERFACE + 1, ROUTER.1, Some(mac(2))), "another link's");
        assert!(gateways.macs(|_| false).is_empty());
        assert!(gateways.asks_about(mac(1)) && !gateways.asks_about(mac(2)));
        assert_eq!(gateways.addresses().count(), 0);
        assert_eq!(gateways.macs(|_| true), [mac(1)]);
        assert_eq!(gateways.addresses().collect::<Vec<_>>(), [ROUTER]);
        assert!(!gateways.asks_about(mac(1)));
    }

    /// A client says that the router has the MACs of other hosts of the LAN.
    #[test]
    fn a_poisoned_neighbour_table_takes_no_mac_away() {
        let mut gateways = with_router();
        assert_eq!(said(&mut gateways, mac(1)), [mac(1)]);
        assert_eq!(said(&mut gateways, mac(2)), [mac(1), mac(2)]);
        assert_eq!(said(&mut gateways, mac(1)), [mac(1), mac(2)], "nothing new to tell");
        for last in 3..200 {
            let certain = said(&mut gateways, mac(last));
            assert!(certain.contains(&mac(1)) && certain.len() <= MAX_MACS);
        }
        let first_refused = mac(1 + MAX_MACS as u8);
        assert_eq!(gateways.take_refusals(), [Refusal::Mac(ROUTER.1, first_refused)], "told once");
        assert!(!gateways.asks_about(mac(199)), "no frame of that has anybody look again");
    }

    #[test]
    fn a_route_that_is_away_for_a_moment_changes_nothing() {
        let mut gateways = with_router();
        said(&mut gateways, mac(1));
        let gone = START + KEPT * 9;
        gateways.follow(&[], gone);
        gateways.follow(&[], gone + KEPT / 2);
        assert_eq!(gateways.macs(|_| false), [mac(1)]);
        gateways.follow(&[ROUTER], gone + KEPT / 2);
        gateways.follow(&[], gone + KEPT);
        assert_eq!(gateways.macs(|_| false), [mac(1)], "it was named meanwhile");
        gateways.follow(&[], gone + KEPT * 2);
        assert!(gateways.macs(|_| false).is_empty());
    }

    #[test]
    fn forged_routers_take_no_room_from_one_that_is_known() {
        let mut gateways = with_router();
        said(&mut gateways, mac(1));
        let forged: Vec<_> =
            (0..999).map(|i| (INTERFACE, IpAddr::from([10, 3, 0, i as u8]))).collect();
        gateways.follow(&forged, START);
        assert_eq!(gateways.known.len(), MAX_GATEWAYS);
        assert_eq!(gateways.take_refusals().len(), 1, "told once");
        assert_eq!(gateways.macs(|_| false), [mac(1)]);
        gateways.follow(&[ROUTER], START);
        assert_eq!(gateways.known.len(), 1, "those without a MAC are not kept");
    }
}
