//! A list of clients that follows its file.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rotation::FollowedKey;
use super::{ClientList, KeyError, State};
use crate::NetworkKeys;

/// A [`ClientList`] and its file, which may change at any time.
///
/// [`poll`](Self::poll) is for a control thread that asks twice a second: one `stat` where nothing
/// changed. A change counts once a poll finds the file as the poll before left it, so that half a
/// list revokes nobody, whether it is written in place or anew.
/// Where a file is wrong, the list before it stays in force.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    list: Option<Arc<ClientList>>,
    /// What was loaded last, or failed to.
    loaded: Option<Stamp>,
    /// What the last poll saw.
    seen: Option<Stamp>,
    /// Why the file could not be read, where none could before.
    unreadable: Option<String>,
    /// What has to know as soon as there is a list.
    memory: Option<State>,
    network_key: Option<FollowedKey>,
}

/// What shows that a file is another or has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    /// Also says when its mode was mended.
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Watched {
    /// Loads the list that is at `path` now. There may be none, and one may come later.
    ///
    /// # Errors
    /// Those of [`ClientList::load`], but for a file that is not there.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let mut watched = Self {
            path: path.into(),
            list: None,
            loaded: None,
            seen: None,
            unreadable: None,
            memory: None,
            network_key: None,
        };
        watched.load(None)?;
        watched.seen = watched.loaded;
        Ok(watched)
    }

    /// Follows the network key of a state directory, and has that remember that there is a list, now
    /// or once it comes.
    pub(super) fn follow(&mut self, state: State) {
        self.network_key = Some(FollowedKey::new(state.clone()));
        self.memory = Some(state);
        self.remember();
    }

    /// The network's keys, if they are others than the last time and this is the list of a state
    /// directory, or why that could not be found out. The key before is one of them only where there
    /// is a list: it says who is to be told the other.
    pub fn poll_network_keys(&mut self) -> Option<Result<NetworkKeys, KeyError>> {
        let is_listed = self.list.is_some();
        self.network_key.as_mut()?.poll(is_listed)
    }

    /// Why nobody gets in, where that is so: there should be a list, and none could be read so far.
    pub(super) fn lacks_list(&self) -> Option<String> {
        if self.list.is_some() {
            return None;
        }
        let network_key =
            self.network_key.as_ref().filter(|key| key.is_listed() && !self.awaits_list());
        let lost = || Some(network_key?.state().list_lost(self.path.clone()).to_string());
        self.unreadable.clone().or_else(lost)
    }

    /// Whether one has come that does not rest yet, and is read soon.
    pub(super) fn awaits_list(&self) -> bool {
        self.seen.is_some() && self.seen != self.loaded
    }

    fn remember(&mut self) {
        let Some(state) = self.memory.take_if(|_| self.list.is_some()) else { return };
        if let Err(error) = state.require_list() {
            log::warn!(
                "{} cannot remember that there is a list of clients ({error}): a start without the \
                 list would let in whoever has the network key; --clients FILE demands it",
                state.directory().display()
            );
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The list in force. Without one, whoever has the network key gets in, unless
    /// this network had one before or its file cannot be read: then nobody does.
    #[must_use]
    pub fn list(&self) -> Option<&Arc<ClientList>> {
        self.list.as_ref()
    }

    /// Loads the list again if its file has changed: `Some` once for each change, with the list
    /// that is now in force, or why it is still the one before.
    pub fn poll(&mut self) -> Option<Result<Arc<ClientList>, KeyError>> {
        // First: whoever makes a list and says so makes it before.
        if let Some(key) = self.network_key.as_mut().filter(|_| self.list.is_none()) {
            key.look();
        }
        let now = match fs::metadata(&self.path) {
            Ok(metadata) => Some(Stamp::from(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let error = KeyError::io("read", &self.path)(error);
                self.note(Some(&error));
                let news = self.seen.take().is_some() | self.loaded.take().is_some();
                return news.then_some(Err(error));
            }
        };
        let before = std::mem::replace(&mut self.seen, now);
        if now == self.loaded || now != before {
            return None;
        }
        self.load(now).map(|()| self.list.clone()).transpose()
    }

    /// Loads the list again now, as on SIGHUP.
    ///
    /// # Errors
    /// Those of [`ClientList::load`]; the list before stays in force.
    pub fn reload(&mut self) -> Result<Option<Arc<ClientList>>, KeyError> {
        let now = fs::metadata(&self.path).ok().map(|metadata| Stamp::from(&metadata));
        self.load(now)?;
        Ok(self.list.clone())
    }

    /// Notes what came of a look at the file.
    fn note(&mut self, error: Option<&KeyError>) {
        self.unreadable = error.filter(|_| self.list.is_none()).map(KeyError::to_string);
    }

    /// `now` stands for what was loaded where that fails.
    fn load(&mut self, now: Option<Stamp>) -> Result<(), KeyError> {
        self.loaded = now;
        let read = ClientList::load_if_there(&self.path);
        self.note(read.as_ref().err());
        match read? {
            Some((list, metadata)) => {
                self.loaded = Some(Stamp::from(&metadata));
                self.list = Some(Arc::new(list));
                self.remember();
                Ok(())
            }
            None if self.list.is_none() => Ok(()),
            None => {
                self.loaded = None;
                Err(KeyError::ListGone { path: self.path.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::ListedClient;
    use crate::keys::file::tests::{Directory, set_mode};

    fn client(number: u8) -> ListedClient {
        ListedClient::new([number; 32], format!("client-{number}"))
    }

    /// What a poll gives: how many clients, or an error.
    fn poll(watched: &mut Watched) -> Option<Result<usize, String>> {
        let polled = watched.poll()?;
        Some(polled.map(|list| list.len()).map_err(|error| error.to_string()))
    }

    fn write_in_place(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_list_may_come_later() {
        let directory = Directory::new();
        let path = directory.join("clients");
        let mut watched = Watched::new(&path).unwrap();
        assert_eq!(poll(&mut watched), None);
        assert!(watched.list().is_none());
        ClientList::add(&path, &client(1)).unwrap();
        assert_eq!(poll(&mut watched), None);
        assert_eq!(poll(&mut watched), Some(Ok(1)));
        assert_eq!(poll(&mut watched), None);
        assert_eq!(watched.list().unwrap().len(), 1);
    }

    #[test]
    fn a_new_file_counts_once_it_rests() {
        let directory = Directory::new();
        let path = directory.join("clients");
        ClientList::add(&path, &client(1)).unwrap();
        ClientList::add(&path, &client(2)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let mut watched = Watched::new(&path).unwrap();
        assert_eq!(poll(&mut watched), None);
        ClientList::remove(&path, "client-1").unwrap();
        assert_eq!(poll(&mut watched), None);
        assert_eq!(poll(&mut watched), Some(Ok(1)));
        assert!(watched.list().unwrap().get(&[1; 32]).is_none());
        // Unlinked and written anew, as `cp` and many an editor do.
        let half = text.find('\n').unwrap() + 1;
        for written in ["", &text[..half], &text] {
            fs::remove_file(&path).unwrap();
            if written.is_empty() {
                assert_eq!(poll(&mut watched), None, "it may come back");
            }
            write_in_place(&path, written);
            assert_eq!(poll(&mut watched), None, "{written:?}");
            assert_eq!(watched.list().unwrap().len(), 1);
        }
        assert_eq!(poll(&mut watched), Some(Ok(2)));
    }

    #[test]
    fn a_file_that_is_being_written_waits_until_it_rests() {
        let directory = Directory::new();
        let path = directory.join("clients");
        ClientList::add(&path, &client(1)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let mut watched = Watched::new(&path).unwrap();
        write_in_place(&path, ""); // half of a write, which must revoke nobody
        assert_eq!(poll(&mut watched), None);
        write_in_place(&path, &text);
        assert_eq!(poll(&mut watched), None);
        assert_eq!(watched.list().unwrap().len(), 1);
        assert_eq!(poll(&mut watched), Some(Ok(1)));
        assert_eq!(poll(&mut watched), None);
        write_in_place(&path, "");
        assert_eq!(watched.reload().unwrap().unwrap().len(), 0); // SIGHUP does not wait
        assert_eq!(poll(&mut watched), None);
    }

    #[test]
    fn a_wrong_file_is_told_once_and_changes_nothing() {
        let directory = Directory::new();
        let path = directory.join("clients");
        ClientList::add(&path, &client(1)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let mut watched = Watched::new(&path).unwrap();
        write_in_place(&path, "broken\n");
        assert_eq!(poll(&mut watched), None);
        let error = poll(&mut watched).unwrap().unwrap_err();
        assert!(error.contains("line 1"), "{error}");
        assert_eq!((poll(&mut watched), watched.list().unwrap().len()), (None, 1));
        write_in_place(&path, &text);
        set_mode(&path, 0o666);
        assert_eq!(poll(&mut watched), None);
        let error = poll(&mut watched).unwrap().unwrap_err();
        assert!(error.contains("chmod go-w"), "{error}");
        assert_eq!(poll(&mut watched), None);
        set_mode(&path, 0o600); // the content is the same: the change of its mode must show
        assert_eq!(poll(&mut watched), None);
        assert_eq!(poll(&mut watched), Some(Ok(1)));
    }

    #[test]
    fn a_list_that_goes_still_holds() {
        let directory = Directory::new();
        let path = directory.join("clients");
        ClientList::add(&path, &client(1)).unwrap();
        let mut watched = Watched::new(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(poll(&mut watched), None);
        let error = poll(&mut watched).unwrap().unwrap_err();
        assert!(error.contains("is gone"), "{error}");
        assert_eq!((poll(&mut watched), watched.list().unwrap().len()), (None, 1));
        assert!(watched.reload().is_err());
        ClientList::add(&path, &client(2)).unwrap();
        assert_eq!(poll(&mut watched), None);
        assert_eq!(poll(&mut watched), Some(Ok(1)));
        assert!(watched.list().unwrap().get(&[2; 32]).is_some());
    }

    #[test]
    fn a_wrong_file_at_the_start_is_an_error() {
        let directory = Directory::new();
        let path = directory.join("clients");
        fs::write(&path, "broken").unwrap();
        assert!(matches!(Watched::new(&path), Err(KeyError::List { .. })));
    }
}
