//! The test vectors of `docs/vectors`: what the code makes of fixed keys and fixed randomness is
//! what is written down there, byte for byte.
//!
//! `docs/PROTOCOL.md` explains the format. After a deliberate change of the wire,
//! `ACTON_WRITE_VECTORS=1 cargo test -p acton-proto --test vectors` writes the files anew.

mod vectors_rig;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use acton_proto::handshake::{
    CookieJar, CookieKey, Initiator, MacKey, QueryKeys, Random, Responder, Secret, public_key,
};
use acton_proto::plain;
use acton_proto::session::{Content, Keys, OpenError, Suite, WINDOW};
use acton_proto::wire::{
    Bye, Caps, Control, Datagram, Delivery, Fragment, HEADER_LEN, Header, Hello, HelloPayload,
    IsolationAnswer, IsolationOrder, IsolationRefusal, IsolationReply, IsolationStep, Kind,
    MAX_HEARD, NewNetworkKey, OVERHEAD, PAYLOAD_LEN, ParseError, Query, Refusal, Reply, Report,
    ReportRole, Reset, Rtt, ServerState, Suites, TAG_LEN, TestFrames, TestToken, Version, Welcome,
    WelcomePayload, server_tag,
};
use vectors_rig::{Fixed, NOW, Vectors, keys, pattern};

const CLIENT_ID: u32 = 0x0a0b_0c0d;
const SERVER_ID: u32 = 0x0102_0304;
/// 2026-01-01 in nanoseconds since 1970.
const WALL: u64 = 1_767_225_600_000_000_000;
const SUITES: [Suite; 2] = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm];

/// Who shares what in a handshake, and what comes of it.
struct Handshake {
    name: &'static str,
    about: &'static str,
    network_key: Option<Secret>,
    psk: Option<Secret>,
    /// The client's own, which the server does not have for it.
    client_psk: Option<Secret>,
    suites: Suites,
    refusal: Option<Refusal>,
    source: &'static str,
}

impl Handshake {
    fn write(&self, vectors: &mut Vectors) {
        let (client, server) = (Secret::new([0x11; 32]), Secret::new([0x22; 32]));
        let (client_ephemeral, server_ephemeral) = ([0x33; 32], [0x44; 32]);
        let network = self.network_key.as_ref();
        let zeros = Secret::new([0; 32]);
        let psk = self.psk.as_ref().or(network).unwrap_or(&zeros);
        let suite = Suite::choose(self.suites).expect("a suite");

        let hello_payload = HelloPayload {
            version_min: 1,
            version_max: 1,
            suites: self.suites,
            caps: Caps::ALL,
            instance: 0x0123_4567_89ab_cdef,
            timestamp: WALL,
            max_frame: 1514,
            pmtu: 1472,
            keepalive: 15,
        };
        let payload = hello_payload.encode();
        assert_eq!(HelloPayload::parse(&payload), Ok(hello_payload));
        let made = Initiator::new(
            &client,
            &public_key(&server),
            psk,
            &payload,
            &mut Fixed::new(client_ephemeral),
        );
        let (mut initiator, noise) = made.expect("a HELLO");
        let mut hello =
            Hello { sender_id: CLIENT_ID, noise, mac1: [0; 16], mac2: [0; 16] }.encode();
        let mac_to_server = MacKey::new(&public_key(&server), network);
        mac_to_server.sign_hello(&mut hello);

        // The server wants a cookie first.
        let source: SocketAddr = self.source.parse().expect("an address");
        let cookie_secret = [0x55; 32];
        let mut jar = CookieJar::new(&mut Fixed::new([cookie_secret, [0x56; 32]].concat()), NOW);
        let cookie = jar.bake(source, &mut Fixed::new([]), NOW);
        let mac1 = *hello[136..].first_chunk().expect("mac1");
        let cookie_key = CookieKey::new(&public_key(&server), network);
        let retry = cookie_key.seal(&cookie, CLIENT_ID, &mac1, &mut Fixed::new([0x66; 24]));
        assert_eq!(cookie_key.open(&retry, &mac1), Some(cookie));
        let mut proven = hello;
        cookie.sign_hello(&mut proven);
        assert!(jar.verify(&proven, source, &mut Fixed::new([]), NOW));

        let welcome_payload = WelcomePayload {
            version: 1,
            suite: if self.refusal.is_some() { 0 } else { suite.code() },
            refusal: self.refusal,
            caps: Caps::ALL,
            max_frame: 1514,
            pmtu: 1452,
            keepalive: 10,
            dead_after: 35,
            instance: 0xfedc_ba98_7654_3210,
            time: WALL + 1_000_000_000,
        };
        let answer = welcome_payload.encode();
        assert_eq!(WelcomePayload::parse(&answer), Ok(welcome_payload));
        let responder = Responder::new(&server, &noise, &mut Fixed::new(server_ephemeral));
        let responder = responder.expect("the HELLO opens");
        assert_eq!(*responder.payload(), payload);
        let (noise, split) = responder.finish(psk, &answer).expect("a WELCOME");
        let welcome =
            Welcome { receiver_id: CLIENT_ID, sender_id: SERVER_ID, noise, mac1: [0; 16] };
        let mut welcome = welcome.encode();
        MacKey::new(&public_key(&client), network).sign_welcome(&mut welcome);
        assert!(MacKey::new(&public_key(&client), network).verify_welcome(&welcome));
        let (read, theirs) = initiator.finish(&noise).expect("the WELCOME opens");
        assert_eq!((read, theirs.to_server), (answer, split.to_server));
        if let Some(own) = &self.client_psk {
            let ephemeral = &mut Fixed::new(client_ephemeral);
            let made = Initiator::new(&client, &public_key(&server), own, &payload, ephemeral);
            let (mut initiator, same) = made.expect("a HELLO");
            assert_eq!(same, *hello[8..].first_chunk().expect("the Noise message"));
            assert!(initiator.finish(&noise).is_err(), "not under its own");
        }

        vectors.block(self.name, self.about);
        vectors.bytes("client_private", client.bytes());
        vectors.bytes("client_public", &public_key(&client));
        vectors.bytes("server_private", server.bytes());
        vectors.bytes("server_public", &public_key(&server));
        vectors.bytes("network_key", network.unwrap_or(&zeros).bytes());
        vectors.bytes("psk", psk.bytes());
        if let Some(own) = &self.client_psk {
            vectors.bytes("client_psk", own.bytes());
        }
        vectors.bytes("client_ephemeral_private", &client_ephemeral);
        vectors.bytes("server_ephemeral_private", &server_ephemeral);
        vectors.bytes("hello_payload", &payload);
        vectors.bytes("hello", &hello);
        vectors.bytes("cookie_secret", &cookie_secret);
        vectors.word("cookie_source", &source);
        vectors.bytes("retry", &retry.encode());
        vectors.bytes("hello_with_cookie", &proven);
        vectors.bytes("welcome_payload", &answer);
        vectors.bytes("welcome", &welcome);
        vectors.bytes("split_to_server", &split.to_server);
        vectors.bytes("split_to_client", &split.to_client);
    }
}

