//! Snooping of IGMP and MLD at a server: a frame for a group goes to the clients that asked for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use acton_bridge::{GroupMessage, GroupRoute, Multicast, Owner, Receivers};
use acton_frame::Headers;

use crate::observe::counters::{Counter, Counters};
use crate::sessions::port::LeafId;

/// Who asked for which group, where that is wanted. Shared by all threads of a server.
#[derive(Debug)]
pub(crate) struct Snooper {
    on: AtomicBool,
    pub(crate) table: Multicast<LeafId>,
}

/// What a message of a client's on groups is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientSays {
    /// Nothing that keeps it from passing.
    Passes,
    /// A query, of a client that is not trusted to be a router: hosts and routers of the LAN would go by
    /// it, and the LAN's own querier be silent.
    IsQuerier,
}

impl Snooper {
    pub(crate) fn new(on: bool) -> Self {
        Self { on: AtomicBool::new(on), table: Multicast::new() }
    }

    /// Whether anybody listens. All else is to be asked only then.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Begins or ends to listen. What is known is forgotten, so groups go to everybody until a querier has
    /// asked again.
    pub(crate) fn set_on(&self, on: bool) {
        if self.on.swap(on, Ordering::Relaxed) != on {
            self.table.clear();
        }
    }

    /// Where a frame from the root goes, which is for a group; and hears it.
    pub(crate) fn route(&self, headers: &Headers, frame: &[u8], now: Duration) -> GroupRoute {
        if GroupMessage::may_be(headers, frame)
            && let Some(message @ GroupMessage::Query(_)) = GroupMessage::read(headers, frame)
        {
            self.table.hear(Owner::Root, headers, message, now);
            return GroupRoute::Everybody;
        }
        self.table.route(headers, frame, now)
    }

    /// Who gets what goes there; `None` is everybody.
    pub(crate) fn receivers(&self, route: GroupRoute) -> Option<Receivers<LeafId>> {
        match route {
            GroupRoute::Everybody => None,
            GroupRoute::Group(group) => Some(self.table.receivers(&group)),
            GroupRoute::Routers => Some(self.table.routers()),
        }
    }

    /// Hears a frame of a client's that is for a group.
    pub(crate) fn hear_client(
        &self,
        (client, is_guarded): (LeafId, bool),
        headers: &Headers,
        frame: &[u8],
        now: Duration,
        counters: &Counters,
    ) -> ClientSays {
        if !GroupMessage::may_be(headers, frame) {
            return ClientSays::Passes;
        }
        let Some(message) = GroupMessage::read(headers, frame) else { return ClientSays::Passes };
        match message {
            GroupMessage::Query(_) if is_guarded => return ClientSays::IsQuerier,
            GroupMessage::RouterHello if is_guarded => return ClientSays::Passes,
            _ => {}
        }
        let no_room = self.table.hear(Owner::Leaf(client), headers, message, now);
        if no_room > 0 {
            counters.add(Counter::GroupsNoRoom, no_room.into());
        }
        ClientSays::Passes
    }
}
