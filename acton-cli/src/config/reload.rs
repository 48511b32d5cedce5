//! Reads the settings of a running end again, and puts in force what can be.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use acton_engine::{Handle, Settings};
use clap::ArgMatches;
use serde_json::Value as Json;

use super::file::FileError;
use super::invocation::{Failed, Invocation, Reading, Source, Value, first_paragraph};
use super::key::Key;
use super::report::{KeyReport, Outcome};
use super::show::{is_shown, json_value};

/// The settings that an end's options make of those that run.
pub(crate) type ToSettings = fn(&ArgMatches, Settings) -> Result<Settings, String>;

/// Why the settings stay as they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error(transparent)]
    File(FileError),
    #[error("{}, which was read before, is gone", .0.display())]
    Gone(PathBuf),
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Refused(#[from] acton_engine::Error),
}

impl ReloadError {
    /// The error and all that it came from.
    pub(crate) fn told(&self) -> String {
        let mut told = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            told = format!("{told}: {error}");
            cause = error.source();
        }
        told
    }
}

impl From<Failed> for ReloadError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::File(error) => Self::File(error),
            Failed::Options(error) => Self::Options(first_paragraph(&error)),
        }
    }
}

/// What the settings that were read again come to.
#[derive(Debug)]
pub(crate) struct Plan {
    reading: Reading,
    settings: Option<Settings>,
    keys: Vec<KeyReport>,
}

impl Plan {
    /// What becomes of each key, in the order of the options.
    pub(crate) fn keys(&self) -> Vec<KeyReport> {
        self.keys.clone()
    }
}

/// The keys of an end that make none of the tunnel's settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OtherKeys {
    /// Those that can change all the same: whoever reloads sees to them.
    pub(crate) live: &'static [&'static str],
    /// Those that are looked at when the end starts, and never again.
    pub(crate) at_start: &'static [&'static str],
}

/// Reads the settings of a running end again.
#[derive(Debug)]
pub(crate) struct Reloader {
    invocation: Invocation,
    to_settings: ToSettings,
    /// Keys that are none of the tunnel's settings.
    others: OtherKeys,
    /// The file that was read last.
    file: Option<PathBuf>,
    /// The file that is read next, if it is there.
    place: Option<PathBuf>,
    /// What runs, by key.
    running: BTreeMap<String, Value>,
}

impl Reloader {
    /// Of an end that runs with what was read.
    pub(crate) fn new(
        invocation: Invocation,
        reading: Reading,
        to_settings: ToSettings,
        others: OtherKeys,
    ) -> Self {
        let file = reading.file.map(|file| file.path);
        let (place, running) = (reading.place, reading.values);
        Self { invocation, to_settings, others, file, place, running }
    }

    /// Reads all again and says what would become of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn plan(&self, handle: &Handle) -> Result<Plan, ReloadError> {
        let reading = self.invocation.read()?;
        if let (Some(file), None) = (&self.file, &reading.file) {
            return Err(ReloadError::Gone(file.clone()));
        }
        let base = handle.settings();
        let settings = self.settings(reading.end(self.invocation.role), &base)?;
        // Nothing of another mode fits what runs.
        let fits = same_mode(&base, &settings);
        if fits {
            // Whether all is within its range.
            base.compare(&settings)?;
        }
        let before = self.made_of(&self.running, &base)?;
        let keys = Key::all(self.invocation.command())
            .filter_map(|key| Some((key, reading.values.get(key.name())?)))
            .map(|(key, value)| (key, value, self.running.get(key.name())))
            .filter(|(key, value, runs)| {
                is_shown(*key, value) || runs.is_some_and(|runs| is_shown(*key, runs))
            })
            .map(|(key, value, runs)| {
                let differs = runs.is_none_or(|runs| runs.values != value.values);
                let outcome = match fits {
                    _ if !differs => Outcome::Unchanged,
                    true => self.outcome(key.name(), value, &before),
                    false => Outcome::NeedsRestart,
                };
                let is_beaten = || is_beaten(&reading, key.name(), value);
                let outcome = match outcome {
                    Outcome::Unchanged if is_beaten() => Outcome::Beaten,
                    outcome => outcome,
                };
                let was = runs.map_or(Json::Null, |runs| json_value(key, runs));
                KeyReport { key: key.name().to_owned(), outcome, was, now: json_value(key, value) }
            })
            .collect();
        Ok(Plan { settings: fits.then_some(settings), keys, reading })
    }

    fn settings(&self, matches: &ArgMatches, base: &Settings) -> Result<Settings, ReloadError> {
        (self.to_settings)(matches, base.clone()).map_err(ReloadError::Options)
    }

    /// What these values make of the settings in `base`, whatever they demand of one another.
    fn made_of(
        &self,
        values: &BTreeMap<String, Value>,
        base: &Settings,
    ) -> Result<Settings, ReloadError> {
        self.settings(&self.invocation.matches_of(values).map_err(Failed::Options)?, base)
    }

    /// What would become of one key that differs, where the rest is as what runs, which makes `before`.
    /// Which settings it makes is found by changing it alone.
    fn outcome(&self, name: &str, value: &Value, before: &Settings) -> Outcome {
        if self.others.live.contains(&name) {
            return Outcome::Applied;
        }
        if self.others.at_start.contains(&name) {
            return Outcome::NeedsRestart;
        }
        let mut values = self.running.clone();
        values.insert(name.to_owned(), value.clone());
        // Compared so, nobody asks whether it is right: it may be so only together with others, and
        // that it is was found before.
        let alone = self.made_of(&values, before);
        let Ok(Ok(differs)) = alone.map(|alone| alone.compare(before)) else {
            return Outcome::NeedsRestart;
        };
        if !differs.needs_restart.is_empty() {
            Outcome::NeedsRestart
        } else if differs.taken.is_empty() {
            // The same in other words.
            Outcome::Unchanged
        } else {
            Outcome::Applied
        }
    }

    /// Puts a plan in force, whole or, where there is an error, not at all.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn carry_out(&mut self, plan: Plan, handle: &Handle) -> Result<(), ReloadError> {
        if let Some(settings) = plan.settings {
            handle.apply(settings)?;
        }
        let mut values = plan.reading.values;
        for KeyReport { key, outcome, .. } in plan.keys {
            if outcome == Outcome::Applied
                && let Some(value) = values.remove(&key)
            {
                self.running.insert(key, value);
            }
        }
        self.file = plan.reading.file.map(|file| file.path);
        self.place = plan.reading.place;
        Ok(())
    }

    /// The file that was read last.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The file that is read next, if it is there.
    pub(crate) fn place(&self) -> Option<&Path> {
        self.place.as_deref()
    }

    /// The value of a key that runs, where it has one.
    pub(crate) fn running(&self, name: &str) -> Option<&OsStr> {
        self.running.get(name)?.values.first().map(OsString::as_os_str)
    }
}

/// Whether the file says something else of a key than what beats it: the same key elsewhere, or one
/// that it contradicts.
fn is_beaten(reading: &Reading, name: &str, value: &Value) -> bool {
    let entry = reading.file.as_ref().and_then(|file| file.entries.get(name));
    !matches!(value.source, Source::File(_))
        && entry.is_some_and(|entry| entry.values != value.values)
}

fn same_mode(one: &Settings, other: &Settings) -> bool {
    match (one, other) {
        (Settings::Server(one), Settings::Server(other)) => {
            discriminant(&one.mode) == discriminant(&other.mode)
        }
        (Settings::Client(one), Settings::Client(other)) => {
            discriminant(&one.mode) == discriminant(&other.mode)
        }
        _ => false,
    }
}
