//! Who has which IP address, as far as ARP and neighbour discovery tell.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use acton_frame::{Headers, field};
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use pnet_base::MacAddr;

use crate::neighbour_message::NeighbourMessage;
use crate::port::{Owner, Port};

/// Addresses that one leaf is known to have: four for each of the 256 hosts that a site may have.
const PER_LEAF: usize = 1_024;
/// Addresses that the root is known to have: a LAN of a /18.
const OF_ROOT: usize = 16_384;
/// Addresses of everybody, some 30 MB of them.
const IN_ALL: usize = 262_144;
/// Who has not answered a question for so long is not asked alone again. Linux asks again after 1 s.
const PATIENCE: Duration = Duration::from_millis(500);
/// Who asks the same again so soon got no answer that it could use, whatever was told here: Linux asks
/// again after 1 s, and keeps what it learnt for 15 s or more.
const ASKED_AGAIN: Duration = Duration::from_millis(1_500);
/// Addresses of one owner that are looked up at once while frames wait.
const LISTED_AT_ONCE: usize = 256;
/// For so long after two leaves told of one address everybody is asked for it.
const CONTESTED: Duration = Duration::from_secs(60);

/// Bytes of an Ethernet header with one tag.
const ONE_TAG: usize = field::ethernet::LEN + field::ethernet::TAG_LEN;

/// Who has which IP address. Shared by threads; one short lock, which frames other than ARP and
/// neighbour discovery never meet.
///
/// An address is whose it was told to be first, until the leaf is [purged](Self::purge), or was
/// [asked](Self::ask) and did not answer; the root takes it at once. While another leaf tells of it too,
/// and where who asked asks again though there was an answer, everybody is asked, as if nobody were
/// known: so a leaf that tells of another's address hides that one from no question. Who tells of more
/// than there is room for is known by the newest ones, 1,024 a leaf.
#[derive(Debug)]
pub struct Neighbours<P>(Mutex<State<P>>);

/// An IP address that somebody is known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Neighbour {
    /// The VLAN that it is on, 0 for untagged.
    pub vlan: u16,
    /// The MAC that told of it last.
    pub mac: MacAddr,
    /// The address.
    pub address: IpAddr,
}

/// Who should be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<P> {
    /// The frame is no question for an address.
    NoQuestion,
    /// Who has the address.
    Owner(Owner<P>),
    /// Everybody, for nobody is known to have it.
    Everybody,
}

/// An address on a VLAN.
type Address = (u16, IpAddr);

#[derive(Debug)]
struct State<P> {
    addresses: HashMap<Address, Known<P>, RandomState>,
    /// The addresses of each, the oldest first.
    of: HashMap<Owner<P>, VecDeque<Address>, RandomState>,
}

#[derive(Debug)]
struct Known<P> {
    owner: Owner<P>,
    /// The source of the frame that told of it last.
    mac: [u8; 6],
    /// Since when a question waits for its answer.
    asked: Option<Duration>,
    /// Who asked last, by its MAC, and when.
    asker: Option<([u8; 6], Duration)>,
    /// When another leaf told of it.
    contested: Option<Duration>,
}

impl<P> Known<P> {
    /// Whether the owner was asked alone and did not answer.
    fn is_silent(&self, now: Duration) -> bool {
        self.asked.is_some_and(|asked| now.saturating_sub(asked) >= PATIENCE)
    }

    /// Whether the owner alone is to be asked what `asker` asks.
    fn is_asked_alone(&self, asker: [u8; 6], now: Duration) -> bool {
        let lately = |at: Duration, time| now.saturating_sub(at) < time;
        !self.is_silent(now)
            && !self.contested.is_some_and(|at| lately(at, CONTESTED))
            && !self.asker.is_some_and(|(who, at)| who == asker && lately(at, ASKED_AGAIN))
    }
}

