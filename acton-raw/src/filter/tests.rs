//! Compiled programs, run by an interpreter of classic BPF, against the plain meaning of the
//! expression they came from.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::VlanTag;

/// Runs `program` as the kernel does (`Documentation/networking/filter.rst`); panics where the
/// kernel would refuse it.
fn run(program: &Program, frame: &[u8], vlan: Option<VlanTag>) -> u32 {
    let code = program.instructions();
    let (mut a, mut x, mut pc) = (0_u32, 0_u32, 0_usize);
    let mut memory = [None; 16];
    let load = |at: u32, bytes: usize| -> Option<u32> {
        let field = frame.get(at as usize..)?.get(..bytes)?;
        Some(field.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    };
    loop {
        let Instruction { code, jt, jf, k } = code[pc];
        pc += 1;
        let mut branch = |condition: bool| pc += usize::from(if condition { jt } else { jf });
        let loaded = match code {
            0x20 if k == 0xffff_f030 => Some(vlan.is_some().into()),
            0x20 if k == 0xffff_f02c => Some(vlan.map_or(0, |tag| tag.tci.into())),
            0x20 => load(k, 4),
            0x28 => load(k, 2),
            0x30 => load(k, 1),
            0x48 => load(x + k, 2),
            0x50 => load(x + k, 1),
            0x80 => Some(frame.len() as u32),
            0x00 => Some(k),
            0x60 => Some(memory[k as usize].expect("a load from memory follows a store")),
            _ => Some(a),
        };
        let Some(loaded) = loaded else { return 0 };
        a = loaded;
        match code {
            0x20 | 0x28 | 0x30 | 0x48 | 0x50 | 0x80 | 0x00 | 0x60 => {}
            0x61 => x = memory[k as usize].expect("a load from memory follows a store"),
            0x02 => memory[k as usize] = Some(a),
            0x04 => a = a.wrapping_add(k),
            0x0c => a = a.wrapping_add(x),
            0x54 => a &= k,
            0x64 => a <<= k,
            0x05 => pc += k as usize,
            0x15 => branch(a == k),
            0x35 => branch(a >= k),
            0x3d => branch(a >= x),
            0x45 => branch(a & k != 0),
            0x06 => return k,
            0x07 => x = a,
            0x87 => a = x,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

/// The fields of a frame, each where it is there.
#[derive(Debug, Default)]
struct Fields {
    ethertype: u16,
    vlan: Option<u16>,
    protocol: Option<u8>,
    ports: Option<(u16, u16)>,
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn fields(frame: &[u8], vlan: Option<VlanTag>) -> Fields {
    let mut fields =
        Fields { ethertype: half(frame, 12), vlan: vlan.map(|tag| tag.id()), ..Fields::default() };
    let mut rest = &frame[14..];
    for _ in 0..2 {
        if ![0x8100, 0x88a8].contains(&fields.ethertype) || rest.len() < 4 {
            break;
        }
        fields.vlan = fields.vlan.or(Some(half(rest, 0) & 0xfff));
        fields.ethertype = half(rest, 2);
        rest = &rest[4..];
    }
    let transport = match fields.ethertype {
        0x0800 => ipv4(&mut fields, rest),
        0x86dd => ipv6(&mut fields, rest),
        _ => None,
    };
    if let (Some(transport), Some(6 | 17 | 132)) = (transport, fields.protocol)
        && transport.len() >= 4
    {
        fields.ports = Some((half(transport, 0), half(transport, 2)));
    }
    fields
}

fn ipv4<'a>(fields: &mut Fields, packet: &'a [u8]) -> Option<&'a [u8]> {
    let header = packet.get(..20)?;
    fields.protocol = Some(header[9]);
    let first = half(header, 6) & 0x1fff == 0;
    packet.get(usize::from(header[0] & 0xf) * 4..).filter(|_| first)
}

fn ipv6<'a>(fields: &mut Fields, packet: &'a [u8]) -> Option<&'a [u8]> {
    let mut protocol = packet.get(..40)?[6];
    fields.protocol = Some(protocol);
    let mut rest = Some(&packet[40..]);
    for _ in 0..4 {
        let header = match protocol {
            0 | 43 | 60 | 44 => rest?.get(..8)?,
            _ => break,
        };
        let length = if protocol == 44 { 8 } else { (usize::from(header[1]) + 1) * 8 };
        let later = protocol == 44 && half(header, 2) & 0xfff8 != 0;
        protocol = header[0];
        fields.protocol = Some(protocol);
        if later {
            return None;
        }
        rest = rest?.get(length..);
    }
    rest
}

fn holds(expression: &Expression, frame: &[u8], fields: &Fields) -> bool {
    match expression {
        Expression::All(terms) => terms.iter().all(|term| holds(term, frame, fields)),
        Expression::Any(terms) => terms.iter().any(|term| holds(term, frame, fields)),
        Expression::Not(inner) => !holds(inner, frame, fields),
        Expression::Test(test) => match *test {
            Test::EtherType(ethertype) => fields.ethertype == ethertype,
            Test::Destination(address) => frame[..6] == address.octets(),
            Test::Source(address) => frame[6..12] == address.octets(),
            Test::Tagged => fields.vlan.is_some(),
            Test::Vlan(id) => fields.vlan == Some(id),
            Test::Protocol(protocol) => fields.protocol == Some(protocol),
            Test::SourcePort(port) => fields.ports.is_some_and(|(source, _)| source == port),
            Test::DestinationPort(port) => fields.ports.is_some_and(|(_, to)| to == port),
        },
    }
}

fn passes(filter: &Filter, frame: &[u8], vlan: Option<VlanTag>) -> bool {
    frame.len() >= 14 && holds(&filter.0, frame, &fields(frame, vlan))
}

/// Few values, so that filters meet frames they are about.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(53_u16), Just(80), Just(443)]
}

