//! HELLO and QUERY on their way to the control thread: those that are not of this network end with the
//! worker, so that a flood of them wakes nobody.

use std::time::Duration;

use acton_proto::server::HelloCheck;
use acton_proto::wire::{Hello, Query};
use parking_lot::RwLock;

use crate::run::control::INBOX_LEN;
use crate::run::lane::{Lane, Place};
use crate::throttle::Bucket;

/// HELLO with a wrong key that each worker passes on none the less: an operator is told of a client
/// whose key is an old one.
const TOLD: (Duration, u32) = (Duration::from_millis(100), 20);

/// What all workers know of HELLO.
#[derive(Debug)]
pub(super) struct Hellos {
    /// Once the control thread knows the network's keys.
    check: RwLock<Option<HelloCheck>>,
    waiting: Lane,
    queries: Lane,
}

impl Default for Hellos {
    fn default() -> Self {
        Self {
            check: RwLock::default(),
            waiting: Lane::new(INBOX_LEN / 2),
            queries: Lane::new(INBOX_LEN / 8),
        }
    }
}

/// What becomes of a HELLO or QUERY.
#[derive(Debug)]
pub(super) enum Judged {
    /// It is the control thread's.
    Passed(Place),
    /// It was not made with the network's key.
    WrongKey,
    /// The control thread has as many as it can take.
    Busy,
}

impl Hellos {
    /// From now on, these are the network's keys.
    pub(super) fn set_check(&self, check: HelloCheck) {
        *self.check.write() = Some(check);
    }

    /// Looks at a QUERY.
    pub(super) fn judge_query(&self, query: &Query) -> Judged {
        if !self.check.read().as_ref().is_none_or(|check| check.passes_query(query)) {
            return Judged::WrongKey;
        }
        self.queries.enter().map_or(Judged::Busy, Judged::Passed)
    }

    /// Looks at a HELLO; `told` is the worker's own.
    pub(super) fn judge(&self, hello: &Hello, told: &mut Bucket, now: Duration) -> Judged {
        let passes = self.check.read().as_ref().is_none_or(|check| check.passes(hello));
        if !passes && !told.admits(now) {
            return Judged::WrongKey;
        }
        self.waiting.enter().map_or(Judged::Busy, Judged::Passed)
    }
}

/// Which HELLO with a wrong key a worker passes on.
pub(super) const fn told() -> Bucket {
    Bucket::new(TOLD.0, TOLD.1)
}

#[cfg(test)]
mod tests {
    use acton_proto::handshake::{MacKey, QueryKeys, Secret, SystemRandom, public_key};
    use acton_proto::wire::{HELLO_MAC1, Key};

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn hello(server: &Key, network_key: &Secret) -> Hello {
        let mut hello = Hello { sender_id: 1, noise: [7; _], mac1: [0; 16], mac2: [0; 16] };
        let mut bytes = hello.encode();
        MacKey::new(server, Some(network_key)).sign_hello(&mut bytes);
        hello.mac1.copy_from_slice(&bytes[HELLO_MAC1..][..16]);
        hello
    }

    #[test]
    fn query_of_others_end_here_and_have_a_lane_of_their_own() {
        let server = public_key(&Secret::new([1; 32]));
        let [old, new, wrong] = [2, 3, 4].map(|byte| Secret::new([byte; 32]));
        let hellos = Hellos::default();
        let query = |key| QueryKeys::new(&server, Some(key)).query(&mut SystemRandom);
        hellos.set_check(HelloCheck::new(&server, Some(&new), Some(&old)));
        assert!(matches!(hellos.judge_query(&query(&wrong)), Judged::WrongKey));
        assert!(matches!(hellos.judge_query(&query(&old)), Judged::Passed(_)));
        let places: Vec<_> = (0..INBOX_LEN).map(|_| hellos.judge_query(&query(&new))).collect();
        assert!(matches!(places.last(), Some(Judged::Busy)));
        let hello = hellos.judge(&hello(&server, &new), &mut told(), NOW);
        assert!(matches!(hello, Judged::Passed(_)));
    }

    #[test]
    fn a_flood_with_a_wrong_key_ends_here_and_is_told_now_and_then() {
        let server = public_key(&Secret::new([1; 32]));
        let [old, new, wrong] = [2, 3, 4].map(|byte| Secret::new([byte; 32]));
        let (hellos, mut bucket) = (Hellos::default(), told());
        let mut judge = |key, now| hellos.judge(&hello(&server, key), &mut bucket, now);
        let passed = |judged| matches!(judged, Judged::Passed(_));

        // Before the keys are known, nobody can say.
        assert!((0..100).all(|_| passed(judge(&wrong, NOW))));
        hellos.set_check(HelloCheck::new(&server, Some(&new), Some(&old)));
        assert!((0..100).all(|_| passed(judge(&new, NOW)) && passed(judge(&old, NOW))));
        let told = (0..1_000).filter(|_| passed(judge(&wrong, NOW))).count();
        assert_eq!(told, TOLD.1 as usize);
        assert!(matches!(judge(&wrong, NOW), Judged::WrongKey));
        assert!(passed(judge(&wrong, NOW + TOLD.0)));
        hellos.set_check(HelloCheck::new(&server, Some(&new), None));
        assert!(matches!(judge(&old, NOW + TOLD.0), Judged::WrongKey));
    }

    #[test]
    fn no_more_wait_than_the_control_thread_can_take() {
        let (hellos, mut bucket) = (Hellos::default(), told());
        let hello = Hello { sender_id: 1, noise: [7; _], mac1: [0; 16], mac2: [0; 16] };
        let judged: Vec<_> =
            (0..=INBOX_LEN / 2).map(|_| hellos.judge(&hello, &mut bucket, NOW)).collect();
        let (last, first) = judged.split_last().expect("there are some");
        assert!(first.iter().all(|judged| matches!(judged, Judged::Passed(_))));
        assert!(matches!(last, Judged::Busy));
    }
}
