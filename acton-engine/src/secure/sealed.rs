//! Sealed datagrams of one batch, on their way out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_proto::session::{Bundle, Keys, SealError};
use acton_proto::wire::{Caps, MIN_FRAME, OVERHEAD};
use acton_tap::Checksum;
use acton_tap::offload::{Fill, MAX_HEAD, Segment, Segments};

use super::arrival::Drops;
use crate::capture::packet::Direction;
use crate::capture::recorder::Recorder;
use crate::frames::store::FrameStore;
use crate::frames::{ecn, mss};
use crate::observe::counters::Counter;
use crate::run::side::Output;
use acton_udp::Destination;

/// Bytes that are sealed before they are sent: as much as stays in a core's cache.
const CHUNK: usize = 512 << 10;

/// A buffer of sealed datagrams, allocated once and filled again for each batch.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    receivers: Vec<Arc<Destination>>,
}

/// Datagrams of one size to one receiver, the last maybe shorter.
#[derive(Debug)]
struct Run {
    /// Index among the receivers.
    to: usize,
    ecn: u8,
    bytes: Range<usize>,
    size: usize,
}

impl Sealed {
    /// Seals the frames `run` of `frames` for the receiver at `to`: a super-frame as the frames it
    /// stands for, small frames that go the same way several in a datagram. Nothing waits for more.
    pub(crate) fn seal(
        &mut self,
        to: &Arc<Destination>,
        keys: &Keys,
        frames: &impl FrameStore,
        run: Range<usize>,
        now: Duration,
        drops: Drops<'_>,
    ) {
        if !self.receivers.last().is_some_and(|last| Arc::ptr_eq(last, to)) {
            self.receivers.push(Arc::clone(to));
        }
        let to = self.receivers.len() - 1;
        let (frames_out, bytes_out) = (0, 0);
        let mut sealing =
            Sealing { to, keys, now, drops, bundle: None, frames_out, bytes_out, sealed: self };
        run.for_each(|index| sealing.add(frames, index));
        sealing.close(frames);
        drops.tally.add_out(sealing.frames_out, sealing.bytes_out);
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
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK
    }

    /// Sends what is sealed.
    pub(crate) fn send(&mut self, out: &mut Output<'_>) {
        if out.recorder().wants_datagrams() {
            self.show(out.recorder());
        }
        let mut batch = out.batch();
        for run in &self.runs {
            let to = &self.receivers[run.to];
            batch.push_run(to, run.ecn, &self.bytes[run.bytes.clone()], run.size);
        }
        batch.finish();
        self.bytes.clear();
        self.runs.clear();
        self.receivers.clear();
    }
}

impl Sealed {
    /// Shows those who capture what is sealed.
    #[cold]
    fn show(&self, recorder: &mut Recorder) {
        for run in &self.runs {
            let remote = self.receivers[run.to].remote();
            for datagram in self.bytes[run.bytes.clone()].chunks(run.size) {
                recorder.datagram_to(remote, [datagram, &[]]);
            }
        }
    }
}

/// A run of frames for one receiver, on their way into datagrams.
struct Sealing<'a> {
    to: usize,
    keys: &'a Keys,
    now: Duration,
    drops: Drops<'a>,
    /// The newest frames, the mark they bear and the index of the first, while more may go with
    /// them.
    bundle: Option<(Bundle<'a>, u8, usize)>,
    /// What was sealed.
    frames_out: u64,
    bytes_out: u64,
    sealed: &'a mut Sealed,
}

