//! Frames for everybody, where everybody is many: sent in slices, between which other frames pass.
//!
//! To seal and send a frame for each of 10,000 clients takes a worker some 100 ms, in which a frame
//! for one of them would wait. So the worker copies it and sends it to a few clients at each turn of
//! its loop. What comes meanwhile for everybody waits for the next round and leaves with whatever
//! else waits there, in secure mode as one bundle for each client: under load a round takes hardly
//! longer and carries more. What could not be sent in time is given up, and counted.
//!
//! The slices of a round are sent by whichever worker of the server has nothing else to do: the one
//! that begins it wakes the others. A round begins when the one before was sent to its last receiver.
//!
//! Frames for everybody keep their order, and so do those of a VLAN, whether they go to everybody, to all who
//! are in it or to some of these. One of them may be overtaken by a later frame for one client, which Ethernet
//! allows: its order is that of frames of one source for one destination (IEEE 802.1D-2004, 6.3.3), and these
//! have another destination. Frames to an unknown address change from one to the other once it is learnt, as at
//! any bridge. A question that is asked of its one owner has the destination of what waits, but asks for itself.

use std::hash::Hash;
use std::mem;
use std::ops::ControlFlow::{Break, Continue};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, iter};

use parking_lot::Mutex;

use crate::capture::packet::{Direction, Who};
use crate::frames::copies::{FrameCopies, Wanted};
use crate::frames::store::FrameStore;
use crate::observe::counters::{Counter, Counters};
use crate::sessions::audience::{Audience, For};
use crate::sessions::bell::Bell;
use crate::sessions::directory::{Directory, Ported, SLOTS};
use crate::sessions::slot_set::SlotUnion;

/// Receivers in a slice: on loopback, where the kernel delivers in the sender's time, a slice takes
/// some 80 us, about as long as the idle round trip of a ping.
const SLICE: usize = 16;
/// Bytes in a slice, all receivers together, unless one gets more: two turns' worth of a transfer.
const SLICE_LEN: usize = 256 << 10;
/// How long a frame waits for its round: longer than a round of [`ROUND_LEN`] takes, so that a burst
/// gets through, and with that no longer than a second. Then whoever asks for an address asks again
/// (RFC 4861, RETRANS_TIMER; Linux's ARP), and what is older is of no use.
const LATE: Duration = Duration::from_millis(500);
/// How long a round may take, where the worker gets too little of its processor.
const ROUND: Duration = Duration::from_secs(1);
/// Bytes in a round, all receivers together: a third to half a second's work in bundles.
const ROUND_LEN: usize = 160 << 20;
/// Bytes that wait for the next round at most: as many as 64 clients get in one.
const WAITING_LEN: usize = 1 << 20;

/// Receivers of what is for some that get it at once in a turn, before anything else: that takes a worker
/// some 0.5 ms.
const AT_ONCE: usize = 64;

/// Receivers for each of which another worker is woken: to send to them takes some 1 ms, many times
/// what waking it does.
const HELPED: usize = 256;

/// Frames for everybody that were not sent at once, of all workers of a server.
#[derive(Debug)]
pub(crate) struct SharedRounds {
    /// What a frame counts as at least, in bytes.
    least_len: usize,
    /// Whether there is a slice that nobody sends yet.
    has_slice: AtomicBool,
    /// Whether some worker is sending a slice.
    is_served: AtomicBool,
    /// Whether there is a frame that not all have been sent yet.
    is_busy: AtomicBool,
    state: Mutex<State>,
    /// The workers', by number.
    bells: Box<[Bell]>,
}

/// Where the rounds are.
#[derive(Debug, Default)]
struct State {
    waiting: FrameCopies,
    /// The frames of the round; `run` go out, and nothing where all receivers were found.
    frames: Arc<FrameCopies>,
    run: Range<usize>,
    /// How many rounds there were with this one.
    number: u64,
    began: Duration,
    /// Slots of the directory that have not had their turn: these first, then those.
    slots: Range<usize>,
    then: Range<usize>,
    /// The slot that the next round begins with.
    from: usize,
    /// Receivers in a slice.
    slice: usize,
    /// Receivers that had the round's frames, or are about to.
    served: usize,
    /// Workers that are sending a slice.
    sending: usize,
}

