//! The wire protocol of acton and its state machines, without I/O.

#![forbid(unsafe_code)]

pub mod client;
pub mod handshake;
pub mod plain;
pub mod server;
pub mod session;
mod timer;
pub mod wire;
