//! What an attacker on or off the path can try, and that it changes nothing.

mod secure_rig;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use acton_proto::client::ClientEvent;
use acton_proto::handshake::{CookieKey, Initiator, MacKey, Responder, Secret, Split, public_key};
use acton_proto::server::{Admission, AnyClient, Clients, Path, SessionInfo};
use acton_proto::session::{Keys, Link, REKEY_AFTER, Role, Setup, Suite};
use acton_proto::wire::{
    Caps, Datagram, Header, Hello, HelloPayload, Key, Kind, Refusal, Reset, Suites, Welcome,
    WelcomePayload,
};
use secure_rig::{
    NETWORK, Packet, Rig, SECOND, SERVER_SECRET, Seeded, WALL, client_config, frame, name, path,
    secret, server_config,
};

fn key(n: u8) -> Key {
    public_key(&secret(n))
}

/// What nobody but the two ends may change.
type State = (usize, usize, usize, Vec<(usize, usize, bool)>, Vec<(Path, u32)>);

fn state(rig: &Rig) -> State {
    let stations = rig.stations.iter().map(|station| {
        let change = |e: &&ClientEvent| !matches!(e, ClientEvent::Connecting { .. });
        let changes = station.events.iter().filter(change).count();
        (changes, station.frames.len(), station.client.keys().is_some())
    });
    let session = |s: SessionInfo<'_>| (s.path, s.keys.setup().local_id);
    let paths = rig.server.sessions().map(session).collect();
    (rig.changes(), rig.frames.len(), rig.server.session_count(), stations.collect(), paths)
}

#[test]
fn every_bit_of_every_datagram_counts() {
    flip_every_bit(12_288);
}

#[test]
fn every_bit_counts_of_a_server_under_load() {
    flip_every_bit(0); // Clients have to show a cookie.
}

fn flip_every_bit(cookie_backlog: usize) {
    let mut config = server_config();
    config.cookie_backlog = cookie_backlog;
    let mut rig = Rig::new(config, Box::new(AnyClient));
    rig.add(client_config(10), path(1));
    rig.run(SECOND / 10);
    let index = rig.add(client_config(11), path(2));
    let mut seen: HashMap<(bool, &str), usize> = HashMap::new();
    for round in 0..8 {
        rig.tick();
        let mut packets = VecDeque::from(rig.take_all());
        if rig.stations[index].client.keys().is_some() {
            packets.extend(rig.seal(index, &frame(round, 50)));
            if rig.server.session_count() == 2 {
                packets.extend(rig.seal_back(&key(11), &frame(round, 50)));
            }
        }
        while let Some(packet) = packets.pop_front() {
            let before = state(&rig);
            // Every bit of what is short, every seventh of a padded probe.
            let step = if packet.bytes.len() > 200 { 7 } else { 1 };
            for bit in (0..packet.bytes.len() * 8).step_by(step) {
                let mut bad = packet.bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                if packet.to_server {
                    rig.give_server(packet.path, &bad);
                } else {
                    rig.give_client(index, &bad);
                }
                assert_eq!(state(&rig), before, "bit {bit} of {}", name(&packet.bytes));
                // A wrong cookie may be answered with a right one, an unknown id with RESET.
                for reply in rig.take_server() {
                    let (reply, to) = (name(&reply.bytes), name(&packet.bytes));
                    assert!(matches!(reply, "RETRY" | "RESET"), "{reply} to bit {bit} of {to}");
                }
                assert!(rig.take_client(index).is_empty());
            }
            *seen.entry((packet.to_server, name(&packet.bytes))).or_default() += 1;
            rig.carry(packet);
            packets.extend(rig.take_all());
        }
        rig.now += SECOND / 10;
    }
    for kind in [
        (true, "HELLO"),
        (false, "WELCOME"),
        (false, "RETRY"),
        (true, "CONTROL"),
        (false, "CONTROL"),
        (true, "DATA"),
        (false, "DATA"),
    ] {
        let expected = kind.1 != "RETRY" || cookie_backlog == 0;
        assert_eq!(seen.contains_key(&kind), expected, "{kind:?}");
    }
    rig.run(SECOND);
    rig.assert_works(index, &key(11));
}

