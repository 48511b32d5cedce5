//! What a server's control thread does for clients that somebody else decides on, and for accounts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acton_proto::server::Path;
use acton_proto::wire::Key;
use pnet_base::MacAddr;

use super::report::key_text;
use super::server::{SecureSession, Secured};
use super::server_control::ServerControl;
use crate::authorize::desk::{Desk, Due, Want};
use crate::authorize::lent_macs::LentMacs;
use crate::authorize::reach::Reach;
use crate::authorize::verdicts::Verdicts;
use crate::authorize::{Authority, Decision, Question};
use crate::observe::counters::{Counter, Counters};
use crate::observe::event::{EndReason, EventKind, NotKept, RefusalReason};
use crate::observe::tally::Traffic;
use crate::run::clock::wall;
use crate::sessions::admission::Gate;
use crate::sessions::port::LeafId;
use crate::sessions::roster::Roster;

/// Accounts that are told at one turn.
const ACCOUNTS_A_TURN: usize = 256;
/// Questions about sessions that are asked at one turn.
const QUESTIONS_A_TURN: usize = 256;

/// Who decides on clients that no list names, and what is known of that.
pub(super) struct Authorization {
    authority: Box<dyn Authority>,
    pub(super) desk: Desk,
    lent: LentMacs,
    /// It was told that answers are missed.
    lost: bool,
    reach: Reach,
    /// It was told that no more is asked for now.
    limited: bool,
    /// The client whose session ends now, since nobody answers whether it may go on.
    over: Option<Key>,
}

impl Authorization {
    pub(super) fn new(authority: Box<dyn Authority>, deadline: Duration) -> Self {
        let (desk, lent) = (Desk::new(deadline), LentMacs::default());
        Self {
            authority,
            desk,
            lent,
            lost: false,
            reach: Reach::default(),
            limited: false,
            over: None,
        }
    }

    pub(super) fn verdicts(&self) -> &Verdicts {
        self.desk.verdicts()
    }

    pub(super) fn due(&self) -> Option<Duration> {
        [self.desk.due(), self.reach.due()].into_iter().flatten().min()
    }

    pub(super) const fn set_deadline(&mut self, deadline: Duration) {
        self.desk.set_deadline(deadline);
    }

    fn ask(&mut self, now: Duration, question: Question, counters: &Counters) -> bool {
        let client = question.client;
        counters.add(Counter::AuthorizeAsked, 1);
        let asked = self.authority.ask(question);
        if !asked {
            self.desk.not_asked(now, &client);
            counters.add(Counter::AuthorizeUnanswered, 1);
        }
        asked
    }
}

impl ServerControl {
    /// A client asks for a session on whom nothing is decided.
    pub(super) fn consult(&mut self, now: Duration, client: &Key, path: Path) {
        let Some(authorization) = &mut self.authorization else { return };
        let mut refused = None;
        match authorization.desk.want(now, client, path.remote, path.local) {
            Want::Wait => return,
            Want::Ask(question) => {
                if authorization.ask(now, question, &self.counters) {
                    return;
                }
                refused = Some(RefusalReason::Undecided);
            }
            // It waits in vain, and says HELLO again.
            Want::Limited => {
                self.counters.add(Counter::AuthorizeLimited, 1);
                if !authorization.limited {
                    authorization.limited = true;
                    refused = Some(RefusalReason::Undecided);
                }
            }
            Want::Unanswered | Want::Decided => {}
        }
        if let Some(reason) = refused {
            let (address, client) = (path.remote, Some(self.name_of(client)));
            self.roster.tell(now, EventKind::SessionRefused { address, client, reason });
        }
        self.machine.decided(now, client);
    }

