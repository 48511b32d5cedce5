//! How a server's sessions begin, change and end, as its protocol says: workers, accounts and events follow.

use std::sync::Arc;
use std::time::Duration;

use acton_proto::server::{DownReason, Path, RefusedReason, ServerEvent, SessionId};
use acton_proto::session::Keys;
use acton_proto::wire::{Key, Refusal};

use super::budget::Budget;
use super::server::{SecureSession, Secured};
use super::server_control::ServerControl;
use crate::observe::event::{Beginning, EndReason, EventKind, RefusalReason};
use crate::observe::status::PastSession;
use crate::run::clock::{self, wall};
use crate::run::tap::unfit_peer_mtu;
use crate::sessions::roster::Opening;

impl ServerControl {
    pub(super) fn follow(&mut self, now: Duration, event: ServerEvent) {
        match event {
            ServerEvent::SessionUp { id, client, path, keys, client_time } => {
                self.session_up(now, id, client, path, keys);
                if let Some(ahead_seconds) = clock::apart(wall(), client_time) {
                    let (client, address) = (Some(self.gate.name(&client)), Some(path.remote));
                    let event = EventKind::ClockApart { client, address, ahead_seconds };
                    self.roster.tell(now, event);
                }
            }
            ServerEvent::KeysReady { id, keys } => self.add_keys(id, keys, false),
            ServerEvent::KeysChanged { id, keys, replaced } => {
                self.add_keys(id, keys, true);
                let (session, client) = (id.0 as usize, self.name(id));
                self.roster.tell(
                    now,
                    if replaced {
                        EventKind::Replaced { session, client }
                    } else {
                        EventKind::Rekeyed { session }
                    },
                );
                if replaced && let Some(session) = self.roster.session(session) {
                    self.leave_isolation(id);
                    self.client_up(now, id, session.mode.path);
                }
            }
            ServerEvent::KeysDropped { id, local_id } => {
                self.roster.directory().unbind(&local_id);
                self.change(id, |mode| mode.open.retain(|keys| keys.setup().local_id != local_id));
            }
            ServerEvent::IdExpected { local_id } => self.expected.add(local_id),
            ServerEvent::IdForgotten { local_id } => self.expected.remove(local_id),
            ServerEvent::AddressChanged { id, path } => {
                let port = self.roster.port(id.0 as usize);
                let to = Arc::new(self.destination(path).tagged(port));
                self.roster.directory().change(port, |session| {
                    let mode = Secured { path, ..session.mode.clone() };
                    SecureSession { mode, to, ..session.clone() }
                });
                let (session, client, address) = (id.0 as usize, self.name(id), path.remote);
                self.account_moved(session, path);
                self.roster.tell(now, EventKind::SessionMoved { session, client, address });
            }
            ServerEvent::SessionDown { id, client, reason } => {
                let session = id.0 as usize;
                let open = self.roster.session(session);
                let reason = match ended(reason) {
                    EndReason::Removed => self.removed(&client),
                    reason => reason,
                };
                self.roster.close(now, session, reason);
                self.leave_isolation(id);
                self.ports.remove(&client);
                self.keep_macs_of(now, &client, None);
                self.account_down(now, session, &client, open.as_deref(), reason);
            }
            ServerEvent::Duplicate { id, client } => {
                let (session, client) = (id.0 as usize, self.gate.name(&client));
                self.roster.tell(now, EventKind::Duplicate { session, client });
            }
            ServerEvent::IsolationAnswer { id, answer } => self.hear_isolation(now, id, &answer),
            ServerEvent::Undecided { client, path } => self.consult(now, &client, path),
            ServerEvent::Refused { path, client: key, reason } => {
                let client = key.map(|key| self.name_of(&key));
                let denied = key.is_some_and(|key| self.is_denied(&key));
                let (address, reason) = match refused(reason) {
                    RefusalReason::NotListed if denied => (path.remote, RefusalReason::Denied),
                    reason => (path.remote, reason),
                };
                self.roster.tell(now, EventKind::SessionRefused { address, client, reason });
            }
            _ => {}
        }
    }

