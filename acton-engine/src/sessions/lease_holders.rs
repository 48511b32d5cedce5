//! Which client each address was given to last, so that no two have one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use acton_bridge::{HeldNet, Leases};
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;
use parking_lot::Mutex;

/// Addresses that are looked through for those that nobody holds any more, the first time; then each time
/// that as many again have come.
const FIRST_LOOK: usize = 4_096;

/// Who holds an address or a delegated prefix, of all clients, also of those that have gone. Asked where a
/// DHCP server gives one, and where a host tells of one that it made itself.
#[derive(Debug, Default)]
pub(crate) struct LeaseHolders {
    holders: Mutex<Holders>,
    /// How often an address was given or given back.
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct Holders {
    of: HashMap<(u16, IpNet), Weak<Leases>, RandomState>,
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
    pub(crate) fn took(&self, net: (u16, IpNet), leases: &Arc<Leases>, now: Duration) {
        let mut holders = self.holders.lock();
        if let Some(other) = holders.put(net, leases, now)
            && !Arc::ptr_eq(&other, leases)
        {
            other.remove(net.0, net.1);
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
        for HeldNet { vlan, net, .. } in held {
            if holders.other((vlan, net), leases, now).is_some() {
                leases.remove(vlan, net);
                self.changes.fetch_add(1, Ordering::Relaxed);
            } else {
                holders.put((vlan, net), leases, now);
            }
        }
    }

    /// Has the client with these leases have an address by `make`, which says whether it may, unless
    /// another holds it.
    pub(crate) fn make(
        &self,
        net: (u16, IpNet),
        leases: &Arc<Leases>,
        now: Duration,
        make: impl FnOnce() -> bool,
    ) {
        let mut holders = self.holders.lock();
        if holders.other(net, leases, now).is_none() && make() {
            holders.put(net, leases, now);
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a client with other leases holds an address.
    pub(crate) fn is_others(&self, net: (u16, IpNet), leases: &Arc<Leases>, now: Duration) -> bool {
        self.holders.lock().other(net, leases, now).is_some()
    }

    /// Notes that somebody at the root tells that an address is his: no client has it any more that has
    /// just probed for it.
    pub(crate) fn is_at_root(&self, (vlan, net): (u16, IpNet), now: Duration) {
        let holder = self.holders.lock().of.get(&(vlan, net)).and_then(Weak::upgrade);
        if holder.is_some_and(|leases| leases.yield_made(vlan, net.addr(), now)) {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Holders {
    /// Notes who holds something now; who did before.
    fn put(
        &mut self,
        net: (u16, IpNet),
        leases: &Arc<Leases>,
        now: Duration,
    ) -> Option<Arc<Leases>> {
        if self.of.len() >= self.look_at.max(FIRST_LOOK) {
            self.of.retain(|&(vlan, net), holder| {
                holder.upgrade().is_some_and(|leases| leases.holds(vlan, net, now).is_some())
            });
            self.look_at = self.of.len() * 2;
        }
        self.of.insert(net, Arc::downgrade(leases)).and_then(|before| before.upgrade())
    }

    /// Who else than the client with these leases holds something.
    fn other(&self, net: (u16, IpNet), leases: &Arc<Leases>, now: Duration) -> Option<Arc<Leases>> {
        let holder = self.of.get(&net)?.upgrade()?;
        let is_other = !Arc::ptr_eq(&holder, leases) && holder.holds(net.0, net.1, now).is_some();
        is_other.then_some(holder)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::IpAddr;

    use acton_bridge::{AdvertisedPrefixes, LearntFrom, Lease};
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
            holders.took((lease.vlan, lease.address.into()), leases, now);
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
        one.remove(0, IpAddr::from(FIRST.to_be_bytes()).into());
        assert!(give(&holders, &other, FIRST, AT) && has(&other, FIRST));
    }

    #[test]
    fn who_comes_back_has_what_nobody_else_was_given() {
        let holders = LeaseHolders::default();
        let [one, other, third]: [Arc<Leases>; 3] = Default::default();
        let (advertised, left) = (AdvertisedPrefixes::default(), Duration::from_secs(3_600));
        let net = IpAddr::from(FIRST.to_be_bytes()).into();
        let held = HeldNet { vlan: 0, net, from: LearntFrom::Dhcp, left };
        for leases in [&one, &other] {
            assert!(leases.restore(&held, &advertised, AT));
        }
        holders.hold(&one, AT);
        holders.hold(&one, AT);
        assert!(has(&one, FIRST) && holders.changes() == 0);
        // Which of two is right nobody knows: who was here first has it.
        holders.hold(&other, AT);
        assert!(has(&one, FIRST) && !has(&other, FIRST) && holders.changes() == 1);
        assert!(give(&holders, &third, FIRST, AT));
        assert!(has(&third, FIRST) && !has(&one, FIRST));
        assert!(one.restore(&held, &advertised, AT));
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

    /// A router's advertisement of 2001:db8::/64, for an hour.
    fn advertised() -> AdvertisedPrefixes {
        let mut frame = vec![2; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 48, 58, 255]);
        frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
        frame.extend([0; 24]);
        frame.extend([134, 0, 0, 0, 64, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
        frame.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let advertised = AdvertisedPrefixes::default();
        advertised.hear(&Headers::parse(&frame), &frame, AT);
        advertised
    }

    #[test]
    fn an_address_that_a_host_made_is_the_first_client_s_and_the_root_s_before_it() {
        let (holders, prefixes) = (LeaseHolders::default(), advertised());
        let (one, other) = (Arc::<Leases>::default(), Arc::<Leases>::default());
        let address: IpAddr = "2001:db8::5".parse().unwrap();
        let net = (0, address.into());
        let make = |leases: &Arc<Leases>, now| {
            holders.make(net, leases, now, || leases.make(&prefixes, 0, address, now));
            leases.left(0, address, now).is_some()
        };
        assert!(make(&one, AT) && make(&one, AT) && !make(&other, AT));
        assert!(holders.is_others(net, &other, AT) && !holders.is_others(net, &one, AT));
        let changes = holders.changes();
        holders.is_at_root(net, AT + Duration::from_secs(3));
        assert_eq!(holders.changes(), changes, "it has had its time");
        holders.is_at_root(net, AT + Duration::from_secs(1));
        assert_eq!((one.left(0, address, AT), holders.changes()), (None, changes + 1));
        assert!(make(&other, AT) && !make(&one, AT));
        // A DHCP server's word is more.
        holders.took(net, &one, AT);
        assert_eq!(other.left(0, address, AT), None);
        // Once the prefix has ended it is nobody's.
        assert!(make(&one, AT));
        let later = AT + Duration::from_secs(3_600);
        assert!(!holders.is_others(net, &other, later) && !make(&other, later));
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