/// One worker's part in sending frames for everybody to sessions `S`.
#[derive(Debug)]
pub(crate) struct Rounds<S> {
    shared: Arc<SharedRounds>,
    worker: usize,
    /// The frames of round `number`.
    frames: Arc<FrameCopies>,
    number: u64,
    receivers: Vec<Arc<S>>,
    wanted: Wanted,
    /// Receivers that may get something at once in this turn.
    at_once: usize,
}

/// What is to be sent now.
pub(crate) struct Slice<'a, S> {
    /// Whether it is the round's first, whoever sends it.
    pub(crate) is_first: bool,
    /// Whether it is this worker's first of its round.
    pub(crate) begins: bool,
    /// The round's frames, of which `run` are to be sent to each of the receivers. Who changes one has a
    /// copy of its own until the round is over.
    pub(crate) frames: &'a mut Arc<FrameCopies>,
    pub(crate) run: Range<usize>,
    pub(crate) receivers: &'a [Arc<S>],
    /// For which of the frames are for a receiver.
    pub(crate) wanted: &'a mut Wanted,
}

impl SharedRounds {
    /// For so many workers, where a frame counts as `least_len` bytes at least, since it leaves in a
    /// datagram of its own.
    ///
    /// # Errors
    /// The process or the system is out of file descriptors.
    pub(crate) fn new(workers: usize, least_len: usize) -> io::Result<Arc<Self>> {
        // One worker has nobody to wake.
        let others = if workers > 1 { workers } else { 0 };
        Ok(Arc::new(Self {
            least_len,
            has_slice: AtomicBool::new(false),
            is_served: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
            state: Mutex::default(),
            bells: iter::repeat_with(Bell::new).take(others).collect::<Result<_, _>>()?,
        }))
    }

    /// Bytes of these frames, as they count.
    fn bytes(&self, frames: &impl FrameStore, run: Range<usize>) -> usize {
        run.map(|index| frames.get(index).len().max(self.least_len)).sum()
    }

    /// Begins a round with what waits, where there are so many `receivers`: of what is too much for one, the
    /// newest. How many of them get any of it.
    fn begin(
        &self,
        state: &mut State,
        receivers: usize,
        now: Duration,
        counters: &Counters,
    ) -> usize {
        let mut frames = mem::take(&mut state.waiting);
        frames.look_again();
        let frames = Arc::new(frames);
        // Its memory does for the next ones, unless a worker has had no slice since.
        let before = mem::replace(&mut state.frames, frames);
        state.waiting = Arc::try_unwrap(before).unwrap_or_default();
        state.waiting.clear();
        let frames = state.frames.len();
        let mut room = ROUND_LEN;
        let bytes = |index| {
            self.bytes(&state.frames, index..index + 1) * state.frames.receivers(index, receivers)
        };
        let in_time = (0..frames).rev().take_while(|&index| {
            let bytes = bytes(index);
            let fits = bytes <= room || index + 1 == frames;
            room = room.saturating_sub(bytes);
            fits && now.saturating_sub(state.frames.since(index)) <= LATE
        });
        let first = frames - in_time.count();
        let missed = (0..first).map(|index| state.frames.receivers(index, receivers) as u64);
        counters.add(Counter::FloodLate, missed.sum());
        keep_late(counters, &*state.frames, 0..first, now);
        // What each of them gets, where some get more than others.
        let reached = state.frames.slots().map_or(receivers, SlotUnion::len);
        state.slice =
            receivers_in_slice((first..frames).map(bytes).sum::<usize>() / reached.max(1));
        state.run = first..frames;
        (state.slots, state.then) = (state.from..SLOTS, 0..state.from);
        (state.from, state.began, state.served) = (0, now, 0);
        state.number += 1;
        reached
    }

