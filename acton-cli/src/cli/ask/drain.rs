//! `acton drain`.

use std::time::Duration;

use clap::Args;

use super::have_ended;
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::cli::values::seconds;
use crate::control::Request;

/// Asks a server's clients to go to their other servers, without a break
///
/// Clients go some at a time, and are asked again for as long as they are there; `acton status` shows
/// how many are left. One that has no other server is not asked, and stays; so new clients are let in
/// meanwhile. Nothing of it outlives the server.
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

    /// Asks no more, and lets clients in; while a link that --track names carries nothing, clients are asked
    /// all the same
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
        have_ended(&instance, json, request, |end| match (stop, end.done.unwrap_or_default()) {
            (true, _) => stopped(&end.still),
            (false, asked) => words(asked, end.staying.unwrap_or_default(), now),
        })
    }
}

/// What came of the end of it.
fn stopped(still: &[String]) -> String {
    match still {
        [] => "it drains no more".to_owned(),
        reasons => format!("it drains on ({})", reasons.join("; ")),
    }
}

/// How many clients are asked to go, and what becomes of those that cannot.
fn words(asked: u64, staying: u64, now: bool) -> String {
    let clients =
        |count| if count == 1 { "1 client".to_owned() } else { format!("{count} clients") };
    let is_asked = if asked == 1 { "is" } else { "are" };
    let asked = format!("{} {is_asked} asked to go", clients(asked));
    let (has, stays, is_sent) =
        if staying == 1 { ("has", "stays", "is sent") } else { ("have", "stay", "are sent") };
    match (staying, now) {
        (0, _) => asked,
        (_, false) => format!("{asked}; {} {has} no other server and {stays}", clients(staying)),
        (_, true) => format!(
            "{asked}; {} {has} no other server and {is_sent} away after that",
            clients(staying)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_that_it_drains_on_and_why() {
        assert_eq!(stopped(&[]), "it drains no more");
        let still = ["--track: eth1 carries nothing".to_owned()];
        assert_eq!(stopped(&still), "it drains on (--track: eth1 carries nothing)");
    }

    #[test]
    fn it_says_who_goes_and_who_stays() {
        assert_eq!(words(3, 0, false), "3 clients are asked to go");
        assert_eq!(
            words(1, 1, false),
            "1 client is asked to go; 1 client has no other server and stays"
        );
        let all = "0 clients are asked to go; 2 clients have no other server and are sent away after that";
        assert_eq!(words(0, 2, true), all);
    }
}
