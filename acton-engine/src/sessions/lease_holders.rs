//! Which client each address was given to last, so that no two have one.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use acton_bridge::{Lease, Leases};
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Addresses that are looked through for those that nobody holds any more, the first time; then each time
/// that as many again have come.
const FIRST_LOOK: usize = 4_096;

/// Who holds an address by DHCP, of all clients, also of those that have gone. Asked where a DHCP server
/// gives one, and never else.
#[derive(Debug, Default)]
pub(crate) struct LeaseHolders(Mutex<Holders>);

#[derive(Debug, Default)]
struct Holders {
    of: HashMap<(u16, IpAddr), Weak<Leases>, RandomState>,
    /// How many there are when they are looked through.
    look_at: usize,
}

impl LeaseHolders {
    /// Notes that an address was given to the client with these leases: it is nobody else's any more.
    pub(crate) fn took(&self, lease: &Lease, leases: &Arc<Leases>, now: Duration) {
        let address = (lease.vlan, lease.address);
        let mut holders = self.0.lock();
        if holders.of.len() >= holders.look_at.max(FIRST_LOOK) {
            holders.of.retain(|&(vlan, address), holder| {
                holder.upgrade().is_some_and(|leases| leases.left(vlan, address, now).is_some())
            });
            holders.look_at = holders.of.len() * 2;
        }
        let before = holders.of.insert(address, Arc::downgrade(leases));
        if let Some(other) = before.and_then(|before| before.upgrade())
            && !Arc::ptr_eq(&other, leases)
        {
            other.remove(lease.vlan, lease.address);
        }
    }
}
