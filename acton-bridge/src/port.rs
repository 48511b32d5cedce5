//! Leaves, and who owns an address.

use std::fmt::{self, Debug};

/// How the caller names a leaf: any small value that is 32 bits or less.
///
/// The bridge never interprets it. A caller that uses a name again for another peer calls
/// [`Bridge::purge`](crate::Bridge::purge) first; one whose workers may still hold a verdict for
/// the old peer puts a generation in some of the bits.
pub trait Port: Copy + Eq + Debug + Send + Sync + 'static {
    /// The bits that stand for this port; different ports have different bits.
    fn to_bits(self) -> u32;
    /// The port that [`Port::to_bits`] gave these bits for.
    fn from_bits(bits: u32) -> Self;
}

impl Port for u32 {
    fn to_bits(self) -> u32 {
        self
    }

    fn from_bits(bits: u32) -> Self {
        bits
    }
}

impl Port for u16 {
    fn to_bits(self) -> u32 {
        self.into()
    }

    fn from_bits(bits: u32) -> Self {
        // The bits came from `to_bits`, so the upper half is zero.
        bits as Self
    }
}

/// The side an address lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Owner<P> {
    /// The root: the server itself and the network behind it.
    Root,
    /// This leaf.
    Leaf(P),
}

impl<P> Owner<P> {
    /// The same side, its leaf by another name.
    pub fn map<Q>(self, leaf: impl FnOnce(P) -> Q) -> Owner<Q> {
        match self {
            Self::Root => Owner::Root,
            Self::Leaf(port) => Owner::Leaf(leaf(port)),
        }
    }
}

impl<P: Debug> fmt::Display for Owner<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => formatter.write_str("the root"),
            Self::Leaf(port) => write!(formatter, "leaf {port:?}"),
        }
    }
}