impl Sealing<'_> {
    fn add(&mut self, frames: &impl FrameStore, index: usize) {
        let (frame, headers) = (frames.get(index), frames.headers(index));
        let keys = self.keys;
        let caps = keys.setup().caps;
        let fill = if caps.contains(Caps::CSUM) { Fill::Partial } else { Fill::Full };
        let ecn = if caps.contains(Caps::ECN) { ecn::of(headers, frame) } else { ecn::NOT_ECT };
        let max_frame = usize::from(keys.link().path_mtu()).saturating_sub(OVERHEAD);
        let vnet = frames.vnet(index);
        let segments = match Segments::new_parsed(vnet, frame, headers, max_frame, fill) {
            Ok(segments) => segments,
            Err(error) => {
                log::debug!("super-frame from the TAP: {error}");
                let reason = Counter::BadSuperFrame;
                return self.drops.add_frames(reason, 1, Direction::Out, frame);
            }
        };
        let whole = (MIN_FRAME..=keys.max_whole()).contains(&segments.frame_len());
        match segments.len() {
            1 if whole => self.gather(frames, index, segments, ecn),
            _ => {
                self.close(frames);
                if whole {
                    self.cut(frame, segments, ecn);
                } else {
                    self.cut_in_pieces(frame, segments, ecn);
                }
            }
        }
    }

    /// A frame that may share its datagram with those before and behind it.
    fn gather(
        &mut self,
        frames: &impl FrameStore,
        index: usize,
        mut segments: Segments<'_>,
        ecn: u8,
    ) {
        let partial = is_partial(&segments);
        let mut head = [0; MAX_HEAD];
        let Some(Segment { head, payload }) = segments.next_in(&mut head) else { return };
        let frame = [head, payload];
        self.bytes_out += (head.len() + payload.len()) as u64;
        let bytes = &mut self.sealed.bytes;
        if let Some((bundle, mark, _)) = &mut self.bundle
            && *mark == ecn
            && bundle.push(frame, partial, bytes)
        {
            return;
        }
        self.close(frames);
        let bundle = Bundle::begin(self.keys, frame, partial, &mut self.sealed.bytes);
        self.bundle = Some((bundle, ecn, index));
    }

    /// Seals what has gathered.
    fn close(&mut self, frames: &impl FrameStore) {
        let Some((bundle, ecn, first)) = self.bundle.take() else { return };
        let (start, count) = (bundle.start(), bundle.frames());
        match bundle.seal(self.now, &mut self.sealed.bytes) {
            Ok(size) => {
                self.frames_out += count;
                self.sealed.add_run(self.to, ecn, start, size);
            }
            Err(error) => self.count(error, count, frames.get(first)),
        }
    }

    /// A super-frame.
    fn cut(&mut self, frame: &[u8], mut segments: Segments<'_>, ecn: u8) {
        let partial = is_partial(&segments);
        let (count, longest) = (segments.len() as u64, segments.frame_len());
        let bytes = &mut self.sealed.bytes;
        let start = bytes.len();
        let Ok(mut reserved) = self.keys.reserve(self.now, count) else {
            return self.count(SealError::Expired, count, frame);
        };
        let mut head = [0; MAX_HEAD];
        while let Some(Segment { head, payload }) = segments.next_in(&mut head) {
            if reserved.seal_parts([head, payload], partial, bytes).is_err() {
                self.drops.add_frames(Counter::FrameTooLong, 1, Direction::Out, frame);
            } else {
                self.bytes_out += (head.len() + payload.len()) as u64;
                self.frames_out += 1;
            }
        }
        self.sealed.add_run(self.to, ecn, start, longest + OVERHEAD);
    }

    /// Frames larger than a datagram: rare enough for one copy more.
    fn cut_in_pieces(&mut self, frame: &[u8], mut segments: Segments<'_>, ecn: u8) {
        let partial = is_partial(&segments);
        let mut head = [0; MAX_HEAD];
        while let Some(Segment { head, payload }) = segments.next_in(&mut head) {
            let bytes = &mut self.sealed.bytes;
            let start = bytes.len();
            match self.keys.seal_frame(self.now, &[head, payload].concat(), partial, bytes) {
                Ok(size) => {
                    self.bytes_out += (head.len() + payload.len()) as u64;
                    self.frames_out += 1;
                    self.sealed.add_run(self.to, ecn, start, size);
                }
                Err(error) => self.count(error, 1, frame),
            }
        }
    }

    fn count(&self, error: SealError, frames: u64, frame: &[u8]) {
        let counter = match error {
            SealError::Expired => Counter::KeysExpired,
            _ => Counter::FrameTooLong,
        };
        self.drops.add_frames(counter, frames, Direction::Out, frame);
    }
}

fn is_partial(segments: &Segments<'_>) -> bool {
    matches!(segments.checksum(), Checksum::Partial { .. })
}

/// The SYNs of a run and the MSS that each offers, which is lowered for each receiver anew. Its memory
/// is allocated once.
#[derive(Debug, Default)]
pub(crate) struct Syns {
    found: Vec<(usize, u16)>,
}

impl Syns {
    /// Takes those of `run` in place of others.
    pub(crate) fn find(&mut self, frames: &impl FrameStore, run: Range<usize>) {
        let syn = |index| Some((index, mss::offered(frames.headers(index), frames.get(index))?));
        self.found.clear();
        self.found.extend(run.filter_map(syn));
    }

