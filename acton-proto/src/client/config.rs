//! Settings of a client.

use std::time::Duration;

use super::Patience;
use crate::handshake::Secret;
use crate::session::{KeyLog, REKEY_AFTER};
use crate::wire::{Caps, Key, Suites, Version};

/// Settings of a [`Client`](super::Client).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The client's private key.
    pub private_key: Secret,
    /// The server's public key.
    pub server_key: Key,
    /// The key shared by all of the network, if there is one.
    pub network_key: Option<Secret>,
    /// This client's own pre-shared key; without one the network key counts.
    pub psk: Option<Secret>,
    /// The suites to offer.
    pub suites: Suites,
    /// What the owner does with frames; used is what the server does too. Default all.
    pub caps: Caps,
    /// Largest Ethernet frame to take, bytes without FCS.
    pub max_frame: u16,
    /// Largest datagram (UDP payload) that the link carries, bytes; less than 1,200 counts as that.
    pub pmtu: u16,
    /// After how many seconds without sending to send KEEPALIVE; the server may lower it.
    pub keepalive: u16,
    /// The age at which keys are replaced, no more than the default of [`REKEY_AFTER`]; keys that
    /// carried no frame may be seven times as old.
    pub rekey_after: Duration,
    /// The version of the software to tell the server, `None` to keep it back. Default this crate's.
    pub version: Option<Version>,
    /// When a server that does not answer is given up. Default [`Patience::LONG`].
    pub patience: Patience,
    /// For debugging: gets the keys of every handshake.
    pub key_log: Option<KeyLog>,
}

impl ClientConfig {
    /// The defaults: what the processor is good at, 1,514-byte frames, a 1,500-byte IPv4 link,
    /// KEEPALIVE every 15 s.
    #[must_use]
    pub fn new(private_key: Secret, server_key: Key) -> Self {
        Self {
            private_key,
            server_key,
            network_key: None,
            psk: None,
            suites: Suites::detect(),
            caps: Caps::ALL,
            max_frame: 1514,
            pmtu: 1472,
            keepalive: 15,
            rekey_after: REKEY_AFTER,
            version: Some(Version::THIS),
            patience: Patience::LONG,
            key_log: None,
        }
    }

    /// The pre-shared key that Noise mixes in for clients without one of their own.
    pub(super) fn common_psk(&self) -> Secret {
        self.network_key.clone().unwrap_or(Secret::new([0; 32]))
    }
}
