//! A leaf whose addresses are not learned, since its frames find it by other things.

use crate::fdb::Fdb;
use crate::key;
use crate::port::Owner;
use crate::purpose::{Fact, Purpose};
use crate::table::Found;
use crate::verdict::{DropReason, Learned};

/// Another purpose for frames of such a leaf: what is said of the source holds, and it teaches nothing.
pub(crate) struct Unlearned<'a, Q>(pub(crate) &'a mut Q);

impl<Q: Purpose> Purpose for Unlearned<'_, Q> {
    #[inline(always)]
    fn note(&mut self, fact: Fact) {
        self.0.note(fact);
    }

    fn root_source(&mut self, fdb: &Fdb, key: u64, now: u64) -> Learned<u32> {
        self.0.root_source(fdb, key, now)
    }

    fn leaf_source(
        &mut self,
        fdb: &Fdb,
        key: u64,
        leaf: u32,
        now: u64,
    ) -> Result<Learned<u32>, DropReason> {
        let whole_key = key::whole_of(key);
        let whole = fdb.find_live(whole_key, now);
        let (said, heard) = match whole {
            Some(whole) if whole.owner & key::STATIC != 0 => (Some(key::owner(whole.owner)), None),
            heard => (None, heard.map(|heard| (whole_key, heard))),
        };
        self.note(Fact::Source(heard));
        self.note(Fact::SourceProtection(said));
        Fdb::may_be_of(whole.as_ref(), leaf)?;
        let is_strict = said.is_none() && fdb.find(key::strict(leaf)).is_some();
        if is_strict && !fdb.shares(leaf, key) {
            self.note(Fact::Strict(leaf));
            return Err(DropReason::SourceNotListed);
        }
        Ok(Learned::Nothing)
    }

    fn refresh(&mut self, _: &Fdb, _: &Found, _: u64) {}

    fn claim_for_root(&mut self, fdb: &Fdb, key: u64, now: u64) -> Learned<u32> {
        self.0.claim_for_root(fdb, key, now)
    }

    fn claim_for_leaf(
        &mut self,
        _: &Fdb,
        _: u64,
        _: u32,
        _: u64,
    ) -> Result<Learned<u32>, DropReason> {
        Ok(Learned::Nothing)
    }

    #[inline(always)]
    fn destination(&mut self, fdb: &Fdb, keys: [u64; 2], now: u64) -> Option<Owner<u32>> {
        // Another leaf's address leads nowhere from here: whoever has it behind the root is meant.
        let found = self.0.destination(fdb, keys, now);
        found.map(|_| Owner::Root)
    }
}
