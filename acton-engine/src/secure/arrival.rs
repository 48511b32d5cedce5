//! What either end does with a datagram that arrived, and with the frames in it.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use acton_frame::field::ethernet::TAG_LEN;
use acton_frame::{Headers, hide_tag};
use acton_proto::session::{Frame, Frames, Keys, OpenError};
use acton_proto::wire::{Caps, HEADER_LEN, Header};
use acton_tap::offload::{Tags, Trust};

use crate::capture::packet::{Direction, Who};
use crate::frames::ecn::{self, Unmarkable};
use crate::observe::counters::{Counter, Counters};
use crate::observe::tally::Tally;
use crate::run::side::Arrival;
use crate::run::tap_writer::TapSink;

const DATA: u8 = 0x14;
const CONTROL: u8 = 0x15;
const BUNDLE: u8 = 0x16;

/// Whether a datagram claims to carry frames: workers open those themselves.
pub(super) fn has_frames(datagram: &[u8]) -> bool {
    datagram.len() > HEADER_LEN && matches!(datagram[0], DATA | BUNDLE)
}

/// Whether a datagram claims to be sealed.
pub(super) fn is_sealed(datagram: &[u8]) -> bool {
    datagram.len() > HEADER_LEN && matches!(datagram[0], DATA | CONTROL | BUNDLE)
}

/// What is known of the checksum of a frame that was sealed by the peer, which says whether it is partial.
pub(super) fn trust(is_partial: bool) -> Trust {
    if is_partial { Trust::Partial } else { Trust::Verify }
}

/// Counts that frames came together.
pub(super) fn count_bundle(counters: &Counters, frames: &Frames<'_>) {
    if frames.len() > 1 {
        counters.add(Counter::Bundles, 1);
        counters.add(Counter::BundledFrames, frames.len() as u64);
    }
}

/// Writes a frame that was opened, from where it lies.
pub(super) fn deliver<'d>(frame: Frame<'d>, headers: &Headers, tap: &mut impl TapSink<'d>) {
    let trust = trust(frame.partial_checksum);
    match frame.into_bytes() {
        Cow::Borrowed(bytes) => tap.write(bytes, headers, Tags::NONE, trust),
        Cow::Owned(bytes) => tap.write_now(&bytes, headers, Tags::NONE, trust),
    }
}

/// Does as [`deliver`] with a frame that gets tags, in place of the one that it may have.
#[inline(never)]
pub(super) fn deliver_tagged<'d>(
    mut frame: Frame<'d>,
    headers: &Headers,
    tags: Tags,
    tap: &mut impl TapSink<'d>,
) {
    let (trust, mut headers, mut start) = (trust(frame.partial_checksum), *headers, 0);
    if headers.tags() > 0 {
        hide_tag(frame.bytes_mut());
        start = TAG_LEN;
        headers = Headers::parse(&frame.bytes()[start..]);
    }
    match frame.into_bytes() {
        Cow::Borrowed(bytes) => tap.write(&bytes[start..], &headers, tags, trust),
        Cow::Owned(bytes) => tap.write_now(&bytes[start..], &headers, tags, trust),
    }
}

/// Writes a frame that got the name of a circuit, with tags in place of the one that it may have.
#[cold]
pub(super) fn write_named<'d>(named: &mut [u8], tags: Tags, tap: &mut impl TapSink<'d>) {
    let mut start = 0;
    if !tags.is_empty() && Headers::parse(named).tags() > 0 {
        hide_tag(named);
        start = TAG_LEN;
    }
    let named = &named[start..];
    tap.write_now(named, &Headers::parse(named), tags, Trust::Verify);
}

/// Counts what a thread drops of one session: among all, and for the session.
#[derive(Clone, Copy)]
pub(super) struct Drops<'a> {
    pub(super) counters: &'a Counters,
    pub(super) tally: &'a Tally,
    pub(super) who: Who<'a>,
    pub(super) now: Duration,
}

impl Drops<'_> {
    pub(super) fn add(&self, reason: Counter, more: u64) {
        self.counters.add(reason, more);
        self.tally.add_drops(reason, more);
    }

    /// So many frames that go the same way, of which this is one.
    #[cold]
    pub(super) fn add_frames(
        &self,
        reason: Counter,
        more: u64,
        direction: Direction,
        frame: &[u8],
    ) {
        self.add(reason, more);
        self.counters.dropped().add_frame(self.now, direction, self.who, reason, frame);
    }

    /// A datagram of `len` bytes that came.
    #[cold]
    pub(super) fn add_datagram(
        &self,
        reason: Counter,
        arrival: &Arrival,
        header: &Header,
        len: usize,
    ) {
        self.add(reason, 1);
        let (dropped, path) = (self.counters.dropped(), arrival.path());
        dropped.add_datagram(self.now, path, reason, &header.encode(), len);
    }

    /// A datagram of `len` bytes that did not open.
    #[cold]
    pub(super) fn add_unopened(
        &self,
        error: OpenError,
        arrival: &Arrival,
        header: &Header,
        len: usize,
    ) {
        let reason = match error {
            OpenError::Forged => Counter::Forged,
            OpenError::Replayed => Counter::Replayed,
            _ => Counter::KeysExpired,
        };
        self.add_datagram(reason, arrival, header, len);
    }
}

/// Passes on to a frame what its datagram met on its way, or in the queue here. False where the frame must be dropped for
/// it, which is counted.
#[inline]
pub(super) fn pass_mark(
    arrival: &Arrival,
    keys: &Keys,
    frame: &mut Frame<'_>,
    headers: &Headers,
    drops: Drops<'_>,
) -> bool {
    if arrival.slows(frame.bytes()) {
        return mark(frame, headers, Counter::StandingQueue, drops);
    }
    let is_marked = arrival.ecn == ecn::CE && keys.setup().caps.contains(Caps::ECN);
    !is_marked || mark(frame, headers, Counter::EcnUnmarkable, drops)
}

/// Marks a frame, or drops it for `reason`; as of [`pass_mark`].
#[cold]
fn mark(frame: &mut Frame<'_>, headers: &Headers, reason: Counter, drops: Drops<'_>) -> bool {
    let marked = ecn::mark(headers, frame.bytes_mut());
    match marked {
        Ok(true) => drops.counters.add(Counter::EcnMarked, 1),
        Ok(false) => {}
        Err(Unmarkable) => {
            drops.add_frames(reason, 1, Direction::In, frame.bytes());
        }
    }
    marked.is_ok()
}

/// Whether a datagram was refused for its size.
pub(super) fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// A size as the protocol has it; no datagram is larger.
pub(super) fn datagram_size(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
