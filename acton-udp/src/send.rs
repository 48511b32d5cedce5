//! Filling a batch: as many datagrams as can be in one message, as many messages as can be in one
//! call.

mod flush;

use std::ptr;

use crate::destination::Destination;
use crate::limits::{MAX_PARTS, MAX_PAYLOAD, SEGMENTS};
use crate::socket::UdpSocket;
use crate::sys::send::{Messages, SendArena};

/// Messages a call takes at most.
const MESSAGES: usize = 64;
/// Parts of datagrams that a batch holds at most: two to each segment of a full message is 128.
const PARTS: usize = 2_048;

/// What became of datagrams handed to a [`SendBatch`]; it only adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendCounts {
    /// Datagrams the kernel took.
    pub sent: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
    /// Messages they were in: fewer than datagrams where the kernel segments.
    pub messages: u64,
    /// System calls made to send them, those that failed included.
    pub calls: u64,
    /// Dropped: the send buffer or a queue on the way out stayed full.
    pub full: u64,
    /// Dropped: larger than the path or UDP carries ([`SendBuffer::refused`]).
    pub too_large: u64,
    /// Dropped: no route, refused by a local rule, or an error that came again and again.
    pub unreachable: u64,
    /// Messages whose segmentation the kernel refused and that went out datagram by datagram.
    pub cut: u64,
}

/// Memory for outgoing batches, allocated once: headers alone, of up to 64 messages a call; the
/// payload stays where it is.
pub struct SendBuffer {
    arena: SendArena,
    /// See [`refused`](Self::refused).
    refused: Vec<(u32, usize)>,
}

impl Default for SendBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl SendBuffer {
    /// Buffers that are empty.
    #[must_use]
    pub fn new() -> Self {
        Self { arena: SendArena::new(MESSAGES, PARTS), refused: Vec::new() }
    }

    /// The destinations ([`tag`](Destination::tagged)) and lengths in bytes of datagrams that the
    /// system called too large since this was last asked; the first 64 of them.
    pub fn refused(&mut self) -> impl Iterator<Item = (u32, usize)> {
        self.refused.drain(..)
    }

    /// Starts a batch on `socket`; [`SendBatch::finish`] sends what is left in it. What becomes of
    /// its datagrams is added to `counts`.
    pub fn begin<'a, 's>(
        &'s mut self,
        socket: &'s UdpSocket,
        counts: &'s mut SendCounts,
    ) -> SendBatch<'a, 's> {
        SendBatch {
            messages: self.arena.begin(),
            socket,
            counts,
            refused: &mut self.refused,
            open: None,
        }
    }
}

/// The message that the next datagram may join.
struct Open<'a> {
    to: &'a Destination,
    ecn: u8,
    /// Length of its datagrams; only the last may be shorter.
    size: usize,
    bytes: usize,
    datagrams: usize,
}

/// A batch being filled.
///
/// Datagrams leave in the order in which they were added: one joins only the newest message, and
/// only where that goes to the same [`Destination`] (the same one in memory), bears the same ECN
/// field, and holds no datagram that is shorter than another. Payload and destinations are borrowed
/// until the batch is finished.
///
/// Nothing is reported datagram by datagram: one that cannot be sent is counted and the others go
/// out. Where the send buffer is full, room is waited for some milliseconds.
#[must_use = "what is left in it is sent by `finish` alone"]
pub struct SendBatch<'a, 's> {
    messages: Messages<'a, 's>,
    socket: &'s UdpSocket,
    counts: &'s mut SendCounts,
    refused: &'s mut Vec<(u32, usize)>,
    open: Option<Open<'a>>,
}

impl<'a> SendBatch<'a, '_> {
    /// Adds one datagram that is the parts one after the other, up to 16 of them; a full batch is
    /// sent first.
    pub fn push_parts<const N: usize>(&mut self, to: &'a Destination, parts: [&'a [u8]; N]) {
        const { assert!(N <= MAX_PARTS, "a datagram has at most 16 parts") };
        let len = parts.iter().map(|part| part.len()).sum();
        self.make_room(to, 0, len, N);
        parts.iter().for_each(|part| self.messages.add(part));
        self.added(len);
    }

    /// Adds the datagrams that `run` is one after the other, of `size` bytes each (0 counts as 1),
    /// the last maybe less; none where it is empty. A full batch is sent first. They bear `ecn`, the
    /// two bits of RFC 3168 (0 to 3).
    pub fn push_run(&mut self, to: &'a Destination, ecn: u8, run: &'a [u8], size: usize) {
        let size = size.max(1);
        let mut rest = run;
        while !rest.is_empty() {
            let next = size.min(rest.len());
            self.make_room(to, ecn, next, 1);
            let more = match &self.open {
                Some(open) if next == open.size && next <= to.segment_limit() => {
                    let fit = (MAX_PAYLOAD - open.bytes.min(MAX_PAYLOAD)) / next;
                    fit.min(SEGMENTS - open.datagrams).max(1) * next
                }
                _ => next,
            };
            let (part, behind) = rest.split_at(more.min(rest.len()));
            self.messages.add(part);
            self.added(part.len());
            rest = behind;
        }
    }

    /// Opens a message that takes a datagram of `len` bytes in `parts` parts, unless the one that is
    /// open does.
    fn make_room(&mut self, to: &'a Destination, ecn: u8, len: usize, parts: usize) {
        let fits = |open: &Open<'a>| {
            ptr::eq(open.to, to)
                && open.ecn == ecn
                && len <= open.size
                && len > 0
                && open.datagrams < SEGMENTS
                && open.bytes + len <= MAX_PAYLOAD
                && self.messages.has_room(parts)
                && to.segments.admits(open.size)
        };
        if self.open.as_ref().is_some_and(fits) {
            return;
        }
        self.close();
        if self.messages.is_full() || !self.messages.has_room(parts) {
            self.flush();
        }
        self.messages.open(to, len, ecn);
        self.open = Some(Open { to, ecn, size: len, bytes: 0, datagrams: 0 });
    }

    /// Notes that the open message got `bytes` more: whole datagrams of its size, and maybe a
    /// shorter one, which is its last.
    fn added(&mut self, bytes: usize) {
        let Some(open) = &mut self.open else { return };
        open.bytes += bytes;
        open.datagrams += bytes.div_ceil(open.size.max(1)).max(1);
        if open.bytes < open.datagrams * open.size {
            self.close();
        }
    }

    /// Sends what is left.
    pub fn finish(mut self) {
        self.close();
        self.flush();
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take().filter(|open| open.datagrams > 1) {
            // A datagram is at most 65,507 bytes, else it would not be in a message of several.
            self.messages.set_segment_size(open.size as u16);
        }
    }
}
