//! A list of clients, as a server asks who gets in.

use std::sync::Arc;

use acton_proto::wire::Key;

use super::{ClientList, ListedClient, Watched};
use crate::sessions::admission::{Admission, Admit, Anybody, ClientPolicy, NetworkKeys};

impl From<&ListedClient> for ClientPolicy {
    fn from(client: &ListedClient) -> Self {
        Self {
            name: Some(client.name.clone()),
            psk: client.psk.clone(),
            macs: client.macs.clone(),
            max_macs: client.max_macs,
            strict: client.strict,
        }
    }
}

/// Those on the list get in.
impl Admit for ClientList {
    fn admit(&self, client: &Key) -> Option<Arc<ClientPolicy>> {
        self.get(client).map(|client| Arc::new(client.into()))
    }

    fn owners(&self) -> Vec<(Key, Arc<ClientPolicy>)> {
        let owners = self.iter().filter(|client| !client.macs.is_empty());
        owners.map(|client| (client.key, Arc::new(client.into()))).collect()
    }

    fn clients(&self) -> Option<usize> {
        Some(self.len())
    }
}

/// Whoever holds the network key gets in; as soon as there is a list, those on it.
impl Admission for Watched {
    fn rules(&self) -> Arc<dyn Admit> {
        match self.list() {
            Some(list) => Arc::clone(list) as Arc<dyn Admit>,
            None => Arc::new(Anybody),
        }
    }

    fn look(&mut self, again: bool) -> Option<Result<Arc<dyn Admit>, String>> {
        let looked = match again {
            true => self.reload().map(|_| ()),
            false => self.poll()?.map(|_| ()),
        };
        Some(match looked {
            Ok(()) => Ok(self.rules()),
            Err(error) => Err(error.to_string()),
        })
    }

    fn network_keys(&mut self) -> Option<Result<NetworkKeys, String>> {
        Some(self.poll_network_keys()?.map_err(|error| error.to_string()))
    }
}
