//! Adds a status up to metrics.

use std::collections::BTreeMap;
use std::io;

use acton_engine::{FloodClass, Role, SessionStatus, SocketReport, State, drop_reasons};

use crate::control::{Answer, DoorCounts, HEALTH_CODES, Instance, Sink};
use crate::doctor::Code;

use super::counters::SHOWN;
use super::families as f;
use super::format::{Family, Format, Text};

/// All states, and what they are called.
const STATES: [(State, &str); 7] = [
    (State::Handshaking, "handshaking"),
    (State::Up, "up"),
    (State::Quiet, "quiet"),
    (State::Lost, "lost"),
    (State::Closed, "closed"),
    (State::Standby, "standby"),
    (State::Unreachable, "unreachable"),
];
/// As many of these as a server's sessions can be in: the others are of a client's other servers.
const STATES_OF_SESSIONS: usize = 5;
/// Bounds of round trips in seconds: a LAN's to a satellite's.
const RTT_BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// What a client's one session is called: its server has a name that may be an address.
const SERVER: &str = "server";

/// Picks a value out of something.
type Pick<T, V> = fn(&T) -> V;

/// Takes a status, and adds it up.
#[derive(Debug, Default)]
pub(in crate::http) struct Collector {
    per_session: bool,
    instance: Option<Box<Instance>>,
    states: [usize; STATES.len()],
    over_budget: usize,
    looped: usize,
    /// Round trips in seconds.
    rtts: Vec<f64>,
    /// Sessions that have a name of their own, where they are to be told of.
    named: BTreeMap<String, Box<SessionStatus>>,
}

impl Collector {
    pub(in crate::http) fn new(per_session: bool) -> Self {
        Self { per_session, ..Self::default() }
    }

    fn session(&mut self, session: &SessionStatus) {
        if let Some(index) = STATES.iter().position(|(state, _)| *state == session.state) {
            self.states[index] += 1;
        }
        self.over_budget += usize::from(!session.budgets_acting.is_empty());
        self.looped += usize::from(session.loop_found.is_some());
        if !matches!(session.state, State::Up | State::Quiet) {
            return;
        }
        self.rtts.extend(session.rtt.map(|rtt| rtt.smoothed.as_secs_f64()));
        if self.per_session
            && let Some(name) = self.name(session)
        {
            self.named.insert(name.to_owned(), Box::new(session.clone()));
        }
    }

    /// What a session is called in labels: by the name that it was given, and not by an address or a
    /// key, of which there would be ever more.
    fn name<'a>(&self, session: &'a SessionStatus) -> Option<&'a str> {
        if self.instance.as_ref().is_some_and(|instance| instance.role == Role::Client) {
            return Some(SERVER);
        }
        let key = session.key.as_ref()?;
        let is_key = session.name.strip_suffix("..").is_some_and(|start| key.starts_with(start));
        (!is_key).then_some(&*session.name)
    }

    /// All metrics.
    pub(in crate::http) fn write(&self, format: Format) -> String {
        let mut text = Text::new(format);
        if let Some(instance) = &self.instance {
            write_instance(&mut text, instance);
            self.write_sessions(&mut text, instance);
            write_counters(&mut text, instance);
            write_ways(&mut text, instance);
            if self.per_session {
                self.write_named(&mut text, instance.time);
            }
        }
        text.end()
    }

    fn write_sessions(&self, text: &mut Text, instance: &Instance) {
        text.family(&f::SESSIONS);
        let states = match instance.role {
            Role::Server => &STATES[..STATES_OF_SESSIONS],
            Role::Client => &STATES,
        };
        for ((_, name), count) in states.iter().zip(self.states) {
            text.sample(&f::SESSIONS, &[name], count);
        }
        text.single(&f::LOOPED, self.looped);
        text.family(&f::RTT);
        text.spread(&f::RTT, &RTT_BOUNDS, &self.rtts);
        let Some(bridge) = &instance.bridge else { return };
        text.single(&f::OVER_BUDGET, self.over_budget);
        text.family(&f::FDB);
        text.sample(&f::FDB, &["root"], bridge.root_macs);
        text.sample(&f::FDB, &["clients"], bridge.client_macs);
        if let Some(multicast) = &bridge.multicast {
            text.family(&f::GROUPS);
            text.sample(&f::GROUPS, &["groups"], multicast.groups);
            text.sample(&f::GROUPS, &["memberships"], multicast.memberships);
            text.sample(&f::GROUPS, &["clients_get_all"], multicast.get_all);
            text.sample(&f::GROUPS, &["queriers"], multicast.queriers.len());
        }
        text.family(&f::BUDGETS);
        for class in FloodClass::ALL {
            let acts = bridge.budgets_acting.iter().any(|acting| acting == class.as_str());
            text.sample(&f::BUDGETS, &[class.as_str()], u8::from(acts));
        }
    }

    fn write_named(&self, text: &mut Text, time: f64) {
        let mut each = |family: &Family, value: &dyn Fn(&SessionStatus) -> Option<f64>| {
            text.family(family);
            for (name, session) in &self.named {
                if let Some(value) = value(session) {
                    text.sample(family, &[name], value);
                }
            }
        };
        each(&f::SESSION_UP, &|it| Some(f64::from(u8::from(it.state == State::Up))));
        each(&f::SESSION_HEARD, &|it| it.heard_ago.map(|ago| whole(time - ago.as_secs_f64())));
        each(&f::SESSION_SMOOTHED_RTT, &|it| it.rtt.map(|rtt| rtt.smoothed.as_secs_f64()));
        each(&f::SESSION_MACS, &|it| it.mac_limit.map(|_| it.macs.len() as f64));
        each(&f::SESSION_PATH_MTU, &|it| it.path_mtu_out.map(f64::from));
        let mut count = |family: &Family, value: &dyn Fn(&SessionStatus) -> u64| {
            text.family(family);
            for (name, session) in &self.named {
                text.sample(family, &[name], value(session));
            }
        };
        count(&f::SESSION_RECEIVED_BYTES, &|it| it.traffic.bytes_in);
        count(&f::SESSION_RECEIVED_FRAMES, &|it| it.traffic.frames_in);
        count(&f::SESSION_SENT_BYTES, &|it| it.traffic.bytes_out);
        count(&f::SESSION_SENT_FRAMES, &|it| it.traffic.frames_out);
        count(&f::SESSION_DROPPED, &|it| it.traffic.drops.values().sum());
        text.family(&f::SESSION_INFO);
        for (name, session) in &self.named {
            let version = session.peer_version.as_deref().unwrap_or_default();
            let suite = session.suite.as_deref().unwrap_or_default();
            text.sample(&f::SESSION_INFO, &[name, version, suite], 1);
        }
    }
}

