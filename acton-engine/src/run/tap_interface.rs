//! The interface of a tunnel's TAP: set up step by step, each only where it is not so already, and
//! left as it was found.

use std::mem;
use std::ops::Deref;

use acton_tap::{Address, Error, Interface};
use ipnet::IpNet;
use parking_lot::Mutex;
use pnet_base::MacAddr;

use crate::settings::TapSettings;

/// The note on addresses that acton adds (`IFA_PROTO`, linux/if_addr.h), by which they are known
/// also after it was killed: a number that nobody else is known to use.
const ADDED_BY_ACTON: u8 = 172;

/// A TAP's interface, and what is to be taken back from it in the end.
#[derive(Debug)]
pub(crate) struct TapInterface {
    interface: Interface,
    /// It outlives the tunnel, so that something is to be taken back.
    stays: bool,
    /// Addresses that this tunnel added, or one before it that was killed.
    added: Mutex<Vec<Added>>,
    /// The bridge that this tunnel made it a port of. A port does not tell who did, so that one that
    /// a killed tunnel made stays one.
    joined: Mutex<Option<String>>,
    /// The bridge that it was last told to be a port of.
    wanted_bridge: Mutex<Option<String>>,
    /// This tunnel made it an isolated port.
    isolated: Mutex<bool>,
}

/// An address that acton added.
#[derive(Debug, Clone, Copy)]
struct Added {
    net: IpNet,
    /// The kernel keeps the note of who added it (since Linux 5.18).
    is_noted: bool,
}

impl Added {
    /// Whether this address of the interface is it, and not one that somebody added after taking it
    /// away.
    fn is(self, address: &Address) -> bool {
        is(self.net, address) && (!self.is_noted || address.protocol == Some(ADDED_BY_ACTON))
    }
}

fn is(net: IpNet, address: &Address) -> bool {
    (net.addr(), net.prefix_len()) == (address.ip, address.prefix_len)
}

impl Deref for TapInterface {
    type Target = Interface;

    fn deref(&self) -> &Interface {
        &self.interface
    }
}

impl TapInterface {
    /// # Errors
    /// The interface is gone.
    pub(crate) fn new(interface: Interface) -> Result<Self, Error> {
        let stays = interface.tap_status()?.is_some_and(|status| status.persist);
        let addresses = interface.addresses()?.into_iter();
        let added = addresses.filter(|address| address.protocol == Some(ADDED_BY_ACTON));
        let added = added.filter_map(|address| {
            let net = IpNet::new(address.ip, address.prefix_len).ok()?;
            Some(Added { net, is_noted: true })
        });
        let added = Mutex::new(added.collect());
        let (joined, wanted_bridge) = (Mutex::new(None), Mutex::new(None));
        Ok(Self { interface, stays, added, joined, wanted_bridge, isolated: Mutex::new(false) })
    }

    /// Has it follow settings that were `old` and are `new`, as far as a TAP in use can; all of them
    /// or, where the system refuses one, none.
    ///
    /// # Errors
    /// The system refuses one of them.
    pub(crate) fn follow(&self, old: &TapSettings, new: &TapSettings) -> Result<(), Error> {
        type Step = fn(&TapInterface, &TapSettings) -> Result<(), Error>;
        let steps: [(bool, Step); 4] = [
            (old.mtu != new.mtu, |it, to| it.follow_mtu(to.mtu)),
            // The kernel takes IPv6 addresses away where the MTU is too small for them.
            (old.addresses != new.addresses || old.mtu != new.mtu, |it, to| {
                it.follow_addresses(&to.addresses)
            }),
            (old.bridge != new.bridge, |it, to| it.follow_bridge(to.bridge.as_deref())),
            // A port of another bridge begins anew.
            (old.isolated != new.isolated || old.bridge != new.bridge, |it, to| {
                it.follow_isolated(to.isolated)
            }),
        ];
        let steps = steps.into_iter().filter_map(|(differs, step)| differs.then_some(step));
        let mut begun: Vec<Step> = Vec::new();
        for step in steps {
            begun.push(step);
            let Err(error) = step(self, new) else { continue };
            // In this order: addresses come back only to an MTU that has room for them.
            for step in &begun {
                if let Err(error) = step(self, old) {
                    log::warn!("{error}; it stays as it is");
                }
            }
            return Err(error);
        }
        Ok(())
    }

