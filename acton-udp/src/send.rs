//! Sending a batch of datagrams with few system calls, and none of them lost to a refused
//! segmentation.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{MAX_PAYLOAD, REFUSALS};
use crate::address::Destination;
use crate::socket::UdpSocket;
use crate::sys::{Messages, SendArena};

/// Messages a call takes at most.
const MESSAGES: usize = 64;
/// Datagrams a message holds at most: UDP_MAX_SEGMENTS of linux/udp.h before 6.9 (128 since).
const SEGMENTS: usize = 64;
/// Parts of datagrams that a batch holds at most: two to each segment of a full message is 128.
const PARTS: usize = 2_048;
/// How long a full send buffer is waited for, in milliseconds: the driver frees it in
/// microseconds or is stuck, and then the frames behind are better dropped than late.
const FULL_WAIT_MS: u8 = 5;

/// Between two looks whether there is room, while a report keeps the kernel from telling.
const REPORT_PAUSE: Duration = Duration::from_micros(100);

/// What became of datagrams handed to the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendCounts {
    /// Datagrams the kernel took.
    pub sent: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Dropped: the send buffer stayed full.
    pub full: u64,
    /// Dropped: larger than the path or the socket carries.
    pub too_large: u64,
    /// Dropped: no route, or refused by a local rule.
    pub unreachable: u64,
    /// Messages whose segmentation the kernel refused and that went out datagram by datagram.
    pub cut: u64,
}

/// Headers for outgoing datagrams, allocated once.
pub struct SendBuffer {
    arena: SendArena,
    /// Destinations (by tag) and sizes of datagrams that the system called too large.
    refused: Vec<(u32, usize)>,
}

/// How often a datagram is tried again that finds no room.
const FULL_RETRIES: u32 = 4;
/// Refusals remembered at most; more of them say the same.
const REFUSED: usize = 64;

impl Default for SendBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl SendBuffer {
    /// Buffers that are empty.
    #[must_use]
    pub fn new() -> Self {
        Self { arena: SendArena::new(MESSAGES, PARTS), refused: Vec::new() }
    }

    /// Destinations (by tag) and sizes of datagrams that the system called too large since the
    /// last call.
    pub fn refused(&mut self) -> impl Iterator<Item = (u32, usize)> {
        self.refused.drain(..)
    }

    /// Starts a batch on `socket`; [`SendBatch::finish`] sends what is left in it.
    pub fn begin<'a, 's>(
        &'s mut self,
        socket: &'s UdpSocket,
        counts: &'s mut SendCounts,
    ) -> SendBatch<'a, 's> {
        SendBatch {
            messages: self.arena.begin(),
            socket,
            counts,
            refused: &mut self.refused,
            open: None,
        }
    }
}

/// The message that the next datagram may join.
struct Open<'a> {
    to: &'a Destination,
    ecn: u8,
    /// Length of its datagrams; only the last may be shorter.
    size: usize,
    bytes: usize,
    datagrams: usize,
}

/// A batch being filled. Datagrams leave in the order in which they were added: one joins only the
/// newest message, and only where that goes to the same destination.
pub struct SendBatch<'a, 's> {
    messages: Messages<'a, 's>,
    socket: &'s UdpSocket,
    counts: &'s mut SendCounts,
    refused: &'s mut Vec<(u32, usize)>,
    open: Option<Open<'a>>,
}

