//! Datagrams of ids that no session has.

use std::time::Duration;

use acton_proto::server::{RESET_LIMIT, RESET_TIME};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::run::control::INBOX_LEN;
use crate::run::lane::{Lane, Place};
use crate::throttle::Bucket;

/// Datagrams under one id that the control thread is to open: so often, so many at once. A client
/// says KEEPALIVE each 0.5 s until its keys are confirmed, and may send frames meanwhile.
const EXPECTED: (Duration, u32) = (Duration::from_millis(20), 64);
/// Of all these ids together, waiting.
const EXPECTED_WAITING: usize = INBOX_LEN / 4;
/// Datagrams of ids that nobody has, which may get a RESET, of all workers together, waiting.
const NOBODYS_WAITING: usize = INBOX_LEN / 16;

/// Which ids the control thread expects though no session has them: keys that a client is to confirm,
/// or that were closed. Each worker asks about its own ids alone, so their locks are free but while
/// the control thread changes one.
#[derive(Debug)]
pub(super) struct Expected {
    by_worker: Box<[Mutex<Ids>]>,
    /// Until when ids that nobody has may be answered by RESET.
    reset_until: Duration,
    expected: Lane,
    nobodys: Lane,
}

/// What concerns one worker.
#[derive(Debug)]
struct Ids {
    expected: HashMap<u32, Bucket, RandomState>,
    nobodys: Bucket,
}

/// Whose a datagram is that no session has keys for.
#[derive(Debug)]
pub(super) enum Stray {
    /// The control thread's.
    Expected(Place),
    /// Nobody's, and it may get a RESET.
    Nobodys(Place),
    /// The control thread's, which had too many of them.
    Limited,
    /// Nobody's, to be dropped.
    Dropped,
}

impl Expected {
    /// Of a server that starts at `now`, whose ids name one of 2^`worker_bits` workers in their low
    /// bits.
    pub(super) fn new(now: Duration, worker_bits: u8) -> Self {
        let ids = || {
            let nobodys = Bucket::new(RESET_LIMIT.0, RESET_LIMIT.1);
            Mutex::new(Ids { expected: HashMap::default(), nobodys })
        };
        Self {
            by_worker: (0..1_usize << worker_bits).map(|_| ids()).collect(),
            reset_until: now + RESET_TIME,
            expected: Lane::new(EXPECTED_WAITING),
            nobodys: Lane::new(NOBODYS_WAITING),
        }
    }

    fn of(&self, id: u32) -> &Mutex<Ids> {
        &self.by_worker[id as usize % self.by_worker.len()]
    }

    pub(super) fn add(&self, id: u32) {
        let (interval, burst) = EXPECTED;
        self.of(id).lock().expected.insert(id, Bucket::new(interval, burst));
    }

    pub(super) fn remove(&self, id: u32) {
        self.of(id).lock().expected.remove(&id);
    }

    /// What becomes of a datagram with this id, that no session has.
    pub(super) fn judge(&self, id: u32, now: Duration) -> Stray {
        let mut ids = self.of(id).lock();
        if let Some(bucket) = ids.expected.get_mut(&id) {
            let place = bucket.admits(now).then(|| self.expected.enter()).flatten();
            return place.map_or(Stray::Limited, Stray::Expected);
        }
        let may_reset = now < self.reset_until && ids.nobodys.admits(now);
        let place = may_reset.then(|| self.nobodys.enter()).flatten();
        place.map_or(Stray::Dropped, Stray::Nobodys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    #[test]
    fn an_id_is_the_control_threads_while_it_is_expected() {
        let expected = Expected::new(START, 1);
        assert!(matches!(expected.judge(7, START), Stray::Nobodys(_)));
        assert!(matches!(expected.judge(7, START + RESET_TIME), Stray::Dropped));
        expected.add(7);
        assert!(matches!(expected.judge(7, START), Stray::Expected(_)));
        assert!(matches!(expected.judge(5, START + RESET_TIME), Stray::Dropped));
        expected.remove(7);
        assert!(matches!(expected.judge(7, START + RESET_TIME), Stray::Dropped));
    }

    #[test]
    fn one_id_leaves_room_for_others_and_nobodys_for_all() {
        let expected = Expected::new(START, 0);
        (1..=8).for_each(|id| expected.add(id));
        let flood = |id| (0..100_000).map(move |_| id);
        let mut waiting = Vec::new();
        for id in flood(1).chain(flood(9)).chain([2]) {
            if let Stray::Expected(place) | Stray::Nobodys(place) = expected.judge(id, START) {
                waiting.push((id, place));
            }
        }
        let of = |id| waiting.iter().filter(|(other, _)| *other == id).count();
        assert_eq!((of(1), of(9), of(2)), (EXPECTED.1 as usize, NOBODYS_WAITING, 1));
    }
}
