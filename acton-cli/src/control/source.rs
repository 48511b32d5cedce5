//! What all who ask a tunnel from outside are answered from, by whichever way they come.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use acton_engine::{Handle, SessionStatus, StatusPages};
use parking_lot::Mutex;

use crate::config::{ConfigReport, KeyReport};

use super::wire::{AuthorizeReport, DoorCounts, HookReport, ListReport};

/// What is the process's and not its tunnel's, and can be asked for and changed all the same.
pub trait Process: fmt::Debug + Send + Sync {
    /// Sets what is logged.
    ///
    /// # Errors
    /// What is wrong with the levels.
    fn set_log(&self, levels: &str) -> Result<(), String>;

    /// Where the settings come from.
    fn config(&self) -> Option<ConfigReport>;

    /// What came of the hook, where there is one.
    fn hook(&self) -> Option<HookReport>;

    /// What came of the program that decides on clients, where there is one.
    fn authorize(&self) -> Option<AuthorizeReport> {
        None
    }

    /// Reads the settings again and puts in force what can be, whole or not at all, and the list of
    /// clients; a `dry_run` only says what would become of them.
    ///
    /// # Errors
    /// Why the settings stay as they were.
    fn reload(&self, dry_run: bool) -> Result<Reloaded, String>;

    /// Reads the list of clients again, where there is one.
    fn reload_clients(&self) -> Option<ListReport>;
}

/// What came of reading the settings again.
#[derive(Debug, Clone, Default)]
pub struct Reloaded {
    /// What became of each key.
    pub keys: Vec<KeyReport>,
    /// What became of the list of clients, where it was read.
    pub clients: Option<ListReport>,
}

/// An instance, as the control socket and HTTP show it.
#[derive(Debug)]
pub struct Source {
    pub(crate) handle: Handle,
    pub(crate) name: String,
    pub(super) process: Arc<dyn Process>,
    /// What came to the control socket.
    pub(super) control: Counts,
    /// What came by HTTP, once somebody listens for it.
    pub(crate) http: OnceLock<Counts>,
    /// When the tunnel's control thread may be asked for sessions again: how busy it is with that
    /// does not grow with those who ask.
    next_page: Mutex<Instant>,
}

impl Source {
    /// The instance of this name.
    #[must_use]
    pub fn new(name: String, handle: Handle, process: Arc<dyn Process>) -> Self {
        let next_page = Mutex::new(Instant::now());
        let (control, http) = (Counts::default(), OnceLock::new());
        Self { handle, name, process, control, http, next_page }
    }

    /// What the instance is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next page, at the latest when the tunnel's control thread has had as much time for other
    /// things as the last page took it, whoever asked for that.
    pub(super) fn next_page(&self, pages: &mut StatusPages) -> Option<Vec<SessionStatus>> {
        let mut free_at = self.next_page.lock();
        thread::sleep(free_at.saturating_duration_since(Instant::now()));
        let begun = Instant::now();
        let page = pages.next();
        *free_at = Instant::now() + begun.elapsed();
        page
    }
}

/// What came to one way in.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) bad_requests: AtomicU64,
    pub(crate) too_slow: AtomicU64,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> DoorCounts {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DoorCounts {
            connections: value(&self.connections),
            refused: value(&self.refused),
            evicted: value(&self.evicted),
            bad_requests: value(&self.bad_requests),
            too_slow: value(&self.too_slow),
        }
    }
}
