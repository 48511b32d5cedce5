//! The engine's clock: time since boot, suspend included, so that a laptop that slept knows its
//! session to be old.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

pub(super) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("Linux has had it since 2.6")
}
