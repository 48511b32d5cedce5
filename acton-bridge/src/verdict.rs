//! What the bridge says about a frame.

use std::fmt;

use crate::port::Owner;

/// Where a frame from the root goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[must_use]
pub enum FromRoot<P> {
    /// To this leaf only.
    Leaf(P),
    /// To every leaf.
    Flood(BumKind),
    /// Nowhere.
    Drop(DropReason),
}

/// Where a frame from a leaf goes: to the root or nowhere, never to another leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[must_use]
pub enum FromLeaf {
    /// To the root.
    Root {
        /// What kind of flood the frame is on the far side; `None` where its destination is a
        /// unicast address known to be there.
        bum: Option<BumKind>,
    },
    /// Nowhere.
    Drop(DropReason),
}

/// Why a frame has no single destination (broadcast, unknown unicast, multicast).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum BumKind {
    /// The destination is FF-FF-FF-FF-FF-FF.
    Broadcast,
    /// The destination is another group address.
    Multicast,
    /// The destination is a unicast address nobody was heard from within the ageing time.
    Unknown,
}

impl fmt::Display for BumKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::Unknown => "unknown",
        })
    }
}

/// What a frame's source address changed in the table. Rare: worth a log line or a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Learned<P> {
    /// Nothing, or only the time at which an entry was last heard of.
    Nothing,
    /// The address was not known.
    New,
    /// The address belonged to another port. (If it moved to the root and the root's own limit is
    /// reached, the address is forgotten rather than learned there.)
    Moved {
        /// The leaf it belonged to. Where the root takes one that leaves have on several VLANs, that
        /// which has it on the frame's, or else on the lowest.
        from: Owner<P>,
        /// This move was one too many: no leaf can take the address for a while. Two ports use
        /// the same address, which is worth an alarm (RFC 7432 section 15.1).
        frozen: bool,
    },
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame goes nowhere. Each dropped frame has one reason, so that a caller can count
        /// into an array of `DropReason::ALL.len()` counters by [`DropReason::index`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[doc = $doc])+ #[cfg_attr(feature = "serde", serde(rename = $name))] $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of [`DropReason::index`].
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// A stable name for logs and counters: lower case, with underscores.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What the reason means, in a sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii_start(),)+
                }
            }
        }
    };
}

drop_reasons! {
    /// The frame is shorter than its Ethernet header (14 bytes, 18 with a VLAN tag).
    Runt = "runt",
    /// The VLAN tag carries id 4095, which 802.1Q reserves.
    BadVlan = "bad_vlan",
    /// The destination is one of 01-80-C2-00-00-00 to -0F, which bridges do not forward.
    Reserved = "reserved",
    /// The destination is 01-80-C2-00-00-01 (PAUSE), which is never forwarded.
    Pause = "pause",
    /// The source is a group address.
    SourceGroup = "source_group",
    /// The source is 00-00-00-00-00-00.
    SourceZero = "source_zero",
    /// A leaf sent from an address that is protected (the server's own, a gateway's, one that is
    /// named) or reserved for another leaf.
    SourceProtected = "source_protected",
    /// A leaf sent from an address that lives at the root, on whatever VLAN.
    SourceAtRoot = "source_at_root",
    /// A strict leaf sent from an address that is not reserved for it.
    SourceNotListed = "source_not_listed",
    /// A leaf sent from an address that a static entry gives to another port.
    SourceStatic = "source_static",
    /// A leaf sent from an address of another leaf, which was heard of too recently for it to move.
    SourceHeld = "source_held",
    /// A leaf sent from an address that moved too often and is frozen where it is.
    SourceFrozen = "source_frozen",
    /// A leaf that has all the addresses it may have sent from one more.
    LeafLimit = "leaf_limit",
    /// A leaf sent from a new address while the whole table is full.
    TableFull = "table_full",
    /// A leaf sent to an address of another leaf.
    LeafToLeaf = "leaf_to_leaf",
    /// The destination is on the side the frame came from.
    Local = "local",
}

impl DropReason {
    /// The position of this reason in [`DropReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_position_in_all() {
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), position);
            assert_eq!(reason.to_string(), reason.as_str());
            let meaning = reason.meaning();
            assert!(meaning.ends_with('.') && !meaning.starts_with(' '), "{meaning}");
        }
    }

    #[test]
    fn names_differ() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
