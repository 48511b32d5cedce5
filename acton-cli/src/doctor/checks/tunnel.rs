//! A tunnel that runs: by its status and its events, as it tells them itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use acton_engine::{BridgeReport, Protocol, Role, SessionStatus, State, TapReport};
use serde::Serialize;

use super::keys::shell_word;
use super::link::headers;
use super::{policy, without_tunnel};
use crate::control::{DeadLinks, EventRecord, Instance, carry};
use crate::doctor::code::Code;
use crate::doctor::facts::{ClientsFile, Facts, Running};
use crate::doctor::finding::Finding;

/// Findings of one kind that are told one by one, at most: others are counted.
const TOLD: usize = 5;
/// Moves of a client from one port to another that only a NAT explains.
const PORTS: usize = 3;
/// The reason to drop a request for a session that was made for another server or network.
const WRONG_KEY: &str = "hello_wrong_key";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(running) = facts.tunnel.running() else {
        let all = [
            Code::PathMtu,
            Code::TapMtu,
            Code::TapDown,
            Code::TapBridge,
            Code::Uplink,
            Code::SameKey,
            Code::SameMac,
            Code::Loop,
            Code::Budget,
            Code::Policy,
            Code::NatMapping,
            Code::VersionSkew,
            Code::Reload,
            Code::Hook,
            Code::Authorize,
            Code::Session,
            Code::Ended,
        ];
        let mut findings = all.map(|code| without_tunnel(facts, code)).to_vec();
        findings.push(config_of_a_file(facts));
        findings.push(list_of_a_file(facts));
        return findings;
    };
    let instance = &running.instance;
    let mut findings = vec![
        ended(instance),
        tap_down(running),
        tap_bridge(running),
        config(running),
        reload(running),
        clients(running),
        budget(running),
        hook(instance),
        authorize(instance),
        version_of_this(instance),
    ];
    findings.extend(uplinks(running));
    findings.extend(policy::check(&running.sessions));
    findings.extend(session(running));
    findings.extend(several(Code::PathMtu, "as wide as the links", path_mtus(running, facts)));
    findings.extend(several(Code::TapMtu, "the same at both ends", tap_mtus(running)));
    findings.extend(several(Code::Loop, "none was found", loops(running)));
    findings.extend(several(Code::SameKey, "nobody else has it", same_keys(running)));
    findings.extend(several(Code::SameMac, "none, as far as was seen", same_macs(running)));
    findings.extend(several(
        Code::NatMapping,
        "addresses stay",
        nat_mappings(running, facts.keepalive.as_secs()),
    ));
    findings.extend(versions_of_peers(running));
    findings.extend(wrong_invites(running));
    findings.extend(clocks(running));
    findings
}

/// The findings of a check that looks at many things, or that all is well.
fn several(code: Code, well: &str, mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.is_empty() {
        return vec![Finding::ok(code, well)];
    }
    let more = findings.len().saturating_sub(TOLD);
    findings.truncate(TOLD);
    if let (Some(last), true) = (findings.last_mut(), more > 0) {
        last.measured.push_str(&format!("; and {more} more like this"));
    }
    findings
}

fn ended(instance: &Instance) -> Finding {
    if instance.ended {
        return Finding::failed(Code::Ended, "the tunnel has ended")
            .about(&*instance.name)
            .wanted("it runs")
            .advice("its log says why; start it again");
    }
    let role = if instance.role == Role::Server { "server" } else { "client" };
    Finding::ok(Code::Ended, format!("the {role} runs")).about(&*instance.name)
}

fn is_open(session: &SessionStatus) -> bool {
    matches!(session.state, State::Up | State::Quiet)
}

fn tap_down(running: &Running) -> Finding {
    const CODE: Code = Code::TapDown;
    let tap = &running.instance.tap;
    let finding = match tap.running {
        None => Finding::unknown(CODE, "the kernel does not say"),
        Some(true) => Finding::ok(CODE, "up, with a carrier"),
        Some(false) if !running.is_server() && !running.sessions.iter().any(is_open) => {
            Finding::skipped(CODE, "no carrier, as there is no session")
        }
        Some(false) => Finding::failed(CODE, "down, or without a carrier")
            .wanted("up")
            .fix(format!("ip link set {} up", tap.name)),
    };
    finding.about(&*tap.name)
}

