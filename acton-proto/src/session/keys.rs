//! The keys of a session, for as long as they live.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::fragment::piece_len;
use super::replay::Window;
use super::suite::Direction;
use super::{Link, REJECT_AFTER, REJECT_AFTER_PACKETS, REKEY_AFTER_PACKETS, Role, Suite};
use crate::handshake::Split;
use crate::wire::{
    Caps, Control, Fragment, HEADER_LEN, Header, Kind, MAX_DATAGRAM, OVERHEAD, TAG_LEN,
};

/// Datagrams that fail to open after which a key opens no more: the integrity limit of
/// ChaCha20-Poly1305 in RFC 9001, section 6.6 (AES-GCM's is higher).
const FORGERY_LIMIT: u64 = 1 << 36;
/// The datagram size in bytes that the packet limits are made for.
const LIMIT_DATAGRAM: usize = 2048;
/// The least Ethernet frame that is carried: two addresses and a type.
pub const MIN_FRAME: usize = 14;

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The keys are past their age or their number of datagrams; new ones are on their way.
    #[error("the keys are used up; wait for the handshake under way")]
    Expired,
    /// The frame is shorter than an Ethernet header.
    #[error("the frame is shorter than an Ethernet header")]
    TooShort,
    /// The frame is longer than the peer takes, or than sixteen datagrams of the path carry.
    #[error("the frame is longer than the peer takes; lower the interface's MTU")]
    TooLong,
    /// The buffer is no header, plaintext and room for the tag.
    #[error("the buffer does not have the layout of a datagram")]
    Layout,
}

/// Why a datagram was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The keys are past their age or saw too many forgeries.
    #[error("the keys are used up")]
    Expired,
    /// The datagram was changed, or never sealed by the peer.
    #[error("the datagram is not authentic")]
    Forged,
    /// The datagram came before, or is older than the replay window.
    #[error("the datagram came before or is too old")]
    Replayed,
}

/// What the handshake agreed on, besides the secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// The cipher suite.
    pub suite: Suite,
    /// The id that datagrams to this end carry.
    pub local_id: u32,
    /// The id that datagrams to the peer carry.
    pub remote_id: u32,
    /// What both ends are able to do.
    pub caps: Caps,
    /// The largest frame that both ends take, bytes.
    pub max_frame: u16,
    /// When the keys were made.
    pub born: Duration,
}

/// The keys of one handshake, for both directions.
pub struct Keys {
    setup: Setup,
    seal: Direction,
    open: Direction,
    /// The next counter to seal with.
    next: AtomicU64,
    window: Mutex<Window>,
    /// Whether anything was ever opened: the peer has the keys.
    confirmed: AtomicBool,
    forgeries: AtomicU64,
    link: Arc<Link>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("setup", &self.setup).finish_non_exhaustive()
    }
}

/// A datagram that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// What it carries.
    pub kind: Kind,
    /// Whether no datagram with a higher counter came before: only such a one may move a session
    /// to another address.
    pub newest: bool,
    /// Whether it is the first ever under these keys, which confirms them.
    pub first: bool,
    end: usize,
}

impl Opened {
    /// Where the plaintext is in the datagram.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        HEADER_LEN..self.end
    }

    /// The plaintext.
    ///
    /// # Panics
    /// If `datagram` is shorter than the one that was opened.
    #[must_use]
    pub fn plaintext<'a>(&self, datagram: &'a [u8]) -> &'a [u8] {
        &datagram[self.range()]
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FrameBytes {
    InPlace(Range<usize>),
    Reassembled(Vec<u8>),
}

impl FrameBytes {
    const fn len(&self) -> usize {
        match self {
            Self::InPlace(range) => range.end - range.start,
            Self::Reassembled(bytes) => bytes.len(),
        }
    }
}

/// An Ethernet frame from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: FrameBytes,
    /// The TCP or UDP checksum in it holds the pseudo-header's sum only.
    pub partial_checksum: bool,
}

