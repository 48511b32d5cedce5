//! Those who asked for a multicast group: all of them, or those in few VLANs.

use std::sync::Arc;

use acton_bridge::Receivers;

use crate::sessions::port::{LeafId, slot};
use crate::sessions::slot_set::SlotSet;

/// Clients that get a group. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct GroupAudience {
    receivers: Receivers<LeafId>,
    /// Clients in many VLANs, which are none of them, and how many are left.
    without: Option<(Arc<SlotSet>, usize)>,
    has_wide: bool,
}

impl GroupAudience {
    /// Whoever asked for it; whether any is `wide`, of those in many VLANs.
    pub(crate) fn new(receivers: Receivers<LeafId>, wide: Option<&SlotSet>) -> Self {
        let has_wide = wide.is_some_and(|wide| {
            wide.len() > 0 && receivers.iter().any(|port| wide.contains(slot(port)))
        });
        Self { receivers, without: None, has_wide }
    }

    /// Those of them that are not `wide`.
    pub(crate) fn few(&self, wide: &Arc<SlotSet>) -> Self {
        let receivers = self.receivers.clone();
        let count = receivers.iter().filter(|&port| !wide.contains(slot(port))).count();
        Self { receivers, without: Some((Arc::clone(wide), count)), has_wide: false }
    }

    /// Whether any of them was in many VLANs.
    pub(crate) fn has_wide(&self) -> bool {
        self.has_wide
    }

    /// Whether those in many VLANs are not among them.
    pub(crate) fn is_of_few(&self) -> bool {
        self.without.is_some()
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.without.as_ref().map_or_else(|| self.receivers.count(), |(_, count)| *count)
    }

    /// Each of them once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = LeafId> {
        self.receivers.iter().filter(|&port| self.is_let(port))
    }

    /// Whether a client is among them.
    #[inline]
    pub(crate) fn contains(&self, client: LeafId) -> bool {
        self.receivers.contains(client) && self.is_let(client)
    }

    #[inline]
    fn is_let(&self, client: LeafId) -> bool {
        self.without.as_ref().is_none_or(|(wide, _)| !wide.contains(slot(client)))
    }

    /// Whether they are those of another for sure.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.is_of_few() == other.is_of_few() && self.receivers.is_same(&other.receivers)
    }
}
