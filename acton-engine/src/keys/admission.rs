//! A list of clients, as a server asks who gets in.

use std::sync::Arc;

use acton_bridge::Vlans;
use acton_proto::wire::Key;

use super::{ClientList, ListedClient, Watched};
use crate::sessions::admission::{Admission, Admit, Anybody, ClientPolicy, NetworkKeys};

impl From<&ListedClient> for ClientPolicy {
    fn from(client: &ListedClient) -> Self {
        Self {
            name: Some(client.name.clone()),
            psk: client.psk.clone(),
            macs: client.macs.clone(),
            shared_macs: client.shared_macs.clone(),
            max_macs: client.max_macs,
            strict: client.strict,
            frames: Arc::clone(&client.frames),
        }
    }
}

/// Those on the list get in.
impl Admit for ClientList {
    fn admit(&self, client: &Key) -> Option<Arc<ClientPolicy>> {
        self.get(client).map(|client| Arc::new(client.into()))
    }

    fn owners(&self) -> Vec<(Key, Arc<ClientPolicy>)> {
        let has_pair = |vlans: &Vlans| vlans.pair().is_some();
        let owners = self.iter().filter(|client| {
            !client.macs.is_empty() || client.frames.vlans().is_some_and(has_pair)
        });
        owners.map(|client| (client.key, Arc::new(client.into()))).collect()
    }

    fn clients(&self) -> Option<usize> {
        Some(self.len())
    }
}

/// What there is in place of a list that could not be read: it names nobody.
#[derive(Debug)]
struct Unreadable(String);

impl Admit for Unreadable {
    fn admit(&self, _: &Key) -> Option<Arc<ClientPolicy>> {
        None
    }

    fn clients(&self) -> Option<usize> {
        Some(0)
    }

    fn lacks_list(&self) -> Option<&str> {
        Some(&self.0)
    }
}

/// Whoever holds the network key gets in; as soon as there is a list, those on it; and nobody as long as
/// there should be one and none could be read.
impl Admission for Watched {
    fn rules(&self) -> Arc<dyn Admit> {
        match (self.list(), self.lacks_list()) {
            (Some(list), _) => Arc::clone(list) as Arc<dyn Admit>,
            (None, Some(error)) => Arc::new(Unreadable(error)),
            (None, None) => Arc::new(Anybody),
        }
    }

    fn look(&mut self, again: bool) -> Option<Result<Arc<dyn Admit>, String>> {
        let lacked = self.lacks_list().is_some();
        let looked = match again {
            true => Some(self.reload().map(|_| ())),
            false => self.poll().map(|looked| looked.map(|_| ())),
        };
        let lacks = self.lacks_list();
        if lacked && lacks.is_none() && self.list().is_none() && self.awaits_list() {
            return None; // until it is read nobody gets in, as before
        }
        if lacked != lacks.is_some() {
            return Some(Ok(self.rules())); // which say why
        }
        match looked {
            Some(Ok(())) => Some(Ok(self.rules())),
            Some(Err(error)) => Some(Err(error.to_string())),
            None => lacks.map(Err),
        }
    }

    fn network_keys(&mut self) -> Option<Result<NetworkKeys, String>> {
        Some(self.poll_network_keys()?.map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::keys::State;
    use crate::keys::file::tests::Directory;

    /// A network that was served without a list so far.
    fn server(directory: &Directory) -> (State, Watched) {
        let state = State::new(directory.path());
        state.server_identity().unwrap();
        let watched = state.watch_clients(None).unwrap();
        assert_eq!(watched.rules().clients(), None, "anybody");
        (state, watched)
    }

    fn look(watched: &mut Watched) -> Option<Result<Option<usize>, String>> {
        Some(watched.look(false)?.map(|rules| rules.clients()))
    }

    #[test]
    fn a_list_elsewhere_closes_a_server_that_does_not_read_it() {
        let directory = Directory::new();
        let (state, mut watched) = server(&directory);
        let elsewhere = directory.join("elsewhere");
        ClientList::add(&elsewhere, &ListedClient::new([1; 32], "a")).unwrap();
        state.require_list().unwrap();
        assert_eq!(look(&mut watched), Some(Ok(Some(0))), "nobody");
        assert!(watched.rules().admit(&[1; 32]).is_none());
        let error = look(&mut watched).unwrap().unwrap_err();
        assert!(error.contains("--clients"), "{error}");
        // Nor does it tell the new key to anybody.
        state.rotate(std::time::Duration::from_secs(9), None).unwrap();
        assert!(watched.network_keys().unwrap().unwrap().before.is_none());
        fs::rename(&elsewhere, watched.path()).unwrap();
        while watched.list().is_none() {
            if let Some(Ok(rules)) = watched.look(false) {
                assert!(rules.admit(&[9; 32]).is_none(), "nobody, until it is read");
            }
        }
        assert!(watched.rules().admit(&[1; 32]).is_some());
        assert!(watched.network_keys().unwrap().unwrap().before.is_some());
    }

    #[test]
    fn a_list_that_comes_lets_in_whom_it_lists_and_never_nobody() {
        let directory = Directory::new();
        let (state, mut watched) = server(&directory);
        ClientList::add(watched.path(), &ListedClient::new([1; 32], "a")).unwrap();
        state.require_list().unwrap();
        assert_eq!((look(&mut watched), look(&mut watched)), (None, Some(Ok(Some(1)))));
    }

    #[test]
    fn a_list_that_comes_and_is_wrong_lets_in_nobody() {
        let directory = Directory::new();
        let (_, mut watched) = server(&directory);
        fs::write(watched.path(), "broken").unwrap();
        assert_eq!((look(&mut watched), look(&mut watched)), (None, Some(Ok(Some(0)))));
        assert!(watched.rules().lacks_list().unwrap().contains("line 1"));
        assert!(look(&mut watched).unwrap().unwrap_err().contains("line 1"));
        fs::write(watched.path(), "").unwrap();
        assert_eq!((look(&mut watched).is_some(), look(&mut watched)), (true, Some(Ok(Some(0)))));
        assert!(watched.list().is_some());
        assert_eq!(watched.rules().lacks_list(), None);
        // One that is in force stays.
        fs::write(watched.path(), "broken").unwrap();
        assert!(watched.look(true).unwrap().is_err());
        assert_eq!((watched.rules().clients(), watched.rules().lacks_list()), (Some(0), None));
    }
}
