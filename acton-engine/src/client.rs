//! The client: one TAP, one server, for ever.

use std::fmt;
use std::mem::discriminant;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use acton_proto::handshake::{Secret, public_key};
use acton_proto::session::KeyLog;
use acton_udp::UdpSocket;

use crate::reach::servers::Rank;
use crate::run::threads::{OnThreadStart, ThreadKind};
use crate::secure::{self, ClientKeys};
use crate::settings::{ClientMode, ClientSettings, SecureSettings, SuiteChoice, TapSettings};
use crate::{Error, Running, Scheduling, ServerName, plain};

/// A client of Ethernet over UDP.
#[derive(Debug)]
pub struct Client;

impl Client {
    /// A client of `server` in secure mode, with these keys and a TAP called `client`.
    #[must_use]
    pub fn secure(server: ServerName, keys: ClientKeys) -> ClientBuilder<SecureClient> {
        let mode = ClientMode::Secure(SecureSettings::default());
        ClientBuilder {
            settings: ClientSettings::new(server, mode),
            on_thread_start: OnThreadStart::default(),
            mode: SecureClient {
                keys,
                rank: Rank::default(),
                others: Vec::new(),
                key_log: None,
                keeper: None,
            },
        }
    }

    /// A client of `server` in plain mode, without keys and without encryption, with a TAP called
    /// `client`.
    #[must_use]
    pub fn plain(server: ServerName) -> ClientBuilder<PlainClient> {
        ClientBuilder {
            settings: ClientSettings::new(server, ClientMode::Plain),
            on_thread_start: OnThreadStart::default(),
            mode: PlainClient(()),
        }
    }
}

/// One more server of a client.
#[derive(Debug, Clone)]
pub(crate) struct OtherServer {
    pub(crate) server: ServerName,
    pub(crate) keys: ClientKeys,
    pub(crate) rank: Rank,
}

/// What a client has in secure mode beside its settings.
#[derive(Debug, Clone)]
pub struct SecureClient {
    pub(crate) keys: ClientKeys,
    /// Of the server of the settings.
    pub(crate) rank: Rank,
    pub(crate) others: Vec<OtherServer>,
    pub(crate) key_log: Option<KeyLog>,
    pub(crate) keeper: Option<KeyKeeper>,
}

/// Keeps a network key for the next start in place of the one before; says why where it cannot.
type Keep = dyn Fn(Option<&Secret>, &Secret) -> Result<(), String> + Send + Sync;

/// What keeps a network key, as a setting.
#[derive(Clone)]
pub(crate) struct KeyKeeper(pub(crate) Arc<Keep>);

impl fmt::Debug for KeyKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyKeeper")
    }
}

/// What a client has in plain mode beside its settings: nothing.
#[derive(Debug, Clone, Copy)]
pub struct PlainClient(());

/// A client in the making, of [`SecureClient`] or [`PlainClient`] mode.
#[derive(Debug, Clone)]
pub struct ClientBuilder<M> {
    settings: ClientSettings,
    on_thread_start: OnThreadStart,
    mode: M,
}

impl<M> ClientBuilder<M> {
    /// All settings at once, in place of those so far: from a file, say.
    ///
    /// # Errors
    /// Where they are of the other mode.
    pub fn with_settings(mut self, settings: ClientSettings) -> Result<Self, Error> {
        if discriminant(&self.settings.mode) != discriminant(&settings.mode) {
            return Err(Error::other_mode());
        }
        self.settings = settings;
        Ok(self)
    }

    /// The settings so far, to be changed and given to [`Handle::apply`](crate::Handle::apply).
    #[must_use]
    pub fn settings(&self) -> ClientSettings {
        self.settings.clone()
    }

    /// The TAP that the client makes. It shows a carrier while the client is connected.
    #[must_use]
    pub fn tap(mut self, tap: TapSettings) -> Self {
        self.settings.common.tap = tap;
        self
    }

