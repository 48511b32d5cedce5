//! What a server tells its owner.

use std::sync::Arc;

use super::{Path, SessionId};
use crate::session::{Keys, SealedStats};
use crate::wire::{Bye, IsolationAnswer, Key, Refusal};

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DownReason {
    /// The client said BYE.
    Bye(Bye),
    /// The client was silent for too long.
    Timeout,
    /// [`Server::remove`](super::Server::remove) or a new list of clients.
    Removed,
    /// [`Server::kick`](super::Server::kick).
    Kicked,
    /// [`Server::close`](super::Server::close).
    Closed,
    /// Another instance of the client took its place; there is no event of this end.
    Replaced,
}

/// Why a HELLO got no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedReason {
    /// mac1 is wrong: the sender has another key of the server, or another network key.
    WrongKey,
    /// The Noise message does not open, or what it says does not parse.
    Handshake,
    /// The client did not confirm its keys: most likely the pre-shared keys of the two ends differ,
    /// or the answer was lost.
    Unconfirmed,
    /// Its source has as many sessions as it may; the client was told that the server is full.
    SourceFull,
    /// As many clients have a session that are not listed as may; the client was told that the server
    /// is full.
    UnlistedFull,
    /// The client was told.
    Told(Refusal),
}

impl RefusedReason {
    /// What a client is told that has proved its key.
    pub(super) const fn refusal(self) -> Refusal {
        match self {
            Self::Told(refusal) => refusal,
            _ => Refusal::Full,
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A client confirmed its keys: a session begins.
    SessionUp {
        /// The session.
        id: SessionId,
        /// The client's public key.
        client: Key,
        /// Where the client is.
        path: Path,
        /// To seal and open frames with.
        keys: Arc<Keys>,
        /// The client's wall clock when it asked, nanoseconds since 1970.
        client_time: u64,
    },
    /// A client without a session asks for one, has proved its key and its address, and is
    /// [undecided](super::Clients::is_undecided). Told once, until [`Server::decided`](super::Server::decided).
    Undecided {
        /// The client's public key.
        client: Key,
        /// Where the client is.
        path: Path,
    },
    /// Keys that may open datagrams of a session but not seal yet. The first datagram they open is
    /// for [`Server::handle_notice`](super::Server::handle_notice).
    KeysReady {
        /// The session.
        id: SessionId,
        /// The keys.
        keys: Arc<Keys>,
    },
    /// Seal with these keys from now on.
    KeysChanged {
        /// The session.
        id: SessionId,
        /// The keys.
        keys: Arc<Keys>,
        /// Another instance of the client took the session.
        replaced: bool,
    },
    /// Keys that open nothing any more.
    KeysDropped {
        /// The session.
        id: SessionId,
        /// The id that datagrams to the server carried.
        local_id: u32,
    },
    /// Datagrams with this id are for [`Server::handle_input`](super::Server::handle_input), though
    /// no session has it: keys that a client has yet to confirm, or that were closed.
    IdExpected {
        /// The id that datagrams to the server carry.
        local_id: u32,
    },
    /// Datagrams with this id are a session's by now, or nobody's.
    IdForgotten {
        /// The id that datagrams to the server carry.
        local_id: u32,
    },
    /// The client proved that it is at another address.
    AddressChanged {
        /// The session.
        id: SessionId,
        /// Where the client is now.
        path: Path,
    },
    /// A session is over, with all of its keys. The id is used again once this was polled.
    SessionDown {
        /// The session.
        id: SessionId,
        /// The client's public key.
        client: Key,
        /// Why.
        reason: DownReason,
    },
    /// Two live instances fight for one client key.
    Duplicate {
        /// The session.
        id: SessionId,
        /// The client's public key.
        client: Key,
    },
    /// What came of an order at a client ([`Server::order_isolation`](super::Server::order_isolation)).
    IsolationAnswer {
        /// The session.
        id: SessionId,
        /// What came of it.
        answer: IsolationAnswer,
    },
    /// A HELLO got no session; told at a limited rate.
    Refused {
        /// Where it came from, which anybody can forge.
        path: Path,
        /// The client's public key, if the HELLO proved it.
        client: Option<Key>,
        /// Why.
        reason: RefusedReason,
    },
}

/// Counters of the control side. Whoever shows them shows them all, so they can be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerStats {
    /// Datagrams that are none of acton/1.
    pub malformed: u64,
    /// WELCOME, RETRY, RESET and REPLY, which no client sends.
    pub wrong_end: u64,
    /// HELLO with a wrong mac1, and QUERY with a wrong MAC.
    pub bad_mac: u64,
    /// HELLO that came again and got the cached answer.
    pub repeated: u64,
    /// HELLO answered with a cookie.
    pub retries: u64,
    /// HELLO dropped by a rate limit.
    pub limited: u64,
    /// HELLO that failed in the Noise handshake.
    pub failed: u64,
    /// HELLO answered with a refusal.
    pub refused: u64,
    /// HELLO answered with keys.
    pub welcomed: u64,
    /// QUERY answered.
    pub queries: u64,
    /// QUERY dropped by a rate limit.
    pub queries_limited: u64,
    /// RESET sent.
    pub resets: u64,
    /// Two live instances of one client key.
    pub duplicates: u64,
    /// Sealed datagrams.
    pub sealed: SealedStats,
    /// Addresses where a session was not looked for, since it changes them too often.
    pub moves_limited: u64,
}