fn tap_bridge(running: &Running) -> Finding {
    const CODE: Code = Code::TapBridge;
    let TapReport { name, bridge, lost_bridge, .. } = &running.instance.tap;
    let finding = match (lost_bridge, bridge) {
        (Some(lost), _) => Finding::failed(CODE, format!("was taken out of bridge {lost}"))
            .wanted(format!("it is a port of {lost}, as the settings have it"))
            .fix(format!("ip link set {name} master {lost}")),
        (None, Some(bridge)) => Finding::ok(CODE, format!("is in {bridge}")),
        (None, None) => Finding::skipped(CODE, "is to be in none"),
    };
    finding.about(&**name)
}

fn uplinks(running: &Running) -> Vec<Finding> {
    const CODE: Code = Code::Uplink;
    let Some(bridge) = &running.instance.bridge else {
        return vec![Finding::skipped(CODE, "a client has no links to track")];
    };
    let DeadLinks { missing, down } = DeadLinks::of(bridge);
    let missing = (!missing.is_empty()).then(|| {
        let missing = missing.join(", ");
        Finding::failed(CODE, format!("there is no link {missing}, which is tracked"))
            .wanted("it is there and carries something: without it clients are sent elsewhere")
            .advice("ip link lists the links that there are; mend --track, or make the link")
    });
    let down = down.first().map(|first| {
        let (links, carries) = (down.join(", "), carry(down.len()));
        Finding::failed(CODE, format!("{links}, which is tracked, {carries} nothing"))
            .wanted("it carries something: without it this server is of no use to clients")
            .fix(format!("ip link show {first}"))
    });
    several(CODE, "no tracked link is down", missing.into_iter().chain(down).collect())
}

fn config(running: &Running) -> Finding {
    const CODE: Code = Code::Config;
    let Some(config) = &running.instance.config else {
        return Finding::skipped(CODE, "its settings come from no file");
    };
    let Some(file) = &config.file else {
        return Finding::skipped(CODE, "its settings come from the command line alone");
    };
    let finding = match (&config.error, &config.differs) {
        (Some(error), _) => Finding::failed(CODE, format!("would be refused: {error}"))
            .wanted("settings that can be read at the next start")
            .advice("mend the file; acton config check says whether it is right"),
        (None, Some(keys)) if !keys.is_empty() => {
            Finding::warning(CODE, format!("another value than what runs: {}", keys.join(", ")))
                .wanted("the same; what a reload does not put in force, a restart does")
                .fix(reload_command(running))
        }
        _ => Finding::ok(CODE, "says what runs"),
    };
    finding.about(file.display().to_string())
}

fn reload(running: &Running) -> Finding {
    const CODE: Code = Code::Reload;
    let Some(config) = &running.instance.config else {
        return Finding::skipped(CODE, "its settings come from no file");
    };
    match &config.refused {
        None => Finding::ok(CODE, "none was refused"),
        Some(refused) => Finding::warning(
            CODE,
            format!("refused {:.0} s ago: {}", refused.ago_seconds, refused.error),
        )
        .wanted("none is refused; all stayed as it was")
        .advice("mend what it names first")
        .fix(reload_command(running)),
    }
}

/// The list of clients that a server would start with.
fn list_of_a_file(facts: &Facts) -> Finding {
    const CODE: Code = Code::Clients;
    let Some(ClientsFile { path, clients }) = &facts.list else {
        return without_tunnel(facts, CODE);
    };
    let finding = match clients {
        None => Finding::unknown(CODE, "this user may not read it"),
        Some(Ok(1)) => Finding::ok(CODE, "right, with 1 client"),
        Some(Ok(clients)) => Finding::ok(CODE, format!("right, with {clients} clients")),
        // It names the file.
        Some(Err(error)) => {
            return Finding::failed(CODE, error.clone())
                .wanted("a list that can be read: without it a server does not start")
                .advice("mend what it names");
        }
    };
    finding.about(path.display().to_string())
}

