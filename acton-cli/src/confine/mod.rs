//! What a tunnel may do on this host, and no more: the user it runs as, the rights of root that are left
//! to each of its threads, the files it may use and the system calls it may make. docs/SERVICE.md says
//! what is allowed and why.

#[cfg(target_pointer_width = "64")]
mod filter;
#[cfg(not(target_pointer_width = "64"))]
#[path = "no_filter.rs"]
mod filter;
mod paths;
#[cfg(debug_assertions)]
mod probe;
mod rights;
mod user;

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acton_engine::ThreadKind;
use clap::ValueEnum;
use filter::Filters;
use seccompiler::apply_filter;

pub(crate) use paths::{Paths, directory_of};
pub(crate) use user::{Places, become_owner, become_user};

/// Whether a tunnel confines itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// As far as this kernel can; what it cannot is told
    Auto,
    /// Not at all
    Off,
    /// Or it does not start
    Require,
}

/// Why a tunnel that must be confined is not.
#[derive(Debug, thiserror::Error)]
#[error("--sandbox require: {0}")]
pub(crate) struct ConfineError(String);

/// What confines a tunnel. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    mode: Mode,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Or why there are none.
    filters: Result<Filters, String>,
    /// The kernel took the filter of all threads, so that it takes a worker's too.
    filters_threads: AtomicBool,
    /// Rights can be given up: a service manager may keep this process from that as from much else.
    drops_rights: AtomicBool,
}

impl Sandbox {
    /// One that does nothing yet.
    pub(crate) fn new(mode: Mode) -> Self {
        let filters = Filters::new().map_err(|error| error.to_string());
        let shared = Shared {
            filters,
            filters_threads: AtomicBool::new(false),
            drops_rights: AtomicBool::new(false),
        };
        Self { mode, shared: Arc::new(shared) }
    }

    /// Confines this thread, and those that it makes from now on, to what a tunnel needs to start and to
    /// run.
    ///
    /// # Errors
    /// Where something of it cannot be had and must be.
    pub(crate) fn enter(&self, paths: &Paths) -> Result<(), ConfineError> {
        if self.mode == Mode::Off {
            return rights::use_all().map_err(|error| {
                ConfineError(format!("cannot use the rights that this process has: {error}"))
            });
        }
        let shared = &*self.shared;
        let mut missing = Vec::new();
        match rights::keep_for_start() {
            Ok(()) => shared.drops_rights.store(true, Ordering::Relaxed),
            Err(error) => missing.push(format!(
                "giving up rights thread by thread ({error}; in a unit, SystemCallFilter=capset allows it)"
            )),
        }
        match paths.enforce() {
            Ok(true) => {}
            Ok(false) => missing.push("landlock (Linux 5.13)".to_owned()),
            Err(error) => missing.push(format!("landlock ({error})")),
        }
        let filtered =
            shared.filters.as_ref().map_err(Clone::clone).and_then(|filters| {
                apply_filter(&filters.process).map_err(|error| error.to_string())
            });
        match filtered {
            Ok(()) => shared.filters_threads.store(true, Ordering::Relaxed),
            Err(error) => missing.push(format!("seccomp ({error})")),
        }
        let missing = missing.join(", ");
        match (missing.is_empty(), self.mode) {
            (true, _) => Ok(()),
            (false, Mode::Require) => Err(ConfineError(format!("cannot be had here: {missing}"))),
            (false, _) => {
                log::warn!(
                    "not confined as far as it could be, for want of {missing}; --sandbox require makes \
                     that an error"
                );
                Ok(())
            }
        }
    }

    /// Confines a thread that begins to what it is for.
    pub(crate) fn begin(&self, kind: ThreadKind) {
        let shared = &*self.shared;
        let mut done = Ok(());
        if shared.drops_rights.load(Ordering::Relaxed) {
            done = rights::keep_for(kind).map_err(|error| error.to_string());
        }
        if let (ThreadKind::Worker, true, Ok(filters)) =
            (kind, shared.filters_threads.load(Ordering::Relaxed), &shared.filters)
        {
            let filtered = apply_filter(&filters.worker).map_err(|error| error.to_string());
            done = done.and(filtered);
        }
        if let Err(error) = done {
            // The kernel did as much for the thread that made this one: something is very wrong.
            log::error!("cannot confine a thread ({error}): ending at once");
            process::abort();
        }
        #[cfg(debug_assertions)]
        probe::attempt(kind);
    }

    /// The tunnel has started: this thread needs no more than those that only look.
    pub(crate) fn started(&self) {
        self.begin(ThreadKind::Other);
    }
}