/// Some minutes of a client's life: traffic, rekeys, a move.
fn recorded() -> Rig {
    let mut rig = Rig::connected();
    for second in 0..300_u16 {
        if second == 200 {
            rig.stations[0].path = path(2);
        }
        let (up, down) = (rig.seal(0, &frame(1, 100)), rig.seal_back(&key(10), &frame(2, 1514)));
        up.into_iter().chain(down).for_each(|packet| rig.carry(packet));
        rig.run(SECOND);
    }
    assert!(rig.wire.len() > 900);
    rig
}

#[test]
fn a_capture_replayed_changes_nothing() {
    let mut rig = recorded();
    let capture = std::mem::take(&mut rig.wire);
    let before = state(&rig);
    for turn in 0..4_u16 {
        for packet in &capture {
            if packet.to_server {
                // From where it came, and from elsewhere.
                let from = if turn % 2 == 0 { packet.path } else { path(1000 + turn) };
                assert_eq!(rig.give_server(from, &packet.bytes), None);
            } else {
                assert_eq!(rig.give_client(0, &packet.bytes), None);
            }
        }
        assert_eq!(state(&rig), before, "turn {turn}");
        rig.take_all();
    }
    rig.wire.clear();
    rig.run(SECOND * 5);
    assert_eq!(state(&rig), before);
    rig.assert_works(0, &key(10));
}

#[test]
fn replayed_hellos_do_not_keep_the_client_from_its_new_keys() {
    let mut rig = recorded();
    let hellos: Vec<Packet> =
        rig.wire.iter().filter(|packet| name(&packet.bytes) == "HELLO").cloned().collect();
    assert!(hellos.len() >= 3);
    let mut hellos: Vec<Vec<u8>> = hellos.into_iter().map(|packet| packet.bytes).collect();
    // And many of earlier processes: oldest first, so that each may take the place of the last.
    let mut rng = Seeded(4);
    hellos.splice(0..0, (1..30).map(|n| make_hello(&secret(10), n, n.into(), &mut rng).to_vec()));
    let end = rig.now + REKEY_AFTER * 2;
    let rekeyed = |rig: &Rig| rig.stations[0].client.keys().unwrap().setup().born;
    let (before, mut turn) = (rekeyed(&rig), 0_u32);
    let said = rig.stations[0].client.stats().hellos;
    while rig.now < end {
        for hello in &hellos {
            // From ever other addresses, so that no limit of a source stops them.
            turn += 1;
            let mut from = path(2000);
            from.remote.set_ip([203, 0, 113, (turn % 250) as u8].into());
            rig.give_server(from, hello);
        }
        // Keys that carry frames are replaced soonest.
        rig.assert_works(0, &key(10));
        rig.run(SECOND / 4);
    }
    assert!(rekeyed(&rig) > before + REKEY_AFTER);
    // Two rekeys, or three by a hair: each at the first try, or at the second with a cookie.
    let said = rig.stations[0].client.stats().hellos - said;
    assert!((2..=6).contains(&said), "{said} HELLO");
    let down = |e: &ClientEvent| matches!(e, ClientEvent::Disconnected { .. });
    assert!(!rig.stations[0].events.iter().any(down));
    rig.assert_works(0, &key(10));
}