fn clients(running: &Running) -> Finding {
    const CODE: Code = Code::Clients;
    match &running.instance.bridge {
        None => Finding::skipped(CODE, "a client has no list of clients"),
        Some(BridgeReport { list_error: Some(error), no_list, .. }) => {
            let wanted = if *no_list {
                "a list that can be read; it lets nobody in until then"
            } else {
                "a list that can be read; the one before is in force"
            };
            Finding::failed(CODE, error.clone())
                .wanted(wanted)
                .advice("mend the file: it is read again by itself")
        }
        Some(BridgeReport { listed: Some(_), .. }) => {
            Finding::ok(CODE, "what was read last is in force")
        }
        // In plain mode there never is one.
        Some(_) => Finding::skipped(CODE, "this server has none"),
    }
}

/// Has this tunnel read its settings again.
fn reload_command(running: &Running) -> String {
    format!("acton reload --control {}", shell_word(&running.control.to_string_lossy()))
}

fn config_of_a_file(facts: &Facts) -> Finding {
    const CODE: Code = Code::Config;
    match &facts.config {
        None => Finding::skipped(CODE, "there is no file of settings, as far as can be seen"),
        Some((path, Ok(()))) => Finding::ok(CODE, "right").about(path.display().to_string()),
        Some((path, Err(why))) => Finding::failed(CODE, why.clone())
            .about(path.display().to_string())
            .wanted("settings that can be read")
            .advice("mend the file; acton config check says whether it is right"),
    }
}

fn budget(running: &Running) -> Finding {
    const CODE: Code = Code::Budget;
    let root = running.instance.bridge.iter().flat_map(|bridge| &bridge.budgets_acting);
    let root = root.map(|class| format!("{class} from the TAP"));
    let clients = running.sessions.iter().flat_map(|session| {
        session.budgets_acting.iter().map(|class| format!("{class} from {}", session.name))
    });
    let acting: Vec<_> = root.chain(clients).take(TOLD).collect();
    if acting.is_empty() {
        return Finding::ok(CODE, "no storm in the last 10 s");
    }
    Finding::warning(CODE, format!("a storm: {}", acting.join(", ")))
        .wanted("less than the budgets")
        .advice("acton capture --drops shows who floods; --budget raises what may pass")
}

/// Whoever asks a server with an invite of another one gets no answer, so that only the server can tell.
fn wrong_invites(running: &Running) -> Option<Finding> {
    let refused = running.drops.iter().find(|drop| drop.reason == WRONG_KEY)?.count;
    (refused > 0).then(|| {
        let what = format!("{refused} requests for a session were made with one of another server");
        Finding::warning(Code::Invite, what)
            .about(&*running.instance.name)
            .wanted("none; a stranger who looks for servers has none either")
            .advice("a client of yours that gets no answer needs a new one: acton invite")
    })
}

/// As the tunnel says it itself.
fn hook(instance: &Instance) -> Finding {
    const CODE: Code = Code::Hook;
    let told = instance.health.iter().find(|health| health.code == CODE.name());
    match (told, &instance.hook) {
        (Some(health), _) => Finding::warning(CODE, health.text.clone())
            .wanted("it does what it is given")
            .advice("docs/HOOKS.md has how it is called and what may go wrong"),
        (None, Some(_)) => Finding::ok(CODE, "does what it is given"),
        (None, None) => Finding::skipped(CODE, "there is none"),
    }
}

/// As the tunnel says it itself.
fn authorize(instance: &Instance) -> Finding {
    const CODE: Code = Code::Authorize;
    let told = instance.health.iter().find(|health| health.code == CODE.name());
    match (told, &instance.authorize) {
        (Some(health), _) => Finding::failed(CODE, health.text.clone())
            .wanted("it answers")
            .advice("start it; docs/AUTHORIZE.md has what it hears and what it is to say"),
        (None, Some(program)) if program.bad_lines > 0 => {
            let what = format!("{} lines of the program are wrong", program.bad_lines);
            Finding::warning(CODE, what)
                .wanted("none")
                .advice("the log has what is wrong with them")
        }
        (None, Some(_)) => Finding::ok(CODE, "answers"),
        (None, None) => Finding::skipped(CODE, "there is none"),
    }
}

