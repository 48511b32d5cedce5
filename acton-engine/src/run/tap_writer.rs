//! A worker's way out to the TAP.

use std::io::{self, IoSlice};

use acton_frame::Headers;
use acton_tap::offload::{Batch, SuperFrame, Trust, partial_checksum_parsed};
use acton_tap::{Checksum, Queue, VnetHeader};

use crate::observe::counters::{Counter, Counters};

/// A worker's way out to the TAP.
pub(crate) trait TapSink<'f> {
    /// Has one frame written, joined to others where the kernel takes that.
    fn write(&mut self, frame: &'f [u8], headers: &Headers, trust: Trust);

    /// Writes a frame that does not stay, after all that came before it.
    fn write_now(&mut self, frame: &[u8], headers: &Headers, trust: Trust);
}

/// Writes super-frames and frames to a TAP, and counts.
pub(crate) struct TapWriter<'a> {
    queue: &'a Queue,
    counters: &'a Counters,
    gone: Option<io::Error>,
    /// Whether the kernel refused a super-frame.
    refused: bool,
}

impl<'a> TapWriter<'a> {
    pub(crate) fn new(queue: &'a Queue, counters: &'a Counters) -> Self {
        Self { queue, counters, gone: None, refused: false }
    }

    /// Why the TAP is gone, if it is, and whether the kernel refused a super-frame.
    pub(crate) fn end(self) -> (Option<io::Error>, bool) {
        (self.gone, self.refused)
    }

    /// Writes what the coalescer made.
    pub(crate) fn write_joined(&mut self, joined: &SuperFrame<'_>) {
        match self.queue.send_vectored(joined.pieces()) {
            Ok(bytes) => self.count(joined.frames(), bytes - VnetHeader::LEN),
            // A kernel that takes no super-frame of this kind gets its frames.
            Err(error) if joined.frames() > 1 && error.raw_os_error() == Some(libc::EINVAL) => {
                self.refused = true;
                self.counters.add(Counter::SuperFrameRefused, 1);
                joined.members().for_each(|(header, frame)| self.write_with(&header, frame));
            }
            Err(error) => self.fail(error, joined.frames()),
        }
    }

    /// Writes one frame.
    pub(crate) fn write_one(&mut self, frame: &[u8], headers: &Headers, trust: Trust) {
        let checksum = match trust {
            Trust::Partial => match partial_checksum_parsed(headers) {
                Some(checksum) => checksum,
                None => return self.counters.add(Counter::NoChecksum, 1),
            },
            _ => Checksum::Unverified,
        };
        self.write_with(&VnetHeader { checksum, ..VnetHeader::default() }, frame);
    }

    fn write_with(&mut self, header: &VnetHeader, frame: &[u8]) {
        match self.queue.send_vectored(&[IoSlice::new(&header.encode()), IoSlice::new(frame)]) {
            Ok(_) => self.count(1, frame.len()),
            Err(error) => self.fail(error, 1),
        }
    }

    fn count(&self, frames: usize, bytes: usize) {
        self.counters.add(Counter::TapWrites, 1);
        self.counters.add(Counter::TapWritten, frames as u64);
        self.counters.add(Counter::TapWrittenBytes, bytes as u64);
    }

    fn fail(&mut self, error: io::Error, frames: usize) {
        match error.raw_os_error() {
            Some(libc::EBADFD) => self.gone = Some(error),
            Some(libc::EIO) => self.counters.add(Counter::TapDown, frames as u64),
            _ => self.counters.add(Counter::TapRefused, frames as u64),
        }
    }
}

/// A batch of frames on their way to the TAP by way of a coalescer.
pub(crate) struct Joining<'c, 'f, S: FnMut(&SuperFrame<'_>)> {
    batch: Batch<'c, 'f, S>,
    counters: &'c Counters,
}

impl<'c, 'f, S: FnMut(&SuperFrame<'_>)> Joining<'c, 'f, S> {
    pub(crate) fn new(batch: Batch<'c, 'f, S>, counters: &'c Counters) -> Self {
        Self { batch, counters }
    }
}

impl<'f, S: FnMut(&SuperFrame<'_>)> TapSink<'f> for Joining<'_, 'f, S> {
    fn write(&mut self, frame: &'f [u8], headers: &Headers, trust: Trust) {
        if self.batch.push_parsed(frame, headers, trust).is_err() {
            self.counters.add(Counter::NoChecksum, 1);
        }
    }

    fn write_now(&mut self, frame: &[u8], headers: &Headers, trust: Trust) {
        if self.batch.pass_parsed(frame, headers, trust).is_err() {
            self.counters.add(Counter::NoChecksum, 1);
        }
    }
}
