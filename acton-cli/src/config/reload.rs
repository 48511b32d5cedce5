//! Reads the settings of a running end again, and puts in force what can be.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use acton_engine::{Applied, Handle, Settings};
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

/// Reads the settings of a running end again.
#[derive(Debug)]
pub(crate) struct Reloader {
    invocation: Invocation,
    to_settings: ToSettings,
    /// Keys that are none of the tunnel's settings and can change all the same: whoever reloads sees
    /// to them.
    own: &'static [&'static str],
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
        own: &'static [&'static str],
    ) -> Self {
        let file = reading.file.map(|file| file.path);
        let (place, running) = (reading.place, reading.values);
        Self { invocation, to_settings, own, file, place, running }
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
        // `None` where they are of the other mode: nothing of it fits what runs.
        let together = same_mode(&base, &settings).then(|| base.compare(&settings)).transpose()?;
        let keys = Key::all(self.invocation.command())
            .filter_map(|key| Some((key, reading.values.get(key.name())?)))
            .map(|(key, value)| (key, value, self.running.get(key.name())))
            .filter(|(key, value, runs)| {
                is_shown(*key, value) || runs.is_some_and(|runs| is_shown(*key, runs))
            })
            .map(|(key, value, runs)| {
                let differs = runs.is_none_or(|runs| runs.values != value.values);
                let outcome = match &together {
                    Some(together) if differs => self.outcome(key.name(), value, &base, together),
                    None if differs => Outcome::NeedsRestart,
                    _ if is_beaten(&reading, key.name(), value) => Outcome::Beaten,
                    _ => Outcome::Unchanged,
                };
                let was = runs.map_or(Json::Null, |runs| json_value(key, runs));
                KeyReport { key: key.name().to_owned(), outcome, was, now: json_value(key, value) }
            })
            .collect();
        Ok(Plan { settings: together.map(|_| settings), keys, reading })
    }

    fn settings(&self, matches: &ArgMatches, base: &Settings) -> Result<Settings, ReloadError> {
        (self.to_settings)(matches, base.clone()).map_err(ReloadError::Options)
    }

    /// What would become of one key that differs. Which settings it makes is found by changing it
    /// alone.
    fn outcome(&self, name: &str, value: &Value, base: &Settings, together: &Applied) -> Outcome {
        if self.own.contains(&name) {
            return Outcome::Applied;
        }
        let mut values = self.running.clone();
        values.insert(name.to_owned(), value.clone());
        let alone = || {
            let matches = self.invocation.matches_of(&values).map_err(Failed::Options)?;
            let settings = self.settings(&matches, base)?;
            Ok::<_, ReloadError>(base.compare(&settings)?)
        };
        // Some are right only together with others.
        let applied = alone().unwrap_or_else(|_| together.clone());
        // One that makes no setting is for the start alone.
        if applied.taken.is_empty() || !applied.needs_restart.is_empty() {
            Outcome::NeedsRestart
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

/// Whether the file says something else of a key than what beats it.
fn is_beaten(reading: &Reading, name: &str, value: &Value) -> bool {
    let entry = reading.file.as_ref().and_then(|file| file.entries.get(name));
    matches!(value.source, Source::Flag | Source::Environment)
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
