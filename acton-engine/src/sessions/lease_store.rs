//! Where a server keeps what addresses clients were given, from one start to the next.

use std::error::Error;
use std::fmt;

use acton_bridge::LearntFrom;
use acton_proto::wire::Key;
use ipnet::IpNet;

/// Leases that are kept, at most: 65,536 hosts at one server.
pub(crate) const MAX_LEASES: usize = 65_536;

/// An address that a client was given or made itself, or a prefix that it was delegated, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLease {
    /// The client's public key.
    pub client: Key,
    /// The VLAN, 0 for untagged.
    pub vlan: u16,
    /// The address, or the prefix.
    pub net: IpNet,
    /// How the client came to it.
    pub from: LearntFrom,
    /// Its end by the host's wall clock, in seconds since 1970.
    pub until: u64,
    /// Seconds that were left when it was kept: no more are left of it later, whatever the clock says then.
    pub left: u64,
}

/// Keeps leases. It is read once, when a server starts, and written on a thread of its own.
pub trait LeaseStore: fmt::Debug + Send + 'static {
    /// What was kept last; nothing where nothing was.
    ///
    /// # Errors
    /// Why that is not known.
    fn read(&self) -> Result<Vec<KeptLease>, Box<dyn Error + Send + Sync>>;

    /// Keeps these in place of what was kept; 65,536 at most.
    ///
    /// # Errors
    /// Why it cannot.
    fn write(&self, leases: &[KeptLease]) -> Result<(), Box<dyn Error + Send + Sync>>;
}
