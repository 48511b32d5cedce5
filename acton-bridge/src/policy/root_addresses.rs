//! IP addresses of the root's that no leaf may use.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use acton_frame::field::ethernet;
use acton_frame::{Fragment, Headers};
use arc_swap::ArcSwap;

use super::objection::Objection;
use super::sources::{Claims, claims};

/// Words of marks, of 64 bits each: with ten addresses some 4 % of all others share a mark.
const WORDS: usize = 4;

/// The root's own IP addresses, such as a server's and its gateways'. A leaf that is guarded may not
/// claim them: by ARP, neighbour discovery, or as the source of a packet. Shared by threads; who
/// looks takes no lock.
#[derive(Debug, Default)]
pub struct RootAddresses {
    /// In order.
    all: ArcSwap<Vec<RootAddress>>,
    /// A bit for each address, by [`mark`]: what has none is none of them.
    marks: [AtomicU64; WORDS],
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootAddress {
    /// The address.
    pub address: IpAddr,
    /// The VLAN that it is on, 0 for untagged; `None` for every VLAN.
    pub vlan: Option<u16>,
}

impl RootAddresses {
    /// Has these in place of those before.
    pub fn set(&self, mut addresses: Vec<RootAddress>) {
        addresses.sort_unstable();
        addresses.dedup();
        let mut marks = [0; WORDS];
        for &RootAddress { address, .. } in &addresses {
            let end = match address {
                IpAddr::V4(address) => address.octets(),
                IpAddr::V6(address) => {
                    let [.., a, b, c, d] = address.octets();
                    [a, b, c, d]
                }
            };
            let (word, bit) = mark(end);
            marks[word] |= bit;
        }
        // Those of before have theirs until the new ones count.
        for (word, marks) in self.marks.iter().zip(marks) {
            word.fetch_or(marks, Ordering::Relaxed);
        }
        self.all.store(addresses.into());
        for (word, marks) in self.marks.iter().zip(marks) {
            word.store(marks, Ordering::Relaxed);
        }
    }

    /// All of them, in order.
    #[must_use]
    pub fn list(&self) -> Vec<RootAddress> {
        self.all.load().to_vec()
    }

    /// Whether an address on a VLAN, 0 for untagged, is one of them.
    #[must_use]
    pub fn contains(&self, vlan: u16, address: IpAddr) -> bool {
        self.has(Some(vlan), address)
    }

    fn has(&self, vlan: Option<u16>, address: IpAddr) -> bool {
        let all = self.all.load();
        let start = all.partition_point(|other| other.address < address);
        let mut same = all[start..].iter().take_while(|other| other.address == address);
        same.any(|other| other.vlan.is_none() || other.vlan == vlan)
    }

    /// Whether the source of an IP packet may be one of them. Most are not at a glance.
    #[inline]
    pub(super) fn may_be_source(&self, headers: &Headers, frame: &[u8]) -> bool {
        let Some(hosts) = headers.hosts(frame) else { return false };
        let source = &hosts[..hosts.len() / 2];
        let Some((word, bit)) = source.last_chunk().map(|end| mark(*end)) else { return false };
        self.marks[word].load(Ordering::Relaxed) & bit != 0
    }

