//! What is dropped, as it happens and afterwards.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use acton_engine::MacAddr;

use super::recorder::{Packet, Recorder, captured, refused};
use super::support::{
    Mode, PORT, SERVER_MAC, SERVER_V4, TEST_ETHERTYPE, World, frame, mac, session_names, wait_until,
};

fn test_frame(from: MacAddr, len: usize) -> Vec<u8> {
    let mut frame = frame(mac(0x71), from, TEST_ETHERTYPE, b"dropped");
    frame.resize(len, 0x5a);
    frame
}

pub(super) fn drops_are_shown_as_they_happen_and_afterwards(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--no-loop-guard"]);
    let client = world.join(0, &["--no-loop-guard"]);
    let berlin = session_names(&server)[0].clone();
    let leaf = world.client_wire(0);
    let live = Recorder::start(&world, &server, "live.pcapng", &["--drops", "-c", "1"]);

    // From a MAC that is the server's own, and longer than what is kept.
    let forged = test_frame(SERVER_MAC, 900);
    leaf.send(&forged);
    let live = live.end();
    assert_eq!((live[0].len, &live[0].bytes), (900, &forged[..128].to_vec()));
    let [interface, direction, comment] = live[0].about();
    assert_eq!((interface, direction), (&*berlin, "in"));
    assert!(comment.starts_with("drop (source_protected): "), "{comment}");

    // Nobody looked when this came: a datagram from somewhere else.
    world.proxy.run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(&[0; 60], (SERVER_V4, PORT)).unwrap();
    });
    // Behind made-up headers, from where it came.
    let is_stray = |packet: &Packet| packet.bytes.get(26..30) == Some(&[192, 0, 2, 200]);
    let mut all = Vec::new();
    wait_until("it was dropped", || {
        all = captured(&world, &server, &["--drops", "--since", "5m"]);
        all.iter().any(is_stray)
    });
    assert!(all.contains(&live[0]), "{all:?}");
    let stray = all.iter().find(|packet| is_stray(packet)).unwrap();
    let reason = match mode {
        Mode::Plain => "drop (no_session): ",
        Mode::Secure => "drop (malformed): ",
    };
    assert!(stray.comment.starts_with(reason), "{stray:?}");
    assert_eq!(stray.about()[..2], ["server", "in"]);
    assert_eq!((stray.len, stray.bytes.len()), (42 + 60, 42 + 60));

    // By layer, reason, session, filter and time.
    let drops =
        |more: &[&str]| captured(&world, &server, &[&["--drops", "--since", "5m"], more].concat());
    assert!(!drops(&["--inner"]).iter().any(is_stray));
    let outer = drops(&["--outer"]);
    assert!(outer.contains(stray) && !outer.contains(&live[0]), "{outer:?}");
    assert_eq!(drops(&["ether proto 0x88b5"]), [live[0].clone()]);
    assert_eq!(drops(&[&berlin, "ether proto 0x88b5"]), [live[0].clone()]);
    assert!(drops(&["arp"]).is_empty());
    let by_reason = |reason: &str| captured(&world, &server, &[reason, "--since", "5m"]);
    assert_eq!(by_reason("--drops=source_protected"), [live[0].clone()]);
    assert!(by_reason("--drops=bad_piece").is_empty());
    assert!(captured(&world, &server, &["--drops", "--since", "0s"]).is_empty());
    // Of one that has gone, too.
    client.stop();
    wait_until("it has gone", || session_names(&server).is_empty());
    assert_eq!(drops(&[&berlin, "ether proto 0x88b5"]), [live[0].clone()]);
}

pub(super) fn what_a_request_must_not_ask_for() {
    let world = World::new(0);
    let server = world.serve(&[]);
    for (arguments, code, says) in [
        (&["berlin"][..], 1, "no session 'berlin'"),
        (&["--drops=sorce_held"], 1, "no reason 'sorce_held' to drop; `acton drops --all`"),
        (&["--outer", "arp"], 1, "a filter chooses among frames"),
        (&["berlin", "arp", "or"], 2, "it ends where it needs a test"),
        (&["--since", "30s"], 2, "--drops"),
        (&["--drops", "--since", "soon"], 2, "write it as 30s, 5m or 2h"),
        (&["--inner", "--outer"], 2, "cannot be used with"),
        (&["-c", "0"], 2, "0 is not in"),
    ] {
        let (status, log) = refused(&world, &server, arguments);
        assert!(status == Some(code) && log.contains(says), "{arguments:?}: {log}");
    }
    // Not over the socket either.
    let stream = UnixStream::connect(server.control()).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    for (request, code) in [
        (r#"{"filter":"hots"}"#.to_owned(), "bad_request"),
        (format!(r#"{{"filter":"{}arp"}}"#, "(".repeat(4_000)), "bad_request"),
        (r#"{"drops":{"since_seconds":1e300}}"#.to_owned(), "bad_request"),
        (r#"{"drops":{"since_seconds":-1}}"#.to_owned(), "bad_request"),
        (r#"{"drops":{"reasn":"forged"}}"#.to_owned(), "bad_request"),
        (r#"{"snaplen":-1}"#.to_owned(), "bad_request"),
        (r#"{"layer":"outer","filter":"arp"}"#.to_owned(), "bad_request"),
        (r#"{"session":"nobody"}"#.to_owned(), "no_session"),
    ] {
        let line = format!("{{\"schema\":2,\"request\":{{\"capture\":{request}}}}}\n");
        (&stream).write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        lines.read_line(&mut answer).unwrap();
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{request:.80}: {answer}");
    }
}
