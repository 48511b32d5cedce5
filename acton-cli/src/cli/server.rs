//! `acton server`.

use std::env;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use pnet_base::MacAddr;
use zeroize::Zeroizing;

use super::authorize::AuthorizeOptions;
use super::budgets::BudgetOptions;
use super::confine::{ConfineOptions, paths};
use super::control::ControlOptions;
use super::hook::HookOptions;
use super::http::HttpOptions;
use super::kept_mac::keep_mac;
use super::key_log::KeyLogOption;
use super::run::Watchers;
use super::state::{StateOptions, print};
use super::values::{
    LoopOptions, Protected, SchedulingOptions, SuiteOption, TapOptions, mac, network, seconds,
};
use super::{Failure, run};
use crate::config::RunningConfig;
use crate::service::passed_sockets;
use acton_engine::keys::{ServerIdentity, default_address};
use acton_engine::{
    MacRange, PlainServerSettings, SecureSettings, Server, ServerMode, ServerSettings,
};

/// Owns the LAN's TAP and serves any number of clients
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address to listen on, which is waited for where this host has not got it yet; :: takes IPv4 as
    /// well
    #[arg(
        short,
        long,
        value_name = "ADDR",
        env = "SERVER_LISTEN_ADDRESS",
        default_value = "0.0.0.0"
    )]
    listen: IpAddr,

    /// UDP port to listen on
    #[arg(short, long, env = "SERVER_LISTEN_PORT", default_value_t = 8080)]
    port: u16,

    /// Name of the TAP interface
    #[arg(short, long, value_name = "NAME", env = "SERVER_TAP_NAME", default_value = "server")]
    tap_name: String,

    /// MAC address of the TAP; without it the same at each start: from this end's key and the TAP's
    /// name, in plain mode one that is kept in the state directory. Hosts that have copies of one
    /// state directory, such as a server and its stand-by, need a MAC or a TAP name each
    #[arg(short, long, env = "SERVER_TAP_MAC", value_parser = mac)]
    mac: Option<MacAddr>,

    /// Address of the TAP with the length of its prefix; may be given more than once
    #[arg(short, long, value_name = "IP/N", env = "SERVER_TAP_NETWORK", value_parser = network)]
    address: Vec<IpNet>,

    #[command(flatten)]
    state: StateOptions,

    /// List of the clients that may join, lines or TOML with a policy for each; without it `clients` in
    /// the state directory, which must be there if there ever was a list
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    clients: Option<PathBuf>,

    /// Run without keys and without encryption, as acton 0.1.1 did
    #[arg(long)]
    plain: bool,

    /// Source that may have a session; may be given more than once; all may without it
    #[arg(long, value_name = "CIDR", requires = "plain")]
    allow: Vec<IpNet>,

    /// Client that says no HELLO, as socat; may be given more than once
    #[arg(long, value_name = "ADDR:PORT", requires = "plain")]
    peer: Vec<SocketAddr>,

    /// Seconds between a client's keepalives, whole ones but in plain mode; one silent for three of
    /// them is forgotten
    /// [default: 15, in plain mode 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    keepalive: Option<Duration>,

    /// Seconds that a MAC is remembered after its last frame
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    mac_ageing: Duration,

    /// Clients at one time, at most
    #[arg(long, value_name = "N", default_value_t = 4_096)]
    max_sessions: u16,

    /// Clients from one IPv4 address or IPv6 /64, at most; those on the list of clients do not count
    /// [default: a quarter of --max-sessions, in plain mode 64]
    #[arg(long, value_name = "N")]
    max_sessions_per_source: Option<usize>,

    /// Clients at one time that nothing but the network key lets in, at most; any number without it
    #[arg(long, value_name = "N", conflicts_with = "plain")]
    max_unlisted: Option<usize>,

    /// MACs behind one client, at most, where the list of clients has no max-macs= for it; 0 for
    /// no limit
    #[arg(long, value_name = "N", default_value_t = 256)]
    macs_per_client: usize,

    /// MAC that no client may use, or IP address that none may use unless it is trusted, on any VLAN;
    /// may be given more than once. The TAP's own, the bridge's, those of gateways on the bridge and MACs
    /// that it knows on other ports need no naming
    #[arg(long, value_name = "MAC|IP")]
    protect: Vec<Protected>,

    /// MACs that move between clients with their first frame, such as 00:00:5e:00:01:00/40 for
    /// VRRP; may be given more than once. Others stay with their client. shared-mac= in the list of
    /// clients gives them to single clients
    #[arg(long, value_name = "MAC[/BITS]", conflicts_with = "plain")]
    shared_mac: Vec<MacRange>,

    /// Seconds of silence after which another client may take a MAC; without it a MAC stays with
    /// its client until it is forgotten (--mac-ageing) or the client goes
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "plain")]
    mac_hold: Option<Duration>,

    #[command(flatten)]
    budgets: BudgetOptions,

    /// Let clients be DHCP servers and IPv6 routers to the LAN; without it only those may that are
    /// trusted in the list of clients
    #[arg(long)]
    no_guards: bool,

    /// Link without which this server is of no use to clients, as that to the LAN or to the other
    /// servers; may be given more than once. While one of them carries nothing, clients are asked to go
    /// to other servers of theirs, as by acton drain
    #[arg(long, value_name = "LINK", conflicts_with = "plain")]
    track: Vec<String>,

    /// Send frames for multicast groups to those clients alone that asked for them by IGMP or MLD, while
    /// the LAN has a querier; without it all clients get them
    #[arg(long)]
    multicast_snooping: bool,

    #[command(flatten)]
    loops: LoopOptions,

    /// Threads that move frames; one for each processor without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,

    /// Cipher suite
    #[arg(long, value_enum, default_value_t = SuiteOption::Auto, conflicts_with = "plain")]
    suite: SuiteOption,

    #[command(flatten)]
    key_log: KeyLogOption,

    #[command(flatten)]
    tap: TapOptions,

    #[command(flatten)]
    scheduling: SchedulingOptions,

    #[command(flatten)]
    control: ControlOptions,

    #[command(flatten)]
    authorize: AuthorizeOptions,

    #[command(flatten)]
    hook: HookOptions,

    #[command(flatten)]
    http: HttpOptions,

    #[command(flatten)]
    confine: ConfineOptions,
}

