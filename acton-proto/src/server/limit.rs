//! Rate limits of fixed size.

use std::hash::BuildHasher;
use std::net::IpAddr;
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

/// Buckets for sources: a fixed number, shared by the sources that hash alike, with a seed of the
/// process's own.
pub(super) struct SourceLimit {
    buckets: Box<[Bucket]>,
    hasher: foldhash::quality::RandomState,
}

/// Number of buckets; 16 bytes each.
const BUCKETS: usize = 8192;

impl SourceLimit {
    pub(super) fn new() -> Self {
        Self {
            buckets: vec![Bucket::new(); BUCKETS].into(),
            hasher: foldhash::quality::RandomState::default(),
        }
    }

    /// The bucket of an address: an IPv6 host owns its whole /64.
    pub(super) fn bucket(&mut self, source: IpAddr) -> &mut Bucket {
        let network = match source.to_canonical() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        };
        let hash = self.hasher.hash_one(network);
        &mut self.buckets[(hash % BUCKETS as u64) as usize]
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
    fn an_ipv6_network_shares_a_bucket() {
        let mut limit = SourceLimit::new();
        let mut bucket = |ip: &str| std::ptr::from_ref(limit.bucket(ip.parse().unwrap()));
        assert_eq!(bucket("2001:db8::1"), bucket("2001:db8::ffff:2"));
        assert_eq!(bucket("192.0.2.1"), bucket("::ffff:192.0.2.1"));
    }
}
