//! The forwarding database: who owns which address, since when, within which limits.
//!
//! What most frames need is answered here without a lock: a known source is refreshed, and a
//! source that may not be learned is refused. Only what changes the table's structure takes the
//! lock, in [`crate::writer`]; what a flood of forged sources can reach there is of bounded cost.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::address::Address;
use crate::config::{Config, MOST_MACS, MovePolicy};
use crate::key;
use crate::limit::Share;
use crate::port::Owner;
use crate::purpose::{Fact, Forwarding, Purpose};
use crate::range::MacRange;
use crate::sharing::Sharing;
use crate::table::{Found, Table};
use crate::verdict::{DropReason, Learned};
use crate::writer::{State, Writer};

/// Slots that one hold of the lock removes or examines at most, save for rare commands.
pub(crate) const BATCH: usize = 64;
/// Leaves that can be marked as at a limit of their own, whatever the limit of the others, and as
/// many that can be marked as strict. Readers of further ones take the lock to hear it.
const MARKS: usize = 4_096;
/// The limit of a leaf without one.
pub(crate) const NO_LIMIT: usize = usize::MAX;

/// When an address may move to a leaf; times in nanoseconds. How long the guarded ones are held,
/// [`Limits`] has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moves {
    FirstFrame,
    Guarded { freeze_after: u32, within: u64 },
}

/// [`Config`] checked; times in nanoseconds.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) ageing: AtomicU64,
    pub(crate) macs: usize,
    pub(crate) macs_per_leaf: AtomicUsize,
    /// Leaves that are marked as at their limit, at most.
    pub(crate) marks: usize,
    /// Leaves that are marked as strict, at most.
    pub(crate) strict_marks: usize,
    pub(crate) macs_root: usize,
    pub(crate) pinned: usize,
    pub(crate) statics: usize,
    pub(crate) moves: Moves,
    hold: AtomicU64,
}

impl Limits {
    fn new(config: &Config) -> Self {
        let macs = config.max_macs.clamp(1, MOST_MACS);
        let macs_per_leaf = leaf_limit(config.max_macs_per_leaf);
        let (moves, hold) = match config.moves {
            MovePolicy::FirstFrame => (Moves::FirstFrame, 0),
            MovePolicy::Guarded { hold, freeze_after, within } => {
                (Moves::Guarded { freeze_after, within: nanos(within) }, nanos(hold))
            }
        };
        Self {
            ageing: nanos(config.ageing).into(),
            macs,
            macs_per_leaf: macs_per_leaf.into(),
            // All that can be at the common limit, and some at limits of their own.
            marks: ((macs + 1) / macs_per_leaf).max(MARKS.min(macs + 1)),
            strict_marks: MARKS,
            macs_root: config.max_macs_root.min(MOST_MACS),
            pinned: config.max_pinned.min(MOST_MACS),
            statics: config.max_static.max(config.protected.len()).min(MOST_MACS),
            moves,
            hold: hold.into(),
        }
    }

    /// How long an address is known after its last frame, in nanoseconds.
    pub(crate) fn ageing(&self) -> u64 {
        self.ageing.load(Ordering::Relaxed)
    }

    /// The silence after which a guarded address may move, in nanoseconds.
    fn hold(&self) -> u64 {
        self.hold.load(Ordering::Relaxed)
    }

    /// The slots that suffice at all times: one for each address and protection, one more for an
    /// address on the move, which has two, and one for each mark.
    fn slots(&self) -> usize {
        let addresses = self.macs + self.macs_root + self.pinned + self.statics + 1;
        addresses + self.marks + self.strict_marks
    }
}

#[derive(Debug)]
pub(crate) struct Fdb {
    pub(crate) table: Table,
    pub(crate) limits: Limits,
    pub(crate) sharing: Sharing,
    /// Until then the leaves' or the root's share of the table is known to have no room.
    pub(crate) leaves_full_until: AtomicU64,
    pub(crate) root_full_until: AtomicU64,
    state: Mutex<State>,
}

