//! New settings for a tunnel that runs: what can be taken, and what needs a restart.

use std::mem;

use crate::Error;
use crate::run::tap_interface::TapInterface;
use crate::settings::{Applied, Common, ServerSettings};

impl Applied {
    /// Takes what servers of both modes can take, and notes what they cannot.
    ///
    /// # Errors
    /// Where the system refuses an address or a bridge.
    pub(crate) fn take_server(
        &mut self,
        old: &mut ServerSettings,
        new: &ServerSettings,
        interface: &TapInterface,
    ) -> Result<(), Error> {
        // What the system may refuse comes first.
        self.take_common(&mut old.common, &new.common, interface)?;
        if mem::replace(&mut old.max_sessions, new.max_sessions) != new.max_sessions {
            self.taken.push("max_sessions");
        }
        if mem::replace(&mut old.budgets, new.budgets) != new.budgets {
            self.taken.push("budgets");
        }
        for (differs, name) in [
            (old.listen != new.listen, "listen"),
            (old.workers != new.workers, "workers"),
            (old.mac_ageing != new.mac_ageing, "mac_ageing"),
            (old.macs_per_client != new.macs_per_client, "macs_per_client"),
            (old.protected_macs != new.protected_macs, "protected_macs"),
            (old.shared_macs != new.shared_macs, "shared_macs"),
            (old.mac_hold != new.mac_hold, "mac_hold"),
        ] {
            self.note_restart(differs, name);
        }
        Ok(())
    }

    /// Takes what both ends can take, and notes what they cannot.
    ///
    /// # Errors
    /// Where the system refuses an address or a bridge.
    pub(crate) fn take_common(
        &mut self,
        old: &mut Common,
        new: &Common,
        interface: &TapInterface,
    ) -> Result<(), Error> {
        if old.tap.addresses != new.tap.addresses {
            interface.follow_addresses(&new.tap.addresses)?;
            old.tap.addresses.clone_from(&new.tap.addresses);
            self.taken.push("common.tap.addresses");
        }
        if old.tap.bridge != new.tap.bridge {
            interface.follow_bridge(new.tap.bridge.as_deref())?;
            old.tap.bridge.clone_from(&new.tap.bridge);
            self.taken.push("common.tap.bridge");
        }
        if mem::replace(&mut old.keepalive, new.keepalive) != new.keepalive {
            self.taken.push("common.keepalive");
        }
        for (differs, name) in [
            (old.scheduling != new.scheduling, "common.scheduling"),
            (old.loop_guard != new.loop_guard, "common.loop_guard"),
            (old.tap.name != new.tap.name, "common.tap.name"),
            (old.tap.mac != new.tap.mac, "common.tap.mac"),
            (old.tap.default_mac != new.tap.default_mac, "common.tap.default_mac"),
            (old.tap.mtu != new.tap.mtu, "common.tap.mtu"),
        ] {
            self.note_restart(differs, name);
        }
        Ok(())
    }

    pub(crate) fn note_restart(&mut self, differs: bool, name: &'static str) {
        if differs {
            self.needs_restart.push(name);
        }
    }
}
