//! What is told of a running end's settings.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What becomes of a key when the settings are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has another value, which is in force now.
    Applied,
    /// It is as it was.
    Unchanged,
    /// It has another value, which is in force after a restart.
    NeedsRestart,
    /// The file has another value, which the command line or the environment beats.
    Beaten,
}

/// One key of the settings that were read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyReport {
    /// Its name.
    pub key: String,
    /// What became of it, or would.
    pub outcome: Outcome,
    /// The value that ran before; null where there was none.
    pub was: Value,
    /// The value that was read; null where there is none.
    pub now: Value,
}

/// Where a running end has its settings from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// The file that was read last; `None` where there was none.
    pub file: Option<PathBuf>,
    /// The directory of its keys, whole; `None` where it has gone.
    #[serde(default)]
    pub state: Option<PathBuf>,
    /// How often settings were put in force: 1 for those of the start, and one more for each reload.
    pub generation: u64,
    /// Since they were read, in seconds.
    pub read_seconds: f64,
    /// The keys of which a reload would find another value than the one that runs; `None` where the
    /// file as it is would be refused.
    pub differs: Option<Vec<String>>,
    /// Why it would be.
    pub error: Option<String>,
    /// The last reload, where the system refused something in it and the file is still as it was.
    #[serde(default)]
    pub refused: Option<RefusedReload>,
}

/// A reload of which the system refused something: all stayed as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefusedReload {
    /// How long ago, in seconds.
    pub ago_seconds: f64,
    /// What it refused, and why.
    pub error: String,
}
