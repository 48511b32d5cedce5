//! What has been flooded from the root in each VLAN: a storm in one leaves the others their own.

use std::sync::OnceLock;
use std::time::Duration;

use acton_bridge::{Budget, FloodClass, FrameVlan};

use crate::floods::gate::{Admission, FloodGate};
use crate::sessions::vlan_members::Reach;

/// VLAN ids that there are. The last one is reserved, and stands for tags of other kinds here.
const IDS: usize = 1 << 12;

/// A gate for each VLAN that something was flooded in, where not all clients are in it.
#[derive(Debug)]
pub(crate) struct VlanGates {
    each: Box<[OnceLock<Box<FloodGate>>]>,
    /// Of what goes to clients in many VLANs, for which these are one.
    wide: FloodGate,
}

/// Who may get what is flooded in a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    All,
    /// Those in few VLANs: for the others it is over the budget, as [`Admission::Over`] says it.
    Few {
        begins: bool,
    },
    Nobody {
        begins: bool,
    },
}

impl From<Admission> for Passage {
    fn from(admission: Admission) -> Self {
        match admission {
            Admission::Passes => Self::All,
            Admission::Over { begins } => Self::Nobody { begins },
        }
    }
}

impl Default for VlanGates {
    fn default() -> Self {
        Self { each: (0..IDS).map(|_| OnceLock::new()).collect(), wide: FloodGate::new() }
    }
}

impl VlanGates {
    /// Who may get `frames` of a class that are flooded in a VLAN, where so many of all sessions are in it: as
    /// many as the budget says in that VLAN, and in all, where each counts as much as its receivers are of
    /// all. So the server sends no more than if all got it. Those in many VLANs get no more in all of them
    /// than the budget; one in few gets as much in each.
    pub(crate) fn admit(
        &self,
        (vlan, (reach, sessions)): (FrameVlan, (Reach, usize)),
        class: FloodClass,
        frames: u32,
        budget: Option<Budget>,
        root: &FloodGate,
        now: Duration,
    ) -> Passage {
        let passes = |gate: &FloodGate| gate.admit(class, frames, budget, now) == Admission::Passes;
        // That is told of the root.
        let over = || root.over(class, now).into();
        if reach.all() < sessions && !passes(self.of(vlan)) {
            return over();
        }
        let for_few = reach.wide > 0 && !passes(&self.wide);
        if for_few && reach.few == 0 {
            return over();
        }
        let members = if for_few { reach.few } else { reach.all() };
        let part = if members < sessions { (members as u32, sessions as u32) } else { (1, 1) };
        match root.admit_part(class, (frames, part), budget, now).into() {
            Passage::All if for_few => match root.over(class, now) {
                Admission::Over { begins } => Passage::Few { begins },
                Admission::Passes => Passage::All,
            },
            passage => passage,
        }
    }

    /// The gate of a VLAN.
    pub(crate) fn of(&self, vlan: FrameVlan) -> &FloodGate {
        let id = vlan.id().map_or(IDS - 1, usize::from);
        self.each[id].get_or_init(|| Box::new(FloodGate::new()))
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
                let part = (vlan(id), (Reach { few: members, wide: 0 }, 10_000));
                let class = FloodClass::Broadcast;
                gates.admit(part, class, 1, budget, &root, now) == Passage::All
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
    #[test]
    fn who_is_in_many_gets_no_more_than_the_budget_and_the_others_get_theirs() {
        let (gates, root) = (VlanGates::default(), FloodGate::new());
        let (now, budget) = (Duration::from_secs(100), Some(Budget::new(10, 1_000)));
        // One client in each of 50 VLANs, and a trunk.
        let mut passed = [0, 0];
        for id in 100..150 {
            for _ in 0..100 {
                let part = (vlan(id), (Reach { few: 1, wide: 1 }, 51));
                match gates.admit(part, FloodClass::Broadcast, 1, budget, &root, now) {
                    Passage::All => passed[0] += 1,
                    Passage::Few { begins } => {
                        assert_eq!(begins, passed[1] == 0, "it is told once");
                        passed[1] += 1;
                    }
                    Passage::Nobody { .. } => panic!("it is nobody else's budget"),
                }
            }
        }
        assert_eq!(passed, [1_000, 4_000]);
        let part = (vlan(7), (Reach { few: 0, wide: 1 }, 51));
        let passage = gates.admit(part, FloodClass::Broadcast, 1, budget, &root, now);
        assert_eq!(passage, Passage::Nobody { begins: false }, "the trunk is alone there");
    }
}
