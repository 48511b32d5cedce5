//! Processes that end or stand still, and one too many.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pnet_base::MacAddr;

use crate::checks::Checks;
use crate::support::ask::sessions;
use crate::support::{
    Acton, Crowd, HANG, Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, World, answers, counter,
    counters, frame, leaf, ping, ping_until_answered, said, wait_until,
};

/// Clients of a server that is killed.
const CROWD: u16 = 1_000;
/// Time between two frames of each of them.
const FRAME_EVERY: Duration = Duration::from_millis(500);
/// Longer than a server may be silent, 13 s.
const SUSPENDED: Duration = Duration::from_secs(45);
const SECOND: Duration = Duration::from_secs(1);

/// How many lines of what an end says contain `text`.
pub(crate) fn lines(end: &Acton, text: &str) -> u64 {
    end.log().lines().filter(|line| line.contains(text)).count() as u64
}

/// A world of acton/1 in which clients have sessions, with these options at all ends.
pub(crate) fn connected(clients: u8, options: &[&str]) -> (World, Acton, Vec<Acton>) {
    let world = World::new(clients).speaking(Mode::Secure);
    let server = world.serve(options);
    let joined = (0..clients).map(|i| world.join(i, options)).collect();
    world.clients.iter().for_each(|host| ping_until_answered(host, ROOT_V4));
    (world, server, joined)
}

/// The client has had one session all along, and the server as many as there are clients.
pub(crate) fn one_session(checks: &Checks, client: &Acton, server: &Acton, clients: u64) {
    let counts = [
        lines(client, said::CONNECTED),
        lines(client, said::LOST),
        lines(server, " up: "),
        lines(server, " down: "),
    ];
    let [begun, lost, up, down] = counts;
    let seen = format!("{begun}/{lost}, server {up}/{down}");
    let expected = format!("sessions begun/lost: 1/0, at the server {clients}/0");
    checks.holds(expected, seen, counts == [1, 0, clients, 0]);
}

pub(crate) fn server_killed_under_load(checks: &Checks) {
    let world = World::new(2).speaking(Mode::Secure);
    let server = world.serve(&["--no-loop-guard"]);
    let mut crowd = Crowd::new(&world, CROWD);
    crowd.run_until("all have a session", |member| member.machine.keys().is_some());
    let _client = world.join(1, &[]);
    ping_until_answered(&world.clients[1], ROOT_V4);
    let all = u64::from(CROWD) + 1;
    let is_in = |server: &Acton| lines(server, " up: ");
    wait_until("the server knows all", || is_in(&server) == all);
    server.kill();
    let server = world.serve(&["--no-loop-guard"]);
    let start = Instant::now();
    let mut said_at = start - FRAME_EVERY;
    while is_in(&server) < all {
        assert!(start.elapsed() < HANG, "{} of {all} are back", is_in(&server));
        if said_at.elapsed() >= FRAME_EVERY {
            said_at = Instant::now();
            let now = crowd.now();
            for (number, member) in (0_u16..).zip(&crowd.members) {
                let [high, low] = number.to_be_bytes();
                let own = MacAddr(2, 0x18, 0, 0, high, low);
                if member.machine.keys().is_none() {
                    continue;
                }
                member.send(now, &frame(SERVER_MAC, own, TEST_ETHERTYPE, &[1; 60]));
            }
        }
        for _ in 0..20 {
            crowd.turn();
        }
    }
    checks.within("all 1,001 are back", start.elapsed(), 10 * SECOND);
    let root = world.server_wire();
    let again = Instant::now();
    while crowd.members.iter().any(|member| member.frames.is_empty()) {
        assert!(again.elapsed() < HANG, "hung waiting until all hear the server");
        root.send(&frame(MacAddr::broadcast(), SERVER_MAC, TEST_ETHERTYPE, b"back again"));
        (0..50).for_each(|_| crowd.turn());
    }
    checks.within("all of them hear a broadcast", again.elapsed(), 5 * SECOND);
    ping_until_answered(&world.clients[1], ROOT_V4);
    checks.equal("clients in more than one session", is_in(&server) - all, 0);
}

