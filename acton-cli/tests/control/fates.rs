//! What `trace` says of a frame just before, against what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::{Command, Stdio};

use acton_cli::control::{Answer, Request};
use acton_engine::{MacAddr, TraceVerdict};
use data_encoding::HEXLOWER;
use serde_json::Value;

use super::ask::{answers, connect, said_by, sessions};
use super::support::{
    Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, Wire, World, client_mac, control, leaf, mac,
    ping_until_answered, tcp_transfer, wait_until,
};

/// Frames that are sent. A soak may want more: `FATES=10000`.
const FRAMES: u32 = 1_000;
const CLIENTS: u8 = 3;
/// Bytes of a frame before what tells it from others: addresses, a tag perhaps, EtherType.
const MARK_LEN: usize = 4;

/// Where a frame can come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Root,
    Client(u8),
}

/// Numbers without a pattern, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A frame with a number in it, so that it is known again.
fn numbered(to: MacAddr, from: MacAddr, vlan: u16, number: u32, len: usize) -> Vec<u8> {
    let mut frame = [to.octets(), from.octets()].concat();
    if vlan > 0 {
        frame.extend([0x81, 0]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(TEST_ETHERTYPE.to_be_bytes());
    frame.extend(number.to_be_bytes());
    frame.resize(len, 0x5a);
    frame
}

/// The number of a frame, if it is one of these.
fn number(frame: &[u8]) -> Option<u32> {
    let tagged = frame.get(12..14)? == [0x81, 0];
    let at = if tagged { 16 } else { 12 };
    let is_ours = frame.get(at..at + 2)? == TEST_ETHERTYPE.to_be_bytes();
    let mark = frame.get(at + 2..at + 2 + MARK_LEN).filter(|_| is_ours)?;
    Some(u32::from_be_bytes(mark.try_into().unwrap()))
}

/// The hands on all TAPs, and what came out of them.
struct Hands {
    wires: BTreeMap<Place, Wire>,
    seen: BTreeMap<u32, BTreeSet<Place>>,
}

impl Hands {
    /// Sends a frame at one place, and waits until a mark sent behind it has come out wherever it
    /// should: by then the frame has too, if it does.
    fn send(&mut self, at: Place, frame: &[u8], mark: u32) {
        self.wires[&at].send(frame);
        self.mark(at, mark);
    }

    fn mark(&mut self, at: Place, mark: u32) {
        // From MACs that nobody else uses.
        let from = match at {
            Place::Root => mac(0x70),
            Place::Client(i) => mac(0x71 + i),
        };
        let marked = numbered(MacAddr::broadcast(), from, 0, mark, 60);
        self.wires[&at].send(&marked);
        let ends: Vec<_> = match at {
            Place::Root => (0..CLIENTS).map(Place::Client).collect(),
            Place::Client(_) => vec![Place::Root],
        };
        for end in ends {
            let before = self.wires[&end].receive_until(&marked);
            self.note(end, before);
        }
    }

    fn note(&mut self, at: Place, frames: Vec<Vec<u8>>) {
        for number in frames.iter().filter_map(|frame| number(frame)) {
            self.seen.entry(number).or_default().insert(at);
        }
    }
}

pub(super) fn a_trace_agrees_with_what_happens() {
    let frames = std::env::var("FATES").map_or(FRAMES, |frames| frames.parse().unwrap());
    let world = World::new(CLIENTS).speaking(Mode::Secure);
    let server = world.serve(&[
        "--budget",
        "all=none",
        "--budget",
        "root:all=none",
        "--macs-per-client",
        "5",
        "--max-sessions",
        "8",
    ]);
    let _clients: Vec<_> = (0..CLIENTS).map(|i| world.join(i, &[])).collect();
    wait_until("all are there", || sessions(&server).len() == usize::from(CLIENTS));
    let mut hands = Hands { wires: BTreeMap::new(), seen: BTreeMap::new() };
    hands.wires.insert(Place::Root, world.server_wire());
    for i in 0..CLIENTS {
        hands.wires.insert(Place::Client(i), world.client_wire(i));
    }
    let all = sessions(&server);
    let session = |place: Place| match place {
        Place::Root => None,
        Place::Client(i) => {
            let ip = IpAddr::from([192, 0, 2, 10 + i]);
            Some(all.iter().find(|session| session.address.unwrap().ip() == ip).unwrap())
        }
    };
    let place = |name: &str| {
        let places = (0..CLIENTS).map(Place::Client);
        places.into_iter().find(|&place| session(place).unwrap().name == name).unwrap()
    };
    for (mark, at) in (1..).zip([Place::Root].into_iter().chain((0..CLIENTS).map(Place::Client))) {
        // Their places are taken before there may be no more room.
        hands.mark(at, u32::MAX - 10 - mark);
    }
    let mut connection = connect(&server);
    let mut numbers = Numbers(7);
    let stations: Vec<_> = (0x40..0x48).map(mac).chain((0..CLIENTS).map(client_mac)).collect();
    let special = [
        SERVER_MAC,
        MacAddr::broadcast(),
        MacAddr::zero(),
        MacAddr(0x01, 0x00, 0x5e, 0, 0, 1),
        MacAddr(0x33, 0x33, 0, 0, 0, 1),
        MacAddr(0x01, 0x80, 0xc2, 0, 0, 0),
        MacAddr(0x01, 0x80, 0xc2, 0, 0, 1),
        MacAddr(0x01, 0x80, 0xc2, 0, 0, 0x0e),
    ];
    let any = |numbers: &mut Numbers| match numbers.below(4) {
        0 => numbers.of(&special),
        _ => numbers.of(&stations),
    };
    let (mut predicted, mut reasons) = (BTreeMap::new(), BTreeMap::new());
    for count in 0..frames {
        let at = match numbers.below(2) {
            0 => Place::Root,
            _ => Place::Client(numbers.below(CLIENTS.into()) as u8),
        };
        let (to, from) = (any(&mut numbers), any(&mut numbers));
        let (vlan, len) = (numbers.of(&[0, 0, 0, 7, 4_095]), 60 + numbers.below(1_455));
        let frame = numbered(to, from, vlan, 2 * count, len);
        let from = session(at).map(|session| session.name.clone());
        let request = Request::Trace { from, frame: HEXLOWER.encode(&frame) };
        let answer = answers(&mut connection, request).remove(0);
        let Answer::Trace(trace) = answer else { panic!("{answer:?}") };
        let fate: BTreeSet<_> = match &trace.verdict {
            TraceVerdict::Tap => [Place::Root].into(),
            TraceVerdict::Session(name) => [place(name)].into(),
            TraceVerdict::Sessions(count) => {
                assert_eq!(*count, usize::from(CLIENTS));
                (0..CLIENTS).map(Place::Client).collect()
            }
            TraceVerdict::Drop(reason) => {
                *reasons.entry(reason.clone()).or_insert(0) += 1;
                BTreeSet::new()
            }
            other => panic!("{other:?}"),
        };
        predicted.insert(2 * count, (fate, trace, at));
        hands.send(at, &frame, 2 * count + 1);
    }
    // What went ahead of its frame, or came late, is there by now.
    hands.mark(Place::Root, u32::MAX);
    for (number, (fate, trace, at)) in predicted {
        let seen = hands.seen.remove(&number).unwrap_or_default();
        assert_eq!(seen, fate, "frame {number} from {at:?}: {trace:#?}");
    }
    // They were of many kinds.
    assert!(reasons.len() >= 8, "{reasons:?}");
}

pub(super) fn frames_that_pass_are_traced() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let _client = world.join(0, &[]);
    wait_until("it is there", || sessions(&server).len() == 1);
    let name = sessions(&server).remove(0).name;
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    // One to the server's LAN, one that claims to be of it, and one to the client.
    let frames =
        [(SERVER_MAC, client_mac(0)), (SERVER_MAC, SERVER_MAC), (client_mac(0), SERVER_MAC)];
    let kinds = [&["--json"][..], &["--json", "--from", "root"], &["--from", &name]];
    let mut children = kinds.map(|more| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
        command.args(["trace", "--live", "9"]).args(more).args(["ether", "proto", "0x88b5"]);
        command.env_clear().env("ACTON_CONTROL", server.control()).stdout(Stdio::piped());
        command.spawn().unwrap()
    });
    // From when on they look, they do not say.
    wait_until("they have seen enough", || {
        for ((to, from), number) in frames.iter().zip(0..) {
            let wire = if number < 2 { &leaf } else { &root };
            wire.send(&numbered(*to, *from, 0, number, 200));
        }
        children.iter_mut().all(|child| child.try_wait().unwrap().is_some())
    });
    let [json, of_root, text] = children.map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    });
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 9);
    let drop = serde_json::json!({ "drop": "source_protected" });
    let to_client = serde_json::json!({ "session": name });
    let mut fates = BTreeSet::new();
    for line in &lines {
        assert_eq!(
            (&line["len"], &line["frames"], &line["schema"]),
            (&200.into(), &1.into(), &2.into())
        );
        let fate = &line["fate"];
        assert_eq!(fate, &line["verdict"], "{line}");
        let from = if *fate == to_client { Value::Null } else { name.clone().into() };
        assert!(*fate == to_client || *fate == drop || fate == "tap", "{line}");
        assert_eq!(line["from"], from, "{line}");
        fates.insert(fate.to_string());
    }
    assert_eq!(fates.len(), 3, "{fates:?}");
    let of_root: Vec<Value> =
        of_root.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(of_root.len(), 9);
    assert!(of_root.iter().all(|line| line["fate"] == to_client && line["from"].is_null()));
    assert_eq!(text.matches(&format!(" from {name}, 200 bytes")).count(), 9, "{text}");
    assert!(text.contains("\nverdict: drop (source_protected)\n"), "{text}");
    assert!(text.contains("\nverdict: forward to the TAP\n"), "{text}");
    assert!(!text.contains("but then"), "{text}");
    let wrong = said_by(control(&server), &["trace", "--live", "1", "host", "nowhere"]);
    assert!(wrong.code == 1 && wrong.err.contains("filter: "), "{wrong:?}");
}

pub(super) fn super_frames_are_traced_as_what_they_are_cut_into() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let ends = [(&server, &world.server, leaf(0)[0]), (&client, &world.clients[0], ROOT_V4)];
    for ((end, host, address), other) in ends.into_iter().zip([&world.clients[0], &world.server]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
        // No more than a pipe has room for.
        command.args(["trace", "--live", "50", "--json", "--from", "root", "tcp"]);
        command.env_clear().env("ACTON_CONTROL", end.control()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        wait_until("it has seen enough", || {
            tcp_transfer(host, other, address, 1_000_000);
            child.try_wait().unwrap().is_some()
        });
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut super_frames = 0;
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["fate"], line["verdict"], "{line}");
            let is_cut = line["steps"].to_string().contains("which is cut");
            assert_eq!(is_cut, line["frames"].as_u64() > Some(1), "{line}");
            super_frames += u32::from(is_cut);
        }
        assert!(super_frames > 0, "{text}");
    }
}
