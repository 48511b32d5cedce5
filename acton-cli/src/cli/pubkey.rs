//! `acton pubkey`.

use std::io;

use acton_proto::handshake::public_key;
use clap::Args;

use super::Failure;
use super::state::{print, read_text};
use acton_engine::keys::{encode_key, parse_secret};

/// Reads a private key on standard input and prints its public key
#[derive(Debug, Args)]
pub(super) struct Arguments {}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let text = read_text("standard input", io::stdin().lock())?;
        let private = parse_secret(text.trim()).map_err(|error| Failure {
            code: 1,
            message: format!("standard input holds no private key: {error}"),
        })?;
        print(&encode_key(&public_key(&private)))
    }
}
