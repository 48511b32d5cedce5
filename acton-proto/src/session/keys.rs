//! The keys of a session, for as long as they live.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::bundle::Entries;
use super::fragment::{FrameId, Misfit, piece_len};
use super::frame::{Content, Frames, Received};
use super::replay::Window;
use super::suite::Direction;
use super::{
    Link, REJECT_AFTER, REJECT_AFTER_LATE_USE, REJECT_AFTER_PACKETS, REJECT_IDLE_AFTER,
    REKEY_AFTER_PACKETS, REKEY_BEFORE_END, Role, Suite,
};
use crate::handshake::Split;
use crate::wire::{
    Caps, Control, Delivery, Fragment, HEADER_LEN, Header, Kind, MAX_DATAGRAM, MIN_FRAME, OVERHEAD,
    REPORT_LEN, ReportRole, TAG_LEN, is_probe,
};

/// Datagrams that fail to open after which a key opens no more: the integrity limit of
/// ChaCha20-Poly1305 in RFC 9001, section 6.6 (AES-GCM's is higher).
const FORGERY_LIMIT: u64 = 1 << 36;
/// The datagram size in bytes that the packet limits are made for.
const LIMIT_DATAGRAM: usize = 2048;

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
    /// When something was first opened, in nanoseconds, 0 for never: the peer has the keys.
    confirmed_at: AtomicU64,
    forgeries: AtomicU64,
    /// When the first frame was sealed or opened, in nanoseconds, 0 for never.
    used_since: AtomicU64,
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

