//! The forwarding rules.

use std::marker::PhantomData;
use std::time::Duration;

use acton_frame::Ethernet;
use pnet_base::MacAddr;

use crate::address::Address;
use crate::config::Config;
use crate::entry::Entry;
use crate::explain::{Explanation, Verdict};
use crate::explaining::Explaining;
use crate::fdb::{Fdb, leaf_limit, nanos};
use crate::header::Header;
use crate::key;
use crate::limit::{Room, Share};
use crate::port::{Owner, Port};
use crate::purpose::{Fact, Forwarding, Purpose};
use crate::range::MacRange;
use crate::statics::StaticError;
use crate::unlearned::Unlearned;
use crate::verdict::{BumKind, DropReason, FromLeaf, FromRoot, Learned};

/// A learning bridge of one root and many leaves `P`.
///
/// All methods take `&self`: workers share one bridge. [`from_root`](Self::from_root),
/// [`from_leaf`](Self::from_leaf) and [`lookup`](Self::lookup) take no lock unless the frame
/// changes the table, and then a short one.
///
/// `now` is the time since any epoch of the caller's, the same one for all calls, on a clock that
/// does not go back (boot time). Workers may be a little apart.
#[derive(Debug)]
pub struct Bridge<P> {
    fdb: Fdb,
    forward_reserved: bool,
    port: PhantomData<fn() -> P>,
}

