//! The loop of one worker: a TAP queue, a UDP socket, and the way of a frame between them.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use acton_frame::Headers;
use acton_tap::offload::{Batch, Coalescer, SuperFrame, Trust, partial_checksum_parsed};
use acton_tap::{Checksum, Offloads, Queue, Stop, VnetHeader};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Error;
use crate::frames::batch::FrameBatch;
use crate::observe::counters::{Counter, Counters};
use crate::run::clock;
use crate::run::scheduling::Scheduling;
use acton_udp::{REFUSALS, RecvBatch, SendBatch, SendBuffer, SendCounts, Source, UdpSocket};

/// Reports of the network that are taken at a time, for anybody can forge them.
const REPORTS: usize = 64;
/// Least time between two pieces of news of one kind that anybody can forge.
const NEWS_INTERVAL: Duration = Duration::from_millis(5);

/// What distinguishes a server's worker from a client's, and plain mode from the secure one: who a
/// frame goes to, and what becomes of a datagram.
pub(crate) trait Side {
    /// Sends `frames` from the TAP, in their order, to those they go to.
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>);

    /// Deals with a datagram, which may be changed in place; writes the frames in it that may
    /// pass.
    fn receive<'f>(
        &mut self,
        arrival: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    );

    /// Hears, once in a while, that the network could not deliver what was sent earlier.
    fn network_error(&mut self, error: &io::Error);

    /// Hears, once in a while, how large datagrams to `to` may be, by the word of a router.
    fn path_hint(&mut self, _to: SocketAddr, _max_payload: usize) {}
}

/// What anybody can forge at any rate and is told once in a while.
#[derive(Debug, Default)]
pub(crate) struct Rarely {
    due: Duration,
}

impl Rarely {
    /// Whether it may be told now.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let due = now >= self.due;
        if due {
            self.due = now + NEWS_INTERVAL;
        }
        due
    }
}

/// How a datagram came.
pub(crate) struct Arrival {
    pub(crate) from: SocketAddr,
    /// The local address that it came to.
    pub(crate) to: Option<Source>,
    /// The ECN field of its IP header.
    pub(crate) ecn: u8,
}

/// A worker's way out to UDP.
pub(crate) struct Output<'a> {
    socket: &'a UdpSocket,
    buffer: &'a mut SendBuffer,
    counts: SendCounts,
}

impl Output<'_> {
    /// Starts a batch; several one after the other keep their order.
    pub(crate) fn batch<'d>(&mut self) -> SendBatch<'d, '_> {
        self.buffer.begin(self.socket, &mut self.counts)
    }

    /// Destinations (by tag) and sizes of datagrams that were too large for the link.
    pub(crate) fn refused(&mut self) -> impl Iterator<Item = (u32, usize)> {
        self.buffer.refused()
    }
}

/// A worker's way out to the TAP.
pub(crate) trait TapSink<'f> {
    /// Has one frame written, joined to others where the kernel takes that.
    fn write(&mut self, frame: &'f [u8], headers: &Headers, trust: Trust);

    /// Writes a frame that does not stay, after all that came before it.
    fn write_now(&mut self, frame: &[u8], headers: &Headers, trust: Trust);
}

/// Writes super-frames and frames to a TAP, and counts.
pub(crate) struct TapWriter<'a> {
    queue: &'a Queue,
    counters: &'a Counters,
    gone: Option<io::Error>,
    /// Whether the kernel refused a super-frame.
    refused: bool,
}

impl<'a> TapWriter<'a> {
    pub(crate) fn new(queue: &'a Queue, counters: &'a Counters) -> Self {
        Self { queue, counters, gone: None, refused: false }
    }

