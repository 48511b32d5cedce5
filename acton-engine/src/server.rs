//! The server: one TAP, any number of clients.

use std::mem::discriminant;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use acton_bridge::{Bridge, Config, MacRange, MovePolicy};
use acton_proto::handshake::public_key;
use acton_proto::session::KeyLog;
use acton_proto::wire::Key;
use acton_udp::UdpSocket;
use ipnet::IpNet;
use pnet_base::MacAddr;

use crate::floods::budgets::FloodBudgets;
use crate::run::tap::OpenTap;
use crate::run::threads::{OnThreadStart, ThreadKind};
use crate::secure::{self, SecureAccess, ServerKeys};
use crate::sessions::admission::{Admission, Anybody};
use crate::sessions::lease_store::LeaseStore;
use crate::sessions::port::LeafId;
use crate::settings::{
    MAX_WORKERS, PlainServerSettings, SecureSettings, ServerMode, ServerSettings, SuiteChoice,
    TapSettings,
};
use crate::{Authority, Error, Running, Scheduling, plain, root};

/// A server of Ethernet over UDP.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// A server in secure mode with these keys, which [`keys::State`](crate::keys::State) makes and
    /// keeps. Whoever holds the network key gets in, or who knows the server's public key where there
    /// is none; [`admission`](ServerBuilder::admission) narrows that. Its settings begin as
    /// [`ServerSettings::new`] has them: a TAP called `server`, UDP port 8080 of every IPv4 address.
    #[must_use]
    pub fn secure(keys: ServerKeys) -> ServerBuilder<SecureServer> {
        ServerBuilder {
            settings: ServerSettings::new(ServerMode::Secure(SecureSettings::default())),
            sockets: Arc::default(),
            on_thread_start: OnThreadStart::default(),
            mode: SecureServer {
                keys,
                admission: Box::new(Anybody),
                authority: None,
                key_log: None,
                leases: None,
            },
        }
    }

    /// A server in plain mode: no keys, no encryption, and whoever reaches its UDP port is on the LAN
    /// unless [`allow`](ServerBuilder::allow) limits the sources. For clients of acton 0.1.1, and
    /// where something else protects the network. Its settings begin as in secure mode.
    #[must_use]
    pub fn plain() -> ServerBuilder<PlainServer> {
        ServerBuilder {
            settings: ServerSettings::new(ServerMode::Plain(PlainServerSettings::default())),
            sockets: Arc::default(),
            on_thread_start: OnThreadStart::default(),
            mode: PlainServer(()),
        }
    }
}

/// What a server has in secure mode beside its settings.
#[derive(Debug)]
pub struct SecureServer {
    keys: ServerKeys,
    admission: Box<dyn Admission>,
    authority: Option<Box<dyn Authority>>,
    key_log: Option<KeyLog>,
    leases: Option<Box<dyn LeaseStore>>,
}

/// What a server has in plain mode beside its settings: nothing.
#[derive(Debug, Clone, Copy)]
pub struct PlainServer(());

/// A server in the making, of [`SecureServer`] or [`PlainServer`] mode.
#[derive(Debug, Clone)]
pub struct ServerBuilder<M> {
    settings: ServerSettings,
    on_thread_start: OnThreadStart,
    /// Bound already; none to bind them here.
    sockets: Arc<[UdpSocket]>,
    mode: M,
}

impl<M> ServerBuilder<M> {
    /// All settings at once, in place of those so far: from a file, say.
    ///
    /// # Errors
    /// Where they are of the other mode.
    pub fn with_settings(mut self, settings: ServerSettings) -> Result<Self, Error> {
        if discriminant(&self.settings.mode) != discriminant(&settings.mode) {
            return Err(Error::other_mode());
        }
        self.settings = settings;
        Ok(self)
    }

    /// The settings so far, to be changed and given to [`Handle::apply`](crate::Handle::apply).
    #[must_use]
    pub fn settings(&self) -> ServerSettings {
        self.settings.clone()
    }

