//! How sessions ended, a few of the last.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

use super::event::DownReason;
use crate::session::SessionEnd;
use crate::wire::Key;

/// The last end of each client's session, of no more clients than were asked for: who is admitted by
/// a network key alone may come with any number of keys.
#[derive(Debug)]
pub(super) struct Ended {
    by_client: HashMap<Key, (u64, SessionEnd<DownReason>), foldhash::quality::RandomState>,
    /// Oldest first, by number; one of a client that ended again since counts no more.
    order: VecDeque<(u64, Key)>,
    next: u64,
    limit: usize,
}

impl Ended {
    pub(super) fn new(limit: usize) -> Self {
        Self { by_client: HashMap::default(), order: VecDeque::new(), next: 0, limit }
    }

    pub(super) fn note(&mut self, client: Key, reason: DownReason, since: Duration, now: Duration) {
        self.by_client.insert(client, (self.next, SessionEnd::new(reason, since, now)));
        self.order.push_back((self.next, client));
        self.next += 1;
        let Self { by_client, order, .. } = self;
        while by_client.len() > self.limit
            && let Some((number, oldest)) = order.pop_front()
        {
            if by_client.get(&oldest).is_some_and(|(last, _)| *last == number) {
                by_client.remove(&oldest);
            }
        }
        // A client that ends again and again costs the others nothing.
        if order.len() > 2 * self.limit.max(8) {
            order.retain(|(number, client)| {
                by_client.get(client).is_some_and(|(last, _)| last == number)
            });
        }
    }

    pub(super) fn get(&self, client: &Key) -> Option<SessionEnd<DownReason>> {
        self.by_client.get(client).map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ends_are_kept_and_no_more() {
        let mut ended = Ended::new(3);
        let at = Duration::from_secs;
        let clients: [Key; 4] = std::array::from_fn(|n| [n as u8; 32]);
        for (second, client) in [3, 0, 1, 1, 1, 2].into_iter().enumerate() {
            ended.note(clients[client], DownReason::Timeout, at(0), at(second as u64));
        }
        assert_eq!(ended.get(&clients[3]), None, "the oldest");
        assert_eq!(ended.get(&clients[0]).unwrap().until, at(1));
        assert_eq!(ended.get(&clients[1]).unwrap().until, at(4));
        assert_eq!(ended.get(&clients[2]).unwrap().until, at(5));
        for _ in 0..1_000 {
            ended.note(clients[2], DownReason::Closed, at(5), at(6));
        }
        assert!(ended.get(&clients[0]).is_some(), "one that flaps pushes nobody out");
        assert!(ended.by_client.len() == 3 && ended.order.len() <= 17);
    }
}
