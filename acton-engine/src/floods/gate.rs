//! What one side may flood: a client, or the root.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use acton_bridge::{Bucket, Budget, FloodClass};

/// A budget that had to act within this time acts still.
const ACTS_FOR: Duration = Duration::from_secs(10);
/// Least time between two probes from one side of which the control thread hears.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// How many classes there are.
const CLASSES: usize = FloodClass::ALL.len();

/// What has been flooded from one side, for each kind of flood. Workers share it.
#[derive(Debug)]
pub(crate) struct FloodGate {
    buckets: [Bucket; CLASSES],
    /// When each budget last had to act, in nanoseconds of the engine's clock; 0 for never.
    acted: [AtomicU64; CLASSES],
    /// There is a loop through this side: nothing of it is flooded, nor to it.
    blocked: AtomicBool,
    /// When the control thread may hear of the next probe, in nanoseconds.
    probe_due: AtomicU64,
}

/// What a budget says of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Passes,
    /// It is over the budget; `begins` where the budget did not act before.
    Over {
        begins: bool,
    },
}

impl FloodGate {
    pub(crate) const fn new() -> Self {
        Self {
            buckets: [const { Bucket::new() }; _],
            acted: [const { AtomicU64::new(0) }; _],
            blocked: AtomicBool::new(false),
            probe_due: AtomicU64::new(0),
        }
    }

    /// Whether `frames` of a class may be flooded.
    pub(crate) fn admit(
        &self,
        class: FloodClass,
        frames: u32,
        budget: Option<Budget>,
        now: Duration,
    ) -> Admission {
        self.admit_part(class, (frames, (1, 1)), budget, now)
    }

    /// The same of frames of which a part of `(part, whole)` counts.
    pub(crate) fn admit_part(
        &self,
        class: FloodClass,
        (frames, part): (u32, (u32, u32)),
        budget: Option<Budget>,
        now: Duration,
    ) -> Admission {
        let Some(budget) = budget else { return Admission::Passes };
        if self.buckets[class.index()].admits_part(budget, frames, part, now) {
            return Admission::Passes;
        }
        self.over(class, now)
    }

    /// Notes that something was over the budget of a class.
    pub(crate) fn over(&self, class: FloodClass, now: Duration) -> Admission {
        let before = self.acted[class.index()].swap(now.as_nanos() as u64, Ordering::Relaxed);
        Admission::Over { begins: !acts(before, now) }
    }

    /// How many frames of a class [`admit`](Self::admit) would let pass now.
    pub(crate) fn left(&self, class: FloodClass, budget: Budget, now: Duration) -> u32 {
        self.buckets[class.index()].left(budget, now)
    }

    /// Whether [`admit_part`](Self::admit_part) would let one frame of a class pass now.
    pub(crate) fn has_part(
        &self,
        class: FloodClass,
        budget: Budget,
        part: (u32, u32),
        now: Duration,
    ) -> bool {
        self.buckets[class.index()].has_part(budget, part, now)
    }

    /// Whether flooding is held back, for there is a loop.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Holds flooding back or lets it through; whether it was held back before.
    pub(crate) fn set_blocked(&self, blocked: bool) -> bool {
        self.blocked.swap(blocked, Ordering::Relaxed)
    }

    /// Whether the control thread is to hear of a probe that came back from there: each side has a
    /// time of its own, so that nobody who sends many keeps those of others back.
    pub(crate) fn tells_probe(&self, now: Duration) -> bool {
        let now = now.as_nanos() as u64;
        let next = |due: u64| (now >= due).then(|| now + PROBE_INTERVAL.as_nanos() as u64);
        self.probe_due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// The classes whose budgets act now.
    pub(crate) fn acting(&self, now: Duration) -> Vec<Cow<'static, str>> {
        let acts =
            |class: &FloodClass| acts(self.acted[class.index()].load(Ordering::Relaxed), now);
        FloodClass::ALL.into_iter().filter(acts).map(|class| class.as_str().into()).collect()
    }
}

/// Whether a budget that acted at `acted` still does.
pub(crate) fn acts(acted: u64, now: Duration) -> bool {
    acted != 0 && now.saturating_sub(Duration::from_nanos(acted)) < ACTS_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_begins_to_act_once_and_again_after_a_quiet_time() {
        let gate = FloodGate::new();
        let budget = Some(Budget::new(1, 2));
        let at = |seconds| Duration::from_secs(seconds);
        let admit = |seconds| gate.admit(FloodClass::Arp, 1, budget, at(seconds));
        assert_eq!([admit(100), admit(100)], [Admission::Passes; 2]);
        assert_eq!(gate.acting(at(100)), [""; 0]);
        assert_eq!(admit(100), Admission::Over { begins: true });
        assert_eq!(admit(100), Admission::Over { begins: false });
        assert_eq!(gate.acting(at(109)), ["arp"]);
        assert_eq!(gate.acting(at(110)), [""; 0]);
        assert_eq!([admit(120), admit(120)], [Admission::Passes; 2]);
        assert_eq!(admit(120), Admission::Over { begins: true });
        // Each class has its own, and without a budget anything passes.
        assert_eq!(gate.admit(FloodClass::Nd, 1, budget, at(120)), Admission::Passes);
        assert_eq!(gate.admit(FloodClass::Arp, 1, None, at(120)), Admission::Passes);
    }
}
