//! A disk that is full: a tmpfs of 64 KiB, in a mount namespace of its own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::checks::Checks;
use crate::crashes::lines;
use crate::support::{
    Acton, Mode, ROOT_V4, World, answers, leaf, ping_until_answered, said, wait_until,
};

const ACTON: &str = env!("CARGO_BIN_EXE_acton");
const FULL: &str = "No space left on device";

/// Runs a script in a mount namespace where `place` is a full disk that holds a copy of what was
/// there.
fn on_full_disk(place: &Path, script: &str) -> Command {
    let place = place.display();
    let script = format!(
        "mkdir -p {place}; cp -a {place} {place}.copy
         mount -t tmpfs -o size=64k,mode=700 none {place}
         cp -a {place}.copy/. {place}; rm -r {place}.copy
         dd if=/dev/zero of={place}/filler bs=4k 2>/dev/null || true
         cd {place}
         {script}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &script]);
    command
}

/// What such a script says, and its exit code.
fn said_on_full_disk(place: &Path, script: &str) -> (i32, String) {
    let mut command = on_full_disk(place, script);
    let output = command.env("ACTON_STATE", place).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn full_under_state(checks: &Checks) {
    let world = World::new(1).speaking(Mode::Secure);
    // The first start makes keys.
    let empty = world.keys.path("first");
    let first = format!("exec {ACTON} server --state {}", empty.display());
    let server = Acton::spawn("server", &world.server, &mut on_full_disk(&empty, &first));
    let (status, log) = server.end();
    checks.equal("exit code of a first start", status.code().unwrap_or(-1), 1);
    checks.told("it", &log, FULL);
    let tried = format!("{ACTON} server || true; rm filler; ls -A");
    let (_, left) = said_on_full_disk(&empty, &tried);
    let files: Vec<_> = left.lines().filter(|line| !line.contains(' ')).collect();
    checks.holds("files that are left", format!("{files:?}"), files.is_empty());

    // What changes files leaves them as they were, and says so.
    world.keys.server();
    let invite = world.keys.named_invite("berlin", &[]);
    let state = world.keys.path("server");
    let changes = ["invite --host 192.0.2.1 --name oslo", "revoke berlin", "rotate"];
    for change in changes {
        let compared = format!(
            "mkdir /tmp/$$; cp -a clients network.key server.key /tmp/$$
             code=0; {ACTON} {change} || code=$?
             for file in clients network.key server.key; do cmp $file /tmp/$$/$file || code=99; done
             rm -r /tmp/$$; exit $code"
        );
        let (code, text) = said_on_full_disk(&state, &compared);
        let ok = code == 1 && text.contains(FULL);
        if !ok {
            eprintln!("{change}: {code}: {text}");
        }
        checks.holds(format!("`{change}` says why, files stay"), format!("code {code}"), ok);
    }

    // A server that has its keys needs no room.
    let script = format!("exec {ACTON} server -a 10.9.0.1/24 --state {}", state.display());
    let server = Acton::spawn("server", &world.server, &mut on_full_disk(&state, &script));
    server.wait_for(said::LISTENING);
    let start = Instant::now();
    let own = world.keys.client_state(0);
    let _client = world.run_client(0, &["client", &invite, "--state", &own]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    checks.within("a server that has keys is joined", start.elapsed(), Duration::from_secs(3));
}

pub(crate) fn full_under_key_log(checks: &Checks) {
    let world = World::new(1).speaking(Mode::Secure);
    let _server = world.serve(&[]);
    let place = world.keys.path("logs");
    let file = place.join("keys");
    let own = format!("{}/24", leaf(0)[0]);
    let script = format!(
        "exec {ACTON} '{}' -a {own} --rekey 1 --key-log {}",
        world.client_arguments(0, "192.0.2.1").join("' '"),
        file.display()
    );
    let client = Acton::spawn("client", &world.clients[0], &mut on_full_disk(&place, &script));
    client.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    wait_until("there were ten rekeys", || {
        crate::support::ask::sessions(&client)[0].rekeys >= Some(10)
    });
    let up = answers(&world.clients[0], ROOT_V4);
    checks.holds("the tunnel goes on", up, up);
    checks.told("it", &client.log(), FULL);
    checks.at_most("times that it does, with ten rekeys", lines(&client, FULL), 2);
    checks.equal("sessions lost", lines(&client, said::LOST), 0);
}

pub(crate) fn full_under_log(checks: &Checks) {
    let world = World::new(1).speaking(Mode::Secure);
    world.keys.server();
    let nowhere = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-ec", &format!("exec {ACTON} {script} >/dev/full 2>/dev/full")]);
        command
    };
    let state = world.keys.server_state();
    let script = format!("server -a 10.9.0.1/24 --state {state}");
    let server = Acton::spawn("server", &world.server, &mut nowhere(&script));
    let own = format!("{}/24", leaf(0)[0]);
    let arguments = world.client_arguments(0, "192.0.2.1").join("' '");
    let script = format!("'{arguments}' -a {own}");
    let client = Acton::spawn("client", &world.clients[0], &mut nowhere(&script));
    checks.comes_within("a ping is answered", Duration::from_secs(5), || {
        answers(&world.clients[0], ROOT_V4)
    });
    // They log all their counters.
    for end in [&server, &client] {
        end.signal(Signal::SIGUSR1);
    }
    let up = answers(&world.clients[0], ROOT_V4);
    checks.holds("the tunnel goes on", up, up);
    for end in [client, server] {
        end.signal(Signal::SIGTERM);
        let (status, _) = end.end();
        checks.equal("exit code in the end", status.code().unwrap_or(-1), 0);
    }
}
