//! The options `--user` and `--sandbox`.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use clap::Args;

use super::Failure;
use super::control::ControlOptions;
use super::state::StateOptions;
use crate::config::RunningConfig;
use crate::confine::{Mode, Paths, Places, Sandbox, become_user};

/// What a tunnel may do on this host.
#[derive(Debug, Args)]
pub(super) struct ConfineOptions {
    /// User to run as, where root starts it: it keeps the right to program interfaces alone
    /// [default: acton, where there is that user and the state directory is its own]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Whether to confine itself to the files and system calls that it needs
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Auto)]
    sandbox: Mode,
}

impl ConfineOptions {
    /// Becomes the user to run as: to be done before keys are read or anything is opened.
    pub(super) fn become_user(
        &self,
        state: &StateOptions,
        control: &ControlOptions,
        config: Option<&RunningConfig>,
        list: Option<&Path>,
    ) -> Result<(), Failure> {
        let usual = control.usual_directory();
        let group = control.group()?;
        let settings = config.and_then(|config| config.reloader().file());
        let read = [settings, list].into_iter().flatten().collect();
        let places = Places { state: state.path(), control: usual.as_deref(), group, read };
        Ok(become_user(self.user.as_deref(), &places)?)
    }

    /// What confines the tunnel, once it is entered.
    pub(super) fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.sandbox)
    }
}

/// The files of an instance: its settings, its keys, its control socket.
pub(super) fn paths(
    config: Option<&RunningConfig>,
    state: &StateOptions,
    control: &ControlOptions,
    list: Option<&Path>,
) -> Paths {
    let mut paths = Paths::default();
    paths.write.push(state.path().to_owned());
    if let Some(directory) = control.directory() {
        // Later on there is no right to; where there is none now, whoever makes the socket says so.
        let _ = DirBuilder::new().recursive(true).mode(0o755).create(&directory);
        paths.sockets = Some(directory);
    }
    for file in [config.and_then(|config| config.reloader().file()), list].into_iter().flatten() {
        paths.read_beside(file);
    }
    paths
}