fn version_of_this(instance: &Instance) -> Finding {
    const CODE: Code = Code::VersionSkew;
    let this = env!("CARGO_PKG_VERSION");
    if instance.version == this {
        return Finding::ok(CODE, format!("{this} runs, and this is {this}"))
            .about(&*instance.name);
    }
    Finding::warning(CODE, format!("{} runs, this is {this}", instance.version))
        .about(&*instance.name)
        .wanted("the same: the program was replaced and not started again")
        .advice("restart the tunnel, as by systemctl restart")
}

fn versions_of_peers(running: &Running) -> Vec<Finding> {
    let own = &running.instance.version;
    let others = running.sessions.iter().filter_map(|session| {
        let theirs = session.peer_version.as_ref().filter(|theirs| *theirs != own)?;
        let what = format!("{theirs} there, {own} here");
        let finding = Finding::warning(Code::VersionSkew, what).about(&*session.name);
        Some(finding.wanted("the same").advice("update what is older; both work meanwhile"))
    });
    let others: Vec<_> = others.collect();
    if others.is_empty() { others } else { several(Code::VersionSkew, "", others) }
}

/// A client's own session.
fn session(running: &Running) -> Vec<Finding> {
    const CODE: Code = Code::Session;
    if running.is_server() {
        let open = running.sessions.iter().filter(|session| is_open(session)).count();
        let lost = running.sessions.iter().filter(|session| session.state == State::Lost).count();
        let what = format!("{open} open, {lost} lost");
        return vec![Finding::ok(CODE, what)];
    }
    let Some(session) = running.sessions.first() else {
        return vec![Finding::unknown(CODE, "the client does not say")];
    };
    let why = session.refusal.map(name).or(session.reason.map(name));
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let state = name(session.state);
    let finding = match session.state {
        State::Up => Finding::ok(CODE, state),
        State::Quiet => Finding::warning(CODE, "a sign of life is overdue")
            .wanted("the server is heard")
            .advice("it may be lost in some seconds; see the check `server` then"),
        _ => Finding::failed(CODE, format!("{state}{why}"))
            .wanted("a session")
            .advice("see what is said of `server` and `clock`; acton events has what happened"),
    };
    vec![finding.about(&*session.name)]
}

/// The name of a state or a reason, as JSON has it but for the underscores.
fn name(of: impl Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(name)) => name.replace('_', " "),
        _ => String::new(),
    }
}

fn path_mtus(running: &Running, facts: &Facts) -> Vec<Finding> {
    let links = |is_ipv6: bool| {
        let same = facts.links.iter().filter(move |link| link.is_ipv6 == is_ipv6);
        same.map(move |link| link.mtu.saturating_sub(headers(is_ipv6))).min()
    };
    let longest = running.instance.tap.mtu;
    let narrow = running.sessions.iter().filter(|session| is_open(session)).filter_map(|session| {
        let path = u32::from(session.path_mtu_out?);
        let link = links(session.address?.is_ipv6())?;
        // More than the largest frame with its seal is of no use and not looked for.
        let useful = longest.map_or(link, |mtu| link.min(mtu + 22 + 32));
        (path < useful).then(|| {
            Finding::warning(Code::PathMtu, format!("datagrams of up to {path} bytes get through"))
                .about(&*session.name)
                .wanted(format!("{useful}, as the link here carries; larger frames go in pieces"))
                .advice("tracepath says where it gets narrow; often it cannot be mended")
        })
    });
    narrow.collect()
}

fn tap_mtus(running: &Running) -> Vec<Finding> {
    let Instance { tap, protocol, .. } = &running.instance;
    let (Some(mtu), Protocol::Acton1) = (tap.mtu, protocol) else { return Vec::new() };
    let unfit = running.sessions.iter().filter(|session| is_open(session)).filter_map(|session| {
        let peer = session.peer_mtu.filter(|&peer| peer != mtu)?;
        Some(
            Finding::warning(Code::TapMtu, format!("MTU {peer} there, {mtu} here"))
                .about(&*session.name)
                .wanted("the same: longer frames get lost")
                .fix(format!("ip link set {} mtu {peer}", tap.name)),
        )
    });
    unfit.collect()
}

fn loops(running: &Running) -> Vec<Finding> {
    let found = running.sessions.iter().filter_map(|session| {
        let found = session.loop_found.as_ref()?;
        let what = format!("found {} s ago, flooding is held back", found.found_ago.as_secs());
        let finding = Finding::failed(Code::Loop, what).about(&*session.name);
        Some(
            finding
                .wanted("one way only between the two LANs")
                .advice("take the other cable, bridge or tunnel between them out"),
        )
    });
    found.collect()
}

