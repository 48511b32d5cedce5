//! Readers that are slow, and readers that go.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use acton_cli::control::{Answer, Request};
use nix::sys::signal::Signal;

use super::ask::{answers as all_answers, connect};
use super::recorder::{Recorder, read, refused};
use super::support::{
    Mode, ROOT_V4, TEST_ETHERTYPE, World, answers, counter, counters, frame, leaf, mac,
    ping_until_answered, tcp_transfer, wait_until,
};

/// Captures that there can be.
const MOST: usize = 4;
/// More than a capture's rings and all sockets on the way to its reader hold.
const TRANSFER: usize = 16_000_000;

pub(super) fn readers_that_stop_lose_packets_and_nobody_else_does(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--no-loop-guard"]);
    let _client = world.join(0, &["--no-loop-guard"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let slow = Recorder::start(&world, &server, "slow.pcapng", &["tcp"]);
    let (before, file) = (counters(&server), slow.file().to_owned());
    slow.process().signal(Signal::SIGSTOP);
    tcp_transfer(&world.server, &world.clients[0], leaf(0)[0], TRANSFER);
    assert!(answers(&world.clients[0], ROOT_V4));
    // Another one has all, meanwhile.
    let other = Recorder::start(&world, &server, "other.pcapng", &["ether proto 0x88b5"]);
    let mark = frame(mac(0x71), mac(0x72), TEST_ETHERTYPE, &[9; 60]);
    world.client_wire(0).send(&mark);
    other.wait_for(&mark);
    assert_eq!(other.stop().len(), 1);
    wait_until("it is told", || {
        let mut connection = connect(&server);
        let all = all_answers(&mut connection, Request::Events { after: 0, follow: false });
        let ended = all.iter().filter_map(|answer| match answer {
            Answer::Event(event) if event.event == "capture_ended" => Some(&event.fields),
            _ => None,
        });
        ended.into_iter().any(|fields| fields["packets"] == 1 && fields["lost"] == 0)
    });
    slow.process().signal(Signal::SIGCONT);
    slow.process().signal(Signal::SIGINT);
    slow.process().wait_for(" lost for want of time");
    let log = slow.process().log();
    let lost = log.split_whitespace().zip(log.split_whitespace().skip(1));
    let lost = lost.filter(|&(_, word)| word == "lost").map(|(number, _)| number.parse::<u64>());
    assert!(lost.last().unwrap().unwrap() > 0, "{log}");
    // What it has is whole.
    assert!(!read(&file).is_empty());
    // The tunnel dropped nothing for it.
    let after = counters(&server);
    for reason in ["drop.udp_full", "drop.control_busy"] {
        assert_eq!(counter(&before, reason), counter(&after, reason), "{after}");
    }
}

pub(super) fn a_file_is_emptied_once_something_takes_its_place() {
    let world = World::new(0);
    let server = world.serve(&[]);
    let file = world.keys.path("refused.pcapng");
    std::fs::write(&file, "something dear").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(refused(&world, &server, &["nobody"]).0, Some(1));
    assert_eq!((std::fs::read(&file).unwrap(), mode()), (b"something dear".to_vec(), 0o644));
    assert_eq!(refused(&world, &server, &["--drops", "--since", "0s"]).0, Some(0));
    assert!(read(&file).is_empty());
    assert_eq!(mode(), 0o600);
    // To standard output, by its usual name.
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(["capture", "--drops", "--since", "0s", "-w", "-"]).env_clear();
    let output = command.env("ACTON_CONTROL", server.control()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let written = std::fs::read(&file).unwrap();
    // But for the times, all is the same.
    assert_eq!((output.stdout.len(), &output.stdout[..32]), (written.len(), &written[..32]));
}

pub(super) fn readers_that_go_leave_room() {
    let world = World::new(0);
    let server = world.serve(&[]);
    let start = |number: usize| Recorder::start(&world, &server, &format!("{number}.pcapng"), &[]);
    let all: Vec<_> = (0..MOST).map(start).collect();
    let (code, log) = refused(&world, &server, &[]);
    assert!(code == Some(1) && log.contains("4 captures run, as many as may"), "{log}");
    // What looks at drops alone needs no room, nor does an answer that is over.
    let (code, log) = refused(&world, &server, &["--drops", "--since", "1s"]);
    assert!(code == Some(0), "{log}");
    // They end without a word.
    all.iter().for_each(|recorder| recorder.process().signal(Signal::SIGKILL));
    wait_until("there is room", || {
        let file = world.keys.path("again.pcapng");
        let again = super::recorder::spawn(&world.server, &server, &file, &[]);
        wait_until("it says something", || !again.log().is_empty());
        let is_capturing = again.log().contains("capturing at");
        again.signal(Signal::SIGINT);
        let (status, _) = again.end();
        is_capturing && status.success()
    });
    drop(all);
    // A capture ends with its tunnel.
    let last = start(9);
    server.stop();
    assert!(last.end().is_empty());
}
