//! What the owner of a tunnel chooses: plain data, without secrets.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use acton_bridge::MacRange;
use acton_proto::wire::Suites;
use ipnet::IpNet;
use pnet_base::MacAddr;

use crate::Error;
use crate::floods::budgets::FloodBudgets;
use crate::reach::name::ServerName;
use crate::run::scheduling::Scheduling;
use crate::sessions::port::MAX_SESSIONS;

/// The least MTU with which a link carries IPv6, in bytes (RFC 8200, section 5).
const MIN_MTU_IPV6: u32 = 1_280;
/// Workers at most: more would wait for one another in the kernel.
pub(crate) const MAX_WORKERS: usize = 64;
/// Time between a client's keepalives in plain mode, as in 0.1.1.
const KEEPALIVE_PLAIN: Duration = Duration::from_secs(10);
/// Sessions from one address in plain mode, where whoever forges it opens them and each gets every
/// broadcast: that much is sent there for one frame.
const SESSIONS_PER_SOURCE_PLAIN: usize = 64;
/// Time between a client's keepalives in secure mode: below what address translators forget after.
const KEEPALIVE_SECURE: Duration = Duration::from_secs(15);

/// The TAP of a tunnel's end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct TapSettings {
    /// Interface name, at most 15 bytes; `%d` stands for the first free number.
    pub name: String,
    /// Its MAC, also where it is there already.
    pub mac: Option<MacAddr>,
    /// Its MAC where `mac` is `None` and it is made anew. With `None` here too it has the same one at
    /// each start in secure mode, from the end's key and the TAP's name, and one that the kernel
    /// draws in plain mode.
    pub default_mac: Option<MacAddr>,
    /// Its IP addresses, each with the length of the subnet's prefix.
    pub addresses: Vec<IpNet>,
    /// The largest payload of a frame, in bytes; an Ethernet header comes on top.
    pub mtu: u32,
    /// A Linux bridge that it joins.
    pub bridge: Option<String>,
    /// As a port of a Linux bridge it exchanges nothing with other isolated ports, as with the TAPs of
    /// other servers.
    pub isolated: bool,
}

impl TapSettings {
    /// A TAP called `name` with Ethernet's usual MTU of 1,500 bytes and nothing else set.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mac: None,
            default_mac: None,
            addresses: Vec::new(),
            mtu: 1_500,
            bridge: None,
            isolated: false,
        }
    }
}

impl Default for TapSettings {
    fn default() -> Self {
        Self::new("acton%d")
    }
}

/// What server and client, plain mode and secure, have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Common {
    /// The TAP.
    pub tap: TapSettings,
    /// How often a client says KEEPALIVE; the mode's usual interval where this is `None`. Who is
    /// silent for some three times as long counts as lost.
    #[cfg_attr(feature = "serde", serde(with = "crate::observe::serialise::optional_seconds"))]
    pub keepalive: Option<Duration>,
    /// How the threads that move frames use processors.
    pub scheduling: Scheduling,
    /// Look for loops, and hold back what is flooded through them.
    pub loop_guard: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            tap: TapSettings::default(),
            keepalive: None,
            scheduling: Scheduling::default(),
            loop_guard: true,
        }
    }
}

/// Cipher suites to agree to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum SuiteChoice {
    /// What the processor is good at: AES where it has instructions for it, else ChaCha20.
    #[default]
    Auto,
    /// AES-256-GCM alone.
    Aes256Gcm,
    /// ChaCha20-Poly1305 alone.
    Chacha20Poly1305,
}

impl From<SuiteChoice> for Suites {
    fn from(choice: SuiteChoice) -> Self {
        match choice {
            SuiteChoice::Auto => Self::detect(),
            SuiteChoice::Aes256Gcm => Self::AES_256_GCM,
            SuiteChoice::Chacha20Poly1305 => Self::CHACHA20_POLY1305,
        }
    }
}

