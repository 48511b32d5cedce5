//! The keys of a session in use, and the path they are used on.

use std::sync::Arc;
use std::time::Duration;

use super::path_mtu::PathMtu;
use super::{Heard, KEEP_PREVIOUS, Keys, Ledger, Link};
use crate::handshake::{Random, random_array};
use crate::wire::{Control, Delivery, Report, Rtt, Version};

/// Keys to seal with, keys that may still open, and the search for the path's MTU.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) current: Arc<Keys>,
    previous: Option<Arc<Keys>>,
    /// When the previous keys are dropped; set once the current ones are confirmed.
    previous_until: Option<Duration>,
    path_mtu: PathMtu,
    /// The most that both ends' links carry.
    max_pmtu: u16,
    /// When the session began.
    since: Duration,
    rekeys: u64,
}

impl Live {
    pub(crate) fn new(now: Duration, keys: Arc<Keys>, max_pmtu: u16) -> Self {
        let path_mtu = PathMtu::new(now, max_pmtu);
        keys.link().set_path_mtu(path_mtu.current());
        let mut ledger = Ledger::default();
        ledger.add(&keys);
        // The keys may come from a handshake that a session before this one began.
        *keys.link().ledger() = ledger;
        // It began when another thread first heard the peer, which this one may learn late.
        let since = keys.confirmed_at().map_or(now, |at| at.min(now));
        Self {
            current: keys,
            previous: None,
            previous_until: None,
            path_mtu,
            max_pmtu,
            since,
            rekeys: 0,
        }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        self.current.link()
    }

    /// Seals with `keys` from now on. Returns keys that were dropped by that.
    pub(crate) fn replace(&mut self, keys: Arc<Keys>) -> Option<Arc<Keys>> {
        self.rekeys += 1;
        self.link().ledger().add(&keys);
        let old = std::mem::replace(&mut self.current, keys);
        // The peer may still seal with the last keys that it confirmed, until it has the new ones.
        let dropped = if !old.is_confirmed() && self.previous.is_some() {
            Some(old)
        } else {
            self.previous_until = None;
            self.previous.replace(old)
        };
        dropped.inspect(|keys| self.link().ledger().close(keys))
    }

    /// The keys that open datagrams with this id.
    pub(crate) fn keys(&self, id: u32) -> Option<&Arc<Keys>> {
        let all = [Some(&self.current), self.previous.as_ref()];
        all.into_iter().flatten().find(|keys| keys.setup().local_id == id)
    }

    pub(crate) fn previous(&self) -> Option<&Arc<Keys>> {
        self.previous.as_ref()
    }

    /// Drops the previous keys when it is time; returns what was dropped.
    pub(crate) fn expire_previous(&mut self, now: Duration) -> Option<Arc<Keys>> {
        if self.previous.is_some() && self.previous_until.is_none() {
            self.previous_until = self.current.confirmed_at().map(|at| at + KEEP_PREVIOUS);
        }
        self.previous_until.take_if(|until| now >= *until)?;
        let dropped = self.previous.take();
        dropped.inspect(|keys| self.link().ledger().close(keys))
    }

    /// When the session began.
    pub(crate) const fn since(&self) -> Duration {
        self.since
    }

    /// How often new keys took the place of others.
    pub(crate) const fn rekeys(&self) -> u64 {
        self.rekeys
    }

    /// What arrived in this session, under whatever keys.
    pub(crate) fn delivery(&self) -> Delivery {
        self.link().ledger().delivery()
    }

    /// What to tell the other end.
    pub(crate) fn report(&self, rtt: Option<Rtt>, version: Option<Version>) -> Report {
        let path_mtu = Some(self.link().path_mtu());
        Report { delivery: self.delivery(), rtt, version, path_mtu }
    }

    /// The other end's report, in the datagram of this counter under `keys`. One that another has
    /// overtaken says nothing.
    pub(crate) fn hear(&mut self, now: Duration, keys: &Arc<Keys>, counter: u64, report: Report) {
        if Arc::ptr_eq(keys, &self.current) {
            self.link().ledger().hear(now, (keys.setup().local_id, counter), report);
        }
    }

    /// What the other end reported.
    pub(crate) fn heard(&self) -> Option<Heard> {
        self.link().ledger().heard()
    }

    /// When something here is due; what depends on other threads is looked at by the caller's own
    /// regular check.
    pub(crate) fn poll_timeout(&self) -> Duration {
        let path_mtu = self.path_mtu.poll_timeout();
        self.previous_until.map_or(path_mtu, |until| until.min(path_mtu))
    }

    /// Looks at what other threads did with the keys; true if something is due earlier by that.
    pub(crate) fn note_use(&mut self) -> bool {
        let large = self.link().take_large_sent();
        if large {
            self.path_mtu.note_large();
        }
        large
    }

    /// A probe of the path's MTU, if one is due.
    pub(crate) fn probe(&mut self, now: Duration, random: &mut dyn Random) -> Option<Control> {
        let link = Arc::clone(self.current.link());
        let token = || u64::from_ne_bytes(random_array(random));
        let probe = self.path_mtu.handle_timeout(now, link.last_received(), token);
        link.set_path_mtu(self.path_mtu.current());
        probe.map(|probe| Control::Keepalive { token: probe.token, size: probe.size })
    }

    pub(crate) fn handle_echo(&mut self, now: Duration, token: u64, size: u16) {
        if self.path_mtu.handle_echo(now, token, size) {
            self.link().set_path_mtu(self.path_mtu.current());
        }
    }

    pub(crate) fn handle_too_large(&mut self, size: u16) {
        self.path_mtu.handle_too_large(size);
        self.link().set_path_mtu(self.path_mtu.current());
    }

    /// A router says how large the path's datagrams may be. True if something is due now.
    pub(crate) fn handle_hint(
        &mut self,
        now: Duration,
        size: u16,
        random: &mut dyn Random,
    ) -> bool {
        let token = || u64::from_ne_bytes(random_array(random));
        let taken = self.path_mtu.handle_hint(now, size, token);
        self.link().set_path_mtu(self.path_mtu.current());
        taken
    }

    /// What the links of both ends carry may be another now.
    pub(crate) fn set_max_pmtu(&mut self, now: Duration, max_pmtu: u16) {
        if max_pmtu != self.max_pmtu {
            self.max_pmtu = max_pmtu;
            self.path_changed(now);
        }
    }

    /// This end's link carries no more than `pmtu`; that it carries more, the peer must hear first.
    pub(crate) fn limit_pmtu(&mut self, now: Duration, pmtu: u16) {
        self.set_max_pmtu(now, pmtu.min(self.max_pmtu));
    }

    /// The path is another: nothing is known of it.
    pub(crate) fn path_changed(&mut self, now: Duration) {
        self.path_mtu = PathMtu::new(now, self.max_pmtu);
        self.link().set_path_mtu(self.path_mtu.current());
    }
}
