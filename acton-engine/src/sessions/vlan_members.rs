//! How many clients are in each VLAN, and how many in all, so that what is flooded in one that nobody is in costs nothing.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use acton_bridge::{FrameVlan, VlanSet, Vlans};

/// VLAN ids that there are.
const IDS: usize = 1 << 12;

/// Clients by the VLANs that their policies name. The control thread counts each on its own, so that who
/// comes or goes changes nothing for those who are there.
#[derive(Debug)]
pub(crate) struct VlanMembers {
    /// Those without a tag under 0.
    of: Box<[AtomicU32]>,
    /// Those whose policies name none: they are in all.
    in_all: AtomicUsize,
}

impl Default for VlanMembers {
    fn default() -> Self {
        let of = (0..IDS).map(|_| AtomicU32::new(0)).collect();
        Self { of, in_all: AtomicUsize::new(0) }
    }
}

impl VlanMembers {
    /// Counts a client that is there from now on.
    pub(crate) fn add(&self, vlans: Option<&Vlans>) {
        match vlans {
            Some(vlans) => self.each(vlans, |members| members.fetch_add(1, Ordering::Relaxed)),
            None => _ = self.in_all.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Counts a client no more.
    pub(crate) fn remove(&self, vlans: Option<&Vlans>) {
        match vlans {
            Some(vlans) => self.each(vlans, |members| members.fetch_sub(1, Ordering::Relaxed)),
            None => _ = self.in_all.fetch_sub(1, Ordering::Relaxed),
        }
    }

    fn each(&self, vlans: &Vlans, change: impl Fn(&AtomicU32) -> u32) {
        let change = |id: u16| {
            change(&self.of[usize::from(id)]);
        };
        match vlans {
            Vlans::Access(vlan) => change(vlan.get()),
            Vlans::Tagged(set) => ids(set).for_each(change),
            _ => {}
        }
    }

    /// Whether anybody may get what is flooded in a VLAN.
    #[inline]
    pub(crate) fn may_reach(&self, vlan: FrameVlan) -> bool {
        self.in_all.load(Ordering::Relaxed) > 0
            || vlan.id().is_some_and(|id| self.of[usize::from(id)].load(Ordering::Relaxed) > 0)
    }
}

/// Each VLAN of a set once, though its ranges may overlap.
fn ids(set: &VlanSet) -> impl Iterator<Item = u16> {
    let mut next = 0;
    set.ranges().iter().flat_map(move |range| {
        let first = range.first().max(next);
        next = next.max(range.last() + 1);
        first..=range.last()
    })
}

#[cfg(test)]
mod tests {
    use acton_bridge::{VlanId, VlanRange};
    use acton_frame::{Headers, Tag, Tags};

    use super::*;

    fn reach(members: &VlanMembers, vlan: u16) -> bool {
        let tag = Tags::one(Tag { tpid: 0x8100, tci: vlan });
        let frame = if vlan == 0 { vec![2; 60] } else { tag.in_front_of(&[2; 60]) };
        members.may_reach(FrameVlan::of(&Headers::parse(&frame), &frame))
    }

    #[test]
    fn who_is_in_no_vlan_but_these_is_counted_there() {
        let range = |first, last| VlanRange::new(first, last).unwrap();
        let set = VlanSet::new(vec![range(5, 9), range(7, 12), range(8, 8), range(0, 0)]).unwrap();
        assert_eq!(ids(&set).collect::<Vec<_>>(), [0, 5, 6, 7, 8, 9, 10, 11, 12]);
        let members = VlanMembers::default();
        assert!(!reach(&members, 7));
        let (tagged, access) = (Vlans::Tagged(set), Vlans::Access(VlanId::new(7).unwrap()));
        members.add(Some(&tagged));
        members.add(Some(&access));
        let reached = || [0, 1, 7, 12, 13].map(|vlan| reach(&members, vlan));
        assert_eq!(reached(), [true, false, true, true, false]);
        members.add(None);
        assert_eq!(reached(), [true; 5], "the third is a trunk");
        members.remove(Some(&tagged));
        assert_eq!(reached(), [true; 5]);
        members.remove(None);
        assert_eq!(reached(), [false, false, true, false, false]);
        members.remove(Some(&access));
        assert_eq!(reached(), [false; 5]);
    }
}