    /// Writes what the coalescer made.
    fn write_joined(&mut self, joined: &SuperFrame<'_>) {
        match self.queue.send_vectored(joined.pieces()) {
            Ok(bytes) => self.count(joined.frames(), bytes - VnetHeader::LEN),
            // A kernel that takes no super-frame of this kind gets its frames.
            Err(error) if joined.frames() > 1 && error.raw_os_error() == Some(libc::EINVAL) => {
                self.refused = true;
                self.counters.add(Counter::SuperFrameRefused, 1);
                joined.members().for_each(|(header, frame)| self.write_with(&header, frame));
            }
            Err(error) => self.fail(error, joined.frames()),
        }
    }

    /// Writes one frame.
    pub(crate) fn write_one(&mut self, frame: &[u8], headers: &Headers, trust: Trust) {
        let checksum = match trust {
            Trust::Partial => match partial_checksum_parsed(headers) {
                Some(checksum) => checksum,
                None => return self.counters.add(Counter::NoChecksum, 1),
            },
            _ => Checksum::Unverified,
        };
        self.write_with(&VnetHeader { checksum, ..VnetHeader::default() }, frame);
    }

    fn write_with(&mut self, header: &VnetHeader, frame: &[u8]) {
        match self.queue.send_vectored(&[IoSlice::new(&header.encode()), IoSlice::new(frame)]) {
            Ok(_) => self.count(1, frame.len()),
            Err(error) => self.fail(error, 1),
        }
    }

    fn count(&self, frames: usize, bytes: usize) {
        self.counters.add(Counter::TapWrites, 1);
        self.counters.add(Counter::TapWritten, frames as u64);
        self.counters.add(Counter::TapWrittenBytes, bytes as u64);
    }

    fn fail(&mut self, error: io::Error, frames: usize) {
        match error.raw_os_error() {
            Some(libc::EBADFD) => self.gone = Some(error),
            Some(libc::EIO) => self.counters.add(Counter::TapDown, frames as u64),
            _ => self.counters.add(Counter::TapRefused, frames as u64),
        }
    }
}

/// A batch of frames on their way to the TAP by way of a coalescer.
struct Joining<'c, 'f, S: FnMut(&SuperFrame<'_>)> {
    batch: Batch<'c, 'f, S>,
    counters: &'c Counters,
}

impl<'f, S: FnMut(&SuperFrame<'_>)> TapSink<'f> for Joining<'_, 'f, S> {
    fn write(&mut self, frame: &'f [u8], headers: &Headers, trust: Trust) {
        if self.batch.push_parsed(frame, headers, trust).is_err() {
            self.counters.add(Counter::NoChecksum, 1);
        }
    }

    fn write_now(&mut self, frame: &[u8], headers: &Headers, trust: Trust) {
        if self.batch.pass_parsed(frame, headers, trust).is_err() {
            self.counters.add(Counter::NoChecksum, 1);
        }
    }
}

/// What a worker has to do.
struct Ready {
    tap: bool,
    udp: bool,
    /// The network said something of earlier datagrams.
    reports: bool,
    stop: bool,
}

/// One worker's belongings.
pub(crate) struct Worker<S> {
    pub(crate) tap_name: String,
    pub(crate) queue: Queue,
    /// What the kernel grants on the TAP.
    pub(crate) offloads: Offloads,
    pub(crate) scheduling: Scheduling,
    pub(crate) socket: UdpSocket,
    pub(crate) stop: Stop,
    pub(crate) counters: Arc<Counters>,
    pub(crate) side: S,
    pub(crate) errors: Rarely,
    pub(crate) hints: Rarely,
}