fn field<'e>(event: &'e EventRecord, name: &str) -> Option<&'e str> {
    event.fields.get(name)?.as_str()
}

fn same_keys(running: &Running) -> Vec<Finding> {
    let finding = |who: &str, what: String| {
        let invite = match running.is_server() {
            true => shell_word(&format!("{who}-2")),
            false => "NAME".to_owned(),
        };
        Finding::failed(Code::SameKey, what)
            .about(who)
            .wanted("a key for each machine")
            .advice(format!("make an invite for the second one: acton invite --name {invite}"))
    };
    if !running.is_server() {
        let replaced = running.events.iter().filter(|event| {
            event.event == "disconnected" && field(event, "reason") == Some("replaced")
        });
        let count = replaced.count();
        let who = running.sessions.first().map_or("", |session| &session.name);
        return (count > 0)
            .then(|| finding(who, format!("another machine took the session {count} times")))
            .into_iter()
            .collect();
    }
    let fights = running.events.iter().filter(|event| event.event == "duplicate");
    let clients: BTreeSet<_> = fights.filter_map(|event| field(event, "client")).collect();
    let told = clients
        .into_iter()
        .map(|client| finding(client, "two machines take the session from one another".to_owned()));
    told.collect()
}

fn same_macs(running: &Running) -> Vec<Finding> {
    let of = |mac: &str, what: String| {
        Finding::failed(Code::SameMac, what)
            .about(mac)
            .wanted("each MAC once")
            .advice("give one of them another: --mac, or --tap-name, at its end")
    };
    // That a client is strict makes the MAC nobody else's.
    let events = running.events.iter().filter(|event| {
        event.event == "mac_held" && field(event, "reason") != Some("source_not_listed")
    });
    let mut seen = BTreeSet::new();
    let held = events.filter_map(|event| {
        let mac = field(event, "mac")?;
        let by = event.fields.get("by").and_then(place).unwrap_or_else(|| "a client".to_owned());
        let what = match (event.fields.get("held_by").and_then(place), field(event, "reason")) {
            (Some(owner), _) => format!("and it is that of {owner}"),
            (None, Some("source_at_root")) => "and it is that of the server's own side".to_owned(),
            // A gateway's or a named one that is nowhere now, or one that is kept for somebody.
            (None, _) => "and it is not its to use".to_owned(),
        };
        let is_new = seen.insert((mac.to_owned(), by.clone()));
        is_new.then(|| of(mac, format!("{by} sends from it, {what}")))
    });
    held.collect()
}

/// Where a MAC is, as events have it.
fn place(value: &serde_json::Value) -> Option<String> {
    if value == "root" {
        return Some("the server's own side".to_owned());
    }
    value.get("session")?.get("client")?.as_str().map(str::to_owned)
}

/// `keepalive` is in seconds.
fn nat_mappings(running: &Running, keepalive: u64) -> Vec<Finding> {
    let shorter = (keepalive / 3).max(1);
    let moved = running.events.iter().filter(|event| event.event == "session_moved");
    let moves: Vec<(&str, SocketAddr)> = moved
        .filter_map(|event| Some((field(event, "client")?, field(event, "address")?.parse().ok()?)))
        .collect();
    let clients: BTreeSet<_> = moves.iter().map(|(client, _)| *client).collect();
    let told = clients.into_iter().filter_map(|client| {
        let own = || moves.iter().filter(|(who, _)| *who == client).map(|(_, address)| address);
        let (_, last) = moves.iter().rev().find(|(who, _)| *who == client)?;
        let ports = own().filter(|address| address.ip() == last.ip());
        let ports: BTreeSet<_> = ports.map(SocketAddr::port).collect();
        (ports.len() >= PORTS).then(|| {
            let what =
                format!("comes from ever other ports of {}: {} so far", last.ip(), ports.len());
            Finding::warning(Code::NatMapping, what)
                .about(client)
                .wanted("one: a NAT forgets the session between two keepalives")
                .advice(format!("start that client with --keepalive {shorter}"))
        })
    });
    told.collect()
}

