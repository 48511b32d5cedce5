use super::*;

type Addr = u16;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn server(max_sessions: usize) -> Server<Addr> {
    Server::new(ServerConfig { max_sessions, ..ServerConfig::default() }, secs(0))
}

fn events(server: &mut Server<Addr>) -> Vec<ServerEvent<Addr>> {
    std::iter::from_fn(|| server.poll_event()).collect()
}

fn replies(server: &mut Server<Addr>) -> Vec<(Addr, Control)> {
    std::iter::from_fn(|| server.poll_transmit()).collect()
}

#[test]
fn a_session_lives_from_hello_to_bye() {
    let mut server = server(10);
    server.handle_control(secs(1), 7, Control::Hello);
    let id = server.get(7).unwrap();
    server.handle_control(secs(2), 7, Control::Hello);
    server.handle_control(secs(3), 7, Control::Keepalive);
    assert_eq!(
        replies(&mut server),
        [(7, Control::Hello), (7, Control::Hello), (7, Control::Keepalive)]
    );
    let session = *server.session(id).unwrap();
    assert_eq!(
        session,
        Session { id, addr: 7, origin: Origin::Hello, since: secs(1), last_seen: secs(3) }
    );
    assert_eq!(server.sessions().copied().collect::<Vec<_>>(), [session]);
    server.handle_control(secs(4), 7, Control::Bye);
    assert!(server.is_empty());
    assert_eq!(server.get(7), None);
    assert_eq!(server.session(id), None);
    assert_eq!(replies(&mut server), []);
    assert_eq!(
        events(&mut server),
        [
            ServerEvent::SessionUp { id, addr: 7, by: Origin::Hello },
            ServerEvent::SessionDown { id, addr: 7, reason: DownReason::Bye },
        ]
    );
}

#[test]
fn a_keepalive_without_a_session_makes_one_and_a_bye_does_not() {
    let mut server = server(10);
    server.handle_control(secs(1), 8, Control::Bye);
    assert_eq!(events(&mut server), []);
    server.handle_control(secs(1), 8, Control::Keepalive);
    let id = server.get(8).unwrap();
    assert_eq!(
        events(&mut server),
        [ServerEvent::SessionUp { id, addr: 8, by: Origin::Keepalive }]
    );
    assert_eq!(replies(&mut server), [(8, Control::Keepalive)]);
}

#[test]
fn expiry_is_exact_and_counts_from_the_last_touch() {
    let mut server = server(10);
    for addr in 0..3 {
        server.handle_control(secs(10), addr, Control::Hello);
    }
    let [a, b, c] = [0, 1, 2].map(|addr| server.get(addr).unwrap());
    server.touch(b, secs(15));
    server.touch(b, secs(12)); // An older report changes nothing.
    events(&mut server);
    assert_eq!(server.poll_timeout(), Some(secs(40)));

    // c's worker saw a frame and told nobody.
    let seen = |id| if id == c { secs(20) } else { secs(0) };
    server.handle_timeout_with(secs(40) - Duration::from_nanos(1), seen);
    assert_eq!(server.len(), 3);
    server.handle_timeout_with(secs(40), seen);
    assert_eq!(
        events(&mut server),
        [ServerEvent::SessionDown { id: a, addr: 0, reason: DownReason::Expired }]
    );
    assert_eq!(server.poll_timeout(), Some(secs(45)));
    server.handle_timeout(secs(45));
    assert_eq!(
        events(&mut server),
        [ServerEvent::SessionDown { id: b, addr: 1, reason: DownReason::Expired }]
    );
    assert_eq!(server.poll_timeout(), Some(secs(50)));
    server.handle_timeout(secs(50));
    assert_eq!(server.poll_timeout(), None);
    assert!(server.is_empty());
}

