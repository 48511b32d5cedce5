//! The log, whose levels can become others while the process runs.

use std::env;
use std::sync::{OnceLock, PoisonError, RwLock};

use clap::{Arg, ArgMatches};
use env_logger::{Builder, Logger, WriteStyle};
use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::JournalLog;

use super::log_format::{self, LogFormat};
use super::{FAILURE, Failure};

/// The option that names the levels, and the environment's name for it.
pub(super) const LOG_LEVEL: &str = "log-level";
const VARIABLE: &str = "ACTON_LOG_LEVEL";
/// Whether lines are coloured: `auto`, `always` or `never`.
const STYLE_VARIABLE: &str = "ACTON_LOG_STYLE";

/// The process's one log.
static LOG: SwitchableLog = SwitchableLog(RwLock::new(None));
/// Its form.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();
/// The system's journal, where that is what is written to.
static JOURNAL: OnceLock<JournalLog> = OnceLock::new();

/// A log that another can take the place of.
struct SwitchableLog(RwLock<Option<Logger>>);

impl Log for SwitchableLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let logger = self.0.read().unwrap_or_else(PoisonError::into_inner);
        logger.as_ref().is_some_and(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        let logger = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(logger) = logger.as_ref().filter(|logger| logger.matches(record)) else { return };
        let sent = JOURNAL.get().is_some_and(|journal| journal.journal_send(record).is_ok());
        // What the journal does not take is not lost.
        if !sent {
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

/// Begins to log as the options say where the command has them, else at the level of the environment,
/// else at `level`.
///
/// # Errors
/// Where there is no journal to write to.
pub(super) fn begin(matches: Option<&ArgMatches>, level: &str) -> Result<(), Failure> {
    let format = log_format::of(matches);
    if format == LogFormat::Journald {
        let journal = JournalLog::new().map_err(|error| Failure {
            code: FAILURE,
            message: format!(
                "--log-format journald: there is no journal to write to ({error}); text and json go \
                 to standard error"
            ),
        })?;
        let _ = JOURNAL.set(journal);
    }
    let _ = FORMAT.set(format);
    let option =
        matches.and_then(|matches| matches.try_get_one::<String>(LOG_LEVEL).ok().flatten());
    match (option, env::var(VARIABLE)) {
        (Some(levels), _) => set_levels(levels),
        (None, Ok(levels)) => set_levels(&levels),
        (None, Err(_)) => set_levels(level),
    }
    Ok(())
}

/// Whether programs read the log: then all that is said belongs there.
pub(super) fn is_for_programs() -> bool {
    FORMAT.get().is_some_and(|format| *format != LogFormat::Text)
}

/// Logs at these levels from now on.
pub(super) fn set_levels(levels: &str) {
    let mut builder = Builder::new();
    builder.parse_filters(levels).format_target(false);
    if FORMAT.get() == Some(&LogFormat::Json) {
        builder.write_style(WriteStyle::Never).format(log_format::write_json);
    } else if let Ok(style) = env::var(STYLE_VARIABLE) {
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