    /// The UDP address to listen on; the unspecified IPv6 address takes IPv4 as well.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.settings.listen = address;
        self
    }

    /// Sockets that are bound already, in place of [`listen`](Self::listen): those that a service
    /// manager keeps while the server is away. There are as many [workers](Self::workers) as sockets at
    /// least; for more, others are opened beside them where they share their port (SO_REUSEPORT).
    #[must_use]
    pub fn sockets(mut self, sockets: impl IntoIterator<Item = UdpSocket>) -> Self {
        self.sockets = sockets.into_iter().collect();
        self
    }

    /// The TAP that the server makes.
    #[must_use]
    pub fn tap(mut self, tap: TapSettings) -> Self {
        self.settings.common.tap = tap;
        self
    }

    /// How often clients say KEEPALIVE; one silent for some three times as long is forgotten.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.settings.common.keepalive = Some(interval);
        self
    }

    /// How long a MAC is remembered after its last frame.
    #[must_use]
    pub fn mac_ageing(mut self, ageing: Duration) -> Self {
        self.settings.mac_ageing = ageing;
        self
    }

    /// Clients at one time, at most.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.settings.max_sessions = sessions;
        self
    }

    /// Of these, from one IPv4 address or IPv6 /64: in secure mode of clients that no list names and
    /// that have no psk, by default a quarter of all; in plain mode 64 by default.
    #[must_use]
    pub fn max_sessions_per_source(mut self, sessions: usize) -> Self {
        self.settings.max_sessions_per_source = Some(sessions);
        self
    }

    /// MACs behind one client, at most, where its policy does not say otherwise; 0 for no limit.
    /// Frames from further ones are dropped.
    #[must_use]
    pub fn macs_per_client(mut self, macs: usize) -> Self {
        self.settings.macs_per_client = macs;
        self
    }

    /// MACs that no client may use, on any VLAN, beside those that the server finds by itself: its
    /// TAP's, its Linux bridge's, and those of the gateways on that bridge.
    #[must_use]
    pub fn protected_macs(mut self, macs: impl IntoIterator<Item = MacAddr>) -> Self {
        self.settings.protected_macs.extend(macs);
        self
    }

    /// IP addresses that no client may use whom the guards look at, on any VLAN, beside those that the server
    /// finds by itself: its own on the LAN behind the TAP, and those of the gateways on its Linux bridge.
    #[must_use]
    pub fn protected_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.settings.protected_addresses.extend(addresses);
        self
    }

    /// How many frames of each kind may be flooded, from a client and from the TAP; what is over is
    /// dropped and counted.
    #[must_use]
    pub fn budgets(mut self, budgets: FloodBudgets) -> Self {
        self.settings.budgets = budgets;
        self
    }

    /// Whether clients are kept from being the LAN's DHCP servers and IPv6 routers, as they are unless
    /// told otherwise; a client's policy may trust it.
    #[must_use]
    pub fn guards(mut self, guards: bool) -> Self {
        self.settings.guards = guards;
        self
    }

    /// Whether frames for multicast groups go to those clients alone that asked for them by IGMP or MLD
    /// (RFC 4541). While no querier is heard from the TAP, all clients get them, as without this.
    #[must_use]
    pub fn multicast_snooping(mut self, on: bool) -> Self {
        self.settings.multicast_snooping = on;
        self
    }

    /// Threads that move frames, each with a TAP queue and a UDP socket of its own: 1 to 64, by
    /// default one for each processor. What a client sends stays with one of them, and what goes to
    /// it keeps its order flow by flow.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = Some(workers);
        self
    }

    /// Whether to look for loops, as where two LANs are joined twice, and to hold back what is flooded
    /// through them. It does unless told otherwise.
    #[must_use]
    pub fn loop_guard(mut self, on: bool) -> Self {
        self.settings.common.loop_guard = on;
        self
    }

    /// Calls `begin` on each thread of the tunnel as it begins, also on those that begin later: to give
    /// up rights that the thread has no use for, say.
    #[must_use]
    pub fn on_thread_start(mut self, begin: impl Fn(ThreadKind) + Send + Sync + 'static) -> Self {
        self.on_thread_start = OnThreadStart::new(begin);
        self
    }

    /// How the threads that move frames use processors.
    #[must_use]
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.settings.common.scheduling = scheduling;
        self
    }
}

impl ServerBuilder<SecureServer> {
    /// Who gets in; by default whoever holds the network key.
    #[must_use]
    pub fn admission(mut self, admission: impl Admission + 'static) -> Self {
        self.mode.admission = Box::new(admission);
        self
    }

    /// Who decides on clients that no list names, in place of letting in whoever holds the network key.
    #[must_use]
    pub fn authorize(mut self, authority: impl Authority + 'static) -> Self {
        self.mode.authority = Some(Box::new(authority));
        self
    }

