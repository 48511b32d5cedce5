//! recvmmsg(2) and sendmmsg(2) over headers of our own. All the unsafe of this crate.
//!
//! The pointers in the headers are written right before each call, from the vectors that own the
//! memory, so that none is kept across a call.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::mem::zeroed;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, sock_filter, sock_fprog};

use crate::address::{Control, Destination, Name};

/// One received message, still in the kernel's terms.
pub(super) struct RawMessage<'a> {
    pub(super) name: Name,
    pub(super) control: &'a [u8],
    pub(super) payload: &'a mut [u8],
}

/// Memory for a batch of messages to receive.
pub(super) struct RecvArena {
    headers: Vec<mmsghdr>,
    vectors: Vec<iovec>,
    names: Vec<Name>,
    controls: Vec<Control>,
    payload: Vec<u8>,
    slot_len: usize,
    filled: usize,
}

impl RecvArena {
    pub(super) fn new(messages: usize, slot_len: usize) -> Self {
        // SAFETY: mmsghdr is integers and raw pointers, for which all zero bits are a value.
        let header: mmsghdr = unsafe { zeroed() };
        Self {
            headers: vec![header; messages],
            vectors: vec![iovec { iov_base: ptr::null_mut(), iov_len: 0 }; messages],
            names: vec![Name::ZERO; messages],
            controls: vec![Control::EMPTY; messages],
            payload: vec![0; messages * slot_len],
            slot_len,
            filled: 0,
        }
    }

    /// Takes at most `most` messages that wait, and returns how many.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        self.filled = 0;
        let most = most.min(self.headers.len());
        let slots = self.payload.chunks_exact_mut(self.slot_len);
        let names = self.names.iter_mut().zip(&mut self.controls);
        for (((header, vector), (name, control)), slot) in
            self.headers[..most].iter_mut().zip(&mut self.vectors).zip(names).zip(slots)
        {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            let message = &mut header.msg_hdr;
            message.msg_name = name.0.as_mut_ptr().cast();
            message.msg_namelen = name.0.len() as u32;
            message.msg_iov = vector;
            message.msg_iovlen = 1;
            message.msg_control = control.bytes.as_mut_ptr().cast();
            message.msg_controllen = Control::CAPACITY as _;
            message.msg_flags = 0;
        }
        // SAFETY: the loop above initialised `most` headers; each points at a name, an iovec, a
        // control buffer and a payload slot of its own, whose lengths it states, all owned by
        // `self`, which is borrowed mutably until the call returns.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                most as c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// Bytes of payload in the messages that were received.
    pub(super) fn bytes(&self) -> usize {
        self.headers[..self.filled].iter().map(|header| header.msg_len as usize).sum()
    }

    /// The messages that were received, each with a payload of its own.
    pub(super) fn messages(&mut self) -> impl Iterator<Item = RawMessage<'_>> {
        let slots = self.payload.chunks_exact_mut(self.slot_len);
        let names = self.names.iter().zip(&self.controls);
        let filled = self.headers[..self.filled].iter().zip(names).zip(slots);
        filled.filter_map(|((header, (name, control)), slot)| {
            let control = control.bytes.get(..header.msg_hdr.msg_controllen)?;
            let payload = slot.get_mut(..header.msg_len as usize)?;
            Some(RawMessage { name: *name, control, payload })
        })
    }
}

/// One message of the error queue (IP_RECVERR, ip(7)): where the datagram went that it is about, and
/// what is said of it.
pub(super) fn receive_error(socket: BorrowedFd<'_>) -> io::Result<(Name, Control)> {
    let (mut name, mut control) = (Name::ZERO, Control::EMPTY);
    // SAFETY: msghdr is integers and raw pointers, for which all zero bits are a value.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = name.0.as_mut_ptr().cast();
    message.msg_namelen = name.0.len() as u32;
    message.msg_control = control.bytes.as_mut_ptr().cast();
    message.msg_controllen = Control::CAPACITY as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `message` points at a name and a control buffer, whose lengths it states, that live
    // until the call returns, and at no payload.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    control.len = (message.msg_controllen as usize).min(Control::CAPACITY);
    Ok((name, control))
}

/// Memory for a batch of messages to send, lent to one [`Messages`] at a time.
pub(super) struct SendArena {
    headers: Vec<mmsghdr>,
    controls: Vec<Control>,
    vectors: Vec<iovec>,
    plan: Vec<Plan>,
    messages: usize,
}

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
    pub(super) fn new(messages: usize, vectors: usize) -> Self {
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
    pub(super) fn begin<'a>(&mut self) -> Messages<'a, '_> {
        self.vectors.clear();
        self.plan.clear();
        Messages { arena: self, borrowed: PhantomData }
    }
}

