//! Clients that no list names, and somebody else who decides on them: a program of the operator's, which
//! looks into a database or asks a RADIUS server.
//!
//! A client is asked about once it has proved its key and its address, and waits meanwhile. What was
//! decided holds for a time, is asked for again before that is over, and may be taken back at any time.
//! [`desk`] is what is known and asked, without clock and I/O; the control thread carries it out.

pub(crate) mod accounts;
pub(crate) mod desk;
pub(crate) mod lent_macs;
pub(crate) mod reach;
mod sources;
pub(crate) mod verdicts;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use acton_proto::wire::Key;

use crate::observe::event::EventKind;
use crate::sessions::admission::ClientPolicy;

/// How long it holds that a client may have a session, where that is not said.
pub const ALLOWED_FOR: Duration = Duration::from_secs(300);
/// How long it holds that it may not.
pub const DENIED_FOR: Duration = Duration::from_secs(60);
/// How long a decision may hold at most.
pub const MAX_VALID_FOR: Duration = Duration::from_secs(30 * 86_400);

/// Decides on clients that no list names.
pub trait Authority: fmt::Debug + Send {
    /// Takes where decisions go, and what the server's TAP is called, before anything is asked or told.
    ///
    /// # Errors
    /// Where it cannot begin.
    fn begin(&mut self, tap: &str, decisions: Decisions) -> io::Result<()>;

    /// Takes a question without waiting. `false` where it has no room for it; the question counts as
    /// one that is not answered.
    fn ask(&mut self, question: Question) -> bool;

    /// Hears without waiting how a session began, goes on or ended: `accounting_start`,
    /// `accounting_interim` or `accounting_stop`; before all of them `accounting_on`, and after the last,
    /// where the server ends in good order, `accounting_off`. `false` where it has no room for it.
    fn account(&mut self, event: &EventKind) -> bool;

    /// Hears why its answers are missed, or that they are not any more.
    fn note_lost(&mut self, _why: Option<&str>) {}
}

/// A client that asks for a session, or has one that is to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Question {
    /// Its number, which the answer has.
    pub number: u64,
    /// The client's public key, which it has proved to hold.
    pub client: Key,
    /// What it was called by the last decision on it.
    pub name: Option<String>,
    /// Where it is, which it has proved.
    pub address: SocketAddr,
    /// The server's address that it spoke to, where the server has more than one.
    pub local: Option<IpAddr>,
    /// It has a session.
    pub has_session: bool,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The answer to the question of that number. One that comes too late, or to none, is left alone.
    Answer {
        /// The number.
        number: u64,
        /// The answer.
        verdict: Verdict,
    },
    /// The client is out at once, for [`DENIED_FOR`].
    Revoke(Key),
    /// What was decided on the client is to be asked for again: now if it has a session, which goes on
    /// meanwhile, else when it comes again.
    Recheck(Key),
    /// Questions arrive from now on, or do not: why.
    Reachable(Result<(), String>),
}

/// Whether a client may have a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// The terms, or why not.
    pub terms: Result<Arc<ClientPolicy>, Option<String>>,
    /// For how long; [`ALLOWED_FOR`] or [`DENIED_FOR`] where that is not said.
    pub valid_for: Option<Duration>,
}

impl Verdict {
    /// A client that may have a session on these terms.
    #[must_use]
    pub fn allow(terms: ClientPolicy, valid_for: Option<Duration>) -> Self {
        Self { terms: Ok(Arc::new(terms)), valid_for }
    }

    /// A client that may not, and why.
    #[must_use]
    pub const fn deny(reason: Option<String>, valid_for: Option<Duration>) -> Self {
        Self { terms: Err(reason), valid_for }
    }

    /// For how long it holds.
    pub(crate) fn valid_for(&self) -> Duration {
        let usual = if self.terms.is_ok() { ALLOWED_FOR } else { DENIED_FOR };
        self.valid_for.unwrap_or(usual).min(MAX_VALID_FOR)
    }
}

/// Where decisions go. Clones are cheap.
#[derive(Clone)]
pub struct Decisions(Arc<dyn Fn(Decision) -> bool + Send + Sync>);

impl Decisions {
    pub(crate) fn new(tell: impl Fn(Decision) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells a decision, and waits for room where there is none. `false` where the server has ended.
    pub fn tell(&self, decision: Decision) -> bool {
        (self.0)(decision)
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decisions")
    }
}
