//! What is answered to which path.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use acton_engine::{State, Trace};
use serde_json::json;

use crate::control::{self, Answer, Readiness, SCHEMA, Sink};

use super::door::{MAX_FOLLOWERS, Shared};
use super::events::EventStream;
use super::json::JsonObject;
use super::metrics::{Collector, Format};
use super::page;
use super::request::Request;
use super::response::{JSON, Refused, Response};

/// Each path, and the parameters that it takes.
const ROUTES: &[(&str, &[&str])] = &[
    ("/", &[]),
    ("/metrics", &[]),
    ("/health", &[]),
    ("/status.json", &["session", "state"]),
    ("/events", &["after"]),
    ("/fdb.json", &[]),
    ("/drops.json", &["session"]),
    ("/history.json", &[]),
    ("/trace.json", &["from", "frame"]),
];

/// Answers a request that may be.
///
/// # Errors
/// Where the reader has gone or does not read.
pub(super) fn answer(shared: &Shared, request: &Request, stream: &TcpStream) -> io::Result<()> {
    let response = Response::new(stream, request.is_head, request.is_1_1);
    let Some((path, parameters)) = ROUTES.iter().find(|(path, _)| *path == request.path) else {
        let paths = ROUTES.iter().map(|(path, _)| *path).collect::<Vec<_>>().join(", ");
        let message = format!("there is nothing here but {paths}");
        return response.refused(&Refused::new(404, "not_found", message));
    };
    // What is misspelt must not show more than was meant.
    let unknown = request.query.iter().find(|(name, _)| !parameters.contains(&&**name));
    if let Some((name, _)) = unknown {
        let message = format!("unknown parameter '{name}'");
        return response.refused(&Refused::new(400, "bad_request", message));
    }
    let source = &shared.source;
    let session = request.parameter("session");
    match *path {
        "/" => response.policy(page::policy()).whole(200, "text/html; charset=utf-8", page::PAGE),
        "/metrics" => metrics(shared, request, response),
        "/health" => health(shared, response),
        "/status.json" => {
            let states = match request.parameter("state").map(states).transpose() {
                Ok(states) => states.unwrap_or_default(),
                Err(refused) => return response.refused(&refused),
            };
            let mut object = JsonObject::new(response, "sessions");
            let last = control::status(source, session, &states, &mut object)?;
            object.end(last)
        }
        "/events" => events(shared, request, response, stream),
        "/fdb.json" => {
            let mut object = JsonObject::new(response, "macs");
            let last = control::fdb(source, &mut object)?;
            object.end(last)
        }
        "/drops.json" => {
            let mut object = JsonObject::new(response, "drops");
            let last = control::drops(source, session, &mut object)?;
            object.end(last)
        }
        "/history.json" => {
            let history = shared.history.lock().json(&source.handle.totals());
            response.whole(200, JSON, format!("{history}\n").as_bytes())
        }
        // "/trace.json", the only one left.
        _ => trace(shared, request, response),
    }
}

fn states(text: &str) -> Result<Vec<State>, Refused> {
    let state = |name: &str| {
        serde_json::from_value(name.into())
            .map_err(|_| Refused::new(400, "bad_request", format!("state: there is no '{name}'")))
    };
    text.split(',').map(state).collect()
}

/// 200 where frames pass, or could, and 503 with the reason where not.
fn health(shared: &Shared, response: Response<'_>) -> io::Result<()> {
    let Readiness { reason, health } = control::readiness(&shared.source);
    let status = if reason.is_none() { 200 } else { 503 };
    let body = json!({
        "schema": SCHEMA, "ready": reason.is_none(), "reason": reason, "health": health,
    });
    response.whole(status, JSON, format!("{body}\n").as_bytes())
}

fn metrics(shared: &Shared, request: &Request, response: Response<'_>) -> io::Result<()> {
    let mut collector = Collector::new(shared.metrics_per_session);
    // The whole tunnel has a status, so that the end is no refusal.
    let _end = control::status(&shared.source, None, &[], &mut collector)?;
    let format =
        if request.accepts_open_metrics { Format::OpenMetrics } else { Format::Prometheus };
    response.whole(200, format.content_type(), collector.write(format).as_bytes())
}

/// Events from the one after a number on, for as long as somebody reads.
fn events(
    shared: &Shared,
    request: &Request,
    response: Response<'_>,
    stream: &TcpStream,
) -> io::Result<()> {
    let number = |text: &str| {
        text.parse().map_err(|_| Refused::new(400, "bad_request", "after: a number of an event"))
    };
    let after = match request.parameter("after").map(number).transpose() {
        // What a browser says when it comes back is later than what the page said first.
        Ok(after) => request.last_event_id.or(after).unwrap_or(0),
        Err(refused) => return response.refused(&refused),
    };
    let followers = Follower::new(shared);
    if followers.others >= MAX_FOLLOWERS {
        control::Counts::add(&shared.counts().refused);
        let message = "as many as can follow events already do";
        return response.refused(&Refused::new(503, "busy", message));
    }
    if request.is_head {
        return EventStream::new(response).end();
    }
    // One that read the events of another run begins anew.
    let after = if after > control::newest_event(&shared.source) { 0 } else { after };
    let mut events = EventStream::new(response);
    let is_there = || !shared.closing.load(Ordering::Relaxed) && is_open(stream);
    let _end = control::events(&shared.source, after, true, &mut events, is_there)?;
    events.end()
}

/// One who follows events, for as long as this lives.
struct Follower<'a> {
    shared: &'a Shared,
    others: usize,
}

impl<'a> Follower<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, others: shared.followers.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.shared.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the other end is still there, as far as can be seen.
fn is_open(stream: &TcpStream) -> bool {
    // The stream is a blocking one, so that this must not wait.
    let nothing = socket2::SockRef::from(stream).recv_with_flags(
        &mut [std::mem::MaybeUninit::uninit()],
        libc::MSG_PEEK | libc::MSG_DONTWAIT,
    );
    !matches!(nothing, Ok(0))
}

#[derive(Default)]
struct TraceSink(Option<Trace>);

impl Sink for TraceSink {
    fn add(&mut self, answer: &Answer) -> io::Result<()> {
        if let Answer::Trace(trace) = answer {
            self.0 = Some(trace.clone());
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a frame would go. Nothing is sent or learned.
fn trace(shared: &Shared, request: &Request, response: Response<'_>) -> io::Result<()> {
    let (from, frame) = (request.parameter("from"), request.parameter("frame").unwrap_or_default());
    let mut sink = TraceSink::default();
    let last = control::trace(&shared.source, from, frame, &mut sink)?;
    match (last, sink.0) {
        (Answer::Error(refusal), _) => response.refused(&refusal.into()),
        (_, trace) => {
            let mut body = json!({ "schema": SCHEMA });
            if let (Some(fields), Ok(serde_json::Value::Object(trace))) =
                (body.as_object_mut(), serde_json::to_value(trace))
            {
                fields.extend(trace);
            }
            response.whole(200, JSON, format!("{body}\n").as_bytes())
        }
    }
}
