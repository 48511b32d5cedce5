//! What a writer would do, found out without doing it.

use super::{List, Moved, Writer};
use crate::claim::Claim;
use crate::fdb::BATCH;
use crate::key;
use crate::limit::{Room, Share};
use crate::port::Owner;
use crate::table::Found;
use crate::verdict::Learned;

/// A writer that keeps its hands off the table. For one claim: it does not know what it would have
/// learned from an earlier one.
pub(crate) struct Rehearsal<'a> {
    writer: Writer<'a>,
    /// Slots of expired entries that would have been removed by now, and who owned them.
    removed: Vec<(u32, Owner<u32>)>,
    outcome: Outcome,
}

/// What a rehearsed claim came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The limits that it met, in order.
    pub(crate) rooms: Vec<Room<u32>>,
    /// What the table would say of some keys afterwards; of others what it says now.
    pub(crate) changes: Vec<(u64, Option<Found>)>,
}

impl<'a> Rehearsal<'a> {
    pub(crate) fn new(writer: Writer<'a>) -> Self {
        Self { writer, removed: Vec::new(), outcome: Outcome::default() }
    }

    pub(crate) fn outcome(self) -> Outcome {
        self.outcome
    }

    /// How much of a limit would be used by now.
    fn room(&self, share: Share<u32>) -> Room<u32> {
        let mut room = self.writer.room(share);
        room.learned -= self.removed.iter().filter(|(_, owner)| share.counts(*owner)).count();
        room
    }

    /// Whether a share has room, or would have once the expired of `search` are removed.
    fn has_room(
        &mut self,
        share: Share<u32>,
        now: u64,
        search: impl FnOnce(&Self) -> Vec<u32>,
    ) -> bool {
        if !self.room(share).is_left() {
            let fdb = self.writer.fdb;
            for index in search(self) {
                let found = fdb.table.read(index);
                if !fdb.is_live(&found, now) {
                    self.removed.push((index, key::owner(found.owner)));
                }
            }
        }
        let room = self.room(share);
        self.outcome.rooms.push(room);
        room.is_left()
    }

    /// Where [`Writer::sweep_list`] would look.
    fn search_list(&self, list: List) -> Vec<u32> {
        let is_removed = |index| self.removed.iter().any(|&(removed, _)| removed == index);
        let slots = list.iter(&self.writer.state.slots);
        slots.filter(|&index| !is_removed(index)).take(BATCH).collect()
    }

    /// Where [`Writer::sweep`] would look.
    fn search_table(&self) -> Vec<u32> {
        let state = &self.writer.state;
        let used = state.slots.cold.len() as u32;
        let next = (state.hand..used).chain(0..state.hand.min(used)).take(BATCH);
        // None of a leaf's has been removed by now, or there would be room.
        next.filter(|&index| self.writer.is_entry(index)).collect()
    }
}

impl Claim for Rehearsal<'_> {
    fn writer(&self) -> &Writer<'_> {
        &self.writer
    }

    fn live_or_remove(&mut self, key: u64, now: u64) -> Option<Found> {
        let fdb = self.writer.fdb;
        let found = fdb.table.find_quiet(key)?;
        if fdb.is_live(&found, now) {
            return Some(found);
        }
        self.removed.push((found.index, key::owner(found.owner)));
        None
    }

    fn refresh(&mut self, _: &Found, _: u64) {}

    fn leaf_has_room(&mut self, leaf: u32, now: u64) -> bool {
        self.has_room(Share::Leaf(leaf), now, |this| {
            let leaf = this.writer.state.leaves.get(&leaf);
            leaf.map(|leaf| this.search_list(leaf.entries)).unwrap_or_default()
        })
    }

    fn leaves_have_room(&mut self, now: u64) -> bool {
        self.has_room(Share::Leaves, now, Self::search_table)
    }

    fn root_has_room(&mut self, now: u64) -> bool {
        self.has_room(Share::Root, now, |this| this.search_list(this.writer.state.root))
    }

    fn put(&mut self, key: u64, leaf: u32, old: Option<Found>, now: u64) -> Learned<u32> {
        let owner = key::owner_word(Owner::Leaf(leaf));
        let entry = Found { index: 0, owner, seen: now, frozen_until: 0 };
        let Some(old) = old else {
            self.outcome.changes.push((key, Some(entry)));
            return Learned::New;
        };
        let Moved { frozen_until, frozen, .. } = self.writer.moved(key, leaf, &old, now);
        self.outcome.changes.push((key, Some(Found { frozen_until, ..entry })));
        Learned::Moved { from: key::owner(old.owner), frozen }
    }

    fn put_at_root(&mut self, key: u64, now: u64) -> Learned<u32> {
        let owner = key::root_word(key::vlan(key, 0));
        let entry = Found { index: 0, owner, seen: now, frozen_until: 0 };
        // Of the address on other VLANs a frame of this one learns nothing.
        self.outcome.changes.extend([(key::whole_of(key), Some(entry)), (key, None)]);
        let from = self.writer.loser(key, now);
        from.map_or(Learned::New, |from| Learned::Moved { from, frozen: false })
    }

    fn forget(&mut self, key: u64, _: &Found) {
        self.outcome.changes.push((key, None));
    }
}
