//! What addresses clients were given, kept from one start of a server to the next.

use std::io;
use std::time::Duration;

use acton_bridge::HeldNet;
use acton_proto::wire::Key;

use super::server::SecureRoster;
use crate::run::clock;
use crate::sessions::lease_keeper::LeaseKeeper;
use crate::sessions::lease_store::{KeptLease, LeaseStore, MAX_LEASES};

/// Has clients have what is kept, and keeps what changes from now on. What cannot be read is worth a warning, and nothing is known then.
///
/// # Errors
/// Where no thread can be made.
pub(super) fn start(
    store: Box<dyn LeaseStore>,
    roster: &mut SecureRoster,
    now: Duration,
) -> io::Result<LeaseKeeper> {
    let kept = store.read().unwrap_or_else(|error| {
        log::warn!(
            "what addresses clients were given before is not known: {error}; they are heard again \
             once their hosts renew them"
        );
        Vec::new()
    });
    let wall = wall_seconds();
    roster.restore_leases(now, kept.iter().filter_map(|lease| restored(lease, wall)));
    LeaseKeeper::start(store, roster.lease_changes())
}

fn wall_seconds() -> u64 {
    clock::wall() / 1_000_000_000
}

/// For how long a lease holds yet; `None` if it has ended. A host whose clock is not right yet, as one
/// without a battery has it until it heard the time, gives it no more than was left.
fn restored(lease: &KeptLease, wall: u64) -> Option<(Key, HeldNet)> {
    let KeptLease { client, vlan, net, from, until, left: most } = *lease;
    let left = until.checked_sub(wall).filter(|&left| left > 0)?.min(most);
    Some((client, HeldNet { vlan, net, from, left: Duration::from_secs(left) }))
}

/// What is to be kept now.
pub(super) fn snapshot(roster: &SecureRoster, now: Duration) -> Vec<KeptLease> {
    let wall = wall_seconds();
    let mut all = roster.leases(now);
    all.truncate(MAX_LEASES);
    let kept = |(client, HeldNet { vlan, net, from, left }): (Key, HeldNet)| {
        let left = left.as_secs();
        KeptLease { client, vlan, net, from, until: wall.saturating_add(left), left }
    };
    all.into_iter().map(kept).collect()
}

#[cfg(test)]
mod tests {
    use acton_bridge::LearntFrom;

    use super::*;

    #[test]
    fn what_has_ended_meanwhile_is_nobody_s() {
        let (net, from) = ("10.0.0.5/32".parse().unwrap(), LearntFrom::Dhcp);
        let lease = KeptLease { client: [7; 32], vlan: 3, net, from, until: 1_000, left: 900 };
        let left = |wall| restored(&lease, wall).map(|(_, held)| held.left.as_secs());
        assert_eq!([400, 999, 1_000, 2_000].map(left), [Some(600), Some(1), None, None]);
        assert_eq!(left(0), Some(900), "the clock is behind that of the time when it was kept");
    }
}
