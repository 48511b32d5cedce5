//! What came of a test of isolation.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pnet_base::MacAddr;

use super::kind::TestKind;

/// Which clients are to be tested.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IsolationOptions {
    /// These sessions, by the client's name, its UDP address or the session's number; all where none is
    /// named.
    pub sessions: Vec<String>,
    /// Leave out those that do not take part, rather than test nobody.
    pub willing_only: bool,
}

/// The kind of what a client sends out of its TAP, to what is bridged to that.
pub const ISOLATION_BESIDE: &str = TestKind::Beside.name();

/// What came of a test of isolation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IsolationReport {
    /// What it shows.
    pub verdict: IsolationVerdict,
    /// Why it shows nothing, in sentences for people.
    pub doubts: Vec<String>,
    /// Everybody that was asked.
    pub clients: Vec<IsolationClient>,
    /// Clients that were left out, for there are more than can take part.
    pub left_out: usize,
    /// Ordered pairs of clients of which one sent to the other.
    pub pairs: usize,
    /// How many such pairs there are.
    pub pairs_of: usize,
    /// What was sent, kind by kind, and what became of it.
    pub kinds: Vec<IsolationKind>,
    /// Frames that reached another client, the first 256 of them.
    pub leaks: Vec<IsolationLeak>,
    /// Packets that the server's host passed on from one client to another, as a router does: not of layer
    /// 2, so no leak. The first 256 of them.
    pub routed: Vec<IsolationLeak>,
}

/// What a test of isolation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum IsolationVerdict {
    /// No frame reached another client, and any that had would have been heard.
    Isolated,
    /// A frame reached another client.
    Leaks,
    /// Nothing.
    Unproved,
}

/// A client in a test of isolation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IsolationClient {
    /// What operators call it.
    pub name: String,
    /// How it took part.
    pub part: IsolationPart,
    /// The MAC of its TAP, where it told.
    pub mac: Option<MacAddr>,
}

/// How a client takes part in a test of isolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum IsolationPart {
    /// It takes part; at the end, it did to the end.
    Agreed,
    /// Its owner does not allow it.
    NotAllowed,
    /// It took part in another test less than ten seconds ago, or in several that were called off.
    TooSoon,
    /// It does not know its TAP's address.
    NoTap,
    /// Its version does not know such tests.
    Unknown,
    /// It does not answer.
    Silent,
    /// It did not hear what the server sent it.
    Deaf,
    /// Its session ended meanwhile.
    Gone,
    /// It refuses for a reason of a later version.
    Other,
}

/// What became of one kind of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IsolationKind {
    /// Its stable name.
    pub kind: Cow<'static, str>,
    /// What it is, for people.
    pub text: Cow<'static, str>,
    /// How many were sent.
    pub sent: u64,
    /// How many went to the root.
    pub at_root: u64,
    /// How many went nowhere, by the name of the reason to drop.
    pub dropped: BTreeMap<Cow<'static, str>, u64>,
    /// How many never came to the server.
    pub lost: u64,
    /// How often one came to another client.
    pub at_clients: u64,
    /// How often one came back to the client that sent it, through the server.
    pub came_back: u64,
}

/// A frame that came to another client than the one that sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IsolationLeak {
    /// The stable name of its kind.
    pub kind: Cow<'static, str>,
    /// Who sent it.
    pub from: String,
    /// Who heard it.
    pub at: String,
}
