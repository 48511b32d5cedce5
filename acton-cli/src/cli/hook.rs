//! The options of a hook, and the command that starts hooks for a tunnel.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::seconds;
use super::{FAILURE, Failure, USAGE};
use crate::hook::{self, HookError, HookStarter};

/// Who hears of what happens.
#[derive(Debug, Args)]
pub(super) struct HookOptions {
    /// Program that is started for each event, which it has as variables (ACTON_EVENT and the like) and
    /// as JSON on standard input. It runs as whoever starts acton, whatever --user says
    #[arg(long, value_name = "PROGRAM")]
    hook: Option<PathBuf>,

    /// Seconds that it may take for one event before it is killed with all of its process group
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    hook_timeout: Duration,
}

impl HookOptions {
    /// Starts the process that starts the hook: to be done before this one is another user's or is
    /// confined.
    pub(super) fn start(&self) -> Result<Option<HookStarter>, Failure> {
        let Some(program) = &self.hook else { return Ok(None) };
        let started = HookStarter::start(program, self.hook_timeout).map_err(|error| {
            let code = if matches!(error, HookError::System(_)) { FAILURE } else { USAGE };
            Failure::new(code, &error)
        })?;
        Ok(Some(started))
    }
}

/// Starts hooks for a tunnel, which starts it itself
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct RunnerArguments {
    #[arg(value_parser = seconds)]
    timeout: Duration,
    program: PathBuf,
}

impl RunnerArguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        Ok(hook::run(&self.program, self.timeout)?)
    }
}
