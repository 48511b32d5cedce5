//! What fields of events can say.

/// Where a MAC lives, as operators know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Place {
    /// At the server's TAP and what is bridged behind it.
    Root,
    /// At a client: its own TAP and what is bridged behind it.
    Client,
    /// Behind a client.
    Session {
        /// Its number.
        session: usize,
        /// What operators call the client; `None` where it has gone.
        client: Option<String>,
    },
}

/// Why a session ended, seen from the end that tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum EndReason {
    /// The other end said that it stops.
    Bye,
    /// The server said that it restarts.
    Restart,
    /// Another instance with the client's key took the session.
    Replaced,
    /// The client is not on the server's list any more, or in plain mode its address not allowed.
    Removed,
    /// At a server: who decides on clients (`--authorize`) says that it may not be here any more.
    Denied,
    /// At a server: who decides on clients (`--authorize`) did not answer in time whether it may stay.
    Undecided,
    /// An operator ended it at the server.
    Kicked,
    /// The server has no room.
    Full,
    /// At a client: it has gone to another of its servers, where a session had begun before.
    Moved,
    /// The other end has been silent too long.
    Silent,
    /// The keys became too old and no new ones could be agreed on.
    KeysExpired,
    /// This end stopped.
    Stopped,
    /// A reason of a later version.
    #[cfg_attr(feature = "serde", serde(other))]
    Other,
}

/// Why a client got no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum RefusalReason {
    /// Its HELLO was made for another server or network key.
    WrongKey,
    /// Its handshake does not open.
    Handshake,
    /// It did not confirm its keys: the pre-shared keys differ, or the answer was lost.
    Unconfirmed,
    /// Its key is not on the list.
    NotListed,
    /// Who decides on clients (`--authorize`) said no.
    Denied,
    /// Nobody has decided on it: who does has not answered, or too much is asked.
    Undecided,
    /// All sessions are taken.
    Full,
    /// Its address has as many sessions as clients that are not on a list may have.
    SourceFull,
    /// Clients that are not on a list have as many sessions as they may.
    UnlistedFull,
    /// The two ends have no version in common.
    Version,
    /// The two ends have no cipher suite in common.
    Suite,
    /// A reason of a later version.
    #[cfg_attr(feature = "serde", serde(other))]
    Other,
}

/// How a session came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Beginning {
    /// By a handshake of acton/1.
    Handshake,
    /// By HELLO in plain mode.
    Hello,
    /// By KEEPALIVE in plain mode, as after a restart of the server.
    Keepalive,
    /// Named by the settings.
    Named,
}

/// Who found a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LoopWitness {
    /// A probe of the end that tells came back to it.
    Probe,
    /// The server, of whom a client tells.
    Server,
}

/// A limit of the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Limit {
    /// MACs in the table.
    MacTable,
}

/// Why a MAC of the list is not kept for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum NotKept {
    /// No client may use it: it is the TAP's, its Linux bridge's, a gateway's, or named by the
    /// settings.
    OwnMac,
    /// The list has far more of them than when the server started.
    Full,
    /// A rule of the bridge forbids it.
    Forbidden,
}
