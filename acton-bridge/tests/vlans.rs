//! The VLANs of a leaf against a slow model that knows which tags a frame was given; and a bridge that
//! learns nothing of a leaf with a pair of tags.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

use std::time::Duration;

use acton_bridge::{
    AdvertisedPrefixes, Bridge, BumKind, CompiledPolicy, Config, DropReason, ForLeaf, FrameVlan,
    FromLeaf, LeafFacts, Leases, Objection, OuterTag, Policy, RootAddresses, TagPair, VlanId,
    VlanRange, VlanSet, Vlans,
};
use acton_frame::{Ethernet, Headers, MacAddr, Tag, hide_tag};
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(1_000);
const C_TAG: u16 = 0x8100;
const S_TAG: u16 = 0x88a8;

/// A frame with these tags, the outer one first.
fn frame(tags: &[Tag]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
    for tag in tags {
        frame.extend([tag.tpid.to_be_bytes(), tag.tci.to_be_bytes()].concat());
    }
    frame.extend([0x88, 0xb5]);
    frame.extend([7; 46]);
    frame
}

fn id(number: u16) -> VlanId {
    VlanId::new(number).unwrap()
}

/// Few ids, so that they meet, and the ends of what there is.
fn vlan() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 0..6_u16, 1 => Just(4_094), 1 => Just(4_095)]
}

fn tag() -> impl Strategy<Value = Tag> {
    let tpid = prop_oneof![3 => Just(C_TAG), 1 => Just(S_TAG)];
    (tpid, vlan(), 0..16_u16)
        .prop_map(|(tpid, vlan, priority)| Tag { tpid, tci: priority << 12 | vlan })
}

fn vlans() -> impl Strategy<Value = Vlans> {
    let access = (1..6_u16).prop_map(|vlan| Vlans::Access(id(vlan)));
    let pair = (1..4_u16, 1..4_u16, any::<bool>()).prop_map(|(outer, inner, service)| {
        let tpid = if service { OuterTag::Service } else { OuterTag::Customer };
        Vlans::Pair(TagPair { outer: id(outer), inner: id(inner), tpid })
    });
    let range = (vlan(), 0..3_u16)
        .prop_filter_map("no range", |(first, more)| VlanRange::new(first, first + more).ok());
    let set = prop::collection::vec(range, 1..4)
        .prop_map(|ranges| Vlans::Tagged(VlanSet::new(ranges).unwrap()));
    prop_oneof![access, pair, set]
}

/// Whether a list has a VLAN, as its text says.
fn lists(set: &VlanSet, vlan: u16) -> bool {
    set.ranges().iter().any(|range| {
        let text = range.to_string();
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        (first.parse::<u16>().unwrap()..=last.parse().unwrap()).contains(&vlan)
    })
}

/// The VLAN of tags to those who know 802.1Q alone; 0 for none. `None` where it has none of these.
fn model_vlan(tags: &[Tag]) -> Option<u16> {
    match tags {
        [] => Some(0),
        [one] if one.tpid == C_TAG => Some(one.vlan()),
        [outer, ..] => (outer.tpid == C_TAG && outer.vlan() != 0).then(|| outer.vlan()),
    }
}

/// The tags of a leaf's frame at the root.
fn model_at_root(vlans: &Vlans, tags: &[Tag]) -> Option<Vec<Tag>> {
    let priority = match tags {
        [] => Some(0),
        [one] if (one.tpid, one.vlan()) == (C_TAG, 0) => Some(one.tci),
        _ => None,
    };
    match vlans {
        Vlans::Access(vlan) => Some(vec![Tag { tpid: C_TAG, tci: priority? | vlan.get() }]),
        Vlans::Pair(TagPair { outer, inner, tpid }) => Some(vec![
            Tag { tpid: tpid.number(), tci: priority? | outer.get() },
            Tag { tpid: C_TAG, tci: priority? | inner.get() },
        ]),
        Vlans::Tagged(set) => {
            model_vlan(tags).filter(|&vlan| lists(set, vlan)).map(|_| tags.to_vec())
        }
        _ => unreachable!(),
    }
}

/// How many tags a frame of the root's loses for a leaf; `None` if it is not for it.
fn model_for_leaf(vlans: &Vlans, tags: &[Tag]) -> Option<usize> {
    match (vlans, tags) {
        (Vlans::Access(vlan), [one]) => {
            ((one.tpid, one.vlan()) == (C_TAG, vlan.get())).then_some(1)
        }
        (Vlans::Pair(pair), [outer, inner]) => {
            let is_its = (outer.tpid, outer.vlan()) == (pair.tpid.number(), pair.outer.get())
                && (inner.tpid, inner.vlan()) == (C_TAG, pair.inner.get());
            is_its.then_some(2)
        }
        (Vlans::Tagged(set), tags) => model_vlan(tags).filter(|&vlan| lists(set, vlan)).map(|_| 0),
        _ => None,
    }
}

