//! The log in its forms for programs.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use serde_json::Value;

use super::ask::told;
use super::support::{Acton, HANG, Mode, World, said};

pub(super) fn the_log_can_be_read_by_programs() {
    let world = World::new(1).speaking(Mode::Secure);
    world.keys.server();
    let server = world.serve(&["--log-format", "json"]);
    let client = world.join(0, &[]);
    told(&server, &["log", "warn"]);
    client.stop();
    let log = server.stop();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    for line in &lines {
        let of = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("{name}: {line}"));
        assert!(of("time").ends_with('Z') && of("target").starts_with("acton"), "{line}");
        assert!(["info", "warn"].contains(&of("level")) && !of("message").is_empty(), "{line}");
    }
    let listening =
        lines.iter().find(|line| line["message"].as_str().unwrap().contains(said::LISTENING));
    assert_eq!(listening.unwrap().get("event"), None);
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let [up] = of("session_up")[..] else { panic!("{log}") };
    assert!(up["address"].as_str().unwrap().starts_with("192.0.2.10:"), "{up}");
    assert_eq!((&up["session"].is_u64(), &up["open"]), (&true, &1.into()), "{up}");
    // The level holds for this form too: the end of the session is below it by then.
    assert_eq!(of("session_down").len(), 0, "{log}");
    let (status, log) =
        world.start_server(&["--log-format", "json", "--control", "/proc/acton.sock"]).end();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((status.code(), &last["level"]), (Some(1), &"error".into()), "{log}");
    // What is wrong with the settings is told so too, wherever they and the form come from.
    let path = world.keys.path("server.toml");
    fs::write(&path, "log-format = \"json\"\nmtx = 1400\n").unwrap();
    let path = path.to_str().unwrap();
    for (arguments, says) in [
        (
            &["server", "--mtu", "x", "--log-format=json"][..],
            "invalid value 'x' for '--mtu <BYTES>'",
        ),
        (&["server", "--config", path], "server.toml:2:1: there is no key 'mtx'"),
        (&["server", "--nothing"], "unexpected argument '--nothing' found"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
        command.args(arguments);
        if arguments.contains(&"--nothing") {
            command.env("ACTON_LOG_FORMAT", "json");
        }
        let (status, log) = Acton::spawn("server", &world.server, &mut command).end();
        let line: Value = serde_json::from_str(&log).unwrap_or_else(|_| panic!("{log}"));
        assert_eq!((status.code(), &line["level"]), (Some(2), &"error".into()), "{log}");
        assert!(line["message"].as_str().unwrap().contains(says), "{log}");
    }
}

pub(super) fn the_journal_gets_fields() {
    let world = World::new(1);
    let directory = world.keys.path("journal");
    fs::create_dir(&directory).unwrap();
    let journal = UnixDatagram::bind(directory.join("socket")).unwrap();
    journal.set_read_timeout(Some(HANG)).unwrap();
    // Where journald would listen.
    let serve = |mount: &str| {
        let script = format!(
            "mount -t tmpfs none /run; {mount}; exec {} server --plain --log-format journald",
            env!("CARGO_BIN_EXE_acton"),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script]);
        Acton::spawn("server", &world.server, &mut command)
    };
    let (status, log) = serve("true").end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("--log-format journald: there is no journal to write to"), "{log}");
    let place = "/run/systemd/journal";
    let mount = format!("mkdir -p {place}; mount --bind {} {place}", directory.display());
    let server = serve(&mount);
    let next_with = |wanted: &str| {
        let mut buffer = [0; 4_096];
        loop {
            let length = journal.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(wanted) {
                return text;
            }
        }
    };
    let first = next_with(said::LISTENING);
    assert!(
        first.contains("PRIORITY=5\n") && first.contains("SYSLOG_IDENTIFIER=acton\n"),
        "{first}"
    );
    let client = world.start_client(0, "192.0.2.1", &[]);
    // Each field is a name, the length in eight bytes, and the value.
    let up = next_with("session_up");
    for field in ["EVENT\n", "ADDRESS\n", "SESSION\n"] {
        assert!(up.contains(field), "{up}");
    }
    client.stop();
    assert!(next_with("session_down").contains("REASON\n"));
    // All went there.
    assert_eq!(server.stop(), "");
}