impl<P: Port + std::hash::Hash> Default for Neighbours<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Port + std::hash::Hash> Neighbours<P> {
    /// Nobody is known to have anything.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(State { addresses: HashMap::default(), of: HashMap::default() }))
    }

    /// Hears what a frame that came from `side` tells.
    pub fn hear(&self, side: Owner<P>, headers: &Headers, frame: &[u8], now: Duration) {
        let Some(vlan) = vlan(headers) else { return };
        if let Some(told) = NeighbourMessage::read(headers, frame).tells {
            self.0.lock().hear(side, source(headers), (vlan, told), now);
        }
    }

    /// The addresses that somebody is known to have, the oldest first. No frame waits for more than
    /// some of them.
    #[must_use]
    pub fn known_of(&self, owner: Owner<P>) -> Vec<Neighbour> {
        let addresses: Vec<_> = match self.0.lock().of.get(&owner) {
            Some(own) => own.iter().copied().collect(),
            None => Vec::new(),
        };
        let mut neighbours = Vec::with_capacity(addresses.len());
        for some in addresses.chunks(LISTED_AT_ONCE) {
            let state = self.0.lock();
            neighbours.extend(some.iter().filter_map(|&(vlan, address)| {
                // It may have gone meanwhile.
                let known = state.addresses.get(&(vlan, address))?;
                let mac = known.mac.into();
                (known.owner == owner).then_some(Neighbour { vlan, mac, address })
            }));
        }
        neighbours
    }

    /// Who should be asked what a frame asks; a leaf alone is asked now.
    pub fn ask(&self, headers: &Headers, frame: &[u8], now: Duration) -> Asked<P> {
        self.question(headers, frame, |state, address, asker| state.ask(address, asker, now))
    }

    /// What [`ask`](Self::ask) would say. Nobody is asked.
    pub fn would_ask(&self, headers: &Headers, frame: &[u8], now: Duration) -> Asked<P> {
        self.question(headers, frame, |state, address, asker| state.owner(address, asker, now))
    }

    /// Who else than `side` is known to have an address, and the MAC that told of it. What is known here
    /// does not age: it holds for as long as that MAC is still there.
    #[must_use]
    pub fn elsewhere(
        &self,
        side: Owner<P>,
        vlan: u16,
        address: IpAddr,
        now: Duration,
    ) -> Option<(Owner<P>, MacAddr)> {
        let state = self.0.lock();
        let known = state.addresses.get(&(vlan, address))?;
        let is_other = known.owner != side && !known.is_silent(now);
        is_other.then(|| (known.owner, known.mac.into()))
    }

    /// Forgets the addresses of a leaf. Its time does not grow with the number of other leaves.
    pub fn purge(&self, leaf: P) {
        let mut state = self.0.lock();
        for address in state.of.remove(&Owner::Leaf(leaf)).unwrap_or_default() {
            state.addresses.remove(&address);
        }
    }

    fn question(
        &self,
        headers: &Headers,
        frame: &[u8],
        owner: impl FnOnce(&mut State<P>, Address, [u8; 6]) -> Option<Owner<P>>,
    ) -> Asked<P> {
        let Some(vlan) = vlan(headers) else { return Asked::NoQuestion };
        let Some(address) = NeighbourMessage::read(headers, frame).asks else {
            return Asked::NoQuestion;
        };
        let asker = source(headers);
        owner(&mut self.0.lock(), (vlan, address), asker).map_or(Asked::Everybody, Asked::Owner)
    }
}

impl<P: Port + std::hash::Hash> State<P> {
    fn hear(&mut self, side: Owner<P>, mac: [u8; 6], address: Address, now: Duration) {
        if let Some(known) = self.addresses.get_mut(&address) {
            if known.owner == side {
                known.mac = mac;
                known.asked = None;
                return;
            }
            if side != Owner::Root && !known.is_silent(now) {
                known.contested = Some(now);
                return;
            }
            self.forget(address);
        }
        let most = if side == Owner::Root { OF_ROOT } else { PER_LEAF };
        let own = self.of.entry(side).or_default();
        if own.len() == most
            && let Some(oldest) = own.pop_front()
        {
            self.addresses.remove(&oldest);
        }
        if self.addresses.len() < IN_ALL {
            own.push_back(address);
            let known = Known { owner: side, mac, asked: None, asker: None, contested: None };
            self.addresses.insert(address, known);
        }
    }

