//! Who gets in.

use std::sync::Arc;
use std::time::Duration;

use acton_proto::server::{Admission, AnyClient, Clients};
use acton_proto::wire::Key;
use pnet_base::MacAddr;

use super::Short;
use crate::keys::{ClientList, ListedClient, Watched};

/// How often the list is looked at for changes: a client that is taken off it is out within a
/// second.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Who gets in: whoever holds the network key, or those on a list.
#[derive(Debug)]
pub(crate) struct Admitted {
    list: Option<Arc<ClientList>>,
    watched: Option<Watched>,
    due: Duration,
}

impl Admitted {
    /// Whoever holds the network key; as soon as `watched` has a list, those on it.
    pub(crate) fn new(watched: Option<Watched>) -> Self {
        let list = watched.as_ref().and_then(Watched::list).cloned();
        Self { list, watched, due: Duration::ZERO }
    }

    /// The rule for the protocol.
    pub(crate) fn policy(&self) -> Box<dyn Clients> {
        match &self.list {
            Some(list) => Box::new(Listed(Arc::clone(list))),
            None => Box::new(AnyClient),
        }
    }

    /// When [`look`](Self::look) has something to do.
    pub(crate) fn due(&self) -> Duration {
        if self.watched.is_some() { self.due } else { Duration::MAX }
    }

    /// The new rule, where the list has changed.
    pub(crate) fn look(&mut self, now: Duration) -> Option<Box<dyn Clients>> {
        if now < self.due() {
            return None;
        }
        self.due = now + LOOK_INTERVAL;
        match self.watched.as_mut()?.poll()? {
            Ok(list) => self.replace(Some(list)),
            Err(error) => {
                log::error!("the list of clients stays as it was: {error}");
                None
            }
        }
    }

    /// The rule by the list as it is now, changed or not.
    pub(crate) fn reload(&mut self) -> Option<Box<dyn Clients>> {
        match self.watched.as_mut()?.reload() {
            Ok(list) => self.replace(list),
            Err(error) => {
                log::error!("the list of clients stays as it was: {error}");
                None
            }
        }
    }

    fn replace(&mut self, list: Option<Arc<ClientList>>) -> Option<Box<dyn Clients>> {
        if let Some(list) = &list {
            log::info!("read the list of clients again: {} on it", list.len());
        }
        self.list = list;
        Some(self.policy())
    }

    fn listed(&self, key: &Key) -> Option<&ListedClient> {
        self.list.as_ref()?.get(key)
    }

    /// What operators call a client.
    pub(crate) fn name(&self, key: &Key) -> String {
        self.listed(key).map_or_else(|| Short(key).to_string(), |client| client.name.clone())
    }

    /// How many MACs may be behind a client, where the list says so; 0 for any number.
    pub(crate) fn max_macs(&self, key: &Key) -> Option<usize> {
        self.listed(key)?.max_macs
    }

    /// The MACs that are always this client's own.
    pub(crate) fn macs(&self, key: &Key) -> &[MacAddr] {
        self.listed(key).map_or(&[], |client| &client.macs)
    }

    /// Every MAC that is always one listed client's own.
    pub(crate) fn all_macs(&self) -> impl Iterator<Item = (Key, MacAddr)> {
        let clients = self.list.iter().flat_map(|list| list.iter());
        clients.flat_map(|client| client.macs.iter().map(|&mac| (client.key, mac)))
    }
}

struct Listed(Arc<ClientList>);

impl Clients for Listed {
    fn admit(&self, client: &Key) -> Option<Admission> {
        self.0.get(client).map(|client| Admission { psk: client.psk.clone() })
    }
}
