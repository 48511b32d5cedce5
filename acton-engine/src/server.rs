//! The server: one TAP, any number of clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use acton_bridge::{Bridge, Config, MovePolicy};
use acton_proto::session::KeyLog;
use acton_proto::wire::Suites;
use ipnet::IpNet;

use crate::keys::Watched;
use crate::plain::{self, PlainServer};
use crate::run::tap::max_frame;
use crate::secure::{self, Admitted, SecureServer, ServerKeys};
use crate::sessions::leaves::MAX_SESSIONS;
use crate::{Error, Running, Scheduling, TapSettings};
use acton_udp::UdpSocket;

/// Workers at most: more would wait for one another in the kernel.
const MAX_WORKERS: usize = 64;
/// Time between a client's keepalives in plain mode, as in 0.1.1.
pub(crate) const KEEPALIVE_PLAIN: Duration = Duration::from_secs(10);
/// Time between a client's keepalives in secure mode: below what address translators forget after.
pub(crate) const KEEPALIVE_SECURE: Duration = Duration::from_secs(15);

/// A server of Ethernet over UDP.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// A server with a TAP called `server` that listens on UDP port 8080 of every IPv4 address.
    /// It needs [`keys`](ServerBuilder::keys), or [`plain`](ServerBuilder::plain) mode.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            tap: TapSettings::new("server"),
            mode: Mode::Unset,
            allow: Vec::new(),
            peers: Vec::new(),
            clients: None,
            key_log: None,
            suites: Suites::detect(),
            scheduling: Scheduling::default(),
            keepalive: None,
            max_sessions: 4_096,
            mac_ageing: Duration::from_secs(300),
            macs_per_client: 16,
            workers: None,
        }
    }
}

#[derive(Debug)]
enum Mode {
    Unset,
    Plain,
    Secure(Box<ServerKeys>),
}

/// Settings of a server.
#[derive(Debug)]
pub struct ServerBuilder {
    listen: SocketAddr,
    tap: TapSettings,
    mode: Mode,
    allow: Vec<IpNet>,
    peers: Vec<SocketAddr>,
    clients: Option<Watched>,
    key_log: Option<KeyLog>,
    suites: Suites,
    scheduling: Scheduling,
    keepalive: Option<Duration>,
    mac_ageing: Duration,
    max_sessions: usize,
    macs_per_client: usize,
    workers: Option<usize>,
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

    /// Secure mode, with these keys.
    #[must_use]
    pub fn keys(mut self, keys: ServerKeys) -> Self {
        self.mode = Mode::Secure(Box::new(keys));
        self
    }

    /// Secure mode: while there is a list, only those on it get in. Without one, all who hold the
    /// network key do.
    #[must_use]
    pub fn clients(mut self, list: Watched) -> Self {
        self.clients = Some(list);
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

    /// Plain mode: sources that may have a session; with none given, all may.
    #[must_use]
    pub fn allow(mut self, sources: impl IntoIterator<Item = IpNet>) -> Self {
        self.allow.extend(sources);
        self
    }

    /// Plain mode: clients that say no HELLO, as socat, with a session that never ends.
    #[must_use]
    pub fn peers(mut self, peers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.peers.extend(peers);
        self
    }

    /// How often clients say KEEPALIVE; one silent for some three times as long is forgotten.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = Some(interval);
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
        self.max_sessions = sessions;
        self
    }

    /// MACs behind one client, at most, where the list of clients does not say otherwise; 0 for no
    /// limit. Frames from further ones are dropped.
    #[must_use]
    pub fn macs_per_client(mut self, macs: usize) -> Self {
        self.macs_per_client = macs;
        self
    }

    /// Threads that move frames, each with a TAP queue and a UDP socket of its own: 1 to 64, by
    /// default one for each processor. What a client sends stays with one of them, and what goes to
    /// it keeps its order flow by flow.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers.clamp(1, MAX_WORKERS));
        self
    }

    /// How the threads that move frames use processors.
    #[must_use]
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.scheduling = scheduling;
        self
    }

    /// Makes the TAP and the socket and starts the server.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made, a setting is out of range, or no mode was
    /// chosen.
    pub fn start(self) -> Result<Running, Error> {
        if self.max_sessions + self.peers.len() > MAX_SESSIONS {
            return Err(Error::Setting(format!("at most {MAX_SESSIONS} sessions")));
        }
        let (moves, mode) = match &self.mode {
            Mode::Unset => return Err(Error::no_mode()),
            // A client of plain mode has no identity that could own a MAC.
            Mode::Plain => (MovePolicy::FirstFrame, "plain mode: no keys, no encryption"),
            Mode::Secure(_) => (MovePolicy::guarded(), "secure mode"),
        };
        // The socket first: where the port is taken, no TAP comes and goes.
        let cores = || thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        let workers = self.workers.unwrap_or_else(cores);
        let mut sockets = UdpSocket::bind_group(self.listen, workers)
            .map_err(|source| Error::Bind { address: self.listen, source })?;
        let tap = match self.tap.open(workers, true) {
            // One that somebody made for a single queue, where nobody asked for more.
            Err(Error::Tap(acton_tap::Error::SingleQueue { .. })) if self.workers.is_none() => {
                self.tap.open(1, true)?
            }
            tap => tap?,
        };
        sockets.truncate(tap.queues.len());
        let own_mac = tap.interface.mac()?;
        let listed = self.clients.as_ref().and_then(Watched::list);
        let owned: usize = listed.iter().flat_map(|list| list.iter()).map(|c| c.macs.len()).sum();
        let config = Config::default();
        // Each takes two places while its client is here, and a list may become longer.
        let max_static = config.max_static + 4 * owned;
        let config = config
            .ageing(self.mac_ageing)
            .max_static(max_static)
            .max_macs_per_leaf(self.macs_per_client)
            .moves(moves);
        let bridge = Arc::new(Bridge::new(config));
        bridge
            .set_own_mac(own_mac)
            .map_err(|error| Error::Setting(format!("MAC {own_mac} of the TAP: {error}")))?;
        if matches!(self.mode, Mode::Plain)
            && self.allow.is_empty()
            && !self.listen.ip().is_loopback()
        {
            log::warn!(
                "whoever reaches UDP {} is on this LAN: plain mode checks nobody; --allow CIDR \
                 limits the sources",
                self.listen
            );
        }
        log::info!(
            "server on UDP {}, TAP {} ({own_mac}, MTU {}), {mode}",
            self.listen,
            tap.interface.name(),
            self.tap.mtu
        );
        match self.mode {
            Mode::Unset => Err(Error::no_mode()),
            Mode::Plain => {
                let settings = PlainServer {
                    allow: self.allow,
                    peers: self.peers,
                    keepalive: self.keepalive.unwrap_or(KEEPALIVE_PLAIN),
                    max_sessions: self.max_sessions,
                };
                plain::start_server(settings, tap, sockets, bridge, self.scheduling)
            }
            Mode::Secure(keys) => {
                let settings = SecureServer {
                    keys: *keys,
                    admitted: Admitted::new(self.clients),
                    keepalive: self.keepalive.unwrap_or(KEEPALIVE_SECURE),
                    max_sessions: self.max_sessions,
                    max_frame: max_frame(self.tap.mtu),
                    key_log: self.key_log,
                    suites: self.suites,
                };
                secure::start_server(settings, tap, sockets, bridge, self.scheduling)
            }
        }
    }
}
