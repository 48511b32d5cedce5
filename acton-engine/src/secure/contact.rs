//! A client's servers, and the protocol with one of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acton_proto::client::{Client, ClientConfig, ClientStats};
use acton_proto::handshake::{QueryKeys, Random, Secret, SystemRandom};
use acton_proto::session::Keys;
use acton_proto::wire::{Datagram, Query, Reply, ServerState};

use super::ClientKeys;
use super::arrival::{datagram_size, is_too_large};
use super::client::route_to;
use super::client_worker::News;
use super::report;
use crate::observe::counters::{Counter, Counters};
use crate::reach::dial::Dial;
use crate::reach::route::Route;

/// One of a client's servers: where it is, and with what keys.
pub(super) struct Place {
    pub(super) dial: Dial<News>,
    pub(super) keys: ClientKeys,
    query_keys: QueryKeys,
    /// The question that waits for an answer.
    asked: Option<Query>,
    /// Questions in a row that had no answer.
    missed: u32,
}

impl Place {
    pub(super) fn new(dial: Dial<News>, keys: ClientKeys) -> Self {
        let query_keys = QueryKeys::new(&keys.server_key, keys.network_key.as_ref());
        Self { dial, keys, query_keys, asked: None, missed: 0 }
    }

    /// The network key from now on.
    pub(super) fn set_network_key(&mut self, key: Secret) {
        self.query_keys = QueryKeys::new(&self.keys.server_key, Some(&key));
        self.keys.network_key = Some(key);
    }

    /// Asks the server how it is, once its address is known.
    pub(super) fn ask(&mut self, now: Duration, random: &mut dyn Random, counters: &Counters) {
        self.missed = if self.asked.is_some() { self.missed.saturating_add(1) } else { 0 };
        if self.missed > 1 {
            self.dial.unpin();
        }
        // One that does not answer may be elsewhere by now.
        if self.dial.peer_address().is_none() || self.missed > 0 {
            self.dial.find(now);
        }
        self.asked = Some(self.query_keys.query(random));
        self.send_query(counters);
    }

    /// Sends the question that waits for an answer, where the server's address is known.
    fn send_query(&mut self, counters: &Counters) {
        if let Some(query) = self.asked
            && self.dial.peer_address().is_some()
        {
            let datagram = query.encode();
            let sent = self.dial.send(&datagram);
            counters.add_sent_one(&sent, datagram.len());
            counters.add(Counter::QueriesSent, 1);
        }
    }

    /// Takes what a look-up found, and asks there what has no answer yet; whether the server is no
    /// longer where it answered last.
    pub(super) fn looked_up(
        &mut self,
        now: Duration,
        result: io::Result<Vec<SocketAddr>>,
        connected: bool,
        counters: &Counters,
    ) -> bool {
        let before = self.dial.peer_address();
        let has_moved = self.dial.looked_up(now, result, connected);
        if self.dial.peer_address() != before {
            self.send_query(counters);
        }
        has_moved
    }

    /// How the server is, if this answers what it was asked.
    pub(super) fn hear(&mut self, from: SocketAddr, reply: &Reply) -> Option<ServerState> {
        let asked = self.asked.filter(|query| query.sender_id == reply.receiver_id)?;
        let state = self.query_keys.open(reply, &asked)?;
        self.asked = None;
        self.dial.answered(from);
        Some(state)
    }
}

/// The protocol with one server.
pub(super) struct Contact {
    /// The number of its [`Place`].
    pub(super) server: usize,
    pub(super) machine: Client,
    /// How datagrams go to the server now, where that is known.
    pub(super) route: Option<Route>,
    /// When that was last looked at.
    pub(super) looked: Duration,
    /// The keys to seal with, while there is a session.
    pub(super) seal: Option<Arc<Keys>>,
    /// All keys that open what comes from the server.
    pub(super) open: Vec<Arc<Keys>>,
    /// What is to be said as soon as the server's address is known.
    waiting: Vec<u8>,
    /// What of the protocol's counters is shown already.
    counted: ClientStats,
}

impl Contact {
    /// Begins with the server of this place, as far as `config` does not say otherwise.
    pub(super) fn new(
        now: Duration,
        server: usize,
        place: &Place,
        config: &ClientConfig,
        max_pmtu: u16,
    ) -> Self {
        let mut config = config.clone();
        config.private_key = place.keys.private_key.clone();
        config.server_key = place.keys.server_key;
        config.network_key = place.keys.network_key.clone();
        config.psk = place.keys.psk.clone();
        // A name's address may not be known yet.
        let address = place.dial.peer_address().or_else(|| place.dial.server().literal());
        let route = address.and_then(route_to);
        if let Some(route) = &route {
            config.pmtu = route.pmtu.min(max_pmtu);
        }
        Self {
            server,
            machine: Client::new(config, Box::new(SystemRandom), now),
            route,
            looked: now,
            seal: None,
            open: Vec::new(),
            waiting: Vec::new(),
            counted: ClientStats::default(),
        }
    }

    pub(super) fn open_and_seal(&mut self, keys: Arc<Keys>) {
        self.open.push(Arc::clone(&keys));
        self.seal = Some(keys);
    }

    /// Whether a datagram is for this one rather than for another.
    pub(super) fn expects(&self, datagram: &Datagram) -> bool {
        self.machine.expects(datagram)
    }

    /// Sends what the protocol has to say.
    pub(super) fn transmit(
        &mut self,
        dial: &mut Dial<News>,
        counters: &Counters,
        buffer: &mut Vec<u8>,
    ) {
        loop {
            buffer.clear();
            let Some(segment) = self.machine.poll_transmit(1, buffer) else { break };
            for datagram in buffer.chunks(segment.max(1)) {
                // The newest HELLO waits for the address; older ones would be stale.
                self.waiting.clear();
                // What belongs to a session goes where that is, also while a name is looked up.
                if dial.is_ready() || self.machine.keys().is_some() {
                    self.send(dial, counters, datagram);
                } else {
                    self.waiting.extend_from_slice(datagram);
                }
            }
        }
        if dial.is_ready() && !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            self.send(dial, counters, &waiting);
        }
    }

    /// Says BYE, if there is a session, which so ends.
    pub(super) fn close(
        mut self,
        now: Duration,
        dial: &mut Dial<News>,
        counters: &Counters,
        buffer: &mut Vec<u8>,
    ) {
        self.machine.close(now);
        self.waiting.clear();
        self.transmit(dial, counters, buffer);
        self.count(counters);
    }

    pub(super) fn send(&mut self, dial: &mut Dial<News>, counters: &Counters, datagram: &[u8]) {
        let sent = dial.send(datagram);
        counters.add_sent_one(&sent, datagram.len());
        if sent.is_err_and(|error| is_too_large(&error)) {
            // A probe of the path that not even the first link takes.
            self.machine.handle_too_large(datagram_size(datagram.len()));
        }
    }

    /// Shows what the protocol counts among the counters.
    pub(super) fn count(&mut self, counters: &Counters) {
        report::add_client_stats(counters, &mut self.counted, self.machine.stats());
    }
}