impl Sink for Collector {
    fn add(&mut self, answer: &Answer) -> io::Result<()> {
        match answer {
            Answer::Instance(instance) => self.instance = Some(instance.clone()),
            Answer::Session(session) => self.session(session),
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A time as it was, whenever it is asked for: without what two clocks differ in.
fn whole(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

fn write_instance(text: &mut Text, instance: &Instance) {
    text.family(&f::BUILD);
    let role = match instance.role {
        Role::Server => "server",
        Role::Client => "client",
    };
    let protocol = serde_json::to_value(instance.protocol).ok();
    let protocol = protocol.as_ref().and_then(|protocol| protocol.as_str()).unwrap_or_default();
    text.sample(&f::BUILD, &[&instance.version, role, protocol], 1);
    text.single(&f::STARTED, whole(instance.time - instance.running_seconds));
    text.family(&f::HEALTH);
    for code in HEALTH_CODES.map(Code::name) {
        let is_so = instance.health.iter().any(|health| health.code == code);
        text.sample(&f::HEALTH, &[code], u8::from(is_so));
    }
    text.single(&f::EVENTS, instance.last_event);
    if let Some(config) = &instance.config {
        text.single(&f::CONFIG_VALID, u8::from(config.error.is_none()));
        if let Some(differs) = &config.differs {
            text.single(&f::CONFIG_DIFFERS, differs.len());
        }
        text.single(&f::CONFIG_GENERATION, config.generation);
        text.single(&f::CONFIG_READ, whole(instance.time - config.read_seconds));
    }
    if let Some(hook) = &instance.hook {
        text.family(&f::HOOKED);
        text.sample(&f::HOOKED, &["done"], hook.done);
        text.sample(&f::HOOKED, &["failed"], hook.failed);
        text.sample(&f::HOOKED, &["timed_out"], hook.timed_out);
        text.sample(&f::HOOKED, &["left_out"], hook.left_out);
    }
    if let Some(program) = &instance.authorize {
        let answers = program.connected && program.lost.is_none();
        text.single(&f::AUTHORIZE_UP, u8::from(answers));
    }
    if let Some(running) = instance.tap.running {
        text.single(&f::TAP_UP, u8::from(running));
    }
    if let Some(mtu) = instance.tap.mtu {
        text.single(&f::TAP_MTU, mtu);
    }
}

fn write_counters(text: &mut Text, instance: &Instance) {
    let mut before = "";
    for shown in SHOWN {
        if shown.family.name != before {
            text.family(&shown.family);
            before = shown.family.name;
        }
        let value = instance.totals.get(shown.counter).unwrap_or_default();
        text.sample(&shown.family, shown.labels, value);
    }
    text.family(&f::DROPPED);
    for (reason, _) in drop_reasons() {
        let value = instance.totals.get(&format!("drop.{reason}")).unwrap_or_default();
        text.sample(&f::DROPPED, &[reason], value);
    }
    let pick: [(Family, Pick<SocketReport, Option<u32>>); 5] = [
        (f::SOCKET_DROPS, |socket| socket.kernel_drops),
        (f::RECEIVE_BUFFER, |socket| socket.receive_buffer),
        (f::RECEIVE_QUEUED, |socket| socket.receive_queued),
        (f::SEND_BUFFER, |socket| socket.send_buffer),
        (f::SEND_QUEUED, |socket| socket.send_queued),
    ];
    for (family, value) in pick {
        text.family(&family);
        for (worker, socket) in instance.sockets.iter().enumerate() {
            if let Some(value) = value(socket) {
                text.sample(&family, &[&worker.to_string()], value);
            }
        }
    }
}

fn write_ways(text: &mut Text, instance: &Instance) {
    let ways = [("socket", Some(instance.control)), ("http", instance.http)];
    let pick: [(Family, Pick<DoorCounts, u64>); 5] = [
        (f::WAY_CONNECTIONS, |counts| counts.connections),
        (f::WAY_REFUSED, |counts| counts.refused),
        (f::WAY_EVICTED, |counts| counts.evicted),
        (f::WAY_BAD, |counts| counts.bad_requests),
        (f::WAY_SLOW, |counts| counts.too_slow),
    ];
    for (family, value) in pick {
        text.family(&family);
        for (way, counts) in &ways {
            if let Some(counts) = counts {
                text.sample(&family, &[way], value(counts));
            }
        }
    }
}
