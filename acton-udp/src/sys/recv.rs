//! recvmmsg(2) over headers of our own, and the error queue.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_uint, iovec, mmsghdr};

use crate::control::Control;
use crate::name::Name;

/// One received message, still in the kernel's terms.
pub(crate) struct RawMessage<'a> {
    pub(crate) name: Name,
    pub(crate) control: &'a [u8],
    pub(crate) payload: &'a mut [u8],
}

/// Memory for a batch of messages to receive.
pub(crate) struct RecvArena {
    headers: Vec<mmsghdr>,
    vectors: Vec<iovec>,
    names: Vec<Name>,
    controls: Vec<Control>,
    payload: Vec<u8>,
    slot_len: usize,
    filled: usize,
}

// SAFETY: the pointers in `headers` and `vectors` are written and read within `receive` alone, and
// point at memory that the arena owns.
unsafe impl Send for RecvArena {}
// SAFETY: as above; `receive` borrows the arena mutably.
unsafe impl Sync for RecvArena {}

impl RecvArena {
    pub(crate) fn new(messages: usize, slot_len: usize) -> Self {
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
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
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
                libc::MSG_DONTWAIT as _, // unsigned in musl
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// Bytes of payload in the messages that were received.
    pub(crate) fn bytes(&self) -> usize {
        self.headers[..self.filled].iter().map(|header| header.msg_len as usize).sum()
    }

    /// The messages that were received, each with a payload of its own.
    pub(crate) fn messages(&mut self) -> impl Iterator<Item = RawMessage<'_>> {
        let slots = self.payload.chunks_exact_mut(self.slot_len);
        let names = self.names.iter().zip(&self.controls);
        let filled = self.headers[..self.filled].iter().zip(names).zip(slots);
        filled.filter_map(|((header, (name, control)), slot)| {
            #[allow(clippy::unnecessary_cast, reason = "a socklen_t in musl")]
            let len = header.msg_hdr.msg_controllen as usize;
            let control = control.bytes.get(..len)?;
            let payload = slot.get_mut(..header.msg_len as usize)?;
            Some(RawMessage { name: *name, control, payload })
        })
    }
}

/// One message of the error queue (IP_RECVERR, ip(7)): where the datagram went that it is about, and
/// what is said of it.
pub(crate) fn receive_error(socket: BorrowedFd<'_>) -> io::Result<(Name, Control)> {
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
