//! A TPACKET_V3 receive ring: the kernel fills blocks of shared memory with frames, and none is
//! copied (`Documentation/networking/packet_mmap.rst`).

use std::fmt;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, UNIX_EPOCH};

use crate::frame::{Checksum, Frame, FrameMeta, PacketType, VlanTag};
use crate::socket::{RawSocket, Statistics};
use crate::sys::mapping::Mapping;
use crate::wait::Wake;

/// Size of a frame the kernel is told, in bytes. TPACKET_V3 packs frames of any length; the
/// number only has to be aligned, to divide a page and to fit the headers.
const NOMINAL_FRAME: u32 = 2048;

/// Fields of a block's header (`struct tpacket_block_desc`).
mod block {
    use super::offset_of;

    const HEADER: usize = offset_of!(libc::tpacket_block_desc, hdr);
    pub(super) const COUNT: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, num_pkts);
    pub(super) const FIRST: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt);
}

/// Fields of a frame's header (`struct tpacket3_hdr`, and behind it a `struct sockaddr_ll`).
mod header {
    use super::{offset_of, size_of};

    pub(super) const NEXT: usize = offset_of!(libc::tpacket3_hdr, tp_next_offset);
    pub(super) const SECONDS: usize = offset_of!(libc::tpacket3_hdr, tp_sec);
    pub(super) const NANOSECONDS: usize = offset_of!(libc::tpacket3_hdr, tp_nsec);
    pub(super) const CAPTURED: usize = offset_of!(libc::tpacket3_hdr, tp_snaplen);
    pub(super) const ORIGINAL: usize = offset_of!(libc::tpacket3_hdr, tp_len);
    pub(super) const STATUS: usize = offset_of!(libc::tpacket3_hdr, tp_status);
    pub(super) const BYTES: usize = offset_of!(libc::tpacket3_hdr, tp_mac);
    const VARIANT: usize = offset_of!(libc::tpacket3_hdr, hv1);
    pub(super) const TCI: usize = VARIANT + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci);
    pub(super) const TPID: usize = VARIANT + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tpid);
    pub(super) const PACKET_TYPE: usize =
        size_of::<libc::tpacket3_hdr>() + offset_of!(libc::sockaddr_ll, sll_pkttype);
    /// Bytes from a header's first to the last field that is read.
    pub(super) const LEN: usize = PACKET_TYPE + 1;
}

// The address follows the header at the next multiple of 16 (TPACKET_ALIGNMENT).
const _: () = assert!(size_of::<libc::tpacket3_hdr>() % libc::TPACKET_ALIGNMENT == 0);

/// The size of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingConfig {
    /// Size of a block in bytes, a multiple of the page size. A frame longer than a block is cut.
    pub block_size: u32,
    /// Number of blocks.
    pub blocks: u32,
    /// How long the kernel holds a block that is not full; rounded up to milliseconds.
    pub hold: Duration,
}

impl Default for RingConfig {
    /// 16 blocks of 256 KiB, so that a frame of any length fits, held for 20 ms.
    fn default() -> Self {
        Self { block_size: 256 << 10, blocks: 16, hold: Duration::from_millis(20) }
    }
}

impl RingConfig {
    /// Sets [`block_size`](Self::block_size).
    #[must_use]
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Sets [`blocks`](Self::blocks).
    #[must_use]
    pub fn blocks(mut self, number: u32) -> Self {
        self.blocks = number;
        self
    }

    /// Sets [`hold`](Self::hold).
    #[must_use]
    pub fn hold(mut self, time: Duration) -> Self {
        self.hold = time;
        self
    }

    pub(crate) fn request(self) -> io::Result<libc::tpacket_req3> {
        let frames = (self.block_size / NOMINAL_FRAME)
            .checked_mul(self.blocks)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let hold = u32::try_from(self.hold.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        Ok(libc::tpacket_req3 {
            tp_block_size: self.block_size,
            tp_block_nr: self.blocks,
            tp_frame_size: NOMINAL_FRAME,
            tp_frame_nr: frames,
            // 0 would have the kernel choose by the link's speed.
            tp_retire_blk_tov: hold.max(1),
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        })
    }
}

/// A packet socket whose frames come through a ring; made by
/// [`Builder::build_ring`](crate::Builder::build_ring).
///
/// It waits in [`next_block`](Self::next_block) and nowhere else, so being non-blocking makes no
/// difference to receiving.
pub struct Ring {
    mapping: Mapping,
    /// The block that the kernel fills or has filled next.
    current: usize,
    socket: RawSocket,
}

impl Ring {
    pub(crate) fn new(socket: RawSocket, mapping: Mapping) -> Self {
        Self { mapping, current: 0, socket }
    }

    /// The next block of frames, or `None` when there is none after `timeout`; without one, waits
    /// for ever.
    ///
    /// # Errors
    /// As [`RawSocket::wait`].
    pub fn next_block(&mut self, timeout: Option<Duration>) -> io::Result<Option<Block<'_>>> {
        if !self.mapping.is_ready(self.current) {
            let _ = self.socket.wait(None, timeout)?;
        }
        let ready = self.mapping.is_ready(self.current);
        // Not `then_some`: a block that is made is also dropped, and that steps on.
        Ok(ready.then(|| Block { ring: self }))
    }

    /// Waits as [`RawSocket::wait`] does; [`next_block`](Self::next_block) does not wait when this
    /// gave [`Wake::Ready`].
    ///
    /// # Errors
    /// As [`RawSocket::wait`].
    pub fn wait(
        &self,
        stop: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<Wake> {
        self.socket.wait(stop, timeout)
    }

    /// As [`RawSocket::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame)
    }

