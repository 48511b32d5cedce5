//! What goes over the socket, in both directions. docs/CONTROL.md says the same for those who write
//! another end.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acton_engine::{
    BridgeReport, CaptureLayer, CapturedPacket, Direction, Event, FdbEntry, GroupMember,
    IsolationReport, MacAddr, Protocol, Role, SessionStatus, SocketReport, State, Status,
    TapReport, Totals, Trace, TraceVerdict, Traffic,
};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{ConfigReport, KeyReport};

/// The number of what is written down here: it grows where a field goes or changes its meaning.
/// Fields that come do not change it.
pub const SCHEMA: u32 = acton_engine::SCHEMA;

/// A line to the tunnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLine {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What is asked for.
    pub request: Request,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the tunnel is: an [`Instance`](Answer::Instance), then a [`Session`](Answer::Session) for
    /// each, then [`End`](Answer::End) with what went through all.
    Status {
        /// Only this one, by the client's name, its UDP address or the session's number.
        #[serde(default)]
        session: Option<String>,
        /// Only those in one of these states; in any if none is given.
        #[serde(default)]
        states: Vec<State>,
    },
    /// What happened: an [`Event`](Answer::Event) for each.
    Events {
        /// From the event after this number on; from all that is still kept without it.
        #[serde(default)]
        after: u64,
        /// Goes on with what happens from now on, until the tunnel or the asker ends.
        #[serde(default)]
        follow: bool,
    },
    /// The table of MACs: a [`Mac`](Answer::Mac) for each.
    Fdb {},
    /// Which multicast groups each client gets: a [`Group`](Answer::Group) for each.
    Groups {},
    /// Says where a MAC lives. For those who may change.
    FdbAdd {
        /// The address.
        mac: MacAddr,
        /// Its VLAN, 0 for untagged.
        #[serde(default)]
        vlan: u16,
        /// Behind this client, for as long as its session lasts; without it at the root.
        #[serde(default)]
        session: Option<String>,
    },
    /// Forgets where a MAC lives. For those who may change.
    FdbDelete {
        /// The address.
        mac: MacAddr,
        /// Its VLAN, 0 for untagged.
        #[serde(default)]
        vlan: u16,
    },
    /// Forgets all MACs that were learned. For those who may change.
    FdbFlush {
        /// Only those behind this client.
        #[serde(default)]
        session: Option<String>,
    },
    /// Why frames and datagrams were dropped: a [`Drop`](Answer::Drop) for each reason.
    Drops {
        /// Those of this session; without it those of the whole tunnel, since it started.
        #[serde(default)]
        session: Option<String>,
    },
    /// Ends a session. For those who may change.
    Kick {
        /// The session.
        session: String,
        /// Keeps the client out for so many seconds.
        #[serde(default)]
        for_seconds: Option<f64>,
    },
    /// Has a server ask its clients to go to other servers of theirs. For those who may change. What is
    /// done is how many clients there are.
    Drain {
        /// To that one, as clients name it; without it each to the best of its own.
        #[serde(default)]
        to: Option<String>,
        /// Over so many seconds; without it 1 s for each 100 clients.
        #[serde(default)]
        over_seconds: Option<f64>,
        /// Those too that have no other server, once all were asked; nobody is let in then.
        #[serde(default)]
        everyone: bool,
        /// Asks no more, and lets clients in.
        #[serde(default)]
        stop: bool,
    },
    /// Tests on a server that frames of clients reach no other: an [`Isolation`](Answer::Isolation), which may
    /// take two minutes. For those who may change, since clients send frames for it.
    VerifyIsolation {
        /// Of these sessions; of all where none is named.
        #[serde(default)]
        sessions: Vec<String>,
        /// Leaves out those that do not take part, rather than test nobody.
        #[serde(default)]
        willing_only: bool,
    },
    /// Sets what is logged: a level (`info`), or levels by module (`info,acton_engine=debug`). For
    /// those who may change.
    Log {
        /// The levels.
        levels: String,
    },
    /// Reads the settings again and puts in force what can be, whole or, where there is an error, not
    /// at all: a [`Key`](Answer::Key) for each. For those who may change.
    Reload {
        /// Only says what would become of them.
        #[serde(default)]
        dry_run: bool,
    },
    /// Reads the list of clients again, and nothing else. For those who may change.
    ReloadClients {},
    /// Where a frame would go: a [`Trace`](Answer::Trace). Nothing is sent, learned or counted.
    Trace {
        /// The session that it comes from; without it this end's TAP.
        #[serde(default)]
        from: Option<String>,
        /// The frame in hexadecimal, from its destination MAC on, without check sequence.
        frame: String,
    },
    /// The same of the next frames that pass: a [`Live`](Answer::Live) for each, as they come. For
    /// those who may change, since it shows who speaks with whom.
    TraceLive {
        /// How many.
        count: u32,
        /// Only those that come from the other end of this session.
        #[serde(default)]
        session: Option<String>,
        /// Only those that come from this end's TAP.
        #[serde(default)]
        tap: bool,
        /// Only those that pass this filter, in tcpdump's words.
        #[serde(default)]
        filter: Option<String>,
    },
    /// What passes, until the asker says no more or the tunnel ends: [`Capturing`](Answer::Capturing),
    /// then a [`Packet`](Answer::Packet) for each. For those who may change, since frames are
    /// private.
    Capture {
        /// Only what is of this session, and what is for all.
        #[serde(default)]
        session: Option<String>,
        /// Frames, or datagrams as they are on the way; where it is not said frames, and of drops
        /// both.
        #[serde(default)]
        layer: Option<CaptureLayer>,
        /// Only what is dropped.
        #[serde(default)]
        drops: Option<DropsRequest>,
        /// Only frames that pass this, in the words of [`Filter`](acton_engine::Filter).
        #[serde(default)]
        filter: Option<String>,
        /// Bytes of each packet at most.
        #[serde(default)]
        snaplen: Option<u32>,
    },
}

