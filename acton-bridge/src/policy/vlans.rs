//! The VLANs that a leaf is in, and who tags its frames.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use acton_frame::field::ethernet::{C_TAG, S_TAG};
use acton_frame::{Headers, Tag, Tags};

/// The last VLAN id that a frame may bear: 4095 is reserved (IEEE 802.1Q, table 9-2).
const LAST: u16 = 4_094;

/// The VLANs of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Vlans {
    /// The leaf's frames have no tag; at the root they are in this VLAN (802.1Q).
    Access(VlanId),
    /// The leaf's frames have no tag; at the root they have two, which no other leaf's have.
    Pair(TagPair),
    /// Frames are the same on both sides, and of these VLANs alone.
    Tagged(VlanSet),
}

/// The id of a VLAN, 1 to 4094.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u16", into = "u16"))]
pub struct VlanId(NonZeroU16);

/// Two tags (IEEE 802.1ad, "QinQ"): the outer one, and an inner one of 802.1Q.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TagPair {
    /// The VLAN of the outer tag.
    pub outer: VlanId,
    /// The VLAN of the inner tag.
    pub inner: VlanId,
    /// The kind of the outer tag.
    pub tpid: OuterTag,
}

/// The kind of an outer tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum OuterTag {
    /// That of 802.1ad, 0x88a8.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "802.1ad"))]
    Service,
    /// That of 802.1Q, 0x8100.
    #[cfg_attr(feature = "serde", serde(rename = "802.1Q"))]
    Customer,
}

/// Some VLANs, each as a range; 0 stands for frames without a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct VlanSet(Vec<VlanRange>);

/// VLANs from the first to the last, 0 to 4094; as text `100`, or `200-210`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VlanRange {
    first: u16,
    last: u16,
}

/// Why a text or a number names no VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no VLAN: ids are 1 to 4094, and a range is written \"200-210\"")]
pub struct VlanError;

/// The VLAN that a frame is in to those who go by tags of 802.1Q: what all clients are asked about that a
/// flood may go to, so a word that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameVlan(u16);

/// A [`FrameVlan`] of a frame that has another tag behind that of its VLAN.
const MORE: u16 = 0x8000;

/// What is done to a frame for a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForLeaf {
    /// Nothing.
    AsItIs,
    /// So many tags are taken off, from outside.
    Untagged(u8),
}

/// What the root's side makes of a frame of a leaf's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtRoot {
    /// The VLAN that it is in there, 0 for none.
    pub vlan: u16,
    /// The tags that it gets; in place of its own one, where it has one, which names no VLAN.
    pub tags: Tags,
}

impl FrameVlan {
    /// Frames without a tag, and those whose tag names no VLAN.
    pub const NONE: Self = Self(0);
    /// Frames whose outer tag is not of 802.1Q, and those with a tag behind one that names no VLAN.
    const FOREIGN: Self = Self(u16::MAX);

    /// That of a frame with these headers.
    #[inline]
    #[must_use]
    pub fn of(headers: &Headers, frame: &[u8]) -> Self {
        let Some(tag) = Tag::of(headers, frame, 0) else { return Self::NONE };
        let has_more = headers.tags() > 1;
        match (tag.tpid, tag.vlan()) {
            (C_TAG, 0) if !has_more => Self::NONE,
            (C_TAG, vlan @ 1..) => Self(vlan | if has_more { MORE } else { 0 }),
            _ => Self::FOREIGN,
        }
    }

    /// The id of the VLAN, 0 for none; `None` where the tags are not of 802.1Q.
    #[inline]
    #[must_use]
    pub fn id(self) -> Option<u16> {
        Some(self.0 & !MORE).filter(|_| self != Self::FOREIGN)
    }

    /// Whether there is another tag behind that of the VLAN.
    #[inline]
    #[must_use]
    pub fn has_more(self) -> bool {
        self.0 & MORE != 0
    }
}

impl Vlans {
    /// Whether a leaf's frames get tags.
    #[inline]
    #[must_use]
    pub fn is_untagged(&self) -> bool {
        !matches!(self, Self::Tagged(_))
    }

    /// The tags that are one leaf's alone.
    #[must_use]
    pub fn pair(&self) -> Option<TagPair> {
        match self {
            Self::Pair(pair) => Some(*pair),
            _ => None,
        }
    }