    /// How long that may take for an answer: 3 s unless told otherwise.
    #[must_use]
    pub fn authorize_timeout(mut self, time: Duration) -> Self {
        self.settings.authorize_timeout = time;
        self
    }

    /// How often the account of each session is told while it lasts.
    #[must_use]
    pub fn accounting_interval(mut self, interval: Duration) -> Self {
        self.settings.accounting_interval = Some(interval);
        self
    }

    /// MACs that clients share, as routers with VRRP do (`00:00:5e:00:01:00/40`): they move from
    /// client to client with their first frame, and never away from the root.
    #[must_use]
    pub fn shared_macs(mut self, ranges: impl IntoIterator<Item = MacRange>) -> Self {
        self.settings.shared_macs.extend(ranges);
        self
    }

    /// The silence after which another client may take a MAC; by default it stays with its client
    /// until it is forgotten or the client goes.
    #[must_use]
    pub fn mac_hold(mut self, hold: Duration) -> Self {
        self.settings.mac_hold = Some(hold);
        self
    }

    /// Links without which the server is of no use to clients, by name, as that to the LAN: while one
    /// of them carries nothing, clients are asked to go to other servers of theirs.
    #[must_use]
    pub fn tracked_links(mut self, links: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.tracked_links.extend(links.into_iter().map(Into::into));
        self
    }

    /// The cipher suites to agree to, by default what the processor is good at.
    #[must_use]
    pub fn suite(mut self, suite: SuiteChoice) -> Self {
        if let ServerMode::Secure(secure) = &mut self.settings.mode {
            secure.suite = suite;
        }
        self
    }

    /// Tells the keys of every session, so that a capture can be decoded.
    #[must_use]
    pub fn key_log(mut self, log: KeyLog) -> Self {
        self.mode.key_log = Some(log);
        self
    }

    /// Keeps what IP addresses clients were given by DHCP or made themselves, so that a server that starts
    /// again lets them use these; by default it does not.
    #[must_use]
    pub fn leases(mut self, store: impl LeaseStore) -> Self {
        self.mode.leases = Some(Box::new(store));
        self
    }

    /// Makes the TAP and the socket and starts the server.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made, or a setting is out of range.
    pub fn start(self) -> Result<Running, Error> {
        let _scope = self.on_thread_start.scope();
        let settings = self.settings;
        let ServerMode::Secure(secure) = &settings.mode else { return Err(Error::other_mode()) };
        let secure = secure.clone();
        let owners = self.mode.admission.rules().owners();
        let owned: usize = owners.iter().map(|(_, policy)| policy.macs.len()).sum();
        // Each that is decided on may have one, too.
        let decided = self.mode.authority.as_ref().map_or(0, |_| settings.max_sessions);
        let moves = match (settings.mac_hold, MovePolicy::guarded()) {
            (Some(hold), MovePolicy::Guarded { freeze_after, within, .. }) => {
                MovePolicy::Guarded { hold, freeze_after, within }
            }
            (_, moves) => moves,
        };
        let key = public_key(&self.mode.keys.private_key);
        let (tap, sockets, bridge) =
            open(&settings, &self.sockets, Some(&key), owned + decided, moves)?;
        announce(&settings, &tap, &sockets, "secure mode")?;
        let SecureServer { keys, admission, authority, key_log, leases } = self.mode;
        let access = SecureAccess { keys, admission, authority, key_log, leases };
        secure::start_server(settings, &secure, access, tap, sockets, bridge)
    }
}

impl ServerBuilder<PlainServer> {
    /// Sources that may have a session; with none given, all may.
    #[must_use]
    pub fn allow(mut self, sources: impl IntoIterator<Item = IpNet>) -> Self {
        if let ServerMode::Plain(plain) = &mut self.settings.mode {
            plain.allow.extend(sources);
        }
        self
    }

    /// Clients that say no HELLO, as socat, with a session that never ends.
    #[must_use]
    pub fn peers(mut self, peers: impl IntoIterator<Item = SocketAddr>) -> Self {
        if let ServerMode::Plain(plain) = &mut self.settings.mode {
            plain.peers.extend(peers);
        }
        self
    }

