//! A network key in place of the one before.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acton_proto::handshake::{Secret, SystemRandom};

use super::file::{self, ANY_ACCESS};
use super::network::{Before, NetworkKey};
use super::state::NETWORK_KEY;
use super::watch::Stamp;
use super::{ClientList, KeyError, State};
use crate::NetworkKeys;

/// What came of [`State::rotate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// Until when the key before still does; `None` where it does no more.
    pub until: Option<SystemTime>,
    /// Whether the network has a list of clients. Only those on it are told the new key: without one
    /// a server does not know who is meant to have it.
    pub listed: bool,
}

impl State {
    /// Makes another network key. For the time of `grace` the one before still does, and a server
    /// that runs tells the new one to listed clients in their sessions; without a list of clients, or
    /// with no grace, the one before does no more at once. `clients` is the list where the server is
    /// run with one elsewhere, which it may not have been able to remember; that is made up for here.
    ///
    /// # Errors
    /// Where `clients` cannot be read, there is no network key yet, the grace of the key before has not come to an end (and
    /// this one is to have some), or the file cannot be read or written.
    pub fn rotate(&self, grace: Duration, clients: Option<&Path>) -> Result<Rotation, KeyError> {
        let path = self.directory().join(NETWORK_KEY);
        let none = || KeyError::NoNetworkKey { path: path.clone() };
        if !path.exists() {
            return Err(none());
        }
        let _lock = file::lock_beside(&path)?;
        let old = self.network()?.ok_or_else(none)?;
        let now = SystemTime::now();
        if old.before.is_some_and(|before| before.end() > now) && !grace.is_zero() {
            return Err(KeyError::StillRotating { path });
        }
        clients.map(ClientList::load).transpose()?;
        let required = old.listed || clients.is_some();
        let listed = required || self.clients_path(None).exists();
        let until = (listed && !grace.is_zero()).then(|| now + grace);
        let before = until.map(|until| Before::new(old.key, until));
        let key = Secret::generate(&mut SystemRandom);
        let text = NetworkKey { key, before, listed: required }.render();
        let former = fs::metadata(&path).map_err(KeyError::io("read", &path))?;
        file::replace(&path, &text, Some((&former, ANY_ACCESS)))?;
        Ok(Rotation { until, listed })
    }

    /// Puts another network key into the invite that was stored, for all its servers that had the one
    /// before.
    ///
    /// # Errors
    /// Where there is no invite that has either, or it cannot be written.
    pub fn renew_invite(&self, before: Option<&Secret>, key: &Secret) -> Result<(), KeyError> {
        let mut stored = self.stored_invite()?;
        let keys = stored.iter_mut().flat_map(|invite| {
            let others = invite.others.iter_mut().map(|other| &mut other.network_key);
            [&mut invite.network_key].into_iter().chain(others)
        });
        let (mut renewed, mut has_it) = (false, false);
        for network_key in keys {
            has_it |= network_key.as_ref() == Some(key);
            if network_key.as_ref() == before {
                *network_key = Some(key.clone());
                renewed = true;
            }
        }
        if has_it && !renewed {
            return Ok(());
        }
        let Some(invite) = stored.filter(|_| renewed) else {
            return Err(KeyError::NoInvite {
                state: self.directory().to_owned(),
                is_server: false,
            });
        };
        self.store_invite(&invite)
    }
}

/// The file of the network key, as a server follows it.
#[derive(Debug)]
pub(super) struct FollowedKey {
    state: State,
    /// What was read last, or failed to.
    seen: Option<Stamp>,
    /// What it said.
    network: Option<NetworkKey>,
    /// Why it could not be read, until that is told.
    failed: Option<KeyError>,
    last: Option<NetworkKeys>,
}

