//! Pairs of VLAN tags that decisions give to clients: each is one client's, as in a list.

use std::time::Duration;

use acton_proto::wire::Key;

use super::report::key_text;
use super::server_control::ServerControl;
use crate::authorize::{DENIED_FOR, Verdict};
use crate::observe::counters::Counter;
use crate::observe::event::EventKind;

/// How long it holds that a client does not get in, since another has its pair: the next time that it
/// comes it is asked about again.
const TAKEN_FOR: Duration = Duration::from_secs(10);

impl ServerControl {
    /// A verdict as it is to be followed: where its pair of VLAN tags is that of a client that the list
    /// names, or of one with a session, it is a denial. One that has a pair by a verdict and no session
    /// loses it, and is asked about again.
    pub(super) fn with_a_pair_of_its_own(
        &mut self,
        now: Duration,
        number: u64,
        verdict: Verdict,
    ) -> Verdict {
        let Some(authorization) = &mut self.authorization else { return verdict };
        let pair = verdict.terms.as_ref().ok().and_then(|terms| terms.pair());
        let Some((client, pair)) = authorization.desk.asked_about(number).zip(pair) else {
            return verdict;
        };
        let is_other = |owner: &Key| *owner != client;
        let listed = self.gate.pairs().owner(pair).filter(is_other);
        let lent = authorization.verdicts().pair_owner(pair).filter(is_other);
        let holder = listed.or(lent.filter(|owner| self.ports.contains_key(owner)));
        if let Some(holder) = holder {
            self.counters.add(Counter::AuthorizePairTaken, 1);
            let reason = format!("vlan {pair} is {}'s already", self.gate.name(&holder));
            return Verdict::deny(Some(reason), Some(TAKEN_FOR));
        }
        if let Some(before) = lent {
            authorization.desk.forget(&before);
            self.follow_decision(now, &before);
        }
        verdict
    }

    /// Has the pairs that the list gives to clients be nobody else's, nor kept for those that it does not
    /// name any more. Who has one by a decision is denied.
    pub(super) fn give_back_pairs(&mut self, now: Duration) {
        self.roster.keep_pairs(self.gate.pairs().pairs());
        let Some(authorization) = &mut self.authorization else { return };
        for client in authorization.verdicts().at_odds_with(self.gate.pairs()) {
            let pair = authorization.verdicts().terms(&client).and_then(|terms| terms.pair());
            let name = self.gate.name(&client);
            authorization.desk.revoke(now, &client);
            self.counters.add(Counter::AuthorizePairTaken, 1);
            let event = EventKind::ClientDecided {
                client: name,
                key: key_text(&client),
                allow: false,
                reason: pair.map(|pair| format!("the list gives vlan {pair} to another")),
                valid_for: DENIED_FOR,
            };
            self.roster.tell(now, event);
        }
    }
}
