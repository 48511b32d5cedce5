//! What has been flooded from the root in each VLAN: a storm in one leaves the others their own.

use std::sync::OnceLock;
use std::time::Duration;

use acton_bridge::{Budget, FloodClass, FrameVlan};

use crate::floods::gate::{Admission, FloodGate};

/// VLAN ids that there are. The last one is reserved, and stands for tags of other kinds here.
const IDS: usize = 1 << 12;

/// A gate for each VLAN that something was flooded in, where not all clients are in it.
#[derive(Debug)]
pub(crate) struct VlanGates(Box<[OnceLock<Box<FloodGate>>]>);

impl Default for VlanGates {
    fn default() -> Self {
        Self((0..IDS).map(|_| OnceLock::new()).collect())
    }
}

impl VlanGates {
    /// Whether `frames` of a class may be flooded in a VLAN, which `part` of all sessions are in: as many as
    /// the budget says in that VLAN, and in all, where each counts as much as its receivers are of all. So
    /// no client gets more than the budget, and what the server sends is no more than if all got it.
    pub(crate) fn admit(
        &self,
        (vlan, (members, sessions)): (FrameVlan, (usize, usize)),
        class: FloodClass,
        frames: u32,
        budget: Option<Budget>,
        root: &FloodGate,
        now: Duration,
    ) -> Admission {
        if budget.is_none() || members >= sessions {
            return root.admit(class, frames, budget, now);
        }
        match self.of(vlan).admit(class, frames, budget, now) {
            // That is told of the root.
            Admission::Over { .. } => root.over(class, now),
            Admission::Passes => {
                root.admit_part(class, (frames, (members as u32, sessions as u32)), budget, now)
            }
        }
    }

    /// The gate of a VLAN.
    pub(crate) fn of(&self, vlan: FrameVlan) -> &FloodGate {
        let id = vlan.id().map_or(IDS - 1, usize::from);
        self.0[id].get_or_init(|| Box::new(FloodGate::new()))
    }
}

#[cfg(test)]
mod tests {
    use acton_frame::{Headers, Tag, Tags};

    use super::*;

    fn vlan(id: u16) -> FrameVlan {
        let frame = Tags::one(Tag { tpid: 0x8100, tci: id }).in_front_of(&[2; 60]);
        FrameVlan::of(&Headers::parse(&frame), &frame)
    }

    #[test]
    fn a_storm_in_a_vlan_of_few_leaves_others_their_budget() {
        let (gates, root) = (VlanGates::default(), FloodGate::new());
        let (now, budget) = (Duration::from_secs(100), Some(Budget::new(10, 1_000)));
        let passed = |id, members, attempts| {
            let admit = |_: &u32| {
                let part = (vlan(id), (members, 10_000));
                let class = FloodClass::Broadcast;
                gates.admit(part, class, 1, budget, &root, now) == Admission::Passes
            };
            (0..attempts).filter(admit).count()
        };
        assert_eq!(passed(100, 10, 5_000), 1_000);
        assert_eq!(root.acting(now), ["broadcast"], "it is told");
        assert_eq!(passed(200, 10, 5_000), 1_000, "as if there had been no other");
        // All that passed went to ten of 10,000 each: two frames' worth.
        assert_eq!(passed(300, 10_000, 5_000), 998);
        assert_eq!(passed(400, 5_000, 5_000), 0, "the server sends no more than for all");
    }
}