/// Clocks that the tunnel itself found to be apart.
fn clocks(running: &Running) -> Vec<Finding> {
    let apart = running.events.iter().rev().filter(|event| event.event == "clock_apart");
    let mut seen = BTreeSet::new();
    let told = apart.filter_map(|event| {
        let who = field(event, "client").or(field(event, "address")).unwrap_or("the other end");
        let ahead = event.fields.get("ahead_seconds")?.as_f64()?;
        seen.insert(who).then(|| {
            let side = if ahead > 0.0 { "ahead of" } else { "behind" };
            Finding::warning(Code::Clock, format!("{:.0} s {side} that end's", ahead.abs()))
                .about(who)
                .wanted("the same time at both ends")
                .fix("timedatectl set-ntp true")
        })
    });
    let told: Vec<_> = told.collect();
    if told.is_empty() { told } else { several(Code::Clock, "", told) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::control::DoorCounts;
    use crate::doctor::finding::Verdict;

    fn session(name: &str, more: Value) -> SessionStatus {
        let mut session = json!({
            "number": 1, "name": name, "state": "up", "state_seconds": 1.0, "session_seconds": 1.0,
            "heard_seconds": 0.1, "macs": [], "budgets_acting": [], "peer_version": "0.0.1",
            "traffic": { "frames_in": 0, "bytes_in": 0, "frames_out": 0, "bytes_out": 0, "drops": {} },
        });
        let (Value::Object(session_fields), Value::Object(more)) = (&mut session, more) else {
            panic!("not an object")
        };
        session_fields.extend(more);
        serde_json::from_value(session).unwrap()
    }

    fn running(sessions: Vec<SessionStatus>, events: &[Value]) -> Running {
        let instance = json!({
            "name": "lan0", "version": "0.0.2", "time": 1.0, "running_seconds": 1.0,
            "role": "server", "protocol": "acton/1", "health": [],
            "tap": { "name": "lan0", "mtu": 1500, "running": true, "queues": 1 },
            "sockets": [{ "local": "0.0.0.0:8080", "kernel_drops": 0, "receive_buffer": 8_388_608 }],
            "bridge": { "root_macs": 0, "client_macs": 0, "budgets_acting": ["arp"] },
            "totals": {}, "last_event": 0, "ended": false, "control": DoorCounts::default(),
        });
        let events = events.iter().zip(1..).map(|(event, number)| {
            let mut event = event.clone();
            event["number"] = number.into();
            event["time"] = 1.0.into();
            serde_json::from_value(event).unwrap()
        });
        Running {
            control: "/run/acton/lan0.sock".into(),
            instance: serde_json::from_value(instance).unwrap(),
            sessions,
            events: events.collect(),
            drops: Vec::new(),
        }
    }

    #[test]
    fn what_a_tunnel_tells_itself_is_found() {
        let found = json!({ "with": "root", "found_seconds": 9.0, "opens_in_seconds": 50.0 });
        let sessions =
            vec![session("berlin", json!({ "loop": found })), session("oslo", json!({}))];
        let held = json!({ "event": "mac_held", "text": null, "mac": "02:00:00:00:00:01", "vlan": 0,
                           "by": { "session": { "session": 1, "client": "oslo" } },
                           "held_by": { "session": { "session": 0, "client": "berlin" } },
                           "reason": "source_held" });
        let events = [
            json!({ "event": "duplicate", "text": null, "session": 1, "client": "oslo" }),
            held.clone(),
            held,
            json!({ "event": "mac_held", "text": null, "mac": "02:00:00:00:00:02", "vlan": 0,
                    "by": { "session": { "session": 1, "client": "oslo" } },
                    "held_by": null, "reason": "source_not_listed" }),
            json!({ "event": "clock_apart", "text": null, "client": "oslo", "ahead_seconds": -90.5 }),
        ];
        let it = running(sessions, &events);
        let [finding] = &loops(&it)[..] else { panic!() };
        assert_eq!(finding.about.as_deref(), Some("berlin"));
        assert_eq!(finding.verdict, Verdict::Failed);
        let [finding] = &same_keys(&it)[..] else { panic!() };
        assert!(finding.advice.as_deref().unwrap().ends_with("acton invite --name oslo-2"));
        // Told once, however often it happens.
        let [finding] = &same_macs(&it)[..] else { panic!() };
        assert_eq!(finding.measured, "oslo sends from it, and it is that of berlin");
        let [finding] = &clocks(&it)[..] else { panic!() };
        assert_eq!(finding.measured, "90 s behind that end's");
        assert_eq!(budget(&it).measured, "a storm: arp from the TAP");
        assert_eq!(versions_of_peers(&it).len(), 2);
        assert_eq!(version_of_this(&it.instance).verdict, Verdict::Warning);
    }

    #[test]
    fn a_mac_that_nobody_has_now_is_told_of_without_one() {
        let held = json!({ "event": "mac_held", "text": null, "mac": "02:00:00:00:00:01", "vlan": 0,
                           "by": { "session": { "session": 1, "client": "oslo" } },
                           "held_by": null, "reason": "source_protected" });
        let [finding] = &same_macs(&running(Vec::new(), &[held]))[..] else { panic!() };
        assert_eq!(finding.measured, "oslo sends from it, and it is not its to use");
    }

    #[test]
    fn a_list_of_clients_that_is_refused_is_found() {
        let mut it = running(Vec::new(), &[]);
        it.instance.bridge = serde_json::from_value(json!({
            "root_macs": 0, "client_macs": 0, "budgets_acting": [],
        }))
        .unwrap();
        assert_eq!(clients(&it).verdict, Verdict::Skipped);
        it.instance.bridge.as_mut().unwrap().listed = Some(0);
        assert_eq!(clients(&it).verdict, Verdict::Ok);
        let error = "/etc/acton/clients:3:1: a client has no such key";
        it.instance.bridge.as_mut().unwrap().list_error = Some(error.to_owned());
        let finding = clients(&it);
        assert_eq!((finding.verdict, &*finding.measured), (Verdict::Failed, error));
        assert!(finding.wanted.unwrap().ends_with("the one before is in force"));
        let bridge = it.instance.bridge.as_mut().unwrap();
        (bridge.listed, bridge.no_list) = (None, true);
        let finding = clients(&it);
        assert_eq!((finding.verdict, &*finding.measured), (Verdict::Failed, error));
        assert!(finding.wanted.unwrap().contains("lets nobody in"));
    }

    #[test]
    fn a_link_that_is_not_there_hides_none_that_is_down() {
        let mut it = running(Vec::new(), &[]);
        assert_eq!(uplinks(&it)[0].verdict, Verdict::Ok);
        let bridge = it.instance.bridge.as_mut().unwrap();
        bridge.uplinks_down = ["eth1", "eht2"].map(str::to_owned).into();
        bridge.uplinks_missing = vec!["eht2".to_owned()];
        let [missing, down] = &uplinks(&it)[..] else { panic!() };
        assert_eq!(missing.measured, "there is no link eht2, which is tracked");
        assert_eq!(down.measured, "eth1, which is tracked, carries nothing");
        assert_eq!(down.fix.as_deref(), Some("ip link show eth1"));
    }

    #[test]
    fn ports_that_change_are_a_nat_and_addresses_that_change_are_a_way() {
        let moved = |address: &str| {
            json!({ "event": "session_moved", "text": null, "session": 1, "client": "oslo",
                    "address": address })
        };
        let ports = [1, 2, 3].map(|port| moved(&format!("192.0.2.1:{port}")));
        let [finding] = &nat_mappings(&running(Vec::new(), &ports), 15)[..] else { panic!() };
        assert_eq!(finding.advice.as_deref(), Some("start that client with --keepalive 5"));
        let hosts = [1, 2, 3].map(|host| moved(&format!("192.0.2.{host}:1")));
        assert!(nat_mappings(&running(Vec::new(), &hosts), 15).is_empty());
    }

    #[test]
    fn of_many_findings_a_few_are_told_and_the_others_counted() {
        let many = (0..7).map(|_| Finding::warning(Code::PathMtu, "narrow")).collect();
        let told = several(Code::PathMtu, "wide", many);
        assert_eq!((told.len(), &*told[4].measured), (5, "narrow; and 2 more like this"));
        assert_eq!(several(Code::PathMtu, "wide", Vec::new())[0].verdict, Verdict::Ok);
    }
}
