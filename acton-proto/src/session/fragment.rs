//! Cutting a frame that is larger than the path's datagrams, and putting it together again.

use std::time::Duration;

use crate::wire::{Fragment, MAX_FRAGMENTS, OVERHEAD};

/// The most frames in reassembly at a time, a session.
const MAX_INCOMPLETE: usize = 64;
/// The most bytes that they hold, in frames of the largest size: pieces of many frames may come
/// interleaved, and most of them are small.
const MAX_HELD: usize = 8;
/// How long a frame waits for its missing pieces, from the first that came.
const REASSEMBLY_TIME: Duration = Duration::from_secs(1);

/// A piece does not fit the others of its frame, which is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misfit;

/// Into how large pieces a frame of `len` bytes is cut for datagrams of up to `path_mtu` bytes:
/// equal ones, but the last may be shorter. `None` if it takes more than 16.
pub(super) fn piece_len(len: usize, path_mtu: usize) -> Option<usize> {
    let room = path_mtu.checked_sub(OVERHEAD).filter(|&room| room > 0)?;
    let pieces = len.div_ceil(room).max(1);
    (pieces <= MAX_FRAGMENTS).then(|| len.div_ceil(pieces))
}

/// Names a frame: the receiver's id of the keys and the counter of the first piece.
pub(super) type FrameId = (u32, u64);

struct Slot {
    id: FrameId,
    since: Duration,
    partial_checksum: bool,
    /// Length of every piece but the last, once one came.
    piece: Option<usize>,
    /// Index of the last piece, once it came.
    last: Option<u8>,
    /// The last piece, for as long as it is not known where it goes.
    early: Vec<u8>,
    /// Which pieces came, a bit each.
    have: u16,
    frame: Vec<u8>,
}

/// Frames of which some pieces came: a few, each bounded, each for a second.
pub(super) struct Reassembler {
    /// In order of their beginning.
    slots: Vec<Slot>,
    /// Frames that were given up since this was last asked.
    given_up: u64,
}

