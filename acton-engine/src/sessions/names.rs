//! The sessions of a server for those who ask from outside of its threads: by name.

use std::hash::Hash;
use std::sync::Arc;

use crate::sessions::directory::Directory;
use crate::sessions::port::{LeafId, slot};
use crate::sessions::session::{Session, SessionMode};

/// Who is there, whatever the mode.
pub(crate) trait SessionNames: Send + Sync {
    /// What operators call the client with that port.
    fn name(&self, port: LeafId) -> Option<Arc<str>>;

    /// The port of a session by what operators may call it: the client's name, its UDP address or
    /// the session's number.
    fn find(&self, wanted: &str) -> Option<LeafId>;

    /// How many there are.
    fn count(&self) -> usize;
}

impl<K, M> SessionNames for Directory<K, Session<M>>
where
    K: Copy + Eq + Hash + Send + Sync,
    M: SessionMode + Send + Sync,
{
    fn name(&self, port: LeafId) -> Option<Arc<str>> {
        self.read(port, |session| Arc::clone(&session.name))
    }

    fn find(&self, wanted: &str) -> Option<LeafId> {
        let (number, address) = (wanted.parse::<usize>().ok(), wanted.parse().ok());
        let (mut by_name, mut otherwise) = (None, None);
        self.for_each(|session| {
            if *session.name == *wanted {
                by_name = Some(session.port);
            } else if number == Some(slot(session.port)) || address == Some(session.mode.address())
            {
                otherwise = Some(session.port);
            }
        });
        by_name.or(otherwise)
    }

    fn count(&self) -> usize {
        self.len()
    }
}
