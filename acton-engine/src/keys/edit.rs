//! Changes to the file of a list of clients, which keep the rest of it as it is.

use std::fs;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{ClientList, KeyError, ListedClient, clients, file, line, table};

/// The first line of a list that acton makes.
const HEADER: &str = "# Clients that may join: KEY NAME [psk=KEY] [mac=MAC]... \
    [shared-mac=MAC[/BITS]]... [max-macs=N] [strict] [trusted]\n";

impl ClientList {
    /// Adds a client at the end of the file, and says whether that made the file.
    ///
    /// # Errors
    /// Where the file has an error already or lists the client's name or key, the client's name is
    /// none, or the file cannot be written.
    pub fn add(path: &Path, client: &ListedClient) -> Result<bool, KeyError> {
        if !line::is_name(&client.name) {
            return Err(KeyError::Name { name: client.name.clone() });
        }
        let path = &real(path);
        let _lock = file::lock_beside(path)?;
        let contents = clients::read(path)?;
        let list = contents.as_ref().map(|contents| Self::parse(path, contents)).transpose()?;
        let list = list.unwrap_or_default();
        let listed = |what, other: &ListedClient| KeyError::Listed {
            path: path.to_owned(),
            what,
            name: other.name.clone(),
        };
        if let Some(other) = list.find(&client.name) {
            return Err(listed("name", other));
        }
        if let Some(other) = list.get(&client.key) {
            return Err(listed("key", other));
        }
        let old = contents.as_ref().map(|contents| contents.text.as_str());
        let text = match table::is_table(path, old.unwrap_or_default()) {
            true => table::with(old, client),
            false => with_line(old.unwrap_or(HEADER), client),
        };
        let list = Self::from_text(path, &text)?;
        let forbidden = if list.has_secrets() { file::ANY_ACCESS } else { 0 };
        let former = contents.as_ref().map(|contents| (&contents.metadata, forbidden));
        file::replace(path, &text, former)?;
        Ok(contents.is_none())
    }

    /// Removes a client's line from the file, and says how many clients are left.
    ///
    /// # Errors
    /// Where the file is not there, has an error, lists no such client, or cannot be written.
    pub fn remove(path: &Path, name: &str) -> Result<usize, KeyError> {
        let path = &real(path);
        let no_list = || KeyError::NoList { path: path.to_owned() };
        // Without the file there may be no directory to lock.
        clients::read(path)?.ok_or_else(no_list)?;
        let _lock = file::lock_beside(path)?;
        let contents = clients::read(path)?.ok_or_else(no_list)?;
        let list = Self::parse(path, &contents)?;
        if list.find(name).is_none() {
            return Err(KeyError::UnknownClient { path: path.to_owned(), name: name.to_owned() });
        }
        if table::is_table(path, &contents.text) {
            let text = table::without(&contents.text, name);
            let stays = || KeyError::TableStays { path: path.to_owned(), name: name.to_owned() };
            file::replace(path, &text.ok_or_else(stays)?, Some((&contents.metadata, 0)))?;
            return Ok(list.len() - 1);
        }
        let mut text = Zeroizing::new(String::with_capacity(contents.text.len()));
        for line in contents.text.split_inclusive('\n') {
            let is_it = line::parse(line).ok().flatten().is_some_and(|client| client.name == name);
            if !is_it {
                text.push_str(line);
            }
        }
        file::replace(path, &text, Some((&contents.metadata, 0)))?;
        Ok(list.len() - 1)
    }
}

/// The text with a client's line more.
fn with_line(old: &str, client: &ListedClient) -> Zeroizing<String> {
    let added = line::render(client);
    let mut text = Zeroizing::new(String::with_capacity(old.len() + added.len() + 2));
    text.push_str(old);
    if !old.is_empty() && !old.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&added);
    text.push('\n');
    text
}

