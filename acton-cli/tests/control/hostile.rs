//! Clients of the socket that are rude, slow, many or mad.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::ask::{json, told};
use super::support::{
    Acton, HANG, Mode, ROOT_V4, World, control, counter, ping_until_answered, tcp_transfer,
    wait_until,
};

/// A gigabyte.
const GIGABYTE: usize = 1 << 30;
const CONNECTIONS: usize = 1_000;
/// Memory in KiB that all of this may cost.
const MEMORY: u64 = 16 << 10;

fn connect(end: &Acton) -> UnixStream {
    let stream = UnixStream::connect(control(end)).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
}

/// What the socket counted.
fn counted(end: &Acton, name: &str) -> u64 {
    json(end, &["status"])["control"][name].as_u64().unwrap()
}

pub(super) fn rude_clients_cost_nothing() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&["--keepalive", "1"]);
    let _client = world.join(0, &["--keepalive", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let (memory, threads) = (server.proc_status("VmRSS"), server.proc_status("Threads"));

    // Half a line.
    let mut half = connect(&server);
    half.write_all(b"{\"schema\":").unwrap();
    // A gigabyte without an end.
    let mut endless = connect(&server);
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
    assert!(written < 1 << 20, "{written} bytes were taken");
    // One that asks and asks, and does not read.
    let mut deaf = connect(&server);
    deaf.set_nonblocking(true).unwrap();
    let request = b"{\"schema\":2,\"request\":{\"status\":{}}}\n".repeat(100);
    let asks = |deaf: &mut UnixStream| match deaf.write(&request) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    while asks(&mut deaf) && counted(&server, "too_slow") == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    // A thousand at once, more than which there is room for; those who ask come through.
    let crowd: Vec<_> = (0..CONNECTIONS).map(|_| connect(&server)).collect();
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 4_000_000);
    assert!(told(&server, &["status"]).contains("sessions 1 up"));
    let most = server.proc_status("Threads");
    assert!(most <= threads + 40, "{most} threads");
    let evicted = counted(&server, "evicted");
    assert!(evicted as usize >= CONNECTIONS - 40, "{evicted}");
    drop(crowd);
    wait_until("the threads have ended", || server.proc_status("Threads") <= threads + 2);

    let status = json(&server, &["status"]);
    let control = &status["control"];
    assert_eq!(control["bad_requests"], 1, "{control}");
    assert_eq!(control["too_slow"], 1, "{control}");
    assert!(control["connections"].as_u64() > Some(CONNECTIONS as u64), "{control}");
    let memory = server.proc_status("VmRSS").saturating_sub(memory);
    assert!(memory < MEMORY, "{memory} KiB");
    // Nothing of it did the tunnel any harm.
    let session = &status["sessions"][0];
    assert_eq!((&session["state"], &session["before"]), (&"up".into(), &Value::Null));
    let log = super::support::counters(&server);
    assert_eq!(counter(&log, "drop.control_busy"), 0, "{log}");
    assert_eq!(log.matches(" up: ").count(), 1, "{log}");
}

pub(super) fn what_is_no_request_is_answered_and_counted() {
    let world = World::new(0);
    let server = world.serve(&[]);
    let mut stream = connect(&server);
    let lines: [&[u8]; 7] = [
        b"",
        b"status",
        b"{\"schema\":2,\"request\":{\"reboot\":{}}}",
        b"{\"schema\":2,\"request\":{\"kick\":{\"session\":\"a\",\"fro_seconds\":1}}}",
        b"{\"schema\":1,\"request\":{\"fdb\":{}}}",
        b"\xff\xfe\x00",
        &[b'['; 10_000],
    ];
    let mut answers = Vec::new();
    for line in lines {
        stream.write_all(&[line, b"\n"].concat()).unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let code = answer["answer"]["error"]["code"].as_str().unwrap().to_owned();
        answers.push(code);
    }
    let bad = "bad_request";
    assert_eq!(answers, [bad, bad, bad, bad, "schema", bad, bad]);
    // It is still good for one that is a request.
    stream.write_all(b"{\"schema\":2,\"request\":{\"fdb\":{}}}\n").unwrap();
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"{\"schema\":2,\"answer\":{\"end\":{}}}\n");
    assert_eq!(counted(&server, "bad_requests"), lines.len() as u64);
}
