//! What was decided on clients, for how long, and what is to be asked. Without clock and I/O.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use acton_proto::wire::Key;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::sources::Sources;
use super::verdicts::Verdicts;
use super::{DENIED_FOR, Question, Verdict};
use crate::throttle::Bucket;

/// Questions that wait for an answer at one time.
const MAX_ASKED: usize = 4_096;
/// Clients that are remembered, with a session or not: as many as a server may have sessions, and as many
/// others.
const MAX_CLIENTS: usize = 131_072;
/// Clients that are looked at for one to be forgotten, where there are so many.
const LOOKED_AT: usize = 64;
/// Questions about clients without a session: so many at once, and one more in so much time.
const AT_ONCE: u32 = 4_096;
const INTERVAL: Duration = Duration::from_millis(1);
/// How long after a question that was not answered the same is asked again; twice as long each time.
const BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// How long it is remembered that a client was asked about in vain.
const REMEMBERED: Duration = Duration::from_secs(120);
/// How long a question that is due waits where too many are being asked.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of the clients that are asked about.
#[derive(Debug)]
pub(crate) struct Desk {
    deadline: Duration,
    verdicts: Verdicts,
    clients: HashMap<Key, Known, RandomState>,
    /// Which client is to be looked at when.
    due: BTreeSet<(Duration, Key)>,
    /// Whom a question that waits for its answer is about, by its number.
    asked: HashMap<u64, Key, RandomState>,
    next: u64,
    /// When there was an answer last.
    answered_at: Duration,
    sources: Sources,
    all: Bucket,
}

/// What is known of one.
#[derive(Debug)]
struct Known {
    address: SocketAddr,
    local: Option<IpAddr>,
    has_session: bool,
    held: Option<Held>,
    /// The number of the question that waits for its answer, and for how long.
    asked: Option<(u64, Duration)>,
    /// Questions in a row that were not answered.
    unanswered: u32,
    /// Not to be asked about before this.
    again_at: Duration,
    /// Its place in the index.
    due: Duration,
}

/// A verdict that holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    allows: bool,
    until: Duration,
    valid_for: Duration,
}

/// What to do about a client that asks for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// Ask this.
    Ask(Question),
    /// Wait for the answer.
    Wait,
    /// It is decided.
    Decided,
    /// There was no answer of late: it gets none either.
    Unanswered,
    /// Too much is asked already.
    Limited,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// To ask this.
    Ask(Question),
    /// A question about this client was not answered in time.
    Unanswered {
        client: Key,
        /// Nor was any other since it was asked.
        is_silent: bool,
    },
    /// A session's time is over, and nobody said that it may go on.
    Over(Key),
}

impl Known {
    fn next_due(&self, client: &Key) -> Duration {
        let asked = self.asked.map(|(_, until)| until);
        let look = match self.held {
            Some(held) if held.allows && self.has_session => {
                let ask_at = held.ask_at(client).max(self.again_at);
                let ask_at = if asked.is_some() { Duration::MAX } else { ask_at };
                ask_at.min(held.over_at())
            }
            Some(held) => held.until,
            None if asked.is_some() => Duration::MAX,
            None => self.again_at + REMEMBERED,
        };
        asked.map_or(look, |until| until.min(look))
    }
}

impl Held {
    /// When to ask again, so that there is time for an answer: between a quarter and an eighth of its
    /// time before it is over, by the client's key, so that not all of those are asked about at once
    /// that came at once.
    fn ask_at(&self, client: &Key) -> Duration {
        let share = u32::from(client[0]) + 256;
        self.until.saturating_sub(self.valid_for * share / 2_048)
    }

    /// When a session ends if nobody answers: a dead program does not take the network down at once. It
    /// goes on for as long again as the verdict held.
    fn over_at(&self) -> Duration {
        self.until + self.valid_for
    }
}