    /// How often to say KEEPALIVE, unless the server wants it more often.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.settings.common.keepalive = Some(interval);
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

impl ClientBuilder<SecureClient> {
    /// The cipher suites to agree to, by default what the processor is good at.
    #[must_use]
    pub fn suite(mut self, suite: SuiteChoice) -> Self {
        if let ClientMode::Secure(secure) = &mut self.settings.mode {
            secure.suite = suite;
        }
        self
    }

    /// Whether the server may have this client take part in tests of isolation
    /// ([`Handle::verify_isolation`](crate::Handle::verify_isolation)). It may not unless told otherwise.
    #[must_use]
    pub fn allow_isolation_test(mut self, allowed: bool) -> Self {
        self.settings.allow_isolation_test = allowed;
        self
    }

    /// How much the client likes its first server, where it has others.
    #[must_use]
    pub fn rank(mut self, rank: Rank) -> Self {
        self.mode.rank = rank;
        self
    }

    /// One more server, where the client goes when it loses the one that it is at, and comes from when
    /// a better one is back. Each has keys of its own, or the same.
    #[must_use]
    pub fn or_server(mut self, server: ServerName, keys: ClientKeys, rank: Rank) -> Self {
        self.mode.others.push(OtherServer { server, keys, rank });
        self
    }

    /// The age at which keys are replaced, where 120 s are too long to wait.
    #[must_use]
    pub fn rekey_after(mut self, age: Duration) -> Self {
        if let ClientMode::Secure(secure) = &mut self.settings.mode {
            secure.rekey_after = Some(age);
        }
        self
    }

    /// Tells the keys of every session, so that a capture can be decoded.
    #[must_use]
    pub fn key_log(mut self, log: KeyLog) -> Self {
        self.mode.key_log = Some(log);
        self
    }

    /// Is called on the control thread with a network key, the one before it and the one that a server
    /// told, to keep the latter for the next start at all servers that had the former; where it cannot, it says why, and is called again after a while and at the end.
    #[must_use]
    pub fn keep_network_key(
        mut self,
        keep: impl Fn(Option<&Secret>, &Secret) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.mode.keeper = Some(KeyKeeper(Arc::new(keep)));
        self
    }

    /// Makes the TAP and the socket and starts the client, which then connects by itself.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made.
    pub fn start(self) -> Result<Running, Error> {
        let _scope = self.on_thread_start.scope();
        let settings = self.settings;
        let ClientMode::Secure(secure) = &settings.mode else { return Err(Error::other_mode()) };
        let secure = secure.clone();
        settings.check()?;
        let socket = bind()?;
        let key = public_key(&self.mode.keys.private_key);
        let tap = settings.common.tap.open(1, false, Some(&key))?;
        announce(&settings, &tap.interface, "secure mode")?;
        secure::start_client(settings, &secure, self.mode, tap, socket)
    }
}

impl ClientBuilder<PlainClient> {
    /// Makes the TAP and the socket and starts the client, which then connects by itself.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made.
    pub fn start(self) -> Result<Running, Error> {
        let _scope = self.on_thread_start.scope();
        self.settings.check()?;
        let socket = bind()?;
        let tap = self.settings.common.tap.open(1, false, None)?;
        announce(&self.settings, &tap.interface, "plain mode: no keys, no encryption")?;
        plain::start_client(self.settings, tap, socket)
    }
}

fn announce(
    settings: &ClientSettings,
    interface: &acton_tap::Interface,
    mode: &str,
) -> Result<(), Error> {
    log::info!(
        "client of {}, TAP {} ({}, MTU {}), {mode}",
        settings.server,
        interface.name(),
        interface.mac()?,
        settings.common.tap.mtu
    );
    Ok(())
}

/// A socket for servers of either family; of IPv4 alone where the host has no IPv6.
fn bind() -> Result<UdpSocket, Error> {
    let any = |ip: IpAddr| SocketAddr::new(ip, 0);
    UdpSocket::bind(any(Ipv6Addr::UNSPECIFIED.into())).or_else(|_| {
        let address = any(Ipv4Addr::UNSPECIFIED.into());
        UdpSocket::bind(address).map_err(|source| Error::Bind { address, source })
    })
}
