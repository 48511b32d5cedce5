//! What somebody should see to, by what a status says.

use acton_engine::{BridgeReport, Role, State, Status};

use crate::config::ConfigReport;
use crate::doctor::Code;

use super::wire::{AuthorizeReport, Health, HookReport};

/// The receive buffer that a socket asks for, in bytes as the kernel counts them: twice 4 MiB.
const WHOLE_RECEIVE_BUFFER: u32 = 8 << 20;

/// All that a status can find amiss.
pub(crate) const CODES: [Code; 11] = [
    Code::Ended,
    Code::TapDown,
    Code::TapBridge,
    Code::Uplink,
    Code::Budget,
    Code::ReceiveBuffer,
    Code::Config,
    Code::Reload,
    Code::Clients,
    Code::Hook,
    Code::Authorize,
];
/// Those with which no frame passes.
pub(super) const STOPPED: [Code; 2] = [Code::Ended, Code::TapDown];

/// Tracked links that carry nothing.
pub(crate) struct DeadLinks<'b> {
    /// Those that there are none of.
    pub(crate) missing: Vec<&'b str>,
    /// The others.
    pub(crate) down: Vec<&'b str>,
}

impl<'b> DeadLinks<'b> {
    pub(crate) fn of(bridge: &'b BridgeReport) -> Self {
        let missing = &bridge.uplinks_missing;
        let down = bridge.uplinks_down.iter().filter(|it| !missing.contains(it));
        Self {
            missing: missing.iter().map(String::as_str).collect(),
            down: down.map(String::as_str).collect(),
        }
    }

    /// What is amiss with them, and what helps, where anything is.
    fn health(&self) -> Option<String> {
        const NAME: &str = "mend the name, or make the link";
        const WHY: &str = "ip link show says why";
        let (missing, down) = (self.missing.join(", "), self.down.join(", "));
        let carry = carry(self.down.len());
        let (what, fix) = match (self.missing.len(), self.down.len()) {
            (0, 0) => return None,
            (0, _) => (format!("{down}, which --track names, {carry} nothing"), WHY.to_owned()),
            (_, 0) => (format!("there is no link {missing}, which --track names"), NAME.to_owned()),
            _ => (
                format!(
                    "there is no link {missing}, and {down} {carry} nothing, which --track names"
                ),
                format!("{NAME}; of {down} {WHY}"),
            ),
        };
        Some(format!("{what}: clients are asked to go elsewhere; {fix}"))
    }
}

/// Why clients are asked to go elsewhere, in the order in which to see to it; nothing where they are not.
pub(crate) fn drain_reasons(bridge: &BridgeReport) -> Vec<String> {
    let ordered = bridge.drain_ordered.then(|| "acton drain".to_owned());
    let DeadLinks { missing, down } = DeadLinks::of(bridge);
    let down = (!down.is_empty())
        .then(|| format!("--track: {} {} nothing", down.join(", "), carry(down.len())));
    let missing =
        (!missing.is_empty()).then(|| format!("--track: there is no link {}", missing.join(", ")));
    let settling = bridge.uplinks_settled_in.map(|left| {
        // It may be due, and not have been looked at yet.
        let left = left.as_secs_f64().ceil().max(1.0);
        format!("--track: all links carry something again, and have to for {left} s more")
    });
    [ordered, missing, down, settling].into_iter().flatten().collect()
}

/// What so many links do.
pub(crate) const fn carry(links: usize) -> &'static str {
    if links == 1 { "carries" } else { "carry" }
}

