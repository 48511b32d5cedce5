//! `acton client`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use pnet_base::MacAddr;

use super::kept_mac::keep_mac;
use super::key_log::KeyLogOption;
use super::state::{StateOptions, read_invite_file};
use super::values::{
    LoopOptions, SchedulingOptions, SuiteOption, TapOptions, mac, network, seconds,
};
use super::{FAILURE, Failure, USAGE, run};
use acton_engine::keys::Origin;
use acton_engine::{Client, ClientBuilder, Secret, ServerName, TapSettings};

/// Joins the LAN of a server, and joins it again for ever
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// An invite, or the server: a host name or an address, with a port or the one of --port;
    /// without it, the server of the invite that was stored by `acton join`
    #[arg(
        value_name = "INVITE|SERVER[:PORT]",
        env = "CLIENT_SERVER_ADDRESS",
        hide_env_values = true,
        required_if_eq("plain", "true")
    )]
    server: Option<String>,

    /// Reads the invite from this file; - is standard input. ACTON_INVITE may hold it too
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["plain", "server"])]
    invite_file: Option<PathBuf>,

    #[command(flatten)]
    state: StateOptions,

    /// UDP port of the server
    #[arg(short, long, env = "CLIENT_SERVER_PORT", default_value_t = 8080)]
    port: u16,

    /// Name of the TAP interface
    #[arg(short, long, value_name = "NAME", env = "CLIENT_TAP_NAME", default_value = "client")]
    tap_name: String,

    /// MAC address of the TAP; without it the same at each start: from this end's key and the TAP's
    /// name, in plain mode one that is kept in the state directory
    #[arg(short, long, env = "CLIENT_TAP_MAC", value_parser = mac)]
    mac: Option<MacAddr>,

    /// Address of the TAP with the length of its prefix; may be given more than once
    #[arg(short, long, value_name = "IP/N", env = "CLIENT_TAP_NETWORK", value_parser = network)]
    address: Vec<IpNet>,

    /// Run without keys and without encryption, as acton 0.1.1 did
    #[arg(long)]
    plain: bool,

    /// Seconds between keepalives, whole ones but in plain mode [default: 15, in plain mode 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    keepalive: Option<Duration>,

    /// Seconds after which keys are replaced, for tests
    #[arg(long, value_name = "SECONDS", value_parser = seconds, hide = true,
          conflicts_with = "plain")]
    rekey: Option<Duration>,

    /// Cipher suite
    #[arg(long, value_enum, default_value_t = SuiteOption::Auto, conflicts_with = "plain")]
    suite: SuiteOption,

    #[command(flatten)]
    key_log: KeyLogOption,

    #[command(flatten)]
    loops: LoopOptions,

    #[command(flatten)]
    tap: TapOptions,

    #[command(flatten)]
    scheduling: SchedulingOptions,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.plain {
            let target = self.server.as_deref().unwrap_or_default();
            let server = ServerName::parse(target, self.port).map_err(|error| Failure {
                code: USAGE,
                message: format!("server '{target}': {error}"),
            })?;
            let mut tap = self.tap();
            let _kept = keep_mac(&self.state.open(), &mut tap);
            let client = self.common(Client::plain(server), tap);
            return run::until_signal(|| client.start().map_err(run::not_started));
        }
        let invite = self.invite_file.as_deref().map(read_invite_file).transpose()?;
        let target = invite.as_ref().map(|text| text.trim()).or(self.server.as_deref());
        let credentials = self.state.open().client_credentials(target, self.port)?;
        log::info!("joining with {}", credentials.origin);
        let (origin, server_key) = (credentials.origin.clone(), credentials.server_key);
        let state = self.state.open();
        let keep = move |key: &Secret| match &origin {
            Origin::Stored(_) => state
                .renew_invite(&server_key, key)
                .map_err(|error| Failure::new(FAILURE, &error).message),
            // The server itself keeps it there.
            Origin::OwnServer(_) => Ok(()),
            other => Err(format!("{other} is the old one")),
        };
        let server = credentials.server.clone();
        let client = self.common(Client::secure(server, credentials.into()), self.tap());
        let mut client = client.suite(self.suite.into()).keep_network_key(keep);
        if let Some(age) = self.rekey {
            client = client.rekey_after(age);
        }
        if let Some(log) = self.key_log.open()? {
            client = client.key_log(log);
        }
        run::until_signal(|| client.start().map_err(run::not_started))
    }

    fn tap(&self) -> TapSettings {
        self.tap.settings(&self.tap_name, self.mac, &self.address)
    }

    /// What both modes have.
    fn common<M>(&self, mut client: ClientBuilder<M>, tap: TapSettings) -> ClientBuilder<M> {
        if let Some(keepalive) = self.keepalive {
            client = client.keepalive(keepalive);
        }
        client.tap(tap).loop_guard(self.loops.guard()).scheduling(self.scheduling.into())
    }
}
