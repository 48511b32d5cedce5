//! When and where worker threads run.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// How worker threads use processors. By default a worker sleeps as soon as there is nothing to do,
/// and the kernel chooses where it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Scheduling {
    /// For how long a worker looks for the next frame before it sleeps. Being woken takes most of an
    /// idle tunnel's round trip; this trades a processor for it.
    #[cfg_attr(feature = "serde", serde(with = "crate::observe::serialise::as_seconds"))]
    pub busy_poll: Duration,
    /// Whether each worker stays on a processor of its own, the n-th of those that the process may
    /// use.
    pub pin: bool,
}

/// Binds the calling thread to the processor of worker number `worker`, those that there are taken
/// in turn.
pub(crate) fn pin_to_processor(worker: usize) -> nix::Result<()> {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread)?;
    let mut processors = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true));
    let count = processors.clone().count().max(1);
    let mut own = CpuSet::new();
    own.set(processors.nth(worker % count).unwrap_or_default())?;
    sched_setaffinity(this_thread, &own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_pinned_to_processors_in_turn() {
        let this_thread = Pid::from_raw(0);
        let allowed = sched_getaffinity(this_thread).unwrap();
        let on = |set: &CpuSet| -> Vec<_> {
            (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap()).collect()
        };
        let processors = on(&allowed);
        for worker in 0..2 * processors.len() {
            pin_to_processor(worker).unwrap();
            let own = on(&sched_getaffinity(this_thread).unwrap());
            assert_eq!(own, [processors[worker % processors.len()]]);
            sched_setaffinity(this_thread, &allowed).unwrap();
        }
    }
}
