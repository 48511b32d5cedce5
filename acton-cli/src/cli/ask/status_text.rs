//! A tunnel and its sessions, on a terminal of 80 columns.

use std::iter;
use std::time::Duration;

use acton_engine::{Protocol, Role, SessionStatus, State};
use serde::Serialize;

use super::groups;
use super::session_rows::rows;
use super::session_words::{loop_found, storm};
use super::status::Rates;
use super::table::wrap;
use super::units::{count, time};
use crate::config::ConfigReport;
use crate::control::{AuthorizeReport, HookReport, Instance, drain_reasons};

/// Columns that a terminal has at least.
pub(super) const WIDTH: usize = 80;
/// What is amiss with sessions and told of above the table, at most.
const ALARMS_SHOWN: usize = 5;

/// A tunnel and its sessions at one moment.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) instance: Instance,
    pub(super) sessions: Vec<SessionStatus>,
}

impl Look {
    pub(super) fn is_client(&self) -> bool {
        self.instance.role == Role::Client
    }
}

/// The name of a state, a reason and the like, as JSON has it but for the underscores.
pub(super) fn name(of: impl Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(name)) => name.replace('_', " "),
        _ => String::new(),
    }
}

/// The instance, and a row a session, on a screen of so many columns.
pub(super) fn screen(look: &Look, rates: &Rates, width: usize) -> Vec<String> {
    let mut lines = instance(look);
    if look.sessions.is_empty() {
        lines.push(String::new());
        lines.push("no session".to_owned());
        return lines;
    }
    lines.push(String::new());
    lines.extend(rows(look, rates, &look.sessions.iter().collect::<Vec<_>>(), width));
    lines
}

/// What came of the events that a hook was given.
fn came_of(hook: &HookReport) -> String {
    let others = [
        (hook.failed, "failed"),
        (hook.timed_out, "timed out"),
        (hook.left_out, "left out"),
        (hook.waiting, "waiting"),
    ];
    let others = others.into_iter().filter(|&(events, _)| events > 0);
    let counts = iter::once((hook.done, "done")).chain(others);
    counts.map(|(events, what)| format!("{} {what}", count(events))).collect::<Vec<_>>().join(", ")
}

/// What came of the program that decides on clients.
fn decided(program: &AuthorizeReport) -> String {
    let others = [
        (program.bad_lines, "bad lines"),
        (program.accounts_waiting, "accounts waiting"),
        (program.accounts_lost, "accounts lost"),
    ];
    let others = others.into_iter().filter(|&(number, _)| number > 0);
    let counts =
        [(program.asked, "asked"), (program.answered, "answered")].into_iter().chain(others);
    let counts = counts.map(|(number, what)| format!("{} {what}", count(number)));
    let away = (!program.connected).then(|| "not connected".to_owned());
    away.into_iter().chain(counts).collect::<Vec<_>>().join(", ")
}

