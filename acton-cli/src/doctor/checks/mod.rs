//! The checks: facts in, findings out. Nothing here looks at the system.

mod bridge;
mod firewall;
mod host;
mod keys;
mod link;
mod policy;
mod server;
mod tunnel;

use super::code::Code;
use super::facts::{Facts, Tunnel};
use super::finding::Finding;

/// All findings, in the order of the codes.
pub(crate) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = [
        host::check(facts),
        firewall::check(facts),
        server::check(facts),
        link::check(facts),
        keys::check(facts),
        bridge::check(facts),
        tunnel::check(facts),
    ]
    .concat();
    findings.sort_by_key(|finding| Code::ALL.iter().position(|&code| code == finding.code));
    findings
}

/// Why there is nothing to say of a tunnel that does not run, or cannot be asked.
fn without_tunnel(facts: &Facts, code: Code) -> Finding {
    match &facts.tunnel {
        Tunnel::Unknown(why) => Finding::unknown(code, why.clone()),
        Tunnel::Silent(why) if code == Code::Ended => Finding::failed(code, why.clone())
            .wanted("it answers")
            .advice("start it; if it ended by itself, its log says why"),
        _ => Finding::skipped(code, "no tunnel runs here"),
    }
}
