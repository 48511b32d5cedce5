//! Policies against a slow model that knows how a frame was made, where the policy has its bytes alone.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use std::time::Duration;

use acton_bridge::{
    AdvertisedPrefixes, CompiledPolicy, EtherType, LeafFacts, Lease, Leases, Objection, Policy,
    RootAddresses, Sources, VlanId, Vlans,
};
use acton_frame::Headers;
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(1_000);

/// What an IP packet carries.
#[derive(Debug, Clone)]
enum Payload {
    Tcp,
    Udp {
        source: u16,
        destination: u16,
        first: Option<u8>,
    },
    /// ICMP or ICMPv6, as the packet's version has it. `target` is what neighbour discovery tells of.
    Icmp {
        kind: u8,
        target: Ipv6Addr,
    },
    Other(u8),
}

/// How a packet is cut, where it is: the first fragment ends so many bytes behind its header.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Whole,
    First { keeps: usize },
    Later,
}

#[derive(Debug, Clone)]
enum Body {
    V4 { source: Ipv4Addr, options: usize, payload: Payload, cut: Cut },
    V6 { source: Ipv6Addr, extensions: Vec<u8>, payload: Payload, cut: Cut },
    Arp { hardware: u16, operation: u8, sender: Ipv4Addr },
    Other(u16),
}

#[derive(Debug, Clone)]
struct Description {
    tags: Vec<u16>,
    /// In a frame of 802.2 with SNAP, in place of an EtherType.
    snap: bool,
    body: Body,
    /// Bytes behind the packet.
    padding: Vec<u8>,
}

impl Payload {
    fn bytes(&self, v6: bool) -> (u8, Vec<u8>) {
        match self {
            Self::Tcp => {
                let mut bytes = vec![0; 24];
                bytes[12] = 0x50;
                (6, bytes)
            }
            Self::Udp { source, destination, first } => {
                let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                bytes.extend([0, 8, 0, 0]);
                bytes.extend(first);
                (17, bytes)
            }
            Self::Icmp { kind, target } => {
                let mut bytes = vec![*kind, 0, 0, 0, 0, 0, 0, 0];
                bytes.extend(target.octets());
                (if v6 { 58 } else { 1 }, bytes)
            }
            Self::Other(protocol) => (*protocol, vec![0; 24]),
        }
    }
}

