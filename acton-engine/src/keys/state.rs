//! The state directory: what a server is, and what a client joins with.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use acton_proto::handshake::{Secret, SystemRandom, public_key};
use acton_proto::wire::Key;

use super::file::{self, ANY_ACCESS, SMALL};
use super::invite::MAX_SERVERS;
use super::network::NetworkKey;
use super::{
    INVITE_VARIABLE, Invite, InvitedServer, KeyError, KeyTextError, Watched, encode_secret, host,
    parse_secret,
};
use crate::{ClientKeys, Rank, ServerKeys, ServerName};

const SERVER_KEY: &str = "server.key";
pub(super) const NETWORK_KEY: &str = "network.key";
const CLIENT_KEY: &str = "client.key";
const INVITE: &str = "invite";
const CLIENTS: &str = "clients";
/// An invite to as many servers as one may name, of the longest names, in bytes.
const LONGEST_INVITE: u64 = 16 << 10;

/// A state directory. Nothing is read or made before a method asks for it.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
}

/// What a server is to its clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerIdentity {
    /// The server's private key.
    pub private_key: Secret,
    /// The public key of that, which clients know the server by.
    pub public_key: Key,
    /// The key that all of the network share.
    pub network_key: Secret,
    /// Whether either of them was made just now, so that nobody can know them.
    pub created: bool,
}

impl ServerIdentity {
    /// An invite to this server at an address that its clients reach, for whoever has it.
    #[must_use]
    pub fn invite(&self, server: ServerName) -> Invite {
        Invite {
            server,
            server_key: self.public_key,
            network_key: Some(self.network_key.clone()),
            client_key: None,
            psk: None,
            rank: Rank::default(),
            others: Vec::new(),
        }
    }
}

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

impl From<ServerIdentity> for ServerKeys {
    fn from(identity: ServerIdentity) -> Self {
        Self { private_key: identity.private_key, network_key: Some(identity.network_key) }
    }
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
    /// The state in this directory, which need not be there yet.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The server's keys. The first call makes them; where several processes do it at once, all
    /// get the same.
    ///
    /// # Errors
    /// Where a file cannot be read or made, holds no key, or is open to others.
    pub fn server_identity(&self) -> Result<ServerIdentity, KeyError> {
        let (private_key, new_server) = self.load_or_make(SERVER_KEY, parse_key_file)?;
        let (network, new_network) = self.load_or_make(NETWORK_KEY, NetworkKey::parse)?;
        let public_key = public_key(&private_key);
        let created = new_server || new_network;
        Ok(ServerIdentity { private_key, public_key, network_key: network.key, created })
    }

    /// The server's keys if they are there.
    fn present_server_identity(&self) -> Result<Option<ServerIdentity>, KeyError> {
        let Some(private_key) = self.load(SERVER_KEY, parse_key_file)? else { return Ok(None) };
        let Some(network) = self.network()? else { return Ok(None) };
        let public_key = public_key(&private_key);
        let network_key = network.key;
        Ok(Some(ServerIdentity { private_key, public_key, network_key, created: false }))
    }

    /// The key of this host as a client, for invites that carry none. The first call makes it.
    ///
    /// # Errors
    /// As [`server_identity`](Self::server_identity).
    pub fn client_key(&self) -> Result<Secret, KeyError> {
        self.load_or_make(CLIENT_KEY, parse_key_file).map(|(key, _)| key)
    }

    /// The invite that was stored, if there is one.
    ///
    /// # Errors
    /// Where it cannot be read, is no invite, or is open to others.
    pub fn stored_invite(&self) -> Result<Option<Invite>, KeyError> {
        let (path, contents) = self.read(INVITE, LONGEST_INVITE)?;
        let Some(contents) = contents else { return Ok(None) };
        let invite = contents.text.parse();
        invite.map(Some).map_err(|source| KeyError::BadStoredInvite { path, source })
    }

