//! What is answered to what.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{Error, Events, Protocol, SessionStatus, State, StatusPages, drop_reasons};
use data_encoding::HEXLOWER_PERMISSIVE;

use super::capture::{CaptureRequest, Refused, show};
use super::health;
use super::live;
use super::server::{Reloaded, Shared};
use super::wire::{Answer, DropCount, End, EventRecord, Instance, Refusal, RefusalCode, Request};
use super::writer::AnswerWriter;

/// How often a reader of events is looked after that has nothing to read.
const LOOK: Duration = Duration::from_millis(250);
/// Seconds that a client can be kept out: a year.
const LONGEST_BAR: f64 = 31_536_000.0;

/// Writes all lines of an answer but the last, and gives that. `is_there` says whether it is still
/// worth the while.
///
/// # Errors
/// Where the reader has gone or does not read.
pub(super) fn answer(
    shared: &Shared,
    request: Request,
    writer: &mut AnswerWriter,
    is_there: impl Fn() -> bool,
) -> io::Result<Answer> {
    let handle = &shared.handle;
    Ok(match request {
        Request::Status { session, states } => {
            return status(shared, session.as_deref(), &states, writer);
        }
        Request::Events { after, follow } => {
            return events(handle.events(after), handle.protocol(), follow, writer, is_there);
        }
        Request::Fdb {} => match handle.fdb() {
            Ok(entries) => {
                for entry in entries {
                    writer.add(&Answer::Mac(entry))?;
                }
                Answer::End(End::default())
            }
            Err(error) => refused(&error),
        },
        Request::FdbAdd { mac, vlan, session } => {
            done(handle.add_mac(mac, vlan, session.as_deref()).map(|()| 1))
        }
        Request::FdbDelete { mac, vlan } => done(handle.forget_mac(mac, vlan).map(usize::from)),
        Request::FdbFlush { session } => done(handle.flush_macs(session.as_deref())),
        Request::Drops { session } => match drops(shared, session.as_deref()) {
            Ok(drops) => {
                for drop in drops {
                    writer.add(&Answer::Drop(drop))?;
                }
                Answer::End(End::default())
            }
            Err(error) => refused(&error),
        },
        Request::Kick { session, for_seconds } => match for_seconds.map(bar).transpose() {
            Ok(bar) => done(handle.kick(&session, bar).map(|()| 1)),
            Err(message) => failed(RefusalCode::BadRequest, message),
        },
        Request::Log { levels } => match shared.process.set_log(&levels) {
            Ok(()) => {
                log::info!("what is logged is now '{levels}' (acton log)");
                Answer::End(End { done: Some(1), ..End::default() })
            }
            Err(error) => failed(RefusalCode::BadRequest, error),
        },
        Request::Reload { dry_run } => match shared.process.reload(dry_run) {
            Ok(Reloaded { keys, clients }) => {
                for key in keys {
                    writer.add(&Answer::Key(key))?;
                }
                Answer::End(End { config: shared.process.config(), clients, ..End::default() })
            }
            Err(error) => failed(RefusalCode::Config, error),
        },
        Request::Trace { from, frame } => match HEXLOWER_PERMISSIVE.decode(frame.as_bytes()) {
            Ok(frame) => match handle.trace(from.as_deref(), &frame) {
                Ok(trace) => {
                    writer.add(&Answer::Trace(trace))?;
                    Answer::End(End::default())
                }
                Err(error) => refused(&error),
            },
            Err(error) => failed(RefusalCode::BadRequest, format!("frame: {error}")),
        },
        Request::Capture { session, layer, drops, filter, snaplen } => {
            let wanted = CaptureRequest { session, layer, drops, filter, snaplen };
            match wanted.begin(handle) {
                Ok(stream) => return show(stream, handle, writer, is_there),
                Err(Refused::Request(message)) => failed(RefusalCode::BadRequest, message),
                Err(Refused::Engine(error)) => refused(&error),
            }
        }
        Request::TraceLive { count, session, tap, filter } => {
            match live::options(count, session, tap, filter.as_deref()) {
                Ok(options) => live::show(handle, options, (count, tap), writer, is_there)?
                    .unwrap_or_else(|error| refused(&error)),
                Err(error) => failed(RefusalCode::BadRequest, error),
            }
        }
    })
}

