//! Whether whoever decides can be reached again: a connection alone does not say so.

use std::time::Duration;

/// How long a connection lasts over which nothing is asked until it counts: a program that crashes as
/// soon as it is connected to does not answer again.
const LASTING: Duration = Duration::from_secs(5);

/// A connection of which it is not known yet whether answers come by it.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    due: Option<Duration>,
}

impl Reach {
    /// There is a connection.
    pub(crate) fn connected(&mut self, now: Duration) {
        self.due = Some(now + LASTING);
    }

    /// There is none, or no answer came by it.
    pub(crate) const fn failed(&mut self) {
        self.due = None;
    }

    /// When [`proves`](Self::proves) may say so.
    pub(crate) const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether the connection has lasted, and nothing `is_asked` whose answer would tell; said once.
    pub(crate) fn proves(&mut self, now: Duration, is_asked: bool) -> bool {
        self.due.take_if(|due| now >= *due).is_some() && !is_asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    #[test]
    fn a_connection_counts_once_it_has_lasted_and_nothing_is_asked() {
        let mut reach = Reach::default();
        assert!(!reach.proves(START, false));
        // A program that crashes each time.
        for second in 0..60 {
            let now = START + Duration::from_secs(2 * second);
            reach.connected(now);
            assert!(!reach.proves(now + Duration::from_secs(1), false));
            reach.failed();
        }
        assert!(!reach.proves(START * 3, false));
        reach.connected(START * 3);
        assert_eq!(reach.due(), Some(START * 3 + LASTING));
        assert!(reach.proves(START * 3 + LASTING, false));
        assert!(!reach.proves(START * 4, false), "once");
        reach.connected(START * 4);
        assert!(!reach.proves(START * 5, true), "the answer will tell, or that there is none");
        assert_eq!(reach.due(), None);
    }
}
