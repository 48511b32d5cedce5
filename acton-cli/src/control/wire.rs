//! What goes over the socket, in both directions. docs/CONTROL.md says the same for those who write
//! another end.

mod request;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acton_engine::{
    BridgeReport, CapturedPacket, Direction, Event, FdbEntry, GroupMember, IsolationReport,
    MulticastReport, Protocol, Role, SessionStatus, SocketReport, Status, TapReport, Totals, Trace,
    TraceVerdict, Traffic,
};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{ConfigReport, KeyReport};

pub use request::{DropsRequest, Request, RequestError, RequestLine};

/// The number of what is written down here: it grows where a field goes or changes its meaning.
/// Fields that come do not change it.
pub const SCHEMA: u32 = acton_engine::SCHEMA;

/// A line from the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AnswerLine<A = Answer> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What it says.
    pub answer: A,
}

/// What the tunnel says. [`End`](Self::End) or [`Error`](Self::Error) is the last line of each
/// answer, and no other line is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The tunnel.
    Instance(Box<Instance>),
    /// One session.
    Session(Box<SessionStatus>),
    /// Something that happened.
    Event(EventRecord),
    /// A MAC of the table.
    Mac(FdbEntry),
    /// A multicast group that a client gets.
    Group(GroupMember),
    /// A reason to drop.
    Drop(DropCount),
    /// Where a frame would go.
    Trace(Trace),
    /// Where a frame that passed would go, and where it went.
    Live(LiveTrace),
    /// What came of a test of isolation.
    Isolation(Box<IsolationReport>),
    /// One key of the settings.
    Key(KeyReport),
    /// A capture has begun.
    Capturing(Capturing),
    /// A frame or a datagram that passed or was dropped.
    Packet(PacketRecord),
    /// That was all.
    End(End),
    /// It could not be done.
    Error(Refusal),
}

/// A tunnel, but for its sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// What the instance is called: the name of its TAP, unless it was given another.
    pub name: String,
    /// The version of acton that runs.
    pub version: Cow<'static, str>,
    /// When this was, in seconds since 1970.
    pub time: f64,
    /// For how long it has run, in seconds.
    pub running_seconds: f64,
    /// Which end it is.
    pub role: Role,
    /// What it speaks.
    pub protocol: Protocol,
    /// What somebody should see to; empty where all is well.
    pub health: Vec<Health>,
    /// Where its settings come from, if not from whoever embeds it.
    #[serde(default)]
    pub config: Option<ConfigReport>,
    /// What came of the hook, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookReport>,
    /// What came of the program that decides on clients, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize: Option<AuthorizeReport>,
    /// The TAP.
    pub tap: TapReport,
    /// The UDP sockets.
    pub sockets: Vec<SocketReport>,
    /// The bridge, at a server.
    pub bridge: Option<BridgeReport>,
    /// All counters since it started.
    pub totals: Totals,
    /// The number of the newest event.
    pub last_event: u64,
    /// The tunnel has ended.
    pub ended: bool,
    /// The control socket.
    pub control: DoorCounts,
    /// HTTP, where somebody listens for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<DoorCounts>,
}

impl Instance {
    pub(super) fn new(
        name: &str,
        status: &Status,
        health: Vec<Health>,
        config: Option<ConfigReport>,
        control: DoorCounts,
        http: Option<DoorCounts>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            version: status.version.clone(),
            time: unix_seconds(status.time),
            running_seconds: status.running_for.as_secs_f64(),
            role: status.role,
            protocol: status.protocol,
            health,
            config,
            hook: None,
            authorize: None,
            tap: status.tap.clone(),
            sockets: status.sockets.clone(),
            bridge: status.bridge.clone(),
            totals: status.totals.clone(),
            last_event: status.last_event,
            ended: status.ended,
            control,
            http,
        }
    }
}

/// Something that somebody should see to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Its stable name.
    pub code: Cow<'static, str>,
    /// What it is and what helps.
    pub text: String,
}

/// What came of a hook, the program that is given each event, since the tunnel started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookReport {
    /// The program.
    pub program: String,
    /// The process that starts it is there.
    pub available: bool,
    /// Events for which it ended with exit code 0.
    pub done: u64,
    /// Events for which it ended otherwise, or could not be started.
    pub failed: u64,
    /// Events for which it took too long and was killed.
    pub timed_out: u64,
    /// Events that it was not given, since it did not keep up.
    pub left_out: u64,
    /// Events that wait for it.
    pub waiting: u64,
    /// What failed last, unless it has done well since.
    pub last_failure: Option<String>,
}

/// What came of the program that decides on clients, since the tunnel started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizeReport {
    /// Its socket.
    pub socket: String,
    /// There is a connection.
    pub connected: bool,
    /// Questions so far.
    pub asked: u64,
    /// Answers.
    pub answered: u64,
    /// Lines of the program that are none, or say what cannot be.
    pub bad_lines: u64,
    /// Accounts of sessions that wait to be read.
    pub accounts_waiting: u64,
    /// Those that found no room.
    pub accounts_lost: u64,
    /// Why answers are missed, while they are.
    pub lost: Option<String>,
}

