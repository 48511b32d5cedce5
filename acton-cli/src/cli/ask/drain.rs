//! `acton drain`.

use std::time::Duration;

use clap::Args;

use super::have_done;
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::cli::values::seconds;
use crate::control::Request;

/// Asks a server's clients to go to their other servers, without a break
///
/// Clients go some at a time, and are asked again for as long as they are there; `acton status` shows
/// how many are left. One that has no other server stays, and comes back if it goes; so new clients are
/// let in meanwhile. Nothing of it outlives the server.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The server to go to, as clients name it, for those that have it; else each goes to the best of
    /// its own
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "stop")]
    to: Option<String>,

    /// Over how much time clients go [default: 1 s for each 100 clients]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "stop")]
    over: Option<Duration>,

    /// Ends the sessions of those too that have no other server, once all were asked, and lets nobody
    /// in
    #[arg(long, conflicts_with = "stop")]
    now: bool,

    /// Asks no more, and lets clients in
    #[arg(long)]
    stop: bool,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let Self { to, over, now, stop, json, instance } = self;
        let over_seconds = over.map(|over| over.as_secs_f64());
        let request = Request::Drain { to, over_seconds, everyone: now, stop };
        have_done(&instance, json, request, |clients| match (stop, clients) {
            (true, _) => "it drains no more".to_owned(),
            (false, 1) => "1 client is asked to go".to_owned(),
            (false, clients) => format!("{clients} clients are asked to go"),
        })
    }
}