    /// Has it have this MAC.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn follow_mac(&self, mac: MacAddr) -> Result<(), Error> {
        if self.interface.mac()? == mac { Ok(()) } else { self.interface.set_mac(mac) }
    }

    /// Has it have this MTU, in bytes.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn follow_mtu(&self, mtu: u32) -> Result<(), Error> {
        if self.interface.mtu()? == mtu { Ok(()) } else { self.interface.set_mtu(mtu) }
    }

    /// Has it have these addresses, and none besides that acton added. Those that others added are
    /// left alone, and what stays is never away.
    ///
    /// # Errors
    /// The system refuses one of them.
    pub(crate) fn follow_addresses(&self, wanted: &[IpNet]) -> Result<(), Error> {
        let mut added = self.added.lock();
        while let Some(index) = added.iter().position(|added| !wanted.contains(&added.net)) {
            self.remove(added[index])?;
            added.swap_remove(index);
        }
        for &net in wanted {
            if self.find(net)?.is_none() {
                self.interface.add_noted_address(net.addr(), net.prefix_len(), ADDED_BY_ACTON)?;
                let note = self.find(net)?.and_then(|address| address.protocol);
                added.retain(|added| added.net != net);
                added.push(Added { net, is_noted: note == Some(ADDED_BY_ACTON) });
            }
        }
        Ok(())
    }

    fn find(&self, net: IpNet) -> Result<Option<Address>, Error> {
        Ok(self.interface.addresses()?.into_iter().find(|address| is(net, address)))
    }

    /// Takes an address away, unless somebody else did or has added it since.
    fn remove(&self, added: Added) -> Result<(), Error> {
        if self.interface.addresses()?.iter().any(|address| added.is(address)) {
            self.interface.remove_address(added.net.addr(), added.net.prefix_len())?;
        }
        Ok(())
    }

    /// Has it be a port of this Linux bridge. One that was made a port of another by this tunnel
    /// leaves that; else it is not this tunnel's to take away.
    ///
    /// # Errors
    /// There is no such bridge, or it is a port of something else.
    pub(crate) fn follow_bridge(&self, wanted: Option<&str>) -> Result<(), Error> {
        let present = self.interface.bridge()?;
        if present.as_deref() != wanted {
            self.leave()?;
            if let Some(bridge) = wanted {
                self.interface.join_bridge(bridge)?;
                *self.joined.lock() = Some(bridge.to_owned());
            }
        }
        *self.wanted_bridge.lock() = wanted.map(str::to_owned);
        Ok(())
    }

    /// The bridge that it is to be a port of.
    pub(crate) fn wanted_bridge(&self) -> Option<String> {
        self.wanted_bridge.lock().clone()
    }

    /// Has it be an isolated port of its bridge. One that is so already, by others, stays so.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn follow_isolated(&self, wanted: bool) -> Result<(), Error> {
        let Some(present) = self.interface.is_isolated()? else { return Ok(()) };
        let mut own = self.isolated.lock();
        if wanted && !present {
            self.interface.set_isolated(true)?;
            *own = true;
        } else if !wanted && mem::take(&mut *own) && present {
            self.interface.set_isolated(false)?;
        }
        Ok(())
    }

    /// Sets it up.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn follow_up(&self) -> Result<(), Error> {
        if self.interface.is_up()? { Ok(()) } else { self.interface.up() }
    }

    /// Takes back what was added, where the interface stays.
    pub(crate) fn restore(&self) {
        if !self.stays {
            return;
        }
        for restored in [self.follow_isolated(false), self.leave(), self.follow_addresses(&[])] {
            if let Err(error) = restored {
                log::warn!("{error}; it stays as it is");
            }
        }
    }

    /// Leaves the bridge that this tunnel made it a port of, where it still is one.
    fn leave(&self) -> Result<(), Error> {
        let Some(joined) = self.joined.lock().take() else { return Ok(()) };
        let is_there = self.interface.bridge()?.is_some_and(|present| present == joined);
        if is_there { self.interface.leave_bridge() } else { Ok(()) }
    }
}

impl Drop for TapInterface {
    fn drop(&mut self) {
        self.restore();
    }
}
