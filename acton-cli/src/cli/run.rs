//! Runs a tunnel until it is told to stop.

use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::Failure;
use crate::Running;

/// Waits for SIGINT or SIGTERM, says goodbye, and logs the counters; SIGUSR1 logs them at once.
pub(super) fn until_signal(running: Running) -> Result<(), Failure> {
    // A hang-up is for those who read their configuration again: nothing to read yet, and no
    // reason to end a tunnel.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGHUP])?;
    let (stopper, totals) = (running.stopper(), running.totals_reader());
    thread::Builder::new().name("acton-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => log::info!("counters: {}", totals()),
                SIGHUP => log::info!("hang-up ignored"),
                _ => stopper.stop(),
            }
        }
    })?;
    let totals = running.wait()?;
    log::info!("ended; counters: {totals}");
    Ok(())
}