    /// Makes the TAP and the socket and starts the server.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made, or a setting is out of range.
    pub fn start(self) -> Result<Running, Error> {
        let _scope = self.on_thread_start.scope();
        let settings = self.settings;
        let ServerMode::Plain(plain) = &settings.mode else { return Err(Error::other_mode()) };
        let (open_to_all, peers) = (plain.allow.is_empty(), plain.peers.clone());
        // A client of plain mode has no identity that could own a MAC.
        let (tap, sockets, bridge) =
            open(&settings, &self.sockets, None, 0, MovePolicy::FirstFrame)?;
        let listen = sockets[0].local_addr().map_err(Error::system("read the UDP address"))?;
        if open_to_all && !listen.ip().is_loopback() {
            log::warn!(
                "whoever reaches UDP {} is on this LAN: plain mode checks nobody; --allow CIDR \
                 limits the sources",
                listen
            );
        }
        announce(&settings, &tap, &sockets, "plain mode: no keys, no encryption")?;
        plain::start_server(settings, &peers, tap, sockets, bridge)
    }
}

type Opened = (OpenTap, Vec<UdpSocket>, Arc<Bridge<LeafId>>);

/// Makes what a server of either mode runs on; one with keys has this public one. `owned` MACs belong to clients that are known by name.
fn open(
    settings: &ServerSettings,
    passed: &[UdpSocket],
    key: Option<&Key>,
    owned: usize,
    moves: MovePolicy,
) -> Result<Opened, Error> {
    settings.check()?;
    // The socket first: where the port is taken, no TAP comes and goes.
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let workers = settings.workers.unwrap_or_else(cores).clamp(1, MAX_WORKERS);
    let mut sockets = take_sockets(settings.listen, passed, workers)?;
    let workers = sockets.len();
    // A passed socket that no worker reads would swallow datagrams.
    let may_be_one = settings.workers.is_none() && passed.len() <= 1;
    let tap = match settings.common.tap.open(workers, true, key) {
        // One that somebody made for a single queue, where nobody asked for more.
        Err(Error::Tap(acton_tap::Error::SingleQueue { .. })) if may_be_one => {
            settings.common.tap.open(1, true, key)?
        }
        tap => tap?,
    };
    sockets.truncate(tap.queues.len());
    let config = Config::default();
    // Each takes two places while its client is here, and a list may become longer.
    let max_static = config.max_static + 4 * owned + settings.protected_macs.len();
    // A LAN that is still asleep may be twice as large later on.
    let lan = settings.common.tap.bridge.as_deref().map_or(0, root::entries_of);
    let max_pinned = config.max_pinned.max(2 * lan);
    let config = config
        .ageing(settings.mac_ageing)
        .max_static(max_static)
        .max_pinned(max_pinned)
        .shared(settings.shared_macs.clone())
        .max_macs_per_leaf(settings.macs_per_client)
        .moves(moves);
    Ok((tap, sockets, Arc::new(Bridge::new(config))))
}

/// A socket for each worker, of those that were passed and others beside them, or bound to `listen`.
fn take_sockets(
    listen: SocketAddr,
    passed: &[UdpSocket],
    workers: usize,
) -> Result<Vec<UdpSocket>, Error> {
    if passed.is_empty() {
        let bound = UdpSocket::bind_group(listen, workers);
        return bound.map_err(|source| Error::Bind { address: listen, source });
    }
    if passed.len() > MAX_WORKERS {
        return Err(Error::Setting(format!(
            "{} sockets were passed, and there can be a worker for {MAX_WORKERS} at most",
            passed.len()
        )));
    }
    let failed = Error::system("take the UDP sockets that were passed");
    let taken = passed.iter().map(UdpSocket::try_clone).collect::<Result<_, _>>();
    let sockets = taken
        .and_then(|taken| UdpSocket::builder().complete_group(taken, workers))
        .map_err(failed)?;
    if sockets.len() < workers {
        log::warn!(
            "{} workers and not {workers}, for as many UDP sockets were passed and no more can share \
             their port; ListenDatagram= once for each worker, with ReusePort=yes, makes it more",
            sockets.len()
        );
    }
    Ok(sockets)
}

fn announce(
    settings: &ServerSettings,
    tap: &OpenTap,
    sockets: &[UdpSocket],
    mode: &str,
) -> Result<(), Error> {
    let listen = sockets[0].local_addr().map_err(Error::system("read the UDP address"))?;
    log::info!(
        "server on UDP {listen}, TAP {} ({}, MTU {}), {mode}",
        tap.interface.name(),
        tap.interface.mac()?,
        settings.common.tap.mtu
    );
    Ok(())
}
