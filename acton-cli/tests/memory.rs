//! What is left of keys in the memory of a process, and who could read it.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use acton_engine::keys::encode_secret;
use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Mac};
use support::{
    Acton, Mode, PublicProgram, ROOT_V4, World, leaf, ping_until_answered, said, tcp_transfer,
    wait_until,
};

/// Bytes read of a process at a time.
const CHUNK: usize = 1 << 20;
/// An ordinary user.
const NOBODY: u32 = 65_534;

/// How often each needle is in the memory that a process can write to.
fn count(process: &Acton, needles: &[Vec<u8>]) -> Vec<usize> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.id())).unwrap();
    let memory = File::open(format!("/proc/{}/mem", process.id())).unwrap();
    let mut counts = vec![0; needles.len()];
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, access) = (words.next().unwrap(), words.next().unwrap());
        if !access.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        for (number, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
            // A page that is not there any more has no keys.
            let _ = memory.read_exact_at(chunk, from + (number * CHUNK) as u64);
        }
        for (needle, count) in needles.iter().zip(&mut counts) {
            *count += memchr::memmem::find_iter(&bytes, needle).count();
        }
    }
    counts
}

/// The secrets of the sessions in a key log: what the handshakes gave, and the keys made of it
/// (docs/PROTOCOL.md, section 4).
fn session_secrets(key_log: &str) -> Vec<Vec<u8>> {
    let mut secrets = Vec::new();
    for line in key_log.lines() {
        let value = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap();
        let suite: u8 = value("suite=").parse().unwrap();
        for direction in ["to_server=", "to_client="] {
            let split = data_encoding::HEXLOWER.decode(value(direction).as_bytes()).unwrap();
            let mut mac = <Blake2sMac256 as KeyInit>::new_from_slice(&split).unwrap();
            mac.update(b"acton1 key");
            mac.update(&[suite]);
            secrets.push(mac.finalize_fixed().to_vec());
            secrets.push(split);
        }
    }
    secrets
}

/// Copies of a lasting key that a process may have. Two or three are those that it works with; now
/// and then what hashed one leaves two more. Without any wiping there are more than forty.
const COPIES: usize = 8;

fn keys_go_with_their_session() {
    for suite in ["aes", "chacha"] {
        let world = World::new(2).speaking(Mode::Secure);
        let log = |name: &str| world.keys.path(name).to_str().unwrap().to_owned();
        // A thread writes over what it had on its stack by the next datagram.
        let server = world.serve(&["--suite", suite, "--workers", "1"]);
        let client = world.join(0, &["--rekey", "1", "--key-log", &log("of-client")]);
        tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 1 << 20);
        wait_until("there were rekeys", || {
            // Keys that carry nothing are kept for longer.
            ping_until_answered(&world.server, leaf(0)[0]);
            fs::read_to_string(log("of-client")).unwrap().lines().count() >= 4
        });
        ping_until_answered(&world.server, leaf(0)[0]);
        client.stop();
        server.wait_for(said::BYE);
        let other = world.join(1, &[]);
        ping_until_answered(&world.server, leaf(1)[0]);
        let secrets = session_secrets(&fs::read_to_string(log("of-client")).unwrap());
        assert_eq!(count(&server, &secrets), vec![0; secrets.len()], "{suite}");
        let identity = world.keys.server();
        for key in [&identity.private_key, &identity.network_key] {
            let [raw, text] = [key.bytes().to_vec(), encode_secret(key).as_bytes().to_vec()];
            let counts = count(&server, &[raw, text]);
            assert!((1..=COPIES).contains(&counts[0]) && counts[1] == 0, "{suite}: {counts:?}");
        }

        // The same at a client, whose server ends and comes again.
        server.stop();
        other.wait_for("server restarts");
        let server = world.serve(&["--suite", suite, "--key-log", &log("of-server")]);
        other.wait_for_nth(said::CONNECTED, 2);
        tcp_transfer(&world.clients[1], &world.server, ROOT_V4, 1 << 10);
        let secrets = session_secrets(&fs::read_to_string(log("of-server")).unwrap());
        assert_ne!(count(&other, &secrets), vec![0; secrets.len()], "one session goes on");
        server.stop();
        let server = world.serve(&["--suite", suite]);
        other.wait_for_nth(said::CONNECTED, 3);
        tcp_transfer(&world.clients[1], &world.server, ROOT_V4, 1 << 20);
        assert_eq!(count(&other, &secrets), vec![0; secrets.len()], "{suite}");
        drop(server);
    }
}

fn other_processes_of_the_user_and_core_dumps_see_nothing() {
    let program = PublicProgram::new();
    let owner_of_memory = |command: &mut Command| {
        let mut child = command.uid(NOBODY).stdin(Stdio::piped()).spawn().unwrap();
        // It has begun once it reads its input.
        wait_until("it reads", || {
            let state = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            state.contains(") S ")
        });
        let owner = fs::metadata(format!("/proc/{}/mem", child.id())).unwrap().uid();
        child.kill().unwrap();
        child.wait().unwrap();
        owner
    };
    // The kernel gives to root what it neither dumps nor lets others attach to (proc(5)).
    assert_eq!(owner_of_memory(Command::new(program.path()).arg("pubkey")), 0);
    assert_eq!(owner_of_memory(&mut Command::new("cat")), NOBODY);
}

testbed::main! {
    keys_go_with_their_session,
    other_processes_of_the_user_and_core_dumps_see_nothing,
}
