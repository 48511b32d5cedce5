//! The plainest way to send one datagram to many: a socket, and sendmmsg over a list of addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use acton_udp::{Destination, SendBuffer, SendCounts, UdpSocket};

use crate::support::Result;
use crate::support::process::run_time;

/// What is sent to everybody without a tunnel.
pub(crate) struct Bare {
    socket: UdpSocket,
    buffer: SendBuffer,
    everybody: Vec<Destination>,
    /// Bytes of a datagram's headers.
    headers: usize,
}

/// Ethernet, IPv4 and UDP, as a frame for everybody has them.
const HEADERS: usize = 14 + 20 + 8;

impl Bare {
    /// Sends to these what is so many bytes larger than a frame.
    pub(crate) fn new(everybody: &[SocketAddr], overhead: usize) -> Result<Self> {
        let socket = UdpSocket::builder().bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let everybody = everybody.iter().map(|&to| socket.destination(to, None)).collect();
        Ok(Self { socket, buffer: SendBuffer::new(), everybody, headers: HEADERS + overhead })
    }

    /// Sends to each what is as large as the datagram of a frame with this payload, and ends with it;
    /// the processor time that it took this thread, in seconds.
    pub(crate) fn send(&mut self, payload: &[u8]) -> Result<f64> {
        let datagram = [&vec![0; self.headers][..], payload].concat();
        let spent = thread_time()?;
        let mut counts = SendCounts::default();
        let mut batch = self.buffer.begin(&self.socket, &mut counts);
        for to in &self.everybody {
            batch.push_parts(to, [&datagram]);
        }
        batch.finish();
        Ok(thread_time()? - spent)
    }
}

fn thread_time() -> Result<f64> {
    run_time(Path::new("/proc/thread-self"))
}
