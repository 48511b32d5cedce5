//! A client's way to its server: its name, its address, the route there, and what changes them.

pub(crate) mod dial;
pub(crate) mod history;
pub(crate) mod name;
pub(crate) mod network;
pub(crate) mod route;
pub(crate) mod servers;
