//! The TAP as the tunnel wants it.

use acton_tap::{Interface, Queue, Tap};
use ipnet::IpNet;
use pnet_base::MacAddr;

use super::Error;

/// The TAP of a tunnel's end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TapSettings {
    /// Interface name, at most 15 bytes; `%d` stands for the first free number.
    pub name: String,
    /// Its MAC; the kernel chooses one where this is `None`.
    pub mac: Option<MacAddr>,
    /// Its IP addresses, each with the length of the subnet's prefix.
    pub addresses: Vec<IpNet>,
    /// The largest payload of a frame, in bytes; an Ethernet header comes on top.
    pub mtu: u32,
    /// A Linux bridge that it joins.
    pub bridge: Option<String>,
}

impl TapSettings {
    /// A TAP called `name` with Ethernet's usual MTU of 1,500 bytes and nothing else set.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), mac: None, addresses: Vec::new(), mtu: 1_500, bridge: None }
    }

    /// Makes the TAP and brings it up. Without a `carrier` it says "no cable" until told.
    pub(super) fn open(
        &self,
        queues: usize,
        carrier: bool,
    ) -> Result<(Interface, Vec<Queue>), Error> {
        let tap = Tap::builder()
            .name(&self.name)
            .queues(queues)
            .nonblocking(true)
            .carrier(carrier)
            .build()?;
        let (interface, queues) = tap.into_parts();
        if let Some(mac) = self.mac {
            interface.set_mac(mac)?;
        }
        interface.set_mtu(self.mtu)?;
        for address in &self.addresses {
            interface.add_address(address.addr(), address.prefix_len())?;
        }
        if let Some(bridge) = &self.bridge {
            interface.join_bridge(bridge)?;
        }
        interface.up()?;
        Ok((interface, queues))
    }
}
