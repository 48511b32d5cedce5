//! What each end knows of a session, and that it is so.

mod secure_rig;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use acton_proto::client::{ClientEvent, DownReason as ClientDown};
use acton_proto::handshake::public_key;
use acton_proto::server::{AnyClient, DownReason};
use acton_proto::session::{Keys, LinkState, LinkStatistics, REKEY_AFTER};
use acton_proto::wire::{
    Bye, Caps, Control, Delivery, ECHO_LEN, HEADER_LEN, Header, Key, Kind, PROBE_ETHERTYPE,
    PROBE_GROUP, PROBE_LEN, PROBE_MAGIC, REPORT_LEN, Report, ReportRole, TAG_LEN, Version,
};
use secure_rig::{
    Packet, Rig, SECOND, Seeded, client_config, frame, name, path, secret, server_config,
};

/// What a peer of a version before REPORT offers.
const OLD: Caps = Caps(Caps::FRAG.0 | Caps::CSUM.0 | Caps::BUNDLE.0);

fn key(n: u8) -> Key {
    public_key(&secret(n))
}

fn of_client(rig: &Rig) -> LinkStatistics {
    rig.stations[0].client.statistics(rig.now).expect("a session")
}

fn of_server(rig: &Rig) -> LinkStatistics {
    let id = rig.server.sessions().next().expect("a session").id;
    rig.server.session_statistics(rig.now, id).expect("a session")
}

fn is_report(packet: &Packet) -> bool {
    name(&packet.bytes) == "CONTROL" && packet.bytes.len() == REPORT_LEN
}

/// REPORT each way that crossed the wire.
fn reports(rig: &Rig) -> (usize, usize) {
    let said = |up| rig.wire.iter().filter(|p| p.to_server == up && is_report(p)).count();
    (said(true), said(false))
}

