//! What goes wrong, and what both ends say of it while it does.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{EndReason, SessionStatus, State};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::ask::{json, said_by, sessions, told, until};
use super::support::{
    Acton, HANG, Impairment, Mode, ROOT_V4, World, ping_until_answered, said, shell, wait_until,
};

/// How far what is said may be behind what is so: a second, and what a busy machine may take from a
/// thread.
const LATE: Duration = Duration::from_secs(5);
/// The keepalive of these tunnels: who is silent for one and a half of them is overdue.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Who is silent for so long is given up: a server sooner, a client after a keepalive, 10 s without an
/// answer to it, and 3 more a second apart (docs/PROTOCOL.md, section 9).
const GIVEN_UP: Duration = Duration::from_secs(1 + 10 + 3);

fn world(clients: u8) -> World {
    World::new(clients).speaking(Mode::Secure)
}

/// What each end says of the one session, at every moment.
struct Watched<'a> {
    ends: [&'a Acton; 2],
}

impl Watched<'_> {
    /// Waits until both ends say that it is so, and demands until then that neither says of one that
    /// it has not heard that it is up, or still there.
    #[track_caller]
    fn until(&self, what: &str, wanted: impl Fn(&SessionStatus) -> bool) -> [SessionStatus; 2] {
        let mut found = [None, None];
        wait_until(what, || {
            found = self.ends.map(|end| sessions(end).into_iter().next());
            for session in found.iter().flatten() {
                let silence = session.heard_ago.unwrap_or_default();
                let most = match session.state {
                    State::Up => KEEPALIVE * 3 / 2,
                    State::Quiet => GIVEN_UP,
                    _ => continue,
                };
                assert!(silence < most + LATE, "{session:#?}");
            }
            found.iter().all(|session| session.as_ref().is_some_and(&wanted))
        });
        found.map(Option::unwrap)
    }
}

pub(super) fn status_follows_an_outage_at_both_ends() {
    let world = world(1);
    let server = world.serve(&["--keepalive", "1"]);
    let proxy = world.proxy(Impairment::default(), 1);
    let client = world.join_at(0, "192.0.2.200", &["--keepalive", "1"]);
    let watched = Watched { ends: [&server, &client] };
    watched.until("it is up", |session| session.state == State::Up);
    ping_until_answered(&world.clients[0], ROOT_V4);

    // The path is cut.
    let cut = Instant::now();
    proxy.set(Impairment { loss: 1.0, ..Impairment::default() });
    let quiet = watched.until("it is quiet", |session| session.state == State::Quiet);
    for session in &quiet {
        // Since when is what was so, not when somebody looked.
        let since = session.in_state_for.unwrap();
        assert!(since <= cut.elapsed(), "{session:#?}");
        assert!(session.heard_ago.unwrap() >= KEEPALIVE, "{session:#?}");
    }
    let lost = watched.until("it is lost", |session| session.state == State::Lost);
    for session in &lost {
        assert_eq!(session.reason, Some(EndReason::Silent), "{session:#?}");
        assert!(session.in_state_for.unwrap() <= cut.elapsed());
        // What is not known any more is not said.
        assert_eq!((session.heard_ago, session.rtt), (None, None));
    }
    assert!(told(&client, &["status"]).contains("silent too long"));
    assert!(told(&server, &["status"]).contains("sessions 1 lost"));

    // And mended.
    proxy.set(Impairment::default());
    let up = watched.until("it is up again", |session| session.state == State::Up);
    for session in &up {
        let before = session.before.unwrap();
        assert_eq!(before.reason, EndReason::Silent);
        assert!(before.ago < cut.elapsed());
        assert!(session.session_for.unwrap() < cut.elapsed());
    }
    assert!(told(&client, &["status", &up[1].name]).contains("before      ended"));

    // The server goes without a word, and another comes.
    server.kill();
    let gone = until(&client, "the server is quiet", |session| session.state != State::Up);
    assert!(matches!(gone.state, State::Quiet | State::Lost), "{gone:#?}");
    let server = world.serve(&["--keepalive", "1"]);
    let watched = Watched { ends: [&server, &client] };
    let [_, ahead] = watched.until("it is up once more", |session| session.state == State::Up);
    assert_eq!(ahead.server_restarts, Some(1));

    // It goes with a word.
    let end = Instant::now();
    server.stop();
    let closed = until(&client, "the server has stopped", |session| session.state == State::Closed);
    assert_eq!(closed.reason, Some(EndReason::Restart));
    assert!(closed.in_state_for.unwrap() <= end.elapsed() + LATE);
    // The whole story, once.
    let events = told(&client, &["events", "--json"]);
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = events
        .iter()
        .filter(|event| {
            ["connected", "disconnected", "server_restarted"].iter().any(|it| event["event"] == *it)
        })
        .map(|event| (event["event"].as_str().unwrap(), event["reason"].as_str().unwrap_or("")))
        .collect();
    let story = [("connected", ""), ("disconnected", "silent"), ("connected", "")];
    assert_eq!(told[..3], story, "{told:?}");
    assert_eq!(told.last(), Some(&("disconnected", "restart")), "{told:?}");
    let numbers: Vec<_> = events.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}

