//! A super-frame cut into frames: generic segmentation offload (GSO) outside the kernel.

use acton_frame::field::{ipv4, ipv6, tcp, udp};
use acton_frame::{Headers, IpVersion, Protocol};
use thiserror::Error;

use super::checksum::{Sum, not_zero};
use super::layout::{Layout, word};
use crate::vnet::{Checksum, Gso, VnetHeader};

/// Bytes of headers that a [`Segments`] rewrites at most: Ethernet, two VLAN tags, IPv6 and TCP
/// with all its options are 122, so that there is room for extension headers and tunnels.
pub const MAX_HEAD: usize = 256;

/// Room for the rewritten headers of one frame.
pub type Head = [u8; MAX_HEAD];

/// What becomes of a checksum that the kernel left to be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// It is computed: the frames are complete.
    Full,
    /// It stays the pseudo-header's sum, of each frame's own length, in every frame in which
    /// [`partial_checksum`](super::partial_checksum) finds it; else it is computed.
    Partial,
}

/// Why a frame from a TAP cannot be cut or completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The headers are not those that the vnet header names.
    #[error("super-frame whose headers are not those of its gso type")]
    Headers,
    /// A super-frame's checksum is not to be filled in where its TCP or UDP checksum is.
    #[error("super-frame without a partial checksum in its TCP or UDP header")]
    Checksum,
    /// The vnet header places the checksum outside the frame.
    #[error("partial checksum that lies outside the frame")]
    Outside,
    /// More than [`MAX_HEAD`] bytes would have to be rewritten.
    #[error("headers of {0} bytes, more than the {MAX_HEAD} that can be rewritten")]
    LongHead(usize),
    /// The IP header of a segment could not tell its length.
    #[error("segments that are IP packets of {0} bytes, more than there are")]
    LongPacket(usize),
    /// The longest frame allowed has no room for payload.
    #[error("headers of {head} bytes leave no room in frames of {max_frame} bytes")]
    NoRoom {
        /// Bytes of the super-frame's headers.
        head: usize,
        /// Bytes of the longest frame allowed.
        max_frame: usize,
    },
}

/// One frame as two pieces, to be sent one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'h, 'f> {
    /// Its rewritten headers; empty if it goes as it came.
    pub head: &'h [u8],
    /// The rest of it, in place.
    pub payload: &'f [u8],
}

impl Segment<'_, '_> {
    /// Bytes of the frame.
    pub fn frame_len(&self) -> usize {
        self.head.len() + self.payload.len()
    }
}

/// The frames that one read of a TAP with [`vnet_header`](crate::Builder::vnet_header) stands for:
/// the segments of a super-frame, or the frame itself.
///
/// All frames but the last are of one length, the last is no longer: what one `UDP_SEGMENT` send
/// takes.
///
/// A super-frame is cut as the kernel cuts it: lengths, sequence numbers, and the IPv4 id (the
/// first's plus the index) are rewritten, FIN and PSH stay on the last frame only, CWR on the first
/// only, IPv4 options and IPv6 extension headers on all.
#[derive(Debug, Clone)]
pub struct Segments<'f> {
    headers: &'f [u8],
    payload: &'f [u8],
    /// Bytes of payload in each frame, the last apart.
    size: usize,
    index: usize,
    count: usize,
    /// `None` where the frame goes as it came.
    work: Option<Work>,
    checksum: Checksum,
}

/// What is to be done to the headers of each frame.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Write this checksum at the end of the head.
    Complete([u8; 2]),
    /// `base` is the partial checksum without a length.
    Cut { layout: Layout, fill: Fill, base: Sum },
}

impl<'f> Segments<'f> {
    /// Prepares to cut `frame`, which a TAP gave with `header`.
    ///
    /// TCP is cut smaller than `header` says where frames would be longer than `max_frame` bytes.
    /// UDP datagrams and frames that are no super-frames stay whole: compare
    /// [`frame_len`](Self::frame_len).
    ///
    /// # Errors
    /// The frame does not have the headers that `header` speaks of, or they are too long.
    pub fn new(
        header: &VnetHeader,
        frame: &'f [u8],
        max_frame: usize,
        fill: Fill,
    ) -> Result<Self, Malformed> {
        Self::new_parsed(header, frame, &Headers::parse(frame), max_frame, fill)
    }

