//! A status on a terminal of 80 columns.

use std::cmp::Ordering;
use std::iter;
use std::time::Duration;

use acton_engine::{
    CircuitReport, EndReason, LearntFrom, LoopReport, LossReport, MacReport, Place, PolicyReport,
    Protocol, RefusalReason, Role, ServerReport, SessionStatus, State, Traffic, drop_reasons,
};
use serde::Serialize;

use super::groups;
use super::status::Rates;
use super::table::{Table, wrap};
use super::units::{amount, amount_of, clock, count, round_trip, share, time};
use crate::config::ConfigReport;
use crate::control::{AuthorizeReport, EventRecord, HookReport, Instance, drain_reasons};

/// Columns that a terminal has at least.
const WIDTH: usize = 80;
/// MACs of a session that are listed.
const MACS_SHOWN: usize = 16;

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

/// The head of the table and a row for each of `sessions`, with as many columns as there is room for.
pub(super) fn rows(
    look: &Look,
    rates: &Rates,
    sessions: &[&SessionStatus],
    width: usize,
) -> Vec<String> {
    let mut columns = known_columns(look);
    let mut narrower = LEAST_NEEDED.into_iter();
    loop {
        let table = table(look, rates, sessions, &columns);
        let is_too_wide = table.iter().any(|line| line.chars().count() > width);
        match narrower.next() {
            Some(least) if is_too_wide => columns.retain(|&column| column != least),
            _ => return table,
        }
    }
}

/// The columns that have something in them.
pub(super) fn known_columns(look: &Look) -> Vec<Column> {
    COLUMNS.into_iter().filter(|column| column.is_known(look)).collect()
}

/// A column of the table of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    State,
    For,
    Address,
    Rtt,
    Loss,
    In,
    Out,
    Macs,
    Mtu,
}

/// All of them, in their order.
const COLUMNS: [Column; 10] = {
    use Column::{Address, For, In, Loss, Macs, Mtu, Name, Out, Rtt, State};
    [Name, State, For, Address, Rtt, Loss, In, Out, Macs, Mtu]
};
/// Those that a narrow terminal does without, first of all the first.
const LEAST_NEEDED: [Column; 4] = [Column::Mtu, Column::Loss, Column::Macs, Column::Rtt];

impl Column {
    /// Whether there is something to be in it: a client knows no MACs, and plain mode neither losses
    /// nor the path's MTU.
    fn is_known(self, look: &Look) -> bool {
        let any = |is_known: fn(&SessionStatus) -> bool| look.sessions.iter().any(is_known);
        match self {
            Self::Macs => !look.is_client(),
            Self::Loss => any(|session| session.loss_in.is_some()),
            Self::Mtu => any(|session| session.path_mtu_out.is_some()),
            Self::Rtt => any(|session| session.rtt.is_some()),
            _ => true,
        }
    }

    /// Those that say who it is and where, and not how frames go through.
    fn is_of_all(self) -> bool {
        matches!(self, Self::Name | Self::State | Self::For | Self::Address)
    }

    pub(super) fn head(self, look: &Look) -> &'static str {
        match self {
            Self::Name if look.is_client() => "SERVER",
            Self::Name => "CLIENT",
            Self::State => "STATE",
            Self::For => "FOR",
            Self::Address => "ADDRESS",
            Self::Rtt => "RTT",
            Self::Loss => "LOSS",
            Self::In => "IN b/s",
            Self::Out => "OUT b/s",
            Self::Macs => "MACS",
            Self::Mtu => "MTU",
        }
    }

    /// Which of two sessions has less in this column; what is not known is less than all.
    pub(super) fn compare(self, a: &SessionStatus, b: &SessionStatus, rates: &Rates) -> Ordering {
        let rate = |of: fn((f64, f64)) -> f64| {
            let (a, b) = (rates.of(a).map(of), rates.of(b).map(of));
            a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0))
        };
        let since = |session: &SessionStatus| session.in_state_for.or(session.session_for);
        let loss = |session| worst_loss(session).map_or(-1.0, |(share, ..)| share);
        match self {
            Self::Name => a.name.cmp(&b.name),
            Self::State => (a.state as u8).cmp(&(b.state as u8)),
            Self::For => since(a).cmp(&since(b)),
            Self::Address => a.address.cmp(&b.address),
            Self::Rtt => a.rtt.map(|rtt| rtt.smoothed).cmp(&b.rtt.map(|rtt| rtt.smoothed)),
            Self::Loss => loss(a).total_cmp(&loss(b)),
            Self::In => rate(|(rate, _)| rate),
            Self::Out => rate(|(_, rate)| rate),
            Self::Macs => a.macs.len().cmp(&b.macs.len()),
            Self::Mtu => a.path_mtu_out.cmp(&b.path_mtu_out),
        }
    }

    fn cell(self, session: &SessionStatus, rates: &Rates) -> String {
        let rate = rates.of(session);
        match self {
            Self::Name => session.name.clone(),
            Self::State => name(session.state),
            Self::For => or_unknown(session.in_state_for.or(session.session_for), time),
            Self::Address => or_unknown(session.address, |address| address.to_string()),
            Self::Rtt => or_unknown(session.rtt, |rtt| round_trip(rtt.smoothed)),
            Self::Loss => loss(session),
            Self::In => or_unknown(rate, |(rate, _)| amount(rate)),
            Self::Out => or_unknown(rate, |(_, rate)| amount(rate)),
            Self::Macs => session.macs.len().to_string(),
            Self::Mtu => or_unknown(session.path_mtu_out, |mtu| mtu.to_string()),
        }
    }
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

