//! What a client remembers of its sessions, in either mode.

use std::sync::Arc;
use std::time::Duration;

use crate::observe::event::{EndReason, RefusalReason};
use crate::observe::status::{PastSession, Report, SessionStatus, State};
use crate::observe::tally::{Tallies, Tally, Traffic};

/// A client's sessions, one after the other: what went through them, and why there is none.
#[derive(Debug)]
pub(crate) struct SessionHistory {
    /// Of all sessions.
    tallies: Arc<Tallies>,
    /// What had gone through before the latest session began.
    before: Traffic,
    /// When and why the latest session ended that did.
    ended: Option<(Duration, EndReason)>,
    /// When and why the server gave none since then.
    refused: Option<(Duration, RefusalReason)>,
    /// When the client stopped.
    stopped: Option<Duration>,
}

impl SessionHistory {
    pub(crate) fn new(tallies: Arc<Tallies>) -> Self {
        Self { tallies, before: Traffic::default(), ended: None, refused: None, stopped: None }
    }

    /// Where the control thread counts.
    pub(crate) fn tally(&self) -> &Tally {
        self.tallies.of(0)
    }

    /// A session begins; to be told before a frame can go through.
    pub(crate) fn begin(&mut self) {
        self.before = self.tallies.sum();
        self.refused = None;
    }

    /// The session is over.
    pub(crate) fn end(&mut self, now: Duration, reason: EndReason) {
        self.ended = Some((now, reason));
        self.refused = None;
    }

    /// The server gives none.
    pub(crate) fn refuse(&mut self, now: Duration, reason: RefusalReason) {
        self.refused = Some((now, reason));
    }

    /// The client stops: there will be none any more.
    pub(crate) fn stop(&mut self, now: Duration) {
        self.stopped = Some(now);
    }

    /// How the client's session is. `add` says what else is known of it, and whether there is one.
    pub(crate) fn report(
        &self,
        now: Duration,
        server: String,
        add: impl FnOnce(&mut SessionStatus) -> bool,
    ) -> Report {
        let ago = |at: Duration| now.saturating_sub(at);
        let traffic = self.tallies.sum();
        let mut status = SessionStatus::new(server);
        status.traffic = traffic.since(&self.before);
        status.before = self.ended.map(|(at, reason)| PastSession { reason, ago: ago(at) });
        if !add(&mut status) {
            if let Some(at) = self.stopped {
                status.end(EndReason::Stopped, ago(at));
                status.before.take_if(|before| before.reason == EndReason::Stopped);
            } else if let Some((at, reason)) = self.refused {
                status.state = State::Closed;
                status.refusal = Some(reason);
                status.in_state_for = Some(ago(at));
            } else if let Some(PastSession { reason, ago }) = status.before.take() {
                status.end(reason, ago);
            }
        }
        Report { sessions: vec![status], traffic, ..Report::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The state, why, since when and how the session before ended, where there is no session.
    fn state(history: &SessionHistory) -> (State, Option<EndReason>, Option<Duration>, bool) {
        let mut report = history.report(seconds(100), "a:1".to_owned(), |_| false);
        let status = report.sessions.remove(0);
        (status.state, status.reason, status.in_state_for, status.before.is_some())
    }

    #[test]
    fn why_there_is_no_session() {
        let mut history = SessionHistory::new(Arc::new(Tallies::new(1)));
        assert_eq!(state(&history), (State::Handshaking, None, None, false));
        history.refuse(seconds(10), RefusalReason::NotListed);
        assert_eq!(state(&history), (State::Closed, None, Some(seconds(90)), false));
        history.begin();
        history.end(seconds(20), EndReason::Silent);
        let silent = Some(EndReason::Silent);
        assert_eq!(state(&history), (State::Lost, silent, Some(seconds(80)), false));
        history.refuse(seconds(25), RefusalReason::Full);
        assert_eq!(state(&history), (State::Closed, None, Some(seconds(75)), true));
        history.begin();
        history.end(seconds(30), EndReason::Removed);
        let removed = Some(EndReason::Removed);
        assert_eq!(state(&history), (State::Closed, removed, Some(seconds(70)), false));
        history.stop(seconds(40));
        let stopped = Some(EndReason::Stopped);
        assert_eq!(state(&history), (State::Closed, stopped, Some(seconds(60)), true));
    }

    #[test]
    fn a_session_counts_from_its_beginning() {
        let mut history = SessionHistory::new(Arc::new(Tallies::new(1)));
        let counts = |history: &SessionHistory| {
            let report = history.report(seconds(1), String::new(), |_| true);
            (report.sessions[0].traffic.frames_in, report.traffic.frames_in)
        };
        history.begin();
        history.tally().add_in(3, 300);
        assert_eq!(counts(&history), (3, 3));
        history.end(seconds(1), EndReason::Bye);
        assert_eq!(counts(&history), (3, 3), "those of the session that ended");
        history.begin();
        history.tally().add_in(1, 100);
        assert_eq!(counts(&history), (1, 4));
    }
}
