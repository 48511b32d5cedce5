//! Why a static entry or a protected address was refused.

use pnet_base::MacAddr;

/// Why [`Bridge::add_static`](crate::Bridge::add_static),
/// [`Bridge::protect`](crate::Bridge::protect), [`Bridge::reserve`](crate::Bridge::reserve) or
/// [`Bridge::set_root_macs`](crate::Bridge::set_root_macs) could not do what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StaticError {
    /// The address names no single station.
    #[error("static entry for {0}: a group or zero address has no owner; give a unicast address")]
    NotUnicast(MacAddr),
    /// The VLAN id is 4095 or more.
    #[error("static entry on VLAN {0}: give an id from 1 to 4094, or 0 for untagged")]
    BadVlan(u16),
    /// The address is protected, so no leaf may have it.
    #[error("static entry for {0} at a leaf: the address is protected; unprotect it first")]
    Protected(MacAddr),
    /// As many static entries and protected addresses exist as were asked for.
    #[error("all {limit} static entries are in use: remove one, or raise max_static")]
    Full {
        /// [`Config::max_static`](crate::Config).
        limit: usize,
    },
}
