//! Sealed datagrams of one batch, on their way out.

use std::ops::Range;
use std::time::Duration;

use acton_proto::session::{Keys, SealError};
use acton_proto::wire::{Caps, OVERHEAD};
use acton_tap::Checksum;
use acton_tap::offload::{Fill, MAX_HEAD, Segments};

use super::super::counters::{Counter, Counters};
use super::super::mss;
use super::super::worker::{FrameBatch, Output};
use crate::udp::Destination;

/// Bytes that are sealed before they are sent: as much as stays in a core's cache.
const CHUNK: usize = 512 << 10;

/// A buffer of sealed datagrams, allocated once and filled again for each batch.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    /// Who gets which bytes, and the size of the datagrams in them.
    runs: Vec<(usize, Range<usize>, usize)>,
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
        let max_frame = usize::from(keys.link().path_mtu()).saturating_sub(OVERHEAD);
        let frame = frames.get(index);
        let mut segments = match Segments::new(frames.header(index), frame, max_frame, fill) {
            Ok(segments) => segments,
            Err(error) => {
                log::debug!("super-frame from the TAP: {error}");
                return counters.add(Counter::BadSuperFrame, 1);
            }
        };
        let partial = matches!(segments.checksum(), Checksum::Partial { .. });
        let mut head = [0; MAX_HEAD];
        while let Some(segment) = segments.next_in(&mut head) {
            let start = self.bytes.len();
            let parts = [segment.head, segment.payload];
            match keys.seal_parts(now, parts, partial, &mut self.bytes) {
                Ok(size) => self.runs.push((to, start..self.bytes.len(), size)),
                Err(SealError::Expired) => counters.add(Counter::KeysExpired, 1),
                Err(_) => counters.add(Counter::FrameTooLong, 1),
            }
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
        for (to, range, segment) in &self.runs {
            if let Some(to) = destination(*to) {
                for datagram in self.bytes[range.clone()].chunks(*segment) {
                    batch.push(to, datagram);
                }
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
