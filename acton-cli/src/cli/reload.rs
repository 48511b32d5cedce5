//! Has a running end follow its file of settings.

use std::collections::BTreeMap;

use acton_engine::Handle;

use super::logging;
use crate::config::{Outcome, Reloader};

/// Reads the settings again, puts in force what can be, and logs what became of them.
pub(super) fn reload(reloader: &mut Reloader, handle: &Handle) {
    let outcomes = match reloader.plan(handle).and_then(|plan| reloader.carry_out(plan, handle)) {
        Ok(outcomes) => outcomes,
        Err(failure) => {
            log::error!("the settings stay as they were: {}", failure.message);
            return;
        }
    };
    if outcomes.get(logging::LOG_LEVEL) == Some(&Outcome::Applied)
        && let Some(levels) = reloader.running(logging::LOG_LEVEL)
    {
        logging::set_levels(&levels.to_string_lossy());
    }
    tell(&outcomes);
}

fn tell(outcomes: &BTreeMap<String, Outcome>) {
    let of = |wanted: Outcome| {
        let keys = outcomes.iter().filter(|(_, outcome)| **outcome == wanted);
        keys.map(|(key, _)| key.as_str()).collect::<Vec<_>>()
    };
    let (applied, waiting, beaten) =
        (of(Outcome::Applied), of(Outcome::NeedsRestart), of(Outcome::Beaten));
    if applied.is_empty() {
        log::info!("read the settings again: none of those in force changed");
    } else {
        log::info!("read the settings again, in force now: {}", applied.join(", "));
    }
    if !waiting.is_empty() {
        log::warn!("in force after a restart only: {}", waiting.join(", "));
    }
    if !beaten.is_empty() {
        log::info!("the command line or the environment beats the file for: {}", beaten.join(", "));
    }
}
