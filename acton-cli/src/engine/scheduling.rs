//! When and where worker threads run.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use rustix::process::{getpriority_process, setpriority_process};

/// The niceness that threads get unless told otherwise, as Open vSwitch's. With that of the programs
/// that the tunnel carries frames for, one that is handed a frame keeps the processor from the
/// thread that has the next, and batches of both directions wait.
const NICENESS: i32 = -10;

/// How threads use processors. By default a worker sleeps as soon as there is nothing to do, and the
/// kernel chooses where it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scheduling {
    /// For how long a worker looks for the next frame before it sleeps. Being woken takes most of an
    /// idle tunnel's round trip; this trades a processor for it.
    pub busy_poll: Duration,
    /// Whether each worker stays on a processor of its own, the n-th of those that the process may
    /// use.
    pub pin: bool,
    /// The niceness of all threads of the tunnel, -20 to 19: see nice(2). `None` is -10, where the
    /// process may and runs with 0 itself; with another, its starter has chosen.
    pub nice: Option<i32>,
}

impl Scheduling {
    /// Gives the calling thread the niceness that it is to have; it runs as it did where it may not.
    pub(super) fn apply_niceness(self) {
        let inherited = getpriority_process(None).unwrap_or_default();
        let Some(wanted) = self.nice.or((inherited == 0).then_some(NICENESS)) else { return };
        if let Err(error) = setpriority_process(None, wanted) {
            let level = if self.nice.is_some() { log::Level::Warn } else { log::Level::Debug };
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            log::log!(
                level,
                "{name} runs with niceness {inherited}, not {wanted}: {error}; start it as root, or \
                 with CAP_SYS_NICE"
            );
        }
    }
}

/// Binds the calling thread to the processor of worker number `worker`, those that there are taken
/// in turn.
pub(super) fn pin_to_processor(worker: usize) -> nix::Result<()> {
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
    use std::thread;

    use super::*;

    /// The niceness of a thread after another choice, where it inherited `inherited`.
    fn niceness(inherited: i32, nice: Option<i32>) -> i32 {
        let settings = Scheduling { nice, ..Scheduling::default() };
        let thread = thread::spawn(move || {
            setpriority_process(None, inherited).unwrap();
            settings.apply_niceness();
            getpriority_process(None).unwrap()
        });
        thread.join().unwrap()
    }

    #[test]
    fn a_niceness_that_was_chosen_stays() {
        let own = getpriority_process(None).unwrap();
        assert_eq!(niceness(12, None), 12);
        assert_eq!(niceness(12, Some(17)), 17);
        assert_eq!(niceness(own, Some(15)), 15);
        let by_default = niceness(own, None);
        // Tests need not run as root.
        let may_be = if own == 0 { &[NICENESS, 0][..] } else { &[own] };
        assert!(may_be.contains(&by_default), "{by_default}");
        // It is the thread's, not the process's.
        assert_eq!(getpriority_process(None).unwrap(), own);
    }

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
