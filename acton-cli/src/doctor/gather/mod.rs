//! Where facts come from: files of /proc and /dev, rtnetlink, sockets, the control socket of a tunnel
//! that runs, and the programs `nft` and `ethtool` where they are installed. Nothing is changed.

mod files;
pub(crate) mod host;
mod links;
mod probe;
mod tunnel;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use acton_engine::ServerName;
use acton_engine::keys::Invite;

use super::facts::{Answered, Facts, Known, Running, ServerFacts, Tunnel};
pub(crate) use tunnel::find;

/// A server is not asked again that was heard by the tunnel itself within so long.
const JUST_HEARD: Duration = Duration::from_secs(60);
/// Clients whose links are looked at.
const CLIENTS: usize = 16;

/// What to look at.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The directory of keys.
    pub(crate) state: PathBuf,
    /// The list of clients, where the settings name one.
    pub(crate) list: Option<PathBuf>,
    /// The port of this end, where it is a server.
    pub(crate) listens: Option<u16>,
    /// The TAP's name, where it is known.
    pub(crate) tap: Option<String>,
    /// Servers to ask.
    pub(crate) targets: Vec<Target>,
    /// Invites that could not be read, and why.
    pub(crate) bad_invites: Vec<String>,
    /// A file of settings, and whether it is right.
    pub(crate) config: Option<(PathBuf, Known<()>)>,
    /// Time between keepalives.
    pub(crate) keepalive: Duration,
}

/// A server to ask.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: ServerName,
    /// What to ask it with.
    pub(crate) by: By,
}

/// How a server is asked.
#[derive(Debug)]
pub(crate) enum By {
    /// As one with this invite.
    Invite(Box<Invite>),
    /// As in plain mode.
    Plain,
    /// There is no invite.
    Nothing,
}

/// Looks at everything.
pub(crate) fn gather(subject: Subject, tunnel: Tunnel) -> Facts {
    let up = tunnel.running();
    let servers: Vec<_> = subject.targets.iter().map(|target| server(target, up)).collect();
    let asked = servers.iter().filter_map(|server| server.addresses.as_ref().ok()).flatten();
    let clients = up.filter(|up| up.is_server()).into_iter().flat_map(|up| &up.sessions);
    let clients = clients.filter_map(|session| session.address).take(CLIENTS);
    let far: Vec<SocketAddr> = asked.copied().chain(clients).collect();
    let tap = up.map(|up| up.instance.tap.name.clone()).or_else(|| subject.tap.clone());
    Facts {
        host: host::look(),
        files: files::look(&subject.state),
        list: files::list(&subject.state, subject.list.as_deref()),
        config: subject.config,
        bad_invites: subject.bad_invites,
        listens: subject.listens,
        links: links::to(&far, subject.listens.is_some()),
        tap: tap.and_then(|name| links::tap(&name)),
        keepalive: subject.keepalive,
        servers,
        tunnel,
    }
}

fn server(target: &Target, running: Option<&Running>) -> ServerFacts {
    let name = target.name.to_string();
    let is_literal = name.parse::<SocketAddr>().is_ok();
    let addresses = match name.to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect::<Vec<_>>()),
        Err(error) => Err(error.to_string()),
    };
    let mut facts = ServerFacts {
        name,
        is_literal,
        addresses,
        unroutable: Vec::new(),
        answer: None,
        gso: None,
        clock_ahead: None,
    };
    let all = facts.addresses.as_deref().unwrap_or_default();
    let mut routable = None;
    for address in all {
        match links::route(address.ip()) {
            Ok(()) => routable = routable.or(Some(*address)),
            Err(error) => facts.unroutable.push((address.ip(), error.to_string())),
        }
    }
    let Some(address) = routable else { return facts };
    facts.gso = probe::segmentation(address);
    let sessions = running.iter().filter(|up| !up.is_server()).flat_map(|up| &up.sessions);
    let heard = sessions.filter(|session| session.address == Some(address));
    let heard = heard.filter_map(|session| session.heard_ago).find(|ago| *ago < JUST_HEARD);
    if let Some(ago) = heard {
        facts.answer = Some(Answered::Heard(ago));
        return facts;
    }
    let (answer, clock_ahead) = probe::ask(address, &target.by);
    (facts.answer, facts.clock_ahead) = (Some(answer), clock_ahead);
    facts
}

/// What a program prints; why not, where it cannot.
pub(in crate::doctor) fn printed(program: &str, arguments: &[&str]) -> Known<String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("{program} is not installed, which would tell"),
            _ => format!("{program}: {error}"),
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it fails").to_owned();
        return Err(format!("{program}: {said}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