    /// As [`new`](Self::new), of a frame that was parsed before.
    ///
    /// # Errors
    /// As of [`new`](Self::new); headers of a frame of another length are not those of a super-frame.
    pub fn new_parsed(
        header: &VnetHeader,
        frame: &'f [u8],
        headers: &Headers,
        max_frame: usize,
        fill: Fill,
    ) -> Result<Self, Malformed> {
        match (header.gso, header.checksum) {
            (Some(gso), checksum) => {
                let layout = Layout::in_frame(headers, frame);
                let layout = layout.filter(|layout| layout.kind() == gso.kind);
                let layout = layout.ok_or(Malformed::Headers)?;
                if layout.partial() != checksum {
                    return Err(Malformed::Checksum);
                }
                Self::cut(gso, layout, frame, max_frame, fill)
            }
            (None, Checksum::Partial { start, offset }) => {
                if fill == Fill::Partial
                    && super::partial_checksum_parsed(headers) == Some(header.checksum)
                {
                    return Ok(Self::whole(&[], frame, None, header.checksum));
                }
                Self::completed(usize::from(start), usize::from(offset), frame)
            }
            (None, checksum) => Ok(Self::whole(&[], frame, None, checksum)),
        }
    }

    fn whole(headers: &'f [u8], payload: &'f [u8], work: Option<Work>, checksum: Checksum) -> Self {
        Self { headers, payload, size: payload.len(), index: 0, count: 1, work, checksum }
    }

    fn completed(start: usize, offset: usize, frame: &'f [u8]) -> Result<Self, Malformed> {
        let head = start + offset + 2;
        let (headers, payload) = frame.split_at_checked(head).ok_or(Malformed::Outside)?;
        if head > MAX_HEAD {
            return Err(Malformed::LongHead(head));
        }
        let checksum = not_zero(Sum::of(&frame[start..]).checksum());
        Ok(Self::whole(headers, payload, Some(Work::Complete(checksum)), Checksum::Valid))
    }

    fn cut(
        gso: Gso,
        layout: Layout,
        frame: &'f [u8],
        max_frame: usize,
        fill: Fill,
    ) -> Result<Self, Malformed> {
        let head = layout.payload;
        if head > MAX_HEAD {
            return Err(Malformed::LongHead(head));
        }
        let mut size = usize::from(gso.size.get());
        if layout.protocol == Protocol::Tcp {
            let room = max_frame.checked_sub(head).filter(|&room| room > 0);
            size = size.min(room.ok_or(Malformed::NoRoom { head, max_frame })?);
        }
        let (headers, payload) = frame.split_at(head);
        let packet = head - layout.ip + size.min(payload.len());
        if packet > usize::from(u16::MAX) {
            return Err(Malformed::LongPacket(packet));
        }
        let length = (frame.len() - layout.transport) as u32;
        let at = layout.checksum();
        let base = Sum::of(&headers[at..at + 2]).plus_u32(!length);
        let checksum = match fill {
            Fill::Full => Checksum::Valid,
            Fill::Partial => layout.partial(),
        };
        let work = Some(Work::Cut { layout, fill, base });
        let count = payload.len().div_ceil(size).max(1);
        Ok(Self { headers, payload, size, index: 0, count, work, checksum })
    }

    /// Frames that are left.
    pub fn len(&self) -> usize {
        self.count - self.index
    }

    /// Whether no frame is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the next frame, which no later one exceeds; 0 if there is none.
    pub fn frame_len(&self) -> usize {
        if self.is_empty() { 0 } else { self.headers.len() + self.size.min(self.payload.len()) }
    }

