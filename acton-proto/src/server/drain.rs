//! How the server is, for clients that have others to choose from; and asking them to go there.

use std::time::Duration;

use super::{Path, Server, SessionId};
use crate::wire::{Caps, Control, FULL_LOAD, Query, ServerState};

/// QUERY that are answered: so often, so many at once. 10,000 clients that have each another server
/// ask that some 330 times a second.
const QUERY_LIMIT: (Duration, u32) = (Duration::from_micros(250), 1_000);

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
        let (interval, burst) = QUERY_LIMIT;
        if !self.queries.take(now, interval, burst) {
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
