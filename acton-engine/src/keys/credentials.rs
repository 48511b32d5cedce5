//! What a client joins with: what its user says, the environment and the state directory put together.

use std::env;
use std::fmt;
use std::path::PathBuf;

use acton_proto::handshake::Secret;
use acton_proto::wire::Key;

use super::invite::MAX_SERVERS;
use super::state::{INVITE, State, parse_invite};
use super::{INVITE_VARIABLE, Invite, InvitedServer, KeyError, host};
use crate::{ClientKeys, Rank, ServerName};

/// What a client needs to have a session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Credentials {
    /// Where the server is.
    pub server: ServerName,
    /// The server's public key.
    pub server_key: Key,
    /// The network key, if the network has one.
    pub network_key: Option<Secret>,
    /// The client's private key.
    pub private_key: Secret,
    /// The client's own pre-shared key, if it has one.
    pub psk: Option<Secret>,
    /// How much the client likes the server, where it has others.
    pub rank: Rank,
    /// Where they are from, to tell the user which ones are wrong.
    pub origin: Origin,
}

impl From<Credentials> for ClientKeys {
    fn from(credentials: Credentials) -> Self {
        Self {
            private_key: credentials.private_key,
            server_key: credentials.server_key,
            network_key: credentials.network_key,
            psk: credentials.psk,
        }
    }
}

/// What a user says of a server: an invite, or its name or address; and how much to like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// An invite, or a host name or an address with a port or without.
    pub server: String,
    /// How much to like it; without it the less the later it is named.
    pub rank: Option<Rank>,
}

impl Target {
    /// Reads `SERVER`, or `SERVER,priority=N,weight=N` with either or both.
    ///
    /// # Errors
    /// What is wrong with the numbers.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let server = parts.next().unwrap_or_default().to_owned();
        let mut rank: Option<Rank> = None;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            // The text itself may be half of a secret.
            let number = || {
                let wrong = || format!("{key}: a number from 0 to {}", u8::MAX);
                value.trim().parse().map_err(|_| wrong())
            };
            let rank = rank.get_or_insert_default();
            match key.trim() {
                "priority" => rank.priority = number()?,
                "weight" => rank.weight = number()?,
                _ => return Err("behind a comma stands priority=N or weight=N".to_owned()),
            }
        }
        Ok(Self { server, rank })
    }
}

/// Where credentials are from. Its text fits into a sentence: "the invite in /etc/acton/invite".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// An invite that the user gave.
    Given,
    /// An invite in the environment.
    Environment,
    /// The invite that `acton join` stored in this file.
    Stored(PathBuf),
    /// The keys of the server whose state this directory is.
    OwnServer(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("the invite that was given"),
            Self::Environment => write!(f, "the invite in {INVITE_VARIABLE}"),
            Self::Stored(path) => write!(f, "the invite in {}", path.display()),
            Self::OwnServer(path) => write!(f, "the server's keys in {}", path.display()),
        }
    }
}

impl State {
    /// What to join with. `target` is what the user said: an invite, a server's name or address
    /// (with `default_port` if it has no port), or nothing.
    ///
    /// The keys come from the first of these that there is:
    /// 1. `target`, if it is an invite,
    /// 2. the invite in the environment variable `ACTON_INVITE`,
    /// 3. for an address of this host, the keys of the server whose state this is, unless the
    ///    stored invite is that server's too and perhaps carries more,
    /// 4. the stored invite,
    /// 5. the keys of the server whose state this is, if `target` names a server.
    ///
    /// A server that `target` names stands in place of the address in the invite. That is safe:
    /// only the holder of the server's private key can answer there.
    ///
    /// # Errors
    /// Where there are no keys, with what to do, or where they cannot be read.
    pub fn client_credentials(
        &self,
        target: Option<&str>,
        default_port: u16,
    ) -> Result<Credentials, KeyError> {
        let variable = env::var(INVITE_VARIABLE).ok();
        self.find_credentials(target, variable.as_deref(), default_port)
    }

    /// The same for each of several servers, the first of which is the best: those of all invites among
    /// `targets`, and those that are named. Without any, of all servers of the invite in the
    /// environment or of the stored one. A name stands for that server of the invite that has this
    /// address, and with one that is none of them for its first server at another address.
    ///
    /// # Errors
    /// As [`client_credentials`](Self::client_credentials).
    pub fn all_credentials(
        &self,
        targets: &[Target],
        default_port: u16,
    ) -> Result<Vec<Credentials>, KeyError> {
        let variable = env::var(INVITE_VARIABLE).ok();
        self.find_all(targets, variable.as_deref(), default_port)
    }