fn taken_off(verdict: Option<ForLeaf>) -> Option<usize> {
    verdict.map(|verdict| match verdict {
        ForLeaf::AsItIs => 0,
        ForLeaf::Untagged(tags) => tags.into(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn it_agrees_with_the_model(vlans in vlans(), tags in prop::collection::vec(tag(), 0..4)) {
        let frame = frame(&tags);
        let headers = Headers::parse(&frame);
        let expected = model_at_root(&vlans, &tags);
        let at_root = vlans.at_root(&headers, &frame);
        prop_assert_eq!(at_root.is_some(), expected.is_some());

        let mut policy = Policy::default();
        policy.vlans = Some(vlans.clone());
        let compiled = CompiledPolicy::new(policy);
        prop_assert!(compiled.may_object(false, &RootAddresses::default(), &headers, &frame) && compiled.limits_what_it_gets());
        let leases = Leases::default();
        let root_addresses = &RootAddresses::default();
        let leaf = LeafFacts { is_guarded: false, leases: &leases, is_elsewhere: &|_, _| false, root_addresses, advertised: &AdvertisedPrefixes::default() };
        let objection = compiled.check(&leaf, &headers, &frame, NOW);
        prop_assert_eq!(objection, expected.is_none().then_some(Objection::Vlan));

        if let (Some(at_root), Some(expected)) = (at_root, &expected) {
            let outer = expected.first().map_or(0, |tag| tag.vlan());
            prop_assert_eq!(at_root.vlan, outer);
            if vlans.is_untagged() {
                // A priority tag gives way to the new ones.
                let start = tags.len() * 4;
                let bare = [&frame[..12], &frame[12 + start..]].concat();
                let there = at_root.tags.in_front_of(&bare);
                prop_assert_eq!(&there, &self::frame(expected));
                // It comes back the same way, without its tags.
                let headers = Headers::parse(&there);
                let back = taken_off(vlans.for_leaf(&headers, &there));
                prop_assert_eq!(back, Some(expected.len()));
                let mut there = there;
                (0..expected.len()).for_each(|taken| hide_tag(&mut there[taken * 4..]));
                prop_assert_eq!(&there[expected.len() * 4..], &bare[..]);
            } else {
                prop_assert!(at_root.tags.is_empty());
            }
        }

        let for_leaf = taken_off(vlans.for_leaf(&headers, &frame));
        prop_assert_eq!(for_leaf, model_for_leaf(&vlans, &tags));
        // A flood says the same, but of a pair, which is in none.
        let of_flood = taken_off(vlans.of_flood(FrameVlan::of(&headers, &frame)));
        let expected = if vlans.pair().is_some() { None } else { for_leaf };
        prop_assert_eq!(of_flood, expected);
        let untagged = vlans.place_of_untagged().is_some();
        prop_assert_eq!(untagged, model_at_root(&vlans, &[]).is_some());
    }

    #[test]
    fn any_bytes_can_be_asked_about(vlans in vlans(), frame in prop::collection::vec(any::<u8>(), 0..40)) {
        let headers = Headers::parse(&frame);
        let _ = vlans.at_root(&headers, &frame);
        let _ = vlans.for_leaf(&headers, &frame);
        let _ = FrameVlan::of(&headers, &frame);
    }
}

#[test]
fn nobody_learns_where_a_leaf_with_a_pair_is() {
    let mut config = Config::default();
    config.max_macs_per_leaf = 1;
    let bridge = Bridge::<u32>::new(config);
    let header = |from: u8, to: u8| {
        let mut frame = frame(&[]);
        (frame[5], frame[11]) = (to, from);
        Ethernet::parse(&frame).unwrap().in_vlan(1_000)
    };
    let unknown = FromLeaf::Root { bum: Some(BumKind::Unknown) };
    // Two leaves have one address, and more than one each.
    for leaf in [1, 2] {
        for from in [9, 10, 11] {
            assert_eq!(bridge.from_leaf_unlearned(leaf, Some(&header(from, 1)), NOW), unknown);
        }
    }
    assert_eq!(bridge.len(), 0);
    let mac = |last| MacAddr::new(2, 0, 0, 0, 0, last);
    // What the root has they have not, nor what is another's by name.
    let _ = bridge.from_root_parsed(Some(&header(1, 99)), NOW);
    let known = FromLeaf::Root { bum: None };
    assert_eq!(bridge.from_leaf_unlearned(1, Some(&header(9, 1)), NOW), known);
    let dropped = |from| bridge.from_leaf_unlearned(1, Some(&header(from, 1)), NOW);
    assert_eq!(dropped(1), FromLeaf::Drop(DropReason::SourceAtRoot));
    bridge.protect(mac(20)).unwrap();
    bridge.reserve(mac(21), 2).unwrap();
    bridge.reserve(mac(22), 1).unwrap();
    assert_eq!(dropped(20), FromLeaf::Drop(DropReason::SourceProtected));
    assert_eq!(dropped(21), FromLeaf::Drop(DropReason::SourceProtected));
    assert_eq!(dropped(22), known);
    bridge.set_leaf_strict(1, true);
    assert_eq!(dropped(9), FromLeaf::Drop(DropReason::SourceNotListed));
    assert_eq!(dropped(22), known);
    let mut runt = frame(&[]);
    runt.truncate(13);
    assert_eq!(
        bridge.from_leaf_unlearned(1, Ethernet::parse(&runt).as_ref(), NOW),
        FromLeaf::Drop(DropReason::Runt)
    );
    let explained = bridge.explain_unlearned(1, &frame(&[]), NOW);
    assert!(explained.to_string().contains("source"), "{explained}");
    assert_eq!(bridge.leaf_len(1), 0, "nor is what is reserved for it heard");
}
