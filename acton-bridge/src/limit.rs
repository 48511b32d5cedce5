//! How much of each limit is used.

use std::fmt::{self, Debug};

use crate::port::Owner;

/// Whose learned addresses a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Share<P> {
    /// Those of one leaf: [`Bridge::set_leaf_limit`](crate::Bridge::set_leaf_limit), or
    /// [`Config::max_macs_per_leaf`](field@crate::Config::max_macs_per_leaf).
    Leaf(P),
    /// Those of all leaves together: [`Config::max_macs`](field@crate::Config::max_macs).
    Leaves,
    /// Those of the root: [`Config::max_macs_root`](field@crate::Config::max_macs_root).
    Root,
}

impl<P> Share<P> {
    /// The same share, its leaf by another name.
    pub fn map<Q>(self, leaf: impl FnOnce(P) -> Q) -> Share<Q> {
        match self {
            Self::Leaf(port) => Share::Leaf(leaf(port)),
            Self::Leaves => Share::Leaves,
            Self::Root => Share::Root,
        }
    }

    /// Whether an address of `owner` counts.
    pub(crate) fn counts(&self, owner: Owner<P>) -> bool
    where
        P: PartialEq,
    {
        match (self, owner) {
            (Self::Leaf(leaf), Owner::Leaf(port)) => *leaf == port,
            (Self::Leaves, Owner::Leaf(_)) | (Self::Root, Owner::Root) => true,
            _ => false,
        }
    }
}

/// A limit of learned addresses, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Room<P> {
    /// Whose they are.
    pub share: Share<P>,
    /// Addresses that have a place, static entries not counted. Some may have expired and wait
    /// for a [sweep](crate::Bridge::sweep); where there is no room, some of these were looked for.
    pub learned: usize,
    /// How many there may be; `None` for a leaf that may have any number.
    pub limit: Option<usize>,
}

impl<P> Room<P> {
    /// Whether one more address can be learned.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.limit.is_none_or(|limit| self.learned < limit)
    }

    /// The same limit, its leaf by another name.
    pub fn map<Q>(self, leaf: impl FnOnce(P) -> Q) -> Room<Q> {
        let Self { share, learned, limit } = self;
        Room { share: share.map(leaf), learned, limit }
    }
}

impl<P: Debug> fmt::Display for Room<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.share {
            Share::Leaf(port) => write!(formatter, "leaf {port:?}")?,
            Share::Leaves => formatter.write_str("all leaves")?,
            Share::Root => formatter.write_str("the root")?,
        }
        match self.limit {
            Some(limit) => write!(formatter, ", {} of {limit} addresses", self.learned),
            None => write!(formatter, ", {} addresses, no limit", self.learned),
        }
    }
}
