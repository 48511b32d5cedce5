//! The rights of root that a thread has (capabilities(7)): the kernel keeps them thread by thread.

use std::collections::HashSet;

use acton_engine::ThreadKind;
use caps::errors::CapsError;
use caps::{CapSet, Capability};
use nix::unistd::geteuid;

/// What a tunnel needs to start: to program its TAP, to bind a port under 1024, and to open
/// /dev/net/tun where that is for root alone.
const START: [Capability; 3] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_NET_BIND_SERVICE, Capability::CAP_DAC_OVERRIDE];
/// What root needs all along: to use files of others, and to give the control socket to a group.
const ROOT: [Capability; 2] = [Capability::CAP_DAC_OVERRIDE, Capability::CAP_CHOWN];

/// Keeps what a tunnel needs to start.
///
/// # Errors
/// Where the system lets nobody give up rights.
pub(super) fn keep_for_start() -> Result<(), CapsError> {
    let root = if geteuid().is_root() { &ROOT[..] } else { &[] };
    keep(&[&START, root].concat())?;
    use_all()
}

/// Has all rights that this thread may have be in effect.
///
/// # Errors
/// Where the system does not let it.
pub(super) fn use_all() -> Result<(), CapsError> {
    // A change of user left them permitted alone, so that nothing was read by root's rights since.
    let permitted = caps::read(None, CapSet::Permitted)?;
    if caps::read(None, CapSet::Effective)? != permitted {
        caps::set(None, CapSet::Effective, &permitted)?;
    }
    Ok(())
}

/// Keeps what a tunnel needs to start for when it does so.
///
/// # Errors
/// As [`keep_for_start`].
pub(super) fn keep_for_later() -> Result<(), CapsError> {
    keep(&START)
}

/// Keeps what such a thread needs while the tunnel runs: the MTU, addresses and bridge of a TAP are the
/// control thread's to change, and what a bridge knows at the TAP is a thread's of its own. Root alone still has what it needs to read files of others.
///
/// # Errors
/// As [`keep_for_start`].
pub(super) fn keep_for(kind: ThreadKind) -> Result<(), CapsError> {
    let files = if geteuid().is_root() { &ROOT[..] } else { &[] };
    match kind {
        ThreadKind::Worker => keep(&[]),
        ThreadKind::BridgePort => keep(&START[..1]),
        ThreadKind::Control => keep(&[&START[..1], files].concat()),
        _ => keep(files),
    }
}

/// Gives up all others; what this thread has not got, it does not get.
fn keep(wanted: &[Capability]) -> Result<(), CapsError> {
    let wanted: HashSet<_> = wanted.iter().copied().collect();
    // In this order: one that is not permitted cannot be in effect.
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        let present = caps::read(None, set)?;
        let kept: HashSet<_> = match set {
            CapSet::Ambient | CapSet::Inheritable => HashSet::new(),
            _ => present.intersection(&wanted).copied().collect(),
        };
        if kept != present {
            caps::set(None, set, &kept)?;
        }
    }
    Ok(())
}
