//! The clients: state machines on one thread, each with a socket of its own.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acton_proto::client::{Client, ClientConfig, ClientEvent, DownReason};
use acton_proto::handshake::{Secret, SystemRandom, public_key};
use acton_proto::wire::Key;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::{Result, server};

/// Datagrams taken before the timers are looked at again.
const EVENTS: usize = 64;
/// Buffer for a datagram in bytes: more than a probe of the path has.
const DATAGRAM: usize = 2_048;
/// Least time between two calls for one client's timers.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Member {
    socket: UdpSocket,
    client: Option<Client>,
    /// When its timers are due.
    due: Option<Duration>,
}

/// The clients, by number.
#[derive(Debug)]
pub(crate) struct Crowd {
    members: Vec<Member>,
    server_key: Key,
    epoll: Epoll,
    timers: BTreeSet<(Duration, usize)>,
    start: Instant,
    rekeys: usize,
}

impl Crowd {
    /// So many clients that have not joined yet.
    pub(crate) fn new(count: usize, server: SocketAddr) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut members = Vec::with_capacity(count);
        for number in 0..count {
            let socket = UdpSocket::bind((address(number), 0))?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            members.push(Member { socket, client: None, due: None });
        }
        Ok(Self {
            members,
            server_key: public_key(&Secret::new(server::PRIVATE_KEY)),
            epoll,
            timers: BTreeSet::new(),
            start: Instant::now(),
            rekeys: 0,
        })
    }

    /// How often a client got new keys for a session so far.
    pub(crate) fn rekeys(&self) -> usize {
        self.rekeys
    }

    /// Has a client without a session join.
    pub(crate) fn join(&mut self, number: usize) -> Result<()> {
        let mut config = ClientConfig::new(private_key(number), self.server_key);
        config.network_key = Some(Secret::new(server::NETWORK_KEY));
        let client = Client::new(config, Box::new(SystemRandom), self.now());
        self.members[number].client = Some(client);
        self.tick(number)
    }

    /// Has a client ask for new keys now and not at the age of two minutes.
    pub(crate) fn rekey(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        if let Some(client) = &mut self.members[number].client {
            // What a client does where its network reports an error: it looks for the server.
            client.handle_network_error(now);
        }
        self.tick(number)
    }

    /// Has a client say BYE and leave.
    pub(crate) fn leave(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        if let Some(client) = &mut self.members[number].client {
            client.close(now);
        }
        self.settle(number)?;
        self.members[number].client = None;
        Ok(())
    }

    /// Does something with each of these clients, `pace` a second, and in between what all have to
    /// do.
    pub(crate) fn each(
        &mut self,
        numbers: impl Iterator<Item = usize>,
        pace: f64,
        mut action: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        let start = self.now();
        for (turn, number) in numbers.enumerate() {
            self.run_until(start + Duration::from_secs_f64(turn as f64 / pace))?;
            action(self, number)?;
        }
        Ok(())
    }

    /// Does what the clients have to do for so long.
    pub(crate) fn run(&mut self, time: Duration) -> Result<()> {
        self.run_until(self.now() + time)
    }

    fn run_until(&mut self, until: Duration) -> Result<()> {
        let mut ready = [EpollEvent::empty(); EVENTS];
        loop {
            let now = self.now();
            while let Some(&(due, number)) = self.timers.first().filter(|(due, _)| *due <= now) {
                self.timers.remove(&(due, number));
                self.tick(number)?;
            }
            let next = self.timers.first().map_or(until, |&(due, _)| due.min(until));
            let wait = next.saturating_sub(self.now());
            // Rounded up, not to look for what is not due yet.
            let wait = EpollTimeout::try_from(wait.as_micros().div_ceil(1_000) as u32)?;
            let count = self.epoll.wait(&mut ready, wait)?;
            for event in &ready[..count] {
                self.receive(event.data() as usize)?;
            }
            if self.now() >= until {
                return Ok(());
            }
        }
    }

    fn receive(&mut self, number: usize) -> Result<()> {
        let mut buffer = [0; DATAGRAM];
        let now = self.now();
        let member = &mut self.members[number];
        let length = match member.socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("client {number}: {error}").into()),
        };
        if let Some(client) = &mut member.client {
            // Nobody sends frames here.
            client.handle_input(now, &mut buffer[..length]);
        }
        self.settle(number)
    }

    fn tick(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        if let Some(client) = &mut self.members[number].client {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH)?;
            client.handle_timeout(now, wall.as_nanos() as u64);
        }
        self.settle(number)
    }

    /// Sends what a client has to say, counts what it saw, and sets its timer.
    fn settle(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        let member = &mut self.members[number];
        let Some(client) = &mut member.client else { return Ok(()) };
        let mut datagram = Vec::with_capacity(DATAGRAM);
        while client.poll_transmit(1, &mut datagram).is_some() {
            member.socket.send(&datagram)?;
            datagram.clear();
        }
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::KeysChanged { .. } => self.rekeys += 1,
                ClientEvent::Disconnected { reason: DownReason::Closed, .. }
                | ClientEvent::Connecting { .. }
                | ClientEvent::Connected { .. }
                | ClientEvent::KeysDropped { .. } => {}
                event => return Err(format!("client {number}: {event:?}").into()),
            }
        }
        let due = client.poll_timeout().map(|due| due.max(now + TICK));
        if let Some(old) = std::mem::replace(&mut member.due, due) {
            self.timers.remove(&(old, number));
        }
        self.timers.extend(due.map(|due| (due, number)));
        Ok(())
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A loopback address for each client, since a server limits the handshakes of one address.
fn address(number: usize) -> Ipv4Addr {
    let [_, _, high, low] = (number as u32).to_be_bytes();
    // The server has 127.0.0.1.
    Ipv4Addr::new(127, 1, high, low)
}

fn private_key(number: usize) -> Secret {
    let mut bytes = [3; 32];
    // Not at its ends: X25519 ignores some bits there.
    bytes[8..16].copy_from_slice(&(number as u64).to_be_bytes());
    Secret::new(bytes)
}