impl<'a> SendBatch<'a, '_> {
    /// Adds one datagram that is the parts one after the other; a full batch is sent first.
    pub fn push_parts<const N: usize>(&mut self, to: &'a Destination, parts: [&'a [u8]; N]) {
        let len = parts.iter().map(|part| part.len()).sum();
        self.make_room(to, 0, len, N);
        parts.iter().for_each(|part| self.messages.add(part));
        self.added(len);
    }

    /// Adds the datagrams that `run` is one after the other, of `size` bytes each, the last maybe
    /// less; a full batch is sent first. They bear `ecn`, the two bits of RFC 3168.
    pub fn push_run(&mut self, to: &'a Destination, ecn: u8, run: &'a [u8], size: usize) {
        let mut rest = run;
        while !rest.is_empty() {
            let next = size.min(rest.len());
            self.make_room(to, ecn, next, 1);
            let more = match &self.open {
                Some(open) if next == open.size && next <= to.segment_limit() => {
                    let fit = (MAX_PAYLOAD - open.bytes.min(MAX_PAYLOAD)) / next;
                    fit.min(SEGMENTS - open.datagrams).max(1) * next
                }
                _ => next,
            };
            let (part, behind) = rest.split_at(more.min(rest.len()));
            self.messages.add(part);
            self.added(part.len());
            rest = behind;
        }
    }

    /// Opens a message that takes a datagram of `len` bytes in `parts` parts, unless the one that is
    /// open does.
    fn make_room(&mut self, to: &'a Destination, ecn: u8, len: usize, parts: usize) {
        if let Some(open) = &self.open
            && ptr::eq(open.to, to)
            && open.ecn == ecn
            && len <= open.size
            && open.size <= to.segment_limit()
            && len > 0
            && open.datagrams < SEGMENTS
            && open.bytes + len <= MAX_PAYLOAD
            && self.messages.has_room(parts)
        {
            return;
        }
        self.close();
        if self.messages.is_full() || !self.messages.has_room(parts) {
            self.flush();
        }
        self.messages.open(to, len, ecn);
        self.open = Some(Open { to, ecn, size: len, bytes: 0, datagrams: 0 });
    }

    /// Notes that the open message got `bytes` more: whole datagrams of its size, and maybe a
    /// shorter one, which is its last.
    fn added(&mut self, bytes: usize) {
        let Some(open) = &mut self.open else { return };
        open.bytes += bytes;
        open.datagrams += bytes.div_ceil(open.size.max(1)).max(1);
        if open.bytes < open.datagrams * open.size {
            self.close();
        }
    }

    /// Sends what is left.
    pub fn finish(mut self) {
        self.close();
        self.flush();
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take()
            && open.datagrams > 1
        {
            // A datagram is at most 65,507 bytes, else it would not be in a message of several.
            self.messages.set_segment_size(open.size as u16);
        }
    }

    fn flush(&mut self) {
        let mut next = 0;
        // Refusals of message `next` so far.
        let mut refusals = 0;
        while next < self.messages.len() {
            let done = match self.messages.send(self.socket.as_fd(), next) {
                Ok(sent) => {
                    for index in next..next + sent {
                        self.counts.sent += self.messages.datagrams(index) as u64;
                        self.counts.bytes += self.messages.bytes(index) as u64;
                    }
                    sent
                }
                Err(error) => {
                    refusals += 1;
                    usize::from(self.settle(next, &error, refusals))
                }
            };
            if done > 0 {
                refusals = 0;
            }
            next += done;
        }
        self.messages.clear();
    }

    /// Deals with a refusal of message `index`; `true` where that message is done with.
    fn settle(&mut self, index: usize, error: &io::Error, refusals: u32) -> bool {
        if self.try_again(error, refusals) {
            return false;
        }
        let datagrams = self.messages.datagrams(index) as u64;
        if datagrams > 1 && refuses_segmentation(error) {
            self.send_cut(index, error);
        } else {
            self.give_up(error, index, datagrams);
        }
        true
    }

    /// Whether to send again what was refused so often.
    fn try_again(&self, error: &io::Error, refusals: u32) -> bool {
        if error.kind() == ErrorKind::WouldBlock {
            return refusals <= FULL_RETRIES && wait_writable(self.socket.as_fd());
        }
        // What a queue on the way out has dropped would be dropped again.
        !is_full(error) && refusals < REFUSALS || error.kind() == ErrorKind::Interrupted
    }

    fn give_up(&mut self, error: &io::Error, index: usize, datagrams: u64) {
        match error.raw_os_error() {
            _ if is_full(error) => self.counts.full += datagrams,
            Some(libc::EMSGSIZE) => {
                self.counts.too_large += datagrams;
                if self.refused.len() < REFUSED {
                    self.refused.push(self.messages.first(index));
                }
            }
            _ => self.counts.unreachable += datagrams,
        }
    }

    /// Sends message `index` datagram by datagram. Where these get through, it was the
    /// segmentation that the kernel refused, and larger ones are not tried again to there.
    fn send_cut(&mut self, index: usize, error: &io::Error) {
        let datagrams = self.messages.datagrams(index);
        let mut refused = 0;
        let (_, size) = self.messages.first(index);
        log::debug!("{datagrams} datagrams at once refused: {error}; sent one by one");
        for datagram in 0..datagrams {
            let mut refusals = 0;
            loop {
                match self.messages.send_alone(self.socket.as_fd(), index, datagram) {
                    Ok(sent) => {
                        self.counts.sent += 1;
                        self.counts.bytes += sent as u64;
                        if sent == size {
                            refused = 1;
                            // EIO: no checksum offload on the way, so no segmentation of any size.
                            let none = error.raw_os_error() == Some(libc::EIO);
                            let limit = if none { 0 } else { size.saturating_sub(1) };
                            self.messages.destination(index).limit_segments(limit);
                        }
                        break;
                    }
                    Err(error) => {
                        refusals += 1;
                        if !self.try_again(&error, refusals) {
                            self.give_up(&error, index, 1);
                            break;
                        }
                    }
                }
            }
        }
        self.counts.cut += refused;
    }
}