/// All that is amiss, in the order in which to see to it. `client` is a client's one session.
pub(super) fn of(
    status: &Status,
    client: Option<State>,
    config: Option<&ConfigReport>,
    hook: Option<&HookReport>,
    authorize: Option<&AuthorizeReport>,
) -> Vec<Health> {
    let mut health = Vec::new();
    let mut add = |code: Code, text: String| {
        health.push(Health { code: code.name().into(), text });
    };
    if status.ended {
        add(Code::Ended, "the tunnel has ended; its log says why".to_owned());
        return health;
    }
    // A client without a session has no carrier, and says so in its session's row.
    let should_run = match status.role {
        Role::Server => true,
        Role::Client => matches!(client, Some(State::Up | State::Quiet)),
    };
    if should_run && status.tap.running == Some(false) {
        let name = &status.tap.name;
        add(Code::TapDown, format!("TAP {name} is down: ip link set {name} up"));
    }
    if let Some(bridge) = &status.tap.lost_bridge {
        let name = &status.tap.name;
        let fix = format!("ip link set {name} master {bridge}");
        add(Code::TapBridge, format!("TAP {name} was taken out of bridge {bridge}: {fix}"));
    }
    if let Some(text) = status.bridge.as_ref().and_then(|it| DeadLinks::of(it).health()) {
        add(Code::Uplink, text);
    }
    if let Some(bridge) = &status.bridge
        && !bridge.budgets_acting.is_empty()
    {
        let classes = bridge.budgets_acting.join(", ");
        let text =
            format!("a storm from the TAP: budgets of {classes} drop frames (--budget root:)");
        add(Code::Budget, text);
    }
    let drops: u64 = status.sockets.iter().map(|it| u64::from(it.kernel_drops.unwrap_or(0))).sum();
    if drops > 0 {
        let small = status.sockets.iter().any(|it| it.receive_buffer < Some(WHOLE_RECEIVE_BUFFER));
        let fix = if small {
            "sysctl net.core.rmem_max=4194304 and a restart give more"
        } else {
            "it needs more processor time, or more processors and --workers"
        };
        let text =
            format!("the kernel dropped {drops} datagrams that came too fast to be read: {fix}");
        add(Code::ReceiveBuffer, text);
    }
    if let Some(error) = config.and_then(|config| config.error.as_ref()) {
        add(Code::Config, format!("the file of settings would be refused: {error}"));
    }
    if let Some(refused) = config.and_then(|config| config.refused.as_ref()) {
        let error = &refused.error;
        let text = format!("the last reload was refused: {error}; acton reload tries again");
        add(Code::Reload, text);
    }
    if let Some(bridge) = &status.bridge
        && let Some(error) = &bridge.list_error
    {
        let text = if bridge.no_list {
            format!("the list of clients cannot be read, and lets nobody in until it can: {error}")
        } else {
            format!("the list of clients stays as it was: {error}")
        };
        add(Code::Clients, text);
    }
    if let Some(hook) = hook {
        let program = &hook.program;
        match &hook.last_failure {
            _ if !hook.available => {
                let text = format!(
                    "the process that starts the hook {program} has ended: a restart starts another"
                );
                add(Code::Hook, text);
            }
            Some(failure) => add(Code::Hook, format!("the hook {program} failed: {failure}")),
            None => {}
        }
    }
    if let Some((program, why)) = authorize.and_then(|it| Some((it, it.lost.as_ref()?))) {
        let socket = &program.socket;
        let text = format!(
            "the program at {socket} does not decide on clients ({why}): see whether it runs and answers"
        );
        add(Code::Authorize, text);
    }
    health
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bridge(more: Value) -> BridgeReport {
        let mut report = json!({ "root_macs": 0, "client_macs": 0, "budgets_acting": [] });
        let (Value::Object(report), Value::Object(more)) = (&mut report, more) else {
            panic!("not an object")
        };
        report.extend(more);
        serde_json::from_value(Value::Object(report.clone())).unwrap()
    }

    #[test]
    fn links_that_are_not_there_hide_none_that_are_down() {
        let health = |down: &[&str], missing: &[&str]| {
            let report = bridge(json!({ "uplinks_down": down, "uplinks_missing": missing }));
            DeadLinks::of(&report).health()
        };
        assert_eq!(health(&[], &[]), None);
        assert_eq!(
            health(&["eth1"], &[]).unwrap(),
            "eth1, which --track names, carries nothing: clients are asked to go elsewhere; \
             ip link show says why"
        );
        assert_eq!(
            health(&["eht2"], &["eht2"]).unwrap(),
            "there is no link eht2, which --track names: clients are asked to go elsewhere; \
             mend the name, or make the link"
        );
        assert_eq!(
            health(&["eth1", "eht2", "eth3"], &["eht2"]).unwrap(),
            "there is no link eht2, and eth1, eth3 carry nothing, which --track names: clients are \
             asked to go elsewhere; mend the name, or make the link; of eth1, eth3 ip link show says \
             why"
        );
    }

    #[test]
    fn a_server_that_drains_says_why() {
        let reasons = |more: Value| drain_reasons(&bridge(more));
        assert!(reasons(json!({ "draining": true })).is_empty(), "an earlier version says none");
        assert_eq!(
            reasons(json!({ "drain_ordered": true, "uplinks_down": ["eth1"] })),
            ["acton drain", "--track: eth1 carries nothing"]
        );
        assert_eq!(
            reasons(
                json!({ "uplinks_down": ["eth1", "eth2", "eth3"], "uplinks_missing": ["eth2"] })
            ),
            ["--track: there is no link eth2", "--track: eth1, eth3 carry nothing"]
        );
        for (left, said) in [(4.2, 5), (0.3, 1), (0.0, 1)] {
            let text =
                format!("--track: all links carry something again, and have to for {said} s more");
            assert_eq!(reasons(json!({ "uplinks_settled_in_seconds": left })), [text]);
        }
    }
}
