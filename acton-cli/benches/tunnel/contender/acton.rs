//! acton as it is in this tree, or as it was before.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use crate::instructions::callgrind;

use super::{Contender, Process, Scratch, output, wait_listening};
use crate::Result;
use crate::watch::Watcher;
use crate::world::{Network, OVERLAY, PORT, UNDERLAY, World};

/// A way to run it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    plain: bool,
    mtu: u32,
    /// One worker at the server, as at the client, rather than one for each core.
    one_worker: bool,
    suite: Option<&'static str>,
    /// The end, by its subcommand, that runs under callgrind.
    callgrind: Option<&'static str>,
    /// The program that [`BEFORE`] names, in place of this tree's.
    before: bool,
    watched: WatchedBy,
    /// As it confines itself unless told otherwise.
    sandbox: bool,
    /// The server's list of clients has a policy for the client, with all that one can have.
    policed: bool,
}

/// Who watches both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchedBy {
    Nobody,
    /// Somebody asks how they are ten times a second, follows their events and has an idle capture.
    Socket,
    /// They show themselves by HTTP, and all tools look at them.
    All,
}

/// Names another build of the program to compare with, as that of the commit before.
pub(crate) const BEFORE: &str = "ACTON_BEFORE";

impl Variant {
    pub(super) const fn under_callgrind(self, end: &'static str) -> Self {
        // valgrind makes calls of its own.
        Self { callgrind: Some(end), sandbox: false, ..self }
    }
}

/// With the suite that both ends like best on this machine.
pub(super) const SECURE: Variant = Variant {
    plain: false,
    mtu: OVERLAY.mtu,
    one_worker: false,
    suite: None,
    callgrind: None,
    before: false,
    watched: WatchedBy::Nobody,
    sandbox: true,
    policed: false,
};
pub(super) const WATCHED: Variant = Variant { watched: WatchedBy::Socket, ..SECURE };
pub(super) const SHOWN: Variant = Variant { watched: WatchedBy::All, ..SECURE };
pub(super) const UNSANDBOXED: Variant = Variant { sandbox: false, ..SECURE };
pub(super) const PLAIN_UNSANDBOXED: Variant = Variant { sandbox: false, ..PLAIN };
pub(super) const POLICED: Variant = Variant { policed: true, ..SECURE };
pub(super) const POLICED_BEFORE: Variant = Variant { before: true, ..POLICED };
pub(super) const SECURE_BEFORE: Variant = Variant { before: true, ..SECURE };
pub(super) const PLAIN_BEFORE: Variant = Variant { before: true, ..PLAIN };
pub(super) const ONE_WORKER: Variant = Variant { one_worker: true, ..SECURE };
pub(super) const CHACHA: Variant = Variant { suite: Some("chacha"), ..SECURE };
/// Its own default, as a LAN's: its datagrams would be too large for the underlay, so it has TCP
/// send smaller segments and cuts other large frames in two.
pub(super) const DEFAULT_MTU: Variant = Variant { mtu: 1_500, ..SECURE };
pub(super) const PLAIN: Variant = Variant { plain: true, ..SECURE };
pub(super) const PLAIN_ONE_WORKER: Variant = Variant { plain: true, ..ONE_WORKER };

/// The MAC of a client that has a policy.
const MAC: &str = "02:ac:70:00:00:0a";

/// A list of clients whose `[default]` has all that a policy can have: the client's own addresses among
/// 1,000 others, and rates that nothing reaches.
fn policies() -> String {
    let own = OVERLAY.client;
    let others =
        (0..1_000).map(|number| format!("\"10.77.{}.{}\", ", number / 250, number % 250 + 1));
    let others: String = others.collect();
    format!(
        "[default]\nallow = [\"ip\", \"ip6\", \"arp\"]\nips = [{others}\"{own}\", \"learn\"]\n\
         rate-in = {{ bits = \"900G\", frames = 900000000 }}\n\
         rate-out = {{ bits = \"900G\", frames = 900000000 }}\nmax-macs = 8\nstrict = true\n"
    )
}

struct Acton {
    program: PathBuf,
    variant: Variant,
    /// State directories of both ends.
    scratch: Scratch,
    invite: String,
}

