//! The control thread: one loop for both modes and both ends, which differ in a [`Controller`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use pnet_base::MacAddr;

use crate::Error;
use crate::floods::news::FloodNews;
use crate::isolation::report::{IsolationOptions, IsolationReport};
use crate::observe::counters::{Counter, Counters};
use crate::observe::pulse::Pulse;
use crate::observe::status::Report;
use crate::run::clock;
use crate::run::handle::Handle;
use crate::sessions::rules::ListAnswer;
use crate::sessions::sighting::Sighting;
use crate::settings::{Applied, Settings};

/// Messages that wait for the control thread at most, of some 100 bytes. A flood of control words past
/// that is dropped by the worker and counted, so that it cannot hold up frames.
pub(crate) const INBOX_LEN: usize = 4_096;
/// How late a server's timers may be.
pub(crate) const SERVER_SLACK: Duration = Duration::from_millis(20);
/// The slots of all sessions that there can be.
pub(crate) const ALL_SLOTS: Range<usize> = 0..usize::MAX;
/// Messages that are dealt with before what they led to is settled: more than come while it is.
const MESSAGES_A_TURN: usize = 256;

/// What reaches a control thread.
pub(crate) enum Message<N> {
    /// Something rare that a worker came upon.
    News(N),
    /// What a worker saw of a MAC.
    Sighting(Sighting),
    /// What a worker saw of floods.
    Flood(FloodNews),
    /// A worker ended by itself, in error.
    Failed(Error),
    /// What the owner of the tunnel wants.
    Order(Order),
}

/// What the owner of a tunnel wants.
pub(crate) enum Order {
    /// Say goodbye and end.
    Stop,
    /// Read again what can be read again; say what came of the list of clients.
    Reload(Option<ListAnswer>),
    /// Take these settings; say what became of them.
    Apply(Box<Settings>, SyncSender<Result<Applied, Error>>),
    /// Say how the sessions in these slots are; those in none come with the last slots.
    Report(Range<usize>, SyncSender<Report>),
    /// Say at what the workers are.
    Pulse(SyncSender<Pulse>),
    /// Do this to a session.
    Steer(Steer, SyncSender<Result<(), Error>>),
}

/// What an operator does to sessions of a server.
pub(crate) enum Steer {
    /// End a session, and keep its client out for so long.
    Kick { session: String, bar: Option<Duration> },
    /// Ask clients to go elsewhere, or with `None` no more.
    Drain(Option<DrainOrder>),
    /// Test whether frames of clients reach others; what comes of it is told later, unless it cannot begin.
    VerifyIsolation(IsolationOptions, SyncSender<Result<IsolationReport, Error>>),
    /// Say that a MAC lives behind a client, on one VLAN.
    AddMac { mac: MacAddr, vlan: u16, session: String },
}

/// How clients are to be sent elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DrainOrder {
    /// The tag of the server to go to; 0 for whichever a client likes.
    pub(crate) to: u64,
    /// Over how much time clients go.
    pub(crate) over: Duration,
    /// Those that have no other server, or stay, are sent away too.
    pub(crate) everyone: bool,
}

/// What a mode and an end do on the control thread.
pub(crate) trait Controller {
    /// What workers pass to it.
    type News: Send + 'static;

    /// How late [`advance`](Self::advance) may be: where timers come by the thousand, being woken costs
    /// more than most of what they do.
    const SLACK: Duration = Duration::ZERO;

    /// When [`advance`](Self::advance) has something to do.
    fn due(&self) -> Option<Duration>;

    /// Whether [`advance`](Self::advance) left something to do for when nothing else is.
    fn has_backlog(&self) -> bool {
        false
    }

    /// Takes what a worker came upon.
    fn take(&mut self, now: Duration, news: Self::News);

    /// Takes what a worker saw of a MAC; a client learns none.
    fn sight(&mut self, _now: Duration, _sighting: Sighting) {}

    /// Takes what a worker saw of floods.
    fn take_flood(&mut self, now: Duration, news: FloodNews);

    /// Does what is due, tells what happened and sends what is to be said.
    fn advance(&mut self, now: Duration);