fn status(
    shared: &Shared,
    session: Option<&str>,
    states: &[State],
    writer: &mut AnswerWriter,
) -> io::Result<Answer> {
    let handle = &shared.handle;
    let mut pages =
        session.map_or_else(|| handle.status_pages(), |session| handle.status_of(session));
    // Before the head, which says how a client's one session is.
    let mut page = next_page(shared, &mut pages);
    let clients = page.as_ref().and_then(|sessions| sessions.first()).map(|first| first.state);
    let (head, counts) = (pages.head(), shared.counts.now());
    let config = shared.process.config();
    let hook = shared.process.hook();
    let health = health::of(head, clients, config.as_ref(), hook.as_ref());
    let mut instance = Instance::new(&shared.name, head, health, config, counts);
    instance.hook = hook;
    writer.add(&Answer::Instance(Box::new(instance)))?;
    let mut given = 0;
    while let Some(sessions) = page {
        for status in &sessions {
            let is_asked_for = session.is_none_or(|wanted| is_called(status, wanted));
            if is_asked_for && (states.is_empty() || states.contains(&status.state)) {
                given += 1;
                writer.add_session(status)?;
            }
        }
        page = next_page(shared, &mut pages);
    }
    if let (Some(wanted), 0, true) = (session, given, states.is_empty()) {
        return Ok(refused(&Error::NoSession(wanted.to_owned())));
    }
    Ok(Answer::End(End { traffic: Some(pages.traffic().clone()), ..End::default() }))
}

/// The next page, at the latest when the tunnel's control thread has had as much time for other
/// things as the last page took it, whoever asked for that.
fn next_page(shared: &Shared, pages: &mut StatusPages) -> Option<Vec<SessionStatus>> {
    let mut free_at = shared.next_page.lock();
    thread::sleep(free_at.saturating_duration_since(Instant::now()));
    let begun = Instant::now();
    let page = pages.next();
    *free_at = Instant::now() + begun.elapsed();
    page
}

/// Whether that is what somebody may call a session.
fn is_called(status: &SessionStatus, wanted: &str) -> bool {
    status.name == wanted
        || status.number.is_some_and(|number| number.to_string() == wanted)
        || status.address.is_some_and(|address| address.to_string() == wanted)
}

fn events(
    mut events: Events,
    protocol: Protocol,
    follow: bool,
    writer: &mut AnswerWriter,
    is_there: impl Fn() -> bool,
) -> io::Result<Answer> {
    loop {
        while let Some(event) = events.try_next() {
            writer.add(&Answer::Event(EventRecord::new(&event, protocol)))?;
        }
        // The last ones come before the end is told.
        let is_over = events.is_ended() || !is_there();
        if !follow || is_over && events.clone().try_next().is_none() {
            return Ok(Answer::End(End::default()));
        }
        writer.flush()?;
        if let Some(event) = events.next_within(LOOK) {
            writer.add(&Answer::Event(EventRecord::new(&event, protocol)))?;
        }
    }
}

fn drops(shared: &Shared, session: Option<&str>) -> Result<Vec<DropCount>, Error> {
    let handle = &shared.handle;
    let totals = handle.totals();
    let mut of_session = None;
    if let Some(wanted) = session {
        let mut pages = handle.status_of(wanted);
        while let Some(sessions) = next_page(shared, &mut pages) {
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

fn done(result: Result<usize, Error>) -> Answer {
    match result {
        Ok(done) => Answer::End(End { done: Some(done as u64), ..End::default() }),
        Err(error) => refused(&error),
    }
}

fn refused(error: &Error) -> Answer {
    let code = match error {
        Error::NoSession(_) => RefusalCode::NoSession,
        Error::NotServer => RefusalCode::NotServer,
        Error::CapturesFull => RefusalCode::Busy,
        Error::NoReason(_) => RefusalCode::BadRequest,
        error if error.is_setting() => RefusalCode::BadRequest,
        _ => RefusalCode::Failed,
    };
    failed(code, error.to_string())
}

fn failed(code: RefusalCode, message: String) -> Answer {
    Answer::Error(Refusal { code, message })
}

fn bar(seconds: f64) -> Result<Duration, String> {
    if seconds > 0.0 && seconds <= LONGEST_BAR {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("for_seconds: {seconds} is not within 0 and {LONGEST_BAR} seconds"))
    }
}