impl Reassembler {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), given_up: 0 }
    }

    /// Adds a piece and gives the frame if it was the last one missing. Where there is no room the
    /// frame that has waited longest gives way.
    ///
    /// # Errors
    /// [`Misfit`].
    pub(super) fn insert(
        &mut self,
        now: Duration,
        id: FrameId,
        fragment: Fragment,
        partial_checksum: bool,
        bytes: &[u8],
        max_frame: usize,
    ) -> Result<Option<Vec<u8>>, Misfit> {
        self.expire(now);
        let at = match self.slots.iter().position(|slot| slot.id == id) {
            Some(at) => at,
            None => {
                self.slots.push(Slot::new(id, now, partial_checksum));
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[at];
        let fits =
            slot.partial_checksum == partial_checksum && slot.add(fragment, bytes, max_frame);
        if !fits {
            self.slots.remove(at);
            return Err(Misfit);
        }
        if slot.complete() {
            return Ok(Some(self.slots.remove(at).frame));
        }
        while self.slots.len() > MAX_INCOMPLETE || self.held() > MAX_HELD * max_frame {
            self.slots.remove(0);
            self.given_up += 1;
        }
        Ok(None)
    }

    /// Drops what has waited too long, and tells how many frames were given up since this was last
    /// asked.
    pub(super) fn sweep(&mut self, now: Duration) -> u64 {
        self.expire(now);
        if self.slots.is_empty() {
            self.slots = Vec::new();
        }
        std::mem::take(&mut self.given_up)
    }

    fn expire(&mut self, now: Duration) {
        let old = |slot: &&Slot| now.saturating_sub(slot.since) >= REASSEMBLY_TIME;
        let expired = self.slots.iter().take_while(old).count();
        self.slots.drain(..expired);
        self.given_up += expired as u64;
    }

    /// The bytes that all of them hold.
    fn held(&self) -> usize {
        self.slots.iter().map(|slot| slot.frame.capacity() + slot.early.capacity()).sum()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Slot {
    const fn new(id: FrameId, since: Duration, partial_checksum: bool) -> Self {
        Self {
            id,
            since,
            partial_checksum,
            piece: None,
            last: None,
            early: Vec::new(),
            have: 0,
            frame: Vec::new(),
        }
    }

    fn complete(&self) -> bool {
        // All of the pieces 0 ..= last.
        self.last.is_some_and(|last| u32::from(self.have) + 1 == 2 << last)
    }

    /// False if the piece does not fit the others.
    fn add(&mut self, fragment: Fragment, bytes: &[u8], max_frame: usize) -> bool {
        let index = fragment.index;
        if bytes.is_empty() || bytes.len() > max_frame || self.have & (1 << index) != 0 {
            return false;
        }
        if fragment.last {
            if self.last.is_some() || self.have >> index != 0 {
                return false; // Two lasts, or a piece past the last.
            }
            self.last = Some(index);
        } else {
            if self.last.is_some_and(|last| index >= last) {
                return false;
            }
            if *self.piece.get_or_insert(bytes.len()) != bytes.len() {
                return false;
            }
        }
        self.have |= 1 << index;
        match self.piece {
            Some(piece) => {
                let early = std::mem::take(&mut self.early);
                let put = self.put(index, piece, bytes, max_frame);
                match self.last {
                    Some(last) if put && !early.is_empty() => {
                        self.put(last, piece, &early, max_frame)
                    }
                    _ => put,
                }
            }
            None => {
                self.early = bytes.to_vec();
                true
            }
        }
    }

    fn put(&mut self, index: u8, piece: usize, bytes: &[u8], max_frame: usize) -> bool {
        let start = usize::from(index) * piece;
        let end = start + bytes.len();
        if bytes.len() > piece || end > max_frame {
            return false;
        }
        if self.frame.len() < end {
            self.frame.reserve_exact(end - self.frame.len());
            self.frame.resize(end, 0);
        }
        self.frame[start..end].copy_from_slice(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(9);
    const FIRST: Fragment = Fragment { index: 0, last: false };
    const LAST: Fragment = Fragment { index: 1, last: true };

    fn pieces(frame: &[u8], len: usize) -> Vec<(Fragment, Vec<u8>)> {
        let count = frame.len().div_ceil(len);
        let piece = |(i, bytes): (usize, &[u8])| {
            (Fragment { index: i as u8, last: i + 1 == count }, bytes.to_vec())
        };
        frame.chunks(len).enumerate().map(piece).collect()
    }

    #[test]
    fn a_bridged_frame_is_cut_in_equal_halves() {
        assert_eq!(piece_len(1514, 1472), Some(757));
        assert_eq!(piece_len(1440, 1472), Some(1440));
        assert_eq!(piece_len(1441, 1472), Some(721));
        assert_eq!(piece_len(16 * 1168, 1200), Some(1168));
        assert_eq!(piece_len(16 * 1168 + 1, 1200), None);
        assert_eq!(piece_len(60, 32), None);
    }

    #[test]
    fn so_many_frames_wait_at_most_and_a_second_at_most() {
        let mut reassembler = Reassembler::new();
        for base in 0..100 {
            let made = reassembler.insert(NOW, (1, base * 2), FIRST, false, &[1; 10], 1514);
            assert_eq!(made, Ok(None));
            assert!(reassembler.len() <= MAX_INCOMPLETE);
        }
        let mut end = |now, base| reassembler.insert(now, (1, base), LAST, false, &[2; 5], 1514);
        assert_eq!(end(NOW, 0), Ok(None), "evicted, so it begins another");
        assert_eq!(end(NOW, 198).unwrap().unwrap().len(), 15);
        assert_eq!(end(NOW + REASSEMBLY_TIME, 196), Ok(None), "expired");
        // All of the first hundred but one that is complete, and the one begun by a last piece.
        assert_eq!(reassembler.sweep(NOW + REASSEMBLY_TIME), 100);
        assert_eq!(reassembler.len(), 1);
        assert_eq!(reassembler.sweep(NOW + 2 * REASSEMBLY_TIME), 1);
        assert_eq!((reassembler.len(), reassembler.slots.capacity()), (0, 0));
        assert_eq!(reassembler.sweep(NOW + 3 * REASSEMBLY_TIME), 0);
    }

    #[test]
    fn fifteen_frames_of_two_pieces_may_come_interleaved_and_bytes_are_bounded() {
        let mut reassembler = Reassembler::new();
        let all = |fragment, reassembler: &mut Reassembler| {
            let mut made = 0;
            for base in 0..15 {
                let id = (1, base * 2);
                let frame = reassembler.insert(NOW, id, fragment, false, &[1; 757], 1514);
                made += usize::from(frame.unwrap().is_some());
                assert!(reassembler.held() <= MAX_HELD * 1514);
            }
            made
        };
        assert_eq!((all(FIRST, &mut reassembler), all(LAST, &mut reassembler)), (0, 15));
        for base in 0..30 {
            let id = (1, base * 2);
            assert_eq!(reassembler.insert(NOW, id, FIRST, false, &[1; 1500], 1514), Ok(None));
            assert!(reassembler.held() <= MAX_HELD * 1514);
        }
        assert_eq!(reassembler.len(), MAX_HELD);
    }

    #[test]
    fn pieces_that_do_not_fit_drop_the_frame() {
        let part = |index, last| Fragment { index, last };
        let drops = |steps: &[(Fragment, usize, bool)]| {
            let mut reassembler = Reassembler::new();
            let mut made = Ok(None);
            for &(fragment, len, checksum) in steps {
                made = reassembler.insert(NOW, (1, 1), fragment, checksum, &vec![1; len], 100);
            }
            made == Err(Misfit) && reassembler.len() == 0
        };
        assert!(drops(&[(part(0, false), 10, false), (part(1, false), 11, false)]), "unequal");
        assert!(drops(&[(part(0, false), 10, false), (part(1, true), 11, false)]), "longer last");
        assert!(drops(&[(part(1, true), 11, false), (part(0, false), 10, false)]), "longer last");
        assert!(drops(&[(part(0, false), 10, false), (part(1, true), 5, true)]), "other flag");
        assert!(drops(&[(part(0, false), 10, false), (part(0, false), 10, false)]), "twice");
        assert!(drops(&[(part(2, false), 10, false), (part(1, true), 5, false)]), "past the last");
        assert!(drops(&[(part(1, true), 5, false), (part(2, false), 10, false)]), "past the last");
        assert!(drops(&[(part(1, true), 5, false), (part(2, true), 5, false)]), "two lasts");
        assert!(drops(&[(part(0, false), 60, false), (part(1, false), 60, false)]), "too long");
        assert!(drops(&[(part(0, false), 101, false)]), "too long");
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_frame(
            len in 15..4000_usize, mtu in 300..1500_usize, seed in any::<u64>(),
        ) {
            let frame: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let piece = piece_len(len, mtu).unwrap();
            prop_assert!(piece + OVERHEAD <= mtu);
            let mut parts = pieces(&frame, piece);
            prop_assert!(parts.len() <= MAX_FRAGMENTS);
            let mut state = seed | 1;
            for i in (1..parts.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                parts.swap(i, (state >> 33) as usize % (i + 1));
            }
            let mut reassembler = Reassembler::new();
            let count = parts.len();
            for (i, (fragment, bytes)) in parts.into_iter().enumerate() {
                if fragment == Fragment::WHOLE {
                    continue;
                }
                let made = reassembler.insert(NOW, (1, 5), fragment, true, &bytes, 4000);
                prop_assert_eq!(made, Ok((i + 1 == count).then(|| frame.clone())));
            }
            prop_assert_eq!(reassembler.len(), 0);
        }

        #[test]
        fn arbitrary_pieces_never_panic_and_stay_bounded(
            parts in proptest::collection::vec((0..3_u64, 0..16_u8, any::<bool>(), any::<bool>(), 0..200_usize), 0..200),
        ) {
            let mut reassembler = Reassembler::new();
            for (base, index, last, checksum, len) in parts {
                let fragment = Fragment { index, last };
                let made = reassembler.insert(NOW, (1, base), fragment, checksum, &vec![7; len], 1000);
                prop_assert!(made.ok().flatten().is_none_or(|frame| frame.len() <= 1000));
                prop_assert!(reassembler.len() <= 3);
            }
        }
    }
}
