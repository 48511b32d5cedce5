//! A policy as frames are checked by it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use acton_frame::Headers;
use ipnet::Ipv6Net;

use super::Policy;
use super::dhcp6;
use super::ethertype::EtherType;
use super::guard;
use super::leases::Leases;
use super::objection::Objection;
use super::root_addresses::RootAddresses;
use super::slaac::{self, AdvertisedPrefixes};
use super::sources::{Claims, Ranges, asks_dhcp, claims};
use super::vlans::{ForLeaf, TagPair, Vlans};

/// A [`Policy`] that answers for each frame whether it passes.
///
/// ```
/// use std::time::Duration;
/// use acton_bridge::{
///     AdvertisedPrefixes, CompiledPolicy, LeafFacts, Leases, Objection, Policy, RootAddresses,
/// };
/// use acton_frame::Headers;
///
/// let policy = CompiledPolicy::new(Policy::default());
/// // A router advertisement (ICMPv6, type 134).
/// let mut frame = vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd];
/// frame.extend([0x60, 0, 0, 0, 0, 16, 58, 255]);
/// frame.extend([0xfe; 32]);
/// frame.extend([134; 16]);
///
/// let (headers, now) = (Headers::parse(&frame), Duration::from_secs(1));
/// let leases = Leases::default();
/// let root = RootAddresses::default();
/// let mut leaf = LeafFacts {
///     is_guarded: true,
///     leases: &leases,
///     is_elsewhere: &|_, _| false,
///     root_addresses: &root,
///     advertised: &AdvertisedPrefixes::default(),
/// };
/// assert_eq!(policy.check(&leaf, &headers, &frame, now), Some(Objection::RouterAdvertisement));
/// leaf.is_guarded = false;
/// assert_eq!(policy.check(&leaf, &headers, &frame, now), None);
/// ```
#[derive(Debug, Default)]
pub struct CompiledPolicy {
    policy: Policy,
    /// Sorted; `None` for all.
    ethertypes: Option<Box<[EtherType]>>,
    /// `None` for all.
    sources: Option<Ranges>,
    learns: bool,
    /// Whether there is more than the guard to go by.
    is_particular: bool,
    /// Whether there is something to go by for frames to the leaf.
    is_particular_out: bool,
    /// Whether there is a circuit.
    has_circuit: bool,
}

/// What is known of a leaf beside its policy.
#[derive(Clone, Copy)]
pub struct LeafFacts<'a> {
    /// Whether it is not to be the LAN's server or router.
    pub is_guarded: bool,
    /// The addresses that it was given, or made itself.
    pub leases: &'a Leases,
    /// Where hosts may make addresses themselves.
    pub advertised: &'a AdvertisedPrefixes,
    /// Whether an address on a VLAN is known to be another's. Asked about those alone that hosts make
    /// themselves, where a frame may say who has one: what is not told is not found.
    pub is_elsewhere: &'a dyn Fn(u16, IpAddr) -> bool,
    /// What it may not use while it is guarded.
    pub root_addresses: &'a RootAddresses,
}

/// Something that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The VLAN, 0 for none, that a frame of the leaf's is in at the root; `None` if it is of none that
    /// the leaf is in.
    Vlan(Option<u16>),
    /// The two tags that a frame of the leaf's has at the root.
    Pair(TagPair),
    /// What is done to a frame for the leaf; `None` if it is of no VLAN that the leaf is in.
    ForLeaf(Option<ForLeaf>),
    /// The leaf may be server and router, so nobody looks whether the frame is of one.
    Unguarded,
    /// What the guard says of the frame.
    Guarded(Option<Objection>),
    /// The frame's kind, where not all are allowed; `None` where it names none.
    EtherType(Option<EtherType>, bool),
    /// An address that the frame claims, and what speaks for it.
    Source(IpAddr, Option<Grant>),
    /// An address or a prefix that the frame gives back to a DHCPv6 server, and whether it is the leaf's.
    GivesBack(Ipv6Net, bool),
    /// What the frame claims cannot be read.
    Unreadable,
    /// It asks a DHCP server, which may be done from any address where these are learnt.
    AsksDhcp,
}