    /// What a frame that a leaf sends has against it, which is on that VLAN at the root, 0 for untagged:
    /// that it claims one of them, or may do so in a fragment that does not show it. `None` is behind a pair
    /// of tags, where those alone are known that are on every VLAN.
    pub(super) fn objection(
        &self,
        headers: &Headers,
        frame: &[u8],
        vlan: Option<u16>,
    ) -> Option<Objection> {
        let is_ip = headers.ip().is_some();
        if self.all.load().is_empty() || !is_ip && headers.ethertype() != Some(ethernet::ARP) {
            return None;
        }
        match claims(headers, frame) {
            Claims::Addresses { addresses, .. } => {
                let is_claimed = |address: IpAddr| self.has(vlan, address);
                let is_one = addresses.into_iter().flatten().any(is_claimed);
                is_one.then_some(Objection::Gateway)
            }
            // Hosts put it together, though RFC 6980 says that they should not.
            Claims::Unreadable => {
                let is_first = headers.ip().is_some_and(|ip| ip.fragment == Fragment::First);
                is_first.then_some(Objection::Hidden)
            }
        }
    }
}

/// Where the mark of an address is that ends like this: a word and a bit. Neighbours in a network lie
/// apart (Knuth's multiplicative hash).
fn mark(end: [u8; 4]) -> (usize, u64) {
    let hash = u32::from_be_bytes(end).wrapping_mul(0x9e37_79b1) >> 24;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbour_message::tests::{arp, nd};
    use crate::policy::{
        AdvertisedPrefixes, CompiledPolicy, LeafFacts, Leases, OuterTag, Policy, TagPair, VlanId,
        Vlans,
    };

    const GATEWAY: [u8; 4] = [10, 0, 0, 254];
    const OTHER: [u8; 4] = [10, 0, 0, 5];

    fn with(addresses: &[(&str, Option<u16>)]) -> RootAddresses {
        let all = RootAddresses::default();
        let read = |&(text, vlan): &(&str, _)| RootAddress { address: text.parse().unwrap(), vlan };
        all.set(addresses.iter().map(read).collect());
        all
    }

    /// What a policy of no words says of a frame, where its leaf is guarded; where not, nothing.
    fn check(root: &RootAddresses, frame: &[u8]) -> Option<Objection> {
        check_in(None, root, frame)
    }

    /// The same of a leaf that is in these VLANs.
    fn check_in(vlans: Option<Vlans>, root: &RootAddresses, frame: &[u8]) -> Option<Objection> {
        let (headers, leases) = (Headers::parse(frame), Leases::default());
        let policy = CompiledPolicy::new(Policy { vlans, ..Policy::default() });
        let mut leaf = LeafFacts {
            is_guarded: false,
            leases: &leases,
            is_elsewhere: &|_, _| false,
            root_addresses: root,
            advertised: &AdvertisedPrefixes::default(),
        };
        assert_eq!(policy.check(&leaf, &headers, frame, std::time::Duration::ZERO), None);
        leaf.is_guarded = true;
        let objection = policy.check(&leaf, &headers, frame, std::time::Duration::ZERO);
        let may_object = policy.may_object(true, root, &headers, frame);
        assert!(may_object || objection.is_none(), "{frame:02x?}");
        objection
    }

    /// TCP, in a packet of IPv4.
    fn tcp(source: [u8; 4], fragment: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 60, 0, 0];
        frame.extend(fragment.to_be_bytes());
        frame.extend([64, 6, 0, 0]);
        frame.extend(source);
        frame.extend([10, 0, 0, 1]);
        frame.extend([0, 80, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10]);
        frame.resize(14 + 60, 0);
        frame
    }

    #[test]
    fn a_leaf_does_not_say_that_it_is_the_gateway() {
        let root = with(&[("10.0.0.254", Some(0)), ("fe80::1", Some(0))]);
        let (gateway, other) = ("fe80::1".parse().unwrap(), "fe80::5".parse().unwrap());
        for (frame, is_claim) in [
            (arp(&[], 2, GATEWAY, OTHER), true),
            (arp(&[], 1, GATEWAY, GATEWAY), true),
            (arp(&[], 1, [0; 4], GATEWAY), true),
            (arp(&[], 1, OTHER, GATEWAY), false),
            (arp(&[], 2, OTHER, GATEWAY), false),
            (nd(136, other, gateway), true),
            (nd(135, gateway, other), true),
            (nd(135, "::".parse().unwrap(), gateway), true),
            (nd(135, other, gateway), false),
            (nd(136, other, other), false),
            (tcp(GATEWAY, 0), true),
            (tcp(OTHER, 0), false),
            (tcp(GATEWAY, 0x2000), true),
            (tcp(GATEWAY, 7), true),
            (tcp(OTHER, 7), false),
        ] {
            assert_eq!(
                check(&root, &frame),
                is_claim.then_some(Objection::Gateway),
                "{frame:02x?}"
            );
            assert_eq!(check(&RootAddresses::default(), &frame), None);
        }
    }