/// Which drops are captured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropsRequest {
    /// Only those for the reason of this name.
    #[serde(default)]
    pub reason: Option<String>,
    /// Those of so many seconds until now, and no later ones; without it those from now on.
    #[serde(default)]
    pub since_seconds: Option<f64>,
}

impl Request {
    /// Whether it is for those who may change: it changes something, or shows what is private.
    #[must_use]
    pub const fn is_privileged(&self) -> bool {
        match self {
            Self::Status { .. }
            | Self::Events { .. }
            | Self::Fdb {}
            | Self::Groups {}
            | Self::Drops { .. }
            | Self::Trace { .. } => false,
            Self::FdbAdd { .. }
            | Self::FdbDelete { .. }
            | Self::FdbFlush { .. }
            | Self::Kick { .. }
            | Self::Drain { .. }
            | Self::VerifyIsolation { .. }
            | Self::TraceLive { .. }
            | Self::Capture { .. }
            | Self::ReloadClients {}
            | Self::Log { .. } => true,
            Self::Reload { dry_run } => !*dry_run,
        }
    }
}

/// Why a line is no request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is not JSON, or not of that shape.
    #[error("no request: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is of another schema.
    #[error("a request of schema {asked}; this is acton {version}, which speaks {SCHEMA}", version = env!("CARGO_PKG_VERSION"))]
    Schema {
        /// Which.
        asked: u32,
    },
}

impl RequestLine {
    /// A request of this schema.
    #[must_use]
    pub const fn new(request: Request) -> Self {
        Self { schema: SCHEMA, request }
    }

    /// Reads a line, with or without its end.
    ///
    /// # Errors
    /// [`RequestError`]. One of another schema is said to be so whatever else it has.
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        #[derive(Deserialize)]
        struct AnySchema {
            schema: u32,
        }
        let AnySchema { schema: asked } = serde_json::from_slice(line)?;
        if asked != SCHEMA {
            return Err(RequestError::Schema { asked });
        }
        Ok(serde_json::from_slice(line)?)
    }
}

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
#[serde(rename_all = "snake_case")]
pub enum ListReport {
    /// So many are on it, and it is in force.
    Listed(usize),
    /// Why the one before stays in force.
    Error(String),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        RequestLine::parse(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn requests_are_read_as_they_are_written_down() {
        for (text, request) in [
            (r#"{"status":{}}"#, Request::Status { session: None, states: Vec::new() }),
            (
                r#"{"status":{"session":"berlin","states":["quiet","lost"]}}"#,
                Request::Status {
                    session: Some("berlin".to_owned()),
                    states: vec![State::Quiet, State::Lost],
                },
            ),
            (
                r#"{"capture":{"layer":"inner","drops":{"since_seconds":30},"filter":"arp"}}"#,
                Request::Capture {
                    session: None,
                    layer: Some(CaptureLayer::Inner),
                    drops: Some(DropsRequest { reason: None, since_seconds: Some(30.0) }),
                    filter: Some("arp".to_owned()),
                    snaplen: None,
                },
            ),
            (
                r#"{"trace_live":{"count":5,"tap":true}}"#,
                Request::TraceLive { count: 5, session: None, tap: true, filter: None },
            ),
            (r#"{"events":{"after":7}}"#, Request::Events { after: 7, follow: false }),
            (r#"{"fdb":{}}"#, Request::Fdb {}),
            (r#"{"groups":{}}"#, Request::Groups {}),
            (
                r#"{"fdb_add":{"mac":"02:00:00:00:00:09","vlan":7}}"#,
                Request::FdbAdd { mac: MacAddr(2, 0, 0, 0, 0, 9), vlan: 7, session: None },
            ),
            (r#"{"reload":{}}"#, Request::Reload { dry_run: false }),
            (
                r#"{"kick":{"session":"berlin","for_seconds":1.5}}"#,
                Request::Kick { session: "berlin".to_owned(), for_seconds: Some(1.5) },
            ),
        ] {
            let line = format!(r#"{{"schema":{SCHEMA},"request":{text}}}"#);
            assert_eq!(RequestLine::parse(line.as_bytes()).unwrap(), RequestLine::new(request));
        }
    }

    #[test]
    fn what_is_no_request_is_named() {
        let request = |text: &str| error(&format!(r#"{{"schema":{SCHEMA},"request":{text}}}"#));
        assert!(error("").starts_with("no request: EOF"));
        assert!(error("status").starts_with("no request: expected value"));
        assert!(error(r#"{"request":{"fdb":{}}}"#).contains("missing field `schema`"));
        assert!(error(r#"{"schema":99,"whatever":1}"#).contains("a request of schema 99"));
        assert!(request(r#"{"reboot":{}}"#).contains("unknown variant `reboot`"));
        // A field that is misspelt must not do more than was asked for.
        assert!(request(r#"{"fdb_flush":{"sesion":"berlin"}}"#).contains("unknown field `sesion`"));
        assert!(request(r#"{"kick":{}}"#).contains("missing field `session`"));
    }
}