pub(super) fn find(name: &str, variant: Variant) -> Result<Box<dyn Contender>> {
    let program = match env::var_os(BEFORE) {
        _ if !variant.before => PROGRAM.into(),
        Some(program) => program.into(),
        None => return Err(format!("{BEFORE} names no program").into()),
    };
    let scratch = Scratch::new(name)?;
    let acton = || quiet(Command::new(&program));
    let host = format!("{}:{PORT}", UNDERLAY.server);
    let mut ask = acton();
    ask.args(["invite", "--host", &host, "--state"]).arg(scratch.path("server"));
    if variant.policed {
        scratch.write("server/clients", &policies())?;
        ask.args(["--name", "client"]);
    }
    let invite = output(&mut ask)?;
    if variant.policed {
        // Behind the client's table, which is the last one.
        let list = fs::read_to_string(scratch.path("server/clients"))?;
        scratch.write("server/clients", &format!("{list}mac = \"{MAC}\"\n"))?;
    }
    Ok(Box::new(Acton { program, variant, scratch, invite: invite.trim().to_owned() }))
}

impl Contender for Acton {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        let mut command = self.end("server", &OVERLAY.server_net());
        command.args(["--port", &PORT.to_string()]);
        if self.variant.one_worker {
            command.args(["--workers", "1"]);
        }
        if self.variant.plain {
            let allow = format!("{}/{}", UNDERLAY.client, Network::PREFIX);
            command.args(["--allow", &allow]);
        }
        let mut server = Process::start(&world.server, &mut command)?;
        wait_listening(world, &mut server)?;

        let mut command = self.end("client", &OVERLAY.client_net());
        if self.variant.plain {
            command.arg(format!("{}:{PORT}", UNDERLAY.server));
        } else {
            command.env("ACTON_INVITE", &self.invite);
            if self.variant.policed {
                command.args(["--mac", MAC]);
            }
        }
        let mut processes = vec![server, Process::start(&world.client, &mut command)?];
        let http = match self.variant.watched {
            WatchedBy::Nobody => return Ok(processes),
            WatchedBy::Socket => None,
            WatchedBy::All => Some(HTTP),
        };
        for (end, host) in [("server", &world.server), ("client", &world.client)] {
            let mut command = Watcher::command(&self.control(end), http)?;
            processes.push(Process::start(host, &mut command)?);
        }
        Ok(processes)
    }

    fn network(&self) -> Network {
        Network { mtu: self.variant.mtu, ..OVERLAY }
    }
}

impl Acton {
    /// The program with what server and client are told alike.
    fn end(&self, subcommand: &str, net: &str) -> Command {
        let mut command = match self.variant.callgrind {
            Some(end) if end == subcommand => {
                let mut command = quiet(callgrind(&["--instr-atstart=no"]));
                command.arg(&self.program);
                command
            }
            _ => quiet(Command::new(&self.program)),
        };
        command.args([subcommand, "--tap-name", OVERLAY.device, "--address", net]);
        command.args(["--mtu", &self.variant.mtu.to_string()]);
        if let Some(suite) = self.variant.suite {
            command.args(["--suite", suite]);
        }
        if self.variant.plain {
            command.arg("--plain");
        }
        if self.variant.watched != WatchedBy::Nobody {
            command.arg("--control").arg(self.control(subcommand));
        }
        if self.variant.watched == WatchedBy::All {
            command.args(["--http", &HTTP.to_string()]);
        }
        // Builds before it came do not know the option.
        if !self.variant.sandbox && !self.variant.before {
            command.args(["--sandbox", "off"]);
        }
        command.arg("--state").arg(self.scratch.path(subcommand));
        command
    }

    /// The control socket of an end that is watched.
    fn control(&self, subcommand: &str) -> PathBuf {
        self.scratch.path(&format!("{subcommand}.sock"))
    }
}

/// Where an end shows itself, in its own namespace.
const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9_273);

const PROGRAM: &str = env!("CARGO_BIN_EXE_acton");

fn quiet(mut command: Command) -> Command {
    // No control socket either: the machine's own acton may have one of that name.
    command.env("ACTON_LOG_LEVEL", "warn").env("ACTON_CONTROL", "none");
    command
}
