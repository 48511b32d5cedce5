//! Sessions that are over: what is known of the last one of each client that has gone.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::observe::event::EndReason;
use crate::observe::status::SessionStatus;
use crate::observe::tally::Traffic;

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

/// A session that is over.
#[derive(Debug)]
pub(crate) struct EndedSession<C> {
    pub(crate) client: C,
    /// What operators called the client.
    pub(crate) name: Arc<str>,
    /// Where it was last.
    pub(crate) address: SocketAddr,
    pub(crate) traffic: Traffic,
    pub(crate) at: Duration,
    pub(crate) reason: EndReason,
}

impl<C> EndedSession<C> {
    /// As a status has it, but for what the mode knows of the client.
    pub(crate) fn status(&self, now: Duration) -> SessionStatus {
        let mut status = SessionStatus::new(self.name.to_string());
        status.address = Some(self.address);
        status.traffic = self.traffic.clone();
        status.end(self.reason, now.saturating_sub(self.at));
        status
    }
}

impl<C: Copy + Eq + Hash> PastSessions<C> {
    pub(crate) fn new() -> Self {
        Self { ended: BTreeMap::new(), by_client: HashMap::default(), next: 0 }
    }

    /// A client has gone.
    pub(crate) fn add(&mut self, session: EndedSession<C>) {
        self.forget(&session.client);
        self.by_client.insert(session.client, self.next);
        self.ended.insert(self.next, session);
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

    /// The last session of a client that has gone.
    pub(crate) fn get(&self, client: &C) -> Option<&EndedSession<C>> {
        self.ended.get(self.by_client.get(client)?)
    }

    /// In the order in which they ended.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &EndedSession<C>> {
        self.ended.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::State;

    #[test]
    fn the_last_session_of_each_client_of_the_latest_ones() {
        let mut past = PastSessions::new();
        let at = |second: usize| Duration::from_secs(second as u64);
        let ended = |client: usize, second| EndedSession {
            client,
            name: client.to_string().into(),
            address: SocketAddr::from(([192, 0, 2, 1], 9)),
            traffic: Traffic::default(),
            at: at(second),
            reason: EndReason::Bye,
        };
        for client in 0..MAX_CLIENTS + 2 {
            past.add(ended(client, client));
        }
        // One that comes and goes pushes nobody out.
        for _ in 0..2 * MAX_CLIENTS {
            past.add(ended(7, 5_000));
        }
        past.forget(&8);
        let all: Vec<_> = past.iter().collect();
        assert_eq!((all.len(), past.by_client.len()), (MAX_CLIENTS - 1, MAX_CLIENTS - 1));
        assert_eq!((all[0].client, all.last().map(|last| last.client)), (2, Some(7)));
        assert!(all.iter().all(|session| session.client != 8));
        assert_eq!(past.get(&7).map(|session| session.at), Some(at(5_000)));
        assert!(past.get(&8).is_none());
        let status = all[0].status(at(6_000));
        assert_eq!((&*status.name, status.in_state_for), ("2", Some(at(5_998))));
        assert_eq!((status.state, status.reason), (State::Closed, Some(EndReason::Bye)));
    }
}
