//! `acton client`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use pnet_base::MacAddr;

use super::confine::{ConfineOptions, paths};
use super::control::ControlOptions;
use super::hook::HookOptions;
use super::http::HttpOptions;
use super::kept_mac::keep_mac;
use super::key_log::KeyLogOption;
use super::run::Watchers;
use super::state::{StateOptions, read_invite_file};
use super::values::{
    LoopOptions, SchedulingOptions, SuiteOption, TapOptions, mac, network, seconds,
};
use super::{FAILURE, Failure, USAGE, run};
use crate::config::RunningConfig;
use acton_engine::keys::{Origin, Target};
use acton_engine::{Client, ClientMode, ClientSettings, Secret, SecureSettings, ServerName};

/// Joins the LAN of a server, and joins it again for ever
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// An invite, or the server: a host name or an address, with a port or the one of --port;
    /// without it, the server or servers of the invite that was stored by `acton join`. Of several,
    /// each an invite or a name, the first is used while it is there; `SERVER,priority=N,weight=N`
    /// says so otherwise: a lower priority is better, weights share clients among equals
    #[arg(
        value_name = "INVITE|SERVER[:PORT]",
        env = "CLIENT_SERVER_ADDRESS",
        hide_env_values = true,
        required_if_eq("plain", "true")
    )]
    server: Vec<String>,

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
    /// name, in plain mode one that is kept in the state directory. Hosts that have copies of one
    /// state directory, such as a server and its stand-by, need a MAC or a TAP name each
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

    /// Take part in tests of isolation (acton verify-isolation at the server): send frames that do nothing,
    /// 128 in 10 s at most, one of them out of this TAP to what is bridged to it, and tell which of those of
    /// others arrive here
    #[arg(long, conflicts_with = "plain")]
    allow_isolation_test: bool,

    #[command(flatten)]
    loops: LoopOptions,

    #[command(flatten)]
    tap: TapOptions,

    #[command(flatten)]
    scheduling: SchedulingOptions,

    #[command(flatten)]
    control: ControlOptions,

    #[command(flatten)]
    hook: HookOptions,

    #[command(flatten)]
    http: HttpOptions,

    #[command(flatten)]
    confine: ConfineOptions,
}

impl Arguments {
    pub(super) fn run(self, config: Option<RunningConfig>) -> Result<(), Failure> {
        let hook = self.hook.start()?;
        self.confine.become_user(&self.state, &self.control, config.as_ref(), None)?;
        let sandbox = self.confine.sandbox();
        let begin = {
            let sandbox = sandbox.clone();
            move |kind| sandbox.begin(kind)
        };
        let files = paths(config.as_ref(), &self.state, &self.control, None);
        let state = self.state.open();
        if self.plain {
            let [target] = self.server.as_slice() else {
                return Err(Failure {
                    code: USAGE,
                    message: "plain mode has one server: it cannot tell whether another is there; \
                              name one, or use keys (acton invite)"
                        .to_owned(),
                });
            };
            let server = ServerName::parse(target, self.port).map_err(|error| Failure {
                code: USAGE,
                message: format!("server '{target}': {error}"),
            })?;
            let client = Client::plain(server);
            let mut settings = client.settings();
            self.put_into(&mut settings);
            let _kept = keep_mac(&state, &mut settings.common.tap);
            let client = client.with_settings(settings)?.on_thread_start(begin);
            return run::until_signal(
                (&self.control, &self.http),
                None,
                (&sandbox, &files),
                config,
                Watchers { hook, authorize: None },
                || client.start().map_err(run::not_started),
            );
        }
        let invite = self.invite_file.as_deref().map(read_invite_file).transpose()?;
        let targets = match &invite {
            Some(text) => vec![Target { server: text.trim().to_owned(), rank: None }],
            None => targets(&self.server)?,
        };
        let all = state.all_credentials(&targets, self.port)?;
        let is_stored = all.iter().any(|it| matches!(it.origin, Origin::Stored(_)));
        let mut all = all.into_iter();
        let credentials = all
            .next()
            .ok_or_else(|| Failure { code: FAILURE, message: "no server to join".to_owned() })?;
        log::info!("joining with {}", credentials.origin);
        let origin = credentials.origin.clone();
        let keep = move |before: Option<&Secret>, key: &Secret| match &origin {
            _ if is_stored => state
                .renew_invite(before, key)
                .map_err(|error| Failure::new(FAILURE, &error).message),
            // The server itself keeps it there.
            Origin::OwnServer(_) => Ok(()),
            other => Err(format!("{other} is the old one")),
        };
        let server = credentials.server.clone();
        let rank = credentials.rank;
        let client = Client::secure(server, credentials.into()).rank(rank);
        let client = all.fold(client, |client, other| {
            let (server, rank) = (other.server.clone(), other.rank);
            client.or_server(server, other.into(), rank)
        });
        let mut settings = client.settings();
        self.put_into(&mut settings);
        let mut client =
            client.with_settings(settings)?.keep_network_key(keep).on_thread_start(begin);
        if let Some(log) = self.key_log.open()? {
            client = client.key_log(log);
        }
        run::until_signal(
            (&self.control, &self.http),
            None,
            (&sandbox, &files),
            config,
            Watchers { hook, authorize: None },
            || client.start().map_err(run::not_started),
        )
    }

    /// Has settings say what the options do. The server stays: which one it is, an invite may say.
    pub(super) fn put_into(&self, settings: &mut ClientSettings) {
        self.tap.put_into(&mut settings.common.tap, &self.tap_name, self.mac, &self.address);
        settings.common.keepalive = self.keepalive;
        settings.common.scheduling = self.scheduling.into();
        settings.common.loop_guard = self.loops.guard();
        settings.allow_isolation_test = self.allow_isolation_test;
        settings.mode = if self.plain {
            ClientMode::Plain
        } else {
            let mut secure = SecureSettings::default();
            secure.suite = self.suite.into();
            secure.rekey_after = self.rekey;
            ClientMode::Secure(secure)
        };
    }
}

/// The servers as the user names them. A message never has the text, which may be half of a secret.
fn targets(named: &[String]) -> Result<Vec<Target>, Failure> {
    let parse = |(at, text): (usize, &String)| {
        Target::parse(text).map_err(|error| Failure {
            code: USAGE,
            message: format!("server {}: {error}", at + 1),
        })
    };
    named.iter().enumerate().map(parse).collect()
}
