//! The way to the server.

use std::process::Command;

use super::patient::{Held, Patient, Scratch, mend};
use super::support::ask::until as sessions_until;
use super::support::{Mode, World, control, off_by, said};
use acton_netns::Namespace;

pub(crate) fn a_name_without_an_address() {
    let scratch = Scratch::new("name");
    let hosts = scratch.path("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let script = format!("mount --bind {hosts} /etc/hosts");
    let held = Held::new(&["--mount"], &script, &["--mount"]);
    let patient = Patient::Held(&held);
    let arguments = ["tunnel.invalid:9", "--plain"];
    let sick = patient.look(&arguments);
    assert_eq!(sick.verdict("name_resolution"), "failed", "{sick:?}");
    std::fs::write(&hosts, "127.0.0.1 tunnel.invalid\n::1 tunnel.invalid\n").unwrap();
    let well = patient.look(&arguments);
    assert_eq!(well.verdict("name_resolution"), "ok", "{well:?}");
    assert_eq!(well.measured("name_resolution"), "IPv4 127.0.0.1; IPv6 ::1");
}

pub(crate) fn servers_that_do() {
    for mode in [Mode::Plain, Mode::Secure] {
        let world = World::new(1).speaking(mode);
        let server = world.start_server(&[]);
        server.wait_for(said::LISTENING);
        let patient = Patient::Host(&world.clients[0]);
        let look = match mode {
            Mode::Plain => patient.look(&["192.0.2.1", "--plain"]),
            Mode::Secure => patient.look(&[&world.keys.invite("192.0.2.1")]),
        };
        assert_eq!(look.verdict("server"), "ok", "{look:?}");
        assert!(look.measured("server").starts_with("answers, after"), "{look:?}");
        assert_eq!(look.verdict("udp_gso"), "ok", "{look:?}");
        if mode == Mode::Secure {
            assert_eq!(look.verdict("clock"), "ok", "{look:?}");
            // Neither who has no invite nor a list of clients is a fault of the way.
            assert_eq!(patient.look(&["192.0.2.1"]).verdict("server"), "unknown");
            world.keys.named_invite("berlin", &[]);
            let look = patient.look(&[&world.keys.invite("192.0.2.1")]);
            assert_eq!(look.verdict("server"), "ok", "{look:?}");
        }
        // The doctor said goodbye.
        server.wait_for(said::BYE);
    }
}

pub(crate) fn servers_that_do_not_answer() {
    let world = World::new(1).speaking(Mode::Secure);
    let invite = world.keys.invite("192.0.2.1");
    let patient = Patient::Host(&world.clients[0]);
    let told = |server: &str| {
        let look = patient.look(&[server]);
        assert_eq!(look.verdict("server"), "failed", "{look:?}");
        look.measured("server").to_owned()
    };
    let refused = told(&invite);
    assert_eq!(refused, "ICMP from 192.0.2.1 says that nobody listens at that port");
    let nobody = told(&world.keys.invite("192.0.2.77"));
    assert!(nobody.contains("No route to host"), "{nobody}");
    Patient::Host(&world.server).run(
        "nft 'add table inet f; add chain inet f in { type filter hook input priority 0; }'
         nft add rule inet f in udp dport 8080 drop",
    );
    assert!(told(&invite).starts_with("silence, asked"));
    patient.run(
        "nft 'add table inet f; add chain inet f out { type filter hook output priority 0; }'
         nft add rule inet f out udp dport 8080 drop",
    );
    assert!(told(&invite).starts_with("could not be asked"));
    // To a network that no route leads to, nothing is asked.
    let look = patient.look(&["198.51.100.1", "--plain"]);
    assert_eq!((look.verdict("route"), look.verdict("server")), ("failed", "skipped"), "{look:?}");
    patient.run("ip route add default via 192.0.2.1");
    assert_eq!(patient.look(&["198.51.100.1", "--plain"]).verdict("route"), "ok");
}

pub(crate) fn a_firewall() {
    let scratch = Scratch::new("firewall");
    let config = scratch.path("server.toml");
    std::fs::write(&config, "port = 4000\n").unwrap();
    let arguments = ["--config", &*config];
    assert_eq!(Patient::Here.look(&arguments).verdict("firewall"), "ok");
    Patient::Here.run(
        "nft 'add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }'
         nft add rule inet f in ct state established accept
         nft add rule inet f in udp dport { 53, 5000-6000 } accept",
    );
    mend(&Patient::Here, "firewall", "failed", &arguments);
    Patient::Here.run("nft insert rule inet f in udp dport 4000 counter reject");
    mend(&Patient::Here, "firewall", "failed", &arguments);
}

pub(crate) fn a_clock_that_is_wrong() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.start_server(&[]);
    server.wait_for(said::LISTENING);
    let patient = Patient::Host(&world.clients[0]);
    let mut command: Command = off_by("-1h", &["doctor", "--json"]);
    let look = patient.look_with(&mut command, &[&world.keys.invite("192.0.2.1")]);
    assert_eq!(look.verdict("clock"), "warning", "{look:?}");
    assert!(look.measured("clock").contains("behind the server's"), "{look:?}");
    assert_eq!(look.fix("clock"), "timedatectl set-ntp true");
}

