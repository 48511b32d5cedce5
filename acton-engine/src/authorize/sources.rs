//! How many questions each source may cause.

use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Questions that clients at one IPv4 address or in one IPv6 /64 may cause: so many at once, as where a
/// site's clients all come back, and then one in so much time.
pub(super) const AT_ONCE: u32 = 1_024;
const INTERVAL: Duration = Duration::from_millis(100);
/// Sources that are remembered, each until it may cause as many again.
const MOST: usize = 65_536;

/// What sources have caused of late.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// When the source may cause [`AT_ONCE`] again; each question moves that on.
    full_at: HashMap<u128, Duration, RandomState>,
}

impl Sources {
    /// Whether a client there may be asked about now, which counts.
    pub(super) fn admits(&mut self, now: Duration, address: IpAddr) -> bool {
        let source = source(address);
        if self.full_at.len() >= MOST && !self.full_at.contains_key(&source) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= MOST {
                return false;
            }
        }
        let full_at = self.full_at.entry(source).or_default();
        let next = (*full_at).max(now) + INTERVAL;
        if next > now + INTERVAL * AT_ONCE {
            return false;
        }
        *full_at = next;
        true
    }

    /// What was admitted last from there was not asked after all.
    pub(super) fn give_back(&mut self, address: IpAddr) {
        if let Some(full_at) = self.full_at.get_mut(&source(address)) {
            *full_at = full_at.saturating_sub(INTERVAL);
        }
    }
}

/// An IPv4 address, or the /64 of an IPv6 one, which its host owns whole.
fn source(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // The lower half is never set in the other case.
        IpAddr::V4(ip) => u128::from(ip.to_bits()) | 1 << 63,
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    #[test]
    fn a_source_has_its_own_share_and_a_network_is_one() {
        let mut sources = Sources::default();
        let mut count = |at: Duration, ip: &str| {
            let ip = ip.parse().unwrap();
            (0..2 * AT_ONCE).filter(|_| sources.admits(at, ip)).count()
        };
        assert_eq!(count(START, "192.0.2.1"), AT_ONCE as usize);
        assert_eq!(count(START, "192.0.2.2"), AT_ONCE as usize);
        assert_eq!(count(START + Duration::from_secs(1), "::ffff:192.0.2.1"), 10);
        assert_eq!(count(START, "2001:db8::1"), AT_ONCE as usize);
        assert_eq!(count(START, "2001:db8::ffff:1"), 0);
        assert_eq!(count(START, "2001:db8:0:1::1"), AT_ONCE as usize);
    }

    #[test]
    fn sources_are_so_many_at_most() {
        let mut sources = Sources::default();
        let at = |number: u32| IpAddr::from(number.to_be_bytes());
        assert!((0..MOST as u32).all(|number| sources.admits(START, at(number))));
        assert!(!sources.admits(START, at(u32::MAX)));
        assert!(sources.admits(START + INTERVAL, at(u32::MAX)));
        assert_eq!(sources.full_at.len(), 1);
    }
}