impl Frame {
    /// Where the frame lies in the datagram that was opened; `None` if it came in pieces and has
    /// bytes of its own.
    #[must_use]
    pub fn range(&self) -> Option<Range<usize>> {
        match &self.bytes {
            FrameBytes::InPlace(range) => Some(range.clone()),
            FrameBytes::Reassembled(_) => None,
        }
    }

    /// The frame's bytes; `datagram` is the datagram that was opened.
    ///
    /// # Panics
    /// If `datagram` is shorter than the one that was opened.
    #[must_use]
    pub fn bytes<'a>(&'a self, datagram: &'a [u8]) -> &'a [u8] {
        match &self.bytes {
            FrameBytes::InPlace(range) => &datagram[range.clone()],
            FrameBytes::Reassembled(bytes) => bytes,
        }
    }

    /// The same to be changed, as by a mark that the datagram got on its way.
    ///
    /// # Panics
    /// If `datagram` is shorter than the one that was opened.
    pub fn bytes_mut<'a>(&'a mut self, datagram: &'a mut [u8]) -> &'a mut [u8] {
        match &mut self.bytes {
            FrameBytes::InPlace(range) => &mut datagram[range.clone()],
            FrameBytes::Reassembled(bytes) => bytes,
        }
    }
}

/// Counters that belong to one caller. Each seals one datagram, and none seals two: dropping a
/// reservation leaves its rest unused.
#[derive(Debug)]
pub struct Reservation<'a> {
    keys: &'a Keys,
    counters: Range<u64>,
}

