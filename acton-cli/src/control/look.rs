//! Looking at a tunnel: whatever changes nothing and shows nothing private, for whichever way it is
//! asked.

use std::io;
use std::time::Duration;

use acton_engine::{Error, Role, SessionStatus, State, drop_reasons};
use data_encoding::HEXLOWER_PERMISSIVE;

use super::health;
use super::source::{Counts, Source};
use super::wire::{Answer, DropCount, End, EventRecord, Health, Instance, Refusal, RefusalCode};

/// How often a reader of events is looked after that has nothing to read.
const LOOK: Duration = Duration::from_millis(250);

/// Where the parts of an answer go.
pub(crate) trait Sink {
    /// Adds a part.
    ///
    /// # Errors
    /// Where the reader has gone or does not read: [`TimedOut`](io::ErrorKind::TimedOut).
    fn add(&mut self, answer: &Answer) -> io::Result<()>;

    /// Adds a session, of which there may be thousands.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn add_session(&mut self, session: SessionStatus) -> io::Result<()> {
        self.add(&Answer::Session(Box::new(session)))
    }

    /// Has the reader see what was added.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn flush(&mut self) -> io::Result<()>;
}

/// How the tunnel is: see [`Request::Status`](super::Request::Status).
///
/// # Errors
/// Where the reader has gone or does not read.
pub(crate) fn status(
    source: &Source,
    session: Option<&str>,
    states: &[State],
    sink: &mut impl Sink,
) -> io::Result<Answer> {
    let handle = &source.handle;
    let mut pages =
        session.map_or_else(|| handle.status_pages(), |session| handle.status_of(session));
    // Before the head, which says how a client's one session is.
    let mut page = source.next_page(&mut pages);
    let clients = page.as_ref().and_then(|sessions| sessions.first()).map(|first| first.state);
    let (head, control) = (pages.head(), source.control.now());
    let http = source.http.get().map(Counts::now);
    let config = source.process.config();
    let hook = source.process.hook();
    let authorize = source.process.authorize();
    let health = health::of(head, clients, config.as_ref(), hook.as_ref(), authorize.as_ref());
    let mut instance = Instance::new(&source.name, head, health, config, control, http);
    (instance.hook, instance.authorize) = (hook, authorize);
    sink.add(&Answer::Instance(Box::new(instance)))?;
    let mut given = 0;
    while let Some(sessions) = page {
        for status in sessions {
            let is_asked_for = session.is_none_or(|wanted| is_called(&status, wanted));
            if is_asked_for && (states.is_empty() || states.contains(&status.state)) {
                given += 1;
                sink.add_session(status)?;
            }
        }
        page = source.next_page(&mut pages);
    }
    if let (Some(wanted), 0, true) = (session, given, states.is_empty()) {
        return Ok(refused(&Error::NoSession(wanted.to_owned())));
    }
    Ok(Answer::End(End { traffic: Some(pages.traffic().clone()), ..End::default() }))
}

/// Whether frames pass, and what somebody should see to.
#[derive(Debug)]
pub(crate) struct Readiness {
    /// Why frames cannot pass; `None` where they do, or could.
    pub(crate) reason: Option<String>,
    pub(crate) health: Vec<Health>,
}

/// Looks whether frames pass, by no more of a status than that takes.
pub(crate) fn readiness(source: &Source) -> Readiness {
    let mut pages = source.handle.status_pages();
    let first = source.next_page(&mut pages).and_then(|sessions| sessions.into_iter().next());
    let head = pages.head();
    let client = first.as_ref().map(|session| session.state);
    let (config, hook) = (source.process.config(), source.process.hook());
    let authorize = source.process.authorize();
    let health = health::of(head, client, config.as_ref(), hook.as_ref(), authorize.as_ref());
    let stops = |it: &&Health| health::STOPPED.iter().any(|code| code.name() == it.code);
    let stopped = health.iter().find(stops);
    let has_session = matches!(client, Some(State::Up | State::Quiet));
    let reason = match (stopped, head.role) {
        (Some(stopped), _) => Some(stopped.text.clone()),
        (None, Role::Client) if !has_session => {
            let server = first.map_or_else(|| "its server".to_owned(), |session| session.name);
            Some(format!("no session with {server}: acton status says why"))
        }
        (None, _) => None,
    };
    Readiness { reason, health }
}

/// Whether that is what somebody may call a session.
fn is_called(status: &SessionStatus, wanted: &str) -> bool {
    status.name == wanted
        || status.number.is_some_and(|number| number.to_string() == wanted)
        || status.address.is_some_and(|address| address.to_string() == wanted)
}

/// The number of the newest event.
pub(crate) fn newest_event(source: &Source) -> u64 {
    source.handle.status_pages().head().last_event
}

