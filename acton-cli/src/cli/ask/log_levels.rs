//! `acton log`.

use clap::Args;

use super::have_done;
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::control::Request;

/// Sets what a tunnel that runs logs, until it ends
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// off, error, warn, info, debug or trace; or levels by module, as info,acton_engine=debug
    #[arg(value_name = "LEVEL")]
    levels: String,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let Self { levels, json, instance } = self;
        let words = format!("it logs {levels} now");
        have_done(&instance, json, Request::Log { levels }, |_| words)
    }
}
