//! Frames for everybody, where everybody is many: sent in slices, between which other frames pass.
//!
//! To seal and send a frame for each of 10,000 clients takes a worker some 100 ms, in which a frame
//! for one of them would wait. So the worker copies it and sends it to a few clients at each turn of
//! its loop. What comes meanwhile for everybody waits for the next round and leaves with whatever
//! else waits there, in secure mode as one bundle for each client: under load a round takes hardly
//! longer and carries more. What could not be sent in time is given up, and counted.
//!
//! Frames for everybody keep their order. One of them may be overtaken by a later frame for one
//! client, which Ethernet allows: its order is that of frames of one source for one destination (IEEE
//! 802.1AC, 12.1), and these have another destination. Frames to an unknown address change from
//! one to the other once it is learnt, as at any bridge.

use std::hash::Hash;
use std::mem;
use std::ops::ControlFlow::{Break, Continue};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::frames::copies::FrameCopies;
use crate::frames::store::FrameStore;
use crate::observe::counters::{Counter, Counters};
use crate::sessions::directory::{Directory, Ported, SLOTS};

/// Receivers in a slice: on loopback, where the kernel delivers in the sender's time, each takes some
/// 8 us. Twice as many make no flood faster.
const SLICE: usize = 32;
/// Bytes in a slice, all receivers together, unless one gets more: a few turns' worth of a transfer.
const SLICE_LEN: usize = 256 << 10;
/// How long a frame waits for its round. What asks for an address asks again after a second (RFC
/// 4861, RETRANS_TIMER; Linux's ARP): by then it shall not meet its own past.
const LATE: Duration = Duration::from_millis(200);
/// How long a round may take: what is left of it then would be later than the next question.
const ROUND: Duration = Duration::from_secs(1);
/// Bytes in a round, all receivers together: a third to half a second's work.
const ROUND_LEN: usize = 160 << 20;
/// Bytes that wait for the next round at most: as many as 64 clients get in one.
const WAITING_LEN: usize = 1 << 20;

/// One worker's frames for everybody that were not sent at once, to sessions `S`.
#[derive(Debug)]
pub(crate) struct Flood<S> {
    waiting: FrameCopies,
    /// The frames of the round; `run` go out.
    round: FrameCopies,
    run: Range<usize>,
    began: Duration,
    /// Slots of the directory that have not had their turn: these first, then those.
    slots: Range<usize>,
    then: Range<usize>,
    /// The slot that the next round begins with.
    from: usize,
    /// Receivers in a slice.
    slice: usize,
    /// Receivers that had the round's frames.
    served: usize,
    receivers: Vec<Arc<S>>,
}

/// What is to be sent now.
pub(crate) struct Slice<'a, S> {
    /// Whether it is the first of its round.
    pub(crate) begins: bool,
    /// The round's frames, of which `run` are to be sent to each of the receivers.
    pub(crate) frames: &'a mut FrameCopies,
    pub(crate) run: Range<usize>,
    pub(crate) receivers: &'a [Arc<S>],
}

impl<S: Ported> Flood<S> {
    pub(crate) fn new() -> Self {
        Self {
            waiting: FrameCopies::default(),
            round: FrameCopies::default(),
            run: 0..0,
            began: Duration::ZERO,
            slots: 0..0,
            then: 0..0,
            from: 0,
            slice: 0,
            served: 0,
            receivers: Vec::with_capacity(SLICE),
        }
    }

    /// Whether anything is left to be sent.
    #[inline]
    pub(crate) fn is_under_way(&self) -> bool {
        !self.run.is_empty() || self.waiting.len() > 0
    }

    /// Takes the frames `run` of `frames`, which are for as many `receivers`, unless all of them fit
    /// into a slice and nothing waits that came before; whether it took them.
    pub(crate) fn takes(
        &mut self,
        frames: &impl FrameStore,
        run: Range<usize>,
        receivers: usize,
        now: Duration,
        counters: &Counters,
    ) -> bool {
        let bytes = run.clone().map(|index| frames.get(index).len()).sum();
        if !self.is_under_way() && receivers <= receivers_in_slice(bytes) {
            return false;
        }
        for index in run {
            if self.waiting.bytes() < WAITING_LEN {
                self.waiting.push(frames, index, now);
            } else {
                counters.add(Counter::FloodLate, receivers as u64);
            }
        }
        true
    }

    /// Has `send` send what is next.
    pub(crate) fn send_slice<K: Copy + Eq + Hash>(
        &mut self,
        directory: &Directory<K, S>,
        now: Duration,
        counters: &Counters,
        send: impl FnOnce(Slice<'_, S>),
    ) {
        let begins = self.run.is_empty();
        if begins {
            self.begin(directory.len(), now, counters);
        } else if now.saturating_sub(self.began) > ROUND {
            let missed = directory.len().saturating_sub(self.served) * self.run.len();
            counters.add(Counter::FloodLate, missed as u64);
            // Who missed this round is the first in the next.
            (self.from, self.run) = (self.slots.start, 0..0);
        }
        if self.run.is_empty() {
            return;
        }
        self.find_receivers(directory);
        let Self { round: frames, receivers, .. } = self;
        send(Slice { begins, frames, run: self.run.clone(), receivers });
        self.served += self.receivers.len();
        self.receivers.clear();
        if self.slots.is_empty() {
            self.run = 0..0;
        }
    }

    /// Begins a round with what waits: of what is too much for one, the newest.
    fn begin(&mut self, receivers: usize, now: Duration, counters: &Counters) {
        mem::swap(&mut self.round, &mut self.waiting);
        self.waiting.clear();
        let frames = self.round.len();
        let mut room = ROUND_LEN / receivers.max(1);
        let in_time = (0..frames).rev().take_while(|&index| {
            let bytes = self.round.get(index).len();
            let fits = bytes <= room || index + 1 == frames;
            room = room.saturating_sub(bytes);
            fits && now.saturating_sub(self.round.since(index)) <= LATE
        });
        let first = frames - in_time.count();
        counters.add(Counter::FloodLate, (first * receivers) as u64);
        self.run = first..frames;
        let bytes = self.run.clone().map(|index| self.round.get(index).len()).sum();
        self.slice = receivers_in_slice(bytes);
        (self.slots, self.then) = (self.from..SLOTS, 0..self.from);
        (self.from, self.began, self.served) = (0, now, 0);
    }

    /// Finds the next receivers, and is at no slots when there are no others.
    fn find_receivers<K: Copy + Eq + Hash>(&mut self, directory: &Directory<K, S>) {
        let Self { receivers, slots, then, slice, .. } = self;
        while receivers.len() < *slice && !Range::is_empty(slots) {
            slots.start = directory.for_each_in(slots.clone(), |session| {
                receivers.push(Arc::clone(session));
                if receivers.len() < *slice { Continue(()) } else { Break(()) }
            });
            if Range::is_empty(slots) {
                *slots = mem::take(then);
            }
        }
    }
}

/// How many receivers a slice has where each gets so many bytes.
fn receivers_in_slice(bytes: usize) -> usize {
    (SLICE_LEN / bytes.max(1)).clamp(1, SLICE)
}