    /// What the root's side makes of a frame of the leaf's with these headers; `None` if the leaf may not
    /// send it.
    #[must_use]
    pub fn at_root(&self, headers: &Headers, frame: &[u8]) -> Option<AtRoot> {
        let priority = || match Tag::of(headers, frame, 0) {
            None => (headers.tags() == 0).then_some(0),
            Some(tag) => {
                let names_none = headers.tags() == 1 && (tag.tpid, tag.vlan()) == (C_TAG, 0);
                names_none.then(|| tag.priority())
            }
        };
        match self {
            Self::Access(vlan) => Some(AtRoot {
                vlan: vlan.get(),
                tags: Tags::one(Tag { tpid: C_TAG, tci: priority()? | vlan.get() }),
            }),
            Self::Pair(TagPair { outer, inner, tpid }) => {
                let priority = priority()?;
                let outer_tag = Tag { tpid: tpid.number(), tci: priority | outer.get() };
                let inner_tag = Tag { tpid: C_TAG, tci: priority | inner.get() };
                Some(AtRoot { vlan: outer.get(), tags: Tags::two(outer_tag, inner_tag) })
            }
            Self::Tagged(set) => {
                let vlan = headers.ethernet().map_or(0, acton_frame::Ethernet::vlan);
                let is_in = set.has(FrameVlan::of(headers, frame));
                is_in.then_some(AtRoot { vlan, tags: Tags::NONE })
            }
        }
    }

    /// What is done to a frame of the root's side with these headers for the leaf; `None` if it is not
    /// for it.
    #[must_use]
    pub fn for_leaf(&self, headers: &Headers, frame: &[u8]) -> Option<ForLeaf> {
        let Self::Pair(pair) = self else { return self.of_flood(FrameVlan::of(headers, frame)) };
        let is_right = |index, tpid, vlan: VlanId| {
            let tag = Tag::of(headers, frame, index);
            tag.is_some_and(|tag| (tag.tpid, tag.vlan()) == (tpid, vlan.get()))
        };
        let is_its = is_right(0, pair.tpid.number(), pair.outer)
            && is_right(1, C_TAG, pair.inner)
            && !matches!(headers.ethertype(), Some(C_TAG | S_TAG));
        is_its.then_some(ForLeaf::Untagged(2))
    }

    /// What is done to a frame of that VLAN that is for everybody; `None` if it is not for the leaf. A
    /// frame with a leaf's own pair of tags is for it alone, and so never for everybody.
    #[inline]
    #[must_use]
    pub fn of_flood(&self, vlan: FrameVlan) -> Option<ForLeaf> {
        match self {
            Self::Access(own) => (own.get() == vlan.0).then_some(ForLeaf::Untagged(1)),
            Self::Pair(_) => None,
            Self::Tagged(set) => set.has(vlan).then_some(ForLeaf::AsItIs),
        }
    }

    /// The VLAN of the tag with which the leaf sees what is for everybody on a VLAN of the root's, 0 for no
    /// tag; `None` if it is not in that VLAN.
    #[must_use]
    pub fn at_leaf(&self, vlan: u16) -> Option<u16> {
        match self.of_flood(FrameVlan(vlan))? {
            ForLeaf::AsItIs => Some(vlan),
            ForLeaf::Untagged(_) => Some(0),
        }
    }

    /// Where frames that have no tag at the leaf are at the root: the outer and the inner VLAN, 0 for
    /// none; `None` if the leaf has no such frames.
    #[must_use]
    pub fn place_of_untagged(&self) -> Option<(u16, u16)> {
        match self {
            Self::Access(vlan) => Some((vlan.get(), 0)),
            Self::Pair(TagPair { outer, inner, .. }) => Some((outer.get(), inner.get())),
            Self::Tagged(set) => set.has(FrameVlan::NONE).then_some((0, 0)),
        }
    }
}

impl VlanId {
    /// The id with that number.
    ///
    /// # Errors
    /// It is not from 1 to 4094.
    pub fn new(number: u16) -> Result<Self, VlanError> {
        NonZeroU16::new(number).filter(|id| id.get() <= LAST).map(Self).ok_or(VlanError)
    }

    /// Its number.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl OuterTag {
    /// The EtherType by which it is known.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Service => S_TAG,
            Self::Customer => C_TAG,
        }
    }
}