/// Settings of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct ServerSettings {
    /// What both ends have.
    pub common: Common,
    /// The UDP address to listen on; the unspecified IPv6 address takes IPv4 as well.
    pub listen: SocketAddr,
    /// Threads that move frames, each with a TAP queue and a UDP socket of its own: 1 to 64; one for
    /// each processor where this is `None`.
    pub workers: Option<usize>,
    /// Clients at one time, at most.
    pub max_sessions: usize,
    /// Of these, from one IPv4 address or IPv6 /64: in secure mode of clients that no list names and
    /// that have no psk, by default a quarter of all; in plain mode 64 by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub max_sessions_per_source: Option<usize>,
    /// In secure mode, clients at one time that nothing but the network key lets in; any number where
    /// this is `None`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub max_unlisted: Option<usize>,
    /// How long a MAC is remembered after its last frame.
    #[cfg_attr(feature = "serde", serde(with = "crate::observe::serialise::as_seconds"))]
    pub mac_ageing: Duration,
    /// MACs behind one client, at most, where its policy does not say otherwise; 0 for no limit.
    pub macs_per_client: usize,
    /// MACs that no client may use, on any VLAN, beside those that the server finds by itself: its
    /// TAP's, its Linux bridge's, and those of the gateways on that bridge.
    #[cfg_attr(feature = "serde", serde(default))]
    pub protected_macs: Vec<MacAddr>,
    /// IP addresses that no client may use whom the guards look at, on any VLAN, beside those that the
    /// server finds by itself: its own on the LAN behind the TAP, and those of the gateways on its Linux
    /// bridge.
    #[cfg_attr(feature = "serde", serde(default))]
    pub protected_addresses: Vec<IpAddr>,
    /// In secure mode, MACs that clients share, as routers with VRRP do (`00:00:5e:00:01:00/40`):
    /// they move from client to client with their first frame.
    #[cfg_attr(feature = "serde", serde(default))]
    pub shared_macs: Vec<MacRange>,
    /// In secure mode, the silence after which another client may take a MAC. With `None` a MAC
    /// stays with its client until it is forgotten or the client goes: nobody can steal it from a
    /// host that is silent for a while. (In plain mode clients have no identity, and a MAC moves
    /// with its first frame.)
    #[cfg_attr(
        feature = "serde",
        serde(default, with = "crate::observe::serialise::optional_seconds")
    )]
    pub mac_hold: Option<Duration>,
    /// How much may be flooded.
    #[cfg_attr(feature = "serde", serde(default))]
    pub budgets: FloodBudgets,
    /// Whether clients are kept from being the LAN's DHCP servers and IPv6 routers, but for those whose
    /// policy trusts them.
    #[cfg_attr(feature = "serde", serde(default = "guards_by_default"))]
    pub guards: bool,
    /// In secure mode, links without which the server is of no use to clients, by name: while one of
    /// them carries nothing, clients are asked to go to other servers of theirs.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tracked_links: Vec<String>,
    /// Whether frames for multicast groups go to those clients alone that asked for them by IGMP or MLD,
    /// while the LAN has a querier.
    #[cfg_attr(feature = "serde", serde(default))]
    pub multicast_snooping: bool,
    /// In secure mode, how long who decides on clients may take for an answer.
    #[cfg_attr(
        feature = "serde",
        serde(
            default = "authorize_timeout_by_default",
            with = "crate::observe::serialise::as_seconds"
        )
    )]
    pub authorize_timeout: Duration,
    /// In secure mode, how often the account of a session is told while it lasts; never where this is
    /// `None`. Where there is an interval or somebody decides on clients, it is told when a session
    /// begins and ends.
    #[cfg_attr(
        feature = "serde",
        serde(default, with = "crate::observe::serialise::optional_seconds")
    )]
    pub accounting_interval: Option<Duration>,
    /// What the mode adds.
    pub mode: ServerMode,
}

/// How long who decides on clients may take for an answer.
const AUTHORIZE_TIMEOUT: Duration = Duration::from_secs(3);
/// What it may be set to.
const AUTHORIZE_TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);
/// The least time between two tellings of a session's account.
const MIN_ACCOUNTING_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(feature = "serde")]
const fn authorize_timeout_by_default() -> Duration {
    AUTHORIZE_TIMEOUT
}

#[cfg(feature = "serde")]
const fn guards_by_default() -> bool {
    true
}

/// What a server's mode adds to its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum ServerMode {
    /// The wire of acton 0.1.1: no keys, no encryption.
    Plain(PlainServerSettings),
    /// acton/1.
    Secure(SecureSettings),
}

/// What plain mode adds to a server's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct PlainServerSettings {
    /// Sources that may begin a session; with none given, all may.
    pub allow: Vec<IpNet>,
    /// Clients that say no HELLO, as socat, with a session that never ends.
    pub peers: Vec<SocketAddr>,
}

/// What secure mode adds to the settings of either end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct SecureSettings {
    /// The cipher suites to agree to.
    pub suite: SuiteChoice,
    /// At a client, the age at which keys are replaced, where the protocol's 120 s are too long.
    #[cfg_attr(feature = "serde", serde(with = "crate::observe::serialise::optional_seconds"))]
    pub rekey_after: Option<Duration>,
}

impl ServerSettings {
    /// A TAP called `server`, UDP port 8080 of every IPv4 address, 4,096 sessions, MACs remembered
    /// for 300 s, 256 of them behind a client.
    #[must_use]
    pub fn new(mode: ServerMode) -> Self {
        Self {
            common: Common { tap: TapSettings::new("server"), ..Common::default() },
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            workers: None,
            max_sessions: 4_096,
            max_sessions_per_source: None,
            max_unlisted: None,
            mac_ageing: Duration::from_secs(300),
            macs_per_client: 256,
            protected_macs: Vec::new(),
            protected_addresses: Vec::new(),
            shared_macs: Vec::new(),
            mac_hold: None,
            budgets: FloodBudgets::default(),
            guards: true,
            tracked_links: Vec::new(),
            multicast_snooping: false,
            authorize_timeout: AUTHORIZE_TIMEOUT,
            accounting_interval: None,
            mode,
        }
    }

