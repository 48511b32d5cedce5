//! sendmmsg(2) over headers of our own.

use std::io;
use std::marker::PhantomData;
use std::mem::zeroed;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_uint, c_void, iovec, mmsghdr};

use crate::control::Control;
use crate::destination::Destination;

/// Memory for a batch of messages to send, lent to one [`Messages`] at a time.
pub(crate) struct SendArena {
    headers: Vec<mmsghdr>,
    controls: Vec<Control>,
    vectors: Vec<iovec>,
    plan: Vec<Plan>,
    messages: usize,
}

// SAFETY: the pointers in it are read through a `Messages` alone, which borrows the arena mutably
// and vouches for them; they point at what any thread may read.
unsafe impl Send for SendArena {}
// SAFETY: as above.
unsafe impl Sync for SendArena {}

/// What a message is made of.
struct Plan {
    to: *const Destination,
    /// The end of its run in `vectors`.
    end: usize,
    /// Bytes of all its datagrams, and of each of them; the last may be shorter.
    bytes: usize,
    size: usize,
    ecn: u8,
}

impl SendArena {
    pub(crate) fn new(messages: usize, vectors: usize) -> Self {
        // SAFETY: mmsghdr is integers and raw pointers, for which all zero bits are a value.
        let header: mmsghdr = unsafe { zeroed() };
        Self {
            headers: vec![header; messages],
            controls: vec![Control::EMPTY; messages],
            vectors: Vec::with_capacity(vectors),
            plan: Vec::with_capacity(messages),
            messages,
        }
    }

    /// An empty batch whose destinations and payloads outlive `'a`.
    pub(crate) fn begin<'a>(&mut self) -> Messages<'a, '_> {
        self.vectors.clear();
        self.plan.clear();
        Messages { arena: self, borrowed: PhantomData }
    }
}

/// A batch under construction. Its invariant: every pointer in the arena's `plan` and `vectors`
/// came from a reference of lifetime `'a`, since [`SendArena::begin`] emptied both.
pub(crate) struct Messages<'a, 's> {
    arena: &'s mut SendArena,
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Messages<'a, '_> {
    pub(crate) fn len(&self) -> usize {
        self.arena.plan.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.arena.messages
    }

    /// Whether `more` further payloads fit without the vectors growing.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.arena.vectors.len() + more <= self.arena.vectors.capacity()
    }

    pub(crate) fn clear(&mut self) {
        self.arena.vectors.clear();
        self.arena.plan.clear();
    }

    /// Opens a message to `to`, whose datagrams have `size` bytes each, the last maybe less; what is
    /// added until the next one is its payload. They bear `ecn`.
    pub(crate) fn open(&mut self, to: &'a Destination, size: usize, ecn: u8) {
        let index = self.len();
        self.arena.controls[index] = to.control(ecn);
        self.arena.plan.push(Plan { to, end: self.arena.vectors.len(), bytes: 0, size, ecn });
    }

    /// Adds bytes to the message opened last: a part of a datagram, or several datagrams.
    pub(crate) fn add(&mut self, part: &'a [u8]) {
        let base = part.as_ptr().cast_mut().cast::<c_void>();
        self.arena.vectors.push(iovec { iov_base: base, iov_len: part.len() });
        if let Some(plan) = self.arena.plan.last_mut() {
            plan.end = self.arena.vectors.len();
            plan.bytes += part.len();
        }
    }

    /// Has the kernel cut the message opened last into datagrams of `size` bytes.
    pub(crate) fn set_segment_size(&mut self, size: u16) {
        if let Some(last) = self.len().checked_sub(1) {
            self.arena.controls[last].push_segment_size(size);
        }
    }

