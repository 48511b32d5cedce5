//! `acton invite`.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use acton_proto::handshake::{Secret, SystemRandom, public_key};
use acton_proto::wire::Key;
use clap::Args;

use super::running_server::RunningServer;
use super::state::{StateOptions, note, print, read_invite_file};
use super::{FAILURE, Failure, USAGE, command, read};
use crate::config::{CONFIG_OPTION, Invocation, Reading, Role};
use acton_engine::keys::{
    ClientList, Invite, InviteError, KeyError, ListedClient, ServerIdentity, State, Target,
    default_address, parse_key,
};
use acton_engine::{Rank, ServerName};

/// The port of a server of which nothing says otherwise.
const DEFAULT_PORT: u16 = 8_080;

/// Prints an invite, with which a client joins: a secret
///
/// On the host of the server, with the server's state directory. Without --name the invite is for
/// whoever holds it, and many may use it. With --name it is for one client, which is listed; once
/// there was a list, only listed clients get in, and nobody if it is lost.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    state: StateOptions,

    /// Lists a client of this name, with a key of its own that the invite carries
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Lists this public key, whose private key the client has; see `acton pubkey`
    #[arg(long, value_name = "PUBLIC_KEY", requires = "name", value_parser = parse_key)]
    key: Option<Key>,

    /// Gives the client a pre-shared key of its own in place of the network key
    #[arg(long, requires = "name")]
    psk: bool,

    /// The server as the client reaches it; this host's own address without it. Several are servers
    /// with copies of this state directory, the best first, where a client goes when it loses one:
    /// `HOST,priority=N,weight=N` says so otherwise
    #[arg(long, value_name = "HOST[:PORT]")]
    host: Vec<String>,

    /// Adds the servers of the invite in this file, which have keys of their own, behind these; - is
    /// standard input. There the client must be listed with the same key (--key)
    #[arg(long, value_name = "FILE|-")]
    and: Option<PathBuf>,

    /// UDP port of the server [default: that of the server that runs with this state directory, else
    /// that in its file of settings, else 8080]
    #[arg(short, long, env = "SERVER_LISTEN_PORT",
          value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// The server's file of settings, where it does not run and listens on another port than 8080
    /// [default: /etc/acton/server.toml, where that is of a server with this state directory]
    #[arg(long, value_name = "FILE", env = "ACTON_CONFIG")]
    config: Option<PathBuf>,

    /// The list of clients, which the server must be run with too; `clients` in the state directory
    /// without it
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let state = self.state.open_as_owner()?;
        let path = state.clients_path(self.clients.as_deref());
        if self.name.is_none() {
            refuse_if_listed(&state, &path)?;
        }
        let mut running = RunningServer::find(state.directory());
        let servers = self.servers(running.as_ref().map(|server| server.listen), &state)?;
        let others = self.others()?;
        let identity = state.server_identity()?;
        if identity.created {
            note(&format!("Made the server's keys in {}.", state.directory().display()));
        }
        let Some(name) = &self.name else {
            return print(
                &with_servers(identity.invite(servers[0].0.clone()), &servers, others)?.url(),
            );
        };
        let (invite, client) = self.named_invite(name, &identity, servers[0].0.clone());
        let invite = with_servers(invite, &servers, others)?;
        let is_new_list = ClientList::add(&path, &client)?;
        if let Some(server) = &mut running {
            server.read_clients();
        }
        if let Err(error) = state.require_list() {
            note(&format!(
                "The network cannot remember that it has a list ({}): should {} be lost, start the \
                 server with --clients, or whoever has the network key gets in.",
                Failure::from(error).message,
                path.display()
            ));
        }
        if is_new_list && self.clients.is_some() {
            note(&format!(
                "The server must run with --clients {0}: one that does not read {0} lets nobody in.",
                path.display()
            ));
        }
        if is_new_list {
            note(&format!(
                "{} is new: from now on only the clients that it lists get in, and the network's \
                 invite alone lets nobody in any more.",
                path.display()
            ));
        }
        print(&invite.url()).map_err(|failure| Failure {
            message: format!(
                "{}; {name} is on the list: run `acton revoke {name}` before another try",
                failure.message
            ),
            ..failure
        })
    }

    fn named_invite(
        &self,
        name: &str,
        identity: &ServerIdentity,
        server: ServerName,
    ) -> (Invite, ListedClient) {
        let mut invite = identity.invite(server);
        let key = self.key.unwrap_or_else(|| {
            let private = Secret::generate(&mut SystemRandom);
            let key = public_key(&private);
            invite.client_key = Some(private);
            key
        });
        let mut client = ListedClient::new(key, name);
        client.psk = self.psk.then(|| Secret::generate(&mut SystemRandom));
        invite.psk.clone_from(&client.psk);
        (invite, client)
    }

    /// The servers of the other invite.
    fn others(&self) -> Result<Option<Invite>, Failure> {
        let Some(path) = &self.and else { return Ok(None) };
        let invite = read_invite_file(path)?.parse();
        invite.map(Some).map_err(|error: InviteError| Failure {
            code: FAILURE,
            message: format!("--and {}: the invite cannot be used: {error}", path.display()),
        })
    }

    /// The addresses for the invite, the best first unless they are ranked otherwise, of a server that
    /// listens at `running` if it runs.
    fn servers(
        &self,
        running: Option<SocketAddr>,
        state: &State,
    ) -> Result<Vec<(ServerName, Rank)>, Failure> {
        // It costs a look at a file that may be wrong: only where it matters.
        let listen = match (running, self.port) {
            (None, None) => self.settings(state)?,
            _ => running,
        };
        let said = listen.map(|listen| listen.port()).filter(|&port| port != 0);
        let port = self.port.or(said).unwrap_or(DEFAULT_PORT);
        if self.host.is_empty() {
            return Ok(vec![(Self::own(listen, port)?, Rank::default())]);
        }
        let parse = |(priority, text): (u8, &String)| {
            let wrong =
                |error| Failure { code: USAGE, message: format!("--host '{text}': {error}") };
            let Target { server, rank } = Target::parse(text).map_err(wrong)?;
            let server =
                Invite::parse_address(&server, port).map_err(|error| wrong(error.to_string()))?;
            Ok((server, rank.unwrap_or(Rank::new(priority, 1))))
        };
        (0..=u8::MAX).zip(&self.host).map(parse).collect()
    }

    /// This host's address, or the one that the server listens at.
    fn own(listen: Option<SocketAddr>, port: u16) -> Result<ServerName, Failure> {
        let usage = |message| Failure { code: USAGE, message };
        let named = listen.map(|listen| listen.ip()).filter(|ip| !ip.is_unspecified());
        let address = named.or_else(|| default_address(true)).ok_or_else(|| {
            usage(
                "this host has no address for others; say with --host HOST where its clients \
                   reach it"
                    .to_owned(),
            )
        })?;
        let server = ServerName::from(SocketAddr::new(address, port));
        note(&format!("The invite is for {server}; --host HOST[:PORT] names another address."));
        Ok(server)
    }

    /// Where the server's settings have it listen; `None` where there are none of a server with this
    /// state directory.
    fn settings(&self, state: &State) -> Result<Option<SocketAddr>, Failure> {
        let mut arguments = vec![OsString::from("acton"), Role::Server.name().into()];
        if let Some(file) = &self.config {
            arguments.extend([format!("--{CONFIG_OPTION}").into(), file.into()]);
        }
        let Some(invocation) = Invocation::new(command(), arguments) else { return Ok(None) };
        let reading = read(&invocation)?;
        let is_its = self.config.is_some()
            || value(&reading, "state").is_some_and(|path| Path::new(&path) == state.directory());
        if reading.file.is_none() || !is_its {
            return Ok(None);
        }
        let text = |key| value(&reading, key)?.into_string().ok();
        let ip = text("listen").and_then(|text| text.parse::<IpAddr>().ok());
        let port = text("port").and_then(|text| text.parse().ok());
        Ok(ip.zip(port).map(SocketAddr::from))
    }
}

fn value(reading: &Reading, key: &str) -> Option<OsString> {
    reading.values.get(key)?.values.first().cloned()
}

/// Adds servers to an invite of the first.
fn with_servers(
    mut invite: Invite,
    servers: &[(ServerName, Rank)],
    others: Option<Invite>,
) -> Result<Invite, Failure> {
    let too_many = |error: InviteError| Failure {
        code: USAGE,
        message: format!("the invite cannot be made: {error}"),
    };
    invite.rank = servers[0].1;
    for (server, rank) in &servers[1..] {
        invite = invite.or(server.clone(), *rank).map_err(too_many)?;
    }
    match others {
        Some(others) => invite.and(&others).map_err(too_many),
        None => Ok(invite),
    }
}

/// An invite for everybody lets nobody in where there is a list.
fn refuse_if_listed(state: &State, path: &Path) -> Result<(), Failure> {
    match ClientList::load(path) {
        Err(KeyError::NoList { .. }) if state.requires_list()? => {
            Err(state.list_lost(path.to_owned()).into())
        }
        Err(KeyError::NoList { .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(Failure {
            code: USAGE,
            message: format!(
                "{} lists who may join, so an invite needs a client: acton invite --name NAME",
                path.display()
            ),
        }),
    }
}
