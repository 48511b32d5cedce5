//! What the verdict on a frame goes by.

use acton_frame::Ethernet;

use crate::address::Address;
use crate::key;
use crate::verdict::DropReason;

/// The addresses of a frame and its VLAN.
pub(crate) struct Header {
    pub(crate) destination: Address,
    pub(crate) source: Address,
    /// Below 4095; 0 for untagged.
    pub(crate) vlan: u16,
}

impl Header {
    /// Those of a frame that was parsed; `None` is a runt.
    pub(crate) fn of(ethernet: Option<&Ethernet>) -> Result<Self, DropReason> {
        let ethernet = ethernet.ok_or(DropReason::Runt)?;
        if ethernet.vlan() >= key::VLANS {
            return Err(DropReason::BadVlan);
        }
        Ok(Self {
            destination: Address::new(ethernet.destination()),
            source: Address::new(ethernet.source()),
            vlan: ethernet.vlan(),
        })
    }
}
