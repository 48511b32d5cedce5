//! Sessions that are over: what is known of the last one of each client that has gone.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::observe::status::SessionStatus;

/// Clients of which it is known: anybody who gets in may come as any number of them.
const MAX_CLIENTS: usize = 1_024;

/// The last sessions of clients `C` that have gone, the latest of them.
#[derive(Debug)]
pub(crate) struct PastSessions<C> {
    /// By the order in which they ended.
    ended: BTreeMap<u64, EndedSession<C>>,
    by_client: HashMap<C, u64, RandomState>,
    next: u64,
}

#[derive(Debug)]
struct EndedSession<C> {
    client: C,
    status: SessionStatus,
    at: Duration,
}

impl<C: Copy + Eq + Hash> PastSessions<C> {
    pub(crate) fn new() -> Self {
        Self { ended: BTreeMap::new(), by_client: HashMap::default(), next: 0 }
    }

    /// The session of `client` ended as `status` says.
    pub(crate) fn add(&mut self, now: Duration, client: C, status: SessionStatus) {
        self.forget(&client);
        self.by_client.insert(client, self.next);
        self.ended.insert(self.next, EndedSession { client, status, at: now });
        self.next += 1;
        if self.ended.len() > MAX_CLIENTS
            && let Some((_, oldest)) = self.ended.pop_first()
        {
            self.by_client.remove(&oldest.client);
        }
    }

    /// The client has a session again.
    pub(crate) fn forget(&mut self, client: &C) {
        if let Some(number) = self.by_client.remove(client) {
            self.ended.remove(&number);
        }
    }

    /// Those of clients that are `wanted`, in the order in which they ended.
    pub(crate) fn report(
        &self,
        now: Duration,
        wanted: impl Fn(&C) -> bool,
    ) -> impl Iterator<Item = SessionStatus> {
        self.ended.values().filter(move |past| wanted(&past.client)).map(move |past| {
            let in_state_for = Some(now.saturating_sub(past.at));
            SessionStatus { in_state_for, ..past.status.clone() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_session_of_each_client_of_the_latest_ones() {
        let mut past = PastSessions::new();
        let at = |second: usize| Duration::from_secs(second as u64);
        let status = |client: usize| SessionStatus::new(client.to_string());
        for client in 0..MAX_CLIENTS + 2 {
            past.add(at(client), client, status(client));
        }
        // One that comes and goes pushes nobody out.
        for _ in 0..2 * MAX_CLIENTS {
            past.add(at(5_000), 7, status(7));
        }
        past.forget(&8);
        let now = at(6_000);
        let all: Vec<_> = past.report(now, |_| true).collect();
        assert_eq!((all.len(), past.by_client.len()), (MAX_CLIENTS - 1, MAX_CLIENTS - 1));
        assert_eq!((&*all[0].name, all[0].in_state_for), ("2", Some(at(5_998))));
        assert_eq!(all.last().map(|last| &*last.name), Some("7"));
        assert_eq!(past.report(now, |&client| client == 8).count(), 0);
    }
}
