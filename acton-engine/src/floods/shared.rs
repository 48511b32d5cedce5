//! What all workers of a server know of floods.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use acton_bridge::{
    AdvertisedPrefixes, Bridge, Budget, CompiledPolicy, FloodClass, Leases, Neighbours, Owner,
    RootAddresses,
};
use acton_frame::Headers;
use arc_swap::ArcSwapOption;

use crate::floods::budgets::{Budgets, FloodBudgets};
use crate::floods::gate::FloodGate;
use crate::floods::snooper::Snooper;
use crate::floods::vlan_gates::VlanGates;
use crate::isolation::fates::Fates;
use crate::loops::probe::Prober;
use crate::sessions::lease_holders::LeaseHolders;
use crate::sessions::pairs::Pairs;
use crate::sessions::port::LeafId;
use crate::sessions::vlan_members::VlanMembers;

/// The budgets in force, what has been flooded from the root, who need not be asked for by a flood, and
/// what loops are found by.
#[derive(Debug)]
pub(crate) struct Floods {
    pub(crate) client: SharedBudgets,
    pub(crate) root: SharedBudgets,
    pub(crate) root_gate: FloodGate,
    pub(crate) neighbours: Neighbours<LeafId>,
    /// What no client may use that is guarded.
    pub(crate) root_addresses: Arc<RootAddresses>,
    /// Who was given which address.
    pub(crate) lease_holders: LeaseHolders,
    /// Where hosts may make IPv6 addresses themselves.
    pub(crate) advertised: AdvertisedPrefixes,
    /// Who asked for which multicast group.
    pub(crate) snooper: Snooper,
    /// `None` where nobody looks for loops.
    pub(crate) prober: Option<Prober>,
    /// Clients whose flooding is held back.
    blocked: AtomicUsize,
    /// Whether clients are not to be the LAN's servers and routers, where their policy does not say.
    guards: AtomicBool,
    /// Whether the policy of any client names VLANs.
    by_vlan: AtomicBool,
    /// Who has which pair of VLAN tags.
    pub(crate) pairs: Pairs,
    /// Which clients are in which VLAN.
    pub(crate) vlan_members: VlanMembers,
    /// What has been flooded from the root in each.
    pub(crate) vlan_gates: VlanGates,
    /// Whether any client is named to servers by its circuit.
    names_circuits: AtomicBool,
    /// What frames that pass are looked at for: [`LEASES`], [`TEST`].
    attends: AtomicU8,
    /// A test of isolation that is on.
    test: ArcSwapOption<Fates>,
}

/// The policy of any client asks which addresses it was given.
const LEASES: u8 = 1;
/// A test of isolation is on.
const TEST: u8 = 2;

impl Floods {
    pub(crate) fn new(budgets: &FloodBudgets, looks_for_loops: bool) -> Self {
        let floods = Self {
            client: SharedBudgets::none(),
            root: SharedBudgets::none(),
            root_gate: FloodGate::new(),
            neighbours: Neighbours::new(),
            root_addresses: Arc::default(),
            lease_holders: LeaseHolders::default(),
            advertised: AdvertisedPrefixes::default(),
            snooper: Snooper::new(false),
            prober: looks_for_loops.then(Prober::new),
            blocked: AtomicUsize::new(0),
            guards: AtomicBool::new(true),
            by_vlan: AtomicBool::new(false),
            pairs: Pairs::default(),
            vlan_members: VlanMembers::default(),
            vlan_gates: VlanGates::default(),
            names_circuits: AtomicBool::new(false),
            attends: AtomicU8::new(0),
            test: ArcSwapOption::empty(),
        };
        floods.set_budgets(budgets);
        floods
    }

    /// Says of how many clients the flooding is held back: the control thread's to say, which alone
    /// knows for how long.
    pub(crate) fn set_blocked(&self, clients: usize) {
        self.blocked.store(clients, Ordering::Relaxed);
    }

    /// Says whether clients may be the LAN's servers and routers where their policy does not.
    pub(crate) fn set_guards(&self, guards: bool) {
        self.guards.store(guards, Ordering::Relaxed);
    }

    /// Whether a client is not to be the LAN's server or router.
    #[inline]
    pub(crate) fn are_guarding(&self, policy: &CompiledPolicy) -> bool {
        policy
            .policy()
            .trusted
            .map_or_else(|| self.guards.load(Ordering::Relaxed), |trusted| !trusted)
    }

    /// Says that a client's policy asks which addresses it was given.
    pub(crate) fn set_learning(&self) {
        self.attends.fetch_or(LEASES, Ordering::Relaxed);
    }

    /// Whether any client's does, or did.
    #[inline]
    pub(crate) fn are_learning(&self) -> bool {
        self.attends.load(Ordering::Relaxed) & LEASES != 0
    }

    /// Begins a test of isolation, or ends the one that is on.
    pub(crate) fn set_test(&self, test: Option<Arc<Fates>>) {
        let is_on = test.is_some();
        self.test.store(test);
        if is_on {
            self.attends.fetch_or(TEST, Ordering::Relaxed);
        } else {
            self.attends.fetch_and(!TEST, Ordering::Relaxed);
        }
    }

    /// Whether a test of isolation is on.
    #[inline]
    pub(crate) fn are_testing(&self) -> bool {
        self.attends.load(Ordering::Relaxed) & TEST != 0
    }