pub(crate) fn client_killed(checks: &Checks) {
    let (world, server, mut clients) = connected(2, &["--keepalive", "1"]);
    let killed = Instant::now();
    clients.remove(0).kill();
    server.wait_for(said::EXPIRED);
    // Three keepalives and 5 s (PROTOCOL.md, section 5: dead_after), and when it looks.
    checks.within("the server gives it up", killed.elapsed(), 9 * SECOND);
    let line = server.log().lines().find(|line| line.contains(said::EXPIRED)).unwrap().to_owned();
    checks.told("the server", &line, "forgotten, 1 open");
    let start = Instant::now();
    let _again = world.join(0, &["--keepalive", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    checks.within("started again it has an answer", start.elapsed(), 3 * SECOND);
    checks.equal("sessions that the other one lost", lines(&clients[0], said::LOST), 0);
}

/// How long `end` was away, and then until a ping from its client came back.
fn suspend(checks: &Checks, end: &Acton, world: &World) {
    end.while_stopped(|| std::thread::sleep(SUSPENDED));
    let back = Instant::now();
    wait_until("a ping is answered", || {
        ping(&world.clients[0], ROOT_V4, 56, Duration::from_millis(200)).is_ok()
    });
    checks.within("a ping is answered again", back.elapsed(), 3 * SECOND);
}

pub(crate) fn client_suspended(checks: &Checks) {
    let (world, server, clients) = connected(2, &[]);
    suspend(checks, &clients[0], &world);
    checks.comes_within("the server reaches it", 2 * SECOND, || answers(&world.server, leaf(0)[0]));
    checks.equal("sessions that the other one lost", lines(&clients[1], said::LOST), 0);
    let up = sessions(&server).iter().filter(|it| it.session_for.is_some()).count();
    checks.equal("sessions now", up, 2);
}

pub(crate) fn server_suspended(checks: &Checks) {
    let (world, server, clients) = connected(2, &[]);
    suspend(checks, &server, &world);
    for (client, host) in clients.iter().zip(&world.clients) {
        ping_until_answered(host, ROOT_V4);
        checks.equal("sessions that a client lost", lines(client, said::LOST), 1);
    }
    checks.equal(
        "sessions now",
        sessions(&server).iter().filter(|it| it.session_for.is_some()).count(),
        2,
    );
}

/// A state directory that was copied from one machine to another.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
}

pub(crate) fn two_hosts_with_one_key(checks: &Checks) {
    const WATCHED: Duration = Duration::from_secs(15);
    let world = World::new(3).speaking(Mode::Secure);
    let server = world.serve(&["--keepalive", "1"]);
    let clients: Vec<_> = [0, 2].iter().map(|&i| world.join(i, &["--keepalive", "1"])).collect();
    let [from, to] = [0, 1].map(|i| world.keys.client_state(i));
    copy(from.as_ref(), to.as_ref());
    let twin = world.join(1, &["--keepalive", "1"]);
    let start = Instant::now();
    let (mut twins, mut other, mut rounds) = (0, 0, 0);
    while start.elapsed() < WATCHED {
        let soon = Duration::from_millis(300);
        let up = |i: usize| ping(&world.clients[i], ROOT_V4, 56, soon).is_ok();
        rounds += 1;
        twins += u64::from(up(0) || up(1));
        other += u64::from(up(2));
    }
    checks.at_least("pings in 100 that one of them gets answered", twins * 100 / rounds, 90);
    checks.at_least("pings in 100 of a third client", other * 100 / rounds, 95);
    let welcomed = counter(&counters(&server), "handshake.welcomed");
    checks.at_most("handshakes of all in 15 s", welcomed, 10);
    let log = clients[0].log() + &twin.log();
    checks.told(
        "the one that was there first",
        &log,
        "another client with the same key took the session",
    );
}

pub(crate) fn tap_deleted(checks: &Checks) {
    let (world, server, mut clients) = connected(1, &[]);
    for (host, tap, end) in
        [(&world.clients[0], "client", clients.remove(0)), (&world.server, "server", server)]
    {
        crate::support::shell(host, &format!("ip link del {tap}"));
        let start = Instant::now();
        let (status, log) = end.end();
        checks.within(&format!("the {tap} ends"), start.elapsed(), 2 * SECOND);
        checks.equal("exit code", status.code().unwrap_or(-1), 1);
        checks.told("it", &log, &format!("TAP {tap} was deleted"));
    }
}
