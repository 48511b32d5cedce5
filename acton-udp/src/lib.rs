//! Batched UDP on Linux: many datagrams a system call in both directions, cut and merged by the
//! kernel (`UDP_SEGMENT` and `UDP_GRO`, [udp(7)]), with what IP says of them: the local address
//! that was asked, the ECN field, and the reports of the network.
//!
//! ```
//! use std::time::Duration;
//! use acton_udp::{RecvBatch, SendBuffer, SendCounts, UdpSocket};
//!
//! # fn main() -> std::io::Result<()> {
//! let sender = UdpSocket::bind("127.0.0.1:0".parse().unwrap())?;
//! let receiver = UdpSocket::bind("127.0.0.1:0".parse().unwrap())?;
//! let to = sender.destination(receiver.local_addr()?, None);
//!
//! // Out: ten datagrams of 1,200 bytes and one in two parts, in one system call.
//! let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
//! let bytes = vec![7; 12_000];
//! let mut batch = buffer.begin(&sender, &mut counts);
//! batch.push_run(&to, 0, &bytes, 1_200);
//! batch.push_parts(&to, [b"head", b"and body"]);
//! batch.finish();
//! assert_eq!((counts.sent, counts.bytes), (11, 12_012));
//!
//! // In: a message is one datagram, or several that the kernel merged.
//! let (mut batch, mut received) = (RecvBatch::new(), Vec::new());
//! while received.len() < 11 && receiver.wait_readable(Some(Duration::from_secs(5)))? {
//!     batch.receive(&receiver)?;
//!     for message in batch.messages() {
//!         assert_eq!(message.from, sender.local_addr()?);
//!         received.extend(message.datagrams().map(|datagram| datagram.len()));
//!     }
//! }
//! assert_eq!(received, [[1_200; 10].as_slice(), &[12]].concat());
//! # Ok(())
//! # }
//! ```
//!
//! - A [`UdpSocket`] is non-blocking and [`AsFd`](std::os::fd::AsFd): wait for it in a loop of
//!   one's own, or by [`wait_readable`](UdpSocket::wait_readable).
//! - A [`SendBuffer`] makes a [`SendBatch`] of datagrams to any number of [`Destination`]s; the
//!   order is kept, the payload is not copied, and [`SendCounts`] says what became of them.
//! - A [`RecvBatch`] takes up to 32 messages a call. Its datagrams may be changed in place, e.g.
//!   opened.
//! - The [`Source`] of a datagram is the local address it came to: a server with several addresses
//!   answers from the one that was asked.
//! - A group of sockets shares a port among threads ([`UdpSocket::bind_group`]), by the peers'
//!   addresses or by a word of the datagrams ([`UdpSocket::steer_by_word`]).
//! - A [`Report`] is what the network or this host said of a datagram sent earlier: nobody listens,
//!   no way there, too large and what would fit.
//! - [`KernelStatistics`] are the kernel's own: what it dropped for want of room, and how full the
//!   buffers are.
//!
//! # What the kernel does
//! - **It segments where a message is of several datagrams.** Each of them must fit the path's MTU,
//!   and there may be 64 (128 since Linux 6.9) of 65,507 bytes together. Where the way out leads
//!   through a device that does not fill in checksums (before Linux 6.11) or through IPsec, it
//!   refuses with `EIO`, where a datagram is larger than the MTU with `EINVAL` or `EMSGSIZE`.
//!   Nothing is lost by that: the same datagrams are sent one by one in the same call,
//!   [`SendCounts::cut`] counts it, and [`Destination::segment_limit`] keeps it from being tried
//!   again for a while.
//! - **It merges what one sender sent in a row** to up to 64 KiB, where the device's GRO is on, so
//!   each message to receive needs room for as much. Only datagrams of the same length and ECN
//!   field are merged; the last may be shorter.
//! - **It tells of old datagrams by failing new calls.** `ECONNREFUSED` from a send or a receive is
//!   news of a datagram sent before, and says nothing of this one: [`REFUSALS`].
//! - **It reports errors once asked to, and then must be heard.** With
//!   [`keep_reports`](UdpSocket::keep_reports) the error queue takes memory of the socket's receive
//!   buffer, and poll(2) says `POLLERR` until it is [empty](UdpSocket::take_report).
//! - **Reports of the network are hints.** Anybody can forge an ICMP message who guesses addresses
//!   and ports; [`Origin::Local`] alone is this host's own.
//!
//! # When to use it, and what it is not
//! It is for who moves so many datagrams that a system call for each of them is what it costs: a
//! tunnel, a relay, a transport protocol, a load generator. Who sends a few now and then is as well
//! served by [`std::net::UdpSocket`], from which a socket of this crate can be made later.
//!
//! It is neither asynchronous nor tied to a runtime: the descriptor goes into any of them. It takes
//! no time stamps, paces nothing (`SO_TXTIME`), joins no multicast groups (`socket2` does, by the
//! descriptor), and is for Linux alone. quinn-udp also has other systems, and sends one message of
//! datagrams a call to one destination; here a call takes many messages to many destinations.
//!
//! [udp(7)]: https://www.man7.org/linux/man-pages/man7/udp.7.html
#![deny(unsafe_code)]

mod builder;
mod bytes;
mod control;
mod destination;
mod limits;
mod name;
mod recv;
mod refusal;
mod report;
mod segment_limit;
mod send;
mod socket;
mod source;
mod statistics;
#[allow(unsafe_code)]
mod sys;
mod wait;

pub use builder::Builder;
pub use destination::Destination;
pub use limits::MAX_PAYLOAD;
pub use recv::{Received, RecvBatch};
pub use refusal::{REFUSALS, is_full};
pub use report::{Origin, Report};
pub use send::{SendBatch, SendBuffer, SendCounts};
pub use socket::UdpSocket;
pub use source::Source;
pub use statistics::KernelStatistics;

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
