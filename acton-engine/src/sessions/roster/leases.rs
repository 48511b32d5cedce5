//! The addresses that clients were given, of those that are here and those that have gone.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{CompiledPolicy, HeldNet, Leases};

use super::Roster;
use crate::sessions::session::SessionMode;

/// Clients that have gone whose leases are kept, at most.
const MAX_KEPT_LEASES: usize = 65_536;

impl<K, M> Roster<K, M>
where
    K: Copy + Eq + Hash + Send + Sync,
    M: SessionMode + Send + Sync,
{
    /// Has addresses that a client was given before be known as its own, so that they are no more where
    /// another is given them. Behind a pair of tags others may have the same ones.
    pub(super) fn hold_leases(&self, now: Duration, policy: &CompiledPolicy, leases: &Arc<Leases>) {
        if policy.vlans().is_none_or(|vlans| vlans.pair().is_none()) {
            self.floods.lease_holders.hold(leases, now);
        }
    }

    /// Keeps what a client was given, for when it comes back.
    pub(super) fn keep_leases(&mut self, now: Duration, client: M::Client, leases: &Arc<Leases>) {
        if leases.list(now).is_empty() {
            return;
        }
        if self.kept_leases.len() >= MAX_KEPT_LEASES {
            self.kept_leases.retain(|_, leases| !leases.list(now).is_empty());
        }
        if self.kept_leases.len() < MAX_KEPT_LEASES {
            self.kept_leases.insert(client, Arc::clone(leases));
        }
    }

    /// Has clients have what they were given before this server started, for so long yet each.
    pub(crate) fn restore_leases(
        &mut self,
        now: Duration,
        leases: impl IntoIterator<Item = (M::Client, HeldNet)>,
    ) {
        for (client, held) in leases {
            if self.kept_leases.len() == MAX_KEPT_LEASES && !self.kept_leases.contains_key(&client)
            {
                continue;
            }
            // Whether others may have them too is known once the client is here.
            self.kept_leases.entry(client).or_default().restore(
                &held,
                &self.floods.advertised,
                now,
            );
        }
    }

    /// What clients were given and have yet, of those that are here and those that have gone: whose,
    /// on which VLAN, and for how long.
    pub(crate) fn leases(&self, now: Duration) -> Vec<(M::Client, HeldNet)> {
        let mut all = Vec::new();
        let mut add = |client: M::Client, leases: &Leases| {
            all.extend(leases.list(now).into_iter().map(|held| (client, held)));
        };
        self.directory.for_each(|session| add(session.mode.client(), &session.policing.leases));
        self.kept_leases.iter().for_each(|(client, leases)| add(*client, leases));
        all
    }

    /// How often an address was given to a client, or given back.
    pub(crate) fn lease_changes(&self) -> u64 {
        self.floods.lease_holders.changes()
    }
}