impl Description {
    fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
        for tag in &self.tags {
            frame.extend([0x81, 0]);
            frame.extend(tag.to_be_bytes());
        }
        if self.snap {
            frame.extend([0, 100, 0xaa, 0xaa, 3, 0, 0, 0]);
        }
        match &self.body {
            Body::Other(kind) => frame.extend(kind.to_be_bytes()),
            Body::Arp { hardware, operation, sender } => {
                frame.extend([8, 6]);
                frame.extend(hardware.to_be_bytes());
                frame.extend([8, 0, 6, 4, 0, *operation, 2, 0, 0, 0, 0, 9]);
                frame.extend(sender.octets());
                frame.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
            }
            Body::V4 { source, options, payload, cut } => {
                let (protocol, mut bytes) = payload.bytes(false);
                let (fragment, keeps) = fragment(*cut, 0x2000);
                bytes.truncate(keeps);
                let header = 20 + options * 4;
                frame.extend([8, 0, 0x45 + *options as u8, 0]);
                frame.extend(((header + bytes.len()) as u16).to_be_bytes());
                frame.extend([0, 1]);
                frame.extend(fragment.to_be_bytes());
                frame.extend([64, protocol, 0, 0]);
                frame.extend(source.octets());
                frame.extend([10, 0, 0, 1]);
                frame.resize(frame.len() + options * 4, 1);
                frame.extend(bytes);
            }
            Body::V6 { source, extensions, payload, cut } => {
                let (protocol, mut bytes) = payload.bytes(true);
                // The fragment header comes first, then the others, of 16 bytes each but AH's of 12.
                for (index, _) in extensions.iter().enumerate().rev() {
                    let next = extensions.get(index + 1).copied().unwrap_or(protocol);
                    let header = match extensions[index] {
                        51 => [&[next, 1][..], &[0; 10]].concat(),
                        _ => [&[next, 1][..], &[0; 14]].concat(),
                    };
                    bytes.splice(0..0, header);
                }
                let mut first = extensions.first().copied().unwrap_or(protocol);
                let (field, keeps) = fragment(*cut, 1);
                if !matches!(cut, Cut::Whole) {
                    bytes.truncate(keeps);
                    let field = match cut {
                        Cut::Later => 8_u16 << 3,
                        _ => field,
                    };
                    let [a, b] = field.to_be_bytes();
                    bytes.splice(0..0, [first, 0, a, b, 0, 0, 0, 1]);
                    first = 44;
                }
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((bytes.len() as u16).to_be_bytes());
                frame.extend([first, 255]);
                frame.extend(source.octets());
                frame.extend([0xff; 16]);
                frame.extend(bytes);
            }
        }
        frame.extend(&self.padding);
        frame
    }

    fn is_ip(&self) -> bool {
        matches!(self.body, Body::V4 { .. } | Body::V6 { .. })
    }

    /// Whether hosts may find a packet where a bridge does not look for it.
    fn is_disguised(&self) -> bool {
        let is_known = self.is_ip() || matches!(self.body, Body::Arp { .. });
        let names_none = self.tags.len() > 1 && self.tags[0] == 0;
        self.tags.len() > 2 || names_none || self.snap && is_known
    }

    /// What is there of what the packet carries, `None` in a later fragment: its protocol and bytes, or
    /// nothing where it is cut off before.
    fn visible(&self) -> Option<(u8, Option<Vec<u8>>)> {
        let (payload, cut, before, v6) = match &self.body {
            Body::V4 { payload, cut, .. } => (payload, cut, 0, false),
            Body::V6 { payload, cut, extensions, .. } => {
                let len = |&kind: &u8| if kind == 51 { 12 } else { 16 };
                (payload, cut, extensions.iter().map(len).sum(), true)
            }
            _ => unreachable!("asked of packets alone"),
        };
        let (protocol, bytes) = payload.bytes(v6);
        let kept = match cut {
            Cut::Whole => Some(bytes.len()),
            Cut::First { keeps } => keeps.checked_sub(before).map(|left| left.min(bytes.len())),
            Cut::Later => return None,
        };
        Some((protocol, kept.map(|kept| bytes[..kept].to_vec())))
    }

    fn guard_model(&self) -> Option<Objection> {
        if self.is_disguised() {
            return Some(Objection::Hidden);
        }
        if !self.is_ip() {
            return None;
        }
        let (protocol, bytes) = self.visible()?;
        let Some(bytes) = bytes else { return Some(Objection::Hidden) };
        let v6 = matches!(self.body, Body::V6 { .. });
        match protocol {
            17 => {
                let port =
                    |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
                let (Some(from), Some(to)) = (port(0), port(2)) else {
                    return Some(Objection::Hidden);
                };
                let (client, server) = if v6 { (546, 547) } else { (68, 67) };
                if to == client {
                    return Some(Objection::DhcpServer);
                }
                if from != server && to != server {
                    return None;
                }
                match bytes.get(8) {
                    None => Some(Objection::Hidden),
                    Some(2 | 7 | 10 | 13) if v6 => Some(Objection::DhcpServer),
                    Some(_) if v6 => None,
                    Some(1) => None,
                    Some(_) => Some(Objection::DhcpServer),
                }
            }
            1 if !v6 => match bytes.first() {
                None => Some(Objection::Hidden),
                Some(5) => Some(Objection::Redirect),
                Some(_) => None,
            },
            58 if v6 => match bytes.first() {
                None => Some(Objection::Hidden),
                Some(134) => Some(Objection::RouterAdvertisement),
                Some(137) => Some(Objection::Redirect),
                Some(_) => None,
            },
            _ => None,
        }
    }

    /// Whether it is surely nothing to a DHCPv6 server that gives addresses back: no payload here is long
    /// enough to say which.
    fn is_readable_to_dhcp6_servers(&self) -> bool {
        let Body::V6 { cut, .. } = &self.body else { return true };
        let Some((17, Some(bytes))) = self.visible() else { return true };
        bytes.get(2..4) != Some(&547_u16.to_be_bytes())
            || matches!(cut, Cut::Whole)
                && bytes.get(8).is_some_and(|first| ![8, 9, 12].contains(first))
    }

    /// The addresses that the frame claims; `None` where nobody can tell.
    fn claims(&self) -> Option<Vec<IpAddr>> {
        if self.is_disguised() {
            return None;
        }
        let claimed: Vec<IpAddr> = match &self.body {
            // A probe is for what its sender means to use.
            Body::Arp { sender, operation: 1, .. } if sender.is_unspecified() => {
                vec![IpAddr::from([10, 0, 0, 1])]
            }
            Body::Arp { sender, .. } => vec![(*sender).into()],
            Body::Other(_) => Vec::new(),
            // What is given back to a DHCP server may be in another fragment.
            Body::V4 { cut: Cut::First { .. }, .. }
                if let Some((17, Some(bytes))) = self.visible()
                    && bytes.get(2..4) == Some(&67_u16.to_be_bytes()) =>
            {
                return None;
            }
            Body::V4 { source, .. } => vec![(*source).into()],
            Body::V6 { source, .. } => {
                let mut claimed = vec![(*source).into()];
                if let Some((protocol, bytes)) = self.visible() {
                    let bytes = bytes?;
                    if protocol == 58 {
                        let claims = match bytes.first()? {
                            135 => source.is_unspecified(),
                            136 => true,
                            _ => false,
                        };
                        if claims {
                            let target: [u8; 16] = bytes.get(8..24)?.try_into().unwrap();
                            claimed.push(Ipv6Addr::from(target).into());
                        }
                    }
                }
                claimed
            }
        };
        Some(claimed.into_iter().filter(|address| !address.is_unspecified()).collect())
    }
}