/// A batch under construction. Its invariant: every pointer in the arena's `plan` and `vectors`
/// came from a reference of lifetime `'a`, since [`SendArena::begin`] emptied both.
pub(super) struct Messages<'a, 's> {
    arena: &'s mut SendArena,
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Messages<'a, '_> {
    pub(super) fn len(&self) -> usize {
        self.arena.plan.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == self.arena.messages
    }

    /// Whether `more` further payloads fit without the vectors growing.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.arena.vectors.len() + more <= self.arena.vectors.capacity()
    }

    pub(super) fn clear(&mut self) {
        self.arena.vectors.clear();
        self.arena.plan.clear();
    }

    /// Opens a message to `to`, whose datagrams have `size` bytes each, the last maybe less; what is
    /// added until the next one is its payload. They bear `ecn`.
    pub(super) fn open(&mut self, to: &'a Destination, size: usize, ecn: u8) {
        let index = self.len();
        self.arena.controls[index] = to.control(ecn);
        self.arena.plan.push(Plan { to, end: self.arena.vectors.len(), bytes: 0, size, ecn });
    }

    /// Adds bytes to the message opened last: a part of a datagram, or several datagrams.
    pub(super) fn add(&mut self, part: &'a [u8]) {
        let base = part.as_ptr().cast_mut().cast::<c_void>();
        self.arena.vectors.push(iovec { iov_base: base, iov_len: part.len() });
        if let Some(plan) = self.arena.plan.last_mut() {
            plan.end = self.arena.vectors.len();
            plan.bytes += part.len();
        }
    }

    /// Has the kernel cut the message opened last into datagrams of `size` bytes.
    pub(super) fn set_segment_size(&mut self, size: u16) {
        if let Some(last) = self.len().checked_sub(1) {
            self.arena.controls[last].push_segment_size(size);
        }
    }

    fn run(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.arena.plan[before].end);
        start..self.arena.plan[index].end
    }

    /// How many datagrams message `index` holds.
    pub(super) fn datagrams(&self, index: usize) -> usize {
        let Plan { bytes, size, .. } = self.arena.plan[index];
        // An empty message is one empty datagram.
        bytes.div_ceil(size.max(1)).max(1)
    }

    /// Where message `index` goes.
    pub(super) fn destination(&self, index: usize) -> &'a Destination {
        // SAFETY: the destination came from a reference of lifetime 'a (the invariant of
        // `Messages`).
        unsafe { &*self.arena.plan[index].to }
    }

    /// The tag of message `index`'s destination, and the length of its first datagram.
    pub(super) fn first(&self, index: usize) -> (u32, usize) {
        (self.destination(index).tag, self.arena.plan[index].size)
    }

    /// The bytes of message `index`, all datagrams together.
    pub(super) fn bytes(&self, index: usize) -> usize {
        self.arena.plan[index].bytes
    }

    /// Sends the messages from `first` on, without waiting, and returns how many the kernel
    /// took: at least one.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
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
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Sends datagram `datagram` of message `index` alone, without a segment size.
    pub(super) fn send_alone(
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

/// Sets an option whose value is an `int`.
pub(super) fn set_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: c_int,
) -> io::Result<()> {
    // SAFETY: `value` is an int whose size is given, and is only read.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<c_int>() as u32,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One instruction of classic BPF without a jump.
pub(super) fn bpf(code: u32, k: u32) -> sock_filter {
    // The codes of linux/bpf_common.h are 16 bits wide.
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Has `program`, which sees a datagram's payload, choose among the sockets of the group
/// (SO_ATTACH_REUSEPORT_CBPF, socket(7)).
pub(super) fn attach_reuseport_filter(
    socket: BorrowedFd<'_>,
    program: &mut [sock_filter],
) -> io::Result<()> {
    let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `program` states the number of instructions behind its pointer, which live until the
    // call returns; the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of_val(&program) as u32,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Dissolves the association of a connected UDP socket; a port that bind(2) was not asked for by
/// number goes with it, connect(2).
pub(super) fn disconnect(socket: BorrowedFd<'_>) -> io::Result<()> {
    let name = libc::sockaddr { sa_family: libc::AF_UNSPEC as _, sa_data: [0; 14] };
    // SAFETY: `name` is a whole sockaddr whose length is given, and is only read.
    let result =
        unsafe { libc::connect(socket.as_raw_fd(), &raw const name, size_of_val(&name) as u32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
