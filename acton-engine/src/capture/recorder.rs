//! A worker's part of captures: it copies what is wanted into rings that a reader empties. A ring that
//! is full loses what comes, which is counted; the worker never waits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use acton_frame::Headers;

use crate::capture::desk::{Capture, CaptureDesk, Wanted};
use crate::capture::packet::{Direction, NOTE_LEN, Note, Outcome, Who, WireFrames};

/// One worker's captures, none most of the time.
#[derive(Debug)]
pub(crate) struct Recorder {
    desk: Arc<CaptureDesk>,
    worker: usize,
    /// Of the desk, when its captures were fetched.
    version: u32,
    captures: Vec<Capture>,
    frames: bool,
    datagrams: bool,
    /// Of the batch in hand.
    now: Duration,
}

impl Recorder {
    /// That of one more worker.
    pub(crate) fn new(desk: Arc<CaptureDesk>) -> Self {
        let (captures, frames, datagrams) = (Vec::new(), false, false);
        let worker = desk.enlist();
        Self { desk, worker, version: 0, captures, frames, datagrams, now: Duration::ZERO }
    }

    /// Looks, once a batch, whether there are other captures, and takes the batch's time.
    #[inline]
    pub(crate) fn begin(&mut self, now: Duration) {
        self.now = now;
        let version = self.desk.version();
        if version != self.version {
            self.fetch(version);
        }
    }

    #[cold]
    fn fetch(&mut self, version: u32) {
        // Where it has to wait, the next batch looks again.
        if self.desk.fetch(self.worker, &mut self.captures) {
            let is_of_frames = |capture: &Capture| matches!(capture.wanted, Wanted::Frames { .. });
            self.version = version;
            self.frames = self.captures.iter().any(is_of_frames);
            self.datagrams = !self.captures.iter().all(is_of_frames);
        }
    }

    /// Whether somebody wants frames.
    #[inline]
    pub(crate) fn wants_frames(&self) -> bool {
        self.frames
    }

    /// Whether somebody wants datagrams.
    #[inline]
    pub(crate) fn wants_datagrams(&self) -> bool {
        self.datagrams
    }

    /// Shows a frame, or a super-frame that stands for several.
    pub(crate) fn frame(
        &mut self,
        direction: Direction,
        who: Who<'_>,
        outcome: Outcome,
        frames: WireFrames,
        headers: &Headers,
        frame: &[u8],
    ) {
        let note = self.note(direction, who, outcome, frames);
        for capture in &mut self.captures {
            let Wanted::Frames { client, filter } = &capture.wanted else { continue };
            let is_of_client = match (client, who) {
                // What is for all is for this one too.
                (Some(client), Who::Client(name)) => client == name,
                _ => true,
            };
            if is_of_client && filter.as_ref().is_none_or(|filter| filter.matches(headers, frame)) {
                put(capture, note, [frame, &[]]);
            }
        }
    }

    /// Shows a datagram, in two parts.
    pub(crate) fn datagram(&mut self, direction: Direction, who: Who<'_>, parts: [&[u8]; 2]) {
        let note = self.note(direction, who, Outcome::Passing, WireFrames::ONE);
        for capture in &mut self.captures {
            if capture.wanted == Wanted::Datagrams {
                put(capture, note, parts);
            }
        }
    }

    /// Shows a datagram to there.
    pub(crate) fn datagram_to(&mut self, remote: Option<SocketAddr>, parts: [&[u8]; 2]) {
        self.datagram(Direction::Out, Who::Address { remote, local: None }, parts);
    }

    fn note<'a>(
        &self,
        direction: Direction,
        who: Who<'a>,
        outcome: Outcome,
        frames: WireFrames,
    ) -> Note<'a> {
        Note { time: self.now, direction, who, outcome, frames, len: 0, kept: 0 }
    }
}

