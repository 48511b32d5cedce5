//! `acton doctor`.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use acton_engine::keys::{INVITE_VARIABLE, Invite, State as Keys};
use acton_engine::{Protocol, Role as RunningRole, ServerName};
use clap::Args;

use super::control::InstanceOptions;
use super::state::{StateOptions, print};
use super::{FAILURE, Failure, USAGE, command};
use crate::config::{Invocation, Reading, Role, toml};
use crate::doctor::{
    By, Running, Subject, Target, Tunnel, Verdict, find, gather, json, judge, text, write_bundle,
};

/// Time between keepalives where no setting says otherwise.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// The port where neither an invite nor a setting says otherwise.
const PORT: u16 = 8080;

/// Looks for what is amiss: on this host, on the way to the server, with a tunnel that runs
///
/// Each check says ok, warning, FAILED, unknown or skipped, what was measured, what is wanted, and the
/// command that mends it. Nothing is changed. Servers are asked for a session by a key that nobody
/// has. docs/DOCTOR.md has what each check means.
///
/// Exit code: 0 where nothing failed, 1 where something did, 2 where the command line is wrong.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Invites or servers whose way is looked at; without them, those of the tunnel that runs, of the
    /// settings, and of the invite that was stored
    #[arg(value_name = "INVITE|SERVER[:PORT]")]
    servers: Vec<String>,

    /// The servers that are named speak plain mode
    #[arg(long)]
    plain: bool,

    /// As JSON
    #[arg(long)]
    json: bool,

    /// Also writes a tar for a report of a fault, without keys: look at it before it is sent
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// File of settings to look at [default: /etc/acton/server.toml or client.toml]
    #[arg(long, value_name = "FILE", env = "ACTON_CONFIG")]
    config: Option<PathBuf>,

    /// Which end the file of settings is for, where its name does not say so
    #[arg(long, value_enum)]
    role: Option<Role>,

    #[command(flatten)]
    state: StateOptions,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let tunnel = self.instance.place().map_or(Tunnel::None, |place| find(&place));
        let up = tunnel.running();
        let role = self.role_of(up);
        let settings = role.and_then(|role| self.settings(role, up));
        let subject = self.subject(role, settings.as_ref(), up);
        let facts = gather(subject?, tunnel);
        let findings = judge(&facts);
        let settings = settings.and_then(|settings| settings.reading.ok());
        let settings = settings.map(|(invocation, reading)| toml(&invocation, &reading));
        if let Some(path) = &self.bundle {
            write_bundle(path, &facts, &findings, settings.as_deref()).map_err(|error| {
                Failure {
                    code: FAILURE,
                    message: format!("cannot write {}: {error}", path.display()),
                }
            })?;
        }
        print(if self.json { json(&findings)? } else { text(&findings) }.trim_end())?;
        if findings.iter().any(|finding| finding.verdict == Verdict::Failed) {
            return Err(Failure { code: FAILURE, message: String::new() });
        }
        Ok(())
    }

    /// Which end is looked at: what runs says so, the option, or the name of the file.
    fn role_of(&self, running: Option<&Running>) -> Option<Role> {
        if let Some(running) = running {
            return Some(match running.instance.role {
                RunningRole::Server => Role::Server,
                RunningRole::Client => Role::Client,
            });
        }
        let stem = self.config.as_ref().and_then(|path| path.file_stem());
        let named = Role::ALL.into_iter().find(|role| stem.is_some_and(|stem| stem == role.name()));
        let there = || Role::ALL.into_iter().find(|role| role.default_file().exists());
        self.role.or(named).or_else(|| self.config.is_none().then(there).flatten())
    }

    /// The settings of that end, as a start with this file would find them.
    fn settings(&self, role: Role, running: Option<&Running>) -> Option<Settings> {
        let of_running = running.and_then(|running| running.instance.config.as_ref()?.file.clone());
        let path = self.config.clone().or(of_running);
        let path = path.unwrap_or_else(|| role.default_file());
        if path == Path::new("none") || (self.config.is_none() && !path.exists()) {
            return None;
        }
        let arguments =
            ["acton".into(), role.name().into(), "--config".into(), path.clone().into()];
        let invocation = Invocation::new(command(), arguments.to_vec())?;
        let reading = match invocation.read() {
            Ok(reading) => Ok((invocation, reading)),
            Err(failed) => Err(failed.to_string()),
        };
        Some(Settings { path, reading })
    }

    fn subject(
        &self,
        role: Option<Role>,
        settings: Option<&Settings>,
        running: Option<&Running>,
    ) -> Result<Subject, Failure> {
        let value = |key: &str| settings.and_then(|settings| settings.value(key));
        let state = value("state").map_or_else(|| self.state.path().to_owned(), PathBuf::from);
        let port = value("port").and_then(|port| port.parse().ok()).unwrap_or(PORT);
        let stored = Keys::new(&state).stored_invite().ok().flatten();
        let mut targets = Vec::new();
        let mut bad_invites = Vec::new();
        for text in &self.servers {
            if Invite::is_meant(text) {
                match text.parse::<Invite>() {
                    Ok(invite) => targets.push(by_invite(invite)),
                    Err(error) => bad_invites.push(error.to_string()),
                }
                continue;
            }
            let name = ServerName::parse(text, port).map_err(|error| Failure {
                code: USAGE,
                message: format!("server '{text}': {error}"),
            })?;
            targets.push(Target { name, by: self.by(stored.as_ref()) });
        }
        let is_client = role.is_none_or(|role| role == Role::Client);
        if self.servers.is_empty() && is_client {
            let plain = running.map(|running| running.instance.protocol == Protocol::Plain);
            let session = running.and_then(|running| running.sessions.first()?.address);
            let by = |plain: bool| if plain { By::Plain } else { self.by(stored.as_ref()) };
            if let Some(address) = session {
                targets.push(Target { name: address.into(), by: by(plain == Some(true)) });
            } else if let Some(name) = value("server") {
                let plain = value("plain").as_deref() == Some("true");
                match ServerName::parse(&name, port) {
                    Ok(name) => targets.push(Target { name, by: by(plain) }),
                    Err(error) => bad_invites.push(error),
                }
            } else if let Some(text) = env::var(INVITE_VARIABLE).ok().filter(|it| !it.is_empty()) {
                match text.trim().parse::<Invite>() {
                    Ok(invite) => targets.push(by_invite(invite)),
                    Err(error) => bad_invites.push(format!("{INVITE_VARIABLE}: {error}")),
                }
            } else if let Some(invite) = stored {
                targets.push(by_invite(invite));
            }
        }
        let listening = running.filter(|running| running.instance.role == RunningRole::Server);
        let listening =
            listening.and_then(|running| Some(running.instance.sockets.first()?.local.port()));
        let of_settings = (role == Some(Role::Server)).then_some(port);
        let keepalive = value("keepalive").and_then(|text| text.parse().ok());
        Ok(Subject {
            state,
            list: value("clients").map(PathBuf::from),
            listens: listening.or(of_settings),
            tap: value("tap-name").or_else(|| role.map(|role| role.name().to_owned())),
            targets,
            bad_invites,
            config: settings.map(|settings| {
                (settings.path.clone(), settings.reading.as_ref().map(drop).map_err(Clone::clone))
            }),
            keepalive: keepalive.map_or(KEEPALIVE, Duration::from_secs_f64),
        })
    }

    /// How to ask a server of which only the name is known.
    fn by(&self, stored: Option<&Invite>) -> By {
        match stored {
            _ if self.plain => By::Plain,
            Some(invite) => By::Invite(Box::new(invite.clone())),
            None => By::Nothing,
        }
    }
}

fn by_invite(invite: Invite) -> Target {
    Target { name: invite.server.clone(), by: By::Invite(Box::new(invite)) }
}

/// A file of settings, and what holds with it.
struct Settings {
    path: PathBuf,
    reading: Result<(Invocation, Reading), String>,
}

impl Settings {
    /// The value of a key.
    fn value(&self, key: &str) -> Option<String> {
        let (_, reading) = self.reading.as_ref().ok()?;
        let value = reading.values.get(key)?.values.first()?;
        Some(value.to_string_lossy().into_owned())
    }
}