/// What came by one way in since the tunnel started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorCounts {
    /// Connections so far.
    pub connections: u64,
    /// Connections that were refused: of who may not look, or one too many.
    pub refused: u64,
    /// Connections that were idle and had to go for others.
    pub evicted: u64,
    /// Lines that were no request, or too long.
    pub bad_requests: u64,
    /// Connections that took too long to say something or to read.
    pub too_slow: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its number, one more than that of the event before it.
    pub number: u64,
    /// When, in seconds since 1970.
    pub time: f64,
    /// Its kind's stable name.
    pub event: String,
    /// What the log says of it, if it does: words that may change from version to version.
    pub text: Option<String>,
    /// The fields of its kind.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl EventRecord {
    pub(crate) fn new(event: &Event, protocol: Protocol) -> Self {
        let mut fields = match serde_json::to_value(&event.kind) {
            Ok(Value::Object(fields)) => fields,
            // An event is a struct.
            _ => Map::new(),
        };
        fields.remove("event");
        Self {
            number: event.number,
            time: unix_seconds(event.time),
            event: event.kind.name().to_owned(),
            text: event.kind.line(protocol).map(|(_, text)| text),
            fields,
        }
    }
}

/// How often something was dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// The reason's stable name.
    pub reason: Cow<'static, str>,
    /// How often.
    pub count: u64,
    /// What the reason means.
    pub meaning: Cow<'static, str>,
}

/// A frame that passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveTrace {
    /// When, in seconds since 1970.
    pub time: f64,
    /// The session that it came from; null for this end's TAP.
    pub from: Option<String>,
    /// Its bytes.
    pub len: usize,
    /// Frames of the wire that it stands for: several for a super-frame of the TAP.
    pub frames: u32,
    /// What became of it.
    pub fate: TraceVerdict,
    /// Where it would go now, a moment later.
    #[serde(flatten)]
    pub trace: Trace,
}

impl LiveTrace {
    pub(super) fn new(
        time: SystemTime,
        from: Option<String>,
        len: usize,
        frames: u32,
        fate: TraceVerdict,
        trace: Trace,
    ) -> Self {
        Self { time: unix_seconds(time), from, len, frames, fate, trace }
    }
}

/// A capture that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capturing {
    /// The name of the TAP, where what is of no one session is captured.
    pub tap: String,
}

/// A frame or a datagram that was captured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PacketRecord {
    /// When, in seconds since 1970.
    pub time: f64,
    /// The session that it is of; `null` where it is of no one session.
    pub session: Option<String>,
    /// `in` from the session's other end, `out` from this end.
    pub direction: Direction,
    /// What became of it; `null` for a datagram that passes.
    pub verdict: Option<TraceVerdict>,
    /// Frames of the wire that it stands for.
    pub frames: u32,
    /// Bytes of all of it.
    pub len: usize,
    /// The first of them, in base64: of a frame from its destination MAC on, of a datagram UDP's
    /// payload.
    pub data: String,
    /// Of a datagram: the other end's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddr>,
    /// Of a datagram: this end's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<SocketAddr>,
}

impl PacketRecord {
    pub(super) fn new(packet: &CapturedPacket) -> Self {
        Self {
            time: unix_seconds(packet.time),
            session: packet.session.clone(),
            direction: packet.direction,
            verdict: packet.verdict.clone(),
            frames: packet.frames,
            len: packet.len,
            data: BASE64.encode(&packet.bytes),
            remote: packet.datagram.map(|path| path.remote),
            local: packet.datagram.map(|path| path.local),
        }
    }
}

/// What is known at the end of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// To how many MACs, sessions and the like something was done; absent where nothing was to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// With a drain: clients that have no other server to go to, and are not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staying: Option<u64>,
    /// With the end of a drain: why clients are asked to go all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still: Vec<String>,
    /// With a status: what went through the sessions that were looked at, and through all that are
    /// over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// With a reload: where the settings come from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigReport>,
    /// With a reload: what became of the list of clients, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ListReport>,
    /// With groups: who asks hosts for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multicast: Option<Box<MulticastReport>>,
    /// Of a capture: packets that the asker was too slow for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Of a capture of some drops: those that nobody looked at in time; whether any was wanted is not
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen_drops: Option<u64>,
}

/// What came of reading the list of clients again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ListLine", into = "ListLine")]
pub enum ListReport {
    /// So many are on it, and it is in force.
    Listed(usize),
    /// Why the one before stays in force.
    Error(String),
    /// Why it lets nobody in, for there is none before it.
    NoList(String),
}

/// As it is on a line: one of the two.
#[derive(Serialize, Deserialize)]
struct ListLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listed: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    no_list: bool,
}

impl From<ListReport> for ListLine {
    fn from(report: ListReport) -> Self {
        let (listed, error, no_list) = match report {
            ListReport::Listed(listed) => (Some(listed), None, false),
            ListReport::Error(error) => (None, Some(error), false),
            ListReport::NoList(error) => (None, Some(error), true),
        };
        Self { listed, error, no_list }
    }
}

impl From<ListLine> for ListReport {
    fn from(line: ListLine) -> Self {
        match line {
            ListLine { error: Some(error), no_list: true, .. } => Self::NoList(error),
            ListLine { error: Some(error), .. } => Self::Error(error),
            ListLine { listed, .. } => Self::Listed(listed.unwrap_or_default()),
        }
    }
}

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind of reason.
    pub code: RefusalCode,
    /// For people: what, and what helps.
    pub message: String,
}

/// Kinds of reasons why something could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalCode {
    /// The line is no request.
    BadRequest,
    /// The request is of another schema.
    Schema,
    /// Who asks may not.
    Forbidden,
    /// No session goes by that name.
    NoSession,
    /// This end cannot do that.
    NotServer,
    /// All connections are taken.
    Busy,
    /// The settings that were read are not right, or the system refuses one of them.
    Config,
    /// Something else, which the message names.
    #[serde(other)]
    Failed,
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
