//! Segmentation and coalescing in user space, pure: bytes in, bytes out.
//!
//! A TAP with [`Offloads`](crate::Offloads) trades super-frames: TCP or UDP payloads of up to
//! 64 KiB under one set of headers, with a checksum that is still to be filled in. Whoever passes
//! frames on to where such frames cannot go, cuts them up, and whoever gets runs of frames for a
//! TAP, saves the kernel most of its work by joining them:
//!
//! - [`Segments`] cuts what a TAP gave into frames, as the kernel's GSO would;
//! - [`Coalescer`] joins frames into super-frames for a TAP, as the kernel's GRO would;
//! - [`partial_checksum`] tells a TAP where a frame's checksum is to be filled in;
//! - [`Sum`] is the Internet checksum.
//!
//! Whoever has parsed a frame already passes its [`Headers`] along, to the functions that end in
//! `_parsed`.
//!
//! Neither copies payload nor, after the first batches, allocates. Both know TCP and UDP over IPv4
//! and IPv6 behind up to two VLAN tags.
//!
//! ```
//! use std::num::NonZeroU16;
//! use acton_tap::offload::{Coalescer, Fill, MAX_HEAD, Segments, Trust};
//! use acton_tap::{Checksum, Gso, GsoKind, Offloads, VnetHeader};
//!
//! // A super-frame of UDP over IPv4, 3 datagrams of 100 bytes, as a TAP gives it.
//! let mut frame = vec![0; 14 + 20 + 8 + 300];
//! frame[12..14].copy_from_slice(&[0x08, 0x00]);
//! frame[14..24].copy_from_slice(&[0x45, 0, 0x01, 0x48, 0, 7, 0, 0, 64, 17]);
//! frame[38..40].copy_from_slice(&[0x01, 0x34]); // 308 bytes of UDP
//! frame[40..42].copy_from_slice(&[0x01, 0x45]); // the sum of the pseudo-header
//! let header = VnetHeader {
//!     checksum: Checksum::Partial { start: 34, offset: 6 },
//!     gso: Some(Gso { kind: GsoKind::Udp, size: NonZeroU16::new(100).unwrap(), ecn: false }),
//!     header_len: 42,
//! };
//!
//! let mut segments = Segments::new(&header, &frame, 1514, Fill::Full)?;
//! assert_eq!((segments.len(), segments.frame_len()), (3, 142));
//! let mut frames = Vec::new();
//! let mut head = [0; MAX_HEAD];
//! while let Some(segment) = segments.next_in(&mut head) {
//!     frames.push([segment.head, segment.payload].concat()); // or sendmsg(2) of the two
//! }
//!
//! let mut coalescer = Coalescer::new(Offloads::all());
//! let mut written = Vec::new();
//! let mut batch = coalescer.batch(|super_frame| {
//!     written.push((super_frame.header(), super_frame.frames())); // or Queue::send_vectored
//! });
//! for frame in &frames {
//!     batch.push(frame, Trust::Verify)?;
//! }
//! drop(batch);
//! assert_eq!(written, [(header, 3)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Checksums
//! A super-frame's checksum is always partial: whatever the kernel does with it, it computes the
//! right one for the bytes it has. So joining a frame vouches for its payload, and a frame joins
//! only if somebody verified its checksum ([`Trust`]). Nothing cheaper does:
//!
//! - The checksum of the tunnel's datagram says that the bytes are those the peer sent, not that
//!   they were right when the peer's TAP or LAN gave them to it.
//! - The checksums of the frames could be folded into that of the super-frame without a look at
//!   the payload, and the vnet header leave it to the kernel to verify. But the kernel computes it
//!   anew wherever it segments the super-frame, takes no UDP like that, and would have to drop 64
//!   KiB for one bad frame.
//!
//! The pass over the payload that verifies it runs at several times the speed of the copy in the
//! write(2) that follows, for which it warms the cache; and a frame that is not about to be joined
//! is not verified. In a tunnel that authenticates what it carries, the sender passes on what its
//! kernel left undone ([`Fill::Partial`], [`Trust::Partial`]) and nobody computes a checksum.
#![forbid(unsafe_code)]

mod checksum;
mod coalesce;
mod layout;
mod segment;

pub use acton_frame::{Headers, Tags};
pub use checksum::Sum;
pub use coalesce::{Batch, Coalescer, MAX_FRAMES, Member, NotPartial, SuperFrame, Trust};
pub use segment::{Fill, Head, MAX_HEAD, Malformed, Segment, Segments};

use crate::vnet::Checksum;
use layout::Layout;

/// Where the checksum of a TCP or UDP frame is to be filled in, by the frame's own headers; `None`
/// if it is no such frame, or an IP fragment, or padded.
///
/// A [`Checksum::Partial`] for a TAP always comes from here, never from whoever sent the frame: the
/// kernel adds up and overwrites whatever bytes it is told to.
pub fn partial_checksum(frame: &[u8]) -> Option<Checksum> {
    partial_checksum_parsed(&Headers::parse(frame))
}

/// As [`partial_checksum`], of a frame that was parsed before.
pub fn partial_checksum_parsed(headers: &Headers) -> Option<Checksum> {
    Layout::of(headers).filter(|layout| layout.fills).map(|layout| layout.partial())
}