#[test]
fn handshake() {
    let mut vectors = Vectors::new(
        "The handshake: HELLO, the RETRY it may get, HELLO with the cookie, WELCOME, the split.",
    );
    let both = Suites(3);
    let (network, own) = (|| Some(Secret::new([0x77; 32])), || Some(Secret::new([0x88; 32])));
    for handshake in [
        Handshake {
            name: "network-key",
            about: "any client that has the network key",
            network_key: network(),
            psk: None,
            client_psk: None,
            suites: both,
            refusal: None,
            source: "192.0.2.7:4242",
        },
        Handshake {
            name: "own-psk",
            about: "a listed client with a key of its own: Noise has that one, mac1 the network's",
            network_key: network(),
            psk: own(),
            client_psk: None,
            suites: Suites::CHACHA20_POLY1305,
            refusal: None,
            source: "[2001:db8::7]:4242",
        },
        Handshake {
            name: "no-psk",
            about: "a listed client in a network without a key: zeros for both",
            network_key: None,
            psk: None,
            client_psk: None,
            suites: both,
            refusal: None,
            source: "[::ffff:192.0.2.7]:4242",
        },
        Handshake {
            name: "refusal",
            about: "a client that is not listed: the split is not used",
            network_key: network(),
            psk: None,
            client_psk: None,
            suites: both,
            refusal: Some(Refusal::NotAuthorised),
            source: "192.0.2.7:4242",
        },
        Handshake {
            name: "refusal-without-psk",
            about: "a client with a key of its own that was taken off the list, so that the server \
                    has that no more: it reads the refusal under the network key",
            network_key: network(),
            psk: None,
            client_psk: own(),
            suites: both,
            refusal: Some(Refusal::NotAuthorised),
            source: "192.0.2.7:4242",
        },
    ] {
        handshake.write(&mut vectors);
    }
    vectors.check("handshake.txt");
}

/// Seals one datagram under the counter.
fn seal(keys: &Keys, counter: u64, kind: Kind, plaintext: &[u8]) -> Vec<u8> {
    let skip = counter - keys.sealed();
    if skip > 0 {
        keys.reserve(NOW, skip).expect("within the limit");
    }
    let mut datagram = vec![0; HEADER_LEN];
    datagram.extend_from_slice(plaintext);
    datagram.resize(datagram.len() + TAG_LEN, 0);
    keys.reserve(NOW, 1).expect("within the limit").seal(kind, &mut datagram).expect("sealed");
    datagram
}