    fn session_up(
        &mut self,
        now: Duration,
        id: SessionId,
        client: Key,
        path: Path,
        keys: Arc<Keys>,
    ) {
        let (policy, name) = (self.gate.policy(&client), self.gate.name(&client));
        let local_id = keys.setup().local_id;
        let (open, budget) = (vec![Arc::clone(&keys)], Arc::new(Budget::new()));
        let port = self.roster.open(
            now,
            Opening {
                slot: id.0 as usize,
                name: name.into(),
                address: path.remote,
                to: self.destination(path),
                by: Beginning::Handshake,
                policy: Arc::clone(&policy.frames),
                mode: Secured {
                    client,
                    policy: Arc::clone(&policy),
                    path,
                    seal: keys,
                    open,
                    budget,
                },
            },
        );
        self.roster.set_mac_rules(port, &policy);
        self.roster.directory().bind(local_id, port);
        self.ports.insert(client, port);
        self.keep_macs_of(now, &client, Some(port));
        self.account_up(now, id.0 as usize, &client, port);
        self.client_up(now, id, path);
    }

    /// A client that knows nothing of a session before.
    fn client_up(&mut self, now: Duration, id: SessionId, path: Path) {
        self.announcer.note_up(now, self.roster.port(id.0 as usize));
        let mtu = self.settings.common.tap.mtu;
        let known = self.machine.session_statistics(now, id);
        let peer_mtu = known.and_then(|known| unfit_peer_mtu(mtu, known.peer_max_frame));
        if let Some(peer_mtu) = peer_mtu {
            let (client, address) = (Some(self.name(id)), Some(path.remote));
            self.roster.tell(now, EventKind::MtuUnfit { client, address, mtu, peer_mtu });
        }
    }

    /// Has workers open with new keys, and with `seal` seal with them too.
    fn add_keys(&self, id: SessionId, keys: Arc<Keys>, seal: bool) {
        let port = self.roster.port(id.0 as usize);
        let local_id = keys.setup().local_id;
        if self.roster.directory().get(port).is_none() {
            return;
        }
        self.change(id, |mode| {
            if mode.opening(local_id).is_none() {
                mode.open.push(Arc::clone(&keys));
            }
            if seal {
                mode.seal = keys;
            }
        });
        self.roster.directory().bind(local_id, port);
    }

    fn change(&self, id: SessionId, change: impl FnOnce(&mut Secured)) {
        let port = self.roster.port(id.0 as usize);
        self.roster.directory().change(port, |session| {
            let mut session = session.clone();
            change(&mut session.mode);
            session
        });
    }

    /// How the last session of a client ended.
    pub(super) fn before(&self, client: &Key, now: Duration) -> Option<PastSession> {
        let end = self.machine.last_end(client)?;
        Some(PastSession { reason: ended(end.reason), ago: now.saturating_sub(end.until) })
    }
}

fn ended(reason: DownReason) -> EndReason {
    match reason {
        DownReason::Bye(_) => EndReason::Bye,
        DownReason::Timeout => EndReason::Silent,
        DownReason::Removed => EndReason::Removed,
        DownReason::Kicked => EndReason::Kicked,
        DownReason::Replaced => EndReason::Replaced,
        _ => EndReason::Stopped,
    }
}

fn refused(reason: RefusedReason) -> RefusalReason {
    match reason {
        RefusedReason::WrongKey => RefusalReason::WrongKey,
        RefusedReason::Handshake => RefusalReason::Handshake,
        RefusedReason::Unconfirmed => RefusalReason::Unconfirmed,
        RefusedReason::SourceFull => RefusalReason::SourceFull,
        RefusedReason::UnlistedFull => RefusalReason::UnlistedFull,
        RefusedReason::Told(refusal) => refusal_reason(refusal),
        _ => RefusalReason::Other,
    }
}

/// A refusal as the other end is told of it.
pub(super) fn refusal_reason(refusal: Refusal) -> RefusalReason {
    match refusal {
        Refusal::NotAuthorised => RefusalReason::NotListed,
        Refusal::Full => RefusalReason::Full,
        Refusal::Version => RefusalReason::Version,
        Refusal::Suite => RefusalReason::Suite,
        _ => RefusalReason::Other,
    }
}
