//! What goes on between a host and the server's: a TCP stream as fast as it goes, and pings.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::contender::TAP;
use crate::host::Host;
use crate::pacer::Pacer;
use crate::support::Result;
use crate::support::background::Background;

/// Bytes of a write and of a read: enough for the system calls not to matter.
const CHUNK: usize = 256 << 10;
/// How long a connection may take: the kernel lets a new TAP's frames through after a moment.
const CONNECT: Duration = Duration::from_secs(10);
/// A port on which nobody listens (discard, RFC 863).
const NOBODY: u16 = 9;
/// Between an answer and the next ping.
const PAUSE: Duration = Duration::from_millis(4);
/// A ping that has no answer by then counts as one that took so long.
const LOST: Duration = Duration::from_secs(1);

/// Which way a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// Past what a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Tunnel,
    /// The cable that the tunnel goes over, and no tunnel.
    Cable,
}

/// How fast a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as TCP has it.
    Unlimited,
    /// So many bytes in each [`STEP`], where TCP can.
    Bytes(u32),
}

/// Time between two writes of a stream that has a pace.
pub(crate) const STEP: Duration = Duration::from_millis(1);

/// A [`Pace`] as a number: bytes in a step, or one of these.
const NOT_YET: u32 = 0;
const UNLIMITED: u32 = u32::MAX;

/// A stream that goes on until this value ends.
#[derive(Debug)]
pub(crate) struct Transfer {
    carried: Arc<AtomicU64>,
    pace: Arc<AtomicU32>,
    ends: [TcpStream; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Transfer {
    /// Connects a host and the server's, whose namespace is the calling thread's; nothing is sent yet.
    pub(crate) fn start(host: &Host, way: Way, direction: Direction) -> Result<Self> {
        let address = match way {
            Way::Tunnel => TAP.addr(),
            Way::Cable => host.router,
        };
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        let client = host.namespace.run(|| TcpStream::connect_timeout(&address, CONNECT))?;
        let (server, _) = listener.accept()?;
        let (mut from, mut to) = match direction {
            Direction::ToServer => (client, server),
            Direction::ToClient => (server, client),
        };
        let ends = [from.try_clone()?, to.try_clone()?];
        let carried = Arc::new(AtomicU64::new(0));
        let received = Arc::clone(&carried);
        let pace = Arc::new(AtomicU32::new(NOT_YET));
        let paced = Arc::clone(&pace);
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        // Either ends with the connection, which this value's end shuts down.
        let sender = named("sender").spawn(move || {
            let (chunk, mut pacer) = (vec![0x5a; CHUNK], Pacer::new(STEP));
            loop {
                let pace = paced.load(Ordering::Relaxed);
                if pace != UNLIMITED {
                    pacer.wait();
                }
                let burst = CHUNK.min(pace as usize);
                if from.write_all(&chunk[..burst]).is_err() {
                    break;
                }
            }
        })?;
        let receiver = named("receiver").spawn(move || {
            let mut buffer = vec![0; CHUNK];
            while let Ok(length @ 1..) = to.read(&mut buffer) {
                received.fetch_add(length as u64, Ordering::Relaxed);
            }
        })?;
        Ok(Self { carried, pace, ends, threads: vec![sender, receiver] })
    }

    /// Has it go on at another pace.
    pub(crate) fn go(&self, pace: Pace) {
        let bytes = match pace {
            Pace::Unlimited => UNLIMITED,
            Pace::Bytes(bytes) => bytes,
        };
        self.pace.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of payload that came so far.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // One that has sent nothing yet learns of its end as it writes.
        self.go(Pace::Unlimited);
        for end in &self.ends {
            // Where the other end was first there is nothing left to shut down.
            let _ = end.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a transfer's thread panicked");
            }
        }
    }
}

/// Pings of a host: the kernel at the other end refuses a TCP connection to a port on which nobody
/// listens, by one packet for one.
#[derive(Debug)]
pub(crate) struct HostPings {
    times: Arc<Mutex<Vec<f64>>>,
    _thread: Background,
}

impl HostPings {
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let times: Arc<Mutex<Vec<f64>>> = Arc::default();
        let all = Arc::clone(&times);
        let pings = || {
            Background::start("pings of a host", move |stop| {
                while !stop.is_said() {
                    thread::sleep(PAUSE);
                    let time = ping().as_secs_f64();
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(time);
                }
                Ok(())
            })
        };
        let thread = host.namespace.run(pings)?;
        Ok(Self { times, _thread: thread })
    }

    /// Seconds that the pings took which ended since this was last called.
    pub(crate) fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn ping() -> Duration {
    let (start, nobody) = (Instant::now(), SocketAddr::from((TAP.addr(), NOBODY)));
    match TcpStream::connect_timeout(&nobody, LOST) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => start.elapsed(),
        _ => LOST,
    }
}
