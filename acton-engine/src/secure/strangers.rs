//! What keeps strangers from taking a control thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::observe::counters::{Counter, Counters};
use crate::run::control::{INBOX_LEN, Outbox};

/// Datagrams of no session that may wait for the control thread: half of what may wait at all, so
/// that a flood of them leaves room for those who have one.
const MAX_STRANGERS: usize = INBOX_LEN / 2;

/// Counts the datagrams of no session that wait for the control thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Strangers {
    waiting: Arc<AtomicUsize>,
}

impl Strangers {
    /// Passes on what only the control thread can deal with, of strangers only so much.
    pub(super) fn post<N>(
        &self,
        outbox: &Outbox<N>,
        counters: &Counters,
        stranger: bool,
        news: impl FnOnce() -> N,
    ) {
        if !stranger {
            outbox.post(news());
            return;
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_STRANGERS {
            self.done();
            return counters.add(Counter::ControlBusy, 1);
        }
        if !outbox.post(news()) {
            self.done();
        }
    }

    /// One of them waits no more.
    pub(super) fn done(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
