use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn id() -> impl Strategy<Value = u32> {
    1..=u32::MAX
}

fn refusal() -> impl Strategy<Value = Option<Refusal>> {
    prop_oneof![
        Just(None),
        Just(Some(Refusal::NotAuthorised)),
        Just(Some(Refusal::Full)),
        Just(Some(Refusal::Version)),
        Just(Some(Refusal::Suite)),
        (5..=u8::MAX).prop_map(|code| Some(Refusal::Other(code))),
    ]
}

fn bye() -> impl Strategy<Value = Bye> {
    prop_oneof![
        Just(Bye::Stop),
        Just(Bye::Restart),
        Just(Bye::Replaced),
        Just(Bye::Removed),
        Just(Bye::Limit),
        (6..=u16::MAX).prop_map(Bye::Other),
    ]
}

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        (any::<u64>(), prop_oneof![Just(0), 44..=u16::MAX])
            .prop_map(|(token, size)| Control::Keepalive { token, size }),
        (any::<u64>(), any::<u16>()).prop_map(|(token, size)| Control::Echo { token, size }),
        (bye(), any::<u32>()).prop_map(|(reason, retry_ms)| Control::Bye { reason, retry_ms }),
        Just(Control::Rekey),
        any::<[u8; 32]>().prop_map(|key| Control::NetworkKey(NewNetworkKey(key))),
        any::<u64>().prop_map(|to| Control::Move { to }),
        (any::<[u8; 16]>(), isolation_step()).prop_map(|(token, step)| {
            Control::IsolationOrder(IsolationOrder { token: TestToken(token), step })
        }),
        (any::<[u8; 16]>(), isolation_reply()).prop_map(|(token, reply)| {
            Control::IsolationAnswer(IsolationAnswer { token: TestToken(token), reply })
        }),
        (any::<bool>(), any::<u64>(), report()).prop_map(|(asks, token, report)| {
            let role = if asks { ReportRole::Question } else { ReportRole::Answer };
            Control::Report { role, token, report }
        }),
    ]
}

fn isolation_step() -> impl Strategy<Value = IsolationStep> {
    let addresses = (any::<[u8; 6]>(), any::<[u8; 6]>(), any::<[u8; 4]>(), any::<[u8; 16]>());
    prop_oneof![
        Just(IsolationStep::Begin),
        Just(IsolationStep::End),
        any::<u16>().prop_map(|from| IsolationStep::Report { from }),
        (any::<u16>(), any::<u32>(), addresses).prop_map(
            |(number, kinds, (root, peer, ipv4, ipv6))| {
                let (ipv4, ipv6) = (ipv4.into(), ipv6.into());
                IsolationStep::Send(TestFrames { number, kinds, root, peer, ipv4, ipv6 })
            }
        ),
    ]
}

