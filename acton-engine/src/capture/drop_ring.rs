//! The beginnings of what one thread dropped last: always kept, for whoever asks afterwards why.
//!
//! The thread alone writes, and never waits: each slot has a number that is odd while it is written, so
//! that a reader knows what it read to be whole (a sequence lock, in atomics alone). A flood of drops
//! costs a copy of some 200 bytes each, into memory of the thread's own.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::capture::packet::{Cause, Direction, NOTE_LEN, Note, Outcome, Who, WireFrames};

/// Packets that are kept: for one thread 115 KiB.
const PACKETS: usize = 512;
/// Bytes of each that are kept: headers as far as IPv6 and TCP with options, and the first part of
/// ARP, ND and DHCP.
pub(crate) const KEPT: usize = 128;
/// Words of a slot.
const WORDS: usize = (NOTE_LEN + KEPT) / size_of::<u64>();

/// What one thread dropped last.
#[derive(Debug)]
pub(crate) struct DropRing {
    /// How many there were.
    written: AtomicU64,
    slots: Box<[Slot]>,
}

#[derive(Debug)]
struct Slot {
    /// Twice the number, from 1 on, of the packet in it; odd while that is written.
    turn: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// A copy of a slot.
pub(crate) struct DropCopy([u8; NOTE_LEN + KEPT]);

impl DropCopy {
    /// What was noted, and the packet's beginning.
    pub(crate) fn read(&self) -> Option<(Note<'_>, &[u8])> {
        let (note, bytes) = self.0.split_first_chunk()?;
        let note = Note::decode(note)?;
        Some((note, bytes.get(..note.kept as usize)?))
    }
}

impl DropRing {
    pub(crate) fn new() -> Self {
        let slot = || Slot { turn: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; _] };
        Self { written: AtomicU64::new(0), slots: (0..PACKETS).map(|_| slot()).collect() }
    }

    /// Keeps the beginning of a frame, whose whole it is if nothing else is said.
    #[cold]
    pub(crate) fn add_frame(
        &self,
        now: Duration,
        direction: Direction,
        who: Who<'_>,
        cause: impl Into<Cause>,
        frame: &[u8],
    ) {
        self.add(now, direction, who, cause.into(), frame, frame.len());
    }

    /// Keeps the beginning of a datagram of `len` bytes that came: as much of it as is as it came.
    #[cold]
    pub(crate) fn add_datagram(
        &self,
        now: Duration,
        (remote, local): (SocketAddr, Option<IpAddr>),
        cause: impl Into<Cause>,
        bytes: &[u8],
        len: usize,
    ) {
        let who = Who::Address { remote: Some(remote), local };
        self.add(now, Direction::In, who, cause.into(), bytes, len);
    }

    fn add(
        &self,
        time: Duration,
        direction: Direction,
        who: Who<'_>,
        cause: Cause,
        bytes: &[u8],
        len: usize,
    ) {
        let kept = bytes.len().min(KEPT);
        let (outcome, len) = (Outcome::Dropped(cause), len as u32);
        let frames = WireFrames::ONE;
        let note = Note { time, direction, who, outcome, frames, len, kept: kept as u32 };
        let mut copy = [0; NOTE_LEN + KEPT];
        copy[..NOTE_LEN].copy_from_slice(&note.encode());
        copy[NOTE_LEN..][..kept].copy_from_slice(&bytes[..kept]);

        let number = self.written.load(Ordering::Relaxed) + 1;
        let slot = &self.slots[number as usize % PACKETS];
        slot.turn.store(2 * number - 1, Ordering::Relaxed);
        // Whoever sees a word of this packet sees that the slot is being written.
        fence(Ordering::Release);
        let (words, _) = copy.as_chunks();
        for (to, &word) in slot.words.iter().zip(words) {
            to.store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        slot.turn.store(2 * number, Ordering::Release);
        self.written.store(number, Ordering::Release);
    }

    /// How many there were so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The number of the oldest that is still kept, less one.
    pub(crate) fn oldest(&self) -> u64 {
        self.written().saturating_sub(PACKETS as u64)
    }

    /// Packet number `number`, from 1 on; `None` where another one is in its place by now.
    pub(crate) fn get(&self, number: u64) -> Option<DropCopy> {
        let slot = &self.slots[number as usize % PACKETS];
        if number == 0 || slot.turn.load(Ordering::Acquire) != 2 * number {
            return None;
        }
        let mut copy = [0; NOTE_LEN + KEPT];
        let (words, _) = copy.as_chunks_mut();
        for (word, from) in words.iter_mut().zip(&slot.words) {
            *word = from.load(Ordering::Relaxed).to_le_bytes();
        }
        fence(Ordering::Acquire);
        (slot.turn.load(Ordering::Relaxed) == 2 * number).then_some(DropCopy(copy))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const CAUSE: Cause = Cause(7);

    #[test]
    fn the_last_ones_are_kept_in_their_order() {
        let ring = DropRing::new();
        assert_eq!((ring.written(), ring.oldest()), (0, 0));
        assert!(ring.get(0).is_none() && ring.get(1).is_none());
        for number in 0..PACKETS as u64 + 5 {
            let frame = vec![number as u8; 60 + number as usize % 100];
            let now = Duration::from_nanos(number);
            ring.add_frame(now, Direction::In, Who::Client("a"), CAUSE, &frame);
        }
        assert_eq!((ring.written(), ring.oldest()), (PACKETS as u64 + 5, 5));
        assert!(ring.get(5).is_none(), "another is in its place");
        for number in 6..=ring.written() {
            let copy = ring.get(number).unwrap();
            let (note, bytes) = copy.read().unwrap();
            let len = 60 + (number as usize - 1) % 100;
            assert_eq!((note.time.as_nanos() as u64, note.len as usize), (number - 1, len));
            assert_eq!(bytes, vec![(number - 1) as u8; len.min(KEPT)]);
            assert_eq!(note.outcome, Outcome::Dropped(CAUSE));
        }
    }

    #[test]
    fn readers_on_other_threads_see_whole_packets() {
        let ring = DropRing::new();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while seen < 10_000 {
                    for number in ring.oldest() + 1..=ring.written() {
                        let Some(copy) = ring.get(number) else { continue };
                        let (note, bytes) = copy.read().unwrap();
                        assert_eq!(note.time.as_nanos() as u64, number);
                        assert_eq!(bytes, [number as u8; KEPT]);
                        seen += 1;
                    }
                }
            });
            let mut number = 0;
            while !reader.is_finished() {
                number += 1;
                let (now, frame) = (Duration::from_nanos(number), [number as u8; 200]);
                ring.add_frame(now, Direction::Out, Who::Tap, CAUSE, &frame);
            }
        });
    }
}
