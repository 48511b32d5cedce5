//! What a server does where its keys or its list of clients are others: the protocol, sessions and the MACs
//! that are kept for clients follow.

use std::time::Duration;

use acton_proto::wire::Key;
use pnet_base::MacAddr;

use super::authorization::follow_terms;
use super::server_control::ServerControl;
use crate::observe::event::EventKind;
use crate::sessions::admission::NetworkKeys;
use crate::sessions::owned_macs::not_kept;
use crate::sessions::port::LeafId;
use crate::sessions::rules::NewRules;

/// Events on MACs that cannot be kept, where a list is read.
const MAX_MACS_TOLD: u32 = 5;

impl ServerControl {
    /// Follows the rules that there are at the start, before anybody can have a session.
    pub(super) fn begin(&mut self, now: Duration) {
        match self.gate.take_network_keys() {
            Some(keys) => self.set_network_keys(keys),
            None => self.hellos.set_check(self.machine.hello_check().clone()),
        }
        self.roster.keep_pairs(self.gate.pairs().pairs());
        self.macs.unsettle(self.gate.owned_macs());
        self.settle_macs(now, usize::MAX);
        let down = self.links.track(&self.settings.tracked_links);
        self.see_uplinks(now, down);
        self.begin_accounts(now);
    }

    pub(super) fn set_network_keys(&mut self, NetworkKeys { key, before }: NetworkKeys) {
        self.machine.set_network_keys(Some(key), before);
        self.hellos.set_check(self.machine.hello_check().clone());
    }

    pub(super) fn follow_rules(&mut self, now: Duration, NewRules { rules, macs }: NewRules) {
        // Who has just come up did so by the rules before.
        self.settle(now);
        self.gate.set_rules(rules);
        self.list_error = self.gate.rules().lacks_list().map(str::to_owned);
        self.forget_listed();
        self.give_back_pairs(now);
        if let Some(error) = self.list_error.clone() {
            self.roster.tell(now, EventKind::ListFailed { error, no_list: true });
        } else if let Some(clients) = self.gate.rules().clients() {
            self.roster.tell(now, EventKind::ListRead { clients });
        }
        self.machine.set_clients(now, self.gate.for_protocol());
        self.settle(now);
        for session in self.machine.sessions() {
            let port = self.roster.port(session.id.0 as usize);
            if follow_terms(now, &self.gate, &mut self.roster, port, session.client) {
                self.macs.unsettle(self.gate.policy(session.client).macs.clone());
            }
        }
        self.macs_told = 0;
        self.macs.unsettle(macs);
    }

    /// Has the bridge follow the rules on up to `budget` MACs.
    pub(super) fn settle_macs(&mut self, now: Duration, budget: usize) {
        for _ in 0..budget {
            let Some(mac) = self.macs.next_unsettled() else { return };
            match self.gate.owner(mac) {
                Some(client) => {
                    self.forget_lent(mac);
                    self.keep_mac(now, mac, &client, self.ports.get(&client).copied());
                }
                None if self.is_lent(mac) => {}
                None => self.macs.release(mac),
            }
        }
    }

    pub(super) fn keep_mac(
        &mut self,
        now: Duration,
        mac: MacAddr,
        client: &Key,
        port: Option<LeafId>,
    ) {
        let Err(error) = self.macs.keep(mac, port) else {
            if let Some(port) = port {
                self.roster.announce(mac, port);
            }
            return;
        };
        if self.macs_told == MAX_MACS_TOLD {
            return self.roster.add_suppressed("mac_not_kept", 1);
        }
        self.macs_told += 1;
        let (client, reason) = (self.gate.name(client), not_kept(error));
        self.roster.tell(now, EventKind::MacNotKept { mac, client, reason });
    }

    /// Keeps a client's MACs for it at `port`, or for nobody while it is away.
    pub(super) fn keep_macs_of(&mut self, now: Duration, client: &Key, port: Option<LeafId>) {
        if self.authorization.is_some() && !self.gate.lists(client) {
            return; // those are lent
        }
        for &mac in &self.gate.policy(client).macs {
            self.keep_mac(now, mac, client, port);
        }
    }
}
