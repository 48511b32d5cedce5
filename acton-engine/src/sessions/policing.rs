//! What is kept of a session for its policy: leases, what passed of its rates, and when each reason to
//! drop last had to act.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acton_bridge::{Leases, Objection, Policer};

use crate::floods::gate::acts;
use crate::observe::counters::Counter;

/// Why a policy drops a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolicyReason {
    Objection(Objection),
    RateIn,
    RateOut,
}

const OBJECTIONS: usize = Objection::ALL.len();
const REASONS: usize = OBJECTIONS + 2;

/// What is kept of one session, whatever its policy is now. Workers share it.
#[derive(Debug)]
pub(crate) struct Policing {
    /// The IP addresses that the client was given, in this session or one before.
    pub(crate) leases: Arc<Leases>,
    /// Of what comes from it.
    pub(crate) inbound: Policer,
    /// Of what goes to it.
    pub(crate) outbound: Policer,
    /// When each reason last had to act, in nanoseconds of the engine's clock; 0 for never.
    acted: [AtomicU64; REASONS],
}

impl PolicyReason {
    fn all() -> impl Iterator<Item = Self> {
        Objection::ALL.into_iter().map(Self::Objection).chain([Self::RateIn, Self::RateOut])
    }

    fn index(self) -> usize {
        match self {
            Self::Objection(objection) => objection.index(),
            Self::RateIn => OBJECTIONS,
            Self::RateOut => OBJECTIONS + 1,
        }
    }

    /// Its counter.
    pub(crate) const fn counter(self) -> Counter {
        match self {
            Self::Objection(Objection::DhcpServer) => Counter::GuardDhcp,
            Self::Objection(Objection::RouterAdvertisement) => Counter::GuardRa,
            Self::Objection(Objection::Redirect) => Counter::GuardRedirect,
            Self::Objection(Objection::Hidden) => Counter::GuardHidden,
            Self::Objection(Objection::EtherType) => Counter::EtherType,
            Self::Objection(Objection::SourceIp) => Counter::SourceIp,
            Self::RateIn => Counter::OverRateIn,
            Self::RateOut => Counter::OverRateOut,
        }
    }
}

impl Policing {
    pub(crate) fn new(leases: Arc<Leases>) -> Self {
        Self {
            leases,
            inbound: Policer::new(),
            outbound: Policer::new(),
            acted: [const { AtomicU64::new(0) }; _],
        }
    }

    /// Notes that a reason acts; whether it begins to.
    pub(crate) fn note(&self, reason: PolicyReason, now: Duration) -> bool {
        let before = self.acted[reason.index()].swap(now.as_nanos() as u64, Ordering::Relaxed);
        !acts(before, now)
    }

    /// The reasons that act now.
    pub(crate) fn acting(&self, now: Duration) -> Vec<Cow<'static, str>> {
        let acts =
            |reason: &PolicyReason| acts(self.acted[reason.index()].load(Ordering::Relaxed), now);
        PolicyReason::all().filter(acts).map(|reason| reason.counter().drop_name().into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_name_and_begins_to_act_once() {
        for (index, reason) in PolicyReason::all().enumerate() {
            assert_eq!(reason.index(), index);
            if let PolicyReason::Objection(objection) = reason {
                assert_eq!(reason.counter().drop_name(), objection.as_str());
            }
        }
        let policing = Policing::new(Arc::default());
        let at = Duration::from_secs(100);
        assert!(policing.note(PolicyReason::RateIn, at));
        assert!(!policing.note(PolicyReason::RateIn, at + Duration::from_secs(1)));
        assert!(policing.note(PolicyReason::Objection(Objection::SourceIp), at));
        assert_eq!(policing.acting(at), ["source_ip", "rate_in"]);
        assert_eq!(policing.acting(at + Duration::from_secs(60)), [""; 0]);
        assert!(policing.note(PolicyReason::RateIn, at + Duration::from_secs(60)));
    }
}