#[test]
fn a_copied_hello_moves_no_session() {
    let stranger = path(666);
    // A copy of the first HELLO, and of a rekey's, comes ahead of the client's own or after it.
    for (ahead, rekey) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut rig = Rig::new(server_config(), Box::new(AnyClient));
        rig.add(client_config(10), path(1));
        if rekey {
            rig.run(SECOND);
            rig.assert_works(0, &key(10));
            rig.now += REKEY_AFTER;
        }
        rig.tick();
        let (mut came, mut went, mut retries) = (0, 0, 0);
        for _ in 0..50 {
            for packet in rig.take_all() {
                retries += usize::from(name(&packet.bytes) == "RETRY");
                if packet.path == stranger {
                    went += packet.bytes.len();
                    assert!(went <= came, "{went} bytes for {came}");
                    continue;
                }
                let bytes = packet.bytes.clone();
                let copied = packet.to_server;
                if copied && ahead {
                    rig.give_server(stranger, &bytes);
                }
                rig.carry(packet);
                if copied && !ahead {
                    rig.give_server(stranger, &bytes);
                }
                came += if copied { bytes.len() } else { 0 };
                let there = rig.server.sessions().all(|session| session.path == path(1));
                assert!(there, "ahead {ahead}, rekey {rekey}");
            }
            rig.now += SECOND / 50;
            rig.tick();
        }
        assert!(retries > 0);
        assert_eq!(rig.server.session_count(), 1);
        rig.assert_works(0, &key(10));
        let keys = rig.stations[0].client.keys().expect("a session");
        assert!(keys.setup().born + SECOND * 2 > rig.now, "new keys at once");
    }
}

#[test]
fn nobody_gets_more_bytes_than_came_from_its_address() {
    let mut answered = 0;
    for seed in 0..20 {
        let mut rng = Seeded(seed);
        let mut config = server_config();
        if seed % 2 == 0 {
            config.cookie_backlog = 0;
        }
        let mut rig = Rig::new(config, Box::new(AnyClient));
        rig.add(client_config(10), path(1));
        rig.run(SECOND);
        let mut ledger: HashMap<Path, (usize, usize)> = HashMap::new();
        for step in 0..600 {
            let from = path(1000 + rng.below(40) as u16);
            // A datagram of a capture, one that the attacker kept from arriving, or noise.
            let mut bytes = match rng.below(4) {
                0 => {
                    let some = rng.below(rig.wire.len());
                    rig.wire[some].bytes.clone()
                }
                1 => {
                    let len = 14 + rng.below(300);
                    rig.seal(0, &frame(step as u8, len)).remove(0).bytes
                }
                2 => {
                    rig.stations[0].client.handle_network_change(rig.now);
                    let packets = rig.take_client(0);
                    packets.last().map_or(vec![0x15; 40], |packet| packet.bytes.clone())
                }
                _ => {
                    let len = rng.below(200);
                    (0..len).map(|_| rng.next() as u8).collect()
                }
            };
            if rng.below(3) == 0 && !bytes.is_empty() {
                match rng.below(3) {
                    0 => bytes.truncate(rng.below(bytes.len())),
                    1 => bytes.extend([0; 9]),
                    _ => {
                        let at = rng.below(bytes.len());
                        bytes[at] ^= 1 << rng.below(8);
                    }
                }
            }
            ledger.entry(from).or_default().0 += bytes.len();
            rig.give_server(from, &bytes);
            rig.now += Duration::from_millis(rng.below(300) as u64);
            rig.server.handle_timeout(rig.now);
            for packet in rig.take_server() {
                if packet.path != path(1) {
                    ledger.entry(packet.path).or_default().1 += packet.bytes.len();
                }
            }
            for (path, (came, went)) in &ledger {
                assert!(went <= came, "seed {seed}: {went} bytes to {path:?} for {came}");
            }
        }
        answered += ledger.values().filter(|(_, went)| *went > 0).count();
        assert_eq!(rig.server.session_count(), 1, "seed {seed}");
        assert_eq!(rig.server.sessions().next().unwrap().path, path(1), "seed {seed}");
    }
    assert!(answered > 100, "the attacker was answered at {answered} addresses");
}

