//! What an opened datagram carries.

use std::borrow::Cow;

use super::bundle::Entries;

/// A datagram that was opened, with what is in it.
#[derive(Debug)]
pub struct Received<'d> {
    /// Whether no datagram with a higher counter came before: only such a one may move a session
    /// to another address.
    pub newest: bool,
    /// Whether it is the first ever under these keys, which confirms them.
    pub first: bool,
    /// What it carries.
    pub content: Content<'d>,
}

/// What a datagram carries.
#[derive(Debug)]
pub enum Content<'d> {
    /// Frames, at least one.
    Frames(Frames<'d>),
    /// A piece of a frame, not the last one missing.
    Piece,
    /// A piece that does not fit the others of its frame, which is dropped.
    BadPiece,
    /// What the peer should not have sent: a frame shorter than 14 bytes, or longer than agreed, or
    /// with a capability that was not; entries of a bundle that do not fill it.
    Bad,
    /// A control message.
    Control(&'d [u8]),
}

impl<'d> Content<'d> {
    /// The frames, if there are any.
    #[must_use]
    pub fn into_frames(self) -> Frames<'d> {
        match self {
            Self::Frames(frames) => frames,
            _ => Frames::default(),
        }
    }
}

/// An Ethernet frame from the peer.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'d> {
    bytes: Bytes<'d>,
    /// The TCP or UDP checksum in it holds the pseudo-header's sum only.
    pub partial_checksum: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Bytes<'d> {
    InPlace(&'d mut [u8]),
    Reassembled(Vec<u8>),
}

impl<'d> Frame<'d> {
    /// The frame's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::InPlace(bytes) => bytes,
            Bytes::Reassembled(bytes) => bytes,
        }
    }

    /// The same to be changed, as by a mark that the datagram got on its way.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::InPlace(bytes) => bytes,
            Bytes::Reassembled(bytes) => bytes,
        }
    }

    /// The bytes where they lie: in the datagram that was opened, or in a vector of their own if
    /// the frame came in pieces.
    #[must_use]
    pub fn into_bytes(self) -> Cow<'d, [u8]> {
        match self.bytes {
            Bytes::InPlace(bytes) => Cow::Borrowed(bytes),
            Bytes::Reassembled(bytes) => Cow::Owned(bytes),
        }
    }
}

/// The frames of one datagram, in their order.
#[derive(Debug, Default)]
pub struct Frames<'d> {
    left: Left<'d>,
    partial_checksum: bool,
}

#[derive(Debug, Default)]
enum Left<'d> {
    #[default]
    Nothing,
    One(Bytes<'d>),
    Bundle(Entries<'d>),
}

impl<'d> Frames<'d> {
    pub(super) const fn in_place(frame: &'d mut [u8], partial_checksum: bool) -> Self {
        Self { left: Left::One(Bytes::InPlace(frame)), partial_checksum }
    }

    pub(super) const fn reassembled(frame: Vec<u8>, partial_checksum: bool) -> Self {
        Self { left: Left::One(Bytes::Reassembled(frame)), partial_checksum }
    }

    pub(super) const fn bundle(entries: Entries<'d>, partial_checksum: bool) -> Self {
        Self { left: Left::Bundle(entries), partial_checksum }
    }
}

impl<'d> Iterator for Frames<'d> {
    type Item = Frame<'d>;

    fn next(&mut self) -> Option<Frame<'d>> {
        let bytes = match &mut self.left {
            Left::Bundle(entries) => Bytes::InPlace(entries.next()?),
            left => match std::mem::take(left) {
                Left::One(bytes) => bytes,
                _ => return None,
            },
        };
        Some(Frame { bytes, partial_checksum: self.partial_checksum })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.left {
            Left::Nothing => 0,
            Left::One(_) => 1,
            Left::Bundle(entries) => entries.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Frames<'_> {}