    /// Takes what was decided.
    pub(super) fn take_decision(&mut self, now: Duration, decision: Decision) {
        // Who has just come up has a session, and its terms are those that it came up with.
        self.settle(now);
        let Some(authorization) = &mut self.authorization else { return };
        match decision {
            Decision::Answer { number, verdict } => {
                let verdict = self.with_a_pair_of_its_own(now, number, verdict);
                let Some(authorization) = &mut self.authorization else { return };
                let Some(client) = authorization.desk.answer(now, number, &verdict) else { return };
                authorization.limited = false;
                let allow = verdict.terms.is_ok();
                let counter =
                    if allow { Counter::AuthorizeAllowed } else { Counter::AuthorizeDenied };
                self.counters.add(counter, 1);
                self.note_authority(now, None);
                let event = EventKind::ClientDecided {
                    client: self.gate.name(&client),
                    key: key_text(&client),
                    allow,
                    reason: verdict.terms.as_ref().err().cloned().flatten(),
                    valid_for: verdict.valid_for(),
                };
                self.roster.tell(now, event);
                self.follow_decision(now, &client);
            }
            Decision::Revoke(client) => {
                if authorization.desk.revoke(now, &client) {
                    self.follow_decision(now, &client);
                }
            }
            Decision::Recheck(client) => match authorization.desk.recheck(now, &client) {
                Some(question) => {
                    if !authorization.ask(now, question, &self.counters) {
                        // Who waits is asked about with a later HELLO.
                        self.machine.decided(now, &client);
                    }
                }
                // Who waits is asked about with its next HELLO.
                None => self.follow_decision(now, &client),
            },
            Decision::Reachable(Ok(())) => {
                authorization.reach.connected(now);
                for question in authorization.desk.reached() {
                    let client = question.client;
                    if !authorization.ask(now, question, &self.counters) {
                        self.machine.decided(now, &client);
                    }
                }
            }
            Decision::Reachable(Err(error)) => {
                authorization.reach.failed();
                self.note_authority(now, Some(&error));
            }
        }
    }

    /// Tells once that answers are missed, and why, or that they come again.
    fn note_authority(&mut self, now: Duration, lost: Option<&str>) {
        let Some(authorization) = &mut self.authorization else { return };
        if lost.is_some() == authorization.lost {
            return;
        }
        authorization.lost = lost.is_some();
        authorization.authority.note_lost(lost);
        let event = match lost {
            Some(error) => EventKind::AuthorizeLost { error: error.to_owned() },
            None => EventKind::AuthorizeBack {},
        };
        self.roster.tell(now, event);
    }

    /// Has the protocol and a session follow what holds for a client now.
    pub(super) fn follow_decision(&mut self, now: Duration, client: &Key) {
        self.machine.decided(now, client);
        self.settle(now);
        let Some(&port) = self.ports.get(client) else { return };
        follow_terms(now, &self.gate, &mut self.roster, port, client);
        self.lend_macs(now, client, Some(port));
    }

    /// Does what is due for those who are decided on, and tells accounts.
    pub(super) fn authorize_some(&mut self, now: Duration) {
        for _ in 0..QUESTIONS_A_TURN {
            let Some(authorization) = &mut self.authorization else { break };
            let Some(due) = authorization.desk.poll(now) else { break };
            match due {
                Due::Ask(question) => drop(authorization.ask(now, question, &self.counters)),
                Due::Unanswered { client, is_silent } => self.miss(now, &client, is_silent),
                Due::Over(client) => {
                    authorization.over = Some(client);
                    self.follow_decision(now, &client);
                    if let Some(authorization) = &mut self.authorization {
                        authorization.over = None;
                    }
                }
            }
        }
        if let Some(authorization) = &mut self.authorization
            && authorization.reach.proves(now, authorization.desk.is_asking())
        {
            self.note_authority(now, None);
        }
        for _ in 0..ACCOUNTS_A_TURN {
            let Some(session) = self.accounts.poll(now) else { break };
            let Some(open) = self.roster.session(session) else { continue };
            let traffic = open.tallies.sum();
            self.tell_account(now, session, &open, |id, key, client, address, seconds| {
                let Traffic { frames_in, bytes_in, frames_out, bytes_out, .. } = traffic;
                EventKind::AccountingInterim {
                    session,
                    id,
                    client,
                    key,
                    address,
                    duration: seconds,
                    frames_in,
                    bytes_in,
                    frames_out,
                    bytes_out,
                }
            });
        }
    }

