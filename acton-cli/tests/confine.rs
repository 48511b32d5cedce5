//! What a tunnel may do on its host, and what somebody gets who has taken over one of its threads.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::User;
use support::{
    Acton, Mode, ROOT_V4, World, in_both_modes, ping_until_answered, said, shell, wait_until,
};

in_both_modes! {
    a_thread_that_is_taken_over_gets_nothing,
    as_another_user_it_runs_unconfined_too,
    as_another_user_it_does_all_that_it_did,
    with_the_one_right_it_needs_no_root: ["setpriv"];
    plain: a_state_of_others_is_refused, settings_that_the_user_may_not_read_are_told
}

/// Has each thread try things once it is confined, and log what came of it: see
/// acton-cli/src/confine/probe.rs.
const PROBE: &str = "ACTON_TEST_PROBE";
/// A user who owns nothing.
const USER: &str = "nobody";
/// CAP_NET_ADMIN as /proc/PID/status has it (linux/capability.h).
const NET_ADMIN: &str = "0000000000001000";
const NO_RIGHTS: &str = "0000000000000000";

/// The arguments of a server of this world.
fn arguments(world: &World, mode: Mode) -> Vec<String> {
    let mut arguments = vec!["server".to_owned(), "-a".to_owned(), "10.9.0.1/24".to_owned()];
    arguments.extend(["--workers".to_owned(), "1".to_owned()]);
    match mode {
        Mode::Plain => arguments.push("--plain".to_owned()),
        Mode::Secure => {}
    }
    arguments.extend(["--state".to_owned(), world.keys.server_state()]);
    arguments
}

/// What came of a probe by this thread.
fn probed(log: &str, thread: &str, what: &str) -> String {
    let begin = format!("probe: {thread} {what}: ");
    let line = log.lines().find_map(|line| line.split_once(&begin));
    line.unwrap_or_else(|| panic!("no {begin} in {log}")).1.to_owned()
}

fn a_thread_that_is_taken_over_gets_nothing(mode: Mode) {
    let world = World::new(0).speaking(mode);
    // One that is none of a tunnel's and lies beside its control socket, which all may read.
    let file = std::env::temp_dir().join(format!("acton-test-{}-{mode:?}", std::process::id()));
    fs::write(&file, "").unwrap();
    let probe = |sandbox| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
        command.args(arguments(&world, mode)).args(["--sandbox", sandbox]).env(PROBE, &file);
        let server = Acton::spawn("server", &world.server, &mut command);
        server.wait_for("probe: Control ptrace");
        server.wait_for("probe: Worker ptrace");
        server.stop()
    };
    let log = probe("require");
    for what in ["open", "exec", "socket", "ptrace"] {
        assert!(probed(&log, "Worker", what).contains("not implemented"), "{log}");
    }
    assert!(probed(&log, "Control", "open").contains("ermission denied"), "{log}");
    assert!(probed(&log, "Control", "exec").contains("not implemented"), "{log}");
    assert!(probed(&log, "Control", "ptrace").contains("not implemented"), "{log}");
    assert_eq!(probed(&log, "Control", "socket"), "done", "it looks up names");
    // Without it, each would have come off.
    let log = probe("off");
    for thread in ["Worker", "Control"] {
        for what in ["open", "exec", "socket"] {
            assert_eq!(probed(&log, thread, what), "done", "{log}");
        }
        assert!(probed(&log, thread, "ptrace").contains("No such process"), "{log}");
    }
    fs::remove_file(file).unwrap();
}

/// Gives `path` and all in it to the user.
fn give(path: &Path, user: &User) {
    let own = |path: &Path| {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    };
    own(path);
    fs::read_dir(path).unwrap().for_each(|entry| own(&entry.unwrap().path()));
}

/// A value of a thread's /proc/PID/task/TID/status, by the thread's name.
fn values(process: u32, key: &str) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // One that ends meanwhile is none.
    let texts = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    texts
        .map(|text| {
            let value = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
                line.trim_start_matches(':').trim().to_owned()
            };
            (value("Name"), value(key))
        })
        .collect()
}

