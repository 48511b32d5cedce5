//! `acton events`.

use clap::Args;

use super::output::Output;
use super::units::clock;
use super::{next, next_raw, unexpected};
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::control::{Answer, EventRecord, RawAnswer, Request};

/// Tells what happened, and with --follow what happens
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Goes on as things happen, until the tunnel ends
    #[arg(long, short)]
    follow: bool,

    /// Only what happened after the event of this number
    #[arg(long, value_name = "N", default_value_t = 0)]
    since: u64,

    /// As JSON, an object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let mut connection = self.instance.open()?;
        let (after, follow) = (self.since, self.follow);
        let mut answers = connection.ask(Request::Events { after, follow })?;
        let mut out = Output::new();
        loop {
            if self.json {
                match next_raw(&mut answers)? {
                    RawAnswer::Event(event) => out.object(&[event.get()], &[])?,
                    RawAnswer::End(_) => return out.end(),
                    _ => return Err(unexpected()),
                }
            } else {
                match next(&mut answers)? {
                    Answer::Event(event) => out.line(&line(&event))?,
                    Answer::End(_) => return out.end(),
                    _ => return Err(unexpected()),
                }
            }
            if follow {
                out.flush()?;
            }
        }
    }
}

/// An event as a line for people.
pub(super) fn line(event: &EventRecord) -> String {
    let EventRecord { number, time, event: kind, text, fields } = event;
    let text = text.clone().unwrap_or_else(|| {
        let fields: Vec<_> =
            fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
        format!("{} {}", kind.replace('_', " "), fields.join(" "))
    });
    format!("{number:>4}  {}  {}", clock(*time), text.trim_end())
}
