//! A server that empties: its clients are asked to go elsewhere, some at a time.

use std::collections::VecDeque;
use std::time::Duration;

use acton_proto::server::SessionId;

use crate::run::control::DrainOrder;

/// How often some clients are asked, where there are many.
const TICK: Duration = Duration::from_millis(50);
/// How long a client that did not go is left alone before it is asked again.
const AGAIN: Duration = Duration::from_secs(5);

/// Whom to ask next. Of one time over and over, in the order in which they are given.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) order: DrainOrder,
    due: Duration,
    waiting: VecDeque<SessionId>,
    /// So many are asked so often.
    a_tick: usize,
    tick: Duration,
    /// All were asked once.
    is_round: bool,
}

impl Drain {
    pub(super) const fn new(now: Duration, order: DrainOrder) -> Self {
        Self { order, due: now, waiting: VecDeque::new(), a_tick: 1, tick: TICK, is_round: false }
    }

    /// When [`next`](Self::next) has something to do.
    pub(super) const fn due(&self) -> Duration {
        self.due
    }

    /// Whom of `sessions` to ask now, and whether it is time to send away who is still there.
    pub(super) fn next(
        &mut self,
        now: Duration,
        sessions: impl FnOnce() -> Vec<SessionId>,
    ) -> (Vec<SessionId>, bool) {
        if now < self.due {
            return (Vec::new(), false);
        }
        let sends_away = self.is_round && self.order.everyone;
        if self.waiting.is_empty() {
            self.waiting = sessions().into();
            let ticks = (self.order.over.as_millis() / TICK.as_millis()).max(1) as usize;
            self.a_tick = self.waiting.len().div_ceil(ticks).max(1);
            self.tick = TICK.max(self.order.over / self.waiting.len().max(1) as u32);
        }
        let some = self.a_tick.min(self.waiting.len());
        let asked = self.waiting.drain(..some).collect();
        let is_last = self.waiting.is_empty();
        self.is_round |= is_last;
        self.due = now.saturating_add(if is_last { AGAIN } else { self.tick });
        (asked, sends_away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(over: Duration, everyone: bool) -> Drain {
        Drain::new(Duration::ZERO, DrainOrder { to: 0, over, everyone })
    }

    #[test]
    fn clients_are_asked_over_the_time_and_those_that_stay_again() {
        let mut drain = drain(Duration::from_secs(10), false);
        let all: Vec<_> = (0..1_000).map(SessionId).collect();
        let (mut asked, mut most, mut now) = (Vec::new(), 0, Duration::ZERO);
        while asked.len() < all.len() {
            now = drain.due();
            let (some, sends_away) = drain.next(now, || all.clone());
            assert!(!sends_away);
            most = most.max(some.len());
            asked.extend(some);
        }
        assert_eq!((asked, most), (all.clone(), 5));
        assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&now), "{now:?}");
        assert_eq!(drain.next(now, || all.clone()).0, []);
        assert_eq!(drain.due(), now + AGAIN);
        assert_eq!(drain.next(drain.due(), || vec![SessionId(7)]).0, [SessionId(7)]);
    }

    #[test]
    fn few_clients_are_asked_over_the_time_too() {
        let mut drain = drain(Duration::from_secs(60), false);
        let mut asked = Vec::new();
        while asked.len() < 6 {
            let now = drain.due();
            let (some, _) = drain.next(now, || (0..6).map(SessionId).collect());
            asked.extend(some.iter().map(|_| now.as_secs()));
        }
        assert_eq!(asked, [0, 10, 20, 30, 40, 50]);
    }

    #[test]
    fn no_time_is_too_long() {
        let mut drain = drain(Duration::MAX, false);
        let some = drain.next(Duration::from_secs(1), || vec![SessionId(1), SessionId(2)]).0;
        assert_eq!(
            (some, drain.due()),
            (vec![SessionId(1)], Duration::MAX / 2 + Duration::from_secs(1))
        );
        drain.next(drain.due(), Vec::new);
        drain.next(Duration::MAX, || vec![SessionId(1); 3]);
        assert_eq!(drain.due(), Duration::MAX);
    }

    #[test]
    fn everyone_is_sent_away_once_all_were_asked() {
        let mut drain = drain(Duration::ZERO, true);
        let (asked, sends_away) = drain.next(Duration::ZERO, || vec![SessionId(1), SessionId(2)]);
        assert_eq!((asked.len(), sends_away), (2, false));
        assert!(drain.next(drain.due(), Vec::new).1);
    }
}
