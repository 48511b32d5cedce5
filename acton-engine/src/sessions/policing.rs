//! What is kept of a session for its policy: leases, what passed of its rates, and when each reason to
//! drop last had to act.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acton_bridge::{Leases, Objection, Policer, Policy};

use crate::floods::gate::acts;
use crate::observe::counters::Counter;
use crate::observe::status::ActedReport;

/// Why a policy drops a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolicyReason {
    Objection(Objection),
    /// It asks for multicast groups as routers do.
    Query,
    RateIn,
    RateOut,
}

const OBJECTIONS: usize = Objection::ALL.len();
const REASONS: usize = OBJECTIONS + 3;

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
        Objection::ALL.into_iter().map(Self::Objection).chain([
            Self::RateIn,
            Self::RateOut,
            Self::Query,
        ])
    }

    fn index(self) -> usize {
        match self {
            Self::Objection(objection) => objection.index(),
            Self::RateIn => OBJECTIONS,
            Self::RateOut => OBJECTIONS + 1,
            Self::Query => OBJECTIONS + 2,
        }
    }

    /// Its counter.
    pub(crate) const fn counter(self) -> Counter {
        match self {
            Self::Objection(Objection::DhcpServer) => Counter::GuardDhcp,
            Self::Objection(Objection::RouterAdvertisement) => Counter::GuardRa,
            Self::Objection(Objection::Redirect) => Counter::GuardRedirect,
            Self::Objection(Objection::Hidden) => Counter::GuardHidden,
            Self::Objection(Objection::Control) => Counter::GuardControl,
            Self::Objection(Objection::Gateway) => Counter::GuardGateway,
            Self::Objection(Objection::EtherType) => Counter::EtherType,
            Self::Objection(Objection::SourceIp) => Counter::SourceIp,
            Self::Objection(Objection::Vlan) => Counter::Vlan,
            Self::Objection(Objection::Circuit) => Counter::Circuit,
            Self::Query => Counter::GuardQuery,
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

    /// Notes that nobody heard that a reason began to act.
    pub(crate) fn forget(&self, reason: PolicyReason) {
        self.acted[reason.index()].store(0, Ordering::Relaxed);
    }

    /// What is kept where another policy comes in force: where a rate is another, what passed of the one
    /// before says nothing, for it is in units of time.
    pub(crate) fn under(self: &Arc<Self>, before: &Policy, after: &Policy) -> Arc<Self> {
        if (before.rate_in, before.rate_out) == (after.rate_in, after.rate_out) {
            return Arc::clone(self);
        }
        let other = Self::new(Arc::clone(&self.leases));
        let is_rate =
            |reason: &PolicyReason| matches!(reason, PolicyReason::RateIn | PolicyReason::RateOut);
        for index in PolicyReason::all().filter(|it| !is_rate(it)).map(PolicyReason::index) {
            let acted = self.acted[index].load(Ordering::Relaxed);
            other.acted[index].store(acted, Ordering::Relaxed);
        }
        Arc::new(other)
    }

    /// The reasons that had to act at all, and how long ago each last did.
    pub(crate) fn acted(&self, now: Duration) -> Vec<ActedReport> {
        let acted = |reason: PolicyReason| {
            let at = self.acted[reason.index()].load(Ordering::Relaxed);
            let ago = now.saturating_sub(Duration::from_nanos(at));
            (at > 0).then(|| ActedReport { reason: reason.counter().drop_name().into(), ago })
        };
        PolicyReason::all().filter_map(acted).collect()
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
    use std::num::NonZeroU64;

    use acton_bridge::Rate;

    use super::*;

    #[test]
    fn what_is_owed_at_one_rate_is_not_owed_at_another() {
        let policy = |bytes| {
            let mut policy = Policy::default();
            policy.rate_in = Some(Rate::new(NonZeroU64::new(bytes), None));
            policy
        };
        let (slow, fast) = (policy(1_000), policy(1_000_000));
        let at = Duration::from_secs(100);
        let admits = |policing: &Policing, policy: &Policy| {
            policing.inbound.admits(&policy.rate_in.unwrap(), 1, 1_500, at)
        };
        let policing = Arc::new(Policing::new(Arc::default()));
        while admits(&policing, &slow) {}
        let same = policing.under(&slow, &slow);
        assert!(Arc::ptr_eq(&same, &policing) && !admits(&same, &slow));
        let other = policing.under(&slow, &fast);
        assert!(admits(&other, &fast) && Arc::ptr_eq(&other.leases, &policing.leases));
        // What else was dropped, and when, is as true as before.
        policing.note(PolicyReason::Query, at);
        policing.note(PolicyReason::RateIn, at);
        let acted = policing.under(&slow, &fast).acted(at + Duration::from_secs(600));
        let ago = Duration::from_secs(600);
        assert_eq!(acted, [ActedReport { reason: "guard_query".into(), ago }]);
    }

    #[test]
    fn what_nobody_heard_of_is_told_again() {
        let policing = Policing::new(Arc::default());
        let at = Duration::from_secs(100);
        assert!(policing.note(PolicyReason::RateOut, at));
        policing.forget(PolicyReason::RateOut);
        assert!(policing.note(PolicyReason::RateOut, at));
    }

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
