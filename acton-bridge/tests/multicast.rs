//! Snooping against a slow model that knows how a frame was made, where the table has its bytes alone.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use acton_bridge::{
    AllReason, Group, GroupMessage, GroupRoute, IpFamily, MAX_GROUPS_PER_LEAF, Multicast, Owner,
    QuerierNews, Wish,
};
use acton_frame::Headers;
use proptest::prelude::*;

const VLANS: [u16; 2] = [0, 7];
const QUERIER: &str = "10.0.0.1";
const QUERIER_V6: &str = "fe80::1";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn mac_of(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(ip) => [1, 0, 0x5e, ip.octets()[1] & 0x7f, ip.octets()[2], ip.octets()[3]],
        IpAddr::V6(ip) => {
            let last: [u8; 4] = ip.octets()[12..].try_into().unwrap();
            [0x33, 0x33, last[0], last[1], last[2], last[3]]
        }
    }
}

/// A frame from one IP address to a group, with what IP carries: with a router alert where it is said to
/// have one, and padding behind it.
fn packet(
    vlan: u16,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    alert: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [&mac_of(to)[..], &[2, 0, 0, 0, 0, 1]].concat();
    if vlan != 0 {
        frame.extend([0x81, 0, 0xc0 | (vlan >> 8) as u8, vlan as u8]);
    }
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let options: &[u8] = if alert { &[0x94, 4, 0, 0] } else { &[] };
            let (words, len) = (5 + options.len() / 4, 20 + options.len() + payload.len());
            let mut header =
                vec![0x40 | words as u8, 0xc0, 0, len as u8, 0, 0, 0, 0, 1, protocol, 0, 0];
            header.extend(from.octets());
            header.extend(to.octets());
            header.extend(options);
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum);
            frame.extend([8, 0]);
            frame.extend(header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let options: &[u8] = if alert { &[protocol, 0, 1, 0, 5, 2, 0, 0] } else { &[] };
            let next = if alert { 0 } else { protocol };
            let len = (options.len() + payload.len()) as u16;
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([next, 1]);
            frame.extend(from.octets());
            frame.extend(to.octets());
            frame.extend(options);
        }
        _ => unreachable!("of one version"),
    }
    frame.extend(payload);
    let len = frame.len().max(60);
    frame.resize(len, 0xee);
    frame
}

fn igmp(vlan: u16, from: &str, to: IpAddr, mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum);
    packet(vlan, ip(from), to, 2, true, &message)
}

