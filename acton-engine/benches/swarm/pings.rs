//! Pings through the tunnel: a client that asks again and again, by ARP, for the address of the
//! server's TAP. Question and answer are frames to one receiver, and the kernel answers at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use acton_proto::client::{Client, ClientConfig};
use acton_proto::handshake::{Secret, SystemRandom, public_key};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::support::crowd::{Socket, private_key, wall_clock};
use crate::support::{Result, server};

/// Time between a ping's end and the next one's start.
const INTERVAL: Duration = Duration::from_millis(1);
/// A ping that has no answer by then has none.
const LOST: Duration = Duration::from_secs(1);
/// The client's MAC.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Before the addresses of an Ethernet frame's ARP of IPv4: broadcast, then [`MAC`].
const ARP_REQUEST: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];

/// A ping that is over.
#[derive(Debug, Clone, Copy)]
struct Ping {
    /// By the wall clock.
    sent: Duration,
    /// [`LOST`] where there was no answer.
    round_trip: Duration,
}

/// Pings on a thread of their own.
#[derive(Debug)]
pub(crate) struct Pings {
    over: Arc<Mutex<Vec<Ping>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Pings {
    /// Begins, as client `number` at `from`, to ask a server for the address of its TAP.
    pub(crate) fn start(
        number: usize,
        from: Ipv4Addr,
        server: SocketAddr,
        tap: Ipv4Addr,
    ) -> Result<Self> {
        let over = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut config =
            ClientConfig::new(private_key(number), public_key(&Secret::new(server::PRIVATE_KEY)));
        config.network_key = Some(Secret::new(server::NETWORK_KEY));
        let mut pinger = Pinger {
            client: Client::new(config, Box::new(SystemRandom), Duration::ZERO),
            socket: Socket::new(from, server)?,
            start: Instant::now(),
            tap,
            over: Arc::clone(&over),
        };
        let stopped = Arc::clone(&stop);
        let thread =
            thread::Builder::new().name("pings".to_owned()).spawn(move || pinger.run(&stopped))?;
        Ok(Self { over, stop, thread: Some(thread) })
    }

    /// Seconds that pings took which were sent between these times of the wall clock, in order.
    pub(crate) fn between(&self, from: Duration, to: Duration) -> Vec<f64> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let these = over.iter().filter(|ping| (from..=to).contains(&ping.sent));
        let mut times: Vec<_> = these.map(|ping| ping.round_trip.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        times
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("pings: {error}"),
            Some(Err(_)) => eprintln!("pings: their thread panicked"),
            _ => {}
        }
    }
}

struct Pinger {
    client: Client,
    socket: Socket,
    start: Instant,
    tap: Ipv4Addr,
    over: Arc<Mutex<Vec<Ping>>>,
}

impl Pinger {
    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut turn = 0_u8;
        while !stop.load(Ordering::Relaxed) {
            self.receive_until(wall_clock() + INTERVAL, None)?;
            let Some(keys) = self.client.keys().cloned() else { continue };
            // An answer that comes too late is not the next one's.
            turn = turn.wrapping_add(1) % 16;
            let own = Ipv4Addr::from(u32::from(self.tap) + 1 + u32::from(turn));
            let mut datagram = Vec::new();
            keys.seal_frame(self.start.elapsed(), &self.question(own), false, &mut datagram)?;
            let sent = wall_clock();
            self.socket.send(&datagram)?;
            let answered = self.receive_until(sent + LOST, Some(own))?;
            let round_trip = answered.map_or(LOST, |at| at.saturating_sub(sent));
            let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            over.push(Ping { sent, round_trip });
        }
        Ok(())
    }

    /// RFC 826: who has the TAP's address?
    fn question(&self, own: Ipv4Addr) -> Vec<u8> {
        let ethernet = [&[0xff; 6][..], &MAC].concat();
        let sender = [&MAC[..], &own.octets()].concat();
        let target = [&[0; 6][..], &self.tap.octets()].concat();
        [ethernet, ARP_REQUEST.to_vec(), sender, target].concat()
    }

    /// Does what a client has to do until then, or until `own` has its answer; when that came.
    fn receive_until(
        &mut self,
        until: Duration,
        own: Option<Ipv4Addr>,
    ) -> Result<Option<Duration>> {
        let mut buffer = [0; 2_048];
        loop {
            let now = self.start.elapsed();
            if self.client.poll_timeout().is_some_and(|due| due <= now) {
                self.client.handle_timeout(now, wall_clock().as_nanos() as u64);
            }
            while let Some(arrived) = self.socket.receive(&mut buffer)? {
                if !arrived.from_server {
                    continue;
                }
                for frame in self.client.handle_input(now, &mut buffer[..arrived.length]) {
                    let answers = |own: Ipv4Addr| {
                        frame.bytes().get(20..22) == Some(&[0, 2])
                            && frame.bytes().get(38..42) == Some(&own.octets())
                    };
                    if own.is_some_and(answers) {
                        return Ok(Some(arrived.at));
                    }
                }
            }
            let mut datagram = Vec::new();
            while self.client.poll_transmit(1, &mut datagram).is_some() {
                self.socket.send(&datagram)?;
                datagram.clear();
            }
            while self.client.poll_event().is_some() {}
            let left = until.saturating_sub(wall_clock());
            if left.is_zero() {
                return Ok(None);
            }
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let wait = left.as_micros().div_ceil(1_000).min(100) as u16;
            poll(&mut fds, PollTimeout::from(wait))?;
        }
    }
}
