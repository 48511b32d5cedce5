//! HELLO of clients on whom the owner has yet to decide.

use std::time::Duration;

use hashbrown::HashMap;

use super::queue::{Asking, FRESH};
use super::{Path, Server, ServerEvent};
use crate::wire::{Hello, Key};

/// Clients that wait at most, each some 400 bytes.
const MOST: usize = 8_192;

/// What waits: of each client its newest HELLO.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    waiting: HashMap<Key, Waiting, foldhash::quality::RandomState>,
    /// Whose HELLO has this mac1, so that a repeated one takes no handshake.
    by_mac1: HashMap<[u8; 16], Key, foldhash::quality::RandomState>,
}

#[derive(Debug)]
struct Waiting {
    asking: Asking,
    at: Duration,
}

impl Undecided {
    /// Whether this HELLO waits already. One that shows a cookie is to be answered where it came from.
    pub(super) fn repeats(
        &mut self,
        now: Duration,
        from: Path,
        hello: &Hello,
        proven: bool,
    ) -> bool {
        let Some(client) = self.by_mac1.get(&hello.mac1) else { return false };
        if let Some(waiting) = self.waiting.get_mut(client).filter(|_| proven) {
            waiting.asking.from = from;
            waiting.asking.hello = *hello;
            waiting.at = now;
        }
        true
    }

    /// Has a HELLO wait. `None` where there is no room, else whether its client waits since now.
    fn add(&mut self, now: Duration, client: Key, asking: Asking) -> Option<bool> {
        if self.waiting.len() >= MOST && !self.waiting.contains_key(&client) {
            return None;
        }
        self.by_mac1.insert(asking.hello.mac1, client);
        let before = self.waiting.insert(client, Waiting { asking, at: now });
        if let Some(before) = &before
            && let Some(now) = self.waiting.get(&client)
            && before.asking.hello.mac1 != now.asking.hello.mac1
        {
            self.by_mac1.remove(&before.asking.hello.mac1);
        }
        // One that has not said HELLO for so long was given up by everybody.
        Some(before.is_none_or(|before| now >= before.at + FRESH))
    }

    /// Who waits.
    pub(super) fn clients(&self) -> Vec<Key> {
        self.waiting.keys().copied().collect()
    }

    fn take(&mut self, client: &Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(client)?;
        self.by_mac1.remove(&waiting.asking.hello.mac1);
        Some(waiting)
    }
}

impl Server {
    /// Has a client wait that proved its key and its address. The owner is told once, and again where it
    /// comes back after a while; it is to call [`decided`](Self::decided) in any case.
    pub(super) fn hold(&mut self, now: Duration, client: Key, asking: Asking) {
        let path = asking.from;
        match self.undecided.add(now, client, asking) {
            Some(true) => self.events.push_back(ServerEvent::Undecided { client, path }),
            Some(false) => {}
            None => self.stats.limited += 1,
        }
    }

    /// Follows what the owner has decided on a client, as [`Clients::admit`](super::Clients::admit)
    /// says now: one that waits is answered, or is not where that is still undecided, and a session on
    /// other terms ends. It takes the same time however many clients there are.
    pub fn decided(&mut self, now: Duration, client: &Key) {
        if let Some(&slot) = self.by_client.get(client)
            && !self.regrant(slot)
        {
            self.end_removed(now, slot);
        }
        let Some(Waiting { asking, at }) = self.undecided.take(client) else { return };
        // What is older its client has given up.
        if now >= at + FRESH || self.closed {
            return;
        }
        if self.clients.admit(client).is_none() && self.clients.is_undecided(client) {
            return;
        }
        let source = self.presence.source(asking.from.remote);
        if !self.queue.push(now, source, asking) {
            self.stats.limited += 1;
        }
    }

    /// Where a client is that waits for a decision.
    #[must_use]
    pub fn undecided_path(&self, client: &Key) -> Option<Path> {
        self.undecided.waiting.get(client).map(|waiting| waiting.asking.from)
    }

    /// The number of clients that wait for a decision.
    #[must_use]
    pub fn undecided_count(&self) -> usize {
        self.undecided.waiting.len()
    }
}