fn header(datagram: &[u8]) -> Header {
    match Datagram::parse(datagram) {
        Ok(Datagram::Sealed(header)) => header,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sealed() {
    let mut vectors = Vectors::new(
        "Sealed datagrams, one a block: `split` is the Noise key of the direction, `key` and `iv`\n\
         what is derived from it for the suite.",
    );
    let whole = |partial_checksum| Kind::Data { fragment: Fragment::WHOLE, partial_checksum };
    let piece =
        |index, last| Kind::Data { fragment: Fragment { index, last }, partial_checksum: false };
    let bundle = |partial_checksum, lens: &[usize]| {
        let entry = |&len: &usize| [&(len as u16).to_be_bytes()[..], &pattern(len)].concat();
        (Kind::Bundle { partial_checksum }, lens.iter().flat_map(entry).collect())
    };
    let control = |message: Control| {
        let mut plaintext = Vec::new();
        message.encode(&mut plaintext);
        assert_eq!(Control::parse(&plaintext), Ok(message));
        (Kind::Control, plaintext)
    };
    let token = 0x1122_3344_5566_7788;
    let bye = |reason, retry_ms| control(Control::Bye { reason, retry_ms });
    let delivery = Delivery { expected: 0x0123_4567_89ab, received: 0x0123_4567_8000 };
    let us = Duration::from_micros;
    let rtt = Rtt { min: us(19_500), smoothed: us(20_250), jitter: us(1_125) };
    let version = Version { major: 1, minor: 2, patch: 345 };
    let all = Report { delivery, rtt: Some(rtt), version: Some(version), path_mtu: Some(1400) };
    let some = Report { rtt: None, ..all };
    let none = Report { delivery: Delivery::default(), rtt: None, version: None, path_mtu: None };
    let report = |role, report| control(Control::Report { role, token, report });
    let test = TestToken(std::array::from_fn(|i| 0xa0 + i as u8));
    let order = |step| control(Control::IsolationOrder(IsolationOrder { token: test, step }));
    let answer = |reply| control(Control::IsolationAnswer(IsolationAnswer { token: test, reply }));
    let (mac, ipv4) = ([2, 0, 0, 0, 0, 9], Ipv4Addr::new(10, 0, 0, 9));
    let ipv6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
    let (number, kinds, root) = (0x0120, 0x0000_0c21, [2, 0, 0, 0, 0, 1]);
    let frames = TestFrames { number, kinds, root, peer: mac, ipv4, ipv6 };
    let mut numbers = [0; MAX_HEARD];
    numbers[..2].copy_from_slice(&[0x0120, 0x0125]);
    let heard = IsolationReply::Heard { from: 32, total: 34, numbers };
    for suite in SUITES {
        let cases = [
            ("data", 0, (whole(false), pattern(60))),
            ("data-smallest", 1, (whole(false), pattern(14))),
            ("data-csum", 2, (whole(true), pattern(74))),
            ("data-piece-of-one-byte", 0x0102, (piece(1, true), pattern(1))),
            ("bundle-smallest", 0x0200, bundle(false, &[14, 14])),
            ("bundle", 0x0201, bundle(false, &[60, 14, 299])),
            ("bundle-csum", 0x0202, bundle(true, &[60, 74, 60, 60])),
            ("bundle-largest", 0x0203, bundle(false, &[1400, 110])),
            ("data-sixteenth-piece", 0x0f0e, (piece(15, true), pattern(20))),
            ("keepalive", 0x0f0f, control(Control::Keepalive { token, size: 0 })),
            ("keepalive-probe", 0x0f10, control(Control::Keepalive { token, size: 120 })),
            ("keepalive-unpadded-probe", 0x0f11, control(Control::Keepalive { token, size: 44 })),
            ("echo", 0x0f12, control(Control::Echo { token, size: 120 })),
            ("bye-stop", 0x0f13, bye(Bye::Stop, 0)),
            ("bye-restart", 0x0f14, bye(Bye::Restart, 2500)),
            ("bye-replaced", 0x0f15, bye(Bye::Replaced, 0)),
            ("bye-removed", 0x0f16, bye(Bye::Removed, 0)),
            ("bye-limit", 0x0f17, bye(Bye::Limit, 5000)),
            ("bye-of-a-later-version", 0x0f18, bye(Bye::Other(0x1234), 1)),
            ("rekey", 0x0102_0304, control(Control::Rekey)),
            ("report", 0x0102_0305, report(ReportRole::Question, all)),
            ("report-answer", 0x0102_0306, report(ReportRole::Answer, some)),
            ("report-of-nothing", 0x0102_0307, report(ReportRole::Question, none)),
            (
                "network-key",
                0x0102_0308,
                control(Control::NetworkKey(NewNetworkKey(std::array::from_fn(|i| i as u8 + 1)))),
            ),
            ("move", 0x0102_0309, control(Control::Move { to: 0 })),
            (
                "move-to-one",
                0x0102_030a,
                control(Control::Move { to: server_tag("b.example:8080") }),
            ),
            ("isolation-begin", 0x0102_030b, order(IsolationStep::Begin)),
            ("isolation-send", 0x0102_030c, order(IsolationStep::Send(frames))),
            ("isolation-report", 0x0102_030d, order(IsolationStep::Report { from: 32 })),
            ("isolation-end", 0x0102_030e, order(IsolationStep::End)),
            ("isolation-agreed", 0x0102_030f, answer(IsolationReply::Agreed { mac, ipv4, ipv6 })),
            (
                "isolation-refused",
                0x0102_0310,
                answer(IsolationReply::Refused(IsolationRefusal::NotAllowed)),
            ),
            (
                "isolation-sent",
                0x0102_0311,
                answer(IsolationReply::Sent { number: 0x0120, kinds: 0x21 }),
            ),
            ("isolation-heard", 0x0102_0312, answer(heard)),
            ("data-last-counter", (1 << 28) - 1, (whole(false), pattern(100))),
        ];
        let (client, server) = keys(suite, 1514);
        for (name, counter, (kind, plaintext)) in cases {
            let datagram = seal(&client, counter, kind, &plaintext);
            let mut bytes = datagram.clone();
            let opened = server.open(NOW, &header(&datagram), &mut bytes).expect("opens");
            assert_eq!((opened.kind, opened.plaintext(&bytes)), (kind, &plaintext[..]), "{name}");

            let (key, iv) = vectors_rig::derive(suite);
            vectors.block(&format!("{name}/{}", suite.code()), "");
            vectors.word("suite", &suite.code());
            vectors.bytes("split", &vectors_rig::SPLIT.to_server);
            vectors.bytes("key", &key);
            vectors.bytes("iv", &iv);
            vectors.word("receiver_id", &client.setup().remote_id);
            vectors.word("counter", &counter);
            vectors.bytes("plaintext", &plaintext);
            vectors.bytes("datagram", &datagram);
        }
    }
    vectors.check("sealed.txt");
}

#[test]
fn fragments() {
    let mut vectors = Vectors::new(
        "Frames in pieces: each `datagram` in the order of arrival, then the frame that comes of\n\
         them, or none. `split` is the Noise key of the direction, `first` the counter of piece 0.",
    );
    // Of a frame of so many bytes, cut in pieces of so many, these pieces in this order.
    let all_but_two = [8, 15, 3, 0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14];
    let cases = [
        ("in-order", "1,514 bytes over a path of 1,200", (1514, 757), &[0, 1][..]),
        ("last-first", "the last piece waits until its place is known", (61, 31), &[1, 0]),
        ("three", "the last piece is shorter", (92, 31), &[2, 0, 1]),
        ("sixteen", "the most there may be", (160, 10), &all_but_two),
        ("missing", "without its middle piece there is no frame", (92, 31), &[0, 2]),
        ("repeated", "the replay window drops what comes twice", (60, 30), &[0, 0, 1]),
        ("too-short", "what comes together is less than 14 bytes", (13, 7), &[0, 1]),
        ("too-long", "the receiver agreed to frames of up to 1,514 bytes", (1515, 758), &[0, 1]),
    ];
    for suite in SUITES {
        for (name, about, (len, size), order) in cases {
            let (client, server) = keys(suite, 1514);
            let (frame, first) = (pattern(len), 0x0100);
            let last = len.div_ceil(size) - 1;
            let piece = |(i, bytes): (usize, &[u8])| {
                let fragment = Fragment { index: i as u8, last: i == last };
                let kind = Kind::Data { fragment, partial_checksum: false };
                seal(&client, first + i as u64, kind, bytes)
            };
            let datagrams: Vec<_> = frame.chunks(size).enumerate().map(piece).collect();
            if name == "in-order" {
                // It is how the library cuts, too.
                let (client, _) = keys(suite, 1514);
                client.reserve(NOW, first).expect("within the limit");
                let mut out = Vec::new();
                client.seal_frame(NOW, &frame, false, &mut out).expect("sealed");
                assert_eq!(out, datagrams.concat());
            }
            vectors.block(&format!("{name}/{}", suite.code()), about);
            vectors.word("suite", &suite.code());
            vectors.bytes("split", &vectors_rig::SPLIT.to_server);
            vectors.word("first", &first);
            let mut made = None;
            for &index in order {
                vectors.bytes("datagram", &datagrams[index]);
                let mut bytes = datagrams[index].clone();
                match server.receive(NOW, &header(&datagrams[index]), &mut bytes) {
                    Ok(received) => {
                        let mut frames = received.content.into_frames();
                        made = frames.next().map(|frame| frame.bytes().to_vec()).or(made);
                    }
                    Err(error) => assert_eq!((error, name), (OpenError::Replayed, "repeated")),
                }
            }
            let none = ["missing", "too-short", "too-long"].contains(&name);
            assert_eq!(made, (!none).then_some(frame), "{name}");
            match made {
                Some(made) => vectors.bytes("frame", &made),
                None => vectors.word("frame", &"none"),
            }
        }
    }
    // Pieces of one frame that do not fit: index, whether it is the last, bytes, CSUM.
    let conflicts = [
        ("two-lasts", &[(1, true, 5, false), (2, true, 5, false)][..]),
        ("past-the-last", &[(1, true, 5, false), (2, false, 20, false)]),
        (
            "last-before-others",
            &[(2, false, 20, false), (1, true, 5, false), (0, false, 20, false)],
        ),
        ("unequal", &[(0, false, 20, false), (1, false, 21, false), (2, true, 5, false)]),
        ("longer-last", &[(0, false, 20, false), (1, true, 21, false)]),
        ("longer-last-first", &[(1, true, 21, false), (0, false, 20, false)]),
        ("other-csum", &[(0, false, 20, false), (1, true, 5, true)]),
        ("more-than-max-frame", &[(0, false, 1000, false), (1, true, 515, false)]),
        (
            "others-after-a-conflict",
            &[
                (0, false, 20, false),
                (1, false, 21, false),
                (2, false, 20, false),
                (3, true, 20, false),
            ],
        ),
    ];
    let suite = SUITES[0];
    for (name, pieces) in conflicts {
        let (_, server) = keys(suite, 1514);
        vectors.block(&format!("conflict-{name}"), "");
        vectors.word("suite", &suite.code());
        vectors.bytes("split", &vectors_rig::SPLIT.to_server);
        let first = 0x0100;
        vectors.word("first", &first);
        let mut bad = 0;
        for &(index, last, len, partial_checksum) in pieces {
            let fragment = Fragment { index, last };
            let kind = Kind::Data { fragment, partial_checksum };
            let (client, _) = keys(suite, 1514);
            let mut datagram = seal(&client, first + u64::from(index), kind, &pattern(len));
            vectors.bytes("datagram", &datagram);
            let head = header(&datagram);
            match server.receive(NOW, &head, &mut datagram).expect("opens").content {
                Content::Piece => {}
                Content::BadPiece => bad += 1,
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!(bad, 1, "{name}");
        vectors.word("frame", &"none");
    }
    vectors.check("fragments.txt");
}

#[test]
fn replay_window() {
    let mut vectors = Vectors::new(
        "The replay window: authentic datagrams in the order of arrival, by counter. `newest` may\n\
         move a session to another address, `late` is taken and may not, `drop` is not taken.",
    );
    let far = 3 * WINDOW + 17;
    let order = [
        0,
        0,
        1,
        5,
        3,
        3,
        4,
        5,
        64,
        63,
        62,
        64,
        128,
        65,
        WINDOW,
        0,
        2,
        WINDOW + 2,
        2,
        3,
        6,
        far,
        far - WINDOW,
        far - WINDOW + 1,
        far + 1 - WINDOW,
        far - 1,
        far,
        far + 1,
        far - WINDOW + 2,
        far + WINDOW,
        far + 1,
        far,
        1 << 27,
        far + WINDOW,
        (1 << 27) - WINDOW,
        (1 << 27) - WINDOW + 1,
        (1 << 28) - 1,
        1 << 27,
    ];
    let mut sorted: Vec<u64> = order.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let (client, server) = keys(Suite::Aes256Gcm, 1514);
    let rekey = [4, 0, 0, 0];
    let sealed: Vec<_> =
        sorted.iter().map(|&counter| seal(&client, counter, Kind::Control, &rekey)).collect();
    vectors.block("window", "");
    for counter in order {
        let at = sorted.binary_search(&counter).expect("it is there");
        let mut bytes = sealed[at].clone();
        let verdict = match server.open(NOW, &header(&sealed[at]), &mut bytes) {
            Ok(opened) if opened.newest => "newest",
            Ok(_) => "late",
            Err(error) => {
                assert_eq!(error, OpenError::Replayed);
                "drop"
            }
        };
        vectors.word(verdict, &counter);
    }
    vectors.check("replay.txt");
}

#[test]
fn invalid() {
    let mut vectors = Vectors::new(
        "What must be dropped before any key is tried (`datagram`), or after it was opened (the\n\
         others). `reason` is what acton calls it and binds nobody.",
    );
    let hello = Hello { sender_id: 1, noise: [7; 128], mac1: [7; 16], mac2: [0; 16] }.encode();
    let welcome = Welcome { receiver_id: 1, sender_id: 2, noise: [7; 80], mac1: [7; 16] }.encode();
    let reset = Reset { receiver_id: 1, counter: 2 }.encode();
    let query = Query { sender_id: 1, random: [7; 24], mac: [7; 16] }.encode();
    let reply = Reply { receiver_id: 1, nonce: [7; 24], sealed: [7; 32] }.encode();
    let data = |front: [u8; 4], id: u32, counter: u64, len: usize| {
        let mut datagram = front.to_vec();
        datagram.extend(id.to_be_bytes());
        datagram.extend(counter.to_be_bytes());
        datagram.resize(len, 9);
        datagram
    };
    let with = |bytes: &[u8], at: usize, value: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    for (name, datagram) in [
        ("empty", vec![]),
        ("plain-hello", b"HELLO".to_vec()),
        ("version-0", with(&hello, 0, &[0x01])),
        ("version-2", with(&hello, 0, &[0x21])),
        ("type-0", with(&data([0x14, 1, 0, 0], 1, 0, 64), 0, &[0x10])),
        ("type-super", with(&data([0x14, 1, 0, 0], 1, 0, 64), 0, &[0x17])),
        ("type-11", with(&data([0x14, 1, 0, 0], 1, 0, 64), 0, &[0x1b])),
        ("hello-short", hello[..167].to_vec()),
        ("hello-long", [&hello[..], &[0]].concat()),
        ("hello-byte-1", with(&hello, 1, &[1])),
        ("hello-byte-3", with(&hello, 3, &[0x80])),
        ("hello-id-0", with(&hello, 4, &[0; 4])),
        ("welcome-receiver-0", with(&welcome, 4, &[0; 4])),
        ("welcome-sender-0", with(&welcome, 8, &[0; 4])),
        ("welcome-short", welcome[..107].to_vec()),
        ("reset-short", reset[..15].to_vec()),
        ("reset-byte-2", with(&reset, 2, &[1])),
        ("query-short", query[..63].to_vec()),
        ("query-id-0", with(&query, 4, &[0; 4])),
        ("query-byte-32", with(&query, 32, &[1])),
        ("reply-long", [&reply[..], &[0]].concat()),
        ("reply-byte-1", with(&reply, 1, &[1])),
        ("data-header-alone", data([0x14, 1, 0, 0], 1, 0, 16)),
        ("data-nothing-inside", data([0x14, 1, 0, 0], 1, 0, OVERHEAD)),
        ("data-frag-bit-1", data([0x14, 3, 0, 0], 1, 0, 64)),
        ("data-frag-bit-3", data([0x14, 9, 0, 0], 1, 0, 64)),
        ("data-flags-bit-1", data([0x14, 1, 2, 0], 1, 0, 64)),
        ("data-byte-3", data([0x14, 1, 0, 1], 1, 0, 64)),
        ("data-id-0", data([0x14, 1, 0, 0], 0, 0, 64)),
        ("data-sixteenth-piece-not-the-last", data([0x14, 0xf0, 0, 0], 1, 99, 64)),
        ("data-counter-below-the-index", data([0x14, 0x31, 0, 0], 1, 2, 64)),
        ("bundle-of-one-frame", data([0x16, 0, 0, 0], 1, 0, OVERHEAD + 31)),
        ("bundle-byte-1", data([0x16, 1, 0, 0], 1, 0, 64)),
        ("bundle-flags-bit-1", data([0x16, 0, 2, 0], 1, 0, 64)),
        ("bundle-byte-3", data([0x16, 0, 0, 1], 1, 0, 64)),
        ("bundle-id-0", data([0x16, 0, 0, 0], 0, 0, 64)),
        ("control-short", data([0x15, 0, 0, 0], 1, 0, OVERHEAD + 3)),
        ("control-byte-1", data([0x15, 1, 0, 0], 1, 0, 64)),
        ("control-byte-2", data([0x15, 0, 1, 0], 1, 0, 64)),
    ] {
        let error = Datagram::parse(&datagram).expect_err(name);
        vectors.block(name, "");
        vectors.word("reason", &reason(error));
        vectors.bytes("datagram", &datagram);
    }

    let isolation = |message: u8, arg: u8, len: usize, one_at: Option<usize>| {
        let mut plaintext = vec![message, 0, 0, arg];
        plaintext.resize(20, 7);
        plaintext.resize(len, 0);
        if let Some(at) = one_at {
            plaintext[at] = 1;
        }
        plaintext
    };
    for (name, plaintext) in [
        ("control-message-0", &[0, 0, 0, 0][..]),
        ("control-message-7", &[7, 0, 0, 0]),
        ("control-message-10", &[10, 0, 0, 0]),
        ("control-isolation-order-short", &[8, 0, 0, 1]),
        ("control-isolation-order-step-0", &isolation(8, 0, 88, None)),
        ("control-isolation-order-step-5", &isolation(8, 5, 88, None)),
        ("control-isolation-begin-with-a-number", &isolation(8, 1, 88, Some(21))),
        ("control-isolation-begin-with-kinds", &isolation(8, 1, 88, Some(27))),
        ("control-isolation-send-long", &isolation(8, 2, 89, None)),
        ("control-isolation-send-byte-22", &isolation(8, 2, 88, Some(22))),
        ("control-isolation-send-byte-60", &isolation(8, 2, 88, Some(60))),
        ("control-isolation-answer-0", &isolation(9, 0, 24, None)),
        ("control-isolation-agreed-byte-26", &isolation(9, 1, 48, Some(26))),
        ("control-isolation-refused-long", &isolation(9, 2, 25, None)),
        ("control-isolation-sent-short", &isolation(9, 3, 27, None)),
        ("control-isolation-heard-of-none", &isolation(9, 4, 88, Some(87))),
        ("control-second-byte", &[4, 1, 0, 0]),
        ("control-rekey-argument", &[4, 0, 0, 1]),
        ("control-rekey-long", &[4, 0, 0, 0, 0]),
        ("control-bye-short", &[3, 0, 0, 1, 0, 0, 0]),
        ("control-bye-long", &[3, 0, 0, 1, 0, 0, 0, 0, 0]),
        ("control-echo-short", &[2, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0]),
        ("control-echo-long", &[2, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("control-keepalive-short", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("control-keepalive-padding-unasked", &[1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0]),
        ("control-keepalive-size-wrong", &[1, 0, 0, 44, 1, 1, 1, 1, 1, 1, 1, 1, 0]),
        ("control-keepalive-padding-not-zero", &[1, 0, 0, 45, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    ] {
        let error = Control::parse(plaintext).expect_err(name);
        vectors.block(name, "");
        vectors.word("reason", &reason(error));
        vectors.bytes("control", plaintext);
    }

    let mut report = [0; 48];
    report[..4].copy_from_slice(&[5, 0, 0, 0]);
    assert!(Control::parse(&report).is_ok());
    for (name, len, at, value) in [
        ("control-report-short", 47, 0, 5),
        ("control-report-long", 49, 0, 5),
        ("control-report-argument", 48, 3, 2),
        ("control-report-more-received-than-expected", 48, 19, 1),
        ("control-report-least-of-no-round-trip", 48, 31, 1),
        ("control-report-jitter-of-no-round-trip", 48, 39, 1),
        ("control-report-byte-46", 48, 46, 1),
        ("control-report-byte-47", 48, 47, 1),
    ] {
        let mut plaintext = report.to_vec();
        plaintext.resize(len, 0);
        plaintext[at] = value;
        let error = Control::parse(&plaintext).expect_err(name);
        vectors.block(name, "");
        vectors.word("reason", &reason(error));
        vectors.bytes("control", &plaintext);
    }

    for (name, len, at) in [
        ("control-network-key-short", 35, 0),
        ("control-network-key-long", 37, 0),
        ("control-network-key-argument", 36, 3),
    ] {
        let mut plaintext = vec![7; len];
        plaintext[..4].copy_from_slice(&[6, 0, 0, 0]);
        plaintext[at] = plaintext[at].max(u8::from(at != 0));
        let error = Control::parse(&plaintext).expect_err(name);
        vectors.block(name, "");
        vectors.word("reason", &reason(error));
        vectors.bytes("control", &plaintext);
    }

    // Of frames of so many bytes, each said to be so long.
    for (name, entries, tail) in [
        ("bundle-of-one", &[(60, 60)][..], 0),
        ("bundle-frame-of-13", &[(60, 60), (13, 13)], 0),
        ("bundle-frame-of-0", &[(60, 60), (0, 0)], 0),
        ("bundle-frame-past-the-end", &[(60, 60), (60, 61)], 0),
        ("bundle-byte-behind-the-last", &[(60, 60), (60, 60)], 1),
        ("bundle-length-behind-the-last", &[(60, 60), (60, 60)], 2),
        ("bundle-too-long", &[(1400, 1400), (111, 111)], 0),
        ("bundle-of-65", &[(14, 14); 65], 0),
    ] {
        let entry = |&(len, said): &(usize, u16)| [&said.to_be_bytes()[..], &pattern(len)].concat();
        let mut plaintext: Vec<u8> = entries.iter().flat_map(entry).collect();
        plaintext.resize(plaintext.len() + tail, 0);
        let (client, server) = keys(SUITES[0], 1514);
        let kind = Kind::Bundle { partial_checksum: false };
        let mut datagram = seal(&client, 1, kind, &plaintext);
        let head = header(&datagram);
        let received = server.receive(NOW, &head, &mut datagram).expect("opens");
        assert!(matches!(received.content, Content::Bad), "{name}");
        vectors.block(name, "");
        vectors.word("reason", &"bad-frame");
        vectors.bytes("bundle", &plaintext);
    }

    let mut good = [0; PAYLOAD_LEN];
    good[..4].copy_from_slice(&[1, 1, 0, 1]);
    for (name, at, value) in [
        ("hello-payload-no-version", 0, 0),
        ("hello-payload-range", 0, 2),
        ("hello-payload-byte-30", 30, 1),
        ("hello-payload-byte-31", 31, 1),
    ] {
        let mut payload = good;
        payload[at] = value;
        let error = HelloPayload::parse(&payload).expect_err(name);
        vectors.block(name, "");
        vectors.word("reason", &reason(error));
        vectors.bytes("hello_payload", &payload);
    }
    let mut good = [0; PAYLOAD_LEN];
    good[..4].copy_from_slice(&[1, 1, 0, 0]);
    for (name, at, value) in [
        ("welcome-payload-version-0", 0, 0),
        ("welcome-payload-suite-0", 1, 0),
        ("welcome-payload-byte-2", 2, 1),
    ] {
        let mut payload = good;
        payload[at] = value;
        let error = WelcomePayload::parse(&payload).expect_err(name);
        vectors.block(name, "");
        vectors.word("reason", &reason(error));
        vectors.bytes("welcome_payload", &payload);
    }
    vectors.check("invalid.txt");
}

const fn reason(error: ParseError) -> &'static str {
    match error {
        ParseError::Length => "length",
        ParseError::Type => "type",
        ParseError::Reserved => "reserved",
        ParseError::ZeroId => "zero-id",
        ParseError::Value => "value",
        _ => "other",
    }
}

#[test]
fn queries_and_replies() {
    let mut vectors = Vectors::new(
        "QUERY and REPLY, by a server's public key and the network key. `state` is what the REPLY seals.",
    );
    let server = public_key(&Secret::new([1; 32]));
    let network = Secret::new([2; 32]);
    let quiet = ServerState { draining: false, load: 0, instance: 1 };
    let cases = [
        ("quiet", Some(&network), quiet),
        ("without-a-network-key", None, quiet),
        ("half-full", Some(&network), ServerState { load: 500, instance: u64::MAX, ..quiet }),
        ("draining", Some(&network), ServerState { draining: true, load: 1_000, ..quiet }),
    ];
    for (number, (name, network, state)) in (1..).zip(cases) {
        let keys = QueryKeys::new(&server, network);
        let mut random = Counting(number);
        let query = keys.query(&mut random);
        let reply = keys.reply(&query, &state, &mut random);
        assert_eq!(keys.open(&reply, &query), Some(state));
        vectors.block(name, "");
        vectors.bytes("server_public", &server);
        if let Some(network) = network {
            vectors.bytes("network_key", network.bytes());
        }
        vectors.bytes("query", &query.encode());
        vectors.bytes("state", &state.encode());
        vectors.bytes("reply", &reply.encode());
    }
    vectors.check("query.txt");
}

/// Bytes that count up.
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, dest: &mut [u8]) {
        for byte in dest {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

#[test]
fn reset_and_its_cause() {
    let mut vectors =
        Vectors::new("RESET: a server that restarted got `datagram` and does not know its id.");
    let (client, _) = keys(Suite::Aes256Gcm, 1514);
    let datagram = seal(&client, 0x0001_0203, Kind::Control, &[4, 0, 0, 0]);
    let header = header(&datagram);
    let reset = Reset { receiver_id: header.receiver_id, counter: header.counter };
    assert_eq!(Datagram::parse(&reset.encode()), Ok(Datagram::Reset(reset)));
    vectors.block("reset", "");
    vectors.bytes("datagram", &datagram);
    vectors.bytes("reset", &reset.encode());
    vectors.check("reset.txt");
}

#[test]
fn plain_mode() {
    let mut vectors =
        Vectors::new("Plain mode: what a UDP payload is. `drop` is neither control nor a frame.");
    for (name, payload) in [
        ("hello", &b"HELLO"[..]),
        ("keepalive", b"KEEPALIVE"),
        ("bye", b"BYE"),
        ("empty", b""),
        ("small-letters", b"hello"),
        ("line-end", b"HELLO\n"),
        ("thirteen", b"HELLOHELLOHEL"),
        ("fourteen-are-a-frame", b"HELLOKEEPALIVE"),
        ("frame", &pattern(60)),
    ] {
        let verdict = match plain::Datagram::parse(payload) {
            Ok(plain::Datagram::Control(_)) => "control",
            Ok(plain::Datagram::Frame(_)) => "frame",
            Err(_) => "drop",
        };
        vectors.block(name, "");
        vectors.bytes(verdict, payload);
    }
    vectors.check("plain.txt");
}

/// The specification says which test shows what. Those tests are there.
#[test]
fn tests_that_the_specification_names_exist() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(repository.join("docs/PROTOCOL.md")).expect("it is there");
    let named = text.split('`').filter_map(|code| code.split_once("::"));
    let folders = [
        "acton-proto/tests",
        "acton-cli/tests",
        "acton-proto/src",
        "acton-cli/src",
        "acton-engine/src",
    ];
    let mut count = 0;
    for (file, function) in named.filter(|(_, function)| *function != "function") {
        let paths = folders.map(|folder| repository.join(folder).join(format!("{file}.rs")));
        let found = paths.iter().find(|path| path.exists());
        let found = found.unwrap_or_else(|| panic!("no file {file}.rs"));
        let code = fs::read_to_string(found).expect("it can be read");
        let there = function == "*" || code.contains(&format!("fn {function}("));
        assert!(there, "no test {file}::{function}");
        count += 1;
    }
    assert!(count > 30, "{count}");
}
