//! What is flooded, and how much of it: budgets, and what keeps a client's flooding back.

pub(crate) mod budgets;
pub(crate) mod client_screen;
pub(crate) mod client_watch;
pub(crate) mod gate;
pub(crate) mod news;
mod probe_source;
pub(crate) mod server_watch;
pub(crate) mod shared;
pub(crate) mod snooper;
pub(crate) mod vlan_gates;
