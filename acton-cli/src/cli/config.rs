//! `acton config`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use acton_engine::{
    ClientMode, ClientSettings, SecureSettings, ServerMode, ServerName, ServerSettings, Settings,
};
use clap::{Args, Subcommand};

use super::state::print;
use super::{Failure, USAGE, command, read, role_command, to_settings};
use crate::config::{Invocation, Role, example, json, toml, without_environment};

/// Checks a file of settings, shows what holds, or begins a file
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks a file of settings as a start with this file alone would, and starts nothing
    Check {
        /// The file; /etc/acton/server.toml and client.toml, those that are there, without it
        file: Option<PathBuf>,
        /// Which end it is for, where its name is neither server.toml nor client.toml
        #[arg(long, value_enum, requires = "file")]
        role: Option<Role>,
    },
    /// Shows what an end would be started with, and where each value comes from
    ///
    /// What it prints is a file of settings that says the same, where it comes from as comments.
    Show {
        /// Prints JSON
        #[arg(long)]
        json: bool,
        /// The end
        #[arg(value_enum)]
        role: Role,
        /// Its options, as they would be given to it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Prints a file to begin with: each key with what it means and its default
    Example {
        /// The end that it is for
        #[arg(value_enum)]
        role: Role,
    },
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Check { file: Some(file), role } => check(&file, role),
            Command::Check { file: None, .. } => check_default_files(),
            Command::Show { json, role, options } => show(role, options, json),
            Command::Example { role } => print(example(&role_command(role)).trim_end()),
        }
    }
}

fn check_default_files() -> Result<(), Failure> {
    let present = |role: &Role| role.default_file().exists();
    let roles: Vec<Role> = Role::ALL.into_iter().filter(present).collect();
    if roles.is_empty() {
        let [server, client] = Role::ALL.map(|role| role.default_file().display().to_string());
        let message = format!("there is neither {server} nor {client}; say which file to check");
        return Err(Failure { code: USAGE, message });
    }
    roles.into_iter().try_for_each(|role| check(&role.default_file(), Some(role)))
}

fn check(file: &Path, role: Option<Role>) -> Result<(), Failure> {
    let stem = file.file_stem().unwrap_or_default();
    let named = || Role::ALL.into_iter().find(|role| stem == role.name());
    let role = role.or_else(named).ok_or_else(|| Failure {
        code: USAGE,
        message: format!(
            "{}: is it for a server or for a client? Say --role server or --role client",
            file.display()
        ),
    })?;
    // What the environment of this shell says is not the file's.
    let root = Role::ALL
        .into_iter()
        .fold(command(), |root, role| root.mut_subcommand(role.name(), without_environment));
    let arguments = ["acton".into(), role.name().into(), "--config".into(), file.into()];
    let reading = read(&invocation(root, arguments.to_vec())?)?;
    let settings = to_settings(reading.end(role), settings_for_check(role));
    settings
        // Whether all is within its range: each setting and all together.
        .and_then(|settings| settings.compare(&settings).map_err(|error| error.to_string()))
        .map_err(|what| Failure { code: USAGE, message: format!("{}: {what}", file.display()) })?;
    print(&format!("{}: right, for acton {}", file.display(), role.name()))
}

/// Settings that those of a file are put into, to see whether they fit together.
fn settings_for_check(role: Role) -> Settings {
    match role {
        Role::Server => {
            let mode = ServerMode::Secure(SecureSettings::default());
            Settings::Server(ServerSettings::new(mode))
        }
        Role::Client => {
            // Its own is a matter of an invite that need not be there yet.
            let server = ServerName::from(SocketAddr::from(([127, 0, 0, 1], 1)));
            Settings::Client(ClientSettings::new(server, ClientMode::Plain))
        }
    }
}

fn show(role: Role, options: Vec<OsString>, as_json: bool) -> Result<(), Failure> {
    let mut arguments = vec!["acton".into(), role.name().into()];
    arguments.extend(options);
    let invocation = invocation(command(), arguments)?;
    let reading = read(&invocation)?;
    if as_json {
        return print(&json(&invocation, &reading).to_string());
    }
    print(toml(&invocation, &reading).trim_end())
}

fn invocation(root: clap::Command, arguments: Vec<OsString>) -> Result<Invocation, Failure> {
    let not_found = || Failure { code: USAGE, message: "no end of this name".to_owned() };
    Invocation::new(root, arguments).ok_or_else(not_found)
}
