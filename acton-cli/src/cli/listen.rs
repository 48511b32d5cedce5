//! Waits for the address that a server is to listen on.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::service::ServiceManager;

/// How often to look for the address.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How often a service manager hears that the start takes longer, and by how much each time: a look
/// that is late must not end it.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
const LONGER: Duration = Duration::from_secs(30);

/// Waits until this host has the address of `listen`, as at boot before the network is there, and says
/// so once. `false` where a signal said not to.
pub(super) fn wait_for_address(
    listen: SocketAddr,
    signals: &mut Signals,
    manager: &ServiceManager,
) -> bool {
    let mut told: Option<Instant> = None;
    while !is_here(listen) {
        if told.is_none() {
            log::warn!(
                "no interface of this host has the address {}: waiting for it; --listen names another",
                listen.ip()
            );
        }
        if told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
            manager.starting(LONGER, &format!("waiting for the address {}", listen.ip()));
            told = Some(Instant::now());
        }
        thread::sleep(LOOK_INTERVAL);
        if signals.pending().any(|signal| matches!(signal, SIGINT | SIGTERM)) {
            return false;
        }
    }
    true
}

/// Whether a socket could be bound to the address, whatever the port.
fn is_here(listen: SocketAddr) -> bool {
    let bound = UdpSocket::bind(SocketAddr::new(listen.ip(), 0));
    !matches!(bound, Err(error) if error.kind() == ErrorKind::AddrNotAvailable)
}