    /// A question about a client was not answered in time.
    fn miss(&mut self, now: Duration, client: &Key, is_silent: bool) {
        self.counters.add(Counter::AuthorizeUnanswered, 1);
        if is_silent {
            if let Some(authorization) = &mut self.authorization {
                authorization.reach.failed();
            }
            self.note_authority(now, Some("no answer in time"));
        }
        if !self.ports.contains_key(client)
            && let Some(path) = self.machine.undecided_path(client)
        {
            let (address, name) = (path.remote, Some(self.name_of(client)));
            let reason = RefusalReason::Undecided;
            self.roster.tell(now, EventKind::SessionRefused { address, client: name, reason });
        }
        self.machine.decided(now, client);
    }

    /// Tells that the server has no sessions yet: who counts them ends those of before, of which no end was
    /// told if that server was killed.
    pub(super) fn begin_accounts(&mut self, now: Duration) {
        if let Some(id) = self.accounts.begin_run(wall()) {
            self.account(now, EventKind::AccountingOn { id });
        }
    }

    /// Tells that no account comes any more.
    pub(super) fn end_accounts(&mut self, now: Duration) {
        if let Some(id) = self.accounts.end_run() {
            self.account(now, EventKind::AccountingOff { id });
        }
    }

    /// A session began: it is noted for whom, and told.
    pub(super) fn account_up(&mut self, now: Duration, session: usize, client: &Key, port: LeafId) {
        let Some(open) = self.roster.directory().get(port) else { return };
        if let Some(authorization) = &mut self.authorization {
            authorization.desk.session_up(client, open.mode.path.remote);
        }
        self.lend_macs(now, client, Some(port));
        self.accounts.begin(now, wall(), session, *client);
        self.tell_account(now, session, &open, |id, key, client, address, _| {
            EventKind::AccountingStart { session, id, client, key, address }
        });
    }

    /// A session is on another path.
    pub(super) fn account_moved(&mut self, session: usize, path: Path) {
        if let Some(authorization) = &mut self.authorization
            && let Some(account) = self.accounts.get(session)
        {
            authorization.desk.session_moved(&account.client, path.remote, path.local);
        }
    }

    /// A session ended, which was `ended`.
    pub(super) fn account_down(
        &mut self,
        now: Duration,
        session: usize,
        client: &Key,
        ended: Option<&SecureSession>,
        reason: EndReason,
    ) {
        if let Some(authorization) = &mut self.authorization {
            authorization.desk.session_down(client);
        }
        self.lend_macs(now, client, None);
        if let Some(ended) = ended {
            let traffic = ended.tallies.sum();
            self.tell_account(now, session, ended, |id, key, client, address, duration| {
                let Traffic { frames_in, bytes_in, frames_out, bytes_out, .. } = traffic;
                EventKind::AccountingStop {
                    session,
                    id,
                    client,
                    key,
                    address,
                    reason,
                    duration,
                    frames_in,
                    bytes_in,
                    frames_out,
                    bytes_out,
                }
            });
        }
        self.accounts.end(session);
    }

    /// Tells of a session's account what `event` makes of its id, the client's key and name, its address,
    /// and for how long it has lasted.
    fn tell_account(
        &mut self,
        now: Duration,
        session: usize,
        open: &SecureSession,
        event: impl FnOnce(String, String, String, SocketAddr, Duration) -> EventKind,
    ) {
        let Some(account) = self.accounts.get(session) else { return };
        let (id, key) = (account.id.clone(), key_text(&account.client));
        let lasted = now.saturating_sub(account.since);
        self.account(now, event(id, key, open.name.to_string(), open.mode.path.remote, lasted));
    }

    fn account(&mut self, now: Duration, event: EventKind) {
        if let Some(authorization) = &mut self.authorization
            && !authorization.authority.account(&event)
        {
            self.counters.add(Counter::AccountingLost, 1);
        }
        self.roster.tell(now, event);
    }

