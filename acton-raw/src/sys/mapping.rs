//! The memory a TPACKET_V3 ring shares with the kernel.

use std::io;
use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use super::set;

/// Where a block's status word is: the first of the header in `struct tpacket_block_desc`.
const STATUS: usize =
    offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, block_status);

/// Blocks of memory each owned, by its status word, by the kernel or by us.
///
/// The protocol (`Documentation/networking/packet_mmap.rst`): the kernel sets `TP_STATUS_USER`
/// after its last write to a block and then leaves it alone until we clear the word.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    block_size: usize,
    blocks: usize,
}

// SAFETY: the memory belongs to the process, not to a thread, and `base` is its only pointer.
unsafe impl Send for Mapping {}
// SAFETY: `&self` gives atomic loads of status words and reads of blocks the kernel has handed
// over; handing one back takes `&mut self`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Gives the socket a receive ring and maps it.
    pub(crate) fn new(fd: impl AsFd, request: &libc::tpacket_req3) -> io::Result<Self> {
        let (block_size, blocks) = (request.tp_block_size as usize, request.tp_block_nr as usize);
        let length = block_size
            .checked_mul(blocks)
            .filter(|&length| length <= isize::MAX as usize)
            .and_then(NonZeroUsize::new)
            .ok_or(io::ErrorKind::InvalidInput)?;
        set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_RX_RING, request)?;
        // SAFETY: a new mapping at a place of the kernel's choosing disturbs no other.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length.get(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_fd().as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, block_size, blocks })
    }

    /// Blocks in the ring, at least one.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Whether we own block `index`.
    pub(crate) fn is_ready(&self, index: usize) -> bool {
        // Acquire: the kernel's writes to the block come before its write of the status.
        self.status(index).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// Block `index`, if we own it.
    pub(crate) fn block(&self, index: usize) -> Option<&[u8]> {
        if !self.is_ready(index) {
            return None;
        }
        // SAFETY: within the mapping, by the check of `index` in `status`. We own the block, so
        // the kernel does not write to it until `release`, which needs `&mut self` and so comes
        // after the end of this borrow.
        Some(unsafe {
            slice::from_raw_parts(self.base.add(index * self.block_size).as_ptr(), self.block_size)
        })
    }

    /// Hands block `index` back to the kernel.
    pub(crate) fn release(&mut self, index: usize) {
        // Release: our reads of the block come before the kernel's next writes.
        self.status(index).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }

    fn status(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.blocks, "a ring steps through its own blocks only");
        // SAFETY: within the mapping, by the line above. Aligned: the mapping starts at a page
        // and the kernel takes whole pages as block size only. Both sides access the word
        // atomically, except as part of a block that neither writes to.
        unsafe {
            AtomicU32::from_ptr(self.base.add(index * self.block_size + STATUS).as_ptr().cast())
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one `new` mapped, and no borrow of it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.block_size * self.blocks) };
    }
}