    /// What the checksum of each frame is: `Partial` if it is still to be filled in, `Valid` if it
    /// was filled in here, and otherwise as it came.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// The next frame, its headers written to `head`.
    pub fn next_in<'h>(&mut self, head: &'h mut Head) -> Option<Segment<'h, 'f>> {
        if self.is_empty() {
            return None;
        }
        let Some(work) = &self.work else {
            self.index = self.count;
            return Some(Segment { head: &[], payload: self.payload });
        };
        let (payload, rest) = self.payload.split_at(self.size.min(self.payload.len()));
        let head = &mut head[..self.headers.len()];
        head.copy_from_slice(self.headers);
        match work {
            Work::Complete(checksum) => {
                let at = head.len() - checksum.len();
                head[at..].copy_from_slice(checksum);
            }
            Work::Cut { layout, fill, base } => {
                self.renumber(head, layout);
                set_lengths(head, layout, payload.len());
                let length = head.len() - layout.transport + payload.len();
                let partial = base.plus_u32(length as u32).folded();
                put(head, layout.checksum(), partial);
                if *fill == Fill::Full {
                    let sum = Sum::of(&head[layout.transport..]).plus(payload);
                    let checksum = match layout.protocol {
                        Protocol::Tcp => sum.checksum(),
                        Protocol::Udp => not_zero(sum.checksum()),
                    };
                    put(head, layout.checksum(), checksum);
                }
            }
        }
        self.payload = rest;
        self.index += 1;
        Some(Segment { head, payload })
    }

    /// Copies the next frame to the start of `buffer` and returns its bytes; `None` if there is
    /// none, or `buffer` is shorter than [`frame_len`](Self::frame_len).
    pub fn copy_next(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let buffer = buffer.get_mut(..self.frame_len())?;
        let mut head = [0; MAX_HEAD];
        let segment = self.next_in(&mut head)?;
        let (to_head, to_payload) = buffer.split_at_mut(segment.head.len());
        to_head.copy_from_slice(segment.head);
        to_payload.copy_from_slice(segment.payload);
        Some(segment.frame_len())
    }

    /// Writes what tells this frame from the others: TCP's sequence number and flags, IPv4's id.
    fn renumber(&self, head: &mut [u8], layout: &Layout) {
        if layout.version == IpVersion::V4 {
            let at = layout.ip + ipv4::ID.start;
            let id = word(head, at).unwrap_or_default().wrapping_add(self.index as u16);
            put(head, at, id.to_be_bytes());
        }
        if layout.protocol == Protocol::Tcp {
            let header = &mut head[layout.transport..];
            let sequence = &mut header[tcp::SEQUENCE];
            let first = sequence.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            let this = first.wrapping_add((self.index * self.size) as u32);
            sequence.copy_from_slice(&this.to_be_bytes());
            if self.index + 1 < self.count {
                header[tcp::FLAGS] &= !(tcp::FIN | tcp::PSH);
            }
            if self.index > 0 {
                header[tcp::FLAGS] &= !tcp::CWR;
            }
        }
    }
}

/// Writes the lengths of IP and UDP for `payload` bytes behind `head`, and IPv4's own checksum.
pub(super) fn set_lengths(head: &mut [u8], layout: &Layout, payload: usize) {
    let behind = |start| (head.len() - start + payload) as u16;
    let (ip, transport) = (behind(layout.ip), behind(layout.transport));
    match layout.version {
        IpVersion::V4 => {
            let header = &mut head[layout.ip..layout.transport];
            put(header, ipv4::TOTAL_LENGTH.start, ip.to_be_bytes());
            put(header, ipv4::CHECKSUM.start, [0, 0]);
            let checksum = Sum::of(header).checksum();
            put(header, ipv4::CHECKSUM.start, checksum);
        }
        IpVersion::V6 => {
            let length = ip.wrapping_sub(ipv6::LEN as u16);
            put(head, layout.ip + ipv6::PAYLOAD_LENGTH.start, length.to_be_bytes());
        }
    }
    if layout.protocol == Protocol::Udp {
        put(head, layout.transport + udp::LENGTH.start, transport.to_be_bytes());
    }
}

/// Writes two bytes at `at`.
pub(super) fn put(bytes: &mut [u8], at: usize, value: [u8; 2]) {
    bytes[at..at + 2].copy_from_slice(&value);
}