impl VlanSet {
    /// The VLANs of these ranges; `None` of no range.
    #[must_use]
    pub fn new(mut ranges: Vec<VlanRange>) -> Option<Self> {
        ranges.sort_unstable();
        ranges.dedup();
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// Its ranges, in order.
    #[must_use]
    pub fn ranges(&self) -> &[VlanRange] {
        &self.0
    }

    /// Whether a frame of that VLAN is in one of them.
    #[inline]
    #[must_use]
    pub fn has(&self, vlan: FrameVlan) -> bool {
        vlan.id()
            .is_some_and(|id| self.0.iter().any(|range| (range.first..=range.last).contains(&id)))
    }
}

impl VlanRange {
    /// From `first` to `last`.
    ///
    /// # Errors
    /// One of them is above 4094, or the first above the last.
    pub fn new(first: u16, last: u16) -> Result<Self, VlanError> {
        if first <= last && last <= LAST { Ok(Self { first, last }) } else { Err(VlanError) }
    }

    /// The first of them.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last of them.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }
}

impl TryFrom<u16> for VlanId {
    type Error = VlanError;

    fn try_from(number: u16) -> Result<Self, VlanError> {
        Self::new(number)
    }
}

impl From<VlanId> for u16 {
    fn from(id: VlanId) -> Self {
        id.get()
    }
}

/// In decimal digits alone.
fn number(text: &str) -> Result<u16, VlanError> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain).ok_or(VlanError)
}

impl FromStr for VlanId {
    type Err = VlanError;

    fn from_str(text: &str) -> Result<Self, VlanError> {
        Self::new(number(text)?)
    }
}

impl FromStr for VlanRange {
    type Err = VlanError;

    fn from_str(text: &str) -> Result<Self, VlanError> {
        match text.split_once('-') {
            Some((first, last)) => Self::new(number(first)?, number(last)?),
            None => number(text).and_then(|one| Self::new(one, one)),
        }
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for VlanRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(formatter, "{first}")
        } else {
            write!(formatter, "{first}-{last}")
        }
    }
}

/// The two ids, as `1000.17`.
impl fmt::Display for TagPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.outer, self.inner)
    }
}

impl fmt::Display for OuterTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Service => "802.1ad",
            Self::Customer => "802.1Q",
        })
    }
}

/// What is said of it in a status.
impl fmt::Display for Vlans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(vlan) => write!(formatter, "{vlan}, untagged at the client"),
            Self::Pair(pair) => {
                write!(formatter, "{pair} ({} outside), untagged at the client", pair.tpid)
            }
            Self::Tagged(set) => {
                let mut separator = "";
                for range in set.ranges() {
                    let untagged = if range.first == 0 { " (untagged)" } else { "" };
                    write!(formatter, "{separator}{range}{untagged}")?;
                    separator = ", ";
                }
                formatter.write_str(" alone")
            }
        }
    }
}

#[cfg(feature = "serde")]
crate::as_text::as_text!(VlanRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_ranges_are_read_and_written() {
        for (text, range) in
            [("0", (0, 0)), ("100", (100, 100)), ("200-210", (200, 210)), ("0-4094", (0, 4_094))]
        {
            let read: VlanRange = text.parse().unwrap();
            assert_eq!((read.first, read.last), range);
            assert_eq!(read.to_string(), text);
        }
        for text in
            ["", "-", "1-", "-1", "+1", " 1", "2-1", "4095", "1-4095", "65537", "1-2-3", "a"]
        {
            assert_eq!(text.parse::<VlanRange>(), Err(VlanError), "{text}");
        }
        for text in ["0", "4095", "", "1.2"] {
            assert_eq!(text.parse::<VlanId>(), Err(VlanError), "{text}");
        }
        assert_eq!("4094".parse::<VlanId>().unwrap().get(), 4_094);
    }

    #[test]
    fn what_is_said_of_it() {
        let id = |number| VlanId::new(number).unwrap();
        let pair = TagPair { outer: id(1_000), inner: id(17), tpid: OuterTag::Service };
        let set = VlanSet::new(vec!["200-210".parse().unwrap(), "0".parse().unwrap()]).unwrap();
        for (vlans, said) in [
            (Vlans::Access(id(100)), "100, untagged at the client"),
            (Vlans::Pair(pair), "1000.17 (802.1ad outside), untagged at the client"),
            (Vlans::Tagged(set), "0 (untagged), 200-210 alone"),
        ] {
            assert_eq!(vlans.to_string(), said);
        }
    }
}
