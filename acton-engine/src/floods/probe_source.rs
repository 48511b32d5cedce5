//! Probes as frames that leave this host.

use std::sync::Arc;
use std::time::Duration;

use pnet_base::MacAddr;

use crate::loops::probe::{LEN, Probe, Prober, Way};
use crate::run::tap_interface::TapInterface;

/// For how long the TAP's address counts as it was read.
const FRESH: Duration = Duration::from_secs(1);

/// Makes probes that come from the TAP's address.
#[derive(Debug)]
pub(super) struct ProbeSource {
    interface: Arc<TapInterface>,
    mac: MacAddr,
    read: Option<Duration>,
}

impl ProbeSource {
    pub(super) const fn new(interface: Arc<TapInterface>) -> Self {
        Self { interface, mac: MacAddr(0, 0, 0, 0, 0, 0), read: None }
    }

    /// A probe that is sent now.
    pub(super) fn frame(&mut self, prober: &Prober, way: Way, now: Duration) -> [u8; LEN] {
        if self.read.is_none_or(|read| now.saturating_sub(read) >= FRESH) {
            // A TAP that is gone has no use for probes either.
            self.mac = self.interface.mac().unwrap_or(self.mac);
            self.read = Some(now);
        }
        prober.frame(self.mac, Probe { way, sent: now })
    }
}
