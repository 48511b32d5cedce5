//! `acton drops`.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::value::to_raw_value;

use super::output::Output;
use super::table::{Table, wrap};
use super::units::{amount, count};
use super::{next, unexpected};
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::control::{Answer, Connection, DropCount, End, Request};

/// Columns of what a reason means, in a terminal of 80.
const MEANING: usize = 40;
/// Time between the two looks that rates come from.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Says why frames and datagrams were dropped, how many, and how many in the second that it looks on
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

/// How often something was dropped, and how fast that goes now.
#[derive(Debug, Serialize)]
struct RatedDrop {
    #[serde(flatten)]
    drop: DropCount,
    per_second: f64,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let mut connection = self.instance.open()?;
        let begun = Instant::now();
        let (before, _) = look(&mut connection, &self.session)?;
        thread::sleep(BETWEEN_LOOKS);
        let (now, end) = look(&mut connection, &self.session)?;
        let mut drops = rated(&before, now, begun.elapsed());
        let mut out = Output::new();
        if self.json {
            let raw: Result<Vec<_>, _> = drops.iter().map(to_raw_value).collect();
            out.object(&[&serde_json::to_string(&end)?], &[("drops", &raw?)])?;
            return out.end();
        }
        drops.retain(|RatedDrop { drop, .. }| drop.count > 0 || self.all);
        if drops.is_empty() {
            out.line("nothing was dropped")?;
            return out.end();
        }
        drops.sort_by_key(|RatedDrop { drop, .. }| std::cmp::Reverse(drop.count));
        table(&drops).lines().iter().try_for_each(|line| out.line(line))?;
        out.end()
    }
}

fn look(
    connection: &mut Connection,
    session: &Option<String>,
) -> Result<(Vec<DropCount>, End), Failure> {
    let mut answers = connection.ask(Request::Drops { session: session.clone() })?;
    let mut drops = Vec::new();
    loop {
        match next(&mut answers)? {
            Answer::Drop(drop) => drops.push(drop),
            Answer::End(end) => return Ok((drops, end)),
            _ => return Err(unexpected()),
        }
    }
}

/// The later look, with what was added to it since the one before.
fn rated(before: &[DropCount], now: Vec<DropCount>, between: Duration) -> Vec<RatedDrop> {
    let rated = |drop: DropCount| {
        let old = before.iter().find(|old| old.reason == drop.reason).map_or(0, |old| old.count);
        // What was there before is more only where the session is another.
        let more = drop.count.saturating_sub(old);
        RatedDrop { per_second: more as f64 / between.as_secs_f64(), drop }
    };
    now.into_iter().map(rated).collect()
}

fn table(drops: &[RatedDrop]) -> Table {
    let mut table = Table::new(&["REASON", "COUNT", "PER s", "MEANING"], &[1, 2]);
    for RatedDrop { drop: DropCount { reason, count: dropped, meaning }, per_second } in drops {
        let mut cells = [reason.to_string(), count(*dropped), amount(*per_second)];
        for line in wrap(meaning, MEANING) {
            let [reason, dropped, rate] = std::mem::take(&mut cells);
            table.row([reason, dropped, rate, line]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(counts: &[(&'static str, u64)]) -> Vec<DropCount> {
        let drop = |&(reason, count): &(&'static str, u64)| DropCount {
            reason: reason.into(),
            count,
            meaning: "what it means".into(),
        };
        counts.iter().map(drop).collect()
    }

    #[test]
    fn rates_are_what_was_added_between_two_looks() {
        let before = drops(&[("held", 10), ("reset", 9)]);
        let now = drops(&[("held", 16), ("reset", 2), ("new", 1_000)]);
        let rated = rated(&before, now, Duration::from_secs(2));
        let rates: Vec<_> = rated.iter().map(|drop| drop.per_second).collect();
        assert_eq!(rates, [3.0, 0.0, 500.0]);
        let json = r#"{"reason":"held","count":16,"meaning":"what it means","per_second":3.0}"#;
        assert_eq!(serde_json::to_string(&rated[0]).unwrap(), json);
        assert_eq!(table(&rated).lines()[1], "held       16      3  what it means");
    }
}
