//! The interface of a tunnel's TAP: set up step by step, each only where it is not so already, and
//! left as it was found.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use acton_tap::{Error, Interface};
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
    added: Mutex<Vec<IpNet>>,
    /// This tunnel made it a port of its bridge. A port does not tell who did, so that one that a
    /// killed tunnel made stays one.
    joined: AtomicBool,
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
        let added = added.filter_map(|address| IpNet::new(address.ip, address.prefix_len).ok());
        let added = Mutex::new(added.collect());
        Ok(Self { interface, stays, added, joined: AtomicBool::new(false) })
    }

    /// Has it follow settings that were `old` and are `new`, as far as a TAP in use can; all of them
    /// or, where the system refuses one, none.
    ///
    /// # Errors
    /// The system refuses one of them.
    pub(crate) fn follow(&self, old: &TapSettings, new: &TapSettings) -> Result<(), Error> {
        type Step = fn(&TapInterface, &TapSettings) -> Result<(), Error>;
        let steps: [(bool, Step); 3] = [
            (old.mtu != new.mtu, |it, to| it.follow_mtu(to.mtu)),
            (old.addresses != new.addresses, |it, to| it.follow_addresses(&to.addresses)),
            (old.bridge != new.bridge, |it, to| it.follow_bridge(to.bridge.as_deref())),
        ];
        let steps = steps.into_iter().filter_map(|(differs, step)| differs.then_some(step));
        let mut begun: Vec<Step> = Vec::new();
        for step in steps {
            begun.push(step);
            let Err(error) = step(self, new) else { continue };
            for step in begun.iter().rev() {
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
        while let Some(index) = added.iter().position(|net| !wanted.contains(net)) {
            self.remove(added[index])?;
            added.swap_remove(index);
        }
        for &net in wanted {
            if !self.has(net)? {
                self.interface.add_noted_address(net.addr(), net.prefix_len(), ADDED_BY_ACTON)?;
                added.push(net);
            }
        }
        Ok(())
    }

    fn has(&self, net: IpNet) -> Result<bool, Error> {
        let is = |ip, prefix_len| (ip, prefix_len) == (net.addr(), net.prefix_len());
        Ok(self.interface.addresses()?.iter().any(|address| is(address.ip, address.prefix_len)))
    }

    fn remove(&self, net: IpNet) -> Result<(), Error> {
        // Somebody else may have done it by hand.
        if self.has(net)? {
            self.interface.remove_address(net.addr(), net.prefix_len())?;
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
        if present.as_deref() == wanted {
            return Ok(());
        }
        self.leave()?;
        if let Some(bridge) = wanted {
            self.interface.join_bridge(bridge)?;
            self.joined.store(true, Relaxed);
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
        for restored in [self.leave(), self.follow_addresses(&[])] {
            if let Err(error) = restored {
                log::warn!("{error}; it stays as it is");
            }
        }
    }

    /// Leaves the bridge, where this tunnel made it a port.
    fn leave(&self) -> Result<(), Error> {
        if self.joined.swap(false, Relaxed) { self.interface.leave_bridge() } else { Ok(()) }
    }
}

impl Drop for TapInterface {
    fn drop(&mut self) {
        self.restore();
    }
}