    pub(crate) fn max_sessions_per_source(&self) -> usize {
        self.max_sessions_per_source.unwrap_or(match self.mode {
            ServerMode::Plain(_) => SESSIONS_PER_SOURCE_PLAIN,
            ServerMode::Secure(_) => self.max_sessions.div_ceil(4),
        })
    }

    pub(crate) fn keepalive(&self) -> Duration {
        self.common.keepalive.unwrap_or(match self.mode {
            ServerMode::Plain(_) => KEEPALIVE_PLAIN,
            ServerMode::Secure(_) => KEEPALIVE_SECURE,
        })
    }
}

/// Settings of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct ClientSettings {
    /// What both ends have.
    pub common: Common,
    /// The server.
    pub server: ServerName,
    /// In secure mode, whether the server may have this client take part in tests of isolation: send frames
    /// that do nothing, and say which it hears.
    #[cfg_attr(feature = "serde", serde(default))]
    pub allow_isolation_test: bool,
    /// What the mode adds.
    pub mode: ClientMode,
}

/// What a client's mode adds to its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum ClientMode {
    /// The wire of acton 0.1.1: no keys, no encryption.
    Plain,
    /// acton/1.
    Secure(SecureSettings),
}

impl ClientSettings {
    /// A TAP called `client`.
    #[must_use]
    pub fn new(server: ServerName, mode: ClientMode) -> Self {
        let common = Common { tap: TapSettings::new("client"), ..Common::default() };
        Self { common, server, allow_isolation_test: false, mode }
    }

    pub(crate) fn keepalive(&self) -> Duration {
        self.common.keepalive.unwrap_or(match self.mode {
            ClientMode::Plain => KEEPALIVE_PLAIN,
            ClientMode::Secure(_) => KEEPALIVE_SECURE,
        })
    }
}

/// What an interval between keepalives may be.
const INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);

/// The longest in secure mode, in seconds: the wire has 16 bits for three of them and five seconds
/// (docs/PROTOCOL.md, section 3).
const MAX_KEEPALIVE_SECURE: u64 = (u16::MAX as u64 - 5) / 3;

impl Common {
    fn check(&self, secure: bool) -> Result<(), Error> {
        let ipv6 = self.tap.addresses.iter().find(|net| net.addr().is_ipv6());
        if let Some(net) = ipv6.filter(|_| self.tap.mtu < MIN_MTU_IPV6) {
            return Err(Error::Setting(format!(
                "an MTU of {}: IPv6, as of {net}, needs {MIN_MTU_IPV6} or more",
                self.tap.mtu
            )));
        }
        let Some(keepalive) = self.keepalive else { return Ok(()) };
        if !secure && !INTERVALS.contains(&keepalive) {
            return Err(Error::Setting("a keepalive interval is 0.1 to 86,400 seconds".to_owned()));
        }
        let whole = keepalive.subsec_nanos() == 0;
        if secure && !(whole && (1..=MAX_KEEPALIVE_SECURE).contains(&keepalive.as_secs())) {
            return Err(Error::Setting(format!(
                "a keepalive interval of {} s: with keys it is whole seconds, 1 to \
                 {MAX_KEEPALIVE_SECURE}, for so the two ends tell one another",
                keepalive.as_secs_f64()
            )));
        }
        Ok(())
    }
}

impl ServerSettings {
    /// Whether everything is within its range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let peers = match &self.mode {
            ServerMode::Plain(plain) => plain.peers.len(),
            ServerMode::Secure(_) => 0,
        };
        if self.max_sessions.saturating_add(peers) > MAX_SESSIONS {
            return Err(Error::Setting(format!("at most {MAX_SESSIONS} sessions")));
        }
        if !AUTHORIZE_TIMEOUTS.contains(&self.authorize_timeout) {
            let text = "who decides on clients may take 0.1 to 60 seconds for an answer";
            return Err(Error::Setting(text.to_owned()));
        }
        if self.accounting_interval.is_some_and(|interval| interval < MIN_ACCOUNTING_INTERVAL) {
            let text = "the account of a session is told once a second at most; 0 is never";
            return Err(Error::Setting(text.to_owned()));
        }
        self.common.check(matches!(self.mode, ServerMode::Secure(_)))
    }
}

impl ClientSettings {
    /// Whether everything is within its range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.common.check(matches!(self.mode, ClientMode::Secure(_)))
    }
}

/// Settings of either end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "there are few, and they move seldom")]
pub enum Settings {
    /// A server's.
    Server(ServerSettings),
    /// A client's.
    Client(ClientSettings),
}

/// What became of new settings, by their serialised names: `listen`, `common.tap.mtu`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Applied {
    /// What changed and is in force now.
    pub taken: Vec<&'static str>,
    /// What differs and needs a restart; it stays as it was.
    pub needs_restart: Vec<&'static str>,
}
