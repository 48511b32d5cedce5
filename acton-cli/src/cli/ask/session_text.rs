//! All of one session, on a sheet of 80 columns.

use acton_engine::{
    CircuitReport, LearntFrom, LossReport, MacReport, PolicyReport, ServerReport, SessionStatus,
    Traffic, drop_reasons,
};

use super::session_words::{ended, loop_found, storm, why};
use super::status::Rates;
use super::status_text::{WIDTH, name};
use super::table::wrap;
use super::units::{amount_of, clock, count, round_trip, share, time};
use crate::control::EventRecord;

/// MACs of a session that are listed.
const MACS_SHOWN: usize = 16;

/// All of one session.
pub(super) fn one_session(
    session: &SessionStatus,
    rates: &Rates,
    events: &[EventRecord],
) -> Vec<String> {
    let number = session.number.map(|number| format!(" (session {number})")).unwrap_or_default();
    let since = session.in_state_for.or(session.session_for);
    let since = since.map(|since| format!(" for {}", time(since))).unwrap_or_default();
    let why = why(session).map(|why| format!(": {why}")).unwrap_or_default();
    let mut sheet = Sheet::default();
    sheet.title(format!("{}{number}: {}{since}{why}", session.name, name(session.state)));
    sheet.some(
        "address",
        session.address.map(|address| match session.roams {
            None | Some(0) => address.to_string(),
            Some(1) => format!("{address}, moved once"),
            Some(roams) => format!("{address}, moved {} times", count(roams)),
        }),
    );
    sheet.some("key", session.key.clone());
    sheet
        .some("session", session.session_for.map(|it| format!("for {} without a break", time(it))));
    sheet.some("heard", session.heard_ago.map(|ago| format!("{} ago", time(ago))));
    sheet.some(
        "round trip",
        session.rtt.map(|rtt| {
            let more = [("least", rtt.min), ("jitter", rtt.jitter)].into_iter();
            let more = more.filter_map(|(what, it)| Some(format!(", {what} {}", round_trip(it?))));
            round_trip(rtt.smoothed) + &more.collect::<String>()
        }),
    );
    sheet.some("loss in", session.loss_in.map(lost));
    sheet.some("loss out", session.loss_out.map(lost));
    let mtu = |mtu: u16| format!("{mtu} bytes of UDP payload");
    sheet.some("path in", session.path_mtu_in.map(mtu));
    sheet.some("path out", session.path_mtu_out.map(mtu));
    sheet.some("server", session.server.map(of_several));
    sheet.some(
        "cipher",
        session.suite.as_ref().map(|suite| match session.rekeys {
            None | Some(0) => suite.to_string(),
            Some(1) => format!("{suite}, new keys once"),
            Some(rekeys) => format!("{suite}, new keys {} times", count(rekeys)),
        }),
    );
    sheet.some("other end", other_end(session));
    let Traffic { frames_in, bytes_in, frames_out, bytes_out, drops, .. } = &session.traffic;
    let rate = rates.of(session);
    sheet.add("in", through(*frames_in, *bytes_in, rate.map(|(rate, _)| rate)));
    sheet.add("out", through(*frames_out, *bytes_out, rate.map(|(_, rate)| rate)));
    let meanings: Vec<_> = drop_reasons().collect();
    sheet.list(
        "dropped",
        drops.iter().map(|(reason, &drops)| {
            let known = meanings.iter().find(|(known, _)| known == reason);
            let meaning = known.map(|(_, meaning)| format!(": {meaning}")).unwrap_or_default();
            format!("{} {reason}{meaning}", count(drops))
        }),
    );
    sheet.list("MACs", macs(session));
    sheet.list("policy", session.policy.iter().flat_map(policy));
    sheet.some("loop", loop_found(session));
    sheet.some("storm", storm(session));
    sheet.some(
        "before",
        session
            .before
            .map(|before| format!("ended {} ago: {}", time(before.ago), ended(before.reason))),
    );
    sheet.list(
        "events",
        events.iter().map(|event| {
            format!("{} {}", clock(event.time), event.text.as_deref().unwrap_or(&event.event))
        }),
    );
    sheet.lines
}