impl Reservation<'_> {
    /// Seals `16 bytes of room || plaintext || 16 bytes of room` in place under the next counter.
    ///
    /// # Errors
    /// [`SealError::Layout`] if there is no plaintext between the rooms or the whole is longer than
    /// 65,507 bytes, [`SealError::Expired`] if the reservation is used up.
    pub fn seal(&mut self, kind: Kind, datagram: &mut [u8]) -> Result<(), SealError> {
        if !(OVERHEAD + 1..=MAX_DATAGRAM).contains(&datagram.len()) {
            return Err(SealError::Layout);
        }
        let counter = self.counters.next().ok_or(SealError::Expired)?;
        let header = Header { kind, receiver_id: self.keys.setup.remote_id, counter };
        datagram[..HEADER_LEN].copy_from_slice(&header.encode());
        self.keys.link.note_size(datagram.len());
        if self.keys.seal.seal(counter, datagram) { Ok(()) } else { Err(SealError::Layout) }
    }

    /// Appends a whole frame that is `parts` one after the other to `out`, sealed under the next
    /// counter.
    ///
    /// # Errors
    /// As of [`seal`](Self::seal); nothing was appended then.
    pub fn seal_parts<const N: usize>(
        &mut self,
        parts: [&[u8]; N],
        partial_checksum: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.extend_from_slice(&[0; TAG_LEN]);
        let kind = Kind::Data { fragment: Fragment::WHOLE, partial_checksum };
        let sealed = self.seal(kind, &mut out[start..]);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// How many datagrams may still be sealed.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.counters.end - self.counters.start
    }

    /// Whether the reservation is used up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Keys {
    /// Keys from a handshake's split.
    #[must_use]
    pub fn new(role: Role, split: &Split, setup: &Setup, link: Arc<Link>) -> Self {
        let (seal, open) = match role {
            Role::Client => (&split.to_server, &split.to_client),
            Role::Server => (&split.to_client, &split.to_server),
        };
        Self {
            setup: *setup,
            seal: Direction::new(seal, setup.suite),
            open: Direction::new(open, setup.suite),
            next: AtomicU64::new(0),
            window: Mutex::new(Window::new()),
            confirmed: AtomicBool::new(false),
            forgeries: AtomicU64::new(0),
            link,
        }
    }

    /// What the handshake agreed on.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// What outlives the keys.
    #[must_use]
    pub const fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// How many counters were given out.
    #[must_use]
    pub fn sealed(&self) -> u64 {
        self.next.load(Relaxed)
    }

    /// Whether the peer has shown that it has the keys.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Relaxed)
    }

    /// Whether so much was sealed that it is time for new keys.
    #[must_use]
    pub fn wants_rekey(&self) -> bool {
        self.sealed() >= REKEY_AFTER_PACKETS / self.weight()
    }

    /// How many datagrams of the limits' size the largest of this session counts for.
    fn weight(&self) -> u64 {
        usize::from(self.setup.max_frame).saturating_add(OVERHEAD).div_ceil(LIMIT_DATAGRAM) as u64
    }

    fn is_expired(&self, now: Duration) -> bool {
        now.saturating_sub(self.setup.born) >= REJECT_AFTER
    }

    /// Reserves counters for `count` datagrams.
    ///
    /// # Errors
    /// [`SealError::Expired`] if the keys are past their age or their packet limit.
    pub fn reserve(&self, now: Duration, count: u64) -> Result<Reservation<'_>, SealError> {
        let reservation = self.reserve_quietly(now, count)?;
        self.link.note_sent(now);
        Ok(reservation)
    }

    /// The same for a datagram that asks for no sign of life.
    fn reserve_quietly(&self, now: Duration, count: u64) -> Result<Reservation<'_>, SealError> {
        let limit = REJECT_AFTER_PACKETS / self.weight();
        // Checked before it is raised, so that the counter cannot wrap however often this fails.
        if self.is_expired(now) || count > limit || self.next.load(Relaxed) > limit - count {
            return Err(SealError::Expired);
        }
        let first = self.next.fetch_add(count, Relaxed);
        // Threads that raced past the check overshoot by their batches; what is over is not used.
        if first > limit - count {
            return Err(SealError::Expired);
        }
        self.link.note_answer_sent(now);
        Ok(Reservation { keys: self, counters: first..first + count })
    }

    /// Seals a batch of whole frames in place: `datagrams` holds slots of `stride` bytes, the last
    /// maybe shorter, each `16 bytes of room || frame || 16 bytes of room`. What comes out is what
    /// one send with `UDP_SEGMENT` of `stride` takes.
    ///
    /// # Errors
    /// [`SealError::Expired`], or [`SealError::Layout`] if a slot holds no frame or the slots are
    /// larger than the path's datagrams.
    pub fn seal_segments(
        &self,
        now: Duration,
        datagrams: &mut [u8],
        stride: usize,
        partial_checksum: bool,
    ) -> Result<(), SealError> {
        let tail = if stride == 0 { 0 } else { datagrams.len() % stride };
        let fits = (OVERHEAD + MIN_FRAME..=usize::from(self.link.path_mtu())).contains(&stride);
        if !fits || tail != 0 && tail < OVERHEAD + MIN_FRAME {
            return Err(SealError::Layout);
        }
        let kind = Kind::Data { fragment: Fragment::WHOLE, partial_checksum };
        let mut batch = self.reserve(now, datagrams.len().div_ceil(stride) as u64)?;
        datagrams.chunks_mut(stride).try_for_each(|datagram| batch.seal(kind, datagram))
    }

    /// Appends a frame to `out` as one sealed datagram, or as several if it is larger than the path
    /// carries. Returns the segment size: every datagram has it but the last, which may be shorter.
    ///
    /// # Errors
    /// [`SealError`]; nothing was appended then.
    pub fn seal_frame(
        &self,
        now: Duration,
        frame: &[u8],
        partial_checksum: bool,
        out: &mut Vec<u8>,
    ) -> Result<usize, SealError> {
        if frame.len() < MIN_FRAME {
            return Err(SealError::TooShort);
        }
        let path_mtu = usize::from(self.link.path_mtu());
        let piece = piece_len(frame.len(), path_mtu).ok_or(SealError::TooLong)?;
        let whole = piece == frame.len();
        let fits = frame.len() <= usize::from(self.setup.max_frame);
        if !fits || !whole && !self.setup.caps.contains(Caps::FRAG) {
            return Err(SealError::TooLong);
        }
        let count = frame.len().div_ceil(piece);
        let mut batch = self.reserve(now, count as u64)?;
        for (index, bytes) in frame.chunks(piece).enumerate() {
            let start = out.len();
            out.resize(start + HEADER_LEN, 0);
            out.extend_from_slice(bytes);
            out.resize(out.len() + TAG_LEN, 0);
            let fragment = Fragment { index: index as u8, last: index + 1 == count };
            batch.seal(Kind::Data { fragment, partial_checksum }, &mut out[start..])?;
        }
        Ok(piece + OVERHEAD)
    }

    /// The longest frame that goes into one datagram, in bytes: what both the path and the peer take.
    #[must_use]
    pub fn max_whole(&self) -> usize {
        let fits = usize::from(self.link.path_mtu()).saturating_sub(OVERHEAD);
        fits.min(usize::from(self.setup.max_frame))
    }

    /// A sealed control message.
    pub(crate) fn seal_control(
        &self,
        now: Duration,
        message: Control,
    ) -> Result<Vec<u8>, SealError> {
        let mut datagram = vec![0; HEADER_LEN];
        message.encode(&mut datagram);
        datagram.resize(datagram.len() + TAG_LEN, 0);
        let mut counter = match message {
            Control::Keepalive { .. } | Control::Rekey => self.reserve(now, 1)?,
            Control::Echo { .. } | Control::Bye { .. } => self.reserve_quietly(now, 1)?,
        };
        counter.seal(Kind::Control, &mut datagram)?;
        Ok(datagram)
    }

    /// Opens a datagram in place. `header` is the parsed header of the same bytes.
    ///
    /// # Errors
    /// [`OpenError`]; the bytes are then of no use.
    pub fn open(
        &self,
        now: Duration,
        header: &Header,
        datagram: &mut [u8],
    ) -> Result<Opened, OpenError> {
        if self.is_expired(now) || self.forgeries.load(Relaxed) >= FORGERY_LIMIT {
            return Err(OpenError::Expired);
        }
        if !self.open.open(header.counter, datagram) {
            self.forgeries.fetch_add(1, Relaxed);
            return Err(OpenError::Forged);
        }
        let newest = {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.note(header.counter).ok_or(OpenError::Replayed)?
        };
        self.link.note_received(now);
        let first = !self.confirmed.load(Relaxed) && !self.confirmed.swap(true, Relaxed);
        Ok(Opened { kind: header.kind, newest, first, end: datagram.len() - TAG_LEN })
    }

    /// Opens a DATA datagram in place and gives its frame, if it carries a whole one or the last
    /// missing piece of one. Of CONTROL the frame is always `None`.
    ///
    /// A frame that the peer should not have sent (shorter than 14 bytes, longer than agreed, using
    /// a capability that was not) is dropped: `None`.
    ///
    /// # Errors
    /// [`OpenError`]; the bytes are then of no use.
    pub fn receive(
        &self,
        now: Duration,
        header: &Header,
        datagram: &mut [u8],
    ) -> Result<(Opened, Option<Frame>), OpenError> {
        let opened = self.open(now, header, datagram)?;
        let Kind::Data { fragment, partial_checksum } = opened.kind else {
            return Ok((opened, None));
        };
        let max_frame = usize::from(self.setup.max_frame);
        let bytes = if fragment == Fragment::WHOLE {
            Some(FrameBytes::InPlace(opened.range()))
        } else if self.setup.caps.contains(Caps::FRAG) {
            let id = (self.setup.local_id, header.counter - u64::from(fragment.index));
            let piece = opened.plaintext(datagram);
            let mut reassembler = self.link.reassembler();
            reassembler
                .insert(now, id, fragment, partial_checksum, piece, max_frame)
                .map(FrameBytes::Reassembled)
        } else {
            None
        };
        let allowed = !partial_checksum || self.setup.caps.contains(Caps::CSUM);
        let frame = bytes
            .filter(|bytes| allowed && (MIN_FRAME..=max_frame).contains(&bytes.len()))
            .map(|bytes| Frame { bytes, partial_checksum });
        Ok((opened, frame))
    }
}

#[cfg(test)]
mod tests;
