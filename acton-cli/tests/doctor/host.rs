//! The host itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::patient::{Held, Patient, Scratch, mend};
use super::support::KeyRing;

pub(crate) fn a_missing_device_node() {
    let held = Held::new(&["--mount"], "mount -t tmpfs none /dev/net", &["--mount"]);
    mend(&Patient::Held(&held), "tun_device", "failed", &[]);
}

pub(crate) fn no_user_namespaces() {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces";
    let enter = &["--user", "--preserve-credentials"];
    let held = Held::new(&["--user", "--map-root-user"], script, enter);
    mend(&Patient::Held(&held), "user_namespaces", "warning", &[]);
}

pub(crate) fn a_program_without_its_capability() {
    let scratch = Scratch::new("capability");
    let copy = scratch.path("acton");
    fs::copy(env!("CARGO_BIN_EXE_acton"), &copy).unwrap();
    fs::set_permissions(scratch.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let look = || {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            &copy,
            "doctor",
            "--json",
        ]);
        Patient::Here.look_with(&mut command, &[])
    };
    let sick = look();
    assert_eq!(sick.verdict("capabilities"), "warning", "{sick:?}");
    Patient::Here.run(&sick.fix("capabilities"));
    assert_eq!(look().verdict("capabilities"), "ok");
}

pub(crate) fn an_ordinary_user_is_told_much() {
    let scratch = Scratch::new("ordinary");
    fs::set_permissions(scratch.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = scratch.path("acton");
    fs::copy(env!("CARGO_BIN_EXE_acton"), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &copy, "doctor", "--json"]);
    let look = Patient::Here.look_with(&mut command, &["127.0.0.1:9", "--plain"]);
    assert_eq!(look.verdict("route"), "ok");
    assert_eq!(look.verdict("server"), "failed");
    assert!(look.measured("server").contains("nobody listens"), "{look:?}");
    assert_eq!(look.verdict("link_mtu"), "ok");
    assert_eq!(look.verdict("firewall"), "unknown");
    assert_eq!(look.verdict("tap_offload"), "skipped");
}

pub(crate) fn a_forgetful_table_of_connections() {
    Patient::Here.run("sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream=5");
    mend(&Patient::Here, "conntrack", "warning", &[]);
}

pub(crate) fn key_files_that_others_read() {
    let keys = KeyRing::new();
    keys.server();
    let state = keys.server_state();
    let arguments = ["--state", &*state];
    let look = Patient::Here.look(&arguments);
    assert_eq!(look.verdict("keys"), "ok", "{look:?}");
    for breaking in [
        format!("chmod 644 {state}/network.key"),
        format!("chmod 777 {state}"),
        format!("chown 12345 {state}/server.key"),
    ] {
        Patient::Here.run(&breaking);
        mend(&Patient::Here, "keys", "failed", &arguments);
    }
    fs::write(format!("{state}/server.key"), "no key").unwrap();
    assert_eq!(Patient::Here.look(&arguments).verdict("keys"), "failed");
}
