//! The loop of one worker: a TAP queue, a UDP socket, and the way of a frame between them.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use acton_tap::{Queue, Stop};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Error;
use super::clock;
use super::counters::{Counter, Counters};
use crate::udp::{RecvBatch, SendBatch, SendBuffer, SendCounts, Source, UdpSocket};

/// Frames taken from the TAP before they are sent: enough that the send call is a small part of
/// the cost, few enough that the other direction is not kept waiting.
const FRAMES: usize = 64;
/// Room for one frame: the largest MTU of a TAP (65,521), an Ethernet header and two VLAN tags.
const FRAME_LEN: usize = 65_552;

/// What distinguishes a server's worker from a client's, and plain mode from the secure one: who a
/// frame goes to, and what becomes of a datagram.
pub(super) trait Side {
    /// Sends `frames` from the TAP, in their order, to those they go to.
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>);

    /// Deals with a datagram that came from `from` to the local address `to`, which may be changed
    /// in place; writes the frame in it, if there is one and it may pass.
    fn receive(
        &mut self,
        from: SocketAddr,
        to: Option<Source>,
        datagram: &mut [u8],
        now: Duration,
        tap: &mut TapWriter<'_>,
    );

    /// Hears what the network said of earlier sends.
    fn network_error(&mut self, error: &io::Error);
}

/// A worker's way out to UDP.
pub(super) struct Output<'a> {
    socket: &'a UdpSocket,
    buffer: &'a mut SendBuffer,
    counts: SendCounts,
}

impl Output<'_> {
    /// Starts a batch; several one after the other keep their order.
    pub(super) fn batch<'d>(&mut self) -> SendBatch<'d, '_> {
        self.buffer.begin(self.socket, &mut self.counts)
    }

    /// Destinations (by tag) and sizes of datagrams that were too large for the link.
    pub(super) fn refused(&mut self) -> impl Iterator<Item = (u32, usize)> {
        self.buffer.refused()
    }
}

/// A worker's way out to the TAP.
pub(super) struct TapWriter<'a> {
    queue: &'a Queue,
    counters: &'a Counters,
    gone: Option<io::Error>,
}

impl<'a> TapWriter<'a> {
    pub(super) fn new(queue: &'a Queue, counters: &'a Counters) -> Self {
        Self { queue, counters, gone: None }
    }

    /// Writes one frame, or counts why not.
    pub(super) fn write(&mut self, frame: &[u8]) {
        match self.queue.send(frame) {
            Ok(_) => {
                self.counters.add(Counter::TapWritten, 1);
                self.counters.add(Counter::TapWrittenBytes, frame.len() as u64);
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EBADFD) => self.gone = Some(error),
                Some(libc::EIO) => self.counters.add(Counter::TapDown, 1),
                _ => self.counters.add(Counter::TapRefused, 1),
            },
        }
    }
}

/// Frames read from the TAP, in buffers allocated once.
pub(super) struct FrameBatch {
    buffers: Vec<u8>,
    lengths: Vec<usize>,
}

impl FrameBatch {
    fn new() -> Self {
        Self { buffers: vec![0; FRAMES * FRAME_LEN], lengths: Vec::with_capacity(FRAMES) }
    }

    pub(super) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        &self.buffers[index * FRAME_LEN..][..self.lengths[index]]
    }

    pub(super) fn get_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.buffers[index * FRAME_LEN..][..self.lengths[index]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Reads what waits in the queue, at most what the batch holds.
    fn fill(&mut self, queue: &Queue) -> io::Result<()> {
        self.lengths.clear();
        for buffer in self.buffers.chunks_exact_mut(FRAME_LEN) {
            match queue.recv(buffer) {
                Ok(length) => self.lengths.push(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One worker's belongings.
pub(super) struct Worker<S> {
    pub(super) tap_name: String,
    pub(super) queue: Queue,
    pub(super) socket: UdpSocket,
    pub(super) stop: Stop,
    pub(super) counters: Arc<Counters>,
    pub(super) side: S,
}

impl<S: Side> Worker<S> {
    /// Moves frames until told to stop.
    ///
    /// # Errors
    /// Where the TAP is gone or poll(2) fails: the tunnel cannot go on.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let mut frames = FrameBatch::new();
        let mut received = RecvBatch::new();
        let mut buffer = SendBuffer::new();
        loop {
            let (tap_ready, udp_ready) = {
                let mut fds = [
                    PollFd::new(self.queue.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
                ];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) => {}
                    Err(Errno::EINTR) => continue,
                    Err(errno) => return Err(Error::system("poll")(errno.into())),
                }
                let [tap, udp, stop] = fds.map(|fd| fd.any() == Some(true));
                if stop {
                    return Ok(());
                }
                (tap, udp)
            };
            let now = clock::now();
            if tap_ready {
                frames.fill(&self.queue).map_err(|error| self.tap_error(error))?;
                self.forward(&mut frames, now, &mut buffer);
            }
            if udp_ready {
                self.deliver(&mut received, now)?;
            }
        }
    }

    /// Sends a batch of frames from the TAP.
    fn forward(&mut self, frames: &mut FrameBatch, now: Duration, buffer: &mut SendBuffer) {
        if frames.len() == 0 {
            return;
        }
        let bytes: usize = frames.iter().map(<[u8]>::len).sum();
        self.counters.add(Counter::TapRead, frames.len() as u64);
        self.counters.add(Counter::TapReadBytes, bytes as u64);
        let counts = SendCounts::default();
        let mut out = Output { socket: &self.socket, buffer, counts };
        self.side.send(frames, now, &mut out);
        self.counters.add_sent(&out.counts);
    }

    /// Takes a batch of datagrams and writes the frames among them to the TAP.
    fn deliver(&mut self, received: &mut RecvBatch, now: Duration) -> Result<(), Error> {
        let messages = match received.receive(self.socket.as_fd()) {
            Ok(messages) => messages,
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                    self.side.network_error(&error);
                }
                return Ok(());
            }
        };
        let mut tap = TapWriter::new(&self.queue, &self.counters);
        let (mut datagrams, mut bytes) = (0, 0);
        for index in 0..messages {
            let Some(mut message) = received.message(index) else { continue };
            let (from, to) = (message.from, message.to);
            for datagram in message.datagrams() {
                datagrams += 1;
                bytes += datagram.len() as u64;
                self.side.receive(from, to, datagram, now, &mut tap);
            }
        }
        let gone = tap.gone;
        self.counters.add(Counter::UdpReceived, datagrams);
        self.counters.add(Counter::UdpReceivedBytes, bytes);
        gone.map_or(Ok(()), |error| Err(self.tap_error(error)))
    }

    fn tap_error(&self, error: io::Error) -> Error {
        if error.raw_os_error() == Some(libc::EBADFD) {
            return Error::TapGone { name: self.tap_name.clone() };
        }
        Error::System { step: "read from the TAP", source: error }
    }
}