impl<P: Port> Bridge<P> {
    /// A bridge that knows nothing but the protected addresses.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let fdb = Fdb::new(&config);
        for mac in config.protected {
            // There is room: the table was made with it.
            let _ = fdb.write().protect(Address::new(mac));
        }
        Self { fdb, forward_reserved: config.forward_reserved, port: PhantomData }
    }

    /// Decides about a frame from the root: its source is learned there, a unicast destination
    /// that is known at a leaf is for that leaf, and everything else is for all leaves.
    ///
    /// Dropped are: what no bridge forwards ([`Runt`](DropReason::Runt),
    /// [`BadVlan`](DropReason::BadVlan), [`Reserved`](DropReason::Reserved),
    /// [`Pause`](DropReason::Pause)), a group or zero source, and a destination that is known, or
    /// said, to be at the root itself ([`Local`](DropReason::Local)).
    pub fn from_root(&self, frame: &[u8], now: Duration) -> (FromRoot<P>, Learned<P>) {
        self.from_root_parsed(Ethernet::parse(frame).as_ref(), now)
    }

    /// Decides as [`from_root`](Self::from_root) does, about a frame that was parsed before; `None`
    /// is a runt.
    pub fn from_root_parsed(
        &self,
        ethernet: Option<&Ethernet>,
        now: Duration,
    ) -> (FromRoot<P>, Learned<P>) {
        self.root_frame(ethernet, nanos(now), &mut Forwarding)
    }

    #[inline(always)]
    fn root_frame(
        &self,
        ethernet: Option<&Ethernet>,
        now: u64,
        purpose: &mut impl Purpose,
    ) -> (FromRoot<P>, Learned<P>) {
        let header = match self.checked(ethernet) {
            Ok(header) => header,
            Err(reason) => return (FromRoot::Drop(reason), Learned::Nothing),
        };
        let source = key::mac(header.vlan, header.source);
        let learned = purpose.root_source(&self.fdb, source, now);
        let destination = key::mac(header.vlan, header.destination);
        let whole = key::whole(header.destination);
        let verdict = match group(header.destination) {
            Some(bum) => {
                purpose.note(Fact::Group(bum));
                FromRoot::Flood(bum)
            }
            // A leaf's first, and the other way round from a leaf: most frames need one look-up.
            None => match purpose.destination(&self.fdb, [destination, whole], now) {
                Some(Owner::Leaf(port)) => FromRoot::Leaf(P::from_bits(port)),
                Some(Owner::Root) => FromRoot::Drop(DropReason::Local),
                None => FromRoot::Flood(BumKind::Unknown),
            },
        };
        (verdict, ported(learned))
    }

    /// Decides about a frame from a leaf: once its source is accepted, it is for the root or
    /// nobody.
    ///
    /// Dropped are, beside what [`from_root`](Self::from_root) drops: a source that this leaf may
    /// not use or that is one too many ([`SourceProtected`](DropReason::SourceProtected) and what
    /// follows it), a destination at another leaf ([`LeafToLeaf`](DropReason::LeafToLeaf)) and one
    /// at this leaf ([`Local`](DropReason::Local)). The last two still teach the source, which is
    /// as genuine as any.
    pub fn from_leaf(&self, leaf: P, frame: &[u8], now: Duration) -> (FromLeaf, Learned<P>) {
        self.from_leaf_parsed(leaf, Ethernet::parse(frame).as_ref(), now)
    }

    /// Decides as [`from_leaf`](Self::from_leaf) does, about a frame that was parsed before; `None`
    /// is a runt.
    pub fn from_leaf_parsed(
        &self,
        leaf: P,
        ethernet: Option<&Ethernet>,
        now: Duration,
    ) -> (FromLeaf, Learned<P>) {
        self.leaf_frame(leaf.to_bits(), ethernet, nanos(now), &mut Forwarding)
    }

    /// Decides about a frame of a leaf that gets its frames by other things than addresses, so that none
    /// of it are learned and other leaves may have the same: only what is the root's, or is said to be
    /// another leaf's, it may not use. Limits of addresses do not hold for it.
    pub fn from_leaf_unlearned(
        &self,
        leaf: P,
        ethernet: Option<&Ethernet>,
        now: Duration,
    ) -> FromLeaf {
        let mut purpose = Unlearned(&mut Forwarding);
        self.leaf_frame(leaf.to_bits(), ethernet, nanos(now), &mut purpose).0
    }

    #[inline(always)]
    fn leaf_frame(
        &self,
        leaf: u32,
        ethernet: Option<&Ethernet>,
        now: u64,
        purpose: &mut impl Purpose,
    ) -> (FromLeaf, Learned<P>) {
        let header = match self.checked(ethernet) {
            Ok(header) => header,
            Err(reason) => return (FromLeaf::Drop(reason), Learned::Nothing),
        };
        let source = key::mac(header.vlan, header.source);
        let learned = match purpose.leaf_source(&self.fdb, source, leaf, now) {
            Ok(learned) => learned,
            Err(reason) => return (FromLeaf::Drop(reason), Learned::Nothing),
        };
        let destination = key::mac(header.vlan, header.destination);
        let whole = key::whole(header.destination);
        let verdict = match group(header.destination) {
            Some(bum) => {
                purpose.note(Fact::Group(bum));
                FromLeaf::Root { bum: Some(bum) }
            }
            None => match purpose.destination(&self.fdb, [whole, destination], now) {
                Some(Owner::Root) => FromLeaf::Root { bum: None },
                Some(Owner::Leaf(port)) if port == leaf => FromLeaf::Drop(DropReason::Local),
                Some(Owner::Leaf(_)) => FromLeaf::Drop(DropReason::LeafToLeaf),
                None => FromLeaf::Root { bum: Some(BumKind::Unknown) },
            },
        };
        (verdict, ported(learned))
    }

    /// What [`from_root`](Self::from_root) or, for a leaf's side, [`from_leaf`](Self::from_leaf)
    /// would say of a frame now, and why. Nothing is learned and nothing else changes, so that it
    /// can be asked about any frame, at any time, beside all that goes on.
    ///
    /// Takes the lock where the frame itself would, and to count what is in the way of an address.
    #[must_use]
    pub fn explain(&self, side: Owner<P>, frame: &[u8], now: Duration) -> Explanation<P> {
        let now = nanos(now);
        let mut explaining = Explaining::new(&self.fdb, now);
        let ethernet = Ethernet::parse(frame);
        let ethernet = ethernet.as_ref();
        if let Ok(header) = Header::of(ethernet) {
            explaining.header(&header);
        }
        match side {
            Owner::Root => {
                let (verdict, learned) = self.root_frame(ethernet, now, &mut explaining);
                explaining.end(Verdict::FromRoot(verdict), learned)
            }
            Owner::Leaf(leaf) => {
                let leaf = leaf.to_bits();
                let (verdict, learned) = self.leaf_frame(leaf, ethernet, now, &mut explaining);
                explaining.end(Verdict::FromLeaf(verdict), learned)
            }
        }
    }

    /// What [`from_leaf_unlearned`](Self::from_leaf_unlearned) would say of a frame, as
    /// [`explain`](Self::explain) does.
    #[must_use]
    pub fn explain_unlearned(&self, leaf: P, frame: &[u8], now: Duration) -> Explanation<P> {
        let now = nanos(now);
        let mut explaining = Explaining::new(&self.fdb, now);
        let ethernet = Ethernet::parse(frame);
        if let Ok(header) = Header::of(ethernet.as_ref()) {
            explaining.header(&header);
        }
        let purpose = &mut Unlearned(&mut explaining);
        let (verdict, learned) = self.leaf_frame(leaf.to_bits(), ethernet.as_ref(), now, purpose);
        explaining.end(Verdict::FromLeaf(verdict), learned)
    }

    /// The checks that are the same for both sides. What fails one teaches nothing.
    fn checked(&self, ethernet: Option<&Ethernet>) -> Result<Header, DropReason> {
        let header = Header::of(ethernet)?;
        if header.destination.is_pause() {
            return Err(DropReason::Pause);
        }
        if header.destination.is_reserved() && !self.forward_reserved {
            return Err(DropReason::Reserved);
        }
        if header.source.is_group() {
            return Err(DropReason::SourceGroup);
        }
        if header.source.is_zero() {
            return Err(DropReason::SourceZero);
        }
        Ok(header)
    }

    /// Keeps leaves from sending from an address, on every VLAN, and takes it from those that
    /// have it, static entries too: it is at the root. Group and zero addresses are nobody's in any
    /// case.
    ///
    /// # Errors
    /// [`StaticError::Full`].
    pub fn protect(&self, mac: MacAddr) -> Result<(), StaticError> {
        self.fdb.write().protect(Address::new(mac))
    }

    /// Keeps all leaves but one from sending from an address, on every VLAN, and takes it from
    /// those that have it: it is at that leaf, heard of or not, and stays there if the root sends
    /// from it. In place of [`protect`](Self::protect), or of another leaf.
    ///
    /// # Errors
    /// [`StaticError::Full`]; [`StaticError::Protected`] for an address that is
    /// [the root's](Self::set_root_macs).
    pub fn reserve(&self, mac: MacAddr, leaf: P) -> Result<(), StaticError> {
        self.fdb.write().reserve(Address::new(mac), leaf.to_bits())
    }

    /// Undoes [`protect`](Self::protect) and [`reserve`](Self::reserve); true if there was
    /// something to undo. What is [the root's](Self::set_root_macs) stays so.
    pub fn unprotect(&self, mac: MacAddr) -> bool {
        self.fdb.write().unprotect(Address::new(mac))
    }

    /// Gives the addresses that are the root's whatever else is said, in place of those given
    /// before: the server's own, its gateways. No leaf may send from them, on any VLAN, and those
    /// that have one lose it, static entries too. Group and zero addresses are passed over.
    ///
    /// # Errors
    /// [`StaticError::Full`] where there is no room for all; those before are the root's.
    pub fn set_root_macs(
        &self,
        macs: impl IntoIterator<Item = MacAddr>,
    ) -> Result<(), StaticError> {
        let macs: Vec<_> = macs.into_iter().map(|mac| Address::new(mac).0).collect();
        self.fdb.write().set_of_root(&macs)
    }

    /// Says that an address lives at the root until [`unpin`](Self::unpin), though no frame tells of
    /// it: what a switch behind the root has learned. Leaves that have learned it lose it. False if
    /// there is no room ([`Config::max_pinned`]). What [`set_root_macs`](Self::set_root_macs),
    /// [`protect`](Self::protect), [`reserve`](Self::reserve) and [`add_static`](Self::add_static)
    /// say goes before it.
    pub fn pin(&self, mac: MacAddr) -> bool {
        self.fdb.write().pin(Address::new(mac))
    }

    /// Undoes [`pin`](Self::pin).
    pub fn unpin(&self, mac: MacAddr) {
        self.fdb.write().unpin(Address::new(mac));
    }

    /// Says that an address lives at a leaf, on one VLAN: it does not age nor move, also if the root
    /// sends from it, and counts towards no limit but that of static entries. Replaces what was
    /// known of it there and at the root.
    ///
    /// # Errors
    /// [`StaticError`] says which rule forbids it.
    pub fn add_static(&self, vlan: u16, mac: MacAddr, leaf: P) -> Result<(), StaticError> {
        let address = Address::new(mac);
        if address.is_group() || address.is_zero() {
            return Err(StaticError::NotUnicast(mac));
        }
        if vlan >= key::VLANS {
            return Err(StaticError::BadVlan(vlan));
        }
        self.fdb.write().add_static(vlan, address, leaf.to_bits())
    }

    /// Forgets a static entry; true if there was one.
    pub fn remove_static(&self, vlan: u16, mac: MacAddr) -> bool {
        vlan < key::VLANS && self.fdb.write().remove_static(vlan, Address::new(mac))
    }

    /// Limits the learned addresses of one leaf to `max_macs`, 0 for no limit, in place of
    /// [`Config::max_macs_per_leaf`], which counts again with `None`. Addresses that are too many
    /// already stay until they age out, but no new one is learned before. Lasts until
    /// [`purge`](Self::purge).
    pub fn set_leaf_limit(&self, leaf: P, max_macs: Option<usize>) {
        self.fdb.write().set_leaf_limit(leaf.to_bits(), max_macs.map(leaf_limit));
    }

    /// How long an address is known after its last frame from now on, in place of [`Config::ageing`];
    /// it counts at once for those that are known.
    pub fn set_ageing(&self, ageing: Duration) {
        self.fdb.set_ageing(nanos(ageing));
    }

    /// The silence after which a leaf may take another's address from now on, in place of that of
    /// [`MovePolicy::Guarded`](crate::MovePolicy::Guarded); without effect under the other policy. It
    /// counts at once for addresses that are known.
    pub fn set_move_hold(&self, hold: Duration) {
        self.fdb.set_hold(nanos(hold));
    }

    /// The addresses that leaves share from now on, in place of
    /// [`Config::shared`](field@Config::shared).
    pub fn set_shared(&self, ranges: Vec<MacRange>) {
        self.fdb.set_shared(ranges);
    }

    /// Limits the learned addresses of each leaf without a limit of its own, in place of
    /// [`Config::max_macs_per_leaf`]: 0 for no limit. Those that are too many already stay until they
    /// age out.
    pub fn set_max_macs_per_leaf(&self, max_macs: usize) {
        self.fdb.set_macs_per_leaf(leaf_limit(max_macs));
    }

    /// Keeps a leaf to the addresses that are [reserved](Self::reserve) for it, to those that it
    /// [shares](Self::set_leaf_shared) and to its static entries, and takes what else it has; or, with
    /// false, no longer. Lasts until [`purge`](Self::purge).
    pub fn set_leaf_strict(&self, leaf: P, strict: bool) {
        self.fdb.write().set_strict(leaf.to_bits(), strict);
    }

    /// Gives the addresses that a leaf shares with the others, in place of those given before: it takes
    /// them from another leaf with its first frame, as if the other had never had them, so that they do
    /// not freeze. Another leaf gets them back so only where it shares them too. Never from the root,
    /// and nothing that is said to be another's. Lasts until [`purge`](Self::purge).
    pub fn set_leaf_shared(&self, leaf: P, ranges: &[MacRange]) {
        self.fdb.write().set_shared(leaf.to_bits(), ranges);
    }

    /// Forgets all addresses of a leaf, static ones too, its own limit, what it shares and whether it is
    /// strict, in time proportional to their number; gives that number. For a leaf that is gone: nothing
    /// of it comes in any more. What is [reserved](Self::reserve) for it nobody gets by that.
    pub fn purge(&self, leaf: P) -> usize {
        self.purge_each(leaf, |_, _| {})
    }

    /// Does as [`purge`](Self::purge) and names the addresses, each with its VLAN (0 for untagged): for
    /// who has told others of them.
    pub fn purge_each(&self, leaf: P, mut gone: impl FnMut(u16, MacAddr)) -> usize {
        self.fdb.purge(leaf.to_bits(), |vlan, address| gone(vlan, address.mac()))
    }

    /// Forgets what a leaf's frames taught, in time proportional to all it has; gives the number. Its
    /// static addresses stay, and so do its rules. For a leaf whose hosts are to be found elsewhere.
    pub fn forget_learned(&self, leaf: P) -> usize {
        self.fdb.forget_learned(leaf.to_bits())
    }

    /// Forgets what was learned of an address on a VLAN, 0 for untagged, at a leaf or, if none has
    /// it there, at the root; true if there was something. What is said of an address stays.
    pub fn forget(&self, vlan: u16, mac: MacAddr) -> bool {
        vlan < key::VLANS && self.fdb.write().forget_mac(vlan, Address::new(mac))
    }

    /// Frees the places of expired addresses among the next `budget` places of the table, after
    /// those of the call before; gives the number freed.
    ///
    /// Verdicts do not depend on it: ageing is exact at lookup, and who is at a limit frees some
    /// places by himself. It makes room early, and keeps [`len`](Self::len) close to the truth.
    pub fn sweep(&self, now: Duration, budget: usize) -> usize {
        self.fdb.sweep(nanos(now), budget)
    }

    /// Where an address lives; `None` if unknown. `vlan` is 0 for untagged.
    #[must_use]
    pub fn lookup(&self, vlan: u16, mac: MacAddr, now: Duration) -> Option<Owner<P>> {
        self.entry(vlan, mac, now).map(|entry| entry.owner)
    }

    /// What is known of an address: of a leaf's on a VLAN, 0 for untagged, or else of what somebody
    /// has on every VLAN. `None` if nothing is.
    #[must_use]
    pub fn entry(&self, vlan: u16, mac: MacAddr, now: Duration) -> Option<Entry<P>> {
        if vlan >= key::VLANS {
            return None;
        }
        let (address, now) = (Address::new(mac), nanos(now));
        let mut keys = [key::mac(vlan, address), key::whole(address)].into_iter();
        keys.find_map(|key| Some(Entry::new(&self.fdb, key, &self.fdb.find_live(key, now)?, now)))
    }

    /// Whether an address is [reserved](Self::reserve) for a leaf.
    #[must_use]
    pub fn is_reserved(&self, mac: MacAddr, leaf: P) -> bool {
        let found = self.fdb.find(key::whole(Address::new(mac)));
        let said = found.filter(|found| found.owner & key::STATIC != 0);
        said.is_some_and(|found| key::owner(found.owner) == Owner::Leaf(leaf.to_bits()))
    }

    /// How much of a limit is used.
    #[must_use]
    pub fn room(&self, share: Share<P>) -> Room<P> {
        self.fdb.write().room(share.map(P::to_bits)).map(P::from_bits)
    }

    /// The addresses in the table that [`entries`](Self::entries) gives, with those that expired and
    /// were not swept yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fdb.write().len()
    }

    /// True if [`len`](Self::len) is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The addresses of one leaf, counted as in [`len`](Self::len).
    #[must_use]
    pub fn leaf_len(&self, leaf: P) -> usize {
        self.fdb.write().leaf_entries(leaf.to_bits())
    }

    /// All known addresses, but for what is protected or reserved and was not heard of, in no order
    /// and without a lock: one that moves meanwhile may come twice or not at all.
    pub fn entries(&self, now: Duration) -> impl Iterator<Item = Entry<P>> + '_ {
        let now = nanos(now);
        let entries = self.fdb.entries(now);
        entries.map(move |(key, found)| Entry::new(&self.fdb, key, &found, now))
    }

    /// [`entries`](Self::entries) in order: the root's, then leaf after leaf by its
    /// [bits](Port::to_bits), and those of one owner by VLAN and address. For who lists the
    /// addresses of all leaves: [`chunk_by`](slice::chunk_by) gives each leaf's.
    #[must_use]
    pub fn entries_by_owner(&self, now: Duration) -> Vec<Entry<P>> {
        let mut entries: Vec<_> = self.entries(now).collect();
        entries.sort_unstable_by_key(|entry| {
            let leaf = match entry.owner {
                Owner::Root => None,
                Owner::Leaf(port) => Some(port.to_bits()),
            };
            (leaf, entry.vlan, entry.mac)
        });
        entries
    }
}

fn group(destination: Address) -> Option<BumKind> {
    if destination.is_broadcast() {
        Some(BumKind::Broadcast)
    } else if destination.is_group() {
        Some(BumKind::Multicast)
    } else {
        None
    }
}

fn ported<P: Port>(learned: Learned<u32>) -> Learned<P> {
    match learned {
        Learned::Nothing => Learned::Nothing,
        Learned::New => Learned::New,
        Learned::Moved { from, frozen } => Learned::Moved { from: from.map(P::from_bits), frozen },
    }
}