fn other_end(session: &SessionStatus) -> Option<String> {
    let version = session.peer_version.as_ref().map(|version| format!("acton {version}"));
    let mtu = session.peer_mtu.map(|mtu| format!("a TAP of MTU {mtu}"));
    let restarts = session.server_restarts.filter(|&restarts| restarts > 0);
    let restarts = restarts.map(|restarts| format!("crashed {} times", count(restarts)));
    let parts: Vec<_> = [version, mtu, restarts].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What is known of one of several servers.
fn of_several(server: ServerReport) -> String {
    let ServerReport { priority, weight, draining, load, .. } = server;
    let load = load.map(|load| format!(", {:.0}% full", load * 100.0)).unwrap_or_default();
    let draining = if draining { ", draining" } else { "" };
    format!("priority {priority}, weight {weight}{load}{draining}")
}

fn lost(loss: LossReport) -> String {
    let lost = loss.sent.saturating_sub(loss.received);
    format!("{} of {} datagrams ({})", count(lost), count(loss.sent), share(lost, loss.sent))
}

fn through(frames: u64, bytes: u64, rate: Option<f64>) -> String {
    let rate = rate.map(|rate| format!(", {}", amount_of(rate, "bit/s"))).unwrap_or_default();
    format!("{} frames, {}{rate}", count(frames), amount_of(bytes as f64, "B"))
}

fn macs(session: &SessionStatus) -> Vec<String> {
    let mac = |report: &MacReport| {
        let vlan = if report.vlan == 0 { String::new() } else { format!(" VLAN {}", report.vlan) };
        let age =
            report.age.map_or(", kept for it".to_owned(), |age| format!(", {} old", time(age)));
        let frozen = if report.frozen { ", frozen" } else { "" };
        format!("{}{vlan}{age}{frozen}", report.mac)
    };
    let all = session.macs.len();
    let listed = session.macs.iter().take(MACS_SHOWN).map(mac);
    let limit = session.mac_limit.filter(|_| all > 0);
    let limit = limit.map(|limit| format!("{all} of {limit} that it may have"));
    let more = all.checked_sub(MACS_SHOWN).filter(|&more| more > 0);
    let more = more.map(|more| format!("and {more} more: acton fdb"));
    limit.into_iter().chain(listed).chain(more).collect()
}

/// What is said of a client's policy, where that is more than that it is neither server nor router.
fn policy(policy: &PolicyReport) -> Vec<String> {
    let mut lines = Vec::new();
    if !policy.guarded {
        lines.push("trusted to be the LAN's DHCP server and router".to_owned());
    }
    if let Some(kinds) = &policy.ethertypes {
        let kinds: Vec<_> = kinds.iter().map(ToString::to_string).collect();
        lines.push(match kinds.is_empty() {
            true => "no frames at all (allow = [])".to_owned(),
            false => format!("frames of {} alone", kinds.join(", ")),
        });
    }
    if let Some(sources) = &policy.sources {
        lines.push(format!("addresses: {sources}"));
    }
    lines.extend(policy.vlans.iter().map(|vlans| format!("VLANs: {vlans}")));
    lines.extend(policy.leases.iter().map(|lease| {
        let vlan = if lease.vlan == 0 { String::new() } else { format!(" on VLAN {}", lease.vlan) };
        let prefix = lease.prefix_len.map(|len| format!("/{len}")).unwrap_or_default();
        let by = match lease.from {
            LearntFrom::Dhcp => "by DHCP",
            LearntFrom::Slaac => "of its own in an advertised prefix",
        };
        format!("{}{prefix}{vlan} {by}, for {} yet", lease.address, time(lease.left))
    }));
    lines.extend(pinned(policy));
    lines.extend(policy.rate_in.map(|rate| format!("in: {rate} at most")));
    lines.extend(policy.rate_out.map(|rate| format!("out: {rate} at most")));
    if let Some(CircuitReport { id, remote, protocols, .. }) = &policy.circuit {
        let remote = remote.as_ref().map(|remote| format!(", remote {remote:?}"));
        let (remote, protocols) = (remote.unwrap_or_default(), protocols.join(", "));
        lines.push(format!("circuit: {id:?}{remote}, told in {protocols}"));
    }
    if !policy.acting.is_empty() {
        lines.push(format!("drops frames now: {}", policy.acting.join(", ")));
    }
    lines
}

/// Which MACs are the client's, and whether it may use others.
fn pinned(policy: &PolicyReport) -> Vec<String> {
    let own = policy.own_macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let shared = policy.shared_macs.join(", ");
    let mut lines = Vec::new();
    if !own.is_empty() {
        lines.push(format!("MACs that are its own: {own}"));
    }
    if !shared.is_empty() {
        lines.push(format!("MACs that it shares: {shared}"));
    }
    if policy.strict {
        let none = own.is_empty() && shared.is_empty();
        let others = if none { "it has no MAC, so nothing passes" } else { "no other MAC passes" };
        lines.push(format!("strict: {others}"));
    }
    lines
}

/// A sheet of names and what they are.
#[derive(Debug, Default)]
struct Sheet {
    lines: Vec<String>,
}

impl Sheet {
    /// Columns of the names, with what is before and behind.
    const NAMES: usize = 14;

    fn title(&mut self, title: String) {
        self.lines.push(title);
    }

    fn add(&mut self, what: &str, text: String) {
        self.list(what, [text]);
    }

    fn some(&mut self, what: &str, text: Option<String>) {
        self.list(what, text);
    }

    fn list(&mut self, what: &str, texts: impl IntoIterator<Item = String>) {
        let mut what = what;
        for text in texts {
            for (index, line) in wrap(&text, WIDTH - Self::NAMES - 2).into_iter().enumerate() {
                // What goes on is a little further to the right.
                let deeper = if index > 0 { "  " } else { "" };
                self.lines.push(format!("  {what:<width$}{deeper}{line}", width = Self::NAMES - 2));
                what = "";
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn which_macs_are_a_client_s_is_told() {
        let policy = |more: Value| {
            let mut policy = json!({ "guarded": true, "leases": [], "acting": [] });
            policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            super::policy(&serde_json::from_value(policy).unwrap())
        };
        assert_eq!(policy(json!({})), [""; 0]);
        let macs = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
        let shared = ["00:00:5e:00:01:00/40"];
        let told = policy(json!({ "own_macs": macs, "shared_macs": shared, "strict": true }));
        let own = "MACs that are its own: 02:00:00:00:00:01, 02:00:00:00:00:02";
        let shared = "MACs that it shares: 00:00:5e:00:01:00/40";
        assert_eq!(told, [own, shared, "strict: no other MAC passes"]);
        let told = policy(json!({ "strict": true }));
        assert_eq!(told, ["strict: it has no MAC, so nothing passes"]);
    }
}