fn isolation_reply() -> impl Strategy<Value = IsolationReply> {
    let refusal = prop_oneof![
        Just(IsolationRefusal::NotAllowed),
        Just(IsolationRefusal::TooSoon),
        Just(IsolationRefusal::NoTap),
        (4..=u16::MAX).prop_map(IsolationRefusal::Other),
    ];
    prop_oneof![
        (any::<[u8; 6]>(), any::<[u8; 4]>(), any::<[u8; 16]>()).prop_map(|(mac, ipv4, ipv6)| {
            IsolationReply::Agreed { mac, ipv4: ipv4.into(), ipv6: ipv6.into() }
        }),
        refusal.prop_map(IsolationReply::Refused),
        (any::<u16>(), any::<u32>())
            .prop_map(|(number, kinds)| IsolationReply::Sent { number, kinds }),
        (any::<u16>(), any::<u16>(), any::<[u16; MAX_HEARD]>()).prop_map(
            |(from, total, mut numbers)| {
                let told = usize::from(total.saturating_sub(from)).min(MAX_HEARD);
                numbers[told..].fill(0);
                IsolationReply::Heard { from, total, numbers }
            }
        ),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    let us = |micros: u32| Duration::from_micros(micros.into());
    let rtt =
        (any::<u32>(), 1..=u32::MAX, any::<u32>()).prop_map(move |(min, smoothed, jitter)| Rtt {
            min: us(min),
            smoothed: us(smoothed),
            jitter: us(jitter),
        });
    let version = (any::<u8>(), any::<u8>(), 1..=u16::MAX)
        .prop_map(|(major, minor, patch)| Version { major, minor, patch });
    let path_mtu = prop_oneof![Just(None), (1..=u16::MAX).prop_map(Some)];
    let delivery = (any::<u64>(), any::<u64>())
        .prop_map(|(a, b)| Delivery { expected: a.max(b), received: a.min(b) });
    (delivery, proptest::option::of(rtt), proptest::option::of(version), path_mtu)
        .prop_map(|(delivery, rtt, version, path_mtu)| Report { delivery, rtt, version, path_mtu })
}

fn header() -> impl Strategy<Value = Header> {
    let fragment = prop_oneof![
        (0..15_u8, any::<bool>()).prop_map(|(index, last)| Fragment { index, last }),
        Just(Fragment { index: 15, last: true }),
    ];
    let kind = prop_oneof![
        Just(Kind::Control),
        (fragment, any::<bool>())
            .prop_map(|(fragment, partial_checksum)| Kind::Data { fragment, partial_checksum }),
        any::<bool>().prop_map(|partial_checksum| Kind::Bundle { partial_checksum }),
    ];
    (kind, id(), 15..=u64::MAX).prop_map(|(kind, receiver_id, counter)| Header {
        kind,
        receiver_id,
        counter,
    })
}

/// Bytes that often begin like a datagram and often have a datagram's length.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![Just(168_usize), Just(108), Just(64), Just(16), 0..200_usize];
    (len, 0x10..=0x1b_u8, any::<bool>(), any::<u64>()).prop_map(|(len, first, zeros, seed)| {
        let mut state = seed;
        let mut bytes: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        if zeros && len >= 4 {
            bytes[..4].copy_from_slice(&[first, 0, 0, 0]);
        }
        bytes
    })
}

/// Encodes a parsed datagram again, as far as it is in clear.
fn encode(datagram: &Datagram) -> Vec<u8> {
    match datagram {
        Datagram::Hello(m) => m.encode().to_vec(),
        Datagram::Welcome(m) => m.encode().to_vec(),
        Datagram::Retry(m) => m.encode().to_vec(),
        Datagram::Reset(m) => m.encode().to_vec(),
        Datagram::Query(m) => m.encode().to_vec(),
        Datagram::Reply(m) => m.encode().to_vec(),
        Datagram::Sealed(m) => m.encode().to_vec(),
    }
}

