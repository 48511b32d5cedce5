//! `acton lab`: the whole thing by one command, which leaves nothing behind.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::{env, fs};

use acton_netns::Namespace;
use nix::sys::signal::Signal;
use support::{Acton, shell};

testbed::main! {
    it_shows_every_client_and_ends_by_itself,
    signals_end_it,
    the_commands_it_names_work: ["nsenter"],
    an_ordinary_user_is_told_what_is_missing,
}

fn lab(namespace: &Namespace, arguments: &[&str]) -> Acton {
    Acton::start("lab", namespace, &[&["lab"], arguments].concat())
}

fn it_shows_every_client_and_ends_by_itself() {
    let here = Namespace::new().unwrap();
    let (status, log) = lab(&here, &["--clients", "4", "--seconds", "0"]).end();
    assert_eq!(status.code(), Some(0), "{log}");
    for (number, address) in (1..=4).map(|number| (number, format!("10.77.1.{number}"))) {
        let row = log.lines().find(|line| line.trim_start().starts_with(&format!("{number} ")));
        let row = row.unwrap_or_else(|| panic!("no row for client {number}: {log}"));
        assert!(row.contains(&address) && row.contains(" us ") && row.ends_with(" 0%"), "{row}");
        assert!(row.contains(&format!("198.18.{number}.2:")), "{row}");
    }
    assert!(log.contains("Clients are isolated"), "{log}");
    // Nothing was made in the namespace it was called from.
    assert_eq!(shell(&here, "ip -o link").lines().count(), 1);
}

fn signals_end_it() {
    let here = Namespace::new().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let lab = lab(&here, &["--clients", "1"]);
        lab.wait_for("Ctrl-C");
        lab.signal(signal);
        let (status, log) = lab.end();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

fn the_commands_it_names_work() {
    let here = Namespace::new().unwrap();
    let lab = lab(&here, &["--clients", "2"]);
    lab.wait_for("Ctrl-C");
    let log = lab.log();
    let enter = |line: &str| line.split_once(" ping ").map(|(enter, _)| enter.trim().to_owned());
    let entries: Vec<_> = log.lines().filter_map(enter).collect();
    assert_eq!(entries.len(), 3, "{log}");
    for entry in entries {
        let links = shell(&here, &format!("{entry} ip -o -4 address show dev acton"));
        assert!(links.contains("inet 10.77."), "{links}");
    }
    lab.stop();
}

fn an_ordinary_user_is_told_what_is_missing() {
    // Where every user may open the device, there is nothing to tell: the lab just works.
    let mode = fs::metadata("/dev/net/tun").unwrap().permissions().mode();
    let open_to_all = mode & 0o006 == 0o006;
    // "nobody" must be able to reach the program.
    let program = env::temp_dir().join(format!("acton-lab-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_acton"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    command.args(["lab", "--clients", "1", "--seconds", "0"]).current_dir("/");
    let here = Namespace::new().unwrap();
    let (status, log) = Acton::spawn("lab", &here, &mut command).end();
    fs::remove_file(&program).unwrap();
    if open_to_all {
        assert_eq!(status.code(), Some(0), "{log}");
    } else {
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("/dev/net/tun") && log.contains("permission denied"), "{log}");
    }
}