    /// Who alone is to be asked for an address.
    fn owner(&self, address: Address, asker: [u8; 6], now: Duration) -> Option<Owner<P>> {
        let known = self.addresses.get(&address)?;
        known.is_asked_alone(asker, now).then_some(known.owner)
    }

    fn ask(&mut self, address: Address, asker: [u8; 6], now: Duration) -> Option<Owner<P>> {
        let known = self.addresses.get_mut(&address)?;
        let alone = known.is_asked_alone(asker, now);
        known.asker = Some((asker, now));
        if known.is_silent(now) {
            self.forget(address);
            return None;
        }
        // What is asked of the root goes to everybody: not to be answered there proves nothing.
        if known.owner != Owner::Root {
            known.asked.get_or_insert(now);
        }
        alone.then_some(known.owner)
    }

    fn forget(&mut self, address: Address) {
        if let Some(known) = self.addresses.remove(&address)
            && let Some(own) = self.of.get_mut(&known.owner)
        {
            own.retain(|&other| other != address);
            if own.is_empty() {
                self.of.remove(&known.owner);
            }
        }
    }
}

/// The VLAN that a frame is on. Behind a second tag there may be as many networks again, of which nobody
/// is known.
fn vlan(headers: &Headers) -> Option<u16> {
    headers.network().filter(|&network| network <= ONE_TAG)?;
    headers.ethernet().map(acton_frame::Ethernet::vlan)
}

