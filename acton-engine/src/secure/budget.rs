//! What one session may have the control thread do.

use std::time::Duration;

use acton_proto::server::Path;
use parking_lot::Mutex;

use crate::run::lane::{Lane, Place};
use crate::throttle::{Bucket, ChangeThrottle};

/// CONTROL: so often, so many at once. A client says a KEEPALIVE in a second or more, a probe of the
/// path each second or two, and little else.
const CONTROL: (Duration, u32) = (Duration::from_millis(20), 64);
/// News of where datagrams come from: so often, so many at once. A load balancer moves a session
/// four times a second, and each move is two or three of them.
const NEWS: (Duration, u32) = (Duration::from_micros(62_500), 32);
/// The same news again, while the control thread finds out.
const NEWS_AGAIN: Duration = Duration::from_millis(100);
/// Messages that wait for the control thread, of one session.
const WAITING: usize = 16;

/// One session's share of the control thread. It outlives keys and paths, and ends with the session.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Mutex<Limits>,
    lane: Lane,
}

/// A session's datagrams come to one worker, so nobody waits for these.
#[derive(Debug)]
struct Limits {
    control: Bucket,
    news: Bucket,
    noticed: ChangeThrottle<Path>,
}

impl Budget {
    pub(super) fn new() -> Self {
        let limits = Limits {
            control: Bucket::new(CONTROL.0, CONTROL.1),
            news: Bucket::new(NEWS.0, NEWS.1),
            noticed: ChangeThrottle::new(NEWS_AGAIN),
        };
        Self { limits: Mutex::new(limits), lane: Lane::new(WAITING) }
    }

    /// Whether a CONTROL is looked at. It is authentic, or whoever forges one could use up what the
    /// client may say.
    pub(super) fn admits_control(&self, now: Duration) -> bool {
        self.limits.lock().control.admits(now)
    }

    /// Whether the control thread should hear that a datagram came by `path`.
    pub(super) fn admits_news(&self, path: Path, now: Duration) -> bool {
        let Limits { news, noticed, .. } = &mut *self.limits.lock();
        noticed.admits(path, now) && news.admits(now)
    }

    /// A place among what waits for the control thread.
    pub(super) fn enter(&self) -> Option<Place> {
        self.lane.enter()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn path(port: u16) -> Path {
        SocketAddr::from(([192, 0, 2, 7], port)).into()
    }

    #[test]
    fn a_flood_of_control_is_fifty_a_second() {
        let budget = Budget::new();
        let second = |n: u32| Duration::from_secs(100) + Duration::from_micros(n.into());
        let admitted = (0..10_000_000).step_by(10).filter(|&n| budget.admits_control(second(n)));
        assert_eq!(admitted.count(), 64 + 500 - 1);
    }

    #[test]
    fn a_load_balancer_is_heard_and_a_flood_of_moves_is_not() {
        let at = |millis: u64| Duration::from_secs(100) + Duration::from_millis(millis);
        // Ten frames a millisecond, from another port each 250 ms: each move is heard at once.
        let budget = Budget::new();
        for millis in 0..60_000 {
            let heard = budget.admits_news(path((millis / 250) as u16), at(millis));
            assert!(heard || millis % 250 > 0, "a move at {millis} ms");
        }
        // From two ports in turn.
        let budget = Budget::new();
        let heard =
            (0..60_000).filter(|&millis| budget.admits_news(path(millis as u16 % 2), at(millis)));
        assert!((900..1_100).contains(&heard.count()));
    }
}
