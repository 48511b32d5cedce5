//! The system calls that nix has no safe form of, and all the crate's `unsafe`.

pub(crate) mod mapping;
pub(crate) mod message;

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::filter::{Instruction, Program};

/// Types whose every byte may be read and written: integers, or structs of them without padding
/// and pointers.
///
/// # Safety
/// The implementor is such a type.
unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for libc::c_int {}
// SAFETY: seven 32-bit integers.
unsafe impl Plain for libc::tpacket_req3 {}
// SAFETY: 4 + 2 + 2 + 8 bytes of integers, aligned to 4.
unsafe impl Plain for libc::packet_mreq {}
// SAFETY: 2 + 2 + 4 bytes of integers, aligned to 4.
unsafe impl Plain for libc::fanout_args {}
// SAFETY: three 32-bit integers.
unsafe impl Plain for libc::tpacket_stats_v3 {}
// SAFETY: 2 + 2 + 4 + 2 + 1 + 1 + 8 bytes of integers, aligned to 4.
unsafe impl Plain for libc::sockaddr_ll {}

/// The length of a `T`, as system calls take it.
fn length<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// The result of a system call that gives -1 on failure.
fn check(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn set<T: Plain>(fd: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes, all initialised by `T: Plain`, and no
    // option of a `Plain` type has the kernel follow a pointer.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), length::<T>())
    };
    check(result).map(drop)
}

/// Sets a `SOL_PACKET` option that is a switch or a number.
pub(crate) fn set_packet_option(fd: impl AsFd, name: i32, value: i32) -> io::Result<()> {
    set(fd.as_fd(), libc::SOL_PACKET, name, &value)
}

/// Makes interface `index` promiscuous until `fd` is closed.
pub(crate) fn add_promiscuous(fd: impl AsFd, index: i32) -> io::Result<()> {
    let membership = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
}

/// Joins a fanout group of up to 256 members.
pub(crate) fn join_fanout(fd: impl AsFd, id: u16, type_flags: u16) -> io::Result<()> {
    // An int, as packet(7) has it: kernels before 5.11 take no `struct fanout_args`.
    let group = (u32::from(type_flags) << 16 | u32::from(id)) as i32;
    set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT, &group)
}

/// Attaches `program` in place of any earlier one.
pub(crate) fn attach_filter(fd: impl AsFd, program: &Program) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .instructions()
        .iter()
        .map(|&Instruction { code, jt, jf, k }| libc::sock_filter { code, jt, jf, k })
        .collect();
    let program = libc::sock_fprog {
        // At most 4096, by the type's constructors.
        len: instructions.len() as u16,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: `program` points to `len` instructions, which outlive the call; the kernel copies
    // them and keeps no pointer.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length::<libc::sock_fprog>(),
        )
    };
    check(result).map(drop)
}

/// Detaches the filter; without one there is nothing to do.
pub(crate) fn detach_filter(fd: impl AsFd) -> io::Result<()> {
    match set(fd.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// Binds to all protocols of interface `index`: frames come in from here on.
pub(crate) fn bind(fd: impl AsFd, index: i32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the kernel reads as many bytes as `address` has.
    let result = unsafe {
        libc::bind(
            fd.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            length::<libc::sockaddr_ll>(),
        )
    };
    check(result).map(drop)
}

/// The address the socket is bound to: interface -1 once that is gone.
pub(crate) fn local_address(fd: impl AsFd) -> io::Result<libc::sockaddr_ll> {
    // SAFETY: all-zero is a value of a struct of integers.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    let mut len = length::<libc::sockaddr_ll>();
    // SAFETY: the kernel writes at most `len` bytes, which is the size of `address`, and any
    // bytes are a `sockaddr_ll` by `Plain`.
    let result = unsafe {
        libc::getsockname(fd.as_fd().as_raw_fd(), (&raw mut address).cast(), &raw mut len)
    };
    check(result).map(|_| address)
}

/// Reads the counters, which sets them to 0. The freeze count is 0 without a ring.
pub(crate) fn take_statistics(fd: impl AsFd) -> io::Result<libc::tpacket_stats_v3> {
    let mut counters = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
    let mut len = length::<libc::tpacket_stats_v3>();
    // SAFETY: the kernel writes at most `len` bytes, which is the size of `counters` (without a
    // ring it writes the shorter `tpacket_stats`, a prefix of it); any bytes are `Plain`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut counters).cast(),
            &raw mut len,
        )
    };
    check(result).map(|_| counters)
}
