//! What the server knows of one client.

use std::sync::Arc;
use std::time::Duration;

use super::limit::{Bucket, Source};
use super::network::Era;
use super::{Admission, Path};
use crate::session::{Beyond, Keys, LinkStatistics, Live, overdue_after};
use crate::wire::{ECHO_LEN, Key, WELCOME_LEN};

/// Seconds of silence after which a client is forgotten that says KEEPALIVE every `keepalive`.
pub(super) const fn dead_after(keepalive: u16) -> u16 {
    keepalive.saturating_mul(3).saturating_add(5)
}

/// For how long keys wait to be confirmed.
pub(super) const PENDING_TIME: Duration = Duration::from_secs(5);
/// How long an ECHO from a new address is waited for, and how often it is asked for.
const CHALLENGE_TIME: Duration = Duration::from_secs(1);
const CHALLENGES: u32 = 3;
/// Handshakes of one client: one a second, five at once.
const HANDSHAKE_INTERVAL: Duration = Duration::from_secs(1);
const HANDSHAKE_BURST: u32 = 5;

/// Keys that the client has not confirmed yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) keys: Arc<Keys>,
    /// Where the WELCOME went last: to where the HELLO came from first, later only to who showed a
    /// cookie.
    pub(super) path: Path,
    /// Whether a cookie was shown with it, which no replay can.
    pub(super) proven: bool,
    /// mac1 of the HELLO, by which a repeated one is known.
    pub(super) mac1: [u8; 16],
    /// The answer, for a repeated HELLO.
    pub(super) welcome: [u8; WELCOME_LEN],
    pub(super) timestamp: u64,
    pub(super) instance: u64,
    /// The largest frame that the client takes.
    pub(super) max_frame: u16,
    pub(super) max_pmtu: u16,
    /// After how many seconds without sending the client says KEEPALIVE.
    pub(super) keepalive: u16,
    /// Which network key the HELLO was made with.
    pub(super) era: Era,
    pub(super) until: Duration,
}

/// A session: keys that the client confirmed.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) live: Live,
    pub(super) path: Path,
    pub(super) instance: u64,
    /// The largest frame that the client takes.
    pub(super) max_frame: u16,
    /// The instance that this one took the session from.
    pub(super) replaced_instance: Option<u64>,
    pub(super) keepalive: u16,
    /// Which network key the last HELLO was made with.
    pub(super) era: Era,
    pub(super) candidate: Option<Candidate>,
    /// REKEY is not said again before this.
    pub(super) rekey_at: Duration,
    /// How often the path changed.
    pub(super) roams: u64,
    /// Addresses where the client may be looked for.
    pub(super) candidates: Bucket,
}

impl Established {
    /// Looks for the client at another address, or no more.
    pub(super) fn look_for(&mut self, candidate: Option<Candidate>) {
        self.live.link().set_looking(candidate.is_some());
        self.candidate = candidate;
    }

    /// When the client is forgotten, if it stays silent.
    pub(super) fn dead_at(&self) -> Duration {
        let dead_after = Duration::from_secs(dead_after(self.keepalive).into());
        self.live.link().last_received() + dead_after
    }

    pub(super) fn statistics(&self, now: Duration) -> LinkStatistics {
        let keepalive = Duration::from_secs(self.keepalive.into());
        let beyond = Beyond {
            quiet_at: self.live.link().last_received() + overdue_after(keepalive),
            lost_at: self.dead_at(),
            rtt: self.live.heard().and_then(|heard| heard.rtt()),
            roams: self.roams,
            peer_instance: self.instance,
            peer_max_frame: self.max_frame,
        };
        LinkStatistics::new(now, &self.live, &beyond)
    }
}

/// An address that the client seems to have moved to.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) path: Path,
    pub(super) token: u64,
    /// Authentic bytes that came from there less the bytes that went there.
    credit: usize,
    challenges: u32,
    challenge_at: Duration,
}

impl Candidate {
    pub(super) const fn new(path: Path, token: u64) -> Self {
        Self { path, token, credit: 0, challenges: 0, challenge_at: Duration::ZERO }
    }

    pub(super) const fn add(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_add(bytes);
    }

    /// Whether so many bytes may be sent there; they are, then.
    pub(super) const fn spend(&mut self, bytes: usize) -> bool {
        match self.credit.checked_sub(bytes) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }

    /// Whether to ask for an ECHO now; its bytes are spent then.
    pub(super) fn challenge(&mut self, now: Duration) -> bool {
        if self.challenges >= CHALLENGES || now < self.challenge_at {
            return false;
        }
        let paid = self.spend(ECHO_LEN);
        // A first challenge waits for bytes that pay for it, a later one for its time only.
        if paid || self.challenges > 0 {
            self.challenges += 1;
            self.challenge_at = now + CHALLENGE_TIME;
        }
        paid
    }

    /// When the next challenge is due, or the candidate is given up.
    pub(super) const fn due(&self) -> Option<Duration> {
        if self.challenges == 0 { None } else { Some(self.challenge_at) }
    }

    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.challenges >= CHALLENGES && now >= self.challenge_at
    }
}

/// One client key: keys in the making, a session, or both.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) client: Key,
    /// What admitted the client, to tell whether it still would.
    pub(super) grant: Admission,
    /// Where it came from while it had no session.
    pub(super) source: Source,
    pub(super) pending: Option<Pending>,
    pub(super) session: Option<Established>,
    /// The newest timestamp that the client proved.
    pub(super) timestamp: u64,
    /// Handshakes with a newer timestamp than any before, which no replay is.
    fresh: Bucket,
    /// Others that showed a cookie.
    proven: Bucket,
    /// All others.
    stale: Bucket,
    pub(super) deadline: Option<Duration>,
}

impl Peer {
    pub(super) const fn new(client: Key, grant: Admission, source: Source) -> Self {
        Self {
            client,
            grant,
            source,
            pending: None,
            session: None,
            timestamp: 0,
            fresh: Bucket::new(),
            proven: Bucket::new(),
            stale: Bucket::new(),
            deadline: None,
        }
    }

    /// Whether a HELLO with this timestamp may cost the rest of a handshake. A timestamp only
    /// decides against another HELLO of the last five seconds, or against a flood of replays, and
    /// a cookie outranks it: a clock that is or was wrong locks nobody out.
    pub(super) fn admits(&mut self, now: Duration, timestamp: u64, proven: bool) -> bool {
        let stays = |it: &Pending| (it.proven, it.timestamp) >= (proven, timestamp);
        if self.pending.as_ref().is_some_and(stays) {
            return false;
        }
        let bucket = if timestamp > self.timestamp {
            &mut self.fresh
        } else if proven {
            &mut self.proven
        } else {
            &mut self.stale
        };
        bucket.take(now, HANDSHAKE_INTERVAL, HANDSHAKE_BURST)
    }

    /// When something here is due.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let pending = self.pending.as_ref().map(|pending| pending.until);
        let session = self.session.as_ref().map(|session| {
            let own = session.live.poll_timeout().min(session.dead_at());
            session.candidate.as_ref().and_then(Candidate::due).map_or(own, |at| at.min(own))
        });
        [pending, session].into_iter().flatten().min()
    }
}
