//! How many frames of each kind may be flooded, as the owner of a server chooses.

use acton_bridge::{Budget, FloodClass};

/// A budget for each kind of flood; `None` for any number of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Budgets {
    /// Broadcasts that are neither ARP nor DHCP.
    pub broadcast: Option<Budget>,
    /// ARP.
    pub arp: Option<Budget>,
    /// Neighbour discovery of IPv6.
    pub nd: Option<Budget>,
    /// DHCP and DHCPv6.
    pub dhcp: Option<Budget>,
    /// Frames to other groups.
    pub multicast: Option<Budget>,
    /// Frames to unicast addresses that are not known.
    pub unknown: Option<Budget>,
    /// Questions, by ARP or neighbour discovery, for IP addresses that nobody is known to have. They
    /// meet the budget of ARP or neighbour discovery too.
    pub unresolved: Option<Budget>,
}

impl Budgets {
    /// Those of one client unless told otherwise: what comes from it. Some ten times what the busiest
    /// honest site was thought to send: a scan of a /20 by ARP, two hundred hosts that start at once,
    /// a video wall.
    const CLIENT: Self = Self {
        broadcast: Some(Budget::new(2_000, 5_000)),
        arp: Some(Budget::new(2_000, 5_000)),
        nd: Some(Budget::new(2_000, 5_000)),
        dhcp: Some(Budget::new(500, 2_000)),
        multicast: Some(Budget::new(20_000, 20_000)),
        unknown: Some(Budget::new(20_000, 40_000)),
        unresolved: None,
    };
    /// Those of the server unless told otherwise: what comes from its TAP, each frame of which goes to
    /// every client. A client can make the root ask for any number of addresses, by frames that say
    /// they come from these. Who has spoken once is asked alone and needs no budget; for the others one
    /// of 50 a second, three questions each, serves a thousand dead hosts that are looked for each
    /// minute, and 500 at once a scan of a /23.
    const ROOT: Self = Self {
        broadcast: Some(Budget::new(5_000, 10_000)),
        arp: Some(Budget::new(5_000, 10_000)),
        nd: Some(Budget::new(5_000, 10_000)),
        dhcp: Some(Budget::new(2_000, 5_000)),
        unresolved: Some(Budget::new(50, 500)),
        ..Self::CLIENT
    };

    /// The same budget for each kind.
    #[must_use]
    pub const fn all(budget: Option<Budget>) -> Self {
        Self {
            broadcast: budget,
            arp: budget,
            nd: budget,
            dhcp: budget,
            multicast: budget,
            unknown: budget,
            unresolved: budget,
        }
    }

    /// The budget of a kind.
    #[must_use]
    pub const fn of(&self, class: FloodClass) -> Option<Budget> {
        match class {
            FloodClass::Broadcast => self.broadcast,
            FloodClass::Arp => self.arp,
            FloodClass::Nd => self.nd,
            FloodClass::Dhcp => self.dhcp,
            FloodClass::Multicast => self.multicast,
            FloodClass::Unknown => self.unknown,
            FloodClass::Unresolved => self.unresolved,
        }
    }

    /// The budget of a kind, to be changed.
    pub const fn of_mut(&mut self, class: FloodClass) -> &mut Option<Budget> {
        match class {
            FloodClass::Broadcast => &mut self.broadcast,
            FloodClass::Arp => &mut self.arp,
            FloodClass::Nd => &mut self.nd,
            FloodClass::Dhcp => &mut self.dhcp,
            FloodClass::Multicast => &mut self.multicast,
            FloodClass::Unknown => &mut self.unknown,
            FloodClass::Unresolved => &mut self.unresolved,
        }
    }
}

/// A server's budgets: what passes them is dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct FloodBudgets {
    /// For each client: what comes from it.
    pub client: Budgets,
    /// For the server: what comes from its TAP for all clients.
    pub root: Budgets,
}

impl Default for FloodBudgets {
    fn default() -> Self {
        Self { client: Budgets::CLIENT, root: Budgets::ROOT }
    }
}
