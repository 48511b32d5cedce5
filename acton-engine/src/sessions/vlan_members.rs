//! Which clients are in each VLAN, so that what is flooded in one costs as much as these are many.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use acton_bridge::{FrameVlan, VlanSet, Vlans};

use crate::sessions::directory::SLOTS;
use crate::sessions::port::{LeafId, slot};
use crate::sessions::slot_set::{SlotSet, count_in};

/// VLAN ids that there are.
const IDS: usize = 1 << 12;
/// VLANs of a client that knows each of them its member; one with more is looked at in all.
pub(crate) const FEW: usize = 64;

/// Clients by the VLANs that their policies name. The control thread changes it for each on its own, so
/// that who comes or goes changes nothing for those who are there.
#[derive(Debug)]
pub(crate) struct VlanMembers {
    /// How many are in each; those without a tag under 0.
    counts: Box<[Counts]>,
    /// Which these are, but for those that `wide` has.
    slots: Box<[OnceLock<Arc<SlotSet>>]>,
    /// How many are in all, since their policies name none.
    in_all: AtomicU32,
    /// These, and those in more than [`FEW`].
    wide: Arc<SlotSet>,
    /// In place of them where they get nothing.
    nobody: Arc<SlotSet>,
}

/// How many get what is flooded in a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Those in few VLANs.
    pub(crate) few: usize,
    /// Those in many, or all.
    pub(crate) wide: usize,
}

impl Reach {
    /// Of what is for one client alone.
    pub(crate) const ONE: Self = Self { few: 1, wide: 0 };

    pub(crate) fn all(self) -> usize {
        self.few + self.wide
    }

    /// Whether floods in the VLAN have a budget of their own beside that for all, where there are so many
    /// sessions: not where all get each. What those in many VLANs miss counts next to nothing of that for all.
    pub(crate) fn has_budget(self, sessions: usize) -> bool {
        self.all() < sessions || self.few > 0 && self.wide > 0
    }
}

/// How many clients are in a VLAN.
#[derive(Debug, Default)]
struct Counts {
    /// Those whose frames have no tag: what has another one behind that of the VLAN is not for them.
    access: AtomicU32,
    /// Others, but for those that `wide` has.
    few: AtomicU32,
    wide: AtomicU32,
}

impl Default for VlanMembers {
    fn default() -> Self {
        Self {
            counts: (0..IDS).map(|_| Counts::default()).collect(),
            slots: (0..IDS).map(|_| OnceLock::new()).collect(),
            in_all: AtomicU32::new(0),
            wide: Arc::default(),
            nobody: Arc::default(),
        }
    }
}

/// Clients that may be in the VLAN of a frame: all that are, and maybe some that are not, which their
/// policies tell. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct VlanAudience {
    own: Option<Arc<SlotSet>>,
    wide: Arc<SlotSet>,
    /// How many were in it.
    count: usize,
    is_of_few: bool,
}

impl VlanMembers {
    /// Notes a client that is there from now on.
    pub(crate) fn add(&self, vlans: Option<&Vlans>, port: LeafId) {
        self.each(vlans, |count| count.fetch_add(1, Ordering::Relaxed));
        self.place(vlans, port, SlotSet::insert);
    }

    /// Notes a client no more.
    pub(crate) fn remove(&self, vlans: Option<&Vlans>, port: LeafId) {
        self.place(vlans, port, SlotSet::remove);
        self.each(vlans, |count| count.fetch_sub(1, Ordering::Relaxed));
    }

    /// Has `change` change the counts that a client is in.
    fn each(&self, vlans: Option<&Vlans>, change: impl Fn(&AtomicU32) -> u32) {
        let Some(vlans) = vlans else {
            change(&self.in_all);
            return;
        };
        let is_wide = is_wide(Some(vlans));
        for id in ids(vlans) {
            let Counts { access, few, wide } = &self.counts[usize::from(id)];
            change(match vlans {
                Vlans::Access(_) => access,
                _ if is_wide => wide,
                _ => few,
            });
        }
    }

    /// Has `change` change the sets that a client is in.
    fn place(&self, vlans: Option<&Vlans>, port: LeafId, change: impl Fn(&SlotSet, usize)) {
        let slot = slot(port);
        match vlans {
            Some(vlans) if !is_wide(Some(vlans)) => {
                for id in ids(vlans) {
                    change(self.slots[usize::from(id)].get_or_init(Arc::default), slot);
                }
            }
            _ => change(&self.wide, slot),
        }
    }

    /// How many get what is flooded in a VLAN.
    #[inline]
    pub(crate) fn reach(&self, vlan: FrameVlan) -> Reach {
        let of = |count: &AtomicU32| count.load(Ordering::Relaxed) as usize;
        let in_all = of(&self.in_all);
        vlan.id().map_or(Reach { few: 0, wide: in_all }, |id| {
            let Counts { access, few, wide } = &self.counts[usize::from(id)];
            let access = if vlan.has_more() { 0 } else { of(access) };
            Reach { few: access + of(few), wide: of(wide) + in_all }
        })
    }