    /// Reads again what can be read again. Without a list of clients there is no answer.
    fn reload(&mut self, _answer: Option<ListAnswer>) {}

    /// The settings that hold now.
    fn settings(&self) -> Settings;

    /// Takes new settings, as far as a tunnel that runs can.
    ///
    /// # Errors
    /// Where the settings are of another kind of tunnel, or the system refuses one of them.
    fn apply(&mut self, now: Duration, settings: Settings) -> Result<Applied, Error>;

    /// How the sessions in these slots are, and with the last slots those that are in none: past
    /// ones, and those that are being agreed on. A client has one, whatever the slots.
    fn report(&self, now: Duration, slots: &Range<usize>) -> Report;

    /// Does what an operator wants of sessions.
    ///
    /// # Errors
    /// Where there is no such session, or this end has none to choose from.
    fn steer(&mut self, _now: Duration, _steer: Steer) -> Result<(), Error> {
        Err(Error::NotServer)
    }

    /// Says goodbye. What is [reported](Self::report) then is the last.
    fn end(&mut self, now: Duration);
}

/// Runs a control thread until it is told to stop, or a worker cannot go on, and says how the
/// sessions were in the end.
pub(crate) fn run<C: Controller>(
    mut control: C,
    inbox: &Receiver<Message<C::News>>,
    handle: &Handle,
) -> (Result<(), Error>, Report) {
    let mut advanced = clock::now();
    control.advance(advanced);
    let ended = loop {
        let message = if control.has_backlog() {
            inbox.try_recv().ok()
        } else {
            next_message(inbox, control.due().map(|due| due.max(advanced + C::SLACK)))
        };
        let more = (1..MESSAGES_A_TURN).map_while(|_| inbox.try_recv().ok());
        let mut ended = None;
        for message in message.into_iter().chain(more) {
            // Some come in the course of a turn, as answers to what the ones before had sent.
            let now = clock::now();
            match message {
                Message::News(news) => control.take(now, news),
                Message::Sighting(sighting) => control.sight(now, sighting),
                Message::Flood(news) => control.take_flood(now, news),
                Message::Failed(error) => ended = ended.or(Some(Err(error))),
                Message::Order(Order::Stop) => ended = ended.or(Some(Ok(()))),
                Message::Order(Order::Reload(answer)) => control.reload(answer),
                // Whoever asked may have given up.
                Message::Order(Order::Apply(settings, answer)) => {
                    let applied = control.apply(now, *settings);
                    handle.set_settings(control.settings());
                    if let Ok(applied) = &applied {
                        handle.tell_applied(now, applied);
                    }
                    let _ = answer.send(applied);
                }
                Message::Order(Order::Report(slots, answer)) => {
                    let _ = answer.send(control.report(now, &slots));
                }
                Message::Order(Order::Pulse(answer)) => {
                    let _ = answer.send(handle.worker_beats());
                }
                Message::Order(Order::Steer(steer, answer)) => {
                    let _ = answer.send(control.steer(now, steer));
                }
            }
        }
        if let Some(ended) = ended {
            break ended;
        }
        advanced = clock::now();
        control.advance(advanced);
    };
    let now = clock::now();
    control.end(now);
    (ended, control.report(now, &ALL_SLOTS))
}

/// The next message, or `None` once the clock shows `due`.
fn next_message<N>(inbox: &Receiver<Message<N>>, due: Option<Duration>) -> Option<Message<N>> {
    let stop = Message::Order(Order::Stop);
    let Some(due) = due else { return Some(inbox.recv().unwrap_or(stop)) };
    match inbox.recv_timeout(due.saturating_sub(clock::now())) {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(stop),
    }
}

/// A worker's way to its control thread.
pub(crate) struct Outbox<N> {
    pub(crate) sender: SyncSender<Message<N>>,
    pub(crate) counters: Arc<Counters>,
}

impl<N> Outbox<N> {
    /// Passes on without waiting; what finds no room is counted. `true` where it was passed on.
    pub(crate) fn post(&self, news: N) -> bool {
        let posted = self.sender.try_send(Message::News(news));
        if let Err(TrySendError::Full(_)) = posted {
            self.counters.add(Counter::ControlBusy, 1);
        }
        posted.is_ok()
    }
}