    /// Stores an invite in place of the one that is there.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn store_invite(&self, invite: &Invite) -> Result<(), KeyError> {
        self.prepare()?;
        let mut text = invite.url();
        text.push('\n');
        file::replace(&self.directory.join(INVITE), &text, None)
    }

    /// Where the list of clients is if `given` does not say so.
    #[must_use]
    pub fn clients_path(&self, given: Option<&Path>) -> PathBuf {
        given.map_or_else(|| self.directory.join(CLIENTS), Path::to_owned)
    }

    /// The list of clients at [`clients_path`](Self::clients_path). One that was given must be
    /// there, and so must the other if this network had a list before, wherever that was; else it
    /// may come later, as `acton invite --name` makes it. As soon as there is one, that is remembered
    /// in the file of the network key, so that a list that is lost lets nobody in.
    ///
    /// # Errors
    /// Where the list cannot be read, or is not there and should be.
    pub fn watch_clients(&self, given: Option<&Path>) -> Result<Watched, KeyError> {
        let path = self.clients_path(given);
        let mut watched = Watched::new(&path)?;
        if given.is_some() && watched.list().is_none() {
            return Err(KeyError::NoList { path });
        }
        if watched.list().is_none() && self.requires_list()? {
            return Err(self.list_lost(path));
        }
        watched.follow(self.clone());
        Ok(watched)
    }

    /// Whether the network admits listed clients only, since it had a list before.
    ///
    /// # Errors
    /// Where the network key cannot be read.
    pub fn requires_list(&self) -> Result<bool, KeyError> {
        Ok(self.network()?.is_some_and(|network| network.listed))
    }

    /// What the file of the network key says.
    pub(super) fn network(&self) -> Result<Option<NetworkKey>, KeyError> {
        self.load(NETWORK_KEY, NetworkKey::parse)
    }

    /// Remembers that only listed clients get in from now on. Without a network key there is nobody
    /// yet to keep out, and nothing changes.
    ///
    /// # Errors
    /// Where the network key cannot be read or written.
    pub fn require_list(&self) -> Result<(), KeyError> {
        if self.requires_list()? {
            return Ok(());
        }
        let path = self.directory.join(NETWORK_KEY);
        if !path.exists() {
            return Ok(());
        }
        let _lock = file::lock_beside(&path)?;
        let Some(network) = self.network()? else { return Ok(()) };
        let text = NetworkKey { listed: true, ..network }.render();
        let former = fs::metadata(&path).map_err(KeyError::io("read", &path))?;
        file::replace(&path, &text, Some((&former, ANY_ACCESS)))
    }

    /// The error of a list at `path` that this network cannot do without.
    #[must_use]
    pub fn list_lost(&self, path: PathBuf) -> KeyError {
        KeyError::ListLost { path, network_key: self.directory.join(NETWORK_KEY) }
    }

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

    fn find_credentials(
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

    /// Makes the directory if need be, and refuses one that others can write to.
    pub(super) fn prepare(&self) -> Result<(), KeyError> {
        file::create_directory(&self.directory)?;
        file::check_directory(&self.directory)
    }

    fn read(&self, name: &str, most: u64) -> Result<(PathBuf, Option<file::Contents>), KeyError> {
        file::check_directory(&self.directory)?;
        let path = self.directory.join(name);
        let contents = file::read(&path, most, ANY_ACCESS)?;
        Ok((path, contents))
    }

    /// What `parse` finds in a file, if it is there.
    fn load<T>(&self, name: &str, parse: Parse<T>) -> Result<Option<T>, KeyError> {
        let (path, contents) = self.read(name, SMALL)?;
        let Some(contents) = contents else { return Ok(None) };
        parse(&contents.text).map(Some).map_err(|source| KeyError::BadKey { path, source })
    }

    /// What is in the file of a key, and whether the key was made just now.
    fn load_or_make<T>(&self, name: &str, parse: Parse<T>) -> Result<(T, bool), KeyError> {
        if let Some(key) = self.load(name, parse)? {
            return Ok((key, false));
        }
        self.prepare()?;
        let mut text = encode_secret(&Secret::generate(&mut SystemRandom));
        // It has the room: a string that grows leaves copies behind.
        text.push('\n');
        let path = self.directory.join(name);
        let made = file::create(&path, &text)?;
        // Another process may have been faster, and then its key counts.
        let key = self
            .load(name, parse)?
            .ok_or_else(|| KeyError::io("read", path)(std::io::ErrorKind::NotFound.into()))?;
        Ok((key, made))
    }
}

