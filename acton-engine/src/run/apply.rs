//! New settings for a tunnel that runs: what can be taken, and what needs a restart.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::mem;

use acton_tap::Interface;
use ipnet::IpNet;

use crate::Error;
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
        interface: &Interface,
    ) -> Result<(), Error> {
        // What the system may refuse comes first.
        self.take_common(&mut old.common, &new.common, interface)?;
        if mem::replace(&mut old.max_sessions, new.max_sessions) != new.max_sessions {
            self.taken.push("max_sessions");
        }
        for (differs, name) in [
            (old.listen != new.listen, "listen"),
            (old.workers != new.workers, "workers"),
            (old.mac_ageing != new.mac_ageing, "mac_ageing"),
            (old.macs_per_client != new.macs_per_client, "macs_per_client"),
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
        interface: &Interface,
    ) -> Result<(), Error> {
        if old.tap.addresses != new.tap.addresses {
            follow_addresses(&mut old.tap.addresses, &new.tap.addresses, interface)?;
            self.taken.push("common.tap.addresses");
        }
        if old.tap.bridge != new.tap.bridge {
            // A port of one bridge cannot become one of another.
            if old.tap.bridge.take().is_some() {
                interface.leave_bridge()?;
            }
            if let Some(bridge) = &new.tap.bridge {
                interface.join_bridge(bridge)?;
                old.tap.bridge = Some(bridge.clone());
            }
            self.taken.push("common.tap.bridge");
        }
        if mem::replace(&mut old.keepalive, new.keepalive) != new.keepalive {
            self.taken.push("common.keepalive");
        }
        for (differs, name) in [
            (old.scheduling != new.scheduling, "common.scheduling"),
            (old.tap.name != new.tap.name, "common.tap.name"),
            (old.tap.mac != new.tap.mac, "common.tap.mac"),
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

/// Gives the TAP other addresses, one by one: what stays is never away, and `old` is what the TAP has
/// also where the system refuses one of them.
fn follow_addresses(
    old: &mut Vec<IpNet>,
    new: &[IpNet],
    interface: &Interface,
) -> Result<(), Error> {
    while let Some(index) = old.iter().position(|net| !new.contains(net)) {
        let gone = interface.remove_address(old[index].addr(), old[index].prefix_len());
        unless_so_already(gone, ErrorKind::AddrNotAvailable)?;
        old.remove(index);
    }
    for net in new {
        if !old.contains(net) {
            let added = interface.add_address(net.addr(), net.prefix_len());
            unless_so_already(added, ErrorKind::AlreadyExists)?;
            old.push(*net);
        }
    }
    Ok(())
}

/// Somebody else may have done it by hand.
fn unless_so_already(
    result: Result<(), acton_tap::Error>,
    kind: ErrorKind,
) -> Result<(), acton_tap::Error> {
    let is_so = |error: &acton_tap::Error| {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        cause.is_some_and(|cause| cause.kind() == kind)
    };
    result.or_else(|error| if is_so(&error) { Ok(()) } else { Err(error) })
}
