//! Which of several servers a client is at: a state machine of times and news, without I/O.
//!
//! Servers of a lower priority number are better; among equals a draw decides that weighs them, which
//! is the same for as long as the client runs, so that it never goes from equal to equal. All but the
//! one in use are asked how they are. A client goes to a better one once that has answered for a
//! while, and the more often it was lost, the longer that takes: so one that comes and goes is left
//! alone.

use std::time::Duration;

use acton_proto::wire::{FULL_LOAD, ServerState};

/// How often a server that is not in use is asked how it is, some 10 % more or less.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// The same while there is no session, or none that should stay; after so long ever more rarely.
const ASK_FAST: Duration = Duration::from_secs(1);
const ASK_SLOWER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// How long an answer is waited for.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// The same while servers are asked fast, of one that answered before: no less than that, nor than so many
/// round trips.
const FAST_ANSWER_TIME: (Duration, u32) = (Duration::from_millis(500), 4);
/// Questions in a row without an answer after which a server counts as not there.
const MISSES: u32 = 3;
/// For how long a server must have answered before a client comes back to it: at first, and at most.
const SETTLED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));
/// By how much that is longer for some clients than for others, at most, as a part of it: so that not all
/// come back at once.
const SPREAD: f64 = 0.5;
/// A session that lasted so long makes up for those that did not.
const FORGIVEN: Duration = Duration::from_secs(900);
/// How long a handshake may take before another server is tried: in the first rounds, and then.
const TRY_TIME: (Duration, Duration) = (Duration::from_millis(2_500), Duration::from_secs(6));
/// The same where another server answers: a HELLO that was lost is said once more by then. It is no
/// less than so many of that server's round trips.
const HASTY_TIME: (Duration, u32) = (Duration::from_millis(1_300), 3);
/// How long a second session may take to begin, beside one that goes on.
const JOIN_TIME: Duration = Duration::from_secs(5);
/// For how long a server is left alone that gave no session, where there is another.
const REFUSED_TIME: Duration = Duration::from_secs(30);

/// How much a client likes a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Rank {
    /// Servers of a lower number are tried first, and come back to.
    pub priority: u8,
    /// Among servers of one priority, the share of clients that choose this one; 0 counts as 1.
    pub weight: u8,
}

impl Rank {
    /// This priority and weight.
    #[must_use]
    pub const fn new(priority: u8, weight: u8) -> Self {
        Self { priority, weight }
    }
}

impl Default for Rank {
    fn default() -> Self {
        Self::new(0, 1)
    }
}

/// What the client is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this server how it is.
    Ask(usize),
    /// There is no session: make one with this server, and give up any other.
    Connect(usize),
    /// Make a second session, with this server, while the first goes on.
    Join(usize),
    /// Give up the second session, which did not come about.
    Abandon,
}

/// What is known of a server that is not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It has not been asked, or has not answered yet.
    Unknown,
    /// It answers.
    Answers,
    /// It does not answer.
    Silent,
}

#[derive(Debug)]
struct Candidate {
    rank: Rank,
    /// The order among candidates: priority, then this.
    draw: u64,
    ask_at: Duration,
    /// When the question was asked that waits for an answer.
    asked: Option<Duration>,
    misses: u32,
    /// When it answered last, and what.
    answer: Option<(Duration, ServerState)>,
    rtt: Option<Duration>,
    /// Since when it has answered without a break, as one process.
    settled_since: Option<Duration>,
    /// For how long that must be, and that as long again times `spread`, which the client drew.
    settle: Duration,
    spread: f64,
    /// It gave no session, or asked the client to stay away.
    avoid_until: Duration,
    /// When it was last tried in vain since there was a session.
    failed_at: Duration,
}

impl Candidate {
    fn health(&self) -> Health {
        match (self.misses, self.answer) {
            (MISSES.., _) => Health::Silent,
            (_, Some(_)) => Health::Answers,
            (_, None) => Health::Unknown,
        }
    }

    /// Whether it would take the client, by what is known.
    fn is_open(&self, now: Duration) -> bool {
        let takes = |state: ServerState| !state.draining && state.load < FULL_LOAD;
        now >= self.avoid_until && self.answer.is_none_or(|(_, state)| takes(state))
    }

    /// Whether it has answered for so long that the client may come back to it.
    fn is_settled(&self, now: Duration) -> bool {
        let settle = self.settle.mul_f64(1.0 + self.spread);
        self.settled_since.is_some_and(|since| now >= since + settle)
    }

    /// A session with it came to nothing, or was lost.
    fn note_lost(&mut self) {
        self.settled_since = None;
        self.settle = (self.settle * 2).min(SETTLED.1);
    }
}

/// What the client is about.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// It makes a session.
    Connecting(Attempt),
    /// It has one, since then.
    Up { since: Duration },
}