    /// Whether a frame waits, or is being sent, of what an audience gets.
    fn has(&self, what: For) -> bool {
        if !self.is_busy.load(Ordering::Acquire) {
            return false;
        }
        let state = self.state.lock();
        let goes_on = !state.run.is_empty() || state.sending > 0;
        state.waiting.has(what) || goes_on && state.frames.has(what)
    }

    /// Wakes so many others that each has enough to do.
    fn call_others(&self, worker: usize, receivers: usize) {
        let others = self.bells.iter().cycle().skip(worker + 1);
        let count = (receivers / HELPED).min(self.bells.len().saturating_sub(1));
        others.take(count).for_each(Bell::ring);
    }

    /// Has workers see without the lock what there is to do.
    fn publish(&self, state: &State) {
        let (waits, sends) = (state.waiting.len() > 0, state.sending > 0);
        self.is_served.store(sends, Ordering::Release);
        self.has_slice.store(!state.run.is_empty() || waits && !sends, Ordering::Release);
        self.is_busy.store(!state.run.is_empty() || waits || sends, Ordering::Release);
    }
}

impl State {
    /// How many frames of the round do not reach one of their receivers, where everybody is so many, if it
    /// ends now.
    fn missed(&self, everybody: usize) -> u64 {
        let Self { frames, run, slots, then, served, .. } = self;
        frames.sum(run.clone(), everybody.saturating_sub(*served), |some, count| {
            count.min(some.count_in(slots) + some.count_in(then))
        })
    }

    /// Finds the next receivers; the round has no slice left when there are no others.
    fn find_receivers<K: Copy + Eq + Hash, S: Ported>(
        &mut self,
        directory: &Directory<K, S>,
        receivers: &mut Vec<Arc<S>>,
    ) {
        let Self { slots, then, slice, frames, .. } = self;
        while receivers.len() < *slice && !Range::is_empty(slots) {
            slots.start = match frames.slots() {
                None => directory.for_each_in(slots.clone(), |session| {
                    receivers.push(Arc::clone(session));
                    if receivers.len() < *slice { Continue(()) } else { Break(()) }
                }),
                // Who gets nothing is not looked at.
                Some(some) => {
                    let next = some.next(slots.start);
                    if next < slots.end {
                        directory.read_slot(next, |session| receivers.push(Arc::clone(session)));
                    }
                    (next + 1).min(slots.end)
                }
            };
            if Range::is_empty(slots) {
                *slots = mem::take(then);
            }
        }
        self.served += receivers.len();
        if Range::is_empty(&self.slots) {
            self.run = 0..0;
        }
    }
}

impl<S: Ported> Rounds<S> {
    /// The part of worker number `worker`, from 0.
    pub(crate) fn new(shared: Arc<SharedRounds>, worker: usize) -> Self {
        let (frames, number) = (Arc::default(), 0);
        let receivers = Vec::with_capacity(SLICE);
        let (wanted, at_once) = (Wanted::default(), AT_ONCE);
        Self { shared, worker, frames, number, receivers, wanted, at_once }
    }

    /// What wakes this worker where others have frames for everybody; one alone has none.
    pub(crate) fn bell(&self) -> Option<&Bell> {
        self.shared.bells.get(self.worker)
    }

    /// Whether there is a slice for this worker to send.
    #[inline]
    pub(crate) fn has_slice(&self) -> bool {
        self.shared.has_slice.load(Ordering::Acquire)
    }

    /// Whether some worker is sending a slice right now.
    #[inline]
    pub(crate) fn is_served(&self) -> bool {
        self.shared.is_served.load(Ordering::Acquire)
    }

    /// Takes the frames `run` of `frames`, which are for as many `receivers`, some of whom may go `by_vlan`,
    /// unless all of them fit into a slice and nothing waits that came before; whether it took them.
    pub(crate) fn takes(
        &mut self,
        frames: &impl FrameStore,
        run: Range<usize>,
        (receivers, by_vlan): (usize, bool),
        now: Duration,
        counters: &Counters,
    ) -> bool {
        let Self { shared, .. } = self;
        let bytes = shared.bytes(frames, run.clone());
        if receivers <= receivers_in_slice(bytes) && !shared.is_busy.load(Ordering::Acquire) {
            return false;
        }
        self.keep(frames, run, (receivers, None, by_vlan), now, counters);
        true
    }

