//! `acton drops`.

use clap::Args;

use super::output::Output;
use super::table::{Table, wrap};
use super::units::count;
use super::{next, next_raw, unexpected};
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::control::{Answer, DropCount, RawAnswer, Request};

/// Columns of what a reason means, in a terminal of 80.
const MEANING: usize = 46;

/// Says why frames and datagrams were dropped, and how many
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Only those of this session: the client's name, its UDP address or the session's number
    #[arg(value_name = "SESSION")]
    session: Option<String>,

    /// Reasons that never came too
    #[arg(long)]
    all: bool,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let mut connection = self.instance.open()?;
        let mut answers = connection.ask(Request::Drops { session: self.session })?;
        let mut out = Output::new();
        if self.json {
            let mut drops = Vec::new();
            loop {
                match next_raw(&mut answers)? {
                    RawAnswer::Drop(drop) => drops.push(drop),
                    RawAnswer::End(end) => {
                        out.object(&[end.get()], &[("drops", &drops)])?;
                        return out.end();
                    }
                    _ => return Err(unexpected()),
                }
            }
        }
        let mut drops = Vec::new();
        loop {
            match next(&mut answers)? {
                Answer::Drop(drop) if drop.count > 0 || self.all => drops.push(drop),
                Answer::Drop(_) => {}
                Answer::End(_) => break,
                _ => return Err(unexpected()),
            }
        }
        if drops.is_empty() {
            out.line("nothing was dropped")?;
            return out.end();
        }
        drops.sort_by_key(|drop| std::cmp::Reverse(drop.count));
        table(&drops).lines().iter().try_for_each(|line| out.line(line))?;
        out.end()
    }
}

fn table(drops: &[DropCount]) -> Table {
    let mut table = Table::new(&["REASON", "COUNT", "MEANING"], &[1]);
    for DropCount { reason, count: dropped, meaning } in drops {
        let mut cells = [reason.to_string(), count(*dropped)];
        for line in wrap(meaning, MEANING) {
            let [reason, dropped] = std::mem::take(&mut cells);
            table.row([reason, dropped, line]);
        }
    }
    table
}
