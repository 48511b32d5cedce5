//! The clients: a process of `acton client` each.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use acton_netns::Namespace;

use crate::support::{shell, wait_until};
use crate::world::{ROOT, ROOT_MAC, World};

/// All clients, killed when dropped.
pub(crate) struct Clients(Vec<Child>);

/// Clients that start at a time: more would find server A slow, and some begin at the other.
const AT_ONCE: usize = 25;

impl Clients {
    /// Starts all, waits until they have sessions, and tells each who the root is. Each has its own log
    /// in a file, as pipes of so many processes would need threads here.
    pub(crate) fn start(world: &World) -> Self {
        let mut clients = Self(Vec::new());
        let hosts: Vec<_> = world.clients.iter().enumerate().collect();
        for some in hosts.chunks(AT_ONCE) {
            some.iter().for_each(|(number, host)| clients.0.push(start(world, *number, host)));
            some.iter().for_each(|(number, host)| wait_connected(world, *number, host));
        }
        clients
    }

    /// User and system time of all of them so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let time = |child: &Child| {
            let stat = format!("/proc/{}/stat", child.id());
            testbed::proc::group_and_time(stat.as_ref()).unwrap().1
        };
        self.0.iter().map(time).sum()
    }

    /// Memory of one of them in KiB, where what they share is divided among them, and its threads.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let pss = |child: &Child| {
            let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id())).unwrap();
            let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let all: u64 = self.0.iter().map(pss).sum();
        let threads = testbed::proc::status(self.0[0].id(), "Threads").unwrap();
        (all / self.0.len() as u64, threads)
    }

    /// Those that have ended, which none should.
    pub(crate) fn ended(&mut self) -> usize {
        self.0.iter_mut().filter_map(|child| child.try_wait().unwrap()).count()
    }
}

fn start(world: &World, number: usize, host: &Namespace) -> Child {
    let state = world.state(number);
    let log = File::create(state.with_extension("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(world.arguments(number)).env_clear().env("ACTON_CONFIG", "none");
    command.env("ACTON_CONTROL", state.with_extension("sock"));
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    host.spawn(&mut command).unwrap()
}

fn wait_connected(world: &World, number: usize, host: &Namespace) {
    let log = world.state(number).with_extension("log");
    let is_connected = || fs::read_to_string(&log).unwrap().contains("connected to");
    wait_until(&format!("client {number} is connected"), is_connected);
    let neighbour = format!("{ROOT} lladdr {ROOT_MAC} nud permanent dev client");
    shell(host, &format!("ip neigh replace {neighbour}"));
}

impl Drop for Clients {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}
