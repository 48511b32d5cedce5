//! What filters are true of, and what is no filter.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

use acton_frame::{Filter, Headers};
use proptest::prelude::*;

fn ethernet(tag: Option<u16>, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];
    if let Some(id) = tag {
        frame.extend([0x81, 0]);
        frame.extend(id.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// 192.0.2.1 to 198.51.100.7.
fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend([192, 0, 2, 1, 198, 51, 100, 7]);
    packet.extend(payload);
    packet
}

/// 2001:db8::1 to ff02::1.
fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 255];
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(payload);
    packet
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0, 8, 0, 0]].concat()
}

/// Frames by name.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let arp =
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 9];
    let tcp = [&ports(40_000, 80)[..], &[0; 4], &[0x50, 2], &[0; 6]].concat();
    let mut broadcast = ethernet(None, 0x0806, &arp);
    broadcast[..6].fill(0xff);
    let mut fragment = ipv4(17, &ports(53, 53));
    fragment[7] = 1;
    vec![
        ("arp", broadcast),
        ("tagged arp", ethernet(Some(7), 0x0806, &arp)),
        ("dns", ethernet(None, 0x0800, &ipv4(17, &ports(40_000, 53)))),
        ("http", ethernet(None, 0x0800, &ipv4(6, &tcp))),
        ("dhcp", ethernet(Some(0), 0x0800, &ipv4(17, &ports(68, 67)))),
        ("ping", ethernet(None, 0x0800, &ipv4(1, &[8, 0, 0, 0]))),
        ("fragment", ethernet(None, 0x0800, &fragment)),
        ("solicitation", ethernet(None, 0x86dd, &ipv6(58, &[135, 0, 0, 0]))),
        ("ping6", ethernet(None, 0x86dd, &ipv6(58, &[128, 0, 0, 0]))),
        ("dns6", ethernet(None, 0x86dd, &ipv6(17, &ports(53, 40_000)))),
        ("other", ethernet(None, 0x88b5, &[0; 46])),
        ("runt", vec![1; 13]),
    ]
}