fn mld(vlan: u16, from: &str, to: IpAddr, mut message: Vec<u8>) -> Vec<u8> {
    let from: Ipv6Addr = from.parse().unwrap();
    let IpAddr::V6(group) = to else { unreachable!("of IPv6") };
    let length = (message.len() as u32).to_be_bytes();
    let sum = checksum(&[&from.octets(), &group.octets(), &length, &[0, 0, 0, 58], &message]);
    message[2..4].copy_from_slice(&sum);
    packet(vlan, from.into(), to, 58, true, &message)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn unspecified(family: IpFamily) -> IpAddr {
    match family {
        IpFamily::V4 => Ipv4Addr::UNSPECIFIED.into(),
        IpFamily::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A query of the second-newest version, or of the newest with what that says of itself.
fn query(vlan: u16, from: &str, group: Option<IpAddr>, newest: Option<(u8, u8)>) -> Vec<u8> {
    let family = IpFamily::of(ip(from));
    let to = group.unwrap_or_else(|| match family {
        IpFamily::V4 => ip("224.0.0.1"),
        IpFamily::V6 => ip("ff02::1"),
    });
    let asked = octets(group.unwrap_or_else(|| unspecified(family)));
    let mut message = match family {
        IpFamily::V4 => vec![0x11, 100, 0, 0],
        IpFamily::V6 => vec![130, 0, 0, 0, 0x27, 0x10, 0, 0],
    };
    message.extend(asked);
    if let Some((robustness, interval)) = newest {
        message.extend([robustness, interval, 0, 0]);
    }
    match family {
        IpFamily::V4 => igmp(vlan, from, to, message),
        IpFamily::V6 => mld(vlan, from, to, message),
    }
}

/// A report of IGMPv1 or v2, or MLDv1, or that a host leaves.
fn report(vlan: u16, group: IpAddr, kind: Kind) -> Vec<u8> {
    let (v4, v6, to): (u8, u8, _) = match kind {
        Kind::Oldest => (0x12, 131, group),
        Kind::Old => (0x16, 131, group),
        Kind::Leave if group.is_ipv4() => (0x17, 132, ip("224.0.0.2")),
        Kind::Leave => (0x17, 132, ip("ff02::2")),
    };
    match IpFamily::of(group) {
        IpFamily::V4 => igmp(vlan, "10.0.0.9", to, [vec![v4, 0, 0, 0], octets(group)].concat()),
        IpFamily::V6 => {
            let message = [vec![v6, 0, 0, 0, 0, 0, 0, 0], octets(group)].concat();
            mld(vlan, "fe80::9", to, message)
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Oldest,
    Old,
    Leave,
}

/// A report of IGMPv3 or MLDv2: records of a kind, a group, so many sources and words of other data.
fn records(vlan: u16, family: IpFamily, records: &[(u8, IpAddr, u8, u8)]) -> Vec<u8> {
    let mut message = match family {
        IpFamily::V4 => vec![0x22, 0, 0, 0, 0, 0],
        IpFamily::V6 => vec![143, 0, 0, 0, 0, 0],
    };
    message.extend((records.len() as u16).to_be_bytes());
    for &(kind, group, sources, words) in records {
        message.extend([kind, words, 0, sources]);
        message.extend(octets(group));
        let len = octets(group).len();
        message.extend(vec![9; usize::from(sources) * len + usize::from(words) * 4]);
    }
    match family {
        IpFamily::V4 => igmp(vlan, "10.0.0.9", ip("224.0.0.22"), message),
        IpFamily::V6 => mld(vlan, "fe80::9", ip("ff02::16"), message),
    }
}

fn pim(vlan: u16) -> Vec<u8> {
    let mut message = vec![0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105];
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum);
    packet(vlan, ip("10.0.0.9"), ip("224.0.0.13"), 103, false, &message)
}

fn data(vlan: u16, group: IpAddr) -> Vec<u8> {
    let from = match IpFamily::of(group) {
        IpFamily::V4 => "10.0.0.1",
        IpFamily::V6 => "fe80::1",
    };
    packet(vlan, ip(from), group, 17, false, &[0x20, 0, 0x20, 0, 0, 9, 0, 0, 1])
}

fn hear(table: &Multicast<u32>, side: Owner<u32>, frame: &[u8], now: Duration) -> u32 {
    let headers = Headers::parse(frame);
    assert!(GroupMessage::may_be(&headers, frame), "{frame:02x?}");
    let message = GroupMessage::read(&headers, frame).expect("a message");
    table.hear(side, &headers, message, now)
}

fn route(table: &Multicast<u32>, frame: &[u8], now: Duration) -> GroupRoute {
    table.route(&Headers::parse(frame), frame, now)
}

/// Who gets a frame; `None` for everybody.
fn receivers(table: &Multicast<u32>, frame: &[u8], now: Duration) -> Option<Vec<u32>> {
    let receivers = match route(table, frame, now) {
        GroupRoute::Everybody => return None,
        GroupRoute::Group(group) => table.receivers(&group),
        GroupRoute::Routers => table.routers(),
    };
    let mut leaves: Vec<_> = receivers.iter().collect();
    assert_eq!((receivers.count(), receivers.is_empty()), (leaves.len(), leaves.is_empty()));
    assert!(leaves.iter().all(|&leaf| receivers.contains(leaf)) && !receivers.contains(99));
    leaves.sort_unstable();
    Some(leaves)
}

/// What a frame is read as: a group and what is wanted of it, each.
fn wishes(frame: &[u8]) -> Vec<(IpAddr, Wish)> {
    match GroupMessage::read(&Headers::parse(frame), frame) {
        Some(GroupMessage::Reports(reports)) => reports.collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reports_of_each_version_are_read() {
    use Wish::{Join, Leave};
    let (v4, v6) = (ip("239.1.2.3"), ip("ff0e::123"));
    for (group, family) in [(v4, IpFamily::V4), (v6, IpFamily::V6)] {
        for vlan in VLANS {
            assert_eq!(wishes(&report(vlan, group, Kind::Oldest)), [(group, Join)]);
            assert_eq!(wishes(&report(vlan, group, Kind::Old)), [(group, Join)]);
            assert_eq!(wishes(&report(vlan, group, Kind::Leave)), [(group, Leave)]);
            let wish = |kind, sources| {
                let read =
                    wishes(&records(vlan, family, &[(kind, group, sources, 2), (4, group, 0, 0)]));
                assert_eq!(read.last(), Some(&(group, Join)), "what is behind is read too");
                (read.len() > 1).then(|| read[0].1)
            };
            assert_eq!([wish(1, 0), wish(1, 3)], [None, Some(Join)], "IS_IN");
            assert_eq!([wish(2, 0), wish(2, 3)], [Some(Join); 2], "IS_EX");
            assert_eq!([wish(3, 0), wish(3, 3)], [Some(Leave), Some(Join)], "TO_IN");
            assert_eq!([wish(4, 0), wish(4, 3)], [Some(Join); 2], "TO_EX");
            assert_eq!([wish(5, 0), wish(5, 3)], [None, Some(Join)], "ALLOW");
            assert_eq!([wish(6, 0), wish(6, 3)], [None, Some(Leave)], "BLOCK");
            assert_eq!([wish(0, 1), wish(7, 1)], [None; 2], "of no kind");
        }
    }
}

#[test]
fn what_is_spoilt_is_no_message() {
    let read = |frame: &[u8]| GroupMessage::read(&Headers::parse(frame), frame).is_some();
    for whole in [
        records(7, IpFamily::V4, &[(4, ip("239.1.2.3"), 0, 0)]),
        report(0, ip("239.1.2.3"), Kind::Old),
        query(0, QUERIER, None, None),
        records(0, IpFamily::V6, &[(4, ip("ff0e::1"), 0, 0)]),
        query(0, QUERIER_V6, None, Some((2, 125))),
        pim(0),
    ] {
        assert!(read(&whole));
        let ip_at = Headers::parse(&whole).ip().unwrap();
        let (start, payload) = (ip_at.start, ip_at.payload.unwrap());
        let is_v6 = whole[start] >> 4 == 6;
        let mut spoilt = whole.clone();
        spoilt[payload + 1] ^= 0x40;
        assert!(!read(&spoilt), "a wrong checksum");
        for length in 0..payload + 8 {
            assert!(!read(&whole[..length]), "{length} bytes");
        }
        let mut fragment = whole.clone();
        if !is_v6 {
            fragment[start + 6] |= 0x20;
            assert!(!read(&fragment), "a fragment");
        }
        let tags: &[u8] = &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 7];
        let twice = [&whole[..12], tags, &whole[start - 2..]].concat();
        assert!(!read(&twice), "of a customer's network");
    }
    let group = ip("ff0e::1");
    let whole = report(0, group, Kind::Old);
    for (at, value, why) in
        [(14 + 7, 64, "from beyond the link"), (14 + 40 + 4, 1, "no router alert")]
    {
        let mut other = whole.clone();
        other[at] = value;
        assert!(!read(&other), "{why}");
    }
    let beyond =
        mld(0, "2001:db8::1", group, [vec![131, 0, 0, 0, 0, 0, 0, 0], octets(group)].concat());
    assert!(!read(&beyond), "from beyond the link");
}

#[test]
fn groups_go_to_members_once_a_querier_was_answered() {
    let table = Multicast::new();
    let (group, frame) = (ip("239.1.2.3"), data(0, ip("239.1.2.3")));
    hear(&table, Owner::Leaf(1), &report(0, group, Kind::Old), secs(100));
    assert_eq!(receivers(&table, &frame, secs(101)), None, "nobody asks");
    hear(&table, Owner::Root, &query(0, "0.0.0.0", None, None), secs(101));
    hear(&table, Owner::Root, &query(0, QUERIER, Some(group), None), secs(101));
    assert_eq!(receivers(&table, &frame, secs(101)), None, "neither is a querier");
    assert!(table.sweep(secs(101)).is_empty());
    hear(&table, Owner::Root, &query(0, QUERIER, None, None), secs(102));
    assert_eq!(table.sweep(secs(102)), [QuerierNews::Heard { vlan: 0, address: ip(QUERIER) }]);
    assert_eq!(receivers(&table, &frame, secs(112)), None, "answers are under way");
    assert_eq!(receivers(&table, &frame, secs(113)), Some(vec![1]));
    assert_eq!(receivers(&table, &data(7, group), secs(113)), None, "nobody asks on that VLAN");
    assert_eq!(receivers(&table, &data(0, ip("ff0e::1")), secs(113)), None, "nor by MLD");
    assert_eq!(
        receivers(&table, &data(0, ip("239.9.9.9")), secs(113)),
        Some(vec![]),
        "nobody wants it"
    );
    for everybodys in ["224.0.0.251", "224.0.0.1"] {
        assert_eq!(receivers(&table, &data(0, ip(everybodys)), secs(113)), None, "{everybodys}");
    }
    // It asks again, and nobody answers.
    hear(&table, Owner::Root, &query(0, QUERIER, None, None), secs(227));
    assert!(table.sweep(secs(359)).is_empty());
    assert_eq!(receivers(&table, &frame, secs(359)), Some(vec![1]));
    assert!(table.sweep(secs(360)).is_empty());
    assert_eq!(receivers(&table, &frame, secs(360)), Some(vec![]), "260 s after its report");
    assert_eq!(receivers(&table, &frame, secs(481)), Some(vec![]));
    assert_eq!(receivers(&table, &frame, secs(482)), None, "255 s after the last query");
    assert_eq!(table.sweep(secs(482)), [QuerierNews::Lost { vlan: 0, address: ip(QUERIER) }]);
    hear(&table, Owner::Root, &query(0, QUERIER, None, None), secs(500));
    assert_eq!(receivers(&table, &frame, secs(510)), None, "answers are under way again");
}

#[test]
fn a_querier_says_how_long_reports_hold() {
    let table = Multicast::new();
    let group = ip("ff05::7");
    // Three queries may get lost, one each 128 s, by the float 0x80.
    hear(&table, Owner::Root, &query(7, QUERIER_V6, None, Some((3, 0x80))), secs(0));
    hear(&table, Owner::Leaf(1), &report(7, group, Kind::Old), secs(0));
    let frame = data(7, group);
    assert_eq!(receivers(&table, &frame, secs(388)), Some(vec![1]));
    assert_eq!(receivers(&table, &frame, secs(389)), None, "3 x 128 s + 5 s");
    hear(&table, Owner::Root, &query(7, QUERIER_V6, None, Some((3, 0x80))), secs(389));
    table.sweep(secs(393));
    assert_eq!(table.entries(secs(393)).len(), 1);
    table.sweep(secs(394));
    assert_eq!(table.entries(secs(394)), [], "3 x 128 s + 10 s");
}

#[test]
fn who_leaves_is_asked_whether_others_want_it() {
    let table = Multicast::new();
    let group = ip("239.1.2.3");
    hear(&table, Owner::Root, &query(0, QUERIER, None, None), secs(0));
    hear(&table, Owner::Leaf(1), &report(0, group, Kind::Old), secs(20));
    let asked = |now| {
        let asks = table.take_asks(secs(now), 9, |_, _| true);
        asks.into_iter().map(|ask| (ask.leaf, ask.vlan, ask.family, ask.group)).collect::<Vec<_>>()
    };
    let frame = data(0, group);
    hear(&table, Owner::Leaf(2), &report(0, group, Kind::Leave), secs(20));
    assert_eq!(asked(30), [], "it never had it");
    hear(&table, Owner::Leaf(1), &report(0, group, Kind::Leave), secs(30));
    hear(&table, Owner::Leaf(1), &report(0, group, Kind::Leave), secs(30));
    assert_eq!(asked(30), [(1, 0, IpFamily::V4, Some(group))]);
    table.sweep(secs(33));
    assert_eq!(
        receivers(&table, &frame, secs(33)),
        Some(vec![1]),
        "for as long as others may answer"
    );
    assert_eq!(asked(33), [(1, 0, IpFamily::V4, Some(group))], "again, should that have got lost");
    table.sweep(secs(34));
    assert_eq!(receivers(&table, &frame, secs(34)), Some(vec![]));
    // Another host behind it wants it still.
    hear(&table, Owner::Leaf(1), &report(0, group, Kind::Old), secs(40));
    hear(&table, Owner::Leaf(1), &records(0, IpFamily::V4, &[(6, group, 1, 0)]), secs(41));
    assert!(table.entries(secs(41))[0].is_leaving);
    hear(&table, Owner::Leaf(1), &report(0, group, Kind::Old), secs(43));
    table.sweep(secs(46));
    assert_eq!(receivers(&table, &frame, secs(46)), Some(vec![1]));
    assert_eq!((asked(60), table.ask_due()), (vec![], None));
}

#[test]
fn a_leaf_that_comes_gets_all_and_is_asked_what_it_wants() {
    let table = Multicast::new();
    let frame = data(0, ip("239.1.2.3"));
    table.leaf_up(1, secs(0));
    assert_eq!(table.take_asks(secs(5), 9, |_, _| true), [], "nobody else asks");
    hear(&table, Owner::Root, &query(0, QUERIER, None, None), secs(5));
    hear(&table, Owner::Root, &query(7, QUERIER_V6, None, None), secs(5));
    table.leaf_up(2, secs(50));
    let asks = table.take_asks(secs(50), 9, |_, _| true);
    let asked: Vec<_> =
        asks.iter().map(|ask| (ask.leaf, ask.vlan, ask.family, ask.group)).collect();
    assert_eq!(asked, [(2, 0, IpFamily::V4, None), (2, 7, IpFamily::V6, None)]);
    assert_eq!(table.ask_due(), Some(secs(51)));
    table.sweep(secs(69));
    assert_eq!(receivers(&table, &frame, secs(69)), Some(vec![2]));
    assert_eq!(table.entries(secs(69))[0].what, Err(AllReason::New));
    table.sweep(secs(70));
    assert_eq!(receivers(&table, &frame, secs(70)), Some(vec![]));
}

#[test]
fn a_leaf_is_asked_on_the_vlans_alone_that_it_is_in() {
    let table = Multicast::new();
    let group = ip("239.1.2.3");
    // More than a leaf is asked on; leaf 1 is in the last one.
    for vlan in 1..=40 {
        hear(&table, Owner::Root, &query(vlan, QUERIER, None, None), secs(0));
    }
    let asked = |now| {
        let asks = table.take_asks(secs(now), 9, |leaf, vlan| (leaf, vlan) == (1, 40));
        asks.into_iter().map(|ask| (ask.leaf, ask.vlan, ask.group)).collect::<Vec<_>>()
    };
    for leaf in 1..=2 {
        table.leaf_up(leaf, secs(10));
    }
    assert_eq!(asked(10), [(1, 40, None)]);
    assert_eq!((asked(11), asked(99)), (vec![(1, 40, None)], vec![]));
    for leaf in 1..=2 {
        hear(&table, Owner::Leaf(leaf), &report(40, group, Kind::Old), secs(100));
        hear(&table, Owner::Leaf(leaf), &report(40, group, Kind::Leave), secs(100));
    }
    assert_eq!(asked(100), [(1, 40, Some(group))]);
    // Leaves that are asked nothing are many, too, at a turn.
    let many = Multicast::new();
    hear(&many, Owner::Root, &query(0, QUERIER, None, None), secs(0));
    (1..=20).for_each(|leaf| many.leaf_up(leaf, secs(10)));
    let turn = || many.take_asks(secs(10), 9, |leaf, _| leaf == 20).len();
    assert_eq!([turn(), turn(), turn()], [0, 0, 1]);
}

#[test]
fn who_asks_for_more_than_is_kept_gets_all() {
    let table = Multicast::new();
    hear(&table, Owner::Root, &query(0, QUERIER, None, None), secs(0));
    let groups = |number: u32| IpAddr::from(Ipv4Addr::from(0xef01_0000 + number));
    for number in 0..MAX_GROUPS_PER_LEAF as u32 {
        assert_eq!(hear(&table, Owner::Leaf(1), &report(0, groups(number), Kind::Old), secs(9)), 0);
    }
    let frame = data(0, groups(70_000));
    assert_eq!(receivers(&table, &frame, secs(20)), Some(vec![]));
    assert_eq!(hear(&table, Owner::Leaf(1), &report(0, groups(999), Kind::Old), secs(20)), 1);
    assert_eq!(hear(&table, Owner::Leaf(1), &report(0, groups(3), Kind::Old), secs(20)), 0);
    assert_eq!(receivers(&table, &frame, secs(20)), Some(vec![1]));
    assert_eq!(table.summary(secs(20)).memberships, MAX_GROUPS_PER_LEAF);
    table.purge(1);
    let summary = table.summary(secs(20));
    assert_eq!((summary.groups, summary.memberships, summary.gets_all), (0, 0, 0));
    assert_eq!(receivers(&table, &frame, secs(20)), Some(vec![]));
}

#[test]
fn routers_behind_a_leaf_get_all_groups_and_reports() {
    let table = Multicast::new();
    let (group, from_lan) = (ip("239.1.2.3"), report(0, ip("239.1.2.3"), Kind::Old));
    assert_eq!(receivers(&table, &from_lan, secs(0)), None, "nobody asks");
    hear(&table, Owner::Root, &query(0, QUERIER, None, None), secs(0));
    assert_eq!(
        receivers(&table, &from_lan, secs(1)),
        Some(vec![]),
        "a host that heard it is silent"
    );
    assert_eq!(receivers(&table, &query(0, QUERIER, None, None), secs(1)), None);
    assert_eq!(receivers(&table, &query(0, QUERIER, Some(group), None), secs(1)), None);
    hear(&table, Owner::Leaf(3), &pim(0), secs(20));
    hear(&table, Owner::Leaf(4), &query(0, "10.0.0.7", None, None), secs(20));
    hear(&table, Owner::Leaf(5), &report(0, group, Kind::Old), secs(20));
    assert_eq!(receivers(&table, &from_lan, secs(20)), Some(vec![3, 4]));
    assert_eq!(receivers(&table, &data(0, group), secs(20)), Some(vec![3, 4, 5]));
    hear(&table, Owner::Root, &query(0, QUERIER, None, None), secs(120));
    table.sweep(secs(125));
    assert_eq!(receivers(&table, &from_lan, secs(125)), Some(vec![4]), "hellos hold for 105 s");
    let mut spoilt = from_lan;
    let last = Headers::parse(&spoilt).ip().unwrap().payload.unwrap() + 1;
    spoilt[last] ^= 1;
    assert_eq!(
        receivers(&table, &spoilt, secs(125)),
        None,
        "what cannot be read goes to everybody"
    );
    table.clear();
    assert_eq!(
        (table.entries(secs(125)).len(), receivers(&table, &data(0, group), secs(125))),
        (0, None)
    );
}

/// What happens in the model.
#[derive(Debug, Clone)]
enum Step {
    Up(u32),
    Purge(u32),
    Join { leaf: u32, group: usize, vlan: usize, newest: bool },
    Leave { leaf: u32, group: usize, vlan: usize, newest: bool },
    RootAsks { vlan: usize, v6: bool },
    LeafAsks(u32),
    Hello(u32),
    Wait(u64),
}

const GROUPS: [&str; 4] = ["239.1.2.3", "239.129.2.3", "ff0e::123", "224.0.0.251"];

fn step() -> impl Strategy<Value = Step> {
    let (leaf, group, vlan) = (0..4_u32, 0..GROUPS.len(), 0..VLANS.len());
    prop_oneof![
        1 => leaf.clone().prop_map(Step::Up),
        1 => leaf.clone().prop_map(Step::Purge),
        6 => (leaf.clone(), group.clone(), vlan.clone(), any::<bool>())
            .prop_map(|(leaf, group, vlan, newest)| Step::Join { leaf, group, vlan, newest }),
        3 => (leaf.clone(), group, vlan.clone(), any::<bool>())
            .prop_map(|(leaf, group, vlan, newest)| Step::Leave { leaf, group, vlan, newest }),
        4 => (vlan, any::<bool>()).prop_map(|(vlan, v6)| Step::RootAsks { vlan, v6 }),
        1 => leaf.clone().prop_map(Step::LeafAsks),
        1 => leaf.prop_map(Step::Hello),
        5 => prop_oneof![0..5_u64, 0..60_u64, 200..300_u64].prop_map(Step::Wait),
    ]
}

/// All that holds, each until a time. What is over is looked for at each question.
#[derive(Debug, Default)]
struct Model {
    members: BTreeMap<(u32, u16, IpAddr), (u64, bool)>,
    gets_all: BTreeMap<u32, u64>,
    /// From when to when it counts.
    queriers: BTreeMap<(u16, IpFamily), (u64, u64)>,
}

impl Model {
    fn keep(&mut self, leaf: u32, until: u64) {
        let known = self.gets_all.entry(leaf).or_default();
        *known = until.max(*known);
    }

    fn take(&mut self, table: &Multicast<u32>, step: &Step, clock: &mut u64) {
        let now = *clock;
        match *step {
            Step::Up(leaf) => {
                table.leaf_up(leaf, secs(now));
                self.keep(leaf, now + 20);
            }
            Step::Purge(leaf) => {
                table.purge(leaf);
                self.members.retain(|&(of, ..), _| of != leaf);
                self.gets_all.remove(&leaf);
            }
            Step::Join { leaf, group, vlan, newest } => {
                let (group, vlan) = (ip(GROUPS[group]), VLANS[vlan]);
                let frame = match newest {
                    true => records(vlan, IpFamily::of(group), &[(2, group, 0, 0)]),
                    false => report(vlan, group, Kind::Old),
                };
                hear(table, Owner::Leaf(leaf), &frame, secs(now));
                self.members.insert((leaf, vlan, group), (now + 260, false));
            }
            Step::Leave { leaf, group, vlan, newest } => {
                let (group, vlan) = (ip(GROUPS[group]), VLANS[vlan]);
                let frame = match newest {
                    true => records(vlan, IpFamily::of(group), &[(3, group, 0, 0)]),
                    false => report(vlan, group, Kind::Leave),
                };
                hear(table, Owner::Leaf(leaf), &frame, secs(now));
                if let Some((until, leaves)) = self.members.get_mut(&(leaf, vlan, group))
                    && !*leaves
                {
                    (*until, *leaves) = ((*until).min(now + 4), true);
                }
            }
            Step::RootAsks { vlan, v6 } => {
                let (vlan, from) = (VLANS[vlan], if v6 { QUERIER_V6 } else { QUERIER });
                hear(table, Owner::Root, &query(vlan, from, None, None), secs(now));
                let (settled, until) =
                    self.queriers.entry((vlan, IpFamily::of(ip(from)))).or_default();
                if *until <= now {
                    *settled = now + 11;
                }
                *until = now + 255;
            }
            Step::LeafAsks(leaf) => {
                hear(table, Owner::Leaf(leaf), &query(0, "10.0.0.7", None, None), secs(now));
                self.keep(leaf, now + 255);
            }
            Step::Hello(leaf) => {
                hear(table, Owner::Leaf(leaf), &pim(0), secs(now));
                self.keep(leaf, now + 105);
            }
            Step::Wait(seconds) => {
                *clock += seconds;
                let now = *clock;
                table.sweep(secs(now));
                self.members.retain(|_, &mut (until, _)| until > now);
                self.gets_all.retain(|_, &mut until| until > now);
            }
        }
    }

    /// Who gets a group; `None` for everybody.
    fn receivers(&self, vlan: u16, group: IpAddr, now: u64) -> Option<Vec<u32>> {
        let &(settled, until) = self.queriers.get(&(vlan, IpFamily::of(group)))?;
        if group == ip("224.0.0.251") || now < settled || now >= until {
            return None;
        }
        let members = self.members.keys().filter(|&&(_, on, of)| (on, of) == (vlan, group));
        let leaves: BTreeSet<_> =
            members.map(|&(leaf, ..)| leaf).chain(self.gets_all.keys().copied()).collect();
        Some(leaves.into_iter().collect())
    }
}

proptest! {
    #[test]
    fn it_agrees_with_a_slow_model(steps in prop::collection::vec(step(), 1..60)) {
        let (table, mut model, mut now) = (Multicast::new(), Model::default(), 1_000);
        for step in &steps {
            model.take(&table, step, &mut now);
            for vlan in VLANS {
                for group in GROUPS.map(ip) {
                    let seen = receivers(&table, &data(vlan, group), secs(now));
                    prop_assert_eq!(seen, model.receivers(vlan, group, now), "{:?}", step);
                }
            }
            let members = model.members.keys().filter(|&&(.., group)| group != ip("224.0.0.251"));
            let members: Vec<_> = members.collect();
            let groups: BTreeSet<_> = members.iter().map(|&&(_, vlan, group)| (vlan, group)).collect();
            let summary = table.summary(secs(now));
            prop_assert_eq!(
                (summary.groups, summary.memberships, summary.gets_all),
                (groups.len(), members.len(), model.gets_all.len())
            );
            prop_assert_eq!(table.entries(secs(now)).len(), members.len() + model.gets_all.len());
        }
    }

    #[test]
    fn anything_can_be_heard(
        tail in prop::collection::vec(any::<u8>(), 0..90),
        head in prop::sample::select(vec![
            query(0, QUERIER, None, Some((2, 125))),
            records(7, IpFamily::V4, &[(4, ip("239.1.2.3"), 1, 1)]),
            records(0, IpFamily::V6, &[(4, ip("ff0e::1"), 1, 1)]),
            query(0, QUERIER_V6, None, Some((2, 125))),
            pim(0),
        ]),
        keep in 0..90_usize,
    ) {
        let frame = [&head[..keep.min(head.len())], &tail].concat();
        let (headers, table) = (Headers::parse(&frame), Multicast::<u32>::new());
        for side in [Owner::Root, Owner::Leaf(1)] {
            if let Some(message) = GroupMessage::read(&headers, &frame) {
                prop_assert!(GroupMessage::may_be(&headers, &frame));
                table.hear(side, &headers, message, secs(1));
            }
            let _ = (table.route(&headers, &frame, secs(1)), Group::of(&headers, &frame));
        }
        table.sweep(Duration::MAX);
        prop_assert_eq!(table.summary(Duration::MAX).memberships, 0);
    }
}
