//! What a client tells its owner.

use std::sync::Arc;
use std::time::Duration;

use crate::handshake::Secret;
use crate::session::{Keys, SealedStats};
use crate::wire::{Bye, IsolationOrder, Refusal};

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DownReason {
    /// The server said BYE.
    Bye(Bye),
    /// The server gave no sign of life.
    Timeout,
    /// The keys became too old and no new ones could be made.
    Expired,
    /// [`Client::close`](super::Client::close) was called.
    Closed,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A HELLO goes out without a session: the time to resolve the server's name again, or to try
    /// the next server.
    Connecting {
        /// How many HELLO went out in vain so far.
        attempt: u32,
    },
    /// There is a session.
    Connected {
        /// To seal and open frames with.
        keys: Arc<Keys>,
        /// The server's wall clock when it answered, nanoseconds since 1970.
        server_time: u64,
    },
    /// There are new keys: seal with these, and open with these and the ones before.
    KeysChanged {
        /// The new keys.
        keys: Arc<Keys>,
    },
    /// The server is another process than the one before, and did not say that it would end: it
    /// crashed, or was killed. Follows the event of the keys that it made.
    ServerRestarted {
        /// The session goes on with it, under new keys.
        session_goes_on: bool,
    },
    /// Keys with this id of ours open nothing any more.
    KeysDropped {
        /// The id that datagrams to the client carried.
        local_id: u32,
    },
    /// The session is over; the client goes on trying.
    Disconnected {
        /// Why.
        reason: DownReason,
        /// How long the client stays away.
        retry_in: Duration,
    },
    /// An answer came that does not open: most likely the pre-shared keys of the two ends differ.
    /// The client goes on trying.
    Unreadable,
    /// The server has another network key now, which the client uses from its next HELLO on. It
    /// should be kept: the one before will not do for long.
    NetworkKey {
        /// The key.
        key: Secret,
    },
    /// The server asks the client to go to another one.
    AskedToMove {
        /// Which: the [tag](crate::wire::server_tag) of its name, or `None` for whichever the client
        /// likes.
        to: Option<u64>,
    },
    /// The server has the client do something in a test of isolation, for
    /// [`Client::answer_isolation`](super::Client::answer_isolation) to say what came of it.
    IsolationOrder {
        /// What to do.
        order: IsolationOrder,
    },
    /// The server gives the client no session and says why; the client goes on trying.
    Refused {
        /// Why.
        reason: Refusal,
    },
}

/// Counters of the handshake, and of what was dropped. Whoever shows them shows them all, so they can
/// be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientStats {
    /// Datagrams that are none of acton/1.
    pub malformed: u64,
    /// HELLO and QUERY, which no server sends.
    pub wrong_end: u64,
    /// WELCOME, RETRY, RESET and REPLY that answer nothing that this client sent: late, or forged.
    pub stale_answers: u64,
    /// WELCOME to the HELLO under way that do not open.
    pub unreadable: u64,
    /// HELLO sent.
    pub hellos: u64,
    /// Sealed datagrams.
    pub sealed: SealedStats,
}
