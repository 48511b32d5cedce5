//! Findings, for people and for programs.

use serde::Serialize;

use super::finding::{Finding, Verdict};

/// The number of the JSON form's schema; it becomes another where a field goes or changes.
const SCHEMA: u32 = 1;
/// Columns of text: an ordinary terminal. Commands are one line, however long.
const WIDTH: usize = 80;
/// Columns of the verdict and of the code.
const VERDICT: usize = 9;
const CODE: usize = 17;

/// All findings as one JSON object.
pub(crate) fn json(findings: &[Finding]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Report<'f> {
        schema: u32,
        version: &'static str,
        findings: &'f [Finding],
    }
    serde_json::to_string(&Report { schema: SCHEMA, version: env!("CARGO_PKG_VERSION"), findings })
}

/// All findings on a terminal: what is amiss first.
pub(crate) fn text(findings: &[Finding]) -> String {
    let rank = |verdict| match verdict {
        Verdict::Failed => 0,
        Verdict::Warning => 1,
        Verdict::Unknown => 2,
        Verdict::Ok | Verdict::Skipped => 3,
    };
    let is_skipped = |finding: &&Finding| finding.verdict == Verdict::Skipped;
    let mut sorted: Vec<_> = findings.iter().filter(|finding| !is_skipped(finding)).collect();
    sorted.sort_by_key(|finding| rank(finding.verdict));
    let mut text = String::new();
    let mut last = None;
    for finding in sorted {
        let is_amiss = rank(finding.verdict) < 2;
        // What is amiss stands apart.
        if last.is_some_and(|last: bool| last || is_amiss) {
            text.push('\n');
        }
        last = Some(is_amiss);
        entry(&mut text, finding);
    }
    skipped(&mut text, findings.iter().filter(is_skipped));
    text.push_str(&format!("\n{}\n", summary(findings)));
    text
}

fn entry(text: &mut String, finding: &Finding) {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
        Verdict::Unknown => "unknown",
        Verdict::Skipped => "skipped",
    };
    let about = finding.about.as_ref().map(|about| format!("{about}: ")).unwrap_or_default();
    let head = format!("{verdict:VERDICT$}{:CODE$}", finding.code);
    paragraph(text, &head, &format!("{about}{}", finding.measured));
    let label = |label: &str| format!("{:VERDICT$}{label:CODE$}", "");
    if let Some(wanted) = &finding.wanted {
        paragraph(text, &label("wanted"), wanted);
    }
    if let Some(advice) = &finding.advice {
        paragraph(text, &label("what helps"), advice);
    }
    if let Some(fix) = &finding.fix {
        text.push_str(&format!("{:VERDICT$}$ {fix}\n", ""));
    }
}

/// What there was nothing to look at for, a paragraph for each reason.
fn skipped<'f>(text: &mut String, findings: impl Iterator<Item = &'f Finding>) {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for Finding { code, measured, .. } in findings {
        match reasons.iter_mut().find(|(reason, _)| reason == measured) {
            Some((_, codes)) => codes.push(code.name()),
            None => reasons.push((measured, vec![code.name()])),
        }
    }
    for (reason, codes) in reasons {
        paragraph(
            text,
            &format!("{:VERDICT$}", "skipped"),
            &format!("{}: {reason}", codes.join(", ")),
        );
    }
}

/// Words behind a head, in lines of the terminal's width.
fn paragraph(text: &mut String, head: &str, words: &str) {
    let mut line = head.to_owned();
    let indent = head.chars().count();
    let mut is_empty = true;
    for word in words.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn summary(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let counts = [
        (count(Verdict::Failed), "failed"),
        (count(Verdict::Warning), "to look at"),
        (count(Verdict::Ok), "ok"),
        (count(Verdict::Unknown), "unknown"),
        (count(Verdict::Skipped), "skipped"),
    ];
    let told: Vec<_> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::code::Code;

    #[test]
    fn a_terminal_shows_what_is_amiss_first_and_commands_whole() {
        let findings = [
            Finding::ok(Code::TunDevice, "/dev/net/tun opens"),
            Finding::skipped(Code::Loop, "no tunnel runs here"),
            Finding::failed(Code::Keys, "open to others, mode 644")
                .about("/etc/acton/invite")
                .wanted("nobody else")
                .fix("chmod go-rwx /etc/acton/invite"),
            Finding::warning(Code::Clock, "31 s behind the server's")
                .about("server.example.net:8080")
                .wanted(
                    "less than 30 s apart; one of the two clocks is wrong and nobody knows which",
                ),
        ];
        let expected = "\
FAILED   keys             /etc/acton/invite: open to others, mode 644
         wanted           nobody else
         $ chmod go-rwx /etc/acton/invite

warning  clock            server.example.net:8080: 31 s behind the server's
         wanted           less than 30 s apart; one of the two clocks is wrong
                          and nobody knows which

ok       tun_device       /dev/net/tun opens
skipped  loop: no tunnel runs here

1 failed, 1 to look at, 1 ok, 1 skipped
";
        assert_eq!(text(&findings), expected);
        let json: serde_json::Value = serde_json::from_str(&json(&findings).unwrap()).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["findings"][2]["fix"], "chmod go-rwx /etc/acton/invite");
        assert_eq!(json["findings"][0].get("fix"), None);
    }
}
