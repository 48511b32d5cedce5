//! Receiving a batch of datagrams with one system call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::control::Control;
use crate::socket::UdpSocket;
use crate::source::Source;
use crate::sys::recv::RecvArena;

/// Messages a call takes at most: past this the system call is a small part of the cost.
const MESSAGES: usize = 32;
/// Bytes that a call should take at most, for the other direction waits meanwhile. An eighth of it,
/// two messages of merged datagrams, cost throughput on the wire: frames are joined within a batch.
const BYTES: usize = 1 << 20;
/// Messages that a call has room for where the last one took one or none: room is not free.
const FEW: usize = 4;
/// Room for one message: UDP_GRO hands over up to 64 KiB of merged datagrams at once.
const SLOT_LEN: usize = 65_536;

/// Buffers for received datagrams, allocated once and filled again by each
/// [`receive`](Self::receive).
pub struct RecvBatch {
    arena: RecvArena,
    /// Messages to take next time, by the number and the size of the last ones.
    most: usize,
}

/// One message: a datagram, or several of one sender that the kernel merged (`UDP_GRO`).
pub struct Received<'a> {
    /// The sender's address; one of IPv4 is never in its IPv6 form.
    pub from: SocketAddr,
    /// The local address it was sent to; `None` for an IPv6 multicast address.
    pub to: Option<Source>,
    /// The ECN field that all its datagrams bear, the two bits of RFC 3168 (0 to 3).
    pub ecn: u8,
    payload: &'a mut [u8],
    segment: usize,
}

impl<'a> Received<'a> {
    /// Bytes of payload in all its datagrams together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// The datagrams in the order of their arrival, to be read or changed in place. All are of one
    /// length, but the last may be shorter.
    pub fn datagrams(self) -> impl Iterator<Item = &'a mut [u8]> {
        // An empty datagram is one datagram, which chunks() would leave out.
        let empty = self.payload.is_empty().then_some(<&mut [u8]>::default());
        empty.into_iter().chain(self.payload.chunks_mut(self.segment))
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl RecvBatch {
    /// Buffers for 32 messages of up to 64 KiB: 2 MiB, of which memory is used as it is needed.
    #[must_use]
    pub fn new() -> Self {
        Self { arena: RecvArena::new(MESSAGES, SLOT_LEN), most: FEW }
    }

    /// Takes what has arrived, without waiting, and returns how many messages that is: at least
    /// one, and at most 32, or some 1 MiB where they are large. What was received before is gone.
    ///
    /// # Errors
    /// Those of recvmmsg(2): `WouldBlock` where nothing has arrived. Also what the network reported
    /// of earlier sends, e.g. `ConnectionRefused`, where the socket is
    /// [connected](UdpSocket::connect) or [keeps reports](UdpSocket::keep_reports): that is news,
    /// and datagrams may wait behind it ([`REFUSALS`](crate::REFUSALS)).
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let received = self.arena.receive(socket.as_fd(), self.most)?;
        let mean = self.arena.bytes() / received.max(1);
        let more = (2 * received).clamp(FEW, MESSAGES);
        self.most = (BYTES / mean.max(1)).clamp(1, more);
        Ok(received)
    }

    /// Bytes of payload in all messages of the last [`receive`](Self::receive).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// The messages of the last [`receive`](Self::receive), each apart from the others, so that
    /// one may be read while the next is changed. One whose sender is of no family we know is
    /// left out.
    pub fn messages(&mut self) -> impl Iterator<Item = Received<'_>> {
        self.arena.messages().filter_map(|message| {
            let found = Control::decode(message.control);
            let segment = found.segment.unwrap_or(message.payload.len()).max(1);
            Some(Received {
                from: message.name.decode()?,
                to: found.to,
                ecn: found.ecn,
                payload: message.payload,
                segment,
            })
        })
    }
}
