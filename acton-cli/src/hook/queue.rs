//! What waits to be given to a hook: in order for each session, and no more of one kind than so much.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Hooks at one time: some wait for a lease or a lock, and shall keep no other session waiting.
pub(super) const RUNNING: usize = 8;
/// Events of one kind that wait. More of them are left out, so that a flood of addresses does not push
/// out a session that ends. A thousand clients may join at once.
const WAITING_OF_A_KIND: usize = 1_024;

/// What waits, by lane: one of a lane is at work at a time, and lanes take turns.
#[derive(Debug)]
pub(super) struct Queue<T> {
    lanes: BTreeMap<Option<usize>, VecDeque<(&'static str, T)>>,
    /// Lanes with something that waits and nothing at work, the one that has waited longest first.
    ready: VecDeque<Option<usize>>,
    /// Lanes with something at work.
    running: BTreeSet<Option<usize>>,
    /// How many of each kind wait.
    of_kind: BTreeMap<&'static str, usize>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let (lanes, of_kind) = (BTreeMap::new(), BTreeMap::new());
        Self { lanes, ready: VecDeque::new(), running: BTreeSet::new(), of_kind }
    }
}

impl<T> Queue<T> {
    /// Takes one more; `false` where too many of its kind wait.
    pub(super) fn push(&mut self, lane: Option<usize>, kind: &'static str, item: T) -> bool {
        let of_kind = self.of_kind.entry(kind).or_default();
        if *of_kind >= WAITING_OF_A_KIND {
            return false;
        }
        *of_kind += 1;
        let waiting = self.lanes.entry(lane).or_default();
        if waiting.is_empty() && !self.running.contains(&lane) {
            self.ready.push_back(lane);
        }
        waiting.push_back((kind, item));
        true
    }

    /// What is to be begun now, if anything is, and its lane.
    pub(super) fn begin(&mut self) -> Option<(Option<usize>, T)> {
        if self.running.len() >= RUNNING {
            return None;
        }
        let lane = self.ready.pop_front()?;
        let waiting = self.lanes.get_mut(&lane)?;
        let (kind, item) = waiting.pop_front()?;
        if waiting.is_empty() {
            self.lanes.remove(&lane);
        }
        if let Some(of_kind) = self.of_kind.get_mut(kind) {
            *of_kind -= 1;
        }
        self.running.insert(lane);
        Some((lane, item))
    }

    /// What was begun of this lane is over.
    pub(super) fn end(&mut self, lane: Option<usize>) {
        if self.running.remove(&lane) && self.lanes.contains_key(&lane) {
            self.ready.push_back(lane);
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.of_kind.values().sum()
    }

    /// Whether nothing waits and nothing is at work.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_at_a_time_in_order_and_others_do_not_wait_for_it() {
        let mut queue = Queue::default();
        for item in 0..3 {
            assert!(queue.push(Some(7), "mac_learnt", item));
        }
        assert!(queue.push(None, "list_read", 10));
        assert_eq!(queue.begin(), Some((Some(7), 0)));
        assert_eq!(queue.begin(), Some((None, 10)));
        assert_eq!((queue.begin(), queue.waiting()), (None, 2));
        queue.end(Some(7));
        assert_eq!(queue.begin(), Some((Some(7), 1)));
        queue.end(None);
        assert_eq!(queue.begin(), None);
        queue.end(Some(7));
        assert_eq!(queue.begin(), Some((Some(7), 2)));
        assert!(!queue.is_empty());
        queue.end(Some(7));
        assert!(queue.is_empty());
    }

    #[test]
    fn sessions_take_turns() {
        let mut queue = Queue::default();
        for item in 0..2 {
            for lane in 0..RUNNING + 1 {
                assert!(queue.push(Some(lane), "mac_learnt", item));
            }
        }
        let begun: Vec<_> = std::iter::from_fn(|| queue.begin()).collect();
        assert_eq!(begun.len(), RUNNING);
        queue.end(Some(0));
        // The one that has had no turn yet goes before the one that has had one.
        assert_eq!(queue.begin(), Some((Some(RUNNING), 0)));
        queue.end(Some(RUNNING));
        assert_eq!(queue.begin(), Some((Some(0), 1)));
    }

    #[test]
    fn a_flood_of_one_kind_leaves_room_for_others() {
        let mut queue = Queue::default();
        for item in 0..WAITING_OF_A_KIND {
            assert!(queue.push(Some(item % 5), "mac_learnt", item));
        }
        assert!(!queue.push(Some(1), "mac_learnt", 0));
        assert!(queue.push(Some(1), "session_down", 0));
        assert!(queue.begin().is_some());
        assert!(queue.push(Some(1), "mac_learnt", 0));
        assert_eq!(queue.waiting(), WAITING_OF_A_KIND + 1);
    }
}
