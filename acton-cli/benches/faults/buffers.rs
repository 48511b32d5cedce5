//! The system takes no more datagrams for a while.

use std::thread;
use std::time::Duration;

use crate::checks::Checks;
use crate::crashes::one_session;
use crate::support::{
    Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, Wire, World, client_mac, counter, counters, frame,
    ping, ping_until_answered, shell,
};

/// Bytes of a frame's payload: its datagram needs no IP fragments.
const PAYLOAD: usize = 1_380;
/// Longer than a queue of 8 MiB takes to go out at 50 Mbit/s.
const QUIET: Duration = Duration::from_secs(3);

/// A slow link behind a queue of so many packets, super-packets included: htb cuts none.
fn slow(limit: u32) -> String {
    format!(
        "tc qdisc add dev eth0 root handle 1: htb default 1
         tc class add dev eth0 parent 1: classid 1:1 htb rate 50mbit quantum 60000
         tc qdisc add dev eth0 parent 1:1 pfifo limit {limit}"
    )
}

/// The queue is full, and the kernel says so: ENOBUFS.
pub(crate) fn no_buffers(checks: &Checks) {
    more_than_the_link_takes(checks, 4, 5_000);
}

/// The queue is long, and the socket's buffer full before it: EAGAIN.
pub(crate) fn send_buffer_full(checks: &Checks) {
    more_than_the_link_takes(checks, 100_000, 25_000);
}

fn more_than_the_link_takes(checks: &Checks, limit: u32, frames: u32) {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&["--no-loop-guard"]);
    let client = world.join(0, &["--no-loop-guard"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    shell(&world.server, &slow(limit));
    thread::scope(|scope| {
        scope.spawn(|| until_quiet(&leaf));
        for number in 0..frames {
            let mut payload = [0; PAYLOAD];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            root.send(&frame(client_mac(0), SERVER_MAC, TEST_ETHERTYPE, &payload));
            // The TAP's own queue, of 1,000 frames, must not overflow.
            if number % 50 == 49 {
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let log = counters(&server);
    checks.at_least("frames counted as udp_full", counter(&log, "drop.udp_full"), 100);
    let of_client = counters(&client);
    let came = counter(&of_client, "tap.written.frames");
    let dropped = drops(&log) + drops(&of_client);
    // What the kernel lost on either TAP, it counts there: the fourth figure of a direction.
    let lost = |host, tap: &str, field: u8| {
        let text = shell(host, &format!("awk '/{tap}:/ {{ print ${field} }}' /proc/net/dev"));
        text.trim().parse::<u64>().unwrap()
    };
    let taps = lost(&world.server, "server", 13) + lost(&world.clients[0], "client", 5);
    checks.equal("frames that the TAPs' queues dropped", taps, 0);
    // What found no room in the client's socket, the kernel counts. A few frames of its own, ARP and
    // IPv6, are in the figures too.
    let full = shell(&world.clients[0], "awk '/^Udp: [0-9]/ { print $6 }' /proc/net/snmp");
    let dropped = dropped + full.trim().parse::<u64>().unwrap();
    let uncounted = u64::from(frames).saturating_sub(came + dropped);
    checks.at_most("frames that neither came nor were counted", uncounted, 10);
    let answered = ping(&world.clients[0], ROOT_V4, 56, Duration::from_secs(2)).is_ok();
    checks.holds("a ping passes the slow link", answered, answered);
    one_session(checks, &client, &server, 1);
}

/// Waits until no frame has come for a while.
fn until_quiet(wire: &Wire) {
    while wire.receive(QUIET).is_some() {}
}

/// All drops in the last line of counters.
fn drops(log: &str) -> u64 {
    let line = log.lines().rev().find(|line| line.contains("counters: ")).unwrap();
    let drops = line.split_whitespace().filter(|word| word.starts_with("drop."));
    drops.map(|drop| drop.split_once('=').unwrap().1.parse::<u64>().unwrap()).sum()
}
