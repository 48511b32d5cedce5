//! The TAP as the tunnel wants it.

use std::os::fd::AsFd;

use acton_frame::Headers;
use acton_proto::wire::Key;
use acton_tap::offload::Trust;
use acton_tap::{Interface, Offloads, Queue, Tap};

use crate::Error;
use crate::observe::counters::Counters;
use crate::run::clock;
use crate::run::tap_interface::TapInterface;
use crate::run::tap_mac::derived_mac;
use crate::run::tap_writer::TapWriter;
use crate::settings::TapSettings;

impl TapSettings {
    /// Makes the TAP, or takes the one that is there, and brings it up. Without a `carrier` it says
    /// "no cable" until told. What is so already needs no privilege.
    ///
    /// A new TAP that is given no MAC gets the one that comes from `key`, this end's public key. One
    /// that is there keeps its own: it is the same at each start anyway, whoever made the TAP could
    /// choose it, and this process may have no right to change it.
    pub(crate) fn open(
        &self,
        queues: usize,
        carrier: bool,
        key: Option<&Key>,
    ) -> Result<OpenTap, Error> {
        let status = Interface::open(&self.name).and_then(|interface| interface.tap_status());
        let present = match status {
            // The kernel lets programs share a TAP of several queues; two tunnels must not.
            Ok(Some(status)) if status.queues > 0 => {
                return Err(acton_tap::Error::Busy { name: self.name.clone() }.into());
            }
            status => status.is_ok(),
        };
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
        let interface = TapInterface::new(interface)?;
        let usual_mac = || {
            let derived = || key.map(|key| derived_mac(key, interface.name()));
            self.default_mac.or_else(derived).filter(|_| !present)
        };
        if let Some(mac) = self.mac.or_else(usual_mac) {
            interface.follow_mac(mac)?;
        }
        interface.follow_mtu(self.mtu)?;
        interface.follow_addresses(&self.addresses)?;
        if let Some(bridge) = &self.bridge {
            interface.follow_bridge(Some(bridge))?;
        }
        interface.follow_isolated(self.isolated)?;
        interface.follow_up()?;
        Ok(OpenTap { interface, queues, offloads })
    }
}

/// A TAP that is up.
pub(crate) struct OpenTap {
    pub(crate) interface: TapInterface,
    pub(crate) queues: Vec<Queue>,
    /// What the kernel grants.
    pub(crate) offloads: Offloads,
}

/// Bytes of an Ethernet header, and of the two VLAN tags that may come with it.
const HEADER_LEN: u32 = 14;
const TAGS_LEN: u32 = 8;

/// The MTU of the other end's TAP, whose longest frame this is.
pub(crate) fn peer_mtu(max_frame: u16) -> u32 {
    u32::from(max_frame).saturating_sub(HEADER_LEN + TAGS_LEN)
}

/// The MTU of the other end's TAP, whose longest frame this is, where frames that one of the two takes
/// are too long for the other. `mtu` is that of this end's.
pub(crate) fn unfit_peer_mtu(mtu: u32, peer_max_frame: u16) -> Option<u32> {
    let untagged = |mtu: u32| (mtu + HEADER_LEN).min(u16::MAX.into());
    let peer_mtu = peer_mtu(peer_max_frame);
    let too_long = untagged(mtu) > peer_max_frame.into();
    (too_long || untagged(peer_mtu) > max_frame(mtu).into()).then_some(peer_mtu)
}

/// The longest frame, in bytes, that a TAP of this MTU has: behind an Ethernet header and two VLAN
/// tags.
pub(crate) fn max_frame(mtu: u32) -> u16 {
    u16::try_from(mtu.saturating_add(HEADER_LEN + TAGS_LEN)).unwrap_or(u16::MAX)
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
        TapWriter::new(&self.queue, counters, clock::now()).write_one(frame, headers, trust);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtus_that_lose_frames_are_told() {
        assert_eq!(unfit_peer_mtu(1_500, max_frame(1_500)), None);
        assert_eq!(unfit_peer_mtu(9_000, max_frame(1_500)), Some(1_500));
        assert_eq!(unfit_peer_mtu(1_500, max_frame(9_000)), Some(9_000));
        // One that takes no VLAN tags, and what has no room in 16 bits.
        assert_eq!(unfit_peer_mtu(1_500, 1_514), None);
        assert_eq!(unfit_peer_mtu(65_521, max_frame(65_521)), None);
    }
}
