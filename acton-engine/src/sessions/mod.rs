//! Who is there, and where a frame goes by that.

pub(crate) mod admission;
pub(crate) mod audience;
pub(crate) mod bell;
pub(crate) mod circuits;
pub(crate) mod directory;
pub(crate) mod elsewhere;
pub(crate) mod housekeeping;
pub(crate) mod lease_holders;
pub(crate) mod lease_keeper;
pub(crate) mod lease_store;
pub(crate) mod names;
pub(crate) mod owned_macs;
pub(crate) mod pair_owners;
pub(crate) mod pairs;
pub(crate) mod past;
pub(crate) mod policing;
pub(crate) mod port;
pub(crate) mod rate_out;
pub(crate) mod roster;
pub(crate) mod rounds;
pub(crate) mod router;
pub(crate) mod rules;
pub(crate) mod session;
pub(crate) mod sighting;
pub(crate) mod slot_set;
pub(crate) mod vlan_members;