    fn find_all(
        &self,
        targets: &[Target],
        variable: Option<&str>,
        default_port: u16,
    ) -> Result<Vec<Credentials>, KeyError> {
        if targets.is_empty() {
            return self.find_servers(None, variable, default_port);
        }
        let (mut all, mut priority) = (Vec::new(), 0_u8);
        for Target { server, rank } in targets {
            let mut found = self.find_servers(Some(server), variable, default_port)?;
            for credentials in &mut found {
                let own = credentials.rank;
                credentials.rank = match rank {
                    Some(rank) => {
                        Rank::new(rank.priority.saturating_add(own.priority), rank.weight)
                    }
                    None => Rank::new(priority.saturating_add(own.priority), own.weight),
                };
            }
            let last = found.iter().map(|credentials| credentials.rank.priority).max();
            priority = last.unwrap_or(priority).max(priority).saturating_add(1);
            all.extend(found);
        }
        for (at, one) in all.iter().enumerate() {
            let is_same = |other: &Credentials| {
                other.server == one.server && other.server_key == one.server_key
            };
            if all[..at].iter().any(is_same) {
                let problem = format!("{} is named twice", one.server);
                return Err(KeyError::Server { problem });
            }
        }
        if all.len() > MAX_SERVERS {
            return Err(KeyError::Server {
                problem: format!("{} servers are more than {MAX_SERVERS}", all.len()),
            });
        }
        Ok(all)
    }

    pub(super) fn find_credentials(
        &self,
        target: Option<&str>,
        variable: Option<&str>,
        default_port: u16,
    ) -> Result<Credentials, KeyError> {
        let mut found = self.find_servers(target, variable, default_port)?;
        Ok(found.swap_remove(0))
    }

    /// What to join with at each server that one target stands for.
    fn find_servers(
        &self,
        target: Option<&str>,
        variable: Option<&str>,
        default_port: u16,
    ) -> Result<Vec<Credentials>, KeyError> {
        let mut server = None;
        if let Some(target) = target {
            if Invite::is_meant(target) {
                return self.accept(parse_invite(target, "that was given")?, None, Origin::Given);
            }
            server = Some(parse_server(target, default_port)?);
        }
        if let Some(text) = variable.filter(|text| !text.trim().is_empty()) {
            let invite = parse_invite(text, "in the environment variable ACTON_INVITE")?;
            return self.accept(invite, server, Origin::Environment);
        }
        let stored = self.stored_invite()?;
        // Looked at only where they may count: a client need not be able to read them.
        let wants_own = stored.is_none() || server.as_ref().is_some_and(host::is_this_host);
        let own = if wants_own { self.present_server_identity()? } else { None };
        match (stored, own, server) {
            (Some(invite), Some(own), Some(server)) if invite.server_key != own.public_key => {
                self.accept(own.invite(server), None, Origin::OwnServer(self.directory.clone()))
            }
            (Some(invite), _, server) => {
                self.accept(invite, server, Origin::Stored(self.directory.join(INVITE)))
            }
            (None, Some(own), Some(server)) => {
                self.accept(own.invite(server), None, Origin::OwnServer(self.directory.clone()))
            }
            (None, own, _) => {
                Err(KeyError::NoInvite { state: self.directory.clone(), is_server: own.is_some() })
            }
        }
    }

    /// Credentials from an invite: of all its servers, or of `server` alone if it is given.
    fn accept(
        &self,
        invite: Invite,
        server: Option<ServerName>,
        origin: Origin,
    ) -> Result<Vec<Credentials>, KeyError> {
        let mut servers = invite.servers();
        if let Some(server) = server {
            let at = servers.iter().position(|invited| invited.server == server).unwrap_or(0);
            let invited = servers.swap_remove(at);
            servers = vec![InvitedServer { server, rank: Rank::default(), ..invited }];
        }
        let private_key = match invite.client_key {
            Some(key) => key,
            None => self.client_key()?,
        };
        let credentials = |invited: InvitedServer| Credentials {
            server: invited.server,
            server_key: invited.server_key,
            network_key: invited.network_key,
            private_key: private_key.clone(),
            psk: invited.psk,
            rank: invited.rank,
            origin: origin.clone(),
        };
        Ok(servers.into_iter().map(credentials).collect())
    }
}

