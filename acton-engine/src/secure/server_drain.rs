//! When a server asks its clients to go elsewhere: an operator wants it, or a link is down.

use std::time::Duration;

use acton_proto::server::SessionId;
use acton_proto::wire::Bye;

use super::drain::Drain;
use super::server_control::ServerControl;
use super::uplinks::{Change, Down};
use crate::observe::event::EventKind;
use crate::run::control::DrainOrder;

impl ServerControl {
    /// Takes which of the tracked links carry nothing now.
    pub(super) fn see_uplinks(&mut self, now: Duration, mut down: Vec<Down>) {
        // Who looked may have known of other ones.
        down.retain(|it| self.settings.tracked_links.contains(&it.link));
        let changed = self.uplinks.see(now, down);
        let news = !changed.is_empty();
        for change in changed {
            let (link, up, missing) = match change {
                Change::Up(link) => (link, true, false),
                Change::Down(Down { link, is_missing }) => (link, false, is_missing),
            };
            self.roster.tell(now, EventKind::Uplink { link, up, missing });
        }
        if news {
            self.follow_orders(now);
        }
    }

    /// Asks clients to go elsewhere where an operator wants it, or a link is down.
    pub(super) fn follow_orders(&mut self, now: Duration) {
        let order = self.uplinks.order(self.ordered.as_ref());
        // A link more that is down is no reason to begin anew.
        if order.as_ref() != self.drain.as_ref().map(|drain| &drain.order) {
            self.set_drain(now, order);
        }
    }

    /// Asks clients to go elsewhere from now on, or no more.
    pub(super) fn set_drain(&mut self, now: Duration, order: Option<DrainOrder>) {
        self.machine.set_draining(order.is_some());
        let was = self.drain.is_some();
        self.drain = order.map(|order| Drain::new(now, order));
        self.limit_sessions();
        let on = self.drain.is_some();
        if on != was {
            self.roster.tell(now, EventKind::Draining { on });
        }
    }

    /// Has the protocol know how many clients there may be.
    pub(super) fn limit_sessions(&mut self) {
        let settings = &self.settings;
        // Nobody comes in where everyone is to go.
        let is_shut = self.drain.as_ref().is_some_and(|drain| drain.order.everyone);
        let all = if is_shut { 0 } else { settings.max_sessions };
        let unlisted = settings.max_unlisted.unwrap_or(usize::MAX);
        self.machine.set_max_sessions(all, settings.max_sessions_per_source(), unlisted);
    }

    /// Asks some clients to go elsewhere, or sends those away that are left, if it is time to.
    pub(super) fn drain_some(&mut self, now: Duration) {
        let Some(drain) = &mut self.drain else { return };
        let machine = &mut self.machine;
        let to = drain.order.to;
        let can_move = |id: &SessionId| machine.can_move(*id);
        let all = || machine.sessions().map(|session| session.id).filter(can_move).collect();
        let (asked, sends_away) = drain.next(now, all);
        if sends_away {
            let left: Vec<_> = machine.sessions().map(|session| *session.client).collect();
            for client in left {
                machine.kick(now, &client, Bye::Restart);
            }
        }
        for id in asked {
            machine.ask_to_move(now, id, to);
        }
    }
}