    /// Looks at a frame of a client's while a test of isolation is on: what `look` makes of the test and the
    /// frame's number in it, where it has one.
    #[inline]
    pub(crate) fn test_frame<T>(
        &self,
        from: LeafId,
        headers: &Headers,
        frame: &[u8],
        look: impl FnOnce(&Fates, u16) -> T,
    ) -> Option<T> {
        if !self.are_testing() {
            return None;
        }
        let test = self.test.load();
        let test = test.as_ref()?;
        test.number(from, headers, frame).map(|number| look(test, number))
    }

    /// Whether frames that pass are looked at for anything.
    #[inline]
    pub(crate) fn are_attending(&self) -> bool {
        self.attends.load(Ordering::Relaxed) != 0
    }

    /// Says that a client's policy names VLANs.
    pub(crate) fn set_by_vlan(&self) {
        self.by_vlan.store(true, Ordering::Release);
    }

    /// Whether any client's does, or did.
    #[inline]
    pub(crate) fn are_by_vlan(&self) -> bool {
        self.by_vlan.load(Ordering::Acquire)
    }

    /// Says that a client is named to servers by its circuit.
    pub(crate) fn set_naming_circuits(&self) {
        self.names_circuits.store(true, Ordering::Relaxed);
    }

    /// Whether any client is, or was.
    #[inline]
    pub(crate) fn are_naming_circuits(&self) -> bool {
        self.names_circuits.load(Ordering::Relaxed)
    }

    /// Whether somebody else than a client has an address, as far as is known, and his MAC is still where
    /// it was: one that moved on or was silent for its time keeps no address from others.
    pub(crate) fn is_elsewhere(
        &self,
        bridge: &Bridge<LeafId>,
        client: LeafId,
        (vlan, address): (u16, IpAddr),
        now: Duration,
    ) -> bool {
        let other = self.neighbours.elsewhere(Owner::Leaf(client), vlan, address, now);
        other.is_some_and(|(owner, mac)| bridge.lookup(vlan, mac, now) == Some(owner))
    }

    /// The same, or a client with other leases than these was given the address, or made it itself.
    pub(crate) fn is_others(
        &self,
        bridge: &Bridge<LeafId>,
        (client, leases): (LeafId, &Arc<Leases>),
        (vlan, address): (u16, IpAddr),
        now: Duration,
    ) -> bool {
        self.is_elsewhere(bridge, client, (vlan, address), now)
            || self.lease_holders.is_others((vlan, address.into()), leases, now)
    }

    /// Whether the flooding of any client is held back.
    pub(crate) fn are_any_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed) > 0
    }

    /// Puts other budgets in force.
    pub(crate) fn set_budgets(&self, budgets: &FloodBudgets) {
        self.client.set(&budgets.client);
        self.root.set(&budgets.root);
    }
}

/// Budgets that the control thread may change while workers go by them.
#[derive(Debug)]
pub(crate) struct SharedBudgets([AtomicU64; FloodClass::ALL.len()]);

impl SharedBudgets {
    const fn none() -> Self {
        Self([const { AtomicU64::new(0) }; _])
    }

    fn set(&self, budgets: &Budgets) {
        for class in FloodClass::ALL {
            let word = budgets.of(class).map_or(0, |budget| {
                u64::from(budget.rate.get()) << 32 | u64::from(budget.burst.get())
            });
            self.0[class.index()].store(word, Ordering::Relaxed);
        }
    }

    /// The budget of a class.
    pub(crate) fn of(&self, class: FloodClass) -> Option<Budget> {
        match self.0[class.index()].load(Ordering::Relaxed) {
            0 => None,
            word => Some(Budget::new((word >> 32) as u32, word as u32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use acton_bridge::Config;

    use super::*;

    #[test]
    fn an_address_is_another_s_for_as_long_as_his_mac_is_there() {
        let floods = Floods::new(&FloodBudgets::default(), false);
        let bridge = Bridge::new(Config::default());
        let address = IpAddr::from([10, 0, 0, 5]);
        let at = Duration::from_secs;
        // An ARP reply of 10.0.0.5 to all.
        let mut frame =
            [&[0xff; 6][..], &[2, 0, 0, 0, 0, 5, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
        frame.extend([2, 0, 0, 0, 0, 5, 10, 0, 0, 5]);
        frame.extend([0; 18]);
        let headers = Headers::parse(&frame);
        let _ = bridge.from_root_parsed(headers.ethernet(), at(1));
        floods.neighbours.hear(Owner::Root, &headers, &frame, at(1));
        let is_elsewhere = |now| floods.is_elsewhere(&bridge, 7, (0, address), now);
        assert!(is_elsewhere(at(2)));
        let ageing = Config::default().ageing;
        assert!(!is_elsewhere(at(2) + ageing));
    }

    #[test]
    fn workers_see_what_was_set() {
        let mut budgets = FloodBudgets::default();
        budgets.root.arp = None;
        budgets.client.nd = Some(Budget::new(u32::MAX, 1));
        let floods = Floods::new(&FloodBudgets::default(), false);
        floods.set_budgets(&budgets);
        for class in FloodClass::ALL {
            assert_eq!(floods.client.of(class), budgets.client.of(class));
            assert_eq!(floods.root.of(class), budgets.root.of(class));
        }
    }
}
