//! Which end a file of settings is for.

use std::path::PathBuf;

use clap::ValueEnum;

/// The directory of the files that are read where none is named.
const DIRECTORY: &str = "/etc/acton";

/// The end that a file of settings is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// `acton server`.
    Server,
    /// `acton client`.
    Client,
}

impl Role {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Server, Self::Client];

    /// The name of its command.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    /// The file that is read where none is named and this one is there.
    #[must_use]
    pub fn default_file(self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(self.name()).with_extension("toml")
    }
}
