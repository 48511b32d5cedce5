//! Loops through the tunnel: two ways between the LANs that it joins. A bridge of this kind swallows
//! what spanning trees say, so it finds loops itself, by probes that come back where they must not.
//!
//! All here is a function of bytes and times; [`floods`](crate::floods) carries out what it decides.

pub(crate) mod client_guard;
pub(crate) mod hold;
mod pace;
pub(crate) mod probe;
pub(crate) mod server_guard;
#[cfg(test)]
mod simulation;
pub(crate) mod surge;
