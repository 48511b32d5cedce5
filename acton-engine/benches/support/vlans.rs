//! Clients in two VLANs.

use std::collections::HashSet;
use std::sync::Arc;

use acton_bridge::{CompiledPolicy, Policy, VlanId, VlanRange, VlanSet, Vlans};
use acton_engine::{Admission, Admit, ClientPolicy};
use acton_proto::handshake::public_key;
use acton_proto::wire::Key;

use super::crowd::private_key;

/// The VLAN of most clients.
const OTHER: u16 = 200;

/// Admits everybody: some to what has no tag, all others to a VLAN.
#[derive(Debug, Clone)]
pub(crate) struct ByVlan(Arc<Terms>);

#[derive(Debug)]
struct Terms {
    untagged: HashSet<Key>,
    /// Of those, and of all others.
    policies: [Arc<ClientPolicy>; 2],
}

impl ByVlan {
    /// The first clients have frames without a tag.
    pub(crate) fn new(clients: usize) -> Self {
        let untagged = (0..clients).map(|number| public_key(&private_key(number))).collect();
        let none = VlanRange::new(0, 0).ok().and_then(|none| VlanSet::new(vec![none]));
        let vlans = [none.map(Vlans::Tagged), VlanId::new(OTHER).ok().map(Vlans::Access)];
        let policies = vlans.map(|vlans| {
            let mut policy = Policy::default();
            policy.vlans = vlans;
            let mut terms = ClientPolicy::default();
            terms.frames = Arc::new(CompiledPolicy::new(policy));
            Arc::new(terms)
        });
        Self(Arc::new(Terms { untagged, policies }))
    }
}

impl Admit for ByVlan {
    fn admit(&self, client: &Key) -> Option<Arc<ClientPolicy>> {
        let Terms { untagged, policies: [none, other] } = &*self.0;
        Some(Arc::clone(if untagged.contains(client) { none } else { other }))
    }
}

impl Admission for ByVlan {
    fn rules(&self) -> Arc<dyn Admit> {
        Arc::new(self.clone())
    }

    fn may_change(&self) -> bool {
        false
    }

    fn look(&mut self, _: bool) -> Option<Result<Arc<dyn Admit>, String>> {
        None
    }
}
