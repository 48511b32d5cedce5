//! Files of settings: where values come from, and what a running end makes of a file that changed.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;
use pnet_base::MacAddr;
use support::{
    Acton, HANG, Member, Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, World, client_mac, frame,
    in_both_modes, member_socket, ping_until_answered, said, shell, wait_until,
};

in_both_modes! {
    no_frame_and_no_session_is_lost_when_settings_change,
    what_can_change_does_and_what_cannot_says_so,
    ; plain:
    the_environment_beats_the_file_and_flags_beat_both,
    files_are_checked_without_a_start,
    an_error_leaves_all_as_it_was,
    ; secure:
    another_mode_needs_a_restart,
    a_hundred_sessions_lose_no_frame_when_settings_change,
}

/// What an end says once it has read its file again.
const READ_AGAIN: &str = ".toml again";
/// Times that each end reads its settings while frames go through it.
const RELOADS: usize = 20;
/// Frames that are on their way at a time, each way: fewer than any queue holds.
const WINDOW: u32 = 32;

/// A file of settings, gone with its owner.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("acton-config-test-{}-{number}.toml", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Writes it, and waits until an end has read it.
    #[track_caller]
    fn change(&self, end: &Acton, text: &str) {
        self.write(text);
        let read = end.log().matches(READ_AGAIN).count();
        end.signal(Signal::SIGHUP);
        end.wait_for_nth(READ_AGAIN, read + 1);
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs `acton config`.
fn config(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.env_clear().envs(variables.iter().copied());
    command.arg("config").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn the_environment_beats_the_file_and_flags_beat_both() {
    let file = File::new("port = 1111\ntap-name = \"a\"\nmtu = 1400\nmax-sessions = 7\n");
    let variables = [
        ("ACTON_CONFIG", file.path()),
        ("SERVER_LISTEN_PORT", "2222"),
        ("SERVER_TAP_NAME", "b"),
        ("ACTON_LOG_LEVEL", "warn"),
    ];
    let shown = config(&["show", "server", "-t", "c", "--mtu", "1300"], &variables);
    let shown = text(&shown.stdout);
    for (line, origin) in [
        ("port = 2222 ", "environment, SERVER_LISTEN_PORT"),
        ("tap-name = \"c\" ", "flag"),
        ("mtu = 1300 ", "flag"),
        ("max-sessions = 7 ", &format!("{}:4", file.path())),
        ("log-level = \"warn\" ", "environment, ACTON_LOG_LEVEL"),
        ("#mac-ageing = 300 ", "default"),
        ("# bridge is not set", ""),
    ] {
        let found = shown.lines().find(|shown| shown.starts_with(line));
        assert!(found.is_some_and(|found| found.ends_with(origin)), "{line}: {shown}");
    }
    let json = config(&["show", "--json", "server"], &variables);
    let port = r#"{"key":"port","line":null,"source":"environment","value":2222,"#;
    assert!(text(&json.stdout).contains(port), "{json:?}");
    // A secret of the command line is not shown.
    let shown = config(&["show", "client", "acton://192.0.2.1:8080/#c2VjcmV0"], &[]);
    assert!(shown.status.success() && !text(&shown.stdout).contains("c2VjcmV0"), "{shown:?}");
}

fn files_are_checked_without_a_start() {
    let good = File::new(text(&config(&["example", "server"], &[]).stdout));
    let checked = config(&["check", good.path(), "--role", "server"], &[]);
    assert!(checked.status.success(), "{checked:?}");
    let checked = config(&["check", good.path()], &[]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(text(&checked.stderr).contains("--role"), "{checked:?}");
    // The environment of the shell has no say.
    let bad = File::new("port = 1\nadress = []\n");
    let variables = [("SERVER_LISTEN_PORT", "x")];
    let checked = config(&["check", bad.path(), "--role", "server"], &variables);
    assert_eq!(checked.status.code(), Some(2));
    let place = format!("{}:2:1: ", bad.path());
    let said = text(&checked.stderr);
    assert!(said.contains(&place) && said.contains("'address'"), "{said}");
    // A start says the same, and starts nothing.
    let world = World::new(0);
    let arguments = ["server", "--config", bad.path()];
    let (status, log) = Acton::start("server", &world.server, &arguments).end();
    assert_eq!(status.code(), Some(2));
    assert!(log.contains(&place), "{log}");
    assert!(!shell(&world.server, "ip -o link").contains(" server:"));
}

fn an_error_leaves_all_as_it_was() {
    let world = World::new(0);
    let file = File::new("mtu = 1400\n");
    let server = world.serve(&["--config", file.path()]);
    let shown = || shell(&world.server, "ip -o link show dev server");
    assert!(shown().contains("mtu 1400"));
    let wrong = [
        ("mtu = 1300\nmax-session = 9\n", ":2:1: there is no key 'max-session'"),
        ("mtu = 1300\nmtu = 1300\n", ":2:1: duplicate key"),
        ("mtu = 1300\nmac-ageing = \"x\"\n", "mac-ageing"),
        // What the system refuses takes back what it did not.
        ("mtu = 1300\nbridge = \"no-such\"\n", "no-such"),
    ];
    for (number, (text, why)) in wrong.into_iter().enumerate() {
        file.write(text);
        server.signal(Signal::SIGHUP);
        server.wait_for_nth("the settings stay as they were: ", number + 1);
        let log = server.log();
        let line = log.lines().rfind(|line| line.contains("stay as they were")).unwrap();
        assert!(line.contains(why), "{text}: {line}");
        assert!(shown().contains("mtu 1400"), "{text}: {}", shown());
    }
    file.change(&server, "mtu = 1300\n");
    assert!(shown().contains("mtu 1300"), "{}", shown());
    server.stop();
}

fn what_can_change_does_and_what_cannot_says_so(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let file = File::new("max-sessions = 9\n");
    let server = world.serve(&["--config", file.path(), "--macs-per-client", "5"]);
    let client = world.join(0, &[]);
    file.change(
        &server,
        "log-level = \"debug\"\nmtu = 1400\nmac-ageing = 60\nmax-sessions = 8\nkeepalive = 5\n\
         macs-per-client = 6\nbusy-poll = 7\nport = 8081\n",
    );
    server.wait_for("in force now: keepalive, log-level, mac-ageing, max-sessions, mtu");
    server.wait_for("in force after a restart only: busy-poll, port");
    server.wait_for("beats it for: macs-per-client");
    assert!(shell(&world.server, "ip -o link show dev server").contains("mtu 1400"));
    // What waited for a restart is as it runs again, and what the engine says shows the level.
    let settings = "log-level = \"debug\"\nmtu = 1380\nmax-sessions = 8\n";
    file.change(&server, settings);
    server.wait_for("in force now: keepalive, mac-ageing, mtu");
    server.wait_for("DEBUG] new settings: ");
    file.change(&server, settings);
    server.wait_for("nothing in force has changed");
    assert_eq!(server.log().matches("after a restart only").count(), 1, "{}", server.log());
    let log = server.log();
    assert_eq!((log.matches(" up: ").count(), log.matches(" down: ").count()), (1, 0), "{log}");
    client.stop();
    server.stop();
}

fn another_mode_needs_a_restart() {
    let world = World::new(0).speaking(Mode::Secure);
    let file = File::new("mtu = 1400\n");
    let server = world.serve(&["--config", file.path()]);
    file.change(&server, "mtu = 1300\nplain = true\nallow = [\"10.0.0.0/8\"]\n");
    server.wait_for("in force after a restart only: allow, mtu, plain");
    assert!(shell(&world.server, "ip -o link show dev server").contains("mtu 1400"));
    server.stop();
}

/// What a server's file says the `number`th time: MTU, ageing, limits and interval go to and fro.
fn of_server(number: usize) -> String {
    let odd = number % 2;
    format!(
        "mtu = {}\nmac-ageing = {}\nmax-sessions = {}\nmacs-per-client = {}\nkeepalive = {}\n",
        1_500 - 50 * odd,
        300 - 200 * odd,
        10 + odd,
        16 - odd,
        5 + odd,
    )
}

/// The same of a client's.
fn of_client(number: usize) -> String {
    let odd = number % 2;
    format!("mtu = {}\nkeepalive = {}\n", 1_450 + 50 * odd, 5 + odd)
}

/// Frames of many lengths, each with its number in it.
fn numbered(first: u32, to: MacAddr, from: MacAddr) -> impl Iterator<Item = Vec<u8>> {
    (first..first + WINDOW).map(move |number| {
        let filler = vec![number as u8; 60 + number as usize * 37 % 1_300];
        frame(to, from, TEST_ETHERTYPE, &[&number.to_be_bytes()[..], &filler].concat())
    })
}

fn no_frame_and_no_session_is_lost_when_settings_change(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let (server_file, client_file) = (File::new(&of_server(0)), File::new(&of_client(0)));
    let server = world.serve(&["--config", server_file.path()]);
    let client = world.join(0, &["--config", client_file.path()]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let (reloaded, came) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut sent = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=RELOADS {
                server_file.change(&server, &of_server(number));
                client_file.change(&client, &of_client(number));
                // Another MTU is new keys, and what is sealed with the last but one opens nowhere: so
                // all that was on its way comes first, however slow the machine is.
                let before = came.load(Ordering::Relaxed);
                wait_until("frames come", || came.load(Ordering::Relaxed) > before + WINDOW);
            }
            reloaded.store(true, Ordering::Relaxed);
        });
        while !reloaded.load(Ordering::Relaxed) {
            let up = || numbered(sent, SERVER_MAC, client_mac(0));
            let down = || numbered(sent, client_mac(0), SERVER_MAC);
            for (up, down) in up().zip(down()) {
                leaf.send(&up);
                root.send(&down);
            }
            // Each is waited for: the test ends only if none is lost.
            root.receive_all(up());
            leaf.receive_all(down());
            sent += WINDOW;
            came.store(sent, Ordering::Relaxed);
        }
    });
    assert!(sent > 4 * WINDOW, "{sent} frames each way");
    let (of_server, of_client) = (server.log(), client.log());
    assert_eq!(of_server.matches("in force now: ").count(), RELOADS, "{of_server}");
    assert_eq!(of_client.matches("in force now: ").count(), RELOADS, "{of_client}");
    assert_eq!(of_server.matches(" up: ").count(), 1, "{of_server}");
    assert_eq!(of_server.matches(" down: ").count(), 0, "{of_server}");
    assert_eq!(of_client.matches(said::CONNECTED).count(), 1, "{of_client}");
    client.stop();
    server.stop();
}

