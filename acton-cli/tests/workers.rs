//! Workers in any number: no power of two, and more than there are processors.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::thread;

use support::{
    Acton, Mode, ROOT_V4, World, counters, in_both_modes, leaf, ping_until_answered, tcp_transfer,
    wait_until,
};

in_both_modes! {
    any_number_of_workers_serves_everybody,
}

const CLIENTS: u8 = 6;

/// The threads of a process by this name.
fn threads(process: &Acton, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    names.filter(|comm| comm.starts_with(name)).count()
}

fn any_number_of_workers_serves_everybody(mode: Mode) {
    let processors = thread::available_parallelism().unwrap().get();
    let most = (2 * processors + 1).clamp(7, 64);
    let world = World::new(CLIENTS).speaking(mode);
    for workers in [3, most] {
        let server = world.serve(&["--workers", &workers.to_string()]);
        wait_until("all workers run", || threads(&server, "acton-worker") == workers);
        let clients: Vec<_> = (0..CLIENTS).map(|i| world.join(i, &[])).collect();
        for i in 0..CLIENTS {
            ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
            ping_until_answered(&world.server, leaf(i)[0]);
        }
        tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 2_000_000);
        tcp_transfer(&world.server, &world.clients[1], leaf(1)[0], 2_000_000);
        let log = counters(&server);
        assert_eq!(log.matches(" up: ").count(), usize::from(CLIENTS), "{log}");
        for client in clients {
            client.stop();
        }
        let log = server.stop();
        assert!(!log.contains("panicked") && !log.contains("drop.no_session"), "{log}");
    }
}
