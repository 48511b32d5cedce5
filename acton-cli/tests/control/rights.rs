//! Who gets at the socket, and where it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::ask::{said_by, told};
use super::support::{Acton, PublicProgram, World, control, said, wait_until};

/// A user and a group that own nothing.
const NOBODY: u32 = 65_534;

pub(super) fn the_socket_of_the_living_stays_and_that_of_the_dead_goes() {
    let world = World::new(0);
    let server = world.serve(&[]);
    let control = control(&server).to_str().unwrap().to_owned();
    // Another one may not have it, wherever it is.
    let other = World::new(0);
    let (status, log) = other.start_server(&["--control", &control]).end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("another acton that runs has it; --name or --control"), "{log}");
    assert!(told(&server, &["status"]).starts_with("server: server (plain mode)"));
    // What a killed one leaves is no obstacle.
    let kept = world.keys.path("kept.sock");
    let kept = kept.to_str().unwrap();
    let killed = other.serve(&["--control", kept]);
    wait_until("it listens", || fs::exists(kept).unwrap());
    killed.kill();
    let dead = said_by(kept.as_ref(), &["status"]);
    assert!(dead.code == 1 && dead.err.contains("the acton that made it has ended"), "{dead:?}");
    let heir = other.serve(&["--control", kept]);
    wait_until("it listens", || said_by(kept.as_ref(), &["status"]).code == 0);
    heir.stop();
    assert!(!fs::exists(kept).unwrap());
    let gone = said_by(kept.as_ref(), &["status"]);
    assert!(gone.code == 1 && gone.err.contains("no such socket"), "{gone:?}");
}

pub(super) fn who_may_look_may_not_change() {
    let world = World::new(0);
    let program = PublicProgram::new();
    let server = world.serve(&["--name", "lan0"]);
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(program.path());
        command.args(arguments).env_clear().env("ACTON_CONTROL", server.control());
        let output = command.uid(NOBODY).gid(NOBODY).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code().unwrap(), text)
    };
    let mode = fs::metadata(control(&server)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    let (code, text) = ask(&["status"]);
    assert!(code == 1 && text.contains("permission denied"), "{text}");
    // One whom the file lets in, but who is of no group that may look.
    fs::set_permissions(server.control(), fs::Permissions::from_mode(0o666)).unwrap();
    let (code, text) = ask(&["status"]);
    assert!(
        code == 1 && text.contains("only root and the members of the socket's group"),
        "{text}"
    );
    fs::set_permissions(server.control(), fs::Permissions::from_mode(0o660)).unwrap();
    chown(server.control(), None, Some(NOBODY)).unwrap();
    let (code, text) = ask(&["status"]);
    assert!(code == 0 && text.starts_with("lan0: server (plain mode)"), "{text}");
    let capture = &["capture", "-w", "/dev/null"][..];
    for change in [&["log", "debug"][..], &["kick", "0"], &["fdb", "flush"], &["reload"], capture] {
        let (code, text) = ask(change);
        assert!(
            code == 1 && text.contains("for root and the members of --control-group"),
            "{text}"
        );
    }
    server.stop();
    let server = world.serve(&["--control-group", &NOBODY.to_string()]);
    let mut command = Command::new(program.path());
    command.args(["log", "debug"]).env_clear().env("ACTON_CONTROL", control(&server));
    let output = command.uid(NOBODY).gid(NOBODY).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Runs `acton server` where the usual place of sockets is what `mount` makes it.
fn serve_with_run(world: &World, mount: &str, more: &str) -> Acton {
    let script = format!(
        "unset ACTON_CONTROL; {mount}; exec {} server --plain -a 10.9.0.1/24 {more}",
        env!("CARGO_BIN_EXE_acton"),
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &script]);
    Acton::spawn("server", &world.server, &mut command)
}

pub(super) fn without_a_place_for_the_socket_the_tunnel_runs() {
    let world = World::new(1);
    let server = serve_with_run(&world, "mount -t tmpfs -o ro none /run", "");
    server.wait_for(said::LISTENING);
    let log = {
        server.wait_for("control socket /run/acton/server.sock: cannot make its directory");
        let client = world.join(0, &[]);
        client.stop();
        server.stop()
    };
    assert_eq!(log.matches("control socket").count(), 1, "{log}");
    // Where it is asked for, it is there or nothing is.
    let world = World::new(0);
    let (status, log) = world.start_server(&["--control", "/proc/acton.sock"]).end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("control socket /proc/acton.sock: cannot"), "{log}");
    let (status, log) = world.start_server(&["--control-group", "no-such-group"]).end();
    assert_eq!(status.code(), Some(2), "{log}");
}

pub(super) fn there_is_none_where_none_is_wanted() {
    let world = World::new(0);
    let server = world.serve(&["--control", "none"]);
    assert!(!server.control().exists());
    let nobody = said_by("none".as_ref(), &["status"]);
    assert!(nobody.code == 1 && nobody.err.contains("there is nobody to ask"), "{nobody:?}");
    // By its name, where it has one.
    let mount = "mount -t tmpfs none /run";
    let script = format!(
        "{mount}; {acton} server --plain -t lan7 & trap \"kill $!\" EXIT; \
         {acton} status --check lost --wait 1 || true; {acton} status; {acton} status --name lan7; \
         {acton} status --name lan8 || true; stat -c '%a %U' /run/acton /run/acton/lan7.sock",
        acton = env!("CARGO_BIN_EXE_acton"),
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("unset ACTON_CONTROL; {script}")]);
    let (_, log) = Acton::spawn("shell", &World::new(0).server, &mut command).end();
    assert_eq!(log.matches("lan7: server (plain mode)").count(), 2, "{log}");
    assert!(log.contains("no such socket; no acton runs by that name"), "{log}");
    assert!(log.contains("755 root\n660 root\n"), "{log}");
}

pub(super) fn what_is_logged_changes_while_it_runs() {
    let world = World::new(1);
    let server = world.serve(&[]);
    assert_eq!(told(&server, &["log", "off"]), "it logs off now\n");
    let before = server.log();
    world.start_client(0, "192.0.2.1", &[]).wait_for(said::CONNECTED);
    assert!(!server.log().contains(" up: "), "{before}");
    told(&server, &["log", "warn,acton_engine=debug"]);
    let _client = world.start_client(0, "192.0.2.1", &[]);
    server.wait_for(" up: ");
    server.wait_for("behind 192.0.2.10:");
}
