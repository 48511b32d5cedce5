//! UDP: some may be lost, but what comes is as it was sent, and comes once.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use acton_netns::Namespace;
use socket2::SockRef;

use super::pattern::Pattern;
use super::{Outcome, Tally};

/// Datagrams that go at once, each time that so many bytes have gone by TCP: a few per cent of them.
const BURST: u64 = 64;
const EVERY: u64 = 2 << 20;
/// As long as nothing has come, nothing more is on its way.
const QUIET: Duration = Duration::from_millis(500);
/// Bytes of payload in a packet of 1,500.
const MOST_V4: usize = 1_472;
const MOST_V6: usize = 1_452;

/// Sends datagrams from one namespace to `address` in another until `moved` is at its end, and compares what comes.
pub(crate) fn datagrams(
    (from, to, address): (&Namespace, &Namespace, IpAddr),
    pattern: Pattern,
    moved: &AtomicU64,
) -> Outcome {
    let most = if address.is_ipv4() { MOST_V4 } else { MOST_V6 };
    let receiver = to.run(|| UdpSocket::bind((address, 0)));
    let receiver = receiver.map_err(|error| format!("UDP to {address}: {error}"))?;
    let address = receiver.local_addr().map_err(|error| format!("UDP: {error}"))?;
    let sent = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let count = send(from, address, (pattern, most), moved);
            sent.store(true, Ordering::Release);
            count
        });
        let tally = receive(&receiver, (pattern, most), &sent);
        let count = sender.join().expect("a sender returns its errors")?;
        tally.map(|tally| Tally { sent: count, ..tally })
    })
    .map_err(|error| format!("UDP to {address}: {error}"))
}

fn send(
    from: &Namespace,
    to: SocketAddr,
    (pattern, most): (Pattern, usize),
    moved: &AtomicU64,
) -> Result<u64, String> {
    let socket = from.run(|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        Ok::<_, std::io::Error>(socket)
    });
    let socket = socket.map_err(|error| format!("connect: {error}"))?;
    let (mut number, mut datagram) = (0, Vec::new());
    let mut due = 0;
    loop {
        match moved.load(Ordering::Acquire) {
            u64::MAX => return Ok(number),
            bytes if bytes < due => {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            bytes => due = bytes + EVERY,
        }
        for _ in 0..BURST {
            pattern.datagram(number, most, &mut datagram);
            match socket.send(&datagram) {
                Ok(_) => {}
                // The device's queue is full: a datagram that never left.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(format!("send number {number}: {error}")),
            }
            number += 1;
        }
    }
}

fn receive(socket: &UdpSocket, (pattern, most): (Pattern, usize), sent: &AtomicBool) -> Outcome {
    let io = |error: std::io::Error| format!("receive: {error}");
    socket.set_read_timeout(Some(QUIET)).map_err(io)?;
    SockRef::from(socket).set_recv_buffer_size(4 << 20).map_err(io)?;
    let (mut buffer, mut expected) = (vec![0; 65_536], Vec::new());
    let (mut tally, mut seen, mut newest) = (Tally::default(), Vec::<u64>::new(), 0);
    loop {
        let all_sent = sent.load(Ordering::Acquire);
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if all_sent {
                    return Ok(tally);
                }
                continue;
            }
            Err(error) => return Err(io(error)),
        };
        let datagram = &buffer[..length];
        let Some(number) = datagram.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
            return Err(format!("CORRUPT: a datagram of {length} bytes"));
        };
        pattern.datagram(number, most, &mut expected);
        if datagram != expected {
            return Err(format!("CORRUPT: {length} bytes that say to be datagram {number}"));
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= seen.len() {
            seen.resize(word + 1, 0);
        }
        if seen[word] & bit != 0 {
            return Err(format!("datagram {number} came twice"));
        }
        seen[word] |= bit;
        tally.bytes += length as u64;
        tally.received += 1;
        tally.late += u64::from(number < newest);
        newest = newest.max(number);
    }
}
