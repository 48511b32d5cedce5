//! How a client goes from one of its servers to another.

use std::time::Duration;

use acton_proto::client::ClientEvent;
use acton_proto::handshake::SystemRandom;
use acton_proto::wire::server_tag;

use super::ClientControl;
use crate::observe::event::{EndReason, EventKind};
use crate::reach::servers::Step;
use crate::run::announcer;
use crate::run::clock::wall;
use crate::secure::contact::{Contact, Place};
use crate::secure::server_sessions::refusal_reason;

/// How long the server that a client leaves is still heard: what is on its way from there arrives, and
/// what is on its way there, which has the LAN look for the client at the old place once more, is
/// followed by an announcement.
const LINGER: Duration = Duration::from_secs(3);

impl ClientControl {
    /// Does what the choice among servers comes to.
    pub(super) fn choose(&mut self, now: Duration) {
        while let Some(step) = self.servers.as_mut().and_then(|servers| servers.poll(now)) {
            match step {
                Step::Ask(server) => {
                    self.places[server].ask(now, &mut SystemRandom, &self.counters);
                }
                Step::Connect(server) => self.connect(now, server),
                Step::Join(server) => {
                    self.leave(now);
                    self.abandon(now);
                    self.places[server].dial.find(now);
                    self.joining = Some(self.contact(now, server));
                }
                Step::Abandon => self.abandon(now),
            }
        }
    }

    fn contact(&self, now: Duration, server: usize) -> Contact {
        let mut contact =
            Contact::new(now, server, &self.places[server], &self.config, self.max_pmtu);
        // Its HELLO goes out in this turn.
        contact.machine.handle_timeout(now, wall());
        contact
    }

    /// Makes a session with a server in place of one that is no more, or does not come about.
    pub(super) fn connect(&mut self, now: Duration, server: usize) {
        // It may say BYE to the very server that is connected to again.
        self.leave(now);
        let joining = self.joining.take_if(|joining| joining.server == server);
        self.abandon(now);
        if self.active.server == server && joining.is_none() {
            return;
        }
        let contact = joining.unwrap_or_else(|| self.contact(now, server));
        let old = std::mem::replace(&mut self.active, contact);
        self.close(now, old);
        if self.active.seal.is_some() {
            self.connected(now, None);
        } else {
            self.publish();
        }
        self.settle(now);
    }

    /// The contacts beside the one in use.
    pub(super) fn others(&mut self) -> impl Iterator<Item = &mut Contact> {
        let leaving = self.leaving.as_mut().map(|(contact, _)| contact);
        self.joining.as_mut().into_iter().chain(leaving)
    }

    /// Is done with a server, which hears so if it has a session.
    pub(super) fn close(&mut self, now: Duration, contact: Contact) {
        let dial = &mut self.places[contact.server].dial;
        contact.close(now, dial, &self.counters, &mut self.buffer);
    }

    /// Gives up the second session.
    fn abandon(&mut self, now: Duration) {
        if let Some(joining) = self.joining.take() {
            self.close(now, joining);
            self.publish();
        }
    }

    /// Follows the session with the server that the client has left.
    pub(super) fn settle_leaving(&mut self, now: Duration) {
        while let Some((left, _)) = &mut self.leaving
            && let Some(event) = left.machine.poll_event()
        {
            match event {
                ClientEvent::KeysChanged { keys } => left.open.push(keys),
                ClientEvent::KeysDropped { local_id } => {
                    left.open.retain(|keys| keys.setup().local_id != local_id);
                }
                ClientEvent::NetworkKey { key } => {
                    let server = left.server;
                    self.take_network_key(now, server, &key);
                    continue;
                }
                _ => continue,
            }
            self.publish();
        }
    }

    /// Follows the session with the server that the client is about to go to, and goes there once it
    /// is sure that both ends have it.
    pub(super) fn settle_joining(&mut self, now: Duration) {
        while let Some(joining) = &mut self.joining
            && let Some(event) = joining.machine.poll_event()
        {
            match event {
                ClientEvent::Connected { keys, .. } | ClientEvent::KeysChanged { keys } => {
                    joining.open_and_seal(keys);
                    self.publish();
                }
                ClientEvent::KeysDropped { local_id } => {
                    joining.open.retain(|keys| keys.setup().local_id != local_id);
                    self.publish();
                }
                ClientEvent::NetworkKey { key } => {
                    let server = joining.server;
                    self.take_network_key(now, server, &key);
                }
                ClientEvent::Refused { reason } => {
                    let (server, reason) = (joining.server, refusal_reason(reason));
                    let server = self.text_of(server);
                    self.events.tell(now, EventKind::Refused { server, reason });
                    self.join_failed(now);
                }
                ClientEvent::Disconnected { .. } => self.join_failed(now),
                _ => {}
            }
        }
        let keys = self.joining.as_ref().and_then(|joining| joining.seal.as_ref());
        // Where the first session is over, the choice of servers takes the second in its place.
        if keys.is_some_and(|keys| keys.is_confirmed()) && self.active.seal.is_some() {
            self.go_over(now);
        }
    }

    /// The second session does not come about.
    fn join_failed(&mut self, now: Duration) {
        self.abandon(now);
        if let Some(servers) = &mut self.servers {
            servers.join_failed(now);
        }
    }

    /// Goes to the server with which there is a second session; the first is heard for a while yet.
    fn go_over(&mut self, now: Duration) {
        let Some(next) = self.joining.take() else { return };
        let from = self.text_of(self.active.server);
        let old = std::mem::replace(&mut self.active, next);
        self.leaving = Some((old, now + LINGER));
        self.dial_mut().connected();
        self.subject.stop();
        self.publish();
        self.history.end(now, EndReason::Moved);
        self.history.begin();
        if let Some(servers) = &mut self.servers {
            servers.joined(now);
        }
        let server = self.dial().text();
        self.events.tell(now, EventKind::MovedToServer { server, from });
        self.follow_route(now);
        self.session_up(now);
        // What the LAN sends from now on comes by the new way; that is told before anything else.
        self.announcer.take_due(now);
        self.announce(now);
    }

    /// Says BYE to the server that the client has left.
    pub(super) fn leave(&mut self, now: Duration) {
        let Some((old, _)) = self.leaving.take() else { return };
        // Frames that overtook one another on the two ways may have told the LAN otherwise. The old
        // server knows whose they are until it hears BYE, and sends none of them to its other clients.
        self.announcer.forget();
        self.bridged = announcer::bridged(&self.interface);
        self.announce(now);
        self.close(now, old);
        self.publish();
    }

    /// The server wants the client elsewhere.
    pub(super) fn asked_to_move(&mut self, now: Duration, to: Option<u64>) {
        let Some(servers) = &mut self.servers else { return };
        let tag = |place: &Place| server_tag(&place.dial.server().to_string());
        let to = to.and_then(|to| self.places.iter().position(|place| tag(place) == to));
        let is_news = !servers.is_leaving();
        servers.leave(now, to);
        if is_news {
            self.events.tell(now, EventKind::AskedToMove { server: self.dial().text() });
        }
    }
}
