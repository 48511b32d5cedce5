//! TCP: every byte of a stream is compared.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use acton_netns::Namespace;
use socket2::SockRef;

use super::pattern::Pattern;
use super::{Outcome, Tally};
use crate::support::HANG;

/// Bytes that are written, read and compared at once; a whole number of the pattern's words.
const BLOCK: usize = 256 << 10;

/// Sends `length` bytes from one namespace to `address` in another, compares what comes, adds it up
/// in `moved`, and demands that nothing comes behind it.
pub(crate) fn stream(
    (from, to, address): (&Namespace, &Namespace, IpAddr),
    length: u64,
    pattern: Pattern,
    moved: &AtomicU64,
) -> Outcome {
    let listener =
        to.run(|| TcpListener::bind((address, 0))).map_err(|error| said("bind", error))?;
    let address = listener.local_addr().map_err(|error| said("bind", error))?;
    // accept() waits no longer either (socket(7)).
    let accepting = SockRef::from(&listener).set_read_timeout(Some(HANG));
    accepting.map_err(|error| said("bind", error))?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || send(from, address, length, pattern));
        let received = receive(&listener, length, pattern, moved);
        let sent = sender.join().expect("a sender returns its errors");
        // Where both failed, the receiver's tells why.
        received.and_then(|tally| sent.map(|()| tally))
    })
    .map_err(|error| format!("TCP to {address}: {error}"))
}

fn send(from: &Namespace, to: SocketAddr, length: u64, pattern: Pattern) -> Result<(), String> {
    let stream = from.run(|| TcpStream::connect_timeout(&to, HANG));
    let mut stream = stream.map_err(|error| said("connect", error))?;
    stream.set_write_timeout(Some(HANG)).map_err(|error| said("connect", error))?;
    let mut block = vec![0; BLOCK];
    for at in (0..length).step_by(BLOCK) {
        let block = &mut block[..(length - at).min(BLOCK as u64) as usize];
        pattern.fill(at / 8, block);
        stream.write_all(block).map_err(|error| said(&format!("write at byte {at}"), error))?;
    }
    Ok(())
}

fn receive(listener: &TcpListener, length: u64, pattern: Pattern, moved: &AtomicU64) -> Outcome {
    let (mut stream, _) = listener.accept().map_err(|error| said("accept", error))?;
    stream.set_read_timeout(Some(HANG)).map_err(|error| said("accept", error))?;
    let (mut expected, mut block) = (vec![0; BLOCK], vec![0; BLOCK]);
    for at in (0..length).step_by(BLOCK) {
        let size = (length - at).min(BLOCK as u64) as usize;
        let (expected, block) = (&mut expected[..size], &mut block[..size]);
        stream.read_exact(block).map_err(|error| said(&format!("read from byte {at}"), error))?;
        moved.fetch_add(size as u64, Ordering::Release);
        pattern.fill(at / 8, expected);
        if expected != block {
            let first = expected.iter().zip(&*block).position(|(a, b)| a != b).unwrap_or(0);
            let wrong = expected.iter().zip(&*block).filter(|(a, b)| a != b).count();
            let byte = at + first as u64;
            return Err(format!("CORRUPT: {wrong} bytes are wrong from byte {byte} on"));
        }
    }
    match stream.read(&mut block) {
        Ok(0) => Ok(Tally { bytes: length, ..Tally::default() }),
        Ok(more) => Err(format!("CORRUPT: {more} bytes too many")),
        Err(error) => Err(said("read at the end", error)),
    }
}

fn said(step: &str, error: std::io::Error) -> String {
    format!("{step}: {error}")
}
