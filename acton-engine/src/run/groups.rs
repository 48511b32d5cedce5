//! Multicast groups for operators: which client gets which, and who asks the LAN.

use std::net::IpAddr;
use std::time::Duration;

use acton_bridge::{AllReason, GroupEntry, KnownQuerier, Owner};

use crate::Error;
use crate::floods::snooper::Snooper;
use crate::observe::event::Place;
#[cfg(feature = "serde")]
use crate::observe::serialise::as_seconds;
use crate::observe::status::{MulticastReport, QuerierReport};
use crate::run::clock;
use crate::run::handle::Handle;

/// A multicast group that a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct GroupMember {
    /// The client.
    pub at: Place,
    /// The group's VLAN, 0 for untagged, where it is one group.
    pub vlan: Option<u16>,
    /// The group's address; absent where the client gets all groups.
    pub group: Option<IpAddr>,
    /// Why the client gets all groups; absent where this is one group.
    pub all: Option<AllReason>,
    /// Time since it was asked for last.
    #[cfg_attr(feature = "serde", serde(rename = "age_seconds", with = "as_seconds"))]
    pub age: Duration,
    /// How long the client gets it yet, if nobody asks for it again.
    #[cfg_attr(feature = "serde", serde(rename = "left_seconds", with = "as_seconds"))]
    pub left: Duration,
    /// A host has left the group, and others behind the client are asked.
    pub leaving: bool,
}

impl Handle {
    /// At a server that listens to IGMP and MLD, the groups that each client gets, client after client.
    ///
    /// # Errors
    /// [`Error::NotServer`], and [`Error::NotSnooping`] where it does not listen.
    pub fn groups(&self) -> Result<Vec<GroupMember>, Error> {
        let snooper = &self.floods().ok_or(Error::NotServer)?.snooper;
        if !snooper.is_on() {
            return Err(Error::NotSnooping);
        }
        let entries = snooper.table.entries(clock::now()).into_iter();
        Ok(entries
            .map(|GroupEntry { leaf, what, heard_ago, left, is_leaving, .. }| GroupMember {
                at: self.place(Owner::Leaf(leaf)),
                vlan: what.ok().map(|group| group.vlan),
                group: what.ok().map(|group| group.address),
                all: what.err(),
                age: heard_ago,
                left,
                leaving: is_leaving,
            })
            .collect())
    }

    /// At a server that listens to IGMP and MLD, who asks the LAN for groups and how many there are; `None`
    /// elsewhere. The control thread is not asked.
    #[must_use]
    pub fn multicast(&self) -> Option<MulticastReport> {
        self.floods().and_then(|floods| report(&floods.snooper))
    }
}

/// What a server knows that listens.
fn report(snooper: &Snooper) -> Option<MulticastReport> {
    if !snooper.is_on() {
        return None;
    }
    let summary = snooper.table.summary(clock::now());
    let querier = |known: KnownQuerier| QuerierReport {
        vlan: known.vlan,
        address: known.address,
        heard_ago: known.heard_ago,
        left: known.left,
        settled: known.is_settled,
    };
    Some(MulticastReport {
        queriers: summary.queriers.into_iter().map(querier).collect(),
        groups: summary.groups,
        memberships: summary.memberships,
        get_all: summary.gets_all,
    })
}