proptest! {
    #[test]
    fn what_parses_encodes_to_the_same_bytes(bytes in noise()) {
        if let Ok(datagram) = Datagram::parse(&bytes) {
            let again = encode(&datagram);
            prop_assert_eq!(&again[..], &bytes[..again.len()]);
        }
    }

    #[test]
    fn handshake_datagrams_round_trip(
        sender_id in id(), receiver_id in id(), byte in any::<u8>(), counter in any::<u64>(),
    ) {
        let hello = Hello { sender_id, noise: [byte; 128], mac1: [byte; 16], mac2: [!byte; 16] };
        prop_assert_eq!(Datagram::parse(&hello.encode()), Ok(Datagram::Hello(hello)));
        let welcome = Welcome { receiver_id, sender_id, noise: [byte; 80], mac1: [!byte; 16] };
        prop_assert_eq!(Datagram::parse(&welcome.encode()), Ok(Datagram::Welcome(welcome)));
        let retry = Retry { receiver_id, nonce: [byte; 24], cookie: [!byte; 32] };
        prop_assert_eq!(Datagram::parse(&retry.encode()), Ok(Datagram::Retry(retry)));
        let reset = Reset { receiver_id, counter };
        prop_assert_eq!(Datagram::parse(&reset.encode()), Ok(Datagram::Reset(reset)));
        let query = Query { sender_id, random: [byte; 24], mac: [!byte; 16] };
        prop_assert_eq!(Datagram::parse(&query.encode()), Ok(Datagram::Query(query)));
        let reply = Reply { receiver_id, nonce: [byte; 24], sealed: [!byte; 32] };
        prop_assert_eq!(Datagram::parse(&reply.encode()), Ok(Datagram::Reply(reply)));
    }

    #[test]
    fn headers_round_trip(header in header(), len in 64..2000_usize) {
        let mut datagram = vec![0; len];
        datagram[..HEADER_LEN].copy_from_slice(&header.encode());
        prop_assert_eq!(Datagram::parse(&datagram), Ok(Datagram::Sealed(header)));
    }

    #[test]
    fn payloads_round_trip(
        versions in (1..=u8::MAX, 1..=u8::MAX), a in any::<u16>(), b in any::<u32>(),
        c in any::<u64>(), suite in 1..=u8::MAX, refusal in refusal(),
    ) {
        let hello = HelloPayload {
            version_min: versions.0.min(versions.1), version_max: versions.0.max(versions.1),
            suites: Suites(a), caps: Caps(b), instance: c, timestamp: !c,
            max_frame: !a, pmtu: a ^ 0x5555, keepalive: a ^ 0x00ff,
        };
        prop_assert_eq!(HelloPayload::parse(&hello.encode()), Ok(hello));
        let welcome = WelcomePayload {
            version: versions.0, suite, refusal, caps: Caps(b), max_frame: a, pmtu: !a,
            keepalive: a ^ 0x5555, dead_after: a ^ 0x00ff, instance: c, time: !c,
        };
        prop_assert_eq!(WelcomePayload::parse(&welcome.encode()), Ok(welcome));
    }

    #[test]
    fn control_round_trips(message in control()) {
        let mut plaintext = Vec::new();
        message.encode(&mut plaintext);
        prop_assert_eq!(Control::parse(&plaintext), Ok(message));
    }

    #[test]
    fn arbitrary_control_and_payloads_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100), payload in any::<[u8; 32]>(),
    ) {
        if let Ok(message) = Control::parse(&bytes) {
            let mut again = Vec::new();
            message.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
        if let Ok(hello) = HelloPayload::parse(&payload) {
            prop_assert_eq!(hello.encode(), payload);
        }
        if let Ok(welcome) = WelcomePayload::parse(&payload) {
            prop_assert_eq!(welcome.encode(), payload);
        }
    }
}

#[test]
fn every_length_of_every_type_is_handled() {
    let mut room = vec![0; MAX_DATAGRAM + 1];
    for first in 0..=u8::MAX {
        let all = (0x10..=0x1a).contains(&first);
        for len in (0..=65_508).filter(|len| all || *len < 300 || *len > 65_500) {
            let bytes = &mut room[..len];
            bytes[..len.min(300)].fill(1);
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            bytes.iter_mut().take(4).skip(1).for_each(|byte| *byte = 0);
            let known = match first {
                kind::HELLO => len == HELLO_LEN,
                kind::WELCOME => len == WELCOME_LEN,
                kind::RETRY => len == RETRY_LEN,
                kind::RESET => len == RESET_LEN,
                kind::REPLY => len == REPLY_LEN,
                // Sixteen bytes of one of this length are not zero.
                kind::QUERY => false,
                kind::DATA => (OVERHEAD + 1..=MAX_DATAGRAM).contains(&len),
                kind::BUNDLE => (OVERHEAD + BUNDLE_MIN_LEN..=MAX_DATAGRAM).contains(&len),
                kind::CONTROL => (OVERHEAD + CONTROL_MIN_LEN..=MAX_DATAGRAM).contains(&len),
                _ => false,
            };
            assert_eq!(Datagram::parse(bytes).is_ok(), known, "type {first:#x}, {len} bytes");
        }
    }
}

