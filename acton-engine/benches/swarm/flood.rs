//! Somebody who sends as many datagrams a second as it may, on a thread of its own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::pacer::Pacer;
use crate::support::Result;
use crate::support::background::Background;

/// Datagrams a second.
pub(crate) const RATE: u32 = 100_000;
/// Time between two bursts: short beside what a receive buffer holds.
const STEP: Duration = Duration::from_millis(1);
/// Datagrams in each of them.
const BURST: u32 = RATE / 1_000;

/// Where a flood goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Aim {
    Nowhere,
    /// To a socket that nobody reads: what the flood costs this machine without the server.
    Past,
    Server,
}

/// What a flood is made of.
pub(crate) trait Flooder: Send {
    /// Does whatever else it has to do: nothing.
    fn tick(&mut self) -> Result<()> {
        Ok(())
    }

    /// Sends so many datagrams to an address.
    fn send(&mut self, count: u32, to: SocketAddr) -> Result<()>;
}

/// A flood, which goes on until this value ends.
#[derive(Debug)]
pub(crate) struct Flood {
    aim: Arc<AtomicU8>,
    sent: Arc<AtomicU64>,
    _thread: Background,
    /// Takes what goes past the server.
    _nobody: UdpSocket,
}

impl Flood {
    /// One of a server, that goes nowhere yet.
    pub(crate) fn start(mut flooder: Box<dyn Flooder>, server: SocketAddr) -> Result<Self> {
        let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let past = nobody.local_addr()?;
        let aim = Arc::new(AtomicU8::new(Aim::Nowhere as u8));
        let sent = Arc::new(AtomicU64::new(0));
        let (aimed, count) = (Arc::clone(&aim), Arc::clone(&sent));
        let thread = Background::start("flood", move |stop| {
            let mut pacer = Pacer::new(STEP);
            while !stop.is_said() {
                flooder.tick()?;
                let to = match aimed.load(Ordering::Relaxed) {
                    aim if aim == Aim::Server as u8 => Some(server),
                    aim if aim == Aim::Past as u8 => Some(past),
                    _ => None,
                };
                if let Some(to) = to {
                    flooder.send(BURST, to)?;
                    count.fetch_add(BURST.into(), Ordering::Relaxed);
                }
                pacer.wait();
            }
            Ok(())
        })?;
        Ok(Self { aim, sent, _thread: thread, _nobody: nobody })
    }

    pub(crate) fn aim(&self, aim: Aim) {
        self.aim.store(aim as u8, Ordering::Relaxed);
    }

    /// Datagrams that it sent so far, wherever to.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}