    /// Begins a turn, in which so many as [`AT_ONCE`] get something at once.
    pub(crate) fn begin_turn(&mut self) {
        self.at_once = AT_ONCE;
    }

    /// Takes the frames `run` of `frames`, which are for some, unless these are so few that they are to be
    /// served at once and nothing waits for them that came before; whether it took them.
    pub(crate) fn takes_some(
        &mut self,
        frames: &impl FrameStore,
        run: Range<usize>,
        receivers: &Audience,
        now: Duration,
        counters: &Counters,
    ) -> bool {
        let looked_at = receivers.looked_at();
        if looked_at <= self.at_once && !self.shared.has(receivers.gets()) {
            self.at_once -= looked_at;
            return false;
        }
        self.keep(frames, run, (receivers.count(), Some(receivers), true), now, counters);
        true
    }

    /// Keeps frames for a round, for so many receivers: these, or everybody, who may go `by_vlan`.
    fn keep(
        &mut self,
        frames: &impl FrameStore,
        run: Range<usize>,
        (count, receivers, by_vlan): (usize, Option<&Audience>, bool),
        now: Duration,
        counters: &Counters,
    ) {
        let Self { shared, .. } = self;
        let mut state = shared.state.lock();
        for index in run {
            if state.waiting.bytes() < WAITING_LEN {
                state.waiting.push(frames, index, receivers.map(|it| (it, count)), by_vlan, now);
            } else {
                counters.add(Counter::FloodLate, count as u64);
                keep_late(counters, frames, index..index + 1, now);
            }
        }
        shared.publish(&state);
    }

    /// Has `send` send what is next, if anything is.
    pub(crate) fn send_slice<K: Copy + Eq + Hash>(
        &mut self,
        directory: &Directory<K, S>,
        now: Duration,
        counters: &Counters,
        send: impl FnOnce(Slice<'_, S>),
    ) {
        let Self { shared, worker, frames, number, receivers, wanted, .. } = self;
        let mut state = shared.state.lock();
        if state.run.is_empty() {
            // Another worker may have sent what was left.
            if state.sending == 0 && state.waiting.len() > 0 {
                let reached = shared.begin(&mut state, directory.len(), now, counters);
                shared.call_others(*worker, reached);
            }
        } else if now.saturating_sub(state.began) > ROUND {
            counters.add(Counter::FloodLate, state.missed(directory.len()));
            keep_late(counters, &*state.frames, state.run.clone(), now);
            // Who missed this round is the first in the next.
            (state.from, state.run) = (state.slots.start, 0..0);
        }
        let run = state.run.clone();
        if run.is_empty() {
            return shared.publish(&state);
        }
        let (begins, is_first) = (*number != state.number, state.served == 0);
        *number = state.number;
        if begins {
            *frames = Arc::clone(&state.frames);
        }
        state.find_receivers(directory, receivers);
        state.sending += 1;
        shared.publish(&state);
        drop(state);
        if begins {
            wanted.begin(frames);
        }
        send(Slice { is_first, begins, frames, run, receivers, wanted });
        receivers.clear();
        let mut state = shared.state.lock();
        state.sending -= 1;
        shared.publish(&state);
    }
}

/// Keeps the beginnings of frames that some did not get, each once.
fn keep_late(counters: &Counters, frames: &impl FrameStore, run: Range<usize>, now: Duration) {
    let (dropped, reason) = (counters.dropped(), Counter::FloodLate);
    for frame in run.map(|index| frames.get(index)) {
        dropped.add_frame(now, Direction::Out, Who::Tap, reason, frame);
    }
}

/// How many receivers a slice has where each gets so many bytes.
fn receivers_in_slice(bytes: usize) -> usize {
    (SLICE_LEN / bytes.max(1)).clamp(1, SLICE)
}

#[cfg(test)]
mod order;
#[cfg(test)]
mod tests;
