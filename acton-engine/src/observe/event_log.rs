//! The events of a tunnel, kept for those who ask: in order, numbered, and no more than so many.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};

use crate::observe::event::{Event, EventKind};
use crate::observe::log_reader::LogReader;
use crate::observe::status::Protocol;
use crate::throttle::Bucket;

/// Events of each kind that are kept for readers who are behind: where thousands of clients join,
/// what else happened is still there.
const KEPT_OF_A_KIND: usize = 1_024;
/// Events of one kind, most of which others can provoke by a datagram or a frame: so many at once,
/// one more in so much time.
const AT_ONCE: u32 = 200;
/// Sessions that begin or end at once: more than a server can have, since operators want to know of
/// each client where all of them join.
const SESSIONS_AT_ONCE: u32 = 65_536;
const INTERVAL: Duration = Duration::from_millis(20);

/// Where events are told.
#[derive(Debug)]
pub(crate) struct EventLog {
    state: Mutex<State>,
    log: Mutex<LogReader>,
    news: Condvar,
}

#[derive(Debug)]
struct State {
    /// By number.
    kept: BTreeMap<u64, Arc<Event>>,
    /// The number of the next event.
    next: u64,
    /// By name.
    kinds: HashMap<&'static str, Kind, RandomState>,
    /// The tunnel has ended: nothing more comes.
    ended: bool,
}

/// What is known of the events of one kind.
#[derive(Debug)]
struct Kind {
    bucket: Bucket,
    /// The numbers of those that are kept.
    kept: VecDeque<u64>,
}

impl Kind {
    fn new(name: &str) -> Self {
        let at_once = match name {
            "session_up" | "session_down" | "accounting_start" | "accounting_interim"
            | "accounting_stop" => SESSIONS_AT_ONCE,
            _ => AT_ONCE,
        };
        Self { bucket: Bucket::new(INTERVAL, at_once), kept: VecDeque::new() }
    }
}

impl State {
    fn kind(&mut self, name: &'static str) -> &mut Kind {
        self.kinds.entry(name).or_insert_with(|| Kind::new(name))
    }
}

impl EventLog {
    pub(crate) fn new(protocol: Protocol) -> Arc<Self> {
        let state =
            State { kept: BTreeMap::new(), next: 1, kinds: HashMap::default(), ended: false };
        let log = Mutex::new(LogReader::new(protocol));
        Arc::new(Self { state: Mutex::new(state), log, news: Condvar::new() })
    }

    /// Tells an event, unless too many of its kind came of late.
    pub(crate) fn tell(&self, now: Duration, kind: EventKind) {
        let mut state = self.state.lock();
        let bucket = &mut state.kind(kind.name()).bucket;
        if !bucket.admits(now) {
            return;
        }
        let left_out = bucket.take_suppressed();
        drop(state);
        if left_out > 0 {
            self.add(now, EventKind::Suppressed { kind: kind.name(), events: left_out });
        }
        self.add(now, kind);
    }

    /// Notes that events of a kind were left out where they happened.
    pub(crate) fn add_suppressed(&self, kind: &'static str, events: u64) {
        if events > 0 {
            self.state.lock().kind(kind).bucket.add_suppressed(events);
        }
    }

    /// The number of the newest event, 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.state.lock().next - 1
    }

    /// Tells how many events were left out; to be called about once a second.
    pub(crate) fn tell_suppressed(&self, now: Duration) {
        let mut state = self.state.lock();
        let left_out: Vec<_> = state
            .kinds
            .iter_mut()
            .map(|(&name, kind)| (name, kind.bucket.take_suppressed()))
            .filter(|&(_, events)| events > 0)
            .collect();
        drop(state);
        for (kind, events) in left_out {
            self.add(now, EventKind::Suppressed { kind, events });
        }
    }

    fn add(&self, now: Duration, kind: EventKind) {
        // Not under the lock of the events: a logger may be slow, or look at them itself.
        self.log.lock().read(now, &kind);
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        let numbers = &mut state.kind(kind.name()).kept;
        let oldest = if numbers.len() == KEPT_OF_A_KIND { numbers.pop_front() } else { None };
        numbers.push_back(number);
        if let Some(oldest) = oldest {
            state.kept.remove(&oldest);
        }
        state.kept.insert(number, Arc::new(Event { number, time: SystemTime::now(), kind }));
        drop(state);
        self.news.notify_all();
    }

    /// Whether the tunnel has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.news.notify_all();
    }
}

/// A reader of a tunnel's events, in their order. Any number of readers may be at work, each at its
/// own pace; one that is too far behind misses the oldest of a kind, which shows in the numbers.
///
/// As an iterator it waits for each event, until the tunnel has ended.
#[derive(Debug, Clone)]
pub struct Events {
    log: Arc<EventLog>,
    /// The number of the event to read next.
    next: u64,
}

impl Events {
    pub(crate) fn after(log: Arc<EventLog>, number: u64) -> Self {
        Self { log, next: number.saturating_add(1) }
    }

