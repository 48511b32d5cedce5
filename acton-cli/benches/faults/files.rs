//! Files that are not what they were, and one that is very long.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use acton_engine::keys::encode_key;
use nix::sys::signal::Signal;

use crate::checks::Checks;
use crate::crashes::lines;
use crate::support::ask::sessions;
use crate::support::{
    Acton, Mode, ROOT_V4, World, answers, ping, ping_until_answered, said, wait_until,
};

const SECOND: Duration = Duration::from_secs(1);

/// A file as a crash, a bad disk or an editor may leave it: each is another one.
fn damages(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut damaged = vec![
        ("empty", Vec::new()),
        ("zeros", vec![0; good.len()]),
        ("twice", good.repeat(2)),
        ("a megabyte", vec![b'A'; 1 << 20]),
        ("not UTF-8", vec![0xff; good.len()]),
    ];
    let text = good.trim_ascii_end().len();
    damaged.extend((1..text).step_by(5).map(|length| ("cut short", good[..length].to_vec())));
    for place in (0..text).step_by(5) {
        let mut changed = good.to_vec();
        changed[place] = b'!';
        damaged.push(("one byte", changed));
    }
    damaged
}

/// Starts an end with each damaged form of a file; it has to end by itself, with code 1 and the
/// name of the file.
fn refused_if_damaged(checks: &Checks, what: &str, file: &Path, start: impl Fn() -> Acton) {
    let good = fs::read(file).unwrap();
    let (mut tried, mut wrong) = (0, 0);
    for (how, damaged) in damages(&good) {
        fs::write(file, &damaged).unwrap();
        tried += 1;
        let mut end = start();
        let began = end.says_or_ends("datagrams=");
        let (status, log) = end.end();
        let names_it = log.contains(&*file.to_string_lossy());
        if began || status.code() != Some(1) || !names_it || log.contains("panicked") {
            wrong += 1;
            eprintln!("{what}, {how}: {status}: {log}");
        }
    }
    fs::write(file, good).unwrap();
    checks.equal(&format!("damaged forms of {what}, of {tried}, that were taken"), wrong, 0);
}

pub(crate) fn corrupted_keys(checks: &Checks) {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&[]);
    world.join(0, &[]).stop();
    server.stop();
    let state = world.keys.path("server");
    for name in ["server.key", "network.key"] {
        let server = || world.start_server(&[]);
        refused_if_damaged(checks, name, &state.join(name), server);
    }
    let own = world.keys.client_state(0);
    let client = || world.start_client(0, "192.0.2.1", &[]);
    // Its invite is made of the server's keys, which are whole again.
    refused_if_damaged(checks, "client.key", &Path::new(&own).join("client.key"), client);
    let _server = world.serve(&[]);
    let _client = world.join(0, &[]);
    let up = {
        ping_until_answered(&world.clients[0], ROOT_V4);
        true
    };
    checks.holds("mended, they work", up, up);
}

pub(crate) fn corrupted_invite(checks: &Checks) {
    let world = World::new(1).speaking(Mode::Secure);
    let invite = world.keys.invite("192.0.2.1");
    let keys = invite.find('#').unwrap() + 1;
    let (mut tried, mut wrong) = (0, 0);
    let mut forms = Vec::new();
    for place in keys..invite.len() {
        let mut changed = invite.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        forms.push(String::from_utf8(changed).unwrap());
        forms.push(invite[..place].to_owned());
    }
    for form in forms {
        tried += 1;
        let state = world.keys.client_state(0);
        let arguments = ["client", &form, "--state", &state];
        let mut client = Acton::start("client", &world.clients[0], &arguments);
        let began = client.says_or_ends(said::CONNECTING);
        let log = if began { client.log() } else { client.end().1 };
        // No part of what may be half a secret is told.
        let tells = log.contains(&form[keys..].chars().take(8).collect::<String>())
            && form.len() > keys + 8;
        if began || tells || log.contains("panicked") || !log.contains("invite") {
            wrong += 1;
            eprintln!("{form}: {log}");
        }
    }
    checks.equal(&format!("damaged invites, of {tried}, that were taken or told"), wrong, 0);
}

/// A server with a list of two, and both of them.
fn listed() -> (World, Acton, Vec<Acton>) {
    let world = World::new(2).speaking(Mode::Secure);
    let invites = ["berlin", "oslo"].map(|name| world.keys.named_invite(name, &[]));
    let server = world.serve(&["--keepalive", "1"]);
    let join = |i: u8| {
        let state = world.keys.client_state(i);
        let client = world.run_client(i, &["client", &invites[usize::from(i)], "--state", &state]);
        client.wait_for(said::CONNECTED);
        ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
        client
    };
    let clients = [0, 1].map(join).into();
    (world, server, clients)
}

