//! The log on standard error, whose levels can become others while the process runs.

use std::env;
use std::sync::{PoisonError, RwLock};

use clap::{Arg, ArgMatches};
use env_logger::{Builder, Logger};
use log::{LevelFilter, Log, Metadata, Record};

/// The option that names the levels, and the environment's name for it.
pub(super) const LOG_LEVEL: &str = "log-level";
const VARIABLE: &str = "ACTON_LOG_LEVEL";
/// Whether lines are coloured: `auto`, `always` or `never`.
const STYLE_VARIABLE: &str = "ACTON_LOG_STYLE";

/// The process's one log.
static LOG: SwitchableLog = SwitchableLog(RwLock::new(None));

/// A log that another can take the place of.
struct SwitchableLog(RwLock<Option<Logger>>);

impl Log for SwitchableLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let logger = self.0.read().unwrap_or_else(PoisonError::into_inner);
        logger.as_ref().is_some_and(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(logger) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            logger.log(record);
        }
    }

    fn flush(&self) {}
}

/// The option of commands that run for long.
pub(super) fn option() -> Arg {
    Arg::new(LOG_LEVEL)
        .long(LOG_LEVEL)
        .value_name("LEVEL")
        .env(VARIABLE)
        .default_value("info")
        .value_parser(levels)
        .help(
            "What is logged: error, warn, info, debug, trace or off; TARGET=LEVEL for a part of acton \
             alone, several with commas",
        )
}

/// Begins to log as the option says where the command has it, else as the environment does, else at
/// `level`.
pub(super) fn begin(matches: Option<&ArgMatches>, level: &str) {
    let option =
        matches.and_then(|matches| matches.try_get_one::<String>(LOG_LEVEL).ok().flatten());
    match (option, env::var(VARIABLE)) {
        (Some(levels), _) => set_levels(levels),
        (None, Ok(levels)) => set_levels(&levels),
        (None, Err(_)) => set_levels(level),
    }
}

/// Logs at these levels from now on.
pub(super) fn set_levels(levels: &str) {
    let mut builder = Builder::new();
    builder.parse_filters(levels).format_target(false);
    if let Ok(style) = env::var(STYLE_VARIABLE) {
        builder.parse_write_style(&style);
    }
    let logger = builder.build();
    let most = logger.filter();
    *LOG.0.write().unwrap_or_else(PoisonError::into_inner) = Some(logger);
    // It is set already where the levels change.
    let _ = log::set_logger(&LOG);
    log::set_max_level(most);
}

/// The same with levels that somebody else gives, who hears what is wrong with them.
pub(super) fn change_levels(text: &str) -> Result<(), String> {
    levels(text).map(|levels| set_levels(&levels))
}

/// Levels as the log takes them.
fn levels(text: &str) -> Result<String, String> {
    let is_level = |level: &str| level.parse::<LevelFilter>().is_ok();
    let wrong = text.split(',').map(str::trim).find(|part| {
        !part.is_empty() && !is_level(part.split_once('=').map_or(part, |(_, level)| level))
    });
    match wrong {
        None => Ok(text.to_owned()),
        Some(part) => Err(format!(
            "'{part}' is no level: error, warn, info, debug, trace or off, or TARGET=LEVEL"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked() {
        for right in ["info", "WARN", "off", "", "info,acton_engine=trace", "acton_engine::run=off"]
        {
            assert_eq!(levels(right).as_deref(), Ok(right));
        }
        for wrong in ["inof", "info,acton_engine", "acton_engine=loud", "="] {
            assert!(levels(wrong).is_err(), "{wrong:?}");
        }
    }
}
