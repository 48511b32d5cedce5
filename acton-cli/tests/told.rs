//! What both ends say where they cannot come together: at once, once, and with what to do.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use support::{Acton, Mode, World, counter, counters, in_both_modes, said};

in_both_modes! {
    waiting;
    a_closed_port_is_told_at_once_and_once,
    a_name_that_is_not_found_is_told_once,
    whoever_speaks_the_other_mode_is_told,
    a_port_that_the_system_chose_is_told;
    secure: a_keepalive_that_is_no_whole_second_is_refused
}

fn lines(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

fn a_closed_port_is_told_at_once_and_once(mode: Mode) {
    for (server, address) in
        [("192.0.2.1", "192.0.2.1:8080"), ("2001:db8::1", "[2001:db8::1]:8080")]
    {
        let world = World::new(1).speaking(mode);
        let client = world.start_client(0, server, &["--keepalive", "1"]);
        let text = format!("nothing listens on {address}");
        client.wait_for(&text);
        // It was told before the second HELLO; then it goes on, and says no more of it.
        client.wait_for("no answer from");
        assert_eq!(lines(&client.log(), &text), 1, "{}", client.log());
        let listen = if server.contains(':') { "::" } else { "0.0.0.0" };
        let running = world.serve(&["--listen", listen]);
        client.wait_for(said::CONNECTED);
        running.kill();
        client.wait_for_nth(&text, 2);
    }
}

fn a_name_that_is_not_found_is_told_once(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let client = world.start_client(0, "nowhere.invalid", &[]);
    client.wait_for("no answer from nowhere.invalid:8080 so far (");
    let log = client.stop();
    assert_eq!(lines(&log, "; trying again"), 1, "{log}");
}

fn whoever_speaks_the_other_mode_is_told(mode: Mode) {
    let (other, server_says, client_says) = match mode {
        Mode::Plain => (Mode::Secure, "looks like a client with keys", "running, without --plain,"),
        Mode::Secure => (
            Mode::Plain,
            "looks like a client of plain mode",
            "running, with --plain as this client",
        ),
    };
    let mut world = World::new(1).speaking(mode);
    let server = world.serve(&[]);
    world = world.speaking(other);
    let client = world.start_client(0, "192.0.2.1", &[]);
    server.wait_for(server_says);
    client.wait_for(client_says);
    client.stop();
    let log = counters(&server);
    assert!(counter(&log, "drop.other_mode") >= 1, "{log}");
    assert_eq!(lines(&log, server_says), 1, "{log}");
    let line = log.lines().find(|line| line.contains(server_says)).unwrap();
    assert!(line.contains("192.0.2.10:"), "{line}");
    server.stop();
}

fn a_port_that_the_system_chose_is_told(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["-p", "0"]);
    let log = server.log();
    let listening = log.lines().find(|line| line.contains(said::LISTENING)).unwrap();
    let port = listening.split("0.0.0.0:").nth(1).unwrap().split(',').next().unwrap();
    assert_ne!(port, "0");
    let client = world.start_client(0, &format!("192.0.2.1:{port}"), &[]);
    client.wait_for(said::CONNECTED);
}

fn a_keepalive_that_is_no_whole_second_is_refused() {
    let world = World::new(1).speaking(Mode::Secure);
    let told = "with keys it is whole seconds, 1 to 21843";
    let refused = |end: Acton| {
        let (status, log) = end.end();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(told), "{log}");
    };
    for seconds in ["0.5", "1.5", "21844"] {
        refused(world.start_server(&["--keepalive", seconds]));
        refused(world.start_client(0, "192.0.2.1", &["--keepalive", seconds]));
    }
    let server = world.serve(&["--keepalive", "21843"]);
    world.join(0, &["--keepalive", "1"]).stop();
    server.stop();
}
