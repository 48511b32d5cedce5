//! A tunnel that runs.

use std::fs;
use std::process::Command;

use acton_netns::{Veth, veth};

use super::patient::{Look, Patient, Scratch, mend};
use super::support::ask::until as sessions_until;
use super::support::{Acton, Mode, SERVER_MAC, Wire, World, control, frame, said, wait_until};

/// The server of a world, once it listens, and where to ask it.
pub(crate) fn serve(world: &World, arguments: &[&str]) -> (Acton, String) {
    let server = world.start_server(arguments);
    server.wait_for(said::LISTENING);
    let path = control(&server).to_str().unwrap().to_owned();
    (server, path)
}

/// Looks until a check says so.
#[track_caller]
pub(crate) fn until(patient: &Patient<'_>, arguments: &[&str], code: &str, verdict: &str) -> Look {
    let mut look = patient.look(arguments);
    wait_until(&format!("{code} says {verdict}"), || {
        let is = look.verdict(code) == verdict;
        if !is {
            look = patient.look(arguments);
        }
        is
    });
    look
}

pub(crate) fn a_tap_that_is_down() {
    let world = World::new(0).speaking(Mode::Secure);
    let (_server, path) = serve(&world, &[]);
    let patient = Patient::Host(&world.server);
    patient.run("ip link set server down");
    mend(&patient, "tap_down", "failed", &["--control", &path]);
}

pub(crate) fn a_tap_with_a_short_queue() {
    let world = World::new(0).speaking(Mode::Secure);
    let (_server, path) = serve(&world, &[]);
    let patient = Patient::Host(&world.server);
    patient.run("ip link set server txqueuelen 10");
    mend(&patient, "tap_queue", "warning", &["--control", &path]);
}

pub(crate) fn taps_of_two_mtus() {
    let world = World::new(1).speaking(Mode::Secure);
    let (_server, path) = serve(&world, &[]);
    let client = world.join(0, &["--mtu", "1400"]);
    let patient = Patient::Host(&world.server);
    mend(&patient, "tap_mtu", "warning", &["--control", &path]);
    drop(client);
}

pub(crate) fn a_bridge_that_does_not_forward() {
    let world = World::new(0).speaking(Mode::Secure);
    let patient = Patient::Host(&world.server);
    patient.run(
        "ip link add br0 type bridge stp_state 1 forward_delay 3000
         ip link set br0 up
         sysctl -w net.bridge.bridge-nf-call-iptables=1",
    );
    let (_server, path) = serve(&world, &["--bridge", "br0"]);
    let arguments = ["--control", &*path];
    mend(&patient, "bridge_filter", "warning", &arguments);
    mend(&patient, "bridge_snooping", "warning", &arguments);
    mend(&patient, "bridge_stp", "failed", &arguments);
}

pub(crate) fn a_file_of_settings_that_changed() {
    let scratch = Scratch::new("settings");
    let file = scratch.path("server.toml");
    fs::write(&file, "mac-ageing = 100\n").unwrap();
    let world = World::new(0).speaking(Mode::Secure);
    let (_server, path) = serve(&world, &["--config", &file]);
    let patient = Patient::Host(&world.server);
    let arguments = ["--control", &*path, "--config", &*file];
    assert_eq!(patient.look(&arguments).verdict("config"), "ok");
    fs::write(&file, "mac-ageing = 200\n").unwrap();
    mend(&patient, "config", "warning", &arguments);
    fs::write(&file, "mac-agening = 200\n").unwrap();
    let look = patient.look(&arguments);
    assert_eq!(look.verdict("config"), "failed", "{look:?}");
    // Without a tunnel too.
    let look = Patient::Here.look(&["--config", &file]);
    assert!(look.measured("config").contains("did you mean 'mac-ageing'"), "{look:?}");
}

pub(crate) fn a_mac_of_the_server_at_a_client() {
    let world = World::new(1).speaking(Mode::Secure);
    let (_server, path) = serve(&world, &[]);
    let _client = world.join(0, &[]);
    let wire: Wire = world.client_wire(0);
    wire.send(&frame(SERVER_MAC, SERVER_MAC, 0x88b5, &[0; 46]));
    let patient = Patient::Host(&world.server);
    let look = until(&patient, &["--control", &path], "same_mac", "failed");
    assert_eq!(look.of("same_mac")["about"], SERVER_MAC.to_string(), "{look:?}");
}

pub(crate) fn clients_with_one_key() {
    let world = World::new(2).speaking(Mode::Secure);
    let (_server, _) = serve(&world, &[]);
    let first = world.join(0, &["--keepalive", "1"]);
    // The state directory of the first, copied with its machine.
    let mut arguments = world.client_arguments(0, "192.0.2.1");
    arguments.extend(["--keepalive", "1"].map(str::to_owned));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let second = world.run_client(1, &arguments);
    // Whoever was thrown out says so. The server says it a minute later, when that one is back.
    let ends = [(&first, 0), (&second, 1)];
    wait_until("a client says that another has its key", || {
        ends.into_iter().any(|(client, host)| {
            let path = control(client).to_str().unwrap().to_owned();
            let look = Patient::Host(&world.clients[host]).look(&["--control", &path]);
            look.verdict("same_key") == "failed"
        })
    });
}

pub(crate) fn a_tunnel_that_has_gone() {
    let world = World::new(1).speaking(Mode::Secure);
    let (server, path) = serve(&world, &[]);
    let client = world.join(0, &["--keepalive", "1"]);
    let look = Patient::Host(&world.server).look(&["--control", &path]);
    for code in
        ["ended", "session", "version_skew", "loop", "budget", "nat_mapping", "receive_buffer"]
    {
        assert_eq!(look.verdict(code), "ok", "{:?}", look.of(code));
    }
    server.stop();
    let patient = Patient::Host(&world.server);
    assert_eq!(patient.look(&["--control", &path]).verdict("ended"), "failed");
    // The client knows that it has no session, and the doctor that nobody listens there.
    sessions_until(&client, "the session is over", |session| {
        !matches!(session.state, acton_engine::State::Up | acton_engine::State::Quiet)
    });
    let path = control(&client).to_str().unwrap().to_owned();
    let look = Patient::Host(&world.clients[0]).look(&["--control", &path]);
    assert_eq!(look.verdict("session"), "failed", "{look:?}");
    let _server = world.start_server(&[]);
    sessions_until(&client, "there is a session", |session| {
        session.state == acton_engine::State::Up
    });
    let look = Patient::Host(&world.clients[0]).look(&["--control", &path]);
    assert_eq!(look.verdict("session"), "ok", "{look:?}");
    let output = Command::new(env!("CARGO_BIN_EXE_acton")).args(["doctor", "--nonsense"]).output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}

pub(crate) fn two_lans_that_are_joined_twice() {
    let world = World::new(1).speaking(Mode::Secure);
    let hosts = [&world.server, &world.clients[0]];
    for host in hosts {
        Patient::Host(host).run("ip link add br0 type bridge mcast_snooping 0; ip link set br0 up");
    }
    let (_server, path) = serve(&world, &["--bridge", "br0"]);
    let _client = world.join(0, &["--bridge", "br0"]);
    let patient = Patient::Host(&world.server);
    assert_eq!(patient.look(&["--control", &path]).verdict("loop"), "ok");
    veth(hosts[0], "cable", hosts[1], "cable", &Veth::new()).unwrap();
    for host in hosts {
        Patient::Host(host).run("ip link set cable master br0");
    }
    let look = until(&patient, &["--control", &path], "loop", "failed");
    assert!(look.measured("loop").contains("flooding is held back"), "{look:?}");
}