impl Fdb {
    pub(crate) fn new(config: &Config) -> Self {
        let limits = Limits::new(config);
        Self {
            table: Table::new(limits.slots()),
            limits,
            sharing: Sharing::new(config.shared.clone()),
            leaves_full_until: AtomicU64::new(0),
            root_full_until: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    pub(crate) fn write(&self) -> Writer<'_> {
        Writer::new(self, self.state.lock())
    }

    /// Finds a key, expired or not.
    pub(crate) fn find(&self, key: u64) -> Option<Found> {
        self.table.find(key).unwrap_or_else(|| self.find_locked(key))
    }

    /// Writers changed a bucket again and again: waits for them once.
    #[cold]
    fn find_locked(&self, key: u64) -> Option<Found> {
        let _state = self.state.lock();
        self.table.find_quiet(key)
    }

    /// Finds a key unless it has expired.
    pub(crate) fn find_live(&self, key: u64, now: u64) -> Option<Found> {
        self.find(key).filter(|found| self.is_live(found, now))
    }

    pub(crate) fn owner(&self, key: u64, now: u64) -> Option<Owner<u32>> {
        self.find_live(key, now).map(|found| key::owner(found.owner))
    }

    pub(crate) fn is_live(&self, found: &Found, now: u64) -> bool {
        // By a flag, not by a time that never comes: a late refresh can change a time.
        !self.ages(found) || now.saturating_sub(found.seen) < self.limits.ageing()
    }

    pub(crate) fn set_ageing(&self, ageing: u64) {
        let mut writer = self.write();
        self.limits.ageing.store(ageing, Ordering::Relaxed);
        // What was known to be full may have places again.
        self.leaves_full_until.store(0, Ordering::Relaxed);
        self.root_full_until.store(0, Ordering::Relaxed);
        writer.look_again();
    }

    pub(crate) fn set_hold(&self, hold: u64) {
        self.limits.hold.store(hold, Ordering::Relaxed);
    }

    pub(crate) fn set_shared(&self, ranges: Vec<MacRange>) {
        // Nobody who writes meets two answers about one address.
        self.write().fdb.sharing.set_all(ranges);
    }

    pub(crate) fn set_macs_per_leaf(&self, macs: usize) {
        let mut writer = self.write();
        self.limits.macs_per_leaf.store(macs, Ordering::Relaxed);
        writer.look_again();
    }

    /// Whether what is known expires.
    pub(crate) fn ages(&self, found: &Found) -> bool {
        found.owner & (key::STATIC | key::PINNED) == 0
    }

    /// Whether a leaf may use an address that is known whole like this.
    pub(crate) fn may_be_of(whole: Option<&Found>, leaf: u32) -> Result<(), DropReason> {
        match whole {
            Some(found) if key::owner(found.owner) != Owner::Leaf(leaf) => {
                let is_static = found.owner & key::STATIC != 0;
                Err(if is_static { DropReason::SourceProtected } else { DropReason::SourceAtRoot })
            }
            _ => Ok(()),
        }
    }

    /// A frame from `leaf` has this source.
    pub(crate) fn heard_from_leaf(
        &self,
        key: u64,
        leaf: u32,
        now: u64,
    ) -> Result<Learned<u32>, DropReason> {
        self.leaf_source(key, leaf, now, &mut Forwarding)
    }

    /// A frame from the root has this source.
    pub(crate) fn heard_from_root(&self, key: u64, now: u64) -> Learned<u32> {
        self.root_source(key, now, &mut Forwarding)
    }

    /// The rules for the source of a frame from `leaf`.
    #[inline(always)]
    pub(crate) fn leaf_source(
        &self,
        key: u64,
        leaf: u32,
        now: u64,
        purpose: &mut impl Purpose,
    ) -> Result<Learned<u32>, DropReason> {
        let found = self.find(key);
        let live = found.filter(|found| self.is_live(found, now));
        if let Some(found) = live
            && key::owner(found.owner) == Owner::Leaf(leaf)
        {
            // Whoever else gets the whole address takes it from the leaf.
            purpose.note(Fact::Source(Some((key, found))));
            purpose.refresh(self, &found, now);
            return Ok(Learned::Nothing);
        }
        let whole_key = key::whole_of(key);
        let whole = self.find_live(whole_key, now);
        let (said, heard) = match whole {
            Some(whole) if whole.owner & key::STATIC != 0 => (Some(key::owner(whole.owner)), None),
            heard => (None, heard.map(|heard| (whole_key, heard))),
        };
        purpose.note(Fact::Source(heard.or(live.map(|live| (key, live)))));
        purpose.note(Fact::SourceProtection(said));
        Self::may_be_of(whole.as_ref(), leaf)?;
        let strict = said.is_none() && self.find(key::strict(leaf)).is_some();
        // Asked where it matters only.
        let shares = (strict || live.is_some()) && self.shares(leaf, key);
        if strict && !shares {
            purpose.note(Fact::Strict(leaf));
            return Err(DropReason::SourceNotListed);
        }
        if let Some(found) = &live {
            self.may_move(key, leaf, found, now)?;
        }
        if shares {
            purpose.note(Fact::Shares(leaf));
        }
        // A leaf at its limit is still heard from an address of its own that has expired: the time
        // in its mark is no later than the first expiry (or, where it has very many, 1 ms away).
        if let Some(mark) = self.find(key::at_limit(leaf)) {
            if now < mark.seen {
                purpose.note(Fact::Full(Share::Leaf(leaf)));
                return Err(DropReason::LeafLimit);
            }
        } else if found.is_none() && now < self.leaves_full_until.load(Ordering::Relaxed) {
            purpose.note(Fact::Full(Share::Leaves));
            return Err(DropReason::TableFull);
        }
        purpose.claim_for_leaf(self, key, leaf, now)
    }

    /// The rules for the source of a frame from the root.
    #[inline(always)]
    pub(crate) fn root_source(
        &self,
        key: u64,
        now: u64,
        purpose: &mut impl Purpose,
    ) -> Learned<u32> {
        let whole_key = key::whole_of(key);
        let whole = self.find(whole_key);
        if let Some(found) = whole
            && self.is_live(&found, now)
        {
            // What is reserved for a leaf stays there: so it was said.
            purpose.note(Fact::Source(Some((whole_key, found))));
            if self.ages(&found) {
                purpose.refresh(self, &found, now);
            }
            return Learned::Nothing;
        }
        let found = self.find(key);
        let live = found.filter(|found| self.is_live(found, now));
        purpose.note(Fact::Source(live.map(|live| (key, live))));
        if live.is_some_and(|live| live.owner & key::STATIC != 0) {
            return Learned::Nothing;
        }
        let is_unknown = whole.is_none() && found.is_none();
        if is_unknown && now < self.root_full_until.load(Ordering::Relaxed) {
            purpose.note(Fact::Full(Share::Root));
            return Learned::Nothing;
        }
        purpose.claim_for_root(self, key, now)
    }

    /// Whether an address that another leaf has may move to `leaf`.
    pub(crate) fn may_move(
        &self,
        key: u64,
        leaf: u32,
        found: &Found,
        now: u64,
    ) -> Result<(), DropReason> {
        if found.owner & key::STATIC != 0 {
            return Err(DropReason::SourceStatic);
        }
        match self.limits.moves {
            Moves::Guarded { .. } if !self.is_shared(key) && !self.shares(leaf, key) => {
                if now < found.frozen_until {
                    Err(DropReason::SourceFrozen)
                } else if now.saturating_sub(found.seen) < self.limits.hold() {
                    Err(DropReason::SourceHeld)
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether a leaf shares an address, whatever the others do.
    pub(crate) fn shares(&self, leaf: u32, key: u64) -> bool {
        self.sharing.has(leaf, key::address(key))
    }

    /// Whether all leaves share an address.
    pub(crate) fn is_shared(&self, key: u64) -> bool {
        self.sharing.has_all(key::address(key))
    }

    /// Until when no other leaf may take an address because of its last frame; 0 for never.
    pub(crate) fn held_until(&self, key: u64, found: &Found) -> u64 {
        let hold = match (key::owner(found.owner), self.limits.moves) {
            _ if !self.ages(found) => return 0,
            (Owner::Root, _) => self.limits.ageing(),
            (_, Moves::Guarded { .. }) if !self.is_shared(key) => {
                self.limits.hold().min(self.limits.ageing())
            }
            _ => return 0,
        };
        found.seen.saturating_add(hold)
    }

    /// Removes all that belongs to a leaf, its rules last, a batch at a time so that nobody waits for
    /// long.
    pub(crate) fn purge(&self, leaf: u32, mut gone: impl FnMut(u16, Address)) -> usize {
        let mut left = self.write().leaf_entries(leaf);
        let (mut purged, mut statics) = (0, Vec::new());
        while left > 0 {
            let batch = self.write().purge(leaf, left.min(BATCH));
            if batch.is_empty() {
                break;
            }
            left -= batch.len();
            purged += batch.len();
            for (key, is_static) in batch {
                if is_static {
                    statics.push(key::address(key));
                }
                if let Some((vlan, address)) = key::parts(key) {
                    gone(vlan, address);
                }
            }
        }
        for address in statics {
            // What is pinned shows again.
            let _ = self.write().settle(address);
        }
        let mut writer = self.write();
        writer.set_leaf_limit(leaf, None);
        writer.set_strict(leaf, false);
        writer.set_shared(leaf, &[]);
        purged
    }

    /// Removes what a leaf's frames taught, a batch at a time so that nobody waits for long.
    pub(crate) fn forget_learned(&self, leaf: u32) -> usize {
        let mut left = self.write().leaf_entries(leaf);
        let mut forgotten = 0;
        while left > 0 {
            let removed = self.write().forget_learned(leaf, left.min(BATCH));
            if removed == 0 {
                break;
            }
            left -= removed;
            forgotten += removed;
        }
        forgotten
    }

    /// Removes the expired among the next `budget` slots.
    pub(crate) fn sweep(&self, now: u64, budget: usize) -> usize {
        let mut left = budget.min(self.table.capacity() as usize);
        let mut removed = 0;
        while left > 0 {
            let batch = left.min(BATCH);
            removed += self.write().sweep(now, batch).removed;
            left -= batch;
        }
        removed
    }

    /// The live addresses, each as `(key, what is known of it)`.
    pub(crate) fn entries(&self, now: u64) -> impl Iterator<Item = (u64, Found)> + '_ {
        (0..self.table.capacity()).filter_map(move |index| {
            let key = self.table.key(index);
            // Vacant slots are all key 0 or stale keys; finding the key again tells.
            if key == 0 || !key::is_address(key) {
                return None;
            }
            let found = self.find_live(key, now)?;
            // What was said of a whole address is no place where it was heard.
            let is_said = key::parts(key).is_none() && found.owner & key::STATIC != 0;
            (found.index == index && !is_said).then_some((key, found))
        })
    }
}

/// A limit of a leaf's addresses as it counts: 0 is none.
pub(crate) fn leaf_limit(macs: usize) -> usize {
    if macs == 0 { NO_LIMIT } else { macs }
}

/// A time as nanoseconds: 584 years until it saturates.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