/// What there is to say of the instance.
fn instance(look: &Look) -> Vec<String> {
    let Instance { name: who, version, role, protocol, tap, sockets, bridge, .. } = &look.instance;
    let running = time(seconds(look.instance.running_seconds));
    let ended = if look.instance.ended { "ended after" } else { "up" };
    let protocol = match protocol {
        Protocol::Plain => "plain mode".to_owned(),
        protocol => name(protocol),
    };
    let role_name = name(role);
    let mut lines =
        vec![format!("{who}: {role_name} ({protocol}), acton {version}, {ended} {running}")];
    let mac = tap.mac.map(|mac| format!(" {mac}")).unwrap_or_default();
    let mtu = tap.mtu.map(|mtu| format!(", MTU {mtu}")).unwrap_or_default();
    let isolated = if tap.isolated == Some(true) { ", isolated" } else { "" };
    let bridged = tap.bridge.as_ref().map(|bridge| format!(", in {bridge}{isolated}"));
    let bridged = bridged.unwrap_or_default();
    lines.push(format!("  TAP {}{mac}{mtu}{bridged}", tap.name));
    if let (Some(first), Role::Server) = (sockets.first(), role) {
        let workers = match sockets.len() {
            1 => "1 worker".to_owned(),
            workers => format!("{workers} workers"),
        };
        lines.push(format!("  UDP {}, {workers}", first.local));
    }
    if let Some(config) = &look.instance.config {
        lines.extend(settings(config));
    }
    if let Some(hook) = &look.instance.hook {
        lines.push(format!("  hook {}: {}", hook.program, came_of(hook)));
    }
    if let Some(program) = &look.instance.authorize {
        lines.push(format!("  authorize {}: {}", program.socket, decided(program)));
    }
    if let Some(bridge) = bridge {
        let (behind, root) = (bridge.client_macs as u64, bridge.root_macs as u64);
        lines.push(format!("  MACs {} behind clients, {} at the root", count(behind), count(root)));
    }
    if let Some(multicast) = bridge.as_ref().and_then(|bridge| bridge.multicast.as_ref()) {
        lines.push(format!("  multicast {}", groups::summary(multicast)));
    }
    if *role == Role::Server {
        let states = [State::Up, State::Quiet, State::Handshaking, State::Lost, State::Closed];
        let counts: Vec<_> = states
            .into_iter()
            .filter_map(|state| {
                let are = look.sessions.iter().filter(|session| session.state == state).count();
                (are > 0).then(|| format!("{} {}", count(are as u64), name(state)))
            })
            .collect();
        if !counts.is_empty() {
            lines.push(format!("  sessions {}", counts.join(", ")));
        }
        if let Some(bridge) = bridge.as_ref().filter(|bridge| bridge.draining) {
            // Earlier versions do not say why.
            let why = Some(drain_reasons(bridge).join("; ")).filter(|why| !why.is_empty());
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            let text = format!("draining: clients are asked to go to their other servers{why}");
            let indents = ["  "].into_iter().chain(iter::repeat("    "));
            let text = wrap(&text, WIDTH - 4);
            lines.extend(indents.zip(text).map(|(indent, line)| format!("{indent}{line}")));
        }
    }
    let health = look.instance.health.iter().map(|health| health.text.clone());
    let of_sessions = look.sessions.iter().flat_map(|session| {
        let told = loop_found(session).into_iter().chain(storm(session));
        told.map(|told| format!("{}: {told}", session.name))
    });
    for text in health.chain(of_sessions.take(ALARMS_SHOWN)) {
        let text = wrap(&text, WIDTH - 4);
        let first = ["  ! "].into_iter().chain(iter::repeat("    "));
        lines.extend(first.zip(text).map(|(indent, line)| format!("{indent}{line}")));
    }
    lines
}

