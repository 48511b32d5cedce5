//! System calls. All the unsafe of this crate.
//!
//! The message headers are our own and allocated once: control messages must be reset for each call
//! and differ from message to message, which ready-made wrappers do not allow. The pointers in the
//! headers are written right before each call, from the vectors that own the memory, so that none
//! is kept across a call.

pub(crate) mod recv;
pub(crate) mod send;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, sock_filter, sock_fprog};

use crate::control::Control;
use crate::statistics::MEMINFO_LEN;

// glibc and musl differ in the types of what is small enough for either: the flags of recvmmsg(2) and
// sendmmsg(2), and the lengths in msghdr.
const _: () = assert!(libc::MSG_DONTWAIT >= 0);
const _: () = assert!(Control::CAPACITY <= u16::MAX as usize);

/// Sets an option whose value is an `int`.
pub(crate) fn set_option(
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

/// Reads what the kernel counts of a socket (SO_MEMINFO, linux/sock_diag.h).
pub(crate) fn meminfo(socket: BorrowedFd<'_>) -> io::Result<[u32; MEMINFO_LEN]> {
    let mut values = [0; MEMINFO_LEN];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: `length` states the size of `values`, any bytes of which are a value; the kernel
    // writes no further. What an older kernel does not write stays 0.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(values) }
}

/// Returns the accumulator, linux/bpf_common.h.
const BPF_A: u32 = 0x10;

/// One instruction of classic BPF without a jump.
fn bpf(code: u32, k: u32) -> sock_filter {
    // The codes of linux/bpf_common.h are 16 bits wide.
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Has the 32 bits at `offset` of a datagram's payload and `mask` choose among the sockets of the
/// group (SO_ATTACH_REUSEPORT_CBPF, socket(7)).
pub(crate) fn steer_by_word(socket: BorrowedFd<'_>, offset: u32, mask: u32) -> io::Result<()> {
    let mut instructions = [
        // A = the word; A &= mask; return A
        bpf(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset),
        bpf(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask),
        bpf(libc::BPF_RET | BPF_A, 0),
    ];
    let program = sock_fprog { len: instructions.len() as u16, filter: instructions.as_mut_ptr() };
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
pub(crate) fn disconnect(socket: BorrowedFd<'_>) -> io::Result<()> {
    let name = libc::sockaddr { sa_family: libc::AF_UNSPEC as _, sa_data: [0; 14] };
    // SAFETY: `name` is a whole sockaddr whose length is given, and is only read.
    let result =
        unsafe { libc::connect(socket.as_raw_fd(), &raw const name, size_of_val(&name) as u32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
