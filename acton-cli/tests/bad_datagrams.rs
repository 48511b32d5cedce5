//! One datagram of each bad kind, at both ends and in both modes: exactly its counter moves.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use acton_proto::client::{Client, ClientConfig};
use acton_proto::handshake::{MacKey, Secret, SystemRandom, public_key};
use acton_proto::server::{AnyClient, Server, ServerConfig};
use acton_proto::session::Keys;
use acton_proto::wire::{
    Control, Datagram, Fragment, HEADER_LEN, Hello, Kind, Reset, TAG_LEN, WELCOME_LEN, Welcome,
};
use support::{
    Acton, CLIENT_MAC, End, HANG, Machine, Mode, PORT, SERVER_MAC, SERVER_V4, SERVER_V6,
    TEST_ETHERTYPE, World, counters, frame, mac, said, wait_until,
};

testbed::main! {
    a_secure_server_counts_each_kind,
    a_secure_client_counts_each_kind,
    a_plain_server_counts_each_kind,
    a_plain_client_counts_each_kind,
    both_ways_of_udp_count_control,
}

/// The reasons to drop and how often each was met. What the host's own kernel sends by the TAP has no
/// part in this.
fn drops(acton: &Acton) -> BTreeMap<String, u64> {
    let log = counters(acton);
    let line = log.lines().rev().find(|line| line.contains("counters: ")).unwrap();
    let values = line.split_whitespace().filter_map(|word| word.split_once('='));
    let dropped = values.filter(|(name, _)| {
        name.starts_with("drop.") && !["drop.no_client", "drop.not_connected"].contains(name)
    });
    dropped.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// Has `send` send datagrams of a kind, each dropped for `reason`, and demands that this is counted
/// and nothing else.
#[track_caller]
fn counts(acton: &Acton, reason: &str, kind: &str, datagrams: &[Vec<u8>], send: &dyn Fn(&[u8])) {
    for datagram in datagrams {
        let mut wanted = drops(acton);
        *wanted.entry(reason.to_owned()).or_default() += 1;
        send(datagram);
        let mut now = BTreeMap::new();
        wait_until(&format!("{kind} is counted as {reason}, among {wanted:?}"), || {
            now = drops(acton);
            now.get(reason) >= wanted.get(reason)
        });
        assert_eq!(now, wanted, "{kind}");
    }
}

/// Bytes of so many, the first as given.
fn bytes(length: usize, first: &[u8]) -> Vec<u8> {
    let mut bytes = vec![7; length];
    bytes[..first.len()].copy_from_slice(first);
    bytes
}

/// Sealed as the holder of the keys seals.
fn sealed(keys: &Keys, now: Duration, kind: Kind, plaintext: &[u8]) -> Vec<u8> {
    let mut datagram = [&[0; HEADER_LEN], plaintext, &[0; TAG_LEN]].concat();
    keys.reserve(now, 1).unwrap().seal(kind, &mut datagram).unwrap();
    datagram
}

const WHOLE: Kind = Kind::Data { fragment: Fragment::WHOLE, partial_checksum: false };

fn piece(index: u8, last: bool) -> Kind {
    Kind::Data { fragment: Fragment { index, last }, partial_checksum: false }
}

/// What is none of acton/1, whichever end gets it.
fn malformed() -> Vec<Vec<u8>> {
    let id = [0, 0, 0, 1];
    let front = |front: [u8; 4]| [front, id].concat();
    vec![
        Vec::new(),
        vec![0x14],
        bytes(60, &[0x00]),
        bytes(60, &[0x17]),
        bytes(60, &[0x21]),
        // Of another size than their type has.
        bytes(167, &front([0x11, 0, 0, 0])),
        bytes(109, &front([0x12, 0, 0, 0])),
        bytes(63, &front([0x13, 0, 0, 0])),
        bytes(32, &front([0x14, 1, 0, 0])),
        bytes(35, &front([0x15, 0, 0, 0])),
        bytes(63, &front([0x16, 0, 0, 0])),
        bytes(17, &front([0x18, 0, 0, 0])),
        // With a reserved bit.
        bytes(168, &front([0x11, 0, 0, 1])),
        bytes(60, &front([0x14, 3, 0, 0])),
        bytes(60, &front([0x15, 1, 0, 0])),
        bytes(80, &front([0x16, 0, 2, 0])),
        // An id of zero, and a piece with a counter below its index.
        bytes(60, &[0x14, 1, 0, 0, 0, 0, 0, 0]),
        bytes(60, &[&front([0x14, 0x21, 0, 0])[..], &[0; 8]].concat()),
    ]
}

/// What the holder of a session's keys should not send, and what others send in his name.
fn of_a_session<M: Machine>(acton: &Acton, end: &End<M>, control: &[Vec<u8>]) {
    let keys = end.machine.keys().unwrap();
    let seal = |kind, plaintext: &[u8]| sealed(&keys, end.now(), kind, plaintext);
    let send = |datagram: &[u8]| end.send(datagram);
    let good = [
        seal(Kind::Control, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        seal(WHOLE, &frame(mac(1), mac(1), TEST_ETHERTYPE, &[0; 40])),
    ];
    let changed = |datagram: &Vec<u8>| {
        let mut datagram = datagram.clone();
        *datagram.last_mut().unwrap() ^= 1;
        datagram
    };
    let strange = |datagram: &Vec<u8>| {
        let mut datagram = datagram.clone();
        datagram[4..8].copy_from_slice(&[9, 9, 9, 8]);
        datagram
    };
    counts(acton, "drop.forged", "a changed datagram", &good.each_ref().map(changed), &send);
    counts(acton, "drop.no_session", "an unknown id", &good.each_ref().map(strange), &send);
    // ECHO with an unknown token, which has no effect; then the same once more.
    end.send(&good[0]);
    counts(acton, "drop.replayed", "a replay", &good[..1], &send);
    let control: Vec<_> = control.iter().map(|message| seal(Kind::Control, message)).collect();
    counts(acton, "drop.bad_control", "odd control", &control, &send);
    let bundle = Kind::Bundle { partial_checksum: false };
    let odd = [
        seal(WHOLE, &[5; 13]),
        seal(WHOLE, &[5; 1_523]),
        seal(bundle, &[&[0, 14][..], &[5; 14], &[0, 13], &[5; 14]].concat()),
    ];
    counts(acton, "drop.bad_frame", "a bad frame", &odd, &send);
    // A last piece that is longer than the others.
    let (first, second) = (seal(piece(0, false), &[5; 20]), seal(piece(1, true), &[5; 30]));
    end.send(&first);
    counts(acton, "drop.bad_piece", "a piece that does not fit", &[second], &send);
    let lone = seal(piece(0, false), &[5; 20]);
    counts(acton, "drop.incomplete_frame", "a piece alone", &[lone], &send);
}

fn a_secure_server_counts_each_kind() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let identity = world.keys.server();
    let mut config = ClientConfig::new(Secret::generate(&mut SystemRandom), identity.public_key);
    config.network_key = Some(identity.network_key.clone());
    let machine = Client::new(config, Box::new(SystemRandom), Duration::ZERO);
    let mut end = End::new(machine, &world.clients[0], 0);
    end.to = Some((SERVER_V4, PORT).into());
    wait_until("there is a session", || {
        end.turn();
        server.log().contains(" up: ")
    });
    let send = |datagram: &[u8]| end.send(datagram);
    counts(&server, "drop.malformed", "a malformed datagram", &malformed(), &send);
    let of_servers = [
        bytes(WELCOME_LEN, &[0x12, 0, 0, 0]),
        bytes(64, &[0x13, 0, 0, 0]),
        Reset { receiver_id: 1, counter: 1 }.encode().to_vec(),
    ];
    counts(&server, "drop.wrong_end", "what a server says", &of_servers, &send);
    let mut hello = Hello { sender_id: 1, noise: [7; 128], mac1: [0; 16], mac2: [0; 16] }.encode();
    counts(&server, "drop.hello_wrong_key", "HELLO without a mac", &[hello.to_vec()], &send);
    MacKey::new(&identity.public_key, Some(&identity.network_key)).sign_hello(&mut hello);
    let unreadable = "HELLO that does not open";
    counts(&server, "drop.hello_unreadable", unreadable, &[hello.to_vec()], &send);
    let mut rekey = Vec::new();
    Control::Rekey.encode(&mut rekey);
    let padded = [&[1, 0, 0, 60][..], &[0; 8]].concat();
    of_a_session(&server, &end, &[rekey, vec![9, 0, 0, 0], vec![1, 0, 0, 0, 0], padded]);
    // The session stands.
    let log = server.log();
    assert!(!log.contains(" down: ") && !log.contains("panicked"), "{log}");
    server.stop();
}

fn a_secure_client_counts_each_kind() {
    let world = World::new(1).speaking(Mode::Secure);
    let identity = world.keys.server();
    let mut config = ServerConfig::new(identity.private_key.clone());
    config.network_key = Some(identity.network_key.clone());
    let machine = Server::new(config, Box::new(AnyClient), Box::new(SystemRandom), Duration::ZERO);
    let mut end = End::new(machine, &world.server, PORT);
    let client = world.start_client(0, "192.0.2.1", &[]);
    // Its first HELLO, which is answered by noise.
    end.socket.set_nonblocking(false).unwrap();
    end.socket.set_read_timeout(Some(HANG)).unwrap();
    let mut buffer = [0; 2_048];
    let (length, from) = end.socket.recv_from(&mut buffer).unwrap();
    end.to = Some(from);
    let Ok(Datagram::Hello(hello)) = Datagram::parse(&buffer[..length]) else { panic!() };
    let welcome =
        |receiver_id| Welcome { receiver_id, sender_id: 9, noise: [7; 80], mac1: [0; 16] };
    let invited = world.keys.client_key(0);
    let mut noise = welcome(hello.sender_id).encode();
    MacKey::new(&public_key(&invited), Some(&identity.network_key)).sign_welcome(&mut noise);
    let send = |datagram: &[u8]| end.send(datagram);
    let unreadable = "WELCOME that does not open";
    counts(&client, "drop.welcome_unreadable", unreadable, &[noise.to_vec()], &send);
    end.socket.set_nonblocking(true).unwrap();
    wait_until("the client has a session", || {
        end.turn();
        client.log().contains(said::CONNECTED) && end.machine.session_count() == 1
    });
    let send = |datagram: &[u8]| end.send(datagram);
    counts(&client, "drop.malformed", "a malformed datagram", &malformed(), &send);
    let hello = bytes(168, &[0x11, 0, 0, 0]);
    counts(&client, "drop.wrong_end", "what a client says", &[hello], &send);
    let stale = [
        welcome(3).encode().to_vec(),
        noise.to_vec(),
        bytes(64, &[0x13, 0, 0, 0]),
        Reset { receiver_id: 1, counter: 1 }.encode().to_vec(),
    ];
    counts(&client, "drop.stale_answer", "an answer to nothing", &stale, &send);
    of_a_session(&client, &end, &[vec![9, 0, 0, 0], vec![2, 0, 0, 0, 0], vec![3, 0, 0, 1]]);
    let log = client.log();
    assert!(!log.contains(said::LOST) && !log.contains("panicked"), "{log}");
    client.stop();
}

fn a_plain_server_counts_each_kind() {
    let world = World::new(2);
    let arguments = ["--listen", "::", "--allow", "192.0.2.10/32", "--allow", "2001:db8::/64"];
    let server = world.serve(&[&arguments[..], &["--max-sessions", "1"]].concat());
    let socket = |i: usize, address: &str| {
        let socket = world.clients[i].run(|| UdpSocket::bind((address, 0))).unwrap();
        socket.connect((SERVER_V4, PORT)).unwrap();
        socket
    };
    let (known, stranger) = (socket(0, "192.0.2.10"), socket(1, "192.0.2.11"));
    known.send(b"HELLO").unwrap();
    server.wait_for(" up: ");
    let via = |socket: &UdpSocket, datagram: &[u8]| {
        socket.send(datagram).unwrap();
    };
    let words = [&b""[..], b"hello", b"KEEPALIVE "].map(<[u8]>::to_vec);
    counts(&server, "drop.unknown_control", "an odd word", &words, &|word| via(&known, word));
    let short = vec![5; 14];
    counts(&server, "drop.no_session", "a stranger's frame", &[short], &|it| via(&stranger, it));
    let hello = b"HELLO".to_vec();
    let hellos = std::slice::from_ref(&hello);
    counts(&server, "drop.not_allowed", "HELLO from elsewhere", hellos, &|it| via(&stranger, it));
    let v6 = world.clients[1].run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
    v6.connect((SERVER_V6, PORT)).unwrap();
    // IPv6 carries 20 bytes more than IPv4.
    counts(&server, "drop.malformed", "a frame too long", &[vec![5; 65_520]], &|it| via(&v6, it));
    counts(&server, "drop.sessions_full", "HELLO too many", hellos, &|it| via(&v6, it));
    server.stop();
}

fn a_plain_client_counts_each_kind() {
    let world = World::new(1);
    let socket = world.server.run(|| UdpSocket::bind((SERVER_V4, PORT))).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    let client = world.start_client(0, "192.0.2.1", &[]);
    let (_, from) = socket.recv_from(&mut [0; 100]).unwrap();
    let send = |datagram: &[u8]| {
        socket.send_to(datagram, from).unwrap();
    };
    let early = frame(CLIENT_MAC, SERVER_MAC, TEST_ETHERTYPE, b"early");
    counts(&client, "drop.no_session", "a frame before there is a session", &[early], &send);
    send(b"HELLO");
    client.wait_for(said::CONNECTED);
    let words = [&b""[..], b"WELCOME", b"HELLO\0"].map(<[u8]>::to_vec);
    counts(&client, "drop.unknown_control", "an odd word", &words, &send);
    counts(&client, "drop.wrong_end", "BYE, which a client says", &[b"BYE".to_vec()], &send);
    client.stop();
}

/// What one end sends is what the other receives, control and all.
fn both_ways_of_udp_count_control() {
    for mode in [Mode::Plain, Mode::Secure] {
        let world = World::new(1).speaking(mode);
        let server = world.serve(&["--keepalive", "1"]);
        let client = world.join(0, &["--keepalive", "1"]);
        let ends = [&server, &client];
        wait_until("both count the same", || {
            let [server, client] = ends.map(counters);
            let pairs = [(&server, &client), (&client, &server)];
            pairs.iter().all(|(from, to)| {
                ["datagrams", "bytes"].iter().all(|what| {
                    let sent = support::counter(from, &format!("udp.sent.{what}"));
                    let received = support::counter(to, &format!("udp.received.{what}"));
                    sent == received && sent > 4
                })
            })
        });
        let log = counters(&client);
        assert!(support::counter(&log, "session.rtt_microseconds") > 0, "{log}");
        if mode == Mode::Secure {
            assert!(support::counter(&log, "handshake.hellos") >= 1, "{log}");
            let log = counters(&server);
            assert_eq!(support::counter(&log, "handshake.welcomed"), 1, "{log}");
        }
    }
}
