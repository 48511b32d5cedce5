//! The list of clients that a server admits.

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use acton_bridge::{CompiledPolicy, MacRange};
use acton_proto::handshake::Secret;
use acton_proto::wire::Key;
use pnet_base::MacAddr;

use super::table::{self, TableError};
use super::{KeyError, LineError, file, line};

/// The most bytes that a list may have: 65,536 clients with a PSK and several MACs each.
const MAX_LEN: u64 = 16 << 20;

/// A client that may join.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedClient {
    /// Its public key.
    pub key: Key,
    /// Its name: 1 to 63 ASCII letters, digits and any of `-_.@`.
    pub name: String,
    /// Its own pre-shared key; without one the network key counts.
    pub psk: Option<Secret>,
    /// MAC addresses that are this client's and no other's.
    pub macs: Vec<MacAddr>,
    /// MAC addresses that it takes from another client with its first frame.
    pub shared_macs: Vec<MacRange>,
    /// How many MACs may be behind it, 0 for any number; the server's setting where it is `None`.
    pub max_macs: Option<usize>,
    /// Whether it may use nothing but `macs` and `shared_macs`.
    pub strict: bool,
    /// What frames it may send and get.
    pub frames: Arc<CompiledPolicy>,
}

impl ListedClient {
    /// A client with neither PSK nor MACs nor limit, not strict.
    #[must_use]
    pub fn new(key: Key, name: impl Into<String>) -> Self {
        Self {
            key,
            name: name.into(),
            psk: None,
            macs: Vec::new(),
            shared_macs: Vec::new(),
            max_macs: None,
            strict: false,
            frames: default_policy(),
        }
    }
}

/// The clients that a server admits, by their public keys.
///
/// A text file has one client a line, and comments after `#`:
/// ```text
/// # KEY NAME [psk=KEY] [mac=MAC]... [shared-mac=MAC[/BITS]]... [max-macs=N] [strict] [trusted]
/// AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= laptop mac=02:00:00:00:00:01
/// ```
/// Or it is TOML, with a table a client and what holds for all of them: where its name ends in `.toml`,
/// or its first line that is no comment begins with a bracket:
/// ```text
/// [default]
/// allow = ["ip", "ip6", "arp"]
///
/// [client.laptop]
/// key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
/// ips = ["10.0.0.5", "2001:db8::/64"]
/// rate-in = "20M"
/// ```
/// Nobody else may write to it, and where it has a PSK nobody else may read it. An empty list
/// admits nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientList {
    by_key: HashMap<Key, ListedClient>,
}

impl ClientList {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it is not there, is open to others, or has a line that is wrong, which is named.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let (list, _) =
            Self::load_if_there(path)?.ok_or_else(|| KeyError::NoList { path: path.to_owned() })?;
        Ok(list)
    }

    /// Reads a file and what the kernel knew of it just before; `None` if it is not there.
    pub(super) fn load_if_there(path: &Path) -> Result<Option<(Self, Metadata)>, KeyError> {
        let Some(contents) = read(path)? else { return Ok(None) };
        let list = Self::parse(path, &contents)?;
        Ok(Some((list, contents.metadata)))
    }

    /// Reads the text of `path`.
    pub(super) fn parse(path: &Path, contents: &file::Contents) -> Result<Self, KeyError> {
        let list = Self::from_text(path, &contents.text)?;
        if list.has_secrets() {
            file::check(path, &contents.metadata, file::ANY_ACCESS)?;
        }
        Ok(list)
    }

    /// Reads a text of either kind.
    pub(super) fn from_text(path: &Path, text: &str) -> Result<Self, KeyError> {
        let path = path.to_owned();
        if table::is_table(&path, text) {
            return table::parse(text).map_err(|TableError { line, column, problem }| {
                KeyError::Table { path, line, column, problem }
            });
        }
        Self::from_lines(text).map_err(|(line, problem)| KeyError::List { path, line, problem })
    }

    /// Reads lines; where one is wrong, its number.
    pub(super) fn from_lines(text: &str) -> Result<Self, (usize, LineError)> {
        let mut collected = Collected::default();
        for (number, line) in (1..).zip(text.lines()) {
            let Some(client) = line::parse(line).map_err(|problem| (number, problem))? else {
                continue;
            };
            collected.add(client, number).map_err(|problem| (number, problem))?;
        }
        Ok(collected.list())
    }

    /// The client with this public key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&ListedClient> {
        self.by_key.get(key)
    }

    /// The client of this name. It looks at all of them.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&ListedClient> {
        self.iter().find(|client| client.name == name)
    }

    /// All clients, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &ListedClient> {
        self.by_key.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether nobody is admitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether nobody but the owner may read the file.
    pub(super) fn has_secrets(&self) -> bool {
        self.iter().any(|client| client.psk.is_some())
    }
}

/// A list in the making: no key, name or MAC is there twice.
#[derive(Default)]
pub(super) struct Collected {
    list: ClientList,
    keys: HashMap<Key, usize>,
    names: HashMap<String, usize>,
    macs: HashMap<MacAddr, usize>,
}

