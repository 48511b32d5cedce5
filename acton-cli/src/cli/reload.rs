//! Has a running end follow its file of settings.

use std::collections::BTreeMap;
use std::path::Path;

use acton_engine::Handle;

use super::{Failure, logging};
use crate::config::{Outcome, Reloader};

/// Reads the settings again, puts in force what can be, and logs what became of them.
pub(super) fn reload(reloader: &mut Reloader, handle: &Handle) {
    let planned = reloader.plan(handle);
    let outcomes = match planned.and_then(|plan| reloader.carry_out(plan, handle)) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            log::error!("the settings stay as they were: {}", Failure::from(error).message);
            return;
        }
    };
    if outcomes.get(logging::LOG_LEVEL) == Some(&Outcome::Applied)
        && let Some(levels) = reloader.running(logging::LOG_LEVEL)
    {
        logging::set_levels(&levels.to_string_lossy());
    }
    if let Some(file) = reloader.file() {
        tell(file, &outcomes);
    }
}

fn tell(file: &Path, outcomes: &BTreeMap<String, Outcome>) {
    let file = file.display();
    let of = |wanted: Outcome| {
        let keys = outcomes.iter().filter(|(_, outcome)| **outcome == wanted);
        keys.map(|(key, _)| key.as_str()).collect::<Vec<_>>()
    };
    let (applied, waiting, beaten) =
        (of(Outcome::Applied), of(Outcome::NeedsRestart), of(Outcome::Beaten));
    if applied.is_empty() {
        log::info!("read {file} again: nothing in force has changed");
    } else {
        log::info!("read {file} again; in force now: {}", applied.join(", "));
    }
    if !waiting.is_empty() {
        log::warn!("{file}: in force after a restart only: {}", waiting.join(", "));
    }
    if !beaten.is_empty() {
        log::info!(
            "{file}: the command line or the environment beats it for: {}",
            beaten.join(", ")
        );
    }
}
