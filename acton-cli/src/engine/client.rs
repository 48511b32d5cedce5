//! The client: one TAP, one server, for ever.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{Error, Running, ServerName, TapSettings, plain};
use crate::udp::UdpSocket;

/// A client of Ethernet over UDP.
#[derive(Debug)]
pub struct Client;

impl Client {
    /// A client of `server` with a TAP called `client`.
    pub fn builder(server: ServerName) -> ClientBuilder {
        ClientBuilder {
            server,
            tap: TapSettings::new("client"),
            keepalive: Duration::from_secs(10),
        }
    }
}

/// Settings of a client in plain mode.
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    server: ServerName,
    tap: TapSettings,
    keepalive: Duration,
}

impl ClientBuilder {
    /// The TAP that the client makes. It shows a carrier while the client is connected.
    #[must_use]
    pub fn tap(mut self, tap: TapSettings) -> Self {
        self.tap = tap;
        self
    }

    /// How often to say KEEPALIVE; a server silent for three times as long is lost.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = interval;
        self
    }

    /// Makes the TAP and the socket and starts the client, which then connects by itself.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made.
    pub fn start(self) -> Result<Running, Error> {
        let socket = bind()?;
        let (interface, queues) = self.tap.open(1, false)?;
        log::info!(
            "client of {}, TAP {} ({}, MTU {}), plain mode: no keys, no encryption",
            self.server,
            interface.name(),
            interface.mac()?,
            self.tap.mtu
        );
        plain::start_client(self.server, self.keepalive, &interface, queues, socket)
    }
}

/// A socket for servers of either family; of IPv4 alone where the host has no IPv6.
fn bind() -> Result<UdpSocket, Error> {
    let any = |ip: IpAddr| SocketAddr::new(ip, 0);
    UdpSocket::bind(any(Ipv6Addr::UNSPECIFIED.into())).or_else(|_| {
        let address = any(Ipv4Addr::UNSPECIFIED.into());
        UdpSocket::bind(address).map_err(|source| Error::Bind { address, source })
    })
}
