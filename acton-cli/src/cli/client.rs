//! `acton client`.

use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use pnet_base::MacAddr;

use super::values::{TapOptions, mac, network, seconds};
use super::{Failure, USAGE, run};
use crate::{Client, ServerName};

/// Joins the LAN of a server, and joins it again for ever
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server: a host name or an address, with a port or the one of --port
    #[arg(value_name = "SERVER[:PORT]", env = "CLIENT_SERVER_ADDRESS")]
    server: String,

    /// UDP port of the server
    #[arg(short, long, env = "CLIENT_SERVER_PORT", default_value_t = 8080)]
    port: u16,

    /// Name of the TAP interface
    #[arg(short, long, value_name = "NAME", env = "CLIENT_TAP_NAME", default_value = "client")]
    tap_name: String,

    /// MAC address of the TAP; the kernel's choice without it
    #[arg(short, long, env = "CLIENT_TAP_MAC", value_parser = mac)]
    mac: Option<MacAddr>,

    /// Address of the TAP with the length of its prefix; may be given more than once
    #[arg(short, long, value_name = "IP/N", env = "CLIENT_TAP_NETWORK", value_parser = network)]
    address: Vec<IpNet>,

    /// Run without keys and without encryption, as acton 0.1.1 did
    #[arg(long)]
    plain: bool,

    /// Seconds between keepalives; a server silent for three of them is lost
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    keepalive: Duration,

    #[command(flatten)]
    tap: TapOptions,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        if !self.plain {
            return Err(Failure::no_secure_mode());
        }
        let server = ServerName::parse(&self.server, self.port).map_err(|error| Failure {
            code: USAGE,
            message: format!("server '{}': {error}", self.server),
        })?;
        let client = Client::builder(server)
            .tap(self.tap.settings(&self.tap_name, self.mac, &self.address))
            .keepalive(self.keepalive);
        run::until_signal(|| client.start())
    }
}