pub(crate) fn an_interface_without_offloads() {
    let world = World::new(1);
    let patient = Patient::Host(&world.clients[0]);
    patient.run("ethtool -K eth0 gro off gso off tx-udp-segmentation off");
    mend(&patient, "nic_offload", "warning", &["192.0.2.1:9", "--plain"]);
}

pub(crate) fn a_link_that_is_too_small() {
    let world = World::new(1);
    let patient = Patient::Host(&world.clients[0]);
    patient.run("ip link set eth0 mtu 1200");
    mend(&patient, "link_mtu", "failed", &["192.0.2.1:9", "--plain"]);
}

pub(crate) fn a_path_that_is_narrower() {
    let world = World::new(1).speaking(Mode::Secure);
    world.switch.run(|| testbed::sh("ip link set port1 mtu 1300"));
    let server = world.start_server(&[]);
    server.wait_for(said::LISTENING);
    let client = world.join(0, &[]);
    let patient = Patient::Host(&world.clients[0]);
    let look = patient.look(&["--control", control(&client).to_str().unwrap()]);
    assert_eq!(look.verdict("path_mtu"), "warning", "{look:?}");
    assert_eq!(look.verdict("session"), "ok", "{look:?}");
    assert!(look.measured("server").starts_with("the session is up"), "{look:?}");
    world.switch.run(|| testbed::sh("ip link set port1 mtu 1500"));
    client.signal(nix::sys::signal::Signal::SIGTERM);
    drop(client);
    let client = world.join(0, &[]);
    sessions_until(&client, "the path is known", |session| session.path_mtu_out == Some(1_472));
    let look = patient.look(&["--control", control(&client).to_str().unwrap()]);
    assert_eq!(look.verdict("path_mtu"), "ok", "{look:?}");
}

/// A datagram that does not fit the link is what this kernel refuses to cut a message into, as it would
/// on a route through IPsec.
pub(crate) fn a_way_without_segmentation() {
    let world = World::new(1);
    let patient = Patient::Host(&world.clients[0]);
    patient.run("ip link set eth0 mtu 500");
    let arguments = ["192.0.2.1:9", "--plain"];
    let look = patient.look(&arguments);
    assert_eq!(look.verdict("udp_gso"), "warning", "{look:?}");
    patient.run(&look.fix("link_mtu"));
    assert_eq!(patient.look(&arguments).verdict("udp_gso"), "ok");
}

pub(crate) fn an_invite_that_is_none() {
    let namespace = Namespace::new().unwrap();
    let look = Patient::Host(&namespace).look(&["acton://192.0.2.1:8080/#cut-off"]);
    assert_eq!(look.verdict("invite"), "failed", "{look:?}");
}
