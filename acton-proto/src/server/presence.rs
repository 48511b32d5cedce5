//! Where sessions are, by address.

use std::net::SocketAddr;

use hashbrown::HashMap;

use super::limit::Source;

type Counts<K> = HashMap<K, usize, foldhash::quality::RandomState>;

/// Counts the sessions at each address and of each source.
#[derive(Debug, Default)]
pub(super) struct Presence {
    at: Counts<SocketAddr>,
    /// Those that nothing but the network key let in.
    unlisted: Counts<Source>,
    all_unlisted: usize,
}

impl Presence {
    /// Whom a HELLO from an address counts as.
    pub(super) fn source(&self, address: SocketAddr) -> Source {
        if self.at.contains_key(&address) {
            Source::Session(address)
        } else {
            Source::of(address.ip())
        }
    }

    /// Sessions of an address's source that nothing but the network key let in.
    pub(super) fn unlisted_of(&self, address: SocketAddr) -> usize {
        self.unlisted.get(&Source::of(address.ip())).copied().unwrap_or_default()
    }

    /// Sessions that nothing but the network key let in.
    pub(super) const fn unlisted(&self) -> usize {
        self.all_unlisted
    }

    pub(super) fn add(&mut self, address: SocketAddr, unlisted: bool) {
        *self.at.entry(address).or_default() += 1;
        if unlisted {
            *self.unlisted.entry(Source::of(address.ip())).or_default() += 1;
            self.all_unlisted += 1;
        }
    }

    pub(super) fn remove(&mut self, address: SocketAddr, unlisted: bool) {
        take(&mut self.at, address);
        if unlisted {
            take(&mut self.unlisted, Source::of(address.ip()));
            self.all_unlisted -= 1;
        }
    }

    pub(super) fn move_to(&mut self, from: SocketAddr, to: SocketAddr, unlisted: bool) {
        self.remove(from, unlisted);
        self.add(to, unlisted);
    }
}

fn take<K: Copy + Eq + std::hash::Hash>(counts: &mut Counts<K>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