    /// Keeps the MACs that a decision gives a client, at its port while it is here.
    fn lend_macs(&mut self, now: Duration, client: &Key, port: Option<LeafId>) {
        let Some(authorization) = &mut self.authorization else { return };
        let terms = port.and_then(|port| Some((port, authorization.verdicts().terms(client)?)));
        let macs = terms.as_ref().map(|(_, terms)| &terms.macs[..]).unwrap_or_default();
        for mac in authorization.lent.take_back(client, macs) {
            if self.gate.owner(mac).is_none() {
                self.macs.release(mac);
            }
        }
        let Some((port, terms)) = terms else { return };
        for &mac in &terms.macs {
            let Some(authorization) = &mut self.authorization else { return };
            if self.gate.owner(mac).is_some() || !authorization.lent.lend(mac, client) {
                let (client, reason) = (self.gate.name(client), NotKept::Forbidden);
                self.roster.tell(now, EventKind::MacNotKept { mac, client, reason });
                continue;
            }
            self.keep_mac(now, mac, client, Some(port));
        }
    }

    /// Whether a client is refused for a decision on it, and not for want of a list that names it.
    pub(super) fn is_denied(&self, client: &Key) -> bool {
        self.authorization.as_ref().is_some_and(|it| it.verdicts().denies(client))
    }

    /// Why the session of a client ends that may not be here any more.
    pub(super) fn removed(&self, client: &Key) -> EndReason {
        let is_over = self.authorization.as_ref().is_some_and(|it| it.over == Some(*client));
        match self.is_denied(client) {
            true => EndReason::Denied,
            false if is_over => EndReason::Undecided,
            false => EndReason::Removed,
        }
    }

    /// Whether a MAC is kept for a client that a decision gave it to.
    pub(super) fn is_lent(&self, mac: MacAddr) -> bool {
        self.authorization.as_ref().is_some_and(|authorization| authorization.lent.has(mac))
    }

    /// The list gives this MAC to a client: no decision does any more.
    pub(super) fn forget_lent(&mut self, mac: MacAddr) {
        if let Some(authorization) = &mut self.authorization {
            authorization.lent.forget(mac);
        }
    }

    /// The list is another: who is named by it now is decided on by nobody else.
    pub(super) fn forget_listed(&mut self) {
        let Some(authorization) = &mut self.authorization else { return };
        let gate = &self.gate;
        authorization.desk.forget_if(|client| gate.lists(client));
    }

    /// What the settings say of all this is another.
    pub(super) fn follow_authorize_settings(&mut self, now: Duration) {
        if let Some(authorization) = &mut self.authorization {
            authorization.set_deadline(self.settings.authorize_timeout);
        }
        self.accounts.set_interval(now, self.settings.accounting_interval);
    }
}

/// Has a session go by the terms that its client has now; whether the bridge has forgotten the client for
/// that, with the MACs that are kept for it.
pub(super) fn follow_terms(
    now: Duration,
    gate: &Gate,
    roster: &mut Roster<u32, Secured>,
    port: LeafId,
    client: &Key,
) -> bool {
    let (policy, name) = (gate.policy(client), gate.name(client));
    let is_so = |session: &SecureSession| *session.name == *name && session.mode.policy == policy;
    if roster.directory().read(port, is_so) == Some(true) {
        return false;
    }
    let Some(session) = roster.directory().get(port) else { return false };
    let frames = roster.noted(Arc::clone(&policy.frames));
    let policing = session.policing.under(session.policy.policy(), frames.policy());
    let mode = Secured { policy: Arc::clone(&policy), ..session.mode.clone() };
    let (name, session) = (name.into(), (*session).clone());
    let session = SecureSession { name, policy: frames, policing, mode, ..session };
    let is_forgotten = roster.change(now, session);
    roster.set_mac_rules(port, &policy);
    is_forgotten
}
