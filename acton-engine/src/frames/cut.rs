//! Super-frames of a batch cut into frames, their payload left where it is.

use std::ops::Range;
use std::time::Duration;

use acton_tap::Checksum;
use acton_tap::offload::{Fill, Head, MAX_HEAD, Segments};
use acton_udp::Destination;

use crate::capture::packet::{Direction, Who};
use crate::capture::recorder::Recorder;
use crate::frames::store::FrameStore;
use crate::observe::counters::{Counter, Counters};

/// The longest frame that goes into one datagram: what UDP carries.
const MAX_FRAME: usize = acton_udp::MAX_PAYLOAD;

/// A frame as two pieces: headers that were rewritten, and the rest of it in the batch.
#[derive(Debug, Clone)]
struct Piece {
    head: Range<usize>,
    /// Index in the batch, and the bytes of that.
    frame: usize,
    rest: Range<usize>,
}

/// The frames of a batch, with complete checksums. Its memory is allocated once.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    heads: Vec<u8>,
    pieces: Vec<Piece>,
    /// The end of each frame's pieces.
    ends: Vec<usize>,
    /// Super-frames that cannot be cut, by their index.
    bad: Vec<usize>,
}

impl Cut {
    /// Cuts all of `frames`; one that cannot be cut has no pieces.
    pub(crate) fn fill(&mut self, frames: &impl FrameStore) {
        self.heads.clear();
        self.pieces.clear();
        self.ends.clear();
        self.bad.clear();
        let mut head: Head = [0; MAX_HEAD];
        for index in 0..frames.len() {
            let vnet = frames.vnet(index);
            if vnet.gso.is_none() && !matches!(vnet.checksum, Checksum::Partial { .. }) {
                // It goes as it came.
                let rest = 0..frames.headers(index).frame_len();
                self.pieces.push(Piece { head: 0..0, frame: index, rest });
            } else {
                self.cut(frames, index, &mut head);
            }
            self.ends.push(self.pieces.len());
        }
    }

    /// Counts those that could not be cut, each once, however many would have had it.
    pub(crate) fn count_bad(&self, frames: &impl FrameStore, now: Duration, counters: &Counters) {
        for &index in &self.bad {
            let (frame, reason) = (frames.get(index), Counter::BadSuperFrame);
            counters.dropped().add_frame(now, Direction::Out, Who::Tap, reason, frame);
            counters.add(reason, 1);
        }
    }

    /// Cuts or completes frame `index` of `frames`.
    fn cut(&mut self, frames: &impl FrameStore, index: usize, head: &mut Head) {
        let (vnet, frame, headers) = (frames.vnet(index), frames.get(index), frames.headers(index));
        let mut segments = match Segments::new_parsed(vnet, frame, headers, MAX_FRAME, Fill::Full) {
            Ok(segments) => segments,
            Err(error) => {
                log::debug!("super-frame from the TAP: {error}");
                return self.bad.push(index);
            }
        };
        let mut at = frame.len();
        let first = self.pieces.len();
        while let Some(segment) = segments.next_in(head) {
            let start = self.heads.len();
            self.heads.extend_from_slice(segment.head);
            at -= segment.payload.len();
            self.pieces.push(Piece {
                head: start..self.heads.len(),
                frame: index,
                rest: 0..segment.payload.len(),
            });
        }
        // What is left of the frame are its headers; payloads follow one another.
        for piece in &mut self.pieces[first..] {
            piece.rest = at..at + piece.rest.len();
            at = piece.rest.end;
        }
    }

    /// Shows those who capture the datagrams of frames `run` to there.
    #[cold]
    pub(crate) fn show(
        &self,
        frames: &impl FrameStore,
        run: Range<usize>,
        to: &Destination,
        recorder: &mut Recorder,
    ) {
        for piece in self.pieces_of(run) {
            recorder.datagram_to(to.remote(), self.part(frames, piece));
        }
    }

    /// The frames that frames `run` of the batch were cut into, each in two parts.
    pub(crate) fn parts<'a>(
        &'a self,
        frames: &'a impl FrameStore,
        run: Range<usize>,
    ) -> impl Iterator<Item = [&'a [u8]; 2]> {
        self.pieces_of(run).iter().map(|piece| self.part(frames, piece))
    }

    /// The pieces of frames `run`.
    #[inline]
    fn pieces_of(&self, run: Range<usize>) -> &[Piece] {
        let start = run.start.checked_sub(1).map_or(0, |before| self.ends[before]);
        let end = run.end.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.pieces[start..end]
    }

    /// A frame in its two parts. Always in its caller's code, or a call would be most of it.
    #[inline(always)]
    fn part<'a>(&'a self, frames: &'a impl FrameStore, piece: &Piece) -> [&'a [u8]; 2] {
        [&self.heads[piece.head.clone()], &frames.get(piece.frame)[piece.rest.clone()]]
    }
}