#[test]
fn static_sessions_end_by_nothing_and_need_no_room() {
    let mut server = server(1);
    let socat = server.add_static(1);
    server.handle_control(secs(1), 2, Control::Hello);
    assert_eq!(server.len(), 2);
    assert_eq!(server.add_static(1), socat);
    // A client that is named later keeps its session and makes room for another.
    let named = server.add_static(2);
    assert_eq!(server.get(2), Some(named));
    server.handle_control(secs(1), 3, Control::Hello);
    for addr in 1..=3 {
        server.handle_control(secs(2), addr, Control::Bye);
    }
    server.handle_timeout(secs(1_000_000));
    assert_eq!(
        server.sessions().map(|s| (s.id, s.origin)).collect::<Vec<_>>(),
        [(socat, Origin::Static), (named, Origin::Static)]
    );
    server.handle_control(secs(3), 1, Control::Keepalive);
    assert_eq!(replies(&mut server).last(), Some(&(1, Control::Keepalive)));
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn sessions_that_are_not_to_be_kept_end_but_for_static_ones() {
    let mut server = server(10);
    for addr in [7, 8] {
        server.handle_control(secs(1), addr, Control::Hello);
    }
    server.add_static(9);
    let gone = server.get(7).unwrap();
    events(&mut server);
    server.retain(|session| session.addr == 8);
    let reason = DownReason::Removed;
    assert_eq!(events(&mut server), [ServerEvent::SessionDown { id: gone, addr: 7, reason }]);
    assert_eq!(server.sessions().map(|session| session.addr).collect::<Vec<_>>(), [8, 9]);
    // A deadline that is left of it ends nobody.
    server.handle_control(secs(20), 7, Control::Hello);
    server.handle_timeout(secs(32));
    assert!(server.get(7).is_some() && server.get(8).is_none());
}

#[test]
fn a_full_table_is_silent_to_strangers_and_reports_once_a_second() {
    let mut server = server(2);
    server.handle_control(secs(1), 1, Control::Hello);
    server.handle_control(secs(1), 2, Control::Hello);
    events(&mut server);
    replies(&mut server);
    for addr in 100..200 {
        server.handle_control(secs(5), addr, Control::Hello);
    }
    assert_eq!(replies(&mut server), []);
    assert_eq!(server.len(), 2);
    assert_eq!(events(&mut server), [ServerEvent::Refused { addr: 100, total: 100 }]);
    server.handle_control(secs(6) - Duration::from_nanos(1), 200, Control::Keepalive);
    assert_eq!(events(&mut server), []);
    server.handle_control(secs(6), 201, Control::Keepalive);
    assert_eq!(events(&mut server), [ServerEvent::Refused { addr: 201, total: 102 }]);
    // A place is free as soon as its end was polled.
    server.handle_control(secs(7), 1, Control::Bye);
    server.handle_control(secs(7), 300, Control::Hello);
    assert_eq!(server.get(300), None);
    events(&mut server);
    server.handle_control(secs(7), 300, Control::Hello);
    assert!(server.get(300).is_some());
}

#[test]
fn a_name_is_used_again_only_after_its_end_was_polled() {
    let mut server = server(4);
    server.handle_control(secs(1), 1, Control::Hello);
    let first = server.get(1).unwrap();
    server.handle_control(secs(2), 1, Control::Bye);
    server.handle_control(secs(3), 1, Control::Hello);
    let second = server.get(1).unwrap();
    assert_ne!(first, second);
    server.touch(first, secs(25)); // A worker that is late reaches nobody.
    assert_eq!(server.session(second).unwrap().last_seen, secs(3));
    events(&mut server);
    server.handle_control(secs(4), 2, Control::Hello);
    assert_eq!(server.get(2), Some(first));

    // The longest unused is the first to be used again.
    server.handle_control(secs(5), 1, Control::Bye);
    server.handle_control(secs(5), 2, Control::Bye);
    events(&mut server);
    server.handle_control(secs(6), 3, Control::Hello);
    assert_eq!(server.get(3), Some(second));
}

#[test]
fn what_outsiders_can_grow_is_bounded_though_nobody_polls() {
    let mut server = server(8);
    for round in 0..100_000_u64 {
        let addr = (round % 1_000) as Addr;
        let now = Duration::from_millis(round);
        server.handle_control(now, addr, Control::Hello);
        server.handle_control(now, addr, Control::Bye);
        if round % 2 == 0 {
            server.handle_timeout(now);
        }
    }
    assert!(server.slots.len() <= 8);
    assert!(server.deadlines.len() <= 8);
    assert!(server.events.len() <= 16);
    assert!(server.replies.len() <= MAX_QUEUED_REPLIES);

    // Nor the answers to one that has its session.
    server.add_static(1_001);
    for _ in 0..2 * MAX_QUEUED_REPLIES {
        server.handle_control(secs(99), 1_001, Control::Keepalive);
    }
    assert_eq!(server.replies.len(), MAX_QUEUED_REPLIES);

    // The time-outs do not grow either when all output is taken.
    for round in 0..100_000_u64 {
        let now = secs(100) + Duration::from_micros(round);
        server.handle_control(now, 1, Control::Hello);
        server.handle_control(now, 1, Control::Bye);
        events(&mut server);
        replies(&mut server);
        assert!(server.deadlines.len() <= 8);
    }
}

#[test]
fn no_configuration_panics_or_spins() {
    let never = ServerConfig { expire_after: Duration::MAX, ..ServerConfig::default() };
    let mut server = Server::new(never, secs(5));
    server.handle_control(secs(6), 1, Control::Hello);
    server.handle_timeout(Duration::MAX - Duration::from_nanos(1));
    assert_eq!(server.len(), 1);

    let none = ServerConfig { expire_after: Duration::ZERO, ..ServerConfig::default() };
    let mut server = Server::new(none, secs(5));
    server.handle_control(secs(6), 1, Control::Hello);
    assert_eq!(server.poll_timeout(), Some(secs(6)));
    server.handle_timeout(secs(6));
    assert_eq!(server.poll_timeout(), None);

    let mut server = self::server(0);
    server.handle_control(secs(6), 1, Control::Hello);
    assert_eq!(events(&mut server), [ServerEvent::Refused { addr: 1, total: 1 }]);
    server.handle_control(Duration::MAX, 1, Control::Hello);
    server.handle_control(Duration::MAX, 1, Control::Hello);
}

#[test]
fn a_source_has_so_many_sessions_and_others_have_theirs() {
    let config = ServerConfig { max_sessions_per_source: 3, ..ServerConfig::default() };
    // Hundreds tell the sources apart.
    let mut server = Server::with_sources(config, secs(0), |addr: Addr| u64::from(addr / 100));
    for addr in (100..200).chain([200]) {
        server.handle_control(secs(1), addr, Control::Hello);
    }
    assert_eq!(server.len(), 4);
    let told = ServerEvent::SourceFull { addr: 103, total: 97 };
    assert_eq!(events(&mut server).last(), Some(&told));
    assert_eq!(replies(&mut server).len(), 4, "who is refused hears nothing");
    // Static ones do not count; a place that is free again does.
    server.add_static(300);
    server.add_static(100);
    for addr in [150, 151, 301, 302, 303, 304] {
        server.handle_control(secs(2), addr, Control::Keepalive);
    }
    assert!(server.get(150).is_some() && server.get(151).is_none());
    assert!(server.get(303).is_some() && server.get(304).is_none());
    server.handle_control(secs(3), 101, Control::Bye);
    server.handle_control(secs(3), 151, Control::Hello);
    assert!(server.get(151).is_some());
    server.handle_timeout(secs(100));
    assert_eq!((server.len(), server.sources.len()), (2, 0));
}