    #[test]
    fn a_vlan_has_addresses_of_its_own() {
        let root = with(&[("10.0.0.254", Some(7)), ("10.0.0.5", None)]);
        let claims = |tags: &[u8], address| check(&root, &arp(tags, 2, address, [10, 0, 0, 1]));
        let seven = [0x81, 0, 0, 7];
        assert_eq!(claims(&seven, GATEWAY), Some(Objection::Gateway));
        assert_eq!(claims(&[], GATEWAY), None);
        assert_eq!(claims(&[0x81, 0, 0, 8], GATEWAY), None);
        for tags in [&[][..], &seven, &[0x81, 0, 0, 8]] {
            assert_eq!(claims(tags, OTHER), Some(Objection::Gateway));
        }
    }

    #[test]
    fn a_tag_that_names_no_vlan_hides_none() {
        let root = with(&[("10.0.0.254", Some(7))]);
        let target = [10, 0, 0, 1];
        for outer in [[0x81, 0], [0x88, 0xa8]] {
            for vlan in [0, 7] {
                let tags = [&outer[..], &[0xe0, 0, 0x81, 0, 0, vlan]].concat();
                assert_eq!(check(&root, &arp(&tags, 2, GATEWAY, target)), Some(Objection::Hidden));
            }
            let mut frame = tcp(OTHER, 0);
            frame.splice(12..12, [&outer[..], &[0xe0, 0, 0x81, 0, 0, 7]].concat());
            assert_eq!(check(&root, &frame), Some(Objection::Hidden), "nor from a host there");
            let alone = [&outer[..], &[0xe0, 0]].concat();
            assert_eq!(check(&root, &arp(&alone, 2, GATEWAY, target)), None);
        }
    }

    #[test]
    fn a_leaf_whose_frames_get_tags_is_on_their_vlan() {
        let id = |number| VlanId::new(number).unwrap();
        let access = || Some(Vlans::Access(id(7)));
        let pair = |tpid| Some(Vlans::Pair(TagPair { outer: id(7), inner: id(3), tpid }));
        let pairs = || [OuterTag::Service, OuterTag::Customer].map(pair);
        let frame = arp(&[], 2, GATEWAY, [10, 0, 0, 1]);
        // A tag of priority alone changes nothing.
        let frames = [frame, arp(&[0x81, 0, 0xa0, 0], 2, GATEWAY, [10, 0, 0, 1])];
        for (vlan, is_access, is_pair) in [
            (Some(7), true, false), // behind the inner tag there is another network
            (Some(0), false, false),
            (Some(3), false, false),
            (Some(8), false, false),
            (None, true, true),
        ] {
            let root = with(&[("10.0.0.254", vlan)]);
            for frame in &frames {
                let claims = |vlans| check_in(vlans, &root, frame) == Some(Objection::Gateway);
                assert_eq!(claims(access()), is_access, "{vlan:?}");
                assert_eq!(pairs().map(claims), [is_pair; 2], "{vlan:?}");
            }
        }
    }

    #[test]
    fn a_fragment_that_does_not_show_whose_address_it_tells_of_is_hidden() {
        let root = with(&[("fe80::1", Some(0))]);
        let whole = nd(136, "fe80::5".parse().unwrap(), "fe80::1".parse().unwrap());
        // The first fragment, which ends before the address.
        let mut frame = whole[..14 + 40].to_vec();
        (frame[19], frame[20]) = (16, 44);
        frame.extend([58, 0, 0, 1, 0, 0, 0, 9]);
        frame.extend(&whole[14 + 40..][..8]);
        assert_eq!(check(&root, &frame), Some(Objection::Hidden));
        assert_eq!(check(&RootAddresses::default(), &frame), None);
    }

    #[test]
    fn others_in_their_place_are_all_there_is() {
        let root = with(&[("10.0.0.254", None), ("10.0.0.254", Some(3))]);
        assert_eq!(root.list().len(), 2);
        root.set(vec![RootAddress { address: IpAddr::from(OTHER), vlan: None }]);
        assert!(root.contains(9, OTHER.into()) && !root.contains(9, GATEWAY.into()));
        let frame = tcp(GATEWAY, 0);
        assert!(!root.may_be_source(&Headers::parse(&frame), &frame));
        let frame = tcp(OTHER, 0);
        assert!(root.may_be_source(&Headers::parse(&frame), &frame));
    }
}
