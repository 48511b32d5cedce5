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
//! Frames for everybody keep their order. One of them may be overtaken by a later frame for one
//! client, which Ethernet allows: its order is that of frames of one source for one destination (IEEE
//! 802.1D-2004, 6.3.3), and these have another destination. Frames to an unknown address change from
//! one to the other once it is learnt, as at any bridge.

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
use crate::frames::copies::FrameCopies;
use crate::frames::store::FrameStore;
use crate::observe::counters::{Counter, Counters};
use crate::sessions::audience::Audience;
use crate::sessions::bell::Bell;
use crate::sessions::directory::{Directory, Ported, SLOTS};

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

    /// Begins a round with what waits: of what is too much for one, the newest.
    fn begin(&self, state: &mut State, receivers: usize, now: Duration, counters: &Counters) {
        let frames = Arc::new(mem::take(&mut state.waiting));
        // Its memory does for the next ones, unless a worker has had no slice since.
        let before = mem::replace(&mut state.frames, frames);
        state.waiting = Arc::try_unwrap(before).unwrap_or_default();
        state.waiting.clear();
        let frames = state.frames.len();
        let mut room = ROUND_LEN;
        let in_time = (0..frames).rev().take_while(|&index| {
            let bytes = self.bytes(&state.frames, index..index + 1)
                * state.frames.receivers(index, receivers);
            let fits = bytes <= room || index + 1 == frames;
            room = room.saturating_sub(bytes);
            fits && now.saturating_sub(state.frames.since(index)) <= LATE
        });
        let first = frames - in_time.count();
        let missed = (0..first).map(|index| state.frames.receivers(index, receivers) as u64);
        counters.add(Counter::FloodLate, missed.sum());
        keep_late(counters, &*state.frames, 0..first, now);
        state.run = first..frames;
        state.slice = receivers_in_slice(self.bytes(&state.frames, state.run.clone()));
        (state.slots, state.then) = (state.from..SLOTS, 0..state.from);
        (state.from, state.began, state.served) = (0, now, 0);
        state.number += 1;
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
    /// Finds the next receivers; the round has no slice left when there are no others.
    fn find_receivers<K: Copy + Eq + Hash, S: Ported>(
        &mut self,
        directory: &Directory<K, S>,
        receivers: &mut Vec<Arc<S>>,
    ) {
        let Self { slots, then, slice, frames, run, .. } = self;
        while receivers.len() < *slice && !Range::is_empty(slots) {
            // Frames of VLANs alone go to some of all.
            let first = frames.next_slot(slots.start).min(slots.end);
            let few = frames.is_for_few().then_some(first + 1);
            let looked_at = first..few.map_or(slots.end, |end| end.min(slots.end));
            slots.start = directory.for_each_in(looked_at, |session| {
                if frames.is_any_for(run.clone(), session.port()) {
                    receivers.push(Arc::clone(session));
                }
                if receivers.len() < *slice { Continue(()) } else { Break(()) }
            });
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
        Self { shared, worker, frames, number, receivers: Vec::with_capacity(SLICE) }
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
        let Self { shared, .. } = self;
        let bytes = shared.bytes(frames, run.clone());
        if receivers <= receivers_in_slice(bytes) && !shared.is_busy.load(Ordering::Acquire) {
            return false;
        }
        self.keep(frames, run, (receivers, None), now, counters);
        true
    }

    /// Takes the frames `run` of `frames`, which are for some, unless these are so few that they are to be
    /// served at once; whether it took them.
    pub(crate) fn takes_some(
        &mut self,
        frames: &impl FrameStore,
        run: Range<usize>,
        receivers: &Audience,
        now: Duration,
        counters: &Counters,
    ) -> bool {
        if receivers.is_served_at_once() {
            return false;
        }
        self.keep(frames, run, (receivers.count(), Some(receivers)), now, counters);
        true
    }

    /// Keeps frames for a round, for so many receivers: these, or everybody.
    fn keep(
        &mut self,
        frames: &impl FrameStore,
        run: Range<usize>,
        (count, receivers): (usize, Option<&Audience>),
        now: Duration,
        counters: &Counters,
    ) {
        let Self { shared, .. } = self;
        let mut state = shared.state.lock();
        for index in run {
            if state.waiting.bytes() < WAITING_LEN {
                state.waiting.push(frames, index, receivers, now);
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
        let Self { shared, worker, frames, number, receivers } = self;
        let mut state = shared.state.lock();
        if state.run.is_empty() {
            // Another worker may have sent what was left.
            if state.sending == 0 && state.waiting.len() > 0 {
                let receivers = directory.len();
                shared.begin(&mut state, receivers, now, counters);
                shared.call_others(*worker, receivers);
            }
        } else if now.saturating_sub(state.began) > ROUND {
            let (everybody, served) = (directory.len(), state.served);
            let missed = state.run.clone().map(|index| {
                state.frames.receivers(index, everybody).saturating_sub(served) as u64
            });
            counters.add(Counter::FloodLate, missed.sum());
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
        send(Slice { is_first, begins, frames, run, receivers });
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
mod tests {
    use std::collections::BTreeMap;
    use std::io::ErrorKind;
    use std::os::fd::AsFd;

    use acton_tap::VnetHeader;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::frames::batch::FrameBatch;
    use crate::sessions::port::LeafId;

    #[derive(Debug)]
    struct Client(LeafId);

    impl Ported for Client {
        fn port(&self) -> LeafId {
            self.0
        }
    }

    /// A server's clients, the rounds, and what each client got: the first bytes of frames.
    struct World {
        directory: Directory<u32, Client>,
        rounds: Rounds<Client>,
        counters: Counters,
        got: BTreeMap<LeafId, Vec<u8>>,
        now: Duration,
    }

    impl World {
        fn new(ports: impl Iterator<Item = LeafId>) -> Self {
            let directory = Directory::new();
            ports.for_each(|port| directory.put(Arc::new(Client(port))));
            let rounds = Rounds::new(SharedRounds::new(1, 0).unwrap(), 0);
            let (counters, got) = (Counters::new(), BTreeMap::new());
            Self { directory, rounds, counters, got, now: Duration::ZERO }
        }

        /// Whether a frame has to wait of `len` bytes that begins so.
        fn takes(&mut self, first: u8, len: usize) -> bool {
            let mut once = Some([&VnetHeader::default().encode()[..], &vec![first; len]].concat());
            let mut batch = FrameBatch::new();
            let read = |slot: &mut [u8]| {
                let read = once.take().ok_or(ErrorKind::WouldBlock)?;
                slot[..read.len()].copy_from_slice(&read);
                Ok(read.len())
            };
            batch.fill(read, &Counters::new()).unwrap();
            batch.begin_turn();
            let receivers = self.directory.len();
            self.rounds.takes(&batch, 0..1, receivers, self.now, &self.counters)
        }

        /// Sends a slice; how many clients are served in it.
        fn slice(&mut self) -> usize {
            let mut served = 0;
            let Self { directory, rounds, counters, got, .. } = self;
            rounds.send_slice(directory, self.now, counters, |slice| {
                served = slice.receivers.len();
                for client in slice.receivers {
                    let frames = slice.run.clone().map(|index| slice.frames.get(index)[0]);
                    got.entry(client.0).or_default().extend(frames);
                }
            });
            served
        }

        fn finish(&mut self) {
            while self.rounds.has_slice() {
                self.slice();
            }
        }

        fn late(&self) -> u64 {
            self.counters.get(Counter::FloodLate)
        }
    }

    #[test]
    fn what_fits_into_a_slice_goes_at_once() {
        let slice = SLICE as LeafId;
        assert!(!World::new(0..slice).takes(1, 60));
        assert!(World::new(0..slice + 1).takes(1, 60));
        assert!(!World::new(0..4).takes(1, SLICE_LEN / 4));
        assert!(World::new(0..5).takes(1, SLICE_LEN / 4));
        assert!(!World::new(0..1).takes(1, 65_000));
        assert!(!World::new(0..0).takes(1, 60));
        let mut world = World::new(0..5);
        world.rounds = Rounds::new(SharedRounds::new(1, SLICE_LEN / 4).unwrap(), 0);
        assert!(world.takes(1, 60));
    }

    #[test]
    fn all_get_all_in_order_and_what_waits_goes_together() {
        let mut world = World::new((0..1_000).map(|number| number * 3));
        assert!(world.takes(1, 60));
        assert_eq!(world.slice(), SLICE);
        // The first ones to have frame 1 get no other before its last receiver has it.
        assert!(world.takes(2, 60) && world.takes(3, 60));
        let slices = (1..).find(|_| world.got.len() == 1_000 || world.slice() == 0).unwrap();
        assert_eq!(slices, 1_000_usize.div_ceil(SLICE));
        assert!(world.got.values().all(|got| *got == [1]));
        world.finish();
        assert!(world.got.values().all(|got| *got == [1, 2, 3]));
        assert_eq!((world.got.len(), world.late()), (1_000, 0));
    }

    #[test]
    fn workers_share_the_frames_and_one_is_told_that_it_is_first() {
        let mut world = World::new(0..100);
        let rounds = SharedRounds::new(2, 0).unwrap();
        let mut workers = [0, 1].map(|worker| Rounds::new(Arc::clone(&rounds), worker));
        world.rounds = Rounds::new(rounds, 0);
        for round in 0..3 {
            assert!(world.takes(round, 60));
            let (mut firsts, mut begins, mut memory) = (0, 0, Vec::new());
            for turn in 0..4 {
                let World { directory, counters, now, .. } = &world;
                workers[turn % 2].send_slice(directory, *now, counters, |slice| {
                    firsts += usize::from(slice.is_first);
                    begins += usize::from(slice.begins);
                    memory.push(slice.frames.get(0).as_ptr());
                    if turn == 3 {
                        slice.frames.get_mut(0).0[0] = 9;
                        assert_eq!(slice.frames.get(0)[0], 9, "its own");
                    }
                });
            }
            memory.dedup();
            assert_eq!((firsts, begins, memory.len()), (1, 2, 1));
            // The other does not see what one changed.
            let World { directory, counters, now, .. } = &world;
            while workers[0].has_slice() {
                workers[0].send_slice(directory, *now, counters, |slice| {
                    assert_eq!(slice.frames.get(0)[0], round);
                });
            }
        }
    }

    /// Sends a slice by another worker while the world's sends one; how many it served.
    fn slice_beside(world: &mut World, other: &mut Rounds<Client>) -> [usize; 2] {
        let mut served = [0; 2];
        let World { directory, rounds, counters, got, now, .. } = world;
        let mut note = |slice: Slice<'_, Client>| {
            for client in slice.receivers {
                let frames = slice.run.clone().map(|index| slice.frames.get(index)[0]);
                got.entry(client.0).or_default().extend(frames);
            }
            slice.receivers.len()
        };
        rounds.send_slice(directory, *now, counters, |slice| {
            served[0] = note(slice);
            other.send_slice(directory, *now, counters, |slice| served[1] = note(slice));
        });
        served
    }

    #[test]
    fn workers_share_a_round_and_begin_the_next_when_all_have_it() {
        let mut world = World::new(0..600);
        let shared = SharedRounds::new(3, 0).unwrap();
        world.rounds = Rounds::new(Arc::clone(&shared), 0);
        let mut others = [1, 2].map(|worker| Rounds::new(Arc::clone(&shared), worker));
        let rung = |rounds: &Rounds<Client>| {
            let mut fds = [PollFd::new(rounds.bell().unwrap().as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
        };
        assert!(world.takes(1, 60) && others[0].has_slice() && !rung(&others[0]));
        assert_eq!(slice_beside(&mut world, &mut others[0]), [SLICE; 2]);
        assert_eq!([&world.rounds, &others[0], &others[1]].map(rung), [false, true, true]);
        others[0].bell().unwrap().hush();
        assert!(!rung(&others[0]));
        assert!(world.takes(2, 60));
        while world.got.len() < 600 {
            slice_beside(&mut world, &mut others[0]);
        }
        assert!(world.got.values().all(|got| *got == [1]), "each once, and no later frame");
        // The last slice of a round is on its way: nobody begins the next, nor sends past it.
        while world.got.values().filter(|got| got.len() == 2).count() < 600 - SLICE {
            world.slice();
        }
        assert!(world.takes(3, 60));
        let World { directory, rounds, counters, got, .. } = &mut world;
        rounds.send_slice(directory, Duration::ZERO, counters, |slice| {
            assert!(!others[0].has_slice());
            others[0].send_slice(directory, Duration::ZERO, counters, |_| panic!("too early"));
            slice.receivers.iter().for_each(|client| got.entry(client.0).or_default().push(2));
        });
        assert!(others[0].has_slice());
        world.finish();
        assert!(world.got.values().all(|got| *got == [1, 2, 3]));
        assert!(!others[0].has_slice() && !shared.is_busy.load(Ordering::Relaxed));
        // Who comes too late begins no round of nothing.
        let (rounds, counters) = (shared.state.lock().number, &world.counters);
        others[1].send_slice(&world.directory, Duration::ZERO, counters, |_| panic!("of what?"));
        assert_eq!((shared.state.lock().number, world.late()), (rounds, 0));
    }

    #[test]
    fn who_comes_meanwhile_may_get_it_and_who_goes_does_not() {
        let mut world = World::new(0..100);
        world.takes(1, 60);
        world.slice();
        world.directory.put(Arc::new(Client(5_000)));
        world.directory.take(99);
        world.finish();
        assert_eq!(world.got.len(), 100);
        assert!(world.got.contains_key(&5_000) && !world.got.contains_key(&99));
        assert_eq!(world.late(), 0);
    }

    #[test]
    fn what_waited_too_long_is_given_up_and_counted_for_each() {
        let mut world = World::new(0..100);
        world.takes(1, 60);
        world.slice();
        world.takes(2, 60);
        world.now = LATE;
        world.takes(3, 60);
        world.now = LATE + Duration::from_millis(1);
        world.finish();
        assert!(world.got.values().all(|got| *got == [1, 3]));
        assert_eq!(world.late(), 100);
    }

    #[test]
    fn of_too_much_the_newest_goes() {
        let receivers = 10_000;
        let room = ROUND_LEN / receivers;
        let mut world = World::new(0..receivers as LeafId);
        world.takes(0, 60);
        world.slice();
        let frames = (room / 1_000 + 3) as u8;
        (1..=frames).for_each(|first| assert!(world.takes(first, 1_000)));
        world.finish();
        assert!(
            world
                .got
                .values()
                .all(|got| got[..] == [&[0][..], &(4..=frames).collect::<Vec<_>>()].concat())
        );
        assert_eq!(world.late(), 3 * receivers as u64);
        // And what finds no room to wait.
        world.takes(0, 60);
        world.slice();
        let most = WAITING_LEN.div_ceil(60_000);
        (0..most).for_each(|_| assert!(world.takes(1, 60_000)));
        assert_eq!(world.late(), 3 * receivers as u64);
        world.takes(2, 60);
        assert_eq!(world.late(), 4 * receivers as u64);
    }

    #[test]
    fn a_round_that_takes_too_long_ends_and_the_next_begins_with_who_missed_it() {
        let mut world = World::new(0..100);
        world.takes(1, 60);
        assert_eq!(world.slice(), SLICE);
        world.now = ROUND + Duration::from_millis(1);
        assert_eq!(world.slice(), 0);
        assert_eq!(world.late(), 100 - SLICE as u64);
        assert!(!world.rounds.has_slice());
        world.takes(2, 60);
        world.slice();
        let second = |got: &&Vec<u8>| **got == [2];
        assert_eq!(world.got.values().filter(second).count(), SLICE);
        world.finish();
        assert!(world.got.values().all(|got| got.ends_with(&[2])));
        assert_eq!(world.got.len(), 100);
        // And then from the first.
        world.takes(3, 60);
        world.slice();
        assert_eq!(world.got[&0], [1, 2, 3]);
    }
}