#[test]
fn forged_bye_reset_and_icmp_tear_nothing_down() {
    let mut rig = Rig::connected();
    let end = rig.now + SECOND * 60;
    let mut rng = Seeded(3);
    let hellos = rig.stations[0].client.stats().hellos;
    let mut frames = 0;
    while rig.now < end {
        let setup = *rig.stations[0].client.keys().unwrap().setup();
        let reset = Reset { receiver_id: setup.remote_id, counter: 0 };
        for (to_server, id) in [(true, setup.remote_id), (false, setup.local_id)] {
            // The attacker knows ids and counters, not keys.
            let counter = rng.next() % 10_000;
            let header = Header { kind: Kind::Control, receiver_id: id, counter };
            let mut bye = header.encode().to_vec();
            bye.extend([3, 0, 0, 1, 0, 0, 0, 0]);
            bye.extend((0..16).map(|_| rng.next() as u8));
            if to_server {
                rig.give_server(path(1), &bye);
            } else {
                rig.give_client(0, &bye);
            }
        }
        rig.give_client(0, &reset.encode());
        rig.stations[0].client.handle_network_error(rig.now);
        rig.seal(0, &frame(1, 60)).into_iter().for_each(|packet| rig.carry(packet));
        frames += 1;
        rig.run(Duration::from_millis(20));
    }
    assert_eq!(rig.frames.len(), frames, "no frame is lost");
    let down = |e: &ClientEvent| matches!(e, ClientEvent::Disconnected { .. });
    assert!(!rig.stations[0].events.iter().any(down));
    assert_eq!(rig.server.session_count(), 1);
    let hellos = rig.stations[0].client.stats().hellos - hellos;
    assert!(hellos <= 13, "{hellos} HELLO in a minute");
}

#[test]
fn a_flood_of_hello_is_bounded_and_lets_others_in() {
    let mut config = server_config();
    config.max_pending = 64;
    let mut rig = Rig::new(config, Box::new(AnyClient));
    rig.add(client_config(10), path(1));
    rig.run(SECOND);
    // Whoever floods knows the network key and has many keys and addresses.
    let mut rng = Seeded(5);
    let mut joined = None;
    for step in 0..3000_u32 {
        let n = (step % 200) as u8;
        let stranger = Secret::generate(&mut rng);
        let hello = make_hello(&stranger, step + 1, u64::from(step), &mut rng);
        let mut from = path(5000 + (step % 60_000) as u16 / 2);
        from.remote.set_ip([203, 0, 113, n].into());
        rig.give_server(from, &hello);
        assert!(rig.server.pending_count() <= 64);
        rig.take_server().into_iter().filter(|p| p.path.remote.port() < 5000).for_each(|packet| {
            rig.carry(packet);
        });
        if step == 1000 {
            joined = Some(rig.add(client_config(11), path(2)));
        }
        if step % 5 == 0 {
            rig.now += Duration::from_millis(1);
            rig.tick();
            for index in 0..rig.stations.len() {
                rig.take_client(index).into_iter().for_each(|packet| rig.carry(packet));
            }
        }
    }
    let stats = rig.server.stats();
    assert!(stats.retries > 2000, "{stats:?}");
    let joined = joined.unwrap();
    assert!(rig.stations[joined].client.keys().is_some(), "shown a cookie, let in");
    rig.assert_works(0, &key(10));
    rig.assert_works(joined, &key(11));
    rig.run(SECOND * 6);
    assert_eq!(rig.server.pending_count(), 0);
}

/// A HELLO of the client with this key, with a timestamp of its own choice.
fn make_hello(client: &Secret, id: u32, timestamp: u64, rng: &mut Seeded) -> [u8; 168] {
    let payload = hello_payload(Suites(3), timestamp).encode();
    let (server, psk) = (key(SERVER_SECRET), secret(NETWORK));
    let (_, noise) = Initiator::new(client, &server, &psk, &payload, rng).expect("good keys");
    let mut hello = Hello { sender_id: id, noise, mac1: [0; 16], mac2: [0; 16] }.encode();
    MacKey::new(&server, Some(&psk)).sign_hello(&mut hello);
    hello
}