    /// The sum of these.
    #[inline]
    pub(crate) fn count(&self, vlan: FrameVlan) -> usize {
        self.reach(vlan).all()
    }

    /// Whether anybody may get what is flooded in a VLAN.
    #[inline]
    pub(crate) fn may_reach(&self, vlan: FrameVlan) -> bool {
        self.count(vlan) > 0
    }

    /// Who may get it; `None` where these are not much fewer than the `sessions` that there are.
    pub(crate) fn audience(&self, vlan: FrameVlan, sessions: usize) -> Option<VlanAudience> {
        let own = vlan.id().and_then(|id| self.slots[usize::from(id)].get());
        let looked_at = own.map_or(0, |own| own.len()) + self.wide.len();
        if looked_at >= sessions.div_ceil(2) {
            return None;
        }
        let (own, wide) = (own.cloned(), Arc::clone(&self.wide));
        Some(VlanAudience { own, wide, count: self.count(vlan), is_of_few: false })
    }

    /// Who is in many VLANs, or in all.
    pub(crate) fn wide(&self) -> &Arc<SlotSet> {
        &self.wide
    }

    /// Those of them who are in few VLANs.
    pub(crate) fn few(&self, vlan: FrameVlan) -> VlanAudience {
        let own = vlan.id().and_then(|id| self.slots[usize::from(id)].get().cloned());
        let (wide, count) = (Arc::clone(&self.nobody), self.reach(vlan).few);
        VlanAudience { own, wide, count, is_of_few: true }
    }
}

impl VlanAudience {
    /// How many get it.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether those in many VLANs are not among them.
    pub(crate) fn is_of_few(&self) -> bool {
        self.is_of_few
    }

    /// How many have to be looked at for that.
    pub(crate) fn looked_at(&self) -> usize {
        self.own.as_ref().map_or(0, |own| own.len()) + self.wide.len()
    }

    /// Whether the client in a slot is among those.
    #[inline]
    pub(crate) fn contains(&self, slot: usize) -> bool {
        self.own.as_ref().is_some_and(|own| own.contains(slot)) || self.wide.contains(slot)
    }

    /// The first slot from `slot` on with one of them; [`SLOTS`] where there is none.
    pub(crate) fn next(&self, slot: usize) -> usize {
        let own = self.own.as_ref().map_or(SLOTS, |own| own.next(slot));
        own.min(self.wide.next(slot))
    }

    /// Those who are in few VLANs.
    pub(crate) fn own(&self) -> Option<&SlotSet> {
        self.own.as_deref()
    }

    /// Those who are looked at for every VLAN, where they are among them: one set for all audiences.
    pub(crate) fn wide(&self) -> Option<&Arc<SlotSet>> {
        (!self.is_of_few).then_some(&self.wide)
    }

    /// How many of those in some slots may get it.
    pub(crate) fn count_in(&self, slots: &Range<usize>) -> usize {
        count_in(slots, self.sets())
    }

    fn sets(&self) -> impl Iterator<Item = &SlotSet> + Clone {
        self.own.as_deref().into_iter().chain([&*self.wide])
    }

    /// Whether they are those of another, which was made of the same members.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let own = match (&self.own, &other.own) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        own && Arc::ptr_eq(&self.wide, &other.wide)
    }
}

/// Whether a client is in so many VLANs that it is looked at in all.
pub(crate) fn is_wide(vlans: Option<&Vlans>) -> bool {
    vlans.is_none_or(|vlans| ids(vlans).take(FEW + 1).count() > FEW)
}

/// The VLANs whose floods a client gets, each once, though the ranges of a set may overlap.
fn ids(vlans: &Vlans) -> impl Iterator<Item = u16> {
    let (one, set) = match vlans {
        Vlans::Access(vlan) => (Some(vlan.get()), None),
        Vlans::Tagged(set) => (None, Some(set)),
        // Nothing with a pair of tags is flooded.
        _ => (None, None),
    };
    one.into_iter().chain(set.into_iter().flat_map(ids_of_set))
}

fn ids_of_set(set: &VlanSet) -> impl Iterator<Item = u16> {
    let mut next = 0;
    set.ranges().iter().flat_map(move |range| {
        let first = range.first().max(next);
        next = next.max(range.last() + 1);
        first..=range.last()
    })
}

#[cfg(test)]
mod tests {
    use acton_bridge::{OuterTag, TagPair, VlanId, VlanRange};
    use acton_frame::{Headers, Tag, Tags};

    use super::*;

    /// The VLAN of a frame with that tag, 0 for none.
    fn of(vlan: u16) -> FrameVlan {
        let tag = Tags::one(Tag { tpid: 0x8100, tci: vlan });
        let frame = if vlan == 0 { vec![2; 60] } else { tag.in_front_of(&[2; 60]) };
        FrameVlan::of(&Headers::parse(&frame), &frame)
    }