/// A row a session.
fn table(
    look: &Look,
    rates: &Rates,
    sessions: &[&SessionStatus],
    columns: &[Column],
) -> Vec<String> {
    let heads: Vec<_> = columns.iter().map(|column| column.head(look)).collect();
    let is_figure = |column: Column| !column.is_of_all() || column == Column::For;
    let right: Vec<_> = (0..columns.len()).filter(|&at| is_figure(columns[at])).collect();
    let mut table = Table::new(&heads, &right);
    for session in sessions {
        let why = why(session);
        let shown = columns.iter().filter(|column| why.is_none() || column.is_of_all());
        table.row(shown.map(|column| column.cell(session, rates)).chain(why.clone()));
    }
    table.lines()
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

/// What is said of a loop through a session.
fn loop_found(session: &SessionStatus) -> Option<String> {
    let LoopReport { with, found_ago, opens_in, .. } = session.loop_found.as_ref()?;
    let with = match with {
        None => "another LAN".to_owned(),
        Some(Place::Session { client: Some(client), .. }) => format!("that of {client}"),
        Some(Place::Session { session, .. }) => format!("that of session {session}"),
        Some(_) => "the server's".to_owned(),
    };
    let opens = opens_in.map(|left| format!(", flooding held back for {} more", time(left)));
    let (opens, found) = (opens.unwrap_or_default(), time(*found_ago));
    Some(format!("its LAN and {with} are joined by another way too{opens}; found {found} ago"))
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

/// What is said of a storm from a client.
fn storm(session: &SessionStatus) -> Option<String> {
    let classes = session.budgets_acting.join(", ");
    (!classes.is_empty()).then(|| format!("a storm: budgets of {classes} drop frames (--budget)"))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

const UNKNOWN: &str = "-";

fn or_unknown<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), text)
}

/// The loss of the direction that loses more.
fn loss(session: &SessionStatus) -> String {
    or_unknown(worst_loss(session), |(_, lost, sent)| share(lost, sent))
}

/// What share is lost in the direction that loses more, how many, and of how many.
fn worst_loss(session: &SessionStatus) -> Option<(f64, u64, u64)> {
    let lost = |loss: &LossReport| {
        let lost = loss.sent.saturating_sub(loss.received);
        (lost as f64 / loss.sent.max(1) as f64, lost, loss.sent)
    };
    let both = [session.loss_in, session.loss_out].into_iter().flatten();
    both.map(|loss| lost(&loss)).max_by(|a, b| a.0.total_cmp(&b.0))
}

/// Why there is no session, where there is none.
fn why(session: &SessionStatus) -> Option<String> {
    match (session.state, session.refusal, session.reason) {
        (State::Up | State::Quiet, ..) => None,
        (_, Some(refusal), _) => Some(refused(refusal).to_owned()),
        (_, _, Some(reason)) => Some(ended(reason).to_owned()),
        (State::Handshaking, ..) => Some("no answer yet".to_owned()),
        (State::Unreachable, ..) => Some("it does not answer".to_owned()),
        _ if session.server.is_some_and(|server| server.draining) => {
            Some("it asks clients to go elsewhere".to_owned())
        }
        _ => None,
    }
}

/// What is known of one of several servers.
fn of_several(server: ServerReport) -> String {
    let ServerReport { priority, weight, draining, load, .. } = server;
    let load = load.map(|load| format!(", {:.0}% full", load * 100.0)).unwrap_or_default();
    let draining = if draining { ", draining" } else { "" };
    format!("priority {priority}, weight {weight}{load}{draining}")
}

fn ended(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Bye => "the other end said goodbye",
        EndReason::Restart => "the server restarts",
        EndReason::Replaced => "another client has its key",
        EndReason::Removed => "not allowed any more",
        EndReason::Denied => "denied by who decides on clients",
        EndReason::Undecided => "who decides on clients is silent",
        EndReason::Kicked => "kicked by an operator",
        EndReason::Full => "the server is full",
        EndReason::Moved => "left for another server",
        EndReason::Silent => "silent too long",
        EndReason::KeysExpired => "its keys expired",
        EndReason::Stopped => "this end stopped",
        _ => "ended for another reason",
    }
}

fn refused(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::WrongKey => "refused: made for another server or network key",
        RefusalReason::Handshake => "refused: its handshake does not open",
        RefusalReason::Unconfirmed => "refused: it did not confirm its keys",
        RefusalReason::NotListed => "refused: its key is not on the server's list",
        RefusalReason::Full => "refused: all sessions are taken",
        RefusalReason::Version => "refused: no version in common",
        RefusalReason::Suite => "refused: no cipher suite in common",
        _ => "refused for another reason",
    }
}

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