/// A handshake with the server in use.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    since: Duration,
    /// How many were in vain before, and how many of these in haste.
    tried: u32,
    hasty: u32,
    /// When another server answered first meanwhile, and its round trip.
    heard: Option<(Duration, Duration)>,
}

impl Attempt {
    /// When another of so many servers is tried. Each is tried in haste once, for all may be slow.
    fn ends(&self, servers: usize) -> Duration {
        let patient = if self.tried < 2 * servers as u32 { TRY_TIME.0 } else { TRY_TIME.1 };
        let heard = self.heard.filter(|_| self.hasty < servers as u32);
        let haste = heard.map(|(at, rtt)| at + HASTY_TIME.0.max(HASTY_TIME.1 * rtt));
        haste.unwrap_or(self.since + patient)
    }
}

/// All servers of a client, of which it is at one.
#[derive(Debug)]
pub(crate) struct Servers {
    list: Vec<Candidate>,
    current: usize,
    stage: Stage,
    /// A second session under way, since then.
    next: Option<(usize, Duration)>,
    /// The server in use asked the client to go, to that one perhaps.
    leaving: Option<Option<usize>>,
    /// What [`poll`](Self::poll) is to say at once.
    connect: bool,
    /// The server of the session that was lost last, until it is known whose fault that was.
    lost: Option<usize>,
    /// Since when there has been no session that should stay.
    restless_since: Option<Duration>,
    random: u64,
}

impl Servers {
    /// A client of servers of these ranks, two or more, at the best of which it begins.
    pub(crate) fn new(now: Duration, ranks: &[Rank], seed: u64) -> Self {
        let mut random = seed;
        let candidate = |&rank: &Rank| Candidate {
            rank,
            draw: weighed(draw(&mut random), rank.weight),
            ask_at: now,
            asked: None,
            misses: 0,
            answer: None,
            rtt: None,
            settled_since: None,
            settle: SETTLED.0,
            spread: SPREAD * uniform(draw(&mut random)),
            avoid_until: Duration::ZERO,
            failed_at: Duration::ZERO,
        };
        let list: Vec<_> = ranks.iter().map(candidate).collect();
        let mut servers = Self {
            list,
            current: 0,
            stage: Stage::Connecting(Attempt { since: now, tried: 0, hasty: 0, heard: None }),
            next: None,
            leaving: None,
            connect: true,
            lost: None,
            restless_since: Some(now),
            random,
        };
        servers.current = servers.in_order()[0];
        servers
    }

