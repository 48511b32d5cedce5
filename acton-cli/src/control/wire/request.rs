//! What is asked of a tunnel.

use acton_engine::{CaptureLayer, MacAddr, State};
use serde::{Deserialize, Serialize};

use super::SCHEMA;

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
    /// How the tunnel is: an [`Instance`](super::Answer::Instance), then a [`Session`](super::Answer::Session) for
    /// each, then [`End`](super::Answer::End) with what went through all.
    Status {
        /// Only this one, by the client's name, its UDP address or the session's number.
        #[serde(default)]
        session: Option<String>,
        /// Only those in one of these states; in any if none is given.
        #[serde(default)]
        states: Vec<State>,
    },
    /// What happened: an [`Event`](super::Answer::Event) for each.
    Events {
        /// From the event after this number on; from all that is still kept without it.
        #[serde(default)]
        after: u64,
        /// Goes on with what happens from now on, until the tunnel or the asker ends.
        #[serde(default)]
        follow: bool,
    },
    /// The table of MACs: a [`Mac`](super::Answer::Mac) for each.
    Fdb {},
    /// Which multicast groups each client gets: a [`Group`](super::Answer::Group) for each.
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
    /// Why frames and datagrams were dropped: a [`Drop`](super::Answer::Drop) for each reason.
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
    /// Tests on a server that frames of clients reach no other: an [`Isolation`](super::Answer::Isolation), which may
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
    /// at all: a [`Key`](super::Answer::Key) for each. For those who may change.
    Reload {
        /// Only says what would become of them, and of the list of clients.
        #[serde(default)]
        dry_run: bool,
    },
    /// Reads the list of clients again, and nothing else. For those who may change.
    ReloadClients {},
    /// Where a frame would go: a [`Trace`](super::Answer::Trace). Nothing is sent, learned or counted.
    Trace {
        /// The session that it comes from; without it this end's TAP.
        #[serde(default)]
        from: Option<String>,
        /// The frame in hexadecimal, from its destination MAC on, without check sequence.
        frame: String,
    },
    /// The same of the next frames that pass: a [`Live`](super::Answer::Live) for each, as they come. For
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
    /// What passes, until the asker says no more or the tunnel ends: [`Capturing`](super::Answer::Capturing),
    /// then a [`Packet`](super::Answer::Packet) for each. For those who may change, since frames are
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