/// How the text of a key file is read.
type Parse<T> = fn(&str) -> Result<T, KeyTextError>;

fn parse_key_file(text: &str) -> Result<Secret, KeyTextError> {
    parse_secret(text.trim())
}

fn parse_invite(text: &str, origin: &'static str) -> Result<Invite, KeyError> {
    text.parse().map_err(|source| KeyError::BadInvite { origin, source })
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
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::keys::file::tests::{Directory, set_mode};
    use crate::keys::{ClientList, ListedClient};

    fn name(text: &str) -> ServerName {
        ServerName::parse(text, 8080).unwrap()
    }

    fn foreign_invite() -> Invite {
        Invite {
            server: name("192.0.2.9:99"),
            server_key: [9; 32],
            network_key: Some(Secret::new([8; 32])),
            client_key: Some(Secret::new([7; 32])),
            psk: Some(Secret::new([6; 32])),
            rank: Rank::default(),
            others: Vec::new(),
        }
    }

    #[test]
    fn the_first_call_makes_the_keys_and_the_second_finds_them() {
        let directory = Directory::new();
        let state = State::new(directory.join("a/b"));
        let first = state.server_identity().unwrap();
        let second = state.server_identity().unwrap();
        assert_eq!((first.created, second.created), (true, false));
        assert_eq!(first.private_key, second.private_key);
        assert_eq!(first.network_key, second.network_key);
        assert_ne!(first.network_key, first.private_key);
        assert_eq!(first.public_key, public_key(&first.private_key));
        for (path, mode) in [("a/b", 0o700), ("a/b/server.key", 0o600), ("a/b/network.key", 0o600)]
        {
            let metadata = fs::metadata(directory.join(path)).unwrap();
            assert_eq!(metadata.mode() & 0o7777, mode, "{path}");
        }
        fs::remove_file(directory.join("a/b/network.key")).unwrap();
        let third = state.server_identity().unwrap();
        assert!(third.created && third.network_key != first.network_key);
        assert_eq!(third.public_key, first.public_key);
    }

    #[test]
    fn an_anonymous_client_keeps_its_key() {
        let directory = Directory::new();
        let identity = State::new(directory.join("s")).server_identity().unwrap();
        let url = identity.invite(name("server.example")).url();
        let client = State::new(directory.join("c"));
        let found = client.find_credentials(Some(&url), None, 1).unwrap();
        assert_eq!(found.server, name("server.example:8080"));
        assert_eq!(found.server_key, identity.public_key);
        assert_eq!(found.network_key, Some(identity.network_key));
        assert_eq!((found.psk, found.origin), (None, Origin::Given));
        assert_eq!(found.private_key, client.client_key().unwrap());
        let again = client.find_credentials(Some(&url), None, 1).unwrap();
        assert_eq!(again.private_key, found.private_key);
    }

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

    #[test]
    fn bad_key_files_are_told() {
        let directory = Directory::new();
        let state = State::new(directory.path());
        let path = directory.join("server.key");
        for text in ["", "x", "\n\n"] {
            fs::write(&path, text).unwrap();
            set_mode(&path, 0o600);
            assert!(matches!(state.server_identity(), Err(KeyError::BadKey { .. })), "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        state.server_identity().unwrap();
        set_mode(&path, 0o640);
        assert!(matches!(state.server_identity(), Err(KeyError::Open { .. })));
        set_mode(&path, 0o600);
        set_mode(directory.path(), 0o777);
        for result in [state.server_identity().map(drop), state.store_invite(&foreign_invite())] {
            assert!(matches!(result, Err(KeyError::Open { fix: "go-w", .. })));
        }
    }

    #[test]
    fn a_given_list_must_be_there() {
        let directory = Directory::new();
        let state = State::new(directory.path());
        assert!(state.watch_clients(None).unwrap().list().is_none());
        let given = directory.join("other");
        assert!(matches!(state.watch_clients(Some(&given)), Err(KeyError::NoList { .. })));
        fs::write(&given, "").unwrap();
        assert!(state.watch_clients(Some(&given)).unwrap().list().unwrap().is_empty());
    }

    #[test]
    fn a_list_that_was_there_is_required_until_somebody_says_otherwise() {
        let directory = Directory::new();
        let state = State::new(directory.path());
        let network = directory.join("network.key");
        let key = state.server_identity().unwrap().network_key;
        let list = state.clients_path(None);
        let client = ListedClient::new([1; 32], "a");
        // It comes while a server runs, made by hand.
        let mut watched = state.watch_clients(None).unwrap();
        assert!(!state.requires_list().unwrap());
        ClientList::add(&list, &client).unwrap();
        assert!(watched.poll().is_none());
        watched.poll().unwrap().unwrap();
        assert!(state.requires_list().unwrap());
        assert_eq!(fs::metadata(&network).unwrap().mode() & 0o777, 0o600);
        fs::remove_file(&list).unwrap();
        for _ in 0..2 {
            let error = state.watch_clients(None).unwrap_err();
            assert!(matches!(error, KeyError::ListLost { .. }), "{error}");
            let said = error.to_string();
            for part in ["--clients", "acton invite --name", &network.display().to_string()] {
                assert!(said.contains(part), "{said}");
            }
        }
        // One elsewhere does, and an empty one admits nobody.
        let elsewhere = directory.join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        assert!(state.watch_clients(Some(&elsewhere)).unwrap().list().unwrap().is_empty());
        // The way out: the key stays, the line goes.
        let text = fs::read_to_string(&network).unwrap();
        let open: Vec<_> = text.lines().filter(|line| !line.starts_with("listed")).collect();
        fs::write(&network, open.join("\n")).unwrap();
        assert!(state.watch_clients(None).unwrap().list().is_none());
        assert_eq!(state.server_identity().unwrap().network_key, key);
    }

    #[test]
    fn the_directory_of_an_earlier_version_learns_that_it_has_a_list() {
        let directory = Directory::new();
        let state = State::new(directory.path());
        for (name, byte) in [("server.key", 1), ("network.key", 2)] {
            let text = encode_secret(&Secret::new([byte; 32]));
            file::create(&directory.join(name), &text).unwrap();
        }
        ClientList::add(&state.clients_path(None), &ListedClient::new([1; 32], "a")).unwrap();
        state.watch_clients(None).unwrap();
        // A copy of the keys alone knows it too.
        let copy = Directory::new();
        for name in ["server.key", "network.key"] {
            fs::copy(directory.join(name), copy.join(name)).unwrap();
        }
        let error = State::new(copy.path()).watch_clients(None).unwrap_err();
        assert!(matches!(error, KeyError::ListLost { .. }), "{error}");
        // Nobody has a network key that is made anew.
        fs::remove_file(copy.join("network.key")).unwrap();
        State::new(copy.path()).server_identity().unwrap();
        assert!(State::new(copy.path()).watch_clients(None).unwrap().list().is_none());
    }

    #[test]
    fn a_list_outside_is_remembered_too() {
        let directory = Directory::new();
        let state = State::new(directory.join("state"));
        state.server_identity().unwrap();
        let list = directory.join("list");
        fs::write(&list, "").unwrap();
        state.watch_clients(Some(&list)).unwrap();
        assert!(matches!(state.watch_clients(None), Err(KeyError::ListLost { .. })));
    }
}
