//! Something at even times.

use std::thread;
use std::time::{Duration, Instant};

/// Steps that one who comes late makes up for, at most.
const MOST_LATE: u32 = 100;

/// Wakes its owner once in each step.
#[derive(Debug)]
pub(crate) struct Pacer {
    step: Duration,
    next: Instant,
}

impl Pacer {
    pub(crate) fn new(step: Duration) -> Self {
        Self { step, next: Instant::now() }
    }

    /// Sleeps until the next step, or not where that has begun already.
    pub(crate) fn wait(&mut self) {
        let late = self.next.elapsed().saturating_sub(self.step * MOST_LATE);
        self.next += self.step + late;
        thread::sleep(self.next.saturating_duration_since(Instant::now()));
    }
}
