//! Asks the tunnel, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use acton_engine::FdbEntry;
use nix::time::{ClockId, clock_gettime};

use super::super::status::look;
use super::super::status_text::Look;
use super::super::{next, unexpected};
use crate::cli::Failure;
use crate::control::{Answer, Connection, DropCount, EventRecord, Place, Request};

/// Of a processor's time, one part in so many is for looking, at most; with what is made of it that is
/// less than a twentieth.
const SHARE: u32 = 33;
/// Time between two attempts to find a tunnel that is away.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What the tunnel says.
#[derive(Debug)]
pub(super) enum News {
    /// How it is, and what has happened since the last look.
    Look(Box<Snapshot>),
    /// It is away, and why, as far as can be seen.
    Away(String),
}

/// A tunnel at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) look: Look,
    pub(super) events: Vec<EventRecord>,
    pub(super) drops: Vec<DropCount>,
    /// Where somebody looks at it.
    pub(super) fdb: Option<Vec<FdbEntry>>,
}

/// The thread that asks.
#[derive(Debug)]
pub(super) struct Feed {
    news: Receiver<News>,
    wants_fdb: Arc<AtomicBool>,
}

impl Feed {
    /// Begins to ask.
    pub(super) fn start(place: Place, interval: Duration) -> io::Result<Self> {
        let (sender, news) = channel();
        let wants_fdb = Arc::new(AtomicBool::new(false));
        let feed = Self { news, wants_fdb: Arc::clone(&wants_fdb) };
        let thread = thread::Builder::new().name("feed".to_owned());
        // It ends with the process, or when nobody hears it any more.
        thread.spawn(move || run(&place, interval, &sender, &wants_fdb))?;
        Ok(feed)
    }

    /// Says whether the table of MACs is to be asked for.
    pub(super) fn want_fdb(&self, wants: bool) {
        self.wants_fdb.store(wants, Ordering::Relaxed);
    }

    /// What came since this was last asked.
    pub(super) fn news(&self) -> impl Iterator<Item = News> {
        self.news.try_iter()
    }
}

fn run(place: &Place, interval: Duration, to: &Sender<News>, wants_fdb: &AtomicBool) {
    loop {
        let Err(failure) = follow(place, interval, to, wants_fdb) else { return };
        if to.send(News::Away(failure.message)).is_err() {
            return;
        }
        thread::sleep(TRY_AGAIN);
    }
}

/// Asks one tunnel until that goes away, which is an error, or nobody hears what it says.
fn follow(
    place: &Place,
    interval: Duration,
    to: &Sender<News>,
    wants_fdb: &AtomicBool,
) -> Result<(), Failure> {
    let mut connection = Connection::open(place)?;
    let mut after = 0;
    loop {
        let begun = processor_time();
        let all = Request::Status { session: None, states: Vec::new() };
        let look = look(&mut connection, all)?;
        let ended = look.instance.ended;
        let events = events(&mut connection, after)?;
        after = events.last().map_or(after, |event| event.number);
        let drops = drops(&mut connection)?;
        let fdb = wants_fdb.load(Ordering::Relaxed) && !look.is_client();
        let fdb = fdb.then(|| self::fdb(&mut connection)).transpose()?;
        let snapshot = Snapshot { look, events, drops, fdb };
        if to.send(News::Look(Box::new(snapshot))).is_err() {
            return Ok(());
        }
        if ended {
            let message = "the tunnel has ended".to_owned();
            return Err(Failure { code: crate::cli::FAILURE, message });
        }
        let busy = processor_time().saturating_sub(begun);
        thread::sleep(interval.max(busy * SHARE));
    }
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn events(connection: &mut Connection, after: u64) -> Result<Vec<EventRecord>, Failure> {
    all(connection, Request::Events { after, follow: false }, |answer| match answer {
        Answer::Event(event) => Some(event),
        _ => None,
    })
}

fn drops(connection: &mut Connection) -> Result<Vec<DropCount>, Failure> {
    all(connection, Request::Drops { session: None }, |answer| match answer {
        Answer::Drop(drop) => Some(drop),
        _ => None,
    })
}

fn fdb(connection: &mut Connection) -> Result<Vec<FdbEntry>, Failure> {
    all(connection, Request::Fdb {}, |answer| match answer {
        Answer::Mac(mac) => Some(mac),
        _ => None,
    })
}

/// All lines of an answer but the last.
fn all<T>(
    connection: &mut Connection,
    request: Request,
    of: impl Fn(Answer) -> Option<T>,
) -> Result<Vec<T>, Failure> {
    let mut answers = connection.ask(request)?;
    let mut all = Vec::new();
    loop {
        match next(&mut answers)? {
            Answer::End(_) => return Ok(all),
            answer => all.push(of(answer).ok_or_else(unexpected)?),
        }
    }
}
