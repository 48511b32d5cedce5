//! Runs a tunnel until it is told to stop.

use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::control::ControlOptions;
use super::reload::reload;
use super::{FAILURE, Failure, USAGE};
use crate::config::Reloader;
use acton_engine::{Error, Running};

/// Runs what `start` starts until SIGINT or SIGTERM, says goodbye, and logs the counters; SIGUSR1
/// logs them at once, SIGHUP has the list of clients and the file of settings read again.
pub(super) fn until_signal(
    control: &ControlOptions,
    mut reloader: Option<Reloader>,
    start: impl FnOnce() -> Result<Running, Failure>,
) -> Result<(), Failure> {
    // Before anything is there that a signal could leave behind.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGHUP])?;
    let running = start()?;
    let handle = running.handle();
    let _control = control.open(handle.clone())?;
    thread::Builder::new().name("acton-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => log::info!("counters: {}", handle.totals()),
                SIGHUP => {
                    handle.reload();
                    if let Some(reloader) = &mut reloader {
                        reload(reloader, &handle);
                    }
                }
                _ => handle.stop(),
            }
        }
    })?;
    let totals = running.wait()?;
    log::info!("ended; counters: {totals}");
    Ok(())
}

/// Why a tunnel did not start.
pub(super) fn not_started(error: Error) -> Failure {
    let code = if error.is_setting() { USAGE } else { FAILURE };
    Failure::new(code, &error)
}