pub(super) fn a_client_without_its_server_says_what_it_tried() {
    let world = world(2);
    let client = world.start_client(0, "192.0.2.1", &[]);
    client.wait_for(said::CONNECTING);
    let text = told(&client, &["status", "192.0.2.1:8080"]);
    assert!(text.starts_with("192.0.2.1:8080: handshaking: no answer yet"), "{text}");
    assert!(text.contains("connecting to 192.0.2.1:8080"), "{text}");
    client.stop();
    // An invite of another server.
    let other = World::new(0).speaking(Mode::Secure);
    let wrong = other.keys.invite("192.0.2.1");
    let server = world.serve(&[]);
    let state = world.keys.client_state(1);
    let client = world.run_client(1, &["client", &wrong, "--state", &state]);
    wait_until("the server counts what it cannot take", || {
        let drops = json(&server, &["drops"]);
        let drops = drops["drops"].as_array().unwrap();
        let wrong_key = drops.iter().find(|drop| drop["reason"] == "hello_wrong_key").unwrap();
        wrong_key["count"].as_u64() > Some(0)
    });
    let session = sessions(&client).remove(0);
    assert_eq!((session.state, session.session_for), (State::Handshaking, None));
    assert!(sessions(&server).is_empty());
}

pub(super) fn a_client_that_is_revoked_and_one_that_moves() {
    let world = world(1);
    world.keys.server();
    let invite = world.keys.named_invite("berlin", &[]);
    let server = world.serve(&["--keepalive", "1"]);
    let state = world.keys.client_state(0);
    let client = world.run_client(0, &["client", &invite, "--state", &state, "--keepalive", "1"]);
    until(&server, "it is up", |session| session.state == State::Up);
    let address = shell(&world.clients[0], "ip -o -4 address show dev eth0");
    assert!(address.contains("192.0.2.10/24"));
    shell(
        &world.clients[0],
        "ip address del 192.0.2.10/24 dev eth0; ip address add 192.0.2.99/24 dev eth0",
    );
    server.wait_for(said::MOVED);
    let moved = sessions(&server).remove(0);
    assert_eq!(moved.address.unwrap().ip().to_string(), "192.0.2.99");
    assert_eq!((moved.state, moved.roams), (State::Up, Some(1)));
    assert!(told(&server, &["status", "berlin"]).contains(", moved once"));

    world.keys.acton("server", &["revoke", "berlin"]);
    server.wait_for(" down: ");
    let removed = sessions(&server).remove(0);
    assert_eq!((removed.state, removed.reason), (State::Closed, Some(EndReason::Removed)));
    let out = until(&client, "the client knows", |session| session.state == State::Closed);
    assert_eq!(out.reason, Some(EndReason::Removed));
    assert!(told(&client, &["status"]).contains("not allowed any more"));
}

