//! The TAP as the tunnel wants it.

use std::os::fd::AsFd;

use acton_frame::Headers;
use acton_tap::offload::Trust;
use acton_tap::{Interface, Offloads, Queue, Tap};

use crate::Error;
use crate::observe::counters::Counters;
use crate::run::tap_writer::TapWriter;
use crate::settings::TapSettings;

impl TapSettings {
    /// Makes the TAP and brings it up. Without a `carrier` it says "no cable" until told.
    pub(crate) fn open(&self, queues: usize, carrier: bool) -> Result<OpenTap, Error> {
        // The kernel lets programs share a TAP of several queues; two tunnels must not.
        let status = Interface::open(&self.name).and_then(|interface| interface.tap_status());
        if let Ok(Some(status)) = status
            && status.queues > 0
        {
            return Err(acton_tap::Error::Busy { name: self.name.clone() }.into());
        }
        let tap = Tap::builder()
            .name(&self.name)
            .queues(queues)
            .nonblocking(true)
            .vnet_header(true)
            .offloads(Offloads::all())
            .carrier(carrier)
            .build()?;
        let offloads = tap.offloads();
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
        Ok(OpenTap { interface, queues, offloads })
    }
}

/// A TAP that is up.
pub(crate) struct OpenTap {
    pub(crate) interface: Interface,
    pub(crate) queues: Vec<Queue>,
    /// What the kernel grants.
    pub(crate) offloads: Offloads,
}

/// The longest frame, in bytes, that a TAP of this MTU has: behind an Ethernet header and two VLAN
/// tags.
pub(crate) fn max_frame(mtu: u32) -> u16 {
    u16::try_from(mtu.saturating_add(14 + 2 * 4)).unwrap_or(u16::MAX)
}

/// The control thread's handle of the TAP: its carrier follows the session, and the rare frame that
/// comes by way of the control thread goes in.
#[derive(Debug)]
pub(crate) struct TapHandle {
    queue: Queue,
}

impl TapHandle {
    /// A handle of the TAP that `queue` belongs to.
    pub(crate) fn of(queue: &Queue) -> Result<Self, Error> {
        let duplicate = queue.as_fd().try_clone_to_owned();
        Ok(Self { queue: duplicate.map_err(Error::system("duplicate the TAP"))?.into() })
    }

    pub(crate) fn set_carrier(&self, carrier: bool) {
        if let Err(error) = self.queue.set_carrier(carrier) {
            log::debug!("{error}");
        }
    }

    /// Writes one frame, or counts why not.
    pub(crate) fn write(&self, frame: &[u8], headers: &Headers, trust: Trust, counters: &Counters) {
        // Should the TAP be gone, a worker says so.
        TapWriter::new(&self.queue, counters).write_one(frame, headers, trust);
    }
}
