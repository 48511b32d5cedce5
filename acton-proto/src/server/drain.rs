//! How the server is, for clients that have others to choose from; and asking them to go there.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use super::limit::{Bucket, Source};
use super::{Path, Server, SessionId};
use crate::handshake::{Random, random_array};
use crate::wire::{Caps, Control, FULL_LOAD, Query, ServerState};

/// QUERY that are answered to the sources of one part: so often, so many at once. 10,000 clients that
/// have each another server ask that some 330 times a second.
const QUERY_LIMIT: (Duration, u32) = (Duration::from_millis(2), 250);
/// Parts of all sources, so that who repeats the QUERY of another uses up the answers of one part alone.
const PARTS: usize = 16;

/// How many QUERY are answered.
#[derive(Debug)]
pub(super) struct QueryLimit {
    parts: [Bucket; PARTS],
    /// Which source is in which part, nobody else knows.
    key: [u8; 16],
}

impl QueryLimit {
    pub(super) fn new(random: &mut dyn Random) -> Self {
        Self { parts: [Bucket::new(); PARTS], key: random_array(random) }
    }

    fn admits(&mut self, now: Duration, from: IpAddr) -> bool {
        let mut hasher = DefaultHasher::new();
        (self.key, Source::of(from)).hash(&mut hasher);
        let (interval, burst) = QUERY_LIMIT;
        self.parts[hasher.finish() as usize % PARTS].take(now, interval, burst)
    }
}

impl Server {
    /// Answers a QUERY of somebody who knows the network key, and remembers nothing of it.
    pub fn handle_query(&mut self, now: Duration, from: Path, query: &Query) {
        if self.closed {
            return;
        }
        let networks = [Some(&self.network), self.network_before.as_ref()];
        let known = networks.into_iter().flatten().find(|it| it.query_keys.verify(query));
        let Some(network) = known else {
            self.stats.bad_mac += 1;
            return;
        };
        if !self.queries.admits(now, from.remote.ip()) {
            self.stats.queries_limited += 1;
            return;
        }
        self.stats.queries += 1;
        let most = self.config.max_sessions.max(1);
        let load = self.session_count.min(most) * usize::from(FULL_LOAD) / most;
        let state =
            ServerState { draining: self.draining, load: load as u16, instance: self.instance };
        let reply = network.query_keys.reply(query, &state, &mut *self.random);
        self.outbox.push(from, reply.encode().to_vec());
    }

    /// Whether to tell those who ask that clients should go elsewhere.
    pub const fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Whether the client of a session says that it has another server to go to.
    #[must_use]
    pub fn can_move(&self, id: SessionId) -> bool {
        let session = self.peer(id.0).and_then(|peer| peer.session.as_ref());
        session.is_some_and(|it| it.live.current.setup().caps.contains(Caps::MOVE))
    }

    /// Asks the client of a session to go to another server: that of this
    /// [tag](crate::wire::server_tag), or with 0 whichever it likes. It is asked again for as long as
    /// it is there. False where it has no other, or there is no such session.
    pub fn ask_to_move(&mut self, now: Duration, id: SessionId, to: u64) -> bool {
        if !self.can_move(id) {
            return false;
        }
        let session = self.peer(id.0).and_then(|peer| peer.session.as_ref());
        let Some(session) = session else { return false };
        let (path, sealed) =
            (session.path, session.live.current.seal_control(now, Control::Move { to }));
        // Keys that are used up come to an end in other ways too.
        if let Ok(datagram) = sealed {
            self.outbox.push(path, datagram);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::SystemRandom;

    #[test]
    fn one_source_does_not_use_up_the_answers_of_all() {
        let mut limit = QueryLimit::new(&mut SystemRandom);
        let now = Duration::from_secs(100);
        let flooder = IpAddr::from([192, 0, 2, 1]);
        let answered = (0..100_000).filter(|_| limit.admits(now, flooder)).count();
        assert_eq!(answered, QUERY_LIMIT.1 as usize);
        let others = (0..=255).filter(|&last| limit.admits(now, [198, 51, 100, last].into()));
        assert!(others.count() > 200);
    }
}
