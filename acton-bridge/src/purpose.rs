//! What the rules are gone through for: a frame that is forwarded, or one that is
//! [explained](crate::explaining). They stand once, for both.

use crate::claim::Claim;
use crate::fdb::Fdb;
use crate::limit::Share;
use crate::port::Owner;
use crate::table::Found;
use crate::verdict::{BumKind, DropReason, Learned};

/// What a rule found out, as far as a verdict may rest on it.
pub(crate) enum Fact {
    /// The live entry of the source, and its key: on the frame's VLAN or, at the root, whole.
    Source(Option<(u64, Found)>),
    SourceProtection(Option<Owner<u32>>),
    /// The leaf may send from nothing but what is reserved for it.
    Strict(u32),
    /// The leaf shares the source, which matters since another has it or the leaf is strict.
    Shares(u32),
    /// The share has no room, so that the lock is not taken.
    Full(Share<u32>),
    Group(BumKind),
}

pub(crate) trait Purpose {
    fn note(&mut self, fact: Fact);

    /// Goes through [`Fdb::root_source`].
    fn root_source(&mut self, fdb: &Fdb, key: u64, now: u64) -> Learned<u32>;

    /// Goes through [`Fdb::leaf_source`].
    fn leaf_source(
        &mut self,
        fdb: &Fdb,
        key: u64,
        leaf: u32,
        now: u64,
    ) -> Result<Learned<u32>, DropReason>;

    /// A source that is known where it was heard: its time.
    fn refresh(&mut self, fdb: &Fdb, found: &Found, now: u64);

    /// A source that is not known there, and that nothing speaks against before the lock is taken.
    fn claim_for_root(&mut self, fdb: &Fdb, key: u64, now: u64) -> Learned<u32>;

    /// As [`claim_for_root`](Self::claim_for_root).
    fn claim_for_leaf(
        &mut self,
        fdb: &Fdb,
        key: u64,
        leaf: u32,
        now: u64,
    ) -> Result<Learned<u32>, DropReason>;

    /// Who owns the destination, once the source is learned: by the first of two keys that is
    /// known.
    fn destination(&mut self, fdb: &Fdb, keys: [u64; 2], now: u64) -> Option<Owner<u32>>;
}

/// A frame that is forwarded: what it teaches is learned, and nothing is noted.
pub(crate) struct Forwarding;

impl Purpose for Forwarding {
    #[inline(always)]
    fn note(&mut self, _: Fact) {}

    #[inline(always)]
    fn root_source(&mut self, fdb: &Fdb, key: u64, now: u64) -> Learned<u32> {
        fdb.heard_from_root(key, now)
    }

    #[inline(always)]
    fn leaf_source(
        &mut self,
        fdb: &Fdb,
        key: u64,
        leaf: u32,
        now: u64,
    ) -> Result<Learned<u32>, DropReason> {
        fdb.heard_from_leaf(key, leaf, now)
    }

    #[inline(always)]
    fn refresh(&mut self, fdb: &Fdb, found: &Found, now: u64) {
        fdb.table.refresh(found, now);
    }

    #[inline(always)]
    fn claim_for_root(&mut self, fdb: &Fdb, key: u64, now: u64) -> Learned<u32> {
        fdb.write().claim_for_root(key, now)
    }

    #[inline(always)]
    fn claim_for_leaf(
        &mut self,
        fdb: &Fdb,
        key: u64,
        leaf: u32,
        now: u64,
    ) -> Result<Learned<u32>, DropReason> {
        fdb.write().claim_for_leaf(key, leaf, now)
    }

    #[inline(always)]
    fn destination(&mut self, fdb: &Fdb, keys: [u64; 2], now: u64) -> Option<Owner<u32>> {
        fdb.owner(keys[0], now).or_else(|| fdb.owner(keys[1], now))
    }
}