impl<S: Side> Worker<S> {
    /// Moves frames until told to stop.
    ///
    /// # Errors
    /// Where the TAP is gone or poll(2) fails: the tunnel cannot go on.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let mut frames = FrameBatch::new();
        let mut received = RecvBatch::new();
        let mut buffer = SendBuffer::new();
        let mut coalescer = Coalescer::new(self.offloads);
        loop {
            let ready = self.wait(frames.has_backlog())?;
            if ready.stop {
                return Ok(());
            }
            let now = clock::now();
            if ready.reports {
                self.take_reports(now);
            }
            if ready.tap {
                let filled = frames.fill(|slot| self.queue.recv(slot), &self.counters);
                filled.map_err(|error| self.tap_error(error))?;
            }
            if frames.begin_turn() {
                self.forward(&mut frames, now, &mut buffer);
                frames.end_turn();
            }
            if ready.udp {
                self.deliver(&mut received, now, &mut coalescer)?;
            }
        }
    }

    /// Waits until there is something to do; where work is left, only looks.
    fn wait(&self, work_left: bool) -> Result<Ready, Error> {
        let busy_poll = self.scheduling.busy_poll;
        let sleep_at = (!busy_poll.is_zero()).then(|| clock::now() + busy_poll);
        loop {
            let mut fds = [
                PollFd::new(self.queue.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            ];
            let looks = sleep_at.is_some_and(|at| clock::now() < at);
            let timeout = if work_left || looks { PollTimeout::ZERO } else { PollTimeout::NONE };
            match poll(&mut fds, timeout) {
                Ok(0) if work_left => {}
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(Error::system("poll")(errno.into())),
            }
            let reports = |flags: PollFlags| flags.contains(PollFlags::POLLERR);
            let reports = fds[1].revents().is_some_and(reports);
            let [tap, udp, stop] = fds.map(|fd| fd.any() == Some(true));
            return Ok(Ready { tap, udp, reports, stop });
        }
    }

    /// Sends a batch of frames from the TAP.
    fn forward(&mut self, frames: &mut FrameBatch, now: Duration, buffer: &mut SendBuffer) {
        let counts = SendCounts::default();
        let mut out = Output { socket: &self.socket, buffer, counts };
        self.side.send(frames, now, &mut out);
        self.counters.add_sent(&out.counts);
    }

    /// Takes what the network says of earlier datagrams.
    fn take_reports(&mut self, now: Duration) {
        for _ in 0..REPORTS {
            let Some(report) = self.socket.take_report() else { return };
            match report.max_payload {
                Some((to, max_payload)) if self.hints.is_due(now) => {
                    self.side.path_hint(to, max_payload);
                }
                Some(_) => {}
                None => self.network_error(&report.error, now),
            }
        }
    }

    fn network_error(&mut self, error: &io::Error, now: Duration) {
        if self.errors.is_due(now) {
            self.side.network_error(error);
        }
    }

    /// Takes a batch of datagrams and writes the frames among them to the TAP.
    fn deliver(
        &mut self,
        received: &mut RecvBatch,
        now: Duration,
        coalescer: &mut Coalescer,
    ) -> Result<(), Error> {
        let mut refusals = 0;
        while let Err(error) = received.receive(self.socket.as_fd()) {
            refusals += 1;
            match error.kind() {
                ErrorKind::WouldBlock => return Ok(()),
                ErrorKind::Interrupted => {}
                // Of earlier sends; datagrams may wait behind it.
                _ => self.network_error(&error, now),
            }
            if refusals == REFUSALS {
                return Ok(());
            }
        }
        let mut writer = TapWriter::new(&self.queue, &self.counters);
        let batch = coalescer.batch(|joined| writer.write_joined(joined));
        let mut tap = Joining { batch, counters: &self.counters };
        let (mut datagrams, mut bytes) = (0, 0);
        for message in received.messages() {
            let arrival = Arrival { from: message.from, to: message.to, ecn: message.ecn };
            for datagram in message.datagrams() {
                datagrams += 1;
                bytes += datagram.len() as u64;
                self.side.receive(&arrival, datagram, now, &mut tap);
            }
        }
        drop(tap);
        let TapWriter { gone, refused, .. } = writer;
        if refused {
            log::warn!("TAP {}: the kernel takes no super-frames; going on without", self.tap_name);
            coalescer.set_offloads(Offloads::none());
        }
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
