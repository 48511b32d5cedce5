//! Sealed datagrams of one batch, on their way out.

use std::ops::Range;
use std::time::Duration;

use acton_proto::session::{Keys, MIN_FRAME, SealError};
use acton_proto::wire::{Caps, OVERHEAD};
use acton_tap::Checksum;
use acton_tap::offload::{Fill, MAX_HEAD, Segment, Segments};

use super::super::counters::{Counter, Counters};
use super::super::worker::{FrameBatch, Output};
use super::super::{ecn, mss};
use crate::udp::Destination;

/// Bytes that are sealed before they are sent: as much as stays in a core's cache.
const CHUNK: usize = 512 << 10;

/// A buffer of sealed datagrams, allocated once and filled again for each batch.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

/// Datagrams of one size to one receiver, the last maybe shorter.
#[derive(Debug)]
struct Run {
    to: usize,
    ecn: u8,
    bytes: Range<usize>,
    size: usize,
}

impl Sealed {
    /// Seals frame `index` of `frames` for receiver number `to`, a super-frame as the frames it
    /// stands for.
    pub(super) fn seal(
        &mut self,
        to: usize,
        keys: &Keys,
        frames: &FrameBatch,
        index: usize,
        now: Duration,
        counters: &Counters,
    ) {
        let partial = keys.setup().caps.contains(Caps::CSUM);
        let fill = if partial { Fill::Partial } else { Fill::Full };
        let frame = frames.get(index);
        let ecn = if keys.setup().caps.contains(Caps::ECN) { ecn::of(frame) } else { ecn::NOT_ECT };
        let max_frame = usize::from(keys.link().path_mtu()).saturating_sub(OVERHEAD);
        let mut segments = match Segments::new(frames.header(index), frame, max_frame, fill) {
            Ok(segments) => segments,
            Err(error) => {
                log::debug!("super-frame from the TAP: {error}");
                return counters.add(Counter::BadSuperFrame, 1);
            }
        };
        let partial = matches!(segments.checksum(), Checksum::Partial { .. });
        let (start, longest) = (self.bytes.len(), segments.frame_len());
        let mut head = [0; MAX_HEAD];
        if (MIN_FRAME..=keys.max_whole()).contains(&longest) {
            let count = segments.len() as u64;
            let Ok(mut reserved) = keys.reserve(now, count) else {
                return counters.add(Counter::KeysExpired, count);
            };
            while let Some(Segment { head, payload }) = segments.next_in(&mut head) {
                if reserved.seal_parts([head, payload], partial, &mut self.bytes).is_err() {
                    counters.add(Counter::FrameTooLong, 1);
                }
            }
            return self.add_run(to, ecn, start, longest + OVERHEAD);
        }
        // Each in pieces: rare enough for one copy more.
        while let Some(Segment { head, payload }) = segments.next_in(&mut head) {
            let start = self.bytes.len();
            match keys.seal_frame(now, &[head, payload].concat(), partial, &mut self.bytes) {
                Ok(size) => self.add_run(to, ecn, start, size),
                Err(SealError::Expired) => counters.add(Counter::KeysExpired, 1),
                Err(_) => counters.add(Counter::FrameTooLong, 1),
            }
        }
    }

    /// Notes that the bytes from `start` on are datagrams of `size` bytes for receiver number `to`.
    fn add_run(&mut self, to: usize, ecn: u8, start: usize, size: usize) {
        let bytes = start..self.bytes.len();
        match self.runs.last_mut() {
            Some(last)
                if (last.to, last.ecn, last.size) == (to, ecn, size)
                    && last.bytes.len() % size == 0 =>
            {
                last.bytes.end = bytes.end;
            }
            _ => self.runs.push(Run { to, ecn, bytes, size }),
        }
    }

    /// Whether it is time to send.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK
    }

    /// Sends what is sealed; `destination` says where receiver number n is.
    pub(super) fn send<'d>(
        &mut self,
        out: &mut Output<'_>,
        destination: impl Fn(usize) -> Option<&'d Destination>,
    ) {
        let mut batch = out.batch();
        for run in &self.runs {
            if let Some(to) = destination(run.to) {
                batch.push_run(to, run.ecn, &self.bytes[run.bytes.clone()], run.size);
            }
        }
        batch.finish();
        self.bytes.clear();
        self.runs.clear();
    }
}

/// Clamps the MSS of the SYNs in `run`, so that what TCP sends fits datagrams of these keys' path.
pub(super) fn clamp(frames: &mut FrameBatch, run: Range<usize>, keys: &Keys) {
    let max_frame = usize::from(keys.link().path_mtu()).saturating_sub(OVERHEAD);
    for index in run {
        let partial = matches!(frames.header(index).checksum, Checksum::Partial { .. });
        mss::clamp(frames.get_mut(index), max_frame, partial);
    }
}
