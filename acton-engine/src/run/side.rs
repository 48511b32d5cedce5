//! What a mode and an end do on a worker.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use acton_udp::{SendBatch, SendBuffer, SendCounts, Source, UdpSocket};

use crate::capture::recorder::Recorder;
use crate::frames::batch::FrameBatch;
use crate::observe::counters::{Counter, Counters};
use crate::run::tap_writer::TapSink;
use crate::sessions::bell::Bell;

/// What distinguishes a server's worker from a client's, and plain mode from the secure one: who a
/// frame goes to, and what becomes of a datagram.
pub(crate) trait Side {
    /// Sends `frames` from the TAP, in their order, to those they go to.
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>);

    /// What wakes the worker beside frames and datagrams, if anything does.
    fn bell(&self) -> Option<&Bell> {
        None
    }

    /// Whether frames for everybody are left that are sent in slices.
    fn has_slice(&self) -> bool {
        false
    }

    /// Whether another worker is sending a slice of them.
    fn is_served(&self) -> bool {
        false
    }

    /// Sends a slice of them.
    fn send_slice(&mut self, _now: Duration, _out: &mut Output<'_>) {}

    /// Deals with a datagram, which may be changed in place; writes the frames in it that may
    /// pass.
    fn receive<'f>(
        &mut self,
        arrival: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    );

    /// Sends what the datagrams of a batch are to be answered with.
    fn answer(&mut self, _out: &mut Output<'_>) {}

    /// Hears, once in a while, that the network could not deliver what was sent earlier.
    fn network_error(&mut self, to: Option<SocketAddr>, error: &io::Error);

    /// Hears, once in a while, how large datagrams to `to` may be, by the word of a router.
    fn path_hint(&mut self, _to: SocketAddr, _max_payload: usize) {}
}

/// How a datagram came.
pub(crate) struct Arrival {
    pub(crate) from: SocketAddr,
    /// The local address that it came to.
    pub(crate) to: Option<Source>,
    /// The ECN field of its IP header.
    pub(crate) ecn: u8,
    /// Whether a transfer is to be told by it that a queue stands here.
    pub(crate) congested: bool,
}

/// Bytes of a frame that is part of a transfer.
pub(crate) const BULK: usize = 1_000;

impl Arrival {
    /// Whence and whither, but for the port here.
    pub(crate) fn path(&self) -> (SocketAddr, Option<IpAddr>) {
        (self.from, self.to.map(|to| to.ip()))
    }

    /// Whether `frame`, which came by it, is to tell its sender to slow down.
    #[inline]
    pub(crate) fn slows(&self, frame: &[u8]) -> bool {
        self.congested && frame.len() >= BULK
    }

    /// Counts that the datagram goes nowhere.
    #[cold]
    pub(crate) fn drop(
        &self,
        reason: Counter,
        datagram: &[u8],
        now: Duration,
        counters: &Counters,
    ) {
        counters.add(reason, 1);
        counters.dropped().add_datagram(now, self.path(), reason, datagram, datagram.len());
    }
}

/// A worker's way out to UDP.
pub(crate) struct Output<'a> {
    socket: &'a UdpSocket,
    buffer: &'a mut SendBuffer,
    recorder: &'a mut Recorder,
    counts: SendCounts,
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        socket: &'a UdpSocket,
        buffer: &'a mut SendBuffer,
        recorder: &'a mut Recorder,
    ) -> Self {
        Self { socket, buffer, recorder, counts: SendCounts::default() }
    }

    /// Who captures what goes out.
    pub(crate) fn recorder(&mut self) -> &mut Recorder {
        self.recorder
    }

    /// What became of all that was sent.
    pub(crate) fn counts(&self) -> &SendCounts {
        &self.counts
    }

    /// Starts a batch; several one after the other keep their order.
    pub(crate) fn batch<'d>(&mut self) -> SendBatch<'d, '_> {
        self.buffer.begin(self.socket, &mut self.counts)
    }

    /// Destinations (by tag) and sizes of datagrams that were too large for the link.
    pub(crate) fn refused(&mut self) -> impl Iterator<Item = (u32, usize)> {
        self.buffer.refused()
    }
}
