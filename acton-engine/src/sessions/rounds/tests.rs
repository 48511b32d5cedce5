use std::collections::BTreeMap;
use std::os::fd::AsFd;

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
        let batch = FrameBatch::of_one(&vec![first; len]);
        let receivers = self.directory.len();
        self.rounds.takes(&batch, 0..1, (receivers, false), self.now, &self.counters)
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
