//! What keeps strangers and one client's mistakes from taking a server's control thread and log.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use acton_proto::server::Path;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::observe::counters::{Counter, Counters};
use crate::run::running::{INBOX_LEN, Outbox};

/// Datagrams of no session that may wait for the control thread: half of what may wait at all, so
/// that a flood of them leaves room for those who have one.
const MAX_STRANGERS: usize = INBOX_LEN / 2;
/// Least time between two lines of the log on why one source got no session, and how many sources
/// have a line in that time.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
const MAX_TOLD: usize = 64;
/// Least time between two notices of the same kind from one worker.
const NOTICE_INTERVAL: Duration = Duration::from_millis(5);

/// Counts the datagrams of no session that wait for the control thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strangers {
    waiting: Arc<AtomicUsize>,
}

impl Strangers {
    /// Passes on what only the control thread can deal with, of strangers only so much.
    pub(crate) fn post<M>(
        &self,
        outbox: &Outbox<M>,
        counters: &Counters,
        stranger: bool,
        news: impl FnOnce() -> M,
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
    pub(crate) fn done(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the control thread was told last of where a session's newest datagram came from.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    last: Option<(u32, Path)>,
    at: Duration,
}

impl Noticed {
    /// Whether it should hear that the newest datagram of `id` came by `path`: while it finds out,
    /// once in a while is enough.
    pub(crate) fn is_news(&mut self, id: u32, path: Path, now: Duration) -> bool {
        if self.last == Some((id, path)) && now < self.at + NOTICE_INTERVAL {
            return false;
        }
        *self = Self { last: Some((id, path)), at: now };
        true
    }
}

/// Whom the log has told of of late, so that one client's mistake does not fill it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    sources: HashMap<IpAddr, Duration, RandomState>,
}

impl Told {
    /// Whether a line on `source` is due.
    pub(crate) fn is_due(&mut self, source: IpAddr, now: Duration) -> bool {
        if self.sources.len() >= MAX_TOLD {
            self.sources.retain(|_, told| now < *told + TELL_INTERVAL);
        }
        let known = self.sources.get(&source);
        let due = known.is_none_or(|told| now >= *told + TELL_INTERVAL);
        // Sources can be forged: past so many the log stays silent for a while.
        let due = due && self.sources.len() < MAX_TOLD;
        if due {
            self.sources.insert(source, now);
        }
        due
    }
}