    /// The best first.
    fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.list.len()).collect();
        order.sort_by_key(|&at| (self.list[at].rank.priority, self.list[at].draw));
        order
    }

    /// The server in use, or to be.
    pub(crate) const fn current(&self) -> usize {
        self.current
    }

    pub(crate) fn rank(&self, server: usize) -> Rank {
        self.list[server].rank
    }

    /// How a server is that is not in use, when it answered last, and what.
    pub(crate) fn known(&self, server: usize) -> (Health, Option<(Duration, ServerState)>) {
        (self.list[server].health(), self.list[server].answer)
    }

    /// The round trip of its last answer.
    pub(crate) fn rtt(&self, server: usize) -> Option<Duration> {
        self.list[server].rtt
    }

    /// Whether the server in use asked the client to go.
    pub(crate) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether another server answers, so that the one in use may be given up early.
    pub(crate) fn has_elsewhere(&self, now: Duration) -> bool {
        (0..self.list.len()).any(|server| {
            let it = &self.list[server];
            server != self.current && it.health() == Health::Answers && it.is_open(now)
        })
    }

    /// There is a session with the server in use.
    pub(crate) fn up(&mut self, now: Duration) {
        // Where it is with the same server, nothing speaks against that: the client's own network
        // may have been away.
        if let Some(lost) = self.lost.take().filter(|&lost| lost != self.current) {
            self.list[lost].note_lost();
        }
        for candidate in &mut self.list {
            candidate.failed_at = Duration::ZERO;
        }
        self.stage = Stage::Up { since: now };
        (self.leaving, self.connect, self.restless_since) = (None, false, None);
    }

    /// The session is lost, or its server ended it and wants the client to stay away for so long.
    pub(crate) fn down(&mut self, now: Duration, away: Duration) {
        if let Stage::Up { since } = self.stage
            && now.saturating_sub(since) >= FORGIVEN
        {
            self.list[self.current].settle = SETTLED.0;
        }
        if matches!(self.stage, Stage::Up { .. }) {
            self.list[self.current].settled_since = None;
            self.lost = Some(self.current);
        }
        self.give_up(now, away);
    }

    /// The server in use gives no session.
    pub(crate) fn refused(&mut self, now: Duration) {
        if matches!(self.stage, Stage::Connecting(_)) {
            self.give_up(now, REFUSED_TIME);
        }
    }

    fn give_up(&mut self, now: Duration, away: Duration) {
        let lost = &mut self.list[self.current];
        lost.avoid_until = lost.avoid_until.max(now + away);
        if matches!(self.stage, Stage::Connecting(_)) {
            lost.failed_at = now;
        }
        let (tried, hasty) = match self.stage {
            Stage::Connecting(Attempt { tried, hasty, heard, .. }) => {
                (tried + 1, hasty + u32::from(heard.is_some()))
            }
            Stage::Up { .. } => (0, 0),
        };
        self.leaving = None;
        self.restless(now);
        // One that is being joined is on its way.
        let next = self.next.take().map(|(next, _)| next);
        let next = next.or_else(|| self.another(now)).unwrap_or(self.current);
        self.stage = Stage::Connecting(Attempt { since: now, tried, hasty, heard: None });
        // The same again goes on by itself.
        self.connect = next != self.current;
        self.current = next;
    }

    /// All are asked how they are, and soon again.
    fn restless(&mut self, now: Duration) {
        if self.restless_since.is_none() {
            self.restless_since = Some(now);
            for candidate in &mut self.list {
                candidate.ask_at = candidate.ask_at.min(now);
            }
        }
    }

    /// The server to try after the one in use, where there is one that may be tried.
    fn another(&self, now: Duration) -> Option<usize> {
        let order = self.in_order();
        let at = order.iter().position(|&server| server == self.current).unwrap_or(0);
        let open = |server: &usize| self.list[*server].is_open(now);
        let answers = |server: &usize| self.list[*server].health() == Health::Answers;
        let others = || order.iter().copied().filter(|&server| server != self.current);
        // One that would rather have no more clients is better than none.
        let may_be_asked = |server: &usize| now >= self.list[*server].avoid_until;
        // Of those that answer, what was tried in vain comes after the others, or two that give no
        // session would be tried in turn for ever.
        let failed_at = |server: &usize| self.list[*server].failed_at;
        let best = others().filter(open).filter(answers).min_by_key(failed_at);
        let best =
            best.or_else(|| others().filter(may_be_asked).filter(answers).min_by_key(failed_at));
        // From the next on, so that all have their turn; but one that answered once and does so no more
        // is no better than the one in use: if all are such, it is this host's network that is away.
        let is_gone = |server: usize| {
            let it = &self.list[server];
            server != self.current && it.health() == Health::Silent && it.answer.is_some()
        };
        let mut turn = (1..=order.len()).map(|step| order[(at + step) % order.len()]);
        best.or_else(|| turn.find(|server| open(server) && !is_gone(*server)))
    }

    /// The server in use asks the client to go, to that one if it has it.
    pub(crate) fn leave(&mut self, now: Duration, to: Option<usize>) {
        if let Stage::Up { .. } = self.stage {
            self.leaving = Some(to.filter(|&to| to != self.current));
            self.restless(now);
        }
    }

    /// The second session is there; the first may go.
    pub(crate) fn joined(&mut self, now: Duration) {
        let Some((next, _)) = self.next.take() else { return };
        if self.leaving.is_some() {
            // Until it says that it takes clients again.
            let left = &mut self.list[self.current];
            left.settled_since = None;
            left.answer =
                left.answer.map(|(at, state)| (at, ServerState { draining: true, ..state }));
        }
        // How it is now, nobody knows.
        self.list[self.current].ask_at = now;
        self.current = next;
        self.up(now);
    }

    /// The second session does not come about.
    pub(crate) fn join_failed(&mut self, now: Duration) {
        let Some((next, _)) = self.next.take() else { return };
        self.list[next].note_lost();
        self.list[next].avoid_until = now + REFUSED_TIME;
    }

    /// A server answered how it is; whether it had not answered for a while before.
    pub(crate) fn answered(&mut self, now: Duration, server: usize, state: ServerState) -> bool {
        let candidate = &mut self.list[server];
        candidate.rtt =
            candidate.asked.take().map(|asked| now.saturating_sub(asked)).or(candidate.rtt);
        let before = candidate.answer.replace((now, state));
        let is_same = before.is_some_and(|(_, before)| before.instance == state.instance);
        if !is_same || candidate.misses >= MISSES || state.draining {
            candidate.settled_since = None;
        }
        let is_back = candidate.health() == Health::Silent;
        candidate.misses = 0;
        if !state.draining {
            candidate.settled_since.get_or_insert(now);
        }
        let rtt = candidate.rtt.unwrap_or_default();
        if let Stage::Connecting(attempt) = &mut self.stage
            && server != self.current
            && self.list[server].is_open(now)
        {
            attempt.heard.get_or_insert((now, rtt));
        }
        if server == self.current && !state.draining && self.leaving.take().is_some() {
            // It takes clients again.
            self.restless_since = None;
        }
        is_back
    }

    /// Whether a server is asked how it is: the one in use says so by its session, but not that it
    /// no longer drains.
    fn is_asked(&self, server: usize) -> bool {
        server != self.current || self.leaving.is_some()
    }

    /// Until when the answer to a question is waited for that was asked then.
    fn answer_until(&self, server: usize, asked: Duration) -> Duration {
        let is_fast = self.restless_since.is_some_and(|since| asked < since + ASK_SLOWER.0);
        let usual = self.list[server].rtt.filter(|_| is_fast);
        let fast = usual.map(|rtt| FAST_ANSWER_TIME.0.max(FAST_ANSWER_TIME.1 * rtt));
        asked + fast.map_or(ANSWER_TIME, |fast| fast.min(ANSWER_TIME))
    }

    /// When [`poll`](Self::poll) has something.
    pub(crate) fn due(&self) -> Duration {
        let asking = |server: usize| {
            let it = &self.list[server];
            it.asked.map_or(it.ask_at, |asked| self.answer_until(server, asked))
        };
        let asked = (0..self.list.len()).filter(|&server| self.is_asked(server));
        let asks = asked.map(asking);
        let own = match self.stage {
            _ if self.connect => Some(Duration::ZERO),
            Stage::Connecting(attempt) => Some(attempt.ends(self.list.len())),
            Stage::Up { .. } => self.next.map(|(_, since)| since + JOIN_TIME),
        };
        asks.chain(own).min().unwrap_or(Duration::MAX)
    }

    /// What is to be done now, one after the other.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Step> {
        if let Stage::Connecting(attempt) = self.stage
            && !self.connect
            && now >= attempt.ends(self.list.len())
        {
            self.give_up(now, Duration::ZERO);
        }
        if std::mem::take(&mut self.connect) {
            return Some(Step::Connect(self.current));
        }
        if let Some((_, since)) = self.next
            && now >= since + JOIN_TIME
        {
            self.join_failed(now);
            return Some(Step::Abandon);
        }
        if let Some(server) = self.ask(now) {
            return Some(Step::Ask(server));
        }
        let next = self.better(now)?;
        self.next = Some((next, now));
        Some(Step::Join(next))
    }

    /// A server that is to be asked now.
    fn ask(&mut self, now: Duration) -> Option<usize> {
        for server in 0..self.list.len() {
            if !self.is_asked(server) {
                continue;
            }
            let until = self.list[server].asked.map(|asked| self.answer_until(server, asked));
            let candidate = &mut self.list[server];
            if let Some(until) = until {
                if now < until {
                    continue;
                }
                candidate.asked = None;
                candidate.misses = candidate.misses.saturating_add(1);
                if candidate.misses >= MISSES {
                    candidate.settled_since = None;
                } else {
                    candidate.ask_at = now;
                }
            }
            if now < candidate.ask_at {
                continue;
            }
            candidate.asked = Some(now);
            let pause = match self.restless_since {
                Some(since) if now < since + ASK_SLOWER.0 => ASK_FAST,
                Some(_) => ASK_SLOWER.1,
                None => ASK_EVERY,
            };
            let tenth = pause / 10;
            let more = tenth * (draw(&mut self.random) % 201) as u32 / 100;
            self.list[server].ask_at = now + pause - tenth + more;
            return Some(server);
        }
        None
    }

    /// The server to go to while there is a session, if there is a better one.
    fn better(&self, now: Duration) -> Option<usize> {
        if !matches!(self.stage, Stage::Up { .. }) || self.next.is_some() {
            return None;
        }
        let answers = |server: usize| {
            let it = &self.list[server];
            server != self.current && it.health() == Health::Answers && it.is_open(now)
        };
        let order = self.in_order();
        if let Some(to) = self.leaving {
            let named = to.filter(|&to| answers(to));
            return named.or_else(|| order.into_iter().find(|&server| answers(server)));
        }
        let here = self.list[self.current].rank.priority;
        order.into_iter().find(|&server| {
            let it = &self.list[server];
            it.rank.priority < here && answers(server) && it.is_settled(now)
        })
    }
}

/// A number without a pattern (SplitMix64).
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same between 0, which it never is, and 1.
fn uniform(draw: u64) -> f64 {
    ((draw >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
}

/// A draw, of which the smallest wins, so that each wins as often as its weight says: that of an
/// exponential distribution.
fn weighed(draw: u64, weight: u8) -> u64 {
    (-uniform(draw).ln() / f64::from(weight.max(1)) * (1_u64 << 40) as f64) as u64
}

#[cfg(test)]
#[path = "servers/simulation.rs"]
mod simulation;
