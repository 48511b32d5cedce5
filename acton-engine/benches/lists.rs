//! What a long list of clients costs a server: until its first session, and while it runs.
//!
//! `cargo bench -p acton-engine --bench lists -- --lines 100000`
#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::keys::{ClientList, State, encode_key};
use acton_engine::{Client, ClientKeys, EventKind, Handle, Server, Settings, TapSettings};
use acton_netns::{Namespace, Veth, veth};
use acton_proto::handshake::{Random, Secret, SystemRandom, public_key};
use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// Clients on the list, each with a MAC.
    #[arg(long, default_value_t = 100_000)]
    lines: u32,
    /// Clients of a list in TOML, each with a policy of its own; 0 for none.
    #[arg(long, default_value_t = 10_000)]
    policies: u32,
    /// What cargo gives every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let Arguments { lines, policies, .. } = Arguments::parse();
    if policies > 0 {
        read_policies(policies);
    }
    let directory = std::env::temp_dir().join(format!("acton-lists-{}", std::process::id()));
    let state = State::new(&directory);
    let identity = state.server_identity().unwrap();
    let server_key = identity.public_key;
    let network_key = Some(identity.network_key.clone());
    let private_key = Secret::generate(&mut SystemRandom);
    let list = state.clients_path(None);
    let text = made(lines, &public_key(&private_key));
    put(&list, &text);

    let (here, there) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    veth(&here, "cable", &there, "cable", &Veth::new()).unwrap();
    for (host, last) in [(&here, 1), (&there, 2)] {
        host.add_address("cable", IpAddr::from([192, 0, 2, last]), 24).unwrap();
    }
    let keys = ClientKeys { private_key, server_key, network_key, psk: None };
    let name = SocketAddr::from(([192, 0, 2, 1], 8080));
    let client = there
        .run(|| Client::secure(name.into(), keys).tap(TapSettings::new("lan")).start().unwrap());
    let start = Instant::now();
    let clients = state.watch_clients(None).unwrap();
    println!("{lines} lines, {} KB: read in {:?}", text.len() / 1_024, start.elapsed());
    let server = Server::secure(identity.into()).admission(clients).tap(TapSettings::new("lan"));
    let settings = Settings::Server(server.settings());
    let server = here.run(|| server.start().unwrap());
    println!("  started in {:?}", start.elapsed());
    let mut events = server.handle().events(0);
    while !matches!(events.next().unwrap().kind, EventKind::SessionUp { .. }) {}
    println!("  first session after {:?}", start.elapsed());

    let handle = server.handle();
    let change = |what, text: &str| {
        let stalled = longest_wait(&handle, &settings, || {
            let mut events = handle.events(handle.status().last_event);
            put(&list, text);
            while !matches!(events.next().unwrap().kind, EventKind::ListRead { .. }) {}
            // What is left to do after the reading.
            thread::sleep(Duration::from_secs(1));
        });
        println!("  {what}: the control thread answered within {stalled:?}");
    };
    let quiet = longest_wait(&handle, &settings, || thread::sleep(Duration::from_secs(2)));
    println!("  nothing changes: the control thread answered within {quiet:?}");
    change("the same list again", &text);
    let other = text.replace("mac=02:00", "mac=02:01");
    change("every MAC another", &other);
    change("no MACs", &other.replace(" mac=", " #"));
    drop((server, client));
    fs::remove_dir_all(directory).unwrap();
}

/// A list of clients with a MAC each, and this one without.
fn made(lines: u32, client: &[u8; 32]) -> String {
    let mut text = format!("{} real\n", encode_key(client));
    for number in 0..lines {
        let mut key = [0; 32];
        SystemRandom.fill(&mut key);
        let [a, b, c, d] = number.to_be_bytes();
        let mac = format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        writeln!(text, "{} client-{number} mac={mac}", encode_key(&key)).unwrap();
    }
    text
}

/// What a list costs of which each client has a policy of its own: time and memory, by what the process
/// has more of afterwards.
fn read_policies(clients: u32) {
    let mut text = String::from("[default]\nallow = [\"ip\", \"ip6\", \"arp\"]\n");
    for number in 0..clients {
        let mut key = [0; 32];
        SystemRandom.fill(&mut key);
        let [_, b, c, d] = number.to_be_bytes();
        writeln!(
            text,
            "[client.site-{number}]\nkey = \"{}\"\nmac = \"02:00:00:{b:02x}:{c:02x}:{d:02x}\"\n\
             ips = [\"10.{b}.{c}.{d}\", \"2001:db8:{b:x}:{c:x}{d:02x}::/64\", \"learn\"]\n\
             rate-in = \"20M\"\nrate-out = \"50M\"\nmax-macs = 8\nstrict = true",
            encode_key(&key)
        )
        .unwrap();
    }
    let path = std::env::temp_dir().join(format!("acton-policies-{}.toml", std::process::id()));
    put(&path, &text);
    // What the reading itself takes and gives back is there by the second time.
    drop(ClientList::load(&path).unwrap());
    let (before, start) = (resident(), Instant::now());
    let list = ClientList::load(&path).unwrap();
    let took = start.elapsed();
    let each = (resident().saturating_sub(before) * 1_024) / u64::from(clients);
    println!(
        "{} policies, {} KB: read in {took:?}, {each} bytes a client at most that stay",
        list.len(),
        text.len() / 1_024
    );
    drop(list);
    fs::remove_file(path).unwrap();
}

/// Kilobytes of memory that this process has (proc_pid_status(5)).
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Puts a list in place of the one that is there.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

/// The longest that the control thread took to answer meanwhile.
fn longest_wait(handle: &Handle, settings: &Settings, act: impl FnOnce()) -> Duration {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let asked = Instant::now();
                handle.apply(settings.clone()).unwrap();
                longest = longest.max(asked.elapsed());
                thread::sleep(Duration::from_millis(1));
            }
            longest
        });
        act();
        done.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    })
}
