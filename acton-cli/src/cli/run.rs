//! Runs a tunnel until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::control::ControlOptions;
use super::http::HttpOptions;
use super::listen::wait_for_address;
use super::process::TunnelProcess;
use super::{FAILURE, Failure, USAGE};
use crate::authorize::AuthorizeSocket;
use crate::config::RunningConfig;
use crate::confine::{Paths, Sandbox};
use crate::hook::HookStarter;
use crate::service::ServiceManager;
use acton_engine::{Error, Running};

/// Who is told what happens in a tunnel.
pub(super) struct Watchers {
    pub(super) hook: Option<HookStarter>,
    pub(super) authorize: Option<AuthorizeSocket>,
}

/// Runs what `start` starts, once this host has the address to `listen` on, until SIGINT or SIGTERM, says
/// goodbye, and logs the counters; SIGUSR1 logs them at once, SIGHUP has the list of clients and the file
/// of settings read again. `watchers` are given what happens.
pub(super) fn until_signal(
    (control, http): (&ControlOptions, &HttpOptions),
    listen: Option<SocketAddr>,
    (sandbox, paths): (&Sandbox, &Paths),
    config: Option<RunningConfig>,
    Watchers { hook, authorize }: Watchers,
    start: impl FnOnce() -> Result<Running, Failure>,
) -> Result<(), Failure> {
    // Before anything is there that a signal could leave behind.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGHUP])?;
    let manager = ServiceManager::of_environment();
    let listener = http.listen()?;
    sandbox.enter(paths)?;
    if listen.is_some_and(|listen| !wait_for_address(listen, &mut signals, &manager)) {
        return Ok(());
    }
    let running = start()?;
    sandbox.started();
    let handle = running.handle();
    let hooks =
        hook.map(|hook| hook.follow(handle.clone(), control.instance(&handle))).transpose()?;
    if let Some(authorize) = &authorize {
        authorize.start()?;
    }
    let process = TunnelProcess::new(config, handle.clone(), hooks.clone(), manager.clone());
    let process = process.with_authorize(authorize.clone());
    let process = Arc::new(process);
    let source = control.source(handle.clone(), Arc::clone(&process) as _);
    let _control = control.open(Arc::clone(&source))?;
    let _http = listener.map(|listener| http.serve(listener, source)).transpose()?;
    manager.follow(handle.clone())?;
    let told = manager.clone();
    thread::Builder::new().name("acton-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => log::info!("counters: {}", handle.totals()),
                // What became of it is in the log.
                SIGHUP => told.while_reloading(|| process.reload_all()),
                _ => {
                    told.stopping("saying goodbye");
                    handle.stop();
                }
            }
        }
    })?;
    let ended = running.wait();
    if let Err(error) = &ended {
        manager.stopping(&error.to_string());
    }
    if let Some(authorize) = authorize {
        authorize.finish();
    }
    if let Some(hooks) = hooks {
        hooks.finish();
    }
    let totals = ended?;
    log::info!("ended; counters: {totals}");
    Ok(())
}

/// Why a tunnel did not start.
pub(super) fn not_started(error: Error) -> Failure {
    let code = if error.is_setting() { USAGE } else { FAILURE };
    Failure::new(code, &error)
}
