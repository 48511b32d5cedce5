//! The time that all parts of a run go by.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the run began. A copy is the same clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Duration {
        self.0.elapsed()
    }

    /// When something was that another process saw at `wall` seconds since 1970.
    pub(crate) fn at(self, wall: f64) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        self.now().saturating_sub(Duration::from_secs_f64((now - wall).max(0.0)))
    }
}