#[test]
fn after_a_round_trip_each_end_knows_of_the_other() {
    let rig = Rig::connected();
    let (client, server) = (of_client(&rig), of_server(&rig));
    for end in [client, server] {
        assert_eq!(end.state, LinkState::Up);
        assert_eq!(end.peer_version, Some(Version::THIS));
        assert!(end.caps.contains(Caps::REPORT));
        assert_eq!((end.rekeys, end.roams), (0, 0));
    }
    assert_eq!(client.suite, server.suite);
    assert_ne!(client.peer_instance, server.peer_instance);
    assert_eq!(client.to_peer.expect("reported").lost(), 0);
    assert!(client.rtt.is_some());
    assert_eq!(Version::THIS.to_string(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_paths_of_both_directions_and_round_trips_are_known_at_both_ends() {
    let mut rig = Rig::connected();
    rig.mtu = 1400;
    rig.run(SECOND * 60);
    rig.wire.clear();
    // A slow wire, 30 ms each way.
    for turn in 0..30 {
        rig.run(SECOND);
        rig.tick();
        let (now, wall) = (rig.now, rig.wall());
        rig.stations[0].client.handle_timeout(now, wall);
        if turn % 5 == 0 {
            // As a change of the network, so that it asks at once.
            rig.stations[0].client.handle_network_change(now);
        }
        for _ in 0..2 {
            let flying = rig.take_all();
            rig.now += Duration::from_millis(30);
            flying.into_iter().for_each(|packet| rig.carry(packet));
        }
    }
    rig.run(SECOND * 40);
    let (client, server) = (of_client(&rig), of_server(&rig));
    assert_eq!(client.peer_path_mtu, Some(server.path_mtu));
    assert_eq!(server.peer_path_mtu, Some(client.path_mtu));
    assert_eq!(client.roams, 6);
    let rtt = server.rtt.expect("reported");
    let known = client.rtt.expect("measured");
    assert!(rtt.min <= rtt.smoothed, "{rtt:?}");
    assert!(
        known.smoothed <= Duration::from_millis(60) && rtt.smoothed <= Duration::from_millis(60)
    );
}

#[test]
fn an_old_peer_is_told_nothing_and_nothing_breaks() {
    for old_server in [true, false] {
        let (mut ours, mut theirs) = (client_config(10), server_config());
        *(if old_server { &mut theirs.caps } else { &mut ours.caps }) = OLD;
        let mut rig = Rig::new(theirs, Box::new(AnyClient));
        rig.add(ours, path(1));
        for _ in 0..400 {
            rig.run(SECOND);
            rig.assert_works(0, &key(10));
        }
        rig.run(SECOND * 400);
        assert_eq!(reports(&rig), (0, 0));
        assert_eq!(rig.stations[0].client.stats().sealed.bad_control, 0);
        assert_eq!(rig.server.stats().sealed.bad_control, 0);
        let (client, server) = (of_client(&rig), of_server(&rig));
        for end in [client, server] {
            assert_eq!(end.state, LinkState::Up);
            let unknown = (end.to_peer, end.peer_path_mtu, end.peer_version, end.reported);
            assert_eq!(unknown, (None, None, None, None));
            assert!(end.from_peer.received > 400);
        }
        assert!(client.rtt.is_some() && server.rtt.is_none());
    }
}

#[test]
fn a_version_that_is_kept_back_is_not_known() {
    let (mut ours, mut theirs) = (client_config(10), server_config());
    let version = Version { major: 3, minor: 14, patch: 159 };
    (ours.version, theirs.version) = (None, Some(version));
    let mut rig = Rig::new(theirs, Box::new(AnyClient));
    rig.add(ours, path(1));
    rig.run(SECOND);
    assert_eq!(of_client(&rig).peer_version, Some(version));
    assert_eq!(of_server(&rig).peer_version, None);
    assert!(of_server(&rig).reported.is_some());
}

#[test]
fn a_report_is_said_every_keepalive_interval_whatever_else_is() {
    for busy in [false, true] {
        let mut rig = Rig::connected();
        rig.wire.clear();
        for _ in 0..60 {
            rig.run(SECOND);
            if busy {
                rig.assert_works(0, &key(10));
            }
        }
        // Every 15 s, 10 % more or less; each is answered once.
        let (up, down) = reports(&rig);
        assert!((3..=5).contains(&up), "{up}");
        assert_eq!(up, down);
        // And nothing else of that kind: one datagram does for both.
        let echo = |packet: &&Packet| packet.bytes.len() == ECHO_LEN;
        assert_eq!(rig.wire.iter().filter(echo).count(), 0);
    }
}

/// What the network delivered in one direction, told from the datagrams' headers alone.
#[derive(Default)]
struct Observed {
    came: HashMap<u32, HashSet<u64>>,
    dropped: u64,
}

impl Observed {
    fn delivery(&self) -> Delivery {
        let expected = |came: &HashSet<u64>| came.iter().max().map_or(0, |top| top + 1);
        Delivery {
            expected: self.came.values().map(expected).sum(),
            received: self.came.values().map(|came| came.len() as u64).sum(),
        }
    }
}

#[test]
fn the_loss_that_is_shown_is_the_loss_of_the_network() {
    let mut rig = Rig::connected();
    // What came before is known to both ends.
    let before = (of_server(&rig).from_peer, of_client(&rig).from_peer);
    let (mut up, mut down) = (Observed::default(), Observed::default());
    for packet in &rig.wire {
        let Ok(header) = Header::parse(&packet.bytes) else { continue };
        let way = if packet.to_server { &mut up } else { &mut down };
        way.came.entry(header.receiver_id).or_default().insert(header.counter);
    }
    assert_eq!((up.delivery(), down.delivery()), before);

    let (mut rng, mut held) = (Seeded(5), Vec::new());
    let end = rig.now + REKEY_AFTER * 4;
    while rig.now < end {
        rig.tick();
        let mut packets = std::mem::take(&mut held);
        packets.extend(rig.take_all().into_iter().map(|packet| (packet, true)));
        for (up, n) in [(true, 3), (false, 2)] {
            for _ in 0..n {
                let frame = frame(7, 60 + rng.below(1400));
                let sealed = if up { rig.seal(0, &frame) } else { rig.seal_back(&key(10), &frame) };
                packets.extend(sealed.into_iter().map(|packet| (packet, true)));
            }
        }
        for (packet, new) in packets {
            let way = if packet.to_server { &mut up } else { &mut down };
            let header = Header::parse(&packet.bytes);
            // The last minute is a clean one, so that all that was lost shows.
            let clean = header.is_err() || rig.now + SECOND * 60 > end;
            match rng.below(if packet.to_server { 10 } else { 20 }) {
                0 if new && !clean => way.dropped += 1,
                1 if new && !clean => held.push((packet, false)),
                choice => {
                    if let Ok(header) = header {
                        way.came.entry(header.receiver_id).or_default().insert(header.counter);
                    }
                    rig.carry(packet.clone());
                    if choice == 2 {
                        rig.carry(packet);
                    }
                }
            }
        }
        rig.now += SECOND / 20;
    }
    let (client, server) = (of_client(&rig), of_server(&rig));
    assert!(client.rekeys >= 4 && server.rekeys == client.rekeys);
    assert_eq!(server.from_peer, up.delivery());
    assert_eq!(client.from_peer, down.delivery());
    // The other end's word is up to a keepalive interval old.
    for (told, seen) in [(client.to_peer, up.delivery()), (server.to_peer, down.delivery())] {
        let told = told.expect("reported");
        assert_eq!(told.lost(), seen.lost());
        assert!(seen.since(told).received < 20 * 17 * 3, "{told:?} of {seen:?}");
    }
    // Lost is what was dropped, but for what came last under keys that were replaced.
    for (seen, dropped) in [(up.delivery(), up.dropped), (down.delivery(), down.dropped)] {
        assert!(dropped > 500 && seen.lost() <= dropped, "{seen:?}, {dropped} dropped");
        assert!(dropped - seen.lost() <= 2 * client.rekeys, "{seen:?}, {dropped} dropped");
    }
    assert!(up.delivery().lost() > down.delivery().lost());
}

#[test]
fn a_client_that_begins_anew_takes_nothing_of_the_counts_back() {
    let mut rig = Rig::connected();
    for _ in 0..20 {
        rig.assert_works(0, &key(10));
        rig.run(SECOND);
    }
    let before = of_server(&rig);
    // The client loses the session, and the server does not.
    rig.stations[0].on = false;
    while rig.stations[0].client.keys().is_some() {
        rig.now += SECOND / 2;
        let (now, wall) = (rig.now, rig.wall());
        rig.stations[0].client.handle_timeout(now, wall);
        rig.take_client(0);
    }
    let end = rig.stations[0].client.last_end().expect("it ended");
    assert_eq!(end.reason, ClientDown::Timeout);
    assert!(end.since < end.until && end.until <= rig.now);
    assert_eq!(rig.stations[0].client.statistics(rig.now), None);
    rig.stations[0].on = true;
    rig.run(SECOND * 20);
    let after = of_server(&rig);
    assert_eq!((after.since, after.state), (before.since, LinkState::Up));
    assert!(after.to_peer.unwrap().received > before.to_peer.unwrap().received);
    assert!(after.to_peer.unwrap().expected > before.to_peer.unwrap().expected);
    assert!(of_client(&rig).from_peer.received < before.to_peer.unwrap().received);
}

#[test]
fn nobody_is_up_who_was_not_heard_in_time() {
    let mut rig = Rig::connected();
    rig.run(SECOND);
    rig.stations[0].on = false;
    let (client_at, server_at) = (of_client(&rig).last_received, of_server(&rig).last_received);
    let mut states = Vec::new();
    for _ in 0..600 {
        rig.now += SECOND / 10;
        let (now, wall) = (rig.now, rig.wall());
        let id = rig.server.sessions().next().map(|session| session.id);
        let server = id.and_then(|id| rig.server.session_statistics(now, id));
        let client = rig.stations[0].client.statistics(now);
        for (end, heard) in [(client, client_at), (server, server_at)] {
            let Some(end) = end else { continue };
            assert_eq!(end.last_received, heard);
            let silent = now - heard;
            // 15 s, 10 % of it, and one more.
            let overdue = silent >= Duration::from_millis(17_500);
            assert_eq!(end.state == LinkState::Up, !overdue, "{silent:?}: {end:?}");
            assert!(end.state_since <= now);
            states.push(end.state);
        }
        rig.server.handle_timeout(now);
        rig.take_server();
        rig.stations[0].client.handle_timeout(now, wall);
        rig.take_client(0);
    }
    assert!(states.contains(&LinkState::Quiet));
    assert_eq!(rig.stations[0].client.last_end().unwrap().reason, ClientDown::Timeout);
    let end = rig.server.last_end(&key(10)).expect("it ended");
    assert_eq!(end.reason, DownReason::Timeout);
    assert!((49..52).contains(&(end.until - server_at).as_secs()), "{end:?}");
    assert_eq!(rig.server.last_end(&key(11)), None);
}

#[test]
fn a_session_whose_time_is_over_is_lost_before_a_timer_says_so() {
    let mut rig = Rig::connected();
    let id = rig.server.sessions().next().unwrap().id;
    rig.now += SECOND * 51;
    let server = rig.server.session_statistics(rig.now, id).unwrap();
    assert_eq!(server.state, LinkState::Lost);
    assert_eq!(server.state_since, server.last_received + SECOND * 50);
    rig.now += SECOND * 850;
    assert_eq!(of_client(&rig).state, LinkState::Lost);
}

#[test]
fn how_a_session_ended_is_remembered_at_both_ends() {
    let mut rig = Rig::connected();
    let now = rig.now;
    assert!(rig.server.remove(now, &key(10)));
    rig.settle();
    let end = rig.server.last_end(&key(10)).unwrap();
    assert_eq!((end.reason, end.until), (DownReason::Removed, now));
    let end = rig.stations[0].client.last_end().unwrap();
    assert_eq!((end.reason, end.until), (ClientDown::Bye(Bye::Removed), now));
    // Another machine with the key takes the next session over.
    rig.run(SECOND * 60);
    assert_eq!(rig.server.session_count(), 1);
    rig.add(client_config(10), path(2));
    rig.run(SECOND);
    assert_eq!(rig.server.last_end(&key(10)).unwrap().reason, DownReason::Replaced);
    assert_eq!(of_server(&rig).rekeys, 0);
    assert_eq!(of_server(&rig).roams, 0);
}

#[test]
fn handshakes_under_way_are_listed_once() {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    rig.add(client_config(10), path(1));
    rig.tick();
    for packet in rig.take_all() {
        rig.carry(packet);
    }
    let begun = rig.now;
    let listed: Vec<_> =
        rig.server.handshakes().map(|it| (*it.client, it.path, it.since)).collect();
    assert_eq!(listed, [(key(10), path(1), begun)]);
    rig.run(SECOND);
    assert_eq!(rig.server.handshakes().count(), 0);
    // Nor is a rekey one.
    let welcomed = rig.server.stats().welcomed;
    let (now, wall) = (rig.now, rig.wall());
    rig.stations[0].client.set_pmtu(now, wall, 1300);
    rig.tick();
    for packet in rig.take_client(0) {
        rig.carry(packet);
    }
    assert_eq!(rig.server.stats().welcomed, welcomed + 1);
    assert_eq!(rig.server.handshakes().count(), 0);
}

#[test]
fn idle_keys_may_be_older_and_are_replaced_in_time() {
    let age = |rig: &Rig| {
        let keys = rig.stations[0].client.keys().expect("a session");
        rig.now - keys.setup().born
    };
    for busy in [false, true] {
        let mut rig = Rig::connected();
        let mut oldest = Duration::ZERO;
        for second in 0..4000 {
            if busy && second % 100 == 0 {
                rig.assert_works(0, &key(10));
            }
            rig.run(SECOND);
            oldest = oldest.max(age(&rig));
        }
        // A frame on old keys has new ones made at the client's next look, every 5 s.
        let expected = if busy { 100..=125 } else { 750..=838 };
        assert!(expected.contains(&oldest.as_secs()), "{oldest:?}");
        assert!(rig.stations[0].client.last_end().is_none());
    }
    // Whichever end a frame comes from, old keys do not carry frames for long.
    for up in [true, false] {
        for idle in [130, 400, 740] {
            let mut rig = Rig::connected();
            rig.run(SECOND * idle);
            assert!(age(&rig) + SECOND * 5 > SECOND * idle, "idle");
            // What looks for loops is nobody's.
            let probe = [&PROBE_GROUP[..], &[2; 6], &PROBE_ETHERTYPE.to_be_bytes(), &PROBE_MAGIC];
            let probe = [&probe.concat()[..], &[0; PROBE_LEN - 20]].concat();
            for bytes in [probe, frame(1, 60)] {
                let sealed = if up { rig.seal(0, &bytes) } else { rig.seal_back(&key(10), &bytes) };
                let before = age(&rig);
                sealed.into_iter().for_each(|packet| rig.carry(packet));
                rig.run(SECOND * 6);
                let fresh = age(&rig) <= SECOND * 6;
                assert_eq!(fresh, bytes.len() == 60, "{:?} after {before:?}", age(&rig));
            }
        }
    }
}

/// The client cannot know that its server's keys are in use: it is asked for others before they end.
#[test]
fn a_frame_that_is_lost_makes_idle_keys_end_no_session() {
    let mut rig = Rig::connected();
    rig.run(SECOND * 500);
    let old = Arc::clone(rig.stations[0].client.keys().expect("a session"));
    drop(rig.seal_back(&key(10), &frame(1, 60)));
    rig.run(SECOND * 30);
    let keys = Arc::clone(rig.stations[0].client.keys().expect("a session"));
    let made = keys.setup().born;
    assert!(made > SECOND * 500 && made > old.setup().born, "{made:?}");
    assert!(rig.stations[0].client.last_end().is_none());
    rig.assert_works(0, &key(10));
}

/// Seals a control message as a peer may who does what he likes.
fn seal_control(rig: &Rig, keys: &Keys, message: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; HEADER_LEN][..], message, &[0; TAG_LEN]].concat();
    let mut counter = keys.reserve(rig.now, 1).expect("fresh keys");
    counter.seal(Kind::Control, &mut bytes).expect("sealed");
    bytes
}

fn report(role: ReportRole, delivery: Delivery) -> Vec<u8> {
    let report = Report { delivery, rtt: None, version: None, path_mtu: Some(1300) };
    let mut message = Vec::new();
    Control::Report { role, token: 7, report }.encode(&mut message);
    message
}

#[test]
fn reports_that_are_wrong_change_nothing_and_get_no_answer() {
    let good = report(ReportRole::Question, Delivery { expected: 9, received: 9 });
    let answer = report(ReportRole::Answer, Delivery { expected: 9, received: 9 });
    let more = report(ReportRole::Question, Delivery { expected: 9, received: 10 });
    let mut other = good.clone();
    other[3] = 2;
    let wrong = [
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        good[..12].to_vec(),
        other,
        more,
        answer.clone(),
    ];
    let mut rig = Rig::connected();
    rig.run(SECOND);
    let before = of_server(&rig);
    let keys = rig.stations[0].client.keys().unwrap().clone();
    for message in wrong {
        let bytes = seal_control(&rig, &keys, &message);
        rig.give_server(path(1), &bytes);
        assert!(rig.take_server().is_empty(), "{message:?}");
    }
    assert_eq!(rig.server.stats().sealed.bad_control, 6);
    let after = of_server(&rig);
    assert_eq!((after.to_peer, after.peer_path_mtu), (before.to_peer, before.peer_path_mtu));
    // A question to a client is none, so nobody answers an answer for ever.
    let keys = rig.server.sessions().next().unwrap().keys.clone();
    let bytes = seal_control(&rig, &keys, &good);
    let bad = rig.stations[0].client.stats().sealed.bad_control;
    rig.give_client(0, &bytes);
    assert!(rig.take_client(0).is_empty());
    assert_eq!(rig.stations[0].client.stats().sealed.bad_control, bad + 1);

    // What was not agreed on.
    let mut theirs = server_config();
    theirs.caps = OLD;
    let mut rig = Rig::new(theirs, Box::new(AnyClient));
    rig.add(client_config(10), path(1));
    rig.run(SECOND);
    let keys = rig.stations[0].client.keys().unwrap().clone();
    let bytes = seal_control(&rig, &keys, &good);
    rig.give_server(path(1), &bytes);
    assert!(rig.take_server().is_empty());
    let keys = rig.server.sessions().next().unwrap().keys.clone();
    let bytes = seal_control(&rig, &keys, &answer);
    rig.give_client(0, &bytes);
    assert_eq!((of_server(&rig).to_peer, of_client(&rig).to_peer), (None, None));
    assert_eq!(rig.server.stats().sealed.bad_control, 1);
}

#[test]
fn what_was_reported_is_forgotten_where_an_older_version_takes_over() {
    let mut rig = Rig::connected();
    rig.run(SECOND * 30);
    assert!(of_client(&rig).peer_version.is_some());
    let mut theirs = server_config();
    theirs.caps = OLD;
    rig.restart_server(theirs);
    // The RESET to a frame has the session go on with the other process.
    for packet in rig.seal(0, &frame(1, 60)) {
        rig.carry(packet);
    }
    rig.run(SECOND * 10);
    let ended = |event: &ClientEvent| matches!(event, ClientEvent::Disconnected { .. });
    assert!(!rig.stations[0].events.iter().any(ended), "the session goes on");
    let client = of_client(&rig);
    assert_eq!(client.caps, OLD);
    let unknown = (client.to_peer, client.peer_path_mtu, client.peer_version, client.reported);
    assert_eq!(unknown, (None, None, None, None));
}

#[test]
fn a_report_that_was_overtaken_says_nothing() {
    let mut rig = Rig::connected();
    rig.run(SECOND);
    let keys = rig.stations[0].client.keys().unwrap().clone();
    let known = of_server(&rig).to_peer.unwrap();
    let told = |more| Delivery { expected: known.expected + more, received: known.received + more };
    let messages = [1, 2].map(|more| report(ReportRole::Question, told(more)));
    let [first, second] = messages.map(|message| seal_control(&rig, &keys, &message));
    rig.give_server(path(1), &second);
    assert_eq!(of_server(&rig).to_peer, Some(told(2)));
    rig.give_server(path(1), &first);
    rig.give_server(path(1), &second);
    assert_eq!(of_server(&rig).to_peer, Some(told(2)));
}

#[test]
fn a_report_goes_to_a_proven_address_alone() {
    let mut rig = Rig::connected();
    rig.run(SECOND);
    rig.stations[0].client.handle_network_change(rig.now);
    let packets = rig.take_client(0);
    let asked = packets.into_iter().find(is_report).expect("a REPORT");
    // It comes from elsewhere: what goes there is paid for, and is no report.
    let stranger = path(99);
    rig.give_server(stranger, &asked.bytes);
    let mut went = 0;
    for _ in 0..50 {
        for packet in rig.take_server() {
            if packet.path == stranger {
                assert_eq!(packet.bytes.len(), ECHO_LEN);
                went += packet.bytes.len();
            }
        }
        rig.now += SECOND / 10;
        rig.server.handle_timeout(rig.now);
    }
    assert!(went > 0 && went <= asked.bytes.len(), "{went} bytes for {}", asked.bytes.len());
    // Where the client is known to be it is answered, with no more than it said.
    let keys = rig.stations[0].client.keys().unwrap().clone();
    let message = report(ReportRole::Question, Delivery::default());
    let asked = seal_control(&rig, &keys, &message);
    rig.give_server(path(1), &asked);
    let answers = rig.take_server();
    let answer: Vec<_> = answers.iter().filter(|packet| is_report(packet)).collect();
    assert_eq!(answer.len(), 1);
    assert!(answer[0].path == path(1) && answer[0].bytes.len() <= asked.len());
}
