//! Clients that are rude, slow, many or mad.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use super::browser::{HTTP, connect, get, send};
use super::support::ask::json;
use super::support::{
    Acton, Crowd, Mode, ROOT_V4, World, counter, counters, ping_until_answered, shell,
    tcp_transfer, wait_until,
};

const CONNECTIONS: usize = 1_000;
/// Connections that there are at one time, and some threads more.
const THREADS: u64 = 32 + 8;
/// Memory in KiB that all of this may cost.
const MEMORY: u64 = 16 << 10;
/// A gigabyte.
const GIGABYTE: usize = 1 << 30;

/// Sessions that a long answer is of, some 400 KiB.
const SESSIONS: u16 = 500;

fn counted(end: &Acton, name: &str) -> u64 {
    json(end, &["status"])["http"][name].as_u64().unwrap()
}

pub(super) fn rude_clients_of_http_cost_nothing() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&["--http", HTTP, "--keepalive", "1"]);
    let _client = world.join(0, &["--keepalive", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    assert_eq!(get(&world.server, "/health").status, 200);
    let (memory, threads) = (server.proc_status("VmRSS"), server.proc_status("Threads"));

    // What is no request, or for nothing that there is.
    let requests: [(&[u8], u16); 15] = [
        (b"POST /status.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd", 405),
        (b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /../../etc/shadow HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /%2e%2e/%2e%2e/etc/shadow HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET //status.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /status.json/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET http://localhost/status.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /status.json%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /?a=%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ];
    for (request, status) in requests {
        assert_eq!(send(&world.server, request).status, status, "{}", request.escape_ascii());
    }
    let huge = format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {}\r\n\r\n", "a".repeat(20 << 10));
    assert_eq!(send(&world.server, huge.as_bytes()).status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(100));
    assert_eq!(send(&world.server, many.as_bytes()).status, 431);
    // A head without an end.
    let mut endless = connect(&world.server);
    let (piece, mut written) = (vec![b'a'; 1 << 16], 0);
    while written < GIGABYTE {
        match endless.write(&piece) {
            Ok(more) => written += more,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
                break;
            }
        }
    }
    assert!(written < 16 << 20, "{written} bytes were taken");

    // Half a head, and one that comes a byte at a time: both are given up.
    let mut half = connect(&world.server);
    half.write_all(b"GET / HTTP/1.1\r\nHost: lo").unwrap();
    let mut loris = connect(&world.server);
    let slow = counted(&server, "too_slow");
    let mut head = b"GET / HTTP/1.1\r\n".iter().chain(b"X-a: b\r\n".iter().cycle());
    wait_until("the slow are given up", || {
        let _ = loris.write(&[*head.next().unwrap()]);
        counted(&server, "too_slow") >= slow + 2
    });
    assert!(matches!(half.read(&mut [0; 64]), Ok(0) | Err(_)));

    // One that asks for much and reads nothing holds a thread for some seconds, and no more; one that
    // follows events without reading them, too.
    let mut deaf = connect(&world.server);
    deaf.write_all(format!("GET /events HTTP/1.1\r\nHost: {HTTP}\r\n\r\n").as_bytes()).unwrap();

    // A thousand at once, more than there is room for; those who ask come through.
    let crowd: Vec<_> = (0..CONNECTIONS).map(|_| connect(&world.server)).collect();
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 4_000_000);
    assert_eq!(get(&world.server, "/health").status, 200);
    let most = server.proc_status("Threads");
    assert!(most <= threads + THREADS, "{most} threads");
    wait_until("most of the crowd had to go", || {
        counted(&server, "evicted") as usize >= CONNECTIONS - 64
    });
    drop(crowd);

    // More who follow events than may: the others are told so, and who only asks finds room.
    let followers: Vec<_> = (0..16)
        .map(|_| {
            let mut follower = connect(&world.server);
            let request = format!("GET /events HTTP/1.1\r\nHost: {HTTP}\r\n\r\n");
            follower.write_all(request.as_bytes()).unwrap();
            follower
        })
        .collect();
    wait_until("no more may follow", || {
        let mut one_more = connect(&world.server);
        one_more
            .write_all(format!("GET /events HTTP/1.1\r\nHost: {HTTP}\r\n\r\n").as_bytes())
            .unwrap();
        let mut begin = [0; 12];
        one_more.read_exact(&mut begin).unwrap();
        begin == *b"HTTP/1.1 503"
    });
    assert_eq!(get(&world.server, "/metrics").status, 200);
    drop((followers, deaf));
    wait_until("the threads have ended", || {
        thread::sleep(Duration::from_millis(50));
        server.proc_status("Threads") <= threads + 2
    });

    let memory = server.proc_status("VmRSS").saturating_sub(memory);
    assert!(memory < MEMORY, "{memory} KiB");
    // Nothing of it did the tunnel any harm.
    let status = json(&server, &["status"]);
    assert!(status["http"]["bad_requests"].as_u64() >= Some(10), "{}", status["http"]);
    let session = &status["sessions"][0];
    assert_eq!((&session["state"], &session["before"]), (&"up".into(), &serde_json::Value::Null));
    let log = counters(&server);
    assert_eq!(counter(&log, "drop.control_busy"), 0, "{log}");
}

/// Somebody who reads the beginning of a long answer and then no more.
pub(super) fn a_reader_that_stalls_is_let_go() {
    let world = World::new(2).speaking(Mode::Secure);
    // So little in the kernel's own buffers that the answer does not find room there.
    shell(
        &world.server,
        "sysctl -qw net.ipv4.tcp_wmem='4096 16384 65536' net.ipv4.tcp_rmem='4096 16384 65536'",
    );
    let server = world.serve(&["--http", HTTP, "--max-sessions", "1000"]);
    let _client = world.join(1, &["--keepalive", "1"]);
    let mut crowd = Crowd::new(&world, SESSIONS);
    crowd.run_until("all are in", |member| member.machine.keys().is_some());
    assert!(get(&world.server, "/status.json").body.len() > 4 * 65_536);
    let (memory, threads) = (server.proc_status("VmRSS"), server.proc_status("Threads"));
    let slow = counted(&server, "too_slow");

    let mut stalled: Vec<_> = (0..8).map(|_| connect(&world.server)).collect();
    for reader in &mut stalled {
        let request = format!("GET /status.json HTTP/1.1\r\nHost: {HTTP}\r\n\r\n");
        reader.write_all(request.as_bytes()).unwrap();
        reader.read_exact(&mut [0; 4_096]).unwrap();
    }
    // Meanwhile frames pass, and others are answered.
    let mut most = 0;
    wait_until("they are let go", || {
        ping_until_answered(&world.clients[1], ROOT_V4);
        assert_eq!(get(&world.server, "/health").status, 200);
        most = most.max(server.proc_status("VmRSS"));
        counted(&server, "too_slow") >= slow + 8
    });
    wait_until("their threads have ended", || server.proc_status("Threads") <= threads + 1);
    let more = most.saturating_sub(memory);
    assert!(more < MEMORY, "{more} KiB");
    for reader in &mut stalled {
        // What is there yet can be read, and then no more comes.
        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the answer is whole");
    }
}
