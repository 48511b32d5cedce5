//! Snooping of IGMP and MLD (RFC 4541): who asked for which multicast group.

mod checksum;
mod group;
mod index;
mod message;
mod querier;
mod query;
mod snooping;
mod state;

pub use group::{Group, IpFamily, group_mac};
pub use index::Receivers;
pub use message::{GroupMessage, GroupQuery, Reports, Wish};
pub use querier::{KnownQuerier, QuerierNews};
pub use query::{GroupAsk, group_query};
pub use snooping::{GroupRoute, GroupsSummary, Multicast};
pub use state::{AllReason, GroupEntry, MAX_GROUPS_PER_LEAF};
