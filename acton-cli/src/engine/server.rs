//! The server: one TAP, any number of clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{Bridge, Config, MovePolicy};
use ipnet::IpNet;

use super::leaves::MAX_SESSIONS;
use super::plain::{self, PlainServer};
use super::{Error, Running, TapSettings};
use crate::udp::UdpSocket;

/// A server of Ethernet over UDP.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// A server with a TAP called `server` that listens on UDP port 8080 of every IPv4 address.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            tap: TapSettings::new("server"),
            plain: PlainServer {
                allow: Vec::new(),
                peers: Vec::new(),
                keepalive: Duration::from_secs(10),
                max_sessions: 4_096,
            },
            mac_ageing: Duration::from_secs(300),
            macs_per_client: 16,
        }
    }
}

/// Settings of a server in plain mode.
#[derive(Debug, Clone)]
pub struct ServerBuilder {
    listen: SocketAddr,
    tap: TapSettings,
    plain: PlainServer,
    mac_ageing: Duration,
    macs_per_client: usize,
}

impl ServerBuilder {
    /// The UDP address to listen on; the unspecified IPv6 address takes IPv4 as well.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The TAP that the server makes.
    #[must_use]
    pub fn tap(mut self, tap: TapSettings) -> Self {
        self.tap = tap;
        self
    }

    /// Sources that may have a session; with none given, all may.
    #[must_use]
    pub fn allow(mut self, sources: impl IntoIterator<Item = IpNet>) -> Self {
        self.plain.allow.extend(sources);
        self
    }

    /// Clients that say no HELLO, as socat, with a session that never ends.
    #[must_use]
    pub fn peers(mut self, peers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.plain.peers.extend(peers);
        self
    }

    /// How often clients say KEEPALIVE; one silent for three times as long is forgotten.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.plain.keepalive = interval;
        self
    }

    /// How long a MAC is remembered after its last frame.
    #[must_use]
    pub fn mac_ageing(mut self, ageing: Duration) -> Self {
        self.mac_ageing = ageing;
        self
    }

    /// Clients at one time, at most.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.plain.max_sessions = sessions;
        self
    }

    /// MACs behind one client, at most; 0 for no limit. Frames from further ones are dropped.
    #[must_use]
    pub fn macs_per_client(mut self, macs: usize) -> Self {
        self.macs_per_client = macs;
        self
    }

    /// Makes the TAP and the socket and starts the server.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made, or a setting is out of range.
    pub fn start(self) -> Result<Running, Error> {
        if self.plain.max_sessions + self.plain.peers.len() > MAX_SESSIONS {
            return Err(Error::Setting(format!("at most {MAX_SESSIONS} sessions")));
        }
        // The socket first: where the port is taken, no TAP comes and goes.
        let socket = UdpSocket::bind(self.listen)
            .map_err(|source| Error::Bind { address: self.listen, source })?;
        let (interface, queues) = self.tap.open(1, true)?;
        let own_mac = interface.mac()?;
        let config = Config::default()
            .ageing(self.mac_ageing)
            .max_macs_per_leaf(self.macs_per_client)
            // A client of plain mode has no identity that could own a MAC.
            .moves(MovePolicy::FirstFrame);
        let bridge = Arc::new(Bridge::new(config));
        bridge
            .set_own_mac(own_mac)
            .map_err(|error| Error::Setting(format!("MAC {own_mac} of the TAP: {error}")))?;
        if self.plain.allow.is_empty() && !self.listen.ip().is_loopback() {
            log::warn!(
                "whoever reaches UDP {} is on this LAN: plain mode checks nobody; --allow CIDR \
                 limits the sources",
                self.listen
            );
        }
        log::info!(
            "server on UDP {}, TAP {} ({own_mac}, MTU {}), plain mode: no keys, no encryption",
            self.listen,
            interface.name(),
            self.tap.mtu
        );
        plain::start_server(self.plain, &interface, queues, socket, bridge)
    }
}
