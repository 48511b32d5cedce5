//! `acton join`.

use std::env;
use std::path::{Path, PathBuf};

use acton_proto::handshake::public_key;
use clap::Args;
use zeroize::Zeroizing;

use super::state::{StateOptions, print, read_invite_file};
use super::{Failure, USAGE};
use acton_engine::keys::{INVITE_VARIABLE, Invite, encode_key};

/// Stores an invite, so that `acton client` alone joins
///
/// The invite is a secret, and an argument shows in `ps` and in the shell's history: standard
/// input, a file and the environment do not.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    state: StateOptions,

    /// What `acton invite` printed, or - to read it on standard input; without it the one in the
    /// environment variable ACTON_INVITE
    #[arg(value_name = "INVITE|-")]
    invite: Option<String>,

    /// Reads the invite from this file
    #[arg(long, value_name = "FILE", conflicts_with = "invite")]
    file: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let invite: Invite = read(self.file.as_deref(), self.invite)?.parse().map_err(|error| {
            Failure { code: 1, message: format!("the invite cannot be used: {error}") }
        })?;
        let state = self.state.open_as_owner()?;
        let who = match &invite.client_key {
            Some(key) => {
                format!("The invite makes this host the client {}", encode_key(&public_key(key)))
            }
            None => {
                let key = encode_key(&public_key(&state.client_key()?));
                format!("This client's public key, should the server ask for it, is {key}")
            }
        };
        state.store_invite(&invite)?;
        let servers: Vec<_> = invite.servers().iter().map(|it| it.server.to_string()).collect();
        print(&format!(
            "Stored the invite of {} in {}; `acton client` joins.\n{who}.",
            servers.join(", "),
            state.directory().display()
        ))
    }
}

/// The invite's text, from where the user said.
fn read(file: Option<&Path>, invite: Option<String>) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = file {
        return read_invite_file(path);
    }
    match invite.or_else(|| env::var(INVITE_VARIABLE).ok()) {
        Some(dash) if dash == "-" => read_invite_file(Path::new("-")),
        Some(text) if !text.is_empty() => Ok(Zeroizing::new(text)),
        _ => Err(Failure {
            code: USAGE,
            message: format!(
                "no invite: give the one that `acton invite` printed on the server's host, \
                 or - for standard input, or --file FILE, or set {INVITE_VARIABLE}"
            ),
        }),
    }
}