#[test]
fn keys_to_be_confirmed_are_few_and_the_newest_stay() {
    let mut config = server_config();
    config.max_pending = 8;
    let mut rig = Rig::new(config, Box::new(AnyClient));
    let mut rng = Seeded(9);
    let cookies = CookieKey::new(&key(SERVER_SECRET), Some(&secret(NETWORK)));
    // Strangers with the network key who do receive at their addresses, but never confirm.
    for step in 0..60_u16 {
        let stranger = Secret::generate(&mut rng);
        let mut hello = make_hello(&stranger, u32::from(step) + 1, 1, &mut rng);
        rig.give_server(path(9000 + step), &hello);
        let mut answer = rig.take_server().remove(0);
        if let Ok(Datagram::Retry(retry)) = Datagram::parse(&answer.bytes) {
            let mac1 = *hello[136..].first_chunk().expect("mac1");
            cookies.open(&retry, &mac1).expect("a cookie").sign_hello(&mut hello);
            rig.give_server(path(9000 + step), &hello);
            answer = rig.take_server().remove(0);
        }
        assert_eq!(name(&answer.bytes), "WELCOME", "{step}");
        assert_eq!(rig.server.pending_count(), usize::from(step + 1).min(8));
    }
    rig.add(client_config(10), path(1));
    rig.settle();
    rig.tick();
    rig.settle();
    rig.assert_works(0, &key(10));
    rig.run(SECOND * 6);
    assert_eq!((rig.server.pending_count(), rig.server.session_count()), (0, 1));
}

#[test]
fn one_client_makes_one_handshake_a_second() {
    let mut rig = Rig::connected();
    let mut rng = Seeded(8);
    let before = rig.server.stats();
    for step in 0..1000_u32 {
        // Ever newer, from ever other addresses.
        let hello = make_hello(&secret(10), step + 1, rig.wall() + (1 << 60), &mut rng);
        let mut from = path(7000);
        from.remote.set_ip([203, 0, 113, (step % 250) as u8].into());
        rig.give_server(from, &hello);
        rig.take_server();
        rig.now += SECOND / 100;
        rig.server.handle_timeout(rig.now);
    }
    let made = rig.server.stats().welcomed - before.welcomed;
    assert!((10..=16).contains(&made), "{made} in ten seconds");
    assert_eq!(rig.server.session_count(), 1);
}

#[test]
fn an_older_hello_does_not_take_the_place_of_a_newer_one() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    let mut rng = Seeded(8);
    let older = make_hello(&secret(10), 1, 5, &mut rng);
    let newer = make_hello(&secret(10), 2, 6, &mut rng);
    rig.give_server(path(1), &newer);
    assert_eq!(rig.take_server().len(), 1);
    rig.give_server(path(1), &older);
    let asked = rig.take_server();
    assert_eq!(asked.len(), 1);
    assert_eq!(name(&asked[0].bytes), "RETRY");
    // A repeated one gets the very same answer, and costs no handshake.
    rig.give_server(path(1), &newer);
    let again = rig.take_server();
    rig.give_server(path(1), &newer);
    assert_eq!(again[0].bytes, rig.take_server()[0].bytes);
    assert_eq!((rig.server.stats().welcomed, rig.server.stats().repeated), (1, 2));
    rig.run(SECOND * 6);
    // With the slot empty an old clock is no hindrance.
    rig.give_server(path(1), &older);
    assert_eq!(rig.take_server().len(), 1);
}

/// One that was heard when the client's clock was an hour ahead.
fn hello_from_the_future() -> [u8; 168] {
    make_hello(&secret(10), 5, WALL + 3_600_000_000_000, &mut Seeded(4))
}

#[test]
fn a_replay_from_the_future_locks_nobody_out() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    rig.run(SECOND * 200);
    rig.add(client_config(10), path(1));
    let mut elsewhere = path(666);
    elsewhere.remote.set_ip([203, 0, 113, 9].into());
    for _ in 0..100 {
        rig.give_server(elsewhere, &hello_from_the_future());
        rig.take_server();
        rig.run(SECOND / 10);
    }
    assert_eq!(rig.server.session_count(), 1, "{:?}", rig.server.stats());
}

