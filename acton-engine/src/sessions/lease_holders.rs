//! Which client each address was given to last, so that no two have one.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use acton_bridge::Leases;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Addresses that are looked through for those that nobody holds any more, the first time; then each time
/// that as many again have come.
const FIRST_LOOK: usize = 4_096;

/// Who holds an address by DHCP, of all clients, also of those that have gone. Asked where a DHCP server
/// gives one, and never else.
#[derive(Debug, Default)]
pub(crate) struct LeaseHolders {
    holders: Mutex<Holders>,
    /// How often an address was given or given back.
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct Holders {
    of: HashMap<(u16, IpAddr), Weak<Leases>, RandomState>,
    /// How many there are when they are looked through.
    look_at: usize,
}

impl LeaseHolders {
    /// How often an address was given or given back.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Notes that a client gave an address back, or was given one that others may have too.
    pub(crate) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that an address on a VLAN was given to the client with these leases: it is nobody else's any
    /// more.
    pub(crate) fn took(&self, address: (u16, IpAddr), leases: &Arc<Leases>, now: Duration) {
        let mut holders = self.holders.lock();
        holders.make_room(now);
        let before = holders.of.insert(address, Arc::downgrade(leases));
        if let Some(other) = before.and_then(|before| before.upgrade())
            && !Arc::ptr_eq(&other, leases)
        {
            other.remove(address.0, address.1);
        }
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes what a client has that is here again: what was given to another meanwhile is not its own.
    pub(crate) fn hold(&self, leases: &Arc<Leases>, now: Duration) {
        let held = leases.list(now);
        if held.is_empty() {
            return;
        }
        let mut holders = self.holders.lock();
        for (vlan, address, _) in held {
            holders.make_room(now);
            let other = holders.of.get(&(vlan, address)).and_then(Weak::upgrade);
            let is_other_s = other.is_some_and(|other| {
                !Arc::ptr_eq(&other, leases) && other.left(vlan, address, now).is_some()
            });
            if is_other_s {
                leases.remove(vlan, address);
                self.changes.fetch_add(1, Ordering::Relaxed);
            } else {
                holders.of.insert((vlan, address), Arc::downgrade(leases));
            }
        }
    }
}

impl Holders {
    /// Forgets what nobody holds any more, where there is much.
    fn make_room(&mut self, now: Duration) {
        if self.of.len() < self.look_at.max(FIRST_LOOK) {
            return;
        }
        self.of.retain(|&(vlan, address), holder| {
            holder.upgrade().is_some_and(|leases| leases.left(vlan, address, now).is_some())
        });
        self.look_at = self.of.len() * 2;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use acton_bridge::Lease;
    use acton_frame::Headers;

    use super::*;

    const AT: Duration = Duration::from_secs(100);

    /// A frame of DHCP: what a client asks (1) or a server acknowledges (2), with a lease of an hour.
    pub(crate) fn dhcp(operation: u8, transaction: u32, address: u32) -> Vec<u8> {
        let mut message = vec![0; 236];
        message[0] = operation;
        message[4..8].copy_from_slice(&transaction.to_be_bytes());
        message[16..20].copy_from_slice(&address.to_be_bytes());
        let kind = if operation == 1 { 3 } else { 5 };
        message.extend([99, 130, 83, 99, 53, 1, kind, 51, 4, 0, 0, 14, 16, 255]);
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((28 + message.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1]);
        frame.extend(address.to_be_bytes());
        let ports = if operation == 1 { [0, 68, 0, 67] } else { [0, 67, 0, 68] };
        frame.extend(ports);
        frame.extend((8 + message.len() as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(message);
        frame
    }

    /// A server gives an address to a client that asked for it.
    fn give(holders: &LeaseHolders, leases: &Arc<Leases>, address: u32, now: Duration) -> bool {
        let question = dhcp(1, address, address);
        leases.hear(&Headers::parse(&question), &question);
        let answer = dhcp(2, address, address);
        let lease = Lease::read(&Headers::parse(&answer), &answer).unwrap();
        let is_held = leases.add(&lease, now);
        if is_held {
            holders.took((lease.vlan, lease.address), leases, now);
        }
        is_held
    }

    fn has(leases: &Leases, address: u32) -> bool {
        leases.left(0, IpAddr::from(address.to_be_bytes()), AT).is_some()
    }

    const FIRST: u32 = 0x0a00_0005;

    #[test]
    fn an_address_that_is_given_to_another_is_taken_from_the_one_before() {
        let (holders, one, other) = (LeaseHolders::default(), Arc::default(), Arc::default());
        assert!(give(&holders, &one, FIRST, AT) && give(&holders, &one, FIRST + 1, AT));
        assert!(give(&holders, &other, FIRST, AT));
        assert!(!has(&one, FIRST) && has(&one, FIRST + 1) && has(&other, FIRST));
        assert!(give(&holders, &one, FIRST, AT), "it moves back");
        assert!(has(&one, FIRST) && !has(&other, FIRST));
        assert!(give(&holders, &one, FIRST, AT), "a renewal takes nothing");
        assert!(has(&one, FIRST));
        // Who gives it back, and asks for nothing any more, is not in the way of others.
        one.remove(0, IpAddr::from(FIRST.to_be_bytes()));
        assert!(give(&holders, &other, FIRST, AT) && has(&other, FIRST));
    }

    #[test]
    fn who_comes_back_has_what_nobody_else_was_given() {
        let holders = LeaseHolders::default();
        let [one, other, third]: [Arc<Leases>; 3] = Default::default();
        let (address, hour) = (IpAddr::from(FIRST.to_be_bytes()), Duration::from_secs(3_600));
        for leases in [&one, &other] {
            assert!(leases.restore(0, address, hour, AT));
        }
        holders.hold(&one, AT);
        holders.hold(&one, AT);
        assert!(has(&one, FIRST) && holders.changes() == 0);
        // Which of two is right nobody knows: who was here first has it.
        holders.hold(&other, AT);
        assert!(has(&one, FIRST) && !has(&other, FIRST) && holders.changes() == 1);
        assert!(give(&holders, &third, FIRST, AT));
        assert!(has(&third, FIRST) && !has(&one, FIRST));
        assert!(one.restore(0, address, hour, AT));
        holders.hold(&one, AT);
        assert!(has(&third, FIRST) && !has(&one, FIRST));
    }

    #[test]
    fn a_client_that_is_forgotten_holds_nothing() {
        let (holders, one) = (LeaseHolders::default(), Arc::<Leases>::default());
        let other = Arc::default();
        assert!(give(&holders, &one, FIRST, AT));
        drop(one);
        assert!(give(&holders, &other, FIRST, AT) && has(&other, FIRST));
    }

    #[test]
    fn what_nobody_holds_any_more_takes_no_room() {
        let holders = LeaseHolders::default();
        let hour = Duration::from_secs(3_600);
        // Each client has 256 addresses; all leases end within the hour.
        let mut clients = Vec::<Arc<Leases>>::new();
        for round in 0..4 {
            for number in 0..FIRST_LOOK as u32 {
                if number % 256 == 0 {
                    clients.push(Arc::default());
                }
                let address = FIRST + (round << 16) + number;
                let now = AT + hour * 2 * round;
                assert!(give(&holders, clients.last().unwrap(), address, now));
            }
        }
        let known = holders.holders.lock().of.len();
        assert!(known <= 2 * FIRST_LOOK, "{known}");
    }
}
