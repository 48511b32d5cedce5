//! A worker's way out to the TAP.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use acton_frame::Headers;
use acton_tap::offload::{Batch, Member, SuperFrame, Tags, Trust, partial_checksum_parsed};
use acton_tap::{Checksum, Queue, VnetHeader};

use crate::capture::packet::{Direction, Who};
use crate::observe::counters::{Counter, Counters};
use crate::run::side::Arrival;

/// A worker's way out to the TAP.
pub(crate) trait TapSink<'f> {
    /// Hears of a datagram before it is looked at.
    #[inline]
    fn hear_datagram(&mut self, _arrival: &Arrival, _datagram: &[u8]) {}

    /// Hears, at a server, whose frames are written from now on.
    #[inline]
    fn hear_client(&mut self, _name: &Arc<str>) {}

    /// Has one frame written, joined to others where the kernel takes that, with tags behind its
    /// addresses.
    fn write(&mut self, frame: &'f [u8], headers: &Headers, tags: Tags, trust: Trust);

    /// Writes a frame that does not stay, after all that came before it.
    fn write_now(&mut self, frame: &[u8], headers: &Headers, tags: Tags, trust: Trust);
}

/// Writes super-frames and frames to a TAP, and counts.
pub(crate) struct TapWriter<'a> {
    queue: &'a Queue,
    counters: &'a Counters,
    now: Duration,
    gone: Option<io::Error>,
    /// Whether the kernel refused a super-frame.
    refused: bool,
}

impl<'a> TapWriter<'a> {
    pub(crate) fn new(queue: &'a Queue, counters: &'a Counters, now: Duration) -> Self {
        Self { queue, counters, now, gone: None, refused: false }
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
                joined.members().for_each(|member| self.write_member(&member));
            }
            Err(error) => self.fail(error, joined.members().map(|member| member.frame)),
        }
    }

    #[cold]
    fn write_member(&mut self, Member { header, tags, frame }: &Member<'_>) {
        if tags.is_empty() {
            self.write_with(header, frame);
        } else {
            self.write_with(header, &tags.in_front_of(frame));
        }
    }

    /// Writes one frame.
    pub(crate) fn write_one(&mut self, frame: &[u8], headers: &Headers, trust: Trust) {
        let checksum = match trust {
            Trust::Partial => match partial_checksum_parsed(headers) {
                Some(checksum) => checksum,
                None => return drop_unvouched(self.counters, self.now, frame),
            },
            _ => Checksum::Unverified,
        };
        self.write_with(&VnetHeader { checksum, ..VnetHeader::default() }, frame);
    }

    fn write_with(&mut self, header: &VnetHeader, frame: &[u8]) {
        match self.queue.send_vectored(&[IoSlice::new(&header.encode()), IoSlice::new(frame)]) {
            Ok(_) => self.count(1, frame.len()),
            Err(error) => self.fail(error, [frame]),
        }
    }

    fn count(&self, frames: usize, bytes: usize) {
        self.counters.add(Counter::TapWrites, 1);
        self.counters.add(Counter::TapWritten, frames as u64);
        self.counters.add(Counter::TapWrittenBytes, bytes as u64);
    }

    fn fail<'f>(&mut self, error: io::Error, frames: impl IntoIterator<Item = &'f [u8]>) {
        let reason = match error.raw_os_error() {
            Some(libc::EBADFD) => {
                self.gone = Some(error);
                return;
            }
            Some(libc::EIO) => Counter::TapDown,
            _ => Counter::TapRefused,
        };
        for frame in frames {
            self.counters.add(reason, 1);
            self.counters.dropped().add_frame(self.now, Direction::In, Who::Tap, reason, frame);
        }
    }
}

/// Counts a frame whose checksum is said to be partial, and which has none.
#[cold]
fn drop_unvouched(counters: &Counters, now: Duration, frame: &[u8]) {
    counters.add(Counter::NoChecksum, 1);
    counters.dropped().add_frame(now, Direction::In, Who::Tap, Counter::NoChecksum, frame);
}

/// A batch of frames on their way to the TAP by way of a coalescer.
pub(crate) struct Joining<'c, 'f, S: FnMut(&SuperFrame<'_>)> {
    batch: Batch<'c, 'f, S>,
    counters: &'c Counters,
    now: Duration,
}

impl<'c, 'f, S: FnMut(&SuperFrame<'_>)> Joining<'c, 'f, S> {
    pub(crate) fn new(batch: Batch<'c, 'f, S>, counters: &'c Counters, now: Duration) -> Self {
        Self { batch, counters, now }
    }
}

impl<'f, S: FnMut(&SuperFrame<'_>)> TapSink<'f> for Joining<'_, 'f, S> {
    // Always in its caller's code: there are two, one of which captures, so that the compiler would
    // make a call of it, and 30 instructions more.
    #[inline(always)]
    fn write(&mut self, frame: &'f [u8], headers: &Headers, tags: Tags, trust: Trust) {
        if self.batch.push_tagged(frame, headers, tags, trust).is_err() {
            drop_unvouched(self.counters, self.now, frame);
        }
    }

    fn write_now(&mut self, frame: &[u8], headers: &Headers, tags: Tags, trust: Trust) {
        if self.batch.pass_tagged(frame, headers, tags, trust).is_err() {
            drop_unvouched(self.counters, self.now, frame);
        }
    }
}
