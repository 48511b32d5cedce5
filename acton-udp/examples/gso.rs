//! What segmentation by the kernel (GSO) saves: sends datagrams of 1,400 bytes one a call, then in runs
//! that the kernel cuts, and says what each takes.
//!
//! ```text
//! cargo run --release --example gso                   # to a socket of its own, over loopback
//! cargo run --release --example gso -- 192.0.2.2:9    # to somebody else
//! ```

use std::env;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use acton_udp::{SendBuffer, SendCounts, UdpSocket};

/// Bytes of a datagram: one fits each MTU that is usual.
const SIZE: usize = 1_400;
/// Datagrams in a run, and how many runs: 280 MB in all.
const RUN: usize = 40;
const RUNS: usize = 5_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Nobody reads from it: the kernel drops what it has no room for.
    let sink = UdpSocket::bind("127.0.0.1:0".parse()?)?;
    let to: SocketAddr = match env::args().nth(1) {
        Some(argument) => argument.parse()?,
        None => sink.local_addr()?,
    };
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any.parse()?)?;
    let to = socket.destination(to, None);
    let payload = vec![7; RUN * SIZE];

    let (start, mut sent) = (Instant::now(), 0);
    for datagram in payload.chunks(SIZE).cycle().take(RUN * RUNS) {
        match socket.send(&to, datagram) {
            Ok(()) => sent += 1,
            Err(full) if full.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    tell("one a call", sent, sent, start.elapsed());

    let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
    let start = Instant::now();
    for _ in 0..RUNS {
        let mut batch = buffer.begin(&socket, &mut counts);
        batch.push_run(&to, 0, &payload, SIZE);
        batch.finish();
    }
    tell("in runs", counts.sent, counts.calls, start.elapsed());
    Ok(())
}

fn tell(how: &str, datagrams: u64, calls: u64, time: Duration) {
    let each = time.as_nanos() / u128::from(datagrams.max(1));
    println!("{how:>10}: {datagrams} datagrams in {calls} calls, {each} ns each");
}