    fn tagged(ranges: &[(u16, u16)]) -> Vlans {
        let ranges = ranges.iter().map(|&(first, last)| VlanRange::new(first, last).unwrap());
        Vlans::Tagged(VlanSet::new(ranges.collect()).unwrap())
    }

    fn access(id: u16) -> Vlans {
        Vlans::Access(VlanId::new(id).unwrap())
    }

    /// The slots of those who are looked at for a flood.
    fn slots(members: &VlanMembers, vlan: u16) -> Vec<usize> {
        let audience = members.audience(of(vlan), SLOTS).unwrap();
        let from = |slot| Some(audience.next(slot)).filter(|slot| *slot < SLOTS);
        let slots: Vec<_> = std::iter::successors(from(0), |slot| from(slot + 1)).collect();
        assert!(slots.iter().all(|slot| audience.contains(*slot)));
        assert_eq!(slots.len(), audience.looked_at());
        slots
    }

    #[test]
    fn who_is_in_no_vlan_but_these_is_counted_there() {
        let several = tagged(&[(5, 9), (7, 12), (8, 8), (0, 0)]);
        assert_eq!(ids(&several).collect::<Vec<_>>(), [0, 5, 6, 7, 8, 9, 10, 11, 12]);
        let members = VlanMembers::default();
        assert!(!members.may_reach(of(7)));
        members.add(Some(&several), 1);
        members.add(Some(&access(7)), 2);
        let counts = || [0, 1, 7, 12, 13].map(|vlan| members.count(of(vlan)));
        assert_eq!(counts(), [1, 0, 2, 1, 0]);
        members.add(None, 3);
        assert_eq!(counts(), [2, 1, 3, 2, 1], "the third is a trunk");
        members.remove(Some(&several), 1);
        assert_eq!(counts(), [1, 1, 2, 1, 1]);
        members.remove(None, 3);
        members.remove(Some(&access(7)), 2);
        assert_eq!(counts(), [0; 5]);
        assert!(members.slots.iter().all(|set| set.get().is_none_or(|set| set.len() == 0)));
    }

    #[test]
    fn what_has_two_tags_is_not_for_those_in_one_vlan() {
        let members = VlanMembers::default();
        let tag = |tci| Tag { tpid: 0x8100, tci };
        let frame = Tags::two(tag(7), tag(9)).in_front_of(&[2; 60]);
        let two = FrameVlan::of(&Headers::parse(&frame), &frame);
        members.add(Some(&access(7)), 1);
        assert!(members.may_reach(of(7)) && !members.may_reach(two));
        members.add(Some(&tagged(&[(7, 8)])), 2);
        assert_eq!((members.count(of(7)), members.count(two)), (2, 1));
        assert_eq!(access(7).of_flood(two), None);
    }

    #[test]
    fn a_flood_looks_at_its_members_and_at_those_who_are_in_many() {
        let members = VlanMembers::default();
        let pair = TagPair {
            outer: VlanId::new(7).unwrap(),
            inner: VlanId::new(7).unwrap(),
            tpid: OuterTag::Customer,
        };
        for port in 100..200 {
            members.add(Some(&access(8)), port);
        }
        members.add(Some(&access(7)), 3 << 16 | 5);
        members.add(Some(&tagged(&[(7, 9)])), 6);
        members.add(Some(&Vlans::Pair(pair)), 7);
        members.add(Some(&tagged(&[(1_000, 1_064)])), 8);
        members.add(None, 9);
        assert_eq!(slots(&members, 7), [5, 6, 8, 9]);
        assert_eq!(members.count(of(7)), 3, "the one in 1000 to 1064 is looked at alone");
        assert_eq!((slots(&members, 1_000), members.count(of(1_000))), (vec![8, 9], 2));
        // What has a tag of 802.1ad goes to those who are in all.
        let frame = Tags::one(Tag { tpid: 0x88a8, tci: 7 }).in_front_of(&[2; 60]);
        let foreign = FrameVlan::of(&Headers::parse(&frame), &frame);
        assert_eq!(
            (members.count(foreign), members.audience(foreign, 105).unwrap().next(9)),
            (1, 9)
        );
        assert!(members.audience(of(8), 105).is_none(), "these are nearly all");
        assert!(members.audience(of(7), 105).is_some_and(|audience| audience.count() == 3));
        let same = |one, other| {
            let [one, other] = [one, other].map(|vlan| members.audience(of(vlan), SLOTS).unwrap());
            one.is_same(&other)
        };
        assert!(same(7, 7) && !same(7, 8) && same(2_000, 2_001));
        // Without those who are in many.
        let (few, all) = (members.few(of(7)), members.audience(of(7), SLOTS).unwrap());
        let found = [5, 6, 8, 9].map(|slot| few.contains(slot));
        assert_eq!((found, few.count(), few.looked_at()), ([true, true, false, false], 2, 2));
        assert_eq!((members.reach(of(7)), few.is_same(&all)), (Reach { few: 2, wide: 1 }, false));
        assert_eq!(members.reach(of(1_000)), Reach { few: 0, wide: 2 });
    }
}