/// The names of the frames that a filter lets through.
fn passing(filter: &str) -> String {
    let filter: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
    let frames = frames().into_iter();
    let passing = frames.filter(|(_, frame)| filter.matches(&Headers::parse(frame), frame));
    passing.map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

#[test]
fn tests_are_true_of_their_frames() {
    for (filter, names) in [
        ("arp", "arp, tagged arp"),
        ("ip", "dns, http, dhcp, ping, fragment"),
        ("ip6", "solicitation, ping6, dns6"),
        ("tcp", "http"),
        ("udp", "dns, dhcp, fragment, dns6"),
        ("icmp", "ping"),
        ("icmp6", "solicitation, ping6"),
        ("proto 58", "solicitation, ping6"),
        ("nd", "solicitation"),
        ("dhcp", "dhcp"),
        ("port 53", "dns, dns6"),
        ("src port 53", "dns6"),
        ("udp dst port 53", "dns"),
        ("tcp port 53", ""),
        ("portrange 60-80", "http, dhcp"),
        ("host 192.0.2.9", "arp, tagged arp"),
        ("src host 192.0.2.1 and not arp", "dns, http, dhcp, ping, fragment"),
        ("dst 192.0.2.1", ""),
        ("net 198.51.0.0/16", "dns, http, dhcp, ping, fragment"),
        ("net 0.0.0.0/0 and arp", "arp, tagged arp"),
        ("dst net ff00::/8", "solicitation, ping6, dns6"),
        ("host 2001:db8::1 and icmp6", "solicitation, ping6"),
        ("net ::/0 and not ip6", ""),
        ("ether proto 0x88b5", "other"),
        ("ether proto 2054", "arp, tagged arp"),
        ("ether dst ff:ff:ff:ff:ff:ff", "arp"),
        ("ether host 02:00:00:00:00:09 and arp", "tagged arp"),
        ("ether src 02:00:00:00:00:09", ""),
        ("broadcast", "arp"),
        ("multicast", "arp"),
        ("vlan", "tagged arp, dhcp"),
        ("vlan 7", "tagged arp"),
        ("vlan 0", "dhcp"),
        // From left to right, as tcpdump has it.
        ("ip or arp and vlan", "tagged arp, dhcp"),
        ("ip or (arp and vlan)", "tagged arp, dns, http, dhcp, ping, fragment"),
        ("!ip&&!ip6 && not arp", "other, runt"),
        ("not (ip or ip6||arp)", "other, runt"),
        ("not not tcp", "http"),
    ] {
        assert_eq!(passing(filter), names, "{filter}");
    }
}

#[test]
fn what_is_no_filter_is_named_with_its_place() {
    let deep = format!("{}arp", "not ".repeat(40));
    let many = vec!["arp"; 65].join(" or ");
    for (text, says) in [
        ("", "column 1: it ends where it needs a test: arp, ip"),
        ("arp or", "column 7: it ends where it needs a test"),
        ("arp hots 10.0.0.1", "column 5: 'and' or 'or' is missing before 'hots'"),
        ("proto +89", "column 7: '+89' is no protocol's number"),
        ("ether proto 0x+8b5", "column 13: '0x+8b5' is no EtherType"),
        ("ether +2:0:0:0:0:1", "column 7: '+2:0:0:0:0:1' is no MAC"),
        ("hots 10.0.0.1", "column 1: 'hots' is no test"),
        ("host 10.0.0", "column 6: '10.0.0' is no IP address"),
        ("src arp", "column 5: 'arp' is no host, net, port or IP address"),
        ("net 10.0.0.0/33", "column 5: '10.0.0.0/33' is no network"),
        ("net 10.0.0.0", "column 5: '10.0.0.0' is no network"),
        ("port 65536", "column 6: '65536' is no port"),
        ("port +80", "column 6: '+80' is no port"),
        ("portrange 9-8", "column 11: '9-8' is no range"),
        ("vlan 4096", "column 6: '4096' is no VLAN"),
        ("vlan 7x", "column 6: '7x' is no VLAN"),
        ("ether 02:00", "column 7: '02:00' is no MAC"),
        ("ether proto 0x10000", "column 13: '0x10000' is no EtherType"),
        ("(arp", "column 5: it ends where it needs a ')'"),
        ("arp)", "column 4: ')' without '('"),
        ("arp & ip", "column 5: 'and' or 'or' is missing before '&'"),
        ("\u{e4} arp", "column 1: '\u{e4}' is no test"),
        ("arp \u{e4}", "column 5: 'and' or 'or'"),
        (&deep, "more than 32 'not' and '('"),
        (&many, "more than 64 tests"),
        (&" ".repeat(4_097), "it has 4097 bytes; 4096 are the most"),
    ] {
        let error = text.parse::<Filter>().unwrap_err();
        assert!(error.to_string().contains(says), "{text:.50}: {error}");
    }
}

/// Texts of tests.
fn any_test() -> impl Strategy<Value = String> {
    let side = prop_oneof![Just(""), Just("src "), Just("dst ")];
    let word = prop::sample::select(vec![
        "arp",
        "ip",
        "ip6",
        "icmp",
        "igmp",
        "icmp6",
        "tcp",
        "udp",
        "dhcp",
        "nd",
        "broadcast",
        "multicast",
        "vlan",
    ]);
    let address = any::<std::net::IpAddr>();
    let range = any::<(u16, u16)>().prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        word.prop_map(str::to_owned),
        (0..4_096_u16).prop_map(|id| format!("vlan {id}")),
        any::<u8>().prop_map(|number| format!("proto {number}")),
        any::<u16>().prop_map(|ethertype| format!("ether proto {ethertype:#x}")),
        (side.clone(), any::<[u8; 5]>()).prop_map(|(side, [a, b, c, d, e])| {
            format!("ether {side}02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}")
        }),
        (side.clone(), address).prop_map(|(side, address)| format!("{side}host {address}")),
        (side.clone(), any::<std::net::IpAddr>(), 0..=128_u8).prop_map(|(side, address, bits)| {
            let bits = if address.is_ipv4() { bits % 33 } else { bits };
            format!("{side}net {address}/{bits}")
        }),
        (prop_oneof![Just(""), Just("tcp "), Just("udp ")], side, range).prop_map(
            |(protocol, side, (first, last))| match first == last {
                true => format!("{protocol}{side}port {first}"),
                false => format!("{protocol}{side}portrange {first}-{last}"),
            }
        ),
    ]
}

fn any_filter() -> impl Strategy<Value = String> {
    any_test().prop_recursive(5, 20, 3, |inner| {
        let joined = (inner.clone(), prop_oneof![Just("and"), Just("or")], inner.clone());
        prop_oneof![
            inner.clone().prop_map(|inner| format!("not ({inner})")),
            joined.clone().prop_map(|(one, word, other)| format!("{one} {word} {other}")),
            joined.prop_map(|(one, word, other)| format!("({one}) {word} ({other})")),
        ]
    })
}

proptest! {
    #[test]
    fn a_filter_is_shown_in_the_words_it_is_read_from(text in any_filter()) {
        let filter: Filter = text.parse().unwrap();
        let shown = filter.to_string();
        prop_assert_eq!(shown.parse::<Filter>(), Ok(filter), "{}", shown);
    }

    #[test]
    fn not_is_the_opposite_and_joined_tests_are_what_they_are_alone(
        (one, other) in (any_filter(), any_filter()),
        noise in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let is = |text: &str, frame: &[u8]| {
            text.parse::<Filter>().unwrap().matches(&Headers::parse(frame), frame)
        };
        for frame in frames().into_iter().map(|(_, frame)| frame).chain([noise]) {
            let (a, b) = (is(&one, &frame), is(&other, &frame));
            prop_assert_eq!(is(&format!("not ({one})"), &frame), !a);
            prop_assert_eq!(is(&format!("({one}) and ({other})"), &frame), a && b);
            prop_assert_eq!(is(&format!("({one}) or ({other})"), &frame), a || b);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9.:/()!&| -]{0,40}") {
        if let Ok(filter) = text.parse::<Filter>() {
            prop_assert_eq!(filter.to_string().parse(), Ok(filter));
        }
    }
}
