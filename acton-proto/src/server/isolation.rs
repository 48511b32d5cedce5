//! Tests of isolation: orders to clients.

use std::time::Duration;

use super::{Server, SessionId};
use crate::wire::{Caps, Control, IsolationOrder};

impl Server {
    /// Whether the client of a session knows tests of isolation: it then takes part, or says why not.
    #[must_use]
    pub fn knows_isolation(&self, id: SessionId) -> bool {
        let session = self.peer(id.0).and_then(|peer| peer.session.as_ref());
        session.is_some_and(|it| it.live.current.setup().caps.contains(Caps::ISOLATION))
    }

    /// Has the client of a session do something in a test of isolation. What comes of it is an
    /// [event](super::ServerEvent::IsolationAnswer); like what it answers it may get lost. False where
    /// the client does not know such tests, or there is no such session.
    pub fn order_isolation(&mut self, now: Duration, id: SessionId, order: IsolationOrder) -> bool {
        if !self.knows_isolation(id) {
            return false;
        }
        let session = self.peer(id.0).and_then(|peer| peer.session.as_ref());
        let Some(session) = session else { return false };
        let sealed = session.live.current.seal_control(now, Control::IsolationOrder(order));
        let path = session.path;
        // Keys that are used up come to an end in other ways too.
        if let Ok(datagram) = sealed {
            self.outbox.push(path, datagram);
        }
        true
    }
}
