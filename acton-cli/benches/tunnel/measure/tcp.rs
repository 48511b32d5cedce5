//! TCP streams, as fast as they go.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::cpu;
use crate::Result;
use crate::contender::Overlay;

/// Runs before the window opens: slow start (RFC 5681) is over and the caches are warm.
const WARM_UP: Duration = Duration::from_millis(300);
/// Bytes of a write and of a read: enough for the system calls not to matter.
const CHUNK: usize = 256 * 1024;
/// A stream that stands still for so long has failed.
const STALLED: Duration = Duration::from_secs(5);

/// How TCP is measured.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long a transfer is, after its warm-up.
    pub(crate) window: Duration,
    /// The congestion control, by its name in tcp(7).
    pub(crate) congestion_control: String,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

/// What went through in the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carried {
    bytes: u64,
    time: Duration,
    /// Processor time that the tunnel's programs spent.
    pub(super) cpu: Duration,
}

impl Carried {
    pub(super) fn gigabits_a_second(&self) -> f64 {
        self.gigabytes() * 8.0 / self.time.as_secs_f64()
    }

    pub(super) fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

/// Counts for a window what so many streams carry at once.
pub(super) fn measure(
    overlay: &Overlay,
    direction: Direction,
    streams: usize,
    settings: &Settings,
) -> Result<Carried> {
    let processes = overlay.process_groups();
    let carried = under_load(overlay, direction, streams, settings, |received| {
        count(settings.window, received, &processes)
    })?;
    if carried.bytes == 0 {
        return Err("no TCP payload came through".into());
    }
    Ok(carried)
}

/// Runs `body` while so many streams send as fast as they can, for [`WARM_UP`] before; `body` is
/// lent the counter of the bytes received.
pub(super) fn under_load<T>(
    overlay: &Overlay,
    direction: Direction,
    streams: usize,
    settings: &Settings,
    body: impl FnOnce(&AtomicU64) -> Result<T>,
) -> Result<T> {
    let mut pairs = Vec::new();
    for _ in 0..streams {
        let (server, client) = connect(overlay)?;
        let (sender, receiver) = match direction {
            Direction::ToServer => (client, server),
            Direction::ToClient => (server, client),
        };
        let control = &settings.congestion_control;
        setsockopt(&sender, sockopt::TcpCongestion, &OsString::from(control)).map_err(|errno| {
            format!(
                "TCP with congestion control {control}: {errno}; those that there are: sysctl \
                 net.ipv4.tcp_available_congestion_control"
            )
        })?;
        sender.set_write_timeout(Some(STALLED))?;
        receiver.set_read_timeout(Some(STALLED))?;
        pairs.push((sender, receiver));
    }
    let (received, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let mut transfers = Vec::new();
        for (sender, receiver) in &pairs {
            transfers.push(scope.spawn(|| send(sender, &stop)));
            transfers.push(scope.spawn(|| receive(receiver, &received, &stop)));
        }
        thread::sleep(WARM_UP);
        let outcome = body(&received);
        stop.store(true, Ordering::Relaxed);
        // What is still on its way is of no interest, and a slow tunnel holds seconds of it.
        for (sender, receiver) in &pairs {
            let _ = receiver.shutdown(Shutdown::Both);
            let _ = sender.shutdown(Shutdown::Both);
        }
        for transfer in transfers {
            transfer.join().expect("a transfer does not panic")?;
        }
        outcome
    })
}

/// A connection from client to server; each socket stays in the namespace it was made in.
fn connect(overlay: &Overlay) -> io::Result<(TcpStream, TcpStream)> {
    let listener = overlay.world.server.run(|| TcpListener::bind((overlay.network.server, 0)))?;
    let address = listener.local_addr()?;
    let client = overlay.world.client.run(|| TcpStream::connect_timeout(&address, STALLED))?;
    let (server, _) = listener.accept()?;
    Ok((server, client))
}

fn count(window: Duration, received: &AtomicU64, processes: &[u32]) -> Result<Carried> {
    let (start, cpu, bytes) =
        (Instant::now(), cpu::spent(processes)?, received.load(Ordering::Relaxed));
    thread::sleep(window);
    Ok(Carried {
        bytes: received.load(Ordering::Relaxed) - bytes,
        time: start.elapsed(),
        cpu: cpu::spent(processes)?.saturating_sub(cpu),
    })
}

fn send(mut stream: &TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    loop {
        let sent = stream.write_all(&chunk);
        // The end of a measurement cuts both ways short.
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        sent.map_err(|error| explain(error, "sent"))?;
    }
}

fn receive(mut stream: &TcpStream, received: &AtomicU64, stop: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut buffer);
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let length = length.map_err(|error| explain(error, "received"))?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        received.fetch_add(length as u64, Ordering::Relaxed);
    }
}

fn explain(error: io::Error, done: &str) -> io::Error {
    if error.kind() != ErrorKind::WouldBlock {
        return error;
    }
    let message = format!("nothing could be {done} by TCP for {} s", STALLED.as_secs());
    io::Error::new(ErrorKind::TimedOut, message)
}