/// Puts a packet into a capture's ring, whole or not at all.
fn put(capture: &mut Capture, note: Note<'_>, [first, second]: [&[u8]; 2]) {
    let len = first.len() + second.len();
    let kept = len.min(capture.snaplen);
    let first = &first[..first.len().min(kept)];
    let second = &second[..kept - first.len()];
    let note = Note { len: len as u32, kept: kept as u32, ..note }.encode();
    match capture.ring.write_chunk(NOTE_LEN + kept) {
        Ok(mut chunk) => {
            let (mut front, mut back) = chunk.as_mut_slices();
            for part in [&note[..], first, second] {
                let (fits, rest) = part.split_at(part.len().min(front.len()));
                front = copy(front, fits);
                back = copy(back, rest);
            }
            chunk.commit_all();
        }
        Err(_) => {
            capture.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Copies into the beginning of `room`; the rest of it.
fn copy<'r>(room: &'r mut [u8], bytes: &[u8]) -> &'r mut [u8] {
    let (to, rest) = room.split_at_mut(bytes.len());
    to.copy_from_slice(bytes);
    rest
}

#[cfg(test)]
mod tests {
    use rtrb::Consumer;

    use super::*;
    use crate::capture::desk::{CaptureRings, MAX_CAPTURES};

    const ALL: Wanted = Wanted::Frames { client: None, filter: None };

    fn show(recorder: &mut Recorder, who: Who<'_>, frame: &[u8]) {
        let (outcome, headers) = (Outcome::ToTap, Headers::parse(frame));
        recorder.frame(Direction::In, who, outcome, WireFrames::ONE, &headers, frame);
    }

    /// Frames that are in a ring, and how long they were.
    fn frames(ring: &mut Consumer<u8>) -> Vec<(Vec<u8>, u32)> {
        let mut all = Vec::new();
        let mut bytes = Vec::new();
        bytes.extend(std::iter::from_fn(|| ring.pop().ok()));
        let mut rest = &bytes[..];
        while let Some((note, behind)) = rest.split_first_chunk::<NOTE_LEN>() {
            let note = Note::decode(note).unwrap();
            let (frame, behind) = behind.split_at(note.kept as usize);
            all.push((frame.to_vec(), note.len));
            rest = behind;
        }
        all
    }

    fn ring(rings: &mut CaptureRings) -> &mut Consumer<u8> {
        &mut rings.rings[0]
    }

    #[test]
    fn who_captures_gets_what_is_wanted_and_nobody_waits() {
        let desk = CaptureDesk::new();
        let mut recorder = Recorder::new(Arc::clone(&desk));
        recorder.begin(Duration::ZERO);
        assert!(!recorder.wants_frames() && !recorder.wants_datagrams());
        let berlin = Wanted::Frames { client: Some("berlin".to_owned()), filter: None };
        let arp = Wanted::Frames { client: None, filter: "arp".parse().ok() };
        let mut all = desk.open(&ALL, 20).unwrap();
        let mut of_berlin = desk.open(&berlin, 2_000).unwrap();
        let mut of_arp = desk.open(&arp, 2_000).unwrap();
        let mut datagrams = desk.open(&Wanted::Datagrams, 2_000).unwrap();
        assert_eq!(MAX_CAPTURES, 4);
        assert!(desk.open(&ALL, 20).is_none(), "one too many");
        assert!(!recorder.wants_frames(), "the next batch does");
        recorder.begin(Duration::from_secs(1));
        assert!(recorder.wants_frames() && recorder.wants_datagrams());
        let ip = [&[2; 12][..], &[8, 0], &[0; 46]].concat();
        let arp = [&[2; 12][..], &[8, 6], &[0; 46]].concat();
        show(&mut recorder, Who::Client("berlin"), &ip);
        show(&mut recorder, Who::Client("paris"), &arp);
        show(&mut recorder, Who::Tap, &ip);
        recorder.datagram_to(None, [&[1; 5], &[2; 5]]);
        let cut = |frame: &[u8]| (frame[..20].to_vec(), 60);
        assert_eq!(frames(ring(&mut all)), [cut(&ip), cut(&arp), cut(&ip)]);
        assert_eq!(frames(ring(&mut of_berlin)), [(ip.clone(), 60), (ip, 60)]);
        assert_eq!(frames(ring(&mut of_arp)), [(arp, 60)]);
        assert_eq!(frames(ring(&mut datagrams)), [(vec![1, 1, 1, 1, 1, 2, 2, 2, 2, 2], 10)]);
    }

    #[test]
    fn a_ring_that_is_full_loses_what_comes() {
        let desk = CaptureDesk::new();
        let mut recorder = Recorder::new(Arc::clone(&desk));
        let mut rings = desk.open(&ALL, usize::MAX).unwrap();
        recorder.begin(Duration::ZERO);
        let mut shown = 0;
        while rings.lost() < 3 {
            shown += 1;
            show(&mut recorder, Who::Server, &vec![shown as u8; 1_000 + shown % 500]);
        }
        let kept = frames(ring(&mut rings));
        assert_eq!(kept.len() + 3, shown);
        let is_whole = |(at, frame): (usize, &(Vec<u8>, u32))| {
            frame.0 == vec![(at + 1) as u8; 1_000 + (at + 1) % 500]
        };
        assert!(kept.iter().enumerate().all(is_whole));
        // There is room again, and what is put in goes over the ring's end.
        show(&mut recorder, Who::Server, &[7; 1_000]);
        assert_eq!(frames(ring(&mut rings)), [(vec![7; 1_000], 1_000)]);
    }

    #[test]
    fn a_reader_that_goes_makes_room_and_leaves_nothing() {
        let desk = CaptureDesk::new();
        let mut recorder = Recorder::new(Arc::clone(&desk));
        for _ in 0..3 * MAX_CAPTURES {
            let rings = desk.open(&ALL, 100).unwrap();
            recorder.begin(Duration::ZERO);
            assert!(recorder.wants_frames());
            drop(rings);
            recorder.begin(Duration::ZERO);
            assert!(!recorder.wants_frames() && recorder.captures.is_empty());
        }
    }
}
