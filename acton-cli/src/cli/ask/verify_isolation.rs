//! `acton verify-isolation`.

use acton_engine::{
    ISOLATION_BESIDE, IsolationLeak, IsolationPart, IsolationReport, IsolationVerdict,
};
use clap::Args;

use super::output::Output;
use super::table::Table;
use super::{next_raw, unexpected};
use crate::cli::control::InstanceOptions;
use crate::cli::{FAILURE, Failure};
use crate::control::{AskError, RawAnswer, Request};

/// Exit code where nothing is shown, neither isolation nor a leak.
const UNPROVED: u8 = 2;
/// Leaks that are listed, one a line.
const MAX_LINES: usize = 20;

/// Shows on a live server that its clients cannot reach one another
///
/// Clients that agree (`acton client --allow-isolation-test`) send frames of every kind to one another and
/// to all: unicast, broadcast, multicast, from forged addresses, tagged, IPv4 and IPv6. All of them listen,
/// and show by frames of the server that they hear. A table says what was sent, and what became of it.
/// One frame of each goes to what is bridged to its own TAP: it comes back through another client where there
/// is a cable between the two. Nothing is sent where somebody does not agree. The frames do no harm: they are
/// of an EtherType for experiments, or for the port of "discard". It takes some seconds.
///
/// Exit code: 0 where no frame reached another client, 1 where one did, 2 where that could not be found
/// out.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Sessions to test, each by the client's name, its UDP address or the session's number [default:
    /// all]
    #[arg(value_name = "SESSION")]
    sessions: Vec<String>,

    /// All sessions, as where none is named
    #[arg(long, conflicts_with = "sessions")]
    all: bool,

    /// Tests those that agree, also where others do not
    #[arg(long)]
    willing_only: bool,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let verdict = self.verify().map_err(|failure| Failure { code: UNPROVED, ..failure })?;
        let code = match verdict {
            IsolationVerdict::Isolated => return Ok(()),
            IsolationVerdict::Leaks => FAILURE,
            _ => UNPROVED,
        };
        Err(Failure { code, message: String::new() })
    }

    fn verify(self) -> Result<IsolationVerdict, Failure> {
        let Self { sessions, all: _, willing_only, json, instance } = self;
        let mut connection = instance.open()?;
        let mut answers = connection.ask(Request::VerifyIsolation { sessions, willing_only })?;
        let RawAnswer::Isolation(raw) = next_raw(&mut answers)? else { return Err(unexpected()) };
        let report: IsolationReport =
            serde_json::from_str(raw.get()).map_err(AskError::Unreadable)?;
        let mut out = Output::new();
        if json {
            out.object(&[raw.get()], &[])?;
        } else {
            text(&report).iter().try_for_each(|line| out.line(line))?;
        }
        out.end()?;
        Ok(report.verdict)
    }
}

/// A report for people, line by line.
fn text(report: &IsolationReport) -> Vec<String> {
    let mut clients = Table::new(&["CLIENT", "TAKES PART", "MAC"], &[]);
    for client in &report.clients {
        let mac = client.mac.map(|mac| mac.to_string()).unwrap_or_default();
        clients.row([client.name.clone(), part(client.part).to_owned(), mac]);
    }
    let mut lines = if report.clients.is_empty() { Vec::new() } else { clients.lines() };
    if report.left_out > 0 {
        lines.push(format!("{} more are left out: too many for one test", report.left_out));
    }
    if !report.kinds.is_empty() {
        let heads = ["SENT", "AT ROOT", "LOST", "AT OTHERS", "FRAME", "DROPPED"];
        let mut table = Table::new(&heads, &[0, 1, 2, 3]);
        for kind in &report.kinds {
            let dropped: Vec<_> =
                kind.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            let counts = [kind.sent, kind.at_root, kind.lost, kind.at_clients];
            let words = [kind.text.to_string(), dropped.join(", ")];
            table.row(counts.map(|count| count.to_string()).into_iter().chain(words));
        }
        lines.push(String::new());
        lines.extend(table.lines());
        lines.push(String::new());
        lines.push(format!(
            "{} of {} pairs of clients; of each, one sends and the other listens",
            report.pairs, report.pairs_of
        ));
    }
    let came_back: u64 = report.kinds.iter().map(|kind| kind.came_back).sum();
    if came_back > 0 {
        lines.push(format!(
            "{came_back} frames came back to the client that sent them: something at the server's side \
             sends them back"
        ));
    }
    if let Some(first) = report.routed.first() {
        lines.push(format!(
            "the server's host passes on IP packets between clients, from {} to {} for one: that is not \
             of layer 2, and its firewall's to stop",
            first.from, first.at
        ));
    }
    for IsolationLeak { kind, from, at, .. } in report.leaks.iter().take(MAX_LINES) {
        lines.push(if kind == ISOLATION_BESIDE {
            format!("ANOTHER WAY: what {from} sent to its own LAN came from {at}")
        } else {
            format!("LEAK: {kind} from {from} reached {at}")
        });
    }
    if report.leaks.len() > MAX_LINES {
        lines.push("and more (--json lists them)".to_owned());
    }
    lines.extend(report.doubts.iter().cloned());
    lines.push(verdict(report));
    lines
}

