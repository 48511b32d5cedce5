//! A client's search for loops: its probe into the TAP that comes back through the tunnel says that
//! its LAN and the server's are joined by another way.
//!
//! What the server says of this client's flooding is told, and makes a hold longer that a probe of the
//! client's own began. It begins none: a server of 0.1.1 passes on what anybody in its LAN says.

use std::collections::VecDeque;
use std::time::Duration;

use crate::loops::hold::{Hold, PastHold};
use crate::loops::pace::Pace;
use crate::loops::server_guard::FRESH;

/// Time between two probes into the TAP; the longer one while the server looks for loops itself.
const INTERVAL: Duration = Duration::from_secs(3);
const GUARDED_INTERVAL: Duration = Duration::from_secs(30);
/// The server looks for loops as long as it said so within this time: three times what ten thousand
/// clients wait for its word.
const GUARDED: Duration = Duration::from_secs(300);

/// Who says that there is a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witness {
    /// The client's own probe came back.
    Probe,
    /// The server found it.
    Server,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Probe into the TAP.
    Probe,
    /// Hold flooding back.
    Block,
    /// Let it through again.
    Open,
    /// A loop was found; flooding is held back at least for so long, by this client or the server.
    TellFound { by: Witness, hold: Option<Duration> },
    /// It is gone; it was there for so long.
    TellOver { after: Duration },
}

/// The search of one client.
#[derive(Debug)]
pub(crate) struct ClientGuard {
    pace: Pace,
    connected: bool,
    held: Option<Hold>,
    past: Option<PastHold>,
    /// When the server last said anything, and whether it holds this client's flooding back.
    word: Option<(Duration, bool)>,
    /// Since when a loop is told of.
    told: Option<Duration>,
    actions: VecDeque<Action>,
}

impl ClientGuard {
    /// A search that begins with the session; `seed` spreads those of several clients.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            pace: Pace::new(Duration::ZERO, seed),
            connected: false,
            held: None,
            past: None,
            word: None,
            told: None,
            actions: VecDeque::new(),
        }
    }

    /// Whether there is a session: without one there is no loop.
    pub(crate) fn set_connected(&mut self, now: Duration, connected: bool) {
        self.connected = connected;
        if connected {
            self.pace.hurry(now);
            return;
        }
        self.word = None;
        self.open(now);
        self.tell(now, Witness::Probe);
    }

    /// Something looks like a loop: looks at once, within bounds.
    pub(crate) fn suspect(&mut self, now: Duration) {
        self.pace.hurry(now);
    }

    /// A probe of this client's came back through the tunnel.
    pub(crate) fn came_back(&mut self, now: Duration, sent: Duration) {
        if !self.connected || now.saturating_sub(sent) > FRESH {
            return;
        }
        match &mut self.held {
            Some(hold) => hold.seen = now,
            None => {
                self.held = Some(Hold::begin(now, self.past));
                self.actions.push_back(Action::Block);
            }
        }
        self.tell(now, Witness::Probe);
    }

    /// The server says whether it holds this client's flooding back.
    pub(crate) fn server_says(&mut self, now: Duration, blocked: bool) {
        if !self.connected {
            return;
        }
        self.word = Some((now, blocked));
        if let (true, Some(hold)) = (blocked, &mut self.held) {
            hold.seen = now;
        }
        self.tell(now, Witness::Server);
    }

    /// When [`poll`](Self::poll) has something.
    pub(crate) fn due(&self) -> Option<Duration> {
        if !self.actions.is_empty() {
            return Some(Duration::ZERO);
        }
        self.connected
            .then(|| self.held.map_or(self.pace.due(), |h| h.until().min(self.pace.due())))
    }

    /// What is to be done now, action by action.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Action> {
        if self.actions.is_empty() && self.connected {
            let guarded =
                self.word.is_some_and(|(at, _)| now < at + GUARDED) && self.held.is_none();
            let interval = if guarded { GUARDED_INTERVAL } else { INTERVAL };
            if self.pace.take_due(now, interval) {
                self.actions.push_back(Action::Probe);
            }
            if self.held.is_some_and(|hold| now >= hold.until()) {
                self.open(now);
                self.tell(now, Witness::Probe);
                // Should the loop be there still, it is found within a round trip.
                self.pace.hurry(now);
            }
            // A server that says nothing any more is no witness.
            if self.word.is_some_and(|(at, blocked)| blocked && now >= at + GUARDED) {
                self.word = None;
                self.tell(now, Witness::Server);
            }
        }
        self.actions.pop_front()
    }

    /// For how long there has been a loop, and for how long flooding stays held back here.
    pub(crate) fn found(&self, now: Duration) -> Option<(Duration, Option<Duration>)> {
        let left = self.held.map(|hold| hold.until().saturating_sub(now));
        Some((now.saturating_sub(self.told?), left))
    }

    fn open(&mut self, now: Duration) {
        if let Some(hold) = self.held.take() {
            self.past = Some(hold.end(now));
            self.actions.push_back(Action::Open);
        }
    }

    /// Tells a loop once, and once that it is gone.
    fn tell(&mut self, now: Duration, by: Witness) {
        let found = self.held.is_some() || self.word.is_some_and(|(_, blocked)| blocked);
        match (found, self.told) {
            (true, None) => {
                self.told = Some(now);
                let hold = self.held.map(|hold| hold.time);
                self.actions.push_back(Action::TellFound { by, hold });
            }
            (false, Some(since)) => {
                self.told = None;
                self.actions.push_back(Action::TellOver { after: now.saturating_sub(since) });
            }
            _ => {}
        }
    }
}
