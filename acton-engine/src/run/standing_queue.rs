//! A queue that never empties tells the sender of a transfer to slow down: no more wait in the socket
//! than keep this worker busy.
//!
//! A transfer whose TCP fills the queues that there are (CUBIC) has what a worker cannot take at once
//! wait in the worker's UDP socket, up to the 4 MiB that bursts need, and everybody's frames behind it.
//! As CoDel (RFC 8289) has it, a burst is not to be punished, a queue that stands is: what counts is the
//! least that waited within an interval, and while that stays too much, one frame after the other is
//! marked or dropped, sooner each time. A worker takes all that waits at once, so what a batch holds is
//! what waited.

use std::time::Duration;

/// Bytes of a batch that keep a worker busy.
const ENOUGH: usize = 64 << 10;
/// For how long each batch holds more until that is no burst: some round trips of a LAN. For a longer
/// way it is short, but there a queue that stands fills the socket within a few of them.
const INTERVAL: Duration = Duration::from_millis(30);
/// The interval becomes no shorter than a part of it: transfers that heed no loss (BBR) lose little.
const MOST_OFTEN: u32 = 8;

/// What one worker knows of the queue before it.
#[derive(Debug, Default)]
pub(super) struct StandingQueue {
    /// Since when each batch held more than enough.
    since: Option<Duration>,
    /// When the next frame is due to be marked, and how many were, one after the other.
    next: Duration,
    marked: u32,
}

impl StandingQueue {
    /// Whether a frame of a transfer among the `bytes` that came at `now` is to be marked.
    pub(super) fn marks(&mut self, now: Duration, bytes: usize) -> bool {
        if bytes <= ENOUGH {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now < since + INTERVAL || now < self.next {
            return false;
        }
        // One that is soon back goes on where it was.
        let soon = now < self.next + INTERVAL * 2;
        self.marked = if soon { self.marked + 1 } else { 1 };
        self.next = now + INTERVAL / self.marked.isqrt().clamp(1, MOST_OFTEN);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);
    const MILLISECOND: Duration = Duration::from_millis(1);

    /// How many frames are marked of batches of so many bytes, one each millisecond.
    fn marked(
        queue: &mut StandingQueue,
        from: Duration,
        sizes: impl Iterator<Item = usize>,
    ) -> usize {
        let batch = |(at, bytes)| queue.marks(from + MILLISECOND * at, bytes);
        (0..).zip(sizes).map(batch).filter(|marks| *marks).count()
    }

    #[test]
    fn neither_a_burst_nor_a_queue_that_empties_is_told() {
        let mut queue = StandingQueue::default();
        assert_eq!(marked(&mut queue, START, (0..30).map(|_| 1 << 20)), 0);
        let empties = (0..10_000).map(|at| if at % 29 == 0 { ENOUGH } else { 1 << 20 });
        assert_eq!(marked(&mut queue, START + INTERVAL, empties), 0);
    }

    #[test]
    fn one_that_stands_is_told_more_and_more_often_and_never_too_often() {
        let mut queue = StandingQueue::default();
        assert_eq!(marked(&mut queue, START, (0..31).map(|_| ENOUGH + 1)), 1);
        let second = |queue: &mut StandingQueue, after| {
            marked(queue, START + MILLISECOND * after, (0..1_000).map(|_| ENOUGH + 1))
        };
        let (first, later) = (second(&mut queue, 31), second(&mut queue, 60_000));
        assert!((100..260).contains(&first), "{first}");
        assert!(later < 1_000 / 30 * MOST_OFTEN as usize && later <= first + 1, "{later}");
        let mut queue =
            StandingQueue { marked: 1_000_000, next: START, since: Some(Duration::ZERO) };
        let most = second(&mut queue, 0);
        assert!((250..=340).contains(&most), "{most}");
    }
}