impl Collected {
    /// Adds the client of this line.
    pub(super) fn add(&mut self, client: ListedClient, line: usize) -> Result<(), LineError> {
        if let Some(first) = self.keys.insert(client.key, line) {
            return Err(LineError::KeyAgain(first));
        }
        if let Some(first) = self.names.insert(client.name.clone(), line) {
            return Err(LineError::NameAgain(first));
        }
        for &mac in &client.macs {
            if let Some(first) = self.macs.insert(mac, line) {
                return Err(LineError::MacAgain(mac, first));
            }
        }
        self.list.by_key.insert(client.key, client);
        Ok(())
    }

    pub(super) fn list(self) -> ClientList {
        self.list
    }
}

/// The policy of those who have none of their own: one for all.
fn default_policy() -> Arc<CompiledPolicy> {
    static DEFAULT: LazyLock<Arc<CompiledPolicy>> = LazyLock::new(Arc::default);
    Arc::clone(&DEFAULT)
}

/// Reads the file of a list, whatever it says.
pub(super) fn read(path: &Path) -> Result<Option<file::Contents>, KeyError> {
    file::read(path, MAX_LEN, file::WRITE_ACCESS)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::keys::file::tests::{Directory, set_mode};
    use crate::keys::line::tests::{KEY, any_client};
    use crate::keys::{encode_key, parse_key};

    const OTHER: &str = "//////////////////////////////////////////8=";

    #[test]
    fn a_list_with_comments() {
        let text = format!("# the office\n\n{KEY} a # Ann's\r\n  {OTHER} b max-macs=2\n#end");
        let list = ClientList::from_lines(&text).unwrap();
        assert_eq!((list.len(), list.is_empty()), (2, false));
        assert_eq!(list.get(&parse_key(KEY).unwrap()).unwrap().name, "a");
        assert_eq!(list.find("b").unwrap().max_macs, Some(2));
        assert_eq!((list.find("c"), list.get(&[7; 32])), (None, None));
        assert!(ClientList::from_lines("# nobody\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_there_twice_is_refused_with_both_lines() {
        let mac = MacAddr::new(2, 0, 0, 0, 0, 1);
        for (second, error) in [
            (format!("{KEY} b"), LineError::KeyAgain(2)),
            (format!("{OTHER} a"), LineError::NameAgain(2)),
            (format!("{OTHER} b mac={mac}"), LineError::MacAgain(mac, 2)),
        ] {
            let text = format!("# first\n{KEY} a mac={mac}\n\n{second}\n");
            assert_eq!(ClientList::from_lines(&text), Err((4, error)), "{second}");
        }
    }

    #[test]
    fn an_error_names_file_and_line_and_what_to_write() {
        let directory = Directory::new();
        let path = directory.join("clients");
        fs::write(&path, format!("{KEY} a\nbob\n")).unwrap();
        let error = ClientList::load(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}, line 2: ", path.display())), "{error}");
        assert!(error.contains("KEY NAME [psk=KEY]"), "{error}");
        let missing = ClientList::load(&directory.join("none")).unwrap_err().to_string();
        assert!(missing.contains("acton invite --name"), "{missing}");
    }

    #[test]
    fn others_may_read_public_keys_but_no_secret_and_write_nothing() {
        let directory = Directory::new();
        let path = directory.join("clients");
        fs::write(&path, format!("{KEY} a")).unwrap();
        set_mode(&path, 0o644);
        assert_eq!(ClientList::load(&path).unwrap().len(), 1);
        set_mode(&path, 0o664);
        assert!(matches!(ClientList::load(&path), Err(KeyError::Open { .. })));
        fs::write(&path, format!("{KEY} a psk={OTHER}")).unwrap();
        set_mode(&path, 0o644);
        assert!(matches!(ClientList::load(&path), Err(KeyError::Open { .. })));
        set_mode(&path, 0o600);
        assert_eq!(ClientList::load(&path).unwrap().len(), 1);
    }

    #[test]
    fn debug_tells_no_secret() {
        let list = ClientList::from_lines(&format!("{KEY} a psk={OTHER}")).unwrap();
        assert!(!format!("{list:?}").contains("255"), "{list:?}");
    }

    proptest! {
        #[test]
        fn lists_come_back(clients in proptest::collection::vec(any_client(), 0..8)) {
            let lines = clients.iter().map(|client| format!("{}\n", *line::render(client)));
            let text: String = lines.collect();
            match ClientList::from_lines(&text) {
                Ok(list) => {
                    prop_assert_eq!(list.len(), clients.len());
                    for client in &clients {
                        prop_assert_eq!(list.get(&client.key), Some(client));
                    }
                }
                Err((_, problem)) => prop_assert!(matches!(
                    problem,
                    LineError::KeyAgain(_) | LineError::NameAgain(_) | LineError::MacAgain(..)
                )),
            }
        }

        #[test]
        fn any_text_is_a_list_or_an_error(
            lines in proptest::collection::vec(("[ -~]{0,30}", any::<Option<Key>>()), 0..8),
        ) {
            let line = |(rest, key): &(String, Option<Key>)| {
                format!("{} {rest}\n", key.as_ref().map(encode_key).unwrap_or_default())
            };
            let text: String = lines.iter().map(line).collect();
            if let Ok(list) = ClientList::from_lines(&text) {
                prop_assert!(list.len() <= lines.len());
            }
        }
    }
}