/// The file itself where `path` is a symbolic link to it, which must stay one.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::thread;

    use acton_proto::handshake::Secret;

    use super::*;
    use crate::keys::encode_key;
    use crate::keys::file::tests::{Directory, set_mode};

    fn client(number: u8) -> ListedClient {
        ListedClient::new([number; 32], format!("client-{number}"))
    }

    #[test]
    fn a_link_to_a_list_stays_a_link() {
        let directory = Directory::new();
        let (list, link) = (directory.join("list"), directory.join("clients"));
        fs::write(&list, "").unwrap();
        symlink(&list, &link).unwrap();
        assert!(!ClientList::add(&link, &client(1)).unwrap());
        assert_eq!(ClientList::load(&list).unwrap().len(), 1);
        assert_eq!(ClientList::remove(&link, "client-1").unwrap(), 0);
        assert_eq!(ClientList::load(&list).unwrap().len(), 0);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn comments_and_order_stay() {
        let directory = Directory::new();
        let path = directory.join("clients");
        let line = |number| format!("{} client-{number} # no. {number}", encode_key(&[number; 32]));
        let text = format!("# head\n{}\r\n\n{}\n # tail", line(1), line(2));
        fs::write(&path, &text).unwrap();
        assert!(!ClientList::add(&path, &client(3)).unwrap());
        let with_3 = format!("{text}\n{} client-3\n", encode_key(&[3; 32]));
        assert_eq!(fs::read_to_string(&path).unwrap(), with_3);
        assert_eq!(ClientList::remove(&path, "client-1").unwrap(), 2);
        let without_1 = with_3.replace(&format!("{}\r\n", line(1)), "");
        assert_eq!(fs::read_to_string(&path).unwrap(), without_1);
    }

    #[test]
    fn the_first_client_makes_the_list_and_the_last_leaves_it() {
        let directory = Directory::new();
        let path = directory.join("clients");
        for none in [&path, &directory.join("nowhere/clients")] {
            assert!(matches!(ClientList::remove(none, "client-1"), Err(KeyError::NoList { .. })));
        }
        assert!(ClientList::add(&path, &client(1)).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(ClientList::remove(&path, "client-1").unwrap(), 0);
        assert!(ClientList::load(&path).unwrap().is_empty());
    }

    #[test]
    fn nothing_changes_where_it_cannot() {
        let directory = Directory::new();
        let path = directory.join("clients");
        ClientList::add(&path, &client(1)).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        let error = |client: &ListedClient| ClientList::add(&path, client).unwrap_err();
        let again = error(&ListedClient::new([2; 32], "client-1"));
        assert!(matches!(again, KeyError::Listed { what: "name", .. }), "{again}");
        let again = error(&ListedClient::new([1; 32], "other"));
        assert!(again.to_string().contains("acton revoke client-1"), "{again}");
        for name in ["", "a b", "a#b", "a\nb"] {
            assert!(matches!(error(&ListedClient::new([2; 32], name)), KeyError::Name { .. }));
        }
        let unknown = ClientList::remove(&path, "nobody").unwrap_err();
        assert!(matches!(unknown, KeyError::UnknownClient { .. }), "{unknown}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        fs::write(&path, "broken").unwrap();
        assert!(matches!(error(&client(2)), KeyError::List { line: 1, .. }));
        assert!(matches!(ClientList::remove(&path, "a"), Err(KeyError::List { line: 1, .. })));
    }

    #[test]
    fn a_secret_closes_a_list_that_others_could_read() {
        let directory = Directory::new();
        let path = directory.join("clients");
        ClientList::add(&path, &client(1)).unwrap();
        set_mode(&path, 0o644);
        ClientList::add(&path, &client(2)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
        let secret = ListedClient { psk: Some(Secret::new([7; 32])), ..client(3) };
        ClientList::add(&path, &secret).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(ClientList::load(&path).unwrap().find("client-3"), Some(&secret));
    }

    #[test]
    fn many_at_once_lose_nobody() {
        let directory = Directory::new();
        let path = directory.join("clients");
        thread::scope(|scope| {
            for number in 0..16 {
                let path = &path;
                scope.spawn(move || ClientList::add(path, &client(number)).unwrap());
            }
        });
        assert_eq!(ClientList::load(&path).unwrap().len(), 16);
    }
}
