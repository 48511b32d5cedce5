//! Receiving with all the kernel tells, and sending and receiving many frames a call.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::check;
use crate::frame::{Checksum, FrameMeta, PacketType, VlanTag};

/// Most frames a system call takes or gives here. The headers live on the stack, 23 KiB of them
/// at this size; beyond it the cost of a call no longer shows.
pub(crate) const MAX_BATCH: usize = 64;

/// Room for the two control messages asked for, auxiliary data and a time stamp, 72 bytes on
/// 64-bit machines, and for those that who has the socket's descriptor may ask for besides;
/// aligned as `struct cmsghdr`. The kernel cuts what does not fit.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

const CONTROL_LEN: usize = 256;

/// What the kernel fills in for one frame besides its bytes.
#[derive(Clone, Copy)]
struct Slot {
    address: libc::sockaddr_ll,
    iov: libc::iovec,
    control: Control,
}

impl Slot {
    const fn new() -> Self {
        Self {
            address: libc::sockaddr_ll {
                sll_family: 0,
                sll_protocol: 0,
                sll_ifindex: 0,
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 0,
                sll_addr: [0; 8],
            },
            iov: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            control: Control([0; CONTROL_LEN]),
        }
    }

    /// A header that has the kernel fill in `self` and `buffer`: valid as long as both stay in
    /// place and are not touched.
    fn header(&mut self, buffer: &mut [u8]) -> libc::msghdr {
        self.iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut header = empty_header();
        header.msg_name = (&raw mut self.address).cast();
        header.msg_namelen = super::length::<libc::sockaddr_ll>();
        header.msg_iov = &raw mut self.iov;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut self.control).cast();
        header.msg_controllen = size_of::<Control>() as _;
        header
    }
}

fn empty_header() -> libc::msghdr {
    // SAFETY: all-zero is a value of a struct of integers and raw pointers.
    unsafe { zeroed() }
}

/// Receives one frame into `buffer`; what does not fit is lost and shows in the lengths.
pub(crate) fn receive(fd: impl AsFd, buffer: &mut [u8], flags: i32) -> io::Result<FrameMeta> {
    let mut slot = Slot::new();
    let mut header = slot.header(buffer);
    // SAFETY: `header` points into `slot` and `buffer`, which stay in place and are not touched
    // until the call is over.
    let len =
        unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut header, flags | libc::MSG_TRUNC) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the call succeeded on this header, and `slot` is still in place.
    Ok(unsafe { meta(&header, slot.address.sll_pkttype, len, buffer.len()) })
}

/// Receives up to [`MAX_BATCH`] frames, waiting at most for the first, one into each of
/// `buffers`; replaces the content of `metas`.
pub(crate) fn receive_batch<'a>(
    fd: impl AsFd,
    buffers: impl Iterator<Item = &'a mut [u8]>,
    metas: &mut Vec<FrameMeta>,
) -> io::Result<usize> {
    metas.clear();
    let mut slots = [const { Slot::new() }; MAX_BATCH];
    let mut headers = [libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 }; MAX_BATCH];
    let mut given = 0;
    for ((header, slot), buffer) in headers.iter_mut().zip(&mut slots).zip(buffers) {
        header.msg_hdr = slot.header(buffer);
        given += 1;
    }
    // SAFETY: the first `given` headers point into their own slot and buffer; the buffers are
    // borrowed for `'a`, longer than the call, and neither is touched until it is over.
    let received = check(unsafe {
        libc::recvmmsg(
            fd.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            given,
            (libc::MSG_WAITFORONE | libc::MSG_TRUNC) as _,
            ptr::null_mut(),
        )
    })?;
    for (header, slot) in headers.iter().zip(&slots).take(received) {
        let len = header.msg_len as usize;
        // SAFETY: the kernel filled in this header, and `slot` is still in place.
        metas.push(unsafe {
            meta(&header.msg_hdr, slot.address.sll_pkttype, len, slot.iov.iov_len)
        });
    }
    Ok(received)
}

/// Reads the control messages of a received frame of `len` bytes (before it was cut to
/// `capacity`).
///
/// # Safety
/// `header` is as the kernel left it after success, and its control buffer is still there.
unsafe fn meta(header: &libc::msghdr, packet_type: u8, len: usize, capacity: usize) -> FrameMeta {
    let mut meta = FrameMeta {
        packet_type: PacketType::from_kernel(packet_type),
        original_len: len,
        captured_len: len.min(capacity),
        timestamp: UNIX_EPOCH,
        vlan: None,
        checksum: Checksum::Unknown,
    };
    let mut timestamp = None;
    // SAFETY: the caller vouches for the control buffer, of which the kernel gave the length.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a header within the buffer.
        let libc::cmsghdr { cmsg_level, cmsg_type, cmsg_len, .. } = unsafe { *message };
        // SAFETY: CMSG_LEN computes a length and reads no memory.
        let holds = |len: usize| cmsg_len as u64 >= unsafe { libc::CMSG_LEN(len as u32) }.into();
        match (cmsg_level, cmsg_type) {
            (libc::SOL_PACKET, libc::PACKET_AUXDATA)
                if holds(size_of::<libc::tpacket_auxdata>()) =>
            {
                // SAFETY: this type of message is a `tpacket_auxdata`, integers
                // (net/packet/af_packet.c), and its length says that it was not cut.
                let data = unsafe {
                    libc::CMSG_DATA(message).cast::<libc::tpacket_auxdata>().read_unaligned()
                };
                meta.original_len = data.tp_len as usize;
                meta.vlan =
                    VlanTag::from_kernel(data.tp_status, data.tp_vlan_tci, data.tp_vlan_tpid);
                meta.checksum = Checksum::from_kernel(data.tp_status);
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if holds(size_of::<libc::timespec>()) => {
                // SAFETY: likewise a whole `timespec` (net/core/sock.c).
                let time =
                    unsafe { libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned() };
                timestamp = system_time(time);
            }
            _ => {}
        }
        // SAFETY: `message` is a header within the buffer of `header`.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    meta.timestamp = timestamp.unwrap_or_else(SystemTime::now);
    meta
}

fn system_time(time: libc::timespec) -> Option<SystemTime> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

/// Sends up to [`MAX_BATCH`] frames; returns how many went, and an error only if none did.
pub(crate) fn send_batch(fd: impl AsFd, frames: &[&[u8]]) -> io::Result<usize> {
    let mut iovs = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MAX_BATCH];
    let mut headers = [libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 }; MAX_BATCH];
    let mut given = 0;
    for ((header, iov), frame) in headers.iter_mut().zip(&mut iovs).zip(frames) {
        *iov = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        header.msg_hdr.msg_iov = &raw mut *iov;
        header.msg_hdr.msg_iovlen = 1;
        given += 1;
    }
    // SAFETY: the first `given` headers point to an entry of `iovs` each, which points to a frame
    // borrowed for longer than the call; sendmmsg only reads what they point to.
    check(unsafe { libc::sendmmsg(fd.as_fd().as_raw_fd(), headers.as_mut_ptr(), given, 0) })
}
