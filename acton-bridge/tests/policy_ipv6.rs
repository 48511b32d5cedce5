//! IPv6 addresses that a leaf is given by DHCPv6, or makes itself: from frames and times alone.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use acton_bridge::{
    AdvertisedPrefixes, CompiledPolicy, Dhcp6Reply, Finding, Grant, HeldNet, LeafFacts, LearntFrom,
    Leases, Objection, OuterTag, Policy, RootAddresses, Sources, TagPair, VlanId, Vlans,
};
use acton_frame::Headers;
use ipnet::IpNet;
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(1_000);
const CLIENT: &str = "fe80::9";
const ROUTER: &str = "fe80::1";
const TRANSACTION: u32 = 0x00_1234;
const FAILS: (u16, &[u8]) = (13, &[0, 2, b'n', b'o']);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse()).unwrap()
}

/// A frame of IPv6 that goes to a group.
fn packet(tags: &[u16], [from, to]: [&str; 2], next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
    for tag in tags {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([next, hops]);
    frame.extend(v6(from).octets());
    frame.extend(v6(to).octets());
    frame.extend(payload);
    frame
}

fn option((code, value): (u16, &[u8])) -> Vec<u8> {
    let len = value.len() as u16;
    [&code.to_be_bytes()[..], &len.to_be_bytes(), value].concat()
}

/// An association: IA_NA (3), IA_TA (4) or IA_PD (25).
fn association(code: u16, inner: &[Vec<u8>]) -> Vec<u8> {
    let fixed = if code == 4 { 4 } else { 12 };
    option((code, &[vec![1; fixed], inner.concat()].concat()))
}

/// What is given in one, for so many seconds.
fn given(text: &str, valid: u32, inner: &[Vec<u8>]) -> Vec<u8> {
    let (net, lifetimes) = (net(text), [valid / 2, valid].map(u32::to_be_bytes).concat());
    let IpAddr::V6(address) = net.addr() else { unreachable!() };
    let inner = inner.concat();
    match net.prefix_len() {
        128 => option((5, &[&address.octets()[..], &lifetimes, &inner].concat())),
        len => option((26, &[&lifetimes[..], &[len], &address.octets(), &inner].concat())),
    }
}

/// A message of this type and number.
fn message(kind: u8, transaction: u32, options: &[Vec<u8>]) -> Vec<u8> {
    let [_, a, b, c] = transaction.to_be_bytes();
    [&[kind, a, b, c][..], &options.concat()].concat()
}

fn datagram(ends: [&str; 2], [source, to]: [u16; 2], message: &[u8]) -> Vec<u8> {
    let mut bytes = [source.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend((8 + message.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(message);
    packet(&[], ends, 17, 64, &bytes)
}

fn from_client(message: &[u8]) -> Vec<u8> {
    datagram([CLIENT, "ff02::1:2"], [546, 547], message)
}

fn reply(transaction: u32, options: &[Vec<u8>]) -> Vec<u8> {
    datagram([ROUTER, CLIENT], [547, 546], &message(7, transaction, options))
}

fn read(frame: &[u8]) -> Option<Vec<(String, u64)>> {
    let reply = Dhcp6Reply::read(&Headers::parse(frame), frame)?;
    assert_eq!((reply.vlan, reply.mac.octets()), (0, [0x33, 0x33, 0, 0, 0, 1]));
    let text = |net: &IpNet| match net.prefix_len() {
        128 => net.addr().to_string(),
        _ => net.to_string(),
    };
    Some(reply.given.iter().map(|(net, time)| (text(net), time.as_secs())).collect())
}

fn hear(leases: &Leases, frame: &[u8]) -> bool {
    leases.hear(&Headers::parse(frame), frame)
}

/// What a server gives a leaf, which asked for it before if it `asks`.
fn give(leases: &Leases, options: &[Vec<u8>], now: Duration) -> Vec<IpNet> {
    hear(leases, &from_client(&message(3, TRANSACTION, &[])));
    let frame = reply(TRANSACTION, options);
    let reply = Dhcp6Reply::read(&Headers::parse(&frame), &frame).unwrap();
    let mut held = Vec::new();
    leases.add_reply(&reply, now, |net| held.push(net));
    held
}

fn left(leases: &Leases, address: &str, now: Duration) -> Option<u64> {
    leases.left(0, ip(address), now).map(|left| left.as_secs())
}

/// A leaf that learns addresses.
#[derive(Default)]
struct Leaf {
    leases: Leases,
    advertised: AdvertisedPrefixes,
    listed: Vec<IpNet>,
    vlans: Option<Vlans>,
}

impl Leaf {
    fn check(&self, frame: &[u8], now: Duration) -> Option<Objection> {
        self.explain(frame, now).1
    }

    fn explain(&self, frame: &[u8], now: Duration) -> (Vec<Finding>, Option<Objection>) {
        let mut policy = Policy::default();
        policy.sources = Some(Sources { listed: self.listed.clone(), learn: true });
        policy.vlans = self.vlans.clone();
        let leaf = LeafFacts {
            is_guarded: true,
            leases: &self.leases,
            advertised: &self.advertised,
            is_elsewhere: &|_, address| address == ip("2001:db8::e"),
            root_addresses: &RootAddresses::default(),
        };
        CompiledPolicy::new(policy).explain(&leaf, &Headers::parse(frame), frame, now)
    }

    fn advertise(&self, frame: &[u8], now: Duration) {
        self.advertised.hear(&Headers::parse(frame), frame, now);
    }

    /// A frame that passed is heard; whether the address is the leaf's then.
    fn probes(&self, address: &str, now: Duration) -> bool {
        let frame = solicitation(&[], "::", address);
        if self.check(&frame, now).is_some() {
            return false;
        }
        let headers = Headers::parse(&frame);
        if let Some((vlan, address)) = self.leases.hear_neighbour(&headers, &frame, now) {
            assert!(self.leases.make(&self.advertised, vlan, address, now));
        }
        self.leases.left(0, ip(address), now).is_some()
    }
}

fn solicitation(tags: &[u16], source: &str, target: &str) -> Vec<u8> {
    let payload = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &v6(target).octets()].concat();
    packet(tags, [source, "ff02::1:ff00:1"], 58, 255, &payload)
}

/// A router's, of one prefix: its flags, and its lifetime in seconds.
fn advertisement(prefix: &str, flags: u8, valid: u32) -> Vec<u8> {
    packet(&[], [ROUTER, "ff02::1"], 58, 255, &advertised(prefix, flags, valid))
}

fn advertised(prefix: &str, flags: u8, valid: u32) -> Vec<u8> {
    let net = net(prefix);
    let IpAddr::V6(address) = net.addr() else { unreachable!() };
    let mut message = vec![134, 0, 0, 0, 64, 0, 0, 30];
    message.extend([0; 8]);
    // A link-layer address first.
    message.extend([1, 1, 2, 0, 0, 0, 0, 1, 3, 4, net.prefix_len(), flags]);
    message.extend(valid.to_be_bytes());
    message.extend(valid.to_be_bytes());
    message.extend([0; 4]);
    message.extend(address.octets());
    message
}

const ON_LINK_AND_AUTONOMOUS: u8 = 0xc0;

/// Some UDP of a leaf's from an address.
fn uses(address: &str) -> Vec<u8> {
    datagram([address, "2001:db8::1"], [5, 6], &[0; 8])
}

#[test]
fn a_reply_gives_what_was_asked_for_and_takes_it_again() {
    let leases = Leases::default();
    let both = [
        association(3, &[given("2001:db8::5", 100, &[]), given("2001:db8::6", 50, &[])]),
        association(4, &[given("2001:db8::7", 60, &[])]),
        association(25, &[given("2001:db8:5::/48", 200, &[])]),
    ];
    let frame = reply(TRANSACTION, &both);
    let parsed = Dhcp6Reply::read(&Headers::parse(&frame), &frame).unwrap();
    assert!(!leases.add_reply(&parsed, NOW, |_| panic!("nobody asked")));
    assert_eq!(give(&leases, &both, NOW).len(), 4);
    let at = |address, after| left(&leases, address, NOW + seconds(after));
    assert_eq!([0, 49, 50].map(|after| at("2001:db8::6", after)), [Some(50), Some(1), None]);
    assert_eq!((at("2001:db8::7", 9), at("2001:db8::8", 9)), (Some(51), None));
    assert_eq!(at("2001:db8:5:ffff::1", 199), Some(1), "in the prefix");
    assert_eq!(at("2001:db8:6::1", 0), None);
    assert_eq!(leases.left(7, ip("2001:db8::5"), NOW), None, "another VLAN");
    // A renewal, which takes one and leaves out another.
    let later = NOW + seconds(10);
    let renewed = [
        association(3, &[given("2001:db8::5", 100, &[]), given("2001:db8::6", 0, &[])]),
        association(25, &[given("2001:db8:5::/48", 0, &[])]),
    ];
    assert_eq!(give(&leases, &renewed, later), [net("2001:db8::5")]);
    assert_eq!(left(&leases, "2001:db8::5", later), Some(100));
    assert_eq!(left(&leases, "2001:db8::6", later), None);
    assert_eq!(left(&leases, "2001:db8:5::1", later), None);
    assert_eq!(left(&leases, "2001:db8::7", later), Some(50));
}

#[test]
fn what_failed_or_came_from_elsewhere_gives_nothing() {
    let five = || given("2001:db8::5", 100, &[]);
    let good = [association(3, &[five()])];
    assert_eq!(read(&reply(1, &good)), Some(vec![("2001:db8::5".to_owned(), 100)]));
    let message_7 = message(7, 1, &good);
    for ends in [[ROUTER, "2001:db8::5"], [ROUTER, "ff02::1"], ["2001:db8::1", "2001:db8::5"]] {
        assert_eq!(read(&datagram(ends, [547, 546], &message_7)), None, "{ends:?}");
    }
    assert_eq!(read(&datagram([ROUTER, CLIENT], [9, 546], &message_7)), None);
    assert_eq!(read(&datagram([ROUTER, CLIENT], [547, 546], &message(2, 1, &good))), None);
    let failed = option(FAILS);
    for options in [
        vec![association(3, &[five()]), failed.clone()],
        vec![association(3, &[failed.clone(), five()])],
        vec![association(3, &[given("2001:db8::5", 100, std::slice::from_ref(&failed))])],
        // What belongs into another kind of association, and a preferred lifetime that is too long.
        vec![association(25, &[five()])],
        vec![association(3, &[given("2001:db8::/64", 100, &[])])],
        vec![five()],
        vec![association(3, &[option((5, &[&[9; 16][..], &[0, 0, 0, 9, 0, 0, 0, 8]].concat()))])],
    ] {
        assert_eq!(read(&reply(1, &options)), Some(Vec::new()), "{options:?}");
    }
    // Of several associations one may fail.
    let some = [association(3, &[failed]), association(3, &[five()])];
    assert_eq!(read(&reply(1, &some)).unwrap().len(), 1);
    // Cut short anywhere, nothing is believed but where an option ends.
    let whole = reply(1, &[association(3, &[five()]), association(4, &[five()])]);
    for end in 66..whole.len() - 1 {
        let mut cut = whole[..end].to_vec();
        cut[18..20].copy_from_slice(&((end - 54) as u16).to_be_bytes());
        let given = read(&cut).map(|given| given.len());
        let at_an_end = [66, 66 + 4 + 12 + 28].iter().position(|&at| at == end);
        assert_eq!(given, at_an_end, "{end}");
    }
    for prefix in [0, 129] {
        let value = [&[0, 0, 0, 1, 0, 0, 0, 2, prefix][..], &[0; 16]].concat();
        assert_eq!(read(&reply(1, &[association(25, &[option((26, &value))])])), None);
    }
}

#[test]
fn there_is_room_for_so_many() {
    let leases = Leases::default();
    let many: Vec<_> = (0..300).map(|i| given(&format!("2001:db8::1:{i:x}"), 100, &[])).collect();
    assert_eq!(give(&leases, &[association(3, &many)], NOW).len(), 256);
    let many: Vec<_> = (0..20).map(|i| given(&format!("2001:db8:{i:x}::/48"), 100, &[])).collect();
    assert_eq!(give(&leases, &[association(25, &many)], NOW).len(), 16);
    assert_eq!(leases.list(NOW).len(), 256 + 16);
    assert_eq!(leases.list(NOW + seconds(100)), []);
    assert_eq!(give(&leases, &[association(25, &many)], NOW + seconds(100)).len(), 16);
}

#[test]
fn nobody_gives_back_what_is_another_s() {
    let listed = vec![net("2001:db8:9::/48")];
    let leaf = Leaf { listed, ..Leaf::default() };
    let own = [
        association(3, &[given("2001:db8::5", 100, &[])]),
        association(25, &[given("2001:db8:5::/48", 100, &[])]),
    ];
    give(&leaf.leases, &own, NOW);
    let back = |what: &str, code| association(code, &[given(what, 0, &[])]);
    for kind in [8, 9] {
        for (what, is_own) in [
            ("2001:db8::5", true),
            ("2001:db8::6", false),
            ("2001:db8:5::/48", true),
            ("2001:db8:5:8::/61", true),
            ("2001:db8:4::/47", false),
            ("2001:db8:9:1::/64", true),
            ("2001:db8:8::/47", false),
        ] {
            let code = if what.contains('/') { 25 } else { 3 };
            let said = message(kind, 9, &[back(what, code)]);
            let expected = (!is_own).then_some(Objection::SourceIp);
            assert_eq!(leaf.check(&from_client(&said), NOW), expected, "{kind} {what}");
            // From another port and to a server alone; then passed on by a relay, and by another.
            let to_one = datagram([CLIENT, ROUTER], [9, 547], &said);
            assert_eq!(leaf.check(&to_one, NOW), expected);
            let relayed = |inner: &[u8]| {
                [&[12, 0][..], &[0; 32], &option((18, b"if")), &option((9, inner))].concat()
            };
            for message in [relayed(&said), relayed(&relayed(&said))] {
                assert_eq!(leaf.check(&from_client(&message), NOW), expected);
            }
            // Two in one: a server might take the other.
            let twice = [relayed(&message(1, 9, &[])), option((9, &said))].concat();
            assert_eq!(leaf.check(&from_client(&twice), NOW), Some(Objection::SourceIp));
        }
        let mut cut = message(kind, 9, &[back("2001:db8::5", 3)]);
        cut.pop();
        assert_eq!(leaf.check(&from_client(&cut), NOW), Some(Objection::SourceIp));
    }
    // In a fragment nobody sees all of it.
    let whole = from_client(&message(8, 9, &[]));
    let payload = [&[17, 0, 0, 1, 0, 0, 0, 7][..], &whole[54..]].concat();
    let fragment = packet(&[], [CLIENT, "ff02::1:2"], 44, 64, &payload);
    assert_eq!(leaf.check(&fragment, NOW), Some(Objection::SourceIp));
    assert_eq!(leaf.check(&from_client(&message(1, 9, &[])), NOW), None);
    // What is given back is gone.
    assert!(hear(&leaf.leases, &from_client(&message(8, 9, &own))));
    assert_eq!(leaf.leases.list(NOW), []);
}

#[test]
fn a_leaf_has_what_it_probed_for_in_an_advertised_prefix() {
    let leaf = Leaf::default();
    assert!(!leaf.probes("2001:db8::5", NOW), "nothing is advertised");
    leaf.advertise(&advertisement("2001:db8::/64", ON_LINK_AND_AUTONOMOUS, 10_000), NOW);
    assert_eq!(leaf.check(&uses("2001:db8::5"), NOW), Some(Objection::SourceIp), "not yet probed");
    assert_eq!(leaf.leases.list(NOW), []);
    let probe = solicitation(&[], "::", "2001:db8::5");
    let (findings, objection) = leaf.explain(&probe, NOW);
    assert_eq!(objection, None);
    let expected = Finding::Source(ip("2001:db8::5"), Some(Grant::Probed(seconds(10_000))));
    assert!(findings.contains(&expected), "{findings:?}");
    assert_eq!(leaf.check(&probe, NOW), None, "a check alone takes nothing");
    assert_eq!(leaf.leases.list(NOW), []);
    assert!(leaf.probes("2001:db8::5", NOW) && leaf.probes("2001:db8::5", NOW));
    let (findings, objection) = leaf.explain(&uses("2001:db8::5"), NOW);
    assert_eq!(objection, None);
    let expected = Finding::Source(ip("2001:db8::5"), Some(Grant::Made(seconds(10_000))));
    assert!(findings.contains(&expected), "{findings:?}");
    assert!(findings.iter().any(|it| it.to_string().contains("its own in an advertised prefix")));
    // Another's, another prefix's, and what only looks like a probe.
    assert!(!leaf.probes("2001:db8::e", NOW) && !leaf.probes("2001:db8:1::5", NOW));
    for frame in
        [solicitation(&[], "2001:db8::6", "2001:db8::6"), solicitation(&[7], "::", "2001:db8::6")]
    {
        assert_eq!(leaf.check(&frame, NOW), Some(Objection::SourceIp), "{frame:02x?}");
    }
    let frame = solicitation(&[0, 7], "::", "2001:db8::6");
    assert_eq!(leaf.check(&frame, NOW), Some(Objection::Hidden));
    for (at, byte) in [(21, 64), (0, 2), (38, 0x20), (54, 136)] {
        let mut frame = solicitation(&[], "::", "2001:db8::6");
        frame[at] = byte;
        assert_eq!(leaf.check(&frame, NOW), Some(Objection::SourceIp), "{at}");
    }
    // Who has it at the root and says so at once takes it; later a router that answers for others does not.
    let yields = |address, after| leaf.leases.yield_made(0, ip(address), NOW + seconds(after));
    assert!(!yields("2001:db8::6", 0) && !yields("2001:db8::5", 3));
    assert!(leaf.probes("2001:db8::5", NOW + seconds(9)) && !yields("2001:db8::5", 12));
    assert!(yields("2001:db8::5", 11));
    assert_eq!(leaf.check(&uses("2001:db8::5"), NOW), Some(Objection::SourceIp));
    // Not so what DHCP gave.
    give(&leaf.leases, &[association(3, &[given("2001:db8::5", 100, &[])])], NOW);
    assert!(leaf.probes("2001:db8::5", NOW) && !yields("2001:db8::5", 0));
    assert_eq!(left(&leaf.leases, "2001:db8::5", NOW), Some(100));
}

#[test]
fn an_address_lasts_as_long_as_its_prefix_is_advertised() {
    let leaf = Leaf::default();
    let advertise = |valid, after| {
        let frame = advertisement("2001:db8::/64", ON_LINK_AND_AUTONOMOUS, valid);
        leaf.advertise(&frame, NOW + seconds(after));
    };
    let left = |after| left(&leaf.leases, "2001:db8::5", NOW + seconds(after));
    advertise(0, 0);
    assert!(!leaf.probes("2001:db8::5", NOW));
    advertise(600, 0);
    assert!(leaf.probes("2001:db8::5", NOW));
    advertise(600, 500);
    assert_eq!([500, 1_099, 1_100].map(left), [Some(600), Some(1), None]);
    // It came back in time, with more.
    advertise(90_000, 1_000);
    assert_eq!(left(1_000), Some(90_000));
    // Two hours remain of what is taken back at once, and what remains of less is not changed.
    advertise(0, 2_000);
    assert_eq!(left(2_000), Some(7_200));
    advertise(60, 3_000);
    assert_eq!(left(3_000), Some(6_200));
    advertise(6_300, 3_000);
    assert_eq!(left(3_000), Some(6_300));
    assert_eq!((left(9_299), left(9_300)), (Some(1), None));
    advertise(u32::MAX, 9_400);
    assert!(left(9_400 + 86_400 * 365 * 100).is_some(), "for ever, and not too far for the clock");
}

#[test]
fn only_a_router_of_this_link_advertises() {
    let is_heard = |frame: &[u8]| {
        let leaf = Leaf::default();
        leaf.advertise(frame, NOW);
        leaf.check(&solicitation(&[], "::", "2001:db8::5"), NOW).is_none()
    };
    let good = advertisement("2001:db8::/64", ON_LINK_AND_AUTONOMOUS, 100);
    assert!(is_heard(&good));
    assert!(is_heard(&advertisement("2001:db8::/64", 0x40, 100)));
    let message = advertised("2001:db8::/64", 0xc0, 100);
    for (wrong, frame) in [
        ("without the flag", advertisement("2001:db8::/64", 0x80, 100)),
        ("of another length", advertisement("2001:db8::/63", 0xc0, 100)),
        ("from beyond a router", packet(&[], [ROUTER, "ff02::1"], 58, 254, &message)),
        ("from a global address", packet(&[], ["2001:db8::1", "ff02::1"], 58, 255, &message)),
        ("on another VLAN", packet(&[9], [ROUTER, "ff02::1"], 58, 255, &message)),
        ("behind two tags", packet(&[0, 9], [ROUTER, "ff02::1"], 58, 255, &message)),
        ("link-local", advertisement("fe80::/64", 0xc0, 100)),
    ] {
        assert!(!is_heard(&frame), "{wrong}");
    }
    for (wrong, at, byte) in [("of no bytes", 71, 0), ("longer than it is", 79, 5), ("code", 55, 1)]
    {
        let mut frame = good.clone();
        frame[at] = byte;
        assert!(!is_heard(&frame), "{wrong}");
    }
    // A preferred lifetime that is longer than the valid one.
    let mut frame = good.clone();
    frame[86] = 1;
    assert!(!is_heard(&frame));
    for end in 0..good.len() {
        assert!(!is_heard(&good[..end]), "{end}");
    }
}

#[test]
fn there_is_room_for_so_many_prefixes_and_addresses() {
    let leaf = Leaf::default();
    for prefix in 0..40 {
        let frame = advertisement(&format!("2001:db8:0:{prefix:x}::/64"), 0xc0, 100 + prefix);
        leaf.advertise(&frame, NOW);
    }
    let probes = |prefix, host, now| leaf.probes(&format!("2001:db8:0:{prefix:x}::{host:x}"), now);
    assert!(probes(31, 1, NOW) && !probes(32, 1, NOW));
    // One that has ended makes room.
    leaf.advertise(&advertisement("2001:db8:0:20::/64", 0xc0, 100_000), NOW + seconds(100));
    let now = NOW + seconds(200);
    let at = |host: u64| now + seconds(host);
    assert!((1..=256).all(|host| probes(32, host, at(host))));
    // The first tells of itself, the second does not.
    assert!(probes(32, 1, at(300)) && probes(32, 257, at(301)));
    let held = |host| leaf.leases.left(0, ip(&format!("2001:db8:0:20::{host:x}")), at(301));
    assert!(held(1).is_some() && held(2).is_none() && held(3).is_some() && held(257).is_some());
    assert_eq!(leaf.leases.list(at(301)).len(), 256);
    // And leases have room of their own.
    assert_eq!(give(&leaf.leases, &[association(3, &[given("::5", 9, &[])])], at(301)).len(), 1);
}

#[test]
fn behind_a_pair_of_tags_no_address_is_made() {
    let [outer, inner] = [7, 8].map(|id| VlanId::new(id).unwrap());
    let pair = TagPair { outer, inner, tpid: OuterTag::default() };
    let leaf = Leaf { vlans: Some(Vlans::Pair(pair)), ..Leaf::default() };
    let message = advertised("2001:db8::/64", 0xc0, 100);
    leaf.advertise(&packet(&[7], [ROUTER, "ff02::1"], 58, 255, &message), NOW);
    assert!(!leaf.probes("2001:db8::5", NOW));
    let leaf = Leaf { vlans: Some(Vlans::Access(outer)), ..leaf };
    let probe = solicitation(&[], "::", "2001:db8::5");
    assert_eq!(leaf.check(&probe, NOW), None);
    let headers = Headers::parse(&probe).in_vlan(7);
    let probed = leaf.leases.hear_neighbour(&headers, &probe, NOW);
    assert_eq!(probed, Some((7, ip("2001:db8::5"))));
}

#[test]
fn what_was_kept_is_had_again_and_goes_on_with_its_prefix() {
    let leaf = Leaf::default();
    leaf.advertise(&advertisement("2001:db8::/64", 0xc0, 1_000), NOW);
    assert!(leaf.probes("2001:db8::5", NOW));
    let options = [
        association(3, &[given("2001:db8::6", 200, &[])]),
        association(25, &[given("2001:db8:5::/48", 300, &[])]),
    ];
    give(&leaf.leases, &options, NOW);
    let kept = leaf.leases.list(NOW);
    assert_eq!(kept.len(), 3);
    assert_eq!(kept.iter().filter(|held| held.from == LearntFrom::Slaac).count(), 1);
    // The clock begins anew.
    let (after, now) = (Leaf::default(), seconds(1));
    assert!(kept.iter().all(|held| after.leases.restore(held, &after.advertised, now)));
    assert_eq!(after.leases.list(now), kept);
    after.advertise(&advertisement("2001:db8::/64", 0xc0, 5_000), seconds(500));
    let left: Vec<_> = after.leases.list(seconds(500));
    let (vlan, net) = (0, net("2001:db8::5"));
    assert_eq!(left, [HeldNet { vlan, net, from: LearntFrom::Slaac, left: seconds(5_000) }]);
    assert!(after.probes("2001:db8::7", seconds(500)), "the prefix is known");
}

/// An association of some addresses or prefixes, and what it gives if all goes well.
fn some_association() -> impl Strategy<Value = (Vec<u8>, Vec<(String, u64)>)> {
    let item = (any::<u16>(), any::<u32>(), prop::bool::weighted(0.2), 1..=127_u8);
    let code = prop::sample::select(vec![3_u16, 4, 25]);
    (code, prop::collection::vec(item, 0..4), prop::bool::weighted(0.2)).prop_map(
        |(code, items, fails)| {
            let (mut inner, mut expected) = (vec![option((999, b"unknown"))], Vec::new());
            for (number, valid, item_fails, len) in items {
                let text = match code {
                    25 => IpNet::new(ip(&format!("2001:db8:{number:x}::")), len)
                        .unwrap()
                        .trunc()
                        .to_string(),
                    _ => ip(&format!("2001:db8::{number:x}")).to_string(),
                };
                let status = if item_fails { vec![option(FAILS)] } else { Vec::new() };
                inner.push(given(&text, valid, &status));
                if !item_fails && !fails {
                    expected.push((text, valid.into()));
                }
            }
            inner.extend(fails.then(|| option(FAILS)));
            (association(code, &inner), expected)
        },
    )
}

proptest! {
    #[test]
    fn a_reply_says_what_it_was_made_of(
        associations in prop::collection::vec(some_association(), 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let (options, expected): (Vec<_>, Vec<_>) = associations.into_iter().unzip();
        let frame = reply(TRANSACTION, &options);
        prop_assert_eq!(read(&frame), Some(expected.concat()));
        let _ = read(&frame[..cut.index(frame.len())]);
    }

    #[test]
    fn nothing_that_is_sent_does_harm(
        tail in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![1_u8, 3, 7, 8, 9, 12, 134, 135, 136]),
        is_discovery: bool,
    ) {
        let said = [&[kind, 0][..], &tail].concat();
        let frame = match is_discovery {
            true => packet(&[], [ROUTER, "ff02::1"], 58, 255, &said),
            false if kind == 7 => datagram([ROUTER, CLIENT], [547, 546], &said),
            false => from_client(&said),
        };
        let (leaf, headers) = (Leaf::default(), Headers::parse(&frame));
        leaf.advertise(&frame, NOW);
        let _ = leaf.check(&frame, NOW);
        leaf.leases.hear(&headers, &frame);
        let _ = leaf.leases.hear_neighbour(&headers, &frame, NOW);
        let _ = acton_bridge::neighbour_advertised(&headers, &frame);
        if let Some(reply) = Dhcp6Reply::read(&headers, &frame) {
            leaf.leases.add_reply(&reply, NOW, |_| unreachable!("nobody asked"));
        }
        prop_assert_eq!(leaf.leases.list(NOW), []);
    }

    /// Random options in what would be well-formed: reading ends, and what is given can be somebody's.
    #[test]
    fn any_options_can_be_read(
        options in prop::collection::vec(
            (prop::sample::select(vec![3_u16, 4, 5, 9, 13, 25, 26]),
             prop::collection::vec(any::<u8>(), 0..60)),
            0..6,
        ),
    ) {
        let options: Vec<_> =
            options.iter().map(|(code, value)| option((*code, value))).collect();
        if let Some(given) = read(&reply(TRANSACTION, &options)) {
            prop_assert!(given.iter().all(|(net, _)| !net.ends_with("/0")));
        }
    }
}
