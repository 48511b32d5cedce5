//! What the benchmarks of a server with many clients share: the server in a process of its own, and
//! the clients.
#![allow(dead_code, unused_imports)] // Each benchmark takes what it needs.

pub(crate) mod background;
pub(crate) mod crowd;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod server;
pub(crate) mod vlans;

use std::error::Error;
use std::fs;
use std::path::Path;

use acton_netns::Namespace;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Raises this process's limit of open files to at least `needed`.
pub(crate) fn allow_open_files(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard.max(needed))
        .map_err(|errno| format!("{needed} open files are needed, see ulimit -Hn: {errno}").into())
}

/// Moves this process, and the servers that it starts, into a network of their own.
pub(crate) fn enter_namespace() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        // While this process has one thread, as the kernel demands.
        acton_netns::enter_user_namespace()?;
    }
    enter_network()
}

/// Moves the calling thread, and what it starts, into a network where nothing was before.
pub(crate) fn enter_network() -> Result<()> {
    Namespace::new()?.enter()?;
    silence_ipv6()
}

/// No IPv6 on devices that are made in the calling thread's namespace from now on.
pub(crate) fn silence_ipv6() -> Result<()> {
    // The kernel looks for routers on a TAP that has IPv6, and each such frame goes to all clients.
    let ipv6 = Path::new("/proc/sys/net/ipv6/conf/default/disable_ipv6");
    if ipv6.exists() {
        fs::write(ipv6, "1").map_err(|error| format!("{}: {error}", ipv6.display()))?;
    }
    Ok(())
}

/// More say nothing, fewer hide a difference.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

pub(crate) fn thousands(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}
