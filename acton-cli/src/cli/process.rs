//! The process that a tunnel runs in: its log, and the settings that it follows.

use std::path::{Path, PathBuf};

use acton_engine::keys::{ClientList, State};
use acton_engine::{Handle, Listing, ServerMode, ServerSettings, Settings};
use parking_lot::Mutex;

use super::logging;
use crate::authorize::AuthorizeSocket;
use crate::config::{ConfigReport, KeyReport, Outcome, RunningConfig};
use crate::control::{AuthorizeReport, HookReport, ListReport, Process, Reloaded};
use crate::hook::Hooks;
use crate::service::ServiceManager;

/// The process of a tunnel that runs.
#[derive(Debug)]
pub(super) struct TunnelProcess {
    /// `None` where it was not started by a command line.
    config: Option<Mutex<RunningConfig>>,
    handle: Handle,
    hooks: Option<Hooks>,
    authorize: Option<AuthorizeSocket>,
    manager: ServiceManager,
}

impl TunnelProcess {
    pub(super) fn new(
        config: Option<RunningConfig>,
        handle: Handle,
        hooks: Option<Hooks>,
        manager: ServiceManager,
    ) -> Self {
        Self { config: config.map(Mutex::new), handle, hooks, authorize: None, manager }
    }

    /// The same, with the program that decides on clients.
    pub(super) fn with_authorize(self, authorize: Option<AuthorizeSocket>) -> Self {
        Self { authorize, ..self }
    }
}

impl Process for TunnelProcess {
    fn set_log(&self, levels: &str) -> Result<(), String> {
        logging::change_levels(levels)
    }

    fn config(&self) -> Option<ConfigReport> {
        self.config.as_ref().map(|config| config.lock().report(&self.handle))
    }

    fn hook(&self) -> Option<HookReport> {
        self.hooks.as_ref().map(Hooks::report)
    }

    fn authorize(&self) -> Option<AuthorizeReport> {
        self.authorize.as_ref().map(AuthorizeSocket::report)
    }

    /// The same, and the log tells what became of the settings.
    fn reload(&self, dry_run: bool) -> Result<Reloaded, String> {
        let Some(config) = &self.config else { return Ok(Reloaded::default()) };
        if dry_run {
            let keys = config.lock().reload(&self.handle, true);
            let keys = keys.map_err(|error| error.told())?;
            return Ok(Reloaded { keys, clients: self.read_list() });
        }
        let keys = self.reload_settings();
        // Also where the settings are wrong.
        let clients = self.reload_clients();
        Ok(Reloaded { keys: keys?, clients })
    }

    fn reload_clients(&self) -> Option<ListReport> {
        self.handle.reload_list().map(|read| match read {
            Ok(listed) => ListReport::Listed(listed),
            Err(error) if self.handle.listing() == Some(Listing::Unreadable) => {
                ListReport::NoList(error)
            }
            Err(error) => ListReport::Error(error),
        })
    }
}

impl TunnelProcess {
    /// Reads the settings again, and the list of clients, as on SIGHUP: the log tells what became of
    /// them.
    pub(super) fn reload_all(&self) {
        self.handle.reload();
        let _ = self.reload_settings();
    }

    /// What a reload would come to of the list of clients, which stays as it is. A long one takes time,
    /// in which nobody waits for the settings.
    fn read_list(&self) -> Option<ListReport> {
        let Settings::Server(ServerSettings { mode: ServerMode::Secure(_), .. }) =
            self.handle.settings()
        else {
            return None;
        };
        let [state, given] = {
            let config = self.config.as_ref()?.lock();
            ["state", "clients"].map(|key| config.reloader().running(key).map(PathBuf::from))
        };
        let list = State::new(state?).list_to_read(given.as_deref())?;
        Some(match (ClientList::load(&list), self.handle.listing()) {
            (Ok(read), _) => ListReport::Listed(read.len()),
            (Err(error), Some(Listing::Clients(_))) => ListReport::Error(error.to_string()),
            (Err(error), _) => ListReport::NoList(error.to_string()),
        })
    }

    fn reload_settings(&self) -> Result<Vec<KeyReport>, String> {
        let Some(config) = &self.config else { return Ok(Vec::new()) };
        let mut config = config.lock();
        let keys = config.reload(&self.handle, false).map_err(|error| {
            let why = error.told();
            log::error!("the settings stay as they were: {why}");
            self.manager.reloaded(Some(&why));
            why
        })?;
        self.manager.reloaded(None);
        let is_log = |key: &KeyReport| key.key == logging::LOG_LEVEL;
        if keys.iter().any(|key| is_log(key) && key.outcome == Outcome::Applied)
            && let Some(levels) = config.reloader().running(logging::LOG_LEVEL)
        {
            logging::set_levels(&levels.to_string_lossy());
        }
        if let Some(file) = config.reloader().file() {
            tell(file, &keys);
        }
        Ok(keys)
    }
}

fn tell(file: &Path, keys: &[KeyReport]) {
    let file = file.display();
    let of = |wanted: Outcome| {
        let keys = keys.iter().filter(|key| key.outcome == wanted);
        keys.map(|key| key.key.as_str()).collect::<Vec<_>>()
    };
    let (mut applied, mut waiting, mut beaten) =
        (of(Outcome::Applied), of(Outcome::NeedsRestart), of(Outcome::Beaten));
    for keys in [&mut applied, &mut waiting, &mut beaten] {
        keys.sort_unstable();
    }
    if applied.is_empty() {
        log::info!("read {file} again: nothing in force has changed");
    } else {
        log::info!("read {file} again; in force now: {}", applied.join(", "));
    }
    if !waiting.is_empty() {
        log::warn!("{file}: in force after a restart only: {}", waiting.join(", "));
    }
    if !beaten.is_empty() {
        log::info!(
            "{file}: the command line or the environment beats it for: {}",
            beaten.join(", ")
        );
    }
}
