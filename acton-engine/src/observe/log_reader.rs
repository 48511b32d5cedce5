//! The reader of events that writes the log.

use std::net::IpAddr;
use std::time::Duration;

use pnet_base::MacAddr;

use super::lines::{line, write};
use crate::observe::event::{EventKind, Place};
use crate::observe::status::Protocol;
use crate::throttle::KeyedThrottle;

/// Least time between two lines on why one source got no session, on what became of one MAC, on one client
/// with too many or on one reason for which a client's policy drops frames, and how many of each have a line
/// in that time: one client's mistake does not fill the log.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
const MAX_TOLD: usize = 64;

/// Writes what it is told of to [`log`].
#[derive(Debug)]
pub(crate) struct LogReader {
    protocol: Protocol,
    refused: KeyedThrottle<(IpAddr, &'static str)>,
    /// MACs that moved, and so on: the kind of the event, the MAC and its VLAN.
    macs: KeyedThrottle<(&'static str, MacAddr, u16)>,
    /// Sessions that have more MACs than they may.
    crowded: KeyedThrottle<Place>,
    /// Sessions whose policy drops frames, and why.
    limited: KeyedThrottle<(Place, &'static str)>,
}

impl LogReader {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            refused: KeyedThrottle::new(TELL_INTERVAL, MAX_TOLD),
            macs: KeyedThrottle::new(TELL_INTERVAL, MAX_TOLD),
            crowded: KeyedThrottle::new(TELL_INTERVAL, MAX_TOLD),
            limited: KeyedThrottle::new(TELL_INTERVAL, MAX_TOLD),
        }
    }

    pub(crate) fn read(&mut self, now: Duration, event: &EventKind) {
        let is_told = match event {
            EventKind::SessionRefused { address, .. }
            | EventKind::OtherMode { address, .. }
            | EventKind::ClockApart { client: Some(_), address: Some(address), .. }
            | EventKind::MtuUnfit { client: Some(_), address: Some(address), .. } => {
                self.refused.admits((address.ip(), event.name()), now)
            }
            EventKind::MacMoved { mac, vlan, .. }
            | EventKind::MacHeld { mac, vlan, .. }
            | EventKind::MacFrozen { mac, vlan, .. } => {
                self.macs.admits((event.name(), *mac, *vlan), now)
            }
            EventKind::MacNoRoom { by, .. } => self.crowded.admits(by.clone(), now),
            EventKind::PolicyActs { at, reason } => self.limited.admits((at.clone(), *reason), now),
            _ => true,
        };
        if !is_told {
            return;
        }
        if let Some((level, line)) = line(event, self.protocol) {
            write(level, &line, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_one_line_a_minute() {
        let mut log = LogReader::new(Protocol::Acton1);
        let at = Duration::from_secs;
        let source = ("192.0.2.1".parse().unwrap(), "clock_apart");
        assert!(log.refused.admits(source, at(1)) && !log.refused.admits(source, at(60)));
        assert!(log.refused.admits(source, at(61)));
    }
}
