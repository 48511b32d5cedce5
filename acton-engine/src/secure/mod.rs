//! acton/1, the secure mode: what a worker and the control thread do at each end.

mod arrival;
mod authorization;
mod budget;
mod client;
mod client_control;
mod client_worker;
mod contact;
mod drain;
mod expected;
mod hellos;
mod isolation;
mod key_keeping;
mod leases;
mod links;
mod own_frames;
mod pairs;
mod report;
mod sealed;
mod server;
mod server_control;
mod server_drain;
mod server_rules;
mod server_sessions;
mod server_worker;
mod uplinks;

use std::time::Duration;

use acton_proto::handshake::Secret;
use acton_proto::wire::{Caps, Key};

pub(crate) use client::start as start_client;
pub(crate) use server::{SecureAccess, start as start_server};

/// What this engine does with frames.
const CAPS: Caps = Caps::ALL.union(Caps::ECN).union(Caps::ISOLATION);
/// At a server, and at a client that has other servers to go to.
const CAPS_OF_SEVERAL: Caps = CAPS.union(Caps::MOVE);

/// Time between keepalives as the protocol has it: whole seconds.
fn keepalive_seconds(keepalive: Duration) -> u16 {
    keepalive.as_secs().clamp(1, u16::MAX.into()) as u16
}

/// A server's keys.
#[derive(Debug, Clone)]
pub struct ServerKeys {
    /// Its private key.
    pub private_key: Secret,
    /// The key shared by the network, without which no HELLO is answered.
    pub network_key: Option<Secret>,
}

/// A client's keys.
#[derive(Debug, Clone)]
pub struct ClientKeys {
    /// Its private key.
    pub private_key: Secret,
    /// The server's public key.
    pub server_key: Key,
    /// The key shared by the network.
    pub network_key: Option<Secret>,
    /// A pre-shared key of its own.
    pub psk: Option<Secret>,
}