/// Why a leaf may use an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// It is listed.
    Listed,
    /// It was given by DHCP, or lies in a prefix that was, for so long yet.
    Leased(Duration),
    /// The leaf made it itself in an advertised prefix, which ends so late.
    Made(Duration),
    /// It lies in an advertised prefix, which ends so late, and is probed for: nobody else is known to
    /// have it.
    Probed(Duration),
    /// It is link-local (RFC 4291, section 2.5.6), which hosts give themselves, and nobody else is known
    /// to have it.
    LinkLocal,
}

impl CompiledPolicy {
    /// The policy, to check frames by.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let ethertypes = policy.ethertypes.clone().map(|mut kinds| {
            kinds.sort_unstable();
            kinds.into()
        });
        let sources = policy.sources.as_ref().map(|sources| Ranges::new(&sources.listed));
        Self {
            is_particular: ethertypes.is_some() || sources.is_some() || policy.vlans.is_some(),
            is_particular_out: policy.rate_out.is_some() || policy.vlans.is_some(),
            has_circuit: policy.circuit.is_some(),
            learns: policy.sources.as_ref().is_some_and(|sources| sources.learn),
            ethertypes,
            sources,
            policy,
        }
    }

    /// What it was made of.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether the leaf may use addresses that it was seen to be given.
    #[must_use]
    pub fn learns(&self) -> bool {
        self.learns
    }

    /// The VLANs that the leaf is in; `None` for all.
    #[inline]
    #[must_use]
    pub fn vlans(&self) -> Option<&Vlans> {
        self.policy.vlans.as_ref()
    }

    /// Whether there is anything to look at in frames to the leaf.
    #[inline]
    #[must_use]
    pub fn limits_what_it_gets(&self) -> bool {
        self.is_particular_out
    }

    /// Whether [`check`](Self::check), or [the circuit](Policy::circuit), has to look at a frame: most pass at
    /// a glance.
    #[inline]
    #[must_use]
    pub fn may_object(
        &self,
        is_guarded: bool,
        root: &RootAddresses,
        headers: &Headers,
        frame: &[u8],
    ) -> bool {
        self.is_particular
            || ((is_guarded || self.has_circuit) && !guard::is_harmless(headers, frame))
            || (is_guarded && root.may_be_source(headers, frame))
    }

    /// Whether [the circuit](Policy::circuit) may have to be named in a frame.
    #[inline]
    #[must_use]
    pub fn may_name(&self, headers: &Headers, frame: &[u8]) -> bool {
        self.has_circuit && !guard::is_harmless(headers, frame)
    }

    /// What the policy has against a frame that the leaf sends, which was parsed before.
    #[must_use]
    pub fn check(
        &self,
        leaf: &LeafFacts<'_>,
        headers: &Headers,
        frame: &[u8],
        now: Duration,
    ) -> Option<Objection> {
        self.look(leaf, headers, frame, now, &mut |_| {})
    }

    /// The same, and each thing that was looked at; the last one decided.
    #[must_use]
    pub fn explain(
        &self,
        leaf: &LeafFacts<'_>,
        headers: &Headers,
        frame: &[u8],
        now: Duration,
    ) -> (Vec<Finding>, Option<Objection>) {
        let mut findings = Vec::new();
        let note = &mut |finding| findings.push(finding);
        let objection = self.look(leaf, headers, frame, now, note);
        (findings, objection)
    }

    #[inline]
    fn look(
        &self,
        leaf: &LeafFacts<'_>,
        headers: &Headers,
        frame: &[u8],
        now: Duration,
        note: &mut impl FnMut(Finding),
    ) -> Option<Objection> {
        // A runt is the bridge's to drop.
        headers.network()?;
        let mut vlan = headers.ethernet().map_or(0, acton_frame::Ethernet::vlan);
        if let Some(vlans) = &self.policy.vlans {
            let at_root = vlans.at_root(headers, frame).map(|at_root| at_root.vlan);
            note(match (at_root, vlans.pair()) {
                (Some(_), Some(pair)) => Finding::Pair(pair),
                _ => Finding::Vlan(at_root),
            });
            // What is known of addresses is known by the VLAN at the root.
            match at_root {
                Some(at_root) => vlan = at_root,
                None => return Some(Objection::Vlan),
            }
        }
        // Behind a pair of tags is a network of its own, where nothing is known of others.
        let is_pair = self.policy.vlans.as_ref().is_some_and(|vlans| vlans.pair().is_some());
        let shared_vlan = (!is_pair).then_some(vlan);
        if leaf.is_guarded {
            let objection = guard::objection(headers, frame)
                .or_else(|| leaf.root_addresses.objection(headers, frame, shared_vlan));
            note(Finding::Guarded(objection));
            if objection.is_some() {
                return objection;
            }
        } else {
            note(Finding::Unguarded);
        }
        if let Some(allowed) = &self.ethertypes {
            let kind = headers.ethertype().map(EtherType::new);
            let is_allowed = allowed.binary_search(&kind.unwrap_or(EtherType::LLC)).is_ok();
            note(Finding::EtherType(kind, is_allowed));
            if !is_allowed {
                return Some(Objection::EtherType);
            }
        }
        let sources = self.sources.as_ref()?;
        if self.learns && asks_dhcp(headers, frame) {
            note(Finding::AsksDhcp);
            return None;
        }
        let Claims::Addresses { addresses, resolves } = claims(headers, frame) else {
            note(Finding::Unreadable);
            return Some(Objection::SourceIp);
        };
        for address in addresses.into_iter().flatten() {
            let grant = if sources.contains(address) {
                Some(Grant::Listed)
            } else if is_link_local(address) {
                let is_taken = |vlan| resolves && (leaf.is_elsewhere)(vlan, address);
                let is_free = !shared_vlan.is_some_and(is_taken);
                is_free.then_some(Grant::LinkLocal)
            } else if self.learns {
                let held = leaf.leases.grant(vlan, address, now);
                let probe = || resolves.then(|| self.probe(leaf, headers, frame, vlan, now))?;
                held.or_else(probe)
            } else {
                None
            };
            note(Finding::Source(address, grant));
            if grant.is_none() {
                return Some(Objection::SourceIp);
            }
        }
        if guard::is_harmless(headers, frame) {
            return None;
        }
        let mut is_own = true;
        let read = dhcp6::given_back(headers, frame, &mut |net| {
            let is_leaf_s =
                sources.contains_net(net) || self.learns && leaf.leases.covers(vlan, net, now);
            is_own &= is_leaf_s;
            note(Finding::GivesBack(net, is_leaf_s));
        });
        if read.is_none() {
            note(Finding::Unreadable);
        }
        (read.is_none() || !is_own).then_some(Objection::SourceIp)
    }

    /// What speaks for an address that a frame probes for before the leaf uses it. Behind a pair of tags
    /// there may be the same as behind another, so none is made there.
    fn probe(
        &self,
        leaf: &LeafFacts<'_>,
        headers: &Headers,
        frame: &[u8],
        vlan: u16,
        now: Duration,
    ) -> Option<Grant> {
        if self.vlans().is_some_and(|vlans| vlans.pair().is_some()) {
            return None;
        }
        let (_, address) = slaac::probed(headers, frame)?;
        let left = leaf.advertised.left(vlan, address, now)?;
        (!(leaf.is_elsewhere)(vlan, address.into())).then_some(Grant::Probed(left))
    }
}