fn fragment(cut: Cut, more: u16) -> (u16, usize) {
    match cut {
        Cut::Whole => (0, usize::MAX),
        Cut::First { keeps } => (more, keeps),
        Cut::Later => (8, usize::MAX),
    }
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop::sample::select(vec![[0; 4], [10, 0, 0, 5], [10, 0, 0, 6], [10, 0, 1, 9], [192, 0, 2, 1]])
        .prop_map(Ipv4Addr::from)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop::sample::select(vec!["::", "2001:db8::5", "2001:db8:1::5", "fe80::1", "fe80::2"])
        .prop_map(|text| text.parse().unwrap())
}

fn payload() -> impl Strategy<Value = Payload> {
    let port = || prop::sample::select(vec![53_u16, 67, 68, 546, 547, 4_011]);
    let first = prop::option::of(prop::sample::select(vec![1_u8, 2, 3, 7, 8, 9, 10, 11, 12, 13]));
    prop_oneof![
        1 => Just(Payload::Tcp),
        4 => (port(), port(), first).prop_map(|(source, destination, first)| {
            Payload::Udp { source, destination, first }
        }),
        4 => (prop::sample::select(vec![5_u8, 8, 128, 133, 134, 135, 136, 137]), v6())
            .prop_map(|(kind, target)| Payload::Icmp { kind, target }),
        1 => prop::sample::select(vec![50_u8, 47, 59]).prop_map(Payload::Other),
    ]
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        4 => Just(Cut::Whole),
        2 => (0..8_usize).prop_map(|units| Cut::First { keeps: units * 8 }),
        1 => Just(Cut::Later),
    ]
}

