//! `acton reload`.

use clap::Args;
use serde_json::Value;

use super::output::Output;
use super::table::Table;
use super::{next, next_raw, unexpected};
use crate::cli::control::InstanceOptions;
use crate::cli::{FAILURE, Failure};
use crate::config::{KeyReport, Outcome};
use crate::control::{Answer, AskError, End, ListReport, RawAnswer, Request};

/// Exit code where a key needs a restart.
const NEEDS_RESTART: u8 = 3;
/// Characters of a value that are shown, in a terminal of 80 columns.
const VALUE: usize = 17;

/// Has a tunnel that runs read its file of settings again, and its list of clients: what can change
/// changes, and no session ends
///
/// All settings are put in force or, where there is an error, none; and the list of clients where it is
/// right. Exit code 1 where there is an error in either, 3 where a key needs a restart.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Only says what would become of each key, and whether the list of clients is right
    #[arg(long)]
    dry_run: bool,

    /// As JSON, with the keys that are unchanged
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let mut connection = self.instance.open()?;
        let mut answers = connection.ask(Request::Reload { dry_run: self.dry_run })?;
        let mut out = Output::new();
        let mut keys = Vec::new();
        let clients;
        if self.json {
            let mut raw = Vec::new();
            loop {
                match next_raw(&mut answers)? {
                    RawAnswer::Key(key) => {
                        keys.push(serde_json::from_str(key.get()).map_err(AskError::Unreadable)?);
                        raw.push(key);
                    }
                    RawAnswer::End(end) => {
                        let End { clients: read, .. } =
                            serde_json::from_str(end.get()).map_err(AskError::Unreadable)?;
                        clients = read;
                        let what = format!("{{\"dry_run\":{}}}", self.dry_run);
                        out.object(&[&what, end.get()], &[("keys", &raw)])?;
                        break;
                    }
                    _ => return Err(unexpected()),
                }
            }
        } else {
            let end = loop {
                match next(&mut answers)? {
                    Answer::Key(key) => keys.push(key),
                    Answer::End(end) => break end,
                    _ => return Err(unexpected()),
                }
            };
            text(&keys, &end, self.dry_run).iter().try_for_each(|line| out.line(line))?;
            if let Some(ListReport::Listed(listed)) = &end.clients {
                let read = if self.dry_run { "would be read" } else { "is read" };
                let clients = if *listed == 1 { "client" } else { "clients" };
                out.line(&format!("the list of clients {read}: {listed} {clients}"))?;
            }
            clients = end.clients;
        }
        out.end()?;
        let (outcome, error) = match (clients, self.dry_run) {
            (Some(ListReport::Error(error)), false) => ("stays as it was", error),
            (Some(ListReport::Error(error)), true) => ("would stay as it was", error),
            (Some(ListReport::NoList(error)), false) => {
                ("cannot be read, and lets nobody in until it can", error)
            }
            (Some(ListReport::NoList(error)), true) => {
                ("cannot be read, and would let nobody in until it can", error)
            }
            (None | Some(ListReport::Listed(_)), _) => ("", String::new()),
        };
        if !outcome.is_empty() {
            let message = format!("the list of clients {outcome}: {error}");
            return Err(Failure { code: FAILURE, message });
        }
        if keys.iter().any(|key| key.outcome == Outcome::NeedsRestart) {
            return Err(Failure { code: NEEDS_RESTART, message: String::new() });
        }
        Ok(())
    }
}

/// What was read, and a row for each key that differs.
fn text(keys: &[KeyReport], end: &End, dry_run: bool) -> Vec<String> {
    let config = end.config.as_ref();
    let file = config.and_then(|config| config.file.as_ref());
    let differing: Vec<_> = keys.iter().filter(|key| key.outcome != Outcome::Unchanged).collect();
    let read = match (file, config) {
        (None, _) if differing.is_empty() => {
            return vec!["there is no file of settings: all is as it was".to_owned()];
        }
        (Some(file), Some(config)) if !dry_run => {
            format!("{} is read, generation {}", file.display(), config.generation)
        }
        (Some(file), _) => format!("{}, if it were read", file.display()),
        (None, _) => "the settings, if they were read".to_owned(),
    };
    if differing.is_empty() {
        return vec![format!("{read}: nothing differs")];
    }
    let mut lines = vec![format!("{read}: {} of {} keys differ", differing.len(), keys.len())];
    let mut table = Table::new(&["KEY", "", "WAS", "NOW"], &[]);
    for KeyReport { key, outcome, was, now } in differing {
        let outcome = match outcome {
            Outcome::Applied if dry_run => "would apply",
            Outcome::Applied => "applied",
            Outcome::NeedsRestart => "needs a restart",
            Outcome::Beaten => "beaten by an option",
            Outcome::Unchanged => "unchanged",
        };
        table.row([key.clone(), outcome.to_owned(), short(was), short(now)]);
    }
    lines.extend(table.lines());
    lines
}

fn short(value: &Value) -> String {
    let text = if value.is_null() { "-".to_owned() } else { value.to_string() };
    if text.chars().count() <= VALUE {
        return text;
    }
    text.chars().take(VALUE - 1).chain(['…']).collect()
}
