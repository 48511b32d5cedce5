//! New keys while frames are on their way: none is lost.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pnet_base::MacAddr;
use support::{
    Acton, Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, Wire, World, client_mac, counter, counters,
    frame, leaf, mac, ping_until_answered, said, tcp_transfer,
};

testbed::main! {
    a_rekey_at_full_speed_loses_no_frame,
    a_rekey_under_tcp_drops_nothing,
}

/// How often there are new keys, and how many times in a test.
const EVERY: &str = "1";
const REKEYS: usize = 4;
/// Frames under way at most: fewer than any buffer on the way holds, so that none has a reason to
/// be lost but a change of keys.
const WINDOW: u32 = 64;

fn numbered(to: MacAddr, from: MacAddr, number: u32) -> Vec<u8> {
    let mut payload = vec![0x3c; 1_000];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    frame(to, from, TEST_ETHERTYPE, &payload)
}

/// Sends numbered frames until `done`, as fast as they come out, and demands every one of them in
/// its order. The number of frames.
fn pump(
    from: &Wire,
    to: &Wire,
    make: impl Fn(u32) -> Vec<u8> + Sync,
    done: impl Fn() -> bool + Sync,
) -> u32 {
    let (received, ended) = (AtomicU32::new(0), AtomicU32::new(u32::MAX));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !done() {
                // The receiver gives up on a loss, and the test with it.
                while number - received.load(Ordering::Relaxed) >= WINDOW {
                    thread::yield_now();
                }
                from.send(&make(number));
                number += 1;
            }
            ended.store(number, Ordering::Relaxed);
        });
        let ended = || ended.load(Ordering::Relaxed);
        let mut number = 0;
        while number < ended() {
            let Some(frame) = to.receive(Duration::from_millis(2_000)) else {
                // What is missing never comes: let the sender end.
                received.store(u32::MAX / 2, Ordering::Relaxed);
                panic!("lost: frame {number}");
            };
            if frame[12..14] == TEST_ETHERTYPE.to_be_bytes() {
                assert!(frame == make(number), "not frame {number}: {:02x?}", &frame[..20]);
                number += 1;
                received.store(number, Ordering::Relaxed);
            }
        }
        number
    })
}

/// The handshakes in a key log.
fn handshakes(world: &World) -> usize {
    fs::read_to_string(world.keys.path("key-log")).unwrap_or_default().lines().count()
}

fn a_rekey_at_full_speed_loses_no_frame() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let key_log = world.keys.path("key-log");
    let client = world.join(0, &["--rekey", EVERY, "--key-log", key_log.to_str().unwrap()]);
    let (root, wire) = (world.server_wire(), world.client_wire(0));
    ping_until_answered(&world.clients[0], ROOT_V4);
    let dropped = dropped([&client, &server]);
    let (start, before) = (Instant::now(), handshakes(&world));
    let done = || handshakes(&world) >= before + REKEYS;
    let behind = mac(0x44);
    // The client's side has to be known, else the server's frames go the way of a flood.
    let first = numbered(SERVER_MAC, behind, u32::MAX);
    wire.send(&first);
    root.receive_until(&first);
    let (root_out, wire_out) = (world.server_wire(), world.client_wire(0));
    let [up, down] = thread::scope(|scope| {
        let up = scope.spawn(|| {
            pump(&wire, &root, |number| numbered(SERVER_MAC, client_mac(0), number), done)
        });
        let down =
            scope.spawn(|| pump(&root_out, &wire_out, |n| numbered(behind, SERVER_MAC, n), done));
        [up, down].map(|direction| direction.join().unwrap())
    });
    println!(
        "{up} frames up and {down} down in {:?}, {} handshakes meanwhile, none lost",
        start.elapsed(),
        handshakes(&world) - before
    );
    assert!(up > 1_000 && down > 1_000);
    nothing_dropped(&dropped, [client.stop(), server.stop()]);
}

/// What each end has dropped for its keys until now; before there is a session, a frame or two may be.
fn dropped(ends: [&Acton; 2]) -> [[u64; 5]; 2] {
    ends.map(|end| of_keys(&counters(end)))
}

fn of_keys(log: &str) -> [u64; 5] {
    ["keys_expired", "forged", "replayed", "not_connected", "udp_full"]
        .map(|reason| counter(log, &format!("drop.{reason}")))
}

/// Demands one session and no further frame dropped for its keys.
#[track_caller]
fn nothing_dropped(before: &[[u64; 5]; 2], logs: [String; 2]) {
    for (log, before) in logs.iter().zip(before) {
        assert_eq!(&of_keys(log), before, "{log}");
        assert!(!log.contains(said::LOST) && !log.contains("silent"), "{log}");
    }
}

fn a_rekey_under_tcp_drops_nothing() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let key_log = world.keys.path("key-log");
    let client = world.join(0, &["--rekey", EVERY, "--key-log", key_log.to_str().unwrap()]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let dropped = dropped([&client, &server]);
    let (start, before) = (Instant::now(), handshakes(&world));
    let mut bytes = 0_u64;
    while handshakes(&world) < before + REKEYS {
        tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 20_000_000);
        tcp_transfer(&world.server, &world.clients[0], leaf(0)[0], 20_000_000);
        bytes += 40_000_000;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "TCP: {:.2} Gbit/s over {} handshakes",
        bytes as f64 * 8e-9 / seconds,
        handshakes(&world) - before
    );
    nothing_dropped(&dropped, [client.stop(), server.stop()]);
}
