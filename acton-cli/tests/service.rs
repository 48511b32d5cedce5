//! What a service manager hears of a tunnel (sd_notify(3)): when it is ready, how it is, that its
//! threads move.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "service/manager.rs"]
mod manager;
mod support;
#[path = "service/thread.rs"]
mod thread;

use std::time::Duration;

use manager::Manager;
use nix::sys::signal::Signal;
use support::ask::said_by;
use support::{Acton, Mode, PORT, SERVER_V4, World, said, shell};
use thread::HeldThread;

testbed::main! {
    a_server_is_ready_once_it_can_be_reached,
    a_refused_reload_stays_in_the_status_until_one_is_in_force,
    a_server_waits_for_its_address,
    a_client_is_ready_once_it_was_let_in,
    the_watchdog_hears_nothing_while_the_control_thread_hangs,
    the_watchdog_hears_nothing_while_a_worker_hangs,
}

/// How long the watchdogs here wait.
const WATCHDOG: Duration = Duration::from_millis(400);

/// The server of a world in plain mode, as a service.
fn serve(world: &World, manager: &Manager, watchdog: Option<Duration>) -> Acton {
    let arguments = ["server", "--plain", "-a", "10.9.0.1/24", "--workers", "1"];
    Acton::spawn("server", &world.server, &mut manager.command(&arguments, watchdog))
}

fn a_server_is_ready_once_it_can_be_reached() {
    let (world, manager) = (World::new(1), Manager::new("server"));
    let server = serve(&world, &manager, None);
    let ready = manager.next();
    let status = format!("READY=1\nSTATUS=serving on UDP 0.0.0.0:{PORT}, TAP server, 0 sessions");
    assert_eq!(ready, status);
    assert!(server.log().contains(said::LISTENING));
    let client = world.join(0, &[]);
    assert_eq!(
        manager.next(),
        status.replace("READY=1\n", "").replace("0 s", "1 s").replace("sessions", "session")
    );
    server.signal(Signal::SIGHUP);
    let reloading = manager.next();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    assert_eq!(manager.next(), "READY=1");
    client.stop();
    assert_eq!(manager.next(), status.replace("READY=1\n", ""));
    server.stop();
    assert_eq!(manager.next(), "STOPPING=1\nSTATUS=saying goodbye");
}

fn a_refused_reload_stays_in_the_status_until_one_is_in_force() {
    let (world, manager) = (World::new(1), Manager::new("reload"));
    let config = world.keys.path("server.toml");
    let write = |text: &str| std::fs::write(&config, text).unwrap();
    write("");
    let arguments = [
        "server",
        "--plain",
        "-a",
        "10.9.0.1/24",
        "--workers",
        "1",
        "--config",
        config.to_str().unwrap(),
    ];
    let mut command = manager.command(&arguments, None);
    let server = Acton::spawn("server", &world.server, &mut command);
    let serving = manager.next().replace("READY=1\n", "");
    write("bridge = \"none-such\"\n");
    server.signal(Signal::SIGHUP);
    assert!(manager.next().starts_with("RELOADING=1\n"));
    let refused = manager.next();
    let why = refused.strip_prefix(&format!("{serving}; the last reload was refused: "));
    assert!(why.is_some_and(|why| why.contains("none-such")), "{refused}");
    assert_eq!(manager.next(), "READY=1");
    let client = world.join(0, &[]);
    let with_client = manager.next();
    assert!(with_client.contains("1 session;") && with_client.contains("none-such"));
    // The control socket tells of it too.
    write("mtu = 1400\n");
    assert_eq!(said_by(server.control(), &["reload"]).code, 0);
    assert_eq!(manager.next(), serving.replace("0 sessions", "1 session"));
    client.stop();
    server.stop();
}

fn a_server_waits_for_its_address() {
    let (world, manager) = (World::new(1), Manager::new("address"));
    let arguments = ["server", "--plain", "--listen", "192.0.2.77", "-a", "10.9.0.1/24"];
    let start = || Acton::spawn("server", &world.server, &mut manager.command(&arguments, None));
    let waiting = "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=waiting for the address 192.0.2.77";
    let server = start();
    assert_eq!(manager.next(), waiting);
    server.wait_for("no interface of this host has the address 192.0.2.77");
    assert!(!shell(&world.server, "ip -o link").contains("server"), "no TAP so far");
    world.server.add_address("eth0", "192.0.2.77".parse().unwrap(), 24).unwrap();
    let ready = manager.until("READY=1");
    assert!(ready.iter().rev().skip(1).all(|message| message == waiting), "{ready:?}");
    let log = server.stop();
    assert_eq!(log.matches("no interface of this host").count(), 1, "{log}");
    manager.until("STOPPING=1");

    shell(&world.server, "ip addr del 192.0.2.77/24 dev eth0");
    let server = start();
    server.wait_for("no interface of this host has the address 192.0.2.77");
    server.stop();
}

fn a_client_is_ready_once_it_was_let_in() {
    let (world, manager) = (World::new(1).speaking(Mode::Secure), Manager::new("client"));
    let arguments = world.client_arguments(0, &SERVER_V4.to_string());
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let command = &mut manager.command(&arguments, None);
    let client = Acton::spawn("client", &world.clients[0], command);
    let trying = manager.until("STATUS=nothing listens on 192.0.2.1:8080");
    assert!(!trying.iter().any(|message| message.contains("READY")), "{trying:?}");
    // It would say that it is ready.
    client.signal(Signal::SIGHUP);
    let server = world.serve(&[]);
    let trying = manager.until("READY=1");
    let (ready, trying) = trying.split_last().unwrap();
    assert_eq!(ready, "READY=1\nSTATUS=connected to 192.0.2.1:8080");
    assert!(trying.iter().all(|message| message.starts_with("STATUS=")), "{trying:?}");
    // It knows of the session half a round trip later.
    server.wait_for(" up: ");
    server.stop();
    // That it is lost, or what came of trying again.
    assert!(manager.next().ends_with("192.0.2.1:8080, trying again"));
    client.stop();
    manager.until("STOPPING=1");
}

fn the_watchdog_hears_nothing_while_the_control_thread_hangs() {
    let (world, manager) = (World::new(1), Manager::new("control"));
    let server = serve(&world, &manager, Some(WATCHDOG));
    // Again and again, also where nothing happens.
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    let held = HeldThread::anywhere(server.id(), "acton-control");
    manager.until_silent_for(2 * WATCHDOG);
    drop(held);
    manager.until("WATCHDOG=1");
    server.stop();
}

fn the_watchdog_hears_nothing_while_a_worker_hangs() {
    let (world, manager) = (World::new(1), Manager::new("worker"));
    let server = serve(&world, &manager, Some(WATCHDOG));
    let client = world.join(0, &["--keepalive", "0.1"]);
    manager.until("WATCHDOG=1");
    let held = HeldThread::at_call(server.id(), "acton-worker-0", libc::SYS_recvmmsg);
    manager.until_silent_for(2 * WATCHDOG);
    server.wait_for("worker 0 has not moved for 0.2 s");
    drop(held);
    manager.until("WATCHDOG=1");
    client.stop();
    server.stop();
}
