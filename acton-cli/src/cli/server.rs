//! `acton server`.

use std::env;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use pnet_base::MacAddr;

use super::values::{TapOptions, mac, network, seconds};
use super::{Failure, run};
use crate::Server;

/// Owns the LAN's TAP and serves any number of clients
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address to listen on; :: takes IPv4 as well
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

    /// MAC address of the TAP; the kernel's choice without it
    #[arg(short, long, env = "SERVER_TAP_MAC", value_parser = mac)]
    mac: Option<MacAddr>,

    /// Address of the TAP with the length of its prefix; may be given more than once
    #[arg(short, long, value_name = "IP/N", env = "SERVER_TAP_NETWORK", value_parser = network)]
    address: Vec<IpNet>,

    /// Run without keys and without encryption, as acton 0.1.1 did
    #[arg(long)]
    plain: bool,

    /// Source that may have a session; may be given more than once; all may without it
    #[arg(long, value_name = "CIDR", requires = "plain")]
    allow: Vec<IpNet>,

    /// Client that says no HELLO, as socat; may be given more than once
    #[arg(long, value_name = "ADDR:PORT", requires = "plain")]
    peer: Vec<SocketAddr>,

    /// Seconds between a client's keepalives; one silent for three of them is forgotten
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    keepalive: Duration,

    /// Seconds that a MAC is remembered after its last frame
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    mac_ageing: Duration,

    /// Clients at one time, at most
    #[arg(long, value_name = "N", default_value_t = 4_096)]
    max_sessions: u16,

    /// MACs behind one client, at most; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 16)]
    macs_per_client: usize,

    #[command(flatten)]
    tap: TapOptions,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        if !self.plain {
            return Err(Failure::no_secure_mode());
        }
        let listen = SocketAddr::new(self.listen, self.port);
        let mut addresses = self.address;
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
        let server = Server::builder()
            .listen(listen)
            .tap(self.tap.settings(&self.tap_name, self.mac, &addresses))
            .allow(self.allow)
            .peers(self.peer)
            .keepalive(self.keepalive)
            .mac_ageing(self.mac_ageing)
            .max_sessions(self.max_sessions.into())
            .macs_per_client(self.macs_per_client);
        run::until_signal(|| server.start())
    }
}
