//! The options of who decides on clients, and of accounts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{seconds, seconds_or_none};
use crate::authorize::AuthorizeSocket;
use acton_engine::ServerSettings;

/// Who decides on clients that no list names, and who hears what they move.
#[derive(Debug, Args)]
pub(super) struct AuthorizeOptions {
    /// Unix socket of a program that is asked about each client that the list of clients does not name,
    /// and hears how its session goes; without it whoever holds the network key gets in where there is
    /// no list. docs/AUTHORIZE.md says what is spoken
    #[arg(long, value_name = "SOCKET", conflicts_with = "plain")]
    authorize: Option<PathBuf>,

    /// Seconds that the program may take for an answer; a client that it does not answer about gets no
    /// session
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "3",
        value_parser = seconds,
        requires = "authorize"
    )]
    authorize_timeout: Duration,

    /// Seconds between two accounts of a session while it lasts, each an event that the program of
    /// --authorize hears too: frames and bytes both ways; 0 for none
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "0",
        value_parser = seconds_or_none,
        conflicts_with = "plain"
    )]
    accounting_interval: Interval,
}

/// A time between two of something, if there is to be any.
pub(super) type Interval = Option<Duration>;

impl AuthorizeOptions {
    /// The program, where there is one, for the server that was told to be called so.
    pub(super) fn socket(&self, name: Option<&str>) -> Option<AuthorizeSocket> {
        self.authorize.as_deref().map(|path| AuthorizeSocket::new(path, name))
    }

    /// Has settings say what the options do.
    pub(super) const fn put_into(&self, settings: &mut ServerSettings) {
        settings.authorize_timeout = self.authorize_timeout;
        settings.accounting_interval = self.accounting_interval;
    }
}