pub(super) fn a_second_instance_takes_the_place_of_the_first() {
    let world = world(2);
    world.keys.server();
    let invite = world.keys.named_invite("berlin", &[]);
    let server = world.serve(&["--keepalive", "1"]);
    // A copy of one machine's state, as of a disk image that was started twice.
    let state = world.keys.client_state(0);
    let start =
        |i| world.run_client(i, &["client", &invite, "--state", &state, "--keepalive", "1"]);
    let first = start(0);
    until(&server, "the first is up", |session| session.state == State::Up);
    let begun = Instant::now();
    let second = start(1);
    second.wait_for(said::CONNECTED);
    // What the first sent last may come after the second's HELLO.
    until(&server, "the second has it", |session| {
        let ip = session.address.unwrap().ip().to_string();
        (session.state, &*ip, &*session.name) == (State::Up, "192.0.2.11", "berlin")
    });
    assert_eq!(sessions(&server).len(), 1);
    let here = until(&second, "the second is up", |session| session.state == State::Up);
    assert_eq!(here.before, None);
    let out = until(&first, "the first knows", |session| session.state == State::Closed);
    assert_eq!(out.reason, Some(EndReason::Replaced));
    assert!(out.in_state_for.unwrap() <= begun.elapsed(), "{out:#?}");
    assert!(told(&first, &["status"]).contains("another client has its key"));
    let of = |end: &Acton, kind: &str| {
        let events = told(end, &["events", "--json"]);
        let is_it = |line: &&str| line.contains(&format!("\"event\":\"{kind}\""));
        events.lines().filter(is_it).count()
    };
    assert_eq!((of(&server, "replaced"), of(&server, "session_down")), (1, 0));
    assert_eq!((of(&first, "disconnected"), of(&second, "disconnected")), (1, 0));
}

pub(super) fn a_state_can_be_waited_for() {
    let world = world(1);
    // Not even the socket is there.
    let control = world.keys.path("client.sock");
    let path = control.to_str().unwrap();
    let not_there = said_by(&control, &["status", "--check", "up"]);
    assert_eq!(not_there.code, 1, "{not_there:?}");
    thread::scope(|scope| {
        let waits = scope.spawn(|| said_by(&control, &["status", "--check", "up", "--wait", "60"]));
        let _server = world.serve(&[]);
        let _client = world.join(0, &["--control", path]);
        let waited = waits.join().unwrap();
        assert_eq!((waited.code, &*waited.out, &*waited.err), (0, "", ""), "{waited:?}");
        let lost = said_by(&control, &["status", "192.0.2.1:8080", "--check", "lost"]);
        assert_eq!(lost.code, 1, "{lost:?}");
        assert!(lost.err.contains("192.0.2.1:8080 is not lost"), "{lost:?}");
    });
}

pub(super) fn watch_tells_what_changes() {
    let world = world(1);
    let server = world.serve(&["--keepalive", "1"]);
    let client = world.join(0, &["--keepalive", "1"]);
    until(&server, "it is up", |session| session.state == State::Up);
    for json in [false, true] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
        command.args(["status", "--watch"]).args(json.then_some("--json")).env_clear();
        command.env("ACTON_CONTROL", server.control()).stdout(Stdio::piped());
        let mut watch = command.spawn().unwrap();
        let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        let (told, heard) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
        let next = || {
            let line = heard.recv_timeout(HANG).expect("it tells of a change");
            println!("{line}");
            line
        };
        let first = next();
        let is_up = if json { "\"state\":\"up\"" } else { " is up " };
        assert!(first.contains(is_up), "{first}");
        let until_told = |state: &str| while !next().contains(state) {};
        client.signal(Signal::SIGSTOP);
        // It is quiet before, which a watch that had no processor meanwhile does not see.
        until_told("lost");
        client.signal(Signal::SIGCONT);
        until_told(is_up);
        watch.kill().unwrap();
        watch.wait().unwrap();
    }
}
