//! For debugging: the keys of sessions, to whoever asks for them in so many words.

use std::sync::Arc;

use super::{Role, Setup};
use crate::handshake::Split;

/// What is told of every handshake.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct KeyLogEntry<'a> {
    /// The side that tells it.
    pub role: Role,
    /// What was agreed on.
    pub setup: &'a Setup,
    /// The secrets: with them all datagrams under these keys can be read.
    pub split: &'a Split,
}

/// Gets the keys of every session, so that a capture can be decoded. Whoever reads what it writes
/// reads the traffic.
#[derive(Clone)]
pub struct KeyLog(Arc<dyn Fn(&KeyLogEntry<'_>) + Send + Sync>);

impl KeyLog {
    /// Calls `log` with the keys of every handshake, on the thread that makes it.
    pub fn new(log: impl Fn(&KeyLogEntry<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(log))
    }

    pub(crate) fn log(&self, role: Role, setup: &Setup, split: &Split) {
        (self.0)(&KeyLogEntry { role, setup, split });
    }
}

impl std::fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyLog(..)")
    }
}