    /// The next event, waiting for it at most `timeout`; `None` if none came by then, or the tunnel
    /// has ended and all were read.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Arc<Event>> {
        let until = Instant::now().checked_add(timeout);
        let log = Arc::clone(&self.log);
        let mut state = log.state.lock();
        loop {
            if let Some(event) = self.take(&state) {
                return Some(event);
            }
            if state.ended {
                return None;
            }
            match until {
                Some(until) if log.news.wait_until(&mut state, until).timed_out() => {
                    return self.take(&state);
                }
                Some(_) => {}
                None => log.news.wait(&mut state),
            }
        }
    }

    /// The next event, if there is one.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        let log = Arc::clone(&self.log);
        let state = log.state.lock();
        self.take(&state)
    }

    /// Whether the tunnel has ended; what was told before may still be read.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.log.is_ended()
    }

    fn take(&mut self, state: &State) -> Option<Arc<Event>> {
        let (number, event) = state.kept.range(self.next..).next()?;
        self.next = number + 1;
        Some(Arc::clone(event))
    }
}

/// Waits for each event, and ends with the tunnel.
impl Iterator for Events {
    type Item = Arc<Event>;

    fn next(&mut self) -> Option<Arc<Event>> {
        self.next_within(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::thread;

    use super::*;
    use crate::observe::event::{Beginning, Place};

    const NOW: Duration = Duration::from_secs(7);

    fn numbers(events: &mut Events) -> Vec<u64> {
        std::iter::from_fn(|| events.try_next()).map(|event| event.number).collect()
    }

    #[test]
    fn readers_go_at_their_own_pace_and_from_any_number() {
        let log = EventLog::new(Protocol::Acton1);
        let mut first = Events::after(Arc::clone(&log), 0);
        for clients in 0..5 {
            log.tell(NOW, EventKind::ListRead { clients });
        }
        assert_eq!(numbers(&mut first), [1, 2, 3, 4, 5]);
        assert_eq!(numbers(&mut Events::after(Arc::clone(&log), 3)), [4, 5]);
        log.tell(NOW, EventKind::Carrier { up: true });
        assert_eq!(numbers(&mut first), [6]);
        assert_eq!(numbers(&mut Events::after(log, u64::MAX)), [0; 0]);
    }

    #[test]
    fn clients_that_join_all_at_once_are_told_and_push_out_nothing_else() {
        let log = EventLog::new(Protocol::Acton1);
        let mut reader = Events::after(Arc::clone(&log), 0);
        log.tell(NOW, EventKind::ListRead { clients: 10_000 });
        let by = Beginning::Handshake;
        for session in 0..10_000 {
            let (client, address) = (session.to_string(), SocketAddr::from(([0; 4], 1)));
            log.tell(NOW, EventKind::SessionUp { session, client, address, by, open: session + 1 });
            assert!(reader.try_next().is_some(), "one that keeps up misses none");
        }
        log.tell_suppressed(NOW);
        let kept = numbers(&mut Events::after(log, 0));
        assert_eq!(kept.len(), 1 + KEPT_OF_A_KIND);
        assert_eq!((kept[0], kept[1]), (1, 10_002 - KEPT_OF_A_KIND as u64));
        assert_eq!(kept.last(), Some(&10_001));
    }

    #[test]
    fn the_others_are_bounded_and_what_was_left_out_is_told() {
        let log = EventLog::new(Protocol::Acton1);
        for session in 0..1_000 {
            log.tell(NOW, EventKind::Rekeyed { session });
        }
        log.tell_suppressed(NOW);
        log.tell_suppressed(NOW);
        let mut events = Events::after(log, 0);
        let seen: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
        assert_eq!(seen.len() as u32, AT_ONCE + 1);
        let left_out = 1_000 - u64::from(AT_ONCE);
        let last = &seen.last().unwrap().kind;
        assert_eq!(*last, EventKind::Suppressed { kind: "rekeyed", events: left_out });
    }

    /// What 10,000 clients say that begin to be limited at once, and keep on for a minute.
    #[test]
    fn policies_that_begin_to_act_all_at_once_fill_no_log() {
        let log = EventLog::new(Protocol::Acton1);
        for second in 0..60 {
            let now = NOW + Duration::from_secs(second);
            for session in 0..10_000 {
                let at = Place::Session { session, client: None };
                log.tell(now, EventKind::PolicyActs { at, reason: "rate_in" });
            }
            log.tell_suppressed(now);
        }
        let told = log.state.lock().next - 1;
        let most = u64::from(AT_ONCE) + 60 * 51 + 60;
        assert!(told <= most, "{told} of 600,000");
    }

    #[test]
    fn a_reader_that_waits_is_woken_and_ends_with_the_tunnel() {
        let log = EventLog::new(Protocol::Acton1);
        let mut events = Events::after(Arc::clone(&log), 0);
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let event = events.next_within(Duration::MAX);
                (event.map(|event| event.number), events.next_within(Duration::MAX), events)
            });
            log.tell(NOW, EventKind::Carrier { up: true });
            log.end();
            let (first, second, events) = reader.join().unwrap();
            assert_eq!((first, second), (Some(1), None));
            assert!(events.is_ended());
        });
        assert_eq!(Events::after(log, 1).next_within(Duration::ZERO), None);
    }
}