#[test]
fn a_replay_from_the_future_keeps_no_session_from_its_rekey() {
    let mut rig = Rig::connected();
    for _ in 0..3000 {
        rig.give_server(path(666), &hello_from_the_future());
        rig.run(SECOND / 10);
    }
    let is_down = |event: &ClientEvent| matches!(event, ClientEvent::Disconnected { .. });
    assert!(!rig.stations[0].events.iter().any(is_down));
    rig.assert_works(0, &key(10));
}

fn hello_payload(suites: Suites, timestamp: u64) -> HelloPayload {
    HelloPayload {
        version_min: 1,
        version_max: 1,
        suites,
        caps: Caps::ALL,
        instance: 1,
        timestamp,
        max_frame: 1514,
        pmtu: 1472,
        keepalive: 15,
    }
}

/// A WELCOME from somebody with the server's key and the network key, but no psk of the client's.
fn make_welcome(hello: &[u8], payload: &WelcomePayload, rng: &mut Seeded) -> [u8; 108] {
    let Ok(Datagram::Hello(hello)) = Datagram::parse(hello) else { panic!("a HELLO") };
    let responder = Responder::new(&secret(SERVER_SECRET), &hello.noise, rng).expect("it opens");
    let client = *responder.client();
    let (noise, _) = responder.finish(&secret(NETWORK), &payload.encode()).expect("good keys");
    let welcome = Welcome { receiver_id: hello.sender_id, sender_id: 9, noise, mac1: [0; 16] };
    let mut welcome = welcome.encode();
    MacKey::new(&client, Some(&secret(NETWORK))).sign_welcome(&mut welcome);
    welcome
}

fn welcome_payload(version: u8, suite: u8, refusal: Option<Refusal>) -> WelcomePayload {
    WelcomePayload {
        version,
        suite,
        refusal,
        caps: Caps::ALL,
        max_frame: 1514,
        pmtu: 1472,
        keepalive: 15,
        dead_after: 50,
        instance: 1,
        time: WALL,
    }
}

/// Admits all, each under the same psk of its own.
struct WithPsk(u8);

impl Clients for WithPsk {
    fn admit(&self, _: &Key) -> Option<Admission> {
        Some(Admission { psk: Some(secret(self.0)), listed: true })
    }
}

#[test]
fn a_refusal_without_the_psk_is_news_and_nothing_more() {
    let mut rig = Rig::new(server_config(), Box::new(WithPsk(77)));
    let mut config = client_config(10);
    config.psk = Some(secret(77));
    rig.add(config, path(1));
    rig.tick();
    let hello = rig.take_client(0).remove(0);
    let due = rig.stations[0].client.poll_timeout();
    let mut rng = Seeded(1);
    let refused = |rig: &Rig| {
        let refused = |e: &&ClientEvent| matches!(e, ClientEvent::Refused { .. });
        rig.stations[0].events.iter().filter(refused).count()
    };
    // A session without the psk is none; a refusal is told, at most once a HELLO.
    for refusal in [Some(Refusal::NotAuthorised), None, Some(Refusal::Full)] {
        let suite = if refusal.is_some() { 0 } else { 1 };
        let welcome = make_welcome(&hello.bytes, &welcome_payload(1, suite, refusal), &mut rng);
        rig.give_client(0, &welcome);
        assert_eq!(refused(&rig), 1);
        assert!(rig.stations[0].client.keys().is_none());
        assert!(rig.take_client(0).is_empty());
        assert_eq!(rig.stations[0].client.poll_timeout(), due);
    }
    // The same HELLO still gets its answer.
    rig.carry(hello);
    rig.settle();
    rig.assert_works(0, &key(10));
}

