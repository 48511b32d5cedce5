//! The client: one TAP, one server, for ever.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use acton_proto::session::KeyLog;
use acton_proto::wire::Suites;

use crate::plain;
use crate::run::tap::max_frame;
use crate::secure::{self, ClientKeys, SecureClient};
use crate::server::{KEEPALIVE_PLAIN, KEEPALIVE_SECURE};
use crate::{Error, Running, Scheduling, ServerName, TapSettings};
use acton_udp::UdpSocket;

/// A client of Ethernet over UDP.
#[derive(Debug)]
pub struct Client;

impl Client {
    /// A client of `server` with a TAP called `client`. It needs [`keys`](ClientBuilder::keys), or
    /// [`plain`](ClientBuilder::plain) mode.
    pub fn builder(server: ServerName) -> ClientBuilder {
        let tap = TapSettings::new("client");
        ClientBuilder {
            server,
            tap,
            mode: Mode::Unset,
            keepalive: None,
            rekey_after: None,
            key_log: None,
            suites: Suites::detect(),
            scheduling: Scheduling::default(),
        }
    }
}

#[derive(Debug, Clone)]
enum Mode {
    Unset,
    Plain,
    Secure(Box<ClientKeys>),
}

/// Settings of a client.
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    server: ServerName,
    tap: TapSettings,
    mode: Mode,
    keepalive: Option<Duration>,
    rekey_after: Option<Duration>,
    key_log: Option<KeyLog>,
    suites: Suites,
    scheduling: Scheduling,
}

impl ClientBuilder {
    /// The TAP that the client makes. It shows a carrier while the client is connected.
    #[must_use]
    pub fn tap(mut self, tap: TapSettings) -> Self {
        self.tap = tap;
        self
    }

    /// Secure mode, with these keys.
    #[must_use]
    pub fn keys(mut self, keys: ClientKeys) -> Self {
        self.mode = Mode::Secure(Box::new(keys));
        self
    }

    /// Secure mode: the cipher suites to agree to, by default what the processor is good at.
    #[must_use]
    pub fn suites(mut self, suites: Suites) -> Self {
        self.suites = suites;
        self
    }

    /// Secure mode: tells the keys of every session, so that a capture can be decoded.
    #[must_use]
    pub fn key_log(mut self, log: KeyLog) -> Self {
        self.key_log = Some(log);
        self
    }

    /// Plain mode: no keys, no encryption.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.mode = Mode::Plain;
        self
    }

    /// How often to say KEEPALIVE, unless the server wants it more often.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = Some(interval);
        self
    }

    /// Secure mode: the age at which keys are replaced, where 120 s are too long to wait.
    #[must_use]
    pub fn rekey_after(mut self, age: Duration) -> Self {
        self.rekey_after = Some(age);
        self
    }

    /// How the threads that move frames use processors.
    #[must_use]
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.scheduling = scheduling;
        self
    }

    /// Makes the TAP and the socket and starts the client, which then connects by itself.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made.
    pub fn start(self) -> Result<Running, Error> {
        let mode = match &self.mode {
            Mode::Unset => return Err(Error::no_mode()),
            Mode::Plain => "plain mode: no keys, no encryption",
            Mode::Secure(_) => "secure mode",
        };
        let socket = bind()?;
        let tap = self.tap.open(1, false)?;
        log::info!(
            "client of {}, TAP {} ({}, MTU {}), {mode}",
            self.server,
            tap.interface.name(),
            tap.interface.mac()?,
            self.tap.mtu
        );
        match self.mode {
            Mode::Unset => Err(Error::no_mode()),
            Mode::Plain => {
                let keepalive = self.keepalive.unwrap_or(KEEPALIVE_PLAIN);
                plain::start_client(self.server, keepalive, tap, socket, self.scheduling)
            }
            Mode::Secure(keys) => {
                let settings = SecureClient {
                    server: self.server,
                    keys: *keys,
                    keepalive: self.keepalive.unwrap_or(KEEPALIVE_SECURE),
                    max_frame: max_frame(self.tap.mtu),
                    rekey_after: self.rekey_after,
                    key_log: self.key_log,
                    suites: self.suites,
                };
                secure::start_client(settings, tap, socket, self.scheduling)
            }
        }
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
