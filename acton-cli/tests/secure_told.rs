//! What both ends say of clocks that are far apart: a line that says what to do, and no more than that.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use support::{Acton, Mode, ROOT_V4, World, client_off_by, off_by, ping_until_answered, said};

testbed::main! {
    a_clock_that_is_years_off_is_told_and_locks_nobody_out: ["faketime"],
    a_server_whose_clock_is_years_off_is_none_the_less_joined: ["faketime"],
}

fn world(clients: u8) -> World {
    World::new(clients).speaking(Mode::Secure)
}

/// The lines of a log that contain `text`.
fn lines<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

const TO_DO: &str = "acton works all the same, but set the wrong one (timedatectl set-ntp true)";

fn a_clock_that_is_years_off_is_told_and_locks_nobody_out() {
    let world = world(2);
    let server = world.serve(&[]);
    // Its clock was right once, and it comes back without having said BYE.
    let before = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    before.kill();
    let offsets = [("-10y", "behind", "ahead of"), ("+30y", "ahead of", "behind")];
    for (i, (offset, at_client, at_server)) in (0..).zip(offsets) {
        let client = client_off_by(&world, i, offset);
        client.wait_for(TO_DO);
        ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
        assert!(client.log().contains(&format!("days {at_client} its clock")), "{}", client.log());
        if i == 1 {
            let line = format!("days {at_server} its clock");
            server.wait_for(&line);
            let log = server.log();
            assert!(lines(&log, &line)[0].contains("192.0.2.11:"), "{log}");
        }
        // Once more: told a minute later at the earliest.
        client.stop();
        let client = client_off_by(&world, i, offset);
        client.wait_for(said::CONNECTED);
        ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
        client.stop();
    }
    let log = server.stop();
    for (i, (.., at_server)) in (0..).zip(offsets) {
        let line = format!("days {at_server} its clock");
        assert_eq!(lines(&log, &line).len(), 1, "client {i}: {log}");
        assert!(lines(&log, &line)[0].contains(TO_DO), "{log}");
    }
}

fn a_server_whose_clock_is_years_off_is_none_the_less_joined() {
    let world = world(1);
    let state = world.keys.server_state();
    world.keys.server();
    let arguments = ["server", "--state", &state, "-a", "10.9.0.1/24"];
    let server = Acton::spawn("server", &world.server, &mut off_by("-10y", &arguments));
    server.wait_for(said::LISTENING);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    client.wait_for(TO_DO);
    server.wait_for(TO_DO);
}