fn description() -> impl Strategy<Value = Description> {
    let extension = || prop::sample::select(vec![0_u8, 43, 60]);
    // Behind AH nobody but the guard looks.
    let extensions = (prop::collection::vec(extension(), 0..4), any::<bool>(), any::<bool>());
    let extensions = extensions.prop_map(|(mut all, authenticated, more)| {
        if authenticated {
            all.push(51);
            all.extend(more.then_some(60));
        }
        all
    });
    let body = prop_oneof![
        4 => (v4(), 0..3_usize, payload(), cut())
            .prop_map(|(source, options, payload, cut)| Body::V4 { source, options, payload, cut }),
        6 => (v6(), extensions, payload(), cut()).prop_map(|(source, extensions, payload, cut)| {
            Body::V6 { source, extensions, payload, cut }
        }),
        2 => (prop::sample::select(vec![1_u16, 6]), 1..3_u8, v4())
            .prop_map(|(hardware, operation, sender)| Body::Arp { hardware, operation, sender }),
        1 => prop::sample::select(vec![0x8863_u16, 0x88b5]).prop_map(Body::Other),
    ];
    let tags = prop::collection::vec(prop::sample::select(vec![0_u16, 7]), 0..4);
    (tags, prop::bool::weighted(0.1), body, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(tags, snap, body, padding)| Description { tags, snap, body, padding })
}

fn policy() -> impl Strategy<Value = Policy> {
    let kinds = prop::sample::subsequence(vec!["ip", "ip6", "arp", "llc", "0x8863"], 0..5)
        .prop_map(|kinds| kinds.iter().map(|kind| kind.parse().unwrap()).collect::<Vec<_>>());
    let nets = vec!["10.0.0.5/32", "10.0.0.0/24", "10.0.0.4/30", "2001:db8::/64", "fe80::1/128"];
    let nets = prop::sample::subsequence(nets, 0..5)
        .prop_map(|nets| nets.iter().map(|net| net.parse().unwrap()).collect::<Vec<_>>());
    let sources = (nets, any::<bool>()).prop_map(|(listed, learn)| Sources { listed, learn });
    (prop::option::of(kinds), prop::option::of(sources)).prop_map(|(ethertypes, sources)| {
        let mut policy = Policy::default();
        policy.ethertypes = ethertypes;
        policy.sources = sources;
        policy
    })
}

/// One address of each version, and those leased.
struct World {
    leases: Leases,
}

impl World {
    fn new() -> Self {
        let leases = asking();
        leases.add(&lease(0, [10, 0, 1, 9], 100), NOW);
        Self { leases }
    }
}

/// Those of a leaf that asked what [`ack`] answers.
fn asking() -> Leases {
    let (leases, frame) = (Leases::default(), from_client(REQUEST, TRANSACTION, [0; 4]));
    leases.hear(&Headers::parse(&frame), &frame);
    leases
}

/// Types of DHCP messages, and the number of a question.
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const RELEASE: u8 = 7;
const TRANSACTION: u32 = 0x0102_0304;

/// What a DHCP client says of an address that it has or wants, from 0.0.0.0.
fn from_client(kind: u8, transaction: u32, address: [u8; 4]) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[0] = 1;
    message[4..8].copy_from_slice(&transaction.to_be_bytes());
    if kind == RELEASE {
        message[12..16].copy_from_slice(&address);
    }
    message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    message.extend([99, 130, 83, 99, 53, 1, kind, 50, 4]);
    message.extend(address);
    message.push(255);
    packet([0; 4], [255; 4], [68, 67], &message)
}

