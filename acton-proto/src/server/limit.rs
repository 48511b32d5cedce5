//! Whom a limit is for, and how often it lets something happen.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// When the bucket would be full again; every token taken moves it on.
    full_at: Duration,
}

impl Bucket {
    /// A full bucket.
    pub(super) const fn new() -> Self {
        Self { full_at: Duration::ZERO }
    }

    /// Takes a token of a bucket that holds `burst` and gets one back every `interval`.
    pub(super) fn take(&mut self, now: Duration, interval: Duration, burst: u32) -> bool {
        let next = self.full_at.max(now) + interval;
        if next > now + interval * burst {
            return false;
        }
        self.full_at = next;
        true
    }
}

/// Who asks for handshakes, as far as an address tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Source {
    /// An IPv4 address.
    V4(u32),
    /// An IPv6 host, which owns its whole /64.
    V6(u64),
    /// The path of a session: its client is itself, whoever else is behind its address.
    Session(SocketAddr),
}

impl Source {
    /// What an address belongs to.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (interval, start) = (Duration::from_millis(100), Duration::from_secs(50));
        let mut bucket = Bucket::new();
        let burst = (0..20).filter(|_| bucket.take(start, interval, 5)).count();
        assert_eq!(burst, 5);
        let later = (1..=100).filter(|i| bucket.take(start + interval * *i / 10, interval, 5));
        assert_eq!(later.count(), 10);
        let full = start + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| bucket.take(full, interval, 5)).count(), 5);
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let source = |ip: &str| Source::of(ip.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }
}
