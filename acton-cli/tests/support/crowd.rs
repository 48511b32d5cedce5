//! Many clients of acton/1, each a state machine of this process with sockets of its own.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::member::{Member, member_socket};
use super::{HANG, World, shell};

/// The clients, all on the host of the world's first one.
pub(crate) struct Crowd {
    pub(crate) members: Vec<Member>,
    start: Instant,
}

impl Crowd {
    /// So many clients that have not joined yet, each at an address of its own.
    pub(crate) fn new(world: &World, count: u16) -> Self {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        // The whole of the network is the client host's own.
        shell(&world.clients[0], "ip route add local 198.18.0.0/15 dev lo");
        shell(&world.server, "ip route add 198.18.0.0/15 via 192.0.2.10");
        let member = |number| Member::new(world, Self::socket(world, 18, number));
        Self { members: (0..count).map(member).collect(), start: Instant::now() }
    }

    /// A socket at an address of its own, in 198.18.0.0/16 or 198.19.0.0/16 (RFC 2544).
    pub(crate) fn socket(world: &World, net: u8, number: u16) -> UdpSocket {
        let [high, low] = number.to_be_bytes();
        member_socket(world, Ipv4Addr::new(198, net, high, low))
    }

    /// The time that the clients go by.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Has everybody hear and speak until it is so for all.
    #[track_caller]
    pub(crate) fn run_until(&mut self, what: &str, holds: impl Fn(&Member) -> bool) {
        let start = Instant::now();
        while !self.members.iter().all(&holds) {
            let left = self.members.iter().filter(|member| !holds(member)).count();
            assert!(start.elapsed() < HANG, "hung waiting until {what}: {left} left");
            self.turn();
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has everybody hear and speak once.
    pub(crate) fn turn(&mut self) {
        for member in &mut self.members {
            member.turn(self.start.elapsed());
        }
    }
}