/// The MAC that a frame comes from.
fn source(headers: &Headers) -> [u8; 6] {
    headers.ethernet().map(|ethernet| ethernet.source().octets()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbour_message::tests::{arp, nd};

    const REQUEST: u8 = 1;
    const REPLY: u8 = 2;
    const ROOT: [u8; 4] = [10, 255, 0, 1];

    /// Addresses, and a clock that is told the time in milliseconds.
    struct World(Neighbours<u32>);

    impl World {
        fn new() -> Self {
            Self(Neighbours::new())
        }

        fn tells(&self, side: Owner<u32>, address: [u8; 4], ms: u64) {
            self.hears(side, &arp(&[], REPLY, address, ROOT), ms);
        }

        fn hears(&self, side: Owner<u32>, frame: &[u8], ms: u64) {
            self.0.hear(side, &Headers::parse(frame), frame, Duration::from_millis(ms));
        }

        fn asked(&self, frame: &[u8], ms: u64) -> Asked<u32> {
            let (headers, now) = (Headers::parse(frame), Duration::from_millis(ms));
            let expected = self.0.would_ask(&headers, frame, now);
            assert_eq!(self.0.would_ask(&headers, frame, now), expected, "it changes nothing");
            assert_eq!(self.0.ask(&headers, frame, now), expected);
            expected
        }

        fn who_has(&self, address: [u8; 4], ms: u64) -> Asked<u32> {
            self.asked(&arp(&[], REQUEST, ROOT, address), ms)
        }

        /// As [`who_has`](Self::who_has), from another host.
        fn other_asks(&self, address: [u8; 4], ms: u64) -> Asked<u32> {
            let mut frame = arp(&[], REQUEST, ROOT, address);
            frame[6..12].fill(0x0a);
            self.asked(&frame, ms)
        }

        /// What a leaf is known to have: the last byte of each MAC, and the address.
        fn known_of(&self, leaf: u32) -> Vec<(u8, IpAddr)> {
            let known = self.0.known_of(Owner::Leaf(leaf));
            known.into_iter().map(|neighbour| (neighbour.mac.5, neighbour.address)).collect()
        }

        fn sizes(&self) -> (usize, usize) {
            let state = self.0.0.lock();
            (state.addresses.len(), state.of.values().map(VecDeque::len).sum())
        }
    }

    const fn of(leaf: u32) -> Asked<u32> {
        Asked::Owner(Owner::Leaf(leaf))
    }

    const fn host(number: u32) -> [u8; 4] {
        (10 << 24 | number).to_be_bytes()
    }

    #[test]
    fn who_told_is_asked_alone() {
        let world = World::new();
        assert_eq!(world.who_has(host(2), 0), Asked::Everybody);
        world.tells(Owner::Leaf(7), host(2), 1);
        let is_elsewhere = |side, ms| {
            let at = Duration::from_millis(ms);
            world.0.elsewhere(side, 0, IpAddr::from(host(2)), at).is_some()
        };
        assert!(is_elsewhere(Owner::Leaf(8), 1) && !is_elsewhere(Owner::Leaf(7), 1));
        assert_eq!(world.who_has(host(2), 2), of(7));
        assert!(!is_elsewhere(Owner::Leaf(8), 700), "it does not answer");
        assert_eq!(world.who_has(host(3), 2), Asked::Everybody);
        let tagged = arp(&[0x81, 0, 0, 5], REQUEST, ROOT, host(2));
        assert_eq!(world.asked(&tagged, 2), Asked::Everybody, "on another VLAN");
        let probe = arp(&[], REQUEST, [0; 4], host(2));
        assert_eq!(world.asked(&probe, 2), Asked::NoQuestion, "everybody is to see it");
        world.tells(Owner::Root, ROOT, 3);
        assert_eq!(world.who_has(ROOT, 3), Asked::NoQuestion, "it announces itself");
        assert_eq!(world.asked(&arp(&[], REQUEST, host(9), ROOT), 3), Asked::Owner(Owner::Root));
    }

    #[test]
    fn ipv6_is_asked_by_neighbour_discovery() {
        let (root, host) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        let world = World::new();
        assert_eq!(world.asked(&nd(135, root, host), 0), Asked::Everybody);
        world.hears(Owner::Leaf(7), &nd(136, host, host), 1);
        assert_eq!(world.asked(&nd(135, root, host), 2), of(7));
        world.hears(Owner::Leaf(8), &nd(135, "fe80::3".parse().unwrap(), root), 3);
        assert_eq!(world.asked(&nd(135, root, "fe80::3".parse().unwrap()), 4), of(8));
    }

    #[test]
    fn who_does_not_answer_is_not_asked_alone_again() {
        let world = World::new();
        world.tells(Owner::Leaf(7), host(2), 0);
        assert_eq!(world.who_has(host(2), 10_000), of(7));
        assert_eq!(world.other_asks(host(2), 10_499), of(7), "the answer is on its way");
        world.tells(Owner::Leaf(7), host(2), 10_500);
        assert_eq!(world.who_has(host(2), 20_000), of(7), "it answered");
        assert_eq!(world.who_has(host(2), 20_500), Asked::Everybody);
        world.tells(Owner::Leaf(8), host(2), 20_600);
        assert_eq!(world.who_has(host(2), 20_700), of(8), "it has moved");
        assert_eq!(world.sizes(), (1, 1));
    }

    #[test]
    fn who_asks_again_was_not_helped_by_who_answered() {
        let world = World::new();
        world.tells(Owner::Leaf(7), host(2), 0);
        assert_eq!(world.who_has(host(2), 0), of(7));
        world.tells(Owner::Leaf(7), host(2), 10);
        assert_eq!(world.other_asks(host(2), 900), of(7));
        world.tells(Owner::Leaf(7), host(2), 910);
        assert_eq!(world.other_asks(host(2), 1_900), Asked::Everybody);
        world.tells(Owner::Leaf(7), host(2), 1_910);
        assert_eq!(world.other_asks(host(2), 5_000), of(7));
    }

    #[test]
    fn of_an_address_that_two_tell_of_everybody_is_asked() {
        let world = World::new();
        world.tells(Owner::Leaf(7), host(2), 0);
        // It must not hide who has it, whatever it says and how often.
        for ms in (1_000..60_000).step_by(4_000) {
            world.tells(Owner::Leaf(8), host(2), ms);
            assert_eq!(world.who_has(host(2), ms), Asked::Everybody);
            world.tells(Owner::Leaf(7), host(2), ms + 1);
            world.tells(Owner::Leaf(8), host(2), ms + 2);
        }
        assert_eq!(world.who_has(host(2), 130_000), of(7), "the other one gave up");
        // It has moved: the one that had it answers no more.
        world.tells(Owner::Leaf(8), host(2), 130_100);
        assert_eq!(world.who_has(host(2), 140_000), Asked::Everybody);
        world.tells(Owner::Leaf(8), host(2), 140_001);
        assert_eq!(world.who_has(host(2), 150_000), of(8));
        world.tells(Owner::Root, host(2), 150_001);
        world.tells(Owner::Leaf(8), host(2), 150_002);
        assert_eq!(world.who_has(host(2), 240_000), Asked::Owner(Owner::Root));
        assert_eq!(world.sizes(), (1, 1));
    }

    #[test]
    fn addresses_are_listed_with_the_mac_that_told_last() {
        let world = World::new();
        world.tells(Owner::Leaf(7), host(2), 0);
        world.tells(Owner::Leaf(7), host(3), 1);
        world.tells(Owner::Leaf(8), host(4), 2);
        world.tells(Owner::Leaf(8), host(2), 3);
        let expected = [(1, host(2).into()), (1, host(3).into())];
        assert_eq!(world.known_of(7), expected, "what another tells changes nothing");
        let mut frame = arp(&[], REPLY, host(3), ROOT);
        frame[11] = 9;
        world.hears(Owner::Leaf(7), &frame, 4);
        assert_eq!(world.known_of(7)[1], (9, host(3).into()), "another of its hosts has it now");
        world.tells(Owner::Root, host(2), 5);
        assert_eq!(world.known_of(7), [(9, host(3).into())]);
        assert_eq!(world.known_of(9), []);
        let tagged = arp(&[0x81, 0, 0, 5], REPLY, ROOT, host(2));
        world.hears(Owner::Root, &tagged, 6);
        let of_root = world.0.known_of(Owner::Root);
        assert_eq!(of_root.iter().map(|known| known.vlan).collect::<Vec<_>>(), [0, 5]);
        for number in 0..PER_LEAF as u32 {
            world.tells(Owner::Leaf(1), host(1_000 + number), 7);
        }
        assert_eq!(world.known_of(1).len(), PER_LEAF);
    }

    #[test]
    fn behind_two_tags_nobody_is_known() {
        let world = World::new();
        let tags = [0x88, 0xa8, 0, 5, 0x81, 0, 0, 7];
        world.hears(Owner::Leaf(7), &arp(&tags, REPLY, host(2), ROOT), 0);
        assert_eq!(world.asked(&arp(&tags, REQUEST, ROOT, host(2)), 1), Asked::NoQuestion);
        assert_eq!(world.sizes(), (0, 0));
    }

    #[test]
    fn a_leaf_that_goes_takes_its_addresses_along() {
        let world = World::new();
        for number in 0..10 {
            world.tells(Owner::Leaf(number % 2), host(number), 0);
        }
        world.0.purge(1);
        world.0.purge(9);
        for number in 0..10 {
            let expected = if number % 2 == 0 { of(0) } else { Asked::Everybody };
            assert_eq!(world.who_has(host(number), 1), expected);
        }
        assert_eq!(world.sizes(), (5, 5));
    }

    #[test]
    fn who_tells_of_many_is_known_by_the_newest_and_costs_the_others_nothing() {
        let world = World::new();
        world.tells(Owner::Leaf(1), host(0), 0);
        let many = PER_LEAF as u32;
        for number in 1..=many + 10 {
            world.tells(Owner::Leaf(2), host(number), 1);
        }
        assert_eq!(world.sizes(), (PER_LEAF + 1, PER_LEAF + 1));
        assert_eq!(world.who_has(host(0), 2), of(1));
        assert_eq!(world.who_has(host(10), 2), Asked::Everybody);
        assert_eq!(world.who_has(host(11), 2), of(2));
    }

    #[test]
    fn all_together_have_a_limit() {
        let world = World::new();
        for number in 0..(IN_ALL + PER_LEAF) as u32 {
            world.tells(Owner::Leaf(number / PER_LEAF as u32), host(number), 0);
        }
        assert_eq!(world.sizes(), (IN_ALL, IN_ALL));
        world.tells(Owner::Leaf(0), host(1 << 20), 1);
        assert_eq!(world.who_has(host(1 << 20), 2), of(0), "in place of its oldest");
        assert_eq!(world.who_has(host(0), 2), Asked::Everybody);
        assert_eq!(world.sizes(), (IN_ALL, IN_ALL));
    }
}
