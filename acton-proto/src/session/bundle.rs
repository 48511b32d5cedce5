//! Several small frames in one datagram.
//!
//! ```text
//! (length 2 | frame)*, 2 to 64 of them, to the end of the plaintext
//! ```

use std::time::Duration;

use super::{Keys, SealError};
use crate::wire::{ENTRY_HEAD, Fragment, HEADER_LEN, Kind, MAX_BUNDLED, MIN_FRAME, TAG_LEN};

/// Frames that gather at the end of a buffer, to leave in one datagram: as DATA if there is one, as
/// BUNDLE if there are more.
#[derive(Debug)]
#[must_use = "what has gathered lies in the buffer unsealed"]
pub struct Bundle<'k> {
    keys: &'k Keys,
    partial_checksum: bool,
    /// Where the datagram begins in the buffer.
    start: usize,
    frames: u64,
}

impl<'k> Bundle<'k> {
    /// Begins with the frame that is `parts` one after the other, at the end of `out`: 14 bytes to
    /// [`Keys::max_whole`]. The checksums of all frames are partial, or none is.
    ///
    /// Until it is sealed, nothing but [`push`](Self::push) may change `out`.
    pub fn begin<const N: usize>(
        keys: &'k Keys,
        parts: [&[u8]; N],
        partial_checksum: bool,
        out: &mut Vec<u8>,
    ) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        parts.iter().for_each(|part| out.extend_from_slice(part));
        Self { keys, partial_checksum, start, frames: 1 }
    }

    /// Where the datagram begins in the buffer.
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start
    }

    /// The number of frames.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Adds one more frame of 14 bytes or more, `parts` one after the other, if the peer takes
    /// bundles and this one has room for it.
    ///
    /// # Panics
    /// If `out` is shorter than it was left.
    pub fn push<const N: usize>(
        &mut self,
        parts: [&[u8]; N],
        partial_checksum: bool,
        out: &mut Vec<u8>,
    ) -> bool {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let gathered = out.len() - self.start - HEADER_LEN;
        // The first frame gets its length only when there is a second.
        let head = if self.frames == 1 { 2 * ENTRY_HEAD } else { ENTRY_HEAD };
        if partial_checksum != self.partial_checksum
            || self.frames == MAX_BUNDLED as u64
            || gathered + head + len > self.keys.max_bundle()
        {
            return false;
        }
        if self.frames == 1 {
            let at = self.start + HEADER_LEN;
            out.extend_from_slice(&[0; ENTRY_HEAD]);
            out.copy_within(at..at + gathered, at + ENTRY_HEAD);
            out[at..at + ENTRY_HEAD].copy_from_slice(&entry_head(gathered));
        }
        out.extend_from_slice(&entry_head(len));
        parts.iter().for_each(|part| out.extend_from_slice(part));
        self.frames += 1;
        true
    }

    /// Seals the datagram under the next counter and gives its size in bytes.
    ///
    /// # Errors
    /// As of [`Keys::reserve`] and [`Reservation::seal`](super::Reservation::seal); `out` is as before
    /// the first frame then.
    ///
    /// # Panics
    /// If `out` is shorter than it was left.
    pub fn seal(self, now: Duration, out: &mut Vec<u8>) -> Result<usize, SealError> {
        let partial_checksum = self.partial_checksum;
        let kind = match self.frames {
            1 => Kind::Data { fragment: Fragment::WHOLE, partial_checksum },
            _ => Kind::Bundle { partial_checksum },
        };
        out.extend_from_slice(&[0; TAG_LEN]);
        let sealed = self
            .keys
            .reserve(now, 1)
            .and_then(|mut counter| counter.seal(kind, &mut out[self.start..]));
        match sealed {
            Ok(()) => Ok(out.len() - self.start),
            Err(error) => {
                out.truncate(self.start);
                Err(error)
            }
        }
    }
}

/// A frame's length, as an entry begins with it. A bundle is at most 65,507 bytes.
const fn entry_head(len: usize) -> [u8; ENTRY_HEAD] {
    (len as u16).to_be_bytes()
}

/// The frames of a bundle's plaintext.
#[derive(Debug)]
pub(super) struct Entries<'d> {
    rest: &'d mut [u8],
    frames: usize,
}

impl<'d> Entries<'d> {
    /// `None` unless `plaintext` is two frames to [`MAX_BUNDLED`] and nothing else.
    pub(super) fn new(plaintext: &'d mut [u8]) -> Option<Self> {
        let (mut rest, mut frames) = (&*plaintext, 0);
        while !rest.is_empty() {
            let (head, behind) = rest.split_first_chunk::<ENTRY_HEAD>()?;
            let len = usize::from(u16::from_be_bytes(*head));
            if len < MIN_FRAME {
                return None;
            }
            rest = behind.get(len..)?;
            frames += 1;
        }
        (2..=MAX_BUNDLED).contains(&frames).then_some(Self { rest: plaintext, frames })
    }

    /// Frames that are left.
    pub(super) const fn len(&self) -> usize {
        self.frames
    }
}

impl<'d> Iterator for Entries<'d> {
    type Item = &'d mut [u8];

    fn next(&mut self) -> Option<&'d mut [u8]> {
        let (head, behind) =
            std::mem::take(&mut self.rest).split_first_chunk_mut::<ENTRY_HEAD>()?;
        let (frame, rest) = behind.split_at_mut_checked(u16::from_be_bytes(*head).into())?;
        self.rest = rest;
        self.frames -= 1;
        Some(frame)
    }
}