impl Desk {
    pub(crate) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            verdicts: Verdicts::default(),
            clients: HashMap::default(),
            due: BTreeSet::new(),
            asked: HashMap::default(),
            next: 1,
            answered_at: Duration::ZERO,
            sources: Sources::default(),
            all: Bucket::new(INTERVAL, AT_ONCE),
        }
    }

    /// The verdicts in force.
    pub(crate) fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// How long an answer may take from now on.
    pub(crate) const fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// A client without a session asks for one from there.
    pub(crate) fn want(
        &mut self,
        now: Duration,
        client: &Key,
        address: SocketAddr,
        local: Option<IpAddr>,
    ) -> Want {
        if let Some(known) = self.clients.get_mut(client) {
            (known.address, known.local) = (address, local);
            if known.held.is_some() {
                return Want::Decided;
            }
            if known.asked.is_some() {
                return Want::Wait;
            }
            if now < known.again_at {
                return Want::Unanswered;
            }
        }
        if self.asked.len() >= MAX_ASKED
            || !self.make_room(client)
            || !self.sources.admits(now, address.ip())
        {
            return Want::Limited;
        }
        if !self.all.admits(now) {
            // It is not asked, so it does not count against its source.
            self.sources.give_back(address.ip());
            return Want::Limited;
        }
        let known = Known {
            address,
            local,
            has_session: false,
            held: None,
            asked: None,
            unanswered: 0,
            again_at: Duration::ZERO,
            due: Duration::MAX,
        };
        self.clients.entry(*client).or_insert(known);
        self.ask(now, client).map_or(Want::Limited, Want::Ask)
    }

    /// Forgets somebody where there are too many: one of those without a session and a question that are
    /// over first. `false` where there is none.
    fn make_room(&mut self, client: &Key) -> bool {
        if self.clients.len() < MAX_CLIENTS || self.clients.contains_key(client) {
            return true;
        }
        let may_go = |(_, key): &&(Duration, Key)| {
            self.clients.get(key).is_some_and(|it| !it.has_session && it.asked.is_none())
        };
        let Some(&(_, key)) = self.due.iter().take(LOOKED_AT).find(may_go) else { return false };
        self.forget(&key);
        true
    }

    /// Makes a question about a client that is known.
    fn ask(&mut self, now: Duration, client: &Key) -> Option<Question> {
        let known = self.clients.get_mut(client)?;
        let number = self.next;
        self.next += 1;
        known.asked = Some((number, now + self.deadline));
        self.asked.insert(number, *client);
        self.reindex(client);
        self.question(client)
    }

    /// The question about a client that waits for its answer.
    fn question(&self, client: &Key) -> Option<Question> {
        let known = self.clients.get(client)?;
        let name = self.verdicts.terms(client).and_then(|terms| terms.name.clone());
        let &Known { address, local, has_session, asked, .. } = known;
        Some(Question { number: asked?.0, client: *client, name, address, local, has_session })
    }

    /// A question could not be passed on: as if it had been asked in vain.
    pub(crate) fn not_asked(&mut self, now: Duration, client: &Key) {
        self.fail(now, client);
    }

    fn fail(&mut self, now: Duration, client: &Key) {
        let Some(known) = self.clients.get_mut(client) else { return };
        if let Some((number, _)) = known.asked.take() {
            self.asked.remove(&number);
        }
        let wait = BACKOFF * (1 << known.unanswered.min(6));
        known.unanswered += 1;
        known.again_at = now + wait.min(MAX_BACKOFF);
        self.reindex(client);
    }

    /// Whom a question is about that waits for its answer.
    pub(crate) fn asked_about(&self, number: u64) -> Option<Key> {
        self.asked.get(&number).copied()
    }

    /// An answer: whom it is about. `None` where nobody waits for it.
    pub(crate) fn answer(&mut self, now: Duration, number: u64, verdict: &Verdict) -> Option<Key> {
        let client = self.asked.remove(&number)?;
        let known = self.clients.get_mut(&client)?;
        known.asked = None;
        self.answered_at = now;
        self.hold(now, &client, verdict.terms.as_ref().ok(), verdict.valid_for());
        Some(client)
    }

    fn hold(
        &mut self,
        now: Duration,
        client: &Key,
        terms: Option<&Arc<crate::ClientPolicy>>,
        valid_for: Duration,
    ) {
        let Some(known) = self.clients.get_mut(client) else { return };
        let allows = terms.is_some();
        known.held = Some(Held { allows, until: now + valid_for, valid_for });
        (known.unanswered, known.again_at) = (0, Duration::ZERO);
        self.verdicts.set(*client, terms.cloned());
        self.reindex(client);
    }

    /// A client is out from now on, for a while. `false` where nothing was known of it.
    pub(crate) fn revoke(&mut self, now: Duration, client: &Key) -> bool {
        let Some(known) = self.clients.get_mut(client) else { return false };
        if let Some((number, _)) = known.asked.take() {
            // What is answered now is what was so before.
            self.asked.remove(&number);
        }
        self.hold(now, client, None, DENIED_FOR);
        true
    }

    /// What was decided on a client counts no more: what to ask now, if it has a session.
    pub(crate) fn recheck(&mut self, now: Duration, client: &Key) -> Option<Question> {
        let known = self.clients.get_mut(client)?;
        if let Some((number, _)) = known.asked.take() {
            self.asked.remove(&number);
            return self.ask(now, client);
        }
        if known.has_session {
            return self.ask(now, client);
        }
        self.forget(client);
        None
    }

    /// Whoever answers can be reached again: what to ask once more, for it may have been lost, and nobody
    /// waits any longer for having been asked about in vain.
    pub(crate) fn reached(&mut self) -> Vec<Question> {
        let failed: Vec<_> = self
            .clients
            .iter_mut()
            .filter(|(_, known)| known.unanswered > 0)
            .map(|(client, known)| {
                (known.unanswered, known.again_at) = (0, Duration::ZERO);
                *client
            })
            .collect();
        for client in &failed {
            self.reindex(client);
        }
        let mut numbers: Vec<_> = self.asked.iter().collect();
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|(_, client)| self.question(client)).collect()
    }

    /// A client that was let in has a session.
    pub(crate) fn session_up(&mut self, client: &Key, address: SocketAddr) {
        if let Some(known) = self.clients.get_mut(client) {
            (known.has_session, known.address) = (true, address);
            self.reindex(client);
        }
    }

    /// A client's session is at another address.
    pub(crate) fn session_moved(
        &mut self,
        client: &Key,
        address: SocketAddr,
        local: Option<IpAddr>,
    ) {
        if let Some(known) = self.clients.get_mut(client) {
            (known.address, known.local) = (address, local);
        }
    }

    /// It has none any more.
    pub(crate) fn session_down(&mut self, client: &Key) {
        if let Some(known) = self.clients.get_mut(client) {
            known.has_session = false;
            self.reindex(client);
        }
    }

    /// A list names the client from now on, or nothing of it counts any more.
    pub(crate) fn forget(&mut self, client: &Key) {
        let Some(known) = self.clients.remove(client) else { return };
        self.due.remove(&(known.due, *client));
        if let Some((number, _)) = known.asked {
            self.asked.remove(&number);
        }
        self.verdicts.remove(client);
    }

    /// The same of all of those.
    pub(crate) fn forget_if(&mut self, is_it: impl Fn(&Key) -> bool) {
        let gone: Vec<_> = self.clients.keys().filter(|client| is_it(client)).copied().collect();
        for client in gone {
            self.forget(&client);
        }
    }

    fn reindex(&mut self, client: &Key) {
        let Some(known) = self.clients.get_mut(client) else { return };
        let due = known.next_due(client);
        if due != known.due {
            self.due.remove(&(known.due, *client));
            known.due = due;
            if due < Duration::MAX {
                self.due.insert((due, *client));
            }
        }
    }

    /// When [`poll`](Self::poll) has something.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.due.first().map(|&(due, _)| due)
    }

    /// What is due, one by one.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Due> {
        while let Some(&(_, client)) = self.due.first().filter(|(due, _)| *due <= now) {
            let known = self.clients.get_mut(&client)?;
            if let Some((_, until)) = known.asked.filter(|(_, until)| now >= *until) {
                self.fail(now, &client);
                let is_silent = self.answered_at + self.deadline <= until;
                return Some(Due::Unanswered { client, is_silent });
            }
            let Some(held) = known.held else {
                self.forget(&client);
                continue;
            };
            if held.allows && known.has_session {
                if now >= held.over_at() {
                    self.forget(&client);
                    return Some(Due::Over(client));
                }
                if self.asked.len() < MAX_ASKED {
                    return self.ask(now, &client).map(Due::Ask);
                }
                known.again_at = now + ROOM_INTERVAL;
                self.reindex(&client);
            } else if known.asked.is_some() {
                known.held = None;
                self.verdicts.remove(&client);
                self.reindex(&client);
            } else {
                self.forget(&client);
            }
        }
        None
    }

    /// Whether a question waits for its answer.
    pub(crate) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Questions that wait for an answer.
    #[cfg(test)]
    fn asked(&self) -> usize {
        self.asked.len()
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