/// Those that go by the same policy are equal.
impl PartialEq for CompiledPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.policy == other.policy
    }
}

impl Eq for CompiledPolicy {}

impl From<Policy> for CompiledPolicy {
    fn from(policy: Policy) -> Self {
        Self::new(policy)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vlan(Some(0)) => {
                formatter.write_str("vlan: none at the root, which is the client's")
            }
            Self::Vlan(Some(vlan)) => write!(formatter, "vlan: {vlan} at the root"),
            Self::Pair(pair) => write!(formatter, "vlan: {pair} at the root"),
            Self::Vlan(None) => formatter.write_str("vlan: none that the client is in"),
            Self::ForLeaf(None) => formatter.write_str("vlan: the client is not in that"),
            Self::ForLeaf(Some(ForLeaf::AsItIs)) => {
                formatter.write_str("vlan: the client is in it, and gets the frame as it is")
            }
            Self::ForLeaf(Some(ForLeaf::Untagged(1))) => {
                formatter.write_str("vlan: the client's, whose frames lose their tag")
            }
            Self::ForLeaf(Some(ForLeaf::Untagged(_))) => {
                formatter.write_str("vlan: the client's, whose frames lose their two tags")
            }
            Self::Unguarded => formatter.write_str("guard: the client is trusted"),
            Self::Guarded(objection) => formatter.write_str(match objection {
                None => "guard: nothing that only a server or a router says",
                Some(Objection::DhcpServer) => "guard: what only a DHCP server says",
                Some(Objection::RouterAdvertisement) => "guard: a router advertisement",
                Some(Objection::Redirect) => "guard: a redirect",
                Some(Objection::Control) => "guard: what switches say among themselves",
                Some(Objection::Gateway) => "guard: an address of the server's or its gateway's",
                Some(_) => "guard: what it carries is hidden",
            }),
            Self::EtherType(kind, is_allowed) => {
                let allowed = if *is_allowed { "allowed" } else { "not allowed" };
                match kind {
                    Some(kind) => write!(formatter, "ethertype: {kind}, {allowed}"),
                    None => write!(formatter, "ethertype: none, {allowed}"),
                }
            }
            Self::Source(address, grant) => {
                write!(formatter, "address: {address}, ")?;
                match grant {
                    Some(Grant::Listed) => formatter.write_str("listed"),
                    Some(Grant::Leased(left)) => {
                        write!(formatter, "given by DHCP, for {}s yet", left.as_secs())
                    }
                    Some(Grant::Made(left)) => write!(
                        formatter,
                        "one of its own in an advertised prefix, for {}s yet",
                        left.as_secs()
                    ),
                    Some(Grant::Probed(left)) => write!(
                        formatter,
                        "probed for in an advertised prefix, for {}s yet, and nobody else's",
                        left.as_secs()
                    ),
                    Some(Grant::LinkLocal) => formatter.write_str("link-local"),
                    None => formatter.write_str("not the client's"),
                }
            }
            Self::GivesBack(net, is_own) => {
                let own = if *is_own { "the client's" } else { "not the client's" };
                match net.prefix_len() {
                    128 => write!(formatter, "address: {} is given back, {own}", net.addr()),
                    _ => write!(formatter, "address: {net} is given back, {own}"),
                }
            }
            Self::Unreadable => formatter.write_str("address: whose it is cannot be read"),
            Self::AsksDhcp => formatter.write_str("address: any, for it asks a DHCP server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbour_message::tests::nd;
    use crate::policy::{OuterTag, Sources, VlanId};

    #[test]
    fn a_link_local_address_of_the_outer_vlan_is_another_behind_a_pair() {
        let (id, address) = (|number| VlanId::new(number).unwrap(), "fe80::5".parse().unwrap());
        let frame = nd(136, address, address);
        let headers = Headers::parse(&frame);
        let (leases, root) = (Leases::default(), RootAddresses::default());
        let check = |vlans| {
            let sources = Some(Sources::default());
            let policy = Policy { vlans: Some(vlans), sources, ..Policy::default() };
            let leaf = LeafFacts {
                is_guarded: true,
                leases: &leases,
                is_elsewhere: &|vlan, _| vlan == 7,
                root_addresses: &root,
                advertised: &AdvertisedPrefixes::default(),
            };
            CompiledPolicy::new(policy).check(&leaf, &headers, &frame, Duration::ZERO)
        };
        assert_eq!(check(Vlans::Access(id(7))), Some(Objection::SourceIp));
        assert_eq!(check(Vlans::Access(id(8))), None);
        let pair = TagPair { outer: id(7), inner: id(3), tpid: OuterTag::Customer };
        assert_eq!(check(Vlans::Pair(pair)), None);
    }
}
