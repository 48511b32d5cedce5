//! The loop of one worker: a TAP queue, a UDP socket, and the way of a frame between them.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use acton_tap::offload::Coalescer;
use acton_tap::{Offloads, Queue, Stop};
use acton_udp::{REFUSALS, RecvBatch, SendBuffer, UdpSocket};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Error;
use crate::capture::recorder::Recorder;
use crate::frames::batch::FrameBatch;
use crate::observe::counters::{Counter, Counters};
use crate::run::clock;
use crate::run::recording::Recording;
use crate::run::scheduling::Scheduling;
use crate::run::side::{Arrival, BULK, Output, Side};
use crate::run::standing_queue::StandingQueue;
use crate::run::tap_writer::{Joining, TapSink, TapWriter};
use crate::sessions::bell::Bell;
use crate::throttle::Throttle;

/// Reports of the network that are taken at a time, for anybody can forge them.
const REPORTS: usize = 64;
/// Least time between two pieces of news of one kind that anybody can forge.
pub(crate) const NEWS_INTERVAL: Duration = Duration::from_millis(5);

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
    pub(crate) errors: Throttle,
    pub(crate) hints: Throttle,
    pub(crate) recorder: Recorder,
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
        let mut standing = StandingQueue::default();
        let mut gave_way = false;
        loop {
            self.counters.beat();
            let ready = self.wait(frames.has_backlog() || self.side.has_slice())?;
            self.counters.beat();
            if ready.stop {
                return Ok(());
            }
            let now = clock::now();
            self.recorder.begin(now);
            if ready.reports {
                self.take_reports(now);
            }
            if ready.tap {
                let filled = frames.fill(|slot| self.queue.recv(slot), &self.counters);
                filled.map_err(|error| self.tap_error(error))?;
            }
            let mut worked = ready.udp;
            if frames.begin_turn() {
                self.forward(&mut frames, now, &mut buffer);
                frames.end_turn();
                worked = true;
            }
            if ready.udp {
                self.deliver(&mut received, &mut standing, now, &mut coalescer)?;
                let mut out = Output::new(&self.socket, &mut buffer, &mut self.recorder);
                self.side.answer(&mut out);
                self.counters.add_sent(out.counts());
            }
            // Who has work of its own leaves slices to whoever sends them already.
            if self.side.has_slice() && !(worked && self.side.is_served()) {
                // It gives way to all else, but not twice in a row. What came in the meantime so
                // waits for one slice at most, and its answer for none.
                gave_way = worked && !gave_way;
                if !gave_way {
                    let mut out = Output::new(&self.socket, &mut buffer, &mut self.recorder);
                    self.side.send_slice(now, &mut out);
                    self.counters.add_sent(out.counts());
                }
            }
        }
    }

    /// Waits until there is something to do; where work is left, only looks.
    fn wait(&self, work_left: bool) -> Result<Ready, Error> {
        let busy_poll = self.scheduling.busy_poll;
        let sleep_at = (!busy_poll.is_zero()).then(|| clock::now() + busy_poll);
        let bell = self.side.bell();
        // The bell is the last, so that it can be left out.
        let polled = if bell.is_some() { 4 } else { 3 };
        loop {
            let mut fds = [
                PollFd::new(self.queue.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(bell.map_or(self.stop.as_fd(), Bell::as_fd), PollFlags::POLLIN),
            ];
            let looks = sleep_at.is_some_and(|at| clock::now() < at);
            let timeout = if work_left || looks { PollTimeout::ZERO } else { PollTimeout::NONE };
            match poll(&mut fds[..polled], timeout) {
                Ok(0) if work_left => {}
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(Error::system("poll")(errno.into())),
            }
            let reports = |flags: PollFlags| flags.contains(PollFlags::POLLERR);
            let reports = fds[1].revents().is_some_and(reports);
            let [tap, udp, stop, rung] = fds.map(|fd| fd.any() == Some(true));
            if let Some(bell) = bell.filter(|_| rung) {
                bell.hush();
            }
            return Ok(Ready { tap, udp, reports, stop });
        }
    }

    /// Sends a batch of frames from the TAP.
    fn forward(&mut self, frames: &mut FrameBatch, now: Duration, buffer: &mut SendBuffer) {
        let mut out = Output::new(&self.socket, buffer, &mut self.recorder);
        self.side.send(frames, now, &mut out);
        self.counters.add_sent(out.counts());
    }

    /// Takes what the network says of earlier datagrams.
    fn take_reports(&mut self, now: Duration) {
        for _ in 0..REPORTS {
            let Some(report) = self.socket.take_report() else { return };
            match (report.to, report.max_payload) {
                (Some(to), Some(max_payload)) => {
                    if self.hints.admits(now) {
                        self.side.path_hint(to, max_payload);
                    }
                }
                (to, _) => self.network_error(to, &report.error, now),
            }
        }
    }

    fn network_error(&mut self, to: Option<SocketAddr>, error: &io::Error, now: Duration) {
        if self.errors.admits(now) {
            self.side.network_error(to, error);
        }
    }

    /// Takes a batch of datagrams and writes the frames among them to the TAP.
    fn deliver(
        &mut self,
        received: &mut RecvBatch,
        standing: &mut StandingQueue,
        now: Duration,
        coalescer: &mut Coalescer,
    ) -> Result<(), Error> {
        let mut refusals = 0;
        while let Err(error) = received.receive(&self.socket) {
            refusals += 1;
            match error.kind() {
                ErrorKind::WouldBlock => return Ok(()),
                ErrorKind::Interrupted => {}
                // Of earlier sends; datagrams may wait behind it.
                _ => self.network_error(None, &error, now),
            }
            if refusals == REFUSALS {
                return Ok(());
            }
        }
        let congested = standing.marks(now, received.bytes());
        let mut writer = TapWriter::new(&self.queue, &self.counters, now);
        let batch = coalescer.batch(|joined| writer.write_joined(joined));
        let mut tap = Joining::new(batch, &self.counters, now);
        let recorder = &mut self.recorder;
        let (datagrams, bytes) = if recorder.wants_frames() || recorder.wants_datagrams() {
            let mut tap = Recording::new(&mut tap, recorder);
            take(&mut self.side, received, congested, now, &mut tap)
        } else {
            take(&mut self.side, received, congested, now, &mut tap)
        };
        drop(tap);
        let (gone, refused) = writer.end();
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

/// Has an end deal with a batch of datagrams, one of which tells its sender to slow down if a queue is
/// `congested`; how many there were, and their bytes.
#[inline]
fn take<'f, S: Side>(
    side: &mut S,
    received: &'f mut RecvBatch,
    mut congested: bool,
    now: Duration,
    tap: &mut impl TapSink<'f>,
) -> (u64, u64) {
    let (mut datagrams, mut bytes) = (0, 0);
    for message in received.messages() {
        let (from, to, ecn) = (message.from, message.to, message.ecn);
        // The first datagram that can be of a transfer tells.
        let tells = congested && message.bytes() >= BULK;
        congested &= !tells;
        let mut arrival = Arrival { from, to, ecn, congested: tells };
        for datagram in message.datagrams() {
            datagrams += 1;
            bytes += datagram.len() as u64;
            tap.hear_datagram(&arrival, datagram);
            side.receive(&arrival, datagram, now, tap);
            arrival.congested = false;
        }
    }
    (datagrams, bytes)
}
