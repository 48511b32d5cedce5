//! `acton keygen`.

use acton_proto::handshake::{Secret, SystemRandom};
use clap::Args;

use super::Failure;
use super::state::print;
use acton_engine::keys::encode_secret;

/// Prints a fresh private key, which does as a pre-shared key too
#[derive(Debug, Args)]
pub(super) struct Arguments {}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        print(&encode_secret(&Secret::generate(&mut SystemRandom)))
    }
}