/// Clients of the test with many.
const CLIENTS: u8 = 100;

/// One frame each way of each client is on its way at a time, while the server's settings change again
/// and again: each must come, and once.
fn a_hundred_sessions_lose_no_frame_when_settings_change() {
    let world = World::new(1).speaking(Mode::Secure);
    shell(&world.clients[0], "ip route add local 198.18.0.0/24 dev lo");
    shell(&world.server, "ip route add 198.18.0.0/24 via 192.0.2.10");
    let file = File::new(&of_many(0));
    let server = world.serve(&["--config", file.path(), "--workers", "2", "--no-loop-guard"]);
    let root = world.server_wire();
    let mut members: Vec<_> = (0..CLIENTS)
        .map(|number| Member::new(&world, member_socket(&world, [198, 18, 0, number].into())))
        .collect();
    let start = Instant::now();
    while members.iter().any(|member| member.machine.keys().is_none()) {
        assert!(start.elapsed() < HANG, "hung waiting until all have a session");
        members.iter_mut().for_each(|member| member.turn(start.elapsed()));
    }
    server.wait_for(&format!("; {CLIENTS} open"));
    let host = |number: u8| MacAddr(2, 0xac, 0x71, 0, 0, number);
    let text = |round: u32, number: u8| {
        let filler = vec![number; 60 + (round as usize * 37 + usize::from(number) * 11) % 1_300];
        [&round.to_be_bytes()[..], &filler].concat()
    };
    let up = |round, number| frame(SERVER_MAC, host(number), TEST_ETHERTYPE, &text(round, number));
    let down =
        |round, number| frame(host(number), SERVER_MAC, TEST_ETHERTYPE, &text(round, number));
    let (reloaded, mut rounds) = (AtomicBool::new(false), 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=RELOADS {
                file.change(&server, &of_many(number));
            }
            reloaded.store(true, Ordering::Relaxed);
        });
        while !reloaded.load(Ordering::Relaxed) {
            let mut waiting: BTreeSet<_> = (0..CLIENTS).map(|number| up(rounds, number)).collect();
            for (number, member) in (0..).zip(&members) {
                member.send(start.elapsed(), &up(rounds, number));
            }
            let began = Instant::now();
            while !waiting.is_empty() {
                let ours = |frame: &Vec<u8>| frame[12..14] == TEST_ETHERTYPE.to_be_bytes();
                let left = HANG.saturating_sub(began.elapsed());
                let frame = root.receive(left).unwrap_or_else(|| panic!("lost: {}", waiting.len()));
                assert!(!ours(&frame) || waiting.remove(&frame), "twice: {frame:02x?}");
            }
            // Where each lives is known by now.
            (0..CLIENTS).for_each(|number| root.send(&down(rounds, number)));
            while members.iter().any(|member| member.frames.is_empty()) {
                assert!(began.elapsed() < HANG, "a frame to a client is lost");
                members.iter_mut().for_each(|member| member.turn(start.elapsed()));
            }
            for (number, member) in (0..).zip(&mut members) {
                assert_eq!(std::mem::take(&mut member.frames), [down(rounds, number)]);
            }
            rounds += 1;
        }
    });
    println!("{rounds} frames each way of each of {CLIENTS} clients, {RELOADS} reloads");
    assert!(members.iter().all(|member| !member.lost));
    let log = server.stop();
    assert_eq!(log.matches("in force now: ").count(), RELOADS, "{log}");
    assert_eq!(log.matches(" up: ").count(), usize::from(CLIENTS), "{log}");
}

/// What a server's file says the `number`th time: more than [`of_server`] changes.
fn of_many(number: usize) -> String {
    let odd = number % 2;
    let protected = ["[]", "[\"02:00:00:00:00:77\"]"][odd];
    let budget = ["[]", "[\"arp=900/900\"]"][odd];
    of_server(number).replace("max-sessions = 1", "max-sessions = 20")
        + &format!("protect = {protected}\nbudget = {budget}\nmac-hold = {}\n", 60 + odd)
}