#[test]
fn what_is_unused_must_be_zero() {
    let hello = Hello { sender_id: 1, noise: [7; 128], mac1: [7; 16], mac2: [0; 16] }.encode();
    for at in 1..4 {
        let mut bytes = hello;
        bytes[at] = 1;
        assert_eq!(Datagram::parse(&bytes), Err(ParseError::Reserved));
    }
    let mut no_id = hello;
    no_id[4..8].fill(0);
    assert_eq!(Datagram::parse(&no_id), Err(ParseError::ZeroId));

    let mut data = [9; 64];
    data[..4].copy_from_slice(&[kind::DATA, 0x01, 0, 0]);
    assert!(Datagram::parse(&data).is_ok());
    for (at, value) in [(1, 0x03), (1, 0x09), (2, 0x02), (2, 0x80), (3, 1)] {
        let mut bytes = data;
        bytes[at] = value;
        assert_eq!(Datagram::parse(&bytes), Err(ParseError::Reserved));
    }
    let mut bundle = data;
    bundle[..2].copy_from_slice(&[kind::BUNDLE, 0]);
    assert!(Datagram::parse(&bundle).is_ok());
    for (at, value) in [(1, 0x01), (1, 0x80), (2, 0x02), (2, 0x80), (3, 1)] {
        let mut bytes = bundle;
        bytes[at] = value;
        assert_eq!(Datagram::parse(&bytes), Err(ParseError::Reserved));
    }
    // A sixteenth piece must be the last, and no counter is below zero.
    data[1] = 0xf0;
    assert_eq!(Datagram::parse(&data), Err(ParseError::Value));
    data[1] = 0x31;
    data[8..16].copy_from_slice(&2_u64.to_be_bytes());
    assert_eq!(Datagram::parse(&data), Err(ParseError::Value));
}

#[test]
fn layouts_are_byte_exact() {
    let header = Header {
        kind: Kind::Data { fragment: Fragment { index: 2, last: true }, partial_checksum: true },
        receiver_id: 0x0102_0304,
        counter: 0x0506_0708_090a_0b0c,
    };
    assert_eq!(header.encode(), [0x14, 0x21, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let whole = Header {
        kind: Kind::Data { fragment: Fragment::WHOLE, partial_checksum: false },
        ..header
    };
    assert_eq!(whole.encode()[..4], [0x14, 0x01, 0, 0]);
    let bundle = Header { kind: Kind::Bundle { partial_checksum: true }, ..header };
    assert_eq!(bundle.encode()[..4], [0x16, 0, 1, 0]);
    let reset = Reset { receiver_id: 0x0102_0304, counter: 5 };
    assert_eq!(reset.encode(), [0x18, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5]);

    let mut bye = Vec::new();
    Control::Bye { reason: Bye::Restart, retry_ms: 0x0102 }.encode(&mut bye);
    assert_eq!(bye, [3, 0, 0, 2, 0, 0, 1, 2]);
    let mut probe = Vec::new();
    Control::Keepalive { token: 1, size: 1200 }.encode(&mut probe);
    assert_eq!((probe.len(), &probe[..12]), (1168, &[1, 0, 4, 176, 0, 0, 0, 0, 0, 0, 0, 1][..]));

    let delivery = Delivery { expected: 0x0203, received: 0x0102 };
    let [min, smoothed, jitter] = [4, 5, 6].map(Duration::from_micros);
    let rtt = Some(Rtt { min, smoothed, jitter });
    let version = Some(Version { major: 7, minor: 8, patch: 0x090a });
    let report = Report { delivery, rtt, version, path_mtu: Some(0x0b0c) };
    let mut text = Vec::new();
    Control::Report { role: ReportRole::Answer, token: 1, report }.encode(&mut text);
    let expected = [
        [5, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 1, 2, 0, 0, 0, 0],
        [0, 0, 2, 3, 0, 0, 0, 4],
        [0, 0, 0, 5, 0, 0, 0, 6],
        [7, 8, 9, 10, 11, 12, 0, 0],
    ];
    assert_eq!(text, expected.concat());
    assert_eq!(text.len() + OVERHEAD, REPORT_LEN);

    // Less than a microsecond is known all the same, and what does not fit is the most there is.
    let brief =
        Rtt { min: Duration::ZERO, smoothed: Duration::from_nanos(1), jitter: Duration::MAX };
    let mut text = Vec::new();
    let report = Report { rtt: Some(brief), ..report };
    Control::Report { role: ReportRole::Question, token: 1, report }.encode(&mut text);
    assert_eq!(text[28..40], [0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255]);
}
