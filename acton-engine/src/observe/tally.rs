//! What went through one session: a block of counters for each thread, which that thread alone
//! writes, so that anybody can add them up without stopping a worker.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use acton_bridge::DropReason;

use crate::observe::counters::Counter;

/// Reasons to drop that are counted for each session, beside the bridge's.
const OWN_DROPS: [Counter; 28] = [
    Counter::Forged,
    Counter::Replayed,
    Counter::KeysExpired,
    Counter::BadFrame,
    Counter::BadPiece,
    Counter::FrameTooLong,
    Counter::EcnUnmarkable,
    Counter::BadSuperFrame,
    Counter::LoopBlocked,
    Counter::OverBroadcast,
    Counter::OverArp,
    Counter::OverNd,
    Counter::OverDhcp,
    Counter::OverMulticast,
    Counter::OverUnknown,
    Counter::GuardDhcp,
    Counter::GuardRa,
    Counter::GuardRedirect,
    Counter::GuardHidden,
    Counter::GuardQuery,
    Counter::GuardControl,
    Counter::GuardGateway,
    Counter::EtherType,
    Counter::SourceIp,
    Counter::Vlan,
    Counter::Circuit,
    Counter::OverRateIn,
    Counter::OverRateOut,
];
/// All of them.
const DROPS: usize = DropReason::ALL.len() + OWN_DROPS.len();

/// The counters of one thread. Aligned to a cache line of 64 bytes, so that no two threads write to
/// the same one.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Tally {
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    /// 2^32 drops of one reason in one session begin again at 0.
    drops: [AtomicU32; DROPS],
}

impl Tally {
    fn new() -> Self {
        Self {
            frames_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            frames_out: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            drops: [const { AtomicU32::new(0) }; _],
        }
    }

    /// Frames that came from the client and went on, and their bytes.
    pub(crate) fn add_in(&self, frames: u64, bytes: u64) {
        bump(&self.frames_in, frames);
        bump(&self.bytes_in, bytes);
    }

    /// Frames that went to the client, and their bytes.
    pub(crate) fn add_out(&self, frames: u64, bytes: u64) {
        bump(&self.frames_out, frames);
        bump(&self.bytes_out, bytes);
    }

    /// A frame that the bridge dropped.
    pub(crate) fn add_bridge_drop(&self, reason: DropReason) {
        self.add_drops_at(reason.index(), 1);
    }

    /// Datagrams or frames that were dropped for another reason.
    pub(crate) fn add_drops(&self, reason: Counter, more: u64) {
        if let Some(index) = OWN_DROPS.iter().position(|&own| own == reason) {
            self.add_drops_at(DropReason::ALL.len() + index, more as u32);
        }
    }

    fn add_drops_at(&self, index: usize, more: u32) {
        let value = &self.drops[index];
        value.store(value.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
}

fn bump(value: &AtomicU64, more: u64) {
    value.store(value.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// The counters of one session: the control thread's, then those of each worker.
#[derive(Debug)]
pub(crate) struct Tallies {
    threads: Box<[Tally]>,
}

impl Tallies {
    /// Zeros, for so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| Tally::new()).collect() }
    }

    /// Those of thread number `thread`: 0 is the control thread.
    pub(crate) fn of(&self, thread: usize) -> &Tally {
        // Every thread has a number below the length by construction; one that had not would share.
        &self.threads[thread.min(self.threads.len() - 1)]
    }

    /// Those of all threads, added up.
    pub(crate) fn sum(&self) -> Traffic {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let (mut sum, mut drops) = (Traffic::default(), [0; DROPS]);
        // Block after block, as they lie: there may be thousands of sessions to go through.
        for tally in &self.threads {
            sum.frames_in += load(&tally.frames_in);
            sum.bytes_in += load(&tally.bytes_in);
            sum.frames_out += load(&tally.frames_out);
            sum.bytes_out += load(&tally.bytes_out);
            for (sum, drops) in drops.iter_mut().zip(&tally.drops) {
                *sum += u64::from(drops.load(Ordering::Relaxed));
            }
        }
        // Of thousands of sessions most have none: names are looked for where there are any.
        let some = drops.into_iter().enumerate().filter(|&(_, drops)| drops > 0);
        sum.drops = some.map(|(index, drops)| (Cow::Borrowed(name(index)), drops)).collect();
        sum
    }
}

/// The name of the reason with that number in a [`Tally`].
fn name(index: usize) -> &'static str {
    match DropReason::ALL.get(index) {
        Some(reason) => reason.as_str(),
        None => OWN_DROPS[index - DropReason::ALL.len()].drop_name(),
    }
}

/// What went through a session, or through all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Traffic {
    /// Frames that came from the other end and were passed on.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames that were sent to the other end.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Frames and datagrams that were dropped, by the reason's name; a reason that never came is
    /// not among them.
    pub drops: BTreeMap<Cow<'static, str>, u64>,
}

impl Traffic {
    /// Adds that of another session.
    pub(crate) fn add(&mut self, other: &Self) {
        self.frames_in += other.frames_in;
        self.bytes_in += other.bytes_in;
        self.frames_out += other.frames_out;
        self.bytes_out += other.bytes_out;
        for (reason, drops) in &other.drops {
            *self.drops.entry(reason.clone()).or_default() += drops;
        }
    }

    /// What came since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let drops = self.drops.iter().map(|(reason, &drops)| {
            let before = before.drops.get(reason).copied().unwrap_or_default();
            (reason.clone(), drops.saturating_sub(before))
        });
        Self {
            frames_in: self.frames_in.saturating_sub(before.frames_in),
            bytes_in: self.bytes_in.saturating_sub(before.bytes_in),
            frames_out: self.frames_out.saturating_sub(before.frames_out),
            bytes_out: self.bytes_out.saturating_sub(before.bytes_out),
            drops: drops.filter(|&(_, drops)| drops > 0).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_reasons_have_names() {
        let tallies = Tallies::new(3);
        tallies.of(1).add_in(2, 200);
        tallies.of(2).add_in(1, 60);
        tallies.of(0).add_out(5, 500);
        tallies.of(1).add_bridge_drop(DropReason::SourceHeld);
        tallies.of(2).add_bridge_drop(DropReason::SourceHeld);
        tallies.of(2).add_drops(Counter::Replayed, 7);
        // Not counted for each session.
        tallies.of(2).add_drops(Counter::NoSession, 7);
        let sum = tallies.sum();
        assert_eq!((sum.frames_in, sum.bytes_in, sum.frames_out, sum.bytes_out), (3, 260, 5, 500));
        assert_eq!(sum.drops, BTreeMap::from([("source_held".into(), 2), ("replayed".into(), 7)]));
    }

    #[test]
    fn traffic_since_and_traffic_together() {
        let tallies = Tallies::new(1);
        tallies.of(0).add_in(2, 200);
        tallies.of(0).add_drops(Counter::Replayed, 7);
        let before = tallies.sum();
        assert_eq!(before.since(&before), Traffic::default());
        tallies.of(0).add_out(1, 60);
        tallies.of(0).add_drops(Counter::Forged, 1);
        let mut since = tallies.sum().since(&before);
        assert_eq!((since.frames_in, since.frames_out, since.bytes_out), (0, 1, 60));
        assert_eq!(since.drops, BTreeMap::from([("forged".into(), 1)]));
        since.add(&before);
        assert_eq!(since, tallies.sum());
    }

    #[test]
    fn no_two_threads_share_a_cache_line() {
        assert_eq!((size_of::<Tally>() % 64, align_of::<Tally>()), (0, 64));
    }
}