    /// As [`RawSocket::send_batch`].
    ///
    /// # Errors
    /// As there.
    pub fn send_batch(&self, frames: &[&[u8]]) -> io::Result<usize> {
        self.socket.send_batch(frames)
    }

    /// As [`RawSocket::statistics`].
    ///
    /// # Errors
    /// As there.
    pub fn statistics(&self) -> io::Result<Statistics> {
        self.socket.statistics()
    }

    /// The interface's name when the ring was made.
    pub fn interface(&self) -> &str {
        self.socket.interface()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ring")
            .field("socket", &self.socket)
            .field("blocks", &self.mapping.blocks())
            .finish()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A block of frames; the kernel gets it back when this is dropped.
#[derive(Debug)]
pub struct Block<'a> {
    ring: &'a mut Ring,
}

impl Block<'_> {
    /// The frames, in the order they came in.
    pub fn frames(&self) -> Frames<'_> {
        Frames::new(self.ring.mapping.block(self.ring.current).unwrap_or_default())
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        let Ring { mapping, current, .. } = &mut *self.ring;
        mapping.release(*current);
        *current = (*current + 1) % mapping.blocks();
    }
}

/// Iterator over the frames of a [`Block`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    block: &'a [u8],
    /// Where the next frame's header is.
    at: usize,
    left: u32,
}

impl<'a> Frames<'a> {
    fn new(block: &'a [u8]) -> Self {
        Self {
            block,
            at: read_u32(block, block::FIRST).unwrap_or(0) as usize,
            left: read_u32(block, block::COUNT).unwrap_or(0),
        }
    }

    /// The frame whose header is at `at`, and where the next header is; `None` if the header
    /// points out of the block, which the kernel's never does.
    #[inline]
    fn read(&self) -> Option<(Frame<'a>, usize)> {
        let rest = self.block.get(self.at..)?;
        // One check of the length for all fields.
        let header: &[u8; header::LEN] = rest.first_chunk()?;
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let captured_len = word(header::CAPTURED) as usize;
        let status = word(header::STATUS);
        let since_epoch = Duration::new(word(header::SECONDS).into(), word(header::NANOSECONDS));
        let meta = FrameMeta {
            packet_type: PacketType::from_kernel(header[header::PACKET_TYPE]),
            original_len: word(header::ORIGINAL) as usize,
            captured_len,
            timestamp: UNIX_EPOCH + since_epoch,
            vlan: VlanTag::from_kernel(status, word(header::TCI) as u16, half(header::TPID)),
            checksum: Checksum::from_kernel(status),
        };
        let start = usize::from(half(header::BYTES));
        let bytes = rest.get(start..)?.get(..captured_len)?;
        let next = self.at.checked_add(word(header::NEXT) as usize)?;
        Some((Frame { meta, bytes }, next))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        self.left = self.left.checked_sub(1)?;
        let Some((frame, next)) = self.read() else {
            self.left = 0;
            return None;
        };
        self.at = next;
        Some(frame)
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|&field| u32::from_ne_bytes(field))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a block holds, reading it ends and stays within it.
        #[test]
        fn any_bytes_are_a_block(
            mut bytes in prop::collection::vec(any::<u8>(), 0..400),
            small in any::<bool>(),
        ) {
            if small {
                // Offsets and lengths that point into the block more often than not.
                for word in bytes.chunks_mut(4) {
                    for byte in word.iter_mut().skip(1) {
                        *byte = 0;
                    }
                }
            }
            for frame in Frames::new(&bytes).take(1000) {
                prop_assert!(bytes.as_ptr_range().contains(&frame.bytes.as_ptr())
                    || frame.bytes.is_empty());
                prop_assert_eq!(frame.bytes.len(), frame.meta.captured_len);
            }
        }
    }

    #[test]
    fn frames_are_found_by_their_offsets() {
        let mut block = vec![0; 400];
        let mut put = |at: usize, value: u32| {
            block[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        put(block::COUNT, 3);
        put(block::FIRST, 48);
        for (at, next, len) in [(48, 128, 3), (176, 112, 5)] {
            put(at + header::NEXT, next);
            put(at + header::SECONDS, 1);
            put(at + header::NANOSECONDS, 500);
            put(at + header::CAPTURED, len);
            put(at + header::ORIGINAL, 60);
            put(at + header::STATUS, libc::TP_STATUS_VLAN_VALID);
            put(at + header::TCI, 9);
            put(at + header::BYTES, 82);
        }
        // The third one's length reaches beyond the block.
        put(288 + header::CAPTURED, 400);
        let mut frames = Frames::new(&block);
        let first = frames.next().unwrap();
        assert_eq!(first.bytes.len(), 3);
        assert_eq!(first.meta.original_len, 60);
        assert!(first.meta.is_truncated());
        assert_eq!(first.meta.timestamp, UNIX_EPOCH + Duration::new(1, 500));
        assert_eq!(first.meta.vlan, Some(VlanTag { tpid: 0x8100, tci: 9 }));
        assert_eq!(frames.next().unwrap().bytes.len(), 5);
        assert!(frames.next().is_none());
        assert!(frames.next().is_none());
    }

    #[test]
    fn a_ring_too_large_to_count_is_refused() {
        let config = RingConfig::default().blocks(u32::MAX).block_size(1 << 20);
        assert_eq!(config.request().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let hold = RingConfig::default().hold(Duration::from_nanos(1));
        assert_eq!(hold.request().unwrap().tp_retire_blk_tov, 1);
    }
}