    fn run(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.arena.plan[before].end);
        start..self.arena.plan[index].end
    }

    /// How many datagrams message `index` holds.
    pub(crate) fn datagrams(&self, index: usize) -> usize {
        let Plan { bytes, size, .. } = self.arena.plan[index];
        // An empty message is one empty datagram.
        bytes.div_ceil(size.max(1)).max(1)
    }

    /// Where message `index` goes.
    pub(crate) fn destination(&self, index: usize) -> &'a Destination {
        // SAFETY: the destination came from a reference of lifetime 'a (the invariant of
        // `Messages`).
        unsafe { &*self.arena.plan[index].to }
    }

    /// The tag of message `index`'s destination, and the length of its first datagram.
    pub(crate) fn first(&self, index: usize) -> (u32, usize) {
        (self.destination(index).tag, self.arena.plan[index].size)
    }

    /// The bytes of message `index`, all datagrams together.
    pub(crate) fn bytes(&self, index: usize) -> usize {
        self.arena.plan[index].bytes
    }

    /// Sends the messages from `first` on, without waiting, and returns how many the kernel
    /// took: at least one.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
        for index in first..self.len() {
            let run = self.run(index);
            let arena = &mut *self.arena;
            let control = &arena.controls[index];
            let vectors = &mut arena.vectors[run];
            // SAFETY: the destination came from a reference of lifetime 'a (the invariant of
            // `Messages`).
            unsafe { header(&mut arena.headers[index], arena.plan[index].to, vectors, control) };
        }
        let headers = &mut self.arena.headers[first..self.arena.plan.len()];
        // SAFETY: the loop above made each of these headers point at a destination and payloads
        // that live for 'a (the invariant of `Messages`) and at iovecs and control bytes of the
        // arena, which is borrowed until the call returns; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as c_uint,
                libc::MSG_DONTWAIT as _, // unsigned in musl
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Sends datagram `datagram` of message `index` alone, without a segment size.
    pub(crate) fn send_alone(
        &mut self,
        socket: BorrowedFd<'_>,
        index: usize,
        datagram: usize,
    ) -> io::Result<usize> {
        let run = self.run(index);
        let arena = &mut *self.arena;
        let Plan { to, bytes, size, ecn, .. } = arena.plan[index];
        let start = datagram * size;
        let mut vectors = part_of(&arena.vectors[run], start..bytes.min(start + size));
        // SAFETY: `to` came from a reference of lifetime 'a (the invariant of `Messages`).
        let control = unsafe { (*to).control(ecn) };
        // SAFETY: as above.
        unsafe { header(&mut arena.headers[index], to, &mut vectors, &control) };
        // SAFETY: as in `send`; `control` and `vectors` live until the call returns.
        let sent = unsafe {
            libc::sendmsg(
                socket.as_raw_fd(),
                &raw const arena.headers[index].msg_hdr,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// The vectors of the bytes in `range` of all that `vectors` point at.
fn part_of(vectors: &[iovec], range: Range<usize>) -> Vec<iovec> {
    let mut before = 0;
    let parts = vectors.iter().filter_map(|vector| {
        let start = range.start.clamp(before, before + vector.iov_len) - before;
        let end = range.end.clamp(before, before + vector.iov_len) - before;
        before += vector.iov_len;
        let base = vector.iov_base.cast::<u8>().wrapping_add(start).cast();
        (start < end).then(|| iovec { iov_base: base, iov_len: end - start })
    });
    parts.collect()
}

/// Points `header` at its parts, which the caller keeps alive until the kernel has read them.
///
/// # Safety
/// `to` must point at a live `Destination`.
unsafe fn header(
    header: &mut mmsghdr,
    to: *const Destination,
    vectors: &mut [iovec],
    control: &Control,
) {
    // SAFETY: the caller vouches for `to`.
    let to = unsafe { &*to };
    let message = &mut header.msg_hdr;
    message.msg_name = to.name.0.as_ptr().cast_mut().cast();
    message.msg_namelen = to.name_len;
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len() as _;
    message.msg_control = control.bytes.as_ptr().cast_mut().cast();
    message.msg_controllen = control.len as _;
    message.msg_flags = 0;
    header.msg_len = 0;
}