fn refuses_segmentation(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    matches!(code, Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}

/// Whether the system has no room at the moment.
pub fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

fn wait_writable(socket: BorrowedFd<'_>) -> bool {
    let until = Instant::now() + Duration::from_millis(FULL_WAIT_MS.into());
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::from(FULL_WAIT_MS)) {
            Ok(0) | Err(_) => return false,
            Ok(_) if fds[0].revents().is_some_and(|got| got.contains(PollFlags::POLLOUT)) => {
                return true;
            }
            // A report of the network's that nobody has taken yet ends the wait at once.
            Ok(_) if Instant::now() < until => thread::sleep(REPORT_PAUSE),
            Ok(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recv::RecvBatch;
    use std::net::SocketAddr;

    fn pair() -> (UdpSocket, UdpSocket, Destination) {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (a, b) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
        let to = Destination::new(b.local_addr().unwrap(), None, false);
        (a, b, to)
    }

    fn receive_all(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut batch = RecvBatch::new();
        let mut all = Vec::new();
        while let Ok(messages) = batch.receive(socket.as_fd()) {
            assert_eq!(batch.messages().count(), messages);
            for message in batch.messages() {
                all.extend(message.datagrams().map(|datagram| datagram.to_vec()));
            }
        }
        all
    }

    #[test]
    fn a_batch_arrives_whole_and_in_order() {
        let (a, b, to) = pair();
        let lengths = [100, 100, 100, 40, 1_400, 1_400, 0, 7, 1_400, 1_401];
        let payloads: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(i, &len)| vec![i as u8; len]).collect();
        let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
        let mut batch = buffer.begin(&a, &mut counts);
        for payload in &payloads {
            batch.push_parts(&to, [payload]);
        }
        batch.finish();
        assert_eq!(counts.sent, lengths.len() as u64);
        assert_eq!(counts.bytes, lengths.iter().sum::<usize>() as u64);
        assert_eq!(receive_all(&b), payloads);
    }

    #[test]
    fn datagrams_in_parts_arrive_whole() {
        let (a, b, to) = pair();
        let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
        let mut batch = buffer.begin(&a, &mut counts);
        batch.push_parts(&to, [b"abc", b"defg"]);
        batch.push_parts(&to, [b"hij", b"klmn"]);
        batch.push_parts(&to, [b"o", b"p"]);
        batch.push_parts(&to, [b"q"]);
        batch.close();
        batch.send_cut(0, &io::Error::from_raw_os_error(libc::EMSGSIZE));
        batch.flush();
        batch.finish();
        let all: [&[u8]; 7] = [b"abcdefg", b"hijklmn", b"op", b"abcdefg", b"hijklmn", b"op", b"q"];
        assert_eq!(receive_all(&b), all);
    }

    #[test]
    fn runs_arrive_as_their_datagrams() {
        let (a, b, to) = pair();
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
        let mut batch = buffer.begin(&a, &mut counts);
        // Single ones, more than a message holds by number and by bytes, and remainders.
        let runs = [(100, 100), (64, 64 * 150), (1_446, 1_446 * 96 + 7), (1_446, 9), (5, 3)];
        let mut expected = Vec::new();
        for (size, len) in runs {
            batch.push_run(&to, 0, &bytes[..len], size);
            batch.push_parts(&to, [&bytes[..3], &bytes[7..9]]);
            expected.extend(bytes[..len].chunks(size).map(<[u8]>::to_vec));
            expected.push([&bytes[..3], &bytes[7..9]].concat());
        }
        batch.finish();
        assert_eq!(counts.sent, expected.len() as u64);
        assert_eq!(counts.bytes, expected.iter().map(Vec::len).sum::<usize>() as u64);
        assert!(receive_all(&b) == expected);
    }

    #[test]
    fn the_ecn_field_arrives_and_parts_messages() {
        for (local, peer) in
            [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0"), ("[::]:0", "127.0.0.1:0")]
        {
            let a = UdpSocket::bind(local.parse().unwrap()).unwrap();
            let b = UdpSocket::bind(peer.parse().unwrap()).unwrap();
            let mut there = b.local_addr().unwrap();
            if peer == "[::]:0" {
                there.set_ip([127, 0, 0, 1].into());
            }
            let to = Destination::new(there, None, a.is_ipv6());
            let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
            let mut batch = buffer.begin(&a, &mut counts);
            let sent: [(u8, &[u8]); 6] = [
                (0, &[1; 40]),
                (2, &[2; 40]),
                (2, &[3; 40]),
                (3, &[4; 20]),
                (1, &[5; 10]),
                (1, &[6; 3]),
            ];
            for (ecn, run) in sent {
                batch.push_run(&to, ecn, run, 20);
            }
            batch.finish();
            let (mut received, mut seen) = (RecvBatch::new(), Vec::new());
            while received.receive(b.as_fd()).is_ok() {
                for message in received.messages() {
                    let ecn = message.ecn;
                    seen.extend(message.datagrams().map(|datagram| (ecn, datagram.to_vec())));
                }
            }
            let each = |(ecn, run): &(u8, &[u8])| {
                let ecn = *ecn;
                run.chunks(20).map(move |part| (ecn, part.to_vec())).collect::<Vec<_>>()
            };
            let expected: Vec<_> = sent.iter().flat_map(each).collect();
            assert_eq!(seen, expected, "{local} to {peer}");
        }
    }

    #[test]
    fn a_refused_run_is_cut_at_its_datagrams() {
        let (a, b, to) = pair();
        let bytes: Vec<u8> = (0..=250).collect();
        let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
        let mut batch = buffer.begin(&a, &mut counts);
        batch.push_run(&to, 0, &bytes[..100], 20);
        batch.push_parts(&to, [&bytes[100..113], &bytes[113..120]]);
        batch.push_run(&to, 0, &bytes[120..130], 20);
        batch.send_cut(0, &io::Error::from_raw_os_error(libc::EIO));
        batch.messages.clear();
        batch.finish();
        assert_eq!((counts.sent, counts.cut, to.segment_limit()), (7, 1, 0));
        let expected: Vec<_> = bytes[..130].chunks(20).map(<[u8]>::to_vec).collect();
        assert_eq!(receive_all(&b), expected);
    }

    #[test]
    fn more_than_a_batch_holds_is_sent_in_several() {
        let (a, b, to) = pair();
        let payloads: Vec<Vec<u8>> = (0..300_u16).map(|i| i.to_be_bytes().to_vec()).collect();
        let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
        let mut batch = buffer.begin(&a, &mut counts);
        for payload in &payloads {
            batch.push_parts(&to, [payload]);
        }
        batch.finish();
        assert_eq!(counts.sent, 300);
        assert_eq!(receive_all(&b), payloads);
    }

    #[test]
    fn a_datagram_larger_than_udp_is_counted_and_the_rest_sent() {
        let (a, b, to) = pair();
        let payloads = [vec![1; 10], vec![2; MAX_PAYLOAD + 1], vec![3; 10]];
        let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
        let mut batch = buffer.begin(&a, &mut counts);
        for payload in &payloads {
            batch.push_parts(&to, [payload]);
        }
        batch.finish();
        assert_eq!((counts.sent, counts.too_large), (2, 1));
        assert_eq!(buffer.refused().collect::<Vec<_>>(), [(0, MAX_PAYLOAD + 1)]);
        assert_eq!(receive_all(&b), [vec![1; 10], vec![3; 10]]);
    }

    #[test]
    fn segments_too_large_for_the_path_are_cut_and_none_is_lost() {
        let (a, b, to) = pair();
        // Two of these are more than one loopback packet (65,536 bytes) takes, but a message
        // holds at most 65,507 bytes; what loopback refuses instead is set by hand below.
        let payloads = vec![vec![5; 30_000]; 2];
        let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
        let mut batch = buffer.begin(&a, &mut counts);
        batch.push_parts(&to, [&payloads[0]]);
        batch.push_parts(&to, [&payloads[1]]);
        batch.close();
        batch.send_cut(0, &io::Error::from_raw_os_error(libc::EMSGSIZE));
        batch.messages.clear();
        batch.finish();
        assert_eq!((counts.sent, counts.cut), (2, 1));
        assert_eq!(to.segment_limit(), 29_999);
        assert_eq!(receive_all(&b), payloads);
    }
}