/// Starts a server by `command` with a file of settings, and sees that it runs as the user with the
/// rights of each thread that it needs, and does what takes rights.
fn runs_with_little(world: &World, user: &User, mut command: Command) {
    let state = world.keys.server_state();
    let (state, settings) = (Path::new(&state), Path::new(&state).with_extension("toml"));
    fs::create_dir_all(state).unwrap();
    // The server's keys are read for it, so before they are another's.
    let client = world.client_arguments(0, "192.0.2.1");
    let client: Vec<_> = client.iter().map(String::as_str).collect();
    give(state, user);
    fs::write(&settings, "mtu = 1400").unwrap();
    command.arg("--config").arg(&settings);
    let server = Acton::spawn("server", &world.server, &mut command);
    server.wait_for(said::LISTENING);
    let client = world.run_client(0, &[&client[..], &["--sandbox", "require"]].concat());
    ping_until_answered(&world.clients[0], ROOT_V4);

    let uid = user.uid.to_string();
    let uids = values(server.id(), "Uid");
    assert!(uids.iter().all(|(_, ids)| ids.split('\t').all(|id| id == uid)), "{uids:?}");
    let filters = values(server.id(), "Seccomp");
    assert!(filters.iter().all(|(_, filter)| filter == "2"), "{filters:?}");
    wait_until("the threads have but their rights", || {
        let has = ["acton-control", "acton-port"];
        let expected = |name: &str| if has.contains(&name) { NET_ADMIN } else { NO_RIGHTS };
        values(server.id(), "CapPrm").iter().all(|(name, rights)| rights == expected(name))
    });

    // What takes rights goes on, and so do its files and its socket.
    fs::write(&settings, "mtu = 1300").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("in force now: mtu");
    assert!(shell(&world.server, "ip link show server").contains("mtu 1300"));
    let control = server.control().display();
    let program = env!("CARGO_BIN_EXE_acton");
    let status = shell(&world.server, &format!("{program} status --control {control}"));
    assert!(status.contains("sessions 1 up"), "{status}");
    client.stop();
    let log = server.stop();
    assert!(!log.contains("ERROR") && !log.contains("not confined"), "{log}");
}

fn as_another_user_it_does_all_that_it_did(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let user = User::from_name(USER).unwrap().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(arguments(&world, mode)).args(["--user", USER, "--sandbox", "require"]);
    runs_with_little(&world, &user, command);
}

fn as_another_user_it_runs_unconfined_too(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let user = User::from_name(USER).unwrap().unwrap();
    let state = world.keys.server_state();
    fs::create_dir_all(&state).unwrap();
    let client = world.client_arguments(0, "192.0.2.1");
    let client: Vec<_> = client.iter().map(String::as_str).collect();
    give(Path::new(&state), &user);
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(arguments(&world, mode)).args(["--user", USER, "--sandbox", "off"]);
    let server = Acton::spawn("server", &world.server, &mut command);
    server.wait_for(said::LISTENING);
    let _client = world.run_client(0, &client);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let uid = user.uid.to_string();
    let uids = values(server.id(), "Uid");
    assert!(uids.iter().all(|(_, ids)| ids.split('\t').all(|id| id == uid)), "{uids:?}");
}

fn with_the_one_right_it_needs_no_root(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let user = User::from_name(USER).unwrap().unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", &user.gid.to_string(), "--clear-groups"]);
    // And to open /dev/net/tun, where a machine keeps that for root.
    let is_open = fs::metadata("/dev/net/tun").unwrap().mode() & 0o006 == 0o006;
    let rights = if is_open { "+net_admin" } else { "+net_admin,+dac_override" };
    command.args(["--inh-caps", rights, "--ambient-caps", rights]);
    command.arg(env!("CARGO_BIN_EXE_acton")).args(arguments(&world, mode));
    command.args(["--sandbox", "require"]);
    runs_with_little(&world, &user, command);
}

fn settings_that_the_user_may_not_read_are_told() {
    let world = World::new(0);
    let state = world.keys.server_state();
    let settings = Path::new(&state).with_extension("toml");
    fs::write(&settings, "mtu = 1400").unwrap();
    fs::set_permissions(&settings, Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(arguments(&world, Mode::Plain)).args(["--user", USER, "--config"]).arg(&settings);
    let server = Acton::spawn("server", &world.server, &mut command);
    server.wait_for(said::LISTENING);
    let log = server.stop();
    let told = format!("{}: the user {USER} may not read it", settings.display());
    let line = log.lines().find(|line| line.contains(&told)).expect(&log);
    // What it says to do helps.
    let cure = line.rsplit_once("run: ").unwrap().1;
    shell(&world.server, cure);
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(arguments(&world, Mode::Plain)).args(["--user", USER, "--config"]).arg(&settings);
    let server = Acton::spawn("server", &world.server, &mut command);
    server.wait_for(said::LISTENING);
    let log = server.stop();
    // A directory that leads there may have been all that it told of.
    assert!(!log.contains(cure), "{log}");
}

fn a_state_of_others_is_refused() {
    let world = World::new(0);
    let _made = world.keys.server();
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(arguments(&world, Mode::Plain)).args(["--user", USER]);
    let (status, log) = Acton::spawn("server", &world.server, &mut command).end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(&format!("chown -R {USER}: {}", world.keys.server_state())), "{log}");
}