fn protocol() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0_u8, 1, 6, 17, 43, 44, 58, 60, 132])
}

fn ethertype() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0x0800_u16, 0x0800, 0x86dd, 0x86dd, 0x0806, 0x8100, 0x88a8])
}

fn vlan_id() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0_u16, 5, 4095])
}

fn address() -> impl Strategy<Value = MacAddr> {
    let last = prop_oneof![Just(1_u8), Just(2)];
    (last.clone(), last).prop_map(|(first, last)| MacAddr::new(2 * first, 0, 0, 0, 0, last))
}

fn filter() -> impl Strategy<Value = Filter> {
    let test = prop_oneof![
        ethertype().prop_map(Filter::ethertype),
        address().prop_map(Filter::mac),
        address().prop_map(Filter::source_mac),
        address().prop_map(Filter::destination_mac),
        Just(Filter::tagged()),
        vlan_id().prop_map(Filter::vlan),
        protocol().prop_map(Filter::ip_protocol),
        port().prop_map(Filter::port),
        port().prop_map(Filter::source_port),
        port().prop_map(Filter::destination_port),
    ];
    let any = test.prop_recursive(5, 300, 8, |inner| {
        prop_oneof![
            inner.clone().prop_map(|filter| !filter),
            vec(inner.clone(), 1..16).prop_map(|all| all.into_iter().reduce(Filter::and).unwrap()),
            vec(inner, 1..16).prop_map(|any| any.into_iter().reduce(Filter::or).unwrap()),
        ]
    });
    let fits = |filter: &Filter| filter.compile(1).is_ok_and(|it| it.instructions().len() < 4000);
    any.prop_filter("over the kernel's limit", fits)
}

prop_compose! {
    /// IPv4, fragments and options included.
    fn ipv4_packet()(
        words in 4..8_u8,
        fragment in prop_oneof![4 => Just(0_u16), 1 => Just(0x2000), 1 => Just(7)],
        protocol in protocol(),
        ports in (port(), port()),
        noise in any::<u8>(),
    ) -> Vec<u8> {
        let mut packet = vec![noise; 20];
        packet[0] = 0x40 | words;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet.resize(usize::from(words.max(5)) * 4, noise);
        packet.extend(ports.0.to_be_bytes());
        packet.extend(ports.1.to_be_bytes());
        packet
    }
}

prop_compose! {
    /// IPv6 with up to six extension headers.
    fn ipv6_packet()(
        chain in vec((prop::sample::select(vec![0_u8, 43, 60, 44]), 0..3_u8), 0..6),
        fragment in prop_oneof![4 => Just(1_u16), 1 => Just(0x0010)],
        protocol in protocol(),
        ports in (port(), port()),
    ) -> Vec<u8> {
        let next: Vec<u8> = chain.iter().map(|link| link.0).chain([protocol]).collect();
        let mut packet = vec![0x60; 40];
        packet[6] = next[0];
        for (index, &(kind, length)) in chain.iter().enumerate() {
            let mut header = vec![0; if kind == 44 { 8 } else { 8 * (usize::from(length) + 1) }];
            header[0] = next[index + 1];
            if kind == 44 {
                header[2..4].copy_from_slice(&fragment.to_be_bytes());
            } else {
                header[1] = length;
            }
            packet.extend(header);
        }
        packet.extend(ports.0.to_be_bytes());
        packet.extend(ports.1.to_be_bytes());
        packet
    }
}

