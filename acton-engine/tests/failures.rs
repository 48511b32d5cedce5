//! A tunnel that cannot start, and one that cannot go on: it says why and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{Client, Error, EventKind, Server, ServerKeys, ServerName, TapSettings};
use acton_proto::handshake::{Secret, SystemRandom};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How long a wait may take before the test is called hung. No measure of anything.
const HANG: Duration = Duration::from_secs(180);

// Both change what all of the process has, so they run one after the other.
testbed::main! {
    a_tunnel_that_cannot_start_or_go_on_leaves_nothing_behind,
}

fn a_tunnel_that_cannot_start_or_go_on_leaves_nothing_behind() {
    a_start_that_fails_half_way();
    a_worker_that_panics();
}

/// Open files, threads of a tunnel, and interfaces.
fn there() -> (usize, usize, String) {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    let threads = names.filter(|name| name.starts_with("acton-")).count();
    (open_files(), threads, testbed::sh("ip -o link show | cut -d: -f2"))
}

fn open_files() -> usize {
    // The one that reads the directory is there, too.
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[track_caller]
fn wait_until_as_before(before: &(usize, usize, String)) {
    let since = Instant::now();
    while there() != *before {
        assert!(since.elapsed() < HANG, "{before:?}, then {:?}", there());
        thread::sleep(Duration::from_millis(5));
    }
}

fn tap() -> TapSettings {
    let mut tap = TapSettings::new("lan");
    tap.addresses.push("10.9.0.1/24".parse().unwrap());
    tap
}

/// Wherever the system refuses one file more.
fn a_start_that_fails_half_way() {
    let server = |workers| {
        let private_key = Secret::generate(&mut SystemRandom);
        let keys = ServerKeys { private_key, network_key: None };
        Server::secure(keys).tap(tap()).workers(workers)
    };
    // Whatever a first start leaves for all.
    drop(server(3).start().unwrap());
    let before = there();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let mut failed = 0;
    for more in 0_u64.. {
        let builder = server(3);
        setrlimit(Resource::RLIMIT_NOFILE, before.0 as u64 - 1 + more, hard).unwrap();
        let started = builder.start();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        match started {
            Ok(running) => {
                // What it can do without is left out with a warning, never the tunnel itself.
                drop(running);
                wait_until_as_before(&before);
                break;
            }
            Err(error) => {
                failed += 1;
                assert!(!error.is_setting(), "{error}");
                wait_until_as_before(&before);
            }
        }
    }
    println!("a start that failed at {failed} places left nothing behind");
    assert!(failed > 8, "{failed}");
    let mut wrong = tap();
    wrong.bridge = Some("nosuch".to_owned());
    assert!(Server::plain().tap(wrong).start().is_err());
    wait_until_as_before(&before);
}

/// Panics where a worker has something to say.
struct Panicking;

impl log::Log for Panicking {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let thread = thread::current();
        let is_worker = thread.name().is_some_and(|name| name.starts_with("acton-worker"));
        assert!(!is_worker, "a worker said: {}", record.args());
    }

    fn flush(&self) {}
}

fn a_worker_that_panics() {
    static SET: Once = Once::new();
    let before = there();
    // Nobody listens there: the worker hears of it and tells the log.
    let server = ServerName::parse("127.0.0.1:9", 9).unwrap();
    let client = Client::plain(server).tap(tap()).start().unwrap();
    let (handle, mut events) = (client.handle(), client.events(0));
    SET.call_once(|| {
        log::set_logger(&Panicking).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
    println!("a worker panics now, as it should:");
    let ended = client.wait();
    log::set_max_level(log::LevelFilter::Off);
    assert!(matches!(ended, Err(Error::WorkerPanicked)), "{ended:?}");
    let failed = std::iter::from_fn(|| events.next_within(HANG))
        .find(|event| matches!(event.kind, EventKind::Failed { .. }));
    let failed = failed.unwrap();
    let EventKind::Failed { error } = &failed.kind else { panic!("{failed:?}") };
    assert!(error.contains("a fault in acton"), "{error}");
    assert!(handle.status().ended);
    drop((handle, events));
    wait_until_as_before(&before);
}