/// Reads what is no invite. One that was mistyped must not be repeated in a message.
fn parse_server(text: &str, default_port: u16) -> Result<ServerName, KeyError> {
    if text.contains(['#', '/']) {
        let problem = "it has a # or / like an invite, but an invite begins with acton://";
        return Err(KeyError::Server { problem: problem.to_owned() });
    }
    ServerName::parse(text, default_port).map_err(|problem| KeyError::Server { problem })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::keys::file::tests::{Directory, set_mode};
    use crate::keys::state::tests::{foreign_invite, name};

    #[test]
    fn a_named_invite_needs_no_state() {
        let directory = Directory::new();
        let state = State::new(directory.join("none"));
        for (target, variable, origin) in [
            (Some(foreign_invite().url()), None, Origin::Given),
            (None, Some(foreign_invite().url()), Origin::Environment),
        ] {
            let text =
                |url: &Option<zeroize::Zeroizing<String>>| url.as_ref().map(|url| url.to_string());
            let found = state
                .find_credentials(text(&target).as_deref(), text(&variable).as_deref(), 1)
                .unwrap();
            assert_eq!(found.private_key, Secret::new([7; 32]));
            assert_eq!((found.psk, found.origin), (Some(Secret::new([6; 32])), origin));
        }
        assert!(!state.directory().exists());
    }

    #[test]
    fn where_the_keys_come_from() {
        let directory = Directory::new();
        let state = State::new(directory.path());
        let find = |target, variable| state.find_credentials(target, variable, 8080);
        let none = find(None, None).unwrap_err();
        assert!(none.to_string().contains("acton join INVITE"), "{none}");
        assert!(!none.to_string().contains("127.0.0.1"), "{none}");
        assert!(matches!(find(Some("192.0.2.1"), None), Err(KeyError::NoInvite { .. })));
        assert!(!directory.join("server.key").exists());

        // A server's host.
        let own = state.server_identity().unwrap();
        for target in ["127.0.0.1", "server.example:9"] {
            let found = find(Some(target), Some("")).unwrap();
            assert_eq!((found.server, found.server_key), (name(target), own.public_key));
            assert_eq!(found.network_key.as_ref(), Some(&own.network_key));
            assert!(matches!(found.origin, Origin::OwnServer(_)));
        }
        let hint = find(None, None).unwrap_err();
        assert!(hint.to_string().contains("acton client 127.0.0.1"), "{hint}");

        // It is a client of another server as well.
        state.store_invite(&foreign_invite()).unwrap();
        let stored = || Origin::Stored(directory.join("invite"));
        for (target, server) in [(None, "192.0.2.9:99"), (Some("192.0.2.7:7"), "192.0.2.7:7")] {
            let found = find(target, None).unwrap();
            assert_eq!((found.server, found.server_key), (name(server), [9; 32]));
            assert_eq!(found.origin, stored());
        }
        let found = find(Some("localhost"), None).unwrap();
        assert_eq!((found.server, found.server_key), (name("localhost"), own.public_key));

        // It has a named invite to its own server.
        let mut named = own.invite(name("192.0.2.1"));
        named.client_key = Some(Secret::new([3; 32]));
        state.store_invite(&named).unwrap();
        let found = find(Some("127.0.0.1"), None).unwrap();
        assert_eq!((found.private_key, found.origin), (Secret::new([3; 32]), stored()));
        assert_eq!(found.server, name("127.0.0.1"));

        // The environment says otherwise.
        let url = foreign_invite().url();
        for (target, server) in [(None, "192.0.2.9:99"), (Some("127.0.0.1"), "127.0.0.1")] {
            let found = find(target, Some(&url)).unwrap();
            assert_eq!((found.server, found.server_key), (name(server), [9; 32]));
            assert_eq!(found.origin, Origin::Environment);
        }
    }

    #[test]
    fn no_message_repeats_a_secret() {
        let directory = Directory::new();
        let state = State::new(directory.path());
        let url = foreign_invite().url();
        let keys = url.split_once('#').unwrap().1;
        let half = &url[..url.len() - 9];
        let mistyped = format!("acton:/192.0.2.9:99/#{keys}");
        for (target, variable) in
            [(Some(half), None), (None, Some(half)), (Some(&*mistyped), None), (Some(keys), None)]
        {
            let Err(error) = state.find_credentials(target, variable, 1) else {
                // Without a '#' it may be the name of a host.
                assert_eq!(target, Some(keys));
                continue;
            };
            let text = format!("{error} {error:?}");
            assert!(!text.contains(&keys[..20]), "{text}");
        }
        fs::write(directory.join("invite"), half).unwrap();
        set_mode(&directory.join("invite"), 0o600);
        let error = state.stored_invite().unwrap_err();
        assert!(error.to_string().contains("acton join"), "{error}");
        assert!(!format!("{error} {error:?}").contains(&keys[..20]));
    }
}
