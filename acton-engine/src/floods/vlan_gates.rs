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

impl Default for VlanGates {
    fn default() -> Self {
        Self { each: (0..IDS).map(|_| OnceLock::new()).collect(), wide: FloodGate::new() }
    }
}

impl VlanGates {
    /// Whether `frames` of a class may be flooded in a VLAN, where so many of all sessions are in it: as many as
    /// the budget says in that VLAN, and in all, where each counts as much as its receivers are of all. So the
    /// server sends no more than if all got it. Those in many VLANs have to be [asked about](Self::over_for_wide)
    /// besides.
    pub(crate) fn admit(
        &self,
        (vlan, (reach, sessions)): (FrameVlan, (Reach, usize)),
        class: FloodClass,
        frames: u32,
        budget: Option<Budget>,
        root: &FloodGate,
        now: Duration,
    ) -> Admission {
        if reach.has_budget(sessions)
            && self.of(vlan).admit(class, frames, budget, now) != Admission::Passes
        {
            // That is told of the root.
            return root.over(class, now);
        }
        let part = self.part((reach, sessions), class, frames, budget, now);
        root.admit_part(class, (frames, part), budget, now)
    }

    /// What `frames` that are flooded to so many of all sessions count of the budget for all VLANs: those in
    /// many, where these may get no more, do not count.
    pub(crate) fn part(
        &self,
        (reach, sessions): (Reach, usize),
        class: FloodClass,
        frames: u32,
        budget: Option<Budget>,
        now: Duration,
    ) -> (u32, u32) {
        let without_wide = reach.wide > 0
            && budget.is_some_and(|budget| {
                // As a bucket has it: more than a burst passes where a whole one would.
                self.left_of_wide(class, budget, now) < frames.clamp(1, budget.burst.get())
            });
        let members = if without_wide { reach.few } else { reach.all() };
        if members < sessions { (members as u32, sessions as u32) } else { (1, 1) }
    }

    /// The class, if any, of which those in many VLANs had what there is for them, so that `frames` more,
    /// which were [admitted](Self::admit), are for others alone. Who is in many gets no more in all of them
    /// than the budget; who is in few gets as much in each.
    ///
    /// To be asked where they are among the receivers, and not before that is known: a group that none of them
    /// wants and a question that goes to its one owner take nothing from what they get.
    pub(crate) fn over_for_wide(
        &self,
        classes: impl IntoIterator<Item = (FloodClass, Option<Budget>)>,
        frames: u32,
        now: Duration,
    ) -> Option<FloodClass> {
        let mut classes = classes.into_iter();
        let over = classes.find(|(class, budget)| {
            self.wide.admit(*class, frames, *budget, now) != Admission::Passes
        });
        over.map(|(class, _)| class)
    }

    /// How many frames of a class those in many VLANs may still get now.
    pub(crate) fn left_of_wide(&self, class: FloodClass, budget: Budget, now: Duration) -> u32 {
        self.wide.left(class, budget, now)
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

    #[test]
    fn one_in_a_vlan_beside_all_in_many_gets_no_more_than_the_budget() {
        let (gates, root) = (VlanGates::default(), FloodGate::new());
        let (class, budget) = (FloodClass::Broadcast, Some(Budget::new(10, 1_000)));
        let mut passed = [0, 0];
        for time in 0..100_000 {
            let now = Duration::from_secs(100) + Duration::from_micros(10 * time);
            let part = (vlan(100), (Reach { few: 1, wide: 100 }, 101));
            if gates.admit(part, class, 1, budget, &root, now) == Admission::Passes {
                let over = gates.over_for_wide([(class, budget)], 1, now);
                passed[usize::from(over.is_some())] += 1;
            }
        }
        // 10 a second in the one second, and the burst.
        assert!(passed[0] + passed[1] <= 1_010 && passed[0] >= 900, "{passed:?}");
    }

    #[test]
    fn what_nobody_gets_leaves_others_the_budget_for_all() {
        let (gates, root) = (VlanGates::default(), FloodGate::new());
        let (now, budget) = (Duration::from_secs(100), Some(Budget::new(10, 1_000)));
        let class = FloodClass::Broadcast;
        let mut got = 0;
        for id in 1_000..1_200 {
            for _ in 0..900 {
                let part = (vlan(id), (Reach { few: 0, wide: 1 }, 51));
                let admission = gates.admit(part, class, 1, budget, &root, now);
                assert_eq!(admission, Admission::Passes, "it is nobody else's budget");
                got += u32::from(gates.over_for_wide([(class, budget)], 1, now).is_none());
            }
        }
        assert_eq!((got, root.left(class, budget.unwrap(), now)), (1_000, 1_000 - 20));
    }

    #[test]
    fn who_is_in_many_gets_no_more_than_the_budget_and_the_others_get_theirs() {
        let (gates, root) = (VlanGates::default(), FloodGate::new());
        let (now, budget) = (Duration::from_secs(100), Some(Budget::new(10, 1_000)));
        let class = FloodClass::Broadcast;
        let admit = |id, few| {
            let part = (vlan(id), (Reach { few, wide: 1 }, 51));
            gates.admit(part, class, 1, budget, &root, now) == Admission::Passes
        };
        // A group that the trunk does not want, in a VLAN of 20 others.
        assert!((0..1_000).all(|_| admit(99, 20)) && !admit(99, 20));
        // One client in each of 50 VLANs, and the trunk.
        let mut passed = [0, 0];
        for id in 100..150 {
            for _ in 0..100 {
                assert!(admit(id, 1), "it is nobody else's budget");
                let over = gates.over_for_wide([(class, budget)], 1, now);
                passed[usize::from(over.is_some())] += 1;
            }
        }
        assert_eq!(passed, [1_000, 4_000]);
        // Those that the trunk did not get counted for their one receiver alone.
        let spent = (1_000 * 21 + 1_000 * 2 + 4_000_u32).div_ceil(51);
        assert_eq!(root.left(class, budget.unwrap(), now), 1_000 - spent);
        // Where it is alone, what is asked of it alone passes, and of one budget of two nothing more.
        assert!(admit(7, 0));
        let classes = [(FloodClass::Arp, budget), (class, budget)];
        assert_eq!(gates.over_for_wide(classes, 1, now), Some(class));
        assert_eq!(gates.over_for_wide([(class, None)], 1, now), None);
    }
}
