//! The way between client and server changes.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use std::net::IpAddr;

use crate::checks::Checks;
use crate::crashes::{connected, lines, one_session};
use crate::support::ask::sessions;
use crate::support::{
    Impairment, Mode, ROOT_V4, World, answers, leaf, ping, ping_until_answered, said, shell,
    start_with_hosts, tcp_transfer, wait_until,
};

const SECOND: Duration = Duration::from_secs(1);

/// Waits for the first answer to pings that are sent each 100 ms, and how long that took.
fn until_answered(from: &Namespace, to: IpAddr, size: usize) -> Duration {
    let start = Instant::now();
    wait_until(&format!("{to} answers"), || {
        ping(from, to, size, Duration::from_millis(100)).is_ok()
    });
    start.elapsed()
}

pub(crate) fn nat_rebinds(checks: &Checks) {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let proxy = world.proxy(Impairment::default(), 1);
    let client = world.join_at(0, "192.0.2.200", &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let mut longest = Duration::ZERO;
    for round in 1..=5 {
        proxy.rebind();
        longest = longest.max(until_answered(&world.clients[0], ROOT_V4, 56));
        server.wait_for_nth(said::MOVED, round);
    }
    checks.within("a ping is answered, five times", longest, SECOND);
    one_session(checks, &client, &server, 1);
}

pub(crate) fn link_flaps(checks: &Checks) {
    let (world, server, clients) = connected(1, &[]);
    for host in [&world.clients[0], &world.server] {
        for _ in 0..10 {
            shell(host, "ip link set eth0 down");
            thread::sleep(Duration::from_millis(100));
            shell(host, "ip link set eth0 up");
            thread::sleep(Duration::from_millis(100));
        }
        // IPv4 addresses stay where a link goes down.
        checks.within(
            "a ping is answered after ten flaps",
            until_answered(&world.clients[0], ROOT_V4, 56),
            3 * SECOND,
        );
    }
    one_session(checks, &clients[0], &server, 1);
}

pub(crate) fn path_shrinks(checks: &Checks) {
    let (world, server, clients) = connected(1, &[]);
    world.as_on_a_cable();
    let mtu = || sessions(&server)[0].path_mtu_out;
    wait_until("the path is known", || mtu() == Some(1_472));
    // A bridge drops without a word what the next link does not carry.
    shell(&world.switch, "ip link set port10 mtu 1280");
    let refused = ping(&world.clients[0], ROOT_V4, 1_380, Duration::from_millis(300)).is_err();
    checks.holds("a frame of 1,422 bytes is lost first", refused, refused);
    let start = Instant::now();
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 1_000_000);
    checks.within("1 MB of TCP goes up", start.elapsed(), 20 * SECOND);
    let start = Instant::now();
    tcp_transfer(&world.server, &world.clients[0], leaf(0)[0], 1_000_000);
    checks.within("1 MB of TCP goes down", start.elapsed(), 20 * SECOND);
    let took = until_answered(&world.clients[0], ROOT_V4, 1_380);
    checks.within("frames of 1,422 bytes pass then", took, 15 * SECOND);
    one_session(checks, &clients[0], &server, 1);
}

pub(crate) fn address_changes(checks: &Checks) {
    let (world, server, clients) = connected(1, &[]);
    for (old, new) in [("10", "99"), ("99", "98")] {
        shell(
            &world.clients[0],
            &format!(
                "ip address del 192.0.2.{old}/24 dev eth0
                 ip address add 192.0.2.{new}/24 dev eth0"
            ),
        );
        let start = Instant::now();
        server.wait_for(&format!("{} 192.0.2.{new}:", said::MOVED));
        checks.within("the server knows the client's new one", start.elapsed(), 2 * SECOND);
        let took = until_answered(&world.clients[0], ROOT_V4, 56);
        checks.within("a ping is answered", took, 2 * SECOND);
    }
    one_session(checks, &clients[0], &server, 1);
}

pub(crate) fn name_changes(checks: &Checks) {
    let world = World::new(1).speaking(Mode::Secure);
    let hosts = world.keys.path("hosts");
    fs::write(&hosts, "192.0.2.1 tunnel.test\n").unwrap();
    let server = world.serve(&[]);
    let client = start_with_hosts(&world, &hosts);
    client.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    server.kill();
    shell(
        &world.server,
        "ip address del 192.0.2.1/24 dev eth0
         ip address add 192.0.2.2/24 dev eth0",
    );
    let _server = world.serve(&[]);
    fs::write(&hosts, "192.0.2.2 tunnel.test\n").unwrap();
    let start = Instant::now();
    client.wait_for_nth(said::CONNECTED, 2);
    wait_until("a ping is answered", || answers(&world.clients[0], ROOT_V4));
    // Its silence is noticed, the first HELLO goes to the old address, the next to the new one.
    checks.within("the client has a session at the new address", start.elapsed(), 20 * SECOND);
    checks.told("the client", &client.log(), "(192.0.2.2:8080)");
    checks.equal("sessions that it lost", lines(&client, said::LOST), 1);
}
