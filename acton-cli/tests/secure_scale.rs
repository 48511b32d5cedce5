//! A thousand clients of acton/1, each a state machine of this process with sockets of its own, that
//! are at other addresses all at once.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acton_proto::client::{Client, ClientConfig, ClientEvent};
use acton_proto::handshake::{Secret, SystemRandom};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pnet_base::MacAddr;
use support::{
    Acton, HANG, Mode, PORT, SERVER_MAC, SERVER_V4, TEST_ETHERTYPE, World, counter, counters,
    frame, shell,
};

testbed::main! {
    a_thousand_clients_roam_at_once,
}

const CLIENTS: u16 = 1_000;

/// One client.
struct Member {
    machine: Client,
    socket: UdpSocket,
    /// The text of the newest frame.
    heard: Vec<u8>,
    lost: bool,
}

struct Crowd {
    members: Vec<Member>,
    start: Instant,
}

impl Crowd {
    fn new(world: &World) -> Self {
        let identity = world.keys.server();
        let member = |number| {
            let key = Secret::generate(&mut SystemRandom);
            let mut config = ClientConfig::new(key, identity.public_key);
            config.network_key = Some(identity.network_key.clone());
            let machine = Client::new(config, Box::new(SystemRandom), Duration::ZERO);
            Member { machine, socket: socket(world, 18, number), heard: Vec::new(), lost: false }
        };
        Self { members: (0..CLIENTS).map(member).collect(), start: Instant::now() }
    }

    /// Has everybody hear and speak until it is so for all.
    #[track_caller]
    fn run_until(&mut self, what: &str, holds: impl Fn(&Member) -> bool) {
        let start = Instant::now();
        while !self.members.iter().all(&holds) {
            let left = self.members.iter().filter(|member| !holds(member)).count();
            assert!(start.elapsed() < HANG, "hung waiting until {what}: {left} left");
            self.turn();
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn turn(&mut self) {
        let mut buffer = [0; 2_048];
        for member in &mut self.members {
            loop {
                let length = match member.socket.recv(&mut buffer) {
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                };
                let now = self.start.elapsed();
                for frame in member.machine.handle_input(now, &mut buffer[..length]) {
                    if frame.bytes()[12..14] == TEST_ETHERTYPE.to_be_bytes() {
                        member.heard = frame.bytes()[14..].to_vec();
                    }
                }
            }
            member.speak(self.start.elapsed());
        }
    }
}

impl Member {
    fn speak(&mut self, now: Duration) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        if self.machine.poll_timeout().is_some_and(|at| now >= at) {
            self.machine.handle_timeout(now, wall);
        }
        while let Some(event) = self.machine.poll_event() {
            self.lost |= matches!(event, ClientEvent::Disconnected { .. });
        }
        let mut datagram = Vec::new();
        while self.machine.poll_transmit(1, &mut datagram).is_some() {
            self.socket.send(&datagram).unwrap();
            datagram.clear();
        }
    }

    fn send(&self, now: Duration, frame: &[u8]) {
        let mut datagram = Vec::new();
        self.machine.keys().unwrap().seal_frame(now, frame, false, &mut datagram).unwrap();
        self.socket.send(&datagram).unwrap();
    }
}

/// A socket at an address of its own, in 198.18.0.0/16 or 198.19.0.0/16 (RFC 2544).
fn socket(world: &World, net: u8, number: u16) -> UdpSocket {
    let [high, low] = number.to_be_bytes();
    let address = Ipv4Addr::new(198, net, high, low);
    let socket = world.clients[0].run(|| UdpSocket::bind((address, 0))).unwrap();
    socket.connect((SERVER_V4, PORT)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn sessions(server: &Acton) -> (u64, usize, usize) {
    let log = counters(server);
    let count = |text| log.matches(text).count();
    (counter(&log, "handshake.welcomed"), count(" up: "), count(" down: "))
}

fn a_thousand_clients_roam_at_once() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let world = World::new(1).speaking(Mode::Secure);
    // The whole of the network is the client host's own.
    shell(&world.clients[0], "ip route add local 198.18.0.0/15 dev lo");
    shell(&world.server, "ip route add 198.18.0.0/15 via 192.0.2.10");
    let server = world.serve(&["--workers", "3"]);
    let root = world.server_wire();
    let to_all =
        |text: &[u8]| root.send(&frame(MacAddr::broadcast(), SERVER_MAC, TEST_ETHERTYPE, text));
    let mut crowd = Crowd::new(&world);
    let start = Instant::now();
    crowd.run_until("all have a session", |member| member.machine.keys().is_some());
    println!("{CLIENTS} clients joined within {:?}", start.elapsed());
    let said = start.elapsed();
    while crowd.members.iter().any(|member| !member.heard.starts_with(b"before")) {
        assert!(start.elapsed() - said < HANG, "hung waiting until all hear the server");
        to_all(b"before they roam");
        (0..50).for_each(|_| crowd.turn());
    }
    let before = sessions(&server);
    assert_eq!((before.1, before.2), (usize::from(CLIENTS), 0), "{}", server.log());

    // All at once, and each says one thing from where it is now.
    let start = Instant::now();
    for (number, member) in (0..).zip(&mut crowd.members) {
        member.socket = socket(&world, 19, number);
        let [high, low] = number.to_be_bytes();
        let own = MacAddr(2, 0x19, 0, 0, high, low);
        let up = frame(SERVER_MAC, own, TEST_ETHERTYPE, b"from elsewhere, many bytes of it all");
        member.send(crowd.start.elapsed(), &up);
    }
    while crowd.members.iter().any(|member| !member.heard.starts_with(b"after")) {
        assert!(start.elapsed() < HANG, "hung waiting until all are followed");
        to_all(b"after they roamed");
        (0..50).for_each(|_| crowd.turn());
    }
    println!("{CLIENTS} clients that roamed were all found within {:?}", start.elapsed());
    assert!(crowd.members.iter().all(|member| !member.lost));
    assert_eq!(sessions(&server), before, "no session began or ended: {}", server.log());
    assert!(!server.stop().contains("panicked"));
}
