//! The server under measurement, which a benchmark is when started with `--serve`: all that it uses of
//! the engine.

use std::io;
use std::net::SocketAddr;

use acton_engine::{Budgets, FloodBudgets, Server, ServerBuilder, ServerKeys, TapSettings};
use acton_proto::handshake::Secret;
use clap::Args;
use ipnet::IpNet;

use super::Result;
use super::vlans::ByVlan;

/// Everybody knows these keys: nobody but this benchmark reaches the server.
pub(crate) const PRIVATE_KEY: [u8; 32] = [1; 32];
pub(crate) const NETWORK_KEY: [u8; 32] = [2; 32];

/// What it says once it listens.
pub(crate) const READY: &str = "ready";
/// Asks how many sessions are open.
pub(crate) const SESSIONS: &str = "sessions";

/// What server and clients speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    #[default]
    Secure,
    Plain,
}

/// How the server is to be.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Serve {
    /// Instead: the server
    #[arg(long, hide = true, value_name = "ADDRESS")]
    pub(crate) serve: Option<SocketAddr>,

    /// What the server speaks
    #[arg(long = "serve-mode", hide = true, value_enum, default_value_t = Mode::Secure)]
    pub(crate) mode: Mode,

    /// Sessions that the server may have
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) max_sessions: usize,

    /// Address of the server's TAP
    #[arg(long, hide = true)]
    pub(crate) tap_address: Option<IpNet>,

    /// Listens to IGMP and MLD
    #[arg(long, hide = true)]
    pub(crate) snooping: bool,

    /// Clients whose frames have no tag, by their numbers; all others are in a VLAN
    #[arg(long, hide = true)]
    pub(crate) untagged: Option<usize>,

    /// Threads of the server that move frames [default: one a processor]
    #[arg(long)]
    pub(crate) workers: Option<usize>,
}

impl Serve {
    /// The same as arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![format!("--max-sessions={}", self.max_sessions)];
        if self.mode == Mode::Plain {
            arguments.push("--serve-mode=plain".to_owned());
        }
        arguments.extend(self.serve.map(|address| format!("--serve={address}")));
        arguments.extend(self.tap_address.map(|address| format!("--tap-address={address}")));
        if self.snooping {
            arguments.push("--snooping".to_owned());
        }
        arguments.extend(self.untagged.map(|clients| format!("--untagged={clients}")));
        arguments.extend(self.workers.map(|workers| format!("--workers={workers}")));
        arguments
    }

    /// Serves until standard input ends. Each line there asks for how many sessions are open
    /// ([`SESSIONS`]), or for the counter of that name.
    pub(crate) fn run(&self, address: SocketAddr) -> Result<()> {
        let running = match self.mode {
            Mode::Secure => {
                let [private_key, network_key] = [PRIVATE_KEY, NETWORK_KEY].map(Secret::new);
                let keys = ServerKeys { private_key, network_key: Some(network_key) };
                let server = self.build(Server::secure(keys), address);
                match self.untagged {
                    Some(clients) => server.admission(ByVlan::new(clients)).start()?,
                    None => server.start()?,
                }
            }
            Mode::Plain => self.build(Server::plain(), address).start()?,
        };
        println!("{READY}");
        for question in io::stdin().lines() {
            let question = question?;
            if question == SESSIONS {
                let sessions = running.status().sessions;
                let open = sessions.iter().filter(|session| session.session_for.is_some());
                println!("{}", open.count());
            } else {
                println!("{}", running.totals().get(&question).unwrap_or_default());
            }
        }
        Ok(())
    }

    fn build<M>(&self, server: ServerBuilder<M>, address: SocketAddr) -> ServerBuilder<M> {
        let mut tap = TapSettings::new("acton%d");
        tap.addresses.extend(self.tap_address);
        // What the root floods is to be measured, not held back.
        let mut budgets = FloodBudgets::default();
        budgets.root = Budgets::all(None);
        let server = server
            .listen(address)
            .tap(tap)
            .max_sessions(self.max_sessions)
            .max_sessions_per_source(self.max_sessions)
            .budgets(budgets)
            .multicast_snooping(self.snooping);
        match self.workers {
            Some(workers) => server.workers(workers),
            None => server,
        }
    }
}