#[test]
fn nobody_in_the_middle_chooses_the_suite_or_the_version() {
    // A HELLO of an earlier process that offered less, held back and sent now.
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    let mut weak = client_config(10);
    weak.suites = Suites::CHACHA20_POLY1305;
    rig.add(weak, path(1));
    rig.tick();
    let old = rig.take_client(0);
    rig.stations[0].on = false;
    rig.now += SECOND;
    let index = rig.add(client_config(10), path(1));
    rig.give_server(path(1), &old[0].bytes);
    let welcome = rig.take_server();
    rig.give_client(index, &welcome[0].bytes);
    rig.run(SECOND);
    assert_eq!(rig.stations[index].client.keys().unwrap().setup().suite, Suite::Aes256Gcm);

    // Even the server's key cannot make a client use what it did not offer.
    for (version, suite, expected) in
        [(1, 2, Refusal::Suite), (1, 3, Refusal::Suite), (2, 1, Refusal::Version)]
    {
        let mut rig = Rig::new(server_config(), Box::new(AnyClient));
        let mut weak = client_config(10);
        weak.suites = Suites::CHACHA20_POLY1305;
        rig.add(weak, path(1));
        rig.tick();
        let hello = rig.take_client(0).remove(0);
        let payload = welcome_payload(version, suite, None);
        let welcome = make_welcome(&hello.bytes, &payload, &mut Seeded(1));
        rig.give_client(0, &welcome);
        assert!(rig.stations[0].client.keys().is_none());
        let refused =
            |e: &ClientEvent| matches!(e, ClientEvent::Refused { reason } if *reason == expected);
        assert!(rig.stations[0].events.iter().any(refused));
    }

    // The plain protocol is not spoken.
    let mut rig = Rig::connected();
    let before = state(&rig);
    for plain in [&b"HELLO"[..], b"KEEPALIVE", b"BYE", &frame(0, 60)] {
        rig.give_server(path(1), plain);
        rig.give_client(0, plain);
    }
    assert_eq!(state(&rig), before);
    assert!(rig.take_all().is_empty());
}

#[test]
fn a_recording_and_the_static_keys_do_not_decrypt() {
    let mut rig = Rig::connected();
    let datagram = rig.seal(0, &frame(7, 100)).remove(0).bytes;
    let find = |kind| rig.wire.iter().find(|packet| name(&packet.bytes) == kind).unwrap();
    let (hello, welcome) = (find("HELLO"), find("WELCOME"));
    let Ok(Datagram::Hello(hello)) = Datagram::parse(&hello.bytes) else { panic!("HELLO") };
    let Ok(Datagram::Welcome(welcome)) = Datagram::parse(&welcome.bytes) else { panic!("WELCOME") };
    let Ok(Datagram::Sealed(header)) = Datagram::parse(&datagram) else { panic!("DATA") };
    let opens = |split: &Split| {
        let setup = Setup {
            suite: Suite::Aes256Gcm,
            local_id: welcome.sender_id,
            remote_id: hello.sender_id,
            caps: Caps::ALL,
            max_frame: 1514,
            born: rig.now,
        };
        let keys = Keys::new(Role::Server, split, &setup, Arc::new(Link::new(rig.now)));
        keys.open(rig.now, &header, &mut datagram.clone()).is_ok()
    };
    // All three long-lived secrets, but not the ephemeral ones.
    let payload =
        *Responder::new(&secret(SERVER_SECRET), &hello.noise, &mut Seeded(1)).unwrap().payload();
    for seed in 0..20 {
        let mut rng = Seeded(seed * 1000);
        let responder = Responder::new(&secret(SERVER_SECRET), &hello.noise, &mut rng).unwrap();
        let (_, split) = responder.finish(&secret(NETWORK), &payload).unwrap();
        assert!(!opens(&split));
        let (mut initiator, _) =
            Initiator::new(&secret(10), &key(SERVER_SECRET), &secret(NETWORK), &payload, &mut rng)
                .unwrap();
        assert!(initiator.finish(&welcome.noise).is_err());
    }
}