/// What happened after the event of that number: see [`Request::Events`](super::Request::Events).
/// While there is nothing, the sink is flushed each [`LOOK`]. `is_there` says whether it is still worth
/// the while.
///
/// # Errors
/// Where the reader has gone or does not read.
pub(crate) fn events(
    source: &Source,
    after: u64,
    follow: bool,
    sink: &mut impl Sink,
    is_there: impl Fn() -> bool,
) -> io::Result<Answer> {
    let (mut events, protocol) = (source.handle.events(after), source.handle.protocol());
    loop {
        while let Some(event) = events.try_next() {
            sink.add(&Answer::Event(EventRecord::new(&event, protocol)))?;
        }
        // The last ones come before the end is told.
        let is_over = events.is_ended() || !is_there();
        if !follow || is_over && events.clone().try_next().is_none() {
            return Ok(Answer::End(End::default()));
        }
        sink.flush()?;
        if let Some(event) = events.next_within(LOOK) {
            sink.add(&Answer::Event(EventRecord::new(&event, protocol)))?;
        }
    }
}

/// Why something was dropped: see [`Request::Drops`](super::Request::Drops).
///
/// # Errors
/// Where the reader has gone or does not read.
pub(crate) fn drops(
    source: &Source,
    session: Option<&str>,
    sink: &mut impl Sink,
) -> io::Result<Answer> {
    match drop_counts(source, session) {
        Ok(drops) => {
            for drop in drops {
                sink.add(&Answer::Drop(drop))?;
            }
            Ok(Answer::End(End::default()))
        }
        Err(error) => Ok(refused(&error)),
    }
}

fn drop_counts(source: &Source, session: Option<&str>) -> Result<Vec<DropCount>, Error> {
    let handle = &source.handle;
    let totals = handle.totals();
    let mut of_session = None;
    if let Some(wanted) = session {
        let mut pages = handle.status_of(wanted);
        while let Some(sessions) = source.next_page(&mut pages) {
            let found = sessions.into_iter().find(|status| is_called(status, wanted));
            of_session = of_session.or(found);
        }
        if of_session.is_none() {
            return Err(Error::NoSession(wanted.to_owned()));
        }
    }
    let count = |reason: &str| match &of_session {
        Some(status) => status.traffic.drops.get(reason).copied(),
        None => totals.get(&format!("drop.{reason}")),
    };
    Ok(drop_reasons()
        .filter_map(|(reason, meaning)| {
            let count = count(reason)?;
            Some(DropCount { reason: reason.into(), count, meaning: meaning.into() })
        })
        .collect())
}

/// The table of MACs: see [`Request::Fdb`](super::Request::Fdb).
///
/// # Errors
/// Where the reader has gone or does not read.
pub(crate) fn fdb(source: &Source, sink: &mut impl Sink) -> io::Result<Answer> {
    match source.handle.fdb() {
        Ok(entries) => {
            for entry in entries {
                sink.add(&Answer::Mac(entry))?;
            }
            Ok(Answer::End(End::default()))
        }
        Err(error) => Ok(refused(&error)),
    }
}

/// Which client gets which multicast group: see [`Request::Groups`](super::Request::Groups).
///
/// # Errors
/// Where the reader has gone or does not read.
pub(crate) fn groups(source: &Source, sink: &mut impl Sink) -> io::Result<Answer> {
    match source.handle.groups() {
        Ok(members) => {
            for member in members {
                sink.add(&Answer::Group(member))?;
            }
            Ok(Answer::End(End {
                multicast: source.handle.multicast().map(Box::new),
                ..End::default()
            }))
        }
        Err(error) => Ok(refused(&error)),
    }
}

/// Where a frame would go: see [`Request::Trace`](super::Request::Trace).
///
/// # Errors
/// Where the reader has gone or does not read.
pub(crate) fn trace(
    source: &Source,
    from: Option<&str>,
    frame: &str,
    sink: &mut impl Sink,
) -> io::Result<Answer> {
    let frame = match HEXLOWER_PERMISSIVE.decode(frame.as_bytes()) {
        Ok(frame) => frame,
        Err(error) => return Ok(failed(RefusalCode::BadRequest, format!("frame: {error}"))),
    };
    match source.handle.trace(from, &frame) {
        Ok(trace) => {
            sink.add(&Answer::Trace(trace))?;
            Ok(Answer::End(End::default()))
        }
        Err(error) => Ok(refused(&error)),
    }
}

/// What the tunnel says no to.
pub(super) fn refused(error: &Error) -> Answer {
    let code = match error {
        Error::NoSession(_) => RefusalCode::NoSession,
        Error::NotServer => RefusalCode::NotServer,
        Error::CapturesFull => RefusalCode::Busy,
        Error::NoReason(_)
        | Error::PlainDrain
        | Error::PlainIsolation
        | Error::IsolationRuns
        | Error::NotSnooping => RefusalCode::BadRequest,
        error if error.is_setting() => RefusalCode::BadRequest,
        _ => RefusalCode::Failed,
    };
    failed(code, error.to_string())
}

pub(super) fn failed(code: RefusalCode, message: String) -> Answer {
    Answer::Error(Refusal { code, message })
}