pub(crate) fn corrupted_list(checks: &Checks) {
    const KEPT: &str = "the list of clients stays as it was";
    let (world, server, clients) = listed();
    let list = world.keys.path("server").join("clients");
    let good = fs::read(&list).unwrap();
    let second = String::from_utf8(good.clone()).unwrap().find(" berlin").unwrap();
    let forms = [
        ("cut in a key", good[..second - 5].to_vec()),
        ("no key", [&good, &b"paris\n"[..]].concat()),
        ("a client twice", good.repeat(2)),
        ("a NUL", [&good, &b"\0\n"[..]].concat()),
        ("not UTF-8", [&good, &[0xff, b'\n'][..]].concat()),
        ("17 MiB", [&good[..], &b"#\n".repeat(17 << 19)].concat()),
    ];
    let (tried, mut told) = (forms.len() as u64 + 1, 0);
    for (how, form) in &forms {
        fs::write(&list, form).unwrap();
        server.signal(Signal::SIGHUP);
        told += 1;
        if lines(&server, KEPT) < told {
            wait_until(&format!("a list with {how} is refused"), || lines(&server, KEPT) >= told);
        }
        told = lines(&server, KEPT);
    }
    fs::write(&list, &good).unwrap();
    fs::set_permissions(&list, fs::Permissions::from_mode(0o666)).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("a list that all may write is refused", || lines(&server, KEPT) > told);
    checks.at_least("forms that the server refuses and tells", tried, 7);
    checks.told("it", &server.log(), &format!("{}, line ", list.display()));
    for (client, host) in clients.iter().zip(&world.clients) {
        checks.equal("sessions that a client lost", lines(client, said::LOST), 0);
        let up = answers(host, ROOT_V4);
        checks.holds("it goes on", up, up);
    }
    fs::set_permissions(&list, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&list, &forms[1].1).unwrap();
    server.stop();
    let (status, log) = world.start_server(&[]).end();
    checks.equal("exit code of a start with such a list", status.code().unwrap_or(-1), 1);
    checks.told("it", &log, &format!("{}, line ", list.display()));
}

pub(crate) fn long_list(checks: &Checks) {
    const LISTED: u32 = 100_000;
    let (world, server, clients) = listed();
    let memory = server.proc_status("VmRSS");
    let list = world.keys.path("server").join("clients");
    let mut text = String::new();
    for number in 0..LISTED - 2 {
        let mut secret = [7; 32];
        secret[..4].copy_from_slice(&number.to_be_bytes());
        // Any 32 bytes may be a public key.
        text.push_str(&format!("{} client-{number}\n", encode_key(&secret)));
    }
    let own = fs::read_to_string(&list).unwrap();
    text.push_str(&own);
    fs::write(&list, &text).unwrap();
    let start = Instant::now();
    server.signal(Signal::SIGHUP);
    let (mut pings, mut slow) = (0_u64, 0);
    let read = format!("{LISTED} on it");
    while lines(&server, &read) == 0 {
        pings += 1;
        let soon = Duration::from_millis(100);
        slow += u64::from(ping(&world.clients[0], ROOT_V4, 56, soon).is_err());
    }
    checks.within("100,000 lines are read", start.elapsed(), 10 * SECOND);
    checks.at_most("pings in 1,000 without an answer in 100 ms", slow * 1_000 / pings, 20);
    let more = server.proc_status("VmRSS").saturating_sub(memory);
    checks.at_most("KiB more that the server has", more, 100 << 10);
    let start = Instant::now();
    fs::write(&list, text.replace(own.lines().last().unwrap(), "")).unwrap();
    clients[1].wait_for("was removed from the server's list");
    checks.within("one that is taken off is out", start.elapsed(), 10 * SECOND);
    checks.equal("sessions that the other one lost", lines(&clients[0], said::LOST), 0);
    let up = sessions(&server).iter().filter(|session| session.session_for.is_some()).count();
    checks.equal("sessions", up, 1);
    server.stop();
    let start = Instant::now();
    let _server = world.serve(&[]);
    checks.within("a server with that list starts", start.elapsed(), 10 * SECOND);
    let start = Instant::now();
    clients[0].wait_for_nth(said::CONNECTED, 2);
    ping_until_answered(&world.clients[0], ROOT_V4);
    checks.within("its listed client is back", start.elapsed(), 15 * SECOND);
}
