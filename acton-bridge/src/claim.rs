//! When an address is learned, and when it moves.
//!
//! These rules run under the lock: for the [`Writer`], who acts on them, and for a
//! [`Rehearsal`](crate::writer::Rehearsal), which finds out what a writer would do.

use crate::fdb::Fdb;
use crate::key;
use crate::port::Owner;
use crate::table::Found;
use crate::verdict::{DropReason, Learned};
use crate::writer::Writer;

pub(crate) trait Claim {
    fn writer(&self) -> &Writer<'_>;

    /// The live entry of a key; one that has expired is removed, and with it its history.
    fn live_or_remove(&mut self, key: u64, now: u64) -> Option<Found>;

    fn refresh(&mut self, found: &Found, now: u64);

    /// Room for one more address of a leaf: below its limit, or once what expired is removed.
    fn leaf_has_room(&mut self, leaf: u32, now: u64) -> bool;

    fn leaves_have_room(&mut self, now: u64) -> bool;

    fn root_has_room(&mut self, now: u64) -> bool;

    /// Learns a key for a leaf anew, or moves it from the live entry `old`.
    fn put(&mut self, key: u64, leaf: u32, old: Option<Found>, now: u64) -> Learned<u32>;

    /// Learns the address of a key at the root, and takes it from leaves on every VLAN.
    fn put_at_root(&mut self, key: u64, now: u64) -> Learned<u32>;

    /// Takes the entry of a key out of the table.
    fn forget(&mut self, key: u64, entry: &Found);

    fn claim_for_leaf(
        &mut self,
        key: u64,
        leaf: u32,
        now: u64,
    ) -> Result<Learned<u32>, DropReason> {
        // Another writer may have been here since the caller looked.
        let old = self.live_or_remove(key, now);
        if let Some(old) = &old
            && key::owner(old.owner) == Owner::Leaf(leaf)
        {
            self.refresh(old, now);
            return Ok(Learned::Nothing);
        }
        let whole = self.live_or_remove(key::whole_of(key), now);
        Fdb::may_be_of(whole.as_ref(), leaf)?;
        if whole.is_none() && !self.writer().may_learn(leaf, key) {
            return Err(DropReason::SourceNotListed);
        }
        if let Some(old) = &old {
            self.writer().fdb.may_move(key, leaf, old, now)?;
        }
        if !self.leaf_has_room(leaf, now) {
            return Err(DropReason::LeafLimit);
        }
        if old.is_none() && !self.leaves_have_room(now) {
            return Err(DropReason::TableFull);
        }
        Ok(self.put(key, leaf, old, now))
    }

    fn claim_for_root(&mut self, key: u64, now: u64) -> Learned<u32> {
        if let Some(found) = self.live_or_remove(key::whole_of(key), now) {
            if self.writer().fdb.ages(&found) {
                self.refresh(&found, now);
            }
            return Learned::Nothing;
        }
        let old = self.live_or_remove(key, now);
        if self.writer().is_static_at_leaf(key::address(key)) {
            return Learned::Nothing;
        }
        if self.root_has_room(now) {
            return self.put_at_root(key, now);
        }
        match old {
            Some(old) => {
                // At any rate it is no longer where it was.
                self.forget(key, &old);
                Learned::Moved { from: key::owner(old.owner), frozen: false }
            }
            None => Learned::Nothing,
        }
    }
}
