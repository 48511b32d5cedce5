use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acton_proto::client::{Client, ClientConfig, ClientEvent};
use acton_proto::handshake::{Secret, SystemRandom};

use super::{PORT, SERVER_V4, TEST_ETHERTYPE, World};

/// A client of acton/1 that is a state machine of this process, with a socket of its own: for tests
/// with more clients than there are processes.
pub(crate) struct Member {
    pub(crate) machine: Client,
    pub(crate) socket: UdpSocket,
    /// The test's frames that came since they were taken, in their order.
    pub(crate) frames: Vec<Vec<u8>>,
    /// It had a session that is no more.
    pub(crate) lost: bool,
}

impl Member {
    /// A client of the world's server, on the host of client 0.
    pub(crate) fn new(world: &World, socket: UdpSocket) -> Self {
        let identity = world.keys.server();
        let key = Secret::generate(&mut SystemRandom);
        let mut config = ClientConfig::new(key, identity.public_key);
        config.network_key = Some(identity.network_key.clone());
        let machine = Client::new(config, Box::new(SystemRandom), Duration::ZERO);
        Self { machine, socket, frames: Vec::new(), lost: false }
    }

    /// Hears what has come, and says what there is to say.
    pub(crate) fn turn(&mut self, now: Duration) {
        let mut buffer = [0; 2_048];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The server is not there: what its host says of that, a NAT would keep back.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(error) => panic!("{error}"),
            };
            for frame in self.machine.handle_input(now, &mut buffer[..length]) {
                if frame.bytes()[12..14] == TEST_ETHERTYPE.to_be_bytes() {
                    self.frames.push(frame.bytes().to_vec());
                }
            }
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        if self.machine.poll_timeout().is_some_and(|at| now >= at) {
            self.machine.handle_timeout(now, wall);
        }
        while let Some(event) = self.machine.poll_event() {
            self.lost |= matches!(event, ClientEvent::Disconnected { .. });
        }
        let mut datagram = Vec::new();
        while self.machine.poll_transmit(1, &mut datagram).is_some() {
            self.put(&datagram);
            datagram.clear();
        }
    }

    /// Sends a frame to the server's LAN.
    pub(crate) fn send(&self, now: Duration, frame: &[u8]) {
        let mut datagram = Vec::new();
        self.machine.keys().unwrap().seal_frame(now, frame, false, &mut datagram).unwrap();
        self.put(&datagram);
    }

    fn put(&self, datagram: &[u8]) {
        match self.socket.send(datagram) {
            // As where it is read.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            sent => drop(sent.unwrap()),
        }
    }
}

/// A socket towards the server at an address of the host of client 0.
pub(crate) fn member_socket(world: &World, address: Ipv4Addr) -> UdpSocket {
    let socket = world.clients[0].run(|| UdpSocket::bind((address, 0))).unwrap();
    socket.connect((SERVER_V4, PORT)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}