    /// Has them offer what fits datagrams of these keys' path: an MSS limits what comes back, and the
    /// path may carry less that way.
    pub(crate) fn clamp(&self, frames: &mut impl FrameStore, keys: &Keys) {
        if self.found.is_empty() {
            return;
        }
        let max_frame = usize::from(keys.link().path_mtu_both_ways()).saturating_sub(OVERHEAD);
        for &(index, offered) in &self.found {
            let partial = matches!(frames.vnet(index).checksum, Checksum::Partial { .. });
            let (frame, headers) = frames.get_mut(index);
            mss::clamp(headers, frame, offered, max_frame, partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::num::NonZeroU16;

    use acton_proto::handshake::Split;
    use acton_proto::session::{Link, REJECT_IDLE_AFTER, Role, Setup, Suite};
    use acton_proto::wire::Header;
    use acton_tap::{Gso, GsoKind, VnetHeader};

    use super::*;
    use crate::capture::packet::Who;
    use crate::frames::batch::FrameBatch;
    use crate::frames::cut::Cut;
    use crate::observe::counters::Counters;
    use crate::observe::tally::Tallies;
    use crate::run::side::Arrival;

    const SPLIT: Split = Split { to_server: [1; 32], to_client: [2; 32] };
    /// The age at which keys seal and open no more that carried nothing.
    const TOO_OLD: Duration = REJECT_IDLE_AFTER;

    fn keys(role: Role) -> Keys {
        let (local_id, remote_id) = if role == Role::Client { (1, 2) } else { (2, 1) };
        let suite = Suite::ChaCha20Poly1305;
        let (caps, max_frame, born) = (Caps::ALL, 1_514, Duration::ZERO);
        let setup = Setup { suite, local_id, remote_id, caps, max_frame, born };
        Keys::new(role, &SPLIT, &setup, Arc::new(Link::new(Duration::ZERO)))
    }

    /// A batch of one frame, as the TAP gives it.
    fn batch(vnet: VnetHeader, frame: &[u8]) -> FrameBatch {
        let mut batch = FrameBatch::new();
        let read = [&vnet.encode(), frame].concat();
        let mut once = Some(read);
        let read = |slot: &mut [u8]| {
            let read = once.take().ok_or(ErrorKind::WouldBlock)?;
            slot[..read.len()].copy_from_slice(&read);
            Ok(read.len())
        };
        batch.fill(read, &Counters::new()).unwrap();
        assert!(batch.begin_turn());
        batch
    }

    /// What sealing the batch at that time counts for a reason; whether it made a datagram.
    fn seal(frames: &FrameBatch, now: Duration, reason: Counter) -> (u64, bool) {
        let (counters, tallies, mut sealed) = (Counters::new(), Tallies::new(1), Sealed::default());
        let drops = Drops { counters: &counters, tally: tallies.of(0), who: Who::Server, now };
        let to = Arc::new(Destination::connected());
        sealed.seal(&to, &keys(Role::Client), frames, 0..frames.len(), now, drops);
        let of_session = tallies.sum().drops;
        let count = counters.get(reason);
        assert_eq!(of_session.get(reason.drop_name()), Some(&count).filter(|&&count| count > 0));
        (count, !sealed.bytes.is_empty())
    }

    #[test]
    fn keys_that_are_too_old_seal_and_open_nothing_which_is_counted() {
        let frames = batch(VnetHeader::default(), &[7; 60]);
        let reason = Counter::KeysExpired;
        assert_eq!(seal(&frames, TOO_OLD - Duration::from_millis(1), reason), (0, true));
        assert_eq!(seal(&frames, TOO_OLD, reason), (1, false));

        let mut datagram = Vec::new();
        keys(Role::Client).seal_frame(Duration::ZERO, &[7; 60], false, &mut datagram).unwrap();
        let header = Header::parse(&datagram).unwrap();
        let error = keys(Role::Server).receive(TOO_OLD, &header, &mut datagram).unwrap_err();
        let (counters, tallies) = (Counters::new(), Tallies::new(1));
        let drops =
            Drops { counters: &counters, tally: tallies.of(0), who: Who::Server, now: TOO_OLD };
        let arrival =
            Arrival { from: ([192, 0, 2, 1], 8080).into(), to: None, ecn: 0, congested: false };
        drops.add_unopened(error, &arrival, &header, datagram.len());
        assert_eq!(counters.get(reason), 1);
        assert_eq!(tallies.sum().drops, [("keys_expired".into(), 1)].into());
    }

    #[test]
    fn a_super_frame_that_cannot_be_cut_is_counted_in_both_modes() {
        let size = NonZeroU16::new(1_000).unwrap();
        let gso = Some(Gso { kind: GsoKind::Tcp4, size, ecn: false });
        let vnet = VnetHeader { gso, header_len: 54, ..VnetHeader::default() };
        // It is said to be of TCP, and is of nothing.
        let frames = batch(vnet, &[7; 3_000]);
        assert_eq!(seal(&frames, Duration::ZERO, Counter::BadSuperFrame), (1, false));
        let (mut cut, counters) = (Cut::default(), Counters::new());
        cut.fill(&frames);
        cut.count_bad(&frames, Duration::ZERO, &counters);
        assert_eq!(counters.get(Counter::BadSuperFrame), 1);
        assert_eq!(cut.parts(&frames, 0..frames.len()).count(), 0);
    }
}
