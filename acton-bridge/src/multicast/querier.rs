//! Who asks hosts for groups: without that, nobody knows what they want.

use std::net::IpAddr;
use std::time::Duration;

use super::message::GroupQuery;

/// What a querier that does not say otherwise goes by (RFC 3376, section 8; RFC 3810, section 9): how
/// many queries may get lost, the time between general ones, and how long hosts may take to answer.
const ROBUSTNESS: u32 = 2;
const INTERVAL: Duration = Duration::from_secs(125);
const RESPONSE: Duration = Duration::from_secs(10);
/// Reports may take so much longer than hosts may wait before they send them.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// How often somebody is asked, and how long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    robustness: u32,
    interval: Duration,
    response: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { robustness: ROBUSTNESS, interval: INTERVAL, response: RESPONSE }
    }
}

impl Pace {
    fn of(query: &GroupQuery) -> Self {
        Self {
            // Datagrams get lost: one query alone proves nothing.
            robustness: query.robustness.unwrap_or(ROBUSTNESS).max(ROBUSTNESS),
            interval: query.interval.unwrap_or(INTERVAL),
            response: query.response,
        }
    }

    /// How long a report holds: the group membership interval, 260 s by default (RFC 3376, section 8.4).
    pub(super) fn membership(self) -> Duration {
        self.interval * self.robustness + self.response
    }

    /// How long a querier is there after its last query: the other querier present interval, 255 s by
    /// default (RFC 3376, section 8.5).
    pub(super) fn presence(self) -> Duration {
        self.interval * self.robustness + self.response / 2
    }
}

/// A querier at the root, for a version of IP on a VLAN.
#[derive(Debug, Clone, Copy)]
pub(super) struct Querier {
    pub(super) address: IpAddr,
    pub(super) pace: Pace,
    pub(super) heard: Duration,
    /// From when on all who want something have said it.
    pub(super) settled: Duration,
    /// How long it counts as there.
    pub(super) until: Duration,
}

impl Querier {
    /// What is known after a general query, where `before` was known before it.
    pub(super) fn heard(query: &GroupQuery, before: Option<&Self>, now: Duration) -> Self {
        let pace = Pace::of(query);
        let before = before.filter(|before| now < before.until);
        let settled = before.map_or(now + pace.response + ON_THE_WAY, |before| before.settled);
        Self { address: query.source, pace, heard: now, settled, until: now + pace.presence() }
    }
}

/// A querier that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownQuerier {
    /// The VLAN that it asks on, 0 for untagged.
    pub vlan: u16,
    /// Its address, which says by its version whether it asks by IGMP or MLD.
    pub address: IpAddr,
    /// Time since its last query.
    pub heard_ago: Duration,
    /// For how long it counts as there yet.
    pub left: Duration,
    /// Whether there was time for all hosts to answer: until then groups go to everybody.
    pub is_settled: bool,
}

/// What changed about queriers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuerierNews {
    /// One is heard where there was none.
    Heard {
        /// The VLAN.
        vlan: u16,
        /// Its address.
        address: IpAddr,
    },
    /// It has not been heard for its time.
    Lost {
        /// The VLAN.
        vlan: u16,
        /// Its address.
        address: IpAddr,
    },
}
