//! A server that is started anew under load, its port kept by a service manager meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use socket2::{Domain, Socket, Type};

use crate::checks::Checks;
use crate::crashes::lines;
use crate::support::{
    Acton, Crowd, HANG, Mode, PORT, ROOT_V4, World, ping_until_answered, said, shell, wait_until,
};

/// Clients of the server, besides the one with the transfer.
const CROWD: u16 = 1_000;
/// Bytes of the socket's receive buffer, as the socket unit has it.
const BUFFER: usize = 4 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// A UDP port as a socket unit keeps it.
fn kept(world: &World) -> OwnedFd {
    world.server.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        setsockopt(&socket, RcvBufForce, &BUFFER).unwrap();
        socket.bind(&SocketAddr::from(([0; 4], PORT)).into()).unwrap();
        let socket = OwnedFd::from(socket);
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        socket
    })
}

/// A server with that port that listens.
fn serve(world: &World, port: &OwnedFd) -> Acton {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(["server", "-a", "10.9.0.1/24", "--no-loop-guard", "--workers", "1"]);
    command.args(["--state", &world.keys.server_state()]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", port.as_raw_fd().to_string());
    let server = Acton::spawn("server", &world.server, &mut command);
    server.wait_for(said::LISTENING);
    server
}

/// A counter of UDP in a network namespace (/proc/net/snmp), by its name.
fn udp_count(namespace: &Namespace, name: &str) -> u64 {
    let text = shell(namespace, "grep ^Udp: /proc/net/snmp");
    let [names, values] = [0, 1].map(|line| text.lines().nth(line).unwrap().split(' '));
    let (_, value) = names.zip(values).find(|&(known, _)| known == name).unwrap();
    value.parse().unwrap()
}

/// A transfer by TCP that goes on until it is told to end.
#[derive(Default)]
struct Transfer {
    stop: AtomicBool,
    received: AtomicU64,
    /// The longest time in which nothing came, in microseconds.
    longest_gap: AtomicU64,
}

impl Transfer {
    fn send(&self, from: &Namespace, to: SocketAddr) {
        let mut stream = from.run(|| TcpStream::connect_timeout(&to, HANG)).unwrap();
        stream.set_write_timeout(Some(HANG)).unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            stream.write_all(&[7; 16_384]).unwrap();
        }
    }

    fn receive(&self, listener: &TcpListener) {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        let (mut buffer, mut last) = ([0; 65_536], Instant::now());
        loop {
            let length = stream.read(&mut buffer).unwrap();
            if length == 0 {
                return;
            }
            self.received.fetch_add(length as u64, Ordering::Relaxed);
            self.longest_gap.fetch_max(last.elapsed().as_micros() as u64, Ordering::Relaxed);
            last = Instant::now();
        }
    }

    /// Waits until so much more has come.
    fn moves(&self) {
        let before = self.received.load(Ordering::Relaxed);
        wait_until("the transfer moves", || {
            self.received.load(Ordering::Relaxed) > before + (1 << 20)
        });
    }
}

pub(crate) fn server_restarted_with_its_port_kept(checks: &Checks) {
    let world = &World::new(2).speaking(Mode::Secure);
    let port = &kept(world);
    let server = serve(world, port);
    let mut crowd = Crowd::new(world, CROWD);
    crowd.run_until("all have a session", |member| member.machine.keys().is_some());
    let _client = world.join(1, &[]);
    ping_until_answered(&world.clients[1], ROOT_V4);
    let all = u64::from(CROWD) + 1;
    wait_until("the server knows all", || lines(&server, " up: ") == all);

    let counts = || ["NoPorts", "RcvbufErrors"].map(|name| udp_count(&world.server, name));
    let before = counts();
    let listener = world.server.run(|| TcpListener::bind((ROOT_V4, 0))).unwrap();
    let to = listener.local_addr().unwrap();
    let transfer = Transfer::default();
    let (away, started, _server) = thread::scope(|scope| {
        scope.spawn(|| transfer.receive(&listener));
        scope.spawn(|| transfer.send(&world.clients[1], to));
        transfer.moves();
        let start = Instant::now();
        let restart = scope.spawn(move || {
            server.stop();
            (serve(world, port), start.elapsed())
        });
        // A client is away from when it hears that the server goes until it has a session again.
        let mut lost = vec![None; crowd.members.len()];
        let mut away = vec![None; crowd.members.len()];
        while away.iter().any(Option::is_none) {
            assert!(start.elapsed() < HANG, "{} are back", away.iter().flatten().count());
            crowd.turn();
            for (number, member) in crowd.members.iter().enumerate() {
                match (lost[number], member.machine.keys().is_some()) {
                    (None, _) if member.lost => lost[number] = Some(Instant::now()),
                    (Some(at), true) if away[number].is_none() => away[number] = Some(at.elapsed()),
                    _ => {}
                }
            }
        }
        let (server, started) = restart.join().unwrap();
        transfer.moves();
        transfer.stop.store(true, Ordering::Relaxed);
        let mut away: Vec<Duration> = away.into_iter().flatten().collect();
        away.sort_unstable();
        // Until the sender has ended, who takes what it still sends stays.
        (away, started, server)
    });
    let [no_port, no_room] = counts();
    checks.equal("datagrams that nobody listened for", no_port - before[0], 0);
    checks.equal("datagrams that the port had no room for", no_room - before[1], 0);
    checks.within("the server listens again", started, 5 * SECOND);
    let of = |share: usize| away[(away.len() * share).div_ceil(100) - 1];
    checks.within("half of 1,000 are back", of(50), 10 * SECOND);
    checks.within("99 of 100 are back", of(99), 10 * SECOND);
    checks.within("all of them are back", of(100), 10 * SECOND);
    let gap = Duration::from_micros(transfer.longest_gap.load(Ordering::Relaxed));
    checks.within("the transfer goes on", gap, 15 * SECOND);
}