impl Arguments {
    pub(super) fn run(self, config: Option<RunningConfig>) -> Result<(), Failure> {
        let mut settings = ServerSettings::new(self.mode());
        self.put_into(&mut settings)?;
        // Before anything else is opened.
        let passed = passed_sockets()?;
        let hook = self.hook.start()?;
        let list = self.clients.as_deref();
        self.confine.become_user(&self.state, &self.control, config.as_ref(), list)?;
        let sandbox = self.confine.sandbox();
        let begin = {
            let sandbox = sandbox.clone();
            move |kind| sandbox.begin(kind)
        };
        let files = paths(config.as_ref(), &self.state, &self.control, list);
        let listen = passed.is_empty().then_some(settings.listen);
        let state = self.state.open();
        if self.plain {
            let _kept = keep_mac(&state, &mut settings.common.tap);
            let server = Server::plain().with_settings(settings)?.sockets(passed);
            let server = server.on_thread_start(begin);
            return run::until_signal(
                (&self.control, &self.http),
                listen,
                (&sandbox, &files),
                config,
                Watchers { hook, authorize: None },
                || server.start().map_err(run::not_started),
            );
        }
        let identity = state.server_identity()?;
        let clients = state.watch_clients(self.clients.as_deref())?;
        let invited = identity.created.then(|| (identity.clone(), clients.list().is_some()));
        let server = Server::secure(identity.into()).with_settings(settings)?;
        let mut server = server.admission(clients).sockets(passed).on_thread_start(begin);
        let authorize = self.authorize.socket(self.control.name());
        if let Some(socket) = &authorize {
            server = server.authorize(socket.clone());
        }
        server = server.leases(state.lease_file());
        if let Some(log) = self.key_log.open()? {
            server = server.key_log(log);
        }
        run::until_signal(
            (&self.control, &self.http),
            listen,
            (&sandbox, &files),
            config,
            Watchers { hook, authorize },
            || {
                let started = server.start();
                if let Some((identity, listed)) = invited {
                    // It may have been left to the system to choose a port, or to who passed a socket.
                    let asked = SocketAddr::new(self.listen, self.port);
                    let listen = started.as_ref().map_or(asked, |running| running.local_addr());
                    welcome(&identity, listed, listen, &self.address)?;
                }
                started.map_err(run::not_started)
            },
        )
    }