/// Counters that belong to one caller. Each seals one datagram, and none seals two: dropping a
/// reservation leaves its rest unused.
#[derive(Debug)]
pub struct Reservation<'a> {
    keys: &'a Keys,
    counters: Range<u64>,
    now: Duration,
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
        if kind != Kind::Control {
            self.keys.link.note_size(datagram.len());
        }
        self.keys.note_use(self.now, kind, &datagram[HEADER_LEN..datagram.len() - TAG_LEN]);
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
            confirmed_at: AtomicU64::new(0),
            forgeries: AtomicU64::new(0),
            used_since: AtomicU64::new(0),
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
        self.confirmed_at().is_some()
    }

    /// When the peer first showed that it has the keys.
    pub(crate) fn confirmed_at(&self) -> Option<Duration> {
        noted(&self.confirmed_at)
    }

    /// What arrived under these keys, of what the peer sealed.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).delivery()
    }

    /// Whether no frame was sealed or opened under these keys, but probes for loops: they protect
    /// nothing of anybody's yet.
    pub(crate) fn is_idle(&self) -> bool {
        noted(&self.used_since).is_none()
    }

    #[inline]
    fn note_use(&self, now: Duration, kind: Kind, plaintext: &[u8]) {
        if self.used_since.load(Relaxed) == 0 {
            self.note_first_use(now, kind, plaintext);
        }
    }

    #[cold]
    fn note_first_use(&self, now: Duration, kind: Kind, plaintext: &[u8]) {
        let carries_frames = match kind {
            Kind::Control => false,
            Kind::Data { fragment: Fragment::WHOLE, .. } => !is_probe(plaintext),
            Kind::Data { .. } | Kind::Bundle { .. } => true,
        };
        if carries_frames {
            note(&self.used_since, now);
        }
    }

    /// When these keys seal and open no more: less than three minutes after any frame that they carried,
    /// so that whoever takes them can read no more than that; much later where they carried none.
    pub(crate) fn expires_at(&self) -> Duration {
        let born = self.setup.born;
        let last = born + REJECT_IDLE_AFTER;
        noted(&self.used_since).map_or(last, |first| {
            (born + REJECT_AFTER).max(first + REJECT_AFTER_LATE_USE).min(last)
        })
    }

    /// Whether it is time for new keys: so much was sealed, or these are about to end.
    #[must_use]
    pub fn wants_rekey(&self, now: Duration) -> bool {
        self.sealed() >= REKEY_AFTER_PACKETS / self.weight()
            || now + REKEY_BEFORE_END >= self.expires_at()
    }

    /// How many datagrams of the limits' size the largest of this session counts for.
    fn weight(&self) -> u64 {
        usize::from(self.setup.max_frame).saturating_add(OVERHEAD).div_ceil(LIMIT_DATAGRAM) as u64
    }

    fn is_expired(&self, now: Duration) -> bool {
        now.saturating_sub(self.setup.born) >= REJECT_AFTER && now >= self.expires_at()
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
        Ok(Reservation { keys: self, counters: first..first + count, now })
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

    /// The longest plaintext of a bundle, in bytes; 0 where the peer takes none.
    pub(super) fn max_bundle(&self) -> usize {
        if self.setup.caps.contains(Caps::BUNDLE) { self.max_whole() } else { 0 }
    }

    /// A sealed control message.
    pub(crate) fn seal_control(
        &self,
        now: Duration,
        message: Control,
    ) -> Result<Vec<u8>, SealError> {
        // Room for all but a padded probe, at once.
        let mut datagram = Vec::with_capacity(REPORT_LEN);
        datagram.resize(HEADER_LEN, 0);
        message.encode(&mut datagram);
        datagram.resize(datagram.len() + TAG_LEN, 0);
        let mut counter = match message {
            Control::Keepalive { .. }
            | Control::Report { role: ReportRole::Question, .. }
            | Control::Rekey
            | Control::NetworkKey(_)
            | Control::Move { .. }
            | Control::IsolationOrder(_) => self.reserve(now, 1)?,
            Control::Echo { .. }
            | Control::Report { role: ReportRole::Answer, .. }
            | Control::IsolationAnswer(_)
            | Control::Bye { .. } => self.reserve_quietly(now, 1)?,
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
        let first = !self.is_confirmed() && note(&self.confirmed_at, now);
        let end = datagram.len() - TAG_LEN;
        self.note_use(now, header.kind, &datagram[HEADER_LEN..end]);
        Ok(Opened { kind: header.kind, newest, first, end })
    }

    /// Opens a datagram in place and gives what is in it.
    ///
    /// # Errors
    /// [`OpenError`]; the bytes are then of no use.
    pub fn receive<'d>(
        &self,
        now: Duration,
        header: &Header,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, OpenError> {
        let opened = self.open(now, header, datagram)?;
        let plaintext = &mut datagram[opened.range()];
        let content = match opened.kind {
            Kind::Control => Content::Control(plaintext),
            Kind::Bundle { partial_checksum } => self.bundle(plaintext, partial_checksum),
            Kind::Data { fragment: Fragment::WHOLE, partial_checksum } => {
                if self.takes(plaintext.len(), partial_checksum) {
                    Content::Frames(Frames::in_place(plaintext, partial_checksum))
                } else {
                    Content::Bad
                }
            }
            Kind::Data { fragment, partial_checksum } => {
                let id = (self.setup.local_id, header.counter - u64::from(fragment.index));
                self.piece(now, id, fragment, partial_checksum, plaintext)
            }
        };
        Ok(Received { newest: opened.newest, first: opened.first, content })
    }

    /// Whether a frame of `len` bytes is one that was agreed on.
    fn takes(&self, len: usize, partial_checksum: bool) -> bool {
        let caps = self.setup.caps;
        (MIN_FRAME..=usize::from(self.setup.max_frame)).contains(&len)
            && (!partial_checksum || caps.contains(Caps::CSUM))
    }

    fn bundle<'d>(&self, plaintext: &'d mut [u8], partial_checksum: bool) -> Content<'d> {
        // The plaintext is no longer than a frame may be.
        let allowed =
            self.setup.caps.contains(Caps::BUNDLE) && self.takes(plaintext.len(), partial_checksum);
        let entries = if allowed { Entries::new(plaintext) } else { None };
        entries.map_or(Content::Bad, |entries| {
            Content::Frames(Frames::bundle(entries, partial_checksum))
        })
    }

    fn piece(
        &self,
        now: Duration,
        id: FrameId,
        fragment: Fragment,
        partial_checksum: bool,
        piece: &[u8],
    ) -> Content<'static> {
        if !self.setup.caps.contains(Caps::FRAG) {
            return Content::Bad;
        }
        let max_frame = usize::from(self.setup.max_frame);
        let mut reassembler = self.link.reassembler();
        match reassembler.insert(now, id, fragment, partial_checksum, piece, max_frame) {
            Ok(Some(frame)) if self.takes(frame.len(), partial_checksum) => {
                Content::Frames(Frames::reassembled(frame, partial_checksum))
            }
            Ok(Some(_)) => Content::Bad,
            Ok(None) => Content::Piece,
            Err(Misfit) => Content::BadPiece,
        }
    }
}

/// What was [noted](note) there, if it was.
fn noted(at: &AtomicU64) -> Option<Duration> {
    match at.load(Relaxed) {
        0 => None,
        at => Some(Duration::from_nanos(at)),
    }
}

/// Notes `now` as when something happened first; whether it is.
fn note(at: &AtomicU64, now: Duration) -> bool {
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1);
    at.compare_exchange(0, now, Relaxed, Relaxed).is_ok()
}

#[cfg(test)]
mod tests;