impl FollowedKey {
    pub(super) fn new(state: State) -> Self {
        Self { state, seen: None, network: None, failed: None, last: None }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Whether only listed clients get in, as far as the file said.
    pub(super) fn is_listed(&self) -> bool {
        self.network.as_ref().is_some_and(|network| network.listed)
    }

    /// Reads the file if it has changed.
    pub(super) fn look(&mut self) {
        let path = self.state.directory().join(NETWORK_KEY);
        let stamp = stamp(&path);
        if stamp.is_some() && stamp == self.seen {
            return;
        }
        let was_there = std::mem::replace(&mut self.seen, stamp).is_some();
        let failed = match self.state.network() {
            Ok(Some(network)) => {
                (self.network, self.failed) = (Some(network), None);
                return;
            }
            // It may be put back.
            Ok(None) => KeyError::NoNetworkKey { path },
            Err(error) => error,
        };
        // One that is gone, or can no more be looked at, is told once.
        if was_there || stamp.is_some() {
            self.failed = Some(failed);
        }
    }

    /// The keys, if they are others than the last time, or why that could not be found out. The one
    /// before counts until its end, and only where `is_listed`.
    pub(super) fn poll(&mut self, is_listed: bool) -> Option<Result<NetworkKeys, KeyError>> {
        self.poll_at(SystemTime::now(), is_listed)
    }

    fn poll_at(
        &mut self,
        now: SystemTime,
        is_listed: bool,
    ) -> Option<Result<NetworkKeys, KeyError>> {
        self.look();
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let network = self.network.as_ref()?;
        // Anew each time: the wall clock may have been wrong for a while.
        let before = network.before.as_ref().filter(|before| is_listed && before.end() > now);
        let before = before.map(|before| before.key.clone());
        let keys = NetworkKeys { key: network.key.clone(), before };
        if self.last.as_ref() == Some(&keys) {
            return None;
        }
        self.last = Some(keys.clone());
        Some(Ok(keys))
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::from(&metadata))
}

impl Before {
    fn new(key: Secret, end: SystemTime) -> Self {
        let until = end.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { key, until }
    }

