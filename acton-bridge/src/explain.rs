//! Why a frame gets the verdict that it gets, as data.

use std::fmt::{self, Debug};

use pnet_base::MacAddr;

use crate::entry::Entry;
use crate::limit::Room;
use crate::port::Owner;
use crate::verdict::{BumKind, FromLeaf, FromRoot, Learned};

/// What [`Bridge::explain`](crate::Bridge::explain) says of a frame. Displayed, it is a line a step
/// and two for how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Explanation<P> {
    /// What the verdict rests on, in the order of the rules: each is a fact that was looked at, and
    /// the last one decided. Empty for a frame whose header cannot be read.
    pub steps: Vec<Step<P>>,
    /// What the frame's source would change in the table.
    pub learned: Learned<P>,
    /// Where the frame would go.
    pub verdict: Verdict<P>,
}

/// A fact that a verdict rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Step<P> {
    /// The header, which is legible; what is wrong with its addresses the verdict says.
    Header {
        /// The VLAN id, 0 for untagged.
        vlan: u16,
        /// Where the frame says it comes from.
        source: MacAddr,
        /// Where it goes.
        destination: MacAddr,
    },
    /// What is known of the source. That it lives elsewhere and can move only after a while is in
    /// [`Entry::held_for`] and [`Entry::frozen_for`].
    Source(Option<Entry<P>>),
    /// Who alone may send from the source, the root for a protected address; `None` if anybody may.
    SourceProtection(Option<Owner<P>>),
    /// The leaf is strict: it may send from what is reserved for it and what it shares, and the source
    /// is neither.
    Strict(P),
    /// The leaf shares the source: it takes it from another leaf with this frame, and may have it
    /// though it is strict. Told where that matters.
    Shares(P),
    /// A limit that one more address has to stay below.
    Room(Room<P>),
    /// The destination is a group.
    Group(BumKind),
    /// What is known of the destination, once the source is learned. A protected one is at the
    /// root, and a reserved one at its leaf, heard of or not.
    Destination(Option<Entry<P>>),
}

/// What [`Bridge::from_root`](crate::Bridge::from_root) or
/// [`Bridge::from_leaf`](crate::Bridge::from_leaf) would say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Verdict<P> {
    /// To a frame from the root.
    FromRoot(FromRoot<P>),
    /// To a frame from a leaf.
    FromLeaf(FromLeaf),
}

impl<P> Explanation<P> {
    /// The same explanation, its leaves by other names.
    pub fn map<Q>(self, mut leaf: impl FnMut(P) -> Q) -> Explanation<Q> {
        let learned = match self.learned {
            Learned::Nothing => Learned::Nothing,
            Learned::New => Learned::New,
            Learned::Moved { from, frozen } => Learned::Moved { from: from.map(&mut leaf), frozen },
        };
        Explanation {
            steps: self.steps.into_iter().map(|step| step.map(&mut leaf)).collect(),
            learned,
            verdict: match self.verdict {
                Verdict::FromRoot(FromRoot::Leaf(port)) => {
                    Verdict::FromRoot(FromRoot::Leaf(leaf(port)))
                }
                Verdict::FromRoot(FromRoot::Flood(kind)) => {
                    Verdict::FromRoot(FromRoot::Flood(kind))
                }
                Verdict::FromRoot(FromRoot::Drop(reason)) => {
                    Verdict::FromRoot(FromRoot::Drop(reason))
                }
                Verdict::FromLeaf(verdict) => Verdict::FromLeaf(verdict),
            },
        }
    }
}

impl<P> Step<P> {
    fn map<Q>(self, leaf: impl FnOnce(P) -> Q) -> Step<Q> {
        match self {
            Self::Header { vlan, source, destination } => {
                Step::Header { vlan, source, destination }
            }
            Self::Source(entry) => Step::Source(entry.map(|entry| entry.map(leaf))),
            Self::SourceProtection(owner) => {
                Step::SourceProtection(owner.map(|owner| owner.map(leaf)))
            }
            Self::Strict(port) => Step::Strict(leaf(port)),
            Self::Shares(port) => Step::Shares(leaf(port)),
            Self::Room(room) => Step::Room(room.map(leaf)),
            Self::Group(kind) => Step::Group(kind),
            Self::Destination(entry) => Step::Destination(entry.map(|entry| entry.map(leaf))),
        }
    }
}

impl<P: Debug> fmt::Display for Explanation<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(formatter, "{step}")?;
        }
        match &self.learned {
            Learned::Nothing => writeln!(formatter, "learned: nothing")?,
            Learned::New => writeln!(formatter, "learned: a new address")?,
            Learned::Moved { from, frozen } => {
                let frozen = if *frozen { ", and is frozen" } else { "" };
                writeln!(formatter, "learned: the address moves from {from}{frozen}")?;
            }
        }
        write!(formatter, "verdict: {}", self.verdict)
    }
}

impl<P: Debug> fmt::Display for Step<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { vlan, source, destination } => {
                write!(formatter, "header: from {source} to {destination}, ")?;
                match vlan {
                    0 => formatter.write_str("untagged"),
                    vlan => write!(formatter, "VLAN {vlan}"),
                }
            }
            Self::Source(entry) => write_entry(formatter, "source", entry.as_ref()),
            Self::SourceProtection(None) => formatter.write_str("source: not protected"),
            Self::SourceProtection(Some(Owner::Root)) => formatter.write_str("source: protected"),
            Self::SourceProtection(Some(leaf)) => write!(formatter, "source: reserved for {leaf}"),
            Self::Strict(leaf) => {
                write!(
                    formatter,
                    "source: leaf {leaf:?} may use nothing but what is reserved for it"
                )
            }
            Self::Shares(leaf) => write!(formatter, "source: leaf {leaf:?} shares it"),
            Self::Room(room) => write!(formatter, "room: {room}"),
            Self::Group(kind) => write!(formatter, "destination: {kind}"),
            Self::Destination(entry) => write_entry(formatter, "destination", entry.as_ref()),
        }
    }
}

fn write_entry<P: Debug>(
    formatter: &mut fmt::Formatter<'_>,
    address: &str,
    entry: Option<&Entry<P>>,
) -> fmt::Result {
    let Some(Entry { owner, age, held_for, frozen_for, .. }) = entry else {
        return write!(formatter, "{address}: unknown");
    };
    write!(formatter, "{address}: at {owner}")?;
    match age {
        Some(age) => write!(formatter, ", last heard of {age:.1?} ago")?,
        None => formatter.write_str(", static")?,
    }
    if let Some(left) = held_for {
        write!(formatter, ", held for {left:.1?}")?;
    }
    if let Some(left) = frozen_for {
        write!(formatter, ", frozen for {left:.1?}")?;
    }
    Ok(())
}

impl<P: Debug> fmt::Display for Verdict<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromRoot(FromRoot::Leaf(port)) => write!(formatter, "to leaf {port:?}"),
            Self::FromRoot(FromRoot::Flood(kind)) => write!(formatter, "to all leaves ({kind})"),
            Self::FromLeaf(FromLeaf::Root { bum: None }) => formatter.write_str("to the root"),
            Self::FromLeaf(FromLeaf::Root { bum: Some(kind) }) => {
                write!(formatter, "to the root ({kind})")
            }
            Self::FromRoot(FromRoot::Drop(reason)) | Self::FromLeaf(FromLeaf::Drop(reason)) => {
                write!(formatter, "dropped ({reason})")
            }
        }
    }
}
