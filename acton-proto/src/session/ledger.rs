//! What arrived in a session, at both ends, whatever keys it came under.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Heard, Keys};
use crate::wire::{Caps, Delivery, Report};

/// Shared by the threads that open and the state machine, for each may answer a question.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The keys that open, but for those that were not confirmed yet.
    keys: Vec<Weak<Keys>>,
    /// The id of those that seal: only what comes under them is heard.
    current: u32,
    /// What arrived under keys that open no more.
    dropped: Delivery,
    heard: Option<Heard>,
}

impl Ledger {
    /// Counts what arrives under these keys too, which seal from now on.
    pub(crate) fn add(&mut self, keys: &Arc<Keys>) {
        self.current = keys.setup().local_id;
        if !keys.setup().caps.contains(Caps::REPORT) {
            // Another process of the peer, which says nothing: what the one before said is of it.
            self.heard = None;
        }
        self.keys.push(Arc::downgrade(keys));
    }

    /// Keeps what arrived under keys that open no more.
    pub(crate) fn close(&mut self, keys: &Arc<Keys>) {
        let before = self.keys.len();
        self.keys.retain(|own| !std::ptr::eq(own.as_ptr(), Arc::as_ptr(keys)));
        if self.keys.len() < before {
            self.dropped = self.dropped.plus(keys.delivery());
        }
    }

    /// What arrived in this session.
    pub(crate) fn delivery(&self) -> Delivery {
        let keys = self.keys.iter().filter_map(Weak::upgrade);
        keys.fold(self.dropped, |sum, keys| sum.plus(keys.delivery()))
    }

    /// Takes the other end's report, in the datagram of this counter under the keys with this id. One
    /// that another has overtaken says nothing.
    pub(crate) fn hear(&mut self, now: Duration, place: (u32, u64), report: Report) {
        let is_newer = self.heard.as_ref().is_none_or(|heard| heard.is_before(place));
        if place.0 == self.current && is_newer {
            self.heard = Some(Heard::after(self.heard, now, place, report));
        }
    }

    /// What the other end reported.
    pub(crate) const fn heard(&self) -> Option<Heard> {
        self.heard
    }
}
