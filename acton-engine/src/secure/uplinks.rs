//! What a server does about links without which it is of no use to its clients.

use std::mem;
use std::time::Duration;

use crate::observe::status::Report;
use crate::run::control::DrainOrder;

/// Over how much time clients go where a link is down: what they lose meanwhile weighs more than a rush.
const DRAIN: Duration = Duration::from_millis(500);
/// How long all links have to carry something before clients may come back: what is behind a link that
/// has just come up takes some seconds to find its ways, as BGP does.
const SETTLED: Duration = Duration::from_secs(5);

/// A tracked link that carries nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Down {
    pub(super) link: String,
    /// There is no link of that name: it may come yet, or the name is a mistake.
    pub(super) is_missing: bool,
}

/// What became of a tracked link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It carries something.
    Up(String),
    Down(Down),
}

/// The tracked links of a server.
#[derive(Debug, Default)]
pub(super) struct Uplinks {
    /// Those that carry nothing, in the order in which they are tracked.
    down: Vec<Down>,
    /// When all will have carried something for long enough, where one of them did not.
    settled: Option<Duration>,
}

impl Uplinks {
    /// Takes which links carry nothing now; what became of those that changed.
    pub(super) fn see(&mut self, now: Duration, down: Vec<Down>) -> Vec<Change> {
        let before = mem::replace(&mut self.down, down);
        let lost = self.down.iter().filter(|it| !before.contains(it));
        let mut changed: Vec<_> = lost.cloned().map(Change::Down).collect();
        let is_down = |link: &str| self.down.iter().any(|it| it.link == link);
        let back = before.into_iter().filter(|it| !is_down(&it.link));
        changed.extend(back.map(|it| Change::Up(it.link)));
        if !self.down.is_empty() {
            self.settled = None;
        } else if !changed.is_empty() {
            self.settled = Some(now + SETTLED);
        }
        changed
    }

    /// Takes which links are tracked: what becomes of others is nothing to tell of, and no reason to send
    /// clients away.
    pub(super) fn track(&mut self, tracked: &[String]) {
        self.down.retain(|it| tracked.contains(&it.link));
    }

    /// What is asked of clients, where an operator wants this: also what he wants to take its time is done
    /// at once while a link is down.
    pub(super) fn order(&self, ordered: Option<&DrainOrder>) -> Option<DrainOrder> {
        match ordered {
            Some(order) if self.is_useless() => {
                Some(DrainOrder { over: order.over.min(DRAIN), ..order.clone() })
            }
            Some(order) => Some(order.clone()),
            None => self.is_useless().then_some(DrainOrder { to: 0, over: DRAIN, everyone: false }),
        }
    }

    /// Has a report say how the links are.
    pub(super) fn report(&self, now: Duration, report: Report) -> Report {
        let uplinks_settled_in = self.settled.map(|settled| settled.saturating_sub(now));
        let names = |of: fn(&&Down) -> bool| {
            self.down.iter().filter(of).map(|it| it.link.clone()).collect()
        };
        let (uplinks_down, uplinks_missing) = (names(|_| true), names(|it| it.is_missing));
        Report { uplinks_down, uplinks_missing, uplinks_settled_in, ..report }
    }

    /// Whether clients are better off elsewhere.
    fn is_useless(&self) -> bool {
        !self.down.is_empty() || self.settled.is_some()
    }

    /// When [`settle`](Self::settle) has something to do.
    pub(super) const fn due(&self) -> Option<Duration> {
        self.settled
    }

    /// Whether clients may come back from now on.
    pub(super) fn settle(&mut self, now: Duration) -> bool {
        self.settled.take_if(|settled| *settled <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn one(link: &str) -> Down {
        Down { link: link.to_owned(), is_missing: false }
    }

    fn down(links: &[&str]) -> Vec<Down> {
        links.iter().map(|link| one(link)).collect()
    }

    #[test]
    fn a_link_that_comes_without_a_carrier_is_another_news() {
        let mut uplinks = Uplinks::default();
        let missing = Down { is_missing: true, ..one("a") };
        let second = Duration::from_secs;
        let changed = uplinks.see(second(1), vec![missing.clone()]);
        assert_eq!(changed, [Change::Down(missing)]);
        assert_eq!(uplinks.see(second(2), down(&["a"])), [Change::Down(one("a"))]);
        assert!(uplinks.is_useless() && uplinks.due().is_none());
        assert_eq!(uplinks.see(second(3), Vec::new()), [Change::Up("a".to_owned())]);
    }

    #[test]
    fn a_link_that_is_tracked_no_more_is_forgotten() {
        let mut uplinks = Uplinks::default();
        let second = Duration::from_secs;
        uplinks.see(second(1), down(&["a", "b"]));
        uplinks.track(&names(&["b", "c"]));
        assert_eq!((&*uplinks.down, uplinks.is_useless()), (&*down(&["b"]), true));
        uplinks.track(&names(&["c"]));
        assert!(!uplinks.is_useless(), "it has nothing to settle");
        assert!(uplinks.see(second(2), Vec::new()).is_empty() && !uplinks.is_useless());
    }

    #[test]
    fn a_link_that_is_down_hurries_what_an_operator_wants() {
        let mut uplinks = Uplinks::default();
        let (slow, own) = (
            DrainOrder { to: 7, over: Duration::from_secs(600), everyone: true },
            DrainOrder { to: 0, over: DRAIN, everyone: false },
        );
        assert_eq!((uplinks.order(None), uplinks.order(Some(&slow))), (None, Some(slow.clone())));
        uplinks.see(Duration::from_secs(1), down(&["a"]));
        assert_eq!(uplinks.order(None), Some(own));
        let hurried = DrainOrder { over: DRAIN, ..slow.clone() };
        assert_eq!(uplinks.order(Some(&slow)), Some(hurried));
        let at_once = DrainOrder { over: Duration::ZERO, ..slow };
        assert_eq!(uplinks.order(Some(&at_once)), Some(at_once));
    }

    #[test]
    fn one_link_that_is_down_is_enough_and_all_have_to_be_up_for_a_while() {
        let mut uplinks = Uplinks::default();
        let second = Duration::from_secs;
        assert!(uplinks.see(second(1), Vec::new()).is_empty() && !uplinks.is_useless());
        assert_eq!(uplinks.see(second(2), down(&["a"])), [Change::Down(one("a"))]);
        assert!(uplinks.is_useless());
        let changed = uplinks.see(second(3), down(&["b"]));
        assert_eq!(changed, [Change::Down(one("b")), Change::Up("a".to_owned())]);
        assert!(uplinks.due().is_none() && !uplinks.settle(second(100)));
        assert_eq!(uplinks.see(second(4), Vec::new()), [Change::Up("b".to_owned())]);
        assert!(uplinks.is_useless() && !uplinks.settle(second(8)));
        // A link that flaps begins anew.
        uplinks.see(second(8), down(&["b"]));
        uplinks.see(second(8), Vec::new());
        assert_eq!(uplinks.due(), Some(second(13)));
        let report = uplinks.report(second(9), Report::default());
        assert_eq!((report.uplinks_down.len(), report.uplinks_settled_in), (0, Some(second(4))));
        assert!(!uplinks.settle(second(12)) && uplinks.is_useless());
        assert!(uplinks.settle(second(13)) && !uplinks.is_useless());
        assert!(!uplinks.settle(second(14)));
    }
}
