//! `acton lab`: the whole thing by one command, which leaves nothing behind.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use nix::sys::signal::Signal;
use support::{Acton, PublicProgram, shell};

testbed::main! {
    it_shows_every_client_and_ends_at_once,
    it_ends_after_its_time,
    signals_end_it,
    nothing_is_left_behind: ["unshare"],
    the_commands_it_names_work: ["nsenter", "ping"],
    an_ordinary_user_is_told_what_is_missing: ["setpriv", "unshare"],
    an_ordinary_user_has_a_lab_where_the_device_is_open_to_all:
        ["nsenter", "ping", "setpriv", "unshare"],
    a_large_lab_works_or_asks_for_more_open_files: ["prlimit"],
}

const ACTON: &str = env!("CARGO_BIN_EXE_acton");

/// Said when all is shown and it waits for its end.
const WAITS: &str = "Ctrl-C";

fn lab(namespace: &Namespace, arguments: &[&str]) -> Acton {
    Acton::start("lab", namespace, &[&["lab"], arguments].concat())
}

/// Starts `program` by a shell script in which `"$@"` are its arguments: `lab` and these.
fn lab_within(namespace: &Namespace, script: &str, program: &Path, arguments: &[&str]) -> Acton {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(program).arg("lab").args(arguments);
    Acton::spawn("lab", namespace, command.current_dir("/"))
}

/// Checks the table: these clients, each with its addresses, and none with a loss.
#[track_caller]
fn check_table(log: &str, clients: usize) {
    let rows: Vec<Vec<_>> = log
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("client "))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), clients, "{log}");
    for (number, row) in (1..).zip(rows) {
        let [client, session, mac, address, rtt, "us", loss] = row[..] else { panic!("{row:?}") };
        assert_eq!(client, number.to_string());
        assert!(session.starts_with(&format!("198.18.{number}.2:")), "{session}");
        mac.parse::<pnet_base::MacAddr>().unwrap();
        assert_eq!(address, format!("10.77.1.{number}"));
        assert!(rtt.parse::<u32>().unwrap() > 0, "{rtt}");
        assert_eq!(loss, "0%");
    }
    assert!(log.contains("Clients are isolated"), "{log}");
}

fn it_shows_every_client_and_ends_at_once() {
    let here = Namespace::new().unwrap();
    for clients in [1, 3] {
        let (status, log) =
            lab(&here, &["--clients", &clients.to_string(), "--seconds", "0"]).end();
        assert_eq!(status.code(), Some(0), "{log}");
        check_table(&log, clients);
        assert!(!log.contains(WAITS), "{log}");
    }
}

fn it_ends_after_its_time() {
    let here = Namespace::new().unwrap();
    let lab = lab(&here, &["--clients", "1", "--seconds", "1"]);
    let start = Instant::now();
    lab.wait_for("Ends after 1 s");
    let (status, log) = lab.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(start.elapsed() >= Duration::from_secs(1));
}

fn signals_end_it() {
    let here = Namespace::new().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        for arguments in [&["--clients", "1"][..], &["--clients", "1", "--seconds", "3600"]] {
            let lab = lab(&here, arguments);
            lab.wait_for(WAITS);
            lab.signal(signal);
            let (status, log) = lab.end();
            assert_eq!(status.code(), Some(0), "{log}");
        }
    }
}

