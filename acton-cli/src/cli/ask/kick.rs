//! `acton kick`.

use std::time::Duration;

use clap::Args;

use super::have_done;
use super::units::time;
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::cli::values::seconds;
use crate::control::Request;

/// Ends a client's session; it may come back at once, unless told otherwise
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The session: the client's name, its UDP address or the session's number
    #[arg(value_name = "SESSION")]
    session: String,

    /// Keeps the client out for so long; a client that was kept out tries again each half minute
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    bar: Option<Duration>,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let Self { session, bar, json, instance } = self;
        let until = bar.map(|bar| format!(" and kept out for {}", time(bar))).unwrap_or_default();
        let words = format!("{session} is kicked{until}");
        let for_seconds = bar.map(|bar| bar.as_secs_f64());
        have_done(&instance, json, Request::Kick { session, for_seconds }, |_| words)
    }
}
