//! What lives at a server's root: its TAP, the Linux bridge that this is a port of, and what the
//! bridge knows on its other ports.

mod addresses;
mod fdb;
mod gateways;
mod named;
mod port_table;
mod survey;
mod watch;

pub(crate) use named::Named;
pub(crate) use port_table::PortTable;
pub(crate) use survey::entries_of;
pub(crate) use watch::RootWatch;
