//! What is answered to what.

use std::io;
use std::time::Duration;

use acton_engine::{Error, Handle, IsolationOptions, ServerName, SessionStatus, State};

use super::capture::{CaptureRequest, Refused, show};
use super::health::drain_reasons;
use super::live;
use super::look::{self, Sink as _, failed, refused};
use super::server::Shared;
use super::source::Reloaded;
use super::wire::{Answer, End, RefusalCode, Request};
use super::writer::AnswerWriter;

/// Unless told otherwise, the time that a server takes for each client that it asks to go.
const CLIENT_TIME: Duration = Duration::from_millis(10);
/// The port of a server that is named without one.
const DEFAULT_PORT: u16 = 8080;
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
    let (source, handle) = (&*shared.source, &shared.source.handle);
    Ok(match request {
        Request::Status { session, states } => {
            return look::status(source, session.as_deref(), &states, writer);
        }
        Request::Events { after, follow } => {
            return look::events(source, after, follow, writer, is_there);
        }
        Request::Fdb {} => return look::fdb(source, writer),
        Request::Groups {} => return look::groups(source, writer),
        Request::Drops { session } => return look::drops(source, session.as_deref(), writer),
        Request::Trace { from, frame } => {
            return look::trace(source, from.as_deref(), &frame, writer);
        }
        Request::FdbAdd { mac, vlan, session } => {
            done(handle.add_mac(mac, vlan, session.as_deref()).map(|()| 1))
        }
        Request::FdbDelete { mac, vlan } => done(handle.forget_mac(mac, vlan).map(usize::from)),
        Request::FdbFlush { session } => done(handle.flush_macs(session.as_deref())),
        Request::Kick { session, for_seconds } => match for_seconds.map(bar).transpose() {
            Ok(bar) => done(handle.kick(&session, bar).map(|()| 1)),
            Err(message) => failed(RefusalCode::BadRequest, message),
        },
        Request::Drain { stop: true, .. } => match handle.stop_draining() {
            Ok(()) => {
                // What drains is known with the first sessions.
                let mut pages = handle.status_pages();
                source.next_page(&mut pages);
                let still = pages.head().bridge.as_ref().map(drain_reasons);
                Answer::End(End {
                    done: Some(0),
                    still: still.unwrap_or_default(),
                    ..End::default()
                })
            }
            Err(error) => done(Err(error)),
        },
        Request::Drain { to, over_seconds, everyone, .. } => {
            match drain_to(to.as_deref(), over_seconds) {
                Ok((to, over)) => match drain(handle, to.as_ref(), over, everyone) {
                    Ok((asked, staying)) => Answer::End(End {
                        done: Some(asked as u64),
                        staying: Some(staying as u64),
                        ..End::default()
                    }),
                    Err(error) => done(Err(error)),
                },
                Err(message) => failed(RefusalCode::BadRequest, message),
            }
        }
        Request::VerifyIsolation { sessions, willing_only } => {
            let mut options = IsolationOptions::default();
            (options.sessions, options.willing_only) = (sessions, willing_only);
            match handle.verify_isolation(&options) {
                Ok(report) => {
                    writer.add(&Answer::Isolation(Box::new(report)))?;
                    Answer::End(End::default())
                }
                Err(error) => refused(&error),
            }
        }
        Request::Log { levels } => match source.process.set_log(&levels) {
            Ok(()) => {
                log::info!("what is logged is now '{levels}' (acton log)");
                Answer::End(End { done: Some(1), ..End::default() })
            }
            Err(error) => failed(RefusalCode::BadRequest, error),
        },
        Request::Reload { dry_run } => match source.process.reload(dry_run) {
            Ok(Reloaded { keys, clients }) => {
                for key in keys {
                    writer.add(&Answer::Key(key))?;
                }
                Answer::End(End { config: source.process.config(), clients, ..End::default() })
            }
            Err(error) => failed(RefusalCode::Config, error),
        },
        Request::ReloadClients {} => {
            let clients = source.process.reload_clients();
            Answer::End(End { clients, ..End::default() })
        }
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

fn done(result: Result<usize, Error>) -> Answer {
    match result {
        Ok(done) => Answer::End(End { done: Some(done as u64), ..End::default() }),
        Err(error) => refused(&error),
    }
}

fn bar(seconds: f64) -> Result<Duration, String> {
    if seconds > 0.0 && seconds <= LONGEST_BAR {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("for_seconds: {seconds} is not within 0 and {LONGEST_BAR} seconds"))
    }
}

/// Has clients asked to go; how many can, and how many have nowhere else to go.
fn drain(
    handle: &Handle,
    to: Option<&ServerName>,
    over: Option<Duration>,
    everyone: bool,
) -> Result<(usize, usize), Error> {
    let is_there = |session: &&SessionStatus| matches!(session.state, State::Up | State::Quiet);
    let (mut asked, mut staying) = (0, 0);
    for page in handle.status_pages() {
        for session in page.iter().filter(is_there) {
            *(if session.can_move == Some(true) { &mut asked } else { &mut staying }) += 1;
        }
    }
    let over = over.unwrap_or_else(|| CLIENT_TIME * u32::try_from(asked).unwrap_or(u32::MAX));
    handle.drain(to, over, everyone).map(|()| (asked, staying))
}

fn drain_to(
    to: Option<&str>,
    over: Option<f64>,
) -> Result<(Option<ServerName>, Option<Duration>), String> {
    let to = to.map(|to| ServerName::parse(to, DEFAULT_PORT)).transpose()?;
    let is_time = |seconds: f64| (0.0..=LONGEST_BAR).contains(&seconds);
    match over {
        Some(seconds) if !is_time(seconds) => {
            Err(format!("over_seconds: {seconds} is not within 0 and {LONGEST_BAR} seconds"))
        }
        over => Ok((to, over.map(Duration::from_secs_f64))),
    }
}