prop_compose! {
    fn frame()(
        addresses in (address(), address()),
        tags in vec((prop_oneof![Just(0x8100_u16), Just(0x88a8)], vlan_id()), 0..4),
        payload in prop_oneof![
            3 => ipv4_packet().prop_map(|packet| (0x0800, packet)),
            3 => ipv6_packet().prop_map(|packet| (0x86dd, packet)),
            1 => (ethertype(), vec(any::<u8>(), 0..64)),
        ],
        cut in prop_oneof![2 => Just(usize::MAX), 1 => 0..160_usize],
    ) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(addresses.0.octets());
        frame.extend(addresses.1.octets());
        for (tpid, id) in tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend((0xa000 | id).to_be_bytes());
        }
        frame.extend(payload.0.to_be_bytes());
        frame.extend(payload.1);
        frame.truncate(cut);
        frame
    }
}

fn taken_out() -> impl Strategy<Value = Option<VlanTag>> {
    prop::option::of(vlan_id().prop_map(|id| VlanTag { tpid: 0x8100, tci: 0x6000 | id }))
}

proptest! {
    #[test]
    fn a_program_means_what_its_expression_means(
        filter in filter(),
        frames in vec((frame(), taken_out()), 1..16),
    ) {
        let program = filter.compile(77).unwrap();
        let inverse = (!filter.clone()).compile(77).unwrap();
        for (frame, vlan) in frames {
            let expected = passes(&filter, &frame, vlan);
            prop_assert_eq!(run(&program, &frame, vlan), if expected { 77 } else { 0 });
            let opposite = frame.len() >= 14 && !expected;
            prop_assert_eq!(run(&inverse, &frame, vlan), if opposite { 77 } else { 0 });
        }
    }

    #[test]
    fn a_program_takes_any_bytes(
        filter in filter(),
        frame in vec(any::<u8>(), 0..200),
        vlan in taken_out(),
    ) {
        let program = filter.compile(1).unwrap();
        prop_assert_eq!(run(&program, &frame, vlan) == 1, passes(&filter, &frame, vlan));
    }
}

fn udp(port: u16) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(5000_u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend([0; 4]);
    frame
}

#[test]
fn branches_reach_beyond_255_instructions() {
    let ports = 1000..2000;
    let filter = ports.clone().map(Filter::destination_port).reduce(Filter::or).unwrap();
    let program = filter.compile(u32::MAX).unwrap();
    assert!(program.instructions().len() > 1000);
    for port in [999, 1000, 1001, 1127, 1128, 1500, 1999, 2000] {
        let expected = if ports.contains(&port) { u32::MAX } else { 0 };
        assert_eq!(run(&program, &udp(port), None), expected, "port {port}");
    }
}

#[test]
fn too_long_and_empty_programs_are_refused() {
    let filter = (0..5000).map(Filter::destination_port).reduce(Filter::or).unwrap();
    let error = filter.compile(1).unwrap_err();
    assert!(matches!(error, FilterError::TooLong { instructions } if instructions > 4096));
    assert_eq!(Program::new(Vec::new()), Err(FilterError::Empty));
    let ret = Program::constant(0).instructions()[0];
    assert!(Program::new(vec![ret; 4096]).is_ok());
    assert!(Program::new(vec![ret; 4097]).is_err());
}

/// However they are joined: each way is one list, not a tree as deep as it is long.
#[test]
fn long_joins_are_flat() {
    let ports = || (1..=5_000).map(Filter::destination_port);
    for joined in [ports().reduce(Filter::or), ports().reduce(|all, one| one.or(all))] {
        assert!(matches!(joined.unwrap().compile(1), Err(FilterError::TooLong { .. })));
    }
    for joined in [ports().reduce(Filter::and), ports().reduce(|all, one| one.and(all))] {
        assert!(matches!(joined.unwrap().compile(1), Err(FilterError::TooLong { .. })));
    }
}

#[test]
fn programs_decode_no_deeper_than_asked() {
    let mac = Filter::mac(MacAddr::broadcast()).compile(1).unwrap();
    assert_eq!(mac.instructions().len(), 2 + 2 * 4 + 2);
    let arp = Filter::ethertype(0x0806).compile(1).unwrap();
    let tcp = Filter::ip_protocol(6).compile(1).unwrap();
    assert!(arp.instructions().len() < tcp.instructions().len());
}

#[test]
fn a_snapshot_of_nothing_still_passes() {
    assert_eq!(run(&Filter::port(53).compile(0).unwrap(), &udp(53), None), 1);
    assert_eq!(run(&Filter::port(54).compile(0).unwrap(), &udp(53), None), 0);
}

#[test]
fn a_second_negation_takes_the_first_back() {
    assert_eq!(!!Filter::tagged(), Filter::tagged());
}
