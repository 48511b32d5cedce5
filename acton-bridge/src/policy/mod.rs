//! What frames of a leaf may pass, beside what the bridge says of their addresses.
//!
//! A [`Policy`] is what somebody writes down, a [`CompiledPolicy`] what frames are checked by. A frame
//! was parsed before; nothing here takes a lock or allocates, but for telling of a lease.

mod circuit;
mod compiled;
mod dhcp;
mod dhcp6;
mod ethertype;
mod guard;
mod leases;
mod objection;
mod rate;
mod root_addresses;
mod slaac;
mod sources;
mod vlans;

use std::fmt;

use ipnet::IpNet;

pub use circuit::{
    Circuit, CircuitEcho, CircuitFacts, CircuitMark, CircuitProtocol, CircuitRefusal,
    CircuitTemplate, CircuitTemplateError,
};
pub use compiled::{CompiledPolicy, Finding, Grant, LeafFacts};
pub use dhcp6::Dhcp6Reply;
pub use ethertype::{EtherType, EtherTypeError};
pub use leases::{HeldNet, LearntFrom, Lease, Leases};
pub use objection::Objection;
pub use rate::{Policer, Rate};
pub use root_addresses::{RootAddress, RootAddresses};
pub use slaac::{AdvertisedPrefixes, neighbour_advertised};
pub use vlans::{
    AtRoot, ForLeaf, FrameVlan, OuterTag, TagPair, VlanError, VlanId, VlanRange, VlanSet, Vlans,
};

/// What a leaf may send and get. The default lets everything pass but what only the LAN's own servers
/// and routers say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Policy {
    /// Whether it may be a DHCP server and a router to the LAN; `None` where whoever checks decides.
    pub trusted: Option<bool>,
    /// The kinds of frames that pass; all where this is `None`.
    pub ethertypes: Option<Vec<EtherType>>,
    /// The IP addresses that it may use; any where this is `None`.
    pub sources: Option<Sources>,
    /// How much may come from it.
    pub rate_in: Option<Rate>,
    /// How much may go to it.
    pub rate_out: Option<Rate>,
    /// The VLANs that it is in; all, as its frames say, where this is `None`.
    pub vlans: Option<Vlans>,
    /// How it is named to servers behind the root; not at all where this is `None`.
    pub circuit: Option<Circuit>,
}

/// The IP addresses that a leaf may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct Sources {
    /// Those that are listed, on any VLAN.
    pub listed: Vec<IpNet>,
    /// Whether it may use those too that the LAN's DHCP server was seen to give it, and those that it makes
    /// itself in prefixes that the LAN's router advertises.
    pub learn: bool,
}

impl fmt::Display for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if self.learn {
            formatter.write_str("those learnt")?;
            separator = ", ";
        }
        for net in &self.listed {
            write!(formatter, "{separator}")?;
            match net.prefix_len() == net.max_prefix_len() {
                true => write!(formatter, "{}", net.addr())?,
                false => write!(formatter, "{net}")?,
            }
            separator = ", ";
        }
        if separator.is_empty() { formatter.write_str("none") } else { Ok(()) }
    }
}
