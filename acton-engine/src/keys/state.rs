//! The state directory: what a server is, and what a client joins with.

use std::fs;
use std::path::{Path, PathBuf};

use acton_proto::handshake::{Secret, SystemRandom, public_key};
use acton_proto::wire::Key;

use super::file::{self, ANY_ACCESS, SMALL};
use super::network::NetworkKey;
use super::{Invite, KeyError, KeyTextError, Watched, encode_secret, parse_secret};
use crate::{Rank, ServerKeys, ServerName};

const SERVER_KEY: &str = "server.key";
pub(super) const NETWORK_KEY: &str = "network.key";
const CLIENT_KEY: &str = "client.key";
pub(super) const INVITE: &str = "invite";
const CLIENTS: &str = "clients";
/// An invite to as many servers as one may name, of the longest names, in bytes.
const LONGEST_INVITE: u64 = 16 << 10;

/// A state directory. Nothing is read or made before a method asks for it.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) directory: PathBuf,
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

impl From<ServerIdentity> for ServerKeys {
    fn from(identity: ServerIdentity) -> Self {
        Self { private_key: identity.private_key, network_key: Some(identity.network_key) }
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
    pub(super) fn present_server_identity(&self) -> Result<Option<ServerIdentity>, KeyError> {
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

    /// The same, where a server that starts with it reads a list: one that is there or should be. It may
    /// be that it cannot.
    #[must_use]
    pub fn list_to_read(&self, given: Option<&Path>) -> Option<PathBuf> {
        let path = self.clients_path(given);
        let is_there = path.try_exists().unwrap_or(true);
        let counts = given.is_some() || is_there || self.requires_list().unwrap_or_default();
        counts.then_some(path)
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

pub(super) fn parse_invite(text: &str, origin: &'static str) -> Result<Invite, KeyError> {
    text.parse().map_err(|source| KeyError::BadInvite { origin, source })
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::keys::file::tests::{Directory, set_mode};
    use crate::keys::{ClientList, ListedClient, Origin};

    pub(in crate::keys) fn name(text: &str) -> ServerName {
        ServerName::parse(text, 8080).unwrap()
    }

    pub(in crate::keys) fn foreign_invite() -> Invite {
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
    fn a_list_is_read_that_is_there_or_should_be() {
        let directory = Directory::new();
        let state = State::new(directory.path());
        state.server_identity().unwrap();
        assert_eq!(state.list_to_read(None), None);
        let outside = directory.join("outside");
        assert_eq!(state.list_to_read(Some(&outside)).as_ref(), Some(&outside));
        let list = state.clients_path(None);
        fs::write(&list, "").unwrap();
        assert_eq!(state.list_to_read(None).as_ref(), Some(&list));
        fs::remove_file(&list).unwrap();
        assert_eq!(state.list_to_read(None), None);
        state.require_list().unwrap();
        assert_eq!(state.list_to_read(None), Some(list));
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