    /// Has settings say what the options do.
    pub(super) fn put_into(&self, settings: &mut ServerSettings) -> Result<(), Failure> {
        let mut addresses = self.address.clone();
        if addresses.is_empty()
            && let Ok(text) = env::var("CLIENT_TAP_NETWORK")
        {
            // The name that 0.1.1 read on the server too.
            let address = network(&text).map_err(|error| Failure {
                code: super::USAGE,
                message: format!("CLIENT_TAP_NETWORK '{text}': {error}"),
            })?;
            addresses.push(address);
        }
        self.tap.put_into(&mut settings.common.tap, &self.tap_name, self.mac, &addresses);
        settings.common.keepalive = self.keepalive;
        settings.common.scheduling = self.scheduling.into();
        settings.listen = SocketAddr::new(self.listen, self.port);
        settings.workers = self.workers.map(usize::from);
        settings.max_sessions = self.max_sessions.into();
        settings.max_sessions_per_source = self.max_sessions_per_source;
        settings.max_unlisted = self.max_unlisted;
        settings.mac_ageing = self.mac_ageing;
        settings.macs_per_client = self.macs_per_client;
        settings.protected_macs.clear();
        settings.protected_addresses.clear();
        for protected in &self.protect {
            match *protected {
                Protected::Mac(mac) => settings.protected_macs.push(mac),
                Protected::Address(address) => settings.protected_addresses.push(address),
            }
        }
        settings.shared_macs.clone_from(&self.shared_mac);
        settings.mac_hold = self.mac_hold;
        settings.budgets = self.budgets.settings();
        settings.guards = !self.no_guards;
        settings.tracked_links.clone_from(&self.track);
        settings.multicast_snooping = self.multicast_snooping;
        settings.common.loop_guard = self.loops.guard();
        self.authorize.put_into(settings);
        settings.mode = self.mode();
        Ok(())
    }

    fn mode(&self) -> ServerMode {
        if self.plain {
            let mut plain = PlainServerSettings::default();
            plain.allow.clone_from(&self.allow);
            plain.peers.clone_from(&self.peer);
            return ServerMode::Plain(plain);
        }
        let mut secure = SecureSettings::default();
        secure.suite = self.suite.into();
        ServerMode::Secure(secure)
    }
}

/// Tells at the first start how a client joins. The invite is a secret, so it is told to a terminal
/// alone: what else reads standard output may keep it, as a journal or a container's log does.
fn welcome(
    identity: &ServerIdentity,
    listed: bool,
    listen: SocketAddr,
    addresses: &[IpNet],
) -> Result<(), Failure> {
    let ip = Some(listen.ip())
        .filter(|ip| !ip.is_unspecified())
        .or_else(|| default_address(listen.is_ipv6()));
    let text = match (listed, ip) {
        (true, _) => Zeroizing::new(
            "Made this server's keys. `acton invite --name NAME` lets a client join.".to_owned(),
        ),
        (false, Some(ip)) if listen.port() != 0 && io::stdout().is_terminal() => {
            let invite = identity.invite(SocketAddr::new(ip, listen.port()).into());
            Zeroizing::new(format!(
                "Made this server's keys. A client joins with (a secret; `acton invite` prints it \
                 again):\n  acton client '{}'{}",
                invite.url().as_str(),
                addresses.iter().find_map(neighbour).map(|it| format!(" -a {it}")).unwrap_or_default()
            ))
        }
        (false, Some(_)) if listen.port() != 0 => Zeroizing::new(
            "Made this server's keys. `acton invite`, run here with the same --state, prints what a \
             client joins with: a secret, which is not for a log."
                .to_owned(),
        ),
        (false, _) => Zeroizing::new(
            "Made this server's keys. `acton invite --host HOST` prints what a client joins with."
                .to_owned(),
        ),
    };
    print(&text)
}

/// An address of the same subnet that a client may be given.
fn neighbour(own: &IpNet) -> Option<IpNet> {
    let IpAddr::V4(ip) = own.addr() else { return None };
    let other = own.hosts().take(2).find(|&host| host != IpAddr::V4(ip))?;
    IpNet::new(other, own.prefix_len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_offered_an_address_beside_the_servers() {
        let beside = |own: &str| neighbour(&own.parse().unwrap()).map(|other| other.to_string());
        assert_eq!(beside("10.0.0.1/24").as_deref(), Some("10.0.0.2/24"));
        assert_eq!(beside("10.0.0.7/24").as_deref(), Some("10.0.0.1/24"));
        assert_eq!(beside("10.0.0.2/31").as_deref(), Some("10.0.0.3/31"));
        assert_eq!(beside("10.0.0.2/32"), None);
        assert_eq!(beside("fd00::1/64"), None);
    }
}