    fn end(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::ListedClient;
    use crate::keys::file::tests::Directory;

    const DAY: Duration = Duration::from_secs(86_400);

    fn server(directory: &Directory, listed: bool) -> (State, Secret) {
        let state = State::new(directory.path());
        let key = state.server_identity().unwrap().network_key;
        if listed {
            ClientList::add(&state.clients_path(None), &ListedClient::new([1; 32], "a")).unwrap();
        }
        (state, key)
    }

    #[test]
    fn with_a_list_the_key_before_does_for_a_while() {
        let directory = Directory::new();
        let (state, old) = server(&directory, true);
        let mut followed = FollowedKey::new(state.clone());
        let first = NetworkKeys { key: old.clone(), before: None };
        assert_eq!(followed.poll(true).unwrap().unwrap(), first);
        assert!(followed.poll(true).is_none());
        let rotation = state.rotate(DAY, None).unwrap();
        assert!(rotation.listed && rotation.until.is_some());
        let keys = followed.poll(true).unwrap().unwrap();
        assert_ne!(keys.key, old);
        assert_eq!(keys.before, Some(old));
        assert!(followed.poll(true).is_none());
        // What else the file says changes nothing, nor does a start.
        state.require_list().unwrap();
        assert!(followed.poll(true).is_none());
        assert_eq!(FollowedKey::new(state.clone()).poll(true).unwrap().unwrap(), keys);
        assert_eq!(state.server_identity().unwrap().network_key, keys.key);
        // Two at once would leave out those who know the oldest.
        assert!(matches!(state.rotate(DAY, None), Err(KeyError::StillRotating { .. })));
        state.rotate(Duration::ZERO, None).unwrap();
        let last = followed.poll(true).unwrap().unwrap();
        assert!(last.before.is_none() && last.key != keys.key);
        assert!(state.requires_list().unwrap());
    }

    #[test]
    fn the_key_before_ends_by_itself() {
        let directory = Directory::new();
        let (state, old) = server(&directory, true);
        state.rotate(DAY, None).unwrap();
        let mut followed = FollowedKey::new(state);
        let keys = followed.poll(true).unwrap().unwrap();
        let later = SystemTime::now() + DAY * 2;
        let after = followed.poll_at(later, true).unwrap().unwrap();
        assert_eq!(after, NetworkKeys { before: None, ..keys.clone() });
        assert!(followed.poll_at(later, true).is_none());
        // The clock jumped and was set right again.
        assert_eq!(keys.before, Some(old));
        assert_eq!(followed.poll(true).unwrap().unwrap(), keys);
    }

    #[test]
    fn a_server_without_a_list_tells_nobody() {
        let directory = Directory::new();
        let (state, old) = server(&directory, true);
        state.rotate(DAY, None).unwrap();
        let mut followed = FollowedKey::new(state);
        let keys = followed.poll(false).unwrap().unwrap();
        assert!(keys.before.is_none() && keys.key != old);
        assert_eq!(followed.poll(true).unwrap().unwrap().before, Some(old));
    }

    #[test]
    fn without_a_list_nobody_is_meant_to_be_told() {
        let directory = Directory::new();
        let (state, old) = server(&directory, false);
        let rotation = state.rotate(DAY, None).unwrap();
        assert_eq!(rotation, Rotation { until: None, listed: false });
        let keys = FollowedKey::new(state.clone()).poll(true).unwrap().unwrap();
        assert!(keys.before.is_none() && keys.key != old);
        let none = State::new(directory.join("none"));
        assert!(matches!(none.rotate(DAY, None), Err(KeyError::NoNetworkKey { .. })));
    }

    #[test]
    fn a_list_elsewhere_that_nobody_remembers_counts_where_it_is_named() {
        let directory = Directory::new();
        let (state, old) = server(&directory, false);
        let elsewhere = directory.join("elsewhere");
        let missing = state.rotate(DAY, Some(&elsewhere));
        assert!(matches!(missing, Err(KeyError::NoList { .. })));
        assert_eq!(state.server_identity().unwrap().network_key, old);
        ClientList::add(&elsewhere, &ListedClient::new([1; 32], "a")).unwrap();
        let rotation = state.rotate(DAY, Some(&elsewhere)).unwrap();
        assert!(rotation.listed && rotation.until.is_some());
        assert!(state.requires_list().unwrap());
    }

    #[test]
    fn a_key_that_is_gone_is_told_once() {
        let directory = Directory::new();
        let (state, _) = server(&directory, true);
        let mut followed = FollowedKey::new(state.clone());
        let keys = followed.poll(true).unwrap().unwrap();
        let path = state.directory().join(NETWORK_KEY);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(followed.poll(true), Some(Err(KeyError::NoNetworkKey { .. }))));
        assert!(followed.poll(true).is_none());
        file::create(&path, &text).unwrap();
        assert!(followed.poll(true).is_none(), "the same key is no news");
        // What cannot even be looked at: a symbolic link to itself.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert!(matches!(followed.poll(true), Some(Err(_))));
        assert!(followed.poll(true).is_none() && followed.poll(true).is_none());
        assert_eq!(followed.last, Some(keys));
    }

    #[test]
    fn an_invite_is_renewed_for_the_servers_of_that_network() {
        let directory = Directory::new();
        let (state, _) = server(&directory, false);
        let identity = state.server_identity().unwrap();
        let client = State::new(directory.join("client"));
        let name = crate::ServerName::parse("192.0.2.1", 1).unwrap();
        client.store_invite(&identity.invite(name)).unwrap();
        let [next, last, other] = [9, 10, 11].map(|byte| Secret::new([byte; 32]));
        assert!(client.renew_invite(Some(&other), &next).is_err());
        let network_key = |client: &State| client.stored_invite().unwrap().unwrap().network_key;
        for _ in 0..2 {
            client.renew_invite(Some(&identity.network_key), &next).unwrap();
            assert_eq!(network_key(&client), Some(next.clone()));
        }
        // Of two networks, that of the second alone.
        let mut invite = client.stored_invite().unwrap().unwrap();
        let mut second = invite.servers().remove(0);
        second.server = crate::ServerName::parse("192.0.2.2", 1).unwrap();
        second.network_key = Some(other.clone());
        invite.others.push(second);
        client.store_invite(&invite).unwrap();
        client.renew_invite(Some(&other), &last).unwrap();
        assert_eq!(network_key(&client), Some(next));
        let stored = client.stored_invite().unwrap().unwrap();
        assert_eq!(stored.others[0].network_key, Some(last));
    }
}