fn verdict(report: &IsolationReport) -> String {
    match report.verdict {
        IsolationVerdict::Isolated => {
            "isolated: no frame of a client's reached another, and each hears what is sent to it"
        }
        IsolationVerdict::Leaks if report.leaks.iter().all(|leak| leak.kind == ISOLATION_BESIDE) => {
            "NOT isolated: there is another way between clients, beside the tunnel (a cable, or a bridge of \
             two networks)"
        }
        IsolationVerdict::Leaks => {
            "NOT isolated: frames of one client reached another, by way of what is bridged to the server's \
             TAP (hairpin mode of a bridge port, a host that sends frames back)"
        }
        _ if report.kinds.is_empty() && report.doubts.is_empty() => {
            "not tested, and nothing was sent: not all agree (acton client --allow-isolation-test); \
             --willing-only tests those that do"
        }
        _ => "not shown: see above",
    }
    .to_owned()
}

fn part(part: IsolationPart) -> &'static str {
    match part {
        IsolationPart::Agreed => "yes",
        IsolationPart::NotAllowed => "no: its owner does not allow it",
        IsolationPart::TooSoon => "no: too soon after the last test; 10 s are enough",
        IsolationPart::NoTap => "no: it cannot read its TAP's address",
        IsolationPart::Unknown => "no: its version does not know such tests",
        IsolationPart::Silent => "it does not answer",
        IsolationPart::Deaf => "yes, but it does not hear",
        IsolationPart::Gone => "its session has ended",
        _ => "no",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(verdict: &str, change: impl FnOnce(&mut serde_json::Value)) -> Vec<String> {
        let mut report = json!({
            "verdict": verdict,
            "doubts": [],
            "clients": [
                { "name": "berlin", "part": "agreed", "mac": "02:00:00:00:00:07" },
                { "name": "oslo", "part": "not_allowed", "mac": null },
            ],
            "left_out": 0, "pairs": 0, "pairs_of": 0,
            "kinds": [], "leaks": [], "routed": [],
        });
        change(&mut report);
        text(&serde_json::from_value(report).unwrap())
    }

    #[test]
    fn who_does_not_agree_is_named() {
        let lines = report("unproved", |_| {});
        assert_eq!(
            lines[..3],
            [
                "CLIENT  TAKES PART                       MAC",
                "berlin  yes                              02:00:00:00:00:07",
                "oslo    no: its owner does not allow it",
            ]
        );
        assert!(lines[3].starts_with("not tested, and nothing was sent"), "{lines:?}");
    }

    #[test]
    fn another_way_is_told_as_such() {
        let lines = report("leaks", |report| {
            report["leaks"] = json!([{ "kind": "beside", "from": "berlin", "at": "oslo" }]);
        });
        let told = "ANOTHER WAY: what berlin sent to its own LAN came from oslo";
        assert_eq!(lines[lines.len() - 2], told);
        assert!(lines.last().unwrap().contains("another way between clients"), "{lines:#?}");
    }

    #[test]
    fn a_leak_is_told_with_its_kind_and_both_ends() {
        let lines = report("leaks", |report| {
            report["pairs"] = 2.into();
            report["pairs_of"] = 2.into();
            report["kinds"] = json!([{
                "kind": "broadcast", "text": "broadcast", "sent": 2, "at_root": 1,
                "dropped": { "source_at_root": 1 }, "lost": 0, "at_clients": 1, "came_back": 1,
            }]);
            report["leaks"] = json!([{ "kind": "broadcast", "from": "berlin", "at": "oslo" }]);
        });
        let has = |line: &str| lines.iter().any(|it| it.starts_with(line));
        assert!(has("SENT  AT ROOT  LOST  AT OTHERS  FRAME      DROPPED"), "{lines:#?}");
        assert!(has("   2        1     0          1  broadcast  1 source_at_root"), "{lines:#?}");
        assert!(has("LEAK: broadcast from berlin reached oslo"), "{lines:#?}");
        assert!(has("1 frames came back") && has("NOT isolated"), "{lines:#?}");
    }
}
