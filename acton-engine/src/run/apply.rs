//! New settings for a tunnel that runs: what can be taken, and what needs a restart.
//!
//! New settings are taken apart field by field, so that the compiler asks of each field that is added
//! which of the two it is.

use std::mem;

use crate::Error;
use crate::settings::{
    Applied, ClientMode, ClientSettings, Common, PlainServerSettings, SecureSettings, ServerMode,
    ServerSettings, Settings, TapSettings,
};

impl Settings {
    /// What [`Handle::apply`](crate::Handle::apply) says of `new` where these settings hold, without
    /// doing it.
    ///
    /// # Errors
    /// Where `new` is of the other end or another mode, or out of its range. What the system refuses
    /// only it can tell.
    pub fn compare(&self, new: &Self) -> Result<Applied, Error> {
        match (self.clone(), new) {
            (Self::Server(mut old), Self::Server(new)) => old.take(new),
            (Self::Client(mut old), Self::Client(new)) => old.take(new),
            _ => Err(Error::other_end()),
        }
    }
}

impl ServerSettings {
    /// Becomes `new` as far as a server that runs can.
    ///
    /// # Errors
    /// As [`Settings::compare`]; then nothing has changed.
    pub(crate) fn take(&mut self, new: &Self) -> Result<Applied, Error> {
        new.check()?;
        let Self {
            common,
            listen,
            workers,
            max_sessions,
            max_sessions_per_source,
            max_unlisted,
            mac_ageing,
            macs_per_client,
            protected_macs,
            protected_addresses,
            shared_macs,
            mac_hold,
            budgets,
            guards,
            tracked_links,
            multicast_snooping,
            authorize_timeout,
            accounting_interval,
            mode,
        } = new;
        let mut applied = Applied::default();
        match (&mut self.mode, mode) {
            (ServerMode::Plain(old), ServerMode::Plain(new)) => applied.take_plain(old, new),
            (ServerMode::Secure(old), ServerMode::Secure(new)) => {
                let SecureSettings { suite, rekey_after } = new;
                applied.take(&mut old.suite, suite, "mode.secure.suite");
                applied.note(&old.rekey_after, rekey_after, "mode.secure.rekey_after");
            }
            _ => return Err(Error::other_mode()),
        }
        applied.take_common(&mut self.common, common);
        applied.take(&mut self.max_sessions, max_sessions, "max_sessions");
        let per_source = &mut self.max_sessions_per_source;
        applied.take(per_source, max_sessions_per_source, "max_sessions_per_source");
        applied.take(&mut self.max_unlisted, max_unlisted, "max_unlisted");
        applied.take(&mut self.mac_ageing, mac_ageing, "mac_ageing");
        applied.take(&mut self.macs_per_client, macs_per_client, "macs_per_client");
        applied.take(&mut self.protected_macs, protected_macs, "protected_macs");
        let addresses = &mut self.protected_addresses;
        applied.take(addresses, protected_addresses, "protected_addresses");
        applied.take(&mut self.shared_macs, shared_macs, "shared_macs");
        applied.take(&mut self.mac_hold, mac_hold, "mac_hold");
        applied.take(&mut self.budgets, budgets, "budgets");
        applied.take(&mut self.guards, guards, "guards");
        applied.take(&mut self.tracked_links, tracked_links, "tracked_links");
        applied.take(&mut self.multicast_snooping, multicast_snooping, "multicast_snooping");
        let timeout = &mut self.authorize_timeout;
        applied.take(timeout, authorize_timeout, "authorize_timeout");
        let interval = &mut self.accounting_interval;
        applied.take(interval, accounting_interval, "accounting_interval");
        applied.note(&self.listen, listen, "listen");
        applied.note(&self.workers, workers, "workers");
        Ok(applied)
    }
}

impl ClientSettings {
    /// Becomes `new` as far as a client that runs can.
    ///
    /// # Errors
    /// As [`Settings::compare`]; then nothing has changed.
    pub(crate) fn take(&mut self, new: &Self) -> Result<Applied, Error> {
        new.check()?;
        let Self { common, server, allow_isolation_test, mode } = new;
        let mut applied = Applied::default();
        match (&self.mode, mode) {
            (ClientMode::Plain, ClientMode::Plain) => {}
            (ClientMode::Secure(old), ClientMode::Secure(new)) => {
                let SecureSettings { suite, rekey_after } = new;
                applied.note(&old.suite, suite, "mode.secure.suite");
                applied.note(&old.rekey_after, rekey_after, "mode.secure.rekey_after");
            }
            _ => return Err(Error::other_mode()),
        }
        applied.take_common(&mut self.common, common);
        let allows = &mut self.allow_isolation_test;
        applied.take(allows, allow_isolation_test, "allow_isolation_test");
        applied.note(&self.server, server, "server");
        Ok(applied)
    }
}

impl Applied {
    fn take_common(&mut self, old: &mut Common, new: &Common) {
        let Common { tap, keepalive, scheduling, loop_guard } = new;
        self.take_tap(&mut old.tap, tap);
        self.take(&mut old.keepalive, keepalive, "common.keepalive");
        self.note(&old.scheduling, scheduling, "common.scheduling");
        self.note(&old.loop_guard, loop_guard, "common.loop_guard");
    }

    fn take_tap(&mut self, old: &mut TapSettings, new: &TapSettings) {
        let TapSettings { name, mac, default_mac, addresses, mtu, bridge, isolated } = new;
        self.take(&mut old.addresses, addresses, "common.tap.addresses");
        self.take(&mut old.bridge, bridge, "common.tap.bridge");
        self.take(&mut old.isolated, isolated, "common.tap.isolated");
        self.take(&mut old.mtu, mtu, "common.tap.mtu");
        self.note(&old.name, name, "common.tap.name");
        self.note(&old.mac, mac, "common.tap.mac");
        self.note(&old.default_mac, default_mac, "common.tap.default_mac");
    }

    fn take_plain(&mut self, old: &mut PlainServerSettings, new: &PlainServerSettings) {
        let PlainServerSettings { allow, peers } = new;
        self.take(&mut old.allow, allow, "mode.plain.allow");
        self.note(&old.peers, peers, "mode.plain.peers");
    }

    /// Takes a setting that can change while the tunnel runs.
    fn take<T: Clone + PartialEq>(&mut self, old: &mut T, new: &T, name: &'static str) {
        if mem::replace(old, new.clone()) != *new {
            self.taken.push(name);
        }
    }

    /// Notes a setting that needs a restart, where it differs.
    fn note<T: PartialEq>(&mut self, old: &T, new: &T, name: &'static str) {
        if old != new {
            self.needs_restart.push(name);
        }
    }
}
