//! VLAN tags that a frame gets, and loses, on its way.

use std::fmt;

use crate::field::ethernet::{ADDRESSES_LEN, C_TAG, S_TAG, TAG_LEN, VLAN_ID};
use crate::headers::Headers;

/// Bytes of the addresses and one tag.
const TAGGED_LEN: usize = ADDRESSES_LEN + TAG_LEN;

/// A VLAN tag: its kind, and the word behind that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The EtherType that says what tag it is: 0x8100 or 0x88a8.
    pub tpid: u16,
    /// Priority (3 bits), drop eligibility (1 bit) and VLAN id (12 bits).
    pub tci: u16,
}

/// Up to two VLAN tags, the outer one first, to stand behind the addresses of a frame.
///
/// ```
/// use acton_frame::{Tag, Tags};
///
/// let outer = Tag { tpid: 0x88a8, tci: 1_000 };
/// let inner = Tag { tpid: 0x8100, tci: 17 };
/// assert_eq!(Tags::two(outer, inner).bytes().as_slice(), [0x88, 0xa8, 3, 0xe8, 0x81, 0, 0, 17]);
/// assert_eq!(Tags::one(inner).len(), 4);
/// assert!(Tags::NONE.is_empty());
/// ```
// One word, for each received frame has one: the bytes of the tags are its last ones. A tag is never all
// zeroes, so how large the word is tells how many there are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tags(u64);

/// The bytes of [`Tags`].
#[derive(Debug, Clone, Copy)]
pub struct TagBytes {
    bytes: [u8; 2 * TAG_LEN],
    start: usize,
}

impl Tag {
    /// Its VLAN id, 0 to 4095; 0 for a priority tag.
    #[inline]
    pub const fn vlan(self) -> u16 {
        self.tci & VLAN_ID
    }

    /// Its priority and drop eligibility, where they stand in the second word.
    #[inline]
    pub const fn priority(self) -> u16 {
        self.tci & !VLAN_ID
    }

    /// The tag at `index`, 0 or 1, from outside; `None` where `frame`, which has these headers, has none
    /// there.
    #[inline]
    pub fn of(headers: &Headers, frame: &[u8], index: usize) -> Option<Self> {
        if index >= headers.tags() {
            return None;
        }
        let [t0, t1, v0, v1] = *frame.get(ADDRESSES_LEN + index * TAG_LEN..)?.first_chunk()?;
        let (tpid, tci) = (u16::from_be_bytes([t0, t1]), u16::from_be_bytes([v0, v1]));
        Some(Self { tpid, tci })
    }

    const fn word(self) -> u64 {
        (self.tpid as u64) << 16 | self.tci as u64
    }
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self(0);
    /// Bytes of two tags.
    pub const MAX_LEN: usize = 2 * TAG_LEN;

    /// One tag; its kind is not 0.
    #[must_use]
    pub const fn one(tag: Tag) -> Self {
        Self(tag.word())
    }

    /// Two tags; the kind of the outer one is not 0.
    #[must_use]
    pub const fn two(outer: Tag, inner: Tag) -> Self {
        Self(outer.word() << 32 | inner.word())
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Bytes of them: 0, 4 or 8.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        match self.0 {
            0 => 0,
            0x1_0000_0000.. => Self::MAX_LEN,
            _ => TAG_LEN,
        }
    }

    /// Their bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> TagBytes {
        TagBytes { bytes: self.0.to_be_bytes(), start: Self::MAX_LEN - self.len() }
    }

    /// `frame` with them; without room for two addresses, `frame` as it is.
    #[must_use]
    pub fn in_front_of(self, frame: &[u8]) -> Vec<u8> {
        match frame.split_at_checked(ADDRESSES_LEN) {
            Some((addresses, rest)) => [addresses, self.bytes().as_slice(), rest].concat(),
            None => frame.to_vec(),
        }
    }
}

impl TagBytes {
    /// The bytes, as they stand in a frame.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tags({:02x?})", self.bytes().as_slice())
    }
}

/// Moves the addresses of a frame behind its first tag, in place, so that the frame without that tag
/// begins 4 bytes later; the tag stands in front of it. Without effect on less than 16 bytes.
#[inline]
pub fn hide_tag(frame: &mut [u8]) {
    if let Some(head) = frame.first_chunk_mut::<TAGGED_LEN>() {
        head.rotate_right(TAG_LEN);
    }
}

/// Undoes [`hide_tag`]: `frame` begins with the tag, then come addresses.
#[inline]
pub fn show_tag(frame: &mut [u8]) {
    if let Some(head) = frame.first_chunk_mut::<TAGGED_LEN>() {
        head.rotate_left(TAG_LEN);
    }
}

/// Whether an EtherType says that a VLAN tag follows.
#[inline]
pub(crate) fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, C_TAG | S_TAG)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_tag() -> impl Strategy<Value = Tag> {
        (prop_oneof![Just(C_TAG), Just(S_TAG)], any::<u16>())
            .prop_map(|(tpid, tci)| Tag { tpid, tci })
    }

    fn any_tags() -> impl Strategy<Value = Vec<Tag>> {
        prop::collection::vec(any_tag(), 0..=2)
    }

    fn tags(all: &[Tag]) -> Tags {
        match *all {
            [] => Tags::NONE,
            [one] => Tags::one(one),
            [outer, inner, ..] => Tags::two(outer, inner),
        }
    }

    proptest! {
        #[test]
        fn what_is_put_in_is_found_and_taken_out_again(
            all in any_tags(),
            addresses in any::<[u8; ADDRESSES_LEN]>(),
            rest in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let frame = [&addresses[..], &[8, 0], &rest].concat();
            let mut tagged = tags(&all).in_front_of(&frame);
            prop_assert_eq!(tagged.len(), frame.len() + tags(&all).len());
            let headers = Headers::parse(&tagged);
            prop_assert_eq!(headers.tags(), all.len());
            for index in 0..3 {
                prop_assert_eq!(Tag::of(&headers, &tagged, index), all.get(index).copied());
            }
            let whole = tagged.clone();
            for taken in 0..all.len() {
                hide_tag(&mut tagged[taken * TAG_LEN..]);
            }
            prop_assert_eq!(&tagged[all.len() * TAG_LEN..], &frame[..]);
            for taken in (0..all.len()).rev() {
                show_tag(&mut tagged[taken * TAG_LEN..]);
            }
            prop_assert_eq!(tagged, whole);
        }

        #[test]
        fn whatever_comes_has_its_tags_looked_at(frame in prop::collection::vec(any::<u8>(), 0..40)) {
            let headers = Headers::parse(&frame);
            for index in 0..3 {
                let tag = Tag::of(&headers, &frame, index);
                prop_assert!(tag.is_none() || index < headers.tags());
            }
            let (mut moved, len) = (frame.clone(), frame.len());
            hide_tag(&mut moved);
            show_tag(&mut moved);
            prop_assert_eq!((&moved, moved.len()), (&frame, len));
        }
    }

    #[test]
    fn a_tag_without_priority_and_id_counts_too() {
        let zero = Tag { tpid: C_TAG, tci: 0 };
        assert_eq!((Tags::one(zero).len(), Tags::two(zero, zero).len()), (4, 8));
        assert_eq!(Tag { tpid: C_TAG, tci: 0xb064 }.vlan(), 0x64);
        assert_eq!(Tag { tpid: C_TAG, tci: 0xb064 }.priority(), 0xb000);
    }
}
