//! Where a server listens: on a socket that a service manager keeps for it.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::net::{self, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::{Domain, Socket, Type};
use support::{Acton, Mode, ROOT_V4, SERVER_V4, World, in_both_modes, ping_until_answered, said};

in_both_modes! {
    a_socket_that_is_passed_takes_the_place_of_listen;
    plain: a_hello_to_a_server_that_is_away_is_answered, what_is_no_udp_socket_is_refused
}

/// The port of sockets that are passed.
const PASSED: u16 = 9_999;

/// A socket as a service manager has it.
fn kept(world: &World) -> Socket {
    world.server.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&SocketAddr::from(([0; 4], PASSED)).into()).unwrap();
        socket
    })
}

/// A server that gets this descriptor of its service manager.
fn start(world: &World, descriptor: &OwnedFd, arguments: &[&str]) -> Acton {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(["server", "-a", "10.9.0.1/24"]).args(arguments);
    command.env("LISTEN_FDS", "1");
    command.env("LISTEN_FDS_FIRST_FD", descriptor.as_raw_fd().to_string());
    Acton::spawn("server", &world.server, &mut command)
}

fn a_socket_that_is_passed_takes_the_place_of_listen(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let state = world.keys.server_state();
    let arguments = match mode {
        Mode::Plain => ["--workers", "2", "--listen", "127.0.0.1", "--plain"].to_vec(),
        Mode::Secure => vec!["--workers", "2", "--listen", "127.0.0.1", "--state", &state],
    };
    let descriptor = OwnedFd::from(kept(&world));
    let server = start(&world, &descriptor, &arguments);
    server.wait_for("server on UDP 0.0.0.0:9999");
    let address = SocketAddr::new(SERVER_V4, PASSED).to_string();
    let client = world.start_client(0, &address, &[]);
    client.wait_for(said::CONNECTED);
    let log = server.stop();
    assert!(!log.contains("workers and not"), "another socket is beside it: {log}");

    // The port is there while the server is not.
    let late = world.start_client(1, &address, &[]);
    late.wait_for(said::CONNECTING);
    let server = start(&world, &descriptor, &arguments);
    late.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    assert!(!late.log().contains("nothing listens"), "{}", late.log());
    server.stop();
}

fn a_hello_to_a_server_that_is_away_is_answered() {
    let world = World::new(1);
    let descriptor = OwnedFd::from(kept(&world));
    let server = start(&world, &descriptor, &["--plain"]);
    server.wait_for(said::LISTENING);
    server.stop();
    let client = world.clients[0].run(|| net::UdpSocket::bind("0.0.0.0:0")).unwrap();
    client.set_read_timeout(Some(support::HANG)).unwrap();
    client.send_to(b"HELLO", (SERVER_V4, PASSED)).unwrap();
    let server = start(&world, &descriptor, &["--plain"]);
    // What the server's kernel says to everybody of its own accord may come first.
    let mut answer = [0; 64];
    let mut next = || client.recv(&mut answer).map(|length| answer[..length] == *b"HELLO");
    while !next().unwrap() {}
    server.stop();
}

fn what_is_no_udp_socket_is_refused() {
    let world = World::new(0);
    let listener = world.server.run(|| net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let (status, log) = start(&world, &listener.into(), &["--plain"]).end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("LISTEN_FDS: number 0 is no UDP socket"), "{log}");
}