/// A frame with a UDP datagram.
fn packet(from: [u8; 4], to: [u8; 4], [source, destination]: [u8; 2], message: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0];
    frame.extend(((28 + message.len()) as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(from);
    frame.extend(to);
    frame.extend([0, source, 0, destination]);
    frame.extend(((8 + message.len()) as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(message);
    frame
}

/// The acknowledgement of a DHCP server, and what it gives.
fn lease(vlan: u16, address: [u8; 4], seconds: u32) -> Lease {
    let frame = ack(vlan, address, seconds);
    Lease::read(&Headers::parse(&frame), &frame).expect("it is one")
}

fn ack(vlan: u16, address: [u8; 4], seconds: u32) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[0] = 2;
    message[4..8].copy_from_slice(&TRANSACTION.to_be_bytes());
    message[16..20].copy_from_slice(&address);
    message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    message.extend([99, 130, 83, 99, 0, 53, 1, 5, 54, 4, 10, 0, 0, 1, 51, 4]);
    message.extend(seconds.to_be_bytes());
    message.push(255);
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];
    if vlan > 0 {
        frame.extend([0x81, 0]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend([8, 0, 0x45, 0]);
    frame.extend(((28 + message.len()) as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1]);
    frame.extend(address);
    frame.extend([0, 67, 0, 68]);
    frame.extend(((8 + message.len()) as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(message);
    frame
}

fn is_elsewhere(_: u16, address: IpAddr) -> bool {
    address == "fe80::2".parse::<IpAddr>().unwrap()
}

/// No address is the root's.
static NOBODY: LazyLock<RootAddresses> = LazyLock::new(RootAddresses::default);
/// No prefix is advertised.
static NOTHING: LazyLock<AdvertisedPrefixes> = LazyLock::new(AdvertisedPrefixes::default);

fn leaf_facts(is_guarded: bool, leases: &Leases) -> LeafFacts<'_> {
    LeafFacts {
        is_guarded,
        leases,
        is_elsewhere: &is_elsewhere,
        root_addresses: &NOBODY,
        advertised: &NOTHING,
    }
}

/// What is wrong with a frame, from what it was made of.
fn model(description: &Description, policy: &Policy, is_guarded: bool) -> Option<Objection> {
    if is_guarded && let Some(objection) = description.guard_model() {
        return Some(objection);
    }
    if let Some(allowed) = &policy.ethertypes {
        let kind = if description.tags.len() > 2 {
            0x8100
        } else if description.snap {
            0
        } else {
            match description.body {
                Body::V4 { .. } => 0x0800,
                Body::V6 { .. } => 0x86dd,
                Body::Arp { .. } => 0x0806,
                Body::Other(kind) => kind,
            }
        };
        if !allowed.contains(&EtherType::new(kind)) {
            return Some(Objection::EtherType);
        }
    }
    let sources = policy.sources.as_ref()?;
    let asks_dhcp = !description.is_disguised()
        && matches!(
            &description.body,
            Body::V4 {
                payload: Payload::Udp { source: 68, destination: 67, .. },
                cut: Cut::Whole,
                ..
            }
        );
    if sources.learn && asks_dhcp {
        return None;
    }
    let Some(claims) = description.claims() else { return Some(Objection::SourceIp) };
    let vlan = description.tags.first().copied().unwrap_or(0);
    let resolves = matches!(description.body, Body::V6 { .. })
        && description.visible().is_some_and(|(protocol, _)| protocol == 58);
    let is_allowed = |address: &IpAddr| {
        let is_leased = *address == IpAddr::from([10, 0, 1, 9]) && vlan == 0;
        sources.listed.iter().any(|net| net.contains(address))
            || sources.learn && is_leased
            || address.to_string().starts_with("fe80") && !(resolves && is_elsewhere(0, *address))
    };
    let is_readable = description.is_readable_to_dhcp6_servers();
    (!claims.iter().all(is_allowed) || !is_readable).then_some(Objection::SourceIp)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn it_agrees_with_the_model(
        description in description(),
        policy in policy(),
        is_guarded: bool,
    ) {
        let frame = description.frame();
        let headers = Headers::parse(&frame);
        let (world, compiled) = (World::new(), CompiledPolicy::new(policy.clone()));
        let leaf = leaf_facts(is_guarded, &world.leases);
        let objection = compiled.check(&leaf, &headers, &frame, NOW);
        prop_assert_eq!(objection, model(&description, &policy, is_guarded), "{:02x?}", frame);
        let (findings, explained) = compiled.explain(&leaf, &headers, &frame, NOW);
        prop_assert_eq!(explained, objection);
        prop_assert!(!findings.is_empty());
        if objection.is_some() {
            prop_assert!(compiled.may_object(is_guarded, &NOBODY, &headers, &frame));
        }
    }

    #[test]
    fn any_bytes_can_be_checked(
        tail in prop::collection::vec(any::<u8>(), 0..120),
        kind in prop::sample::select(vec![[8, 6], [8, 0], [0x86, 0xdd], [0x81, 0], [0, 40]]),
        policy in policy(),
        cut in 0..140_usize,
    ) {
        let mut frame = [&[2; 12][..], &kind, &tail].concat();
        frame.truncate(cut);
        let (headers, world) = (Headers::parse(&frame), World::new());
        let leaf = leaf_facts(true, &world.leases);
        let compiled = CompiledPolicy::new(policy);
        if compiled.check(&leaf, &headers, &frame, NOW).is_some() {
            prop_assert!(compiled.may_object(true, &NOBODY, &headers, &frame));
        }
        let _ = Lease::read(&headers, &frame);
    }

    #[test]
    fn an_acknowledgement_is_read_or_is_none(cut in 0..330_usize, at in 0..330_usize, byte: u8) {
        let mut frame = ack(0, [10, 0, 0, 5], 60);
        if let Some(other) = frame.get_mut(at) {
            *other = byte;
        }
        frame.truncate(cut);
        let _ = Lease::read(&Headers::parse(&frame), &frame);
    }
}

#[test]
fn a_lease_ends_and_is_renewed() {
    let leases = asking();
    let address = IpAddr::from([10, 0, 0, 5]);
    let left =
        |at: u64| leases.left(7, address, Duration::from_secs(at)).map(|left| left.as_secs());
    assert_eq!(left(10), None);
    leases.add(&lease(7, [10, 0, 0, 5], 60), Duration::from_secs(10));
    assert_eq!((left(10), left(69), left(70)), (Some(60), Some(1), None));
    assert_eq!(leases.left(0, address, Duration::from_secs(10)), None, "another VLAN");
    leases.add(&lease(7, [10, 0, 0, 5], 60), Duration::from_secs(40));
    assert_eq!((left(70), leases.list(Duration::from_secs(70)).len()), (Some(30), 1));
    leases.add(&lease(7, [10, 0, 0, 6], u32::MAX), Duration::from_secs(200));
    assert_eq!(leases.list(Duration::from_secs(200)).len(), 1, "what has ended is forgotten");
}

#[test]
fn leases_have_room_for_so_many_and_those_that_are_held_stay() {
    let leases = asking();
    let add = |number: u16, seconds, now| {
        let [high, low] = number.to_be_bytes();
        leases.add(&lease(0, [10, 0, high, low], seconds), now)
    };
    // In an order of its own.
    for number in 0..256 {
        assert!(add((number * 7 + 3) % 256, 1_000 + u32::from(number), NOW));
    }
    assert!(!add(256, u32::MAX, NOW), "nothing that is held goes for it");
    assert!(add(255, 2_000, NOW), "what is held is renewed");
    let left = |number: u8| leases.left(0, IpAddr::from([10, 0, 0, number]), NOW);
    assert!((0..=255).all(|number| left(number).is_some()));
    assert!(add(256, 1, NOW + Duration::from_secs(1_500)), "what has ended makes room");
    assert_eq!(leases.list(NOW + Duration::from_secs(1_500)).len(), 2);
}

#[test]
fn only_an_answer_to_its_own_question_gives_a_leaf_an_address() {
    let leases = Leases::default();
    let given = lease(0, [10, 0, 0, 5], 60);
    let ask = |transaction| {
        let frame = from_client(REQUEST, transaction, [10, 0, 0, 5]);
        leases.hear(&Headers::parse(&frame), &frame);
    };
    assert!(!leases.add(&given, NOW));
    ask(TRANSACTION + 1);
    assert!(!leases.add(&given, NOW));
    ask(TRANSACTION);
    assert!(leases.add(&given, NOW));
    (0..300).for_each(|number| ask(1_000 + number));
    assert!(!leases.add(&given, NOW), "that was long ago");
}

#[test]
fn the_newest_256_questions_may_be_answered() {
    let leases = Leases::default();
    let ask = |transaction: u32| {
        let frame = from_client(REQUEST, transaction, [10, 0, 0, 5]);
        leases.hear(&Headers::parse(&frame), &frame);
    };
    let is_answered = |transaction| {
        let mut given = lease(0, [10, 0, 0, 5], 60);
        given.transaction = transaction;
        leases.add(&given, NOW)
    };
    (0..256).for_each(ask);
    assert!((0..256).all(is_answered));
    // Who asks the same again takes no other's place.
    (0..1_000).for_each(|_| ask(7));
    assert!((0..256).all(is_answered));
    (256..261).for_each(ask);
    assert!(!(0..5).any(is_answered) && (5..261).all(is_answered));
    // Any number can be one: also what 32 bits of zeros and of ones are.
    assert!(!is_answered(u32::MAX));
    ask(u32::MAX);
    assert!(is_answered(u32::MAX));
}

#[test]
fn an_acknowledgement_from_beyond_a_router_gives_nothing() {
    let with_destination = |destination: [u8; 4]| {
        let mut frame = ack(0, [10, 0, 0, 1], 60);
        frame[30..34].copy_from_slice(&destination);
        Lease::read(&Headers::parse(&frame), &frame)
    };
    assert!(with_destination([10, 0, 0, 1]).is_some());
    assert!(with_destination([255; 4]).is_some());
    assert_eq!(with_destination([10, 0, 0, 5]), None);
}

#[test]
fn an_address_is_given_back_by_who_has_it_alone() {
    let leases = asking();
    leases.add(&lease(0, [10, 0, 0, 5], 60), NOW);
    let mut policy = Policy::default();
    policy.sources = Some(Sources { listed: vec!["10.0.0.7/32".parse().unwrap()], learn: true });
    let compiled = CompiledPolicy::new(policy);
    let leaf = leaf_facts(true, &leases);
    let check = |frame: &[u8]| compiled.check(&leaf, &Headers::parse(frame), frame, NOW);
    for kind in [RELEASE, DECLINE] {
        for last in [5, 7] {
            assert_eq!(check(&from_client(kind, 9, [10, 0, 0, last])), None);
        }
        let others = from_client(kind, 9, [10, 0, 0, 6]);
        assert_eq!(check(&others), Some(Objection::SourceIp));
        // Servers do not look at the port that it comes from.
        let mut from_elsewhere = others;
        from_elsewhere[34] = 9;
        assert_eq!(check(&from_elsewhere), Some(Objection::SourceIp));
    }
    // A type that may be said twice, or elsewhere.
    let mut twice = from_client(REQUEST, 9, [10, 0, 0, 6]);
    let end = twice.len() - 7;
    twice[end..].copy_from_slice(&[53, 1, RELEASE, 255, 0, 0, 0]);
    assert_eq!(check(&twice), Some(Objection::SourceIp));
    let mut elsewhere = from_client(REQUEST, 9, [10, 0, 0, 6]);
    elsewhere[end..].copy_from_slice(&[52, 1, 1, 255, 0, 0, 0]);
    assert_eq!(check(&elsewhere), Some(Objection::SourceIp));
    let release = from_client(RELEASE, 9, [10, 0, 0, 5]);
    leases.hear(&Headers::parse(&release), &release);
    assert!(leases.list(NOW).is_empty());
}

#[test]
fn the_guard_and_its_glance_say_the_same_of_a_packet_that_ends_before_its_ports() {
    for (port, is_minded) in [(53, false), (68, true)] {
        let mut frame = packet([10, 0, 0, 5], [10, 0, 0, 1], [9, port], &[1; 20]);
        // Its header alone.
        frame[17] = 20;
        let headers = Headers::parse(&frame);
        let compiled = CompiledPolicy::default();
        let leases = Leases::default();
        let leaf = leaf_facts(true, &leases);
        let objection = compiled.check(&leaf, &headers, &frame, NOW);
        assert_eq!(compiled.may_object(true, &NOBODY, &headers, &frame), is_minded);
        assert_eq!(objection, is_minded.then_some(Objection::Hidden));
    }
}

#[test]
fn what_switches_say_among_themselves_comes_from_no_guarded_leaf() {
    let leases = Leases::default();
    let check = |destination: [u8; 6], kind: [u8; 2], is_guarded| {
        let frame = [&destination[..], &[2, 0, 0, 0, 0, 9], &kind, &[0x42; 60]].concat();
        let headers = Headers::parse(&frame);
        CompiledPolicy::default().check(&leaf_facts(is_guarded, &leases), &headers, &frame, NOW)
    };
    let cisco = |last| [1, 0, 0x0c, 0xcc, 0xcc, last];
    let of_802_1 = |last| [1, 0x80, 0xc2, 0, 0, last];
    for kind in [[0, 60], [0x88, 0xf5]] {
        for group in [cisco(0xcc), cisco(0xcd), of_802_1(0x20), of_802_1(0x21), of_802_1(0x2f)] {
            assert_eq!(check(group, kind, true), Some(Objection::Control));
            assert_eq!(check(group, kind, false), None);
        }
        for group in [cisco(0xce), of_802_1(0), of_802_1(0x1f), of_802_1(0x30)] {
            assert_eq!(check(group, kind, true), None, "the bridge's to drop, or nobody's");
        }
    }
}

/// The first fragment of a packet that goes on in bytes behind it, which make it look like a later one.
#[test]
fn what_is_behind_a_packet_makes_it_no_later_fragment() {
    let mut frame =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 44, 64];
    frame.extend([0xfe; 32]);
    frame.extend([60, 0, 0, 1, 0, 0, 0, 9]);
    frame.extend([60, 0, 1, 4, 0, 0, 0, 0]);
    // The trailer: options, and a fragment header with an offset.
    frame.extend([44, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend([17, 0, 0, 8, 0, 0, 0, 9]);
    frame.extend([0; 16]);
    let (headers, leases) = (Headers::parse(&frame), Leases::default());
    let leaf = leaf_facts(true, &leases);
    let objection = CompiledPolicy::default().check(&leaf, &headers, &frame, NOW);
    assert_eq!(objection, Some(Objection::Hidden));
}

/// A DHCP server is at the root, where the leaf's frames are in its VLAN.
#[test]
fn what_an_untagged_leaf_was_given_in_its_vlan_is_its_own() {
    let mut policy = Policy::default();
    policy.sources = Some(Sources { listed: Vec::new(), learn: true });
    policy.vlans = Some(Vlans::Access(VlanId::new(100).unwrap()));
    let policy = CompiledPolicy::new(policy);
    let check = |leases: &Leases, address: [u8; 4]| {
        let leaf = LeafFacts {
            is_guarded: true,
            leases,
            is_elsewhere: &is_elsewhere,
            root_addresses: &NOBODY,
            advertised: &NOTHING,
        };
        let frame = packet(address, [10, 0, 0, 1], [1, 2], &[0; 8]);
        policy.check(&leaf, &Headers::parse(&frame), &frame, NOW)
    };
    let leases = asking();
    assert!(leases.add(&lease(0, [10, 0, 1, 8], 60), NOW));
    assert!(leases.add(&lease(100, [10, 0, 1, 9], 60), NOW));
    assert_eq!(check(&leases, [10, 0, 1, 8]), Some(Objection::SourceIp), "that is elsewhere");
    assert_eq!(check(&leases, [10, 0, 1, 9]), None);
    // What it gives back is gone there, too: whoever hears it sees it where the root does.
    let frame = from_client(7, 1, [10, 0, 1, 9]);
    leases.hear(&Headers::parse(&frame).in_vlan(100), &frame);
    assert_eq!(check(&leases, [10, 0, 1, 9]), Some(Objection::SourceIp));
}