/// Where the settings come from, and what of the file does not run.
fn settings(config: &ConfigReport) -> Vec<String> {
    let Some(file) = &config.file else { return Vec::new() };
    let read = time(seconds(config.read_seconds));
    let mut lines = vec![format!("  settings {}, read {read} ago", file.display())];
    let differs: Vec<_> = config.differs.iter().flatten().cloned().collect();
    if !differs.is_empty() {
        let text = format!("the file differs now: {} (acton reload)", differs.join(", "));
        lines.extend(wrap(&text, WIDTH - 4).iter().map(|line| format!("    {line}")));
    }
    lines
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session(name: &str, more: Value) -> Value {
        let nothing = ["number", "key", "state_seconds", "reason", "refusal", "session_seconds"];
        let nothing = nothing.into_iter().chain(["address", "roams", "rekeys", "suite", "rtt"]);
        let nothing = nothing.chain(["peer_version", "peer_mtu", "server_restarts", "loss_in"]);
        let nothing = nothing.chain(["heard_seconds", "loss_out", "path_mtu_out", "path_mtu_in"]);
        let nothing = nothing.chain(["mac_limit", "before", "loop"]);
        let mut fields: serde_json::Map<_, _> =
            nothing.map(|field| (field.to_owned(), Value::Null)).collect();
        fields.insert("name".to_owned(), name.into());
        fields.insert("macs".to_owned(), json!([]));
        fields.insert("budgets_acting".to_owned(), json!([]));
        let traffic = json!({
            "frames_in": 0, "bytes_in": 0, "frames_out": 0, "bytes_out": 0, "drops": {},
        });
        fields.insert("traffic".to_owned(), traffic);
        let Value::Object(more) = more else { panic!("fields of a session") };
        fields.extend(more);
        Value::Object(fields)
    }

    fn look(sessions: impl IntoIterator<Item = Value>) -> Look {
        let instance = json!({
            "name": "lan0", "version": "0.2.0", "time": 1.0, "running_seconds": 273_600.0,
            "role": "server", "protocol": "acton/1", "last_event": 0, "ended": false,
            "health": [{ "code": "tap_down", "text": "TAP lan0 is down: ip link set lan0 up" }],
            "tap": {
                "name": "lan0", "mac": null, "mtu": 1_500, "running": false, "bridge": "br0",
                "queues": 1,
            },
            "sockets": [], "bridge": { "root_macs": 1_231, "client_macs": 2, "budgets_acting": [] }, "totals": {},
            "control": {
                "connections": 1, "refused": 0, "evicted": 0, "bad_requests": 0, "too_slow": 0,
            },
        });
        let sessions = sessions.into_iter().map(|session| serde_json::from_value(session).unwrap());
        Look { instance: serde_json::from_value(instance).unwrap(), sessions: sessions.collect() }
    }

    fn up(name: &str, address: &str) -> Value {
        session(
            name,
            json!({
                "state": "up", "state_seconds": 7_980.0, "address": address, "number": 7,
                "rtt": { "min_seconds": 0.01, "smoothed_seconds": 0.0124, "jitter_seconds": 0.0 },
                "loss_in": { "sent": 100, "received": 99 }, "path_mtu_out": 1_472,
            }),
        )
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters_most() {
        let look = look([
            up("berlin", "198.51.100.7:51820"),
            up("amsterdam-noord-2", "[2001:db8::7]:51820"),
            session("rome", json!({ "state": "lost", "reason": "silent", "state_seconds": 4.0 })),
            session(
                "oslo",
                json!({
                    "state": "up", "budgets_acting": ["arp"],
                    "loop": {
                        "with": "root", "found_seconds": 9.0, "opens_in_seconds": 51.0,
                    },
                }),
            ),
        ]);
        let wide = screen(&look, &Rates::default(), usize::MAX);
        let narrow = screen(&look, &Rates::default(), 80);
        let heads = |lines: &[String]| lines.iter().find(|it| it.starts_with("CLIENT")).cloned();
        assert!(heads(&wide).unwrap().ends_with("OUT b/s  MACS   MTU"), "{wide:#?}");
        assert!(heads(&narrow).unwrap().ends_with("RTT  IN b/s  OUT b/s"), "{narrow:#?}");
        assert!(narrow.iter().all(|line| line.len() <= 80), "{narrow:#?}");
        assert!(narrow.iter().any(|line| line.ends_with("silent too long")), "{narrow:#?}");
        let expected = [
            "lan0: server (acton/1), acton 0.2.0, up 3d4h",
            "  TAP lan0, MTU 1500, in br0",
            "  MACs 2 behind clients, 1,231 at the root",
            "  sessions 3 up, 1 lost",
            "  ! TAP lan0 is down: ip link set lan0 up",
            "  ! oslo: its LAN and the server's are joined by another way too, flooding held",
            "    back for 51s more; found 9s ago",
            "  ! oslo: a storm: budgets of arp drop frames (--budget)",
        ];
        let instance: Vec<_> =
            narrow.iter().filter(|line| !line.starts_with("  UDP")).take(8).collect();
        assert_eq!(instance, expected);
    }
}
