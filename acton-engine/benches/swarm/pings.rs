//! Pings through the tunnel: a client that asks again and again, by ARP, for the address of the
//! server's TAP. Question and answer are frames to one receiver, and the kernel answers at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::support::Result;
use crate::support::background::{Background, Stop};
use crate::support::crowd::{Socket, Speaker, answers, mac, wall_clock, who_has};
use crate::support::server::Mode;

/// Time between a ping's end and the next one's start.
const INTERVAL: Duration = Duration::from_millis(1);
/// A ping that has no answer by then has none.
const LOST: Duration = Duration::from_secs(1);
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
    _thread: Background,
}

impl Pings {
    /// Begins, as client `number` at `from`, to ask a server for the address of its TAP.
    pub(crate) fn start(
        mode: Mode,
        number: usize,
        from: Ipv4Addr,
        server: SocketAddr,
        tap: Ipv4Addr,
    ) -> Result<Self> {
        let over = Arc::new(Mutex::new(Vec::new()));
        let mut pinger = Pinger {
            client: Speaker::new(mode, number, Duration::ZERO),
            mac: mac(number),
            socket: Socket::new(from, server)?,
            start: Instant::now(),
            tap,
            over: Arc::clone(&over),
        };
        let thread = Background::start("pings", move |stop| pinger.run(&stop))?;
        Ok(Self { over, _thread: thread })
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

struct Pinger {
    client: Speaker,
    mac: [u8; 6],
    socket: Socket,
    start: Instant,
    tap: Ipv4Addr,
    over: Arc<Mutex<Vec<Ping>>>,
}

impl Pinger {
    fn run(&mut self, stop: &Stop) -> Result<()> {
        let (mut turn, mut datagram) = (0_u8, Vec::new());
        while !stop.is_said() {
            self.receive_until(wall_clock() + INTERVAL, None)?;
            // An answer that comes too late is not the next one's.
            turn = turn.wrapping_add(1) % 16;
            let own = Ipv4Addr::from(u32::from(self.tap) + 1 + u32::from(turn));
            let question = who_has(self.tap, self.mac, own);
            if !self.client.frame(self.start.elapsed(), &question, &mut datagram)? {
                continue;
            }
            let sent = wall_clock();
            self.socket.send(&datagram)?;
            let answered = self.receive_until(sent + LOST, Some(own))?;
            let round_trip = answered.map_or(LOST, |at| at.saturating_sub(sent));
            let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            over.push(Ping { sent, round_trip });
        }
        Ok(())
    }

    /// Does what a client has to do until then, or until `own` has its answer; when that came.
    fn receive_until(
        &mut self,
        until: Duration,
        own: Option<Ipv4Addr>,
    ) -> Result<Option<Duration>> {
        let (mut buffer, mut datagram) = ([0; 2_048], Vec::new());
        loop {
            let now = self.start.elapsed();
            if self.client.poll_timeout().is_some_and(|due| due <= now) {
                self.client.handle_timeout(now);
            }
            while let Some(arrived) = self.socket.receive(&mut buffer)? {
                if !arrived.from_server {
                    continue;
                }
                let (mac, mut answered) = (self.mac, false);
                self.client.handle_input(now, &mut buffer[..arrived.length], |frame| {
                    answered |= own.is_some_and(|own| answers(frame, mac, own));
                });
                if answered {
                    return Ok(Some(arrived.at));
                }
            }
            while self.client.poll_transmit(&mut datagram) {
                self.socket.send(&datagram)?;
            }
            while self.client.poll_happening().is_some() {}
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
