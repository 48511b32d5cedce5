use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acton_netns::Namespace;
use acton_proto::client::Client;
use acton_proto::server::Server;
use acton_proto::session::Keys;

/// The protocol at one end.
pub(crate) trait Machine {
    fn receive(&mut self, now: Duration, wall: u64, from: SocketAddr, datagram: &mut [u8]);
    fn tick(&mut self, now: Duration, wall: u64);
    /// Appends a datagram, if one is to be sent.
    fn transmit(&mut self, out: &mut Vec<u8>) -> bool;
    fn keys(&self) -> Option<Arc<Keys>>;
}

impl Machine for Client {
    fn receive(&mut self, now: Duration, _: u64, _: SocketAddr, datagram: &mut [u8]) {
        self.handle_input(now, datagram);
    }

    fn tick(&mut self, now: Duration, wall: u64) {
        self.handle_timeout(now, wall);
        while self.poll_event().is_some() {}
    }

    fn transmit(&mut self, out: &mut Vec<u8>) -> bool {
        self.poll_transmit(1, out).is_some()
    }

    fn keys(&self) -> Option<Arc<Keys>> {
        self.keys().cloned()
    }
}

impl Machine for Server {
    fn receive(&mut self, now: Duration, wall: u64, from: SocketAddr, datagram: &mut [u8]) {
        self.handle_input(now, wall, from.into(), datagram);
    }

    fn tick(&mut self, now: Duration, _: u64) {
        self.handle_timeout(now);
        while self.poll_event().is_some() {}
    }

    fn transmit(&mut self, out: &mut Vec<u8>) -> bool {
        self.poll_transmit(1, out).is_some()
    }

    fn keys(&self) -> Option<Arc<Keys>> {
        self.sessions().next().map(|session| Arc::clone(session.keys))
    }
}

/// One end of a session that has an acton at the other.
pub(crate) struct End<M> {
    pub(crate) machine: M,
    pub(crate) socket: UdpSocket,
    /// The other end's address, once it is known.
    pub(crate) to: Option<SocketAddr>,
    start: Instant,
}

impl<M: Machine> End<M> {
    pub(crate) fn new(machine: M, host: &Namespace, port: u16) -> Self {
        let socket = host.run(|| UdpSocket::bind(("0.0.0.0", port))).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { machine, socket, to: None, start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Does what keeps the session.
    pub(crate) fn turn(&mut self) {
        self.hear();
        self.speak();
    }

    pub(crate) fn hear(&mut self) {
        let (now, wall) = (self.now(), wall());
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            self.to = Some(from);
            self.machine.receive(now, wall, from, &mut buffer[..length]);
        }
    }

    pub(crate) fn speak(&mut self) {
        self.machine.tick(self.now(), wall());
        let mut datagram = Vec::new();
        while self.machine.transmit(&mut datagram) {
            self.send(&datagram);
            datagram.clear();
        }
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.to.expect("the other end was heard of")).unwrap();
    }
}

pub(crate) fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}
