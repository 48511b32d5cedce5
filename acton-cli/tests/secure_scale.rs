//! A thousand clients of acton/1, each a state machine of this process with sockets of its own, that
//! are at other addresses all at once.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::time::Instant;

use pnet_base::MacAddr;
use support::{
    Acton, Crowd, HANG, Member, Mode, SERVER_MAC, TEST_ETHERTYPE, World, counter, counters, frame,
};

testbed::main! {
    a_thousand_clients_roam_at_once,
}

const CLIENTS: u16 = 1_000;

/// Whether the newest frame of a client has this text.
fn heard(member: &Member, text: &[u8]) -> bool {
    member.frames.last().is_some_and(|frame| frame[14..].starts_with(text))
}

fn sessions(server: &Acton) -> (u64, usize, usize) {
    let log = counters(server);
    let count = |text| log.matches(text).count();
    (counter(&log, "handshake.welcomed"), count(" up: "), count(" down: "))
}

fn a_thousand_clients_roam_at_once() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&["--workers", "3"]);
    let root = world.server_wire();
    let to_all =
        |text: &[u8]| root.send(&frame(MacAddr::broadcast(), SERVER_MAC, TEST_ETHERTYPE, text));
    let mut crowd = Crowd::new(&world, CLIENTS);
    let start = Instant::now();
    crowd.run_until("all have a session", |member| member.machine.keys().is_some());
    println!("{CLIENTS} clients joined within {:?}", start.elapsed());
    let said = start.elapsed();
    while crowd.members.iter().any(|member| !heard(member, b"before")) {
        assert!(start.elapsed() - said < HANG, "hung waiting until all hear the server");
        to_all(b"before they roam");
        (0..50).for_each(|_| crowd.turn());
    }
    let before = sessions(&server);
    assert_eq!((before.1, before.2), (usize::from(CLIENTS), 0), "{}", server.log());

    // All at once, and each says one thing from where it is now.
    let (start, now) = (Instant::now(), crowd.now());
    for (number, member) in (0..).zip(&mut crowd.members) {
        member.socket = Crowd::socket(&world, 19, number);
        let [high, low] = number.to_be_bytes();
        let own = MacAddr(2, 0x19, 0, 0, high, low);
        let up = frame(SERVER_MAC, own, TEST_ETHERTYPE, b"from elsewhere, many bytes of it all");
        member.send(now, &up);
    }
    while crowd.members.iter().any(|member| !heard(member, b"after")) {
        assert!(start.elapsed() < HANG, "hung waiting until all are followed");
        to_all(b"after they roamed");
        (0..50).for_each(|_| crowd.turn());
    }
    println!("{CLIENTS} clients that roamed were all found within {:?}", start.elapsed());
    assert!(crowd.members.iter().all(|member| !member.lost));
    assert_eq!(sessions(&server), before, "no session began or ended: {}", server.log());
    assert!(!server.stop().contains("panicked"));
}
