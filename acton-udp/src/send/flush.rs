//! Handing a batch to the kernel, whatever it refuses.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

use super::SendBatch;
use crate::refusal::{REFUSALS, is_full, refuses_segmentation};
use crate::wait;

/// How often a datagram is tried again that finds no room.
const FULL_RETRIES: u32 = 4;
/// Datagrams remembered at most that were too large; more of them say the same.
const TOO_LARGE: usize = 64;

impl SendBatch<'_, '_> {
    /// Sends what is in the batch, without waiting where the kernel has room, and empties it.
    pub(super) fn flush(&mut self) {
        let mut next = 0;
        // Refusals of message `next` so far.
        let mut refusals = 0;
        while next < self.messages.len() {
            self.counts.calls += 1;
            let done = match self.messages.send(self.socket.as_fd(), next) {
                Ok(sent) => {
                    self.counts.messages += sent as u64;
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
            return refusals <= FULL_RETRIES && wait::writable(self.socket.as_fd());
        }
        // What a queue on the way out has dropped would be dropped again.
        !is_full(error) && refusals < REFUSALS || error.kind() == ErrorKind::Interrupted
    }

    fn give_up(&mut self, error: &io::Error, index: usize, datagrams: u64) {
        match error.raw_os_error() {
            _ if is_full(error) => self.counts.full += datagrams,
            Some(libc::EMSGSIZE) => {
                self.counts.too_large += datagrams;
                if self.refused.len() < TOO_LARGE {
                    self.refused.push(self.messages.first(index));
                }
            }
            _ => self.counts.unreachable += datagrams,
        }
    }

    /// Sends message `index` datagram by datagram. Where these get through, it was the
    /// segmentation that the kernel refused, and larger ones are not tried to there for a while.
    fn send_cut(&mut self, index: usize, error: &io::Error) {
        let datagrams = self.messages.datagrams(index);
        let mut refused = 0;
        let (_, size) = self.messages.first(index);
        for datagram in 0..datagrams {
            let mut refusals = 0;
            loop {
                self.counts.calls += 1;
                match self.messages.send_alone(self.socket.as_fd(), index, datagram) {
                    Ok(sent) => {
                        self.counts.sent += 1;
                        self.counts.messages += 1;
                        self.counts.bytes += sent as u64;
                        if sent == size {
                            refused = 1;
                            // EIO: no checksum offload on the way, so no segmentation of any size.
                            let none = error.raw_os_error() == Some(libc::EIO);
                            let limit = if none { 0 } else { size.saturating_sub(1) };
                            self.messages.destination(index).segments.lower(limit);
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

#[cfg(test)]
mod tests {
    use crate::{RecvBatch, SendBuffer, SendCounts, UdpSocket};
    use std::io;

    /// EIO, which kernels since 6.11 say of IPsec alone.
    #[test]
    fn what_no_device_segments_is_cut_at_its_datagrams() {
        let bind = || UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (from, at) = (bind(), bind());
        let to = from.destination(at.local_addr().unwrap(), None);
        let bytes: Vec<u8> = (0..=250).collect();
        let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
        let mut batch = buffer.begin(&from, &mut counts);
        batch.push_run(&to, 0, &bytes[..100], 20);
        batch.push_parts(&to, [&bytes[100..113], &bytes[113..120]]);
        batch.push_run(&to, 0, &bytes[120..130], 20);
        batch.send_cut(0, &io::Error::from_raw_os_error(libc::EIO));
        batch.messages.clear();
        // From now on each goes alone, for a while.
        batch.push_run(&to, 0, &bytes[130..], 20);
        batch.finish();
        assert_eq!((counts.sent, counts.messages, counts.calls, counts.cut), (14, 14, 8, 1));
        assert_eq!((counts.bytes, to.segment_limit()), (251, 0));
        let (mut batch, mut received) = (RecvBatch::new(), Vec::new());
        while received.len() < 14 {
            at.wait_readable(None).unwrap();
            batch.receive(&at).unwrap();
            for message in batch.messages() {
                received.extend(message.datagrams().map(|datagram| datagram.to_vec()));
            }
        }
        let (before, behind) = bytes.split_at(130);
        assert!(received.iter().eq(before.chunks(20).chain(behind.chunks(20))));
    }
}