/// In a process namespace of its own it is seen what a lab leaves: no process, so no namespace
/// either but one that is mounted, and no device.
fn nothing_is_left_behind() {
    // The shell fills in the names before it starts ls.
    let look = "ls -d /proc/[0-9]*; grep nsfs /proc/self/mountinfo; ip -o link";
    for (run, code) in [
        // The end it should have.
        (r#""$@" --seconds 0"#, 0),
        // An error on the way: what is built by then is to go.
        (r#"ulimit -n 40; "$@" --clients 20 --seconds 0"#, 1),
        // Killed, it can tidy up nothing itself.
        (
            r#""$@" & until readlink /proc/$!/fd/* | grep -q net/tun; do sleep 0.01; done
               kill -KILL $!; wait $!"#,
            128 + Signal::SIGKILL as i32,
        ),
    ] {
        let script = format!(
            "exec 2>&1; {look}; echo ====; ({run}); code=$?; echo ====; {look}; exit $code"
        );
        let here = Namespace::new().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", &script, "sh"]);
        let (status, log) = Acton::spawn("lab", &here, command.args([ACTON, "lab"])).end();
        assert_eq!(status.code(), Some(code), "{log}");
        let parts: Vec<_> = log.split("====\n").collect();
        let [before, _, after] = parts[..] else { panic!("{log}") };
        assert_eq!(before, after, "{log}");
    }
}

fn the_commands_it_names_work() {
    let here = Namespace::new().unwrap();
    let lab = lab(&here, &["--clients", "2"]);
    lab.wait_for(WAITS);
    try_commands(&lab.log(), "");
    lab.stop();
}

/// Runs the commands that a lab of two clients or more names, after `prefix`.
#[track_caller]
fn try_commands(log: &str, prefix: &str) {
    let here = Namespace::new().unwrap();
    let commands: Vec<_> = log.lines().filter_map(|line| line.split_once(" # ")).collect();
    assert_eq!(commands.len(), 4, "{log}");
    for (command, what) in commands {
        let command = command.trim().replace(" ping ", " ping -c 3 -i 0.2 -W 5 ");
        match what {
            "the server pings client 1" | "client 1 pings the server" => {
                let answers = shell(&here, &format!("{prefix} {command}"));
                assert!(answers.contains(" 0% packet loss"), "{answers}");
            }
            "client 1's TAP" => {
                let tap = shell(&here, &format!("{prefix} {command}"));
                assert!(tap.contains("inet 10.77.1.1/"), "{tap}");
            }
            "client 1 does not reach client 2" => {
                let answers = shell(&here, &format!("{prefix} {command} || test $? = 1"));
                assert!(answers.contains(" 100% packet loss"), "{answers}");
            }
            _ => panic!("'{what}' is new here: {command}"),
        }
    }
}

/// Becomes "nobody", without a capability.
const AS_NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// Runs the rest as "nobody" where /dev/net/tun has these permissions.
fn as_nobody_with_tun(mode: &str) -> String {
    format!(
        "mount -t tmpfs -o mode=755 tmpfs /dev/net; \
         mknod /dev/net/tun c 10 200; chmod {mode} /dev/net/tun; \
         exec {AS_NOBODY} \"$@\""
    )
}

/// Whether the system lets ordinary users make user namespaces.
fn user_namespaces_are_allowed() -> bool {
    let mut command = Command::new("setpriv");
    command.args(AS_NOBODY.split(' ').skip(1)).args(["unshare", "--user", "true"]);
    command.output().unwrap().status.success()
}

fn an_ordinary_user_is_told_what_is_missing() {
    let (here, program) = (Namespace::new().unwrap(), PublicProgram::new());
    let arguments = ["--clients", "1", "--seconds", "0"];
    let (status, log) =
        lab_within(&here, &as_nobody_with_tun("600"), program.path(), &arguments).end();
    assert_eq!(status.code(), Some(1), "{log}");
    let words = match user_namespaces_are_allowed() {
        true => ["/dev/net/tun", "permission denied", "root"],
        false => ["user namespace", "sysctl", "root"],
    };
    assert!(words.iter().all(|word| log.contains(word)), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

fn an_ordinary_user_has_a_lab_where_the_device_is_open_to_all() {
    let (here, program) = (Namespace::new().unwrap(), PublicProgram::new());
    let lab = lab_within(&here, &as_nobody_with_tun("666"), program.path(), &["--clients", "2"]);
    if !user_namespaces_are_allowed() {
        let (status, log) = lab.end();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("user namespace"), "{log}");
        return;
    }
    lab.wait_for(WAITS);
    check_table(&lab.log(), 2);
    try_commands(&lab.log(), AS_NOBODY);
    lab.stop();
}

/// A client in a lab takes some open files: more than the usual limit has for a large one, whose
/// check of isolation also sends more than a socket holds.
fn a_large_lab_works_or_asks_for_more_open_files() {
    let here = Namespace::new().unwrap();
    let limited = |limit: &str, clients: &str| {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={limit}")).args([ACTON, "lab", "--clients", clients]);
        Acton::spawn("lab", &here, command.args(["--seconds", "0"])).end()
    };
    // What may be raised is raised.
    let (status, log) = limited("1024:", "160");
    assert_eq!(status.code(), Some(0), "{log}");
    check_table(&log, 160);
    // What may not is named.
    let (status, log) = limited("64:64", "12");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("ulimit -n"), "{log}");
}
